"""Marks of tokens, one byte each: where words, sentences and entities begin, and what is never a target."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clinnlp.encode.characters import word_starts
from clinnlp.encode.tokens import Tokens

WORD = 1  # the first token of a word
ENTITY, INSIDE = 2, 4  # the first token of an entity, and those that follow it
LINE = 8  # the first token of a sentence or line
FRAME, FIXED = 64, 128  # what the model reads and never guesses: framing tokens and padding; stretches of text
CLOSED = FRAME  # a mark from here up is never a target
_EVERY = np.arange(256, dtype=np.uint8)
BEGUN = np.where(_EVERY & INSIDE, _EVERY ^ (ENTITY | INSIDE), _EVERY) | WORD  # a mark, made the first of its piece

Ranges = Sequence[tuple[int, int]]
_LINE = re.compile(r"(?<=[.!?])\s+|\s*\n\s*")


@dataclass(frozen=True, slots=True)
class MarkedText:
    """A text and its stretches, half-open, in characters: `fixed` are never targets, `entities` are known by place.

    `kinds` are the numbers of the entities' labels, from 1; `target` is the number of the note's class, -1 for none.
    """

    text: str
    fixed: Ranges = ()
    entities: Ranges = ()
    kinds: Sequence[int] = ()
    target: int = -1


def token_marks(marked: MarkedText, tokens: Tokens) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The marks of all tokens of a text and the kinds of their entities, 0 for none, both (T,).

    A word is a run of letters and digits or any other visible character, read from the text by offsets and not from
    the tokens' spelling. Tokens that share a word or a character belong together. A token that covers nothing is a
    word of its own; entities that overlap are one, of the kind of the first.
    """
    starts, ends = tokens.offsets[:, 0], tokens.offsets[:, 1]
    number = np.append(np.cumsum(word_starts(marked.text)), len(marked.text) + 1)
    reached = np.maximum.accumulate(np.where(ends > starts, number[ends - 1], 0))
    marks = (number[starts] > np.append(0, reached)[:-1]).astype(np.uint8)
    covered = np.maximum.accumulate(ends)
    for first, last in tokens_of(marked.fixed, starts, covered):
        marks[first:last] |= FIXED
    kinds = np.zeros(len(marks), np.uint8)
    entities, numbers = _joined(marked.entities, marked.kinds)
    for (first, last), kind in zip(tokens_of(entities, starts, covered), numbers, strict=True):
        first += bool(first < last and marks[first] & (ENTITY | INSIDE))  # shared with the entity before
        marks[first:last] |= INSIDE
        marks[first : min(first + 1, last)] ^= ENTITY | INSIDE
        kinds[first:last] = kind
    lines = [0, *(found.end() for found in _LINE.finditer(marked.text))]
    marks[[place for place in np.searchsorted(starts, lines).tolist() if place < len(marks)]] |= LINE
    return marks, kinds


def tokens_of(ranges: Ranges, starts: NDArray[np.int64], covered: NDArray[np.int64]) -> list[tuple[int, int]]:
    """The tokens that reach into each stretch of characters, as half-open ranges."""
    if not ranges:
        return []
    bounds = np.array(ranges, dtype=np.int64)
    first = np.searchsorted(covered, bounds[:, 0], side="right")
    last = np.searchsorted(starts, bounds[:, 1], side="left")
    return list(zip(first.tolist(), last.tolist(), strict=True))


def _joined(ranges: Ranges, kinds: Sequence[int]) -> tuple[Ranges, list[int]]:
    """Stretches in order, those that overlap made one, and the kind of each."""
    joined: list[tuple[int, int]] = []
    found: list[int] = []
    for (start, end), kind in sorted(zip(ranges, kinds or [0] * len(ranges), strict=True)):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
            found.append(kind)
    return joined, found
