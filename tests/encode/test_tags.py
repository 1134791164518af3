"""Spans become tags and come back exactly, or are counted with the reason; decoding is legal and best."""

import itertools
import random
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from clinnlp.core.document import Document, Span
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.tags import (
    Alignment,
    carried,
    confidence,
    decode_many,
    forgotten,
    spans_to_tags,
    tags_to_spans,
    viterbi,
)
from clinnlp.encode.tokens import NoteTokenizer, unit_ranges, units
from clinnlp.errors import DataError, IntegrityError
from tests.encode.nasty import KINDS, NASTY, PIECES

SCHEMA = LabelSchema(("DOSE", "DRUG", "X"))
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="session", params=KINDS)
def tokenizer(request, tiny) -> NoteTokenizer:
    return NoteTokenizer.load(tiny(request.param))


@pytest.fixture(scope="session")
def wordpiece(tiny) -> NoteTokenizer:
    return NoteTokenizer.load(tiny("wordpiece"))


def there_and_back(tokenizer, text, spans):
    tokens = tokenizer.encode(text)
    marked = units(text, tokens)
    tags, alignment = spans_to_tags(Document("1", text, tuple(spans)), tokens, marked, SCHEMA)
    return tags, alignment, tags_to_spans(text, tokens, marked, tags, SCHEMA), marked


@st.composite
def notes(draw):
    text = draw(NASTY.filter(bool))
    spans = []
    for _ in range(draw(st.integers(0, 5))):
        start = draw(st.integers(0, len(text) - 1))
        end = draw(st.integers(start + 1, len(text)))
        spans.append(Span(start, end, draw(st.sampled_from(SCHEMA.labels))))
    return text, spans


@quick
@given(note=notes())
def test_every_span_comes_back_or_is_counted(tokenizer, note):
    text, spans = note
    tags, alignment, found, marked = there_and_back(tokenizer, text, spans)
    assert tags.dtype == np.int16 and ((tags == -100) == ~marked).all()
    assert alignment.total == len(spans) == alignment.exact + alignment.snapped + alignment.unrepresentable
    assert len(found) == alignment.exact + alignment.snapped
    gold = {(*trim(text, span), span.label) for span in spans}
    exact = [span for span in found if (span.start, span.end, span.label) in gold]
    assert len(exact) >= alignment.exact
    for span in found:
        assert text[span.start : span.end] == text[span.start : span.end].strip() != ""
        assert any(a < span.end and span.start < b and span.label == label for a, b, label in gold)
    for before, after in itertools.pairwise(found):
        assert before.end <= after.start


@quick
@given(note=notes())
def test_spans_on_unit_borders_come_back_exactly(tokenizer, note):
    text, _ = note
    tokens = tokenizer.encode(text)
    ranges = unit_ranges(text, tokens, units(text, tokens)).tolist()
    gold = [Span(a, b, SCHEMA.labels[i % 3]) for i, (a, b) in enumerate(ranges) if i % 4]
    _, alignment, found, _ = there_and_back(tokenizer, text, gold)
    assert found == tuple(gold) and alignment.exact == alignment.total == len(gold)


@pytest.mark.parametrize("count", [500, pytest.param(5000, marks=pytest.mark.slow)])
def test_odd_strings_keep_their_spans_under_every_tokenizer(tokenizer, count):
    draw = random.Random(0)
    texts = ["".join(draw.choices((*PIECES, " ", " "), k=draw.randint(1, 14))) for _ in range(count)]
    total = Alignment()
    for text in texts:
        spans = []
        for _ in range(3):
            start = draw.randrange(len(text))
            spans.append(Span(start, draw.randint(start + 1, len(text)), draw.choice(SCHEMA.labels)))
        _, alignment, found, _ = there_and_back(tokenizer, text, spans)
        assert len(found) == alignment.exact + alignment.snapped
        assert alignment.total == len(spans) == len(found) + alignment.unrepresentable, "none is lost uncounted"
        _, again, kept, _ = there_and_back(tokenizer, text, found)
        assert kept == found and again.exact == len(found), "what a tokenizer can hold comes back as it was"
        total += alignment
    assert total.total == 3 * count and min(total.exact, total.snapped, total.unrepresentable) > count / 10


def trim(text, span):
    piece = text[span.start : span.end]
    return (span.end - len(piece.lstrip()), span.start + len(piece.rstrip()))


def test_hand_counted_ledger(tokenizer):
    text = "aspirin 81 mg daily and metformin"
    spans = [
        Span(0, 7, "DRUG"),
        Span(7, 14, "DOSE"),  # " 81 mg ": whitespace at the borders does not count
        Span(11, 13, "X"),  # nested
        Span(11, 19, "DRUG"),  # crossing, and longer
        Span(0, 7, "DRUG"),  # twice
        Span(25, 30, "DRUG"),  # cuts metformin
        Span(0, 33, "X", fragments=((0, 7), (24, 33))),
        Span(19, 20, "X"),  # a space
    ]
    _, alignment, found, _ = there_and_back(tokenizer, text, spans)
    assert [(s.start, s.end, s.label) for s in found] == [(0, 7, "DRUG"), (11, 19, "DRUG"), (24, 33, "DRUG")]
    assert alignment.as_dict() == {
        "DOSE": {"exact": 0, "snapped": 0, "unrepresentable": {"overlapping": 1}, "total": 1},
        "DRUG": {"exact": 2, "snapped": 1, "unrepresentable": {"overlapping": 1}, "total": 4},
        "X": {
            "exact": 0,
            "snapped": 0,
            "unrepresentable": {"nested": 1, "discontinuous": 1, "untokenizable": 1},
            "total": 3,
        },
    }
    assert (alignment + alignment).total == 16 and (Alignment() + alignment) == alignment
    assert alignment.table().splitlines() == [
        "label  exact  snapped  unrepresentable  total",
        "DOSE       0        0                1      1  1 overlapping",
        "DRUG       2        1                1      4  1 overlapping",
        "X          0        0                3      3  1 nested, 1 discontinuous, 1 untokenizable",
        "all        2        1                5      8",
    ]


def test_ties_go_to_the_earlier_span_then_to_the_schema(wordpiece):
    _, _, found, _ = there_and_back(wordpiece, "chest pain cough", [Span(6, 16, "X"), Span(0, 10, "X")])
    assert [(s.start, s.end) for s in found] == [(0, 10)]
    _, _, found, _ = there_and_back(wordpiece, "chest", [Span(0, 5, "X"), Span(0, 5, "DOSE")])
    assert [s.label for s in found] == ["DOSE"]


def test_spans_inside_units_grow_and_neighbours_stay_apart(tokenizer):
    text = "a 5mg - cafe\u0301 fever"
    spans = [Span(2, 3, "DOSE"), Span(3, 5, "DOSE"), Span(8, 12, "DRUG"), Span(14, 19, "DRUG")]
    _, alignment, found, _ = there_and_back(tokenizer, text, spans)
    assert [(s.start, s.end) for s in found] == [(2, 3), (3, 5), (8, 13), (14, 19)]
    assert (alignment.exact, alignment.snapped) == (3, 1)


def test_a_label_outside_the_schema_is_refused(wordpiece):
    with pytest.raises(DataError, match="label 'Y' is unknown; the labels are DOSE, DRUG, X"):
        there_and_back(wordpiece, "fever", [Span(0, 5, "Y")])


def test_spans_carry_the_mean_score_of_their_units(wordpiece):
    text = "chest pain cough"
    tokens = wordpiece.encode(text)
    marked = units(text, tokens)
    for tags, scores in (([3, 4, 1], [0.5, 1.0, 0.25]), (spread([3, 4, 1], marked), spread([0.5, 1.0, 0.25], marked))):
        found = tags_to_spans(text, tokens, marked, tags, SCHEMA, scores)
        assert [(s.start, s.end, s.label, s.score) for s in found] == [(0, 10, "DRUG", 0.75), (11, 16, "DOSE", 0.25)]
    stray = tags_to_spans(text, tokens, marked, [4, 2, 0], SCHEMA)
    assert [(s.start, s.end, s.label) for s in stray] == [(0, 5, "DRUG"), (6, 10, "DOSE")]
    with pytest.raises(IntegrityError, match="tags or scores for 3 units"):
        tags_to_spans(text, tokens, marked, [0] * 99, SCHEMA)


def spread(values, marked):
    wide = np.full(len(marked), -100.0)
    wide[marked] = values
    return wide.astype(int) if all(float(v).is_integer() for v in values) else wide


def legal(tags, schema):
    return all(schema.may_follow(int(tag), None if i == 0 else int(tags[i - 1])) for i, tag in enumerate(tags))


def total(logits, tags):
    return logits[np.arange(len(tags)), np.asarray(tags, int)].sum()


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_viterbi_is_legal_and_best(data):
    schema = LabelSchema(("A", "B")[: data.draw(st.integers(1, 2))])
    shape = (data.draw(st.integers(0, 5)), schema.tag_count)
    logits = data.draw(arrays.arrays(np.float32, shape, elements=st.integers(-4, 4).map(float)))
    tags = viterbi(logits, schema)
    paths = [p for p in itertools.product(range(schema.tag_count), repeat=len(logits)) if legal(p, schema)]
    assert legal(tags, schema) and tags.dtype == np.int16
    assert total(logits, tags) == max(total(logits, p) for p in paths)
    if len(logits) and legal(logits.argmax(axis=1), schema):
        assert tags.tolist() == logits.argmax(axis=1).tolist()


def test_many_sequences_decode_as_one_by_one(monkeypatch):
    monkeypatch.setattr("clinnlp.encode.tags.BATCH_CELLS", 400)
    random = np.random.default_rng(0)
    logits = [random.normal(size=(n, 7)).astype(np.float32) for n in (0, 1, 30, 7, 7, 0, 90, 2, 55)]
    for one, tags in zip(logits, decode_many(logits, SCHEMA), strict=True):
        assert tags.tolist() == viterbi(one, SCHEMA).tolist() and legal(tags, SCHEMA)
    assert decode_many([], SCHEMA) == []
    assert viterbi(np.zeros((3, 1)), LabelSchema(())).tolist() == [0, 0, 0]


def test_minus_infinity_forbids_a_tag():
    logits = np.zeros((3, 7))
    logits[:, 0] = -np.inf
    logits[:, 2] = 5
    assert viterbi(logits, SCHEMA).tolist() == [1, 2, 2]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(bad):
    logits = np.zeros((4, 7))
    logits[2, 3] = bad
    with pytest.raises(IntegrityError, match="NaN logits"):
        decode_many([np.zeros((2, 7)), logits], SCHEMA)
    with pytest.raises(IntegrityError, match=r"logits of shape \(2, 5\) do not fit the schema's 7 tags"):
        viterbi(np.zeros((2, 5)), SCHEMA)


def test_confidence_is_the_softmax_of_the_chosen_tag():
    logits = np.log(np.array([[0.2, 0.3, 0.5], [0.9, 0.05, 0.05]])) + 700
    assert confidence(logits, [2, 0]) == pytest.approx([0.5, 0.9])
    assert confidence(np.zeros((0, 3)), []).shape == (0,)


def test_a_long_note_decodes_in_about_a_second():
    logits = np.random.default_rng(0).normal(size=(100_000, 21)).astype(np.float32)
    began = time.perf_counter()
    tags = viterbi(logits, LabelSchema.of("abcdefghij"))
    assert time.perf_counter() - began < 8  # 0.5 s alone; the machine is shared
    assert legal(tags, LabelSchema.of("abcdefghij"))


def test_carried_hand_counted():
    """Begin, two continuations, inside, one continuation, outside with one, a new label begun and continued."""
    tags = np.array([-100, 1, -100, -100, 2, -100, 0, -100, 3, -100], dtype=np.int16)
    assert carried(tags).tolist() == [-100, 1, 2, 2, 2, 2, 0, 0, 3, 4]
    assert carried(tags[:0]).tolist() == []


def test_forgotten_hand_counted(wordpiece):
    """Of `fever and cough` the stretch over a part of `and` and of `cough` takes both away, and nothing before."""
    document = Document("1", "fever and cough", (Span(0, 5, "X"), Span(10, 15, "X")))
    tokens = wordpiece.encode(document.text)
    tags, _ = spans_to_tags(document, tokens, units(document.text, tokens), SCHEMA)
    told = replace(document, meta={"untold": [[8, 11]]})
    kept = forgotten(tags, tokens, told)
    inside = tokens.offsets[:, 1] > 6
    assert (kept[inside] == -100).all()
    assert (kept[~inside] == tags[~inside]).all()
    assert (tags[inside] != -100).any(), "what was given stays as it was"
    assert forgotten(tags, tokens, document) is tags
    nowhere = replace(document, meta={"untold": [[5, 6]]})
    assert (forgotten(tags, tokens, nowhere) == tags).all(), "a blank between words is no word"
    with pytest.raises(DataError, match=r"the stretches of meta.untold are no pairs of numbers"):
        forgotten(tags, tokens, replace(document, meta={"untold": "all"}))
