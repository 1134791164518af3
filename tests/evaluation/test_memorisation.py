"""Membership inference and exposure, counted by hand and against sklearn."""

import math

import numpy as np
import pytest

from clinnlp.evaluation.memorisation import CHANCE_BITS, attack, exposed, exposures, group_means
from clinnlp.evaluation.ranking import Ranking
from clinnlp.evaluation.resample import Units


def alone(count: int) -> Units:
    return Units(np.arange(count), count, "document")


def test_auc_and_tpr_by_hand() -> None:
    scores = np.array([5.0, 4.0, 2.0, 3.0, 2.0, 1.0])
    member = np.array([True, True, True, False, False, False])
    made = attack(scores, member, alone(6), seed=1, resamples=200)
    # of nine pairs 3 + 3 + (1 and a tie) are won
    assert made.auc == pytest.approx(7.5 / 9)
    assert made.tpr == pytest.approx(2 / 3), "three others allow no false alarm: the members above the best of them"
    assert (made.members, made.others) == (3, 3)
    assert made.auc_interval is not None and made.auc_interval.low <= made.auc <= made.auc_interval.high


def test_one_false_alarm_in_a_hundred_is_allowed_and_equal_scores_are_never_parted() -> None:
    others = np.arange(200.0)
    scores = np.concatenate([[198.5, 197.5, 196.5, 198.0], others])
    member = np.arange(204) < 4
    # two of 200 others may pass: 199 and 198; the member at 198 stands with one of them, 197.5 is above the third
    assert attack(scores, member, alone(204), 1, 10).tpr == pytest.approx(3 / 4)
    tied = np.where(scores >= 197, 1.0, 0.0)
    assert attack(tied, member, alone(204), 1, 10).tpr == 0.0, "a cut at the tie would pass three others"


def test_auc_is_that_of_the_house_and_of_sklearn() -> None:
    from sklearn.metrics import roc_auc_score

    draw = np.random.default_rng(3)
    member = draw.random(300) < 0.4
    scores = np.round(draw.normal(size=300) + member, 1)
    made = attack(scores, member, alone(300), 1, 10)
    assert made.auc == pytest.approx(roc_auc_score(member, scores))
    assert made.auc == pytest.approx(Ranking.of(member, scores).auroc)


def test_groups_are_drawn_whole() -> None:
    draw = np.random.default_rng(5)
    member = np.arange(40) < 20
    by_group = np.repeat(draw.normal(size=40), 10)
    units = Units(np.repeat(np.arange(40), 10), 40, "group")
    flags = np.repeat(member, 10)
    grouped = attack(by_group, flags, units, 1).auc_interval
    noted = attack(by_group, flags, alone(400), 1).auc_interval
    assert grouped is not None and noted is not None
    assert grouped.high - grouped.low > 2 * (noted.high - noted.low), "copies of a patient are no further patients"
    assert group_means(by_group, units) == pytest.approx(by_group[::10])


def test_intervals_hold_a_half_where_nothing_is_known() -> None:
    held = 0
    for seed in range(100):
        scores = np.random.default_rng(seed).normal(size=80)
        interval = attack(scores, np.arange(80) < 40, alone(80), seed, 400).auc_interval
        assert interval is not None
        held += interval.low <= 0.5 <= interval.high
    assert 88 <= held <= 99


def test_perfect_knowledge_and_one_side_alone() -> None:
    made = attack(np.arange(20.0), np.arange(20) >= 10, alone(20), 1)
    assert (made.auc, made.tpr) == (1.0, 1.0)
    with pytest.raises(ValueError, match="20 members, 0 others"):
        attack(np.arange(20.0), np.ones(20, bool), alone(20), 1)


def test_exposure_by_hand() -> None:
    candidates = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    bits = exposures(np.array([9.0, 6.5, 5.5, 2.5, -1.0, 5.0]), candidates)
    # eight with itself: first of all 3 bits, then rank 1, 2, 5 and last; level with 5: between rank 2 and 3
    assert bits == pytest.approx([3, 3, 2, 3 - math.log2(5), 0, 3 - math.log2(2.5)])


def test_exposure_of_what_is_not_known_is_that_of_chance() -> None:
    draw = np.random.default_rng(1)
    bits = exposures(draw.normal(size=4000), draw.normal(size=4000))
    assert bits.mean() == pytest.approx(CHANCE_BITS, abs=0.1)


def test_exposures_by_repeats() -> None:
    never, often = exposed(np.array([1.0, 3.0, 0.0, 3.0]), [4, 4, 0, 4], most=3.0, seed=1)
    assert (never.repeats, never.canaries, never.bits, never.interval) == (0, 1, 0.0, None)
    assert (often.repeats, often.canaries, often.first) == (4, 3, 2)
    assert often.bits == pytest.approx(7 / 3)
    assert often.interval is not None and (often.interval.low, often.interval.high) == (1.0, 3.0)
