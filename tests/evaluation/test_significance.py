import itertools
import math
import time

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from clinnlp.core.document import Document
from clinnlp.errors import DataError
from clinnlp.evaluation import significance
from clinnlp.evaluation.resample import Statistic, Units, accuracy_of, f1_of, macro_f1_of, total, units_of
from clinnlp.evaluation.significance import (
    approximate_randomization,
    corrected_t,
    holm,
    mcnemar,
    paired_bootstrap,
    wilcoxon,
)
from tests.evaluation.clusters import both_intervals, simulate

Counts = npt.NDArray[np.int64]
SIDES = st.lists(st.tuples(*[st.integers(0, 6)] * 6), min_size=1, max_size=10)


def some_units(count: int) -> Units:
    return units_of([Document(str(number), "") for number in range(count)])


def some_counts(seed: int, units: int, columns: int = 3) -> tuple[Counts, Counts]:
    made = np.random.default_rng(seed).poisson([4, 1, 2] * (columns // 3), (2, units, columns))
    return made[0], made[1]


def exact_p(first: Counts, second: Counts, statistic: Statistic) -> float:
    """The share of all ways of exchanging units whose difference is at least as large."""
    observed = abs(total(first, statistic) - total(second, statistic))
    large = []
    for exchanged in itertools.product([False, True], repeat=len(first)):
        swap = np.array(exchanged)[:, None]
        difference = total(np.where(swap, second, first), statistic) - total(np.where(swap, first, second), statistic)
        large.append(abs(difference) >= observed - 1e-12)
    return float(np.mean(large))


def test_randomization_counted_by_hand() -> None:
    # Three units of one note each: right and wrong in the first system 1, 1, 1, in the second 0, 0, 1. The difference
    # is 2/3. Of the eight exchanges those that leave or swap both of the first two units give 2/3 or -2/3: half.
    first, second = np.array([[1, 1], [1, 1], [1, 1]]), np.array([[0, 1], [0, 1], [1, 1]])
    outcome = approximate_randomization(first, second, accuracy_of, some_units(3))
    assert outcome.difference == pytest.approx(2 / 3)
    assert outcome.p == pytest.approx(0.5, abs=0.02)
    assert (outcome.units, outcome.unequal, outcome.test) == (3, 2, "approximate randomization")


@pytest.mark.parametrize(("statistic", "columns"), [(f1_of, 3), (macro_f1_of, 6)], ids=["micro", "macro"])
@pytest.mark.parametrize("seed", range(4))
def test_randomization_approaches_all_exchanges(seed: int, statistic: Statistic, columns: int) -> None:
    first, second = some_counts(seed, 9, columns)
    expected = exact_p(first, second, statistic)
    p = approximate_randomization(first, second, statistic, some_units(9), rounds=20_000).p
    assert p == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 20_000) + 1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_randomization_of_accuracy_is_the_permutation_test_of_scipy(seed: int) -> None:
    right = np.random.default_rng(seed).random((2, 12)) < [[0.8], [0.5]]
    theirs = stats.permutation_test(
        (right[0].astype(float), right[1].astype(float)), lambda x, y, axis: x.mean(axis) - y.mean(axis),
        permutation_type="samples", vectorized=True, n_resamples=np.inf,
    )  # fmt: skip
    sides = [np.column_stack([side, np.ones(12)]).astype(np.int64) for side in right]
    ours = approximate_randomization(sides[0], sides[1], accuracy_of, some_units(12), rounds=20_000)
    assert ours.difference == pytest.approx(float(theirs.statistic))
    assert ours.p == pytest.approx(float(theirs.pvalue), abs=0.015)


def test_notes_of_a_group_are_exchanged_together() -> None:
    first, second = np.array([[1, 1]] * 6), np.array([[0, 1]] * 6)
    by_note = approximate_randomization(first, second, accuracy_of, some_units(6), rounds=20_000)
    patients = units_of([Document(str(number), "", group=f"p{number // 3}") for number in range(6)])
    by_patient = approximate_randomization(first, second, accuracy_of, patients, rounds=20_000)
    assert by_note.p == pytest.approx(2 / 2**6, abs=0.01), "all six or none"
    assert by_patient.p == pytest.approx(1 / 2, abs=0.02), "both patients or none"
    assert by_patient.units == 2


def test_p_is_never_0() -> None:
    first, second = np.array([[1, 1]] * 100), np.array([[0, 1]] * 100)
    assert approximate_randomization(first, second, accuracy_of, some_units(100), rounds=999).p == 1 / 1000


@pytest.mark.parametrize("units", [1, 5])
def test_a_system_against_itself(units: int) -> None:
    counts, _ = some_counts(0, units)
    outcome = approximate_randomization(counts, counts, f1_of, some_units(units))
    assert (outcome.difference, outcome.p, outcome.unequal) == (0.0, 1.0, 0)
    difference, interval = paired_bootstrap(counts, counts, f1_of, some_units(units))
    assert difference == 0.0
    assert (interval is None) if units == 1 else (interval is not None and interval.low == interval.high == 0.0)


def test_one_unit_says_nothing() -> None:
    first, second = some_counts(1, 1)
    assert approximate_randomization(first, second, f1_of, some_units(1)).p == 1.0


def test_nothing_to_compare_is_nan() -> None:
    nothing = np.zeros((4, 3), np.int64)
    outcome = approximate_randomization(nothing, nothing, f1_of, some_units(4))
    assert math.isnan(outcome.difference) and math.isnan(outcome.p)
    difference, interval = paired_bootstrap(nothing, nothing, f1_of, some_units(4))
    assert math.isnan(difference) and interval is None


@settings(max_examples=60, deadline=None)
@given(SIDES)
def test_tests_are_symmetric_and_p_lies_between_0_and_1(rows: list[tuple[int, ...]]) -> None:
    first, second = np.array(rows)[:, :3], np.array(rows)[:, 3:]
    units = some_units(len(rows))
    one = approximate_randomization(first, second, f1_of, units, rounds=200)
    other = approximate_randomization(second, first, f1_of, units, rounds=200)
    assert one.difference == pytest.approx(-other.difference, nan_ok=True)
    if not math.isnan(one.p):
        assert 0 < one.p <= 1 and 0 < other.p <= 1
    back = approximate_randomization(first[::-1], second[::-1], f1_of, units, rounds=200)
    assert back.p == pytest.approx(one.p, nan_ok=True), "whatever the order of the units"


@pytest.mark.parametrize("spread", [2, 10_000])  # few distinct units, and all distinct: two ways of drawing
def test_exchanges_move_half_of_the_units(spread: int, monkeypatch: pytest.MonkeyPatch) -> None:
    excess = np.random.default_rng(0).integers(1, spread + 1, (120, 1))
    moved = np.concatenate(list(significance._exchanged(excess, 1, 20_000)))[:, 0]
    assert moved.mean() == pytest.approx(excess.sum() / 2, rel=0.01)
    assert moved.var() == pytest.approx((excess**2).sum() / 4, rel=0.05)
    monkeypatch.setattr(significance, "_CELLS", 300)
    assert np.array_equal(moved, np.concatenate(list(significance._exchanged(excess, 1, 20_000)))[:, 0])


def test_ten_thousand_rounds_of_ten_thousand_units_take_seconds() -> None:
    first, second = some_counts(0, 10_000)
    start = time.perf_counter()
    approximate_randomization(first, second, f1_of, some_units(10_000))
    assert time.perf_counter() - start < 15  # 0.9 s on an idle core


@pytest.mark.parametrize("seed", range(3))
def test_the_paired_bootstrap_agrees_with_scipy(seed: int) -> None:
    first, second = some_counts(seed, 60)

    def difference(*sides: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
        one, other = ([column.sum(axis) for column in columns] for columns in (sides[:3], sides[3:]))
        f1 = [2 * tp / (2 * tp + fp + fn) for tp, fp, fn in (one, other)]
        return np.asarray(f1[0] - f1[1])

    theirs = stats.bootstrap(
        (*first.T, *second.T), difference, paired=True, vectorized=True, n_resamples=9999, method="BCa", rng=seed
    )
    observed, ours = paired_bootstrap(first, second, f1_of, some_units(60), method="bca")
    assert ours is not None and ours.method == "bca"
    assert observed == pytest.approx(total(first, f1_of) - total(second, f1_of))
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=width / 20)


def right_and_wrong(both: int, first: int, second: int, neither: int) -> tuple[npt.NDArray[np.bool_], ...]:
    ours = [True] * (both + first) + [False] * (second + neither)
    theirs = [True] * both + [False] * first + [True] * second + [False] * neither
    return np.array(ours, np.bool_), np.array(theirs, np.bool_)


def test_mcnemar_counted_by_hand() -> None:
    # 1 against 9: p = 2 * (C(10, 0) + C(10, 1)) / 2**10 = 22 / 1024; the difference is (1 - 9) / 30
    few = mcnemar(*right_and_wrong(15, 1, 9, 5))
    assert (few.test, few.p, few.difference) == ("McNemar (exact)", pytest.approx(22 / 1024), pytest.approx(-8 / 30))
    assert (few.units, few.unequal) == (30, 10)
    # 30 against 10: chi-squared = (|30 - 10| - 1)**2 / 40 = 9.025 with one degree of freedom
    many = mcnemar(*right_and_wrong(50, 30, 10, 10))
    assert (many.test, many.statistic) == ("McNemar (chi-squared)", pytest.approx(9.025))
    assert many.p == pytest.approx(stats.chi2.sf(9.025, 1))
    assert mcnemar(*right_and_wrong(0, 12, 12, 0)).p == 1.0, "24 discordant notes are few: exact"
    assert mcnemar(*right_and_wrong(0, 13, 12, 0)).test == "McNemar (chi-squared)"


def test_mcnemar_of_equal_answers_and_of_no_notes() -> None:
    same = mcnemar(*right_and_wrong(5, 0, 0, 5))
    assert (same.p, same.difference, same.unequal) == (1.0, 0.0, 0)
    assert math.isnan(mcnemar(*right_and_wrong(0, 0, 0, 0)).p)


def test_corrected_t_counted_by_hand() -> None:
    # three times 1 and 3: mean 2, variance 6/5; folds of 3 train and 1 test documents: t = 2 / sqrt(6/5 * (1/6 + 1/3))
    outcome = corrected_t([1.0, 3.0] * 3, train=3, test=1)
    t = 2 / math.sqrt(3 / 5)
    assert (outcome.statistic, outcome.difference, outcome.units) == (pytest.approx(t), 2.0, 6)
    # with five degrees of freedom (Abramowitz and Stegun 26.7.3)
    angle = math.atan(t / math.sqrt(5))
    inside = 2 / math.pi * (angle + math.sin(angle) * (math.cos(angle) + 2 / 3 * math.cos(angle) ** 3))
    assert outcome.p == pytest.approx(1 - inside)


@given(st.lists(st.floats(-1, 1), min_size=6, max_size=20))
def test_corrected_t_without_the_correction_is_the_t_test_of_scipy(differences: list[float]) -> None:
    if np.std(differences) < 1e-3:
        return
    plain = stats.ttest_1samp(differences, 0.0)
    ours = corrected_t(differences, train=1e12, test=1)
    assert (ours.statistic, ours.p) == (pytest.approx(plain.statistic, abs=1e-6), pytest.approx(plain.pvalue, abs=1e-6))
    assert corrected_t(differences, train=4, test=1).p >= ours.p, "the correction never finds more"


def test_corrected_t_of_equal_folds() -> None:
    assert corrected_t([0.0] * 6, 4, 1).p == 1.0
    with pytest.raises(DataError) as error:
        corrected_t([0.1] * 6, 4, 1)
    assert str(error.value) == (
        "all 6 differences are 0.1000: without variance there is no t-test. "
        "Next: check that the folds and seeds were runs of their own."
    )


@pytest.mark.parametrize("pairs", [0, 1, 5])
def test_corrected_t_refuses_fewer_than_six_pairs(pairs: int) -> None:
    with pytest.raises(DataError) as error:
        corrected_t([0.1, 0.2, 0.3, 0.2, 0.1][:pairs], 4, 1)
    assert str(error.value) == (
        f"the corrected t-test takes 6 pairs or more, got {pairs}. "
        "Next: compare over more folds, or over several seeds of each: five folds with two seeds are ten pairs."
    )


@pytest.mark.parametrize(("bad", "test"), [(1, 1), (0, 0)])
def test_corrected_t_refuses_what_is_no_number_or_no_fold(bad: int, test: int) -> None:
    with pytest.raises(DataError) as error:
        corrected_t([0.1] * 6 + [math.nan] * bad, 4, test)
    assert str(error.value) == (
        f"the corrected t-test got {6 + bad} differences, {bad} of them not numbers, of folds with 4 train and {test} "
        "test documents. Next: give finite differences, and folds with documents on both sides."
    )


def test_wilcoxon_counted_by_hand() -> None:
    # the first system is better on all six data sets: of 2**6 signs two are as extreme
    better = wilcoxon([0.8, 0.7, 0.9, 0.6, 0.75, 0.85], [0.7, 0.65, 0.87, 0.4, 0.74, 0.7])
    assert (better.p, better.statistic, better.units) == (pytest.approx(2 / 64), 0.0, 6)
    assert better.difference == pytest.approx(0.075)  # the median of 0.1, 0.05, 0.03, 0.2, 0.01, 0.15


@pytest.mark.parametrize("seed", range(3))
def test_wilcoxon_is_that_of_scipy(seed: int) -> None:
    first, second = np.random.default_rng(seed).random((2, 12))
    theirs = stats.wilcoxon(first, second)
    ours = wilcoxon(first.tolist(), second.tolist())
    assert (ours.statistic, ours.p) == (pytest.approx(theirs.statistic), pytest.approx(theirs.pvalue))
    assert wilcoxon(first.tolist(), first.tolist()).p == 1.0


def test_wilcoxon_refuses_fewer_than_six_pairs() -> None:
    with pytest.raises(DataError) as error:
        wilcoxon([0.9] * 5, [0.1] * 5)
    assert str(error.value) == (
        "Wilcoxon's test takes 6 pairs or more, got 5: with 5 no two-sided p under 0.0625 is possible. "
        "Next: score both systems on more data sets; seeds or folds of one data set are no pairs of their own."
    )
    with pytest.raises(DataError, match=r"6 scores of the first system and 7 of the second make no pairs\."):
        wilcoxon([0.1] * 6, [0.1] * 7)
    with pytest.raises(DataError, match=r"1 of 6 pairs hold a score that is no number\."):
        wilcoxon([0.1] * 5 + [math.nan], [0.2] * 6)


def test_holm_counted_by_hand() -> None:
    # in order 0.01 * 3, 0.03 * 2, 0.04 * 1, none less than the one before it
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_holm_leaves_out_tests_that_were_not_done() -> None:
    adjusted = holm([0.01, math.nan, 0.04])
    assert math.isnan(adjusted[1])
    assert (adjusted[0], adjusted[2]) == (pytest.approx(0.02), pytest.approx(0.04))
    with pytest.raises(DataError, match=r"p-values lie between 0 and 1\."):
        holm([1.5])


@pytest.mark.slow
def test_randomization_by_patient_finds_a_difference_that_is_not_there_5_times_in_100() -> None:
    generator, found = np.random.default_rng(2), {"F1": 0, "accuracy": 0}
    for seed in range(4000):
        counts, patients, _ = simulate(generator, patients=60, systems=2)
        found["F1"] += approximate_randomization(counts[0], counts[1], f1_of, patients, seed, 999).p <= 0.05
        one, other = (np.column_stack([side[:, 1] == 0, np.ones(len(side))]).astype(np.int64) for side in counts)
        found["accuracy"] += approximate_randomization(one, other, accuracy_of, patients, seed, 999).p <= 0.05
    print({name: count / 4000 for name, count in found.items()}, "of 4,000 tests of two equal systems")
    assert all(0.04 <= count / 4000 <= 0.06 for count in found.values())


@pytest.mark.slow
def test_tests_by_note_find_too_much_where_notes_of_a_patient_are_alike() -> None:
    generator, found = np.random.default_rng(2), {"randomization": 0, "McNemar": 0}
    for seed in range(1000):
        counts, _, notes = simulate(generator, patients=60, systems=2)
        found["randomization"] += approximate_randomization(counts[0], counts[1], f1_of, notes, seed, 999).p <= 0.05
        found["McNemar"] += mcnemar(counts[0][:, 1] == 0, counts[1][:, 1] == 0).p <= 0.05
    print({name: count / 1000 for name, count in found.items()}, "of 1,000 tests by note of two equal systems")
    assert all(count / 1000 > 0.07 for count in found.values())


@pytest.mark.slow
def test_intervals_of_a_difference_cover_0_for_equal_systems() -> None:
    generator, covered = np.random.default_rng(3), np.zeros(2)
    for seed in range(2000):
        counts, patients, _ = simulate(generator, patients=100, systems=2)
        sides = np.concatenate([counts[0], counts[1]], axis=1)
        intervals = both_intervals(sides, lambda sums: f1_of(sums[:, :3]) - f1_of(sums[:, 3:]), patients, seed)
        covered += [low <= 0 <= high for low, high in intervals]
    print(f"percentile, bca: {covered / 2000} of 2,000 intervals of a difference cover 0")
    assert all(0.93 <= share <= 0.97 for share in covered / 2000)
