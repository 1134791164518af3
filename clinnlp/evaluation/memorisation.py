"""What a model gives away of its training notes: membership inference, and exposure of planted canaries.

Loss and likelihood-ratio attacks: Yeom et al. 2018, Mireshghallah et al. 2022; true positives at a low rate of false
ones: Carlini et al. 2022. Exposure: Carlini et al. 2019.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clinnlp.core.report import Interval
from clinnlp.evaluation.resample import LABEL_RESAMPLES, Units, bootstrap_interval, divide, percentile_interval

FALSE_ALARMS = 100  # one other in so many may be taken for a member: a rate of 1 %
CHANCE_BITS = math.log2(math.e)  # mean exposure of a secret that was never planted, among many candidates

_CELLS = 2_000_000  # weights held at once
_MICRO = 1_000_000  # bits are resampled in millionths: the bootstrap sums whole numbers

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Attack:
    """How well scores tell members (trained on) from others.

    `auc` is the chance that a member scores above another, ties counted half; `tpr` the share of members above a
    threshold that at most 1 % of the others reach.
    """

    members: int
    others: int
    auc: float
    tpr: float
    auc_interval: Interval | None
    tpr_interval: Interval | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Exposed:
    """Canaries planted equally often: mean exposure in bits, and how many rank before every candidate."""

    repeats: int
    canaries: int
    bits: float
    interval: Interval | None
    first: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def attack(scores: Floats, member: Flags, units: Units, seed: int, resamples: int = LABEL_RESAMPLES) -> Attack:
    """The attack that takes high `scores (N,)` for members; intervals by drawing units with replacement.

    Raises ValueError without members or without others.
    """
    members = int(member.sum())
    others = len(member) - members
    if not members or not others:
        raise ValueError(f"{members} members, {others} others")
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # equal scores are never parted
    unit, belongs = units.index[order], member[order]
    (auc, tpr), *_ = _figures(np.ones((1, len(order)), np.int64), belongs, last)
    drawn = np.concatenate([_figures(w[:, unit], belongs, last) for w in _weights(units, len(order), seed, resamples)])
    intervals = [percentile_interval(drawn[:, column], units) for column in (0, 1)]
    return Attack(members, others, float(auc), float(tpr), *intervals)


def group_means(scores: Floats, units: Units) -> Floats:
    """The mean score of each unit, (units,)."""
    return np.bincount(units.index, scores, units.count) / np.bincount(units.index, minlength=units.count)


def exposures(secrets: Floats, candidates: Floats) -> Floats:
    """The exposure of each secret in bits: log2 of the number of candidates, itself among them, over its rank.

    A candidate with an equal score counts half a rank.
    """
    above = (candidates[None, :] > secrets[:, None]).sum(axis=1)
    level = (candidates[None, :] == secrets[:, None]).sum(axis=1)
    return np.asarray(np.log2(len(candidates) + 1) - np.log2(1 + above + level / 2), np.float64)


def exposed(bits: Floats, repeats: Sequence[int], most: float, seed: int) -> list[Exposed]:
    """Exposures by number of repeats, rising; the canaries are what is drawn for the intervals of their mean."""
    found = []
    for times in sorted(set(repeats)):
        held = bits[np.array(repeats) == times]
        counts = np.stack([np.round(held * _MICRO), np.ones(len(held))], axis=1).astype(np.int64)
        units = Units(np.arange(len(held)), len(held), "canary")
        interval = bootstrap_interval(counts, _mean_bits, units, seed, resamples=LABEL_RESAMPLES)
        found.append(Exposed(times, len(held), float(held.mean()), interval, int((held >= most).sum())))
    return found


def _mean_bits(sums: Floats) -> Floats:
    return divide(sums[:, 0] / _MICRO, sums[:, 1])


def _weights(units: Units, items: int, seed: int, resamples: int) -> Iterator[npt.NDArray[np.int64]]:
    """How often each unit is drawn in each resample, (R, units), piece by piece."""
    generator = np.random.Generator(np.random.Philox(seed))
    step = max(1, _CELLS // items)
    even = np.full(units.count, 1 / units.count)
    for first in range(0, resamples, step):
        yield generator.multinomial(units.count, even, size=min(step, resamples - first))


def _figures(weights: npt.NDArray[np.int64], member: Flags, last: npt.NDArray[np.int64]) -> Floats:
    """AUC and TPR (R, 2) of ranked items that count `weights (R, N)` times; NaN where one side was not drawn.

    `last` holds the place of the last item of each distinct score.
    """
    hits = np.cumsum(weights * member, axis=1)[:, last]
    passed = np.cumsum(weights * ~member, axis=1)[:, last]
    inside, outside = hits[:, -1:], passed[:, -1:]
    below = 2 * (outside - passed) + np.diff(passed, axis=1, prepend=0)  # twice the others that a member here beats
    won = (np.diff(hits, axis=1, prepend=0) * below).sum(axis=1)
    reached = (passed * FALSE_ALARMS <= outside).sum(axis=1, keepdims=True)  # cuts with few enough false alarms
    found = np.take_along_axis(np.concatenate([np.zeros_like(inside), hits], axis=1), reached, axis=1)[:, 0]
    both = (inside * outside)[:, 0].astype(np.float64)
    both[both == 0] = np.nan
    return np.stack([won / (2 * both), found * outside[:, 0] / both], axis=1)
