"""Sections of a note, found by its headers: "HISTORY OF PRESENT ILLNESS:", "Impression:", or a line in capitals."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

WORDS = 6  # most words of a header
NONE = "(none)"  # the section of what stands before the first header

_WORD = r"\(?[^\W_][\w/&'()-]*+"
_TITLE = rf"(?=[^\W\d_]){_WORD}(?:[ \t]++[&/]|[ \t]++{_WORD}){{0,{WORDS - 1}}}"
# a header begins a line; where newlines became commas, as in MTSamples, it stands between two of them
_HEADER = re.compile(
    rf"^[ \t]*+(?:(?P<title>{_TITLE})[ \t]*+:(?!//)|(?P<line>{_TITLE})[ \t\r]*+$)|,[ ]*+(?P<inner>{_TITLE}):(?=[ ]*,)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Section:
    """Characters `start:end` of a note, from one header (included) to the next; `name` is in upper case."""

    start: int
    end: int
    name: str


def sections(text: str) -> tuple[Section, ...]:
    """The sections of a note in text order; what stands before the first header belongs to none.

    A header is a title of at most 6 words at the start of a line, with a first capital and a colon after it, or a
    line of at most 6 words in capitals. The latter count only in notes that are not written in capitals throughout.
    """
    found = []
    for match in _HEADER.finditer(text):
        kind = str(match.lastgroup)
        title = match[kind]
        if title[0].isupper() and (kind == "title" or _capitals(title)):
            found.append((match.start(kind), " ".join(title.upper().split()), kind))
    if any(kind == "line" for _, _, kind in found) and sum(map(str.isupper, text)) > sum(map(str.islower, text)):
        found = [header for header in found if header[2] != "line"]
    ends = [*(start for start, _, _ in found[1:]), len(text)]
    return tuple(Section(start, end, name) for (start, name, _), end in zip(found, ends, strict=False))


def section_names(text: str, bounds: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """The name of the section in which each (start, end) begins, "(none)" before the first header."""
    found = sections(text)
    starts = [section.start for section in found]
    places = [bisect_right(starts, start) - 1 for start, _ in bounds]
    return tuple(found[place].name if place >= 0 else NONE for place in places)


def _capitals(title: str) -> bool:
    """Whether a title of some length is in capitals."""
    return title == title.upper() and sum(map(str.isalpha, title)) > 3
