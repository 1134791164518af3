"""A disk for tests: stands in for `os` where files are written, and fails, ends the run or loses power at one call."""

# ruff: noqa: PTH104, PTH108, PTH110, PTH120, PTH123

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from clinnlp.core import lock
from clinnlp.labeling import store

CHANGES = {"open", "write", "rename", "link", "unlink", "mkdir", "ftruncate"}
CALLS = {*CHANGES, "fsync"}


class Killed(BaseException):
    """The process is gone: no handler runs another call."""


class Disk:
    """Counts calls. At call number `at` a `fault` happens: "kill", "power" (what was not flushed is lost), or an errno.

    A write that is cut short leaves half of its bytes. Flushes are counted and not done, which only costs time.
    """

    def __init__(self, at: int = 0, fault: str | int = "kill", only: set[str] = CALLS, lasting: bool = True) -> None:
        self.at, self.fault, self.only, self.lasting = at, fault, only, lasting
        self.calls: list[str] = []
        self.dead = False
        self._paths: dict[int, str] = {}
        self._loose: dict[str, bool] = {}  # files with bytes that are not flushed
        self._entries: list[tuple[str, Any]] = []  # folder, and how to undo a change in it that is not flushed

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in CALLS:
            return real
        return lambda *given, **named: self._call(name, real, *given, **named)

    def _call(self, name: str, real: Any, *given: Any, **named: Any) -> Any:
        if self.dead:
            raise Killed
        if name in self.only:
            self.calls.append(name)
            late = len(self.calls) >= self.at if self.lasting else len(self.calls) == self.at
            if self.at and late:
                self._fail(name, given)
        if name == "fsync":
            return self._flushed(self._paths[given[0]])
        undo = self._undo(name, given)
        result = real(*given, **named)
        if name == "open":
            self._paths[result] = str(given[0])
        if undo:
            self._entries.append(undo)
        if name == "write":
            self._loose[self._paths[given[0]]] = True
        return result

    def _fail(self, name: str, given: tuple[Any, ...]) -> None:
        if isinstance(self.fault, int):
            reading = name == "open" and not given[1] & os.O_CREAT
            if name != "unlink" and not reading:  # a full disk can be read and cleared
                raise OSError(self.fault, os.strerror(self.fault))
            return
        if name == "write":
            os.write(given[0], bytes(given[1])[: len(given[1]) // 2])
            self._loose[self._paths[given[0]]] = True
        self.dead = True
        if self.fault == "power":
            self._lose()
        raise Killed

    def _flushed(self, path: str) -> None:
        self._loose.pop(path, None)
        self._entries = [entry for entry in self._entries if entry[0] != path]

    def _undo(self, name: str, given: tuple[Any, ...]) -> tuple[str, Any] | None:
        """The folder that a call changes, and what takes the change back."""
        path = str(given[-1] if name in ("rename", "link") else given[0])
        folder = os.path.dirname(path)
        if name == "open" and given[1] & os.O_CREAT and not os.path.exists(path):
            return folder, lambda: os.unlink(path)
        if name == "mkdir":
            return folder, lambda: shutil.rmtree(path)
        if name == "link" and not os.path.exists(path):
            return folder, lambda: os.unlink(path)
        if name == "unlink" and os.path.exists(path):
            held = _read(path)
            return folder, lambda: _write(path, held)
        if name == "rename":
            source, held = str(given[0]), _read(path) if os.path.exists(path) else None
            return folder, lambda: (os.rename(path, source), held is not None and _write(path, held))
        return None

    def _lose(self) -> None:
        for path in self._loose:
            with contextlib.suppress(FileNotFoundError):
                os.truncate(path, 0)
        for _, undo in reversed(self._entries):
            with contextlib.suppress(FileNotFoundError):
                undo()


@contextmanager
def using(disk: Disk) -> Iterator[Disk]:
    """Let the store and the locks write to this disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "os", disk)
        patch.setattr(lock, "os", disk)
        yield disk


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
