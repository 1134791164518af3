"""Balanced accuracy, MCC, AUROC, average precision, confusion matrix and intervals of note labels."""

import contextlib
import json
import math
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinnlp.core.document import Document
from clinnlp.core.notes_report import AgainstRest
from clinnlp.core.report import LabelScores, NotesReport, Report, Score
from clinnlp.errors import DataError, IntegrityError
from clinnlp.evaluation import notes as scorer
from clinnlp.evaluation.notes import evaluate_notes
from clinnlp.evaluation.resample import Statistic, Units

LABELS = ["A", "B", "C", "D"]


def notes(*labels: str, scores: Sequence[dict[str, float]] | None = None, groups: str | None = None) -> list[Document]:
    """One note for each word of labels joined by +."""
    return [
        Document(
            str(n),
            "text",
            labels=tuple(filter(None, names.split("+"))),
            group=groups[n] if groups else None,
            meta={} if scores is None else {"label_scores": scores[n]},
        )
        for n, names in enumerate(labels)
    ]


def score(gold: Sequence[Document], predicted: Sequence[Document], **told: Any) -> NotesReport:
    return evaluate_notes(gold, predicted, resamples=100, **told)


def as_json(report: NotesReport) -> Any:
    """What metrics.json says of notes; fails on NaN."""
    return json.loads(json.dumps(Report(notes=report).as_dict(), allow_nan=False))["notes"]


# --- one label per note


def test_multi_class_counted_by_hand() -> None:
    # gold A A A B B C; A is found twice and once not predicted at all, B once and once taken for A, C taken for B
    report = score(notes(*"AAABBC"), notes("A", "A", "", "B", "A", "B"))
    assert report.labels == ("A", "B", "C")
    assert report.confusion == ((2, 0, 0, 1), (1, 1, 0, 0), (0, 1, 0, 0))
    assert report.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    # R_K: c = 3 right of s = 6; gold t = (3, 2, 1), predicted p = (3, 2, 0) and 1 without
    # (3 * 6 - (3*3 + 2*2 + 1*0)) / sqrt((36 - 9 - 4 - 0 - 1) * (36 - 9 - 4 - 1)) = 5 / 22
    assert report.mcc == pytest.approx(5 / 22)
    # A against the rest: 2 found, 1 spurious, 1 missed, 2 left alone
    assert report.against_rest("A") == AgainstRest(tp=2, fp=1, fn=1, tn=2)
    assert (report.prevalence("A"), report.micro_prevalence) == (0.5, 1 / 3)


def test_confusion_has_rows_for_declared_and_predicted_labels() -> None:
    report = score(notes("B", "B"), notes("A", "B"), labels=["C"])
    assert report.confusion == ((0, 0, 0, 0), (1, 1, 0, 0), (0, 0, 0, 0))
    assert as_json(report)["confusion"] == {
        "labels": ["A", "B", "C"],
        "counts": [list(row) for row in report.confusion],
    }
    assert report.balanced_accuracy == 0.5  # over B, the only label in gold


def test_one_class_only_has_accuracy_and_no_correlation() -> None:
    report = score(notes(*"AAA"), notes(*"AAA", scores=[{"A": 0.9}] * 3))
    assert (report.accuracy, report.balanced_accuracy, report.confusion) == (1.0, 1.0, ((3, 0),))
    assert math.isnan(report.mcc) and report.auroc == {} and math.isnan(report.macro_auroc)
    assert report.average_precision == {"A": 1.0} and report.macro_prevalence == 1.0
    said = as_json(report)
    assert said["mcc"] is None and said["auroc"] is None
    assert said["per_label"]["A"].pop("f1_interval")["units"] == 3
    assert said["per_label"]["A"] == {
        **{"precision": 1.0, "recall": 1.0, "f1": 1.0, "tp": 3, "fp": 0, "fn": 0, "support": 3, "tn": 0},
        **{"prevalence": 1.0, "specificity": None, "balanced_accuracy": None, "mcc": None},
        **{"average_precision": 1.0, "auroc": None},
    }


def test_a_constant_prediction_is_not_better_than_chance() -> None:
    report = score(notes(*"AAAB"), notes(*"AAAA"))
    assert (report.accuracy, report.balanced_accuracy) == (0.75, 0.5)
    assert math.isnan(report.mcc)  # sklearn says 0: here 0 is measured, and this is nothing over nothing


def test_perfect_and_fully_wrong() -> None:
    gold = notes(*"AABBB")
    assert score(gold, gold).mcc == 1.0
    assert score(gold, notes(*"BBAAA")).mcc == -1.0


# --- several labels per note


def test_multi_label_counted_by_hand() -> None:
    # A: gold 1 1 0 0, said 1 0 1 0; B: gold 1 0 0 0, never said; C: in gold nowhere, said once
    report = score(notes("A+B", "A", "", ""), notes("A", "", "A", "C"))
    assert report.multi_label and report.confusion is None
    assert report.against_rest("A") == AgainstRest(1, 1, 1, 1)
    assert report.against_rest("B") == AgainstRest(0, 0, 1, 3)
    assert report.against_rest("C") == AgainstRest(0, 1, 0, 3)
    assert report.varying == ("A", "B")
    # A: recall 1/2, specificity 1/2; B: recall 0, specificity 1; C has no recall and is left out
    assert report.balanced_accuracy == pytest.approx((0.5 + 0.5) / 2)
    # A: (1*1 - 1*1) / 4 = 0; B is never said: 0 in the mean, null for itself
    assert report.mcc == 0.0 and math.isnan(report.against_rest("B").mcc)
    said = as_json(report)
    assert said["confusion"] is None
    assert (said["per_label"]["B"]["mcc"], said["per_label"]["A"]["mcc"], said["per_label"]["C"]["tn"]) == (
        None,
        0.0,
        3,
    )
    assert report.micro_prevalence == 3 / 12 and report.macro_prevalence == (2 / 4 + 1 / 4) / 2


def test_a_label_that_is_never_said_lowers_the_mean_correlation() -> None:
    gold = notes("A+B", "A", "B", "")
    assert score(gold, gold).mcc == 1.0
    assert score(gold, notes("A", "A", "", "")).mcc == 0.5  # A 1, B 0: leaving B out would give 1


def test_ratios_of_one_label_by_hand() -> None:
    cells = AgainstRest(tp=6, fp=2, fn=1, tn=3)
    assert (cells.notes, cells.prevalence, cells.specificity) == (12, 7 / 12, 3 / 5)
    assert cells.balanced_accuracy == pytest.approx((6 / 7 + 3 / 5) / 2)
    assert cells.mcc == pytest.approx((6 * 3 - 2 * 1) / math.sqrt(8 * 7 * 5 * 4))
    assert all(math.isnan(value) for value in (AgainstRest(0, 0, 0, 0).prevalence, AgainstRest(1, 0, 0, 0).mcc))


# --- rankings


def test_auroc_and_average_precision_counted_by_hand() -> None:
    scores = [{"A": 0.9, "B": 0.1}, {"A": 0.8, "B": 0.2}, {"A": 0.7, "B": 0.3}]
    report = score(notes(*"ABA"), notes(*"AAA", scores=scores), labels=["C"])
    # A: 0.9 beats 0.8, 0.7 loses to it: 1 of 2 pairs; B: 0.2 beats 0.1, loses to 0.3
    assert report.auroc == {"A": 0.5, "B": 0.5} and report.macro_auroc == 0.5
    # one ranking of 9 pairs: 0.9 A hit, 0.8 A miss, 0.7 A hit, 0.3 B miss, 0.2 B hit, then misses
    assert report.micro_average_precision == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)
    assert report.micro_prevalence == 3 / 9
    said = as_json(report)
    assert (said["auroc"], said["per_label"]["A"]["auroc"], said["per_label"]["C"]["auroc"]) == (0.5, 0.5, None)
    assert said["micro"]["average_precision"] == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)
    assert said["micro"]["prevalence"] == 3 / 9 and said["macro"]["prevalence"] == pytest.approx(1 / 2)


def test_without_scores_nothing_is_ranked() -> None:
    report = score(notes(*"AB"), notes(*"AB"))
    assert report.auroc is None and report.average_precision is None
    said = as_json(report)
    assert (said["auroc"], said["average_precision"], said["micro"]["average_precision"]) == (None, None, None)


def test_nan_scores_are_refused() -> None:
    with pytest.raises(DataError) as caught:
        score(notes(*"AB"), notes(*"AB", scores=[{"A": math.nan, "B": 0.5}, {"A": 0.5, "B": 0.5}]))
    assert str(caught.value) == "label scores are not finite numbers in 1 of 2 predicted documents."


# --- nothing to score


def test_empty_gold_and_empty_predictions() -> None:
    scores = [{"A": 0.5}] * 3
    nothing = score(notes("", "", ""), notes("", "", "", scores=scores), labels=["A"])
    assert nothing.multi_label and nothing.accuracy == 1.0
    assert nothing.auroc == {} and nothing.average_precision == {}
    for value in (nothing.mcc, nothing.balanced_accuracy, nothing.macro_auroc, nothing.micro_average_precision):
        assert math.isnan(value)
    assert nothing.macro_f1_interval is None and nothing.micro_prevalence == 0.0
    silent = score(notes(*"ABA"), notes("", "", ""))
    assert silent.confusion == ((0, 0, 2), (0, 0, 1))
    assert silent.balanced_accuracy == 0.0 and math.isnan(silent.mcc) and silent.scores.macro.f1 == 0.0
    assert silent.macro_f1_interval is not None and silent.macro_f1_interval.high == 0.0
    assert as_json(nothing)["balanced_accuracy"] is None and as_json(silent)["mcc"] is None


def test_no_documents() -> None:
    said = as_json(score([], [], labels=["A"]))
    assert said["confusion"] == {"labels": ["A"], "counts": [[0, 0]]}
    for key in ("accuracy", "balanced_accuracy", "mcc", "auroc", "average_precision", "accuracy_interval"):
        assert said[key] is None
    assert said["macro"]["f1_interval"] is None and said["per_label"]["A"]["tn"] == 0


# --- parity with sklearn


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """sklearn warns of classes that are only predicted, or alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@st.composite
def classified(draw: st.DrawFn) -> tuple[list[str], list[str], list[list[float]]]:
    size = draw(st.integers(1, 30))
    labels = draw(st.lists(st.sampled_from(LABELS), min_size=size, max_size=size))
    said = draw(st.lists(st.sampled_from([*LABELS, ""]), min_size=size, max_size=size))
    number = st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0])
    return labels, said, draw(st.lists(st.lists(number, min_size=4, max_size=4), min_size=size, max_size=size))


@settings(max_examples=40, deadline=None)
@given(classified())
def test_sklearn_agrees_on_classes(case: tuple[list[str], list[str], list[list[float]]]) -> None:
    from sklearn import metrics

    gold, said, numbers = case
    report = score(
        notes(*gold), notes(*said, scores=[dict(zip(LABELS, row, strict=True)) for row in numbers]), labels=LABELS
    )
    assert not report.multi_label
    with quiet():
        assert report.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(gold, said), abs=1e-12)
        assert report.accuracy == pytest.approx(metrics.accuracy_score(gold, said), abs=1e-12)
        # undefined: null here, 0 in sklearn
        correlation = 0.0 if math.isnan(report.mcc) else report.mcc
        assert correlation == pytest.approx(metrics.matthews_corrcoef(gold, said), abs=1e-12)
        matrix = metrics.confusion_matrix(gold, said, labels=[*LABELS, ""])[:4]
    assert report.confusion == tuple(tuple(row) for row in matrix.tolist())
    truth = np.array([[label == name for name in LABELS] for label in gold])
    check_rankings(report, truth, np.array(numbers))


@st.composite
def tagged(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    size = draw(st.integers(1, 30))
    some = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rate = draw(st.sampled_from([0.02, 0.3, 0.9]))
    truth, said = some.random((size, 4)) < rate, some.random((size, 4)) < 0.4
    return truth, said, some.integers(0, draw(st.sampled_from([2, 5, 1000])), (size, 4)) / 1000


@settings(max_examples=40, deadline=None)
@given(tagged())
def test_sklearn_agrees_on_sets_of_labels(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    from sklearn import metrics

    truth, said, numbers = case
    words = ["+".join(name for name, has in zip(LABELS, row, strict=True) if has) for row in truth]
    guesses = ["+".join(name for name, has in zip(LABELS, row, strict=True) if has) for row in said]
    scores = [dict(zip(LABELS, row, strict=True)) for row in numbers.tolist()]
    report = score(notes(*words), notes(*guesses, scores=scores), labels=LABELS, multi_label=True)
    tables = metrics.multilabel_confusion_matrix(truth, said)
    for number, name in enumerate(LABELS):
        cells = report.against_rest(name)
        assert [[cells.tn, cells.fp], [cells.fn, cells.tp]] == tables[number].tolist()
        with quiet():
            expected = metrics.matthews_corrcoef(truth[:, number], said[:, number])
        assert (0.0 if math.isnan(cells.mcc) else cells.mcc) == pytest.approx(expected, abs=1e-12)
        if name in report.varying:
            balanced = metrics.balanced_accuracy_score(truth[:, number], said[:, number])
            assert cells.balanced_accuracy == pytest.approx(balanced, abs=1e-12)
    if report.varying:
        with quiet():
            mean = np.mean([metrics.matthews_corrcoef(truth[:, i], said[:, i]) for i in varying(truth)])
        assert report.mcc == pytest.approx(mean, abs=1e-12)
    check_rankings(report, truth, numbers)


def varying(truth: np.ndarray) -> list[int]:
    return [i for i in range(truth.shape[1]) if 0 < truth[:, i].sum() < len(truth)]


def check_rankings(report: NotesReport, truth: np.ndarray, numbers: np.ndarray) -> None:
    from sklearn import metrics

    held = [i for i in range(4) if truth[:, i].any()]
    precisions = {LABELS[i]: metrics.average_precision_score(truth[:, i], numbers[:, i]) for i in held}
    areas = {LABELS[i]: metrics.roc_auc_score(truth[:, i], numbers[:, i]) for i in varying(truth)}
    assert report.average_precision == pytest.approx(precisions, abs=1e-12)
    assert report.auroc == pytest.approx(areas, abs=1e-12)
    if held:
        every = metrics.average_precision_score(truth, numbers, average="micro")
        assert report.micro_average_precision == pytest.approx(every, abs=1e-12)
        assert report.micro_prevalence == pytest.approx(truth.mean(), abs=1e-12)
    if areas:
        assert report.macro_auroc == pytest.approx(np.mean(list(areas.values())), abs=1e-12)
    as_json(report)


# --- intervals


def test_a_resample_scores_as_the_documents_it_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each resampled ratio equals the ratio of a data set in which the drawn groups are really repeated."""
    some = np.random.default_rng(5)
    words = ["+".join(name for name in LABELS if some.random() < 0.3) for _ in range(12)]
    guesses = ["+".join(name for name in LABELS if some.random() < 0.3) for _ in range(12)]
    gold, said = notes(*words, groups="ppqqqrstttuu"), notes(*guesses)
    # 6 groups, drawn in these numbers: each once; one alone, where labels are lost; and at random
    weights = np.array([[1] * 6, [6, 0, 0, 0, 0, 0], *some.multinomial(6, [1 / 6] * 6, size=20)])
    seen: list[np.ndarray] = []

    def draw(counts: np.ndarray, statistic: Statistic, seed: int, resamples: int) -> np.ndarray:
        return statistic((weights @ counts).astype(np.float64))

    def record(values: np.ndarray, units: Units) -> None:
        seen.append(values)

    with monkeypatch.context() as patch:
        patch.setattr(scorer, "resampled", draw)
        patch.setattr(scorer, "percentile_interval", record)
        evaluate_notes(gold, said)
    assert len(seen) == 3
    groups = sorted({document.group for document in gold if document.group})
    for number, row in enumerate(weights.tolist()):
        often = dict(zip(groups, row, strict=True))
        copies = [(g, s, n) for g, s in zip(gold, said, strict=True) for n in range(often[g.group or ""])]
        again = evaluate_notes(
            [replace(g, id=f"{g.id}-{n}") for g, _, n in copies],
            [replace(s, id=f"{s.id}-{n}") for _, s, n in copies],
            multi_label=True,
            resamples=1,
        )
        expected = [again.scores.micro.f1, again.scores.macro.f1, again.accuracy]
        assert [values[number] for values in seen] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_intervals_are_by_group_and_hold_the_score() -> None:
    some = np.random.default_rng(1)
    gold = [LABELS[i] for i in some.choice(4, 120, p=[0.7, 0.2, 0.08, 0.02])]
    said = [label if some.random() < 0.7 else LABELS[some.integers(4)] for label in gold]
    report = evaluate_notes(notes(*gold, groups="".join(chr(65 + i // 4) for i in range(120))), notes(*said))
    pairs = [
        (report.scores.f1_interval, report.scores.micro.f1),
        (report.macro_f1_interval, report.scores.macro.f1),
        (report.accuracy_interval, report.accuracy),
    ]
    for interval, value in pairs:
        assert interval is not None
        assert interval.low < value < interval.high
        assert (interval.unit, interval.units) == ("group", 30)
    assert as_json(report)["macro"]["f1_interval"]["units"] == 30
    micro, macro = report.scores.f1_interval, report.macro_f1_interval
    assert micro and macro and macro.high - macro.low > micro.high - micro.low  # rare labels weigh more in it


def test_a_rare_label_does_not_lower_the_interval_of_a_perfect_prediction() -> None:
    gold = notes(*"AAAAAAAAAAAAAAAAAAAB")  # a third of all resamples hold no B
    interval = score(gold, gold).macro_f1_interval
    assert interval is not None and (interval.low, interval.high) == (1.0, 1.0)


def test_one_group_has_no_interval() -> None:
    report = score(notes(*"ABA", groups="ppp"), notes(*"ABB"))
    assert report.macro_f1_interval is None and report.scores.f1_interval is None and report.accuracy_interval is None


@pytest.mark.slow
def test_intervals_of_ten_thousand_notes_take_seconds() -> None:
    some = np.random.default_rng(0)
    names = [f"L{number}" for number in range(40)]
    truth = some.random((10_000, 40)) < 0.08
    said = truth ^ (some.random((10_000, 40)) < 0.03)
    gold, predicted = (notes(*("+".join(names[i] for i in np.flatnonzero(r)) for r in m)) for m in (truth, said))
    start = time.perf_counter()
    report = evaluate_notes(gold, predicted)
    assert time.perf_counter() - start < 20  # 2.5 s of one core, with reading the labels
    assert report.macro_f1_interval is not None and report.macro_f1_interval.resamples == 10_000


# --- counts that contradict each other


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(IntegrityError) as caught:
        NotesReport(LabelScores({"A": Score(2, 1, 0)}), documents=2, correct=1, multi_label=True)
    assert str(caught.value) == (
        "a label was counted in more than the 2 documents scored. "
        "Next: report this as a bug; these scores must not be used."
    )
    scores = LabelScores({"A": Score(1, 1, 0), "B": Score(0, 0, 1)})
    NotesReport(scores, 2, 1, False, confusion=((1, 0, 0), (1, 0, 0)))
    with pytest.raises(IntegrityError) as caught:
        NotesReport(scores, 2, 1, False, confusion=((1, 0, 0), (0, 1, 0)))
    assert str(caught.value) == (
        "the confusion matrix and the counts of a label disagree. "
        "Next: report this as a bug; these scores must not be used."
    )
