"""Scores by slice of the data, each against the rest, and the slices that cost most."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from clinnlp.core.report import Interval, Score
from clinnlp.evaluation.disagreements import KINDS, Disagreements
from clinnlp.evaluation.pairing import Pair
from clinnlp.evaluation.properties import (
    SMALL,
    Dimension,
    Located,
    Slicing,
    length_cuts,
    note_dimensions,
    span_dimensions,
)
from clinnlp.evaluation.resample import (
    Counts,
    Units,
    divide,
    percentile_interval,
    resampled_sums,
    units_of,
)

LEVEL = 0.99  # of differences: many are looked at
RANKED = 50  # fewer spans or notes make no claim


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Notes, and those of them whose labels are all right."""

    correct: int = 0
    documents: int = 0

    @property
    def accuracy(self) -> float:
        return self.correct / self.documents if self.documents else math.nan

    def as_dict(self) -> dict[str, Any]:
        return {"accuracy": self.accuracy, **asdict(self)}


class _Measure(NamedTuple):
    """What is counted of items; a ratio is counts @ good over counts @ all, F1 or accuracy, and errors all - good."""

    score: type[Score] | type[Accuracy]
    good: tuple[int, ...]
    all: tuple[int, ...]
    support: tuple[int, ...]
    size: tuple[int, ...]  # spans of either side, a match once


_SPANS = _Measure(Score, good=(2, 0, 0), all=(2, 1, 1), support=(1, 0, 1), size=(1, 1, 1))
_NOTES = _Measure(Accuracy, good=(1, 0), all=(0, 1), support=(0, 1), size=(0, 1))


@dataclass(frozen=True, slots=True)
class Cell:
    """One slice. `score` is None, and all else empty, where it holds too little to be shown.

    `ratio` is F1 of spans, accuracy of notes; `difference` is the ratio minus that of the rest of the data, `excess`
    the errors above what the overall rate would give. `kinds` counts spans by kind of error. No interval where the
    cell or the rest comes from fewer than 11 groups.
    """

    dimension: str
    name: str
    score: Score | Accuracy | None = None
    ratio: float = math.nan
    interval: Interval | None = None
    difference: float = math.nan
    difference_interval: Interval | None = None
    excess: float = 0.0
    size: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)

    @property
    def worse(self) -> bool:
        """Whether the interval of the difference lies below 0."""
        return self.difference_interval is not None and self.difference_interval.high < 0

    def as_dict(self) -> dict[str, Any]:
        """Counts, ratios and intervals; only "n < 11" where it holds too little."""
        if self.score is None:
            return {"suppressed": f"n < {SMALL}"}
        name = "accuracy" if isinstance(self.score, Accuracy) else "f1"
        interval, difference = (None if i is None else asdict(i) for i in (self.interval, self.difference_interval))
        content = self.score.as_dict() | {
            f"{name}_interval": interval,
            f"{name}_difference": self.difference,
            f"{name}_difference_interval": difference,
            "excess_errors": self.excess,
        }
        if self.kinds:
            content["kinds"] = dict(self.kinds)
        return {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in content.items()}


@dataclass(frozen=True, slots=True)
class Slices:
    """All cells, the whole they are compared with, and the characters that divide notes into quarters by length."""

    cells: tuple[Cell, ...]
    total: Score | Accuracy
    length_cuts: tuple[int, int, int]

    @property
    def compared(self) -> int:
        """How many cells were held against the rest: as many looks at the data."""
        return sum(cell.difference_interval is not None for cell in self.cells)

    def as_dict(self) -> dict[str, Any]:
        """Cells by dimension and name, and which are worst."""
        by: dict[str, dict[str, Any]] = {}
        for cell in self.cells:
            by.setdefault(cell.dimension, {})[cell.name] = cell.as_dict()
        return {
            "compared": self.compared,
            "difference_level": LEVEL,
            "length_cuts": list(self.length_cuts),
            "by": by,
            "worst": [{"dimension": cell.dimension, "cell": cell.name, "worse": cell.worse} for cell in worst(self)],
        }


def worst(slices: Slices, top: int = 10) -> tuple[Cell, ...]:
    """The cells with more errors than the overall rate would give, those that cost most first.

    Cells whose difference to the rest is below 0 with its whole interval stand before the others. Cells of fewer
    than 50 spans or notes make no claim and are left out.
    """
    costly = [cell for cell in slices.cells if cell.size >= RANKED and cell.excess > 0]
    return tuple(sorted(costly, key=lambda cell: (not cell.worse, -cell.excess))[:top])


def slice_spans(pairs: Sequence[Pair], found: Disagreements, how: Slicing) -> Slices:
    """Strict span scores by slice; `found` are the disagreements of the same pairs.

    A predicted span without a match belongs to the slice of its own properties, with one exception: where it is a wrong
    version of a gold span, the surface form is that of the gold span. Nearly every wrong bound makes a form that no one
    ever wrote, and unseen forms would look bad under any model.
    """
    # document, span, the span whose surface form counts, column of tp, fp, fn, kind of error
    items = [(row, span, span, 0, -1) for row, span in found.matched]
    for record in found.records:
        kind = KINDS.index(record.kind)
        items += [(record.document, span, span, 2, kind) for span in record.gold]
        items += [(record.document, span, (*record.gold, span)[0], 1, kind) for span in record.predicted]
    items.sort(key=lambda item: item[0])
    documents = [gold for gold, _ in pairs]
    rows = [item[0] for item in items]
    units = units_of(documents)
    counts = np.eye(3, dtype=np.int64)[[item[3] for item in items]]
    kinds = np.array([item[4] for item in items], np.int64)
    located = Located(documents, rows, [item[1] for item in items], [item[2] for item in items])
    dimensions = span_dimensions(located, how, units)
    cells = _cells(dimensions, _Items(_SPANS, units, units.index[rows], counts, kinds), how)
    return Slices(cells, Score(*counts.sum(axis=0).tolist()), length_cuts(documents))


def slice_notes(pairs: Sequence[Pair], how: Slicing) -> Slices:
    """Accuracy of note labels by slice: a note is right where all its labels are."""
    documents = [gold for gold, _ in pairs]
    right = [set(gold.labels) == set(predicted.labels) for gold, predicted in pairs]
    counts = np.stack([np.array(right, np.int64), np.ones(len(pairs), np.int64)], axis=1)
    units = units_of(documents)
    cells = _cells(note_dimensions(documents, how, units), _Items(_NOTES, units, units.index, counts, None), how)
    return Slices(cells, Accuracy(*counts.sum(axis=0).tolist()), length_cuts(documents))


@dataclass(frozen=True, slots=True, eq=False)
class _Items:
    measure: _Measure
    units: Units
    unit: Counts  # (I,) the unit of each item
    counts: Counts  # (I, C)
    kinds: Counts | None  # (I,) its kind of error, -1 for none

    def sums(self, dimension: Dimension) -> Counts:
        """(cells, C)"""
        sums = np.zeros((len(dimension.cells), self.counts.shape[1]), np.int64)
        np.add.at(sums, dimension.index, self.counts[dimension.items])
        return sums

    def kinds_of(self, dimension: Dimension, cell: int) -> dict[str, int]:
        if self.kinds is None:
            return {}
        kinds = self.kinds[dimension.items[dimension.index == cell]]
        return dict(zip(KINDS, np.bincount(kinds[kinds >= 0], minlength=len(KINDS)).tolist(), strict=True))


def _cells(dimensions: Sequence[Dimension], items: _Items, how: Slicing) -> tuple[Cell, ...]:
    measure = items.measure
    sums = [items.sums(dimension) for dimension in dimensions]
    hidden = [_hidden(counts @ measure.support, counts @ measure.size) for counts in sums]
    compared = _compare(dimensions, hidden, items, how)
    good, everything = items.counts.sum(axis=0) @ measure.good, items.counts.sum(axis=0) @ measure.all
    cells = []
    for number, dimension in enumerate(dimensions):
        for place, name in enumerate(dimension.cells):
            if hidden[number][place]:
                cells.append(Cell(dimension.name, name))
                continue
            row = sums[number][place]
            g, a = int(row @ measure.good), int(row @ measure.all)
            rest = (good - g) / (everything - a) if everything > a else math.nan
            interval, difference = next(compared)
            cells.append(
                Cell(
                    dimension.name,
                    name,
                    score=measure.score(*row.tolist()),
                    ratio=g / a,
                    interval=interval,
                    difference=g / a - rest,
                    difference_interval=difference,
                    excess=float((a - g) - a * (everything - good) / everything),
                    size=int(row @ measure.size),
                    kinds=items.kinds_of(dimension, place),
                )
            )
    return tuple(cells)


def _hidden(support: Counts, size: Counts) -> npt.NDArray[np.bool_]:
    """Which cells of a dimension hold too little: 1 to 10 gold spans (notes), or fewer than 11 spans of either side.

    Where the hidden ones together hold so few that the total less the others would tell, the next larger is hidden too.
    """
    hidden = ((support > 0) & (support < SMALL)) | (size < SMALL)
    for place in np.argsort(support, kind="stable"):
        if not 0 < support[hidden].sum() < SMALL:
            break
        hidden[place] |= support[place] > 0
    return np.asarray(hidden, np.bool_)


def _compare(
    dimensions: Sequence[Dimension], hidden: Sequence[npt.NDArray[np.bool_]], items: _Items, how: Slicing
) -> Iterator[tuple[Interval | None, Interval | None]]:
    """For each cell that is not hidden the intervals of its ratio and of the difference to the rest.

    All cells are drawn together, so that cell and rest come from the same resamples of groups.
    """
    counts = items.counts @ np.array([items.measure.good, items.measure.all], np.int64).T  # (I, 2)
    shown = [np.cumsum(~hide) - 1 for hide in hidden]
    firsts = np.cumsum([1, *(int((~hide).sum()) for hide in hidden)])  # column 0 is the whole
    columns = np.zeros((items.units.count, int(firsts[-1]), 2), np.int64)
    np.add.at(columns[:, 0], items.unit, counts)
    for dimension, hide, place, first in zip(dimensions, hidden, shown, firsts, strict=False):
        kept = ~hide[dimension.index]
        where = (items.unit[dimension.items[kept]], first + place[dimension.index[kept]])
        np.add.at(columns, where, counts[dimension.items[kept]])
    everywhere = columns[:, 1:, 1]
    enough = (everywhere > 0).sum(axis=0) >= SMALL
    enough_rest = enough & ((columns[:, :1, 1] > everywhere).sum(axis=0) >= SMALL)
    if not enough.any():
        yield from ((None, None) for _ in enough)
        return
    sums = resampled_sums(columns.reshape(len(columns), -1), how.seed, how.resamples).reshape(how.resamples, -1, 2)
    for number in range(len(enough)):
        cell = sums[:, number + 1]
        ratio, rest = divide(cell[:, 0], cell[:, 1]), sums[:, 0] - cell
        yield (
            percentile_interval(ratio, items.units) if enough[number] else None,
            percentile_interval(ratio - divide(rest[:, 0], rest[:, 1]), items.units, LEVEL)
            if enough_rest[number]
            else None,
        )
