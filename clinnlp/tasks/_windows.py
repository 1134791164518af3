"""What note classification makes of the windows of a note: their logits, held in parts, and one answer of all."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Pooling = Literal["mean", "max", "attention"]

HELD_TOKENS = 16_384  # of windows whose activations are held in a training step; others are computed again
WEIGHT = "weight of the window"  # the output behind the labels with attention pooling


def pooled_notes(logits: "torch.Tensor", note: "torch.Tensor", notes: int, pooling: Pooling) -> "torch.Tensor":
    """The logits (B, L) of notes from those of their windows (W, L), (W, L + 1) with attention; `note` (W,) is of each.

    Attention is that of Ilse et al. (2018): weights that sum to 1 over the windows of a note, from a linear output on
    the hidden layer that the labels are read from too. As labels are linear in it, the weighted mean of the logits is
    what they would give of the weighted mean of the windows.
    """
    import torch

    if pooling == "attention":
        logits, scores = logits[:, :-1], logits[:, -1]
        highest = scores.new_zeros(notes).scatter_reduce(0, note, scores, "amax", include_self=False)
        odds = (scores - highest[note].detach()).exp()
        share = odds / scores.new_zeros(notes).index_add(0, note, odds)[note]
        return logits.new_zeros(notes, logits.shape[1]).index_add(0, note, logits * share[:, None])
    empty = torch.zeros(notes, logits.shape[1], device=logits.device)
    index = note[:, None].expand_as(logits)
    return empty.scatter_reduce(0, index, logits, "amax" if pooling == "max" else "mean", include_self=False)


def pooled_note(logits: NDArray[np.float64], pooling: Pooling) -> NDArray[np.float64]:
    """The logits (L,) of one note from those of its windows, as `pooled_notes`."""
    if pooling == "attention":
        odds = np.exp(logits[:, -1] - logits[:, -1].max())
        return np.asarray(odds @ logits[:, :-1] / odds.sum(), np.float64)
    return np.asarray(logits.max(axis=0) if pooling == "max" else logits.mean(axis=0), np.float64)


def window_logits(model: "torch.nn.Module", batch: "dict[str, torch.Tensor]") -> "torch.Tensor":
    """The logits (W, L) of all windows; where they are many, only the activations of one part are held at a time."""
    import torch
    from torch.utils.checkpoint import checkpoint

    def run(part: dict[str, Any]) -> torch.Tensor:
        logits: torch.Tensor = model(**part).logits.float()
        return logits

    count, width = batch["attention_mask"].shape
    rows = max(HELD_TOKENS // width, 1)
    if count <= rows or not torch.is_grad_enabled():
        return run(batch)
    parts = [{name: values[at : at + rows] for name, values in batch.items()} for at in range(0, count, rows)]
    found: list[torch.Tensor] = [checkpoint(run, part, use_reentrant=False) for part in parts]
    return torch.cat(found)
