"""The errors clinnlp raises: each says what, where, what was kept and what to do next, in one line."""

import errno
import re


class ClinnlpError(Exception):
    """A fault that a user can act on; the command line prints it as one message without a traceback.

    Never put note text, entity text or raw document ids into any part of it.
    """

    code = "CLN-E1"
    exit_status = 1

    def __init__(self, what: str, *, where: str = "", kept: str = "", next: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.kept = kept
        self.next = next

    def as_dict(self) -> dict[str, str | int]:
        """Plain values, for a program that reads them."""
        kind, status = type(self).__name__, self.exit_status
        said = {"what": self.what, "where": self.where, "kept": self.kept, "next": self.next}
        return {"code": self.code, "class": kind, "exit_status": status, **said}

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.kept:
            parts.append(f"Kept: {self.kept}")
        if self.next:
            parts.append(f"Next: {self.next}")
        return " ".join(part if part.endswith((".", "?", "!")) else part + "." for part in parts)


class UsageError(ClinnlpError):
    """A command that cannot be understood."""

    code = "CLN-U2"
    exit_status = 2


class ConfigError(UsageError):
    """A setting that is unknown, missing or of the wrong type."""

    code = "CLN-C2"


class DataError(ClinnlpError):
    """Notes, annotations or labels that contradict themselves or the settings."""

    code = "CLN-D2"
    exit_status = 2


class ChangedError(ClinnlpError):
    """Something differs from what this run or model was made with."""

    code = "CLN-R4"
    exit_status = 4


class LeakError(ClinnlpError):
    """Notes to be scored that the model was, or would be, trained on."""

    code = "CLN-L4"
    exit_status = 4


class InUseError(ClinnlpError):
    """The output folder already holds a run, or something that is not ours."""

    code = "CLN-O5"
    exit_status = 5


class StorageError(ClinnlpError):
    """A file cannot be read or written."""

    code = "CLN-S6"
    exit_status = 6


class IntegrityError(ClinnlpError):
    """Counts, hashes or logits that must agree do not."""

    code = "CLN-I7"
    exit_status = 7


class LogitsError(IntegrityError):
    """A model answered with NaN or infinity."""

    code = "CLN-D320"


class UnsafeError(ClinnlpError):
    """A file, model or path that is not safe to open."""

    code = "CLN-X8"
    exit_status = 8


class PrivacyError(ClinnlpError):
    """A guard that keeps note text where it belongs."""

    code = "CLN-P9"
    exit_status = 9


class MemoryLackError(ClinnlpError):
    """The machine has too little memory."""

    code = "CLN-M6"
    exit_status = 6


class FailuresError(ClinnlpError):
    """So many documents were set aside that something must be wrong with all of them."""

    code = "CLN-D3"
    exit_status = 3


class StoppedError(ClinnlpError):
    """A run was told to stop; `signal` is the number of the signal, 2 or 15."""

    code = "CLN-R130"

    def __init__(self, signal: int, *, where: str = "", kept: str = "", next: str = "") -> None:
        super().__init__("interrupted", where=where, kept=kept, next=next)
        self.exit_status = 128 + signal


QUARANTINED = 3  # exit status of a run that finished and set documents aside


def lacks_memory(error: BaseException) -> bool:
    """Whether an error is one of memory: ours, Python's own, torch's, or that of another library that says so."""
    if isinstance(error, (MemoryLackError, MemoryError)) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and re.search(r"out of memory|allocate memory", str(error)) is not None


ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
ROOM_TOLD = r"No space left on device|Disk quota exceeded|File too large|disk is full|disk I/O error"


def lacks_room(error: BaseException | None) -> str | None:
    """What the disk said where an error, or one that led to it, is that it took no more; None for any other.

    It is read from the system's number, or in the words of SQLite, safetensors and Arrow, which give none.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in ROOM:
            return str(error.strerror)
        if not isinstance(error, ClinnlpError) and (said := re.search(ROOM_TOLD, str(error))):
            return said.group()
        error = error.__cause__ or error.__context__
    return None
