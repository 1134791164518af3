"""PubTator: title and abstract lines, then tab-separated annotations."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from clinnlp.core.document import Document, Quarantined, Span
from clinnlp.errors import ConfigError
from clinnlp.formats._bytes import Bad, Line, encode, read_lines, whole_file
from clinnlp.formats._losses import LOSSES, losses
from clinnlp.formats._surface import agrees, mismatch, other_unit, safe, surface_of, unsafe
from clinnlp.formats.base import Format

NAMES = ("identifier", "mentions")  # attributes that have a column
HELD = ("relations", "surface_mismatches")  # fields of meta that are held, or found again
PASSAGE = re.compile(r"([^|\t]*)\|([ta])\|(.*)", re.DOTALL)


@dataclass(frozen=True)
class Pubtator(Format):
    """PubTator: `id|t|title` and `id|a|abstract`, a line for each span, an empty line after each document.

    The text is title, line feed, abstract: one character between them, as the offsets count. Identifiers of
    spans stay in their attributes, lines of relations in `meta["relations"]`.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".pubtator", ".PubTator", ".PubTator.txt", ".pubtator.txt")

    mismatches: str = "refuse"
    """What to do if a surface is not what stands at its offsets: `refuse` the document or `count` in its meta."""

    def read_file(self, path: Path) -> Iterator[Document | Quarantined]:
        """Stream the documents of one file; one with a line that cannot be read is set aside."""
        if self.mismatches not in ("refuse", "count"):
            raise ConfigError(f"pubtator.mismatches: {self.mismatches!r} is neither 'refuse' nor 'count'")
        for block in _blocks(path):
            number = block[0].number
            try:
                parts = []
                for line in block:
                    number = line.number
                    parts.append(line.text().removesuffix("\r"))
                yield self._document(parts)
            except _BadPart as bad:
                yield Quarantined(f"{path.name} line {block[bad.place].number}", str(bad))
            except Bad as reason:
                yield Quarantined(f"{path.name} line {number}", str(reason))

    def _document(self, parts: list[str]) -> Document:
        title = PASSAGE.fullmatch(parts[0])
        if title is None or title[2] != "t":
            raise _BadPart(0, "a document must start with its title: id|t|title")
        id, text, first = title[1], title[3], 1
        abstract = PASSAGE.fullmatch(parts[1]) if len(parts) > 1 else None
        if abstract is not None and "\t" not in parts[1].partition("|")[0]:
            if abstract[2] != "a" or abstract[1] != id:
                raise _BadPart(1, "after the title comes the abstract of the same id: id|a|abstract")
            text, first = f"{text}\n{abstract[3]}", 2
        spans, relations, differ = [], [], 0
        for place, part in enumerate(parts[first:], first):
            cells = part.split("\t")
            if cells[0] != id:
                raise _BadPart(place, "the line has another id than its title, or no tab after it")
            if len(cells) >= 5 and cells[1].isdecimal():
                spans.append(_span(cells, text, place))
                pieces = [(spans[-1].start, spans[-1].end)]
                if not agrees(text, pieces, cells[3]):
                    if self.mismatches == "refuse":
                        raise _BadPart(place, mismatch(text, pieces, cells[3]))
                    differ += 1
            elif len(cells) >= 3 and not cells[1].lstrip("-").isdecimal():
                relations.append(cells[1:])
            else:
                raise _BadPart(place, "neither a span (id, start, end, text, label) nor a relation")
        meta: dict[str, object] = {"relations": relations} if relations else {}
        if differ:
            meta["surface_mismatches"] = differ
        return Document(unsafe(id), text, tuple(spans), meta=meta)

    def write(self, documents: Iterable[Document], path: Path) -> dict[str, int]:
        """Write title, abstract and annotations; the first line of a text is its title.

        Returns counts with the spans, labels, groups, scores, attributes and fields of meta that the format cannot
        hold, and with the line ends within an abstract that became blanks.
        """
        counts = Counter(dict.fromkeys(("documents", "spans", *LOSSES, "line_ends_replaced"), 0))
        with whole_file(path) as out:
            for document in documents:
                id = safe(document.id)
                title, has_abstract, abstract = document.text.partition("\n")
                parts = [f"{id}|t|{_flat(title)}"]
                if has_abstract:
                    parts.append(f"{id}|a|{_flat(abstract)}")
                spans = [span for span in document.spans if span.label and not span.fragments]
                parts += [_line(id, document.text, span) for span in spans]
                relations = document.meta.get("relations")
                for cells in relations if isinstance(relations, list | tuple) else ():
                    parts.append("\t".join([id, *(_cell(cell) for cell in cells)]))
                out.write(encode("".join(f"{part}\n" for part in parts) + "\n"))
                counts.update(documents=1, spans=len(spans))
                counts.update(losses(document, spans, NAMES, HELD))
                counts["line_ends_replaced"] += len(re.findall(r"[\n\r]", title + abstract))
        return dict(counts)


class _BadPart(Exception):
    """A line of a document that cannot be read: its place in the document, and why."""

    def __init__(self, place: int, reason: str) -> None:
        super().__init__(reason)
        self.place = place


def _blocks(path: Path) -> Iterator[list[Line]]:
    """The lines of each document: from one empty line, or title, to the next."""
    block: list[Line] = []
    for line in read_lines(path):
        blank = not line.raw.strip(b" \t\r")
        if block and (blank or re.match(rb"[^|\t]*\|t\|", line.raw)):
            yield block
            block = []
        if not blank:
            block.append(line)
    if block:
        yield block


def _span(cells: list[str], text: str, place: int) -> Span:
    if not cells[2].isdecimal() or len(cells[1]) > 18 or len(cells[2]) > 18:
        raise _BadPart(place, "an offset is not a number")
    start, end = int(cells[1]), int(cells[2])
    if start >= end:
        raise _BadPart(place, "a span is empty or reversed")
    if end > len(text):
        told = f"a span ends outside the text of {len(text)} characters"
        raise _BadPart(place, other_unit(text, [(start, end)], cells[3]) or told)
    attributes = {name: cell for name, cell in zip(NAMES, cells[5:], strict=False) if cell}
    return Span(start, end, unsafe(cells[4]), attributes=attributes)


def _line(id: str, text: str, span: Span) -> str:
    surface = surface_of(text, [(span.start, span.end)])
    cells = [id, str(span.start), str(span.end), surface, safe(span.label)]
    told = [_cell(span.attributes.get(name, "")) for name in NAMES]
    while told and not told[-1]:
        told.pop()
    return "\t".join([*cells, *told])


def _cell(value: object) -> str:
    """One cell of a line of annotations."""
    return _flat(str(value)).replace("\t", " ")


def _flat(text: str) -> str:
    return re.sub(r"[\n\r]", " ", text)
