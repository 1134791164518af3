"""The lines of a brat .ann file as spans, and back."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from clinnlp.core.document import Document, Span
from clinnlp.formats._surface import HINT, agrees, mismatch, other_unit, safe, surface_of, unsafe

KNOWN = re.compile(r"(?:[TREAMN]\d+|#\d*|\*)\t")
SPAN_LINE = re.compile(r"(T\d+)\t(.*) (\d+ \d+(?:;\d+ \d+)*)", re.DOTALL)
ID = "brat_id"
MARK = re.compile(r"[AM]\d+\t(\S+) (T\d+)(?: (.*))?", re.DOTALL)


@dataclass
class _Entry:
    """A T line while its file is read."""

    number: int
    id: str
    label: str
    pieces: list[tuple[int, int]]
    surface: str | None
    attributes: dict[str, Any] = field(default_factory=dict)

    def agrees(self, text: str) -> bool:
        return self.surface is None or agrees(text, self.pieces, self.surface)


@dataclass
class Annotations:
    """What a .ann file says: spans, lines about other things verbatim, surfaces that differ from the text."""

    spans: list[Span] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    mismatches: int = 0


class BadLine(Exception):
    """A line of a .ann file that cannot be read, and why."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number, self.reason = number, reason


def parse(text: str, annotations: str, count_mismatches: bool) -> Annotations:
    """Read the lines of a .ann file against its text. Raises BadLine."""
    entries, others, stray = _sort_lines(text, annotations)
    wrong = [entry for entry in entries.values() if not entry.agrees(text)]
    if not count_mismatches:
        if stray:
            raise BadLine(stray[0], f"no line of brat: it starts with none of T R E A M N # *; {HINT}")
        if wrong:
            raise BadLine(wrong[0].number, mismatch(text, wrong[0].pieces, wrong[0].surface or ""))
    lines = [line for line in others if not _mark(line, entries)]
    if lines:  # they speak of the spans by their ids
        for entry in entries.values():
            entry.attributes[ID] = entry.id
    return Annotations([_span(entry) for entry in entries.values()], lines, len(wrong) + len(stray))


def _sort_lines(text: str, annotations: str) -> tuple[dict[str, _Entry], list[str], list[int]]:
    """The T lines by id, all other lines of brat, and the numbers of lines that are neither."""
    entries, others, stray = dict[str, _Entry](), list[str](), list[int]()
    last: _Entry | None = None
    for number, raw in enumerate(annotations.split("\n"), 1):
        line = raw.removesuffix("\r")
        if KNOWN.match(line):
            last = _entry(line, number, text) if line.startswith("T") else None
            if last is None:
                others.append(line)
            elif last.id in entries:
                raise BadLine(number, "an annotation id that an earlier line has")
            else:
                entries[last.id] = last
        elif last is not None and not last.agrees(text):
            last.surface = f"{last.surface}\n{line}"  # CHIA wrote the line ends inside surfaces as they were
        elif line.strip():
            stray.append(number)
    return entries, others, stray


def _entry(line: str, number: int, text: str) -> _Entry:
    id_and_place, _, surface = line.partition("\t")[2].partition("\t")
    match = SPAN_LINE.fullmatch(line.partition("\t")[0] + "\t" + id_and_place)
    if match is None:
        raise BadLine(number, "no label with start and end")
    try:
        given = [(int(a), int(b)) for a, b in (piece.split(" ") for piece in match[3].split(";"))]
    except ValueError:
        raise BadLine(number, "an offset has too many digits") from None
    pieces = sorted(given)  # CHIA has 135 spans out of text order, their surface in the order given
    if any(a >= b for a, b in pieces):
        raise BadLine(number, "a span is empty or reversed")
    if pieces[-1][1] > len(text):
        told = f"a span ends outside the text of {len(text)} characters"
        raise BadLine(number, other_unit(text, given, surface) or told)
    if any(b > c for (_, b), (c, _) in pairwise(pieces)):
        raise BadLine(number, "the fragments of a span overlap")
    has_surface = line.count("\t") > 1
    return _Entry(number, match[1], unsafe(match[2]), given, surface if has_surface else None)


def _mark(line: str, entries: dict[str, _Entry]) -> bool:
    """Put an attribute line on its span; False if it speaks of something else."""
    match = MARK.fullmatch(line)
    entry = entries.get(match[2]) if match else None
    if match is None or entry is None or unsafe(match[1]) in entry.attributes:
        return False
    entry.attributes[unsafe(match[1])] = True if match[3] is None else match[3]
    return True


def _span(entry: _Entry) -> Span:
    pieces = sorted(entry.pieces)
    fragments = tuple(pieces) if len(pieces) > 1 else ()
    start, end = pieces[0][0], pieces[-1][1]
    return Span(start, end, entry.label, attributes=entry.attributes, fragments=fragments)


def can_mark(name: str, value: object) -> bool:
    """Whether an attribute line can hold this attribute exactly."""
    if not name or name == ID:
        return False
    return value is True or (isinstance(value, str) and bool(value) and not re.search(r"[\n\r]", value))


def render(document: Document) -> tuple[str, int]:
    """The .ann file of a document, and how many kept lines speak of spans that are gone."""
    lines: list[str] = []
    held = document.meta.get("brat")
    kept = [str(line) for line in held] if isinstance(held, list | tuple) else []
    ids = _ids(document, kept)
    there = set(ids)
    marks = _numbers(kept, "A")
    for id, span in zip(ids, document.spans, strict=True):
        pieces = span.fragments or ((span.start, span.end),)
        places = ";".join(f"{start} {end}" for start, end in pieces)
        lines.append(f"{id}\t{safe(span.label)} {places}\t{surface_of(document.text, pieces)}")
        for name, value in span.attributes.items():
            if can_mark(name, value):
                lines.append(f"A{next(marks)}\t{safe(name)} {id}" + ("" if value is True else f" {value}"))
    still = [line for line in kept if all(id in there for id in re.findall(r"\bT\d+\b", _references(line)))]
    return "".join(line + "\n" for line in [*lines, *still]), len(kept) - len(still)


def _references(line: str) -> str:
    """The part of a line that may name spans: not the free text of a note or a normalization."""
    cells = line.split("\t")
    return cells[1] if len(cells) > 1 else ""


def _ids(document: Document, kept: list[str]) -> list[str]:
    """The T id of each span: the one it was read with, if other lines may speak of it, else a free number."""
    taken = {id for line in kept for id in re.findall(r"\bT\d+\b", _references(line))}
    mine: list[str | None] = []
    seen: set[object] = set()
    for span in document.spans:
        id = span.attributes.get(ID) if kept else None
        own = isinstance(id, str) and re.fullmatch(r"T\d+", id) is not None and id not in seen
        mine.append(id if own else None)
        seen.add(id)
    taken.update(id for id in mine if id)
    free = (f"T{n}" for n in range(1, len(mine) + len(taken) + 1) if f"T{n}" not in taken)
    return [id or next(free) for id in mine]


def _numbers(kept: list[str], letter: str) -> Iterator[int]:
    taken = {line.partition("\t")[0] for line in kept}
    n = 0
    while True:
        n += 1
        if f"{letter}{n}" not in taken:
            yield n
