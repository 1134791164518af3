"""Commit records: a shard is labeled when, and only when, a commit record names its files."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from clinnlp.errors import IntegrityError
from clinnlp.labeling.counts import Counts
from clinnlp.labeling.store import Store

KINDS = {"spans": "parquet", "documents": "parquet", "quarantine": "jsonl"}  # the files of a shard, with their ending
NAME = re.compile(r"(\d{6,})(?:\.g(\d+))?\.json")


@dataclass(frozen=True, slots=True)
class File:
    """A data file that a commit names."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Commit:
    """What `commits/NNN/NNNNNN.json` says; a later generation (`NNNNNN.g2.json`) replaces an earlier one whole.

    `input_sha256` is the hash of the shard as planned, `fingerprint` that of the model and settings, `batch_tokens`
    the tokens a forward pass that memory had room for.
    """

    shard: int
    generation: int
    input_sha256: str
    fingerprint: str
    batch_tokens: int
    files: Mapping[str, File]
    counts: Counts
    replaces: str | None = None

    @property
    def name(self) -> str:
        """Where it is stored."""
        return commit_name(self.shard, self.generation)

    def encode(self) -> bytes:
        """Its record: one JSON object with a hash of itself."""
        values = asdict(self) | {"format_version": 1, "counts": self.counts.as_dict()}
        return json.dumps(values | {"check": _check(values)}, indent=1, sort_keys=True).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> "Commit | None":
        """A commit from its record, or None for one that is torn; fields it does not know are passed over."""
        try:
            values: dict[str, Any] = json.loads(data)
            if values.pop("check") != _check(values):
                return None
            known = {name: values[name] for name in cls.__dataclass_fields__}
            known["files"] = {kind: File(**file) for kind, file in values["files"].items()}
            known["counts"] = Counts.parse(values["counts"])
            return cls(**known)
        except (AttributeError, KeyError, TypeError, ValueError):
            return None

    def agrees(self, other: "Commit") -> bool:
        """Whether both say the same of the same records."""

        def said(commit: Commit) -> Any:
            return commit.input_sha256, {kind: file.sha256 for kind, file in commit.files.items()}

        return bool(said(self) == said(other))


@dataclass
class Held:
    """The commits of one shard: the one that counts, if any is whole, and the highest generation there is."""

    commit: Commit | None = None
    generation: int = 0


@dataclass
class Ledger:
    """All commits of a run, read by name when the run starts."""

    store: Store
    held: dict[int, Held] = field(default_factory=dict)
    torn: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, store: Store) -> "Ledger":
        """The last whole commit of every shard; later ones that are torn do not count."""
        ledger = cls(store)
        generations: dict[int, list[int]] = {}
        for folder in store.names("commits"):
            for name in store.names(f"commits/{folder}"):
                if found := NAME.fullmatch(name):
                    generations.setdefault(int(found[1]), []).append(int(found[2] or 1))
        for shard, there in generations.items():
            ledger.held[shard] = ledger._last(shard, sorted(there))
        return ledger

    def _last(self, shard: int, generations: list[int]) -> Held:
        for generation in reversed(generations):
            if commit := Commit.parse(self.store.get(commit_name(shard, generation)) or b""):
                return Held(commit, generations[-1])
            self.torn.append(commit_name(shard, generation))
        return Held(None, generations[-1])

    def of(self, shard: int) -> Held:
        """The commits of a shard."""
        return self.held.get(shard, Held())


def commit_shard(store: Store, commit: Commit, data: Mapping[str, bytes]) -> Commit:
    """Store the files of a shard, then its commit, unless another process was first; returns the commit that counts.

    `data` is the content of the files that the commit names. Raises IntegrityError if the other process labeled the
    same records differently.
    """
    for kind, file in commit.files.items():
        store.put(file.name, data[kind])
    if store.put_if_absent(commit.name, commit.encode()):
        return commit
    winner = Commit.parse(store.get(commit.name) or b"")
    if winner is None or not winner.agrees(commit):
        raise IntegrityError(
            f"shard {commit.shard} was labeled differently by another process",
            where=store.place,
            kept="what the other process committed",
            next="see that all processes have the same model, settings, versions and input",
        )
    for file in commit.files.values():
        store.remove(file.name)
    return winner


def files_of(shard: int, attempt: str, data: Mapping[str, bytes]) -> dict[str, File]:
    """The names, hashes and sizes of the files that an attempt at a shard makes."""
    return {
        kind: File(f"{kind}/{shard:06d}-{attempt}.{KINDS[kind]}", hashlib.sha256(raw).hexdigest(), len(raw))
        for kind, raw in data.items()
    }


def damaged(store: Store, files: Iterable[File], whole: bool) -> list[str]:
    """The files that are missing or not of their size; with `whole`, also those whose hash is another."""
    found = []
    for file in files:
        if whole:
            data = store.get(file.name)
            fits = data is not None and hashlib.sha256(data).hexdigest() == file.sha256
        else:
            fits = store.size(file.name) == file.bytes
        if not fits:
            found.append(file.name)
    return found


def commit_name(shard: int, generation: int) -> str:
    """The name of a commit record."""
    return f"commits/{shard // 1000:03d}/{shard:06d}{f'.g{generation}' if generation > 1 else ''}.json"


def _check(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
