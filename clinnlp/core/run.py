"""A run folder: one for each run, private to its user, with a manifest that says how it was made."""

import contextlib
import hashlib
import json
import logging
import os
import platform
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from clinnlp.core.lock import only_run
from clinnlp.errors import ChangedError, InUseError, StorageError
from clinnlp.version import VERSION

log = logging.getLogger("clinnlp")

FORMAT = 1
MANIFEST = "manifest.json"
SETTINGS = "settings.yaml"
LOCK = ".lock"
NOTHING = {LOCK, f"{MANIFEST}.tmp"}  # what a process leaves that ends before it wrote anything
NOT_SEMANTIC = {"out", "fit.save_minutes"}  # an unfinished run may be gone on with under another name, or saved oftener
VERSIONS = ("clinnlp", "python", "machine")
LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "accelerate", "numpy", "pyarrow")


@dataclass
class Manifest:
    """The record of one run: settings and their fingerprint, data and weight hashes, versions, seed, facts."""

    verb: str
    settings: Mapping[str, Any]
    fingerprint: str
    seed: int | None = None
    data: dict[str, str] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    status: str = "running"

    def as_dict(self) -> dict[str, Any]:
        """Plain values; versions are read at this moment."""
        return {
            "format_version": FORMAT,
            "verb": self.verb,
            "status": self.status,
            "clinnlp": VERSION,
            "fingerprint": self.fingerprint,
            "settings": dict(self.settings),
            "seed": self.seed,
            "data_sha256": self.data,
            "weights_sha256": self.weights,
            "facts": self.facts,
            "versions": {name: _installed(name) for name in LIBRARIES},
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        }


_open: list["Run"] = []  # runs of this process that are not finished


class Run:
    """An output folder (0700) that this process alone works in, and the manifest in it.

    The folder must be new, or empty, or hold the same run, unfinished: that is gone on with, or begun again by what has
    no middle to go on from. Raises InUseError if it holds anything else or another process works there, StorageError if
    it cannot be made, and ChangedError, naming what differs, if the unfinished run was made with other settings.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest
        self.start = time.perf_counter()
        with contextlib.ExitStack() as lock:
            try:
                _unfinished(folder, manifest)  # before a file is made in a folder that is not ours
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                lock.enter_context(only_run(folder / LOCK, next="wait for it, or choose a new --out"))
                before = _unfinished(folder, manifest)
            except OSError as error:
                raise StorageError(f"cannot make the output folder: {error.strerror}", where=str(folder)) from None
            self._lock = lock.pop_all()
        _open.append(self)
        self.begun = before is not None  # by an earlier try
        if before:
            _compare_machines(before, manifest.as_dict())
            manifest.data, manifest.weights = before["data_sha256"], before["weights_sha256"]
        self.save()

    def pin(self, part: Literal["data", "weights"], sha256: Mapping[str, str]) -> None:
        """Record what the run is made of. Raises ChangedError if what an earlier try was made of differs."""
        before: dict[str, str] = getattr(self.manifest, part)
        changed = [f"{part} ({name})" for name in {**before, **sha256} if before.get(name) != sha256.get(name)]
        if before and changed:
            raise _changed(self.folder, changed)
        setattr(self.manifest, part, dict(sha256))
        self.save()

    def clear(self, *keep: str) -> None:
        """Remove what an earlier try left half done, but for the names in `keep`; without any it is begun anew."""
        if not keep:
            self.manifest.data, self.manifest.weights = {}, {}
        for path in self.folder.iterdir():
            if path.name in {MANIFEST, SETTINGS, LOCK, *keep}:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def save(self) -> None:
        """Write the manifest as it now is."""
        write_json(self.folder / MANIFEST, self.manifest.as_dict())

    def finish(self, facts: Mapping[str, Any] | None = None) -> None:
        """Mark the run as done, with its seconds and last facts."""
        self.manifest.facts |= {**(facts or {}), "seconds": round(time.perf_counter() - self.start, 1)}
        self.manifest.status = "done"
        self.save()
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        _open.remove(self)
        (self.folder / LOCK).unlink(missing_ok=True)
        self._lock.close()


def is_done(folder: Path) -> bool:
    """Whether a folder holds a finished run."""
    return _manifest(folder).get("status") == "done"


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest in a folder; empty if there is none of ours."""
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_bytes()) if path.is_file() else {}
    except ValueError:  # a file of someone else
        found = {}
    return found if isinstance(found, dict) else {}


def _unfinished(folder: Path, manifest: Manifest) -> dict[str, Any] | None:
    """The manifest of the unfinished run that the folder holds, None if it is new or empty."""
    if not folder.exists() or (folder.is_dir() and {path.name for path in folder.iterdir()} <= NOTHING):
        return None
    before = _manifest(folder)
    if before.get("status") in (None, "done") or not {"format_version", "verb", "settings"} <= before.keys():
        holds = "a run" if (folder / MANIFEST).exists() else "files that are not of clinnlp"
        raise InUseError(
            f"the output folder already holds {holds}",
            where=str(folder),
            kept="everything in it",
            next="choose a new --out, or remove the folder",
        )
    if before["format_version"] != FORMAT:
        raise ChangedError(
            f"the folder holds a run of format {before['format_version']}, this clinnlp knows format {FORMAT}",
            where=str(folder), kept="everything in it", next="go on with the clinnlp that began it",
        )  # fmt: skip
    now = json.loads(json.dumps(manifest.as_dict()))
    changed = [] if before["verb"] == now["verb"] else [f"verb ({before['verb']} before, now {now['verb']})"]
    if changed := changed + list(_differences(before["settings"], now["settings"])):
        raise _changed(folder, changed)
    return before


def _differences(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """The settings that differ, by dotted path, with both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in {**before, **now}:
            yield from _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif before != now and path not in NOT_SEMANTIC:
        yield f"{path} ({before} before, now {now})"


def _changed(folder: Path, changed: Sequence[str]) -> ChangedError:
    return ChangedError(
        f"the folder holds an unfinished run that differs in {', '.join(changed)}",
        where=str(folder),
        kept="everything in it",
        next="give the settings and data of that run to go on with it, or choose a new --out",
    )


def _compare_machines(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Say if an earlier try ran with other versions."""
    old, new = ({**told["versions"], **{name: told[name] for name in VERSIONS}} for told in (before, now))
    if changed := [f"{name} ({old.get(name)}, now {new[name]})" for name in new if old.get(name) != new[name]]:
        log.warning("begun with other versions, so not to the bit: %s", ", ".join(changed))


def abandon(status: str = "failed") -> str:
    """Close the runs that a failed command leaves open; returns what was kept, in words.

    A run that has made nothing yet is removed, so that the corrected command may write to the same folder.
    """
    kept, bare = "", {MANIFEST, SETTINGS, *NOTHING}
    while _open:
        run = _open[-1]
        if not run.begun and {path.name for path in run.folder.iterdir()} <= bare:
            for name in bare:
                (run.folder / name).unlink(missing_ok=True)
            run.close()
            run.folder.rmdir()
        else:
            run.manifest.status = status
            with contextlib.suppress(StorageError, ValueError):  # what ended the run: a full disk, or no number
                run.save()
            run.close()
            kept = f"{run.folder}, marked as {status}"
    return kept or "nothing was written"


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all: aside, flushed to disk, then renamed."""
    aside = path.with_name(path.name + ".tmp")
    try:
        with aside.open("wb") as file:
            file.write(encode_json(values))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise StorageError(
            f"cannot write: {error.strerror}", where=str(path), next="make room or mend the folder, and try again"
        ) from None


def encode_json(values: Mapping[str, Any]) -> bytes:
    """JSON as the files of a run hold it."""
    return (json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def megabytes(folder: Path) -> float:
    """What the files of a folder take, in 10^6 bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def sha256_files(paths: Iterable[Path]) -> str:
    """One hash over the contents of files, in the given order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


@cache
def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
