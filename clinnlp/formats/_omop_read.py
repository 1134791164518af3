"""NOTE and NOTE_NLP as documents: streamed in the order of note_id, in short transactions."""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clinnlp.core.document import Document, Quarantined, Span
from clinnlp.errors import DataError
from clinnlp.formats import _note_nlp, _sql
from clinnlp.formats._bytes import Bad

if TYPE_CHECKING:
    from clinnlp.formats.omop import Omop

READ_ROWS = 500
META = (
    "note_date", "note_datetime", "note_type_concept_id", "note_class_concept_id", "visit_occurrence_id",
    "visit_detail_id",
)  # fmt: skip
NLP = (
    "note_nlp_id", "note_id", "lexical_variant", "offset", "offset_start", "offset_end", "term_modifiers",
    *_note_nlp.CONCEPTS, *_note_nlp.TERMS,
)  # fmt: skip


def read(engine: Any, options: "Omop", where: str) -> Iterator[Document | Quarantined]:
    """Stream the notes with their spans; a row that cannot be read is set aside, by its number in the order of ids."""
    note = _sql.find_table(engine, options.table, options.schema, ("note_id", "note_text"), where)
    nlp = note_nlp(engine, options, where) if options.read_spans else None
    with engine.begin() as connection:
        lost = connection.execute(_count(note)).scalar_one()
    for number in range(lost):
        yield Quarantined(f"{options.table} row {number + 1} of those without an id", "note_id is null")
    number = 0
    for rows in batches(engine, note, ("note_id", "person_id", "note_text", *META), where):
        spans = rows_of(engine, nlp, [row["note_id"] for row in rows], options.system) if nlp is not None else {}
        for row in rows:
            number += 1
            try:
                yield _document(row, spans.get(str(row["note_id"]), ()))
            except Bad as reason:
                yield Quarantined(f"{options.table} row {number}", str(reason))


def note_nlp(engine: Any, options: "Omop", where: str) -> Any:
    """The table NOTE_NLP, or None if the database has none."""
    name, schema = options.nlp_table, options.nlp_schema or options.schema
    if not _sql.has_table(engine, name, schema):
        return None
    table = _sql.find_table(engine, name, schema, ("note_nlp_id", "note_id", "lexical_variant"), where)
    _sql.require(table, ("offset_start" if "offset_start" in table.c else "offset",), where)
    return table


def batches(engine: Any, table: Any, columns: Sequence[str], where: str) -> Iterator[list[Mapping[str, Any]]]:
    """The rows of a table in the order of its first column, each batch from where the one before ended.

    Raises DataError if a value of that column stands twice: rows at the border of two batches could be lost.
    """
    import sqlalchemy as sa

    key = table.c[columns[0]]
    asked = sa.select(*(table.c[name].label(name) for name in columns if name in table.c)).order_by(key)
    last, done = None, 0
    while True:
        after = asked.where(key.is_not(None) if last is None else key > last).limit(READ_ROWS + 1)
        with engine.begin() as connection:
            rows = connection.execute(after).mappings().all()
        for n, row in enumerate(rows):
            if row[columns[0]] == (rows[n - 1][columns[0]] if n else last):
                raise DataError(
                    f"{columns[0]} is not unique: row {done + n + 1} has that of the row before",
                    where=f"{where} {table.name}",
                    next="give each row an id of its own",
                )
        if rows:
            yield rows[:READ_ROWS]
        if len(rows) <= READ_ROWS:
            return
        last, done = rows[READ_ROWS - 1][columns[0]], done + READ_ROWS


def _count(note: Any) -> Any:
    import sqlalchemy as sa

    return sa.select(sa.func.count()).select_from(note).where(note.c.note_id.is_(None))


def rows_of(engine: Any, nlp: Any, ids: Sequence[Any], system: str) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of NOTE_NLP by note_id (as a string), in the order of their ids; of one system, or, given "", of all."""
    import sqlalchemy as sa

    asked = sa.select(*(nlp.c[name].label(name) for name in NLP if name in nlp.c)).where(nlp.c.note_id.in_(ids))
    if system and "nlp_system" in nlp.c:
        asked = asked.where(nlp.c.nlp_system == system)
    found: dict[str, list[Mapping[str, Any]]] = {}
    with engine.begin() as connection:
        for row in connection.execute(asked.order_by(nlp.c.note_id, nlp.c.note_nlp_id)).mappings():
            found.setdefault(str(row["note_id"]), []).append(row)
    return found


def _document(row: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> Document:
    text = text_of(row)
    spans: list[Span] = []
    for record in found:
        try:
            spans.append(_note_nlp.to_span(record, text))
        except Bad as reason:
            raise Bad(f"row {record['note_nlp_id']} of its NOTE_NLP: {reason}") from None
    group = row.get("person_id")
    meta = {name: _plain(row[name]) for name in META if row.get(name) is not None}
    return Document(
        id=str(row["note_id"]),
        text=text,
        spans=tuple(spans),
        group=None if group in (None, 0, "0", "") else str(group),  # 0 is no patient
        meta=meta,
    )


def text_of(row: Mapping[str, Any]) -> str:
    """The text of a row of NOTE. Raises Bad if it is none."""
    text = row["note_text"]
    if not isinstance(text, str):
        raise Bad(f"note_text is {'null' if text is None else type(text).__name__}, not a text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Bad(f"note_text is not valid UTF-8 after {error.start} characters") from None
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool) else str(value)
