"""Packed blocks: pieces of several notes side by side in one row, none of which sees another."""

import inspect
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clinnlp.encode.marks import BEGUN, FRAME, WORD, MarkedText, token_marks
from clinnlp.encode.tokens import NoteTokenizer

if TYPE_CHECKING:
    import torch


READ_AT_ONCE = 256  # notes whose offsets are in memory


@dataclass(frozen=True, slots=True)
class TokenStore:
    """A corpus tokenized once: `ids`, `marks` and `kinds`, all (N,), of all notes end to end; `targets (D,)` of notes.

    Note d is at `bounds[d]:bounds[d + 1]`. What they mean is said in `clinnlp.encode.marks`.
    """

    ids: NDArray[np.int32]
    marks: NDArray[np.uint8]
    kinds: NDArray[np.uint8]
    targets: NDArray[np.int64]
    bounds: NDArray[np.int64]

    @classmethod
    def of(cls, tokenizer: NoteTokenizer, notes: Iterable[MarkedText]) -> "TokenStore":
        """Tokenize notes; their texts and offsets are held for a few at a time."""
        ids, marks = [np.zeros(0, np.int32)], [(np.zeros(0, np.uint8), np.zeros(0, np.uint8))]
        targets: list[int] = []
        left = iter(notes)
        while some := list(islice(left, READ_AT_ONCE)):
            read = tokenizer.encode_many([note.text for note in some])
            ids += [tokens.ids for tokens in read]
            marks += [token_marks(note, tokens) for note, tokens in zip(some, read, strict=True)]
            targets += [note.target for note in some]
        bounds = np.cumsum([len(part) for part in ids], dtype=np.int64)
        marked, kinds = (np.concatenate(parts) for parts in zip(*marks, strict=True))
        return cls(np.concatenate(ids), marked, kinds, np.array(targets, np.int64), bounds)

    def __len__(self) -> int:
        return len(self.bounds) - 1


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of the model, filled up on the right: `ids`, `marks`, `kinds`, `pieces`, `positions`, all (B, S).

    `pieces` numbers the piece a position belongs to, -1 is padding; `positions` restart with each piece. Padding and
    the tokens that frame a piece are marked FRAME. `lengths`, the note of the first piece and its target are (B,).
    """

    ids: NDArray[np.int64]
    marks: NDArray[np.uint8]
    kinds: NDArray[np.uint8]
    pieces: NDArray[np.int64]
    positions: NDArray[np.int64]
    lengths: NDArray[np.int64]
    notes: NDArray[np.int64]
    targets: NDArray[np.int64]

    @property
    def special(self) -> NDArray[np.bool_]:
        """Which positions hold no token of a note."""
        special: NDArray[np.bool_] = (self.marks & FRAME) != 0
        return special


class PackedBlocks:
    """The blocks of a store: notes cut into pieces of at most `size` with specials, packed by best fit.

    With `pack=False` each piece is a block of its own, for architectures that cannot keep pieces apart.
    """

    def __init__(self, store: TokenStore, tokenizer: NoteTokenizer, size: int, pack: bool = True) -> None:
        self.store, self.packed = store, pack
        self.prefix, self.suffix = np.array(tokenizer.prefix, np.int64), np.array(tokenizer.suffix, np.int64)
        self.pad_id = tokenizer.pad_id or 0
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
        self.notes = np.searchsorted(store.bounds, [row[0][0] for row in self.rows], side="right") - 1
        self._places = np.arange(size)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: Sequence[int]) -> Rows:
        """Some blocks side by side, built from the store."""
        lengths = self.lengths[list(indices)]
        shape = (len(lengths), int(lengths.max()))
        ids, marks = np.full(shape, self.pad_id, np.int64), np.full(shape, FRAME | WORD, np.uint8)
        pieces, positions, kinds = np.full(shape, -1, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.uint8)
        before, after = len(self.prefix), len(self.suffix)
        for row, index in enumerate(indices):
            start = 0
            for number, (first, last) in enumerate(self.rows[index]):
                inner = start + before
                stop = inner + last - first
                end = stop + after
                ids[row, start:inner] = self.prefix
                ids[row, inner:stop] = self.store.ids[first:last]
                ids[row, stop:end] = self.suffix
                marks[row, inner:stop] = self.store.marks[first:last]
                kinds[row, inner:stop] = self.store.kinds[first:last]
                marks[row, inner] = BEGUN[marks[row, inner]]  # where a note was cut, the rest is a word of its own
                pieces[row, start:end] = number
                positions[row, start:end] = self._places[: end - start]
                start = end
        notes = self.notes[list(indices)]
        return Rows(ids, marks, kinds, pieces, positions, lengths, notes, self.store.targets[notes])


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
    if "position_ids" in inspect.signature(inner(model).forward).parameters:
        given["position_ids"] = positions + position_offset(model)
    return given


def position_offset(model: "torch.nn.Module") -> int:
    """The position number of the first token: RoBERTa and its kin start behind their padding index."""
    embeddings = getattr(inner(model).base_model, "embeddings", None)
    return int(getattr(embeddings, "padding_idx", None) or -1) + 1


def inner(model: "torch.nn.Module") -> Any:
    """The transformers model inside a peft or data-parallel wrapper."""
    inner: Any = getattr(model, "module", model)
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner


def pad_rows(rows: Sequence[NDArray[Any]], value: int) -> NDArray[np.int64]:
    """Rows of different lengths as one (B, S) array, filled up with `value` on the right."""
    padded = np.full((len(rows), max(map(len, rows))), value, dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded
