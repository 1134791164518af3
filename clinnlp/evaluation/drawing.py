"""How spans are drawn on the page of notes: lines under the text, cut where spans start and end."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from clinnlp.core.document import Span
from clinnlp.evaluation.rendering import printable

DEEPEST = 8  # spans drawn over one character
BOOKKEEPING = ("window",)  # attributes that say how a span was found, not what it is
SHORT = 60  # characters shown of a label, the attributes or the text of a span
LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")


@dataclass(frozen=True, slots=True)
class Mark:
    """A span as it is drawn: its kind of error, and its line under the text, 0 for the one next to it.

    `labels` are the places of the labels that show it when filtered, `error` the number of its error on the page;
    the mark with an `anchor` is the one that steps lead to.
    """

    name: str
    about: str
    title: str
    kind: str
    labels: str
    level: int
    error: int | None = None
    anchor: bool = False


@dataclass(frozen=True, slots=True)
class Drawn:
    """A mark over a stretch of text: `tag` is what stands before it, `gap` that it lies between two pieces."""

    mark: Mark
    tag: str | None
    gap: bool = False
    anchor: bool = False


@dataclass(frozen=True, slots=True)
class Stretch:
    """Text under the same marks, the outermost first; parts of the text are (shown, code point of an escape)."""

    parts: tuple[tuple[str, str | None], ...]
    drawn: tuple[Drawn, ...]


def levels(spans: Iterable[Span]) -> list[tuple[Span, int | None]]:
    """Each span in text order with its line, inner spans next to the text; None where all lines are taken."""
    reached: list[int | None] = [None] * DEEPEST  # from the end of the text: where the last span of a line starts
    placed: list[tuple[Span, int | None]] = []
    for span in sorted(spans, key=lambda span: (-span.start, span.end, span.label)):
        free = next((level for level, start in enumerate(reached) if start is None or span.end <= start), None)
        if free is not None:
            reached[free] = span.start
        placed.append((span, free))
    return placed[::-1]


def lines(text: str, marks: Iterable[tuple[Span, Mark]]) -> list[list[Stretch]]:
    """The text line by line, its line ends included, each line cut where a piece of a span starts or ends.

    No two marks of one level may share characters.
    """
    starts: dict[int, list[tuple[int, Drawn]]] = defaultdict(list)  # by start: the end and what is drawn
    for span, mark in marks:
        pieces = span.fragments or ((span.start, span.end),)
        for place, (start, end) in enumerate(pieces):
            tag = mark.name if len(pieces) == 1 else f"{mark.name} {place + 1}/{len(pieces)}"
            starts[start].append((end, Drawn(mark, tag, anchor=mark.anchor and place == 0)))
            after = pieces[place + 1][0] if place + 1 < len(pieces) else end
            if end < after:
                starts[end].append((after, Drawn(mark, None, gap=True)))
    cuts = sorted({len(text), *starts, *(end for begun in starts.values() for end, _ in begun)})
    active: dict[int, tuple[int, Drawn]] = {}  # by level
    drawn, at, here = [], 0, 0
    for found in LINE.finditer(text):
        line = []
        while here < found.end():
            while cuts[at] <= here:
                at += 1
            stop = min(cuts[at], found.end())
            active = {
                level: (end, Drawn(one.mark, None, one.gap)) for level, (end, one) in active.items() if end > here
            }
            active |= {one.mark.level: (end, one) for end, one in starts.get(here, ())}
            over = tuple(active[level][1] for level in sorted(active, reverse=True))
            line.append(Stretch(tuple(visible(text[here:stop])), over))
            here = stop
        drawn.append(line)
    return drawn or [[]]


def visible(text: str) -> Iterator[tuple[str, str | None]]:
    """Text as it is, and between it escapes with the code point of what a reader could not see.

    Line feeds and tabs are kept, as white space is shown; carriage returns and bidi controls are not.
    """
    plain = ""
    for character in () if text.isprintable() else text:
        if character in "\n\t" or character.isprintable() or printable(character) == character:
            plain += character
            continue
        if plain:
            yield plain, None
        plain = ""
        yield printable(character), f"U+{ord(character):04X}"
    if rest := text if text.isprintable() else plain:
        yield rest, None


def named(span: Span, text: str) -> dict[str, str]:
    """A span in words: label, offsets with the score, text, attributes, and all but the text as a title."""
    pieces = span.fragments or ((span.start, span.end),)
    place = " + ".join(f"{start}:{end}" for start, end in pieces)
    if span.score is not None:
        place += f", score {span.score:.3f}"
    values = (
        (name, value)
        for name, value in span.attributes.items()
        if name not in BOOKKEEPING and value not in (None, False, "", [], ())
    )
    about = short(", ".join(str(name) if value is True else f"{name}={value}" for name, value in values))
    title = f"{short(span.label)} {place}" + (f", {about}" if about else "")
    said = " … ".join(short(text[start:end]) for start, end in pieces)
    return {"name": short(span.label), "place": place, "text": said, "about": about, "title": title}


def short(text: str) -> str:
    """Printable text of at most SHORT characters of the original."""
    cut = text if len(text) <= SHORT else text[: SHORT - 1] + "…"
    return cut if cut.isprintable() else printable(cut)


def right_to_left(text: str) -> bool:
    """Whether text holds anything written from right to left, so that what stands beside it must be set apart."""
    return not text.isascii() and any(unicodedata.bidirectional(c) in ("R", "AL", "AN") for c in text)
