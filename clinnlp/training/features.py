"""What an encoder makes of labeled notes before any training: the mean of its layers, with the gold of each vector."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clinnlp.encode.packing import pad_rows
from clinnlp.tasks.base import Example, Task

PER_CLASS = 5_000  # vectors of a class
BATCH_TOKENS = 4096  # tokens per forward pass


@dataclass(frozen=True)
class Features:
    """Vectors (N, D) of tagged tokens, or of whole examples, with their gold (N, C), and how long reading took."""

    vectors: NDArray[np.float32]
    gold: NDArray[np.bool_]
    of_tokens: bool
    tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """How fast the encoder read all rows."""
        return self.tokens / self.seconds if self.seconds else float("nan")


def tags_tokens(examples: Sequence[Example]) -> bool:
    """Whether the targets of examples are one class for each token of a row, -100 for none."""
    return all(
        len(one.rows) == 1 and one.targets.shape == one.rows[0].ids.shape and one.targets.dtype.kind == "i"
        for one in examples
    )


@torch.inference_mode()
def features(
    model: torch.nn.Module, task: Task, examples: Sequence[Example], classes: int, pad_id: int, seed: int
) -> Features:
    """The mean over all layers (embeddings first) of each token with a tag, at most 5,000 of a class drawn by `seed`.

    Where a task gives an example no tag for each token, the example is one vector: the mean over the tokens that its
    windows own, with the classes that the task finds in it (`Task.classes`).
    """
    of_tokens = tags_tokens(examples)
    inner: Any = model
    encoder, device = inner.base_model, next(model.parameters()).device
    encoder.eval()
    rows = [(number, row) for number, example in enumerate(examples) for row in example.rows]
    rows.sort(key=lambda one: len(one[1].ids))
    drawn = _drawn(examples, seed) if of_tokens else {}
    width = int(inner.config.hidden_size)
    sums, counts = np.zeros((0 if of_tokens else len(examples), width), np.float64), np.zeros(len(examples))
    found: list[tuple[int, NDArray[np.float32]]] = []
    seconds, tokens = 0.0, 0
    for some in _batches(rows):
        ids = torch.from_numpy(pad_rows([row.ids for _, row in some], pad_id)).to(device)
        lengths = torch.tensor([len(row.ids) for _, row in some], device=device)
        mask = (torch.arange(ids.shape[1], device=device)[None] < lengths[:, None]).long()
        begun = time.perf_counter()
        states = encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        mean = torch.stack([state.float() for state in states if state.shape[-1] == width]).mean(0).cpu().numpy()
        seconds += time.perf_counter() - begun
        tokens += int(lengths.sum())
        for (number, row), vectors in zip(some, mean, strict=True):
            if of_tokens:
                found.append((number, vectors[drawn[number]]))
            else:
                sums[number] += vectors[row.owned].sum(axis=0)
                counts[number] += row.window.own_last - row.window.own_first
    if of_tokens:
        ordered = sorted(found, key=lambda one: one[0])
        tags = np.concatenate([examples[number].targets[drawn[number]] for number, _ in ordered])
        return Features(np.concatenate([v for _, v in ordered]), _columns(tags, classes), True, tokens, seconds)
    gold = np.zeros((len(examples), classes), np.bool_)
    for number, example in enumerate(examples):
        gold[number, list(task.classes(example))] = True
    return Features((sums / counts[:, None]).astype(np.float32), gold, False, tokens, seconds)


def _columns(tags: NDArray[np.int64], classes: int) -> NDArray[np.bool_]:
    return np.asarray(tags[:, None] == np.arange(classes))


def _drawn(examples: Sequence[Example], seed: int) -> dict[int, NDArray[np.int64]]:
    """Of each example the places of the tokens that are taken: all of a class, or 5,000 of them."""
    places = [(number, place) for number, one in enumerate(examples) for place in np.flatnonzero(one.targets != -100)]
    tags = np.array([examples[number].targets[place] for number, place in places])
    random = np.random.default_rng(seed)
    kept = np.zeros(len(places), np.bool_)
    for tag in np.unique(tags):
        held = np.flatnonzero(tags == tag)
        kept[random.permutation(held)[:PER_CLASS]] = True
    taken: dict[int, list[int]] = {number: [] for number in range(len(examples))}
    for (number, place), keep in zip(places, kept, strict=True):
        if keep:
            taken[number].append(int(place))
    return {number: np.array(held, np.int64) for number, held in taken.items()}


def _batches(rows: Sequence[Any]) -> "list[list[Any]]":
    """Rows of like length together, at most 4,096 tokens with padding; the longest come last."""
    batches: list[list[Any]] = [[]]
    for one in rows:
        if batches[-1] and (len(batches[-1]) + 1) * len(one[1].ids) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(one)
    return batches if rows else []
