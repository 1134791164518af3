"""What a note format is, and how paths become documents whatever the format."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from glob import glob, has_magic
from os.path import realpath
from pathlib import Path
from typing import ClassVar, Protocol

from clinnlp import plugins
from clinnlp.core.document import Document, Quarantined
from clinnlp.errors import ConfigError, DataError, StorageError


class Ordinal(str):
    """A document id that is only a position in its file; the file's name is put before it unless it is read alone."""


class Stem(str):
    """A document id that is only a file's name; below a folder the path of that file is put before it."""


class Place(Protocol):
    """Where notes are when they are in no file: a database, which streams and takes documents itself."""

    @property
    def name(self) -> str:
        """How messages and manifests call it: without a password."""

    def check(self) -> None:
        """Raises ConfigError or StorageError if it cannot be opened."""

    def read(self) -> Iterator[Document | Quarantined]:
        """Stream its documents, in the same order each time."""

    def write(self, documents: Iterable[Document]) -> dict[str, int]:
        """Store documents; returns counts as `Format.write` does."""


@dataclass(frozen=True)
class Format:
    """One way to store notes and annotations; its fields are its options.

    To add one: write `clinnlp/formats/NAME.py` with one frozen dataclass that extends this class and
    defines `suffixes`, `read_file` and `write`. Read bytes and decode per record, so that no line end changes;
    yield `Quarantined` for a record that cannot be read and go on with the next one. Where the file gives
    no id, make one of type `Ordinal` or `Stem`: it is made unique over all files that are read together.
    A format whose PATH may be no file (the URL of a database) also defines `open`.
    """

    kind: ClassVar[str] = "formats"
    suffixes: ClassVar[tuple[str, ...]] = ()
    """File endings that belong to the format when a folder is read, such as `(".jsonl",)`."""

    def open(self, path: str) -> Place | None:
        """What a PATH is that names no file, such as the URL of a database; None if it names files."""
        return None

    def select(self, files: list[Path]) -> list[Path]:
        """Which of the files found to read; a format whose documents lie in pairs of files drops the second ones."""
        return files

    def read_file(self, path: Path) -> Iterator[Document | Quarantined]:
        """Stream the documents of one file."""
        raise DataError(f"{type(self).__name__} cannot be read")

    def read_as(self, files: Iterable[Path]) -> dict[str, str]:
        """What was found out of these files that decides what their annotations mean, such as the scheme of tags."""
        return {}

    def write(self, documents: Iterable[Document], path: Path) -> dict[str, int]:
        """Write documents to a file or folder; returns counts of what was written and what the format lost."""
        raise DataError(f"{type(self).__name__} cannot be written")


def find_format(format: str | Format) -> Format:
    """The format of that name with its default options, or the given one."""
    return format if isinstance(format, Format) else plugins.find("formats", format)()


def find_files(path: str | Path, format: Format) -> list[Path]:
    """The files a PATH means: a file, a folder (searched for the format's endings) or a glob, in name order.

    Hidden files are passed over, except a single file named outright, and links to folders are not followed.

    Raises ConfigError if nothing is there, and for a pipe, a device or a link that leads nowhere, StorageError for a
    folder that cannot be looked into.
    """
    name = str(path)
    if not name:  # would be the working folder
        raise ConfigError("an empty path", next="give a file, a folder or a quoted glob")
    if has_magic(name) and not Path(name).exists():
        found = [Path(match) for match in glob(name, recursive=True)]  # noqa: PTH207 (takes absolute patterns)
        if "**" in name and len(set(map(realpath, found))) < len(found):  # it follows links to folders
            raise ConfigError(
                "a link leads to the same file twice", where=name, next="give the folder, or files by name"
            )
    elif Path(name).is_dir():
        found = list(_below(name, tuple(ending + packed for ending in format.suffixes for packed in ("", ".gz"))))
    else:
        found = [Path(name)] if Path(name).exists() else []
    found = [path for path in found if not path.is_dir()]
    if odd := [path for path in found if not path.is_file()]:
        raise ConfigError(
            "no regular file, but a pipe, a device or a link that leads nowhere", where=str(min(odd)),
            next="remove it, or put the notes in a file: they are read more than once",
        )  # fmt: skip
    found = format.select(found)
    if not found:
        wanted = " or ".join(format.suffixes)
        what = f"holds no {wanted} file" if Path(name).is_dir() else "no such file"
        raise ConfigError(what, where=name, next="check the path and the format")
    return sorted(found, key=lambda p: str(p).encode())


def _below(folder: str, endings: tuple[str, ...]) -> Iterator[Path]:
    """The files under a folder with one of these endings, hidden ones passed over."""

    def refuse(error: OSError) -> None:
        raise StorageError(
            f"cannot look into this folder: {error.strerror}", where=str(error.filename), next="see to its rights"
        ) from None

    for inside, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(inside, name) for name in files if name.endswith(endings) and not name.startswith("."))


def read_records(path: str | Path, format: str | Format) -> Iterator[Document | Quarantined]:
    """Stream every record under PATH, in file-name order; bad records come as `Quarantined`.

    Raises ConfigError if nothing is there and StorageError if a file cannot be opened.
    """
    reader = find_format(format)
    if place := reader.open(str(path)):
        yield from place.read()
        return
    alone = Path(path).is_file()
    for file, name in _named(path, find_files(path, reader)):
        try:
            for record in reader.read_file(file):
                if isinstance(record, Document) and type(record.id) is not str:
                    record = replace(record, id=_unique(record.id, name, alone))
                yield record
        except OSError as error:
            raise StorageError(f"cannot read: {error.strerror or type(error).__name__}", where=str(file)) from None


def contents(path: str | Path, format: str | Format) -> list[tuple[str, str]]:
    """Name and SHA-256 of each file that PATH means, in order; for a database, a hash of all it streams."""
    reader = find_format(format)
    if place := reader.open(str(path)):
        whole = hashlib.sha256()
        for record in place.read():
            whole.update(json.dumps(asdict(record), sort_keys=True).encode() + b"\n")
        return [(place.name, whole.hexdigest())]
    return [(name, _sha256(file)) for file, name in _named(path, find_files(path, reader))]


def _named(path: str | Path, files: list[Path]) -> Iterator[tuple[Path, str]]:
    """Each file with its name below the folder that PATH means, which stays the same when files are added."""
    root = Path(path)
    if root.is_file():
        root = root.parent
    elif not root.exists():
        while has_magic(str(root)):
            root = root.parent
    for file in files:
        yield file, file.absolute().relative_to(root.absolute()).as_posix()


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"cannot read: {error.strerror or type(error).__name__}", where=str(path)) from None


def _unique(id: str, name: str, alone: bool) -> str:
    """The id to use outside its file, which is called `name` below the folder that is read, or is the one that is."""
    if isinstance(id, Ordinal):
        return str(id) if alone else f"{name}:{id}"
    if isinstance(id, Stem) and "/" in name:
        return f"{name.rpartition('/')[0]}/{id}"
    return str(id)


def read(path: str | Path, format: str | Format, bad: list[Quarantined] | None = None) -> Iterator[Document]:
    """Stream the documents under PATH (a file, a folder or a glob).

    A record that cannot be read raises DataError; give a list as `bad` to set such records aside instead.
    """
    for record in read_records(path, format):
        if isinstance(record, Document):
            yield record
        elif bad is None:
            raise DataError(record.reason, where=record.where, next="correct or remove this record")
        else:
            bad.append(record)


def write(documents: Iterable[Document], path: str | Path, format: str | Format) -> dict[str, int]:
    """Write documents to PATH; returns counts of documents, spans and whatever the format could not hold."""
    writer = find_format(format)
    place = writer.open(str(path))
    return place.write(documents) if place else writer.write(documents, Path(path))
