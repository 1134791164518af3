"""Cross-validation: every note is tested once, and a run that was stopped goes on where it ended."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.recipes.command import FAST, clinnlp, notes, read_json, write_jsonl

LORA = ("--strategy", "lora", "--strategy.head_learning_rate", 5e-2, "--fit.learning_rate", 1e-2, "--fit.epochs", 6)


@pytest.fixture(scope="module")
def words(tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    data = write_jsonl(tmp_path_factory.mktemp("folds") / "notes.jsonl", notes(36, "all"))
    window = ("--task.window", 24, "--task.overlap", 8)
    return ("--base", tiny("bert"), "--data.train", data, "--folds.count", 3, *FAST, *LORA, *window, "--seed", 1)


@pytest.fixture(scope="module")
def done(words: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("folds") / "run"
    assert clinnlp("crossvalidate", *words, "--data.dev_share", 0.2, "--out", out) == 0
    return out


def test_the_pooled_score_is_of_every_note_once(done: Path) -> None:
    metrics, folds = read_json(done / "metrics.json"), read_json(done / "folds.json")
    assert metrics["data"]["documents"] == 36
    assert metrics["entity"]["counts"]["gold"] == 72
    assert list(folds["folds"]) == ["fold-1", "fold-2", "fold-3"]
    assert sum(folds["test_notes"]) == 36
    assert folds["mean"] == pytest.approx(sum(folds["folds"].values()) / 3)
    parts = [read_json(done / name / "metrics.json")["entity"]["strict"]["micro"]["tp"] for name in folds["folds"]]
    assert metrics["entity"]["strict"]["micro"]["tp"] == sum(parts)
    assert not list(done.glob("*/model")), "models are not kept unless asked for"


def test_a_stopped_run_goes_on(done: Path, words: tuple[object, ...], tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(done, out)
    manifest = read_json(out / "manifest.json")
    manifest["settings"]["out"] = str(out)
    shutil.rmtree(out / "fold-2")
    first = (out / "fold-1" / "manifest.json").read_bytes()

    def stop(status: str) -> None:
        from clinnlp import config
        from clinnlp.recipes.crossvalidate import CrossValidate

        same = config.build(CrossValidate, manifest["settings"])
        values = manifest | {"status": status, "fingerprint": config.fingerprint(same)}
        (out / "manifest.json").write_text(json.dumps(values))

    again = (*words, "--data.dev_share", 0.2, "--out", out)
    stop("failed")
    assert clinnlp("crossvalidate", *again) == 0
    assert (out / "fold-1" / "manifest.json").read_bytes() == first, "a finished fold is not done again"
    assert read_json(out / "metrics.json") == read_json(done / "metrics.json")


def test_another_run_in_the_folder_is_refused(
    done: Path, words: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(done, out)
    assert clinnlp("crossvalidate", *words, "--data.dev_share", 0.2, "--out", out) == 5, "it is finished"
    manifest = read_json(out / "manifest.json") | {"status": "failed"}
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert clinnlp("crossvalidate", *words, "--data.dev_share", 0.3, "--out", out) == 4
    told = capsys.readouterr().err
    assert "unfinished run that differs in data.dev_share (0.2 before, now 0.3)." in told


def test_folds_are_made_of_train_alone(
    words: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert clinnlp("crossvalidate", *words, "--data.test", "x.jsonl", "--out", tmp_path / "run") == 2
    assert "data.test: folds are made of data.train alone. Next: leave it out." in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["crossvalidate", "compare strategies"])
def test_a_fold_without_labels_to_train_on_is_named_before_any_is_trained(
    verb: str, words: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One patient of twelve is labeled: the fold that tests it has none to train on."""
    made = [note | {"spans": note["spans"] if n < 2 else []} for n, note in enumerate(notes(24, "few"))]
    data = write_jsonl(tmp_path / "notes.jsonl", made)
    arms = ("--arms", "{a: {}, b: {fit.batch: 4}}") if "compare" in verb else ()
    given = (*words, *arms, "--data.train", data, "--out", tmp_path / "run")
    assert clinnlp(*verb.split(), *given) == 2
    told = capsys.readouterr().err
    assert re.search(
        r"folds: fold-[123]: its 16 train notes hold no labels\. Kept: .*"
        r"Next: fewer folds, or more labeled patients\.", told
    )  # fmt: skip
    assert not list(tmp_path.glob("run/*/manifest.json")), "no fold is trained"
    write_jsonl(data, [note | {"spans": []} for note in made])
    assert clinnlp(*verb.split(), *given) == 2
    assert "data.train: the training data holds no labels for ner" in capsys.readouterr().err


def test_a_fold_without_a_named_attribute_is_named_before_any_is_trained(
    words: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = notes(24, "few")
    made[0]["spans"][0]["attributes"] = made[1]["spans"][0]["attributes"] = {"negated": True}  # one patient's notes
    data = write_jsonl(tmp_path / "notes.jsonl", made)
    task = ("--task", "span_attributes", "--task.attributes", "[negated]")
    assert clinnlp("crossvalidate", *words, *task, "--data.train", data, "--out", tmp_path / "run") == 2
    assert re.search(r"task\.attributes: fold-[123]: .*'negated'", capsys.readouterr().err)
    assert not list(tmp_path.glob("run/fold-*"))


def test_what_any_fold_waived_stands_on_top_of_the_pooled_report(words: tuple[object, ...], tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "notes.jsonl", notes(36, "all"))
    target = write_jsonl(tmp_path / "target.jsonl", [*notes(20, "target"), *notes(36, "all")[:2]])
    adapted = ("--domain", "reweight", "--data.target", target, "--fit.epochs", 1, "--folds.count", 2)
    given = (*words, "--data.train", data, *adapted)
    assert clinnlp("crossvalidate", *given, "--out", tmp_path / "refused") == 4
    assert clinnlp("crossvalidate", *given, "--data.allow", "transductive", "--out", tmp_path / "allowed") == 0
    (told,) = read_json(tmp_path / "allowed" / "metrics.json")["waived"]
    assert told.endswith(": transductive: groups (patients) in both target and test: 1")
    assert told.startswith("fold-")
    text = (tmp_path / "allowed" / "report.txt").read_text(encoding="utf-8")
    assert text.startswith(f"waived: {told}\n")


def test_texts_copied_under_two_patients_are_refused_before_any_fold(
    words: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [note | {"text": f"{note['text']} {'. ' * 120}"} for note in notes(12, "all")]
    copies = [note | {"id": f"copy of {note['id']}", "group": f"copy of {note['group']}"} for note in made]
    one = [note | {"text": f"{note['text']} ."} for note in notes(12, "all")]
    data = write_jsonl(tmp_path / "notes.jsonl", [*made, *copies])
    given = (*words, "--data.train", data, "--fit.max_steps", 1, "--folds.count", 2, "--out", tmp_path / "run")
    assert clinnlp("crossvalidate", *given) == 4
    told = re.search(
        r"data\.train: notes of test with a text of 200 or more characters that train holds too: (\d+), over 2 folds\. "
        r".*Next: give all copies of a text one group, or --data\.allow duplicates: ", capsys.readouterr().err
    )  # fmt: skip
    assert told and not list(tmp_path.glob("run/fold-*"))
    torn = int(told[1])
    assert clinnlp("crossvalidate", *given, "--data.allow", "duplicates") == 0
    folds = {f"fold-{n}": read_json(tmp_path / "run" / f"fold-{n}" / "metrics.json").get("waived", []) for n in (1, 2)}
    assert read_json(tmp_path / "run" / "metrics.json")["waived"] == [
        f"{name}: {line}" for name, lines in folds.items() for line in lines
    ]
    assert sum(int(line.rsplit(" ", 1)[1]) for lines in folds.values() for line in lines) == torn
    labeled = write_jsonl(tmp_path / "labeled.jsonl", one[:2])
    apart = write_jsonl(tmp_path / "apart.jsonl", one)
    target = ("--data.target", labeled, "--data.target_labeled", labeled, "--domain", "reweight")
    words = (*words, "--data.train", apart, "--folds.count", 2, *target, "--out", tmp_path / "other")
    assert clinnlp("crossvalidate", *words) == 4
    assert "data.target_labeled: groups (patients) in both train and test: 1, over 2 folds" in capsys.readouterr().err


@pytest.mark.parametrize(("verb", "given"), [("crossvalidate", ("--folds.count", 2)), ("finetune", ("--data.test",))])
def test_the_report_names_the_tag_scheme_of_the_notes(
    verb: str, given: tuple[object, ...], tiny: Callable[[str], Path], tmp_path: Path
) -> None:
    path = tmp_path / "notes.conll"
    lines = [f"-DOCSTART- O\n\nfever{n} S-A\nand O\nchest{n} B-A\npain E-A\n" for n in range(8)]
    path.write_text("\n".join(lines), encoding="utf-8")
    other = tmp_path / "other.conll"
    other.write_text("cough S-A\nor O\nback B-A\npain E-A\n", encoding="utf-8")
    words = ("--base", tiny("bert"), "--data.train", path, "--data.format", "conll", "--fit.max_steps", 1, *FAST)
    more = (*given, other) if verb == "finetune" else given
    assert clinnlp(verb, *words, *more, "--out", tmp_path / "out") == 0
    text = (tmp_path / "out" / "report.txt").read_text(encoding="utf-8")
    assert "\nGold tag scheme: IOBES, found from the tags.\n" in text
