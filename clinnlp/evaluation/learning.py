"""The learning curve: scores over the number of training notes, and what the next point is likely to cost."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

DRAWS = 500  # refits that give the range of the cost
FEWEST = 4  # sizes that a curve of three parameters is fitted to


@dataclass(frozen=True, slots=True)
class Size:
    """The scores at one number of training notes, one per repeat (another subset and seed)."""

    notes: int
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.mean(self.scores)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % t interval of the mean over repeats; None with fewer than three."""
        if len(self.scores) < 3:
            return None
        from scipy.stats import t

        half = float(t.ppf(0.975, len(self.scores) - 1)) * statistics.stdev(self.scores) / math.sqrt(len(self.scores))
        return self.mean - half, self.mean + half

    def as_dict(self) -> dict[str, Any]:
        low, high = self.interval or (None, None)
        return {"notes": self.notes, "scores": list(self.scores), "mean": self.mean, "low": low, "high": high}


@dataclass(frozen=True, slots=True)
class Curve:
    """An inverse power law score(n) = ceiling - loss * n ** -rate (Figueroa et al. 2012)."""

    ceiling: float
    loss: float
    rate: float

    def __call__(self, notes: float) -> float:
        return float(self.ceiling - self.loss * notes**-self.rate)

    def notes_for(self, score: float) -> float:
        """Training notes at which the curve reaches a score; infinite above its ceiling."""
        gap = self.ceiling - score
        return math.inf if gap <= 0 else float((self.loss / gap) ** (1 / self.rate))


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Scores by size, the curve through them, and how many more notes the next 0.01 takes.

    `cost_low` and `cost_high` hold 80 % of refits to resampled repeats; a cost is infinite where the curve ends
    below the score, and None where there are too few sizes or repeats to say.
    """

    sizes: tuple[Size, ...]
    curve: Curve | None
    cost: float | None
    cost_low: float | None
    cost_high: float | None

    def as_dict(self) -> dict[str, Any]:
        curve = self.curve
        return {
            "sizes": [size.as_dict() for size in self.sizes],
            "curve": None if curve is None else {"ceiling": curve.ceiling, "loss": curve.loss, "rate": curve.rate},
            "notes_for_next_point": {name: _finite(value) for name, value in
                                     (("estimate", self.cost), ("low", self.cost_low), ("high", self.cost_high))},
            "ends_below_next_point": self.cost == math.inf,
        }  # fmt: skip

    def sentence(self) -> str:
        """What the next point costs, in words."""
        largest = self.sizes[-1]
        if len(self.sizes) < FEWEST:
            return f"{FEWEST} sizes or more are needed to say what the next point costs"
        if self.cost is None:
            return "The scores do not rise with the notes: what the next point costs cannot be said"
        said = f"From {largest.notes:,} notes the next 0.01 is likely to take {_notes(self.cost)}"
        if self.cost_low is None or self.cost_high is None:
            return f"{said}; one repeat per size gives no range"
        return f"{said} (80 % of refits: {_notes(self.cost_low)} to {_notes(self.cost_high)})"


def learning_curve(scores: Mapping[int, Sequence[float]], seed: int = 13) -> LearningCurve:
    """Fit scores, by number of training notes and repeat, and read off the cost of the next 0.01.

    The range refits the curve to means of repeats drawn with replacement at every size.
    """
    sizes = tuple(Size(notes, tuple(scores[notes])) for notes in sorted(scores))
    notes = np.array([size.notes for size in sizes], np.float64)
    curve = fit_curve(notes, np.array([size.mean for size in sizes])) if len(sizes) >= FEWEST else None
    if curve is None:
        return LearningCurve(sizes, None, None, None, None)
    cost = _cost(curve, sizes[-1].notes)
    if min(len(size.scores) for size in sizes) < 2:
        return LearningCurve(sizes, curve, cost, None, None)
    generator = np.random.Generator(np.random.Philox(seed))
    costs = []
    for _ in range(DRAWS):
        means = np.array([generator.choice(size.scores, len(size.scores)).mean() for size in sizes])
        again = fit_curve(notes, means)
        costs.append(math.inf if again is None else _cost(again, sizes[-1].notes))
    costs.sort()
    return LearningCurve(sizes, curve, cost, costs[DRAWS // 10], costs[-DRAWS // 10])


def fit_curve(notes: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]) -> Curve | None:
    """The inverse power law of least squares with a ceiling of at most 1; None if the scores do not rise.

    For a given rate the law is linear, so the rate is searched on a grid and the rest solved.
    """
    best: tuple[float, Curve] | None = None
    for rate in np.geomspace(0.05, 3.0, 60):
        powers = notes**-rate
        centred = powers - powers.mean()
        loss = -float(centred @ scores / (centred @ centred))
        ceiling = float(scores.mean() + loss * powers.mean())
        if ceiling > 1:
            ceiling, loss = 1.0, float(powers @ (1 - scores) / (powers @ powers))
        if loss <= 0:
            continue
        error = float(((ceiling - loss * powers - scores) ** 2).sum())
        if best is None or error < best[0]:
            best = error, Curve(ceiling, loss, float(rate))
    return None if best is None else best[1]


def _cost(curve: Curve, notes: int) -> float:
    return curve.notes_for(curve(notes) + 0.01) - notes


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value


def _notes(count: float) -> str:
    return "more notes than this curve reaches" if math.isinf(count) else f"{math.ceil(count):,} more notes"
