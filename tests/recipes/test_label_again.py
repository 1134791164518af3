"""`clinnlp label` on a folder that holds a run, and `clinnlp verify`: what they do, say and return."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import clinnlp
from clinnlp.core.lock import only_run
from clinnlp.labeling.commits import Ledger
from clinnlp.labeling.store import LocalStore
from tests.recipes.command import clinnlp as command
from tests.recipes.command import notes, read_json, write_jsonl

Said = Callable[[], str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """The last line on stderr since it was last asked for."""
    return lambda: capsys.readouterr().err.splitlines()[-1]


def label(model: Path, source: Path, out: Path, *words: object) -> int:
    given = ("--model", model, "--notes", source, "--out", out, "--shard_documents", 5, "--workers", 0)
    return command("label", *given, *words)


def committed(out: Path) -> list[list[str]]:
    held = Ledger.read(LocalStore(out)).held
    return [[file.sha256 for file in h.commit.files.values()] for _, h in sorted(held.items()) if h.commit]


def tree(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


@pytest.fixture
def model(ner_run: Path, tmp_path: Path) -> Path:
    """A copy of the model, to be changed."""
    return Path(shutil.copytree(ner_run / "model", tmp_path / "model"))


@pytest.fixture
def done(model: Path, corpus: Path, tmp_path: Path) -> Path:
    """A finished run of 12 notes in three shards."""
    assert label(model, corpus / "test.jsonl", tmp_path / "out") == 0
    return tmp_path / "out"


def test_a_finished_run_is_not_touched(done: Path, model: Path, corpus: Path, said: Said) -> None:
    before = tree(done)
    assert label(model, corpus / "test.jsonl", done) == 0
    assert said() == f"nothing to do: all 3 shards of {done} are labeled"
    assert tree(done) == before


def test_workers_and_batches_change_no_byte(done: Path, model: Path, corpus: Path, tmp_path: Path) -> None:
    for number, words in enumerate([("--workers", 2), ("--batch_tokens", 24), ("--batch_tokens", 100_000)]):
        out = tmp_path / str(number)
        assert label(model, corpus / "test.jsonl", out, *words) == 0
        assert committed(out) == committed(done) != []


def test_settings_that_change_no_label_may_be_others(done: Path, model: Path, corpus: Path, said: Said) -> None:
    (done / "commits/000/000001.json").unlink()
    words = ("--batch_tokens", 100, "--max_failures", 0.5, "--document_seconds", 9, "--quarantine_text", "true")
    assert label(model, corpus / "test.jsonl", done, *words) == 0
    assert read_json(done / "manifest.json")["settings"]["batch_tokens"] == 100
    assert label(model, corpus / "test.jsonl", done, "--max_characters", 9) == 4
    assert said() == (
        f"clinnlp: error[CLN-R4] {done}: the folder holds a run that differs in setting.max_characters. "
        "Kept: everything in it. Next: give the settings and model of that run to go on with it, or choose a new --out."
    )


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "tokenizer.json", "adapter_config.json", "clinnlp.json"])
def test_any_file_of_the_model_is_part_of_the_run(name: str, done: Path, model: Path, corpus: Path, said: Said) -> None:
    raw = (model / name).read_bytes()
    (model / name).write_bytes(raw + b"\n" if name.endswith(".json") else raw[:-1] + bytes([raw[-1] ^ 1]))
    before = tree(done)
    assert label(model, corpus / "test.jsonl", done, "--allow_version_change", "true") == 4
    assert f"{done}: the folder holds a run that differs in model/{name}. Kept: everything in it." in said()
    assert {path for path, time in tree(done).items() if before.get(path) != time} <= {
        done,
        done / "lock",
        done / "writers",
    }


def test_a_base_that_moved_is_the_same_base(done: Path, model: Path, corpus: Path, tmp_path: Path) -> None:
    base = read_json(model / "clinnlp.json")["base"]
    shutil.copytree(base, tmp_path / "moved")
    (done / "commits/000/000001.json").unlink()
    assert label(model, corpus / "test.jsonl", done, "--base", tmp_path / "moved") == 0


def test_appended_and_changed_notes(done: Path, model: Path, tmp_path: Path, said: Said) -> None:
    more = write_jsonl(tmp_path / "test.jsonl", [*notes(12, "test"), *notes(3, "more")])
    assert label(model, more, done) == 4
    assert said().endswith("Next: --extend true to label them too, or choose a new --out.")
    assert label(model, more, done, "--extend", "true") == 0
    assert len(clinnlp.read_labels(done).documents) == 15 == read_json(done / "counts.json")["input"]
    edited = [note | {"text": note["text"].replace("2 weeks", "3 weeks")} for note in notes(12, "test")]
    changed = write_jsonl(tmp_path / "test.jsonl", [*edited, *notes(3, "more")])
    assert label(model, changed, done) == 4
    assert (
        f"{done}: input changed since this run began: shard 0 of 4 (notes 1 to 5) and 2 other shards, 12 documents"
        in (said())
    )
    assert label(model, changed, done, "--relabel", "true") == 0
    assert command("verify", done) == 0


def test_ids_that_occur_twice(model: Path, tmp_path: Path, said: Said) -> None:
    source = write_jsonl(
        tmp_path / "n.jsonl", [{"id": "Qvortrup", "text": "fever"}, {"id": "Qvortrup", "text": "cough"}]
    )
    assert label(model, source, tmp_path / "out") == 2
    told = said()
    assert "1 note ids occur more than once, in 2 notes (doc_ref " in told and "Qvortrup" not in told
    assert told.endswith("Next: make the ids unique, or --duplicate_ids keep to tell notes apart by their ordinal.")
    assert label(model, source, tmp_path / "out", "--duplicate_ids", "keep") == 0
    assert clinnlp.read_labels(tmp_path / "out").documents.ordinal.tolist() == [0, 1]


def test_no_notes_are_an_empty_output(model: Path, tmp_path: Path) -> None:
    (tmp_path / "n.jsonl").write_text("\n")
    assert label(model, tmp_path / "n.jsonl", tmp_path / "out", "--workers", 1) == 0
    assert len(clinnlp.read_labels(tmp_path / "out").documents) == 0
    assert read_json(tmp_path / "out" / "counts.json")["input"] == 0
    assert command("verify", tmp_path / "out") == 0


def test_a_model_that_answers_with_nan(model: Path, corpus: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path = model / "adapter_model.safetensors"
    # weights that are numbers, of products that are none: weights that are none are not loaded at all
    weights = {name: value * 0 + 3e38 if "classifier" in name else value for name, value in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})
    assert label(model, corpus / "test.jsonl", tmp_path / "out", "--max_failures", 1) == 3
    (name, *_) = sorted((tmp_path / "out" / "quarantine").iterdir())
    aside = json.loads(name.read_text().splitlines()[0])
    assert (aside["code"], aside["reason"]) == ("CLN-D320", "the model answered with NaN or infinity")
    assert read_json(tmp_path / "out" / "counts.json")["quarantined"] == 12


def test_the_folder_is_in_use(done: Path, model: Path, corpus: Path, said: Said) -> None:
    (done / "commits/000/000001.json").unlink()
    with only_run(done / "lock", next=""):
        assert label(model, corpus / "test.jsonl", done) == 5
        assert f"clinnlp: error[CLN-O5] {done}: in use by process " in said()
        assert label(model, corpus / "test.jsonl", done, "--join", "true") == 0


def test_an_output_that_cannot_be_written_is_found_before_the_model_is_loaded(
    model: Path, corpus: Path, tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clinnlp.models import load

    def fail(*given: object) -> None:
        raise AssertionError

    monkeypatch.setattr(load, "load_trained", fail)
    (tmp_path / "file").write_text("x")
    assert label(model, corpus / "test.jsonl", tmp_path / "file" / "out") == 6
    assert said().startswith(f"clinnlp: error[CLN-S6] {tmp_path}/file/out: cannot make the output folder: ")


def test_verify_proves_and_names_what_is_wrong(
    done: Path, model: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert command("verify", done) == 0
    assert capsys.readouterr().err.splitlines() == [
        "3 of 3 shards, 6 files: all as committed", "12 notes = 12 labeled + 0 set aside + 0 excluded",
    ]  # fmt: skip
    (path,) = (done / "spans").glob("000001-*")
    whole = path.read_bytes()
    path.write_bytes(whole[:50] + bytes([whole[50] ^ 4]) + whole[51:])
    before = tree(done)
    assert command("verify", "--out", done) == 7
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(
        f"clinnlp: error[CLN-I7] {done}: 1 faults, the first: spans/{path.name} is missing or damaged. "
    )
    assert tree(done) == before
    assert label(model, corpus / "test.jsonl", done, "--verify_on_resume", "true") == 0
    assert f"warning: labeled again: shard 1: spans/{path.name} is missing or damaged" in capsys.readouterr().err
    assert command("verify", done) == 0


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("counts.json", lambda held: {**held, "labeled": 11}, "counts.json is not the sum of the commits"),
        ("counts.json", lambda held: {}, "counts.json is not the sum of the commits"),
        ("plan/g1-000000.jsonl", None, "the plan is not the one that was made"),
        ("commits/000/000002.json", None, "commits/000/000002.json is torn"),
    ],
)
def test_verify_finds_an_account_that_does_not_balance(
    name: str, change: Callable[[dict[str, object]], dict[str, object]] | None, told: str, done: Path, said: Said
) -> None:
    path = done / name
    if change:
        path.write_text(json.dumps(change(read_json(path))))
    else:
        path.write_bytes(path.read_bytes()[:-20])
    assert command("verify", done) == 7
    assert f"the first: {told}" in said()


def test_verify_of_a_run_in_work_removes_only_what_the_dead_left(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from clinnlp.core.lock import signed

    (done / "commits/000/000002.json").unlink()
    (done / "manifest.json").write_text(json.dumps(read_json(done / "manifest.json") | {"status": "running"}))
    for name in ("spans/000002-0badcafe0000.parquet", "documents/.000002-0badcafe0000.parquet.0badcafe"):
        (done / name).write_bytes(b"x")
    (done / "spans/000002-feedbeef0000.parquet").write_bytes(b"x")
    with signed(done / "writers", "feedbeef"):
        assert command("verify", done, "--gc", "true") == 0
    told = capsys.readouterr().err
    assert "2 of 3 shards, 4 files: all as committed; the run is not finished" in told
    assert "4 files were left over and are removed" in told, "two by hand, and the two whose commit was removed"
    assert (done / "spans/000002-feedbeef0000.parquet").exists()
    assert len(clinnlp.read_labels(done).documents) == 10


def test_an_object_store_holds_a_run_like_a_folder(done: Path, model: Path, corpus: Path, said: Said) -> None:
    url = "memory://bucket/run"
    assert command("label", "--model", model, "--notes", corpus / "test.jsonl", "--out", url, "--workers", 0) == 0
    assert command("verify", url) == 0
    assert clinnlp.read_labels(url).spans.equals(clinnlp.read_labels(done).spans)
    assert command("label", "--model", model, "--notes", corpus / "test.jsonl", "--out", url, "--workers", 0) == 0
    assert said() == f"nothing to do: all 1 shards of {url} are labeled"
    assert command("verify", url, "--gc", "true") == 2


def test_verify_where_there_is_no_run(tmp_path: Path, said: Said) -> None:
    assert command("verify", tmp_path) == 2
    assert f"{tmp_path}: no labels here." in said()
