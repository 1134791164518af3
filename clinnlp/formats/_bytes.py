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
MAX_LINE = 128 * 2**20  # bytes of a line or a note's own file; reading one takes some five times as much memory
RATIO_FROM = 64 * 2**20  # unpacked bytes below which no ratio is judged: small files of equal lines pack well


class Bad(ValueError):
    """Why a record cannot be read, in words that hold nothing of it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its line end: number from 1, position of its first byte in the file, bytes.

    Of one that is longer than `MAX_LINE` there is no more than that it is there.
    """

    number: int
    start: int
    raw: bytes
    too_long: bool = False

    def text(self) -> str:
        """The decoded line. Raises Bad naming the byte of the file that is not UTF-8."""
        if self.too_long:
            raise Bad(f"longer than {MAX_LINE} bytes")
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

    Raises DataError for a line that is too long, StorageError for a broken .gz and UnsafeError for one that unpacks to
    far more than text does.
    """
    for number, (raw, length) in enumerate(_lines(path), 1):
        if length > MAX_LINE:
            raise DataError(
                f"line {number} is longer than {MAX_LINE} bytes",
                where=path.name,
                next="check that it is of this format",
            )
        yield raw


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a file without their \\n, with their places; a last line without \\n counts."""
    start = 0
    for number, (raw, length) in enumerate(_lines(path), 1):
        yield Line(number, start, raw.removesuffix(b"\n"), length > MAX_LINE)
        start += length


def read_whole(path: Path) -> str:
    """The text of a file that is one note, or its annotations. Raises Bad."""
    if path.stat().st_size > MAX_LINE:
        raise Bad(f"longer than {MAX_LINE} bytes")
    return decode(path.read_bytes())


def _lines(path: Path) -> Iterator[tuple[bytes, int]]:
    """Each line with its line end, and its length; a line that is too long is passed over and comes as `?`."""
    held: list[bytes] = []  # pieces of a line not yet ended: joined once, so that a long line takes linear time
    length = 0
    for piece in _pieces(path):
        *ended, rest = piece.split(b"\n")
        for part in ended:
            length += len(part) + 1
            yield b"?" if length > MAX_LINE else b"".join([*held, part, b"\n"]), length
            held, length = [], 0
        length += len(rest)
        held = [*held, rest] if length <= MAX_LINE else []
    if length:
        yield b"?" if length > MAX_LINE else b"".join(held), length


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
