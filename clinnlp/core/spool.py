"""Documents and columns on disk in files without a name: a corpus takes little memory and leaves nothing behind."""

import json
import os
import tempfile
from abc import abstractmethod
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

from clinnlp.core.document import Document, Span
from clinnlp.errors import StorageError

Item = TypeVar("Item")


def nameless_file(folder: Path) -> Any:
    """A file in a folder that only this process can open and that is gone when it is closed, however that ends.

    Raises StorageError.
    """
    try:
        return tempfile.TemporaryFile(dir=folder, buffering=2**20)
    except OSError as error:
        raise StorageError(f"cannot write: {error.strerror}", where=str(folder)) from None


def write(file: Any, raw: Any) -> None:
    """Write to a nameless file, and through to it if there is nothing to write. Raises StorageError."""
    try:
        file.write(raw) if len(raw) else file.flush()
    except OSError as error:
        raise StorageError(f"cannot write to the folder of the run: {error.strerror}", next="make room there") from None


class _Made(Sequence[Item]):
    """A sequence whose items are made when they are asked for, each from its place."""

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> list[Item]: ...
    def __getitem__(self, place: int | slice) -> Item | list[Item]:
        if isinstance(place, slice):
            return [self._at(number) for number in range(*place.indices(len(self)))]
        return self._at(range(len(self))[place])

    @abstractmethod
    def _at(self, place: int) -> Item:
        """The item of a place, from 0 on."""


class Spool(_Made[Document]):
    """Documents in a nameless file, in the order that they came; each is read anew when it is asked for.

    What `meta` holds must be JSON. Raises StorageError if the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self._file = nameless_file(folder)
        self._ends = array("q", [0])
        self._written = 0

    def append(self, document: Document) -> None:
        """Put a document at the end."""
        spans = [(s.start, s.end, s.label, s.score, dict(s.attributes), s.fragments) for s in document.spans]
        held = (document.id, document.text, spans, document.labels, document.group, dict(document.meta))
        raw = json.dumps(held).encode("ascii")
        write(self._file, raw)
        self._ends.append(self._ends[-1] + len(raw))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def _at(self, place: int) -> Document:
        if self._written < len(self):
            write(self._file, b"")
            self._written = len(self)
        start, end = self._ends[place], self._ends[place + 1]
        id, text, spans, labels, group, meta = json.loads(os.pread(self._file.fileno(), end - start, start))
        return Document(id, text, tuple(map(_span, spans)), tuple(labels), group, meta)


def _span(held: list[Any]) -> Span:
    start, end, label, score, attributes, fragments = held
    return Span(start, end, label, score, attributes, tuple((first, last) for first, last in fragments))


class Part(_Made[Document]):
    """Some documents of a sequence, by their places."""

    def __init__(self, whole: Sequence[Document], places: Sequence[int]) -> None:
        self.whole, self.places = whole, array("q", places)

    def __add__(self, other: "Part") -> "Part":
        if other.whole is not self.whole:
            raise ValueError("parts of two sequences cannot be joined")
        return Part(self.whole, self.places + other.places)

    def __len__(self) -> int:
        return len(self.places)

    def _at(self, place: int) -> Document:
        return self.whole[self.places[place]]


class Texts(_Made[str]):
    """The texts of documents."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = documents

    def __len__(self) -> int:
        return len(self.documents)

    def _at(self, place: int) -> str:
        return self.documents[place].text
