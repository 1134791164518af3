"""The order of labels numbers the tags; only legal tags may follow each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinnlp.core.schema import LabelSchema
from clinnlp.errors import DataError

NAMES = st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=1000), min_size=1, max_size=5), unique=True)


@given(NAMES.filter(lambda names: all(n == n.strip() for n in names)))
def test_tags_follow_the_order_of_labels(names):
    schema = LabelSchema(tuple(names))
    assert schema.tag_count == len(schema.tags) == len(set(schema.tags))
    assert schema.tags[0] == "O"
    for i, name in enumerate(names):
        assert schema.index(name) == i
        assert schema.tags[2 * i + 1 : 2 * i + 3] == (f"B-{name}", f"I-{name}")
    assert LabelSchema.of([*names, *names]).labels == tuple(sorted(names))


def test_inside_needs_its_own_begin_or_inside():
    schema = LabelSchema(("A", "B"))
    allowed = {(p, t) for p in (None, *range(5)) for t in range(5) if schema.may_follow(t, p)}
    assert {(p, t) for p, t in allowed if t == 2} == {(1, 2), (2, 2)}
    assert {(p, t) for p, t in allowed if t == 4} == {(3, 4), (4, 4)}
    assert {p for p, t in allowed if t == 0} == {p for p, t in allowed if t == 1} == {None, 0, 1, 2, 3, 4}


@pytest.mark.parametrize("bad", ["", " A", "A ", "A\n", "A\x00B", "x" * 201])
def test_bad_label_names_are_refused(bad):
    with pytest.raises(DataError, match="is empty, padded, too long or holds control characters"):
        LabelSchema((bad,))


def test_labels_are_unique_and_known():
    with pytest.raises(DataError, match="label names are not unique"):
        LabelSchema(("A", "A"))
    with pytest.raises(DataError) as caught:
        LabelSchema(("A", "B")).index("C")
    assert str(caught.value) == (
        "label 'C' is unknown; the labels are A, B. Next: train on data that holds this label, or rename it."
    )
    with pytest.raises(DataError, match=r"the labels are \(none\)"):
        LabelSchema(()).index("C")
