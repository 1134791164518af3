"""Which process labels which shard where several share a run: leases save work, commits keep the output right."""

import re
import time
from collections.abc import Mapping

from clinnlp.labeling.store import Store

LEASE = re.compile(r"(\d{6,}\.g\d+)\.(\d+)")
LEAST_SECONDS = 1.0  # that a shard is taken to need, however fast others were
LOOK_SECONDS = 0.1


class Claims:
    """Leases on shards, numbered from 1; the next one is taken where the holder of the last is not heard of.

    That is so when no process has committed what is left for twice as long as the slowest shard took here: a holder
    that died costs this wait, and one that was only slow does its shard in vain.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.slowest = LEAST_SECONDS
        self._over: dict[str, int] = {}  # the last lease on each shard that was waited for
        self._begun: dict[str, float] = {}

    def take(self, shard: int, generation: int) -> bool:
        """Ask for the next lease on a shard; returns False if another process was first."""
        key = _key(shard, generation)
        self._begun[key] = time.monotonic()
        return self.store.claim(self._lease(key))

    def release(self, shard: int, generation: int) -> None:
        """Withdraw the lease on a shard that is committed."""
        key = _key(shard, generation)
        self.slowest = max(self.slowest, time.monotonic() - self._begun.pop(key))
        self.store.release(self._lease(key))

    def wait(self, commits: Mapping[tuple[int, int], str]) -> None:
        """Give other processes the time to make these commits (names, by shard and generation)."""
        left = {_key(*work): name for work, name in commits.items()}
        last: dict[str, int] = {}
        for found in filter(None, map(LEASE.fullmatch, self.store.names("claims"))):
            last[found[1]] = max(last.get(found[1], 0), int(found[2]))
        end = time.monotonic() + 2 * self.slowest
        while left and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
            before = len(left)
            left = {key: name for key, name in left.items() if self.store.size(name) is None}
            if len(left) < before:
                end = time.monotonic() + 2 * self.slowest
        self._over.update(last)

    def _lease(self, key: str) -> str:
        return f"{key}.{self._over.get(key, 0) + 1}"


def _key(shard: int, generation: int) -> str:
    return f"{shard:06d}.g{generation}"
