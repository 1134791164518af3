"""Made-up values in place of de-identification placeholders, so that a model reads sentences as they were written."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from clinnlp.core.document import Document, Span
from clinnlp.text.identified import placeholders

FILLED = "clinnlp filled"  # the key in a document's `meta` for the stretches that hold made-up values

_FIRST = (
    "Alan Anna Carla Chen Clara Daniel Diego Elena Emma Farid Fiona George Grace Hana Henry Ines Ivan James Julia "
    "Karim Laura Liam Maria Mei Nadia Noah Olga Omar Paula Peter Priya Rosa Samuel Sara Thomas Uma Victor Wendy Yusuf"
)
_LAST = (
    "Abbott Ahmed Barnes Bauer Carter Castillo Chang Cooper Diaz Ellis Fischer Foster Garcia Gibson Hayes Hoffman "
    "Ibrahim Jansen Kaplan Kim Lambert Lopez Mason Meyer Nguyen Novak Okafor Olsen Patel Perez Quinn Reed Rossi "
    "Sanders Silva Tanaka Turner Vargas Walsh Young"
)
_PLACES = "Ashford Brookfield Clayton Dunmore Eastport Fairview Glenwood Hillcrest Lakewood Millbrook Oakdale Westbury"
_MONTHS = "January February March April May June July August September October November December"
FIRST, LAST, PLACES, MONTHS = (tuple(words.split()) for words in (_FIRST, _LAST, _PLACES, _MONTHS))
HOSPITALS = ("General Hospital", "Medical Center", "Community Hospital", "Memorial Hospital")
_DATE = re.compile(r"[\d/\- ]*\d[\d/\- ]*")
_BEFORE = 24  # characters before `___` that tell what it stood for


def _digits(draw: random.Random, count: int) -> str:
    return "".join(draw.choices("0123456789", k=count))


def _date(draw: random.Random) -> str:
    return f"{draw.randint(1, 12)}/{draw.randint(1, 28)}/{draw.randint(2101, 2199)}"


def _hospital(draw: random.Random) -> str:
    return f"{draw.choice(PLACES)} {draw.choice(HOSPITALS)}"


Make = Callable[[random.Random], str]
_NAMED: tuple[tuple[str, Make], ...] = (  # what the words in [**...**] say, the first that fits
    ("hospital|clinic|ward|unit", _hospital),
    ("first ?name|known ?firstname", lambda draw: draw.choice(FIRST)),
    ("initial", lambda draw: draw.choice(LAST)[0]),
    ("name|doctor|attending|dictator|provider", lambda draw: draw.choice(LAST)),
    ("telephone|fax|pager|phone", lambda draw: f"555-{_digits(draw, 4)}"),
    ("age over", lambda draw: str(draw.randint(90, 99))),
    ("month", lambda draw: draw.choice(MONTHS)),
    ("year", lambda draw: str(draw.randint(2101, 2199))),
    ("date|day|holiday", _date),
    ("street|address", lambda draw: f"{draw.randint(2, 980)} {draw.choice(LAST)} Street"),
    ("location|country|state|city|town|company|university", lambda draw: draw.choice(PLACES)),
    ("number|identifier|mrn|ssn|record|job|md|zip|po box", lambda draw: _digits(draw, 7)),
)
_GUESSED: tuple[tuple[str, Make], ...] = (  # what stands right before ___
    (
        r"\b(?:dr|mr|mrs|ms|md|prof)\.? ?$|\b(?:name|attending|service of|signed by):? *$",
        lambda draw: draw.choice(LAST),
    ),
    (r"\b(?:unit no|mrn|record(?: number)?|account|acct)[.:#]* *$", lambda draw: _digits(draw, 7)),
    (r"\b(?:date|birth|dob|admitted|discharged|dictated|since)[.:]* *(?:on )?$", _date),
    (r"\b(?:phone|telephone|pager|fax)(?: number)?[.:#]* *$", lambda draw: f"555-{_digits(draw, 4)}"),
    (r"\b(?:hospital|transferred from|transferred to|admitted to|clinic at)[.:]* *$", _hospital),
)


@dataclass(frozen=True, slots=True)
class _Filled:
    """A stretch of the old text and what stands there now."""

    start: int
    end: int
    value: str


def fill(document: Document, seed: int) -> tuple[Document, int]:
    """A note with made-up values for its placeholders, spans moved along, and how many placeholders are left.

    Equal placeholders of one patient (group, else note) get equal values. `meta` says where they stand, so that they
    are never guessed. A `___` is filled where the words before it tell what it was; dates in brackets are kept.
    """
    found: list[_Filled] = []
    left = 0
    for start, end in placeholders(document.text):
        value = _value(document, start, end, seed)
        if value is None:
            left += 1
        else:
            found.append(_Filled(start, end, value))
    if not found:
        return document, left
    parts, ranges, at, length = [], [], 0, 0
    for one in found:
        parts += [document.text[at : one.start], one.value]
        length += one.start - at
        ranges.append([length, length + len(one.value)])
        length += len(one.value)
        at = one.end
    text = "".join([*parts, document.text[at:]])
    spans = tuple(_moved(span, found) for span in document.spans)
    return replace(document, text=text, spans=spans, meta={**document.meta, FILLED: ranges}), left


def _value(document: Document, start: int, end: int, seed: int) -> str | None:
    """What is put in place of a placeholder; None leaves it."""
    held = document.text[start:end]
    who = document.group if document.group is not None else document.id
    inside = held.removeprefix("[**").removesuffix("**]").strip()
    if held.startswith("[**"):
        if _DATE.fullmatch(inside):
            return inside  # moved in time when the notes were de-identified
        make = next((make for words, make in _NAMED if re.search(words, inside, re.IGNORECASE)), None)
        key = inside
    else:
        before = document.text[max(start - _BEFORE, 0) : start]
        make = next((make for words, make in _GUESSED if re.search(words, before, re.IGNORECASE)), None)
        key = before.strip()
    return None if make is None else make(random.Random(f"{seed}\n{who}\n{key}"))


def _moved(span: Span, found: list[_Filled]) -> Span:
    """The span in the new text; fragments that touched one placeholder have become one stretch."""
    fragments: list[tuple[int, int]] = []
    for start, end in ((_place(a, found, False), _place(b, found, True)) for a, b in span.fragments):
        if fragments and start < fragments[-1][1]:
            start = fragments.pop()[0]
        fragments.append((start, end))
    start, end = _place(span.start, found, False), _place(span.end, found, True)
    return replace(span, start=start, end=end, fragments=tuple(fragments) if len(fragments) > 1 else ())


def _place(at: int, found: list[_Filled], is_end: bool) -> int:
    """Where a place of the old text is in the new one; one inside a placeholder goes to the edge of the new value."""
    moved = 0
    for one in found:
        if at >= one.end:
            moved += len(one.value) - (one.end - one.start)
        elif at > one.start:
            return one.start + moved + (len(one.value) if is_end else 0)
        else:
            break
    return at + moved
