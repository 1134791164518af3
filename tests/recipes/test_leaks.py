"""The guard: notes that would be scored and trained on are refused with exit 4, unless that is waived by name."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from clinnlp.errors import ConfigError, LeakError
from clinnlp.recipes._data import DataSettings, load_splits
from tests.recipes.command import FAST, clinnlp, notes, read_json, write_jsonl

COPIED = " ".join(f"Line {number} of a note that was copied forward." for number in range(8))
REFUSED = "notes of test with a text of 200 or more characters that train holds too: 1"
NEXT = "remove the copies (`clinnlp audit` counts them), or --data.allow duplicates: the report then says so on top."


def with_copy(name: str) -> list[dict[str, object]]:
    """Notes of which the first has a text that the notes of other names hold too, in another patient."""
    made = notes(12, name)
    return [made[0] | {"text": f"{COPIED}\n" if name == "test" else COPIED, "spans": [], "labels": []}, *made[1:]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train", "dev", "test"):
        write_jsonl(tmp_path / f"{name}.jsonl", with_copy(name) if name != "dev" else notes(12, name))
    return tmp_path


def data(folder: Path, **given: object) -> DataSettings:
    return DataSettings(**{"train": f"{folder}/train.jsonl", "test": f"{folder}/test.jsonl", **given})  # type: ignore[arg-type]


def test_a_copied_note_is_refused(folder: Path) -> None:
    with pytest.raises(LeakError) as refused:
        load_splits(data(folder))
    assert str(refused.value) == f"data.test: {REFUSED}. Next: {NEXT}"
    assert (refused.value.code, refused.value.exit_status) == ("CLN-L4", 4)


def test_what_is_waived_by_name_is_told(folder: Path) -> None:
    assert load_splits(data(folder, allow="duplicates")).waived == [f"duplicates: {REFUSED}"]
    with pytest.raises(LeakError):
        load_splits(data(folder, allow="groups"))
    same = data(folder, dev=f"{folder}/train.jsonl", test=None, allow="groups, duplicates")
    assert load_splits(same).waived == [
        "groups: groups (patients) in both train and dev: 6",
        "duplicates: notes of dev with a text of 200 or more characters that train holds too: 1",
    ]
    assert load_splits(data(folder, test=None, allow=("duplicates",))).waived == [], "allowed, but there was none"


def test_short_equal_texts_are_only_warned_about(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_jsonl(folder / "test.jsonl", [{"text": note["text"]} for note in notes(12, "train")])
    with caplog.at_level(logging.WARNING, logger="clinnlp"):
        assert load_splits(data(folder)).waived == []
    assert caplog.messages == ["notes of test with a text of under 200 characters that train holds too: 12"]


def test_the_waiver_is_one_of_two_names() -> None:
    assert DataSettings(allow="").allow == () == DataSettings(allow=[]).allow  # type: ignore[arg-type]
    assert DataSettings(allow=" groups ,duplicates").allow == ("groups", "duplicates")
    with pytest.raises(ConfigError) as refused:
        DataSettings(allow="duplicates,patients")
    assert str(refused.value) == "data.allow: 1 unknown names. Next: there are duplicates, groups."


def test_finetune_and_evaluate(
    tiny: Callable[[str], Path], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from clinnlp.models import verify

    monkeypatch.setattr(verify, "verify_folder", lambda folder, trained: 0.0)  # test_finetune.py runs it
    files = ("--data.train", folder / "train.jsonl", "--data.test", folder / "test.jsonl")
    words = ("finetune", "--base", tiny("bert"), *files, "--fit.max_steps", 1, *FAST, "--out", folder / "run")
    capsys.readouterr()  # the model was being built
    assert clinnlp(*words) == 4
    assert capsys.readouterr().err.strip() == (
        f"clinnlp: error[CLN-L4] data.test: {REFUSED}. Kept: nothing was written. Next: {NEXT}"
    )
    assert clinnlp(*words, "--data.allow", "duplicates") == 0
    assert next(iter(read_json(folder / "run" / "metrics.json").items())) == ("waived", [f"duplicates: {REFUSED}"])
    assert (folder / "run" / "report.txt").read_text(encoding="utf-8").startswith(f"waived: duplicates: {REFUSED}\n\n")
    assert read_json(folder / "run" / "manifest.json")["settings"]["data"]["allow"] == ["duplicates"]

    # evaluate knows the texts from the run folder, or from the train file
    told = "notes with a text of 200 or more characters that the model was trained on: 1 of 12"
    words = ("evaluate", "--model", folder / "run" / "model", "--data.test", folder / "test.jsonl")
    capsys.readouterr()
    assert clinnlp(*words, "--out", folder / "a") == 4
    assert capsys.readouterr().err.strip() == (
        f"clinnlp: error[CLN-L4] data.test: {told}. Kept: nothing was written. "
        "Next: score other notes, or --data.allow duplicates: the report then says so on top."
    )
    assert clinnlp(*words, "--data.allow", "duplicates", "--out", folder / "a") == 0
    assert (folder / "a" / "report.txt").read_text(encoding="utf-8").startswith(f"waived: duplicates: {told}\n\n")
    assert clinnlp("evaluate", "--model", folder / "run" / "model", *files, "--out", folder / "b") == 4
    assert f"data.test: {REFUSED}. Kept:" in capsys.readouterr().err
    assert clinnlp(*words[:-1], folder / "dev.jsonl", "--out", folder / "c") == 0, "other notes are scored"


def test_only_hashes_of_texts_stay_and_not_in_the_model_folder(ner_run: Path) -> None:
    held = read_json(ner_run / "trained_texts.json")
    assert held["hashes"] == [], "all notes of this run are short"
    assert not (ner_run / "model" / "trained_texts.json").exists()


def test_a_model_that_was_moved_is_not_checked(ner_run: Path, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(ner_run / "model")
    words = ("--model", tmp_path / "model", "--data.test", corpus / "train.jsonl")
    assert clinnlp("evaluate", *words, "--out", tmp_path / "out") == 0
