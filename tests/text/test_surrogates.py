"""Made-up values for placeholders: of the right kind, the same for a patient, and spans move along."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinnlp.core.document import Document, Span
from clinnlp.text.identified import placeholders
from clinnlp.text.surrogates import FILLED, LAST, fill


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Mr. [**Known lastname 12**] came.", rf"Mr\. ({'|'.join(LAST)}) came\."),
        ("seen on [**2151-7-16**] and", r"seen on 2151-7-16 and"),
        ("at [**Hospital1 18**] today", r"at \w+ \w+ (Hospital|Center) today"),
        ("tel [**Telephone/Fax (1) 55**]", r"tel 555-\d{4}"),
        ("Dr. ___ signed", rf"Dr\. ({'|'.join(LAST)}) signed"),
        ("Unit No:   ___\n", r"Unit No:   \d{7}\n"),
        ("Date of Birth:  ___ Sex", r"Date of Birth:  \d+/\d+/2\d{3} Sex"),
        ("she took ___ daily", r"she took ___ daily"),
        ("[**Unknown kind of thing**]", r"\[\*\*Unknown kind of thing\*\*\]"),
    ],
)
def test_values_are_of_the_kind_that_stood_there(text: str, told: str) -> None:
    filled, left = fill(Document("1", text), seed=1)
    assert re.fullmatch(told, filled.text), filled.text
    assert left == (filled.text == text)
    for start, end in filled.meta.get(FILLED, ()):
        assert filled.text[:start] + filled.text[end:] == re.sub(r"___|\[\*\*.*?\*\*\]", "", text)


def test_a_placeholder_within_another_is_a_part_of_it() -> None:
    filled, left = fill(Document("1", "Dr. [**Name ___**] came"), seed=1)
    assert re.fullmatch(rf"Dr\. ({'|'.join(LAST)}) came", filled.text) and left == 0
    assert placeholders("[**Name ___**] ___") == [(0, 14), (15, 18)]


def test_fragments_in_one_placeholder_become_one_stretch() -> None:
    text = "Dr. [**Last Name**] came"
    two = Span(5, 16, "A", fragments=((5, 8), (12, 16)))
    three = Span(5, 24, "B", fragments=((5, 8), (12, 16), (20, 24)))
    filled, _ = fill(Document("1", text, (two, three)), seed=1)
    (name,) = filled.meta[FILLED]
    assert [(s.start, s.end, s.fragments) for s in filled.spans] == [
        (*name, ()),
        (name[0], len(filled.text), (tuple(name), (name[1] + 1, len(filled.text)))),
    ]


def test_one_patient_keeps_a_name_and_another_has_one_of_its_own() -> None:
    text = "[**Last Name 7**], also [**Last Name 7**]"
    names = [fill(Document(id, text, group=group), 1)[0].text for id, group in (("1", "p"), ("2", "p"), ("3", "q"))]
    assert names[0] == names[1] and len(set(names[0].split(", also "))) == 1
    drawn = {fill(Document("1", text, group=str(n)), 1)[0].text for n in range(20)}
    assert len(drawn) > 5


@given(
    st.lists(st.sampled_from(["fever ", "___", "Dr. ___", "[**Hospital 3**]", " and ", "[**1-2**]"]), max_size=8),
    st.data(),
)
def test_spans_stand_on_the_same_words(parts: list[str], data: st.DataObject) -> None:
    text = "".join(["x", *parts, "y"])
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    filled, _ = fill(Document("1", text, (Span(start, end, "A"),)), seed=3)
    (span,) = filled.spans
    assert 0 <= span.start < span.end <= len(filled.text)
    word = re.search("fever", text[start:end])
    assert (word is None) or "fever" in filled.text[span.start : span.end]
