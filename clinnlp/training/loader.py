"""The order of training examples, a pure function of seed and epoch, and the batches made from it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

SORT_WINDOW = 50  # batches whose rows are sorted by length together: little padding, and still a random order


@dataclass(frozen=True, slots=True)
class Draw:
    """One example of one epoch: all that its randomness may depend on."""

    epoch: int
    index: int
    progress: float


class Source(Protocol):
    """What a loop trains on: examples, how they become a batch, and the loss of a batch.

    `lengths (N,)` are those of the examples in tokens.
    """

    lengths: NDArray[np.int64]

    def example(self, draw: Draw) -> Any:
        """Example `draw.index` as it is drawn in an epoch."""

    def collate(self, examples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Examples as one batch; `labels` among it, -100 where nothing is to be learned."""

    def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor], items: Any) -> torch.Tensor:
        """Summed loss of a batch over `items`, the number of targets in the optimizer step; a scalar."""


def generator(seed: int, *counters: int) -> np.random.Generator:
    """The counter-based generator (Philox, Salmon et al. 2011) of a seed and up to four counters."""
    counter = [*counters, *(0 for _ in range(4 - len(counters)))]
    return np.random.Generator(np.random.Philox(key=[seed, 0x636C696E], counter=counter))


class Examples(Dataset[Any]):
    """A source as torch sees it: items are addressed by draw, not by number."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source.lengths)

    def __getitem__(self, draw: Draw) -> Any:
        return self.source.example(draw)


class Batches(Sampler[list[Draw]]):
    """The batches of a whole run as one stream, epoch after epoch, every `step`th from number `first` to `total`.

    Each epoch is shuffled by (seed, epoch), rows of like length are put together, and the batches shuffled again. A
    batch depends on its number alone, so that a run is taken up at any of them without the ones before it.
    """

    drop_last = False

    def __init__(
        self, lengths: Sequence[int] | NDArray[np.int64], batch: int, seed: int, total: int, first: int = 0,
        step: int = 1,
    ) -> None:  # fmt: skip
        self.lengths, self.batch_size, self.seed = np.asarray(lengths), batch, seed
        self.total, self.numbers = total, range(first, total, step)

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[list[Draw]]:
        per_epoch = -(-len(self.lengths) // self.batch_size)
        batches: list[NDArray[np.int64]] = []
        made = -1
        for number in self.numbers:
            epoch, place = divmod(number, per_epoch)
            if epoch != made:
                batches, made = self._epoch(epoch), epoch
            yield [Draw(epoch, int(index), number / self.total) for index in batches[place]]

    def _epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        random = generator(self.seed, epoch, 0, 1)
        order = random.permutation(len(self.lengths))
        span = SORT_WINDOW * self.batch_size
        batches: list[NDArray[np.int64]] = []
        for first in range(0, len(order), span):
            window = order[first : first + span]
            window = window[np.argsort(-self.lengths[window], kind="stable")]
            batches += [window[at : at + self.batch_size] for at in range(0, len(window), self.batch_size)]
        return [batches[place] for place in random.permutation(len(batches))]
