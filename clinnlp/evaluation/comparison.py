"""Two or more systems on the same documents: scores, differences, intervals and tests."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from clinnlp.core.report import Interval
from clinnlp.evaluation.pairing import Pair
from clinnlp.evaluation.resample import (
    RESAMPLES,
    Counts,
    Method,
    Ratios,
    Statistic,
    Units,
    accuracy_of,
    bca_interval,
    f1_of,
    left_out,
    macro_f1_of,
    percentile_interval,
    resampled,
    sum_by_unit,
)
from clinnlp.evaluation.significance import ROUNDS, Outcome, approximate_randomization, holm, mcnemar


@dataclass(frozen=True, slots=True, eq=False)
class RunCounts:
    """The counts of one run on documents that all runs share, in one order.

    `by_label` (documents, labels, 3) holds tp, fp, fn; `correct` (documents,) whether all labels of a note are right.
    Runs of one arm are one system with several seeds. Equal `answers` mean equal predictions.
    """

    name: str
    arm: str
    seed: int | None
    answers: str
    by_label: Counts
    correct: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Measure:
    """A score as a statistic of summed counts: `counts` gives those of a run, (documents, K)."""

    key: str
    name: str
    counts: Callable[[RunCounts], Counts]
    statistic: Statistic


MICRO_F1 = Measure("micro_f1", "micro F1", lambda run: run.by_label.sum(axis=1, dtype=np.int64), f1_of)
MACRO_F1 = Measure("macro_f1", "macro F1", lambda run: _labels_in_gold(run), macro_f1_of)
"""Over the labels in gold: one set for all runs, which no stray prediction of one of them can change."""
ACCURACY = Measure(
    "accuracy",
    "accuracy",
    lambda run: np.column_stack([run.correct, np.ones_like(run.correct)]).astype(np.int64),
    accuracy_of,
)


def _labels_in_gold(run: RunCounts) -> Counts:
    """tp, fp, fn of each label that gold holds, which is the same in all runs: (documents, 3 * labels)."""
    support = run.by_label[:, :, [0, 2]].sum(axis=(0, 2))
    return run.by_label[:, support > 0].reshape(len(run.by_label), -1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Drawing:
    """How intervals and tests are drawn; `against` is the arm that all others are compared with, None for all pairs."""

    seed: int = 13
    resamples: int = RESAMPLES
    rounds: int = ROUNDS
    method: Method = "percentile"
    against: str | None = None


@dataclass(frozen=True, slots=True)
class Arm:
    """The score of one system: the mean over its runs, their standard deviation (NaN for one run) and an interval.

    The interval is over documents, for these very runs; the standard deviation is over seeds.
    """

    name: str
    scores: Mapping[str, float]  # by run
    interval: Interval | None

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores.values())

    @property
    def sd(self) -> float:
        return statistics.stdev(self.scores.values()) if len(self.scores) > 1 else math.nan


@dataclass(frozen=True, slots=True)
class Contrast:
    """The difference of two arms, first minus second, in the mean over their runs.

    `together` names the runs that were paired, `paired` says how; without pairs there is no test.
    """

    first: str
    second: str
    difference: float
    interval: Interval | None
    paired: str
    together: tuple[tuple[str, str], ...]
    by_run: tuple[float, ...]
    outcome: Outcome | None
    same_answers: bool
    p_holm: float = math.nan

    @property
    def p(self) -> float:
        return math.nan if self.outcome is None else self.outcome.p


@dataclass(frozen=True, slots=True)
class Comparison:
    """All runs, arms and pairs of arms by one measure; p-values are adjusted over the pairs (Holm)."""

    measure: Measure
    runs: tuple[Arm, ...]
    arms: tuple[Arm, ...]
    contrasts: tuple[Contrast, ...]
    units: Units
    how: Drawing


def count_notes(pairs: Sequence[Pair], labels: Sequence[str]) -> tuple[tuple[str, ...], Counts]:
    """All labels, sorted, and tp, fp, fn of note labels: (documents, labels, 3); `labels` declares further labels."""
    names = tuple(sorted({label for both in pairs for document in both for label in document.labels}.union(labels)))
    position = {label: number for number, label in enumerate(names)}
    counts = np.zeros((len(pairs), len(names), 3), np.int64)
    for row, (gold, predicted) in enumerate(pairs):
        ours, theirs = set(gold.labels), set(predicted.labels)
        for column, found in enumerate((ours & theirs, theirs - ours, ours - theirs)):
            for label in found:
                counts[row, position[label], column] = 1
    return names, counts


def compare_runs(runs: Sequence[RunCounts], units: Units, measure: Measure, how: Drawing | None = None) -> Comparison:
    """Compare arms, in the order of `runs`; every resample scores all runs on the same drawn units."""
    how = how or Drawing()
    drawn = _Drawn(runs, units, measure, how)
    arms: dict[str, list[int]] = {}
    for number, run in enumerate(runs):
        arms.setdefault(run.arm, []).append(number)
    one = how.against
    pairs = combinations(arms, 2) if one is None else [(arm, one) for arm in arms if arm != one]
    contrasts = [_contrasted(runs, arms, pair, drawn) for pair in pairs]
    adjusted = holm([contrast.p for contrast in contrasts])
    return Comparison(
        measure=measure,
        runs=tuple(drawn.arm(run.name, [number]) for number, run in enumerate(runs)),
        arms=tuple(drawn.arm(name, numbers) for name, numbers in arms.items()),
        contrasts=tuple(replace(c, p_holm=p) for c, p in zip(contrasts, adjusted, strict=True)),
        units=units,
        how=how,
    )


class _Drawn:
    """The scores of all runs: observed (M,), in each resample (R, M) and without each unit (U, M)."""

    def __init__(self, runs: Sequence[RunCounts], units: Units, measure: Measure, how: Drawing) -> None:
        self.names, self.units, self.measure, self.how = [run.name for run in runs], units, measure, how
        self.counts = [measure.counts(run) for run in runs]
        stacked = sum_by_unit(np.concatenate(self.counts, axis=1), units)
        by_run = _by_run(measure.statistic, len(runs))
        self.observed = by_run(stacked.sum(axis=0, keepdims=True).astype(np.float64))[0]
        self.values = resampled(stacked, by_run, how.seed, how.resamples) if units.count > 1 else None
        self.left_out = left_out(stacked, by_run) if how.method == "bca" else None

    def arm(self, name: str, runs: list[int]) -> Arm:
        return Arm(name, {self.names[run]: float(self.observed[run]) for run in runs}, self.interval(runs))

    def difference(self, first: list[int], second: list[int]) -> float:
        return float(self.observed[first].mean() - self.observed[second].mean())

    def interval(self, first: list[int], second: list[int] | None = None) -> Interval | None:
        """Of the mean score of the first runs, minus that of the second."""

        def combined(scores: Ratios) -> Ratios:
            mean = scores[:, first].mean(axis=1)
            return np.asarray(mean - scores[:, second].mean(axis=1) if second else mean, np.float64)

        observed = float(combined(self.observed[None])[0])
        if self.values is None or math.isnan(observed):
            return None
        if self.left_out is None:
            return percentile_interval(combined(self.values), self.units)
        return bca_interval(combined(self.values), combined(self.left_out), observed, self.units)


def _contrasted(
    runs: Sequence[RunCounts], arms: Mapping[str, list[int]], pair: tuple[str, str], drawn: _Drawn
) -> Contrast:
    first, second = arms[pair[0]], arms[pair[1]]
    paired, together = _paired(runs, first, second)
    outcome = None
    if together:
        outcome = _tested(runs, together, drawn)
    return Contrast(
        first=pair[0],
        second=pair[1],
        difference=drawn.difference(first, second),
        interval=drawn.interval(first, second),
        paired=paired,
        together=tuple((runs[one].name, runs[other].name) for one, other in together),
        by_run=tuple(drawn.difference([one], [other]) for one, other in together),
        outcome=outcome,
        same_answers=bool(together) and all(runs[one].answers == runs[other].answers for one, other in together),
    )


def _paired(runs: Sequence[RunCounts], first: list[int], second: list[int]) -> tuple[str, list[tuple[int, int]]]:
    """Which run of one arm is compared with which of the other, and how they were paired."""
    if len(first) != len(second):
        return f"{len(first)} against {len(second)} runs: not paired, so there is no test", []
    if len(first) == 1:
        return "one run each", [(first[0], second[0])]
    seeds = [[runs[number].seed for number in arm] for arm in (first, second)]
    known = None not in seeds[0] and len(set(seeds[0])) == len(first)
    if known and set(seeds[0]) == set(seeds[1]):
        return "seed by seed", [(number, second[seeds[1].index(runs[number].seed)]) for number in first]
    return "in the order given", list(zip(first, second, strict=True))


def _tested(runs: Sequence[RunCounts], together: Sequence[tuple[int, int]], drawn: _Drawn) -> Outcome:
    """McNemar where notes are right or wrong and independent, else approximate randomization by unit.

    A unit is exchanged in all pairs of runs at once: what is asked is whether the difference holds for other units.
    """
    (one, other), measure, how = together[0], drawn.measure, drawn.how
    independent = drawn.units.count == len(runs[one].correct)
    if measure.key == ACCURACY.key and len(together) == 1 and independent:
        return mcnemar(runs[one].correct, runs[other].correct)
    by_run = _by_run(measure.statistic, len(together))
    sides = [np.concatenate([drawn.counts[pair[side]] for pair in together], axis=1) for side in (0, 1)]

    def mean(sums: Ratios) -> Ratios:
        return np.asarray(by_run(sums).mean(axis=1), np.float64)

    return approximate_randomization(sides[0], sides[1], mean, drawn.units, how.seed, how.rounds)


def _by_run(statistic: Statistic, runs: int) -> Statistic:
    """The statistic of each of several runs, whose counts stand side by side: (R, runs * K) to (R, runs)."""

    def of(sums: Ratios) -> Ratios:
        return statistic(sums.reshape(len(sums) * runs, sums.shape[1] // runs)).reshape(len(sums), runs)

    return of
