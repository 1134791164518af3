"""JSONL: one JSON object a line."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from clinnlp.core.document import Document, Quarantined
from clinnlp.formats._bytes import Bad, Line, encode, read_lines, whole_file
from clinnlp.formats._records import Named, dump_json, parse_json, to_document, to_spans
from clinnlp.formats.base import Format


@dataclass(frozen=True)
class Jsonl(Named, Format):
    """JSON lines: one note a line, as {"id", "text", "spans", "labels", "group", "meta"}.

    A span is {"start", "end", "label"} with "score", "fragments", "attributes" and "text" where given; "text"
    is checked against the offsets. Every other field of a line is kept in `meta`.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson")

    def read_file(self, path: Path) -> Iterator[Document | Quarantined]:
        """Stream the notes of one file; a line that cannot be read is set aside, blank lines are passed over."""
        self.fields.check()
        for line in read_lines(path):
            if not line.raw.strip(b" \t\r"):
                continue
            try:
                yield self._document(line)
            except Bad as reason:
                yield Quarantined(f"{path.name} line {line.number}", str(reason))

    def _document(self, line: Line) -> Document:
        record = parse_json(line.text())
        if not isinstance(record, dict):
            raise Bad(f"a {type(record).__name__}, not an object")
        return to_document(record, self.fields, line.number)

    def write(self, documents: Iterable[Document], path: Path) -> dict[str, int]:
        """Write one line for each note; nothing is lost."""
        fields, counts = self.fields, {"documents": 0, "spans": 0}
        fields.check()
        with whole_file(path) as out:
            for document in documents:
                record: dict[str, Any] = {
                    fields.id: document.id,
                    fields.text: document.text,
                    fields.spans: to_spans(document),
                    fields.labels: list(document.labels),
                }
                if document.group is not None:
                    record[fields.group] = document.group
                if document.meta:
                    record[fields.meta] = dict(document.meta)
                out.write(encode(dump_json(record) + "\n"))
                counts["documents"] += 1
                counts["spans"] += len(document.spans)
        return counts
