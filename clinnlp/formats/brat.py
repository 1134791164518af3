"""Brat standoff: a folder with X.txt and X.ann."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, unquote

from clinnlp.core.document import Document, Quarantined, Span
from clinnlp.errors import ConfigError, DataError, StorageError
from clinnlp.formats import _ann
from clinnlp.formats._bytes import Bad, encode, read_whole, whole_file
from clinnlp.formats._records import dump_json, parse_json
from clinnlp.formats.base import Format, Stem

NO_NOTE = re.compile(r"(readme|licen[cs]e|notice|copying|changelog)", re.IGNORECASE)
MAX_NAME = 180  # bytes; file systems allow 255, less with endings


@dataclass(frozen=True)
class Brat(Format):
    """Brat standoff: X.txt holds the note, X.ann its spans; the id is X.

    Offsets count characters of the text as it is, with its BOM and its \\\\r. A note without .ann has no spans and
    `meta["unannotated"]`. Lines about relations, events and notes stay verbatim in `meta["brat"]`. Labels of
    notes, groups, scores and what else .ann has no place for go into X.json where there are any.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".ann")

    mismatches: str = "refuse"
    """What to do if a surface is not what stands at its offsets: `refuse` the note or `count` in its meta."""

    def select(self, files: list[Path]) -> list[Path]:
        """Each note once: its .txt, or an .ann that has none; a README or licence without .ann is no note."""
        there = set(files)
        kept = []
        for file in files:
            if file.suffix == ".ann" and file.with_suffix(".txt") in there:
                continue
            if file.suffix == ".json" and len(files) > 1:
                continue
            if len(files) > 1 and NO_NOTE.match(file.name) and not file.with_suffix(".ann").exists():
                continue
            kept.append(file)
        return kept

    def read_file(self, path: Path) -> Iterator[Document | Quarantined]:
        """Read the note of one .txt or .ann file, with the files beside it."""
        if self.mismatches not in ("refuse", "count"):
            raise ConfigError(f"brat.mismatches: {self.mismatches!r} is neither 'refuse' nor 'count'")
        note, annotations = path.with_suffix(".txt"), path.with_suffix(".ann")
        if path.suffix not in (".txt", ".ann"):
            yield Quarantined(path.name, "neither .txt nor .ann")
        elif not note.exists():
            yield Quarantined(annotations.name, "there is no .txt of this name beside it")
        else:
            place = note
            try:
                text = read_whole(note)  # read_text would turn \r\n into \n and shift every offset
                place = annotations
                found = _ann.Annotations()
                if annotations.exists():
                    lines = read_whole(annotations).removeprefix("\ufeff")
                    found = _ann.parse(text, lines, self.mismatches == "count")
                place = path.with_suffix(".json")
                more = _sidecar(place)
                yield _document(path, text, found, more, annotations.exists())
            except _ann.BadLine as bad:
                yield Quarantined(f"{annotations.name} line {bad.number}", bad.reason)
            except Bad as reason:
                yield Quarantined(place.name, str(reason))
            except DataError as error:
                yield Quarantined(place.name, error.what)

    def write(self, documents: Iterable[Document], path: Path) -> dict[str, int]:
        """Write a folder of files; ids become safe file names. Raises DataError if an id occurs twice.

        Files of other documents that are in the folder already stay; returns counts with the kept lines that
        speak of spans that are gone.
        """
        if path.exists() and not path.is_dir():
            raise StorageError("a file, but brat writes a folder", where=path.name)
        path.mkdir(parents=True, exist_ok=True)
        ids: set[str] = set()
        used: set[str] = set()
        counts = {"documents": 0, "spans": 0, "brat_lines_dropped": 0}
        for number, document in enumerate(documents, 1):
            if document.id in ids:
                raise DataError(
                    f"document {number} has the id of an earlier one: two notes cannot be one file",
                    next="give each note its own id",
                )
            ids.add(document.id)
            name = _file_name(document.id, used)
            used.add(name.casefold())
            annotations, dropped = _ann.render(document)
            _write(path / f"{name}.txt", encode(document.text))
            bare = document.meta.get("unannotated") and not NO_NOTE.match(name)
            more = _rest(document, name)
            _write(path / f"{name}.ann", None if bare and not annotations else encode(annotations))
            _write(path / f"{name}.json", encode(dump_json(more) + "\n") if more else None)
            counts["documents"] += 1
            counts["spans"] += len(document.spans)
            counts["brat_lines_dropped"] += dropped
        return counts


def _write(path: Path, data: bytes | None) -> None:
    if data is None:
        path.unlink(missing_ok=True)  # of an earlier write: it would be read with the new text
        return
    with whole_file(path) as out:
        out.write(data)


def _encoded(id: str) -> str:
    """An id as a file name: no folder, no leading dot, nothing a file system or shell minds."""
    try:
        name = quote(id, safe="")
    except UnicodeEncodeError:
        raise DataError("a lone surrogate in an id cannot be written") from None
    return "%2E" + name[1:] if name.startswith(".") else name


def _file_name(id: str, used: set[str]) -> str:
    """The file name of an id; a hash where the name would be empty, too long or, but for case, another's."""
    name = _encoded(id)
    if not name or len(name) > MAX_NAME or name.casefold() in used:
        name = f"{name[:40].rstrip('%')}%-{sha256(id.encode()).hexdigest()[:32]}"
    return name


def _id(stem: str) -> str:
    plain = unquote(stem, errors="replace")
    return plain if _encoded(plain) == stem else stem


def _sidecar(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    more = parse_json(read_whole(path))
    return more.get("clinnlp", {}) if isinstance(more, dict) and isinstance(more.get("clinnlp"), dict) else {}


def _rest(document: Document, name: str) -> dict[str, Any]:
    """What .txt and .ann cannot hold of a document; empty if that is nothing."""
    meta = {key: value for key, value in document.meta.items() if key not in ("brat", "unannotated")}
    spans = {}
    for number, span in enumerate(document.spans):
        others = {k: v for k, v in span.attributes.items() if k != _ann.ID and not _ann.can_mark(k, v)}
        if others or span.score is not None:
            spans[str(number)] = {"score": span.score, "attributes": others}
    told = {
        "id": None if _id(name) == document.id else document.id,
        "labels": list(document.labels),
        "group": document.group or None,
        "meta": meta,
        "spans": spans,
    }
    held = {key: value for key, value in told.items() if value not in (None, [], {})}
    return {"clinnlp": held} if held else {}


def _document(path: Path, text: str, found: _ann.Annotations, more: Mapping[str, Any], annotated: bool) -> Document:
    meta: dict[str, Any] = dict(more.get("meta", {}))
    if not annotated:
        meta["unannotated"] = True
    if found.lines:
        meta["brat"] = found.lines
    if found.mismatches:
        meta["surface_mismatches"] = found.mismatches
    id, rest = more.get("id"), more.get("spans", {})
    spans = [_joined(span, rest.get(str(n))) for n, span in enumerate(found.spans)] if rest else found.spans
    return Document(
        id=id if isinstance(id, str) else _stem_id(path.stem),
        text=text,
        spans=tuple(spans),
        labels=tuple(more.get("labels", ())),
        group=more.get("group"),
        meta=meta,
    )


def _stem_id(stem: str) -> str:
    id = _id(stem)
    return Stem(id) if id == stem else id  # a name that was encoded holds all of its id


def _joined(span: Span, more: Mapping[str, Any] | None) -> Span:
    if not more:
        return span
    attributes = {**span.attributes, **more.get("attributes", {})}
    return Span(span.start, span.end, span.label, more.get("score"), attributes, span.fragments)
