"""Documents into NOTE_NLP: each note's rows of one system are replaced, in one transaction per batch of notes."""

import datetime
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from clinnlp.core.document import Document
from clinnlp.errors import DataError
from clinnlp.formats import _note_nlp, _omop_read, _sql

if TYPE_CHECKING:
    from clinnlp.formats.omop import Omop

WRITE_DOCUMENTS, WRITE_SPANS, WRITE_CHARACTERS = 1000, 20_000, 2**24
COLUMNS = (
    "note_nlp_id", "note_id", "section_concept_id", "snippet", "offset", "offset_start", "offset_end",
    "lexical_variant", "note_nlp_concept_id", "note_nlp_source_concept_id", "nlp_system", "nlp_date", "nlp_datetime",
    "term_exists", "term_temporal", "term_modifiers",
)  # fmt: skip
COUNTED = (
    "documents", "spans", "notes_not_in_database", "notes_with_other_text", "notes_added", "lexical_variants_shortened",
    "term_modifiers_shortened", "nuls_replaced", "labels_not_representable", "meta_not_representable",
)  # fmt: skip


@dataclass
class Writer:
    """Writes documents to a database; its rows bear the moment `now`, errors say that `kept` is there after them."""

    engine: Any
    options: "Omop"
    where: str
    now: datetime.datetime
    kept: str
    counts: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(COUNTED, 0)))

    def write(self, documents: Iterable[Document]) -> dict[str, int]:
        """Store documents batch by batch; a batch is in the database with all its rows or not at all."""
        options, where = self.options, self.where
        if options.add_notes:
            self._create()
        self.note = None
        if options.add_notes or _sql.has_table(self.engine, options.table, options.schema):
            self.note = _sql.find_table(self.engine, options.table, options.schema, ("note_id", "note_text"), where)
        nlp = _omop_read.note_nlp(self.engine, options, where)
        if nlp is None:
            nlp = _sql.find_table(self.engine, options.nlp_table, options.nlp_schema or options.schema, (), where)
        _sql.require(nlp, ("nlp_system", "nlp_date", "term_modifiers"), where)
        self.nlp, self.seen, self.numbers = nlp, Seen(), count(1)
        self.said = {
            "nlp_system": options.system,
            "nlp_date": self._moment(self.now.date()),
            "nlp_datetime": self._moment(self.now),
        }
        self.columns = [name for name in COLUMNS if name in nlp.c]
        for batch in _batches(documents):
            self._store(batch)
        return dict(self.counts)

    def _store(self, documents: Sequence[Document]) -> None:
        by_id = {self._note_id(document): document for document in documents}
        with self.engine.begin() as connection:
            self._lock(connection)
            by_id = self._known(connection, by_id)
            fresh = self._ids_after(self._last_id(connection))  # before any is removed: its number is given again
            old = self._remove(connection, list(by_id))
            rows = []
            for id, document in by_id.items():
                free = iter(old.get(id, ()))
                for span in document.spans:
                    number = next(free, None)
                    row = {"note_nlp_id": next(fresh) if number is None else number, "note_id": id}
                    rows.append(self._row(row | _note_nlp.to_row(span, document.text, self.counts)))
            _sql.insert(connection, self.nlp, rows)
        self.counts.update(documents=len(by_id), spans=len(rows))
        self.counts["labels_not_representable"] += sum(len(document.labels) for document in by_id.values())

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        whole = row | self.said
        return {key: self._clean(whole[key]) for key in self.columns}

    def _moment(self, value: datetime.date) -> Any:
        """A date as the database takes it: SQLite has no type for it, and its driver's own adapter is deprecated."""
        if self.engine.dialect.name != "sqlite":
            return value
        return value.isoformat(sep=" ") if isinstance(value, datetime.datetime) else value.isoformat()

    def _clean(self, value: Any) -> Any:
        """A NUL, which no database but SQLite stores, becomes U+FFFD: one character for one, so offsets hold."""
        if isinstance(value, str) and "\x00" in value and self.engine.dialect.name != "sqlite":
            self.counts["nuls_replaced"] += value.count("\x00")
            return value.replace("\x00", "\ufffd")
        return value

    def _note_id(self, document: Document) -> int:
        """The id as a number. Raises DataError where it is none, does not fit, or came before."""
        number = next(self.numbers)
        id = self._whole(document.id, self.nlp.c.note_id, f"the id of document {number}")
        if not self.seen.add(id):
            raise DataError(
                f"document {number} has the id of one before it",
                where=self.where,
                kept=self.kept,
                next="make the ids unique",
            )
        return id

    def _whole(self, text: str, column: Any, what: str) -> int:
        bits = 63 if column.info["big"] else 31
        digits = text.removeprefix("-")
        if len(digits) < 20 and digits.isascii() and digits.isdigit() and str(int(text)) == text:
            if -(2**bits) <= int(text) < 2**bits:
                return int(text)
            told = f"does not fit into {bits + 1} bits"
        else:
            told = "is no whole number (without leading zeros)"
        raise DataError(
            f"{what} {told}, as {column.name} of OMOP must",
            where=self.where,
            kept=self.kept,
            next="number the notes and patients, and keep the old ids in a table of your own",
        )

    def _lock(self, connection: Any) -> None:
        """Keep other writers out until the batch is committed: ids are given as max + 1. Readers go on."""
        if connection.dialect.name == "postgresql":
            statement = f"LOCK TABLE {_sql.quoted(self.nlp)} IN SHARE ROW EXCLUSIVE MODE"
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})

    def _known(self, connection: Any, by_id: Mapping[int, Document]) -> dict[int, Document]:
        """The documents whose notes are in NOTE with their text; others are added before, if that is wished.

        Offsets into another text would name other words.
        """
        import sqlalchemy as sa

        if self.note is None:
            return dict(by_id)
        note = self.note.c
        there = connection.execute(sa.select(note.note_id, note.note_text).where(note.note_id.in_(list(by_id))))
        known = {int(id): _is_text_of(by_id[int(id)], text) for id, text in there}
        self.counts["notes_with_other_text"] += len(known) - sum(known.values())
        absent = {id: document for id, document in by_id.items() if id not in known}
        if self.options.add_notes:
            _sql.insert(connection, self.note, [self._note(id, document) for id, document in absent.items()])
            self.counts["notes_added"] += len(absent)
        else:
            self.counts["notes_not_in_database"] += len(absent)
        added = self.options.add_notes
        return {id: document for id, document in by_id.items() if known.get(id, added)}

    def _note(self, id: int, document: Document) -> dict[str, Any]:
        assert self.note is not None
        meta, held = document.meta, dict[str, Any]()
        for name in _omop_read.META:
            held[name] = self._meta(name, meta.get(name))
        self.counts["meta_not_representable"] += sum(held.get(n) is None for n, v in meta.items() if v is not None)
        group = document.group
        required = {"note_date": self._moment(self.now.date()), "note_type_concept_id": 0, "note_class_concept_id": 0}
        row = held | {name: value for name, value in required.items() if held[name] is None}
        row |= {
            "note_id": id,
            "person_id": 0 if group is None else self._whole(group, self.note.c.person_id, "the group of a document"),
            "note_text": document.text,
            "encoding_concept_id": 0,
            "language_concept_id": 0,
        }
        return {key: self._clean(value) for key, value in row.items() if key in self.note.c}

    def _meta(self, name: str, value: object) -> Any:
        """A value of meta as its column takes it; None where it does not."""
        if name in ("note_date", "note_datetime") and isinstance(value, str):
            try:
                moment = datetime.datetime.fromisoformat(value)
            except ValueError:
                return None
            exact = moment.date().isoformat() == value if name == "note_date" else moment.tzinfo is None
            return self._moment(moment.date() if name == "note_date" else moment) if exact else None
        fits = isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31
        return value if fits and name not in ("note_date", "note_datetime") else None

    def _remove(self, connection: Any, ids: list[int]) -> dict[int, list[int]]:
        """Delete what this system said of the notes before; returns the ids that are free again, by note."""
        import sqlalchemy as sa

        nlp = self.nlp
        ours = sa.and_(nlp.c.note_id.in_(ids), nlp.c.nlp_system == self.options.system)
        free: dict[int, list[int]] = {}
        asked = sa.select(nlp.c.note_id, nlp.c.note_nlp_id).where(ours).order_by(nlp.c.note_nlp_id)
        for id, number in connection.execute(asked):
            free.setdefault(int(id), []).append(number)
        if free:
            connection.execute(sa.delete(nlp).where(ours))
        return free

    def _last_id(self, connection: Any) -> int:
        import sqlalchemy as sa

        return connection.execute(sa.select(sa.func.max(self.nlp.c.note_nlp_id))).scalar_one() or 0

    def _ids_after(self, last: int) -> Iterator[int]:
        top = 2**63 if self.nlp.c.note_nlp_id.info["big"] else 2**31
        for id in count(last + 1):
            if id >= top:
                raise DataError(
                    "note_nlp_id would pass its largest number",
                    where=self.where,
                    kept=self.kept,
                    next="make the column BIGINT, or remove rows",
                )
            yield id

    def _create(self) -> None:
        """Make the tables that are missing, as the CDM 5.4 has them."""
        from clinnlp.formats._omop_tables import tables

        options = self.options
        made = tables(options.table, options.schema, options.nlp_table, options.nlp_schema or options.schema)
        with self.engine.begin() as connection:
            made.create_all(connection, checkfirst=True)


class Seen:
    """Whole numbers that came before: one bit each, in pages that are made when needed."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def add(self, number: int) -> bool:
        """Whether the number is new; it is then remembered."""
        page = self._pages.get(number >> 12)
        if page is None:
            page = self._pages[number >> 12] = bytearray(512)
        byte, bit = (number & 4095) >> 3, 1 << (number & 7)
        if page[byte] & bit:
            return False
        page[byte] |= bit
        return True


def _is_text_of(document: Document, text: object) -> bool:
    return text in (document.text, document.text.replace("\x00", "\ufffd"))  # as `Writer._clean` stores it


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    held: list[Document] = []
    spans = characters = 0
    for document in documents:
        held.append(document)
        spans, characters = spans + len(document.spans), characters + len(document.text)
        if len(held) == WRITE_DOCUMENTS or spans > WRITE_SPANS or characters > WRITE_CHARACTERS:
            yield held
            held, spans, characters = [], 0, 0
    if held:
        yield held
