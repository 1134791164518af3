"""Masked language modelling of spans of words."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinnlp.encode.marks import WORD
from clinnlp.encode.packing import Rows
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.objectives._masking import (
    CHANCES,
    MASKED,
    SWAPPED,
    Draws,
    Flags,
    check_rates,
    corrupted,
    rate_at,
    settled,
    spread,
)
from clinnlp.objectives.base import Objective

LONGEST = 10  # words of a span
SHARES = 0.2 * 0.8 ** np.arange(LONGEST)  # of lengths 1 to 10: geometric, as in SpanBERT
SHARES = SHARES / SHARES.sum()
MEAN = float(SHARES @ np.arange(1, LONGEST + 1))  # 3.8 words
LENGTHS = np.cumsum(SHARES)
RESTS = np.cumsum(np.cumsum(SHARES[::-1])[::-1]) / MEAN  # what is left of the span that a word stands in
MOST = 0.75  # with more there would be no word between two spans


@dataclass(frozen=True)
class SpanMlm(Objective):
    """Guess hidden spans of 1 to 10 words, 3.8 on average (SpanBERT, Joshi et al. 2020, without its boundary loss).

    Lengths are geometric (p = 0.2); spans are of whole words, at least one word apart, and end at the borders of
    notes and at placeholders. 80 % of the spans become mask tokens, 10 % random ones, and 10 % stay, each as a whole.

    When to use it: before tasks whose answers are long spans, such as problems or social history in whole phrases.
    What the evidence says: gains in the paper are on question answering and coreference; in others little is left
    of them at higher masking rates. An option, not the default.
    """

    rate: float = 0.30
    """Share of tokens to guess at the start of training; at most 0.75."""
    final_rate: float = 0.15
    """Share of tokens to guess at the end; between the two it changes linearly."""

    def __post_init__(self) -> None:
        check_rates(self.rate, self.final_rate, MOST)

    def corrupt(
        self, rows: Rows, tokenizer: NoteTokenizer, progress: float, randoms: Iterable[np.random.Generator]
    ) -> dict[str, NDArray[Any]]:
        """The rows with spans hidden."""
        draws = Draws.of(rows, randoms)
        begins = (rows.marks & WORD) != 0
        words = in_spans(draws.chances, rows.lengths, rate_at(self.rate, self.final_rate, progress))
        number = np.cumsum(begins, axis=1) - 1  # of the word in its row
        chosen = np.take_along_axis(words, number, axis=1) & begins
        hidden = settled(rows, spread(chosen, begins), begins, draws)
        return corrupted(rows, hidden, _one_fate(hidden, draws.fates), tokenizer)


def in_spans(chances: NDArray[np.uint16], lengths: NDArray[np.int64], rate: float) -> Flags:
    """Which words of each row stand in a span, (B, S): gaps and spans in turn along an endless row of words.

    Gaps are geometric with the mean that makes the share of words in spans the `rate`; the row begins at a random
    place of the endless one, so that its first words are hidden as often as others.
    """
    even = (chances + 0.5) / CHANCES
    rows, size = chances.shape
    pairs = (size - 1) // 2
    gap = MEAN * (1 - rate) / rate
    gaps = 1 + np.floor(np.log(even[:, 1 : 2 * pairs : 2]) / np.log(1 - 1 / gap)).astype(np.int64)
    spans = 1 + np.searchsorted(LENGTHS, even[:, 2 : 2 * pairs + 1 : 2])
    gaps[2 * np.arange(1, pairs + 1) >= lengths[:, None]] = size  # draws of padding count for nothing
    if pairs:
        inside = even[:, 0] < rate
        gaps[inside, 0] = 0
        spans[inside, 0] = 1 + np.searchsorted(RESTS, even[inside, 2])
    ends = np.cumsum(np.stack([gaps, spans], axis=2).reshape(rows, 2 * pairs), axis=1)
    steps = np.zeros((rows, size + 1), np.int8)
    row = np.arange(rows)[:, None]
    steps[row, np.minimum(ends[:, 0::2], size)] = 1
    steps[row, np.minimum(ends[:, 1::2], size)] = -1
    return np.cumsum(steps[:, :size], axis=1) > 0


def _one_fate(hidden: Flags, fates: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The fates of tokens such that all of a span share that of its first."""
    places = np.flatnonzero(hidden)
    first = np.diff(places, prepend=-2) > 1
    own = fates.ravel()[places]
    lead = own[np.maximum.accumulate(np.where(first, np.arange(len(places)), 0))]
    swapped = (lead >= MASKED) & (lead < SWAPPED)
    other = (MASKED + own.astype(np.int64) * (SWAPPED - MASKED) // 2**32).astype(np.uint32)  # each its own token
    shared = fates.copy()
    shared.ravel()[places] = np.where(swapped, other, lead)
    return shared
