"""Gold and predicted spans of all documents as arrays of distinct spans: what every span score is counted from."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from clinnlp.evaluation.pairing import Pair

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class SpanTable:
    """The K distinct spans (document, bounds, fragments, label) of both sides, and how often each side holds them.

    `start` and `end` lie on one axis of characters, on which document d begins at `offsets[d]` and a free character
    stands after each document. Rows are sorted by start, then end. Spans of equal `extent` differ in their label only.
    """

    labels: tuple[str, ...]
    offsets: Ints  # (documents + 1,)
    document: Ints  # this and the next six: (K,)
    start: Ints
    end: Ints
    label: Ints
    extent: Ints
    pieces: Ints  # which of `fragments`
    gold: Ints  # copies
    predicted: Ints  # copies
    fragments: tuple[tuple[tuple[int, int], ...], ...]  # distinct ones; the first is (), of contiguous spans
    predicted_rows: Ints  # the row of each predicted span, document by document

    @property
    def documents(self) -> int:
        return len(self.offsets) - 1

    @property
    def equal(self) -> Ints:
        """(K,) how many copies of each span are in both sides: the strict matches."""
        return np.minimum(self.gold, self.predicted)

    def by_label(self, counts: Ints) -> Ints:
        """Counts (K,) summed to (labels,)."""
        return tally(self.label, len(self.labels), counts)

    def parts(self, rows: Ints) -> tuple[Ints, Ints, Ints]:
        """The contiguous parts of the spans in these rows: index into `rows`, start, end; not sorted."""
        contiguous = self.pieces[rows] == 0
        owner = np.flatnonzero(contiguous)
        found = [(owner, self.start[rows[owner]], self.end[rows[owner]])]
        for index in np.flatnonzero(~contiguous):
            row = rows[index]
            bounds = np.array(self.fragments[self.pieces[row]], np.int64) + self.offsets[self.document[row]]
            found.append((np.full(len(bounds), index), bounds[:, 0], bounds[:, 1]))
        owners, starts, ends = zip(*found, strict=True)
        return np.concatenate(owners), np.concatenate(starts), np.concatenate(ends)


def tabulate(pairs: Sequence[Pair], labels: Sequence[str] | None = None) -> SpanTable:
    """The spans of joined documents; `labels` declares further labels."""
    spans = [span for gold, _ in pairs for span in gold.spans]
    golds = len(spans)
    spans += [span for _, predicted in pairs for span in predicted.spans]
    names = tuple(sorted({span.label for span in spans}.union(labels or ())))
    position = {label: number for number, label in enumerate(names)}
    numbers = {(): 0}  # of each set of fragments
    pieces = np.zeros(len(spans), np.int64)
    for index, fragments in enumerate(map(attrgetter("fragments"), spans)):
        if fragments:
            pieces[index] = numbers.setdefault(fragments, len(numbers))
    offsets = np.zeros(len(pairs) + 1, np.int64)
    np.cumsum([len(gold.text) + 1 for gold, _ in pairs], out=offsets[1:])
    held = [len(gold.spans) for gold, _ in pairs] + [len(predicted.spans) for _, predicted in pairs]
    document = np.repeat(np.tile(np.arange(len(pairs)), 2), np.array(held, np.int64))
    start, end = (_numbers(map(attrgetter(name), spans), len(spans)) for name in ("start", "end"))
    label = _numbers(map(position.__getitem__, map(attrgetter("label"), spans)), len(spans))
    shape = (end - start) * len(numbers) + pieces
    start += offsets[document]
    minor = shape * max(1, len(names)) + label
    order = np.lexsort((minor, start))
    moved = _differs(start[order])
    distinct = moved | _differs(minor[order])
    row = np.empty(len(spans), np.int64)
    row[order] = np.cumsum(distinct) - 1
    first = order[distinct]
    return SpanTable(
        labels=names,
        offsets=offsets,
        document=document[first],
        start=start[first],
        end=end[first] + offsets[document[first]],
        label=label[first],
        extent=np.cumsum(moved[distinct] | _differs(shape[first])) - 1,
        pieces=pieces[first],
        gold=np.bincount(row[:golds], minlength=len(first)),
        predicted=np.bincount(row[golds:], minlength=len(first)),
        fragments=tuple(numbers),
        predicted_rows=row[golds:],
    )


def tally(cells: Ints, size: int, counts: Ints) -> Ints:
    """Counts summed by cell: (size,)."""
    return np.bincount(cells, weights=counts, minlength=size).astype(np.int64)  # floats are exact up to 2**53


def _numbers(values: Any, count: int) -> Ints:
    return np.fromiter(values, np.int64, count)


def _differs(values: Ints) -> npt.NDArray[np.bool_]:
    """Which values are not the one before them; the first is not."""
    differs = np.ones(len(values), np.bool_)
    differs[1:] = values[1:] != values[:-1]
    return differs
