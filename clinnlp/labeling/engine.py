"""A labeling run, from its first note to its last, however often it is stopped on the way."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from clinnlp.core.signals import Signals, Stop
from clinnlp.errors import ChangedError, ClinnlpError, FailuresError, IntegrityError, StoppedError, StorageError
from clinnlp.labeling.begin import begin, check_fresh
from clinnlp.labeling.claims import Claims
from clinnlp.labeling.commits import Commit, Held, Ledger, commit_name, damaged
from clinnlp.labeling.counts import Counts
from clinnlp.labeling.model import Model
from clinnlp.labeling.options import Options
from clinnlp.labeling.plan import Shard, cut, holds, read_plan
from clinnlp.labeling.pool import Pool
from clinnlp.labeling.record import RunRecord, is_done, last_record
from clinnlp.labeling.source import Files, Source
from clinnlp.labeling.store import Store, open_store
from clinnlp.labeling.together import Together
from clinnlp.labeling.worker import Job, Work

if TYPE_CHECKING:
    from clinnlp.labeling.on_ray import RayPool

log = logging.getLogger("clinnlp")

LEAST_FAILURES = 20  # notes set aside before a share of them says anything


@contextmanager
def open_run(
    out: str | Path,
    source: Source,
    model: Model,
    fingerprint: Mapping[str, str],
    options: Options,
    decide: Callable[[Store], Model] | None = None,
) -> Iterator["LabelingRun"]:
    """The run in `out`, new or gone on with, for as long as it is worked on; nothing is touched if it is finished.

    `fingerprint` is all that changes what labels are, by name. With `decide` the model, and its part of the
    fingerprint, is settled once the store may be written to. Raises ChangedError if the folder holds another run and
    InUseError if another process works on it; SIGINT and SIGTERM raise StoppedError, which says what is kept.
    """
    run = LabelingRun(open_store(out), source, model, options)
    with ExitStack() as held:
        signals = held.enter_context(run.signals)
        try:
            there = run.store.names("")  # before the record is looked for: a joiner may make it, and more, at any time
            files, before = source.files(), last_record(run.store)
            if before is None:
                check_fresh(run.store, there)
            elif before.fingerprint == fingerprint and before.files == files != ():
                run.take_up(before)
            if not run.is_finished:
                run.store.make()
                held.enter_context(run.store.shared() if options.join else run.store.alone())
                held.enter_context(run.store.signed())
                if decide:
                    run.model = decide(run.store)
                    fingerprint = {**run.model.fingerprint(), **fingerprint}
                run.take_up(begin(run.store, source, files, fingerprint, options))
            yield run
        except Stop:
            raise StoppedError(
                signals.received, where=str(out), kept=run.kept, next="give the same command again to go on"
            ) from None
        except OSError as error:
            told = f"cannot write: {error.strerror or type(error).__name__}"
            raise StorageError(told, where=str(out), kept=run.kept, next="mend the disk, then go on") from None
        except ClinnlpError as error:
            if run.record:
                error.kept = error.kept or run.kept
            raise


class LabelingRun:
    """The shards of a run, what is committed of them, and what is left to do."""

    def __init__(self, store: Store, source: Source, model: Model, options: Options) -> None:
        self.store, self.source, self.model, self.options = store, source, model, options
        self.signals, self.claims = Signals(), Claims(store)
        self.record: RunRecord | None = None
        self.fingerprint: Mapping[str, str] = {}
        self.files: Files = ()
        self.records = 0
        self.shards: list[Shard] = []
        self.todo: dict[int, Todo] = {}
        self.counts = Counts()
        self.redone: list[str] = []

    def take_up(self, record: RunRecord) -> None:
        """Go on with a run where its commits end."""
        self.record, self.fingerprint, self.files = record, record.fingerprint, record.files
        self.records = record.plan.records
        self.shards = [replace(shard, marks="") for shard in read_plan(self.store, record.plan)]
        self._look(Ledger.read(self.store))

    def _look(self, ledger: Ledger, again: bool = False) -> None:
        """What is committed and what is not; `again` in one process, nothing that is committed is done once more."""
        self.todo, self.counts, self.redone = {}, Counts(), []
        for shard in self.shards:
            held = ledger.of(shard.number)
            commit = held.commit
            if commit and commit.input_sha256 == shard.sha256 and (again or not self._to_be_redone(commit, held)):
                self.counts.add(commit.counts)
            else:
                self.todo[shard.number] = Todo(held.generation + 1, commit.name if commit else None)
                if held.generation and not commit:
                    self.redone.append(f"shard {shard.number}: its commit is torn")

    def _to_be_redone(self, commit: Commit, held: Held) -> bool:
        bad = damaged(self.store, commit.files.values(), whole=self.options.verify_on_resume)
        if held.generation > commit.generation:
            bad.append("a later commit")
        if bad:
            self.redone.append(f"shard {commit.shard}: {bad[0]} is missing or damaged")
        return bool(bad) or (self.options.retry_quarantined and commit.counts.quarantined > 0)

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do, not even the closing account."""
        return self.record is not None and not self.todo and is_done(self.store)

    @property
    def kept(self) -> str:
        """What is committed, in words: as it is now, whatever this process has heard of."""
        if self.record is None:
            return "no note was labeled yet"
        self._look(Ledger.read(self.store), again=True)
        return f"{len(self.shards) - len(self.todo)} of {len(self.shards)} shards"

    def label(self) -> Iterator[Counts]:
        """Do what is left; tells the account of the run after each shard."""
        if done := len(self.shards) - len(self.todo):
            log.info("going on: %d of %d shards are kept", done, len(self.shards))
        for told in self.redone:
            log.warning("labeled again: %s", told)
        workers = min(self.options.workers, len(self.todo))
        with self._pool()(self._job(), self.store, workers, self.options.document_seconds) as pool:
            while self.todo:
                self.signals.patient = workers > 0
                for commit in pool.run(self._works(), self.signals):
                    self._take(commit)
                    yield self.counts
                    self._check_failures()
                self.signals.patient = False
                if self.signals.received:
                    raise Stop(self.signals.received)
                if self.todo:  # others have claimed it
                    self.claims.wait({(n, t.generation): commit_name(n, t.generation) for n, t in self.todo.items()})
                    self._look(Ledger.read(self.store), again=True)

    def _pool(self) -> type[Pool] | type["RayPool"]:
        if self.options.on == "here":
            return Pool
        from clinnlp.labeling.on_ray import RayPool

        return RayPool

    def _job(self) -> Job:
        digest = hashlib.sha256(json.dumps(dict(self.fingerprint), sort_keys=True).encode()).hexdigest()
        options, processors = self.options, os.cpu_count() or 1
        threads = max(1, processors // options.workers) if options.workers > 1 else None
        return Job(
            self.model, self.store, digest[:16], options.batch_tokens, options.max_characters,
            options.quarantine_text, threads, tuple(options.offsets), isinstance(self.model, Together),
            bool(getattr(self.model, "marks_spans", False)),
            any(name.startswith("device") and held == "cuda" for name, held in self.fingerprint.items()),
        )  # fmt: skip

    def _works(self) -> Iterator[Work]:
        """The shards that are left and that no other process has claimed, read and compared with the plan."""
        parts = cut(self.source.records(), 1, [shard.records for shard in self.shards])
        left = dict(self.todo)
        for shard in self.shards:
            if not left:
                return
            part = next(parts, [])
            if (todo := left.pop(shard.number, None)) is None:
                continue
            free = self.claims.take(shard.number, todo.generation)
            if self.options.join and not (free and self.store.size(commit_name(shard.number, todo.generation)) is None):
                continue
            if not holds(part, shard.sha256):
                raise ChangedError(
                    f"input changed while it was read: shard {shard.number} of {len(self.shards)}",
                    where=self.store.place,
                    next="let the input rest, then --relabel true",
                )
            yield Work(shard, todo.generation, part, todo.replaces)

    def _take(self, commit: Commit) -> None:
        self.counts.add(commit.counts)
        del self.todo[commit.shard]
        self.claims.release(commit.shard, commit.generation)

    def _check_failures(self) -> None:
        failed, limit = self.counts.quarantined, self.options.max_failures * self.counts.input
        if self.todo and failed > max(LEAST_FAILURES, limit):
            causes = ", ".join(f"{count} x {reason}" for reason, count in self.counts.reasons.most_common(5))
            raise FailuresError(
                f"{failed} of {self.counts.input} notes were set aside: {causes}",
                where=self.store.place,
                kept=self.kept,
                next="mend the cause, or raise --max_failures, and give the command again",
            )

    def finish(self) -> Counts:
        """The account of the whole run, from its commits. Raises IntegrityError if it does not balance."""
        ledger, counts = Ledger.read(self.store), Counts()
        for shard in self.shards:
            commit = ledger.of(shard.number).commit
            if commit is None or commit.input_sha256 != shard.sha256:
                raise IntegrityError(f"shard {shard.number} is not committed", where=self.store.place)
            commit.counts.check(shard.records, f"shard {shard.number}")
            counts.add(commit.counts)
        counts.check(self.records, self.store.place)
        return counts


@dataclass(frozen=True, slots=True)
class Todo:
    """The commit that a shard is to have: its generation, and the commit that it replaces, if any."""

    generation: int
    replaces: str | None
