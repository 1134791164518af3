"""Stretches of text whose label can be judged: spans, and what reads like a span but is none."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clinnlp.core.document import Document

LONGEST = 6  # words of a stretch outside of spans
TWICE = 2  # how often a surface must be a span before its other places are looked at
TIMES = 4  # places outside of spans, for each time a surface is one: a word that hardly ever is one has many

_PIECE = re.compile(r"\w+|[^\w\s]")
_SHAPES = ((re.compile("[^\\W\\d_]+"), "a"), (re.compile(r"\d+"), "0"), (re.compile(r"\s+"), " "))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stretch `start:end` of a document, numbered in its sequence; `label` is None outside of spans."""

    document: int
    start: int
    end: int
    label: str | None


def candidates(documents: Sequence[Document]) -> tuple[list[Candidate], int]:
    """Contiguous spans with one label, and stretches outside of spans that read like one; then the other spans' number.

    A stretch is longest first, of at most 6 words, and reads like a span that occurs twice or more. Where there are
    over four times as many stretches as spans of a surface, some are taken, evenly spread.
    """
    found: list[Candidate] = []
    left_out = 0
    surfaces: Counter[str] = Counter()
    for number, document in enumerate(documents):
        labels: dict[tuple[int, int], set[str]] = {}
        for span in document.spans:
            labels.setdefault((span.start, span.end), set()).add(span.label)
        for span in document.spans:
            if span.fragments or len(labels[span.start, span.end]) > 1:
                left_out += 1
            else:
                found.append(Candidate(number, span.start, span.end, span.label))
                surfaces[_surface(_words(document.text[span.start : span.end]))] += 1
    known = {surface for surface, count in surfaces.items() if count >= TWICE and surface}
    firsts = {surface.split(" ", 1)[0] for surface in known}
    places: dict[str, list[Candidate]] = {}
    for number, document in enumerate(documents):
        for start, end, surface in _unlabelled(document, known, firsts):
            places.setdefault(surface, []).append(Candidate(number, start, end, None))
    for surface, some in places.items():
        taken = min(len(some), TIMES * surfaces[surface])
        found += [some[place * len(some) // taken] for place in range(taken)]
    return found, left_out


def features(text: str, one: Candidate) -> list[str]:
    """What the model sees of a candidate: its words, its shape, its ends, and two words on either side."""
    inner = _words(text[one.start : one.end])
    before = ["", "", *_words(text[max(0, one.start - 60) : one.start])][-2:]
    after = [*_words(text[one.end : one.end + 60]), "", ""][:2]
    surface = _surface(inner)
    shape = text[one.start : one.end]
    for pattern, sign in _SHAPES:
        shape = pattern.sub(sign, shape)
    return [
        f"surface {surface}", f"shape {shape}", f"begin {surface[:3]}", f"end {surface[-3:]}",
        *(f"word {word}" for word in set(inner)),
        f"before {before[1]}", f"before2 {before[0]} {before[1]}", f"after {after[0]}",
        f"after2 {after[0]} {after[1]}", f"around {before[1]} {after[0]}",
    ]  # fmt: skip


def _unlabelled(document: Document, known: set[str], firsts: set[str]) -> Iterator[tuple[int, int, str]]:
    """Stretches outside of all spans whose words are a known surface, and it, longest first, left to right."""
    covered = bytearray(len(document.text))
    for span in document.spans:
        covered[span.start : span.end] = b"1" * (span.end - span.start)
    pieces = [(match.start(), match.end(), match.group().casefold()) for match in _PIECE.finditer(document.text)]
    place = 0
    while place < len(pieces):
        taken = 1
        if pieces[place][2] in firsts:
            for length in range(min(LONGEST, len(pieces) - place), 0, -1):
                some = pieces[place : place + length]
                start, end = some[0][0], some[-1][1]
                surface = _surface([word for _, _, word in some])
                if surface in known and not any(covered[start:end]):
                    yield start, end, surface
                    taken = length
                    break
        place += taken


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _PIECE.findall(text)]


def _surface(words: Sequence[str]) -> str:
    return " ".join(words)
