"""How far scores can be read as probabilities: reliability, ECE, Brier score, log loss, risk and coverage."""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from clinnlp.evaluation.resample import LEVEL

BINS = 15
SMALL = 11  # a bin with fewer items is flagged
CLIP = 1e-6  # scores nearer to 0 and 1 are held back to this before a logarithm
POINTS = 100  # of a risk-coverage curve

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bin:
    """The decisions with a score above `low` and up to `high`; `spread` is the sum of score * (1 - score)."""

    low: float
    high: float
    items: int
    correct: int
    score_sum: float
    spread: float

    @property
    def mean_score(self) -> float:
        return self.score_sum / self.items

    @property
    def share_correct(self) -> float:
        return self.correct / self.items

    @property
    def small(self) -> bool:
        """Fewer than 11 items: too few to judge the bin by."""
        return self.items < SMALL

    def as_dict(self) -> dict[str, Any]:
        return {
            "low": self.low,
            "high": self.high,
            "items": self.items,
            "correct": self.correct,
            "mean_score": self.mean_score,
            "share_correct": self.share_correct,
            "interval": list(wilson(self.correct, self.items)),
            "small": self.small,
        }


@dataclass(frozen=True, slots=True)
class Reliability:
    """The scores of some decisions against whether they were right; the ratios of no decisions are NaN."""

    items: int
    correct: int
    score_sum: float
    squared_error: float
    log_loss_sum: float
    equal_mass: tuple[Bin, ...] = ()
    equal_width: tuple[Bin, ...] = ()

    @property
    def mean_score(self) -> float:
        return self._per_item(self.score_sum)

    @property
    def share_correct(self) -> float:
        return self._per_item(self.correct)

    @property
    def brier(self) -> float:
        """Mean squared difference of score and outcome (Brier 1950)."""
        return self._per_item(self.squared_error)

    @property
    def log_loss(self) -> float:
        """Mean negative log likelihood of the outcomes, scores held 1e-6 away from 0 and 1."""
        return self._per_item(self.log_loss_sum)

    @property
    def ece(self) -> float:
        """Expected calibration error (Naeini et al. 2015) over bins of equal mass."""
        return self._per_item(sum(abs(one.correct - one.score_sum) for one in self.equal_mass))

    @property
    def ece_equal_width(self) -> float:
        """Expected calibration error over bins of equal width, as in Guo et al. 2017."""
        return self._per_item(sum(abs(one.correct - one.score_sum) for one in self.equal_width))

    @property
    def ece_by_chance(self) -> float:
        """The equal-mass ECE to expect if the scores were perfect, by the normal approximation in each bin.

        ECE is never 0 in a sample (Broecker and Smith 2007): a figure near this one shows no miscalibration.
        """
        return self._per_item(sum(math.sqrt(2 / math.pi * one.spread) for one in self.equal_mass))

    def as_dict(self, bins: bool = True) -> dict[str, Any]:
        values: dict[str, Any] = {
            "items": self.items,
            "correct": self.correct,
            "mean_score": self.mean_score,
            "share_correct": self.share_correct,
            "ece": self.ece,
            "ece_by_chance": self.ece_by_chance,
            "ece_equal_width": self.ece_equal_width,
            "brier": self.brier,
            "log_loss": self.log_loss,
        }
        if bins:
            values["equal_mass"] = [one.as_dict() for one in self.equal_mass]
            values["equal_width"] = [one.as_dict() for one in self.equal_width]
        return values

    def _per_item(self, total: float) -> float:
        return total / self.items if self.items else math.nan


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """What share is wrong among the most confident decisions, for every share of them that is kept.

    `points` are (threshold, decisions kept, errors among them) at thresholds that can be set. `area` is the mean
    risk over all coverages (AURC), `best_area` that of an order with all errors last (Geifman et al. 2019).
    """

    items: int
    errors: int
    area: float
    best_area: float
    points: tuple[tuple[float, int, int], ...]

    @property
    def excess(self) -> float:
        """The area that a better order of the decisions could save (E-AURC)."""
        return self.area - self.best_area

    def as_dict(self) -> dict[str, Any]:
        return {
            "items": self.items,
            "errors": self.errors,
            "aurc": self.area,
            "excess_aurc": self.excess,
            "points": [
                {"threshold": at, "kept": kept, "errors": errors, "coverage": kept / self.items, "risk": errors / kept}
                for at, kept, errors in self.points
            ],
        }


def measure(scores: Floats, correct: Bools, bins: int = BINS) -> Reliability:
    """The reliability of scores (N,) in [0, 1] of decisions that were right or not (N,).

    Bins of equal mass keep equal scores together, so that the order of the decisions does not matter.
    """
    if not len(scores):
        return Reliability(0, 0, 0.0, 0.0, 0.0)
    held = np.clip(scores, CLIP, 1 - CLIP)
    return Reliability(
        items=len(scores),
        correct=int(correct.sum()),
        score_sum=float(scores.sum()),
        squared_error=float(((scores - correct) ** 2).sum()),
        log_loss_sum=float(-np.where(correct, np.log(held), np.log1p(-held)).sum()),
        equal_mass=_bins(scores, correct, np.quantile(scores, np.linspace(0, 1, bins + 1))),
        equal_width=_bins(scores, correct, np.linspace(0, 1, bins + 1)),
    )


def risk_coverage(confidence: Floats, right: Bools, points: int = POINTS) -> RiskCoverage:
    """The risk-coverage curve (El-Yaniv and Wiener 2010) of decisions (N,), the most confident kept first.

    Among equal confidences errors are spread evenly: the mean over all orders of them.
    """
    count = len(confidence)
    if not count:
        return RiskCoverage(0, 0, math.nan, math.nan, ())
    order = np.argsort(-confidence, kind="stable")
    kept = tie_ends(confidence[order])
    errors = np.cumsum(~right[order])[kept - 1]
    ranks = np.arange(1, count + 1)
    spread = np.interp(ranks, np.append(0, kept), np.append(0, errors))
    total = int(errors[-1])
    best = np.maximum(0, ranks - (count - total)) / ranks
    shown = np.unique(np.linspace(0, len(kept) - 1, min(points, len(kept))).round().astype(np.int64))
    thresholds = confidence[order][kept[shown] - 1]
    return RiskCoverage(
        items=count,
        errors=total,
        area=float((spread / ranks).mean()),
        best_area=float(best.mean()),
        points=tuple(zip(thresholds.tolist(), kept[shown].tolist(), errors[shown].tolist(), strict=True)),
    )


def wilson(correct: int, items: int, level: float = LEVEL) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927); NaN of nothing."""
    if not items:
        return math.nan, math.nan
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, shrink = correct / items, 1 + z * z / items
    centre = (share + z * z / (2 * items)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / items + z * z / (4 * items * items))
    return max(0.0, centre - half), min(1.0, centre + half)


def _bins(scores: Floats, correct: Bools, edges: Floats) -> tuple[Bin, ...]:
    """The bins that hold anything; a score on an edge is in the bin below it, as in sklearn and Guo et al."""
    count = len(edges) - 1
    place = np.searchsorted(edges[1:-1], scores)
    items = np.bincount(place, minlength=count).tolist()
    hits = np.bincount(place[correct], minlength=count).tolist()
    sums = np.bincount(place, scores, minlength=count).tolist()
    spread = np.bincount(place, scores * (1 - scores), minlength=count).tolist()
    ends = edges.tolist()
    return tuple(Bin(ends[i], ends[i + 1], items[i], hits[i], sums[i], spread[i]) for i in range(count) if items[i])


def tie_ends(falling: Floats) -> npt.NDArray[np.int64]:
    """How many values stand down to the end of each run of equal ones."""
    return np.append(np.flatnonzero(np.diff(falling)) + 1, len(falling))[: len(falling)].astype(np.int64)
