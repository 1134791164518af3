"""Note classification."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from clinnlp.core.document import Document
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.packing import pad_rows
from clinnlp.encode.tags import Alignment
from clinnlp.encode.tokens import NoteTokenizer, Tokens
from clinnlp.errors import ConfigError, DataError, IntegrityError
from clinnlp.evaluation.calibration import Calibration, calibrate, fit_calibration, uncalibrate
from clinnlp.tasks._windows import WEIGHT, Pooling, pooled_note, pooled_notes, window_logits
from clinnlp.tasks.base import Answers, Example, Task

if TYPE_CHECKING:
    import torch

    from clinnlp.core.report import Report
    from clinnlp.evaluation.calibration_report import BeforeAndAfter

ENOUGH = 20  # dev notes with a label, from which it may have a threshold of its own
ROUND = 32  # row lengths in training are multiples of it


@dataclass(frozen=True)
class NoteClassification(Task):
    """Give a whole note its class or classes: every window is read, their answers are pooled.

    Multi-class where each training note has exactly one label (softmax), else multi-label (one sigmoid a
    label, with the threshold that is best on dev). The pooled score of a note decides, in training too.
    Raises ConfigError for thresholds and weights that are none.
    """

    model_class: ClassVar[str] = "AutoModelForSequenceClassification"
    dev_score: ClassVar[str] = "notes.micro.f1"
    pipeline: ClassVar[str] = "text-classification"

    pooling: Pooling = "mean"
    """How windows are pooled into a note; max suits findings that stand in one place of a long note, attention learns
    which windows count."""
    multi_label: bool | None = None
    """Whether a note may have several labels or none; null decides by the training data."""
    threshold: float = 0.5
    """Probability from which a label is given (multi-label); set on the dev split at the end of training."""
    thresholds: Literal["global", "per_label"] = "global"
    """What dev sets: one threshold, or also one of its own for each label that at least 20 dev notes have."""
    label_thresholds: Mapping[str, float] = field(default_factory=dict)
    """Labels with a threshold of their own; set on the dev split where thresholds is per_label."""
    balance: float = 0.0
    """How far rare classes count more in training: 0 not, 0.5 by the root of inverse frequency, 1 in full."""
    label_weights: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Weight in the loss of notes with and without a label; set from the training notes where balance is over 0."""
    training_windows: int = 16
    """Most windows of one note in a training step, spread evenly; labeling always reads all of them."""
    calibration: Calibration = field(default_factory=Calibration)
    """How the scores of labels become probabilities; fitted on the dev split, before thresholds are chosen."""

    def __post_init__(self) -> None:
        super().__post_init__()
        own = {f"label_thresholds.{label}": value for label, value in self.label_thresholds.items()}
        for name, value in {"threshold": self.threshold, "balance": self.balance, **own}.items():
            if not 0 <= value <= 1:
                raise ConfigError(
                    f"{value} is not from 0 to 1", where=f"task.{name}", next="choose a number from 0 to 1"
                )
        for label, pair in self.label_weights.items():
            if not all(0 < weight < np.inf for weight in pair):
                raise ConfigError(
                    f"{list(pair)} are not two weights",
                    where=f"task.label_weights.{label}",
                    next="give the weight of notes with the label and of notes without it, both over 0",
                )

    def resolve(self, documents: Iterable[Document]) -> "NoteClassification":
        """Decide between multi-class and multi-label, and weigh the classes by their number of training notes.

        Inverse frequency to the power of `balance`: 1 is the weighting of King and Zeng (2001), 0.5 the smoother one
        by the square root (Mahajan et al. 2018; both compared by Cui et al. 2019). Multi-label: the notes with and
        without a label are two classes, so that the positive weight is their odds to that power. The weights have
        the mean 1 over the training notes, of each label where there may be several.
        Raises DataError if multi-class is asked for and cannot be, ConfigError if it is given thresholds.
        """
        notes = list(documents)
        others = sum(len(document.labels) != 1 for document in notes)
        if self.multi_label is False and others:
            raise DataError(
                f"{others} of {len(notes)} notes have not exactly one label",
                where="data.train",
                next="correct them, or --task.multi_label true",
            )
        multi_label = others > 0 if self.multi_label is None else self.multi_label
        if self.label_thresholds and not multi_label:
            raise ConfigError(
                "each note has one class, the most probable one: no label can have a threshold",
                where="task.label_thresholds",
                next="leave it out, or --task.multi_label true",
            )
        weights = _balanced(notes, self.balance, multi_label) if self.balance else self.label_weights
        return replace(self, multi_label=multi_label, label_weights=weights)

    def gold_labels(self, document: Document) -> Iterable[str]:
        return document.labels

    def outputs(self, schema: LabelSchema) -> tuple[str, ...]:
        """The labels; behind them, with attention pooling, what the weight of a window is made of."""
        return (*schema.labels, WEIGHT) if self.pooling == "attention" else schema.labels

    def head_config(self, schema: LabelSchema) -> dict[str, Any]:
        """Raises ConfigError for a threshold or weight of a label that the data does not hold."""
        for name, given in (("label_thresholds", self.label_thresholds), ("label_weights", self.label_weights)):
            if unknown := sorted(set(given) - set(schema.labels)):
                raise ConfigError(
                    f"{unknown[0]!r} is not a label of the data",
                    where=f"task.{name}",
                    next=f"the labels are {', '.join(schema.labels)}",
                )
        kind = "multi_label_classification" if self.multi_label else "single_label_classification"
        return {**super().head_config(schema), "problem_type": kind}

    def examples(
        self, documents: Sequence[Document], tokenizer: NoteTokenizer, schema: LabelSchema
    ) -> tuple[list[Example], Alignment]:
        """One example per note, with all its windows up to `training_windows`.

        Its targets are (2, L): which classes it has, and what each of them weighs in the loss of this note.
        """
        examples: list[Example] = []
        weights = np.array([self.label_weights.get(label, (1.0, 1.0)) for label in schema.labels], dtype=np.float32)
        for document, tokens in zip(documents, tokenizer.encode_many([d.text for d in documents]), strict=True):
            targets = np.zeros((2, len(schema.labels)), dtype=np.float32)
            for label in document.labels:
                targets[0, schema.index(label)] = 1.0
            targets[1] = np.where(targets[0] > 0, weights[:, 0], weights[:, 1])
            rows = self.cut(document, tokens, tokenizer)
            if len(rows) > self.training_windows:
                kept = np.linspace(0, len(rows) - 1, self.training_windows).round().astype(int)
                rows = [rows[index] for index in kept]
            if rows:
                examples.append(Example(tuple(rows), targets))
        return examples, Alignment()

    def classes(self, example: Example) -> frozenset[int]:
        """The classes of a note."""
        return frozenset(np.flatnonzero(example.targets[0]).tolist())

    def collate(self, examples: Sequence[Example], pad_id: int) -> "dict[str, torch.Tensor]":
        """`input_ids` and `attention_mask` (W, S) of all windows, `note` (W,), and `labels` (B,) or (B, L).

        `weights`, shaped as `labels`, only where labels have weights. S is a multiple of 32, or the task's window.
        """
        import torch

        rows = [row.ids for example in examples for row in example.rows]
        note = [index for index, example in enumerate(examples) for _ in example.rows]
        targets = torch.from_numpy(np.stack([example.targets for example in examples]))  # (B, 2, L)
        classes = targets[:, 0].argmax(dim=1)
        batch = {
            "input_ids": torch.from_numpy(self._widen(pad_rows(rows, pad_id), pad_id)),
            "attention_mask": torch.from_numpy(self._widen(pad_rows([np.ones(len(row)) for row in rows], 0), 0)),
            "note": torch.tensor(note),
            "labels": targets[:, 0] if self.multi_label else classes,
        }
        if self.label_weights:
            batch["weights"] = targets[:, 1] if self.multi_label else targets[torch.arange(len(classes)), 1, classes]
        return batch

    def loss(self, model: "torch.nn.Module", batch: "dict[str, torch.Tensor]", items: Any) -> "torch.Tensor":
        """Summed, weighted cross-entropy of the pooled notes over `items` notes (multi-label: note-label pairs)."""
        import torch
        from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

        labels, note, weights = batch.pop("labels"), batch.pop("note"), batch.pop("weights", None)
        pooled = pooled_notes(window_logits(model, batch), note, len(labels), self.pooling)  # (B, L)
        if self.multi_label:
            each = binary_cross_entropy_with_logits(pooled, labels, reduction="none")
        else:
            each = cross_entropy(pooled, labels, reduction="none")
        return torch.div((each if weights is None else each * weights).sum(), items)

    def decode(
        self, documents: Sequence[Document], tokens: Sequence[Tokens], answers: Sequence[Answers], schema: LabelSchema
    ) -> list[Document]:
        """Pool the windows of each note; probabilities of all labels go to `meta["label_scores"]`.

        A note without tokens gets no label and no scores.
        """
        found: list[Document] = []
        thresholds = np.array([self.label_thresholds.get(label, self.threshold) for label in schema.labels])
        for document, note in zip(documents, answers, strict=True):
            if not note:
                found.append(replace(document, spans=(), labels=(), meta={**document.meta, "label_scores": {}}))
                continue
            stacked = np.stack([logits for _, logits in note]).astype(np.float64)
            if not np.isfinite(stacked).all():
                raise IntegrityError("the model answered NaN", next="retrain with a lower learning rate or in fp32")
            scores = self._probabilities(pooled_note(stacked, self.pooling))
            scores = self.calibration.apply(scores, schema.labels, classes=not self.multi_label)
            chosen = np.flatnonzero(scores >= thresholds) if self.multi_label else [int(scores.argmax())]
            meta = {**document.meta, "label_scores": dict(zip(schema.labels, scores.tolist(), strict=True))}
            labels = tuple(schema.labels[index] for index in chosen)
            found.append(replace(document, spans=(), labels=labels, meta=meta))
        return found

    def tune(self, gold: Sequence[Document], predicted: Sequence[Document]) -> "NoteClassification":
        """The calibration, and the thresholds with the best F1 on the dev split (multi-label; Lipton et al. 2014).

        One is chosen for all labels by micro F1. With `thresholds: per_label` a label that at least 20 dev notes
        have gets its own, by its own F1; on fewer notes the best cut is mostly chance, and the common one holds.
        None can be fitted on test: the recipe gives dev alone, and predicts test when the thresholds are saved.
        Raises DataError if the documents do not fit together or scores are no numbers.
        """
        multi_label = bool(self.multi_label)
        raw = uncalibrate(predicted, self.calibration, multi_label)
        calibration = fit_calibration(gold, raw, multi_label)
        if not multi_label:
            return replace(self, calibration=calibration)
        from clinnlp.evaluation.notes import best_thresholds

        common, own = best_thresholds(gold, calibrate(raw, calibration, multi_label), ENOUGH)
        return replace(
            self,
            calibration=calibration,
            threshold=self.threshold if common is None else common,
            label_thresholds=own if self.thresholds == "per_label" else {},
        )

    def before_and_after(self, gold: Sequence[Document], predicted: Sequence[Document], seed: int) -> "BeforeAndAfter":
        """How far the scores of labels are probabilities, raw and calibrated."""
        from clinnlp.evaluation.calibration_report import before_and_after

        return before_and_after(gold, predicted, self.calibration, bool(self.multi_label), seed=seed)

    def evaluate(
        self,
        gold: Sequence[Document],
        predicted: Sequence[Document],
        schema: LabelSchema,
        seed: int,
        method: Literal["percentile", "bca"] = "percentile",
    ) -> "Report":
        """Scores of whole notes; of a multi-label task as such, even if each note happens to have one label."""
        from clinnlp.core.report import Report
        from clinnlp.evaluation.notes import evaluate_notes
        from clinnlp.evaluation.pairing import count_data

        notes = evaluate_notes(gold, predicted, schema.labels, self.multi_label or None, seed, method=method)
        return Report(notes=notes, data=count_data(gold))

    def _widen(self, rows: NDArray[np.int64], value: int) -> NDArray[np.int64]:
        """Rows filled up to a round length: memory grows when each batch has a shape of its own."""
        width = max(min(-(-rows.shape[1] // ROUND) * ROUND, self.window), rows.shape[1])
        return np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=value)

    def _probabilities(self, logits: Any) -> Any:
        if self.multi_label:
            return 1.0 / (1.0 + np.exp(-logits))
        odds = np.exp(logits - logits.max())
        return odds / odds.sum()


def _balanced(notes: Sequence[Document], power: float, multi_label: bool) -> dict[str, tuple[float, float]]:
    """The weights of each label's notes with and, multi-label, without it."""
    have = Counter(label for document in notes for label in set(document.labels))
    if multi_label:
        both = {label: _inverse([have[label], len(notes) - have[label]], power) for label in sorted(have)}
        return {label: (weights[0], weights[1]) for label, weights in both.items()}
    weights = _inverse([have[label] for label in sorted(have)], power)
    return {label: (weight, 1.0) for label, weight in zip(sorted(have), weights, strict=True)}


def _inverse(counts: Sequence[int], power: float) -> list[float]:
    """Weights of classes by inverse frequency, with the mean 1 over all that were counted; 1 for an empty class."""
    raw = [float(count) ** -power if count else 0.0 for count in counts]
    mean = sum(count * weight for count, weight in zip(counts, raw, strict=True)) / max(sum(counts), 1)
    return [weight / mean if count else 1.0 for count, weight in zip(counts, raw, strict=True)]
