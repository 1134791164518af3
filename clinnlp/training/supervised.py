"""Labeled examples as a training source, drawn as they are, balanced by class or by weights."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clinnlp.tasks.base import Example, Task
from clinnlp.training.loader import Draw, generator

NO_CLASS = frozenset({-1})  # of an example that holds none, such as a window without entities


class ExampleSource:
    """The examples of a task, in memory; each comes once an epoch.

    With `balance` they come by the rarity of their classes, with `weights` (one each) as often as these say.
    """

    def __init__(
        self, examples: Sequence[Example], task: Task, pad_id: int, seed: int = 0, balance: float = 0.0,
        weights: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        self.examples, self.task, self.pad_id, self.seed = examples, task, pad_id, seed
        self.ends: NDArray[np.float64] | None = None
        lengths = [len(example) for example in examples]
        if balance or weights is not None:
            order = sorted(range(len(examples)), key=lambda place: len(examples[place]))
            self.examples = [examples[place] for place in order]
            drawn = chances([task.classes(example) for example in self.examples], balance) if balance else 1.0
            if weights is not None:
                drawn = drawn * np.asarray(weights, np.float64)[order]
                drawn /= drawn.sum()
            self.ends = np.cumsum(drawn)
            lengths = [len(self.examples[self._drawn(place, 0.5)]) for place in range(len(examples))]  # about so long
        self.lengths = np.array(lengths, dtype=np.int64)

    def example(self, draw: Draw) -> Example:
        """Example `draw.index`; balanced, what stands at that place of the epoch."""
        if self.ends is None:
            return self.examples[draw.index]
        return self.examples[self._drawn(draw.index, float(generator(self.seed, draw.epoch, 0, 2).random()))]

    def collate(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """The task's batch."""
        return self.task.collate(examples, self.pad_id)

    def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor], items: Any) -> torch.Tensor:
        """The task's loss."""
        return self.task.loss(model, batch, items)

    def _drawn(self, place: int, shift: float) -> int:
        """Systematic sampling: an example of chance p comes N p times an epoch, rounded up or down."""
        assert self.ends is not None
        found = np.searchsorted(self.ends, (place + shift) / len(self.ends), side="right")
        return min(int(found), len(self.ends) - 1)


def chances(classes: Sequence[frozenset[int]], balance: float) -> NDArray[np.float64]:
    """The chance of each example (N,), by the rarest class in it: the number of examples that hold it to -`balance`."""
    held = [found or NO_CLASS for found in classes]
    counts = Counter(one for found in held for one in found)
    weights = np.array([max(float(counts[one]) ** -balance for one in found) for found in held])
    return weights / weights.sum()
