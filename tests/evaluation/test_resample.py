import time

import numpy as np
import pytest

from clinnlp.core.document import Document
from clinnlp.evaluation import resample
from clinnlp.evaluation.resample import divide, f1_of, percentile_interval, resampled_sums, sum_by_unit, units_of


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
