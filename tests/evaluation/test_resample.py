import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from clinnlp.core.document import Document
from clinnlp.core.report import LabelScores, Score
from clinnlp.evaluation import resample
from clinnlp.evaluation.entity import count_spans
from clinnlp.evaluation.pairing import pair
from clinnlp.evaluation.resample import (
    Method,
    accuracy_of,
    bca_interval,
    bootstrap_interval,
    divide,
    f1_of,
    left_out,
    macro_f1_of,
    percentile_interval,
    resampled,
    resampled_sums,
    sum_by_unit,
    units_of,
    why_no_interval,
)
from tests.evaluation.clusters import TRUE_F1, as_documents, both_intervals, simulate

COUNTS = st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=2, max_size=12)


def some_units(count: int) -> resample.Units:
    return units_of([Document(str(number), "") for number in range(count)])


def test_units_are_groups_or_else_documents() -> None:
    notes = [Document("1", "", group="p"), Document("2", "", group="q"), Document("3", "", group="p")]
    units = units_of(notes)
    assert (units.index.tolist(), units.count, units.name) == ([0, 1, 0], 2, "group")
    assert units_of([Document("p", ""), Document("q", "")]).name == "document"
    mixed = units_of([Document("p", ""), Document("q", "", group="p")])
    assert (mixed.count, mixed.name) == (2, "group or document")  # document p is not of group p
    assert sum_by_unit(np.array([[1, 2], [3, 4], [5, 6]]), units).tolist() == [[6, 8], [3, 4]]


@pytest.mark.parametrize("spread", [2, 10_000])  # few distinct rows, and all rows distinct: two ways of drawing
def test_sums_have_the_mean_and_variance_of_drawing_with_replacement(spread: int) -> None:
    counts = np.random.default_rng(0).integers(0, spread, (120, 1))
    sums = resampled_sums(counts, seed=1, resamples=20_000)[:, 0]
    assert sums.mean() == pytest.approx(counts.sum(), rel=0.01)
    assert sums.var() == pytest.approx(len(counts) * counts.var(), rel=0.05)
    assert np.array_equal(sums, np.round(sums))


@pytest.mark.parametrize("spread", [2, 10_000])
def test_sums_depend_on_the_seed_and_not_on_the_order_or_the_pieces(
    spread: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = np.random.default_rng(0).integers(0, spread, (50, 3))
    sums = resampled_sums(counts, seed=1, resamples=200)
    assert np.array_equal(sums, resampled_sums(counts[::-1], seed=1, resamples=200))
    assert not np.array_equal(sums, resampled_sums(counts, seed=2, resamples=200))
    monkeypatch.setattr(resample, "_CELLS", 70)
    assert np.array_equal(sums, resampled_sums(counts, seed=1, resamples=200))


def test_ratios_over_nothing_are_nan_and_left_out() -> None:
    values = f1_of(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    assert values[0] == pytest.approx(2 / 3) and np.isnan(values[1]) and values[2] == 0.0
    interval = percentile_interval(values, some_units(3))
    assert interval is not None and interval.resamples == 2
    assert np.isnan(divide(np.zeros(1), np.zeros(1))).all()


def test_no_interval_of_one_unit_or_of_nothing() -> None:
    assert percentile_interval(np.array([0.5]), some_units(1)) is None
    assert percentile_interval(np.array([np.nan]), some_units(2)) is None


def test_interval_is_the_middle_of_the_values() -> None:
    interval = percentile_interval(np.arange(1001) / 1000, some_units(7))
    assert interval is not None
    assert (interval.low, interval.high) == (pytest.approx(0.025), pytest.approx(0.975))
    assert (interval.level, interval.resamples, interval.unit, interval.units) == (0.95, 1001, "document", 7)


def test_ten_thousand_units_are_resampled_in_seconds() -> None:
    counts = np.random.default_rng(0).poisson([8, 1, 2], (10_000, 3))
    start = time.perf_counter()
    sums = resampled_sums(counts, seed=1)
    assert time.perf_counter() - start < 10  # 0.7 s on an idle core
    # F1 is a ratio of sums: its standard error by the delta method
    tp2, total = 2 * counts[:, 0], 2 * counts[:, 0] + counts[:, 1] + counts[:, 2]
    ratio = tp2.sum() / total.sum()
    expected = np.sqrt(((tp2 - ratio * total) ** 2).sum()) / total.sum()
    assert f1_of(sums).std() == pytest.approx(expected, rel=0.05)


def test_left_out_counted_by_hand() -> None:
    # right of all: 1/1, 2/4, 3/3, together 6/8; without each in turn 5/7, 4/4, 3/5
    counts = np.array([[1, 1], [2, 4], [3, 3]])
    assert left_out(counts, accuracy_of).tolist() == [5 / 7, 1.0, 3 / 5]
    assert np.array_equal(resampled(counts, accuracy_of, 1, 50), accuracy_of(resampled_sums(counts, 1, 50)))


@given(COUNTS)
def test_left_out_is_the_score_of_the_other_units(rows: list[tuple[int, int, int]]) -> None:
    counts = np.array(rows)
    alone = [f1_of(np.delete(counts, unit, 0).sum(axis=0, keepdims=True).astype(float))[0] for unit in range(len(rows))]
    assert np.array_equal(left_out(counts, f1_of), alone, equal_nan=True)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_bca_is_that_of_scipy_on_the_same_resamples(seed: int, level: float) -> None:
    counts = np.random.default_rng(seed).poisson([4, 1, 2], (15, 3))
    theirs = stats.bootstrap(
        tuple(counts.T),
        lambda tp, fp, fn, axis: 2 * tp.sum(axis) / (2 * tp.sum(axis) + fp.sum(axis) + fn.sum(axis)),
        paired=True, vectorized=True, n_resamples=999, confidence_level=level, method="BCa", rng=seed,
    )  # fmt: skip
    observed = resample.total(counts, f1_of)
    ours = bca_interval(
        theirs.bootstrap_distribution, left_out(counts, f1_of), observed, some_units(len(counts)), level
    )
    assert ours is not None and ours.method == "bca"
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval), abs=1e-12)


def test_bca_shifts_a_skewed_interval() -> None:
    counts = np.array([[20, 20]] * 45 + [[0, 20]] * 5)  # five bad units of 50: accuracy 0.9, skewed to the left
    plain = bootstrap_interval(counts, accuracy_of, some_units(50), 1)
    corrected = bootstrap_interval(counts, accuracy_of, some_units(50), 1, "bca")
    assert plain is not None and corrected is not None
    assert (plain.method, corrected.method) == ("percentile", "bca")
    assert corrected.low < plain.low and corrected.high < plain.high


@pytest.mark.parametrize(
    "counts",
    [
        [[3, 1, 1]] * 4,  # all units equal
        [[1, 1, 0], [2, 2, 0], [3, 3, 0]],  # units of different size and one F1: 2/3
        [[5, 1, 1], [0, 0, 0], [0, 0, 0]],  # without the first unit there is nothing to score
        [[3, 0, 0], [4, 0, 0]],  # no error: all resamples are 1
    ],
    ids=["equal", "equal ratio", "undefined", "perfect"],
)
def test_where_bca_has_nothing_to_correct_the_interval_is_percentile_and_says_so(counts: list[list[int]]) -> None:
    units = some_units(len(counts))
    interval = bootstrap_interval(np.array(counts), f1_of, units, 1, "bca")
    assert interval is not None and interval.method == "percentile"
    assert interval == bootstrap_interval(np.array(counts), f1_of, units, 1, "percentile")


def test_why_there_is_no_interval() -> None:
    one, nothing = np.array([[3, 1, 1]]), np.zeros((3, 3), np.int64)
    assert bootstrap_interval(one, f1_of, some_units(1), 1, "bca") is None
    assert why_no_interval(one, f1_of, some_units(1)) == "1 document only, and an interval takes two"
    assert bootstrap_interval(nothing, f1_of, some_units(3), 1) is None
    assert why_no_interval(nothing, f1_of, some_units(3)) == "there is nothing to score"
    assert why_no_interval(np.repeat(one, 2, axis=0), f1_of, some_units(2)) is None


def test_notes_of_a_group_are_drawn_together() -> None:
    notes = [Document(str(number), "", group=f"p{number // 3}") for number in range(6)]
    interval = bootstrap_interval(np.array([[1, 1]] * 3 + [[0, 1]] * 3), accuracy_of, units_of(notes), 1)
    assert interval is not None and (interval.unit, interval.units) == ("group", 2)
    # the resamples of two patients, one all right and one all wrong: 0, 1/2 (twice as often) and 1
    assert (interval.low, interval.high) == (0.0, 1.0)


@settings(max_examples=50, deadline=None)
@given(COUNTS, st.sampled_from(["percentile", "bca"]), st.integers(2, 5))
def test_intervals_lie_in_0_to_1_whatever_the_order_or_the_unit_of_counting(
    rows: list[tuple[int, int, int]], method: Method, times: int
) -> None:
    counts, units = np.array(rows), some_units(len(rows))
    interval = bootstrap_interval(counts, f1_of, units, 3, method, 200)
    for same in (counts[::-1], counts * times):
        again = bootstrap_interval(same, f1_of, units, 3, method, 200)
        assert (again is None) == (interval is None)
        if interval is not None and again is not None:
            assert 0 <= interval.low <= interval.high <= 1
            assert (again.low, again.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


@given(st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=1, max_size=5))
def test_macro_f1_is_that_of_the_report(rows: list[tuple[int, int, int]]) -> None:
    report = LabelScores({str(number): Score(*row) for number, row in enumerate(rows)})
    ours = macro_f1_of(np.array(rows, np.float64).reshape(1, -1))[0]
    assert ours == pytest.approx(report.macro.f1, abs=1e-12, nan_ok=True)


def test_macro_f1_of_no_label_is_nan() -> None:
    assert np.isnan(macro_f1_of(np.zeros((2, 0)))).all()


def test_simulated_notes_have_the_counts_and_patients_that_they_were_made_with() -> None:
    counts, patients, _ = simulate(np.random.default_rng(0), 20)
    counted = count_spans(pair(*as_documents(counts[0], patients.index)))
    assert np.array_equal(counted.micro, counts[0])
    assert np.array_equal(counted.units.index, patients.index)
    many, _, _ = simulate(np.random.default_rng(0), 20_000)
    assert f1_of(many[0].sum(axis=0, keepdims=True).astype(float))[0] == pytest.approx(TRUE_F1, abs=0.005)


@pytest.mark.slow
def test_intervals_by_patient_cover_the_true_f1_95_times_in_100() -> None:
    generator, covered = np.random.default_rng(1), np.zeros(2)
    for seed in range(2000):
        counts, patients, _ = simulate(generator, patients=100)
        covered += [low <= TRUE_F1 <= high for low, high in both_intervals(counts[0], f1_of, patients, seed)]
    print(f"percentile, bca: {covered / 2000} of 2,000 intervals of 100 patients cover the true F1")
    assert all(0.93 <= share <= 0.97 for share in covered / 2000)


@pytest.mark.slow
def test_intervals_by_note_are_too_narrow_where_notes_of_a_patient_are_alike() -> None:
    generator, covered = np.random.default_rng(1), np.zeros(2)
    for seed in range(300):
        counts, _, notes = simulate(generator, patients=100)
        covered += [low <= TRUE_F1 <= high for low, high in both_intervals(counts[0], f1_of, notes, seed)]
    print(f"percentile, bca: {covered / 300} of 300 intervals by note cover the true F1")
    assert all(share < 0.85 for share in covered / 300)
