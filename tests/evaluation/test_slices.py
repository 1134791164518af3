import json
import random
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from clinnlp.core.document import Document, Span
from clinnlp.core.report import Interval, Score
from clinnlp.errors import UsageError
from clinnlp.evaluation.disagreements import find_disagreements
from clinnlp.evaluation.error_report import analyse_spans
from clinnlp.evaluation.pairing import Pair, pair
from clinnlp.evaluation.properties import Reader, Slicing, Surfaces
from clinnlp.evaluation.resample import f1_of
from clinnlp.evaluation.slices import Accuracy, Cell, Slices, slice_notes, slice_spans, worst
from tests.evaluation import planted

TEXT = "x" * 400
QUICK = Slicing(resamples=200)


def sliced(pairs: list[Pair], how: Slicing = QUICK) -> Slices:
    return slice_spans(pairs, find_disagreements(pairs), how)


def one_each(gold: list[Span], predicted: list[Span], text: str = TEXT) -> list[Pair]:
    """A document for each place of the lists, with the spans that stand there."""
    return [
        (Document(str(n), text, tuple(gold[n : n + 1])), Document(str(n), text, tuple(predicted[n : n + 1])))
        for n in range(max(len(gold), len(predicted)))
    ]


def cells(slices: Slices, dimension: str) -> dict[str, Cell]:
    return {cell.name: cell for cell in slices.cells if cell.dimension == dimension}


def test_counted_by_hand() -> None:
    a, b = Span(0, 5, "A"), Span(0, 5, "B")
    pairs = one_each([a] * 20, [a] * 20) + [
        (replace(gold, id=f"b{gold.id}"), replace(predicted, id=f"b{gold.id}"))
        for gold, predicted in [*one_each([b] * 12, [b] * 9), (Document("x", TEXT), Document("x", TEXT, (b,)))]
    ]
    slices = sliced(pairs)
    assert slices.total == Score(29, 1, 3)
    found = cells(slices, "label")
    assert list(found) == ["A", "B"]
    cell = found["B"]
    assert cell.score == Score(tp=9, fp=1, fn=3)
    assert (cell.score.recall, cell.score.precision, cell.size) == (9 / 12, 9 / 10, 13)
    assert cell.ratio == pytest.approx(18 / 22)  # 2tp / (2tp + fp + fn)
    assert cell.difference == pytest.approx(18 / 22 - 1)  # the rest is A, all right
    # overall 4 errors in 2*29 + 4 = 62 gold and predicted spans; B has 22 of them and all 4 errors
    assert cell.excess == pytest.approx(4 - 22 * 4 / 62)
    assert found["A"].excess == pytest.approx(0 - 40 * 4 / 62)
    assert cell.kinds == {
        "missed": 3, "spurious": 1, "boundary": 0, "type": 0, "boundary+type": 0, "split": 0, "merged": 0,
    }  # fmt: skip
    entry = cell.as_dict()
    assert (entry["tp"], entry["fp"], entry["fn"], entry["support"]) == (9, 1, 3, 12)
    assert entry["f1_interval"]["unit"] == "document" and entry["f1_difference_interval"]["level"] == 0.99


def test_small_cells_show_nothing_but_that() -> None:
    spans = [Span(0, 5, "A")] * 40 + [Span(0, 5, "B")] * 20 + [Span(0, 5, "C")] * 11 + [Span(0, 5, "D")] * 10
    found = cells(sliced(one_each(spans, spans)), "label")
    # the total less A, B and C would tell D: the next larger is hidden too
    assert {name for name, cell in found.items() if cell.score is None} == {"C", "D"}
    assert found["D"] == Cell("label", "D")
    assert found["D"].as_dict() == {"suppressed": "n < 11"}
    two = [*spans[:40], *[Span(0, 5, "D")] * 10]
    assert all(cell.score is None for cell in cells(sliced(one_each(two, two)), "label").values())
    hidden = [*spans[:40], *[Span(0, 5, "E")] * 6, *[Span(0, 5, "F")] * 6]  # 12 together: which is which stays hidden
    assert cells(sliced(one_each(hidden, hidden)), "label")["A"].score == Score(tp=40)


def test_a_cell_without_gold_is_shown_by_its_spurious_spans() -> None:
    gold, predicted = [Span(0, 5, "A")] * 30, [Span(0, 5, "A")] * 30 + [Span(9, 12, "B")] * 11
    found = cells(sliced(one_each(gold, predicted)), "label")
    assert found["B"].score == Score(fp=11)
    assert np.isnan(found["B"].score.recall) and found["B"].as_dict()["recall"] is None
    few = cells(sliced(one_each(gold, predicted[:-1])), "label")
    assert few["B"].score is None and few["A"].score is not None


def test_a_spurious_span_belongs_to_its_own_properties() -> None:
    gold, predicted = [Span(0, 5, "A")] * 20, [Span(0, 5, "B")] * 20
    found = cells(sliced(one_each(gold, predicted)), "label")
    assert (found["A"].score, found["B"].score) == (Score(fn=20), Score(fp=20))
    assert found["A"].kinds["type"] == found["B"].kinds["type"] == 20


def test_but_a_wrong_version_of_a_gold_span_has_its_surface_form() -> None:
    text = "chest pain and so on"
    how = replace(QUICK, surfaces=Surfaces.of([Document("t", "Chest  Pain", (Span(0, 11, "A"),))]))
    gold, predicted = [Span(0, 10, "A")] * 15, [Span(0, 5, "A")] * 15
    other = [Span(11, 14, "A")] * 15
    pairs = one_each(gold, predicted, text) + [
        (replace(g, id=f"o{g.id}"), replace(p, id=f"o{p.id}")) for g, p in one_each([], other, text)
    ]
    found = cells(sliced(pairs, how), "surface form")
    assert (found["seen"].score, found["unseen"].score) == (Score(fp=15, fn=15), Score(fp=15))


def test_position_length_and_window() -> None:
    text = {100: "x" * 100, 200: "x" * 200, 400: "x" * 400}
    pairs = [
        (Document(f"{size} {n}", text[size], spans), Document(f"{size} {n}", text[size], spans))
        for size, spans in {
            100: (Span(24, 30, "A"), Span(25, 30, "A")),  # the first and the second quarter
            200: (Span(149, 200, "A"), Span(150, 151, "A")),  # the third, and the tail
            400: (Span(0, 4, "A"), Span(399, 400, "A")),
        }.items()
        for n in range(12)
    ]
    slices = sliced(pairs, replace(QUICK, window=150))
    assert slices.length_cuts == (100, 200, 400)  # of 36 notes, the 9th, 18th and 27th by length, about
    position = {name: cell.score.tp for name, cell in cells(slices, "position").items() if cell.score}
    assert position == {"first quarter": 24, "second quarter": 12, "third quarter": 12, "tail": 24}
    window = {name: cell.score.tp for name, cell in cells(slices, "window").items() if cell.score}
    # 149:200 reaches beyond 150 characters
    assert window == {"note fits the window": 24, "first window of a longer note": 12, "beyond the first window": 36}
    length = {name: cell.score.tp for name, cell in cells(slices, "length").items() if cell.score}
    assert length == {"shortest quarter": 24, "second quarter": 24, "third quarter": 24}
    assert "window" not in {cell.dimension for cell in sliced(pairs).cells}


def test_the_tail_of_the_longest_notes_is_a_slice_of_its_own() -> None:
    texts = ["x" * (100 + n) for n in range(48)]
    pairs = [(d, d) for d in (Document(str(n), t, (Span(len(t) - 1, len(t), "A"),)) for n, t in enumerate(texts))]
    found = cells(sliced(pairs), "position in the longest notes")
    assert {name: cell.score for name, cell in found.items()} == {"tail": Score(tp=12)}


def test_span_length_is_counted_in_units() -> None:
    text = "5mg of cafe\u0301-au-lait ab."
    spans = {"1 unit": (21, 23), "2 units": (0, 3), "3 or more units": (7, 20)}
    pairs = [(d, d) for d in (Document(str(n), text, tuple(Span(*b, "A") for b in spans.values())) for n in range(11))]
    assert {n: c.score for n, c in cells(sliced(pairs), "span length").items()} == dict.fromkeys(spans, Score(tp=11))
    accent = Document("1", text, (Span(7, 12, "A"),))
    more = [*pairs, *[(replace(accent, id=f"a{n}"), replace(accent, id=f"a{n}")) for n in range(11)]]
    assert cells(sliced(more), "span length")["1 unit"].score == Score(tp=22)  # the accent belongs to its letter


def test_forms_are_seen_under_a_label_and_frequent_under_any() -> None:
    training = Document("t", "fever FEVER fever fever fever cough", (
        *(Span(6 * n, 6 * n + 5, "A") for n in range(5)), Span(30, 35, "B"),
    ))  # fmt: skip
    surfaces = Surfaces.of([training])
    text = "Fever cough rash"
    assert surfaces.look_up(text, Span(0, 5, "A")) == (5, 5)
    assert surfaces.look_up(text, Span(0, 5, "B")) == (0, 5)
    assert surfaces.look_up(text, Span(6, 11, "B")) == (1, 1)
    assert surfaces.look_up(text, Span(12, 16, "A")) == (0, 0)
    assert all(isinstance(key, bytes) and b"fever" not in key for key in surfaces.counts)
    spans = (Span(0, 5, "A"), Span(6, 11, "B"), Span(12, 16, "A"))
    pairs = [(d, d) for d in (Document(str(n), text, spans) for n in range(11))]
    slices = sliced(pairs, replace(QUICK, surfaces=surfaces))
    assert {n: c.score.tp for n, c in cells(slices, "surface form").items()} == {"seen": 22, "unseen": 11}
    counts = {n: c.score.tp for n, c in cells(slices, "training count").items()}
    assert counts == {"frequent (5 or more)": 11, "rare (1 to 4)": 11, "never (0)": 11}
    assert not {"surface form", "training count"} & {cell.dimension for cell in sliced(pairs).cells}


def test_pieces_of_a_span_make_its_form() -> None:
    surfaces = Surfaces.of([Document("t", "left ankle", (Span(0, 10, "A"),))])
    text = "left knee and ankle"
    assert surfaces.look_up(text, Span(0, 19, "A", fragments=((0, 4), (14, 19)))) == (1, 1)


def test_rare_sections_and_note_types_become_one() -> None:
    def named(patient: int, name: str, kind: str | None) -> Document:
        text = f"{name}: fever"
        meta = {} if kind is None else {"kind": kind}
        return Document(
            f"{patient} {name}", text, (Span(len(text) - 5, len(text), "A"),), group=str(patient), meta=meta
        )

    notes = [named(n, "PLAN", "x") for n in range(11)] + [named(n, "JOHN DOE", "y") for n in range(10)]
    notes += [replace(named(0, "JOHN DOE", "y"), id=f"again {n}") for n in range(5)]  # one patient, however many notes
    notes += [named(n, "HISTORY", None) for n in range(20, 31)]
    how = replace(planted.how(), surfaces=None, note_type="kind")
    found = cells(sliced([(d, d) for d in notes], how), "section")
    assert {name: cell.score.tp for name, cell in found.items()} == {"HISTORY": 11, "PLAN": 11, "other": 15}
    kinds = cells(sliced([(d, d) for d in notes], how), "note type")
    assert {name: cell.score.tp for name, cell in kinds.items()} == {"(none)": 11, "other": 15, "x": 11}
    assert "note type" not in {cell.dimension for cell in sliced([(d, d) for d in notes], QUICK).cells}


def test_intervals_are_those_of_drawing_groups() -> None:
    gold = planted.notes(60)
    predicted = planted.predict(gold, lambda _, span: span.label == "DRUG" and span.start % 3 == 0)
    cell = cells(sliced(pair(gold, predicted), planted.how(resamples=4000)), "label")["DRUG"]
    sums = np.zeros((30, 2, 3))  # patients; the cell and the rest
    for g, p in zip(gold, predicted, strict=True):
        ours, theirs = ({s.key for s in d.spans} for d in (g, p))
        for column, keys in enumerate((ours & theirs, theirs - ours, ours - theirs)):
            for key in keys:
                sums[int(g.id) // 2, int(key[2] != "DRUG"), column] += 1
    drawn = np.random.default_rng(0).integers(0, 30, (4000, 30))
    f1, rest = f1_of(sums[drawn].sum(axis=1)[:, 0]), f1_of(sums[drawn].sum(axis=1)[:, 1])
    assert cell.interval is not None and cell.difference_interval is not None
    assert (cell.interval.low, cell.interval.high) == pytest.approx(np.quantile(f1, [0.025, 0.975]), abs=0.01)
    expected = np.quantile(f1 - rest, [0.005, 0.995])
    assert (cell.difference_interval.low, cell.difference_interval.high) == pytest.approx(expected, abs=0.02)
    assert (cell.interval.unit, cell.interval.units, cell.worse) == ("group", 30, True)


def test_fewer_than_eleven_groups_have_no_interval() -> None:
    def at(groups: int) -> Cell:
        spans = (Span(0, 5, "A"), Span(9, 12, "B"))
        notes = [Document(str(n), TEXT, spans, group=str(n % groups)) for n in range(40)]
        return cells(sliced([(d, replace(d, spans=spans[:1])) for d in notes]), "label")["B"]

    assert at(10).interval is None and at(10).difference_interval is None and not at(10).worse
    assert at(10).ratio == 0.0 and at(10).difference == -1.0
    assert at(11).interval is not None and at(11).worse


def test_worst_first() -> None:
    def interval(high: float) -> Interval:
        return Interval(-0.5, high, 0.99, 100, "document", 50)

    def cell(name: str, excess: float, high: float, size: int = 50) -> Cell:
        return Cell("x", name, Score(1, 1, 1), 0.5, None, -0.1, interval(high), excess, size)

    slices = Slices(
        (
            cell("large, uncertain", 90.0, 0.1),
            cell("sure", 5.0, -0.1),
            cell("surer", 7.0, -0.2),
            cell("better than the rest", -3.0, 0.2),
            cell("49 spans", 50.0, -0.3, size=49),
            Cell("x", "hidden"),
        ),
        Score(),
        (0, 0, 0),
    )
    assert [c.name for c in worst(slices)] == ["surer", "sure", "large, uncertain"]
    assert [c.name for c in worst(slices, top=1)] == ["surer"]
    assert slices.compared == 5
    assert slices.as_dict()["worst"][0] == {"dimension": "x", "cell": "surer", "worse": True}


def top_of(blind: Callable[[Document, Span], bool], window: int | None = None, count: int = 240) -> Cell:
    gold = planted.notes(count)
    cell = worst(sliced(pair(gold, planted.predict(gold, blind)), planted.how(window=window)))[0]
    assert cell.worse and cell.excess > 0
    return cell


def is_tail(document: Document, span: Span) -> bool:
    return 4 * span.start >= 3 * len(document.text)


@cache
def read_as(reader: Reader, name: str) -> set[tuple[str, int]]:
    """The document and start of the planted spans that a reader calls by this name."""
    found = ((d, reader(d.text, [(s.start, s.end) for s in d.spans])) for d in planted.notes(240))
    return {(d.id, s.start) for d, names in found for s, one in zip(d.spans, names, strict=True) if one == name}


LONG = sorted(len(document.text) for document in planted.notes(240))[120]


@pytest.mark.parametrize(
    ("blind", "dimension", "name"),
    [
        (lambda d, s: is_tail(d, s) and len(d.text) > LONG, "position", "tail"),  # the longer half of the notes
        (is_tail, "position", "tail"),
        (lambda d, s: s.label == "DRUG", "label", "DRUG"),
        (lambda d, s: d.meta["note_type"] == "radiology", "note type", "radiology"),
        (lambda d, s: d.text[s.start : s.end] in planted.UNSEEN, "surface form", "unseen"),
        (lambda d, s: (d.id, s.start) in read_as(planted.polarity, "negated"), "negation", "negated"),
        (lambda d, s: (d.id, s.start) in read_as(planted.section_names, "PLAN"), "section", "PLAN"),
        (lambda d, s: len(d.text) > LONG * 1.2, "length", "longest quarter"),
        (lambda d, s: d.text.count(" ", s.start, s.end) >= 2, "span length", "3 or more units"),
    ],
    ids=["long tail", "tail", "label", "note type", "unseen", "negated", "section", "long", "wide"],
)  # fmt: skip
def test_a_planted_weakness_comes_out_on_top(
    blind: Callable[[Document, Span], bool], dimension: str, name: str
) -> None:
    cell = top_of(blind)
    assert (cell.dimension, cell.name) == (dimension, name)


def test_truncation_comes_out_on_top() -> None:
    cell = top_of(lambda d, s: s.end > 1000, window=1000)
    assert (cell.dimension, cell.name) == ("window", "beyond the first window")


def test_a_weakness_in_the_longest_notes_alone_comes_out_there() -> None:
    longest = sorted(len(document.text) for document in planted.notes(240))[180]
    cell = top_of(lambda d, s: is_tail(d, s) and len(d.text) > longest)
    assert (cell.dimension, cell.name) == ("position in the longest notes", "tail")


def test_errors_above_the_overall_rate_cancel_out_over_a_dimension() -> None:
    gold = planted.notes(80)
    slices = sliced(pair(gold, planted.predict(gold, is_tail)), planted.how(resamples=20))
    for name in ("label", "section", "note type", "length", "position", "surface form", "negation", "span length"):
        found = cells(slices, name).values()
        assert all(cell.score is not None for cell in found)
        assert sum(cell.excess for cell in found) == pytest.approx(0, abs=1e-6)
        assert sum((cell.score for cell in found), start=Score()) == slices.total


def test_order_does_not_matter() -> None:
    gold = planted.notes(30)
    predicted = planted.predict(gold, is_tail)
    rng = random.Random(0)
    mixed = [replace(d, spans=tuple(rng.sample(d.spans, len(d.spans)))) for d in predicted]
    rng.shuffle(mixed)
    shuffled = rng.sample(gold, len(gold))
    assert sliced(pair(shuffled, mixed), planted.how()) == sliced(pair(gold, predicted), planted.how())


def test_nothing_to_slice() -> None:
    empty = Document("1", "")
    assert sliced([]) == Slices((), Score(), (0, 0, 0))
    assert sliced([(empty, empty)]).cells == ()
    assert json.dumps(sliced([(empty, empty)]).as_dict(), allow_nan=False)
    assert slice_notes([], QUICK).total == Accuracy()
    alone = Document("1", TEXT, (Span(0, 5, "A"),))
    assert all(cell.score is None for cell in sliced([(alone, alone)]).cells)


def test_a_window_or_resamples_of_nothing_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        Slicing(window=0)
    assert str(caught.value) == "window = 0 is not a positive number. Next: leave it out, or raise it."
    with pytest.raises(UsageError, match="resamples = -1 is not a positive number"):
        Slicing(resamples=-1)


def labelled(count: int) -> list[Pair]:
    """Notes of label A that are right, and every second note of label B wrong; patients with one, two or six notes."""
    pairs = []
    for number in range(count):
        label = "AB"[number % 2]
        answer = "A" if number % 4 == 1 else label
        size = (1, 2, 6)[number // 12 % 3]
        group = f"{size} {number // size}"
        text = "x" * (10 + number)
        gold = Document(str(number), text, labels=(label,), group=group, meta={"note_type": "uv"[number // 6 % 2]})
        pairs.append((gold, Document(str(number), text, labels=(answer,))))
    return pairs


def test_notes_counted_by_hand() -> None:
    slices = slice_notes(labelled(144), QUICK)
    assert slices.total == Accuracy(correct=108, documents=144)  # of 72 notes with B, 36 are wrong
    label = cells(slices, "label")
    assert (label["A"].score, label["B"].score) == (Accuracy(72, 72), Accuracy(36, 72))
    assert (label["B"].ratio, label["B"].difference) == (0.5, -0.5)
    assert label["B"].excess == pytest.approx(36 - 72 * 36 / 144)
    assert label["B"].worse and worst(slices)[0] == label["B"]
    entry = label["B"].as_dict()
    assert (entry["accuracy"], entry["correct"], entry["documents"]) == (0.5, 36, 72)
    assert "kinds" not in entry and entry["accuracy_interval"]["unit"] == "group"
    size = cells(slices, "group size")
    expected = {"1 note": Accuracy(36, 48), "2 to 4 notes": Accuracy(36, 48), "5 or more notes": Accuracy(36, 48)}
    assert {name: cell.score for name, cell in size.items()} == expected
    assert set(cells(slices, "note type")) == {"u", "v"}
    assert [cell.score.documents for cell in cells(slices, "length").values()] == [36] * 4


def test_a_note_of_several_labels_is_in_each_and_right_as_a_whole() -> None:
    both = [Document(str(n), TEXT, labels=("A", "B")) for n in range(20)]
    one = [Document(f"o{n}", TEXT, labels=("A",)) for n in range(20)]
    pairs = [(d, replace(d, labels=("A",))) for d in (*both, *one)]
    found = cells(slice_notes(pairs, QUICK), "label")
    assert (found["A"].score, found["B"].score) == (Accuracy(20, 40), Accuracy(0, 20))
    assert (found["B"].difference, found["A"].difference_interval) == (-1.0, None)  # all notes have A: there is no rest
    assert found["A"].as_dict()["accuracy_difference"] is None


@pytest.mark.slow
def test_without_a_weakness_about_one_cell_in_two_hundred_is_called_worse() -> None:
    compared = worse = 0
    for seed in range(150):
        gold = planted.notes(80, seed)
        quality = [random.Random(f"{seed} {n}").betavariate(4, 1) for n in range(40)]  # of the patients
        rng = random.Random(seed)
        predicted = planted.predict(gold, lambda d, _: rng.random() > quality[int(d.id) // 2], seed, 1e-9)  # noqa: B023
        found = sliced(pair(gold, predicted), planted.how(resamples=1000))
        ranked = [cell for cell in found.cells if cell.size >= 50 and cell.difference_interval is not None]
        compared += len(ranked)
        worse += sum(cell.worse for cell in ranked)
    assert compared > 2000
    assert 0.001 < worse / compared < 0.01  # 0.0042 measured, 0.005 nominal


@pytest.mark.slow
def test_ten_thousand_notes_take_less_than_twenty_seconds() -> None:
    gold = planted.notes(10_700)
    predicted = planted.predict(gold, is_tail)
    assert sum(len(document.spans) for document in gold) > 199_000
    start = time.process_time()
    report = analyse_spans(gold, predicted, planted.how(resamples=10_000, window=1000), perfect=gold)
    assert time.process_time() - start < 20
    assert report.spans is not None and worst(report.spans)[0].name == "tail"
