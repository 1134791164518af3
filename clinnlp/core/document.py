"""Spans and documents: what a note is in memory, checked at birth."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clinnlp.errors import DataError


@dataclass(frozen=True, slots=True)
class Span:
    """A labelled stretch of characters: half-open, in Unicode code points of the original text.

    `fragments` holds the (start, end) pieces of a discontinuous span in text order and is empty for a
    contiguous one; `start` and `end` are then the outer bounds. Raises DataError if empty or reversed.
    """

    start: int
    end: int
    label: str
    score: float | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    fragments: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise DataError(f"span {self.start}:{self.end} {self.label!r} is empty or reversed")
        if self.fragments:
            self._check_fragments()

    def _check_fragments(self) -> None:
        ordered = all(a[0] < a[1] <= b[0] < b[1] for a, b in zip(self.fragments, self.fragments[1:], strict=False))
        if len(self.fragments) < 2 or not ordered:
            raise DataError(f"fragments of span {self.start}:{self.end} {self.label!r} are not in text order")
        if (self.fragments[0][0], self.fragments[-1][1]) != (self.start, self.end):
            raise DataError(f"fragments of span {self.start}:{self.end} {self.label!r} do not reach its bounds")

    @property
    def key(self) -> tuple[int, int, str, tuple[tuple[int, int], ...]]:
        """What two spans must share to be the same entity: bounds, label and fragments."""
        return (self.start, self.end, self.label, self.fragments)


@dataclass(frozen=True, slots=True)
class Document:
    """A note in memory: its text is never edited, not even its line ends.

    `labels` are the note's classes, `group` is the unit no split may cut (the patient).
    Raises DataError for a span outside the text or a text with lone surrogates.
    """

    id: str
    text: str
    spans: tuple[Span, ...] = ()
    labels: tuple[str, ...] = ()
    group: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not isinstance(self.text, str):
            raise DataError(f"id and text must be strings, got {type(self.id).__name__}, {type(self.text).__name__}")
        if not self.text.isascii() and (bad := _lone_surrogate(self.text)) is not None:
            raise DataError(f"lone surrogate at character {bad}: the text is not valid Unicode")
        for span in self.spans:
            if span.end > len(self.text):
                raise DataError(
                    f"span {span.start}:{span.end} {span.label!r} ends outside the text of {len(self.text)} characters"
                )


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A record set aside: where it stood and why, never what it said."""

    where: str
    reason: str
    id: str | None = None


class Excluded(Quarantined):
    """A record that a rule of the user leaves out; `reason` names the rule."""


def _lone_surrogate(text: str) -> int | None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return error.start
    return None
