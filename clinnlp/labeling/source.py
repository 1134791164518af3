"""The notes to be labeled: read as often as needed, and known by the content of their files."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os.path import commonpath
from pathlib import Path
from typing import Protocol

from clinnlp.errors import StorageError
from clinnlp.formats.base import Format, find_files, read_records
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
    """The notes that a PATH means: a file, a folder or a glob."""

    path: str
    format: Format

    def records(self) -> Iterable[Record]:
        """Stream the notes from their files."""
        return read_records(self.path, self.format)

    def files(self) -> Files:
        """The files, named from the folder that holds all of them. Raises ConfigError if there are none."""
        paths = find_files(self.path, self.format)
        root = commonpath([path.parent.absolute() for path in paths])
        return tuple((path.absolute().relative_to(root).as_posix(), _sha256(path)) for path in paths)


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


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"cannot read: {error.strerror or type(error).__name__}", where=str(path)) from None
