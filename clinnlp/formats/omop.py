"""OMOP CDM 5.4: the NOTE table of a database read, spans written to NOTE_NLP; see docs/omop.md."""

import datetime
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NamedTuple

from clinnlp.core.document import Document, Quarantined
from clinnlp.errors import ConfigError, StorageError
from clinnlp.formats import _omop_check, _omop_read, _omop_write, _sql
from clinnlp.formats.base import Format


class Proof(NamedTuple):
    """What `validate` found: counts of rows, and the first rows that failed as (note_nlp_id, reason)."""

    counts: dict[str, int]
    failed: list[tuple[int, str]]


@dataclass(frozen=True)
class Omop(Format):
    """OMOP CDM 5.4: PATH is a database URL, an SQLite or a DuckDB file; notes from NOTE, spans from and to NOTE_NLP.

    A URL such as `sqlite:///notes.db` or `postgresql+psycopg:///cdm` names a database that is there: of it, only rows
    of NOTE_NLP are written. A file (.sqlite, .db, .duckdb) is written as a new one that holds the notes, too.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".sqlite", ".db", ".duckdb")

    table: str = "note"
    """Name of the table NOTE."""
    schema: str | None = None
    """Schema of the table NOTE; null: the one the database takes by itself."""
    nlp_table: str = "note_nlp"
    """Name of the table NOTE_NLP."""
    nlp_schema: str | None = None
    """Schema of the table NOTE_NLP; null: that of NOTE."""
    system: str = "clinnlp"
    """The nlp_system whose rows are read, and written in place of its older ones; "" reads those of every system."""
    read_spans: bool = True
    """Read the spans of NOTE_NLP with the notes; false where notes are to be labeled."""
    add_notes: bool = False
    """Add to NOTE what it lacks, and make tables that are missing; else only NOTE_NLP is written."""
    date: str | None = None
    """Date (and time) of the rows that are written, as 2026-01-31 or 2026-01-31T12:00:00; null: now."""

    def __post_init__(self) -> None:
        if not all((self.table, self.nlp_table)) or len(self.system) > 250:
            raise ConfigError("a table needs a name, and a system one of at most 250 characters", where="omop")
        if any("\x00" in name for name in (self.table, self.nlp_table, self.system)):
            raise ConfigError("a name cannot hold a NUL", where="omop")
        self._now()

    def open(self, path: str) -> "Database | None":
        """The database of a URL; None if PATH names files."""
        return Database(path, self) if _sql.URL.match(path) else None

    def read_file(self, path: Path) -> Iterator[Document | Quarantined]:
        """Stream the notes of one file."""
        return Database(_file_url(path), self).read()

    def write(self, documents: Iterable[Document], path: Path) -> dict[str, int]:
        """Write a new file with both tables, which appears under its name when all of it is there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name[:100]}.{os.getpid()}.part{path.suffix}")
        try:
            aside.unlink(missing_ok=True)
            counts = Database(_file_url(aside), replace(self, add_notes=True), new=path.name).write(documents)
            with aside.open("rb") as file:
                os.fsync(file.fileno())
            aside.replace(path)
            return counts
        except OSError as error:
            raise StorageError(f"cannot write: {error.strerror or type(error).__name__}", where=path.name) from None
        finally:
            for end in ("", "-journal", "-wal", "-shm", ".wal"):
                aside.with_name(aside.name + end).unlink(missing_ok=True)

    def _now(self) -> datetime.datetime:
        if self.date is None:
            return datetime.datetime.now().replace(microsecond=0)
        try:
            return datetime.datetime.fromisoformat(self.date).replace(tzinfo=None)
        except ValueError:
            raise ConfigError("is no date", where="omop.date", next="give one as 2026-01-31") from None


@dataclass(frozen=True)
class Database:
    """A database with OMOP tables: a place that streams notes and takes spans."""

    url: str
    options: Omop
    new: str | None = None
    """Name of the file that is being made, if it is."""

    @property
    def name(self) -> str:
        """The URL without what it may hold of secrets."""
        return self.new or _sql.shown(self.url)

    def check(self) -> None:
        """Connect, and no more. Raises ConfigError or StorageError."""
        with _sql.opened(self.url) as engine, engine.connect():
            pass

    def read(self) -> Iterator[Document | Quarantined]:
        """Stream the notes in the order of note_id."""
        with _sql.opened(self.url) as engine:
            yield from _omop_read.read(engine, self.options, self.name)

    def write(self, documents: Iterable[Document]) -> dict[str, int]:
        """Replace the rows of these notes in NOTE_NLP; what was shortened is counted by column."""
        if not self.options.system:
            raise ConfigError("rows need the name of a system", where="omop.system", next="give one")
        with _sql.opened(self.url, write=True, create=self.new is not None) as engine:
            kept = "nothing was written" if self.new else "the documents before this batch"
            return _omop_write.Writer(engine, self.options, self.name, self.options._now(), kept).write(documents)

    def validate(self) -> Proof:
        """Compare every row of NOTE_NLP with its note."""
        with _sql.opened(self.url) as engine:
            counts, failed = _omop_check.check(engine, self.options, self.name)
        return Proof(dict(counts), failed)


def validate(url: str, options: Omop | None = None) -> Proof:
    """Prove `text[offset : offset + len(lexical_variant)] == lexical_variant` for each row; names those that fail."""
    options = options or Omop()
    return (options.open(url) or Database(_file_url(Path(url)), options)).validate()


def _file_url(path: Path) -> str:
    kind = "duckdb" if path.suffix == ".duckdb" else "sqlite"
    return f"{kind}:///{str(path.absolute()).replace('%', '%25').replace('?', '%3F').replace('#', '%23')}"
