"""Whether two stretches follow each other."""

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
class Nsp(Objective):
    """Tell whether the second stretch follows the first in a note (next-sentence prediction, Devlin et al. 2019).

    A row is cut at the beginning of a sentence or line; for half of the rows the second stretch is one of another
    note, cut in the same way and not longer than the true one.

    When to use it: to make a base as BERT was made. What the evidence says: RoBERTa, MosaicBERT and ModernBERT leave
    it out without loss; it can be told by the topic alone. Offered for completeness.
    """

    guesses_tokens: ClassVar[bool] = False
    pairs: ClassVar[int] = 2

    def head(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """A judge over the first token."""
        return judge(model)

    def corrupt(
        self, rows: Rows, tokenizer: NoteTokenizer, progress: float, randoms: Iterable[np.random.Generator]
    ) -> dict[str, NDArray[Any]]:
        """Pairs, and 1 where the second stretch is of another note."""
        pairs: list[Pair | None] = []
        labels: list[int] = []
        half = len(rows.ids) // 2
        for row, random in enumerate(randoms):
            pair = halves(rows, row, tokenizer, random)
            other = halves(rows, half + row, tokenizer, random)
            foreign = bool(random.integers(2)) and rows.notes[row] != rows.notes[half + row] and other is not None
            if pair and other and foreign:
                pair = (pair[0], other[1][: len(pair[1])])
            pairs.append(pair)
            labels.append(int(foreign))
        return paired(pairs, labels, tokenizer)

    def loss(self, model: "torch.nn.Module", batch: "dict[str, torch.Tensor]", items: Any) -> "torch.Tensor":
        """Summed cross-entropy over `items` pairs."""
        return judged(model, self.head_of(model), batch, items)
