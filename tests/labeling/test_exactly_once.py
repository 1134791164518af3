"""Exactly once: a run that is stopped anywhere and gone on with leaves the bytes of one that was not."""

import contextlib
import errno
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pytest

from clinnlp.core.document import Document, Quarantined
from clinnlp.errors import IntegrityError, StorageError
from clinnlp.labeling.commits import Ledger
from clinnlp.labeling.options import Options
from clinnlp.labeling.output import read_labels
from clinnlp.labeling.plan import Record
from clinnlp.labeling.record import last_record
from clinnlp.labeling.store import LocalStore, open_store
from clinnlp.labeling.verify import remove_leftovers, verify
from tests.labeling.disk import CHANGES, Disk, Killed, using
from tests.labeling.fakes import Fake, label, notes

KEY = bytes(32)
Place = TypeVar("Place", Path, str)


def records() -> list[Record]:
    """Three shards: a torn record and a note that the model fails on among good ones."""
    return [*notes(4), Quarantined("x line 5", "torn"), *notes(1, 5, "RAISE"), *notes(2, 6)]


def prepared(out: Place) -> Place:
    """A folder with a known key, so that the references to documents are the same in all of them."""
    open_store(out).put("key", KEY)
    return out


def committed(out: Path | str) -> dict[tuple[int, str], bytes]:
    """What the commits of a run name, by shard and kind."""
    store = open_store(out)
    held = {shard: held.commit for shard, held in Ledger.read(store).held.items() if held.commit}
    return {(shard, kind): store.get(f.name) or b"" for shard, c in held.items() for kind, f in c.files.items()}


def check(out: Path, wanted: dict[tuple[int, str], bytes], count: int) -> None:
    """Byte-identical, nothing lost, nothing twice, and no more commits than shards."""
    assert committed(out) == wanted
    assert read_labels(out).documents.ordinal.tolist() == list(range(count))
    assert verify(LocalStore(out)).faults == []
    assert len(list((out / "commits").rglob("*.json"))) == len({shard for shard, _ in wanted})


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, str], bytes]:
    """The committed bytes of a run that nothing stopped."""
    out = prepared(tmp_path_factory.mktemp("whole") / "out")
    counts = label(out, records())
    assert (counts.input, counts.labeled, counts.quarantined) == (8, 6, 2)
    found = committed(out)
    assert sorted(found) == [
        *[(0, kind) for kind in ("documents", "spans")],
        *[(1, kind) for kind in ("documents", "quarantine", "spans")],
        *[(2, kind) for kind in ("documents", "spans")],
    ]
    return found


def calls_of_a_run(out: Path) -> int:
    prepared(out)
    with using(Disk()) as disk:
        label(out, records())
    return len(disk.calls)


@pytest.mark.parametrize("fault", ["kill", "power"])
def test_a_kill_at_every_call_of_the_file_system(fault: str, wanted: dict, tmp_path: Path) -> None:
    count = calls_of_a_run(tmp_path / "whole")
    assert count > 100
    for at in range(1, count + 1):
        out = tmp_path / str(at)
        with using(Disk()):
            prepared(out)
        with pytest.raises(Killed), using(Disk(at, fault)):
            label(out, records())
        with using(Disk()):
            label(out, records())
        check(out, wanted, 8)


def test_kills_during_recovery_converge_and_leave_nothing_behind(wanted: dict, tmp_path: Path) -> None:
    draw, out = random.Random(1), prepared(tmp_path / "out")
    for _ in range(20):
        with using(Disk(draw.randint(1, 40), draw.choice(["kill", "power"]))), contextlib.suppress(Killed):
            label(out, records())
    label(out, records())
    check(out, wanted, 8)
    remove_leftovers(LocalStore(out))
    check(out, wanted, 8)
    files = {path.relative_to(out).parts[0] for path in out.rglob("*") if path.is_file()}
    assert files == {"commits", "documents", "spans", "quarantine", "plan", "run.json", "key", "lock"}
    assert len([path for path in out.rglob("*") if path.is_file()]) == 3 + 7 + 4


@pytest.mark.parametrize("only", [CHANGES, {"fsync"}], ids=["changes", "flushes"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_disk_that_fails_at_every_call(error: int, only: set[str], wanted: dict, tmp_path: Path) -> None:
    at = 0
    while True:
        at += 1
        out = tmp_path / str(at)
        with using(Disk()):
            prepared(out)
        with using(Disk(at, error, only)) as disk:
            try:
                label(out, records())
            except (StorageError, OSError) as failed:
                assert isinstance(failed, StorageError), "an error of the disk is told as one of ours"
                assert failed.exit_status == 6
            else:
                assert len(disk.calls) < at or set(disk.calls[at - 1 :]) <= {"unlink", "open", "ftruncate"}
                break
        before = committed(out)
        assert not [path for path in out.rglob(".*") if path.is_file()], "its own files written aside are gone"
        with using(Disk()):
            label(out, records())
        assert before.items() <= committed(out).items()
        check(out, wanted, 8)
    assert at > 30


def test_a_torn_commit_is_passed_over_and_the_shard_redone(
    wanted: dict, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = prepared(tmp_path / "out")
    label(out, records())
    for number, content in ((0, b""), (1, (out / "commits/000/000001.json").read_bytes()[:100])):
        (out / f"commits/000/00000{number}.json").write_bytes(content)
    assert verify(LocalStore(out)).faults == [f"commits/000/00000{n}.json is torn" for n in (0, 1)]
    label(out, records())
    assert committed(out) == wanted
    told = [record.getMessage() for record in caplog.records if "torn" in record.getMessage()]
    assert told == [f"labeled again: shard {n}: its commit is torn" for n in (0, 1)], "once each"
    assert verify(LocalStore(out)).faults == []
    assert sorted(path.name for path in (out / "commits/000").iterdir()) == [
        "000000.g2.json", "000000.json", "000001.g2.json", "000001.json", "000002.json",
    ]  # fmt: skip


def test_one_flipped_bit_of_a_commit_makes_it_torn(wanted: dict, tmp_path: Path) -> None:
    out = prepared(tmp_path / "out")
    label(out, records())
    path = out / "commits/000/000001.json"
    raw = bytearray(path.read_bytes())
    raw[raw.index(b'"labeled": 1') + 11] ^= 2
    path.write_bytes(raw)
    assert 1 not in {shard for shard, _ in committed(out)}
    label(out, records())
    assert committed(out) == wanted


def damage(path: Path, how: str) -> None:
    raw = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "short":
        path.write_bytes(raw[:-1])
    else:
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)


@pytest.mark.parametrize("how", ["missing", "short", "flipped"])
@pytest.mark.parametrize("kind", ["spans", "documents", "quarantine"])
def test_a_damaged_file_is_found_and_its_shard_alone_redone(
    how: str, kind: str, wanted: dict, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, read = prepared(tmp_path / "out"), tmp_path / "read"
    model = Fake(witness=read)
    label(out, records(), model)
    (name,) = (path.name for path in (out / kind).glob("000001-*"))
    damage(out / kind / name, how)
    assert f"{kind}/{name} is missing or damaged" in verify(LocalStore(out)).faults
    read.unlink()
    label(out, records(), model, Options(shard_documents=3, workers=0, verify_on_resume=how == "flipped"))
    assert f"labeled again: shard 1: {kind}/{name} is missing or damaged" in caplog.text
    assert read.read_text().split() == ["note-3"], "of the shard's three records one is good"
    assert committed(out) == wanted
    assert verify(LocalStore(out)).faults == []


@dataclass(frozen=True)
class Overtaken(Fake):
    """A model that, as it labels its first document, lets another process do the whole run in `out`."""

    out: Path = Path()
    says: str = "PROBLEM"

    def _predict(self, documents: Sequence[Document], batch_tokens: int) -> list[Document]:
        if last_record(LocalStore(self.out)) and not (self.out / "commits").exists():
            label(self.out, records(), Fake(), Options(shard_documents=3, workers=0, join=True))
        return [
            replace(d, spans=(replace(d.spans[0], label=self.says),)) for d in super()._predict(documents, batch_tokens)
        ]


def test_a_commit_that_comes_late_is_dropped(wanted: dict, tmp_path: Path) -> None:
    out = prepared(tmp_path / "out")
    label(out, records(), Overtaken(out=out))
    check(out, wanted, 8)
    assert len(list((out / "documents").iterdir())) == 3, "the late copy is removed"


def test_a_late_commit_that_says_otherwise_is_an_error(tmp_path: Path) -> None:
    out = prepared(tmp_path / "out")
    with pytest.raises(IntegrityError) as error:
        label(out, records(), Overtaken(out=out, says="DRUG"))
    assert error.value.exit_status == 7
    assert str(error.value).startswith(f"{out}: shard 0 was labeled differently by another process. Kept: ")
