"""Folds: every note is tested once, no patient on both sides, like label counts, whatever the order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinnlp.core.document import Document, Span
from clinnlp.errors import ConfigError, DataError
from clinnlp.text.folds import Fold, Folds, folds


def note(number: int, group: str | None = None, spans: int = 0, **meta: object) -> Document:
    text = f"note {number} " + "x " * 12
    marked = tuple(Span(2 * i, 2 * i + 1, "A") for i in range(spans))
    return Document(str(number), text, marked, group=group, meta=meta)


def parts(made: list[Fold]) -> list[tuple[set[str], set[str]]]:
    return [({d.id for d in fold.train}, {d.id for d in fold.test}) for fold in made]


@given(st.lists(st.integers(0, 12), min_size=2, max_size=60), st.integers(2, 6), st.integers(0, 3))
def test_each_note_is_tested_once_and_no_group_is_cut(groups: list[int], count: int, seed: int) -> None:
    documents = [note(n, f"p{g}", spans=g % 3) for n, g in enumerate(groups)]
    if len(set(groups)) < count:
        with pytest.raises(DataError, match="fewer than"):
            folds(documents, Folds(count=count, seed=seed))
        return
    made = folds(documents, Folds(count=count, seed=seed))
    assert len(made) == count
    assert sorted(int(d.id) for fold in made for d in fold.test) == list(range(len(documents)))
    for fold in made:
        assert fold.train and fold.test
        assert len(fold.train) + len(fold.test) == len(documents)
        assert not {d.group for d in fold.train} & {d.group for d in fold.test}


def test_the_order_does_not_matter_and_the_seed_does() -> None:
    documents = [note(n, f"p{n % 30}", spans=n % 4) for n in range(90)]
    how = Folds(count=3)
    assert parts(folds(documents, how)) == parts(folds(documents[::-1], how))
    assert parts(folds(documents, how)) != parts(folds(documents, Folds(count=3, seed=14)))


def test_labels_are_spread_evenly() -> None:
    """10 of 100 single-note patients hold the rare label: 2 in each of 5 folds of 20."""
    documents = [Document(str(n), f"note {n}", labels=("rare",) if n % 10 == 0 else ("common",)) for n in range(100)]
    for fold in folds(documents, Folds()):
        assert len(fold.test) == 20
        assert sum("rare" in d.labels for d in fold.test) == 2


def test_equal_texts_without_group_are_not_torn() -> None:
    documents = [Document(str(n), f"note {n % 10}") for n in range(40)]
    for fold in folds(documents, Folds(count=4)):
        assert not {d.text for d in fold.train} & {d.text for d in fold.test}


def test_a_site_is_left_out_at_a_time() -> None:
    documents = [note(n, f"p{n}", site="abc"[n % 3]) for n in range(12)]
    made = folds(documents, Folds(by="leave_one_out", key="site"))
    assert [fold.name for fold in made] == ["fold-1", "fold-2", "fold-3"]
    assert [{d.meta["site"] for d in fold.test} for fold in made] == [{"a"}, {"b"}, {"c"}]
    assert len(folds(documents, Folds(by="leave_one_out"))) == 12, "each group"


def test_the_latest_groups_are_held_out() -> None:
    """Patient p0 has a note before and one after the border: both are tested, none of them is trained on."""
    documents = [note(n, f"p{n}", day=n) for n in range(9)] + [note(9, "p0", day=99)]
    (made,) = folds(documents, Folds(by="hold_out", key="day"))
    assert {d.id for d in made.test} == {"8", "9", "0"}
    assert max(d.meta["day"] for d in made.train) < 8


@pytest.mark.parametrize(
    ("documents", "how", "told"),
    [
        ([note(0, "a"), note(1, "b")], {}, "2 documents form 2 groups, fewer than 5 folds."),
        ([note(0, site="a"), note(1)], {"by": "leave_one_out", "key": "site"}, "1 of 2 notes have no 'site'"),
        ([note(0, site="a"), note(1, site="a")], {"by": "leave_one_out", "key": "site"}, "all notes are of one site."),
        (
            [note(0, "p", site="a"), note(1, "p", site="b")],
            {"by": "leave_one_out", "key": "site"},
            "1 groups (patients) have notes in several values of 'site'.",
        ),
        ([note(0, day=1), note(1, day="x")], {"by": "hold_out", "key": "day"}, "times are of several kinds"),
        ([note(0, "p", day=1), note(1, "p", day=2)], {"by": "hold_out", "key": "day"}, "no group lies wholly before"),
    ],
)
def test_what_cannot_be_divided_is_said(documents: list[Document], how: dict[str, str], told: str) -> None:
    with pytest.raises(DataError) as caught:
        folds(documents, Folds(**how))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"count": 1}, "folds.count: must be 2 or more."),
        ({"seed": -1}, "folds.seed: must be from 0 to 4294967295."),
        ({"seed": 2**32}, "folds.seed: must be from 0 to 4294967295."),
        ({"test_share": 1.0}, "folds.test_share: must be a share between 0 and 1."),
        ({"by": "hold_out"}, "folds.key: hold_out needs the entry of meta that holds the time."),
    ],
)
def test_bad_settings(how: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Folds(**how)
    assert str(caught.value) == told
