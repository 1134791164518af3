"""Score thresholds for a target precision or recall, and what they reach."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from clinnlp.core.report import Interval
from clinnlp.evaluation.decisions import Decisions
from clinnlp.evaluation.reliability import tie_ends
from clinnlp.evaluation.resample import RESAMPLES, divide, percentile_interval, resampled_sums, sum_by_unit

Target = tuple[Literal["precision", "recall"], float]
TARGETS: tuple[Target, ...] = (
    ("precision", 0.8), ("precision", 0.9), ("precision", 0.95), ("precision", 0.99),
    ("recall", 0.8), ("recall", 0.9), ("recall", 0.95),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold for a target, and what is reached by taking every decision whose score is not under it.

    `score` is NaN where none reaches the target. Where it was `chosen_here` the figures are a little too good: look
    at it on other documents.
    """

    target: Literal["precision", "recall"]
    aim: float
    score: float
    chosen_here: bool
    correct: int
    selected: int
    gold: int
    precision_interval: Interval | None = None
    recall_interval: Interval | None = None

    @property
    def precision(self) -> float:
        return self.correct / self.selected if self.selected else math.nan

    @property
    def recall(self) -> float:
        return self.correct / self.gold if self.gold and not math.isnan(self.score) else math.nan

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "precision": self.precision, "recall": self.recall}


def choose_thresholds(
    decisions: Decisions, targets: Sequence[Target] = TARGETS, seed: int = 13, resamples: int = RESAMPLES
) -> tuple[Threshold, ...]:
    """The threshold of each target: for a precision the lowest score that reaches it, for a recall the highest.

    Intervals as in `reached`.
    """
    order = np.argsort(-decisions.scores, kind="stable")
    scores = decisions.scores[order]
    selected = tie_ends(scores)
    correct = np.cumsum(decisions.correct[order])[selected - 1]
    gold = int(decisions.gold.sum())
    chosen: list[tuple[Target, float]] = []
    for kind, aim in targets:
        needed = aim * (selected if kind == "precision" else np.full(len(selected), gold or math.inf))
        good = np.flatnonzero(correct >= needed - 1e-9)
        place = good[-1 if kind == "precision" else 0] if len(good) else None
        chosen.append(((kind, aim), math.nan if place is None else float(scores[selected[place] - 1])))
    return _reached(decisions, chosen, True, seed, resamples)


def reached(
    decisions: Decisions, thresholds: Sequence[Threshold], seed: int = 13, resamples: int = RESAMPLES
) -> tuple[Threshold, ...]:
    """What thresholds reach on other decisions, such as those chosen on dev on the test split.

    The intervals are bootstraps by group at the given threshold; choosing it again is not part of them.
    """
    given: list[tuple[Target, float]] = [((one.target, one.aim), one.score) for one in thresholds]
    return _reached(decisions, given, False, seed, resamples)


def _reached(
    decisions: Decisions, thresholds: Sequence[tuple[Target, float]], here: bool, seed: int, resamples: int
) -> tuple[Threshold, ...]:
    size, documents = len(thresholds), len(decisions.gold)
    counts = np.zeros((documents, 2 * size + 1), np.int64)
    counts[:, -1] = decisions.gold
    for number, (_, score) in enumerate(thresholds):
        taken = decisions.scores >= score
        counts[:, number] = np.bincount(decisions.document[taken & decisions.correct], minlength=documents)
        counts[:, size + number] = np.bincount(decisions.document[taken], minlength=documents)
    precisions: list[Interval | None] = [None] * size
    recalls: list[Interval | None] = [None] * size
    if size and decisions.units.count > 1:
        sums = resampled_sums(sum_by_unit(counts, decisions.units), seed, resamples)
        for number, (_, score) in enumerate(thresholds):
            if not math.isnan(score):
                ratios = divide(sums[:, number], sums[:, size + number])
                precisions[number] = percentile_interval(ratios, decisions.units)
                recalls[number] = percentile_interval(divide(sums[:, number], sums[:, -1]), decisions.units)
    found: list[Threshold] = []
    totals = counts.sum(axis=0).tolist()
    for number, ((kind, aim), score) in enumerate(thresholds):
        figures = (totals[number], totals[size + number], totals[-1], precisions[number], recalls[number])
        found.append(Threshold(kind, aim, score, here, *figures))
    return tuple(found)
