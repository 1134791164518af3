"""Contrast of rows without labels."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinnlp.encode.packing import Rows
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.errors import ConfigError
from clinnlp.objectives._sentences import row_vectors, twice
from clinnlp.objectives.base import Objective

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Simcse(Objective):
    """Find a row again among others after another dropout (unsupervised SimCSE, Gao et al. 2021).

    Each piece of a note is read twice under dropout; its two vectors (means of token vectors) are to be nearer to each
    other than to those of the other rows of the batch. Short rows (`block` 64) make pieces of a few sentences; the loss
    depends on `fit.batch`, 32 or more is usual.

    When to use it: for vectors of notes: search, clustering, few-shot classification. What the evidence says: gains on
    sentence similarity; none is known for entity extraction.
    """

    guesses_tokens: ClassVar[bool] = False
    compares: ClassVar[bool] = True
    dropout: ClassVar[float] = 0.1

    temperature: float = 0.05
    """Cosines are divided by it: the smaller, the more only the nearest other rows count."""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ConfigError("must be over 0", where="objective.temperature")

    def corrupt(
        self, rows: Rows, tokenizer: NoteTokenizer, progress: float, randoms: Iterable[np.random.Generator]
    ) -> dict[str, NDArray[Any]]:
        """The rows as they are; `labels` number them."""
        labels = np.arange(len(rows.ids))
        return {"input_ids": rows.ids, "pieces": rows.pieces, "positions": rows.positions, "labels": labels}

    def loss(self, model: "torch.nn.Module", batch: "dict[str, torch.Tensor]", items: Any) -> "torch.Tensor":
        """Summed cross-entropy of finding each row's second vector, over `items` rows."""
        import torch
        from torch.nn.functional import cross_entropy, normalize

        labels = batch.pop("labels")
        one, other = normalize(row_vectors(model, twice(batch)), dim=1).chunk(2)
        total = cross_entropy(one @ other.T / self.temperature, labels, reduction="sum")
        return torch.div(total, items)
