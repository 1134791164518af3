"""Bootstrap intervals of any ratio of summed counts, by group: patients are drawn, not spans."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clinnlp.core.document import Document
from clinnlp.core.report import Interval

RESAMPLES = 10_000
LEVEL = 0.95

_CELLS = 500_000  # weights held at once: about 10 MB
_COST = 12  # drawing one binomial weight costs as much as drawing this many indices

Counts = npt.NDArray[np.int64]
Ratios = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """What is drawn with replacement: the group of a document, or the document where it has no group."""

    index: Counts  # (documents,) the unit of each document
    count: int
    name: str


def units_of(documents: Sequence[Document]) -> Units:
    """The units of documents, numbered in order of appearance."""
    numbers: dict[tuple[bool, str], int] = {}
    index = np.empty(len(documents), np.int64)
    for row, document in enumerate(documents):
        own = document.group is None  # a group may have the name of another document's id
        index[row] = numbers.setdefault((own, document.id if own else str(document.group)), len(numbers))
    grouped = sum(document.group is not None for document in documents)
    name = "document" if not grouped else "group" if grouped == len(documents) else "group or document"
    return Units(index, len(numbers), name)


def sum_by_unit(counts: Counts, units: Units) -> Counts:
    """Counts (documents, K) summed to (units, K)."""
    sums = np.zeros((units.count, counts.shape[1]), np.int64)
    np.add.at(sums, units.index, counts)
    return sums


def resampled_sums(counts: Counts, seed: int, resamples: int = RESAMPLES) -> Ratios:
    """The sums over units of counts (units, K) in each resample: (resamples, K), whole numbers as floats.

    Units with equal counts are drawn together: their weights are one multinomial over the distinct rows. The
    result depends on the seed and the counts, not on the order of the units.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    units = len(counts)
    rows, copies = np.unique(counts, axis=0, return_counts=True)
    few = len(rows) * _COST < units or len(rows) == 1
    if not few:
        rows = np.repeat(rows, copies, axis=0)
    values = rows.astype(np.float64)
    sums = np.empty((resamples, counts.shape[1]))
    step = max(1, _CELLS // len(rows))
    for first in range(0, resamples, step):
        size = min(step, resamples - first)
        if few:
            weights = generator.multinomial(units, copies / units, size=size)
        else:
            drawn = generator.integers(0, units, size=(size, units))
            drawn += np.arange(size)[:, None] * units
            weights = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units)
        sums[first : first + size] = weights.astype(np.float64) @ values
    return sums


def f1_of(sums: Ratios) -> Ratios:
    """F1 of each row of (tp, fp, fn); NaN where nothing is in gold or predicted."""
    tp, fp, fn = sums[:, 0], sums[:, 1], sums[:, 2]
    return divide(2 * tp, 2 * tp + fp + fn)


def divide(numerator: Ratios, denominator: Ratios) -> Ratios:
    """Elementwise ratio, NaN for nothing over nothing."""
    with np.errstate(invalid="ignore"):
        return np.asarray(numerator / denominator, np.float64)


def percentile_interval(values: Ratios, units: Units, level: float = LEVEL) -> Interval | None:
    """The middle `level` of resampled ratios; None with fewer than two units or no ratio to look at.

    Resamples without a ratio (NaN) are left out, and `resamples` counts the others.
    """
    values = values[~np.isnan(values)]
    if units.count < 2 or not len(values):
        return None
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high), level, len(values), units.name, units.count)
