"""CoNLL: one token and its tag a line, an empty line after each sentence."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import ClassVar

from clinnlp.core.document import Document, Quarantined, Span
from clinnlp.errors import ConfigError
from clinnlp.formats._bytes import Bad, Line, encode, read_lines, whole_file
from clinnlp.formats._losses import LOSSES, losses
from clinnlp.formats._surface import safe, unsafe
from clinnlp.formats._tags import OUTSIDE, SCHEMES, Survey, Tag, entities, illegal, parse_tag
from clinnlp.formats._tokens import choose_spans, joined_text, tag_lines
from clinnlp.formats.base import Format, Ordinal

START = "-DOCSTART-"
ID = "id="
ILLEGAL = "illegal_tags"
"""In the meta of a document: how many of the tags that its spans were read from continue nothing."""


@dataclass(frozen=True)
class Conll(Format):
    """CoNLL columns: one token and its BIO tag a line, an empty line between sentences.

    Documents start at -DOCSTART- lines; in a file without them every sentence is a document. The text is the
    tokens joined by a blank and the sentences by a line feed; `meta["conll"]` says so. An I- that continues
    nothing begins an entity, as in conlleval, and is counted in `meta["illegal_tags"]`. Other columns than
    token and tag are not kept.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".conll", ".tsv", ".iob", ".bio")

    scheme: str = "auto"
    """`IOB1`, `IOB2`, `IOBES` (also in the letters of BILOU), or `auto`: found from all tags of the file."""
    token_column: int = 0
    """Position of the token; negative from the end."""
    tag_column: int = -1
    """Position of the tag; negative from the end."""
    separator: str = ""
    """What stands between columns; empty for a tab where the line has one, else blanks."""

    def _check(self) -> None:
        if self.scheme not in SCHEMES:
            raise ConfigError(f"conll.scheme: {self.scheme!r} is not one of {', '.join(SCHEMES)}")

    def read_file(self, path: Path) -> Iterator[Document | Quarantined]:
        """Stream the documents of one file, after one pass over it that finds the scheme and the kind of document."""
        self._check()
        scheme, by_start = self._survey(path)
        number = 0
        reading = _Reading(self, scheme, "document" if by_start else "sentence", path.name)
        for line in read_lines(path):
            if line.raw.startswith(START.encode()):
                if number:
                    yield reading.finish(number)
                number += 1
                reading.start(line)
            elif line.raw.strip(b" \t\r"):
                number = number or 1
                reading.add(line)
            elif reading.tokens:
                reading.end_sentence()
                if not by_start:
                    yield reading.finish(number)
                    number += 1
        if reading.begun:
            yield reading.finish(number)

    def read_as(self, files: Iterable[Path]) -> dict[str, str]:
        """The scheme of the tags, and whether it was given or found."""
        if self.scheme != "auto":
            return {"tag scheme": f"{self.scheme}, as given"}
        return {"tag scheme": f"{' and '.join(sorted({self._survey(file)[0] for file in files}))}, found from the tags"}

    def _survey(self, path: Path) -> tuple[str, bool]:
        survey, by_start = Survey(), False
        for line in read_lines(path):
            if line.raw.startswith(START.encode()):
                by_start = True
            elif not line.raw.strip(b" \t\r"):
                survey.add(OUTSIDE)
            else:
                try:
                    survey.add(self.columns(line)[1])
                except Bad:  # the second pass says so, with its place
                    survey.add(OUTSIDE)
            if by_start and self.scheme != "auto":
                break
        return (survey.scheme if self.scheme == "auto" else self.scheme), by_start

    def columns(self, line: Line) -> tuple[str, Tag]:
        """Token and tag of a line. Raises Bad."""
        text = line.text().removesuffix("\r")
        if self.separator:
            cells = text.split(self.separator)
        else:
            cells = text.split("\t") if "\t" in text else re.split(" +", text.rstrip(" "))
        try:
            if len(cells) < 2:
                raise IndexError
            return cells[self.token_column], parse_tag(cells[self.tag_column])
        except IndexError:
            raise Bad(f"{len(cells)} columns are too few: a token and a tag are needed") from None

    def write(self, documents: Iterable[Document], path: Path) -> dict[str, int]:
        """Write tokens and tags; returns counts with what the format cannot hold, changed texts and trimmed spans.

        Text read from CoNLL is cut where it was joined, other text into words, punctuation and at span borders.
        -DOCSTART- lines are left out if every document was one sentence of a file without them.
        """
        self._check()
        scheme = "IOB2" if self.scheme == "auto" else self.scheme
        separator = self.separator or "\t"
        counts = Counter(dict.fromkeys(("documents", "spans", *LOSSES, "texts_changed", "spans_trimmed"), 0))
        by_start = False
        with whole_file(path) as out, TemporaryFile(dir=path.parent) as aside:
            for document in documents:
                chosen = choose_spans(document)
                by_start |= document.meta.get("conll") != "sentence" or "\n" in document.text
                aside.write(encode(f"{START}\t{ID}{safe(document.id)}\tO\n\n"))
                lines = list(tag_lines(document, chosen, scheme))
                for token, tag in lines:
                    aside.write(encode(f"{token}{separator}{tag}\n" if tag else "\n"))
                counts.update(documents=1, spans=len(chosen), texts_changed=joined_text(lines) != document.text)
                pieces = [document.text[span.start : span.end] for span in chosen]
                counts["spans_trimmed"] += sum(piece != piece.strip() for piece in pieces)
                counts.update(losses(document, chosen, meta=("conll", ILLEGAL)))
            aside.seek(0)
            skip_blank = False
            for raw in aside:  # only now it is known whether the documents need their -DOCSTART- lines
                is_start = raw.startswith(START.encode())
                if by_start or not (is_start or (skip_blank and raw == b"\n")):
                    out.write(raw)
                skip_blank = is_start
        return dict(counts)


class _Reading:
    """The document being read."""

    def __init__(self, format: Conll, scheme: str, kind: str, file: str) -> None:
        self.format, self.scheme, self.kind, self.file = format, scheme, kind, file
        self.reset()

    def reset(self) -> None:
        self.begun = False
        self.id: str | None = None
        self.sentences: list[str] = []
        self.spans: list[Span] = []
        self.tokens: list[str] = []
        self.tags: list[Tag] = []
        self.length = self.illegal = self.first_line = 0
        self.blanks = False
        self.bad: Quarantined | None = None

    def start(self, line: Line) -> None:
        self.begun = True
        try:
            held = [cell for cell in re.split(r"[\t ]+", line.text()) if cell.startswith(ID)]
            self.id = unsafe(held[0][len(ID) :].removesuffix("\r")) if held else None
        except Bad as reason:
            self.set_aside(line, reason)

    def add(self, line: Line) -> None:
        self.begun = True
        self.first_line = self.first_line or line.number
        try:
            token, tag = self.format.columns(line)
        except Bad as reason:
            self.set_aside(line, reason)
            token, tag = "", OUTSIDE
        self.tokens.append(token)
        self.tags.append(tag)

    def set_aside(self, line: Line, reason: Bad) -> None:
        self.bad = self.bad or Quarantined(f"{self.file} line {line.number}", f"{reason}; its {self.kind} is set aside")

    def end_sentence(self) -> None:
        places = []
        at = self.length
        for token in self.tokens:
            places.append((at, at + len(token)))
            at += len(token) + 1
            self.blanks |= " " in token
        for first, after, label in entities(self.tags):
            start, end = places[first][0], places[after - 1][1]
            if start < end:
                self.spans.append(Span(start, end, label))
            elif self.bad is None:
                where = f"{self.file} line {self.first_line}"
                self.bad = Quarantined(where, f"an entity of this {self.kind} has no characters")
        self.sentences.append(" ".join(self.tokens))
        self.illegal += illegal(self.tags, self.scheme)
        self.length = at
        self.tokens, self.tags = [], []

    def finish(self, number: int) -> Document | Quarantined:
        if self.tokens:
            self.end_sentence()
        made: Document | Quarantined
        if self.bad is not None:
            made = self.bad
        else:
            meta: dict[str, object] = {} if self.blanks else {"conll": self.kind}  # cannot be cut at blanks again
            if self.illegal:
                meta[ILLEGAL] = self.illegal
            id = Ordinal(number) if self.id is None else self.id
            made = Document(id, "\n".join(self.sentences), tuple(self.spans), meta=meta)
        self.reset()
        return made
