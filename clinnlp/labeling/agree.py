"""How far two engines say the same of the same notes: what an engine must show before it is used."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from clinnlp.core.document import Document
from clinnlp.core.report import Score
from clinnlp.core.schema import LabelSchema
from clinnlp.errors import ConfigError
from clinnlp.tasks.base import Task


@dataclass(frozen=True)
class Bound:
    """What an engine may change of what the model says in fp32."""

    agreement: float = 0.99
    """Least strict F1 of its spans against those of torch in fp32, or share of notes with equal labels."""
    lost_points: float = 0.2
    """Most points of F1 against the gold labels, where there are any, by which it may be worse than torch in fp32."""

    def __post_init__(self) -> None:
        if not 0 <= self.agreement <= 1:
            raise ConfigError("must be between 0 and 1", where="bound.agreement")


@dataclass(frozen=True)
class Agreement:
    """Of each label, how often both say it (tp), only the engine (fp) and only fp32 (fn); and of whole notes.

    `gold` holds the F1 of fp32 and of the engine against the gold labels, None where there are none.
    """

    of: str  # spans or labels
    per_label: Mapping[str, Score]
    notes: int
    equal_notes: int
    gold: tuple[float, float] | None = None

    @property
    def share(self) -> float:
        """Strict F1 of spans, or the share of notes with equal labels; NaN if nothing was said or read."""
        if self.of == "spans":
            return _total(self.per_label).f1
        return self.equal_notes / self.notes if self.notes else math.nan

    @property
    def lost_points(self) -> float:
        """Points of F1 against gold that the engine is worse; NaN without gold."""
        return 100 * (self.gold[0] - self.gold[1]) if self.gold else math.nan

    def holds(self, bound: Bound) -> bool:
        """Whether the engine may be used; not, where nothing was found that could agree."""
        return self.share >= bound.agreement and not self.lost_points > bound.lost_points

    def table(self) -> str:
        """One line a label, then all of them, then what was lost against gold; no note text."""
        width = max(len(name) for name in ("label", "all", *self.per_label))
        lines = [f"{'label':<{width}}  fp32  engine  both  agreement"]
        total = _total(self.per_label)
        for name, score in (*sorted(self.per_label.items()), ("all", total)):
            lines.append(
                f"{name:<{width}}  {score.support:>4}  {score.predicted:>6}  {score.tp:>4}  {_percent(score.f1):>9}"
            )
        lines.append(f"notes with equal {self.of}: {self.equal_notes} of {self.notes}")
        if self.gold:
            before, after = (_percent(f1) for f1 in self.gold)
            lines.append(f"F1 against gold: fp32 {before}, engine {after}: {self.lost_points:+.2f} points lost")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, object]:
        """Plain values; null for NaN."""
        return {
            "of": self.of,
            "agreement": _known(self.share),
            "lost_points": _known(self.lost_points),
            "notes": self.notes,
            "equal_notes": self.equal_notes,
            "per_label": {name: asdict(score) for name, score in sorted(self.per_label.items())},
        }


def agreement(
    task: Task, fp32: Sequence[Document], engine: Sequence[Document], gold: Sequence[Document] = ()
) -> Agreement:
    """How far an engine says the same of notes as torch in fp32; all in the same order.

    Of a task that tags tokens spans are compared (of attributes each as a span), of others the labels of notes. `gold`
    is that of `known_gold`.
    """
    of = "spans" if task.model_class.endswith("TokenClassification") else "labels"
    said, found = ([_items(document, of) for document in task.scored(side)] for side in (fp32, engine))
    known = [_items(document, of) for document in gold]
    scores = None
    if any(known):
        scores = (_total(_scores(known, said)).f1, _total(_scores(known, found)).f1)
    equal = sum(a == b for a, b in zip(said, found, strict=True))
    return Agreement(of, _scores(said, found), len(said), equal, scores)


def known_gold(task: Task, schema: LabelSchema, notes: Sequence[Document]) -> list[Document]:
    """The notes with those of their gold spans and labels, as they are scored, that a model knows; [] without any."""
    known = set(schema.labels)
    of = "spans" if task.model_class.endswith("TokenClassification") else "labels"
    gold = [
        replace(
            note,
            spans=tuple(span for span in note.spans if span.label in known),
            labels=tuple(label for label in note.labels if label in known),
        )
        for note in task.scored(notes)
    ]
    return gold if any(_items(note, of) for note in gold) else []


def _items(document: Document, of: str) -> Counter[tuple[str, object]]:
    if of == "spans":
        return Counter((span.label, span.key) for span in document.spans)
    return Counter((label, None) for label in document.labels)


def _scores(
    wanted: Sequence[Counter[tuple[str, object]]], found: Sequence[Counter[tuple[str, object]]]
) -> dict[str, Score]:
    scores: dict[str, Score] = {}
    for a, b in zip(wanted, found, strict=True):
        for counts, kind in ((a & b, "tp"), (b - a, "fp"), (a - b, "fn")):
            for (label, _), count in counts.items():
                scores[label] = scores.get(label, Score()) + Score(**{kind: count})
    return scores


def _total(scores: Mapping[str, Score]) -> Score:
    return sum(scores.values(), start=Score())


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f} %"
