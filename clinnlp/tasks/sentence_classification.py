"""Sentence classification."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from clinnlp.core.document import Document, Span
from clinnlp.core.schema import LabelSchema
from clinnlp.core.window import Window, windows
from clinnlp.encode.marks import tokens_of
from clinnlp.encode.tags import Alignment
from clinnlp.encode.tokens import NoteTokenizer, Tokens
from clinnlp.evaluation.calibration import Calibration, calibrate, fit_calibration, uncalibrate
from clinnlp.tasks._stretches import answered, collate, examples_of, placed, pooled, softmax
from clinnlp.tasks.base import Answers, Example, Row, Task
from clinnlp.text.sentences import sentences

if TYPE_CHECKING:
    import torch

    from clinnlp.evaluation.calibration_report import BeforeAndAfter

SENTENCE = "SENTENCE"  # the label of a span that says where a sentence is, and not of what class


@dataclass(frozen=True)
class SentenceClassification(Task):
    """Give each sentence of a note a class, read among the sentences around it.

    A sentence is a span whose label is its class. All sentences of a window are read together (Cohan et al. 2019), and
    each is answered by the mean over its tokens. Where a note to be labeled has no spans of a known class, or of the
    label SENTENCE, its sentences are found by rules.
    """

    model_class: ClassVar[str] = "AutoModelForTokenClassification"
    dev_score: ClassVar[str] = "entity.strict.micro.f1"
    reads_spans: ClassVar[bool] = True

    context: bool = True
    """Whether a sentence is read among its neighbours, or by itself: the baseline."""
    calibration: Calibration = field(default_factory=Calibration)
    """How the scores of sentences become probabilities of being right; fitted on the dev split, after training."""

    def gold_labels(self, document: Document) -> Iterable[str]:
        return (span.label for span in document.spans if span.label != SENTENCE)

    def cuts_by(self, document: Document) -> Hashable:
        """The bounds of its spans, where each sentence is read by itself."""
        return None if self.context else tuple((span.start, span.end, span.label) for span in document.spans)

    @property
    def cut_rule(self) -> Hashable:
        """That of all tasks, and whether sentences are read by themselves."""
        return (*self.sizes, self.context)

    def cut(self, document: Document, tokens: Tokens, tokenizer: NoteTokenizer) -> list[Row]:
        """Windows over the whole note or, without context, over each of its sentences."""
        if self.context:
            return super().cut(document, tokens, tokenizer)
        starts, covered = tokens.offsets[:, 0], np.maximum.accumulate(tokens.offsets[:, 1])
        bounds = [(span.start, span.end) for span in document.spans] or sentences(document.text)
        borders = sorted(
            {0, *(first for first, last in tokens_of(bounds, starts, covered) if first < last), len(tokens)}
        )
        room = self.window - tokenizer.specials
        rows: list[Row] = []
        for begin, end in pairwise(borders):
            for part in windows(end - begin, room, min(self.overlap, room - 1)):
                moved = Window(*(place + begin for place in (part.first, part.last, part.own_first, part.own_last)))
                rows.append(Row(tokenizer.wrap(tokens.ids[moved.first : moved.last]), moved, len(tokenizer.prefix)))
        return rows

    def examples(
        self, documents: Sequence[Document], tokenizer: NoteTokenizer, schema: LabelSchema
    ) -> tuple[list[Example], Alignment]:
        """One example per window, with the sentences that it answers for: `targets` (N,), `stretches` (N, 2)."""
        examples: list[Example] = []
        counts: Counter[tuple[str, str]] = Counter()
        for document, tokens in zip(documents, tokenizer.encode_many([d.text for d in documents]), strict=True):
            spans = [span for span in document.spans if span.label != SENTENCE]
            rows = self.cut(document, tokens, tokenizer)
            places = placed([(span.start, span.end) for span in spans], tokens, rows)
            targets = np.array([schema.index(span.label) for span in spans], np.int64)
            examples += examples_of(rows, places, targets)
            for span, (row, _, _) in zip(spans, places, strict=True):
                counts[span.label, "exact" if row >= 0 else "untokenizable"] += 1
        return examples, Alignment(counts)

    def classes(self, example: Example) -> frozenset[int]:
        """The classes of the sentences of a window."""
        return frozenset(example.targets.tolist())

    def collate(self, examples: Sequence[Example], pad_id: int) -> "dict[str, torch.Tensor]":
        """`input_ids` and `attention_mask` (B, S), `stretches` (N, 3) and `labels` (N,) of the sentences."""
        return collate(examples, pad_id)

    def loss(self, model: "torch.nn.Module", batch: "dict[str, torch.Tensor]", items: Any) -> "torch.Tensor":
        """Summed cross-entropy over `items` sentences."""
        import torch
        from torch.nn.functional import cross_entropy

        labels, stretches = batch.pop("labels"), batch.pop("stretches")
        logits = pooled(model(**batch).logits, stretches)
        return torch.div(cross_entropy(logits, labels, reduction="sum"), items)

    def decode(
        self, documents: Sequence[Document], tokens: Sequence[Tokens], answers: Sequence[Answers], schema: LabelSchema
    ) -> list[Document]:
        """A span for each sentence, with its class and the calibrated probability of it."""
        found: list[Document] = []
        for document, t, note in zip(documents, tokens, answers, strict=True):
            bounds = _sentences(document, schema)
            places = placed(bounds, t, [row for row, _ in note])
            spans: list[Span] = []
            for (start, end), (row, *_), logits in zip(bounds, places, answered(places, note), strict=True):
                if logits is not None:
                    best, chances = int(logits.argmax()), softmax(logits)
                    spans.append(Span(start, end, schema.labels[best], float(chances[best]), {"window": int(row)}))
            found.append(replace(document, spans=tuple(spans), labels=()))
        return calibrate(found, self.calibration)

    def tune(self, gold: Sequence[Document], predicted: Sequence[Document]) -> "SentenceClassification":
        """The calibration of scores with the least log loss on the dev split."""
        return replace(self, calibration=fit_calibration(gold, uncalibrate(predicted, self.calibration)))

    def before_and_after(self, gold: Sequence[Document], predicted: Sequence[Document], seed: int) -> "BeforeAndAfter":
        """How far the scores of sentences are probabilities, raw and calibrated."""
        from clinnlp.evaluation.calibration_report import before_and_after

        return before_and_after(gold, predicted, self.calibration, seed=seed)


def _sentences(document: Document, schema: LabelSchema) -> list[tuple[int, int]]:
    """The bounds of the sentences that a note says it has, or that rules find."""
    known = {*schema.labels, SENTENCE}
    given = [(span.start, span.end) for span in document.spans if span.label in known]
    return given or sentences(document.text)
