import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinnlp.core.document import Document, Span
from clinnlp.core.report import EntityReport, Score, SpanCounts
from clinnlp.errors import IntegrityError
from clinnlp.evaluation import entity
from clinnlp.evaluation.entity import count_spans, evaluate_spans, report_spans
from clinnlp.evaluation.pairing import pair
from tests.evaluation.flat import LABELS, documents, flat_corpus, tags, token_spans

TEXT = "x" * 100


def note(name: str, *spans: Span, group: str | None = None) -> Document:
    return Document(name, TEXT, spans, group=group)


def score(gold: Sequence[Document], predicted: Sequence[Document], resamples: int = 200) -> EntityReport:
    return evaluate_spans(gold, predicted, resamples=resamples)


def test_counted_by_hand() -> None:
    gold = [
        note("1", Span(0, 5, "A"), Span(6, 9, "A"), Span(20, 30, "B")),
        note("2", Span(0, 5, "A")),
        note("3"),
    ]
    predicted = [
        note("1", Span(0, 5, "A"), Span(6, 10, "A"), Span(20, 30, "A")),  # right, wrong end, wrong label
        note("2"),
        note("3", Span(1, 2, "C")),
    ]
    report = score(gold, predicted)
    assert dict(report.strict.per_label) == {"A": Score(1, 2, 2), "B": Score(0, 0, 1), "C": Score(0, 1, 0)}
    assert report.strict.micro == Score(1, 3, 3)
    assert report.strict.micro.f1 == 0.25
    assert report.strict.absent == ("C",)
    assert (report.documents, report.documents_without_gold) == (3, 1)
    assert (report.gold.total, report.predicted.total) == (4, 4)


def test_counts_are_kept_by_document_and_label() -> None:
    counts = count_spans([(note("1", Span(0, 1, "B")), note("1")), (note("2"), note("2", Span(0, 1, "A")))])
    assert counts.labels == ("A", "B")
    assert counts.array.tolist() == [[[0, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 0, 0]]]
    assert counts.micro.tolist() == [[0, 0, 1], [0, 1, 0]]


def test_copies_of_a_span_count_each() -> None:
    span = Span(0, 5, "A")
    report = score([note("1", span, span)], [note("1", span, span, span)])
    assert report.strict.micro == Score(2, 1, 0)
    assert score([note("1", span, span)], [note("1", span)]).strict.micro == Score(1, 0, 1)
    assert (report.gold.duplicates, report.predicted.duplicates) == (1, 2)


def test_fragments_must_agree() -> None:
    pieces = Span(0, 10, "A", fragments=((0, 3), (7, 10)))
    report = score([note("1", pieces)], [note("1", Span(0, 10, "A"))])
    assert report.strict.micro == Score(0, 1, 1)
    assert report.gold == SpanCounts(total=1, discontinuous=1)
    assert score([note("1", pieces)], [note("1", pieces)]).strict.micro == Score(1, 0, 0)


def test_scores_and_attributes_do_not_matter() -> None:
    gold, predicted = Span(0, 5, "A", attributes={"negated": True}), Span(0, 5, "A", score=0.4)
    assert score([note("1", gold)], [note("1", predicted)]).strict.micro == Score(1, 0, 0)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ([(0, 5), (5, 9)], 0),
        ([(0, 9), (2, 4)], 2),
        ([(0, 5), (4, 9), (8, 12)], 3),
        ([(0, 20), (1, 3), (4, 6), (30, 40)], 3),
        ([(0, 20), (21, 30), (22, 23), (25, 26)], 3),
        ([], 0),
    ],
)
def test_overlapping_spans_are_counted(bounds: list[tuple[int, int]], expected: int) -> None:
    spans = [Span(start, end, "A") for start, end in bounds]
    assert score([note("1", *spans)], [note("1")]).gold.overlapping == expected


def test_same_bounds_with_two_labels_overlap() -> None:
    assert score([note("1", Span(0, 5, "A"), Span(0, 5, "B"))], [note("1")]).gold == SpanCounts(2, 0, 2, 0)


def test_declared_labels_are_listed_and_do_not_change_the_averages() -> None:
    gold = [note("1", Span(0, 5, "A")), note("2")]
    report = evaluate_spans(gold, gold, labels=["A", "B", "B"], resamples=10)
    assert report.strict.per_label["B"] == Score()
    assert report.strict.absent == ("B",)
    assert report.strict.macro.f1 == 1.0


def test_empty_gold_and_empty_predictions_have_no_score() -> None:
    report = score([note("1"), note("2")], [note("1"), note("2")])
    strict = report.as_dict()["strict"]
    assert report.strict.f1_interval is None
    assert (strict["micro"]["tp"], strict["per_label"]) == (0, {})
    assert np.isnan([strict["micro"]["f1"], strict["macro"]["f1"], strict["weighted"]["f1"]]).all()
    assert np.isnan(score([], []).strict.micro.f1)


def test_empty_gold_or_empty_predictions() -> None:
    some, none = [note("1", Span(0, 5, "A")), note("2")], [note("1"), note("2")]
    assert score(none, some).strict.micro == Score(0, 1, 0)
    assert score(some, none).strict.micro == Score(0, 0, 1)
    assert score(some, none).strict.micro.f1 == 0.0


def test_order_of_documents_and_spans_does_not_matter() -> None:
    lengths, gold, predicted = flat_corpus(5)
    golds, predictions = documents(lengths, gold), documents(lengths, predicted)
    report = score(golds, predictions)
    rng = random.Random(0)
    mixed = [Document(d.id, d.text, tuple(rng.sample(d.spans, len(d.spans)))) for d in predictions]
    rng.shuffle(mixed)
    rng.shuffle(golds)
    assert score(golds, mixed) == report


def test_interval_of_perfect_predictions_is_one() -> None:
    gold = [note(str(n), Span(0, 5, "A")) for n in range(5)]
    interval = score(gold, gold).strict.f1_interval
    assert interval is not None
    assert (interval.low, interval.high, interval.unit, interval.units) == (1.0, 1.0, "document", 5)


def test_interval_follows_the_seed_and_the_groups() -> None:
    gold = [note(str(n), Span(0, 5, "A"), group=f"patient {n % 10}") for n in range(40)]
    predicted = [note(str(n), Span(0, 5, "A" if n % 10 < 6 else "B")) for n in range(40)]
    counts = count_spans(pair(gold, predicted))
    interval = report_spans(counts, seed=1, resamples=2000).strict.f1_interval
    assert interval == report_spans(counts, seed=1, resamples=2000).strict.f1_interval
    assert interval is not None and (interval.unit, interval.units) == ("group", 10)
    alone = evaluate_spans([note(d.id, *d.spans) for d in gold], predicted, resamples=2000).strict.f1_interval
    assert alone is not None  # notes of one patient are alike: drawing notes would promise too much
    assert interval.low < alone.low < 0.6 < alone.high < interval.high


def test_one_group_has_no_interval() -> None:
    gold = [note("1", Span(0, 5, "A"), group="p"), note("2", Span(0, 5, "A"), group="p")]
    assert score(gold, gold).strict.f1_interval is None


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**9))
def test_nervaluate_strict_agrees_on_flat_data(seed: int) -> None:
    from nervaluate.evaluator import Evaluator

    lengths, gold, predicted = flat_corpus(seed)
    report = score(documents(lengths, gold), documents(lengths, predicted), resamples=2)

    def rows(corpus: list[list[tuple[int, int, str]]]) -> list[list[dict[str, object]]]:
        return [[{"start": s, "end": e - 1, "label": name} for s, e, name in spans] for spans in corpus]

    results = Evaluator(rows(gold), rows(predicted), tags=LABELS, loader="dict").evaluate()
    for label, theirs in [
        ("all", results["overall"]["strict"]),
        *((n, r["strict"]) for n, r in results["entities"].items()),
    ]:
        ours = report.strict.micro if label == "all" else report.strict.per_label.get(label, Score())
        assert (theirs.correct, theirs.actual, theirs.possible) == (ours.tp, ours.predicted, ours.support)
        assert theirs.f1 == pytest.approx(0.0 if ours == Score() else ours.f1, abs=1e-12)


def conlleval(gold: list[str], predicted: list[str]) -> dict[str, Score]:
    """conlleval.pl's counting, from its startOfChunk and endOfChunk."""

    def chunks(marks: list[str]) -> set[tuple[int, int, str]]:
        found, start, before = set(), 0, ("O", "")
        for position, mark in enumerate([*marks, "O"]):
            now = ("O", "") if mark == "O" else (mark[0], mark[2:])
            broken = now[0] in "BO" or now[1] != before[1]
            if before[0] != "O" and broken:
                found.add((start, position, before[1]))
            if now[0] != "O" and (before[0] == "O" or broken):
                start = position
            before = now
        return found

    ours, theirs = chunks(gold), chunks(predicted)
    labels = {chunk[2] for chunk in ours | theirs}
    return {
        label: Score(*(sum(c[2] == label for c in part) for part in (ours & theirs, theirs - ours, ours - theirs)))
        for label in labels
    }


def test_conlleval_counting_of_iob1_by_hand() -> None:
    # three chunks in gold: adjacent ones of one label are told apart by B-, of two labels by the label
    gold = ["I-A", "I-A", "B-A", "I-B", "O"]
    predicted = ["I-A", "I-A", "I-A", "I-B", "O"]
    assert conlleval(gold, predicted) == {"A": Score(0, 1, 2), "B": Score(1, 0, 0)}
    report = score(
        documents([5], [[(0, 2, "A"), (2, 3, "A"), (3, 4, "B")]]), documents([5], [[(0, 3, "A"), (3, 4, "B")]])
    )
    assert dict(report.strict.per_label) == {"A": Score(0, 1, 2), "B": Score(1, 0, 0)}


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9))
def test_conlleval_counting_agrees_on_iob1(seed: int) -> None:
    from seqeval.metrics import f1_score

    rng = random.Random(seed)
    lengths = [rng.randint(1, 20) for _ in range(3)]
    gold = [token_spans(rng, length, "AB", 0.6) for length in lengths]
    predicted = [
        token_spans(rng, length, "AB", 0.6) if rng.random() < 0.5 else g
        for g, length in zip(gold, lengths, strict=True)
    ]
    ours = score(documents(lengths, gold), documents(lengths, predicted), resamples=2).strict
    marks = [[tags(s, n, "IOB1") for s, n in zip(side, lengths, strict=True)] for side in (gold, predicted)]
    joined = [[tag for sentence in side for tag in (*sentence, "O")] for side in marks]
    assert conlleval(*joined) == dict(ours.per_label)
    if ours.present:
        assert f1_score(*marks, zero_division=0) == pytest.approx(ours.micro.f1, abs=1e-12)


def test_no_gold_entity_can_go_unscored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entity, "_describe", lambda *_: SpanCounts(total=7))
    with pytest.raises(Exception, match="gold entities in the data = 7, scored = 1"):
        score([note("1", Span(0, 5, "A"))], [note("1", Span(0, 5, "A"))])


@pytest.mark.parametrize("name", ["strict", "exact", "partial", "type", "overlap"])
def test_every_scorer_of_spans_must_score_them_all(name: str) -> None:
    report = score([note("1", Span(0, 5, "A"))], [note("1", Span(0, 6, "A"))])
    other = score([note("1")], [note("1", Span(0, 6, "A"))])
    with pytest.raises(IntegrityError) as caught:
        replace(report, scorers={**report.scorers, name: other.scorers[name]})
    assert str(caught.value) == (
        "gold entities in the data = 1, scored = 0. Next: report this as a bug; these scores must not be used."
    )


def test_the_interval_costs_no_scorers() -> None:
    counts = count_spans([(note("1", Span(0, 5, "A")), note("1"))])
    report = report_spans(counts, resamples=2)
    assert report.scorers == {} and report.detection is None
    assert list(report.as_dict()) == ["strict", "counts"], "what was not computed is not in metrics.json"
