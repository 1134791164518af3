import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clinnlp.evaluation.ranking import Ranking

# few distinct scores, so that ties are common
NOTES = st.integers(1, 40).flatmap(
    lambda n: st.tuples(
        arrays(np.bool_, n), arrays(np.float64, n, elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]))
    )
)


def ranking(gold: str, *scores: float) -> Ranking:
    """A ranking of notes that have the label (1) or not (0)."""
    return Ranking.of(np.array([mark == "1" for mark in gold], np.bool_), np.array(scores, np.float64))


def f1_at(gold: np.ndarray, scores: np.ndarray, threshold: float, missed: int = 0) -> float:
    """F1 by definition of what `score >= threshold` gives."""
    kept = scores >= threshold
    return float(2 * (kept & gold).sum() / (kept.sum() + gold.sum() + missed))


def test_cuts_counted_by_hand() -> None:
    cuts = ranking("1010", 0.5, 0.9, 0.5, 0.1)
    assert cuts.scores.tolist() == [0.9, 0.5, 0.1]
    assert cuts.kept.tolist() == [1, 3, 4]  # the two of 0.5 are never parted
    assert cuts.hits.tolist() == [0, 2, 2]
    assert (cuts.positives, cuts.negatives) == (2, 2)


def test_average_precision_by_hand() -> None:
    # positives at ranks 1 and 3
    assert ranking("1010", 0.9, 0.8, 0.7, 0.6).average_precision == pytest.approx((1 / 1 + 2 / 3) / 2)
    # all tied: every positive has the precision of the whole, in any order of the notes
    assert ranking("1000", 0.5, 0.5, 0.5, 0.5).average_precision == 0.25
    assert ranking("0001", 0.5, 0.5, 0.5, 0.5).average_precision == 0.25


def test_auroc_by_hand() -> None:
    # positives 0.8, 0.4 against negatives 0.6, 0.4: 0.8 beats both, 0.4 loses once and ties once: 2.5 of 4 pairs
    assert ranking("1100", 0.8, 0.4, 0.6, 0.4).auroc == 2.5 / 4
    assert ranking("10", 0.9, 0.1).auroc == 1.0
    assert ranking("10", 0.1, 0.9).auroc == 0.0
    assert ranking("10", 0.5, 0.5).auroc == 0.5


def test_nothing_to_rank_is_nan() -> None:
    for gold, scores in (("", ()), ("0", (0.5,)), ("00", (0.5, 0.1))):
        cuts = ranking(gold, *scores)
        assert math.isnan(cuts.average_precision) and math.isnan(cuts.auroc)
        assert cuts.best_threshold() is None
    everything = ranking("11", 0.5, 0.1)
    assert everything.average_precision == 1.0 and math.isnan(everything.auroc)


@settings(max_examples=200, deadline=None)
@given(NOTES)
def test_sklearn_agrees(notes: tuple[np.ndarray, np.ndarray]) -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    gold, scores = notes
    cuts = Ranking.of(gold, scores)
    if gold.any():
        assert cuts.average_precision == pytest.approx(average_precision_score(gold, scores), abs=1e-12)
    if gold.any() and not gold.all():
        assert cuts.auroc == pytest.approx(roc_auc_score(gold, scores), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(NOTES)
def test_only_the_order_of_scores_counts(notes: tuple[np.ndarray, np.ndarray]) -> None:
    gold, scores = notes
    cuts, stretched = Ranking.of(gold, scores), Ranking.of(gold, scores**3 / 2)
    assert np.array_equal([cuts.average_precision, cuts.auroc], [stretched.average_precision, stretched.auroc], True)
    if gold.any() and not gold.all():
        assert Ranking.of(gold, 1 - scores).auroc == pytest.approx(1 - cuts.auroc, abs=1e-12)
        assert Ranking.of(~gold, scores).auroc == pytest.approx(1 - cuts.auroc, abs=1e-12)


# --- thresholds


def test_the_threshold_lies_midway_between_two_scores() -> None:
    # kept 0.9 and 0.8: F1 1; the next note has 0.4
    assert ranking("1100", 0.9, 0.8, 0.4, 0.1).best_threshold() == pytest.approx(0.6)


def test_below_the_last_score_comes_zero() -> None:
    assert ranking("11", 0.9, 0.4).best_threshold() == 0.2
    assert ranking("11", 0.9, 0.0).best_threshold() == 0.0


def test_of_equal_f1_the_cut_that_keeps_fewest_is_taken() -> None:
    # 2 positives. keeping 1 note: 2*1/(1+2) = 2/3; keeping 4: 2*2/(4+2) = 2/3; 2 and 3 notes: 1/2 and 2/5
    cuts = ranking("1001", 0.9, 0.7, 0.5, 0.3)
    assert cuts.best_threshold() == pytest.approx(0.8)


def test_tied_scores_are_kept_or_dropped_together() -> None:
    # 0.5 is held by two positives and a negative: keeping all three 2*2/(3+2) = 0.8 is the best there is
    assert ranking("1100", 0.5, 0.5, 0.5, 0.1).best_threshold() == pytest.approx(0.3)


def test_positives_without_a_score_are_missed() -> None:
    # alone: keeping 1 gives 2/3 * ... = 2*1/(1+2) = 0.667, keeping 4 gives 2*2/(4+2) = 0.667: the first
    # with 3 more that cannot be found: 2*1/(1+5) = 0.333 against 2*2/(4+5) = 0.444: the last
    cuts = ranking("1001", 0.9, 0.7, 0.5, 0.3)
    assert cuts.best_threshold(missed=3) == pytest.approx(0.15)


def test_neighbouring_floats_are_parted() -> None:
    high = 0.5
    low = float(np.nextafter(high, 0))
    for upper, lower in ((high, low), (float(np.nextafter(1, 0)), float(np.nextafter(np.nextafter(1, 0), 0)))):
        threshold = ranking("10", upper, lower).best_threshold()
        assert threshold is not None and lower < threshold <= upper


@settings(max_examples=200, deadline=None)
@given(NOTES, st.integers(0, 5))
def test_no_threshold_has_a_better_f1(notes: tuple[np.ndarray, np.ndarray], missed: int) -> None:
    gold, scores = notes
    threshold = Ranking.of(gold, scores).best_threshold(missed)
    if threshold is None:
        assert not gold.any()
        return
    assert 0 <= threshold <= 1
    best = max(f1_at(gold, scores, other, missed) for other in np.unique(scores))
    assert f1_at(gold, scores, threshold, missed) == pytest.approx(best, abs=1e-12)
