"""Spans as pairs of words: what each becomes, that every pair is owned once, and how pairs are scored."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clinnlp.core.document import Document, Span
from clinnlp.core.schema import LabelSchema
from clinnlp.core.window import windows
from clinnlp.encode.pairs import PRIOR, owned_pairs, pair_scores, spans_to_pairs
from clinnlp.encode.tokens import NoteTokenizer, units
from clinnlp.errors import DataError

TEXT = "severe left lower lobe pneumonia  and cough"
SCHEMA = LabelSchema(("A", "B"))


def paired(tokenizer: NoteTokenizer, *spans: Span, longest: int = 4, note: str = TEXT):
    tokens = tokenizer.encode(note)
    mark = units(note, tokens)
    everywhere = np.ones((int(mark.sum()), longest), bool)
    pairs, ledger = spans_to_pairs(Document("1", note, spans), tokens, mark, SCHEMA, longest, everywhere)
    counts: Counter[str] = Counter()
    for (_, outcome), count in ledger.counts.items():
        counts[outcome] += count
    return pairs.tolist(), dict(counts)


@pytest.fixture(scope="module")
def wordpiece(tiny):
    return NoteTokenizer.load(tiny("wordpiece"))


def test_what_becomes_of_spans_by_hand(wordpiece):
    """Words 0 to 6; nested, crossing and equal bounds are held, a copy, five words and two pieces are not."""
    nested, crossing = Span(7, 32, "A"), Span(0, 11, "B")
    same, copy = Span(23, 32, "A"), Span(23, 32, "A")
    other, cut = Span(23, 32, "B"), Span(25, 32, "A")
    long, broken = Span(0, 32, "A"), Span(0, 32, "B", fragments=((0, 6), (23, 32)))
    blank = Span(32, 34, "A")
    pairs, ledger = paired(wordpiece, nested, crossing, same, copy, other, long, broken, blank)
    assert pairs == [[1, 3, 0], [0, 1, 1], [4, 0, 0], [4, 0, 1]]
    assert ledger == {"exact": 4, "duplicate": 1, "too long": 1, "discontinuous": 1, "untokenizable": 1}
    assert paired(wordpiece, cut) == ([[4, 0, 0]], {"snapped": 1})
    with pytest.raises(DataError, match="label 'Z' is unknown"):
        paired(wordpiece, Span(0, 6, "Z"))


def test_a_span_that_no_window_holds_is_too_long(wordpiece):
    tokens = wordpiece.encode(TEXT)
    mark = units(TEXT, tokens)
    nowhere = np.zeros((int(mark.sum()), 4), bool)
    pairs, ledger = spans_to_pairs(Document("1", TEXT, (Span(0, 6, "A"),)), tokens, mark, SCHEMA, 4, nowhere)
    assert len(pairs) == 0 and dict(ledger.counts) == {("A", "too long"): 1}


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_pair_that_a_window_holds_is_owned_once_by_one_with_most_context(data):
    tokens = data.draw(st.integers(1, 60))
    size = data.draw(st.integers(2, 30))
    overlap = data.draw(st.integers(0, size - 1))
    longest = data.draw(st.integers(1, 12))
    starts = np.flatnonzero(np.array(data.draw(st.lists(st.booleans(), min_size=tokens, max_size=tokens))))
    cut = windows(tokens, size, overlap)
    owners: dict[tuple[int, int], list[int]] = {}
    for number, window in enumerate(cut):
        inside = np.flatnonzero((starts >= window.first) & (starts < window.last))
        owned = owned_pairs(starts[inside], window.own_first, window.own_last, longest)
        for first, more in np.argwhere(owned):
            owners.setdefault((int(inside[first]), int(inside[first] + more)), []).append(number)
    for first in range(len(starts)):
        for last in range(first, min(first + longest, len(starts))):
            a, b = starts[first], starts[last]
            context = [min(a - w.first, w.last - 1 - b) for w in cut]
            if max(context) < 0:
                assert (first, last) not in owners
                continue
            (owner,) = owners[first, last]
            assert context[owner] >= 0
            if 0 < owner < len(cut) - 1:  # the first and last window have the border of the note on one side
                assert context[owner] >= max(context) - 1  # half a token is rounded


def test_scores_by_hand():
    """Two words, size 2, one label. Word 1 is turned by one radian: (1, 0) meets (1, 0) there at cos 1."""
    vectors = torch.tensor([[[1.0, 0.0, 1.0, 0.0, 0.5, 0.25], [1.0, 0.0, 1.0, 0.0, 2.0, 4.0]]])
    scores = pair_scores(vectors, 2, 3)
    assert scores.shape == (1, 2, 3, 1)
    alone, both = 1 / 2**0.5, float(np.cos(1)) / 2**0.5
    assert scores[0, 0, 0, 0].item() == pytest.approx(PRIOR + alone + 0.5 + 0.25)
    assert scores[0, 0, 1, 0].item() == pytest.approx(PRIOR + both + 0.5 + 4.0)
    assert scores[0, 1, 0, 0].item() == pytest.approx(PRIOR + alone + 2.0 + 4.0)


def test_a_score_depends_on_how_far_words_are_apart_and_not_on_where_they_are():
    vectors = torch.randn(1, 1, 20, generator=torch.Generator().manual_seed(0)).expand(1, 30, 20)
    scores = pair_scores(vectors, 8, 6)[0, :24]
    assert torch.allclose(scores, scores[:1].expand_as(scores), atol=1e-5)
    assert (scores[0, 1:] - scores[0, :1]).abs().min() > 1e-3
