"""Parquet: one note a row, spans as structs."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from clinnlp.core.document import Document, Quarantined
from clinnlp.errors import DataError
from clinnlp.formats._bytes import Bad, whole_file
from clinnlp.formats._records import Fields, Named, dump_json, object_or_text, parse_json, to_document, to_spans
from clinnlp.formats.base import Format

READ_ROWS = 256
WRITE_ROWS = 1024
WRITE_CHARACTERS = 2**26  # rows wait for their batch; long notes must not wait in great numbers


@dataclass(frozen=True)
class Parquet(Named, Format):
    """Parquet: one note a row, spans as a list of structs, `meta` as a JSON object in a string.

    Spans may also be a string with a JSON list. Other columns are kept in `meta`; dates and decimals there
    become strings.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".parquet",)

    def read_file(self, path: Path) -> Iterator[Document | Quarantined]:
        """Stream the notes of one file; a row with a null or undecodable text is set aside.

        Raises DataError for what is no Parquet file and for a missing or wrongly typed column.
        """
        import pyarrow as pa
        from pyarrow import parquet as pq

        number = 0
        with path.open("rb") as stream:
            try:
                file = pq.ParquetFile(stream)
                self._check(file.schema_arrow, path.name)
                for batch in file.iter_batches(READ_ROWS, use_threads=False):
                    columns = [_values(column) for column in batch.columns]
                    for row in zip(*columns, strict=True):
                        number += 1
                        try:
                            yield self._document(dict(zip(batch.schema.names, row, strict=True)), number)
                        except Bad as reason:
                            yield Quarantined(f"{path.name} row {number}", str(reason))
            except pa.ArrowException:  # its own words may hold values
                raise DataError(
                    f"not a whole Parquet file: unreadable after row {number}", where=path.name, next="copy it again"
                ) from None

    def _check(self, schema: Any, where: str) -> None:
        from pyarrow import types

        fields = self.fields
        fields.check_columns(schema.names, where)

        def textual(kind: Any) -> bool:
            kind = kind.value_type if types.is_dictionary(kind) else kind
            return bool(types.is_string(kind) or types.is_large_string(kind) or kind == "string_view")

        def listed(kind: Any) -> bool:
            return bool(types.is_list(kind) or types.is_large_list(kind))

        wanted: dict[str, tuple[str, Callable[[Any], bool]]] = {
            fields.id: ("strings or whole numbers", lambda kind: textual(kind) or types.is_integer(kind)),
            fields.text: ("strings", textual),
            fields.spans: ("a list of structs, or strings", lambda kind: listed(kind) or textual(kind)),
            fields.labels: ("lists of strings, or strings", lambda kind: listed(kind) or textual(kind)),
            fields.group: ("strings or whole numbers", lambda kind: textual(kind) or types.is_integer(kind)),
        }
        for column in schema:
            told, fits = wanted.get(column.name, ("", lambda _: True))
            if not fits(column.type) and not types.is_null(column.type):
                raise DataError(
                    f"column {column.name!r} holds {column.type}, not {told}", where=where, next="cast the column"
                )

    def _document(self, record: dict[str, Any], number: int) -> Document:
        fields = self.fields
        for name, value in record.items():
            if isinstance(value, Bad):
                raise Bad(f"column {name!r} {value}")
        spans, meta = record.get(fields.spans), record.get(fields.meta)
        if isinstance(spans, str):
            record[fields.spans] = parse_json(spans) if spans else None
        elif spans is not None:
            record[fields.spans] = [_span(entry) for entry in spans]
        if isinstance(meta, str):
            record[fields.meta] = object_or_text(meta) if meta else None
        plain = {name: value if name in fields.all else _plain(value) for name, value in record.items()}
        return to_document(plain, fields, number)

    def write(self, documents: Iterable[Document], path: Path) -> dict[str, int]:
        """Write one row for each note; nothing is lost but a group that is an empty string."""
        import pyarrow as pa
        from pyarrow import parquet as pq

        self.fields.check()
        schema = _schema(self.fields)
        counts = {"documents": 0, "spans": 0}
        with whole_file(path) as out, pq.ParquetWriter(out, schema) as writer:
            rows: list[dict[str, Any]] = []
            waiting = 0
            for document in documents:
                rows.append(self._row(document))
                waiting += len(document.text)
                counts["documents"] += 1
                counts["spans"] += len(document.spans)
                if len(rows) == WRITE_ROWS or waiting > WRITE_CHARACTERS:
                    writer.write_batch(_batch(pa, rows, schema))
                    rows, waiting = [], 0
            if rows:
                writer.write_batch(_batch(pa, rows, schema))
        return counts

    def _row(self, document: Document) -> dict[str, Any]:
        fields, spans = self.fields, to_spans(document)
        for span in spans:
            if "attributes" in span:
                span["attributes"] = dump_json(span["attributes"])
        return {
            fields.id: str(document.id),
            fields.text: document.text,
            fields.spans: spans,
            fields.labels: list(document.labels),
            fields.group: document.group or None,
            fields.meta: dump_json(dict(document.meta)) if document.meta else None,
        }


def _schema(fields: Fields) -> Any:
    import pyarrow as pa

    span = pa.struct(
        [
            ("start", pa.int64()),
            ("end", pa.int64()),
            ("label", pa.string()),
            ("score", pa.float64()),
            ("fragments", pa.list_(pa.list_(pa.int64()))),
            ("attributes", pa.string()),  # JSON: a struct would need the same keys in every row
        ]
    )
    return pa.schema(
        [
            pa.field(fields.id, pa.large_string(), nullable=False),
            pa.field(fields.text, pa.large_string(), nullable=False),
            pa.field(fields.spans, pa.list_(span)),
            pa.field(fields.labels, pa.list_(pa.string())),
            pa.field(fields.group, pa.large_string()),
            pa.field(fields.meta, pa.large_string()),
        ]
    )


def _batch(pa: Any, rows: list[dict[str, Any]], schema: Any) -> Any:
    try:
        return pa.RecordBatch.from_pylist(rows, schema=schema)
    except (pa.ArrowException, UnicodeEncodeError):  # their words may hold values
        raise DataError("an id, label, score or group cannot be stored in Parquet") from None


def _values(column: Any) -> list[Any]:
    """The cells of a column; one that is not UTF-8 comes as Bad."""
    try:
        values: list[Any] = column.to_pylist()
        return values
    except UnicodeDecodeError:
        return [_value(cell) for cell in column]


def _value(cell: Any) -> Any:
    try:
        return cell.as_py()
    except UnicodeDecodeError as error:
        return Bad(f"is not valid UTF-8 at its byte {error.start}")


def _span(entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    held = {key: value for key, value in entry.items() if value is not None}
    if isinstance(held.get("attributes"), str):
        held["attributes"] = parse_json(held["attributes"])
    return held


def _plain(value: Any) -> Any:
    """A value of another column as JSON can hold it."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(held) for held in value]
    return value.hex() if isinstance(value, bytes) else str(value)
