"""Calibration: what is fitted, that it is monotone and invertible, that it is stored, and what it changes."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinnlp import config
from clinnlp.core.document import Document, Span
from clinnlp.core.schema import LabelSchema
from clinnlp.errors import ConfigError, DataError
from clinnlp.evaluation.calibration import (
    BIASES,
    TEMPERATURES,
    Calibration,
    LabelCalibration,
    calibrate,
    check_apart,
    documents_sha256,
    fit_calibration,
    uncalibrate,
)
from clinnlp.evaluation.calibration_report import (
    before_and_after,
    calibrate_elsewhere,
    calibration_report,
)
from clinnlp.evaluation.decisions import note_decisions, span_decisions
from clinnlp.evaluation.notes import best_thresholds
from clinnlp.evaluation.reliability import Floats
from clinnlp.evaluation.report_panels import calibration_facts
from clinnlp.evaluation.thresholds import choose_thresholds, reached
from clinnlp.tasks.ner import Ner
from clinnlp.tasks.note_classification import NoteClassification

WIDTH = 100  # spans of a document
Documents = list[Document]

maps = st.builds(Calibration, st.floats(*TEMPERATURES), st.floats(*BIASES))
held = st.floats(1e-6, 1 - 1e-6)


def sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def spans_with(
    scores: Sequence[float], correct: Sequence[bool], labels: Sequence[str] | None = None
) -> tuple[Documents, Documents]:
    """Gold and predicted documents of 100 spans each, with these scores, of which gold holds the correct ones."""
    names = labels or ["A"] * len(scores)
    gold, predicted = [], []
    for first in range(0, len(scores), WIDTH):
        part = slice(first, first + WIDTH)
        said = [
            Span(2 * i, 2 * i + 1, label, float(score))
            for i, (score, label) in enumerate(zip(scores[part], names[part], strict=True))
        ]
        kept = [replace(span, score=None) for span, hit in zip(said, correct[part], strict=True) if hit]
        note = Document(f"{len(scores)}-{first}", "x" * 2 * WIDTH)
        gold.append(replace(note, spans=tuple(kept)))
        predicted.append(replace(note, spans=tuple(said)))
    return gold, predicted


def planted(seed: int, count: int, temperature: float, bias: float = 0.0) -> tuple[Floats, "np.ndarray"]:
    """Scores of a model that is too sure of itself: its log-odds are the true ones less the bias, stretched."""
    random = np.random.default_rng(seed)
    true = random.normal(1.0, 1.3, count)
    return sigmoid((true - bias) * temperature), random.random(count) < sigmoid(true)


def notes_with(
    scores: Floats, gold: Sequence[Sequence[str]], chosen: Sequence[Sequence[str]]
) -> tuple[Documents, Documents]:
    names = [chr(ord("a") + i) for i in range(scores.shape[1])]
    blank = [Document(str(i), f"note {i}") for i in range(len(scores))]
    golds = [replace(note, labels=tuple(labels)) for note, labels in zip(blank, gold, strict=True)]
    said = [
        replace(note, labels=tuple(labels), meta={"label_scores": dict(zip(names, row.tolist(), strict=True))})
        for note, labels, row in zip(blank, chosen, scores, strict=True)
    ]
    return golds, said


# --- the map


def test_the_map_by_hand() -> None:
    # logit(0.8) = ln 4; half of it is ln 2: 2 / 3; less ln 2 is ln 1: 1 / 2
    assert Calibration(2.0).apply(np.array([0.8]), ["A"])[0] == pytest.approx(2 / 3)
    assert Calibration(2.0, -math.log(2)).apply(np.array([0.8]), ["A"])[0] == pytest.approx(1 / 2)
    # a label with a map of its own; another has the shared one
    both = Calibration(2.0, labels=(LabelCalibration("B", 1.0, math.log(4)),))
    assert both.apply(np.array([0.8, 0.5]), ["A", "B"]) == pytest.approx([2 / 3, 4 / 5])
    # classes: the square roots 0.8, 0.4, 0.4 of 0.64, 0.16, 0.16, made to sum to 1
    classes = Calibration(2.0).apply(np.array([0.64, 0.16, 0.16]) / 0.96, list("abc"), classes=True)
    assert classes == pytest.approx([0.5, 0.25, 0.25])


@given(maps, st.lists(held, min_size=1, max_size=30))
def test_raw_scores_come_back(calibration: Calibration, scores: list[float]) -> None:
    labels = ["A"] * len(scores)
    there = calibration.apply(np.array(scores), labels)
    assert ((there >= 0) & (there <= 1)).all()
    assert np.abs(calibration.remove(there, labels) - scores).max() < 1e-9


@given(st.floats(*TEMPERATURES), st.lists(st.floats(1e-5, 1), min_size=2, max_size=8))
def test_raw_class_probabilities_come_back(temperature: float, odds: list[float]) -> None:
    scores = np.array(odds) / sum(odds)  # at least 1e-5 / 8
    calibration, labels = Calibration(temperature), ["x"] * len(odds)
    there = calibration.apply(scores, labels, classes=True)
    assert there.sum() == pytest.approx(1)
    assert np.abs(calibration.remove(there, labels, classes=True) - scores).max() < 1e-9


@given(maps, st.lists(st.integers(1, 9999), min_size=2, max_size=40, unique=True))
def test_the_order_of_spans_is_kept(calibration: Calibration, ranks: list[int]) -> None:
    _, predicted = spans_with([rank / 10_000 for rank in ranks], [False] * len(ranks))
    changed = calibrate(predicted, calibration)
    for before, after in zip(predicted, changed, strict=True):
        assert [span.key for span in before.spans] == [span.key for span in after.spans]
        orders = [np.argsort([float(span.score or 0) for span in one.spans]).tolist() for one in (before, after)]
        assert orders[0] == orders[1]


@given(maps, st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_the_map_never_falls(calibration: Calibration, scores: list[float]) -> None:
    found = calibration.apply(np.sort(scores), ["A"] * len(scores))
    assert (np.diff(found) >= 0).all()


def test_scores_of_documents_change_and_nothing_else() -> None:
    note = Document("1", "abcdef", (Span(0, 2, "A", 0.8, {"x": 1}), Span(3, 4, "B")), ("a",), "p", {"m": 1})
    (changed,) = calibrate([note], Calibration(2.0))
    assert changed.spans[0].score == pytest.approx(2 / 3) and changed.spans[1] == note.spans[1]
    assert replace(changed, spans=note.spans) == note
    assert uncalibrate([changed], Calibration(2.0))[0].spans[0].score == pytest.approx(0.8, abs=1e-12)
    assert calibrate([note], Calibration()) == [note]
    scored = replace(note, meta={"m": 1, "label_scores": {"a": 0.8, "b": 0.2}})
    (changed,) = calibrate([scored], Calibration(2.0), multi_label=True)
    assert changed.meta["label_scores"] == pytest.approx({"a": 2 / 3, "b": 1 / 3})
    assert replace(changed, meta=scored.meta) == scored
    empty = replace(note, meta={"label_scores": {}})
    assert calibrate([empty, note], Calibration(2.0), multi_label=False) == [empty, note]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Calibration(temperature=0.1), "calibration.temperature: 0.1 is not from 0.5 to 20."),
        (lambda: Calibration(temperature=math.nan), "calibration.temperature: nan is not from 0.5 to 20."),
        (lambda: Calibration(bias=4.0), "calibration.bias: 4.0 is not from -10 to 3."),
        (lambda: LabelCalibration("A", -1.0), "calibration.temperature: -1.0 is not from 0.5 to 20."),
    ],
)
def test_a_map_that_cannot_be_undone_is_refused(make: Callable[[], object], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert str(caught.value) == f"{told} Next: leave it out: finetune fits it on the dev split."


# --- fitting


def test_a_planted_temperature_is_found() -> None:
    scores, correct = planted(1, 20_000, 2.5)
    gold, predicted = spans_with(scores, correct)
    calibration = fit_calibration(gold, predicted)
    assert calibration.temperature == pytest.approx(2.5, rel=0.1)
    assert calibration.bias == pytest.approx(0, abs=0.1)
    assert (calibration.items, calibration.reason) == (20_000, "fitted on 20,000 predicted spans of dev")
    # on other documents of the same model
    gold, predicted = spans_with(*planted(2, 5_000, 2.5))
    report = before_and_after(gold, calibrate(predicted, calibration), calibration, resamples=200)
    before, after = report.before.overall, report.after.overall
    assert before.ece > 0.08 and after.ece < 0.02 and after.ece < 2 * after.ece_by_chance
    assert after.brier < before.brier and after.log_loss < before.log_loss
    assert report.brier_change == pytest.approx(after.brier - before.brier)
    assert report.brier_change_interval is not None and report.brier_change_interval.high < 0
    assert before.ece == pytest.approx(calibration_report(gold, predicted, resamples=10).overall.ece, abs=1e-9)
    assert after.correct == before.correct and not report.fitted_here


def test_a_bias_that_no_temperature_can_mend_is_found() -> None:
    """Scores of 0.5 to 1 of which few are right: divided by any temperature they stay over 0.5."""
    random = np.random.default_rng(3)
    odds = random.uniform(0, 4, 4000)
    correct = random.random(4000) < sigmoid(odds / 2 - 2)
    calibration = fit_calibration(*spans_with(sigmoid(odds), correct))
    assert (calibration.temperature, calibration.bias) == (pytest.approx(2, rel=0.15), pytest.approx(-2, rel=0.15))


def test_the_fit_is_the_best_there_is() -> None:
    """sklearn's unpenalised logistic regression on the log-odds, but for Platt's targets."""
    from sklearn.linear_model import LogisticRegression

    scores, correct = planted(4, 3_000, 1.7, bias=-0.6)
    calibration = fit_calibration(*spans_with(scores, correct))
    odds = np.log(scores / (1 - scores))
    other = LogisticRegression(C=1e9, tol=1e-8).fit(odds[:, None], correct)
    assert 1 / calibration.temperature == pytest.approx(other.coef_[0, 0], abs=0.01)
    assert calibration.bias == pytest.approx(other.intercept_[0], abs=0.01)
    mean = calibration.apply(scores, ["A"] * 3_000).mean()
    assert mean == pytest.approx(correct.mean(), abs=1e-3)


def test_labels_with_enough_spans_have_their_own_map() -> None:
    sure, sure_hits = planted(5, 4_000, 4.0)
    true, true_hits = planted(6, 4_000, 1.0)
    few, few_hits = planted(7, 199, 4.0)
    right, right_hits = planted(8, 400, 1.0)[0], np.arange(400) >= 19  # 400 spans, but only 19 wrong ones
    labels = ["SURE"] * 4_000 + ["TRUE"] * 4_000 + ["FEW"] * 199 + ["RIGHT"] * 400
    calibration = fit_calibration(
        *spans_with(
            np.concatenate([sure, true, few, right]),
            np.concatenate([sure_hits, true_hits, few_hits, right_hits]),
            labels,
        )
    )
    own = {one.label: one for one in calibration.labels}
    assert own.keys() == {"SURE", "TRUE"}
    assert own["SURE"].temperature == pytest.approx(4, rel=0.15) and own["SURE"].items == 4_000
    assert own["TRUE"].temperature == pytest.approx(1, rel=0.15)
    assert own["TRUE"].temperature < calibration.temperature < own["SURE"].temperature


def test_too_few_or_one_sided_spans_are_not_fitted() -> None:
    scores, correct = planted(9, 49, 2.5)
    for given_scores, hits, told in (
        (scores, correct, "not fitted: 49 scored predicted spans on dev, 50 are needed"),
        (np.full(60, 0.9), np.ones(60, bool), "not fitted: everything scored on dev is right"),
        (np.full(60, 0.9), np.zeros(60, bool), "not fitted: everything scored on dev is wrong"),
    ):
        calibration = fit_calibration(*spans_with(given_scores, hits))
        assert calibration == Calibration(reason=told) and calibration.changes_nothing
    assert fit_calibration([], []).reason == "not fitted: 0 scored predicted spans on dev, 50 are needed"
    assert not fit_calibration(*spans_with(*planted(9, 50, 2.5))).changes_nothing


def test_the_report_says_whether_scores_were_calibrated_and_on_what() -> None:
    few, many = spans_with(*planted(9, 49, 2.5)), spans_with(*planted(9, 300, 2.5))
    for dev, test, head, told in (
        (few, many, "The 300 span scores, not calibrated here: ECE ", "not fitted: 49 scored predicted spans"),
        (many, few, "Calibration of 49 span scores, raw to calibrated: ECE ", "fitted on 300 predicted spans"),
    ):
        calibration = fit_calibration(*dev)
        first, second, *rest = calibration_facts(
            before_and_after(test[0], calibrate(test[1], calibration), calibration)
        )
        assert first.startswith(head)
        assert second.startswith(f"The calibration was {told}") and not rest
    calibration = fit_calibration(*many)
    *_, last = calibration_facts(before_and_after(many[0], calibrate(many[1], calibration), calibration))
    assert last == "The calibration was fitted on these very documents, where it cannot but look good"
    (only,) = calibration_facts(before_and_after(*many, Calibration()))  # predictions made elsewhere
    assert "not calibrated here" in only


def softened(seed: int, count: int, temperature: float) -> tuple[Floats, list[list[str]]]:
    """Class probabilities of three classes, too sharp by a temperature, and the classes drawn from the true ones."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.2, (count, 3))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    sharp = np.exp(logits * temperature) / np.exp(logits * temperature).sum(axis=1, keepdims=True)
    drawn = (random.random((count, 1)) > true.cumsum(axis=1)).sum(axis=1)
    return sharp, [["abc"[i]] for i in drawn]


def test_the_temperature_of_multi_class_notes_is_found() -> None:
    scores, gold = softened(10, 4_000, 2.0)
    chosen = [["abc"[i]] for i in scores.argmax(axis=1)]
    golds, said = notes_with(scores, gold, chosen)
    calibration = fit_calibration(golds, said, multi_label=False)
    assert calibration.temperature == pytest.approx(2, rel=0.1)
    assert (calibration.bias, calibration.labels, calibration.items) == (0.0, (), 4_000)
    report = before_and_after(golds, calibrate(said, calibration, False), calibration, False, resamples=100)
    assert report.fitted_here and report.after.unit == "note"
    assert report.after.overall.ece < 0.03 < 0.1 < report.before.overall.ece
    assert report.after.overall.share_correct == report.before.overall.share_correct
    # a note whose class the model does not know counts against it, but has no part in the fit
    strange = [replace(golds[0], labels=("unknown",)), *golds[1:]]
    assert fit_calibration(strange, said, multi_label=False).items == 3_999


def test_labels_of_multi_label_notes_have_their_own_map() -> None:
    random = np.random.default_rng(11)
    true = random.normal([0, -1, -5], 1.5, (1500, 3))
    gold = random.random((1500, 3)) < sigmoid(true)
    assert gold[:, 2].sum() >= 20
    gold[np.flatnonzero(gold[:, 2])[19:], 2] = False  # 19 notes have c
    scores = sigmoid(true * [3.0, 1.0, 1.0] + [0, 1.5, 0])
    golds, said = notes_with(
        scores,
        [[name for name, held in zip("abc", row, strict=True) if held] for row in gold],
        [[name for name, held in zip("abc", row, strict=True) if held] for row in scores >= 0.5],
    )
    calibration = fit_calibration(golds, said, multi_label=True)
    assert [one.label for one in calibration.labels] == ["a", "b"]
    a, b = calibration.labels
    assert (a.temperature, a.bias) == (pytest.approx(3, rel=0.2), pytest.approx(0, abs=0.2))
    assert (b.temperature, b.bias) == (pytest.approx(1, rel=0.2), pytest.approx(-1.5, rel=0.2))
    assert (calibration.items, calibration.reason) == (4_500, "fitted on 1,500 notes of dev")
    report = before_and_after(golds, calibrate(said, calibration, True), calibration, True, resamples=100)
    assert report.after.unit == "note and label" and report.after.overall.items == 4_500
    assert report.after.per_label["a"].ece < report.before.per_label["a"].ece / 2
    assert fit_calibration(golds[:49], said[:49], True).reason == "not fitted: 49 scored notes on dev, 50 are needed"


# --- what is scored


def test_copies_of_a_span_are_matched_one_to_one_and_the_surest_first() -> None:
    gold = Document("1", "abcd", (Span(0, 2, "A"), Span(2, 3, "A")))
    said = replace(gold, spans=(Span(0, 2, "A", 0.3), Span(0, 2, "A", 0.7), Span(2, 3, "B", 0.9), Span(3, 4, "A")))
    found = span_decisions([(gold, said)])
    assert (found.scores.tolist(), found.correct.tolist()) == ([0.3, 0.7, 0.9], [False, True, False])
    assert (found.names, found.unscored, found.gold.tolist()) == (("A", "B"), 1, [2])


def test_not_giving_a_wrong_label_is_right() -> None:
    golds, said = notes_with(np.array([[0.9, 0.3], [0.2, 0.6]]), [["a"], ["a"]], [["a"], ["b"]])
    found = note_decisions(list(zip(golds, said, strict=True)), multi_label=True)
    assert found.correct.tolist() == [True, False, True, False]
    assert found.confidence == pytest.approx([0.9, 0.7, 0.8, 0.6])
    assert found.right.tolist() == [True, True, False, False]


@pytest.mark.parametrize("bad", [math.nan, -0.1, 1.1])
def test_scores_that_are_no_probabilities_are_refused(bad: float) -> None:
    gold, predicted = spans_with([0.5, bad, 0.7], [True, True, False])
    for use in (lambda: fit_calibration(gold, predicted), lambda: calibrate(predicted, Calibration(2.0))):
        with pytest.raises(DataError) as caught:
            use()
        assert str(caught.value) == (
            "1 of 3 scores are no probabilities (numbers from 0 to 1). Next: write probabilities, or no scores at all."
        )


def test_label_scores_of_another_kind_are_refused() -> None:
    note = Document("1", "x", labels=("a",), meta={"label_scores": [0.5]})
    with pytest.raises(DataError) as caught:
        calibration_report([note], [note], multi_label=False)
    assert str(caught.value) == "label_scores is a list. Next: write it as {label: probability}."
    with pytest.raises(DataError, match="scores are not numbers"):
        calibration_report([note], [replace(note, meta={"label_scores": {"a": "high"}})], multi_label=False)


def test_what_is_fitted_is_not_scored_on_the_same_documents() -> None:
    dev, test = spans_with(*planted(12, 400, 2.5)), spans_with(*planted(13, 500, 2.5))
    check_apart(dev[0], test[0])
    check_apart([Document("1", "a")], [Document("1", "b"), Document("2", "a")])  # another note of that id or text
    with pytest.raises(DataError) as caught:
        calibrate_elsewhere(dev, (test[0] + dev[0][:1], test[1] + dev[1][:1]))
    assert str(caught.value) == (
        "1 of 6 scored documents are among those the calibration is fitted on. "
        "Next: fit it on the dev split and score the test split."
    )
    predicted, report = calibrate_elsewhere(dev, test)
    assert report.calibration == fit_calibration(*dev) and not report.fitted_here
    assert predicted == calibrate(test[1], report.calibration)
    chosen = calibration_report(dev[0], calibrate(dev[1], report.calibration)).thresholds
    assert [one.score for one in report.after.thresholds] == [one.score for one in chosen]
    assert all(one.chosen_here for one in chosen) and not any(one.chosen_here for one in report.after.thresholds)
    assert before_and_after(dev[0], dev[1], report.calibration, resamples=10).fitted_here
    assert documents_sha256(dev[0]) == documents_sha256(dev[0][::-1]) != documents_sha256(dev[0][1:])


# --- thresholds


def test_thresholds_by_hand() -> None:
    # by falling score: 0.9 right, 0.8 right, 0.7 wrong, 0.6 right, 0.6 wrong, 0.5 wrong; 4 in gold, one of them missed
    gold, predicted = spans_with([0.6, 0.9, 0.7, 0.8, 0.5, 0.6], [True, True, False, True, False, False])
    gold = [replace(gold[0], spans=(*gold[0].spans, Span(150, 151, "A")))]
    decisions = span_decisions(list(zip(gold, predicted, strict=True)))
    targets = (("precision", 1.0), ("precision", 0.6), ("recall", 0.5), ("recall", 0.75), ("recall", 0.9))
    found = choose_thresholds(decisions, targets)
    # precision 2/2 at 0.8; 3/5 at 0.6; recall 2/4 at 0.8, 3/4 at 0.6; 4/4 is out of reach
    assert [(one.score, one.correct, one.selected) for one in found[:4]] == [
        (0.8, 2, 2), (0.6, 3, 5), (0.8, 2, 2), (0.6, 3, 5),
    ]  # fmt: skip
    assert found[1].precision == 0.6 and found[1].recall == 0.75
    assert math.isnan(found[4].score) and math.isnan(found[4].precision) and math.isnan(found[4].recall)
    assert all(one.precision_interval is None for one in found)  # of one document there is no interval
    assert all(one.chosen_here for one in found)
    # the same thresholds on other documents: over 0.8 stands one of two, over 0.6 two of three, of two in gold
    gold, predicted = spans_with([0.85, 0.8, 0.65, 0.5], [False, True, True, False])
    others = reached(span_decisions(list(zip(gold, predicted, strict=True))), found)
    assert [(one.score, one.correct, one.selected, one.gold) for one in others[:2]] == [(0.8, 1, 2, 2), (0.6, 2, 3, 2)]
    assert not any(one.chosen_here for one in others) and math.isnan(others[4].recall)


def test_intervals_of_thresholds_are_by_group() -> None:
    gold, predicted = spans_with(*planted(14, 2_000, 1.0))
    (single,) = calibration_report(gold, predicted, targets=(("precision", 0.9),)).thresholds
    assert single.precision >= 0.9 and single.precision_interval is not None and single.recall_interval is not None
    assert single.precision_interval.low < single.precision < single.precision_interval.high
    assert single.recall_interval.low < single.recall < single.recall_interval.high
    assert (single.precision_interval.unit, single.precision_interval.units) == ("document", 20)
    grouped = [replace(note, group=str(number % 4)) for number, note in enumerate(gold)]
    (of_groups,) = calibration_report(grouped, predicted, targets=(("precision", 0.9),)).thresholds
    assert of_groups.score == single.score
    assert of_groups.precision_interval is not None
    assert (of_groups.precision_interval.unit, of_groups.precision_interval.units) == ("group", 4)


@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=30), st.floats(0.05, 1))
def test_a_threshold_is_the_widest_that_reaches_its_target(rows: list[tuple[int, bool]], aim: float) -> None:
    gold, predicted = spans_with([score / 10 for score, _ in rows], [hit for _, hit in rows])
    decisions = span_decisions(list(zip(gold, predicted, strict=True)))
    precise, sensitive = (one.score for one in choose_thresholds(decisions, (("precision", aim), ("recall", aim))))
    total = sum(hit for _, hit in rows)
    precise_ones, sensitive_ones = [], []
    for score in sorted({score / 10 for score, _ in rows}):
        hits = [hit for other, hit in rows if other / 10 >= score]
        if sum(hits) / len(hits) >= aim:
            precise_ones.append(score)
        if total and sum(hits) / total >= aim:
            sensitive_ones.append(score)
    assert precise == min(precise_ones) if precise_ones else math.isnan(precise)
    assert sensitive == max(sensitive_ones) if sensitive_ones else math.isnan(sensitive)


# --- the report, and the model folder


def test_the_report_is_json_without_nan() -> None:
    gold, predicted = spans_with(*planted(15, 300, 2.5))
    predicted = [replace(predicted[0], spans=(*predicted[0].spans, Span(199, 200, "B"))), *predicted[1:]]
    calibration = fit_calibration(gold, predicted)
    report = before_and_after(gold, calibrate(predicted, calibration), calibration, resamples=50).as_dict()
    again = json.loads(json.dumps(report, allow_nan=False))
    assert again["fitted_here"] is True
    assert again["calibration"]["temperature"] == calibration.temperature
    after = again["after"]
    assert (after["unit"], after["documents"], after["items"], after["unscored"]) == ("span", 3, 300, 1)
    assert sum(one["items"] for one in after["equal_mass"]) == 300
    assert after["per_label"].keys() == {"A"} and "equal_mass" not in after["per_label"]["A"]
    assert [(one["target"], one["aim"]) for one in after["thresholds"]][:2] == [("precision", 0.8), ("precision", 0.9)]
    assert after["brier_interval"]["low"] < after["brier"] < after["brier_interval"]["high"]
    assert again["before"]["thresholds"] == []


def test_predictions_without_scores_and_no_documents_have_nothing_to_report() -> None:
    gold, predicted = spans_with([0.5, 0.6], [True, False])
    bare = [replace(note, spans=tuple(replace(span, score=None) for span in note.spans)) for note in predicted]
    for golds, said, unscored in ((gold, bare, 2), ([], [], 0)):
        report = before_and_after(golds, said, Calibration(2.0))
        values = json.loads(json.dumps(report.as_dict(), allow_nan=False))["after"]
        assert (values["items"], values["unscored"], values["ece"], values["brier_interval"]) == (
            0,
            unscored,
            None,
            None,
        )
        assert values["risk_coverage"]["aurc"] is None and values["thresholds"][0]["score"] is None


@pytest.mark.parametrize("multi_label", [False, True])
def test_notes_without_scores_are_counted(multi_label: bool) -> None:
    golds, said = notes_with(np.array([[0.9, 0.1]]), [["a"]], [["a"]])
    blank = Document("blank", "", meta={"label_scores": {}})
    report = calibration_report([*golds, blank], [*said, blank], multi_label=multi_label)
    assert (report.documents, report.unscored, report.overall.items) == (2, 1, 2 if multi_label else 1)


def test_the_task_is_tuned_from_raw_scores() -> None:
    gold, raw = spans_with(*planted(16, 2_000, 2.5))
    task = Ner().tune(gold, raw)
    assert task.calibration == fit_calibration(gold, raw)
    again = task.tune(gold, calibrate(raw, task.calibration))  # predicted by the calibrated task itself
    assert again.calibration.temperature == pytest.approx(task.calibration.temperature, rel=1e-4)
    report = task.before_and_after(gold, calibrate(raw, task.calibration), seed=1)
    assert report.fitted_here and report.after.overall.ece < report.before.overall.ece
    assert config.build(Ner, config.plain(task)) == task
    assert hash(task.calibration)


def test_note_labels_are_calibrated_before_thresholds_are_chosen() -> None:
    random = np.random.default_rng(17)
    true = random.normal([0, -1], 1.5, (600, 2))
    gold = random.random((600, 2)) < sigmoid(true)
    names = [[name for name, held in zip("ab", row, strict=True) if held] for row in gold]
    golds, raw = notes_with(sigmoid(true * 3), names, names)
    task = NoteClassification(multi_label=True).tune(golds, raw)
    assert [one.temperature for one in task.calibration.labels] == pytest.approx([3, 3], rel=0.25)
    calibrated = calibrate(raw, task.calibration, True)
    assert task.threshold == best_thresholds(golds, calibrated, 20)[0] != best_thresholds(golds, raw, 20)[0]
    assert task.before_and_after(golds, calibrated, seed=1).fitted_here
    assert task.tune(golds, calibrated).threshold == pytest.approx(task.threshold, abs=1e-3)
    assert config.build(NoteClassification, config.plain(task)) == task
    scores, classes = softened(18, 300, 2.0)
    golds, raw = notes_with(scores, classes, [["abc"[i]] for i in scores.argmax(axis=1)])
    single = NoteClassification(multi_label=False).tune(golds, raw)
    assert single.calibration == fit_calibration(golds, raw, False) != Calibration()
    assert single.threshold == 0.5


@pytest.mark.parametrize(("multi_label", "chosen"), [(True, ("a", "c")), (False, ("c",))])
def test_decoding_divides_the_logits_by_the_temperature(multi_label: bool, chosen: tuple[str, ...]) -> None:
    logits = np.array([1.0, -2.0, 3.0])
    task = NoteClassification(multi_label=multi_label, calibration=Calibration(2.0))
    (found,) = task.decode([Document("1", "x")], [], [[(None, logits)]], LabelSchema(("a", "b", "c")))
    expected = sigmoid(logits / 2) if multi_label else np.exp(logits / 2) / np.exp(logits / 2).sum()
    assert list(found.meta["label_scores"].values()) == pytest.approx(expected)
    assert found.labels == chosen


def test_a_model_folder_keeps_the_calibration_and_labels_with_it(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForTokenClassification

    from clinnlp.encode.tokens import NoteTokenizer
    from clinnlp.labeling.predict import predict
    from clinnlp.models.folder import Card
    from clinnlp.models.load import load_trained

    torch.manual_seed(0)
    schema, folder = LabelSchema(("DRUG", "PROBLEM")), tmp_path / "model"
    model = AutoModelForTokenClassification.from_pretrained(tiny("bert"), **Ner().head_config(schema))
    model.save_pretrained(folder)
    NoteTokenizer.load(tiny("bert")).hf.save_pretrained(folder)
    notes = [Document("1", "started on aspirin for fever"), Document("2", "")]
    found = {}
    own = (LabelCalibration("DRUG", 3.0, -0.5, 240),)
    for name, task in {
        "raw": Ner(window=64, overlap=8),
        "calibrated": Ner(window=64, overlap=8, calibration=Calibration(2.0, -1.0, own, 500, "fitted", "ab" * 32)),
    }.items():
        Card(task, schema, "base", "0" * 64).write(folder)
        trained = load_trained(folder)
        assert trained.task == task
        found[name] = list(predict(trained, notes))
    assert found["raw"][0].spans
    calibration = trained.task.calibration
    assert found["calibrated"] == calibrate(found["raw"], calibration) != found["raw"]
    # a folder from before there was a calibration
    card = json.loads((folder / "clinnlp.json").read_text())
    assert card["task"]["calibration"] == {**asdict(calibration), "labels": [asdict(own[0])]}
    del card["task"]["calibration"]
    (folder / "clinnlp.json").write_text(json.dumps(card))
    assert load_trained(folder).task.calibration == Calibration()
    assert list(predict(load_trained(folder), notes)) == found["raw"]
