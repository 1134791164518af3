"""Measures of scores as probabilities, counted by hand and beside sklearn and statsmodels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinnlp.evaluation.reliability import Bools, Floats, measure, risk_coverage, wilson

SCORES = np.array([0.9, 0.6, 0.2, 0.6, 0.9, 0.6])
CORRECT = np.array([True, False, True, True, False, False])

decisions = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def drawn(seed: int, count: int = 500) -> tuple[Floats, Bools]:
    random = np.random.default_rng(seed)
    scores = random.beta(4, 1.5, count)
    return scores, random.random(count) < scores**2


def test_ece_brier_and_log_loss_by_hand() -> None:
    found = measure(SCORES, CORRECT, bins=2)
    # equal mass: the median is 0.6; up to it 0.2 0.6 0.6 0.6 with 2 right, sum 2.0; above it 0.9 0.9 with 1 right
    assert [(one.items, one.correct) for one in found.equal_mass] == [(4, 2), (2, 1)]
    assert found.ece == pytest.approx((abs(2 - 2.0) + abs(1 - 1.8)) / 6)
    # equal width: up to 0.5 there is 0.2, right; above it 2 of 5 right, sum 3.6
    assert [(one.low, one.high, one.items, one.correct) for one in found.equal_width] == [
        (0, 0.5, 1, 1),
        (0.5, 1, 5, 2),
    ]
    assert found.ece_equal_width == pytest.approx((abs(1 - 0.2) + abs(2 - 3.6)) / 6)
    # right: 0.1^2 + 0.8^2 + 0.4^2 = 0.81; wrong: 0.6^2 + 0.6^2 + 0.9^2 = 1.53
    assert found.brier == pytest.approx(2.34 / 6)
    right, wrong = math.log(0.9) + math.log(0.2) + math.log(0.6), 2 * math.log(0.4) + math.log(0.1)
    assert found.log_loss == pytest.approx(-(right + wrong) / 6)
    assert (found.items, found.correct, found.share_correct) == (6, 3, 0.5)
    assert found.mean_score == pytest.approx(3.8 / 6)


def test_a_small_bin_is_kept_and_flagged() -> None:
    scores = np.repeat([0.05, 0.95], [10, 11])
    low, high = measure(scores, scores > 0.5).equal_width
    assert (low.items, low.small, high.items, high.small) == (10, True, 11, False)
    assert low.as_dict()["small"] is True and low.as_dict()["items"] == 10
    assert high.as_dict()["interval"] == pytest.approx(wilson(11, 11))


def test_wilson_by_hand_and_beside_statsmodels() -> None:
    from statsmodels.stats.proportion import proportion_confint

    # 8 of 10, z = 1.96: centre (0.8 + 3.8415 / 20) / 1.38415 = 0.71674, half 1.96 / 1.38415 * sqrt(0.016 + 0.0096)
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert all(math.isnan(end) for end in wilson(0, 0))
    for correct, items in [(0, 1), (0, 7), (7, 7), (3, 11), (499, 1000)]:
        assert wilson(correct, items) == pytest.approx(proportion_confint(correct, items, method="wilson"), abs=1e-12)


def test_risk_and_coverage_by_hand() -> None:
    curve = risk_coverage(np.array([0.7, 0.9, 0.6, 0.8]), np.array([True, True, False, False]))
    # by falling confidence: right, wrong, right, wrong
    assert curve.points == ((0.9, 1, 0), (0.8, 2, 1), (0.7, 3, 1), (0.6, 4, 2))
    assert curve.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    # the best order has both errors last
    assert curve.best_area == pytest.approx((0 + 0 + 1 / 3 + 2 / 4) / 4)
    assert curve.excess == pytest.approx((1 / 2) / 4)
    shown = curve.as_dict()["points"][1]
    assert shown == {"threshold": 0.8, "kept": 2, "errors": 1, "coverage": 0.5, "risk": 0.5}


def test_equal_confidences_are_kept_together() -> None:
    curve = risk_coverage(np.array([0.5, 0.9, 0.9]), np.array([True, True, False]))
    assert curve.points == ((0.9, 2, 1), (0.5, 3, 1))
    # the one error among the first two is half an error on the first place
    assert curve.area == pytest.approx((0.5 / 1 + 1 / 2 + 1 / 3) / 3)


def test_nothing_has_no_figures() -> None:
    nothing = np.zeros(0), np.zeros(0, bool)
    found = measure(*nothing)
    ratios = (found.ece, found.ece_equal_width, found.ece_by_chance, found.brier, found.log_loss, found.mean_score)
    assert all(math.isnan(value) for value in ratios)
    assert found.equal_mass == found.equal_width == ()
    curve = risk_coverage(*nothing)
    assert math.isnan(curve.area) and curve.points == ()


@given(decisions, st.randoms(use_true_random=False))
def test_the_order_of_decisions_does_not_matter(rows: list[tuple[float, bool]], random) -> None:
    scores, correct = map(np.array, zip(*rows, strict=True))
    random.shuffle(rows)
    shuffled, hits = map(np.array, zip(*rows, strict=True))
    one, other = measure(scores, correct), measure(shuffled, hits)
    assert [(b.items, b.correct) for b in one.equal_mass] == [(b.items, b.correct) for b in other.equal_mass]
    assert one.ece == pytest.approx(other.ece, abs=1e-9)
    assert risk_coverage(scores, correct).points == risk_coverage(shuffled, hits).points
    assert risk_coverage(scores, correct).area == pytest.approx(risk_coverage(shuffled, hits).area, abs=1e-9)


@given(decisions)
def test_bounds_that_hold_for_all_scores(rows: list[tuple[float, bool]]) -> None:
    scores, correct = map(np.array, zip(*rows, strict=True))
    found, curve = measure(scores, correct), risk_coverage(scores, correct)
    overall = abs(found.mean_score - found.share_correct)  # what one bin would say
    for bins, ece in ((found.equal_mass, found.ece), (found.equal_width, found.ece_equal_width)):
        assert sum(one.items for one in bins) == len(rows) and sum(one.correct for one in bins) == correct.sum()
        assert overall - 1e-9 <= ece <= 1
    assert found.ece_equal_width**2 <= found.brier + 1e-9  # Jensen: a gap of means is at most the mean gap
    assert curve.best_area - 1e-9 <= curve.area <= 1
    assert curve.points[-1][1:] == (len(rows), (~correct).sum())


@pytest.mark.parametrize("seed", range(10))
def test_sklearn_agrees(seed: int) -> None:
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import brier_score_loss, log_loss

    scores, correct = drawn(seed)
    scores = np.round(scores, 2).clip(0.01, 0.99)  # with ties
    found = measure(scores, correct)
    assert found.brier == pytest.approx(brier_score_loss(correct, scores), abs=1e-12)
    assert found.log_loss == pytest.approx(log_loss(correct, scores), abs=1e-12)
    for bins, strategy in ((found.equal_mass, "quantile"), (found.equal_width, "uniform")):
        shares, means = calibration_curve(correct, scores, n_bins=15, strategy=strategy)
        assert [one.share_correct for one in bins] == pytest.approx(shares, abs=1e-12)
        assert [one.mean_score for one in bins] == pytest.approx(means, abs=1e-12)


def test_the_ece_of_perfect_scores_is_what_chance_makes_it() -> None:
    random = np.random.default_rng(1)
    scores = random.beta(4, 1.5, 2000)
    found = [measure(scores, random.random(2000) < scores) for _ in range(200)]
    seen = float(np.mean([one.ece for one in found]))
    assert seen > 0.02  # not 0, though the scores are perfect
    assert found[0].ece_by_chance == pytest.approx(seen, rel=0.05)


def test_the_area_is_the_mean_risk_of_random_orders_of_ties() -> None:
    random = np.random.default_rng(2)
    confidence, right = random.integers(0, 4, 30) / 4, random.random(30) < 0.6
    areas = []
    for _ in range(4000):
        order = np.lexsort((random.random(30), -confidence))
        areas.append((np.cumsum(~right[order]) / np.arange(1, 31)).mean())
    assert risk_coverage(confidence, right).area == pytest.approx(float(np.mean(areas)), abs=0.005)
