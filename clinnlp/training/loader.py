"""The order of training examples, a pure function of seed and epoch, and the batches made from it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
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
    """What can be trained on: `lengths (N,)` in tokens, and example `draw.index` as drawn in an epoch."""

    lengths: NDArray[np.int64]

    def example(self, draw: Draw) -> Any: ...


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


class EpochBatches(Sampler[list[Draw]]):
    """Batches of one epoch: shuffled by (seed, epoch), rows of like length together, then shuffled again."""

    drop_last = False

    def __init__(self, lengths: Sequence[int] | NDArray[np.int64], batch: int, seed: int, steps: int) -> None:
        self.lengths, self.batch_size, self.seed = np.asarray(lengths), batch, seed
        self.total, self.epoch = max(steps, 1), 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Trainer at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        random = generator(self.seed, self.epoch, 0, 1)
        order = random.permutation(len(self.lengths))
        span = SORT_WINDOW * self.batch_size
        batches: list[NDArray[np.int64]] = []
        for first in range(0, len(order), span):
            window = order[first : first + span]
            window = window[np.argsort(-self.lengths[window], kind="stable")]
            batches += [window[at : at + self.batch_size] for at in range(0, len(window), self.batch_size)]
        for number, place in enumerate(random.permutation(len(batches))):
            progress = min((self.epoch * len(self) + number) / self.total, 1.0)
            yield [Draw(self.epoch, int(index), progress) for index in batches[place]]


Collate = Callable[[list[Any]], dict[str, Any]]
