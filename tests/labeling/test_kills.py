"""Processes killed at random moments: what they leave, gone on with, is what a process leaves that was not killed."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clinnlp.labeling.options import Options
from clinnlp.labeling.store import LocalStore
from clinnlp.labeling.verify import remove_leftovers, verify
from tests.labeling.fakes import label, notes
from tests.labeling.test_exactly_once import committed, prepared
from tests.labeling.test_workers import PROGRAM

SHARDS = 40


def killed(out: Path, kills: int, workers: int, draw: random.Random) -> tuple[int, int]:
    """Kill runs into `out` at random moments; returns how many were killed, and how many ended before."""
    ended, longest = 0, 0.5
    for _ in range(kills):
        words = [sys.executable, str(PROGRAM), str(out), str(SHARDS * 5), str(workers)]
        start = time.monotonic()
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(draw.uniform(0.05, longest))
            ended += 1
            longest = max(0.3, time.monotonic() - start)
            for path in (out / "commits").rglob("*.json"):  # begin again: the next kills are to find work
                path.unlink()
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            longest += 0.02
    return kills - ended, ended


def check_kills(kills: int, workers: int, tmp_path: Path) -> None:
    alone, out = prepared(tmp_path / "alone"), prepared(tmp_path / "out")
    records, here = notes(SHARDS * 5), Options(shard_documents=5, workers=0)
    label(alone, records, options=here)
    done, _ = killed(out, kills, workers, random.Random(kills))
    assert done > kills / 2, "most were killed before they ended"
    label(out, records, options=here)
    assert committed(out) == committed(alone)
    proof = verify(LocalStore(out))
    assert (proof.faults, proof.committed, proof.counts.input) == ([], SHARDS, SHARDS * 5)
    time.sleep(0.1)
    remove_leftovers(LocalStore(out))
    assert committed(out) == committed(alone)
    assert len(list((out / "documents").iterdir())) == SHARDS
    assert not list((out / "attempts").glob("*")), "no note is blamed for a kill from outside"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_hundred_kills_of_a_process(workers: int, tmp_path: Path) -> None:
    check_kills(50, workers, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_thousand_kills_of_a_process(workers: int, tmp_path: Path) -> None:
    check_kills(500, workers, tmp_path)


def test_workers_that_are_killed_are_replaced(tmp_path: Path) -> None:
    alone, out = prepared(tmp_path / "alone"), prepared(tmp_path / "out")
    label(alone, notes(SHARDS * 5), options=Options(shard_documents=5, workers=0))
    words = [sys.executable, str(PROGRAM), str(out), str(SHARDS * 5), "1"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    draw = random.Random(5)
    while process.poll() is None:
        time.sleep(draw.uniform(0.2, 1.0))
        told = subprocess.run(["ps", "--ppid", str(process.pid), "-o", "pid=,args="], capture_output=True, text=True)
        for line in told.stdout.splitlines():
            if "spawn_main" in line:
                subprocess.run(["kill", "-9", line.split()[0]], check=False)
        if len(list((out / "commits").rglob("*.json"))) > SHARDS / 2:
            break
    assert process.wait() == 0
    assert committed(out) == committed(alone)
