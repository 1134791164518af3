"""A run that is gone on with: what may have changed since it began, what may not, and what is then done again."""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from clinnlp.core.document import Document, Quarantined
from clinnlp.core.lock import only_run
from clinnlp.core.run import is_done
from clinnlp.errors import ChangedError, ClinnlpError, DataError, FailuresError, InUseError, StorageError
from clinnlp.formats.jsonl import Jsonl
from clinnlp.labeling import engine
from clinnlp.labeling.commits import Ledger
from clinnlp.labeling.options import Options
from clinnlp.labeling.output import read_labels
from clinnlp.labeling.plan import Record
from clinnlp.labeling.source import Notes
from clinnlp.labeling.store import LocalStore
from clinnlp.labeling.verify import verify
from tests.labeling.fakes import Fake, label, notes

OPTIONS = Options(shard_documents=3, workers=0)


@dataclass
class Case:
    """A run in a folder, a model that tells what it reads, and the notes in a file."""

    folder: Path
    name: str = "fake"
    versions: str = "1"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def write(self, records: list[Record], name: str = "n.jsonl") -> None:
        lines = [
            json.dumps({"id": record.id, "text": record.text}) for record in records if isinstance(record, Document)
        ]
        (self.folder / "notes").mkdir(exist_ok=True)
        for path in (self.folder / "notes").iterdir():
            path.unlink()
        (self.folder / "notes" / name).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def label(self, **options: Any) -> list[str]:
        """Label; returns the ids that the model was shown."""
        witness = self.folder / "witness"
        witness.write_text("")
        model = Model(self.name, witness, self.versions)
        label(self.out, Notes(str(self.folder / "notes"), Jsonl()), model, replace(OPTIONS, **options))
        return witness.read_text().split()

    def refused(self, error: type[ClinnlpError], **options: Any) -> str:
        with pytest.raises(error) as raised:
            self.label(**options)
        return str(raised.value)


@dataclass(frozen=True)
class Model(Fake):
    """A model of some version."""

    version: str = "1"

    def fingerprint(self) -> dict[str, str]:
        return super().fingerprint() | {"version.torch": self.version}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A finished run of eight notes in three shards."""
    case = Case(tmp_path)
    case.write(notes(8))
    assert case.label() == [f"note-{n}" for n in range(8)]
    return case


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def ids(out: Path) -> list[str]:
    return list(read_labels(out).documents.document_id)


def generations(out: Path) -> list[int]:
    return [held.generation for _, held in sorted(Ledger.read(LocalStore(out)).held.items())]


def test_a_run_that_was_stopped_skips_what_is_committed(case: Case) -> None:
    (case.out / "commits/000/000001.json").unlink()
    assert case.label() == ["note-3", "note-4", "note-5"]


def test_one_byte_of_one_note_with_equal_size_and_time(case: Case) -> None:
    path = case.folder / "notes" / "n.jsonl"
    before, times = tree(case.out), path.stat()
    path.write_bytes(path.read_bytes().replace(b"fever 4", b"fevre 4"))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    told = case.refused(ChangedError)
    assert told == (
        f"{case.out}: input changed since this run began: shard 1 of 3 (notes 4 to 6), 1 documents differ. "
        "Kept: everything in it. Next: --relabel true to label what changed once more, or choose a new --out."
    )
    assert tree(case.out) == {**before, str(case.out / "lock"): tree(case.out)[str(case.out / "lock")]}
    assert case.label(relabel=True) == ["note-3", "note-4", "note-5"]
    assert generations(case.out) == [1, 2, 1]
    commit = Ledger.read(LocalStore(case.out)).of(1).commit
    assert commit and commit.replaces == "commits/000/000001.json"
    assert ids(case.out) == [f"note-{n}" for n in range(8)]
    assert verify(LocalStore(case.out)).faults == []
    assert case.label() == [], "the relabeled run is the run"


def test_appended_notes(case: Case) -> None:
    case.write(notes(12))
    assert case.refused(ChangedError) == (
        f"{case.out}: 4 documents were appended to the input since this run began. Kept: everything in it. "
        "Next: --extend true to label them too, or choose a new --out."
    )
    before = tree(case.out / "commits")
    assert case.label(extend=True) == [f"note-{n}" for n in range(8, 12)], "the short last shard is kept"
    assert before.items() <= tree(case.out / "commits").items()
    assert ids(case.out) == [f"note-{n}" for n in range(12)]
    assert case.label(extend=True) == []
    assert verify(LocalStore(case.out)).faults == []


CHANGES: dict[str, tuple[Callable[[list[Record]], list[Record]], str]] = {
    "deleted": (lambda n: n[:4] + n[5:], "shard 1 of 3 (notes 4 to 6) and 1 other shards, 4 documents differ"),
    "deleted at the end": (lambda n: n[:7], "shard 2 of 3 (notes 7 to 8), 1 documents differ"),
    "reordered": (lambda n: [n[1], n[0], *n[2:]], "shard 0 of 3 (notes 1 to 3), 2 documents differ"),
    "another id": (lambda n: [Document("x", n[0].text), *n[1:]], "shard 0 of 3 (notes 1 to 3), 1 documents differ"),
    "nothing left": (lambda n: n[:0], "shard 0 of 3 (notes 1 to 3) and 2 other shards, 8 documents differ"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_other_input_is_refused_and_relabeled_by_choice(name: str, case: Case) -> None:
    change, told = CHANGES[name]
    case.write(change(notes(8)))
    for options in ({}, {"extend": True}):
        assert f"input changed since this run began: {told}." in case.refused(ChangedError, **options)
    case.label(relabel=True)
    assert ids(case.out) == [record.id for record in change(notes(8))]
    assert read_labels(case.out).documents.ordinal.tolist() == list(range(len(change(notes(8)))))
    assert verify(LocalStore(case.out)).faults == []


def test_a_file_may_get_another_name(case: Case) -> None:
    case.write(notes(8), "other.jsonl")
    assert case.label() == []
    assert json.loads((case.out / "run.g2.json").read_bytes())["reason"] == "renamed"


def test_another_model_is_refused_by_the_name_of_its_file(case: Case) -> None:
    case.name = "another"
    before = tree(case.out)
    told = case.refused(ChangedError, allow_version_change=True)
    assert told.startswith(f"{case.out}: the folder holds a run that differs in model/weights. Kept: everything in it.")
    changed = {path for path, held in tree(case.out).items() if before.get(path) != held}
    assert changed <= {str(case.out / "lock")}


def test_who_joins_with_another_model_is_refused(case: Case) -> None:
    (case.out / "commits/000/000002.json").unlink()
    case.name = "another"
    assert "the folder holds a run that differs in model/weights." in case.refused(ChangedError, join=True)
    assert generations(case.out) == [1, 1], "it labeled nothing"


def test_another_version_is_refused_and_allowed_by_choice(case: Case) -> None:
    (case.out / "commits/000/000002.json").unlink()
    case.versions = "2"
    assert "differs in version.torch (1, now 2)." in case.refused(ChangedError)
    assert case.label(allow_version_change=True) == ["note-6", "note-7"]
    records = [json.loads((case.out / name).read_bytes()) for name in ("run.json", "run.g2.json")]
    assert [r["fingerprint"]["version.torch"] for r in records] == ["1", "2"], "both are recorded"
    assert records[1]["before"] == hashlib.sha256((case.out / "run.json").read_bytes()).hexdigest()
    held = Ledger.read(LocalStore(case.out)).held
    assert len({h.commit.fingerprint for h in held.values() if h.commit}) == 2, "and which shard has which"
    case.versions = "1"
    assert "differs in version.torch (2, now 1)." in case.refused(ChangedError)


def test_input_that_changes_while_it_is_read(tmp_path: Path) -> None:
    class Restless:
        """Notes of which one is edited after they were planned."""

        reads = 0

        def files(self) -> tuple[tuple[str, str], ...]:
            return (("n.jsonl", "0"),)

        def records(self) -> list[Record]:
            self.reads += 1
            return notes(5) if self.reads == 1 else [*notes(4), Document("note-4", "edited")]

    with pytest.raises(ChangedError) as error:
        label(tmp_path / "out", Restless())
    assert str(error.value) == (
        f"{tmp_path}/out: input changed while it was read: shard 1 of 2. Kept: 1 of 2 shards. "
        "Next: let the input rest, then --relabel true."
    )


def test_ids_that_occur_twice(tmp_path: Path) -> None:
    records = [*notes(4), *notes(2), *notes(1)]
    with pytest.raises(DataError) as error:
        label(tmp_path / "out", records)
    assert error.value.exit_status == 2
    assert error.value.what.startswith("2 note ids occur more than once, in 5 notes (doc_ref ")
    assert "note-0" not in str(error.value)
    label(tmp_path / "out", records, options=replace(OPTIONS, duplicate_ids="keep"))
    labels = read_labels(tmp_path / "out")
    assert labels.documents.document_id.tolist() == [record.id for record in records]
    assert labels.spans.ordinal.tolist() == list(range(7))


def test_ids_stay_strings(tmp_path: Path) -> None:
    wanted = ["0012", "12", "9007199254740993", "nan", "", "../../etc/cron.d/x", "a\x00b", "x" * 300, "=1+1"]
    wanted += ["/abs", "C:\\x", "con", "a.", "a\nb", "\x1b[31m", "<script>"]
    label(tmp_path, [Document(id, "fever") for id in wanted])
    assert ids(tmp_path) == wanted
    assert read_labels(tmp_path).spans.document_id.tolist() == wanted
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    ours = r"(run\.json|key|lock|plan/g1-\d+\.jsonl|commits/\d+/\d+\.json|(spans|documents)/\d+-[0-9a-f]+\.parquet)"
    assert [name for name in names if not re.fullmatch(ours, name)] == [], "no id is part of a file name"


def test_records_set_aside_are_tried_again_only_on_request(case: Case, tmp_path: Path) -> None:
    records = [*notes(4), Document("bad", "RAISE"), *notes(3, 5)]
    out = tmp_path / "retried"
    label(out, records)
    assert [status for status in read_labels(out).documents.status if status == "quarantined"] == ["quarantined"]
    label(out, records)
    assert generations(out) == [1, 1, 1]

    class Mended(Fake):
        def _predict(self, documents: Any, batch_tokens: int) -> Any:
            return list(documents)

    label(out, records, Mended(), replace(OPTIONS, retry_quarantined=True))
    assert generations(out) == [1, 2, 1]
    assert set(read_labels(out).documents.status) == {"labeled"}
    assert verify(LocalStore(out)).counts.quarantined == 0


def test_a_later_format_is_refused_and_unknown_fields_are_passed_over(case: Case) -> None:
    path = case.out / "run.json"
    held = json.loads(path.read_bytes())
    path.write_text(json.dumps({**held, "colour": "red"}))
    assert case.label() == []
    path.write_text(json.dumps({**held, "format_version": 2, "clinnlp": "9.0"}))
    assert "the run was made by clinnlp 9.0, with format 2; this is clinnlp" in case.refused(ChangedError)


@pytest.mark.parametrize(
    ("files", "error", "told"),
    [
        (["thesis.doc"], InUseError, "the output folder already holds files that are not of clinnlp"),
        (["manifest.json"], InUseError, "the output folder already holds a run"),
        (["commits/000/000000.json"], ChangedError, "labels without their run.json: the folder was copied in part"),
    ],
)
def test_a_folder_of_another_kind(files: list[str], error: type[ClinnlpError], told: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text("x")
    before = tree(tmp_path)
    with pytest.raises(error, match=told):
        label(tmp_path / "out", notes(3))
    assert tree(tmp_path) == before


def test_a_torn_run_record_is_never_written_over(case: Case) -> None:
    (case.out / "run.json").write_bytes(b"")
    with pytest.raises(ClinnlpError, match="no valid run record") as error:
        case.label()
    assert error.value.exit_status == 7
    assert (case.out / "run.json").read_bytes() == b""


def test_another_process_has_the_folder(case: Case) -> None:
    (case.out / "commits/000/000001.json").unlink()
    with only_run(case.out / "lock", next=""):
        told = case.refused(InUseError)
    assert told.startswith(f"{case.out}: in use by process ") and " on " in told and ", started 2" in told
    assert told.endswith("Kept: everything in it. Next: wait for it, or give --join true to share its work.")
    assert case.label() == ["note-3", "note-4", "note-5"]


def test_an_output_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(StorageError) as error:
        label(tmp_path / "out", notes(3))
    assert error.value.exit_status == 6


def test_too_many_failures_stop_the_run_and_tell_the_causes(tmp_path: Path) -> None:
    records = [*notes(6), Quarantined("x", "torn"), *notes(40, 7, "RAISE"), *notes(30, 50)]
    with pytest.raises(FailuresError) as error:
        label(tmp_path, records)
    assert error.value.exit_status == 3
    assert str(error.value) == (
        f"{tmp_path}: 21 of 27 notes were set aside: 20 x the model failed (RuntimeError), 1 x torn. "
        "Kept: 9 of 26 shards. Next: mend the cause, or raise --max_failures, and give the command again."
    )
    counts = label(tmp_path, records, options=replace(OPTIONS, max_failures=0.9))
    assert (counts.input, counts.labeled, counts.quarantined) == (77, 36, 41)


def test_a_finished_run_is_not_touched(case: Case) -> None:
    (case.out / "manifest.json").write_text('{"status": "done"}')
    before = tree(case.out)
    model, source = Model(), Notes(str(case.folder / "notes"), Jsonl())
    with engine.open_run(case.out, source, model, model.fingerprint(), OPTIONS) as run:
        assert run.is_finished and is_done(case.out)
    assert tree(case.out) == before


def test_everything_is_private_whatever_the_umask(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        label(tmp_path / "out", [*notes(4), Quarantined("x", "torn")])
    finally:
        os.umask(mask)
    modes = {
        (path.is_dir(), path.stat().st_mode & 0o777) for path in [tmp_path / "out", *(tmp_path / "out").rglob("*")]
    }
    assert modes == {(True, 0o700), (False, 0o600)}


def test_no_decision_hangs_on_the_clock(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    (case.out / "commits/000/000001.json").unlink()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert case.label() == ["note-3", "note-4", "note-5"]
