"""Scores of note labels: of one label against the rest, and of all together."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from clinnlp.errors import IntegrityError

if TYPE_CHECKING:
    from clinnlp.core.report import Interval, LabelScores

_BUG = "report this as a bug; these scores must not be used"


@dataclass(frozen=True, slots=True)
class AgainstRest:
    """One label against all others: each note is counted once in one of the four cells."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def notes(self) -> int:
        return self.tp + self.fp + self.fn + self.tn

    @property
    def prevalence(self) -> float:
        """The part of the notes that have the label in gold."""
        return _ratio(self.tp + self.fn, self.notes)

    @property
    def specificity(self) -> float:
        """The part of the notes without the label that are left without it."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def balanced_accuracy(self) -> float:
        """The mean of recall and specificity; NaN where gold has the label in all notes or in none."""
        return (_ratio(self.tp, self.tp + self.fn) + self.specificity) / 2

    @property
    def mcc(self) -> float:
        """Matthews' correlation of gold and prediction (Matthews 1975); NaN where one of them never varies."""
        product = (self.tp + self.fp) * (self.tp + self.fn) * (self.tn + self.fp) * (self.tn + self.fn)
        return _ratio(self.tp * self.tn - self.fp * self.fn, math.sqrt(product))

    def as_dict(self) -> dict[str, Any]:
        """What `Score.as_dict` has not."""
        return {
            "tn": self.tn,
            "prevalence": self.prevalence,
            "specificity": self.specificity,
            "balanced_accuracy": self.balanced_accuracy,
            "mcc": self.mcc,
        }


@dataclass(frozen=True, slots=True)
class NotesReport:
    """Scores of note labels; `correct` counts documents whose whole label set is right.

    Accuracy is therefore plain accuracy with one label per note, subset accuracy with several.
    `average_precision` and `auroc` are None without probabilities; the one lacks the labels that gold does not
    hold, the other also those that all of gold holds. `confusion` (multi-class) has a row per gold label, a column
    per predicted one, both in the order of `labels`, and a last column for documents without a prediction.
    Raises IntegrityError if its counts contradict each other.
    """

    scores: "LabelScores"
    documents: int
    correct: int
    multi_label: bool
    unpredicted: int = 0  # documents without a predicted label
    average_precision: Mapping[str, float] | None = None
    accuracy_interval: "Interval | None" = None
    auroc: Mapping[str, float] | None = None
    micro_average_precision: float = math.nan  # of all document-label pairs in one ranking
    macro_f1_interval: "Interval | None" = None
    confusion: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        if any(self.against_rest(label).tn < 0 for label in self.labels):
            raise IntegrityError(f"a label was counted in more than the {self.documents} documents scored", next=_BUG)
        if self.confusion is None:
            return
        columns = list(zip(*self.confusion, strict=True)) or [()]
        for number, (label, row) in enumerate(zip(self.labels, self.confusion, strict=True)):
            score = self.scores.per_label[label]
            if (row[number], sum(row), sum(columns[number])) != (score.tp, score.support, score.predicted):
                raise IntegrityError("the confusion matrix and the counts of a label disagree", next=_BUG)

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels, sorted: gold, predicted and declared ones."""
        return tuple(sorted(self.scores.per_label))

    @property
    def varying(self) -> tuple[str, ...]:
        """The labels that some documents have in gold and some have not: gold alone decides which."""
        return tuple(label for label in self.labels if 0 < self.scores.per_label[label].support < self.documents)

    @property
    def accuracy(self) -> float:
        return _ratio(self.correct, self.documents)

    @property
    def balanced_accuracy(self) -> float:
        """Multi-class: mean recall of the labels in gold (Brodersen et al. 2010); multi-label: mean over `varying`."""
        if self.multi_label:
            return _mean(self.against_rest(label).balanced_accuracy for label in self.varying)
        return _mean(score.recall for score in self.scores.per_label.values() if score.support)

    @property
    def mcc(self) -> float:
        """Matthews' correlation of gold and prediction; NaN where one of them never varies.

        Multi-class: R_K (Gorodkin 2004), in which no prediction is a class of its own. Multi-label: the mean over
        `varying`, where a label that is predicted for all documents or for none counts as 0.
        """
        if self.multi_label:
            return _mean(self.against_rest(label).mcc for label in self.varying)
        scores, n = self.scores.per_label.values(), self.documents
        covariance = self.correct * n - sum(score.support * score.predicted for score in scores)
        of_gold = n * n - sum(score.support**2 for score in scores)
        of_predicted = n * n - sum(score.predicted**2 for score in scores) - self.unpredicted**2
        return _ratio(covariance, math.sqrt(of_gold * of_predicted))

    @property
    def macro_average_precision(self) -> float:
        """The mean over the labels that gold holds; NaN without probabilities."""
        return _mean((self.average_precision or {}).values())

    @property
    def macro_auroc(self) -> float:
        """The mean over `varying`; NaN without probabilities."""
        return _mean((self.auroc or {}).values())

    @property
    def macro_prevalence(self) -> float:
        """The mean over the labels that gold holds: what a random ranking has as macro average precision."""
        return _mean(self.prevalence(label) for label in self.labels if self.scores.per_label[label].support)

    @property
    def micro_prevalence(self) -> float:
        """The part of the document-label pairs in gold: what a random ranking has as micro average precision."""
        return _ratio(self.scores.micro.support, self.documents * len(self.labels))

    def against_rest(self, label: str) -> AgainstRest:
        """The four counts of a label."""
        score = self.scores.per_label[label]
        return AgainstRest(score.tp, score.fp, score.fn, self.documents - score.tp - score.fp - score.fn)

    def prevalence(self, label: str) -> float:
        """The part of the documents that have the label in gold."""
        return self.against_rest(label).prevalence

    def as_dict(self) -> dict[str, Any]:
        scores = self.scores.as_dict()
        for label, entry in scores["per_label"].items():
            entry |= self.against_rest(label).as_dict()
            entry["average_precision"] = (self.average_precision or {}).get(label, math.nan)
            entry["auroc"] = (self.auroc or {}).get(label, math.nan)
        scores["micro"] |= {"average_precision": self.micro_average_precision, "prevalence": self.micro_prevalence}
        scores["macro"] |= {"f1_interval": _plain(self.macro_f1_interval), "prevalence": self.macro_prevalence}
        confusion = None if self.confusion is None else [list(row) for row in self.confusion]
        return {
            "accuracy": self.accuracy,
            "accuracy_interval": _plain(self.accuracy_interval),
            "balanced_accuracy": self.balanced_accuracy,
            "mcc": self.mcc,
            "average_precision": self.macro_average_precision,
            "auroc": self.macro_auroc,
            **scores,
            "confusion": None if confusion is None else {"labels": list(self.labels), "counts": confusion},
            "multi_label": self.multi_label,
            "counts": {"documents": self.documents, "correct": self.correct, "unpredicted": self.unpredicted},
        }


def _plain(interval: "Interval | None") -> dict[str, Any] | None:
    return None if interval is None else asdict(interval)


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan


def _mean(values: Iterable[float]) -> float:
    """The mean of ratios, in which NaN counts as 0; NaN of no ratios."""
    known = [0.0 if math.isnan(value) else value for value in values]
    return _ratio(math.fsum(known), len(known))
