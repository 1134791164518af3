"""Labeled examples as a training source."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from clinnlp.tasks.base import Example, Task
from clinnlp.training.loader import Draw


class ExampleSource:
    """The examples of a task, in memory; they are the same in every epoch."""

    def __init__(self, examples: Sequence[Example], task: Task, pad_id: int) -> None:
        self.examples, self.task, self.pad_id = examples, task, pad_id
        self.lengths = np.array([len(example) for example in examples], dtype=np.int64)

    def example(self, draw: Draw) -> Example:
        """Example `draw.index`."""
        return self.examples[draw.index]

    def collate(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """The task's batch."""
        return self.task.collate(examples, self.pad_id)

    def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor], items: Any) -> torch.Tensor:
        """The task's loss."""
        return self.task.loss(model, batch, items)
