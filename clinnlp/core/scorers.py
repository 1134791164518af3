"""What span scorers report: SemEval-2013 counts, counts of units, and what the scores of spans are worth."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from clinnlp.core.report import LabelScores, Score


@dataclass(frozen=True, slots=True)
class Matches:
    """Pairs of a gold and a predicted span, and spans without a partner, in the words of SemEval-2013 and nervaluate.

    A partial pair counts half (Segura-Bedmar et al. 2013, SemEval-2013 Task 9).
    """

    correct: int = 0
    incorrect: int = 0
    partial: int = 0
    missed: int = 0
    spurious: int = 0

    @property
    def possible(self) -> int:
        """All gold spans."""
        return self.correct + self.incorrect + self.partial + self.missed

    @property
    def actual(self) -> int:
        """All predicted spans."""
        return self.correct + self.incorrect + self.partial + self.spurious

    @property
    def precision(self) -> float:
        return (self.correct + 0.5 * self.partial) / self.actual if self.actual else math.nan

    @property
    def recall(self) -> float:
        return (self.correct + 0.5 * self.partial) / self.possible if self.possible else math.nan

    @property
    def f1(self) -> float:
        """NaN only if there is nothing in gold and nothing predicted."""
        if not self.correct and not self.partial:
            return 0.0 if self.possible or self.actual else math.nan
        return 2 * self.precision * self.recall / (self.precision + self.recall)

    def as_dict(self) -> dict[str, Any]:
        ratios = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return ratios | asdict(self) | {"possible": self.possible, "actual": self.actual}


@dataclass(frozen=True, slots=True)
class MatchScores:
    """One of SemEval-2013's ways of counting, over all spans and over the spans of each label alone.

    Where labels may differ within a pair, the counts of the labels do not add up to `micro`.
    """

    micro: Matches
    per_label: Mapping[str, Matches]

    @property
    def spans(self) -> tuple[int, int] | None:
        """How many gold and how many predicted spans were scored."""
        return self.micro.possible, self.micro.actual

    def as_dict(self) -> dict[str, Any]:
        labels = {label: self.per_label[label].as_dict() for label in sorted(self.per_label)}
        return {"unit": "span", "micro": self.micro.as_dict(), "per_label": labels}


@dataclass(frozen=True, slots=True)
class CountScores:
    """Found, spurious and missed units of each label; `unit` is span, character, token or chunk."""

    unit: str
    counts: LabelScores

    @property
    def micro(self) -> Score:
        return self.counts.micro

    @property
    def per_label(self) -> Mapping[str, Score]:
        return self.counts.per_label

    @property
    def spans(self) -> tuple[int, int] | None:
        """How many gold and how many predicted spans were scored; None if it was not spans that were counted."""
        return (self.micro.support, self.micro.predicted) if self.unit == "span" else None

    def as_dict(self) -> dict[str, Any]:
        """The ratios and counts; of sets of characters and tokens also IoU and Dice, with the unit in their names."""
        content = self.counts.as_dict()
        del content["micro"]["f1_interval"]
        if self.unit in ("character", "token"):
            for score, entry in [(self.micro, content["micro"])] + [
                (self.per_label[label], entry) for label, entry in content["per_label"].items()
            ]:
                entry[f"{self.unit}_iou"] = iou(score)
                entry[f"{self.unit}_dice"] = score.f1
        return {"unit": self.unit, **content}


Scorer = MatchScores | CountScores


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The largest recall at a precision of at least `target`, and the lowest score kept there; NaN if out of reach."""

    target: float
    recall: float = math.nan
    precision: float = math.nan
    threshold: float = math.nan


@dataclass(frozen=True, slots=True)
class Detection:
    """How well the scores of predicted spans rank them: average precision, and recall at fixed precision.

    `macro` is the mean over the labels that gold holds. Average precision is NaN without gold spans.
    """

    micro: float
    macro: float
    per_label: Mapping[str, float]
    recall_at_precision: tuple[OperatingPoint, ...]

    def as_dict(self) -> dict[str, Any]:
        labels = {label: self.per_label[label] for label in sorted(self.per_label)}
        points = {f"{point.target:.2f}": asdict(point) for point in self.recall_at_precision}
        return {
            "average_precision": {"micro": self.micro, "macro": self.macro, "per_label": labels},
            "recall_at_precision": points,
        }


def iou(score: Score) -> float:
    """Intersection over union of two sets; NaN if both are empty."""
    union = score.tp + score.fp + score.fn
    return score.tp / union if union else math.nan
