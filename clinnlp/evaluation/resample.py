"""Bootstrap intervals of any ratio of summed counts, by group: patients are drawn, not spans.

Efron 1987 (BCa); Field and Welsh 2007 (clustered data): the clusters are what is drawn.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from clinnlp.core.document import Document
from clinnlp.core.report import Interval

RESAMPLES = 10_000
LABEL_RESAMPLES = 2_000  # for the interval of each label: 50 of them lie beyond either end
LEVEL = 0.95

_CELLS = 500_000  # weights held at once: about 10 MB
_EQUAL = 1e-12  # ratios that differ by less are equal
_COST = 12  # drawing one binomial weight costs as much as drawing this many indices

Counts = npt.NDArray[np.int64]
Ratios = npt.NDArray[np.float64]
Statistic = Callable[[Ratios], Ratios]
"""A figure of summed counts: (R, K) sums to (R,) or (R, M) figures, row by row; NaN for nothing over nothing."""
Method = Literal["percentile", "bca"]


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
    return np.concatenate(list(_drawn(counts, seed, resamples)))


def resampled(counts: Counts, statistic: Statistic, seed: int, resamples: int = RESAMPLES) -> Ratios:
    """The statistic of each resample of counts (units, K), without holding the sums of all of them."""
    return np.concatenate([statistic(sums) for sums in _drawn(counts, seed, resamples)])


def left_out(counts: Counts, statistic: Statistic) -> Ratios:
    """The statistic of counts (units, K) without each of the units in turn: the jackknife, from sums."""
    return statistic((counts.sum(axis=0) - counts).astype(np.float64))


def _drawn(counts: Counts, seed: int, resamples: int) -> Iterator[Ratios]:
    """The sums of the resamples, piece by piece."""
    generator = np.random.Generator(np.random.Philox(seed))
    units = len(counts)
    rows, copies = np.unique(counts, axis=0, return_counts=True)
    few = len(rows) * _COST < units or len(rows) == 1
    if not few:
        rows = np.repeat(rows, copies, axis=0)
    values = rows.astype(np.float64)
    step = max(1, _CELLS // len(rows))
    for first in range(0, resamples, step):
        size = min(step, resamples - first)
        if few:
            weights = generator.multinomial(units, copies / units, size=size)
        else:
            drawn = generator.integers(0, units, size=(size, units))
            drawn += np.arange(size)[:, None] * units
            weights = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units)
        yield weights.astype(np.float64) @ values


def f1_of(sums: Ratios) -> Ratios:
    """F1 of each row of (tp, fp, fn); NaN where nothing is in gold or predicted."""
    tp, fp, fn = sums[:, 0], sums[:, 1], sums[:, 2]
    return divide(2 * tp, 2 * tp + fp + fn)


def macro_f1_of(sums: Ratios) -> Ratios:
    """The mean F1 over the labels of each row of L times (tp, fp, fn); a label without any of them is left out."""
    values = f1_of(sums.reshape(-1, 3)).reshape(len(sums), -1)
    return divide(np.nansum(values, axis=1), (~np.isnan(values)).sum(axis=1).astype(np.float64))


def accuracy_of(sums: Ratios) -> Ratios:
    """Accuracy of each row of (correct, all)."""
    return divide(sums[:, 0], sums[:, 1])


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


def bca_interval(
    values: Ratios, jackknife: Ratios, observed: float, units: Units, level: float = LEVEL
) -> Interval | None:
    """The bias-corrected and accelerated interval (Efron 1987) of resampled ratios; None as `percentile_interval`.

    `jackknife` (units,) holds the ratio without each unit, `observed` the ratio itself. Where all of the jackknife
    is equal or undefined, or all resamples lie on one side of the ratio, there is no correction to compute: the
    interval is then the percentile interval, and its method says so.
    """
    plain = percentile_interval(values, units, level)
    if plain is None:
        return None
    kept = values[~np.isnan(values)]
    below = float((kept < observed).mean() + (kept <= observed).mean()) / 2  # a tie is half below
    spread = jackknife.mean() - jackknife
    if not 0 < below < 1 or not np.ptp(jackknife) > _EQUAL:  # a NaN is not greater
        return plain
    acceleration = float((spread**3).sum() / (6 * (spread**2).sum() ** 1.5))
    normal, tail = NormalDist(), (1 - level) / 2
    bias = normal.inv_cdf(below)
    reach = [bias + normal.inv_cdf(place) for place in (tail, 1 - tail)]
    if max(acceleration * z for z in reach) >= 1:
        return plain
    low, high = np.quantile(kept, [normal.cdf(bias + z / (1 - acceleration * z)) for z in reach])
    return replace(plain, low=float(low), high=float(high), method="bca")


def bootstrap_interval(
    counts: Counts,
    statistic: Statistic,
    units: Units,
    seed: int,
    method: Method = "percentile",
    resamples: int = RESAMPLES,
) -> Interval | None:
    """The interval of a statistic of summed counts (documents, K), by drawing units; None as `why_no_interval` says."""
    by_unit = sum_by_unit(counts, units)
    if why_no_interval(by_unit, statistic, units) is not None:
        return None
    values = resampled(by_unit, statistic, seed, resamples)
    if method == "percentile":
        return percentile_interval(values, units)
    return bca_interval(values, left_out(by_unit, statistic), total(by_unit, statistic), units)


def label_intervals(
    by_label: npt.NDArray[Any], labels: Sequence[str], units: Units, seed: int, method: Method = "percentile"
) -> dict[str, Interval]:
    """The interval of the F1 of each label, from tp, fp, fn (documents, labels, 3); none where there is nothing."""
    found = {}
    for number, label in enumerate(labels):
        counts = by_label[:, number].astype(np.int64)
        interval = bootstrap_interval(counts, f1_of, units, seed, method, LABEL_RESAMPLES)
        if interval is not None:
            found[label] = interval
    return found


def total(counts: Counts, statistic: Statistic) -> float:
    """The statistic of the sum of counts (units or documents, K)."""
    return float(statistic(counts.sum(axis=0, keepdims=True).astype(np.float64))[0])


def why_no_interval(counts: Counts, statistic: Statistic, units: Units) -> str | None:
    """Why there is no interval, in words; None if there is one."""
    if units.count < 2:
        return f"{units.count} {units.name} only, and an interval takes two"
    if np.isnan(total(counts, statistic)):
        return "there is nothing to score"
    return None
