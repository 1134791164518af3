"""Spans and documents are checked at birth, and errors never quote the note."""

import dataclasses

import pytest

from clinnlp.core.document import Document, Span
from clinnlp.errors import DataError


@pytest.mark.parametrize(("start", "end"), [(3, 3), (4, 3), (-1, 2)])
def test_empty_or_reversed_spans_are_refused(start, end):
    with pytest.raises(DataError, match=f"span {start}:{end} 'DRUG' is empty or reversed"):
        Span(start, end, "DRUG")


@pytest.mark.parametrize(
    ("fragments", "message"),
    [
        (((0, 3),), "not in text order"),
        (((0, 4), (3, 9)), "not in text order"),
        (((5, 9), (0, 3)), "not in text order"),
        (((0, 3), (5, 5)), "not in text order"),
        (((0, 3), (5, 8)), "do not reach its bounds"),
        (((1, 3), (5, 9)), "do not reach its bounds"),
    ],
)
def test_fragments_are_ordered_and_reach_the_bounds(fragments, message):
    with pytest.raises(DataError, match=message):
        Span(0, 9, "DRUG", fragments=fragments)


def test_the_key_of_a_span_leaves_out_score_and_attributes():
    one, two = Span(0, 9, "A", 0.5, {"negated": True}), Span(0, 9, "A")
    assert one != two and one.key == two.key
    assert Span(0, 9, "A", fragments=((0, 3), (5, 9))).key != two.key


def test_documents_keep_their_text_and_are_frozen():
    text = "\ufeffa\r\nb\x0b\x85\u2028c\x00"
    document = Document("0012", text, (Span(0, len(text), "X"),))
    assert document.text == text and document.id == "0012"
    with pytest.raises(dataclasses.FrozenInstanceError):
        document.text = "x"


@pytest.mark.parametrize(
    ("id", "text", "spans", "message"),
    [
        ("1", "secret", (Span(0, 7, "X"),), "span 0:7 'X' ends outside the text of 6 characters."),
        ("1", "secret\ud83d", (), "lone surrogate at character 6: the text is not valid Unicode."),
        (12, "secret", (), "id and text must be strings, got int, str."),
        ("1", None, (), "id and text must be strings, got str, NoneType."),
    ],
)
def test_broken_documents_are_refused_without_quoting_them(id, text, spans, message):
    with pytest.raises(DataError) as caught:
        Document(id, text, spans)
    assert str(caught.value) == message and "secret" not in str(caught.value)
