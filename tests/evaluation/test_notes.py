import random
from collections.abc import Sequence

import numpy as np
import pytest

from clinnlp.core.document import Document
from clinnlp.core.report import NotesReport, Score
from clinnlp.errors import DataError
from clinnlp.evaluation.notes import evaluate_notes


def notes(*labels: str, scores: Sequence[dict[str, float]] | None = None) -> list[Document]:
    """One note for each word of labels joined by +."""
    return [
        Document(str(n), "text", labels=tuple(filter(None, names.split("+"))), meta=_meta(scores, n))
        for n, names in enumerate(labels)
    ]


def _meta(scores: Sequence[dict[str, float]] | None, number: int) -> dict[str, object]:
    return {} if scores is None else {"label_scores": scores[number]}


def score(gold: Sequence[Document], predicted: Sequence[Document]) -> NotesReport:
    return evaluate_notes(gold, predicted, resamples=200)


def test_one_label_each_counted_by_hand() -> None:
    report = score(notes("A", "A", "B", "C"), notes("A", "B", "B", "A"))
    assert not report.multi_label
    assert (report.correct, report.documents, report.accuracy) == (2, 4, 0.5)
    assert dict(report.scores.per_label) == {"A": Score(1, 1, 1), "B": Score(1, 1, 0), "C": Score(0, 0, 1)}
    assert report.scores.micro.f1 == report.accuracy
    assert report.scores.macro.f1 == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert report.prevalence("A") == 0.5


def test_several_labels_counted_by_hand() -> None:
    report = score(notes("A+B", "A", "", "C"), notes("A", "A", "B", "A+C"))
    assert report.multi_label
    assert report.correct == 1 and report.accuracy == 0.25  # the whole label set must be right
    assert dict(report.scores.per_label) == {"A": Score(2, 1, 0), "B": Score(0, 1, 1), "C": Score(1, 0, 0)}
    assert report.scores.micro == Score(3, 2, 1)


def test_a_repeated_label_is_one_label() -> None:
    assert score(notes("A+A"), notes("A")).scores.micro == Score(1, 0, 0)


def test_a_note_without_prediction_is_missed() -> None:
    report = score(notes("A", "B"), notes("A", ""))
    assert not report.multi_label
    assert (report.unpredicted, report.accuracy, report.scores.micro) == (1, 0.5, Score(1, 0, 1))


def test_multi_label_is_told_or_seen() -> None:
    assert score(notes("A", "B"), notes("A", "A+B")).multi_label
    assert evaluate_notes(notes("A"), notes("A"), multi_label=True).multi_label
    with pytest.raises(DataError) as caught:
        evaluate_notes(notes("A", "A+B", ""), notes("A+B", "A", "A"), multi_label=False)
    assert str(caught.value) == (
        "multi-class notes need one label: 2 of 3 gold documents have none or several, "
        "1 predicted documents have several. Next: score them as multi-label."
    )


def test_average_precision_by_hand() -> None:
    scores = [{"A": 0.9, "B": 0.1}, {"A": 0.8, "B": 0.2}, {"A": 0.7, "B": 0.3}]
    report = evaluate_notes(notes("A", "B", "A"), notes("A", "A", "A", scores=scores), labels=["A", "B", "C"])
    # A is at ranks 1 and 3: (1/1 + 2/3) / 2; B at rank 2: 1/2; C is not in gold and has none
    assert report.average_precision == pytest.approx({"A": 5 / 6, "B": 0.5})
    assert report.macro_average_precision == pytest.approx(2 / 3)
    assert report.as_dict()["average_precision"] == pytest.approx(2 / 3)
    assert np.isnan(report.as_dict()["per_label"]["C"]["average_precision"])


def test_average_precision_needs_all_scores() -> None:
    gold = notes("A", "B")
    assert score(gold, gold).average_precision is None
    half = [notes("A", scores=[{"A": 1.0}])[0], gold[1]]
    with pytest.raises(DataError) as caught:
        score(gold, half)
    assert str(caught.value) == (
        "label scores are missing in 1 of 2 predicted documents. Next: write them for all documents or for none."
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "high", None])
def test_scores_that_are_no_numbers_are_refused(bad: object) -> None:
    predicted = notes("A", "B", scores=[{"A": 0.5}, {"A": bad}])  # type: ignore[dict-item]
    with pytest.raises(DataError) as caught:
        score(notes("A", "B"), predicted)
    assert str(caught.value) == "label scores are not finite numbers in 1 of 2 predicted documents."


@pytest.mark.parametrize("seed", range(20))
def test_sklearn_agrees(seed: int) -> None:
    from sklearn import metrics

    rng = random.Random(seed)
    multi = seed % 2 == 0
    names = ["A", "B", "C", "D"]

    def draw() -> str:
        return "+".join(rng.sample(names, rng.randint(0, 3))) if multi else rng.choice(names)

    gold, scores = notes(*(draw() for _ in range(30))), [{name: rng.random() for name in names} for _ in range(30)]
    predicted = notes(*(draw() for _ in range(30)), scores=scores)
    report = score(gold, predicted)
    labels = sorted(report.scores.per_label)
    truth, guess = ([[name in d.labels for name in labels] for d in side] for side in (gold, predicted))
    assert report.accuracy == pytest.approx(metrics.accuracy_score(truth, guess), abs=1e-12)
    for average in ("micro", "macro", "weighted"):
        ours = getattr(report.scores, average)
        theirs = metrics.precision_recall_fscore_support(truth, guess, average=average, zero_division=0)
        assert (ours.precision, ours.recall, ours.f1) == pytest.approx(theirs[:3], abs=1e-12)
    confidence = [[s[name] for name in labels] for s in scores]
    expected = metrics.average_precision_score(truth, confidence, average="macro")
    assert report.macro_average_precision == pytest.approx(expected, abs=1e-12)


def test_intervals() -> None:
    gold = notes(*"ABAB" * 5)
    perfect = score(gold, gold)
    for interval in (perfect.accuracy_interval, perfect.scores.f1_interval):
        assert interval is not None
        assert (interval.low, interval.high, interval.units) == (1.0, 1.0, 20)
    half = score(gold, notes(*"AAAA" * 5))
    assert half.accuracy_interval is not None
    assert 0.2 < half.accuracy_interval.low < 0.5 < half.accuracy_interval.high < 0.8
    assert half == score(gold, notes(*"AAAA" * 5))
    assert score(gold[:1], gold[:1]).accuracy_interval is None


def test_no_documents_and_no_labels_have_no_score() -> None:
    assert np.isnan(score([], []).accuracy)
    report = score(notes("", ""), notes("", ""))
    assert report.accuracy == 1.0 and np.isnan(report.scores.micro.f1)
    assert report.scores.f1_interval is None and report.accuracy_interval is not None
