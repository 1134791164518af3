"""Note classification."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from clinnlp.core.document import Document
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.packing import pad_rows
from clinnlp.encode.tags import Alignment
from clinnlp.encode.tokens import NoteTokenizer, Tokens
from clinnlp.errors import DataError, IntegrityError
from clinnlp.tasks.base import Answers, Example, Task

if TYPE_CHECKING:
    import torch

    from clinnlp.core.report import Report


@dataclass(frozen=True)
class NoteClassification(Task):
    """Give a whole note its class or classes: every window is read, their answers are pooled.

    Multi-class where each training note has exactly one label (softmax), else multi-label (one sigmoid a
    label, with the threshold that is best on dev). The pooled score of a note decides, in training too.
    """

    model_class: ClassVar[str] = "AutoModelForSequenceClassification"
    dev_score: ClassVar[str] = "notes.micro.f1"

    pooling: Literal["mean", "max"] = "mean"
    """How windows are pooled into a note; max suits findings that stand in one place of a long note."""
    multi_label: bool | None = None
    """Whether a note may have several labels or none; null decides by the training data."""
    threshold: float = 0.5
    """Probability from which a label is given (multi-label); set on the dev split at the end of training."""
    training_windows: int = 16
    """Most windows of one note in a training step, spread evenly; labeling always reads all of them."""

    def resolve(self, documents: Iterable[Document]) -> "NoteClassification":
        """Decide between multi-class and multi-label. Raises DataError if multi-class is asked for and cannot be."""
        notes = list(documents)
        others = sum(len(document.labels) != 1 for document in notes)
        if self.multi_label is False and others:
            raise DataError(
                f"{others} of {len(notes)} notes have not exactly one label",
                where="data.train",
                next="correct them, or --task.multi_label true",
            )
        return self if self.multi_label is not None else replace(self, multi_label=others > 0)

    def gold_labels(self, document: Document) -> Iterable[str]:
        return document.labels

    def head_config(self, schema: LabelSchema) -> dict[str, Any]:
        kind = "multi_label_classification" if self.multi_label else "single_label_classification"
        return {**super().head_config(schema), "problem_type": kind}

    def examples(
        self, documents: Sequence[Document], tokenizer: NoteTokenizer, schema: LabelSchema
    ) -> tuple[list[Example], Alignment]:
        """One example per note, with all its windows up to `training_windows`."""
        examples: list[Example] = []
        for document, tokens in zip(documents, tokenizer.encode_many([d.text for d in documents]), strict=True):
            targets = np.zeros(len(schema.labels), dtype=np.float32)
            for label in document.labels:
                targets[schema.index(label)] = 1.0
            rows = self.cut(document, tokens, tokenizer)
            if len(rows) > self.training_windows:
                kept = np.linspace(0, len(rows) - 1, self.training_windows).round().astype(int)
                rows = [rows[index] for index in kept]
            if rows:
                examples.append(Example(tuple(rows), targets))
        return examples, Alignment()

    def collate(self, examples: Sequence[Example], pad_id: int) -> "dict[str, torch.Tensor]":
        """`input_ids` and `attention_mask` (W, S) of all windows, `note` (W,), and `labels` (B,) or (B, L)."""
        import torch

        rows = [row.ids for example in examples for row in example.rows]
        note = [index for index, example in enumerate(examples) for _ in example.rows]
        targets = torch.from_numpy(np.stack([example.targets for example in examples]))
        return {
            "input_ids": torch.from_numpy(pad_rows(rows, pad_id)),
            "attention_mask": torch.from_numpy(pad_rows([np.ones(len(row)) for row in rows], 0)),
            "note": torch.tensor(note),
            "labels": targets if self.multi_label else targets.argmax(dim=1),
        }

    def loss(self, model: "torch.nn.Module", batch: "dict[str, torch.Tensor]", items: Any) -> "torch.Tensor":
        """Summed cross-entropy of the pooled notes over `items` notes (multi-label: note-label pairs)."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

        labels, note = batch.pop("labels"), batch.pop("note")
        logits = model(**batch).logits.float()  # (W, L)
        index = note[:, None].expand_as(logits)
        how = "amax" if self.pooling == "max" else "mean"
        empty = torch.zeros(len(labels), logits.shape[1], device=logits.device)
        pooled = empty.scatter_reduce(0, index, logits, how, include_self=False)
        if self.multi_label:
            total = binary_cross_entropy_with_logits(pooled, labels, reduction="sum")
        else:
            total = cross_entropy(pooled, labels, reduction="sum")
        return torch.div(total, items)

    def decode(
        self, documents: Sequence[Document], tokens: Sequence[Tokens], answers: Sequence[Answers], schema: LabelSchema
    ) -> list[Document]:
        """Pool the windows of each note; probabilities of all labels go to `meta["label_scores"]`.

        A note without tokens gets no label and no scores.
        """
        found: list[Document] = []
        for document, note in zip(documents, answers, strict=True):
            if not note:
                found.append(replace(document, spans=(), labels=(), meta={**document.meta, "label_scores": {}}))
                continue
            stacked = np.stack([logits for _, logits in note]).astype(np.float64)
            if not np.isfinite(stacked).all():
                raise IntegrityError("the model answered NaN", next="retrain with a lower learning rate or in fp32")
            pooled = stacked.max(axis=0) if self.pooling == "max" else stacked.mean(axis=0)
            scores = self._probabilities(pooled)
            chosen = np.flatnonzero(scores >= self.threshold) if self.multi_label else [int(scores.argmax())]
            meta = {**document.meta, "label_scores": dict(zip(schema.labels, scores.tolist(), strict=True))}
            labels = tuple(schema.labels[index] for index in chosen)
            found.append(replace(document, spans=(), labels=labels, meta=meta))
        return found

    def tune(self, gold: Sequence[Document], predicted: Sequence[Document]) -> "NoteClassification":
        """The threshold with the best micro F1 on the dev split (multi-label)."""
        if not self.multi_label:
            return self
        truth = {(document.id, label) for document in gold for label in document.labels}
        scored = [(s, (d.id, label)) for d in predicted for label, s in d.meta["label_scores"].items()]
        scored.sort(key=lambda item: -item[0])
        best, threshold, hits = -1.0, self.threshold, 0
        for rank, (score, pair) in enumerate(scored, start=1):
            hits += pair in truth
            f1 = 2 * hits / (rank + len(truth))
            if f1 > best and (rank == len(scored) or scored[rank][0] < score):
                best, threshold = f1, score
        return replace(self, threshold=float(threshold))

    def evaluate(
        self, gold: Sequence[Document], predicted: Sequence[Document], schema: LabelSchema, seed: int
    ) -> "Report":
        """Scores of whole notes."""
        from clinnlp.evaluation.score import evaluate

        return evaluate(gold, predicted, labels=schema.labels, seed=seed, task="note_classification")

    def _probabilities(self, logits: Any) -> Any:
        if self.multi_label:
            return 1.0 / (1.0 + np.exp(-logits))
        odds = np.exp(logits - logits.max())
        return odds / odds.sum()
