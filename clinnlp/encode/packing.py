"""Packed blocks: pieces of several notes side by side in one row, none of which sees another."""

import inspect
from array import array
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clinnlp.core.spool import nameless_file, write
from clinnlp.encode.marks import BEGUN, FRAME, WORD, MarkedText, token_marks
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.encode.varlen import VARLEN

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
    def of(cls, tokenizer: NoteTokenizer, notes: Iterable[MarkedText], folder: Path | None = None) -> "TokenStore":
        """Tokenize notes; their texts and offsets are held for a few at a time.

        With a folder all that is long lies there in nameless files that are mapped into memory.
        """
        ids, marks, kinds = (_Column(kind, folder) for kind in (np.int32, np.uint8, np.uint8))
        targets, bounds = array("q"), array("q", [0])
        left = iter(notes)
        while some := list(islice(left, READ_AT_ONCE)):
            for note, tokens in zip(some, tokenizer.encode_many([note.text for note in some]), strict=True):
                marked, held = token_marks(note, tokens)
                for column, values in ((ids, tokens.ids), (marks, marked), (kinds, held)):
                    column.add(values)
                targets.append(note.target)
                bounds.append(bounds[-1] + len(tokens))
        return cls(ids.whole(), marks.whole(), kinds.whole(), np.array(targets), np.array(bounds))

    def __len__(self) -> int:
        return len(self.bounds) - 1


class _Column:
    """Numbers of one kind that come bit by bit, in memory or in a nameless file."""

    def __init__(self, kind: type[Any], folder: Path | None) -> None:
        self.kind, self.file = np.dtype(kind), folder and nameless_file(folder)
        self.parts: list[NDArray[Any]] = [np.zeros(0, kind)]
        self.length = 0

    def add(self, values: NDArray[Any]) -> None:
        self.length += len(values)
        if self.file:
            write(self.file, values.astype(self.kind, copy=False))
        else:
            self.parts.append(values)

    def whole(self) -> NDArray[Any]:
        if not self.file or not self.length:
            return np.concatenate(self.parts)
        write(self.file, b"")
        return np.memmap(self.file, self.kind, "r", shape=(self.length,))


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
        self.store, self.packed, self.full = store, pack, False
        self.prefix, self.suffix = np.array(tokenizer.prefix, np.int64), np.array(tokenizer.suffix, np.int64)
        self.pad_id = tokenizer.pad_id or 0
        room = size - tokenizer.specials
        counts = -(-np.diff(store.bounds) // room)  # pieces of each note
        number = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        firsts = np.repeat(store.bounds[:-1], counts) + number * room
        pieces = np.stack([firsts, np.minimum(firsts + room, np.repeat(store.bounds[1:], counts))], axis=1)
        lengths = pieces[:, 1] - pieces[:, 0] + tokenizer.specials
        rows = best_fit(lengths.tolist(), size) if pack else [[index] for index in range(len(pieces))]
        order = np.fromiter(chain.from_iterable(rows), np.int64, len(pieces))
        self.pieces = pieces[order]  # row by row
        self.starts = np.cumsum([0, *map(len, rows)])
        self.lengths = np.add.reduceat(lengths[order], self.starts[:-1]) if rows else np.zeros(0, np.int64)
        self.notes = np.searchsorted(store.bounds, self.pieces[self.starts[:-1], 0], side="right") - 1
        self._places = np.arange(size)

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, indices: Sequence[int]) -> Rows:
        """Some blocks side by side, built from the store, as wide as the longest or, if `full`, as any may be."""
        lengths = self.lengths[list(indices)]
        shape = (len(lengths), len(self._places) if self.full else int(lengths.max()))
        ids, marks = np.full(shape, self.pad_id, np.int64), np.full(shape, FRAME | WORD, np.uint8)
        pieces, positions, kinds = np.full(shape, -1, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.uint8)
        before, after = len(self.prefix), len(self.suffix)
        for row, index in enumerate(indices):
            start = 0
            for number, (first, last) in enumerate(self.pieces[self.starts[index] : self.starts[index + 1]].tolist()):
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
    no row of the softmax is empty. Where no row is packed the plain (B, S) mask is given, and to a model
    that attends piece by piece (`use_varlen`) where its pieces begin.
    """
    if not packed:
        return {"attention_mask": (pieces >= 0).long()}
    given = _bounds(pieces) if inner(model).config._attn_implementation == VARLEN else _mask(model, pieces)
    if "position_ids" in inspect.signature(inner(model).forward).parameters:
        given["position_ids"] = positions + position_offset(model)
    return given


def _bounds(pieces: "torch.Tensor") -> dict[str, Any]:
    """Where pieces begin, and the last one ends, over all rows."""
    import torch

    begins = torch.ones_like(pieces, dtype=torch.bool)
    begins[:, 1:] = pieces[:, 1:] != pieces[:, :-1]
    bounds = torch.nn.functional.pad(begins.flatten().nonzero().squeeze(1), (0, 1), value=pieces.numel())
    return {"cu_seq_lens_q": bounds.int().cpu()}


def _mask(model: "torch.nn.Module", pieces: "torch.Tensor") -> dict[str, Any]:
    import torch

    config: Any = inner(model).config
    same = pieces[:, None, :, None] == pieces[:, None, None, :]
    nothing = torch.zeros((), dtype=torch.float32, device=pieces.device)
    blocked = nothing + torch.finfo(torch.float32).min
    mask: Any = torch.where(same, nothing, blocked)
    if getattr(config, "model_type", "") == "modernbert":
        distance = torch.arange(pieces.shape[1], device=pieces.device)
        near = (distance[:, None] - distance[None, :]).abs() <= config.sliding_window
        mask = {"full_attention": mask, "sliding_attention": torch.where(same & near, nothing, blocked)}
    return {"attention_mask": mask}


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
