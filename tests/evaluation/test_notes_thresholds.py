"""Thresholds on label scores, for all labels together and for each that enough notes have."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from clinnlp.core.document import Document
from clinnlp.errors import DataError
from clinnlp.evaluation.notes import best_thresholds, evaluate_notes


def documents(labels: Sequence[str], scores: Sequence[dict[str, float]]) -> tuple[list[Document], list[Document]]:
    """Gold notes, each a word of one-letter labels, and what was said of them."""
    gold = [Document(str(n), "text", labels=tuple(word)) for n, word in enumerate(labels)]
    said = [Document(str(n), "text", meta={"label_scores": given}) for n, given in enumerate(scores)]
    return gold, said


def test_thresholds_counted_by_hand() -> None:
    # A: in 20 notes at 0.4, 30 without it at 0.2; B: in 4 notes at 0.9, 46 without it at 0.7
    gold, said = documents(
        ["AB"] * 4 + ["A"] * 16 + [""] * 30,
        [{"A": 0.4, "B": 0.9}] * 4 + [{"A": 0.4, "B": 0.7}] * 16 + [{"A": 0.2, "B": 0.7}] * 30,
    )
    common, own = best_thresholds(gold, said, enough=20)
    # of 24 gold pairs: 4 B at 0.9 are hits: 8/28 = 0.286; with 46 B at 0.7: 8/74; with 20 A at 0.4: 48/94 = 0.511,
    # the best; with all 100: 48/124
    assert common == pytest.approx((0.4 + 0.2) / 2)
    assert own == {"A": pytest.approx(0.3)}
    assert best_thresholds(gold, said, enough=4)[1] == {"A": pytest.approx(0.3), "B": pytest.approx(0.8)}
    assert best_thresholds(gold, said, enough=21)[1] == {}


def test_a_note_with_empty_scores_is_missed_at_any_threshold() -> None:
    labels, scores = ["A", "", "", "A"], [{"A": 0.9}, {"A": 0.7}, {"A": 0.5}, {"A": 0.3}]
    # 2*1/(1+2) at 0.9 and 2*2/(4+2) at 0.3 are equal: the higher
    assert best_thresholds(*documents(labels, scores), enough=1) == (pytest.approx(0.8), {"A": pytest.approx(0.8)})
    # one more in gold: 2*1/(1+3) against 2*2/(4+3)
    more = documents([*labels, "A"], [*scores, {}])
    assert best_thresholds(*more, enough=1) == (pytest.approx(0.15), {"A": pytest.approx(0.15)})


def test_a_label_that_the_scores_do_not_know_is_missed() -> None:
    # B has no scores at all: it is never given, and no threshold is chosen for it
    gold, said = documents(["A", "B", "", "A"], [{"A": 0.9}, {"A": 0.7}, {"A": 0.5}, {"A": 0.3}])
    assert best_thresholds(gold, said, enough=1) == (pytest.approx(0.15), {"A": pytest.approx(0.8)})


def test_nothing_to_choose_by() -> None:
    assert best_thresholds([], [], enough=1) == (None, {})
    assert best_thresholds(*documents(["", ""], [{"A": 0.9}, {"A": 0.1}]), enough=1) == (None, {})
    assert best_thresholds(*documents(["A"], [{}]), enough=1) == (None, {})


def test_scores_that_are_missing_or_no_numbers_are_refused() -> None:
    gold, said = documents(["A", ""], [{"A": math.nan}, {"A": 0.1}])
    with pytest.raises(DataError) as caught:
        best_thresholds(gold, said, enough=1)
    assert str(caught.value) == "label scores are not finite numbers in 1 of 2 predicted documents."
    with pytest.raises(DataError, match="label scores are missing in 1 of 2 predicted documents"):
        best_thresholds(gold, [said[1], Document("0", "text")], enough=1)


def test_no_other_threshold_scores_better_on_the_same_notes() -> None:
    some = np.random.default_rng(3)
    truth = some.random((80, 3)) < [0.5, 0.2, 0.05]
    scores = np.round(some.random((80, 3)) * 0.5 + truth * some.random((80, 3)) * 0.5, 2)
    words = ["".join(name for name, has in zip("ABC", row, strict=True) if has) for row in truth]
    gold, said = documents(words, [dict(zip("ABC", row, strict=True)) for row in scores.tolist()])

    def f1(thresholds: dict[str, float]) -> dict[str, float]:
        given = [
            Document(d.id, d.text, labels=tuple(k for k, s in d.meta["label_scores"].items() if s >= thresholds[k]))
            for d in said
        ]
        report = evaluate_notes(gold, given, labels="ABC", multi_label=True, resamples=1)
        each = {label: score.f1 for label, score in report.scores.per_label.items()}
        return {"micro": report.scores.micro.f1, **each}

    common, own = best_thresholds(gold, said, enough=1)
    assert common is not None
    candidates = [dict.fromkeys("ABC", float(cut)) for cut in np.unique(scores)]
    reached = [f1(cut) for cut in candidates]
    assert f1(dict.fromkeys("ABC", common))["micro"] == max(scores["micro"] for scores in reached)
    at_own = f1(own)
    assert all(at_own[label] == max(scores[label] for scores in reached) for label in "ABC")
