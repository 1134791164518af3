"""Files as bytes: plain or .gz, split on \\n alone, decoded one record at a time, written whole or not at all."""

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from clinnlp.errors import DataError, StorageError, UnsafeError

BOM = b"\xef\xbb\xbf"
MAX_RATIO = 200  # notes pack 3 to 20 times; a gzip bomb about 1,000 times
RATIO_FROM = 64 * 2**20  # unpacked bytes below which no ratio is judged: small files of equal lines pack well


class Bad(ValueError):
    """Why a record cannot be read, in words that hold nothing of it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its line end: number from 1, position of its first byte in the file, bytes."""

    number: int
    start: int
    raw: bytes

    def text(self) -> str:
        """The decoded line. Raises Bad naming the byte of the file that is not UTF-8."""
        return decode(self.raw, self.start)


def decode(raw: bytes, start: int = 0) -> str:
    """Bytes as UTF-8. Raises Bad naming the first byte that is not, counted from `start`."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise Bad("the file is UTF-16: convert it to UTF-8") from None
        place = start + error.start
        raise Bad(f"not valid UTF-8 at byte {place}: if the file is cp1252 or latin-1, convert it to UTF-8") from None


def encode(text: str) -> bytes:
    """Text as UTF-8. Raises DataError for a lone surrogate, which no file can hold."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError("a lone surrogate in an id, label or field cannot be written") from None


def stem(path: Path) -> str:
    """The file's name without .gz and without its last ending."""
    name = path.name.removesuffix(".gz")
    return name.rpartition(".")[0] or name


def raw_lines(path: Path) -> Iterator[bytes]:
    """The lines of a plain or .gz file with their line ends, split on \\n only, a UTF-8 BOM removed.

    Raises StorageError for a broken .gz and UnsafeError for one that unpacks to far more than text does.
    """
    held: list[bytes] = []  # pieces of a line not yet ended: joined once, so that a 1 GB line takes linear time
    for piece in _pieces(path):
        first, *others = piece.split(b"\n")
        held.append(first)
        for other in others:
            yield b"".join(held) + b"\n"
            held = [other]
    if last := b"".join(held):
        yield last


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a file without their \\n, with their places; a last line without \\n counts."""
    start = 0
    for number, raw in enumerate(raw_lines(path), 1):
        yield Line(number, start, raw.removesuffix(b"\n"))
        start += len(raw)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as plain:
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=plain)) if path.suffix == ".gz" else plain
        unpacked = 0
        try:
            while piece := stream.read(2**20):
                yield piece if unpacked else piece.removeprefix(BOM)
                unpacked += len(piece)
                if unpacked > RATIO_FROM and unpacked > MAX_RATIO * plain.tell():
                    raise UnsafeError("unpacks to far more than text does", where=path.name, next="check its origin")
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise StorageError("is not a whole .gz file", where=path.name, next="copy it again") from None


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that appears under its name only when all of it is on disk; .gz is packed on the way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name[:100]}.{os.getpid()}.part")
    try:
        with aside.open("wb") as plain:
            if path.suffix == ".gz":
                with gzip.GzipFile("", "wb", fileobj=plain, mtime=0) as packed:  # no name, no time: same bytes again
                    yield cast(BinaryIO, packed)
            else:
                yield plain
            plain.flush()
            os.fsync(plain.fileno())
        aside.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write: {error.strerror or type(error).__name__}", where=path.name) from None
    finally:
        aside.unlink(missing_ok=True)
