"""Proof of a labeling run: every committed file hashed again, every note in the account; and what is left over."""

import hashlib
import json
import re
from dataclasses import dataclass, field

from clinnlp.core.lock import is_written
from clinnlp.errors import ClinnlpError, ConfigError
from clinnlp.labeling.commits import NAME, Commit, Ledger, damaged
from clinnlp.labeling.counts import Counts
from clinnlp.labeling.plan import Shard, read_plan
from clinnlp.labeling.record import RunRecord, is_done, last_record
from clinnlp.labeling.store import WRITERS, LocalStore, Store

DATA = re.compile(r"\d{6,}-([0-9a-f]{8})[0-9a-f]{4,}\.(?:parquet|jsonl)")
ASIDE = re.compile(r"\..+\.([0-9a-f]{8})")


@dataclass
class Proof:
    """What was found: shards planned and committed, files hashed, the account, and each fault in words."""

    shards: int = 0
    committed: int = 0
    files: int = 0
    done: bool = False
    counts: Counts = field(default_factory=Counts)
    faults: list[str] = field(default_factory=list)


def verify(store: Store) -> Proof:
    """Hash all that is committed and reconcile the account. Raises ConfigError if there is no run."""
    record = last_record(store)
    if record is None:
        raise ConfigError("no labels here", where=store.place, next="give the --out folder of `clinnlp label`")
    proof = Proof(record.plan.shards, done=is_done(store))
    proof.faults += _broken_chain(store, record)
    ledger = Ledger.read(store)
    proof.faults += [f"{name} is torn" for name in ledger.torn]
    try:
        for shard in read_plan(store, record.plan):
            _prove(store, shard, ledger.of(shard.number).commit, proof)
    except ClinnlpError as error:
        proof.faults.append(error.what)
    if proof.done:
        _close(store, record, proof)
    return proof


def _prove(store: Store, shard: Shard, commit: Commit | None, proof: Proof) -> None:
    if commit is None or commit.input_sha256 != shard.sha256:
        if proof.done:
            proof.faults.append(f"shard {shard.number} is not committed")
        return
    proof.committed += 1
    proof.files += len(commit.files)
    proof.faults += [f"{name} is missing or damaged" for name in damaged(store, commit.files.values(), whole=True)]
    lines = (store.get(commit.files["quarantine"].name) or b"").count(b"\n") if "quarantine" in commit.files else 0
    if lines != commit.counts.quarantined:
        proof.faults.append(f"shard {shard.number} counts {commit.counts.quarantined} set aside and lists {lines}")
    try:
        commit.counts.check(shard.records, f"shard {shard.number}")
    except ClinnlpError as error:
        proof.faults.append(f"{error.where}: {error.what}")
    proof.counts.add(commit.counts)


def _close(store: Store, record: RunRecord, proof: Proof) -> None:
    """The account of a finished run: the sum of its commits, all records of its plan, and what counts.json says."""
    try:
        proof.counts.check(record.plan.records, "the run")
    except ClinnlpError as error:
        proof.faults.append(error.what)
    told = json.loads(store.get("counts.json") or b"{}")
    if any(told.get(name) != value for name, value in proof.counts.as_dict().items()):
        proof.faults.append("counts.json is not the sum of the commits")


def _broken_chain(store: Store, record: RunRecord) -> list[str]:
    """Run records that are not the ones that later ones were made from."""
    faults, before = [], None
    for generation in range(1, record.generation + 1):
        name = f"run.g{generation}.json" if generation > 1 else "run.json"
        data = store.get(name) or b""
        if RunRecord.parse(data, store.place).before != before:
            faults.append(f"{name} was made from another record than the one before it")
        before = hashlib.sha256(data).hexdigest()
    return faults


def remove_leftovers(store: LocalStore) -> int:
    """Remove files that no commit names and no living process is about to name; returns how many.

    The order is what makes it safe: files are listed first, then their writers are seen to have ended, and commits are
    read last, so that none can be made after they were read.
    """
    found: dict[str, str] = {}
    for path in store.root.rglob("*"):
        if match := DATA.fullmatch(path.name) or ASIDE.fullmatch(path.name):
            found[path.relative_to(store.root).as_posix()] = match[1]
    living = {token for token in {*found.values(), *store.names(WRITERS)} if is_written(store.root / WRITERS, token)}
    named = _named(store)
    left = [name for name, token in found.items() if token not in living and name not in named]
    for name in left:
        store.remove(name)
    return len(left)


def _named(store: LocalStore) -> set[str]:
    """The files that any commit names, also one that was replaced."""
    named: set[str] = set()
    for folder in store.names("commits"):
        for name in filter(NAME.fullmatch, store.names(f"commits/{folder}")):
            commit = Commit.parse(store.get(f"commits/{folder}/{name}") or b"")
            named |= {file.name for file in commit.files.values()} if commit else set()
    return named
