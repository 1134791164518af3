"""Attributes of entities."""

import difflib
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from clinnlp.core.document import Document, Span
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.tags import Alignment
from clinnlp.encode.tokens import NoteTokenizer, Tokens
from clinnlp.errors import ConfigError, DataError
from clinnlp.evaluation.attributes import ABSENT, SCORE, as_labels, attribute_class, attribute_names
from clinnlp.evaluation.calibration import Calibration, fit_calibration, uncalibrate
from clinnlp.tasks._stretches import answered, collate, examples_of, placed, pooled, softmax
from clinnlp.tasks.base import Answers, Example, Task

if TYPE_CHECKING:
    import torch

    from clinnlp.core.report import Report
    from clinnlp.evaluation.calibration_report import BeforeAndAfter

log = logging.getLogger("clinnlp")

UNKNOWN = -100  # of a class that training does not hold
RULED: Mapping[str, tuple[str, ...]] = {  # what rules say, and how data call it
    "negated": ("negated", "negation", "neg", "negative", "absent"),
    "uncertain": ("uncertain", "uncertainty", "possible", "maybe", "hedged", "speculated", "speculation"),
    "historical": ("historical", "history", "past"),
    "hypothetical": ("hypothetical", "conditional"),
    "other": ("other", "family", "family_member", "someone_else", "associated_with_someone_else"),
}


@dataclass(frozen=True)
class SpanAttributes(Task):
    """Say of given entities whether they are negated, uncertain, past, of the family, or what else spans carry.

    Notes come with their spans, marked by hand or by an entity model. Each is read in the window in which it has most
    context, and answered by the mean over its tokens: all spans of a note cost one pass. An attribute has the classes
    that training shows; to be without it is one of them. Rules after ConText are scored beside it.
    """

    model_class: ClassVar[str] = "AutoModelForTokenClassification"
    dev_score: ClassVar[str] = "entity.strict.micro.f1"
    marks_spans: ClassVar[bool] = True
    reads_spans: ClassVar[bool] = True

    attributes: tuple[str, ...] = ()
    """The attributes that are learned; empty takes all that spans of the training notes have."""
    of: tuple[str, ...] = ()
    """Labels of spans that may have attributes, others are left as they are; empty takes those that have one in
    training."""
    rules: Mapping[str, str] = field(default_factory=dict)
    """What the rules are held against: for negated, uncertain, historical, hypothetical and other (than the patient)
    the attribute and class, as in `negated: POLARITY=NEG`; one that is not given is found by its name."""
    calibration: Calibration = field(default_factory=Calibration)
    """How the scores of attributes become probabilities of being right; fitted on the dev split, after training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, label in self.rules.items():
            if name not in RULED or "=" not in label:
                raise ConfigError(
                    "the rules know nothing of this name, or no attribute and class are given",
                    where=f"task.rules.{name}",
                    next=f"the names are {', '.join(RULED)}; give NAME=CLASS for each",
                )

    def resolve(self, documents: Iterable[Document]) -> "SpanAttributes":
        """With the attributes of the training notes, and the labels of spans that have any.

        Raises DataError for an attribute whose name holds =, ConfigError for a name that no training note holds.
        """
        notes = list(documents)
        names = self.attributes or attribute_names(notes)
        self._check_names(notes, names)
        if odd := [name for name in names if "=" in name]:
            raise DataError(f"{len(odd)} names of attributes hold =", where="data.train", next="rename them")
        held = {s.label for d in notes for s in d.spans if any(attribute_class(s, name) != ABSENT for name in names)}
        return replace(self, attributes=names, of=self.of or tuple(sorted(held)))

    def gold_labels(self, document: Document) -> Iterable[str]:
        """NAME=CLASS of each attribute of each span that may have it; `none` among the classes."""
        names = self.attributes or attribute_names([document])
        return (f"{name}={attribute_class(s, name)}" for s in document.spans if self._may(s) for name in names)

    def examples(
        self, documents: Sequence[Document], tokenizer: NoteTokenizer, schema: LabelSchema
    ) -> tuple[list[Example], Alignment]:
        """One example per window, with the spans that it answers for: `targets` (N, A), `stretches` (N, 2)."""
        examples: list[Example] = []
        counts: Counter[tuple[str, str]] = Counter()
        groups = _groups(schema)
        for document, tokens in zip(documents, tokenizer.encode_many([d.text for d in documents]), strict=True):
            spans = [span for span in document.spans if self._may(span)]
            rows = self.cut(document, tokens, tokenizer)
            places = placed([(span.start, span.end) for span in spans], tokens, rows)
            targets = np.full((len(spans), len(groups)), UNKNOWN, np.int64)
            for number, span in enumerate(spans):
                for column, (name, classes) in enumerate(groups.items()):
                    known = [schema.labels[place] for place in classes]
                    if (label := f"{name}={attribute_class(span, name)}") in known:
                        targets[number, column] = known.index(label)
                counts[span.label, "exact" if places[number, 0] >= 0 else "untokenizable"] += 1
            examples += examples_of(rows, places, targets)
        return examples, Alignment(counts)

    def classes(self, example: Example) -> frozenset[int]:
        """The classes of the spans of a window, by the number of the attribute and of the class."""
        found = {(column, one) for row in example.targets.tolist() for column, one in enumerate(row) if one >= 0}
        return frozenset(1000 * column + one for column, one in found)

    def collate(self, examples: Sequence[Example], pad_id: int) -> "dict[str, torch.Tensor]":
        """`input_ids` and `attention_mask` (B, S), `stretches` (N, 3) and `labels` (N, A) of the spans."""
        return collate(examples, pad_id)

    def loss(self, model: "torch.nn.Module", batch: "dict[str, torch.Tensor]", items: Any) -> "torch.Tensor":
        """Summed cross-entropy of all attributes over `items` spans times attributes."""
        import torch
        from torch.nn.functional import cross_entropy

        labels, stretches = batch.pop("labels"), batch.pop("stretches")
        output: Any = model(**batch)
        logits = pooled(output.logits, stretches)
        total = logits.new_zeros(())
        for column, part in enumerate(_parts(logits, model)):
            total = total + cross_entropy(part, labels[:, column], reduction="sum", ignore_index=UNKNOWN)
        return torch.div(total, items)

    def decode(
        self, documents: Sequence[Document], tokens: Sequence[Tokens], answers: Sequence[Answers], schema: LabelSchema
    ) -> list[Document]:
        """The documents with the attributes of their spans, and the calibrated probability of each as NAME_score.

        An attribute that only is there or not is True where it is; one that a span does not have is left out.
        """
        found: list[Document] = []
        for document, t, note in zip(documents, tokens, answers, strict=True):
            places = placed([(span.start, span.end) for span in document.spans], t, [row for row, _ in note])
            spans = [
                self._with_attributes(span, logits, schema) if self._may(span) else span
                for span, logits in zip(document.spans, answered(places, note), strict=True)
            ]
            found.append(replace(document, spans=tuple(spans), labels=()))
        return found

    def _with_attributes(self, span: Span, logits: NDArray[np.float64] | None, schema: LabelSchema) -> Span:
        groups = _groups(schema)
        gone = {*groups, *(name + SCORE for name in groups)}
        attributes = {name: value for name, value in span.attributes.items() if name not in gone}
        for name, classes in groups.items():
            if logits is None:
                break
            chances = softmax(logits[classes])
            best = int(chances.argmax())
            label = schema.labels[classes[best]]
            value = label.partition("=")[2]
            if value != ABSENT:
                score = float(self.calibration.apply(chances[best : best + 1], [label])[0])
                attributes |= {name: True if value == "true" else value, name + SCORE: score}
        return replace(span, attributes=attributes)

    def scored(self, documents: Sequence[Document]) -> Sequence[Document]:
        """Each class of each attribute as an entity of its own, the absence of an attribute left out."""
        return as_labels(documents, self.attributes)

    def tune(self, gold: Sequence[Document], predicted: Sequence[Document]) -> "SpanAttributes":
        """The calibration of scores with the least log loss on the dev split."""
        raw = uncalibrate(self.scored(predicted), self.calibration)
        return replace(self, calibration=fit_calibration(self.scored(gold), raw))

    def before_and_after(self, gold: Sequence[Document], predicted: Sequence[Document], seed: int) -> "BeforeAndAfter":
        """How far the scores of attributes are probabilities, raw and calibrated."""
        from clinnlp.evaluation.calibration_report import before_and_after

        return before_and_after(self.scored(gold), self.scored(predicted), self.calibration, seed=seed)

    def evaluate(
        self,
        gold: Sequence[Document],
        predicted: Sequence[Document],
        schema: LabelSchema,
        seed: int,
        method: Literal["percentile", "bca"] = "percentile",
    ) -> "Report":
        """Scores of each class of each attribute, as of entities: a span must be there and have the class."""
        from clinnlp.evaluation.score import evaluate

        labels = [label for label in schema.labels if not label.endswith(f"={ABSENT}")]
        sides = self.scored(gold), self.scored(predicted)
        return evaluate(*sides, labels=labels, seed=seed, task="ner", method=method)

    def baseline(self, documents: Sequence[Document]) -> Sequence[Document] | None:
        """What rules after ConText say of the spans; None where no class of the documents is one that they know."""
        from clinnlp.text.context import context

        means = self.rules or _ruled(sorted({s.label for d in self.scored(documents) for s in d.spans}))
        if not means:
            return None
        found: list[Document] = []
        for document in documents:
            said = context(document.text, [(span.start, span.end) for span in document.spans])
            spans: list[Span] = []
            for span, names in zip(document.spans, said, strict=True):
                told = (
                    sorted(names & means.keys(), reverse=True) if self._may(span) else []
                )  # negated comes last, and wins
                pairs = [means[name].partition("=") for name in told]
                values = {name: True if value == "true" else value for name, _, value in pairs}
                spans.append(replace(span, attributes=values))
            found.append(replace(document, spans=tuple(spans)))
        return found

    def _check_names(self, notes: Sequence[Document], names: Sequence[str]) -> None:
        spans = [span for document in notes for span in document.spans]
        _check_held("of", self.of, {span.label for span in spans}, "no training span has this label")
        may = [span for span in spans if self._may(span)]
        known = {*names, *attribute_names(notes)}
        classes = {name: {attribute_class(span, name) for span in may} - {ABSENT} for name in known}
        held = {name for name, found in classes.items() if found}
        _check_held("attributes", self.attributes, held, "no training span that may have it carries this attribute")
        for rule, label in self.rules.items():
            name, _, value = label.partition("=")
            _check_held(f"rules.{rule}", [name], {*names}, "this attribute is not learned")
            if value not in classes[name]:
                log.warning("task.rules.%s: no training span has the class %s: is it spelled so?", rule, label)

    def _may(self, span: Span) -> bool:
        return not self.of or span.label in self.of


def _check_held(where: str, given: Sequence[str], held: Collection[str], told: str) -> None:
    """Raises ConfigError for a name that is not held, with the nearest one that is."""
    for name in given:
        if name not in held:
            near = difflib.get_close_matches(name, sorted(held), n=1, cutoff=0.5)
            next = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(held)) or 'none'}"
            raise ConfigError(f"{name!r}: {told}", where=f"task.{where}", next=next)


def _last(name: str) -> tuple[bool, str]:
    """Where classes of one attribute meet, negation holds."""
    return name == "negated", name


def _groups(schema: LabelSchema) -> dict[str, list[int]]:
    """The places of the classes of each attribute, in the order of the schema."""
    groups: dict[str, list[int]] = {}
    for place, label in enumerate(schema.labels):
        groups.setdefault(label.partition("=")[0], []).append(place)
    return groups


def _parts(logits: "torch.Tensor", model: "torch.nn.Module") -> "Iterable[torch.Tensor]":
    """The logits (N, C) of each attribute: the outputs are named in the config of the head."""
    from clinnlp.encode.packing import inner

    outputs: Any = inner(model).config.id2label
    schema = LabelSchema(tuple(outputs[number] for number in range(len(outputs))))
    return (logits[:, places] for places in _groups(schema).values())


def _ruled(labels: Sequence[str]) -> dict[str, str]:
    """The class that each thing that rules can say is called in the data: POLARITY=NEG, or negated=true."""
    found: dict[str, str] = {}
    for label in labels:
        name, _, value = label.partition("=")
        told = (name if value == "true" else value).casefold().replace(" ", "_")
        for rule, words in RULED.items():
            if told in words:
                found.setdefault(rule, label)
    return found
