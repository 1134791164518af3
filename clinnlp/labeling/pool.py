"""Worker processes: fed one shard at a time, watched, and replaced when they die or hang."""

import contextlib
import json
import logging
import multiprocessing
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from clinnlp.core.document import Document
from clinnlp.core.signals import Signals
from clinnlp.errors import ClinnlpError, IntegrityError
from clinnlp.labeling.commits import Commit
from clinnlp.labeling.output import Aside
from clinnlp.labeling.store import Store
from clinnlp.labeling.worker import READY, Job, Work, Worker, serve

log = logging.getLogger("clinnlp")

CRASHED = Aside("CLN-D310", "the model's process died on it", "")
HUNG = Aside("CLN-D315", "the model did not answer in time", "")
TRIES = 2  # attempts at a whole shard; after that its documents are shown one by one
LAST = 5  # failures of a shard with no document to blame, before the run gives up
LEAVE_SECONDS = 5.0  # for a shard in work when the run is told to stop
PACE = 1000.0  # characters a second that any machine reaches, before a shard has shown more
LONG = 50_000  # characters a document has `document_seconds` for; a longer one has more in proportion


@dataclass
class Slot:
    """A worker process, what it works on, and when it must have answered."""

    process: BaseProcess
    pipe: Connection
    number: int
    work: Work | None = None
    ordinal: int | None = None
    begun: float = 0.0
    deadline: float = float("inf")
    ready: bool = False

    def end(self, patience: float) -> None:
        """Close the pipe, which tells the process to leave, and kill it if it has not after `patience` seconds."""
        self.pipe.close()
        self.process.join(patience)
        self.process.kill()
        self.process.join()


class Attempts:
    """What went wrong with shards before: in the store, so that a later run knows it too."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.failures: dict[str, int] = defaultdict(int)
        self.blameless: dict[str, int] = defaultdict(int)  # of this run, with no document to blame
        self.condemned: dict[str, dict[int, Aside]] = defaultdict(dict)
        for name in store.names("attempts"):
            told = json.loads(store.get(f"attempts/{name}") or b"{}")
            self._learn(name.partition("-")[0], told.get("ordinal"), told.get("hung", False))

    def fail(self, work: Work, ordinal: int | None, hung: bool) -> None:
        """Record that a worker ended on a shard, and on which document, if documents were shown alone."""
        key = _key(work)
        self._learn(key, ordinal, hung)
        self.blameless[key] += ordinal is None
        told = json.dumps({"ordinal": ordinal, "hung": hung}).encode()
        self.store.put(f"attempts/{key}-{self.store.token}{self.failures[key]:02x}.json", told)

    def advise(self, work: Work) -> Work:
        """The work, with what earlier attempts taught. Raises IntegrityError if nothing helps."""
        key = _key(work)
        if self.blameless[key] >= LAST:
            raise IntegrityError(
                f"shard {work.shard.number} ended its worker {LAST} times and no document is to blame",
                where=self.store.place,
                kept="all other shards",
                next="see whether the machine has memory and the model folder is whole",
            )
        return replace(work, condemned=dict(self.condemned[key]), alone=self.failures[key] >= TRIES)

    def _learn(self, key: str, ordinal: int | None, hung: bool) -> None:
        self.failures[key] += TRIES if hung and ordinal is None else 1  # a shard that hung is not tried whole again
        if ordinal is not None:
            self.condemned[key][ordinal] = HUNG if hung else CRASHED


class Pool:
    """Worker processes that label shards; with `workers` 0, this process does."""

    def __init__(self, job: Job, store: Store, workers: int, document_seconds: float) -> None:
        self.job, self.workers, self.document_seconds = job, workers, document_seconds
        self.attempts = Attempts(store)
        self.own: Worker | None = None
        self.slots: list[Slot] = []
        self.again: deque[Work] = deque()
        self.pace = PACE
        self.failed_starts = 0

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self.own:
            self.own.close()
        for slot in self.slots:
            slot.end(patience=0 if kind else 5)

    def run(self, source: Iterator[Work], signals: Signals) -> Iterator[Commit]:
        """The commits of all work, as they come.

        Ends early when a signal says so, after at most `LEAVE_SECONDS` for what is in work.
        """
        return self._watch(source, signals) if self.workers else map(self._do, source)

    def _do(self, work: Work) -> Commit:
        self.own = self.own or Worker(self.job)
        return self.own.do(self.attempts.advise(work))

    def _watch(self, source: Iterator[Work], signals: Signals) -> Iterator[Commit]:
        spare, leave = next(source, None), float("inf")
        while spare or self.again or any(slot.work for slot in self.slots):
            if signals.received:
                leave = min(leave, time.monotonic() + LEAVE_SECONDS)
                if time.monotonic() > leave or not any(slot.work for slot in self.slots):
                    return
            while not signals.received and (spare or self.again) and (slot := self._idle()):
                if self.again:
                    self._give(slot, self.again.popleft())
                elif spare:
                    self._give(slot, spare)
                    spare = next(source, None)  # read while the workers work
            yield from self._hear()

    def _idle(self) -> Slot | None:
        """A worker that waits for work; as many are started as there may be."""
        while len(self.slots) < self.workers:
            free = min({*range(self.workers)} - {slot.number for slot in self.slots})
            self.slots.append(_start(self.job, free))
        return next((slot for slot in self.slots if slot.ready and slot.work is None), None)

    def _give(self, slot: Slot, work: Work) -> None:
        slot.work, slot.ordinal, slot.begun = self.attempts.advise(work), None, time.monotonic()
        slot.deadline = slot.begun + self.document_seconds + work.shard.characters / self.pace
        with contextlib.suppress(BrokenPipeError):  # it died: heard of next
            slot.pipe.send(slot.work)

    def _hear(self) -> Iterator[Commit]:
        """What the workers say within half a second, and what follows from those that died or are late."""
        said = wait([slot.pipe for slot in self.slots], timeout=0.5)
        for slot in list(self.slots):
            if slot.pipe in said:
                try:
                    message = slot.pipe.recv()
                except (EOFError, ConnectionResetError):
                    self._lost(slot, hung=False)
                    continue
                if commit := self._answer(slot, message):
                    yield commit
            elif time.monotonic() > slot.deadline:
                self._lost(slot, hung=True)

    def _answer(self, slot: Slot, message: object) -> Commit | None:
        if isinstance(message, ClinnlpError):
            raise message
        if message == READY:
            slot.ready = True
        elif message is None:
            slot.ordinal, slot.deadline = None, float("inf")  # what is slow now is the disk, and no document's fault
        elif isinstance(message, tuple):
            log.log(message[0], "%s", message[1])
        elif isinstance(message, int) and slot.work:
            slot.ordinal = message
            record = slot.work.records[message - slot.work.shard.first]
            length = len(record.text) if isinstance(record, Document) else 0
            slot.deadline = time.monotonic() + self.document_seconds * max(1.0, length / LONG)
        elif isinstance(message, Commit) and slot.work:
            seconds = max(time.monotonic() - slot.begun, 1e-3)
            reached = slot.work.shard.characters / seconds / 10
            self.pace = reached if self.pace == PACE else min(self.pace, reached)
            slot.work, slot.deadline = None, float("inf")
            return message
        return None

    def _lost(self, slot: Slot, hung: bool) -> None:
        """Record how a worker ended, put its work back in the queue; the next look for an idle worker starts one."""
        slot.end(0 if hung else 1)
        self.slots.remove(slot)
        if slot.work is None:
            self.failed_starts += 1
            if self.failed_starts > TRIES:
                raise IntegrityError(
                    f"the model's process died while loading, with status {slot.process.exitcode}",
                    next="see whether the machine has memory and the model folder is whole",
                )
            return
        log.warning(
            "a worker %s in shard %d%s", "did not answer in time" if hung else "died", slot.work.shard.number,
            "" if slot.ordinal is None else f": note {slot.ordinal + 1} of the input is set aside",
        )  # fmt: skip
        self.attempts.fail(slot.work, slot.ordinal, hung)
        self.again.append(slot.work)


def _start(job: Job, number: int) -> Slot:
    """A new worker process; it loads the model and says so."""
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe()
    process = context.Process(target=serve, args=(its, job, number), daemon=True)
    process.start()
    its.close()  # the worker has the only one left, so that its death is the end of the pipe
    return Slot(process, mine, number)


def _key(work: Work) -> str:
    return f"{work.shard.number:06d}.g{work.generation}"
