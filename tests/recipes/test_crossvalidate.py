"""Cross-validation: every note is tested once, and a run that was stopped goes on where it ended."""

import json
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
