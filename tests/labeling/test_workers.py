"""Worker processes that die, hang, run out of memory or lose their parent; and many that share a folder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from clinnlp.core.document import Document
from clinnlp.errors import ClinnlpError
from clinnlp.labeling.commits import Ledger
from clinnlp.labeling.options import Options
from clinnlp.labeling.output import read_labels
from clinnlp.labeling.store import LocalStore
from clinnlp.labeling.verify import verify
from tests.labeling.fakes import Fake, label, notes
from tests.labeling.test_exactly_once import committed, prepared

PROGRAM = Path(__file__).with_name("run_fake.py")
OPTIONS = Options(shard_documents=5, workers=1)


def program(*words: object) -> "subprocess.Popen[str]":
    given = [sys.executable, str(PROGRAM), *map(str, words)]
    return subprocess.Popen(given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def spoiled(count: int, at: int, text: str) -> list[Document]:
    records = notes(count)
    return [replace(record, text=text) if n == at else record for n, record in enumerate(records)]  # type: ignore


def asides(out: Path) -> list[str]:
    return [line for path in sorted((out / "quarantine").glob("*")) for line in path.read_text().splitlines()]


def commits_come(out: Path, count: int, seconds: float = 30) -> None:
    """Wait until so many shards are committed."""
    end = time.monotonic() + seconds
    while len(list((out / "commits").rglob("*.json"))) < count:
        assert time.monotonic() < end, "no commits come"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    told = subprocess.run(["ps", "--ppid", str(pid), "-o", "pid="], capture_output=True, text=True).stdout
    return [int(word) for word in told.split()]


def test_workers_write_the_bytes_of_a_run_without_and_the_parent_loads_no_torch(tmp_path: Path) -> None:
    outs = [prepared(tmp_path / str(workers)) for workers in (0, 1, 2)]
    for workers, out in enumerate(outs):
        with program(out, 23, workers) as process:
            told = process.communicate()
        assert (process.returncode, told[0]) == (0, "no torch\n"), told[1]
    assert committed(outs[0]) == committed(outs[1]) == committed(outs[2]) != {}


@pytest.mark.parametrize(
    ("text", "code", "options"),
    [("CRASH", "CLN-D310", {}), ("HANG", "CLN-D315", {"document_seconds": 3.0})],
)
def test_a_note_that_ends_or_stops_its_worker_is_set_aside(
    text: str, code: str, options: dict[str, float], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    counts = label(out, spoiled(14, 7, f"{text} Qvortrup"), options=replace(OPTIONS, **options))
    assert (counts.input, counts.labeled, counts.quarantined) == (14, 13, 1)
    (aside,) = asides(out)
    assert f'"code": "{code}"' in aside and '"where": "note 8 of the input"' in aside
    assert "note 8 of the input is set aside" in caplog.text
    assert "Qvortrup" not in aside + caplog.text
    whole = len([path for path in (out / "attempts").iterdir() if '"ordinal": null' in path.read_text()])
    assert whole == (2 if text == "CRASH" else 1), "attempts at the whole shard"
    documents = read_labels(out).documents
    assert documents.status.tolist() == ["quarantined" if n == 7 else "labeled" for n in range(14)]
    assert verify(LocalStore(out)).faults == []


def test_the_others_are_labeled_as_if_the_bad_one_was_not_there(tmp_path: Path) -> None:
    for name, text in (("crash", "CRASH"), ("raise", "RAISE"), ("good", "fever 7")):
        label(tmp_path / name, spoiled(14, 7, text), options=OPTIONS)
    good = read_labels(tmp_path / "good").spans
    for name in ("crash", "raise"):
        assert read_labels(tmp_path / name).spans.equals(good[good.ordinal != 7].reset_index(drop=True))


def test_a_later_run_knows_of_the_crashes_of_an_earlier_one(tmp_path: Path) -> None:
    out, text = tmp_path / "out", "CRASH"
    with program(out, 20, 1, f"text={text}", "at=0", "max_failures=1") as process:
        while len(list((out / "attempts").glob("*.json"))) < 2:
            time.sleep(0.02)
        process.kill()
    counts = label(out, spoiled(20, 0, text), options=OPTIONS)
    assert counts.quarantined == 1
    assert len(list((out / "attempts").iterdir())) <= 4


def test_memory_that_runs_out_halves_the_batch_and_is_recorded(tmp_path: Path) -> None:
    out = tmp_path / "out"
    counts = label(out, spoiled(14, 7, "MEMORY"), options=OPTIONS)
    assert counts.labeled == 14
    held = Ledger.read(LocalStore(out)).held
    assert [held[n].commit.batch_tokens for n in range(3)] == [4096, 256, 256]  # type: ignore[union-attr]


def test_a_note_for_which_there_is_no_memory_is_set_aside(tmp_path: Path) -> None:
    out = tmp_path / "out"
    counts = label(out, spoiled(14, 7, "TOO_MUCH"), options=OPTIONS)
    assert (counts.labeled, counts.quarantined) == (13, 1)
    assert '"code": "CLN-D330"' in asides(out)[0]
    held = Ledger.read(LocalStore(out)).held
    assert [held[n].commit.batch_tokens for n in range(3)] == [4096, 1, 4096]  # type: ignore[union-attr]


class Unloadable(Fake):
    """A model whose process dies as it loads it."""

    def load(self):  # type: ignore[no-untyped-def]
        os._exit(9)


class Wrong(Fake):
    """A model that cannot be loaded, and says so in words that must not be passed on."""

    def load(self):  # type: ignore[no-untyped-def]
        raise ValueError("Qvortrup")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (Unloadable(), "the model's process died while loading, with status 9. Kept: 0 of 1 shards."),
        (Wrong(), "a worker failed (ValueError). Kept: 0 of 1 shards."),
    ],
)
def test_a_model_that_does_not_load_ends_the_run(model: Fake, told: str, tmp_path: Path) -> None:
    with pytest.raises(ClinnlpError) as error:
        label(tmp_path, notes(3), model, OPTIONS)
    assert str(error.value).startswith(told)


def test_workers_leave_with_their_parent(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with program(out, 400, 1, "text=HANG", "at=12") as process:
        commits_come(out, 2)
        time.sleep(0.5)
        workers = children(process.pid)  # one is in a call that does not return, and reads no pipe
        assert workers
        process.kill()
    end = time.monotonic() + 5
    while any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in workers):
        assert time.monotonic() < end, "a worker outlived its parent"
        time.sleep(0.05)
    done = len(list((out / "commits").rglob("*.json")))
    time.sleep(0.5)
    assert len(list((out / "commits").rglob("*.json"))) == done
    assert done == 2


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_signal_stops_cleanly_and_says_what_is_kept(
    number: signal.Signals, status: int, workers: int, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with program(out, 2000, workers) as process:
        commits_come(out, 3)
        start = time.monotonic()
        process.send_signal(number)
        told = process.communicate()[1]
    assert time.monotonic() - start < 10
    assert process.returncode == status
    done = len(list((out / "commits").rglob("*.json")))
    assert (
        f"error {status} {out}: interrupted. Kept: {done} of 400 shards. Next: give the same command again to go on."
        in told
    )
    assert (out / "lock").read_bytes() == b"", "let go of"


def test_the_second_signal_does_not_wait(tmp_path: Path) -> None:
    with program(tmp_path, 20, 1, "text=HANG", "at=12") as process:
        commits_come(tmp_path, 2)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None, "the first signal lets the shard in work be finished"
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        told = process.communicate()[1]
    assert time.monotonic() - start < 3
    assert process.returncode == 130 and "Kept: 2 of 4 shards." in told


def test_a_shard_that_does_not_end_is_left_behind_in_ten_seconds(tmp_path: Path) -> None:
    with program(tmp_path, 20, 1, "text=HANG", "at=12") as process:
        commits_come(tmp_path, 2)
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        told = process.communicate()[1]
    assert time.monotonic() - start < 10
    assert process.returncode == 143 and "Kept: 2 of 4 shards." in told


def test_a_signal_before_the_first_shard(tmp_path: Path) -> None:
    with program(tmp_path / "out", 10, 1, "text=HANG", "at=0") as process:
        while not (tmp_path / "out" / "run.json").exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        told = process.communicate()[1]
    assert process.returncode == 143
    assert "Kept: 0 of 2 shards." in told or "Kept: no note was labeled yet." in told


def joined(out: Path, count: int, processes: int, *words: object) -> "Sequence[subprocess.Popen[str]]":
    return [program(out, count, 0, "join=True", f"witness={out}-{n}", *words) for n in range(processes)]


def test_eight_processes_without_a_lock_share_the_work(tmp_path: Path) -> None:
    out, alone = prepared(tmp_path / "out"), prepared(tmp_path / "alone")
    processes = joined(out, 400, 8)
    for process in processes:
        told = process.communicate()
        assert process.returncode == 0, told
    read = [len(Path(f"{out}-{n}").read_text().split()) if Path(f"{out}-{n}").exists() else 0 for n in range(8)]
    assert 400 <= sum(read) <= 400 + 8 * 5, "one shard wasted by each at most"
    label(alone, notes(400), options=replace(OPTIONS, workers=0))
    assert committed(out) == committed(alone)
    assert len(list((out / "commits").rglob("*.json"))) == 80
    assert len(list((out / "documents").iterdir())) == 80, "copies that came late are dropped"
    assert verify(LocalStore(out)).faults == []


def test_a_process_that_was_stopped_and_wakes_when_all_is_done_adds_nothing(tmp_path: Path) -> None:
    out, records = prepared(tmp_path / "out"), spoiled(40, 12, "SLOW")
    with program(out, 40, 0, "text=SLOW", "at=12") as process:
        commits_come(out, 2)
        process.send_signal(signal.SIGSTOP)
        label(out, records, options=replace(OPTIONS, workers=0, join=True))
        done = committed(out)
        process.send_signal(signal.SIGCONT)
        told = process.communicate()
    assert process.returncode == 0, told
    assert committed(out) == done != {}
    assert read_labels(out).documents.ordinal.tolist() == list(range(40))
    assert len(list((out / "documents").iterdir())) == 8 and verify(LocalStore(out)).faults == []


def test_joiners_that_are_killed_lose_nothing(tmp_path: Path) -> None:
    out, alone = prepared(tmp_path / "out"), prepared(tmp_path / "alone")
    processes = joined(out, 300, 4, "text=SLOW", "at=150")
    for number, process in enumerate(processes[:3]):
        commits_come(out, 5 * (number + 1))
        process.kill()
    for process in processes:
        process.communicate()
    label(out, spoiled(300, 150, "SLOW"), options=replace(OPTIONS, workers=0))
    label(alone, spoiled(300, 150, "SLOW"), options=replace(OPTIONS, workers=0))
    assert committed(out) == committed(alone)
    assert verify(LocalStore(out)).faults == []
