"""Contrast of rows by the classes of their notes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from clinnlp.core.document import Document
from clinnlp.encode.marks import MarkedText
from clinnlp.encode.packing import Rows
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.errors import ConfigError
from clinnlp.objectives._sentences import row_vectors, twice
from clinnlp.objectives.base import Objective

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Supcon(Objective):
    """Bring rows of notes of one class together and apart from others (supervised contrast, Khosla et al. 2020).

    Each piece of a labeled note is read twice under dropout; the vectors (means of token vectors) of all pieces of its
    class in the batch are its positives. Notes with several labels are of one class if they have the same ones. Notes
    without labels are not read. The loss depends on `fit.batch`.

    When to use it: before note classification with few examples a class. What the evidence says: gains with few labels
    and label noise for sentence classification (Gunel et al. 2021); no benefit is known for entity extraction.
    """

    guesses_tokens: ClassVar[bool] = False
    compares: ClassVar[bool] = True
    dropout: ClassVar[float] = 0.1

    temperature: float = 0.1
    """Cosines are divided by it: the smaller, the more only the nearest rows count."""
    classes: tuple[str, ...] = ()
    """The classes of the notes; by default all label sets that occur."""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ConfigError("must be over 0", where="objective.temperature")

    def on(self, documents: Sequence[Document]) -> Self:
        """With the classes of these notes. Raises ConfigError for fewer than two."""
        found = tuple(sorted({name for document in documents if (name := _class(document))}))
        if len(found) < 2:
            raise ConfigError(
                f"the notes have {len(found)} classes, two are needed", where="objective supcon",
                next="give notes with labels, or take objective simcse, which needs none",
            )  # fmt: skip
        return self if self.classes else replace(self, classes=found)

    def mark(self, document: Document) -> MarkedText:
        """A note with the number of its class."""
        name = _class(document)
        return replace(super().mark(document), target=self.classes.index(name) if name in self.classes else -1)

    def corrupt(
        self, rows: Rows, tokenizer: NoteTokenizer, progress: float, randoms: Iterable[np.random.Generator]
    ) -> dict[str, NDArray[Any]]:
        """The rows as they are; `labels` are their classes."""
        labels = np.where(rows.targets < 0, -100, rows.targets)
        return {"input_ids": rows.ids, "pieces": rows.pieces, "positions": rows.positions, "labels": labels}

    def loss(self, model: "torch.nn.Module", batch: "dict[str, torch.Tensor]", items: Any) -> "torch.Tensor":
        """Mean loss of a row's two vectors (equation 2 of the paper), summed over rows, over `items` rows."""
        import torch
        from torch.nn.functional import normalize

        labels = batch.pop("labels")
        known = labels != -100
        if not known.any():
            return row_vectors(model, batch).sum() * 0.0
        vectors = normalize(row_vectors(model, twice({name: rows[known] for name, rows in batch.items()})), dim=1)
        labels = labels[known].repeat(2)
        itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        scores = (vectors @ vectors.T / self.temperature).masked_fill(itself, -torch.inf)
        positive = (labels[:, None] == labels[None, :]) & ~itself
        log_shares = torch.log_softmax(scores, dim=1).masked_fill(~positive, 0.0)
        return -(log_shares.sum(1) / positive.sum(1)).sum() / 2 / torch.as_tensor(items).clamp(min=1)


def _class(document: Document) -> str:
    return " + ".join(sorted(document.labels))
