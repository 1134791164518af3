"""Notes that were written after the moment a prediction is made for: they may tell what is to be predicted."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

from clinnlp.core.document import Document


@dataclass(frozen=True, slots=True)
class Times:
    """How many notes there are, how many of them are `late`, and how many name no two times that can be compared."""

    notes: int = 0
    late: int = 0
    unknown: int = 0


def late_notes(documents: Iterable[Document], note_time: str, prediction_time: str) -> Times:
    """Hold the time of each note against that of its prediction, two entries of its meta.

    Times are ISO 8601 or numbers. Where one of the two is a day without an hour, days are compared.
    """
    notes = late = unknown = 0
    for document in documents:
        after = _is_after(document.meta.get(note_time), document.meta.get(prediction_time))
        notes += 1
        late += after is True
        unknown += after is None
    return Times(notes, late, unknown)


def _is_after(first: Any, second: Any) -> bool | None:
    one, other = _read(first), _read(second)
    if one is None or other is None or isinstance(one, float) is not isinstance(other, float):
        return None
    if isinstance(one, float) or isinstance(other, float):
        return bool(one > other)  # type: ignore[operator]
    if not (isinstance(one, datetime) and isinstance(other, datetime)):
        return _day(one) > _day(other)
    if (one.tzinfo is None) is not (other.tzinfo is None):
        return None
    return one > other


def _read(value: Any) -> datetime | date | float | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    text = str(value).strip()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return None
    return found.date() if found.time() == time() and ":" not in text and "T" not in text else found


def _day(value: date) -> date:
    return value.date() if isinstance(value, datetime) else value
