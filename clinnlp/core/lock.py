"""Locks that end with their process: who works on a folder, and whose files there are still being written."""

import contextlib
import datetime
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clinnlp.errors import InUseError

log = logging.getLogger("clinnlp")
SECONDS = 1.0  # that a process which was just killed may still seem to work


@contextmanager
def only_run(path: Path, next: str) -> Iterator[None]:
    """Be the one process that works on a folder. Raises InUseError, naming the process that is it and what is `next`.

    The system releases the lock when its process ends, however that happens, and a child that it was just starting has
    come to itself: a moment is waited for that. It saves work, no more: where the file system has no locks, or one is
    lost, commits still keep the output right.
    """
    file, patience = _locked(path), time.monotonic() + SECONDS
    while file is None and time.monotonic() < patience:
        time.sleep(SECONDS / 20)
        file = _locked(path)
    if file is None:
        raise InUseError(
            f"in use by {_owner(path)}",
            where=str(path.parent),
            kept="everything in it",
            next=next,
        )
    try:
        if path.stat().st_size:
            log.warning("taking over from %s, which did not end by itself", _owner(path))
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        told = {"host": socket.gethostname(), "pid": os.getpid(), "started": started}
        os.ftruncate(file, 0)
        os.write(file, json.dumps(told).encode())
        yield
    finally:
        try:
            with contextlib.suppress(OSError):
                os.ftruncate(file, 0)
        finally:
            os.close(file)


def claim(folder: Path, name: str) -> bool:
    """Say that this process will do some work; returns False if another has said so, which may have died since."""
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        os.close(os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    return True


@contextmanager
def signed(folder: Path, token: str) -> Iterator[None]:
    """Say that files with this token in their names are being written, as long as this process lives or the context."""
    folder.mkdir(mode=0o700, exist_ok=True)
    file = _locked(folder / token)
    try:
        yield
    finally:
        (folder / token).unlink(missing_ok=True)
        if file is not None:
            os.close(file)


def is_written(folder: Path, token: str) -> bool:
    """Whether the process that signed for this token lives; the mark of one that does not is removed."""
    path = folder / token
    if not path.exists():
        return False
    file = _locked(path)
    if file is not None:
        path.unlink(missing_ok=True)
        os.close(file)
    return file is None


def _locked(path: Path) -> int | None:
    """The open and locked file, or None if another process has the lock."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    except OSError:
        log.warning("this file system has no locks: a second process on the folder would not be noticed")
    return file


def _owner(path: Path) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads(path.read_bytes())
        return f"process {told['pid']} on {told['host']}, started {told['started']}"
    return "another process"
