"""Several tasks on one encoder: models that share it, and a training source that mixes their examples."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clinnlp.encode.packing import inner
from clinnlp.tasks.base import Example, Task
from clinnlp.training.loader import Draw
from clinnlp.training.supervised import ExampleSource, chances

COUNTED = 64  # examples that are collated together to count their targets


class Several(torch.nn.Module):
    """Models of several tasks as one, which is trained as a whole; weights that they share are there once."""

    def __init__(self, models: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.models = torch.nn.ModuleList(models)  # by number: a name could be that of a layer or head

    def forward(self, number: int, batch: Mapping[str, Any]) -> Any:
        """What one of the models says of a batch."""
        return self.models[number](**batch)

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Mapping[str, Any]) -> None:
        """As transformers has it, for all models. Raises ValueError for one that cannot."""
        for model in self.models:
            one: Any = model
            one.gradient_checkpointing_enable(gradient_checkpointing_kwargs=gradient_checkpointing_kwargs)


class _One:
    """One of several models: called through the whole, so that what is laid around that holds for it as well."""

    def __init__(self, whole: Any, number: int) -> None:
        self._whole, self._number = whole, number

    def __call__(self, **batch: Any) -> Any:
        return self._whole(self._number, batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole.models[self._number], name)


def share_encoder(models: Sequence[torch.nn.Module]) -> None:
    """Give all models the encoder of the first, adapters in it included; heads and poolers stay their own.

    The models must be of one architecture.
    """
    first = inner(models[0]).base_model
    for model in models[1:]:
        own = inner(model).base_model
        for name, child in first.named_children():
            if name != "pooler":
                setattr(own, name, child)
        for name, weight in first.named_parameters(recurse=False):
            setattr(own, name, weight)


@dataclass(frozen=True)
class Portion:
    """The examples of one task, and what its loss counts beside that of the others."""

    task: Task
    examples: Sequence[Example]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class _Numbered:
    """An example with the number of its task."""

    number: int
    example: Example

    def __len__(self) -> int:
        return len(self.example)


def shares(counts: Sequence[int], temperature: float) -> NDArray[np.float64]:
    """How much of what is drawn each data set of so many examples has, (K,): in proportion to n^(1/temperature).

    1 takes what is there; with a high temperature all have the same share (Arivazhagan et al. 2019).
    """
    sizes = np.asarray(counts, np.float64) ** (1.0 / temperature)
    return np.asarray(sizes / sizes.sum(), np.float64)


class TasksSource:
    """The examples of several tasks, drawn by `shares`; an epoch has as many as there are of all tasks together.

    What is drawn depends on (seed, epoch, place) alone: an example of chance p comes N p times an epoch, rounded up or
    down. The loss of a task is the sum over its targets, divided by their mean number in its examples and by the
    examples of all tasks in the step: a task with many targets a window counts no more than one with a single target
    for each, and gradients are exact under accumulation. `balance` is by the classes of each task.
    """

    def __init__(
        self, portions: Sequence[Portion], pad_id: int, seed: int, temperature: float, balance: float = 0.0
    ) -> None:
        self.portions, self.pad_id = portions, pad_id
        self.shares = shares([len(portion.examples) for portion in portions], temperature)
        self.targets = [mean_targets(portion, pad_id) for portion in portions]
        numbered: Any = [_Numbered(n, one) for n, portion in enumerate(portions) for one in portion.examples]
        weights = np.concatenate([
            share * chances([portion.task.classes(one) for one in portion.examples], balance)
            for portion, share in zip(portions, self.shares, strict=True)
        ])  # fmt: skip
        self.rows = ExampleSource(numbered, portions[0].task, pad_id, seed, weights=weights.tolist())
        self.lengths = self.rows.lengths

    def example(self, draw: Draw) -> Any:
        """What stands at place `draw.index` of an epoch, with the number of its task."""
        return self.rows.example(draw)

    def collate(self, examples: Sequence[Any]) -> dict[str, Any]:
        """A batch of each task that is among them, with its number, under `parts`; `labels` (B,) count the examples."""
        parts = [
            (number, portion.task.collate([one.example for one in examples if one.number == number], self.pad_id))
            for number, portion in enumerate(self.portions)
            if any(one.number == number for one in examples)
        ]
        return {"parts": parts, "labels": torch.zeros(len(examples), dtype=torch.long)}

    def loss(self, model: torch.nn.Module, batch: dict[str, Any], items: Any) -> torch.Tensor:
        """The weighted losses of all tasks in the batch, over `items` examples in the step."""
        total: Any = 0.0
        for number, part in batch["parts"]:
            one: Any = _One(model, number)
            portion = self.portions[number]
            total = total + portion.weight * portion.task.loss(one, dict(part), items * self.targets[number])
        whole: torch.Tensor = total
        return whole


def mean_targets(portion: Portion, pad_id: int) -> float:
    """The mean number of targets in the examples of a task."""
    return sum(_counts(portion, pad_id)) / len(portion.examples)


def _counts(portion: Portion, pad_id: int) -> Iterator[int]:
    for first in range(0, len(portion.examples), COUNTED):
        batch = portion.task.collate(portion.examples[first : first + COUNTED], pad_id)
        yield int((batch["labels"] != -100).sum())
