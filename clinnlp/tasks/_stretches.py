"""What tasks on stretches of a note share: a sentence or marked span is read by the window that owns its middle.

It is answered by the mean of the logits of its tokens there.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clinnlp.encode.marks import tokens_of
from clinnlp.encode.packing import pad_rows
from clinnlp.encode.tokens import Tokens
from clinnlp.errors import IntegrityError
from clinnlp.tasks.base import Answers, Example, Row

if TYPE_CHECKING:
    import torch

Ints = NDArray[np.int64]


def placed(bounds: Sequence[tuple[int, int]], tokens: Tokens, rows: Sequence[Row]) -> Ints:
    """Where stretches of characters are read, (N, 3): row, first position in it and the one behind the last.

    Windows are of one length and borders lie in the middle of what two share, so that the window that owns the middle
    token has the most of the stretch and of what stands around it. A row of -1 for a stretch without tokens.
    """
    found = np.full((len(bounds), 3), -1, np.int64)
    starts, covered = tokens.offsets[:, 0], np.maximum.accumulate(tokens.offsets[:, 1])
    borders = np.array([row.window.own_last for row in rows])
    for number, (first, last) in enumerate(tokens_of(bounds, starts, covered)):
        if first < last:
            owner = int(np.searchsorted(borders, (first + last - 1) // 2, side="right"))
            window, shift = rows[owner].window, rows[owner].before - rows[owner].window.first
            found[number] = owner, max(first, window.first) + shift, min(last, window.last) + shift
    return found


def examples_of(rows: Sequence[Row], places: Ints, targets: Ints) -> list[Example]:
    """One example per window that is to answer for a stretch, `targets` being (N, ...)."""
    made = []
    for number, row in enumerate(rows):
        own = places[:, 0] == number
        if own.any():
            made.append(Example((row,), targets[own], places[own, 1:]))
    return made


def collate(examples: Sequence[Example], pad_id: int) -> "dict[str, torch.Tensor]":
    """`input_ids` and `attention_mask` (B, S); `stretches` (N, 3): row, first, last; `labels`, (N, ...) targets."""
    import torch

    rows = [example.rows[0].ids for example in examples]
    places = [np.insert(example.stretches, 0, number, axis=1) for number, example in enumerate(examples)]
    return {
        "input_ids": torch.from_numpy(pad_rows(rows, pad_id)),
        "attention_mask": torch.from_numpy(pad_rows([np.ones(len(row)) for row in rows], 0)),
        "stretches": torch.from_numpy(np.concatenate(places)),
        "labels": torch.from_numpy(np.concatenate([example.targets for example in examples])),
    }


def pooled(logits: "torch.Tensor", stretches: "torch.Tensor") -> "torch.Tensor":
    """The mean logits (N, C) of stretches (N, 3) of rows (B, S, C), in float32."""
    import torch

    sums = torch.nn.functional.pad(logits.double().cumsum(dim=1), (0, 0, 1, 0))
    row, first, last = stretches.T
    means: torch.Tensor = (sums[row, last] - sums[row, first]) / (last - first)[:, None]
    return means.float()


def answered(places: Ints, answers: Answers) -> list[NDArray[np.float64] | None]:
    """The mean logits (C,) of each stretch; None for one without tokens. Raises IntegrityError for NaN."""
    found: list[NDArray[np.float64] | None] = []
    for row, first, last in places.tolist():
        logits: Any = None if row < 0 else answers[row][1][first:last].mean(axis=0, dtype=np.float64)
        if logits is not None and not np.isfinite(logits).all():
            raise IntegrityError("NaN logits: the model's output is not a number", next="check the model's weights")
        found.append(logits)
    return found


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (C,)."""
    odds = np.exp(logits - logits.max())
    return np.asarray(odds / odds.sum(), np.float64)
