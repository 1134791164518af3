"""A span as a row of NOTE_NLP: limits, and any span back as it was."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinnlp.core.document import Span
from clinnlp.errors import DataError
from clinnlp.formats._bytes import Bad
from clinnlp.formats._note_nlp import parse_modifiers, snippet, to_row, to_span

ANY = st.characters(blacklist_categories=["Cs"])
NAMES = ["negated", "term_exists", "term_temporal", "section_concept_id", "note_nlp_concept_id"]
VALUES = st.one_of(
    st.text(ANY, max_size=60), st.integers(), st.booleans(), st.none(), st.lists(st.text(ANY, max_size=3))
)
TEXT = "No \U0001f600 fever, caf\u00e9 e\u0301 \r\n 5mg =HYPERLINK(1) 'x\" " + "long " * 80


@st.composite
def spans(draw: st.DrawFn) -> Span:
    start = draw(st.integers(0, len(TEXT) - 3))
    end = draw(st.integers(start + 3, len(TEXT)))
    fragments = draw(st.sampled_from([(), ((start, start + 1), (start + 2, end))]))
    label = draw(
        st.one_of(st.text(ANY, max_size=20), st.sampled_from(["a;b=c", "%41", "=HYPERLINK(1)", "label=x;end=3"]))
    )
    score = draw(st.one_of(st.none(), st.floats(0, 1)))
    return Span(start, end, label, score, draw(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3)), fragments)


@settings(max_examples=300, deadline=None)
@given(spans())
def test_any_span_comes_back(span: Span) -> None:
    counts = Counter[str]()
    row = {"note_nlp_id": 1, **to_row(span, TEXT, counts)}
    assert len(row["snippet"]) <= 250 and len(row["lexical_variant"]) <= 250 and len(row["term_modifiers"]) <= 2000
    assert TEXT[span.start : span.start + len(row["lexical_variant"])] == row["lexical_variant"]
    assert row["lexical_variant"][:9] in row["snippet"]
    assert counts["lexical_variants_shortened"] == (span.end - span.start > 250)
    if not counts["term_modifiers_shortened"]:
        assert to_span(row, TEXT) == span


def test_what_does_not_fit_goes_in_order_and_is_counted() -> None:
    counts = Counter[str]()
    span = Span(0, 9, "L" * 1900, 0.25, {"k": "v" * 200}, ((0, 1), (2, 9)))
    modifiers = to_row(span, TEXT, counts)["term_modifiers"]
    assert list(parse_modifiers(modifiers)) == ["label", "end", "score", "fragments"]
    assert counts == {"term_modifiers_shortened": 1, "lexical_variants_shortened": 0}
    with pytest.raises(DataError, match=r"a label of 2000 characters does not fit into term_modifiers\(2000\)"):
        to_row(Span(0, 9, "L" * 2000), TEXT, counts)
    with pytest.raises(DataError, match="lone surrogate"):
        to_row(Span(0, 9, "\ud83d"), TEXT, counts)


def test_the_words_stand_in_the_middle_of_the_snippet() -> None:
    text = "a" * 500 + "fever" + "b" * 500
    assert snippet(text, 500, 505) == "a" * 122 + "fever" + "b" * 123
    assert snippet("fever", 0, 5) == "fever"
    assert snippet(text, 0, 400) == "a" * 250


def row(**columns: object) -> dict[str, object]:
    return {"note_nlp_id": 7, "offset": "3", "lexical_variant": "\U0001f600 fever", "term_modifiers": None, **columns}


def test_rows_of_other_systems() -> None:
    assert to_span(row(note_nlp_concept_id=437663), TEXT) == Span(
        3, 10, "437663", None, {"note_nlp_concept_id": 437663}
    )
    found = to_span(
        row(term_modifiers="negated=True", term_exists="N", offset=None, offset_start=3, offset_end=10), TEXT
    )
    assert found == Span(3, 10, "0", None, {"term_exists": "N", "term_modifiers": "negated=True"})


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"offset": "4"}, "lexical_variant is not what stands at its offset"),
        ({"offset": "3-10"}, "offset is no whole number"),
        ({"offset": "\u0663"}, "offset is no whole number"),
        ({"offset": None}, "offset is no whole number"),
        ({"offset": "9999"}, "its offsets lie outside the note"),
        ({"offset": "9" * 5000}, "its offsets lie outside the note"),
        ({"offset_start": 3, "offset_end": 2}, "its offsets lie outside the note"),
        ({"offset_start": 3, "offset_end": 11}, "lexical_variant has not the length that its end says"),
        ({"lexical_variant": ""}, "lexical_variant is empty"),
        ({"lexical_variant": None}, "lexical_variant is empty"),
        ({"term_modifiers": "label=X;end=x"}, "end is no whole number"),
        ({"term_modifiers": "label=X;end=10;score=high"}, "the score or fragments in term_modifiers"),
        ({"term_modifiers": "label=X;end=10;fragments=3-4"}, "the score or fragments in term_modifiers"),
        ({"term_modifiers": "label=X;end=10;attributes=[1]"}, "the attributes in term_modifiers are no object"),
        ({"term_modifiers": "label=X;end=10;attributes={"}, "not valid JSON"),
    ],
)
def test_a_row_that_does_not_name_its_words_is_refused(columns: dict[str, object], reason: str) -> None:
    with pytest.raises(Bad) as caught:
        to_span(row(**columns), TEXT)
    assert str(caught.value).startswith(reason)
    assert "fever" not in str(caught.value)
