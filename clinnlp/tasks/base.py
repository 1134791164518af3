"""What a fine-tuning task is: documents to features, logits to documents, both to a report."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from clinnlp.config import name_of
from clinnlp.core.document import Document
from clinnlp.core.schema import LabelSchema
from clinnlp.core.window import Window, windows
from clinnlp.encode.tags import Alignment
from clinnlp.encode.tokens import NoteTokenizer, Tokens
from clinnlp.errors import ConfigError, DataError

if TYPE_CHECKING:
    import torch

    from clinnlp.core.report import Report
    from clinnlp.evaluation.calibration_report import BeforeAndAfter


PARTS = "clinnlp_parts"
"""In `head_config`: tables of weights that stand beside the head, by name (`clinnlp_...`), each with its shape."""


@dataclass(frozen=True, slots=True)
class Row:
    """One window as the model reads it: `ids (S,)` with specials, `before` of which stand before the window."""

    ids: NDArray[np.int32]
    window: Window
    before: int

    @property
    def owned(self) -> slice:
        """The positions in the row of the tokens that the window owns."""
        shift = self.before - self.window.first
        return slice(self.window.own_first + shift, self.window.own_last + shift)


@dataclass(frozen=True, slots=True)
class Example:
    """One unit of training: the rows that are read together and their `targets`, (S,) tags or (L,) classes.

    `stretches` (N, K) are numbers of stretches of the rows, where those have targets; what they are the task says.
    """

    rows: tuple[Row, ...]
    targets: NDArray[Any]
    stretches: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 3), np.int64))

    def __len__(self) -> int:
        return sum(len(row.ids) for row in self.rows)


Answers = Sequence[tuple[Row, NDArray[Any]]]
"""The rows of one note with the logits of each: (S, C) or (L,)."""


@dataclass(frozen=True)
class Task:
    """What fine-tuning predicts; its fields are its options, stored with the model.

    To add one: write `clinnlp/tasks/NAME.py` with one frozen dataclass that extends this class. A whole note
    is tokenized and tagged first and cut into windows afterwards; `decode` joins what the windows say.
    """

    kind: ClassVar[str] = "tasks"
    model_class: ClassVar[str] = ""
    """The transformers class that carries the head."""
    dev_score: ClassVar[str] = ""
    """Dotted path in metrics.json of the score that chooses the best weights."""

    pipeline: ClassVar[str] = ""
    """The pipeline of transformers that reads the model as we do, if one does."""
    marks_spans: ClassVar[bool] = False
    """Whether it answers with attributes of the spans that notes come with."""
    reads_spans: ClassVar[bool] = False
    """Whether what it says of a note hangs on the spans that the note comes with."""

    window: int = 512
    """Longest row in tokens, specials included; never more than the base model allows."""
    overlap: int = 128
    """Tokens that neighbouring windows share; each is answered by the window in which it has more context."""

    def __post_init__(self) -> None:
        if self.window < 8 or not 0 <= self.overlap < self.window - 4:
            raise ConfigError(
                f"a window of {self.window} tokens cannot overlap by {self.overlap}",
                where="task.window",
                next="choose a window of 8 or more, and a --task.overlap under window - 4",
            )

    def gold_labels(self, document: Document) -> Iterable[str]:
        """The labels of a document that this task predicts, as often as they occur."""
        raise AssertionError(f"{type(self).__name__} defines no gold_labels()")

    def schema(self, documents: Iterable[Document]) -> LabelSchema:
        """The labels of the training documents. Raises DataError if there are none."""
        notes = list(documents)
        labels = {label for document in notes for label in self.gold_labels(document)}
        if not labels:
            spans, classes = sum(len(note.spans) for note in notes), sum(len(note.labels) for note in notes)
            raise DataError(
                f"the training data holds no labels for {name_of(self)}: {len(notes):,} notes with {spans:,} spans and "
                f"{classes:,} note labels",
                where="data.train",
                next="check the path, the format, its fields and --task: note_classification learns note labels",
            )
        return LabelSchema.of(labels)

    def outputs(self, schema: LabelSchema) -> tuple[str, ...]:
        """The names of the head's outputs, in order."""
        return schema.labels

    def head_config(self, schema: LabelSchema) -> dict[str, Any]:
        """What the transformers config of the head must say."""
        names = self.outputs(schema)
        return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}

    def resolve(self, documents: Iterable[Document]) -> "Task":
        """The task with the options that the training data decides filled in."""
        return self

    @property
    def sizes(self) -> tuple[int, int]:
        """Window and overlap."""
        return self.window, self.overlap

    @property
    def cut_rule(self) -> Hashable:
        """Tasks that cut every note alike have the same."""
        return self.sizes

    def cuts_by(self, document: Document) -> Hashable:
        """What of a document, beside its text, decides how it is cut."""
        return None

    def cut(self, document: Document, tokens: Tokens, tokenizer: NoteTokenizer) -> list[Row]:
        """The rows the model reads of a note: none for a note without tokens."""
        room = self.window - tokenizer.specials
        return [
            Row(tokenizer.wrap(tokens.ids[window.first : window.last]), window, len(tokenizer.prefix))
            for window in windows(len(tokens.ids), room, min(self.overlap, room - 1))
        ]

    def examples(
        self, documents: Sequence[Document], tokenizer: NoteTokenizer, schema: LabelSchema
    ) -> tuple[list[Example], Alignment]:
        """The training examples of the documents, and the ledger of what their gold became."""
        raise AssertionError(f"{type(self).__name__} defines no examples()")

    def classes(self, example: Example) -> frozenset[int]:
        """The classes that an example holds, by number: sampling can be balanced by them."""
        raise AssertionError(f"{type(self).__name__} defines no classes()")

    def collate(self, examples: Sequence[Example], pad_id: int) -> "dict[str, torch.Tensor]":
        """A batch: `input_ids` and `attention_mask` (B, S), `labels`, and what else `loss` needs."""
        raise AssertionError(f"{type(self).__name__} defines no collate()")

    def loss(self, model: "torch.nn.Module", batch: "dict[str, torch.Tensor]", items: Any) -> "torch.Tensor":
        """Summed loss of a batch over `items` targets; a float32 scalar."""
        raise AssertionError(f"{type(self).__name__} defines no loss()")

    def decode(
        self, documents: Sequence[Document], tokens: Sequence[Tokens], answers: Sequence[Answers], schema: LabelSchema
    ) -> list[Document]:
        """The documents with what the model says of them instead of their own spans and labels."""
        raise AssertionError(f"{type(self).__name__} defines no decode()")

    def ready(self, model: "torch.nn.Module") -> "Task":
        """The task with what `decode` needs of the model's weights beside the logits filled in."""
        return self

    def perfect(
        self, documents: Sequence[Document], tokenizer: NoteTokenizer, schema: LabelSchema
    ) -> Sequence[Document] | None:
        """What a model without a fault would say of the documents: what this task can hold of their spans."""
        return None

    def scored(self, documents: Sequence[Document]) -> Sequence[Document]:
        """The documents with the spans and labels that `evaluate` compares."""
        return documents

    def baseline(self, documents: Sequence[Document]) -> Sequence[Document] | None:
        """What rules say of the documents, to be scored beside the model; None where there are none."""
        return None

    def tune(self, gold: Sequence[Document], predicted: Sequence[Document]) -> "Task":
        """The task with what is chosen on the dev split (such as a threshold or a calibration) filled in."""
        return self

    def before_and_after(
        self, gold: Sequence[Document], predicted: Sequence[Document], seed: int
    ) -> "BeforeAndAfter | None":
        """How far the scores of `predicted` are probabilities, raw and calibrated; None for a task without scores."""
        return None

    def evaluate(
        self,
        gold: Sequence[Document],
        predicted: Sequence[Document],
        schema: LabelSchema,
        seed: int,
        method: Literal["percentile", "bca"] = "percentile",
    ) -> "Report":
        """Scores of whole documents: by default strict ones of their spans."""
        from clinnlp.evaluation.score import evaluate

        return evaluate(gold, predicted, labels=schema.labels, seed=seed, task="ner", method=method)
