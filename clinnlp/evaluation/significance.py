"""Tests of whether one system is better than another; all two-sided, whole groups exchanged where notes share one.

What scipy and statsmodels have is taken from them; ours is what they lack: ratios of summed counts, by group.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clinnlp.core.report import Interval
from clinnlp.errors import DataError
from clinnlp.evaluation.resample import (
    RESAMPLES,
    Counts,
    Method,
    Ratios,
    Statistic,
    Units,
    bootstrap_interval,
    sum_by_unit,
    total,
)

ROUNDS = 10_000
FEWEST_PAIRS = 6  # of Wilcoxon: with five no two-sided p under 0.0625 is possible; of t: fewer show no variance
EXACT_BELOW = 25  # discordant notes; McNemar's chi-squared needs more

_CELLS = 2_000_000  # exchanges held at once: about 16 MB
_COST = 12  # drawing one binomial number costs as much as drawing this many bits
_EQUAL = 1e-12  # differences that differ by less are equal


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a test says of a difference, first minus second; NaN where there is nothing to compare.

    `units` (groups, notes, pairs) are what the test takes as independent; `unequal` of them tell the two apart.
    `statistic` is the test's own (t, W, chi-squared), NaN where p is counted.
    """

    test: str
    difference: float
    p: float
    units: int
    unequal: int
    statistic: float = math.nan


def approximate_randomization(
    first: Counts, second: Counts, statistic: Statistic, units: Units, seed: int = 13, rounds: int = ROUNDS
) -> Outcome:
    """Compare a statistic of two systems' counts (documents, K) by exchanging whole units between them at random.

    p = (rounds with a difference at least as large + 1) / (rounds + 1) (Noreen 1989; Yeh 2000 for F1). It holds
    exactly if the two systems can be exchanged within each unit. Depends on the seed, not on the order of units.
    """
    one, other = sum_by_unit(first, units), sum_by_unit(second, units)
    observed = total(one, statistic) - total(other, statistic)
    excess = one - other
    unequal = int(excess.any(axis=1).sum())
    if math.isnan(observed):
        return Outcome("approximate randomization", observed, math.nan, units.count, unequal)
    sums = [side.sum(axis=0).astype(np.float64) for side in (one, other)]
    if sums[0].tolist() < sums[1].tolist():  # p is the same whichever system comes first
        sums, excess = sums[::-1], -excess
    hits = 0
    for moved in _exchanged(excess[excess.any(axis=1)], seed, rounds):
        differences = np.abs(statistic(sums[0] - moved) - statistic(sums[1] + moved))
        hits += int((~(differences < abs(observed) - _EQUAL)).sum())  # a NaN counts as a hit
    return Outcome("approximate randomization", observed, (hits + 1) / (rounds + 1), units.count, unequal)


def _exchanged(excess: Counts, seed: int, rounds: int) -> Iterator[Ratios]:
    """What each round moves from one side to the other: (some rounds, K), piece by piece.

    Units with equal counts are exchanged together: how many of them is one binomial number.
    """
    if not len(excess):
        yield np.zeros((rounds, excess.shape[1]))
        return
    generator = np.random.Generator(np.random.Philox(seed))
    rows, copies = np.unique(excess, axis=0, return_counts=True)
    few = len(rows) * _COST < len(excess)
    if not few:
        rows = np.repeat(rows, copies, axis=0)
    values = rows.astype(np.float64)
    step = max(1, _CELLS // len(rows))
    for start in range(0, rounds, step):
        size = (min(step, rounds - start), len(rows))
        drawn = generator.binomial(copies, 0.5, size) if few else generator.random(size, np.float32) < 0.5
        yield drawn.astype(np.float64) @ values


def paired_bootstrap(
    first: Counts,
    second: Counts,
    statistic: Statistic,
    units: Units,
    seed: int = 13,
    method: Method = "percentile",
    resamples: int = RESAMPLES,
) -> tuple[float, Interval | None]:
    """The difference of a statistic of two systems' counts (documents, K), first minus second, and its interval.

    Both systems are scored on the same drawn units in each resample. None where `why_no_interval` says why.
    """
    columns = first.shape[1]

    def difference(sums: Ratios) -> Ratios:
        return statistic(sums[:, :columns]) - statistic(sums[:, columns:])

    counts = np.concatenate([first, second], axis=1)
    return total(counts, difference), bootstrap_interval(counts, difference, units, seed, method, resamples)


def mcnemar(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> Outcome:
    """Compare the accuracies of two systems that were right or wrong on the same notes (McNemar 1947).

    Exact with fewer than 25 notes on which one of them alone is right, else chi-squared with continuity correction.
    It takes notes as independent: where groups hold several notes, use `approximate_randomization`.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    unequal = only_first + only_second
    if not len(first):
        return Outcome("McNemar", math.nan, math.nan, 0, 0)
    difference = (only_first - only_second) / len(first)
    if not unequal:
        return Outcome("McNemar (exact)", difference, 1.0, len(first), 0)
    from statsmodels.stats.contingency_tables import mcnemar as test

    exact = unequal < EXACT_BELOW
    found = test([[int((first & second).sum()), only_first], [only_second, int((~first & ~second).sum())]], exact=exact)
    name, statistic = ("McNemar (exact)", math.nan) if exact else ("McNemar (chi-squared)", float(found.statistic))
    return Outcome(name, difference, min(1.0, float(found.pvalue)), len(first), unequal, statistic)


def corrected_t(differences: Sequence[float], train: float, test: float) -> Outcome:
    """Compare two systems over folds and seeds: the corrected resampled t-test (Nadeau and Bengio 2003).

    `differences` holds one score difference per fold and seed, `train` and `test` the documents of a fold. The variance
    is (1/n + test/train) times that of the differences, as folds share their train documents.
    Raises DataError for fewer than six differences, for one that is not a number, or if all are equal and not 0.
    """
    from scipy import stats

    values = np.asarray(differences, np.float64)
    if len(values) < FEWEST_PAIRS:
        raise DataError(
            f"the corrected t-test takes {FEWEST_PAIRS} pairs or more, got {len(values)}",
            next="compare over more folds, or over several seeds of each: five folds with two seeds are ten pairs",
        )
    if not np.isfinite(values).all() or train <= 0 or test <= 0:
        raise DataError(
            f"the corrected t-test got {len(values)} differences, {int((~np.isfinite(values)).sum())} of them not "
            f"numbers, of folds with {train:g} train and {test:g} test documents",
            next="give finite differences, and folds with documents on both sides",
        )
    mean, unequal = float(values.mean()), int(np.count_nonzero(values))
    if np.ptp(values) <= _EQUAL:
        if abs(mean) > _EQUAL:
            raise DataError(
                f"all {len(values)} differences are {mean:.4f}: without variance there is no t-test",
                next="check that the folds and seeds were runs of their own",
            )
        return Outcome("corrected t", 0.0, 1.0, len(values), unequal, 0.0)
    t = mean / math.sqrt((1 / len(values) + test / train) * float(values.var(ddof=1)))
    p = float(2 * stats.t.sf(abs(t), len(values) - 1))
    return Outcome("corrected t", mean, p, len(values), unequal, t)


def wilcoxon(first: Sequence[float], second: Sequence[float]) -> Outcome:
    """Compare two systems over data sets, one score of each per data set: Wilcoxon's signed-rank test (Demsar 2006).

    The ranks of equal scores are split between the two sides. The difference is the median one.
    Raises DataError for fewer than six pairs, lists of different lengths or a score that is not a number.
    """
    ours, theirs = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if len(ours) != len(theirs):
        raise DataError(f"{len(ours)} scores of the first system and {len(theirs)} of the second make no pairs")
    if len(ours) < FEWEST_PAIRS:
        raise DataError(
            f"Wilcoxon's test takes {FEWEST_PAIRS} pairs or more, got {len(ours)}: with {len(ours)} no two-sided p "
            f"under {2 / 2 ** len(ours):g} is possible",
            next="score both systems on more data sets; seeds or folds of one data set are no pairs of their own",
        )
    differences = ours - theirs
    if not np.isfinite(differences).all():
        raise DataError(f"{int((~np.isfinite(differences)).sum())} of {len(ours)} pairs hold a score that is no number")
    differences[np.abs(differences) <= _EQUAL] = 0.0
    median, unequal = float(np.median(differences)), int(np.count_nonzero(differences))
    if not unequal:
        return Outcome("Wilcoxon signed-rank", 0.0, 1.0, len(ours), 0)
    from scipy import stats

    found = stats.wilcoxon(differences, zero_method="zsplit")
    return Outcome("Wilcoxon signed-rank", median, float(found.pvalue), len(ours), unequal, float(found.statistic))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of one family, adjusted so that any false finding among them is rare (Holm 1979).

    A NaN stands for a test that was not done: it stays NaN and does not count. Raises DataError outside 0 to 1.
    """
    values = np.asarray(p_values, np.float64)
    done = ~np.isnan(values)
    if not ((values[done] >= 0) & (values[done] <= 1)).all():
        raise DataError("p-values lie between 0 and 1")
    if done.any():
        from statsmodels.stats.multitest import multipletests

        values[done] = multipletests(values[done], method="holm")[1]
    return [float(value) for value in values]
