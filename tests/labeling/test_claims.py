"""Leases: two processes do not label one shard, and one that died keeps nobody from it for long."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clinnlp.labeling import engine
from clinnlp.labeling.claims import Claims
from clinnlp.labeling.commits import commit_name
from clinnlp.labeling.options import Options
from clinnlp.labeling.store import LocalStore
from tests.labeling.fakes import Fake, label, notes

WORK = {(0, 1): commit_name(0, 1)}


def impatient(out: Path) -> Claims:
    claims = Claims(LocalStore(out))
    claims.slowest = 0.2
    return claims


def test_of_two_that_ask_one_has_the_shard(tmp_path: Path) -> None:
    LocalStore(tmp_path).make()
    one, other = impatient(tmp_path), impatient(tmp_path)
    assert one.take(0, 1) and not other.take(0, 1) and other.take(0, 2), "another generation is other work"
    one.release(0, 1)
    assert other.take(0, 1)


def test_whoever_waits_goes_on_as_soon_as_the_other_has_committed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.make()
    one, other = Claims(store), Claims(store.reopened())
    other.slowest = 20.0
    assert one.take(0, 1) and not other.take(0, 1)
    threading.Timer(0.3, lambda: store.put(commit_name(0, 1), b"{}")).start()
    start = time.monotonic()
    other.wait(WORK)
    assert 0.2 < time.monotonic() - start < 10


def test_the_shard_of_one_that_died_is_taken_by_one_of_those_that_wait(tmp_path: Path) -> None:
    LocalStore(tmp_path).make()
    dead, one, other = (impatient(tmp_path) for _ in range(3))
    assert dead.take(0, 1)
    for waits in (one, other):
        assert not waits.take(0, 1)
        start = time.monotonic()
        waits.wait(WORK)
        assert time.monotonic() - start >= 0.4, "twice the slowest shard"
    assert one.take(0, 1) and not other.take(0, 1)
    late = impatient(tmp_path)  # the second holder dies too; who comes later waits once, not once for each of the dead
    assert not late.take(0, 1)
    late.wait(WORK)
    assert late.take(0, 1)


def test_the_slowest_shard_tells_how_long_to_wait(tmp_path: Path) -> None:
    LocalStore(tmp_path).make()
    claims = impatient(tmp_path)
    assert claims.take(0, 1)
    time.sleep(0.3)
    claims.release(0, 1)
    assert 0.3 <= claims.slowest < 3


def test_joiners_do_no_shard_twice_however_slow_one_is(tmp_path: Path) -> None:
    """The last shard takes one of them half a second; the other, with nothing left to do, leaves it alone."""
    records = [*notes(9), *notes(1, 9, "SLOW"), *notes(1, 10, "SLOW")]
    options = Options(shard_documents=3, workers=0, join=True)
    label(tmp_path, records[:9], options=options)  # the plan and the first shards
    read = [tmp_path.with_name(f"{tmp_path.name}-{n}") for n in range(2)]
    joiners = [
        threading.Thread(target=label, args=(tmp_path, records, Fake(witness=witness), replace(options, extend=True)))
        for witness in read
    ]
    for joiner in joiners:
        joiner.start()
    for joiner in joiners:
        joiner.join(60)
    found = [line for witness in read if witness.exists() for line in witness.read_text().split()]
    assert sorted(found) == ["note-10", "note-9"]


def test_a_joiner_that_looks_while_another_begins_does_not_take_the_run_for_foreign_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, real = Options(shard_documents=3, workers=0, join=True), engine.last_record
    calls: list[Any] = []

    def overtaken(store: Any) -> Any:
        """Nothing is there yet; before the caller has heard so, another process has done it all."""
        calls.append(found := real(store))
        if len(calls) == 1:
            label(tmp_path, notes(6), options=options)
        return found

    monkeypatch.setattr(engine, "last_record", overtaken)
    counts = label(tmp_path, notes(6), options=options)
    assert calls[0] is None and calls[1] is None and counts.input == 6
