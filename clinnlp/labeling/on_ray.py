"""Workers on a Ray cluster: the same shards and the same commits, by actors on every node that sees the folder."""

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from clinnlp.core.signals import Signals
from clinnlp.errors import ClinnlpError, ConfigError, IntegrityError
from clinnlp.labeling.commits import Commit
from clinnlp.labeling.pool import LEAVE_SECONDS, PACE, Attempts, Pool
from clinnlp.labeling.store import Store
from clinnlp.labeling.worker import Job, Work, Worker

log = logging.getLogger("clinnlp")


@dataclass
class Given:
    """A shard in the hands of an actor."""

    work: Work
    actor: Any
    deadline: float


class RayPool:
    """As `Pool`, with actors of a Ray cluster (Moritz et al. 2018) as workers.

    The cluster is the one that RAY_ADDRESS names, else one on this machine for this run. A shard whose actor or node
    dies is given to another; one that ended two is left to a worker process here, which finds the note to blame.
    """

    def __init__(self, job: Job, store: Store, workers: int, document_seconds: float) -> None:
        self.job, self.store, self.workers, self.document_seconds = job, store, workers, document_seconds
        self.attempts = Attempts(store)
        self.free: deque[Any] = deque()
        self.given: dict[Any, Given] = {}
        self.again: deque[Work] = deque()

    def __enter__(self) -> "RayPool":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would phone home
        try:
            import ray
        except ImportError:
            raise ConfigError("Ray is not installed", where="on", next="pip install 'clinnlp[ray]'") from None
        self.ray: Any = ray
        self.mine = not ray.is_initialized()
        if self.mine:
            here: dict[str, Any] = (
                {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": self.workers, "include_dashboard": False}
            )
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **here)
        self.free.extend(self._actor() for _ in range(self.workers))
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for actor in [*self.free, *(given.actor for given in self.given.values())]:
            self.ray.kill(actor)
        if self.mine:
            self.ray.shutdown()

    def run(self, source: Iterator[Work], signals: Signals) -> Iterator[Commit]:
        """The commits of all work, as they come; ends early when a signal says so, as `Pool.run` does."""
        spare, leave = next(source, None), float("inf")
        while spare or self.again or self.given:
            if signals.received:
                leave = min(leave, time.monotonic() + LEAVE_SECONDS)
                if time.monotonic() > leave or not self.given:
                    return
            while not signals.received and (spare or self.again) and self.free:
                if self.again:
                    yield from self._give(self.again.popleft(), signals)
                elif spare:
                    yield from self._give(spare, signals)
                    spare = next(source, None)
            yield from self._hear()

    def _actor(self) -> Any:
        return self.ray.remote(Worker).options(num_cpus=1, num_gpus=int(self.job.gpu)).remote(self.job)

    def _give(self, work: Work, signals: Signals) -> Iterator[Commit]:
        """Hand a shard to an actor, or have a poisoned one labeled here."""
        work = self.attempts.advise(work)
        if work.alone:
            with Pool(self.job, self.store, 1, self.document_seconds) as pool:
                yield from pool.run(iter([work]), signals)
            return
        actor = self.free.popleft()
        deadline = time.monotonic() + self.document_seconds + work.shard.characters / PACE
        self.given[actor.do.remote(work)] = Given(work, actor, deadline)

    def _hear(self) -> Iterator[Commit]:
        """What the actors answer within half a second, and what follows from those that died or are late."""
        if not self.given:
            return
        done, _ = self.ray.wait(list(self.given), timeout=0.5)
        for answer in done:
            given = self.given.pop(answer)
            try:
                commit: Commit = self.ray.get(answer)
            except self.ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, ClinnlpError):
                    raise error.cause from None
                kind = type(error.cause).__name__  # its words may quote notes
                raise IntegrityError(f"a worker failed ({kind})", next="report this: a fault of clinnlp") from None
            except self.ray.exceptions.RayError:
                self._lost(given, hung=False)
            else:
                self.free.append(given.actor)
                yield commit
        for answer, given in list(self.given.items()):
            if time.monotonic() > given.deadline:
                del self.given[answer]
                self._lost(given, hung=True)

    def _lost(self, given: Given, hung: bool) -> None:
        """Put the shard back in the queue, and another actor in the place of the one that died or hangs."""
        shard = given.work.shard.number
        log.warning("a worker %s in shard %d", "did not answer in time" if hung else "or its node died", shard)
        with contextlib.suppress(self.ray.exceptions.RayError):
            self.ray.kill(given.actor)
        self.attempts.fail(given.work, None, hung)
        self.again.append(given.work)
        self.free.append(self._actor())
