"""Scores and reports: counts first, ratios derived, NaN for nothing over nothing."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from clinnlp.core.notes_report import NotesReport as NotesReport
from clinnlp.errors import IntegrityError

if TYPE_CHECKING:
    from clinnlp.core.scorers import Detection, Scorer

FORMAT_VERSION = 1  # of metrics.json; raised when a key changes its meaning or goes away


@dataclass(frozen=True, slots=True)
class Ratios:
    """Precision, recall and F1 of an average over labels; NaN where there was nothing to average."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Score:
    """The counts of one label, or their sum over labels: found, spurious and missed."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    @property
    def support(self) -> int:
        return self.tp + self.fn

    @property
    def predicted(self) -> int:
        return self.tp + self.fp

    @property
    def precision(self) -> float:
        return self.tp / self.predicted if self.predicted else math.nan

    @property
    def recall(self) -> float:
        return self.tp / self.support if self.support else math.nan

    @property
    def f1(self) -> float:
        """NaN only if there is nothing in gold and nothing predicted."""
        if not self.tp:
            return 0.0 if self.fp or self.fn else math.nan
        # not 2tp/(2tp+fp+fn): this form rounds like seqeval's, so that printed digits agree
        return 2 * self.precision * self.recall / (self.precision + self.recall)

    def __add__(self, other: "Score") -> "Score":
        return Score(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    def as_dict(self) -> dict[str, Any]:
        return {
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "tp": self.tp,
            "fp": self.fp,
            "fn": self.fn,
            "support": self.support,
        }


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval; `units` units (documents, groups) were drawn with replacement `resamples` times.

    `method` is percentile or bca, as it was computed: what BCa cannot correct falls back to percentile.
    """

    low: float
    high: float
    level: float
    resamples: int
    unit: str
    units: int
    method: str = "percentile"


@dataclass(frozen=True, slots=True)
class LabelScores:
    """One way of counting, per label; the label set is gold, predicted and declared labels together.

    Macro and weighted averages run over the labels that occur in gold or predictions. There a precision or
    recall over nothing counts as 0, as seqeval and sklearn do with zero_division=0; per label it stays NaN.
    """

    per_label: Mapping[str, Score]
    f1_interval: Interval | None = None  # of micro F1
    label_intervals: Mapping[str, Interval] | None = None  # of F1; None where they were not drawn

    @property
    def present(self) -> tuple[str, ...]:
        """The labels in gold or predictions, sorted: the rows of the report."""
        return tuple(label for label in sorted(self.per_label) if self.per_label[label] != Score())

    @property
    def absent(self) -> tuple[str, ...]:
        """The labels that gold does not hold."""
        return tuple(label for label in sorted(self.per_label) if not self.per_label[label].support)

    @property
    def micro(self) -> Score:
        return sum(self.per_label.values(), start=Score())

    @property
    def macro(self) -> Ratios:
        return self._average([1] * len(self.present))

    @property
    def macro_in_gold(self) -> Ratios:
        """The averages over the labels that gold holds: a set that no prediction can change."""
        return self._average([int(self.per_label[label].support > 0) for label in self.present])

    @property
    def weighted(self) -> Ratios:
        """The averages over labels weighted by support."""
        return self._average([self.per_label[label].support for label in self.present])

    def _average(self, weights: list[int]) -> Ratios:
        scores = [self.per_label[label] for label in self.present]
        return Ratios(
            weighted_mean([s.precision for s in scores], weights),
            weighted_mean([s.recall for s in scores], weights),
            weighted_mean([s.f1 for s in scores], weights),
        )

    def as_dict(self) -> dict[str, Any]:
        interval = None if self.f1_interval is None else asdict(self.f1_interval)
        per_label = {label: self.per_label[label].as_dict() for label in sorted(self.per_label)}
        if (drawn := self.label_intervals) is not None:
            for label, entry in per_label.items():
                entry["f1_interval"] = asdict(drawn[label]) if label in drawn else None
        return {
            "micro": {**self.micro.as_dict(), "f1_interval": interval},
            "macro": asdict(self.macro),
            "macro_in_gold": asdict(self.macro_in_gold),
            "weighted": asdict(self.weighted),
            "per_label": per_label,
            "absent_from_gold": list(self.absent),
        }


@dataclass(frozen=True, slots=True)
class SpanCounts:
    """How many spans one side holds, and how many of them a flat scheme cannot.

    discontinuous: in several pieces; overlapping: its bounds cross or nest with another's of the same document;
    duplicates: further copies of a span.
    """

    total: int = 0
    discontinuous: int = 0
    overlapping: int = 0
    duplicates: int = 0


@dataclass(frozen=True, slots=True)
class EntityReport:
    """Span scores over whole documents, in characters; `scorers` are the other ways of counting, by name.

    Raises IntegrityError unless all spans in the data, gold and predicted, were scored, by each that counts spans.
    """

    strict: LabelScores
    gold: SpanCounts
    predicted: SpanCounts
    documents: int
    documents_without_gold: int = 0
    scorers: Mapping[str, "Scorer"] = field(default_factory=dict)
    detection: "Detection | None" = None  # None where a predicted span has no score

    def __post_init__(self) -> None:
        counted = [(self.strict.micro.support, self.strict.micro.predicted)]
        counted += [scorer.spans for scorer in self.scorers.values() if scorer.spans is not None]
        for gold, predicted in counted:
            self._check("gold", self.gold.total, gold)
            self._check("predicted", self.predicted.total, predicted)

    def _check(self, side: str, count: int, scored: int) -> None:
        if count != scored:
            raise IntegrityError(
                f"{side} entities in the data = {count}, scored = {scored}",
                next="report this as a bug; these scores must not be used",
            )

    def as_dict(self) -> dict[str, Any]:
        counts = {
            "documents": self.documents,
            "documents_without_gold": self.documents_without_gold,
            "gold": self.gold.total,
            "scored": self.strict.micro.support,
            "predicted": self.predicted.total,
        }
        for name, side in (("gold", self.gold), ("predicted", self.predicted)):
            counts |= {f"{name}_{kind}": n for kind, n in asdict(side).items() if kind != "total"}
        content: dict[str, Any] = {"strict": self.strict.as_dict(), "counts": counts}
        if self.scorers:
            content["scorers"] = {name: scorer.as_dict() for name, scorer in self.scorers.items()}
            content |= {"average_precision": None, "recall_at_precision": None}
            content |= {} if self.detection is None else self.detection.as_dict()
        return content


@dataclass(frozen=True, slots=True)
class DataCounts:
    """What was scored on: documents, groups (None where no document has one), characters and empty texts.

    `shortest`, `median` and `longest` are texts in characters.
    """

    documents: int = 0
    groups: int | None = None
    characters: int = 0
    empty: int = 0
    shortest: int = 0
    median: int = 0
    longest: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """All scores of one run: of entities, of note labels, or of both."""

    entity: EntityReport | None = None
    notes: NotesReport | None = None
    data: DataCounts = field(default_factory=DataCounts)

    def as_dict(self) -> dict[str, Any]:
        """The content of metrics.json: stable keys, null for NaN."""
        content: dict[str, Any] = {"format_version": FORMAT_VERSION, "data": asdict(self.data)}
        if self.entity is not None:
            content["entity"] = self.entity.as_dict()
        if self.notes is not None:
            content["notes"] = self.notes.as_dict()
        plain: dict[str, Any] = _without_nan(content)
        return plain


def weighted_mean(values: Iterable[float], weights: Iterable[int]) -> float:
    """The mean of ratios, in which NaN counts as 0; NaN if the weights sum to nothing."""
    sum_of_values, sum_of_weights = 0.0, 0
    for value, weight in zip(values, weights, strict=True):
        # plain addition: sum() compensates from Python 3.12 on, and the last digit would depend on the version
        sum_of_values += 0.0 if math.isnan(value) else value * weight
        sum_of_weights += weight
    return sum_of_values / sum_of_weights if sum_of_weights else math.nan


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
