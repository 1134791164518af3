"""Notes written after the moment of prediction."""

import pytest

from clinnlp.core.document import Document
from clinnlp.text.times import Times, late_notes


def times(note: object, prediction: object) -> Times:
    return late_notes([Document("1", "a", meta={"charttime": note, "admitted": prediction})], "charttime", "admitted")


@pytest.mark.parametrize(
    ("note", "prediction", "late"),
    [
        ("2180-05-06T10:00", "2180-05-06T11:00", False),
        ("2180-05-06T11:00", "2180-05-06T11:00", False),
        ("2180-05-06T11:00:01", "2180-05-06T11:00", True),
        ("2180-05-06 23:00:00", "2180-05-06", False),  # a day without an hour
        ("2180-05-07", "2180-05-06T00:00", True),
        ("2180-05-07", "2180-05-06", True),
        ("2180-05-06T11:00+02:00", "2180-05-06T10:00+00:00", False),
        (5, 4, True),
        ("5", "40", False),
    ],
)
def test_by_hand(note: object, prediction: object, late: bool) -> None:
    assert times(note, prediction) == Times(1, int(late), 0)


@pytest.mark.parametrize(
    ("note", "prediction"),
    [(None, "2180-05-06"), ("2180-05-06", None), ("yesterday", "2180-05-06"), (True, 3), (3.5, "2180-05-06"),
     ("2180-05-06T11:00+02:00", "2180-05-06T10:00"), (float("nan"), "")],
)  # fmt: skip
def test_what_cannot_be_compared_is_counted(note: object, prediction: object) -> None:
    assert times(note, prediction) == Times(1, 0, 1)
