"""A run folder: new for each run, private to its user, with a manifest that says how it was made."""

import contextlib
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from clinnlp.errors import ChangedError, InUseError, StorageError
from clinnlp.version import VERSION

MANIFEST = "manifest.json"
SETTINGS = "settings.yaml"
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
            "format_version": 1,
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
    """A new output folder (0700) and the manifest in it; nothing else ever writes there.

    Raises InUseError if the folder already holds anything, StorageError if it cannot be made. With `resume` the
    folder may hold the same run, unfinished; ChangedError names what differs if it is another.
    """

    def __init__(self, folder: Path, manifest: Manifest, resume: bool = False) -> None:
        self.folder, self.manifest = folder, manifest
        self.start = time.perf_counter()
        try:
            if resume and _is_same(folder, manifest):
                pass
            elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                holds = "a run" if (folder / MANIFEST).exists() else "files that are not of clinnlp"
                raise InUseError(
                    f"the output folder already holds {holds}",
                    where=str(folder),
                    kept="everything in it",
                    next="choose a new --out, or remove the folder",
                )
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make the output folder: {error.strerror}", where=str(folder)) from None
        _open.append(self)
        self.save()

    def save(self) -> None:
        """Write the manifest as it now is."""
        write_json(self.folder / MANIFEST, self.manifest.as_dict())

    def finish(self, facts: Mapping[str, Any] | None = None) -> None:
        """Mark the run as done, with its seconds and last facts."""
        self.manifest.facts |= {**(facts or {}), "seconds": round(time.perf_counter() - self.start, 1)}
        self.manifest.status = "done"
        self.save()
        _open.remove(self)


def is_done(folder: Path) -> bool:
    """Whether a folder holds a finished run."""
    path = folder / MANIFEST
    return path.is_file() and json.loads(path.read_text(encoding="utf-8"))["status"] == "done"


def _is_same(folder: Path, manifest: Manifest) -> bool:
    """Whether an unfinished run in the folder was made with the same verb, settings and data."""
    path = folder / MANIFEST
    if not path.is_file() or is_done(folder):
        return False
    before, now = json.loads(path.read_text(encoding="utf-8")), manifest.as_dict()
    changed = [name for name in ("verb", "data_sha256") if before[name] != now[name]]
    if before["fingerprint"] != now["fingerprint"]:
        old, new = before["settings"], json.loads(json.dumps(now["settings"]))
        changed += [f"settings.{key}" for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    if changed:
        raise ChangedError(
            f"the folder holds an unfinished run that differs in {', '.join(changed)}",
            where=str(folder),
            kept="everything in it",
            next="give the settings and data of that run to go on with it, or choose a new --out",
        )
    return True


def abandon() -> str:
    """Close the runs that a failed command leaves open; returns what was kept, in words.

    A run that has made nothing yet is removed, so that the corrected command may write to the same folder.
    """
    kept = ""
    while _open:
        run = _open.pop()
        if {path.name for path in run.folder.iterdir()} <= {MANIFEST, SETTINGS}:
            for name in (MANIFEST, SETTINGS):
                (run.folder / name).unlink(missing_ok=True)
            run.folder.rmdir()
        else:
            run.manifest.status = "failed"
            with contextlib.suppress(StorageError):  # what ended the run may be a full disk
                run.save()
            kept = f"{run.folder}, marked as failed"
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
        raise StorageError(f"cannot write: {error.strerror}", where=str(path)) from None


def encode_json(values: Mapping[str, Any]) -> bytes:
    """JSON as the files of a run hold it."""
    return (json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def sha256_files(paths: Iterable[Path]) -> str:
    """One hash over the contents of files, in the given order."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
