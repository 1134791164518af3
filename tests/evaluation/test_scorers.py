"""The scorers that pair spans: counted by hand, against every possible pairing, and against nervaluate."""

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinnlp.core.document import Document, Span
from clinnlp.core.report import Report, Score
from clinnlp.core.scorers import Matches, MatchScores, Scorer
from clinnlp.evaluation import scorers_matching
from clinnlp.evaluation.entity import evaluate_spans
from clinnlp.evaluation.pairing import pair
from clinnlp.evaluation.scorers import NAMES, score_spans
from tests.evaluation.flat import LABELS, TokenSpan, disturb, documents, flat_corpus, read_iob2
from tests.evaluation.oracles import nervaluate, nervaluate_differences

SEMEVAL = ("strict", "exact", "partial", "type")
PAIRING = (*SEMEVAL, "overlap")
TEXT = "ab cd ef gh " * 10


def note(*spans: Span, name: str = "1") -> Document:
    return Document(name, TEXT, spans)


def score(gold: Sequence[Span], predicted: Sequence[Span], labels: Sequence[str] | None = None) -> dict[str, Scorer]:
    return score_spans([(note(*gold), note(*predicted))], labels)


def counts(scorer: Scorer) -> tuple[int, ...]:
    """COR, INC, PAR, MIS, SPU of all spans."""
    assert isinstance(scorer, MatchScores)
    micro = scorer.micro
    return (micro.correct, micro.incorrect, micro.partial, micro.missed, micro.spurious)


def test_counted_by_hand() -> None:
    gold = [Span(0, 10, "A"), Span(20, 30, "B"), Span(40, 50, "A")]
    predicted = [Span(0, 10, "A"), Span(20, 30, "A"), Span(45, 55, "A"), Span(60, 70, "C")]
    found = score(gold, predicted)
    assert tuple(found) == NAMES
    assert counts(found["strict"]) == (1, 2, 0, 0, 1)  # the label of the second and the bounds of the third are wrong
    assert counts(found["exact"]) == (2, 1, 0, 0, 1)
    assert counts(found["partial"]) == (2, 0, 1, 0, 1)
    assert counts(found["type"]) == (2, 1, 0, 0, 1)
    assert found["overlap"].micro == Score(2, 2, 1)
    partial = found["partial"].micro
    assert (partial.precision, partial.recall) == (2.5 / 4, 2.5 / 3)
    assert partial.f1 == pytest.approx(2 * 2.5 / (4 + 3))
    # a label alone: of the gold A, one equal and one near; the predicted A at 20:30 has no A to go with
    assert found["partial"].per_label["A"] == Matches(correct=1, partial=1, spurious=1)
    assert found["strict"].per_label["A"] == found["exact"].per_label["A"] == Matches(1, incorrect=1, spurious=1)
    assert found["type"].per_label == {"A": Matches(2, spurious=1), "B": Matches(missed=1), "C": Matches(spurious=1)}
    assert found["overlap"].per_label == {"A": Score(2, 1, 0), "B": Score(0, 0, 1), "C": Score(0, 1, 0)}


def test_touching_spans_do_not_overlap() -> None:
    assert counts(score([Span(0, 5, "A")], [Span(5, 9, "A")])["partial"]) == (0, 0, 0, 1, 1)
    assert counts(score([Span(0, 5, "A")], [Span(4, 9, "A")])["partial"]) == (0, 0, 1, 0, 0)


def test_a_span_has_one_partner_at_most() -> None:
    found = score([Span(0, 30, "A")], [Span(0, 5, "A"), Span(10, 15, "A"), Span(20, 40, "A")])
    assert counts(found["partial"]) == (0, 0, 1, 0, 2)
    assert found["overlap"].micro == Score(1, 2, 0)


def test_all_partners_are_found_where_the_first_come_would_block() -> None:
    # 4:21 could take either gold span; only 0:5 is left for the other prediction
    found = score([Span(0, 5, "A"), Span(20, 30, "A")], [Span(4, 21, "A"), Span(2, 3, "A")])
    assert found["overlap"].micro == Score(2, 0, 0)


def test_equal_spans_are_paired_before_all_others() -> None:
    # crossed, both pairs would overlap; but 0:10 equals 0:10
    found = score([Span(0, 10, "A"), Span(8, 12, "A")], [Span(0, 10, "A"), Span(1, 3, "A")])
    assert counts(found["partial"]) == (1, 0, 0, 1, 1)
    assert found["overlap"].micro == Score(1, 1, 1)


def test_a_right_label_is_worth_more_than_two_wrong_ones() -> None:
    # 0:10 B with 5:12, and 5:12 with 11:20: taking the right label first leaves one gold and one prediction alone
    gold, predicted = [Span(0, 10, "B"), Span(11, 20, "A")], [Span(9, 12, "A")]
    assert counts(score(gold, predicted)["type"]) == (1, 0, 0, 1, 0)
    # one of each: 9:12 goes with the B before it so that 15:16 can have the A
    assert counts(score(gold, [*predicted, Span(15, 16, "A")])["type"]) == (1, 1, 0, 0, 0)


def test_discontinuous_spans_overlap_in_their_pieces_only() -> None:
    pieces = Span(0, 20, "A", fragments=((0, 3), (17, 20)))
    found = score([pieces], [Span(5, 10, "A")])
    assert counts(found["partial"]) == (0, 0, 0, 1, 1)
    assert counts(score([pieces], [Span(0, 20, "A")])["partial"]) == (0, 0, 1, 0, 0)  # other fragments: not equal
    assert counts(score([pieces], [pieces])["strict"]) == (1, 0, 0, 0, 0)
    twice = Span(1, 19, "A", fragments=((1, 2), (18, 19)))  # meets both pieces and counts once
    assert counts(score([pieces], [twice])["partial"]) == (0, 0, 1, 0, 0)


def test_copies_need_copies() -> None:
    one, other = Span(0, 5, "A"), Span(0, 5, "B")
    found = score([one, one], [one, other, other])
    assert counts(found["strict"]) == (1, 1, 0, 0, 1)
    assert counts(found["exact"]) == (2, 0, 0, 0, 1)
    assert found["overlap"].micro == Score(1, 2, 1)


def test_spans_of_other_documents_never_meet() -> None:
    gold, predicted = (
        [note(Span(0, 120, "A"), name="1"), note(name="2")],
        [note(name="1"), note(Span(0, 9, "A"), name="2")],
    )
    assert counts(score_spans(pair(gold, predicted))["partial"]) == (0, 0, 0, 1, 1)


def test_nothing_over_nothing_is_undefined_and_declared_labels_are_listed() -> None:
    found = score([], [], labels=["A"])
    for name in NAMES:
        micro = found[name].micro
        assert str((micro.precision, micro.recall, micro.f1)) == "(nan, nan, nan)", name
        assert list(found[name].per_label) == ["A"]
    assert score_spans([])["partial"].micro == Matches()
    assert score([Span(0, 1, "A")], [])["partial"].micro.f1 == 0.0
    assert score([], [Span(0, 1, "A")])["partial"].micro.f1 == 0.0


# --- against every possible pairing


@st.composite
def spans(draw: st.DrawFn, count: int = 5, width: int = 12) -> list[Span]:
    found = []
    for _ in range(draw(st.integers(0, count))):
        start = draw(st.integers(0, width - 1))
        end = draw(st.integers(start + 1, width))
        pieces: tuple[tuple[int, int], ...] = ()
        if end - start > 3 and draw(st.integers(0, 4)) == 0:
            pieces = ((start, start + 1), (end - 1, end))
        found.append(Span(start, end, draw(st.sampled_from("AB")), fragments=pieces))
    return found


def characters(span: Span) -> set[int]:
    return {c for start, end in span.fragments or ((span.start, span.end),) for c in range(start, end)}


def every_pairing(gold: list[Span], predicted: list[Span]) -> list[list[tuple[Span, Span]]]:
    if not gold:
        return [[]]
    found = every_pairing(gold[1:], predicted)
    for index, span in enumerate(predicted):
        if characters(span) & characters(gold[0]):
            rest = every_pairing(gold[1:], predicted[:index] + predicted[index + 1 :])
            found = found + [[(gold[0], span), *pairs] for pairs in rest]
    return found


def by_hand(name: str, gold: list[Span], predicted: list[Span]) -> tuple[int, int, int]:
    """Correct, other and all pairs of the best of all pairings, after equal spans were paired."""

    def key(span: Span) -> Any:
        return (span.start, span.end, span.fragments, span.label if name in ("strict", "type", "overlap") else "")

    equal = Counter(map(key, gold)) & Counter(map(key, predicted))
    rest = []
    for side in (gold, predicted):
        left, rest_of_side = Counter(equal), []
        for span in side:
            if left[key(span)]:
                left[key(span)] -= 1
            else:
                rest_of_side.append(span)
        rest.append(rest_of_side)
    best = (0, 0)
    for pairs in every_pairing(*rest):
        alike = sum(one.label == other.label for one, other in pairs)
        if name == "overlap" and alike < len(pairs):
            continue
        good = alike if name in ("type", "overlap") else 0
        best = max(best, (good, len(pairs)))
    correct = sum(equal.values()) + best[0]
    return correct, best[1] - best[0], sum(equal.values()) + best[1]


def assert_best(found: dict[str, Scorer], gold: list[Span], predicted: list[Span]) -> None:
    for name in SEMEVAL:
        correct, others, pairs = by_hand(name, gold, predicted)
        incorrect, partial = (0, others) if name == "partial" else (others, 0)
        expected = Matches(correct, incorrect, partial, len(gold) - pairs, len(predicted) - pairs)
        assert found[name].micro == expected, name
        for label, row in found[name].per_label.items():
            ours, theirs = ([s for s in side if s.label == label] for side in (gold, predicted))
            correct, others, pairs = by_hand(name, ours, theirs)
            incorrect, partial = (0, others) if name == "partial" else (others, 0)
            assert row == Matches(correct, incorrect, partial, len(ours) - pairs, len(theirs) - pairs), (name, label)
    correct, _, _ = by_hand("overlap", gold, predicted)
    assert found["overlap"].micro == Score(correct, len(predicted) - correct, len(gold) - correct)


@settings(max_examples=150, deadline=None)
@given(spans(), spans())
def test_best_of_every_possible_pairing(gold: list[Span], predicted: list[Span]) -> None:
    assert_best(score(gold, predicted), gold, predicted)


@settings(max_examples=60, deadline=None)
@given(spans(), spans())
def test_large_knots_are_solved_alike(gold: list[Span], predicted: list[Span]) -> None:
    dense = scorers_matching.DENSE_CELLS
    scorers_matching.DENSE_CELLS = 0
    try:
        assert_best(score(gold, predicted), gold, predicted)
    finally:
        scorers_matching.DENSE_CELLS = dense


def test_a_knot_of_thousands_of_spans() -> None:
    # tiles of both sides overlap like bricks: g0 p0 g1 p1 ...; every gold span has the tile that begins in it
    tiles = 3000
    document = "x" * (10 * tiles + 10)
    gold = Document("1", document, tuple(Span(10 * n, 10 * n + 10, "AB"[n % 2]) for n in range(tiles)))
    predicted = Document("1", document, tuple(Span(10 * n + 5, 10 * n + 15, "AB"[n % 2]) for n in range(tiles)))
    found = score_spans([(gold, predicted)])
    assert counts(found["partial"]) == (0, 0, tiles, 0, 0)
    assert counts(found["type"]) == (tiles, 0, 0, 0, 0)
    shifted = Document("1", document, tuple(Span(s.start, s.end, "BA"[s.label == "B"]) for s in predicted.spans))
    # now each tile has the label of the gold span after it: the last has none, and so has the first gold span
    assert counts(score_spans([(gold, shifted)])["type"]) == (tiles - 1, 0, 0, 1, 1)


# --- what holds for all data

corpora = st.lists(st.tuples(spans(), spans()), min_size=1, max_size=4)


def both(corpus: list[tuple[list[Span], list[Span]]]) -> tuple[list[Document], list[Document]]:
    golds = [note(*gold, name=str(number)) for number, (gold, _) in enumerate(corpus)]
    return golds, [note(*predicted, name=str(number)) for number, (_, predicted) in enumerate(corpus)]


@settings(max_examples=60, deadline=None)
@given(corpora, st.randoms(use_true_random=False))
def test_order_does_not_matter(corpus: list[tuple[list[Span], list[Span]]], rng: random.Random) -> None:
    golds, predictions = both(corpus)
    report = evaluate_spans(golds, predictions, resamples=2)
    mixed = [Document(d.id, d.text, tuple(rng.sample(d.spans, len(d.spans)))) for d in predictions]
    shuffled = [Document(d.id, d.text, tuple(rng.sample(d.spans, len(d.spans)))) for d in golds]
    rng.shuffle(mixed)
    rng.shuffle(shuffled)
    again = evaluate_spans(shuffled, mixed, resamples=2)
    assert again.scorers == report.scorers
    assert again.strict.per_label == report.strict.per_label


@settings(max_examples=60, deadline=None)
@given(corpora)
def test_swapping_the_sides_swaps_precision_and_recall(corpus: list[tuple[list[Span], list[Span]]]) -> None:
    golds, predictions = both(corpus)
    ours, theirs = score_spans(pair(golds, predictions)), score_spans(pair(predictions, golds))
    for name in NAMES:
        for one, other in [
            (ours[name].micro, theirs[name].micro),
            *((ours[name].per_label[label], theirs[name].per_label[label]) for label in ours[name].per_label),
        ]:
            assert repr((one.precision, one.recall, one.f1)) == repr((other.recall, other.precision, other.f1)), name
            if isinstance(one, Matches) and isinstance(other, Matches):
                assert (one.missed, one.spurious) == (other.spurious, other.missed)
                assert (one.correct, one.incorrect, one.partial) == (other.correct, other.incorrect, other.partial)


@settings(max_examples=60, deadline=None)
@given(corpora)
def test_all_spans_are_scored_and_lenience_never_costs(corpus: list[tuple[list[Span], list[Span]]]) -> None:
    golds, predictions = both(corpus)
    report = evaluate_spans(golds, predictions, resamples=2)
    found = report.scorers
    total = (sum(len(gold) for gold, _ in corpus), sum(len(predicted) for _, predicted in corpus))
    for name in PAIRING:
        assert found[name].spans == total, name
    assert found["token"].spans is found["character"].spans is found["lenient"].spans is None
    assert found["strict"].micro.correct == report.strict.micro.tp
    assert repr(found["strict"].micro.f1) == repr(report.strict.micro.f1)
    assert found["type"].micro.correct == found["overlap"].micro.tp
    if any(total):
        f1 = {name: found[name].micro.f1 for name in NAMES}
        assert f1["strict"] <= f1["exact"] <= f1["partial"]
        assert f1["strict"] <= f1["overlap"] == pytest.approx(f1["type"], abs=1e-15)


@settings(max_examples=50, deadline=None)
@given(corpora)
def test_gold_against_itself_is_perfect(corpus: list[tuple[list[Span], list[Span]]]) -> None:
    golds, _ = both(corpus)
    for name, scorer in score_spans(pair(golds, golds)).items():
        micro = scorer.micro
        # blanks alone hold no unit
        assert micro.f1 == 1.0 or (not any(d.spans for d in golds)) or name in ("token", "lenient"), name


# --- in the report


def test_metrics_json_of_the_scorers_is_stable() -> None:
    gold = [note(Span(0, 2, "A"), Span(3, 8, "A"))]
    predicted = [note(Span(0, 2, "A", 0.9), Span(3, 5, "A", 0.8), Span(9, 11, "B", 0.7))]
    report = evaluate_spans(gold, predicted)
    entity = json.loads(json.dumps(Report(entity=report).as_dict(), allow_nan=False))["entity"]
    assert list(entity) == ["strict", "counts", "scorers", "average_precision", "recall_at_precision"]
    assert tuple(entity["scorers"]) == NAMES
    # 2 of 3 right in whole or half: (1 + 0.5) / 3 and 1.5 / 2
    assert entity["scorers"]["partial"]["micro"] == {
        "precision": 0.5,
        "recall": 0.75,
        "f1": 0.6,
        "correct": 1,
        "incorrect": 0,
        "partial": 1,
        "missed": 0,
        "spurious": 1,
        "possible": 2,
        "actual": 3,
    }
    assert [scorer["unit"] for scorer in entity["scorers"].values()] == ["span"] * 5 + ["token", "character", "chunk"]
    # characters: gold 2 + 5 of A, found 2 + 2 of them, 2 of B besides; tokens: gold 3, found 2, 1 of B
    assert entity["scorers"]["character"]["micro"] == {
        "precision": 4 / 6,
        "recall": 4 / 7,
        "f1": pytest.approx(8 / 13),
        "tp": 4,
        "fp": 2,
        "fn": 3,
        "support": 7,
        "character_iou": 4 / 9,
        "character_dice": pytest.approx(8 / 13),
    }
    assert entity["scorers"]["token"]["per_label"]["A"]["token_iou"] == 2 / 3
    assert entity["scorers"]["token"]["per_label"]["B"]["token_dice"] == 0.0
    assert set(entity["scorers"]["overlap"]["micro"]) == {"precision", "recall", "f1", "tp", "fp", "fn", "support"}
    # 0.9 is right, 0.8 is not: 1 / 2 * 1
    assert entity["average_precision"] == {"micro": 0.5, "macro": 0.5, "per_label": {"A": 0.5, "B": None}}
    point = {"target": 0.9, "recall": 0.5, "precision": 1.0, "threshold": 0.9}
    assert entity["recall_at_precision"] == {"0.90": point, "0.95": point | {"target": 0.95}}


# --- parity with nervaluate


def assert_nervaluates(name: str, ours: Any, theirs: Any) -> None:
    assert max(nervaluate_differences(ours, theirs)) <= 1e-12, name


def compare(lengths: list[int], gold: list[list[TokenSpan]], predicted: list[list[TokenSpan]], names: Any) -> None:
    labels = sorted({label for side in (gold, predicted) for spans in side for _, _, label in spans})
    found = score_spans(pair(documents(lengths, gold), documents(lengths, predicted)))
    results = nervaluate(gold, predicted, labels)
    for name in names:
        theirs = "ent_type" if name == "type" else name
        assert_nervaluates(name, found[name].micro, results["overall"][theirs])
        for label in labels:
            assert_nervaluates(name, found[name].per_label[label], results["entities"][label][theirs])


def simple(gold: list[TokenSpan], predicted: list[TokenSpan]) -> bool:
    """No span overlaps two of the other side: where nervaluate's choice of a partner for `type` is none."""
    meets = [(g, p) for g in gold for p in predicted if g[0] < p[1] and p[0] < g[1]]
    return (
        max(Counter(g for g, _ in meets).values(), default=0)
        < 2
        > max(Counter(p for _, p in meets).values(), default=0)
    )


def test_nervaluate_agrees_on_200_flat_corpora() -> None:
    without_choice = 0
    for seed in range(200):
        lengths, gold, predicted = flat_corpus(seed)
        compare(lengths, gold, predicted, ("strict", "exact", "partial"))
        kept = [n for n in range(len(lengths)) if simple(gold[n], predicted[n])]
        if kept:
            compare(*([side[n] for n in kept] for side in (lengths, gold, predicted)), SEMEVAL)
            without_choice += len(kept)
    assert without_choice > 600


@pytest.mark.parametrize(
    "path",
    [
        "mtl_bio/NCBI-disease-IOB/test.tsv",
        "mtl_bio/BC5CDR-IOB/test.tsv",
        "epi4gard/EpiCustomV3/test.tsv",
        "general_wnut17/emerging.test.annotated",
    ],
)
def test_nervaluate_agrees_on_a_real_corpus(shared: Path, path: str) -> None:
    if not (shared / "data" / path).is_file():
        pytest.skip(f"shared/data/{path} is not beside this checkout")
    lengths, gold = read_iob2(shared / "data" / path)
    lengths, gold = lengths[:1000], gold[:1000]
    rng = random.Random(1)
    labels = sorted({label for spans in gold for _, _, label in spans})
    predicted = [disturb(rng, spans, [*labels, "Other"]) for spans in gold]
    compare(lengths, gold, predicted, SEMEVAL)
    assert sum(map(len, gold)) > 200


def test_difference_nervaluate_gives_a_span_away_that_another_needs() -> None:
    # type: the first A takes the gold A, the second finds it taken; the gold B goes without
    gold, predicted = [(0, 4, "B"), (4, 7, "A")], [(2, 5, "A"), (5, 7, "A")]
    theirs = nervaluate([gold], [predicted], "AB")["overall"]["ent_type"]
    assert (theirs.correct, theirs.incorrect, theirs.missed, theirs.spurious) == (1, 0, 1, 1)
    assert counts(score_spans(pair(documents([7], [gold]), documents([7], [predicted])))["type"]) == (1, 1, 0, 0, 0)


def test_difference_nervaluate_depends_on_the_order_of_predictions() -> None:
    # type: a wrong and a right label over one gold span; whichever comes first takes it
    gold, predicted = [(0, 6, "A")], [(0, 2, "B"), (3, 5, "A")]
    theirs = nervaluate([gold], [predicted], "AB")["overall"]["ent_type"]
    turned = nervaluate([gold], [predicted[::-1]], "AB")["overall"]["ent_type"]
    assert (theirs.correct, theirs.incorrect, theirs.spurious) == (0, 1, 1)
    assert (turned.correct, turned.incorrect, turned.spurious) == (1, 0, 1)
    for said in (predicted, predicted[::-1]):
        assert counts(score_spans(pair(documents([7], [gold]), documents([7], [said])))["type"]) == (1, 0, 0, 0, 1)


def test_difference_nervaluate_lets_a_part_take_the_span_that_another_equals() -> None:
    # partial, nested predictions: 0:2 comes first and takes 0:6, which 0:6 equals
    gold, predicted = [(0, 6, "A")], [(0, 2, "A"), (0, 6, "A")]
    theirs = nervaluate([gold], [predicted], "A")["overall"]["partial"]
    assert (theirs.correct, theirs.partial, theirs.spurious) == (0, 1, 1)
    assert counts(score_spans(pair(documents([7], [gold]), documents([7], [predicted])))["partial"]) == (1, 0, 0, 0, 1)


def test_difference_nervaluate_wants_one_percent_of_the_gold_span() -> None:
    gold, predicted = [(0, 150, "A")], [(0, 1, "A")]  # 1 of 150 tokens
    theirs = nervaluate([gold], [predicted], "A")["overall"]["partial"]
    assert (theirs.partial, theirs.missed, theirs.spurious) == (0, 1, 1)
    ours = score_spans(pair(documents([150], [gold]), documents([150], [predicted])))
    assert counts(ours["partial"]) == (0, 0, 1, 0, 0)


def test_difference_nervaluate_has_no_fragments() -> None:
    theirs = nervaluate([[(0, 5, "A")]], [[(0, 5, "A")]], "A")["overall"][
        "strict"
    ]  # the outer bounds are all it is given
    assert theirs.correct == 1
    pieces = Span(0, 14, "A", fragments=((0, 2), (12, 14)))
    assert counts(score([pieces], [Span(0, 14, "A")])["strict"]) == (0, 1, 0, 0, 0)


def test_difference_nervaluate_calls_nothing_over_nothing_zero() -> None:
    assert nervaluate([[]], [[]], LABELS)["overall"]["partial"].f1 == 0
    assert str(score([], [])["partial"].micro.f1) == "nan"
