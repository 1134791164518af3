"""Where sentences of clinical notes end (English): a few rules on signs, line breaks and abbreviations."""

import re
from itertools import pairwise

WRAPPED = 50  # characters: a shorter line was not broken for want of room

_TITLES = frozenset(("dr", "mr", "mrs", "ms", "prof", "st", "vs"))  # a full stop after them ends no sentence
_SHORT = frozenset(("approx", "etc", "pt", "min", "max", "fig"))  # nor after these and p.o, before a small letter
_BREAK = re.compile(r"[;\n.!?](?!(?<=[.!?])[^\s,])")  # where a sentence may end; a point inside 38.5 is none
_NEW_LINE = re.compile(r"\n[ \t\r]*(?:\n|[-*•]|\d+[.)]|[A-Z])")


def sentences(text: str) -> list[tuple[int, int]]:
    """The bounds of the sentences of a text, without the blanks around them; a semicolon ends none.

    Every visible character is in exactly one. A line break ends a sentence where the line is short (a wrapped one
    would be longer) or the next one is empty or begins with a capital, a number or a bullet.
    """
    borders = [0, *(place + 1 for place in ends(text) if text[place] != ";"), len(text)]
    found = []
    for start, end in pairwise(borders):
        piece = text[start:end]
        if piece.strip():
            found.append((start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())))
    return found


def ends(text: str) -> list[int]:
    """The places of the signs and line breaks that end a sentence, or, semicolons, a clause."""
    return [match.start() for match in _BREAK.finditer(text) if _ends(text, match.start())]


def _ends(text: str, place: int) -> bool:
    """Whether the sign at this place ends a sentence."""
    sign = text[place]
    if sign == "\n":
        wrapped = place - text.rfind("\n", 0, place) > WRAPPED
        return not wrapped or _NEW_LINE.match(text, place) is not None
    if sign != ";" and text[place + 1 : place + 2] == ",":
        return text[place + 2 : place + 3].isupper()  # a comma that replaces a newline, as in MTSamples
    return sign != "." or _full_stop(text, place)


def _full_stop(text: str, place: int) -> bool:
    """Whether a point ends a sentence: not after a title, nor after an abbreviation before a small letter."""
    words = text[max(0, place - 12) : place].split()
    if not words or not text[place - 1].isalpha():
        return True
    word = words[-1].lstrip("([").lower()
    if word not in _SHORT and ("." not in word or max(map(len, word.split("."))) > 1):
        return word not in _TITLES
    after = text[place + 1 : place + 40].lstrip()[:1]
    return not (after.islower() or after.isdigit())
