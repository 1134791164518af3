"""Packed blocks: pieces of several notes side by side in one row, none of which sees another."""

import inspect
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clinnlp.encode.tokens import NoteTokenizer, Tokens

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class TokenStore:
    """A corpus tokenized once: `ids (N,)` of all notes end to end, note d at `bounds[d]:bounds[d + 1]`."""

    ids: NDArray[np.int32]
    bounds: NDArray[np.int64]

    @classmethod
    def of(cls, notes: Iterable[Tokens]) -> "TokenStore":
        arrays = [note.ids for note in notes]
        ids = np.concatenate(arrays).astype(np.int32) if arrays else np.zeros(0, np.int32)
        return cls(ids, np.cumsum([0, *map(len, arrays)], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.bounds) - 1


@dataclass(frozen=True, slots=True)
class Block:
    """One row of the model: `ids`, `pieces`, `positions`, `special`, all (S,).

    `pieces` numbers the piece a position belongs to, `positions` restart with each piece, `special` marks
    the tokens that frame a piece.
    """

    ids: NDArray[np.int64]
    pieces: NDArray[np.int64]
    positions: NDArray[np.int64]
    special: NDArray[np.bool_]


class PackedBlocks:
    """The blocks of a store: notes cut into pieces of at most `size` with specials, packed by best fit.

    With `pack=False` each piece is a block of its own, for architectures that cannot keep pieces apart.
    """

    def __init__(self, store: TokenStore, tokenizer: NoteTokenizer, size: int, pack: bool = True) -> None:
        self.store, self.packed = store, pack
        self.prefix, self.suffix = tokenizer.prefix, tokenizer.suffix
        room = size - tokenizer.specials
        pieces = [
            (first, min(first + room, end))
            for start, end in zip(store.bounds[:-1].tolist(), store.bounds[1:].tolist(), strict=True)
            for first in range(start, end, room)
        ]
        lengths = [last - first + tokenizer.specials for first, last in pieces]
        rows = best_fit(lengths, size) if pack else [[index] for index in range(len(pieces))]
        self.rows = [[pieces[index] for index in row] for row in rows]
        self.lengths = np.array([sum(lengths[index] for index in row) for row in rows], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def block(self, index: int) -> Block:
        """Block `index`, built from the store."""
        ids: list[NDArray[np.int64]] = []
        pieces: list[NDArray[np.int64]] = []
        positions: list[NDArray[np.int64]] = []
        special: list[NDArray[np.bool_]] = []
        for number, (first, last) in enumerate(self.rows[index]):
            body = self.store.ids[first:last].astype(np.int64)
            ids += [np.array(self.prefix, np.int64), body, np.array(self.suffix, np.int64)]
            length = len(self.prefix) + len(body) + len(self.suffix)
            pieces.append(np.full(length, number))
            positions.append(np.arange(length))
            framed = np.ones(length, bool)
            framed[len(self.prefix) : length - len(self.suffix)] = False
            special.append(framed)
        return Block(
            np.concatenate(ids),
            np.concatenate(pieces),
            np.concatenate(positions),
            np.concatenate(special),
        )


def best_fit(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Pack items into bins of `size`, longest first, each into the fullest bin that still has room."""
    bins: list[list[int]] = []
    free: list[tuple[int, int]] = []  # (room left, bin), sorted by room
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        at = bisect_left(free, (lengths[index], -1))
        if at < len(free):
            room, number = free.pop(at)
        else:
            room, number = size, len(bins)
            bins.append([])
        bins[number].append(index)
        if room > lengths[index]:
            insort(free, (room - lengths[index], number))
    return bins


def attention(
    model: "torch.nn.Module", pieces: "torch.Tensor", positions: "torch.Tensor", packed: bool
) -> dict[str, Any]:
    """The keyword arguments that keep the pieces of packed rows apart in `model`.

    `pieces` and `positions` are (B, S); padding has piece -1. A float additive mask (B, 1, S, S) is right
    under both sdpa and eager attention, a boolean one only under sdpa. Padding attends to padding, so that
    no row of the softmax is empty. Where no row is packed the plain (B, S) mask is given.
    """
    import torch

    if not packed:
        return {"attention_mask": (pieces >= 0).long()}
    config: Any = model.config
    same = pieces[:, None, :, None] == pieces[:, None, None, :]
    nothing = torch.zeros((), dtype=torch.float32, device=pieces.device)
    blocked = nothing + torch.finfo(torch.float32).min
    mask: Any = torch.where(same, nothing, blocked)
    if getattr(config, "model_type", "") == "modernbert":
        distance = torch.arange(pieces.shape[1], device=pieces.device)
        near = (distance[:, None] - distance[None, :]).abs() <= config.sliding_window
        mask = {"full_attention": mask, "sliding_attention": torch.where(same & near, nothing, blocked)}
    given: dict[str, Any] = {"attention_mask": mask}
    if "position_ids" in inspect.signature(_inner(model).forward).parameters:
        given["position_ids"] = positions + position_offset(model)
    return given


def position_offset(model: "torch.nn.Module") -> int:
    """The position number of the first token: RoBERTa and its kin start behind their padding index."""
    embeddings = getattr(_inner(model).base_model, "embeddings", None)
    return int(getattr(embeddings, "padding_idx", None) or -1) + 1


def _inner(model: "torch.nn.Module") -> Any:
    """The transformers model inside a peft or data-parallel wrapper."""
    inner: Any = getattr(model, "module", model)
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner


def pad_rows(rows: Sequence[NDArray[Any]], value: int) -> NDArray[np.int64]:
    """Rows of different lengths as one (B, S) array, filled up with `value` on the right."""
    padded = np.full((len(rows), max(map(len, rows))), value, dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded
