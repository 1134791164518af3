"""The store of a run: files that appear whole, last, and where asked only if nobody was first."""

# The calls are made on `os`, one by one, so that tests can fail a run or stop it at each of them.
# ruff: noqa: PTH102, PTH104, PTH108, PTH112, PTH120, PTH208

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from clinnlp.core.lock import claim, only_run, signed
from clinnlp.errors import ConfigError, StorageError

LOCK, WRITERS = "lock", "writers"


class Store(Protocol):
    """Named files. What `put` or `put_if_absent` has returned from survives a crash of the machine."""

    place: str
    """The store in words, for messages."""
    token: str
    """Whose files are whose: in the name of every file that this process makes."""

    def make(self) -> None:
        """Make the place where the files are to be. Raises StorageError."""

    def put(self, name: str, data: bytes) -> None:
        """Store a file whole; what had the name is replaced. Raises StorageError."""

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Store a file whole unless the name is taken: of all who try, one is told True. Raises StorageError."""

    def get(self, name: str) -> bytes | None:
        """A file's content, or None if there is none."""

    def size(self, name: str) -> int | None:
        """A file's size in bytes, or None if there is none."""

    def names(self, folder: str) -> list[str]:
        """The names of the files and folders in a folder, in order; none if there is no such folder."""

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no fault."""

    def alone(self) -> AbstractContextManager[None]:
        """Be the only process of the run, as far as the store can tell. Raises InUseError."""

    def shared(self) -> AbstractContextManager[None]:
        """Be one of several processes of the run. Raises ConfigError if the store cannot tell which was first."""

    def signed(self) -> AbstractContextManager[None]:
        """Say that files with this token in their names are being written."""

    def claim(self, name: str) -> bool:
        """Say that this process will do some work; returns False if another has said so, which may have died since."""

    def release(self, name: str) -> None:
        """Withdraw a claim."""

    def reopened(self) -> "Store":
        """The same store for another writer, with a token of its own."""


def open_store(place: str | Path) -> Store:
    """A folder, or the object store that a URL names; file:// names a folder too. Raises ConfigError for no name."""
    if not str(place):  # would be the working folder
        raise ConfigError("no place for labels is named", where="out", next="give a folder")
    if str(place).startswith("file://"):
        return LocalStore(Path(str(place).removeprefix("file://")))
    if re.match(r"[a-z][a-z0-9+]+://", str(place)):
        from clinnlp.labeling.object_store import ObjectStore

        return ObjectStore(str(place))
    return LocalStore(Path(place))


class LocalStore:
    """A store that is a folder: 0700, with files of 0600, whatever the umask."""

    def __init__(self, root: Path) -> None:
        self.root, self.place = root.absolute(), str(root)
        self.token = secrets.token_hex(4)  # in the name of every file that is written aside: whose it is
        self._made: set[str] = set()

    def make(self) -> None:
        """Make the folder if it is not there. Raises StorageError."""
        try:
            self._make(str(self.root))
        except OSError as error:
            raise StorageError(f"cannot make the output folder: {error.strerror}", where=self.place) from None

    def put(self, name: str, data: bytes) -> None:
        """Write aside, flush to the disk, rename."""
        with self._aside(name, data) as (aside, path):
            os.rename(aside, path)

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Write aside, flush to the disk, link: unlike a rename, a link never replaces what is there."""
        with self._aside(name, data) as (aside, path):
            try:
                os.link(aside, path)
                won = True
            except FileExistsError:
                won = False
            except OSError as error:
                if error.errno in (errno.EPERM, errno.ENOTSUP):
                    error.strerror = "the file system has no hard links, which commits are made of"
                raise
            os.unlink(aside)
        return won

    def get(self, name: str) -> bytes | None:
        """Read a file."""
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StorageError(f"cannot read {name}: {error.strerror}", where=self.place) from None

    def size(self, name: str) -> int | None:
        """Look at a file."""
        try:
            return (self.root / name).stat().st_size
        except OSError:
            return None

    def names(self, folder: str) -> list[str]:
        """List a folder; files that are still written aside are left out."""
        try:
            return sorted(name for name in os.listdir(self.root / folder) if not name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def remove(self, name: str) -> None:
        """Unlink a file."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.root / name)

    def alone(self) -> AbstractContextManager[None]:
        """Hold the lock of the folder."""
        return only_run(self.root / LOCK, next="wait for it, or give --join true to share its work")

    def shared(self) -> AbstractContextManager[None]:
        """Nothing: a link tells which of any number of processes was first."""
        return contextlib.nullcontext()

    def signed(self) -> AbstractContextManager[None]:
        """Hold a lock on a file with the token as its name."""
        return signed(self.root / WRITERS, self.token)

    def claim(self, name: str) -> bool:
        """Make a file of that name."""
        return claim(self.root / "claims", name)

    def release(self, name: str) -> None:
        """Remove that file."""
        (self.root / "claims" / name).unlink(missing_ok=True)

    def reopened(self) -> "LocalStore":
        """The same folder."""
        return LocalStore(self.root)

    def __reduce__(self) -> tuple[type["LocalStore"], tuple[Path]]:
        return LocalStore, (self.root,)

    @contextmanager
    def _aside(self, name: str, data: bytes) -> Iterator[tuple[str, str]]:
        """A whole file on the disk under a name of its own, and the path it is to have; the folder is flushed last."""
        path = str(self.root / name)
        folder, _, last = path.rpartition("/")
        aside = f"{folder}/.{last}.{self.token}"
        try:
            self._make(folder)
            try:
                _write(aside, data)
                yield aside, path
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(aside)
                raise
            _flush_folder(folder)
        except OSError as error:
            raise self._fault(name, len(data), error) from None

    def _make(self, folder: str) -> None:
        """Make a folder and those above it, each flushed into the one that holds it."""
        if folder in self._made:
            return
        above = os.path.dirname(folder)
        if not os.path.isdir(folder):
            self._make(above)
            try:
                os.mkdir(folder, 0o700)
            except FileExistsError:
                if not os.path.isdir(folder):
                    raise  # a file; another process may have made the folder
            _flush_folder(above)
        self._made.add(folder)

    def _fault(self, name: str, needed: int, error: OSError) -> StorageError:
        told = f"cannot write {name}: {error.strerror or type(error).__name__}"
        with contextlib.suppress(OSError):
            disk = os.statvfs(self.root)
            told += f" ({needed:,} bytes needed, {disk.f_bavail * disk.f_frsize:,} free)"
        return StorageError(told, where=self.place, next="make room or mend the disk, then give the same command again")


def _write(path: str, data: bytes) -> None:
    """Write a new file and flush it; a flush that fails is final, the file is never tried again."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]
        os.fsync(file)
    finally:
        os.close(file)


def _flush_folder(folder: str) -> None:
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
