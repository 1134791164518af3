"""Named entity recognition."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from clinnlp.core.document import Document, Span
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.packing import pad_rows
from clinnlp.encode.tags import Alignment, carried, confidence, decode_many, spans_to_tags, tags_to_spans
from clinnlp.encode.tokens import NoteTokenizer, Tokens, units
from clinnlp.evaluation.calibration import Calibration, calibrate, fit_calibration, uncalibrate
from clinnlp.formats.conll import ILLEGAL
from clinnlp.tasks.base import Answers, Example, Task

if TYPE_CHECKING:
    import torch

    from clinnlp.core.report import Report
    from clinnlp.evaluation.calibration_report import BeforeAndAfter


@dataclass(frozen=True)
class Ner(Task):
    """Find flat entities: one BIO tag per word by a linear layer, read by constrained Viterbi decoding.

    The first token of each word carries its tag (Devlin et al. 2019). Nested, crossing and discontinuous
    spans cannot be held by a flat scheme: they are counted, and scored as missed.
    """

    model_class: ClassVar[str] = "AutoModelForTokenClassification"
    dev_score: ClassVar[str] = "entity.strict.micro.f1"

    trained_tokens: Literal["first", "all"] = "first"
    """Tokens of a word that are trained on its tag; all for models that transformers.pipeline is to read as well,
    whose simple aggregation takes every token at its word. clinnlp reads the first in both cases."""
    calibration: Calibration = field(default_factory=Calibration)
    """How the scores of spans become probabilities of being right; fitted on the dev split at the end of training."""

    def gold_labels(self, document: Document) -> Iterable[str]:
        return (span.label for span in document.spans)

    def outputs(self, schema: LabelSchema) -> tuple[str, ...]:
        return schema.tags

    def examples(
        self, documents: Sequence[Document], tokenizer: NoteTokenizer, schema: LabelSchema
    ) -> tuple[list[Example], Alignment]:
        """One example per window; only tokens the window owns are targets, so that each counts once."""
        examples: list[Example] = []
        ledger = Alignment()
        for document, tokens in zip(documents, tokenizer.encode_many([d.text for d in documents]), strict=True):
            tags, alignment = spans_to_tags(document, tokens, units(document.text, tokens), schema)
            ledger += alignment
            if self.trained_tokens == "all":
                tags = carried(tags)
            for row in self.cut(document, tokens, tokenizer):
                targets = np.full(len(row.ids), -100, dtype=np.int64)
                targets[row.owned] = tags[row.window.own_first : row.window.own_last]
                if (targets != -100).any():
                    examples.append(Example((row,), targets))
        return examples, ledger

    def classes(self, example: Example) -> frozenset[int]:
        """The labels of the entities in a window."""
        return frozenset(int(tag - 1) // 2 for tag in np.unique(example.targets) if tag > 0)

    def collate(self, examples: Sequence[Example], pad_id: int) -> "dict[str, torch.Tensor]":
        """`input_ids`, `attention_mask` and `labels`, all (B, S)."""
        import torch

        rows = [example.rows[0].ids for example in examples]
        return {
            "input_ids": torch.from_numpy(pad_rows(rows, pad_id)),
            "attention_mask": torch.from_numpy(pad_rows([np.ones(len(row)) for row in rows], 0)),
            "labels": torch.from_numpy(pad_rows([example.targets for example in examples], -100)),
        }

    def loss(self, model: "torch.nn.Module", batch: "dict[str, torch.Tensor]", items: Any) -> "torch.Tensor":
        """Summed cross-entropy of the tags over `items` tagged tokens."""
        import torch
        from torch.nn.functional import cross_entropy

        labels = batch.pop("labels")
        logits = model(**batch).logits  # (B, S, C)
        total = cross_entropy(logits.float().flatten(0, 1), labels.flatten(), reduction="sum", ignore_index=-100)
        return torch.div(total, items)

    def decode(
        self, documents: Sequence[Document], tokens: Sequence[Tokens], answers: Sequence[Answers], schema: LabelSchema
    ) -> list[Document]:
        """Join the owned tokens of all windows, then read the tags of the whole note once; scores are calibrated."""
        marks = [units(document.text, t) for document, t in zip(documents, tokens, strict=True)]
        nothing = np.zeros((0, schema.tag_count), np.float32)
        joined = [
            np.concatenate([nothing, *(logits[row.owned] for row, logits in note)])[mark]
            for note, mark in zip(answers, marks, strict=True)
        ]
        decoded = decode_many(joined, schema)
        found: list[Document] = []
        notes = zip(documents, tokens, answers, marks, joined, decoded, strict=True)
        for document, t, note, mark, logits, chosen in notes:
            tags = np.full(len(t.ids), -100, dtype=np.int16)
            tags[mark] = chosen
            scores = np.zeros(len(t.ids), dtype=np.float32)
            scores[mark] = confidence(logits, chosen)
            spans = _with_window(tags_to_spans(document.text, t, mark, tags, schema, scores), t, note)
            meta = {name: held for name, held in document.meta.items() if name != ILLEGAL}  # of the tags in the file
            found.append(replace(document, spans=spans, labels=(), meta=meta))
        return calibrate(found, self.calibration)

    def tune(self, gold: Sequence[Document], predicted: Sequence[Document]) -> "Ner":
        """The calibration of span scores with the least log loss on the dev split."""
        raw = uncalibrate(predicted, self.calibration)
        return replace(self, calibration=fit_calibration(gold, raw))

    def before_and_after(self, gold: Sequence[Document], predicted: Sequence[Document], seed: int) -> "BeforeAndAfter":
        """How far the scores of spans are probabilities, raw and calibrated."""
        from clinnlp.evaluation.calibration_report import before_and_after

        return before_and_after(gold, predicted, self.calibration, seed=seed)

    def evaluate(
        self,
        gold: Sequence[Document],
        predicted: Sequence[Document],
        schema: LabelSchema,
        seed: int,
        method: Literal["percentile", "bca"] = "percentile",
    ) -> "Report":
        """Strict span scores of whole documents."""
        from clinnlp.evaluation.score import evaluate

        return evaluate(gold, predicted, labels=schema.labels, seed=seed, task="ner", method=method)


def _with_window(spans: Sequence[Span], tokens: Tokens, answers: Answers) -> tuple[Span, ...]:
    """The spans with the number of the window that owns their first token, as the attribute `window`."""
    ends = np.cumsum([row.window.own_last - row.window.own_first for row, _ in answers])
    firsts = np.searchsorted(tokens.offsets[:, 0], [span.start for span in spans], side="right") - 1
    owners = np.searchsorted(ends, firsts, side="right")
    return tuple(replace(span, attributes={"window": int(owner)}) for span, owner in zip(spans, owners, strict=True))
