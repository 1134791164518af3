"""The order of two stretches of a note."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clinnlp.encode.packing import Rows
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.objectives._pairs import Pair, halves, judge, judged, paired
from clinnlp.objectives.base import Objective

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SentenceOrder(Objective):
    """Tell whether two neighbouring stretches of a note were swapped (ALBERT, Lan et al. 2020).

    A row is cut at the beginning of a sentence or line, and half of the rows are swapped.

    When to use it: beside `mlm`, for tasks on pairs or the course of a note. What the evidence says: better than
    next-sentence prediction in the paper; RoBERTa and later recipes leave both out. Offered for completeness.
    """

    guesses_tokens: ClassVar[bool] = False
    pairs: ClassVar[int] = 1

    def head(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """A judge over the first token."""
        return judge(model)

    def corrupt(
        self, rows: Rows, tokenizer: NoteTokenizer, progress: float, randoms: Iterable[np.random.Generator]
    ) -> dict[str, NDArray[Any]]:
        """Pairs, and 1 where they are swapped."""
        pairs: list[Pair | None] = []
        labels: list[int] = []
        for row, random in enumerate(randoms):
            swapped = int(random.integers(2))
            pair = halves(rows, row, tokenizer, random)
            pairs.append((pair[1], pair[0]) if pair and swapped else pair)
            labels.append(swapped)
        return paired(pairs, labels, tokenizer)

    def loss(self, model: "torch.nn.Module", batch: "dict[str, torch.Tensor]", items: Any) -> "torch.Tensor":
        """Summed cross-entropy over `items` pairs."""
        return judged(model, self.head_of(model), batch, items)
