"""A store that is a prefix of an object store (S3, Google Cloud Storage), through fsspec."""

import contextlib
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from clinnlp.errors import ConfigError, StorageError

T = TypeVar("T")

log = logging.getLogger("clinnlp")

# File systems whose pipe_file(mode="create") is one conditional request to the store (If-None-Match, ifGenerationMatch:
# s3fs from 2025.7, gcsfs from 2024.12); others look first and write then, as two may do at the same time. `memory` is
# one process.
CONDITIONAL = {"s3", "s3a", "gs", "gcs", "memory"}
WHOLE = 5 * 2**30  # bytes that they write in one request, so that a kill leaves no upload in parts behind
TRIES = 4
PAUSE_SECONDS = 0.2  # before the second try; twice that before the third


class ObjectStore:
    """A store under a URL. An object is there whole or not at all, and safe when the store has said so."""

    def __init__(self, url: str) -> None:
        self.place, self.token = url, secrets.token_hex(4)
        protocol = url.partition("://")[0]
        try:
            import fsspec

            self.files: Any
            self.files, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            told = f"object stores of the kind {protocol!r} cannot be opened ({type(error).__name__})"
            raise ConfigError(told, where=url, next="pip install the fsspec package for it (s3fs, gcsfs)") from None
        self.root = root.rstrip("/")
        self.conditional = protocol in CONDITIONAL
        self._whole = {"chunksize": WHOLE} if self.conditional else {}

    def make(self) -> None:
        """Nothing: an object store has no folders, and the first object proves that it can be written to."""

    def put(self, name: str, data: bytes) -> None:
        """Write one object."""
        self._try(name, lambda: self.files.pipe_file(self._path(name), data, **self._whole))

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Write one object on the condition that there is none.

        If the answer to a write that was done is lost, the next try finds the name taken, by these bytes: it was ours.
        """
        try:
            if not self.conditional and self.size(name) is not None:
                raise FileExistsError
            self._try(name, lambda: self.files.pipe_file(self._path(name), data, mode="create", **self._whole))
        except FileExistsError:
            return self.get(name) == data
        return True

    def get(self, name: str) -> bytes | None:
        """Read one object."""
        with contextlib.suppress(FileNotFoundError):
            return bytes(self._try(name, lambda: self.files.cat_file(self._path(name))))
        return None

    def size(self, name: str) -> int | None:
        """Ask for the size of one object."""
        with contextlib.suppress(FileNotFoundError):
            return int(self._try(name, lambda: self.files.info(self._path(name)))["size"])
        return None

    def names(self, folder: str) -> list[str]:
        """List what lies under a prefix; a list that is not up to date costs work, and no commit."""
        with contextlib.suppress(FileNotFoundError):
            found = self._try(folder, lambda: self.files.ls(self._path(folder), detail=False))
            return sorted(path.rstrip("/").rpartition("/")[2] for path in found)
        return []

    def remove(self, name: str) -> None:
        """Remove one object."""
        with contextlib.suppress(FileNotFoundError):
            self._try(name, lambda: self.files.rm_file(self._path(name)))

    def alone(self) -> AbstractContextManager[None]:
        """No lock: an object store has none. Two runs that were not told to share their work do it twice."""
        if not self.conditional:
            log.warning("%s has no conditional writes: see that no other process labels into it", self.place)
        return contextlib.nullcontext()

    def shared(self) -> AbstractContextManager[None]:
        """Nothing, if the store has conditional writes."""
        if not self.conditional:
            raise ConfigError(
                "this object store has no conditional writes, so several processes cannot share a run",
                where=self.place,
                next="use one process, or S3 or Google Cloud Storage",
            )
        return contextlib.nullcontext()

    def signed(self) -> AbstractContextManager[None]:
        """Nothing: what is left over is not removed from an object store."""
        return contextlib.nullcontext()

    def claim(self, name: str) -> bool:
        """Write an object that says whose work this is."""
        return self.put_if_absent(f"claims/{name}", self.token.encode())

    def release(self, name: str) -> None:
        """Remove that object."""
        self.remove(f"claims/{name}")

    def reopened(self) -> "ObjectStore":
        """The same store for another writer."""
        return ObjectStore(self.place)

    def __reduce__(self) -> tuple[Any, ...]:
        return ObjectStore, (self.place,)

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}".rstrip("/")

    def _try(self, name: str, call: Callable[[], T]) -> T:
        """Ask the store, again after a pause if it fails. Raises StorageError without the words of the store."""
        for number in range(TRIES):
            try:
                return call()
            except (FileNotFoundError, FileExistsError):
                raise
            except Exception as error:
                fault = type(error).__name__
            time.sleep(PAUSE_SECONDS * 2**number)
        raise StorageError(f"{name} cannot be read or written ({fault}, {TRIES} tries)", where=self.place)
