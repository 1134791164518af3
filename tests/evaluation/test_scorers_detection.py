"""Average precision and recall at fixed precision of scored spans: by hand and against sklearn."""

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinnlp.core.document import Document, Span
from clinnlp.core.report import Report
from clinnlp.core.scorers import Detection, OperatingPoint
from clinnlp.errors import DataError
from clinnlp.evaluation.entity import evaluate_spans
from clinnlp.evaluation.scorers_detection import average_precision, recall_at_precision

TEXT = "x" * 100


def detect(gold: Sequence[Span], predicted: Sequence[Span]) -> Detection | None:
    return evaluate_spans([Document("1", TEXT, tuple(gold))], [Document("1", TEXT, tuple(predicted))]).detection


def found(gold: Sequence[Span], predicted: Sequence[Span]) -> Detection:
    detection = detect(gold, predicted)
    assert detection is not None
    return detection


def test_counted_by_hand() -> None:
    gold = [Span(0, 5, "A"), Span(10, 15, "A"), Span(20, 25, "B"), Span(30, 35, "C")]
    predicted = [
        Span(0, 5, "A", 0.9),  # right: 1 of 1
        Span(50, 55, "A", 0.8),  # wrong: 1 of 2
        Span(10, 15, "A", 0.7),  # right and wrong together: 2 of 4
        Span(20, 25, "A", 0.7),
    ]
    detection = found(gold, predicted)
    assert detection.micro == pytest.approx(1 / 4 * 1 + 1 / 4 * 2 / 4)
    # A alone has two gold spans: half of them at 1 / 1, half at 2 / 4; B and C are missed
    assert detection.per_label == {"A": pytest.approx(0.5 + 0.25), "B": 0.0, "C": 0.0}
    assert detection.macro == pytest.approx(0.25)
    assert detection.recall_at_precision == (OperatingPoint(0.90, 0.25, 1.0, 0.9), OperatingPoint(0.95, 0.25, 1.0, 0.9))


def test_recall_at_precision_by_hand() -> None:
    right = np.array([False, True, True, False, True, True, True, True, True, True, True, False])
    scores = np.linspace(1.0, 0.0, 12)
    # precision: 0, 1/2, 2/3, 2/4, 3/5, 4/6, 5/7, 6/8, 7/9, 8/10, 9/11, 9/12
    assert recall_at_precision(right, scores, 12, 0.8) == OperatingPoint(0.8, 9 / 12, 9 / 11, scores[10])
    assert recall_at_precision(right, scores, 12, 0.75).threshold == scores[10], "the highest threshold of equal recall"
    unreachable = recall_at_precision(right, scores, 12, 0.9)
    assert unreachable.target == 0.9
    assert math.isnan(unreachable.recall) and math.isnan(unreachable.precision) and math.isnan(unreachable.threshold)
    nine_of_ten = np.array([True] * 9 + [False])
    assert recall_at_precision(nine_of_ten, np.full(10, 0.5), 10, 0.9) == OperatingPoint(0.9, 0.9, 0.9, 0.5)


def test_the_best_scored_copy_is_the_right_one() -> None:
    span = Span(0, 5, "A")
    predicted = [Span(0, 5, "A", 0.2), Span(50, 55, "A", 0.5), Span(0, 5, "A", 0.9)]
    assert found([span], predicted).micro == 1.0
    # with two gold copies: 1 of 1, then 2 of 3
    assert found([span, span], predicted).micro == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_without_gold_or_predictions() -> None:
    assert found([Span(0, 5, "A")], []).micro == 0.0
    assert math.isnan(found([Span(0, 5, "A")], []).recall_at_precision[0].recall)
    nothing = found([], [])
    assert math.isnan(nothing.micro) and math.isnan(nothing.macro) and nothing.per_label == {}
    spurious = found([], [Span(0, 5, "A", 0.3)])
    assert math.isnan(spurious.micro) and math.isnan(spurious.per_label["A"])
    assert math.isnan(spurious.recall_at_precision[0].recall)


def test_no_ranking_where_a_score_is_missing() -> None:
    gold = [Span(0, 5, "A")]
    assert detect(gold, [Span(0, 5, "A", 0.5), Span(6, 8, "A")]) is None
    report = evaluate_spans([Document("1", TEXT, tuple(gold))], [Document("1", TEXT, (Span(0, 5, "A"),))])
    entity = Report(entity=report).as_dict()["entity"]
    assert entity["average_precision"] is None and entity["recall_at_precision"] is None


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_refused(score: float) -> None:
    predicted = [Span(0, 5, "A", 0.5), Span(6, 8, "A", score), Span(6, 9, "A")]
    with pytest.raises(DataError) as caught:
        detect([Span(0, 5, "A")], predicted)
    assert str(caught.value) == (
        "scores of 1 of 3 predicted spans are not finite numbers. "
        "Next: write a probability for each span, or no score for any."
    )


def test_scores_of_gold_do_not_matter() -> None:
    predicted = [Span(0, 5, "A", 0.5)]
    assert detect([Span(0, 5, "A", math.nan)], predicted) == detect([Span(0, 5, "A")], predicted)


rankings = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.5, 0.7, 1.0])), min_size=1, max_size=30)


@settings(max_examples=80, deadline=None)
@given(rankings, st.integers(0, 10))
def test_sklearn_agrees(ranking: list[tuple[bool, float]], missed: int) -> None:
    from sklearn.metrics import average_precision_score, precision_recall_curve

    right, scores = np.array([r for r, _ in ranking]), np.array([s for _, s in ranking])
    hits = int(right.sum())
    ours = average_precision(right, scores, hits + missed)
    if not hits:
        assert ours == 0.0 or missed == 0
        return
    # what was never predicted takes its part of recall away: sklearn does not know of it
    theirs = average_precision_score(right, scores) * hits / (hits + missed)
    assert ours == pytest.approx(theirs, abs=1e-12)
    precision, recall, thresholds = precision_recall_curve(right, scores)
    for target in (0.5, 0.9, 0.95):
        reached = [(r, t) for p, r, t in zip(precision, recall, thresholds, strict=False) if p >= target and r > 0]
        point = recall_at_precision(right, scores, hits + missed, target)
        if not reached:
            assert math.isnan(point.recall)
            continue
        best, threshold = max(reached)
        assert point.recall == pytest.approx(best * hits / (hits + missed), abs=1e-12)
        assert point.threshold == threshold


@pytest.mark.parametrize("seed", range(20))
def test_spans_of_documents_as_sklearn_ranks_them(seed: int) -> None:
    from sklearn.metrics import average_precision_score

    rng = random.Random(seed)

    def draw(count: int) -> dict[tuple[int, str], float]:
        return {(rng.randrange(12), rng.choice("AB")): rng.choice([0.1, 0.4, 0.6, 0.9]) for _ in range(count)}

    golds, predictions, rows = [], [], []
    gold_counts = {"A": 0, "B": 0}
    for number in range(5):
        gold, predicted = draw(8), draw(8)
        golds.append(Document(str(number), TEXT, tuple(Span(5 * n, 5 * n + 3, label) for n, label in gold)))
        spans = [Span(5 * n, 5 * n + 3, label, score) for (n, label), score in predicted.items()]
        predictions.append(Document(str(number), TEXT, tuple(spans)))
        rows += [(key in gold, score, key[1]) for key, score in predicted.items()]
        for _, label in gold:
            gold_counts[label] += 1
    detection = evaluate_spans(golds, predictions, resamples=2).detection
    assert detection is not None

    def sklearns(chosen: list[tuple[bool, float, str]], total: int) -> float:
        hits = [hit for hit, _, _ in chosen]
        return average_precision_score(hits, [s for _, s, _ in chosen]) * sum(hits) / total if any(hits) else 0.0

    assert detection.micro == pytest.approx(sklearns(rows, sum(gold_counts.values())), abs=1e-12)
    for label, total in gold_counts.items():
        theirs = sklearns([row for row in rows if row[2] == label], total)
        assert detection.per_label[label] == pytest.approx(theirs, abs=1e-12)
    turned = [Document(d.id, d.text, d.spans[::-1]) for d in predictions[::-1]]
    assert evaluate_spans(golds[::-1], turned, resamples=2).detection == detection
