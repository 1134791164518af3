"""Sentences of notes, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinnlp.text.sentences import sentences


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", []),
        (" \n ", []),
        ("Temp 38.5 today. No cough!  Well?", ["Temp 38.5 today.", "No cough!", "Well?"]),
        ("Seen by Dr. Smith; stable.\r\nPlan: rest", ["Seen by Dr. Smith; stable.", "Plan: rest"]),
        ("Take 5 mg p.o. daily. Call.", ["Take 5 mg p.o. daily.", "Call."]),
        ("FINDINGS:\nno mass\n\n- stable", ["FINDINGS:", "no mass", "- stable"]),
        ("a line that was wrapped since it had grown long enough to be\nbroken here", None),
    ],
)
def test_by_hand(text: str, wanted: list[str] | None) -> None:
    assert [text[start:end] for start, end in sentences(text)] == ([text] if wanted is None else wanted)


@given(st.text("a.!?;\n Dr5", max_size=60))
def test_every_visible_character_is_in_exactly_one(text: str) -> None:
    found = sentences(text)
    inside = [place for start, end in found for place in range(start, end)]
    assert len(inside) == len(set(inside)) and inside == sorted(inside)
    assert {place for place, char in enumerate(text) if not char.isspace()} <= set(inside)
