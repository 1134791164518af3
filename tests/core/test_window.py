"""Windows cover every token and each is owned exactly once."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinnlp.core.window import Window, windows
from clinnlp.errors import ConfigError

GEOMETRY = st.integers(1, 60).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))


@given(st.integers(0, 500), GEOMETRY)
def test_each_token_is_owned_exactly_once(tokens, geometry):
    size, overlap = geometry
    cut = windows(tokens, size, overlap)
    assert [t for w in cut for t in range(w.own_first, w.own_last)] == list(range(tokens))
    for window in cut:
        assert 0 < len(window) <= size and window.last <= tokens
        assert window.first <= window.own_first < window.own_last <= window.last


@given(st.integers(1, 500), GEOMETRY)
def test_windows_are_of_one_length_and_share_the_overlap(tokens, geometry):
    size, overlap = geometry
    cut = windows(tokens, size, overlap)
    assert cut[0].first == 0 and cut[-1].last == tokens
    assert len({len(window) for window in cut}) == 1
    for before, after in pairwise(cut):
        assert before.first < after.first
        assert before.last - after.first >= overlap
        left, right = before.last - before.own_last, after.own_first - after.first
        assert abs(left - right) <= 1, "the border lies in the middle of what is shared"


@given(st.integers(1, 500), GEOMETRY)
def test_no_token_is_read_more_often_than_the_overlap_asks(tokens, geometry):
    size, overlap = geometry
    cut = windows(tokens, size, overlap)
    spare = sum(len(window) for window in cut) - tokens - (len(cut) - 1) * overlap
    assert 0 <= spare < len(cut), "less than a token per window"


@given(st.integers(1, 200), GEOMETRY)
def test_no_window_more_than_needed(tokens, geometry):
    size, overlap = geometry
    needed = 1 if tokens <= size else 1 - (-(tokens - size) // (size - overlap))
    assert len(windows(tokens, size, overlap)) == needed


def test_hand_cut():
    assert windows(10, 4, 2) == [Window(0, 4, 0, 3), Window(2, 6, 3, 5), Window(4, 8, 5, 7), Window(6, 10, 7, 10)]
    assert windows(9, 6, 2) == [Window(0, 6, 0, 4), Window(3, 9, 4, 9)]
    assert windows(3, 8, 2) == [Window(0, 3, 0, 3)]
    assert windows(0, 8, 2) == []


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (4, 4), (4, 5), (4, -1), (-2, -3)])
def test_windows_that_cannot_advance_are_refused(size, overlap):
    with pytest.raises(ConfigError) as caught:
        windows(10, size, overlap)
    message = f"a window of {size} tokens cannot overlap by {overlap}. Next: choose 0 <= overlap < size."
    assert str(caught.value) == message


def test_a_window_owns_only_what_it_reads():
    with pytest.raises(ValueError, match="window 2:5 cannot own 1:3"):
        Window(2, 5, 1, 3)
