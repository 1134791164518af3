"""The notes to be labeled: read as often as needed, and known by the content of their files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from clinnlp.formats.base import Format, contents, read_records
from clinnlp.labeling.plan import Record

Files = tuple[tuple[str, str], ...]


class Source(Protocol):
    """Records that come in the same order each time they are read."""

    def records(self) -> Iterable[Record]:
        """The records, from the first."""

    def files(self) -> Files:
        """The files they are read from, as names and SHA-256, in order: equal files hold equal records."""


@dataclass(frozen=True)
class Notes:
    """The notes that a PATH means: a file, a folder, a glob or a database."""

    path: str
    format: Format

    def records(self) -> Iterable[Record]:
        """Stream the notes from their files."""
        return read_records(self.path, self.format)

    def files(self) -> Files:
        """The files, or the database as one. Raises ConfigError if there are none."""
        return tuple(contents(self.path, self.format))


@dataclass(frozen=True)
class InMemory:
    """Notes that were read before; they are known by themselves, without files."""

    notes: Sequence[Record]

    def records(self) -> Iterable[Record]:
        """The notes."""
        return self.notes

    def files(self) -> Files:
        """None."""
        return ()
