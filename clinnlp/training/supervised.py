"""Labeled examples as a training source."""

from collections.abc import Sequence

import numpy as np

from clinnlp.tasks.base import Example
from clinnlp.training.loader import Draw


class ExampleSource:
    """The examples of a task, in memory."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples
        self.lengths = np.array([len(example) for example in examples], dtype=np.int64)

    def example(self, draw: Draw) -> Example:
        """Example `draw.index`; it is the same in every epoch."""
        return self.examples[draw.index]
