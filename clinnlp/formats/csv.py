"""CSV: one note a row, spans and meta as JSON in their cells."""

import csv
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

from clinnlp.core.document import Document, Quarantined
from clinnlp.errors import ConfigError, DataError
from clinnlp.formats._bytes import Bad, encode, raw_lines, whole_file
from clinnlp.formats._records import Named, dump_json, object_or_text, parse_json, to_document, to_spans
from clinnlp.formats.base import Format


@dataclass(frozen=True)
class Csv(Named, Format):
    """CSV with a header: one note a row; every cell is a string, exactly as stored.

    Spans are a JSON list in their cell; labels are a JSON list or one label. Other columns are kept in `meta`.
    Nothing is guessed: the delimiter is declared, `None`, `NA`, `0012` and the empty note stay what they are.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".csv",)

    delimiter: str = ","
    """The one character between two cells."""
    labels_separator: str = ""
    """What stands between two labels of a cell that is not JSON; empty if such a cell is one label."""

    def read_file(self, path: Path) -> Iterator[Document | Quarantined]:
        """Stream the notes of one file; a ragged or undecodable row is set aside.

        Raises DataError for a header that lacks a column asked for or holds one twice.
        """
        rows = self._rows(path)
        header = next((row for _, row in rows if row), None)
        if header is None:
            return
        if isinstance(header, Bad):
            raise DataError(f"the header cannot be read: {header}", where=path.name)
        alone = "set the delimiter, if it is another, or " if len(header) == 1 else ""
        self.fields.check_columns(header, path.name, next=f"{alone}name the right column")
        ordinal = 0
        for number, row in rows:
            if row == []:
                continue
            ordinal += 1
            try:
                yield self._document(header, row, ordinal)
            except Bad as reason:
                yield Quarantined(f"{path.name} line {number}", str(reason))

    def _rows(self, path: Path) -> Iterator[tuple[int, list[str] | Bad]]:
        """Each row with the line it starts on; a row that breaks the rules of CSV comes as Bad."""
        if len(self.delimiter) != 1 or self.delimiter in '"\r\n':
            raise ConfigError("csv.delimiter must be one character, and no quote or line end")
        csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # of the whole process; the default cuts at 131,072
        # \n inside quotes keeps its \r; bytes that are not UTF-8 come through as surrogates, judged row by row
        lines = (raw.decode("utf-8", "surrogateescape") for raw in raw_lines(path))
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        while True:
            number = reader.line_num + 1
            try:
                row: list[str] | Bad = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                row = Bad(f"not valid CSV ({_csv_reason(error, reader.line_num - number)})")
            yield number, row if isinstance(row, Bad) else _decoded(row)

    def _document(self, header: list[str], row: list[str] | Bad, ordinal: int) -> Document:
        if isinstance(row, Bad):
            raise row
        if len(row) != len(header):
            raise Bad(f"the row has {len(row)} cells, the header {len(header)}")
        record: dict[str, Any] = dict(zip(header, row, strict=True))
        fields = self.fields
        if spans := record.pop(fields.spans, None):
            record[fields.spans] = parse_json(spans)
        if labels := record.pop(fields.labels, None):
            record[fields.labels] = self._labels(labels)
        if meta := record.pop(fields.meta, None):
            record[fields.meta] = object_or_text(meta)
        return to_document(record, fields, ordinal)

    def _labels(self, cell: str) -> Any:
        if cell.startswith("["):
            try:
                return parse_json(cell)
            except Bad:
                pass  # a label may start with a bracket
        return cell.split(self.labels_separator) if self.labels_separator else cell

    def write(self, documents: Iterable[Document], path: Path) -> dict[str, int]:
        """Write one row for each note, every cell quoted; nothing is lost but a group that is an empty string."""
        counts = {"documents": 0, "spans": 0}
        self.fields.check()
        with whole_file(path) as out:
            out.write(self._row(list(self.fields.all)))
            for document in documents:
                row = [
                    document.id,
                    document.text,
                    dump_json(to_spans(document)) if document.spans else "",
                    dump_json(list(document.labels)) if document.labels else "",
                    document.group or "",
                    dump_json(dict(document.meta)) if document.meta else "",
                ]
                out.write(self._row(row))
                counts["documents"] += 1
                counts["spans"] += len(document.spans)
        return counts

    def _row(self, cells: list[str]) -> bytes:
        row = StringIO(newline="")
        csv.writer(row, delimiter=self.delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(cells)
        return encode(row.getvalue())


def _csv_reason(error: csv.Error, after: int) -> str:
    told = str(error)
    if "new-line character" in told:
        return "a carriage return outside quotes"
    if "unexpected end" in told:
        return "a quote is never closed" + (
            f"; set aside with it, to the end of the file: {after} lines" if after else ""
        )
    return "text after a closing quote"


def _decoded(row: list[str]) -> list[str] | Bad:
    for number, cell in enumerate(row, 1):
        try:
            cell.encode("utf-8")
        except UnicodeEncodeError as error:
            if number == 1 and cell.startswith(("\udcff\udcfe", "\udcfe\udcff")):
                return Bad("the file is UTF-16: convert it to UTF-8")
            place = len(cell[: error.start].encode("utf-8"))
            return Bad(f"cell {number} is not valid UTF-8 at its byte {place}: if it is cp1252, convert the file")
    return row
