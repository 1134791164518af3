"""A worker: labels shards, writes and commits them; in a process of its own, or in the caller's."""

import contextlib
import ctypes
import hmac
import itertools
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection

from clinnlp.core.document import Document
from clinnlp.errors import ClinnlpError, IntegrityError, StorageError
from clinnlp.labeling.commits import Commit, commit_shard, files_of
from clinnlp.labeling.model import Model
from clinnlp.labeling.output import QUARANTINED, Aside, quarantine_lines, tables
from clinnlp.labeling.plan import Record, Shard
from clinnlp.labeling.shard import Labeler, count, placed, sort_out, status_of
from clinnlp.labeling.store import Store
from clinnlp.models.device import be_worker

READY = "ready"


@dataclass(frozen=True)
class Job:
    """What all shards of a run share: the model, where the labels go, and the settings of a worker."""

    model: Model
    store: Store
    fingerprint: str
    batch_tokens: int = 4096
    max_characters: int = 5_000_000
    quarantine_text: bool = False
    threads: int | None = None
    offsets: tuple[str, ...] = ()
    together: bool = False
    attributes: bool = False
    gpu: bool = False


@dataclass(frozen=True)
class Work:
    """A shard to be labeled: its records, and what became of earlier attempts at it.

    `replaces` is the commit that this one is to replace; `condemned` the records that ended a worker, by their
    number in the input; `alone` says to show the model one document at a time.
    """

    shard: Shard
    generation: int
    records: Sequence[Record]
    replaces: str | None = None
    condemned: Mapping[int, Aside] = field(default_factory=dict)
    alone: bool = False


class Worker:
    """A loaded model that turns work into commits."""

    def __init__(self, job: Job) -> None:
        self.job, self.store = job, job.store.reopened()
        self.key = self.store.get("key") or b""
        self.attempts = itertools.count()
        self.held = contextlib.ExitStack()
        self.held.enter_context(self.store.signed())
        self.labeler = Labeler(job.model.load(), job.batch_tokens)

    def close(self) -> None:
        """Withdraw the mark that says that files are being written."""
        self.held.close()

    def do(self, work: Work, starts: Callable[[int | None], None] = lambda ordinal: None) -> Commit:
        """Label, write and commit a shard.

        `starts` is told the number of each document that is shown alone, and None when the model has done its work.
        """
        first, self.labeler.lowest = work.shard.first, self.labeler.batch_tokens
        outcomes = sort_out(work.records, first, self.job.max_characters, work.condemned)
        places = [place for place, outcome in enumerate(outcomes) if isinstance(outcome, Document)]
        documents = [outcome for outcome in outcomes if isinstance(outcome, Document)]
        if work.alone:
            said = self.labeler.label_one_by_one(documents, lambda number: starts(first + places[number]))
        else:
            said = self.labeler.label(documents)
        starts(None)
        for place, document, outcome in zip(places, documents, said, strict=True):
            outcomes[place] = placed(outcome, first + place, document) if isinstance(outcome, Aside) else outcome
        return self._commit(work, outcomes)

    def _commit(self, work: Work, outcomes: Sequence[Document | Aside]) -> Commit:
        shard, statuses = work.shard, [status_of(outcome) for outcome in outcomes]
        data = tables(shard.first, outcomes, statuses, self.job.offsets, self.job.together, self.job.attributes)
        asides = {
            ordinal: outcome
            for ordinal, (outcome, status) in enumerate(zip(outcomes, statuses, strict=True), shard.first)
            if isinstance(outcome, Aside) and status == QUARANTINED
        }
        if asides:
            refs = {ordinal: doc_ref(self.key, aside.id) for ordinal, aside in asides.items() if aside.id is not None}
            data["quarantine"] = quarantine_lines(asides, refs, self.job.quarantine_text)
        counts = count(outcomes, statuses)
        counts.check(shard.records, f"shard {shard.number}")
        files = files_of(shard.number, f"{self.store.token}{next(self.attempts):04x}", data)
        commit = Commit(
            shard.number, work.generation, shard.sha256, self.job.fingerprint, self.labeler.lowest, files,
            counts, work.replaces,
        )  # fmt: skip
        return commit_shard(self.store, commit, data)


def doc_ref(key: bytes, id: str) -> str:
    """What a message may call a document: a keyed hash of its id, the same all over a run."""
    return hmac.new(key, id.encode(), "sha256").hexdigest()[:12]


def serve(pipe: Connection, job: Job, number: int = 0) -> None:
    """The life of worker `number`: says READY, then answers each Work with its Commit, until the pipe closes.

    On the way come the numbers of documents that are shown alone. An error is told as one of ours: the words of
    another library's error may quote notes.
    """
    _leave_with_parent()
    be_worker(number)
    warnings.simplefilter("ignore")
    logging.getLogger("clinnlp").addHandler(_ToParent(pipe))
    for asked in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asked, signal.SIG_IGN)  # the parent decides when work ends
    if job.threads:
        os.environ.setdefault("OMP_NUM_THREADS", str(job.threads))
    with contextlib.suppress(EOFError, BrokenPipeError):
        try:
            worker = Worker(job)
            pipe.send(READY)
            while True:
                pipe.send(worker.do(pipe.recv(), pipe.send))
        except ClinnlpError as error:
            pipe.send(error)
        except (EOFError, BrokenPipeError):
            worker.close()
        except OSError as error:
            told = f"cannot read or write: {error.strerror or type(error).__name__}"
            pipe.send(StorageError(told, where=job.store.place, next="mend the disk"))
        except Exception as error:
            pipe.send(
                IntegrityError(f"a worker failed ({type(error).__name__})", next="report this: a fault of clinnlp")
            )


class _ToParent(logging.Handler):
    """Sends what is logged here to the parent, as a level and a line."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self.pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        self.pipe.send((record.levelno, record.getMessage()))


def _leave_with_parent() -> None:
    """End this process when its parent ends: at once on Linux, elsewhere as soon as Python gets to run."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
