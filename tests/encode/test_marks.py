"""Words, entities and placeholders are found by characters, whatever the tokenizer."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clinnlp.encode.marks import BEGUN, CLOSED, ENTITY, FIXED, INSIDE, LINE, WORD, MarkedText, token_marks
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.text.identified import placeholders
from tests.encode.nasty import KINDS, NASTY
from tests.tiny import sentences

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ASCII = st.text(st.sampled_from("ab0 1_[]*-/.\nQ"), max_size=40)


@pytest.fixture(scope="session", params=KINDS)
def tokenizer(request, tiny) -> NoteTokenizer:
    return NoteTokenizer.load(tiny(request.param))


def touching(tokens, start: int, end: int) -> list[int]:
    return [i for i, (a, b) in enumerate(tokens.offsets.tolist()) if a < b and a < end and b > start]


@quick
@given(text=ASCII)
@example(text="B12 lisinopril-10mg/d")
def test_tokens_of_one_word_stand_together(tokenizer, text):
    tokens = tokenizer.encode(text)
    marks, _ = token_marks(MarkedText(text), tokens)
    words = [touching(tokens, *word.span()) for word in re.finditer(r"[A-Za-z0-9]+|[^\sA-Za-z0-9]", text)]
    joined = {token for word in words for token in word[1:]}
    assert [bool(mark & WORD) for mark in marks.tolist()] == [token not in joined for token in range(len(tokens))]


@quick
@given(text=NASTY)
def test_any_text_has_marks(tokenizer, text):
    tokens = tokenizer.encode(text)
    marks, _ = token_marks(MarkedText(text, [(0, len(text))] if text else [], [(0, 1)] if text else []), tokens)
    assert marks.dtype == np.uint8 and len(marks) == len(tokens)
    assert not len(tokens) or marks[0] & WORD


@pytest.mark.parametrize("text", ["lisinopril B12, café naïve 38.5", "metformin\n\n500mg"])
def test_words_are_the_same_under_every_tokenizer(tokenizer, text):
    tokens = tokenizer.encode(text)
    marks, _ = token_marks(MarkedText(text), tokens)
    full = tokens.offsets[:, 1] > tokens.offsets[:, 0]
    starts = tokens.offsets[full & ((marks & WORD) > 0), 0].tolist()
    assert starts == [word.start() for word in re.finditer(r"\w+|[^\w\s]", text)]


def test_placeholders_are_fixed_and_nothing_else(tokenizer):
    text = "seen by ___ and [**First Name (STitle) **], [**2101-1-2**] at ___. a_b ____ [x] fever"
    tokens = tokenizer.encode(text)
    ranges = placeholders(text)
    assert [text[a:b] for a, b in ranges] == ["___", "[**First Name (STitle) **]", "[**2101-1-2**]", "___"]
    marks, _ = token_marks(MarkedText(text, ranges), tokens)
    wanted = {token for start, end in ranges for token in touching(tokens, start, end)}
    full = set(touching(tokens, 0, len(text)))
    assert {i for i, mark in enumerate(marks) if mark & FIXED} & full == wanted
    assert FIXED >= CLOSED
    assert placeholders("no ____ such [* thing *]") == []


@quick
@given(data=st.data())
def test_entities_are_marked_from_their_first_to_their_last_token(tokenizer, data):
    text = data.draw(st.sampled_from(sentences(5)))
    ends = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=8, unique=True)))
    ranges = [(a, b) for a, b in zip(ends[::2], ends[1::2], strict=False) if text[a:b].strip()]
    tokens = tokenizer.encode(text)
    marks, _ = token_marks(MarkedText(text, entities=ranges[::-1]), tokens)
    inside = [set(touching(tokens, start, end)) for start, end in ranges]
    full = set(touching(tokens, 0, len(text)))
    assert {i for i, mark in enumerate(marks) if mark & (ENTITY | INSIDE)} & full == set().union(*inside)
    assert not any(mark & ENTITY and mark & INSIDE for mark in marks)
    firsts = [min(token for token in full if token >= i) for i, mark in enumerate(marks) if mark & ENTITY]
    taken: set[int] = set()
    wanted = []
    for found in inside:
        if own := found - taken:  # a token that two entities share belongs to the first
            wanted.append(min(own))
        taken |= found
    assert firsts == wanted


def test_entities_that_overlap_are_one(tokenizer):
    text = "severe chest pain and fever"
    tokens = tokenizer.encode(text)
    marks, _ = token_marks(MarkedText(text, entities=[(7, 17), (0, 12), (22, 27)]), tokens)
    heads = [int(tokens.offsets[i, 0]) for i in np.flatnonzero(marks & ENTITY)]
    assert heads == [0, 22]


def test_the_rest_of_a_cut_word_or_entity_begins_anew():
    assert BEGUN[[0, WORD, INSIDE, ENTITY | WORD, FIXED]].tolist() == [
        WORD, WORD, ENTITY | WORD, ENTITY | WORD, FIXED | WORD,
    ]  # fmt: skip


def test_kinds_of_entities_and_first_tokens_of_sentences(tokenizer):
    text = "Fever today. No pain!  Cough\nand chills"
    tokens = tokenizer.encode(text)
    marks, kinds = token_marks(MarkedText(text, entities=[(16, 20), (0, 5), (23, 28)], kinds=[2, 1, 3]), tokens)
    wanted = {
        token: kind for kind, place in ((1, (0, 5)), (2, (16, 20)), (3, (23, 28))) for token in touching(tokens, *place)
    }
    full = touching(tokens, 0, len(text))
    assert {token: int(kinds[token]) for token in full if kinds[token]} == wanted
    firsts = {min(token for token in full if token >= i) for i in np.flatnonzero(marks & LINE)}
    assert firsts == {min(touching(tokens, start, len(text))) for start in (0, 13, 23, 29)}
