"""Self-training end to end: silver notes, the student beside the teacher, refusals, a stopped run goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clinnlp.core.run import is_done
from clinnlp.formats.base import read
from clinnlp.formats.jsonl import Jsonl
from clinnlp.recipes import selftrain
from tests.recipes.command import FAST, clinnlp, notes, read_json, write_jsonl
from tests.recipes.conftest import LORA


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labeled notes, and dev notes some of which contradict the others, so that a model cannot be right in all."""
    folder = tmp_path_factory.mktemp("few")
    for name, count in (("train", 24), ("test", 12), ("unlabeled", 30)):
        records = notes(count, name)
        for number, record in enumerate(records if name == "unlabeled" else []):
            record["text"] += f" heart rate {60 + number}"  # no note is a copy of another
        write_jsonl(folder / f"{name}.jsonl", records)
    dev = notes(60, "dev")
    for record in dev[::8]:
        record["spans"] = record["spans"][:1]
        record["note_type"] = "visit" if record["note_type"] == "plan" else "plan"
    write_jsonl(folder / "dev.jsonl", dev)
    return folder


def words(few: Path, base: Path, out: Path, *more: object) -> list[object]:
    data = [
        word for name in ("train", "dev", "test", "unlabeled") for word in (f"--data.{name}", few / f"{name}.jsonl")
    ]
    given = ["selftrain", "--base", base, *data, *FAST, "--fit.evaluations", 2, "--seed", 1, "--out", out]
    return [*given, *more]


def test_entities_and_a_run_that_was_broken_off(
    tiny: Callable[[str], Path], few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    command = words(few, tiny("bert"), out, *LORA, "--keep", 0.7, "--absent", 0.3)

    def stops(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(selftrain, "_student_epochs", stops)
        assert clinnlp(*command) == 130
    assert is_done(out / "teacher")
    before = (out / "teacher" / "manifest.json").read_bytes()
    assert clinnlp(*command) == 0
    assert (out / "teacher" / "manifest.json").read_bytes() == before, "the teacher was not trained again"
    values = read_json(out / "metrics.json")
    silver = list(read(out / "silver.jsonl", Jsonl()))
    assert len(silver) == values["silver"]["kept"] > 5
    assert sum(values["silver"]["spans"].values()) == sum(len(note.spans) for note in silver)
    assert all((span.score or 0) >= 0.7 for note in silver for span in note.spans)
    assert values["calibration"].startswith("fitted on")
    kept = values["dev"]["all"]
    assert kept["right"] / kept["kept"] == kept["precision"]
    assert kept["held"] == kept["right"]
    scores = values["scores"]["entity micro_f1"]
    for who in ("teacher", "student"):
        own = read_json(out / who / "metrics.json")["entity"]["strict"]["micro"]["f1"]
        assert scores[who]["value"] == pytest.approx(own)
    assert scores["difference"] == pytest.approx(scores["student"]["value"] - scores["teacher"]["value"])
    assert read_json(out / "student" / "manifest.json")["facts"]["train notes"] == 24 * 2 + len(silver)
    report = (out / "report.txt").read_text(encoding="utf-8")
    assert "Student less teacher, entity micro f1" in report
    assert "gold held" in report
    assert not (out / "reading").exists()


def test_note_classes_with_a_given_teacher(
    tiny: Callable[[str], Path], few: Path, type_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = ("--task", "note_classification", "--strategy", "full", "--data.labels_field", "note_type")
    fit = ("--fit.learning_rate", 5e-3, "--fit.epochs", 6, "--student_epochs", 2)
    teacher = ("--teacher", type_run / "model", "--keep", 0.51, "--absent", 0.4)
    out = tmp_path / "run"
    assert clinnlp(*words(few, tiny("roberta"), out, *task, *fit, *teacher, "--raw_scores", "true")) == 0
    values = read_json(out / "metrics.json")
    assert set(values["silver"]["labels"]) <= {"plan", "visit"}
    assert sum(values["silver"]["labels"].values()) == values["silver"]["kept"] > 0
    assert set(values["scores"]) == {"notes accuracy", "notes macro_f1"}
    assert read_json(out / "teacher" / "manifest.json")["verb"] == "evaluate"
    capsys.readouterr()
    others = ("--data.label_map.plan", "draft", *teacher)
    assert clinnlp(*words(few, tiny("roberta"), tmp_path / "other", *task, *fit, *others)) == 2
    assert "other labels than the notes (only of the teacher: 'plan'; only of the notes: 'draft')" in (
        capsys.readouterr().err
    )
    assert clinnlp(*words(few, tiny("roberta"), tmp_path / "ner", *LORA, *teacher)) == 2
    assert "a model of NoteClassification, and the task is Ner" in capsys.readouterr().err


def test_what_is_refused(
    tiny: Callable[[str], Path], few: Path, ner_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny("bert")

    def refused(status: int, *more: object, without: str = "") -> str:
        given = words(few, base, tmp_path / str(len(list(tmp_path.iterdir()))), *LORA, *more)
        if without:
            place = given.index(without)
            del given[place : place + 2]
        assert clinnlp(*given) == status
        return capsys.readouterr().err

    assert "there are no dev notes: the scores of the teacher cannot be calibrated" in refused(2, without="--data.dev")
    assert "data.unlabeled: this setting is required" in refused(2, without="--data.unlabeled")
    told = refused(4, "--data.unlabeled", few / "test.jsonl")
    assert "data.unlabeled: groups (patients) in both unlabeled and test: 6" in told
    assert "--data.allow transductive" in told
    assert "must be under keep" in refused(2, "--keep", 0.2, "--absent", 0.3)
    assert "gives no probabilities that are read here" in refused(2, "--task", "nested_ner")
    assert "scored on a file of test notes" in refused(2, "--teacher", ner_run / "model", without="--data.test")
    told = refused(2, "--data.unlabeled", few / "dev.jsonl")
    assert "no unlabeled note is left (labeled notes: 60)" in told
    small = write_jsonl(tmp_path / "small" / "dev.jsonl", notes(10, "small"))
    told = refused(2, "--teacher", ner_run / "model", "--data.dev", small)
    assert "cannot be calibrated (not fitted: " in told
    assert "--raw_scores true" in told
    told = refused(2, "--teacher", ner_run / "model", "--keep", 1.0)
    assert "of 30 unlabeled notes none holds what is kept from 1: the highest calibrated score is 0." in told


def test_unlabeled_notes_of_dev_patients_copies_and_labeled_ones_are_left_out(few: Path) -> None:
    from clinnlp.core.document import Document
    from clinnlp.recipes._data import Splits

    train, dev = Document("1", "Fever today.", group="a"), Document("2", "Cough today.", group="b")
    given = [
        Document("3", "fever  TODAY."), Document("4", "rash", group="b"), Document("5", "pain", labels=("x",)),
        Document("6", "pain"), Document("7", " "), Document("8", "chills", group="a"),
    ]  # fmt: skip
    settings = selftrain.SelfTrain(
        out=few / "out", base="x", data=selftrain.SelfTrainingData(unlabeled="x"), unlabeled_notes=1
    )
    kept, left = selftrain._usable(given, Splits([train], [dev], [], []), settings)
    assert left == {"empty": 1, "copies of each other": 1, "labeled notes": 1, "of dev patients": 1, "not drawn": 1}
    assert len(kept) == 1
    assert kept[0].labels == ()


def test_epochs_of_the_student(few: Path) -> None:
    """By hand: 10 gold notes ten times and 100 silver ones, 20 epochs of the teacher: 400 notes are two epochs."""
    from clinnlp.training.settings import SupervisedFit

    data = selftrain.SelfTrainingData(unlabeled="x")
    settings = selftrain.SelfTrain(out=few / "out", base="x", data=data, fit=SupervisedFit(epochs=20))
    assert selftrain._student_epochs(settings, 10, 10, 100) == 2
    assert selftrain._student_epochs(settings, 10, 10, 5_000) == 1
    assert selftrain._student_epochs(settings, 100, 1, 10) == 20
