"""The plan of a run: its input cut into shards, each with the hash of what it holds, streamed to the store."""

import base64
import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from clinnlp.core.document import Document, Excluded, Quarantined
from clinnlp.errors import IntegrityError
from clinnlp.labeling.store import Store

Record = Document | Quarantined
MOST_CHARACTERS = 8 * 2**20  # of text in a shard
MARK = 8  # bytes kept of the hash of each record: enough to count the records that differ
SEGMENT = 64  # shards in one file of the plan


@dataclass(frozen=True, slots=True)
class Shard:
    """A stretch of the input: records `first` to `first + records`, with the hash over what they hold.

    `marks` is a piece of the hash of each record, in base64.
    """

    number: int
    first: int
    records: int
    characters: int
    sha256: str
    marks: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a plan lies and what it adds up to; `sha256` is a chain over its lines."""

    name: str
    shards: int
    records: int
    characters: int
    sha256: str


def cut(records: Iterable[Record], most: int, sizes: Sequence[int] = ()) -> Iterator[list[Record]]:
    """Records in lists of the given sizes, then of `most` records or 8 Mi characters of text, whichever is first."""
    source = iter(records)
    for size in sizes:
        if part := list(islice(source, size)):
            yield part
    part, characters = [], 0
    for record in source:
        part.append(record)
        characters += _length(record)
        if len(part) >= most or characters >= MOST_CHARACTERS:
            yield part
            part, characters = [], 0
    if part:
        yield part


def describe(parts: Iterable[list[Record]]) -> Iterator[Shard]:
    """The shard that each list of records makes."""
    first = 0
    for number, part in enumerate(parts):
        digests = [_digest(record) for record in part]
        marks = base64.b64encode(b"".join(digest[:MARK] for digest in digests)).decode()
        whole = hashlib.sha256(b"".join(digests)).hexdigest()
        yield Shard(number, first, len(part), sum(map(_length, part)), whole, marks)
        first += len(part)


def holds(records: Sequence[Record], sha256: str) -> bool:
    """Whether records are what a shard of this hash was planned to hold."""
    return hashlib.sha256(b"".join(map(_digest, records))).hexdigest() == sha256


def write_plan(store: Store, name: str, shards: Iterable[Shard]) -> Plan:
    """Store a plan in files of `SEGMENT` shards; of all of it, one segment is in memory."""
    chain, count, records, characters = hashlib.sha256(), 0, 0, 0
    source = iter(shards)
    while segment := list(islice(source, SEGMENT)):
        data = "".join(json.dumps(asdict(shard)) + "\n" for shard in segment).encode()
        chain.update(data)
        store.put(_segment(name, count // SEGMENT), data)
        count += len(segment)
        records += sum(shard.records for shard in segment)
        characters += sum(shard.characters for shard in segment)
    return Plan(name, count, records, characters, chain.hexdigest())


def read_plan(store: Store, plan: Plan) -> Iterator[Shard]:
    """The shards of a plan, in order. Raises IntegrityError, at the end, if it is not the plan that was made."""
    chain = hashlib.sha256()
    for number in range(0, plan.shards, SEGMENT):
        data = store.get(_segment(plan.name, number // SEGMENT)) or b""
        chain.update(data)
        try:
            yield from [Shard(**json.loads(line)) for line in data.splitlines()]
        except (TypeError, ValueError):
            break
    if chain.hexdigest() != plan.sha256:
        raise IntegrityError(
            "the plan is not the one that was made", where=f"{store.place}/plan", next="label into a new --out"
        )


def differences(before: Iterable[Shard], now: Iterable[Shard]) -> tuple[list[int], int, int]:
    """The shards whose records differ, how many records those are, and how many there are past the last shard.

    Records that have gone count as different; `now` must be cut like `before`.
    """
    changed: list[int] = []
    records, appended = 0, 0
    source = iter(now)
    for old in before:
        new = next(source, None)
        if new is None or new.sha256 != old.sha256:
            changed.append(old.number)
            records += _unlike(old, new)
    appended = sum(shard.records for shard in source)
    return changed, records, appended


class Ids:
    """The ids of the records that pass by, as 8 bytes each, to find those that occur twice."""

    def __init__(self) -> None:
        self._hashes = array("q")

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """Pass the records on."""
        for record in records:
            if record.id is not None and isinstance(record, Document):
                self._hashes.append(hash(record.id))
            yield record

    def repeated(self, again: Callable[[], Iterable[Record]]) -> Counter[str]:
        """The ids that occur more than once; the records are read `again` only if two hashes are equal."""
        import numpy as np

        hashes: Any = np.frombuffer(self._hashes, dtype=np.int64) if self._hashes else np.empty(0, np.int64)
        hashes = np.sort(hashes)
        twice = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
        if not twice:
            return Counter()
        found = Counter(r.id for r in again() if isinstance(r, Document) and hash(r.id) in twice)
        return Counter({id: count for id, count in found.items() if count > 1})


def _length(record: Record) -> int:
    return len(record.text) if isinstance(record, Document) else 0


def _digest(record: Record) -> bytes:
    if isinstance(record, Document):
        digest = hashlib.sha256(f"{len(record.id)} {record.id}{record.text}".encode()).digest()
        if not record.spans:
            return digest
        spans = json.dumps([asdict(span) for span in record.spans], sort_keys=True)  # what the model was asked about
        return hashlib.sha256(digest + spans.encode()).digest()
    kind = "x" if isinstance(record, Excluded) else "-"
    return hashlib.sha256(f"{kind} {record.reason}".encode()).digest()


def _segment(name: str, number: int) -> str:
    return f"{name}-{number:06d}.jsonl"


def _unlike(old: Shard, new: Shard | None) -> int:
    if new is None:
        return old.records
    mine, theirs = base64.b64decode(old.marks), base64.b64decode(new.marks)
    places = range(0, max(len(mine), len(theirs)), MARK)
    return sum(mine[place : place + MARK] != theirs[place : place + MARK] for place in places)
