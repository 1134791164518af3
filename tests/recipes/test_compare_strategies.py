"""Strategies side by side: equal budget, rates tuned on dev alone, one table, and a stopped run goes on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from clinnlp.errors import StoppedError
from clinnlp.recipes import compare, compare_strategies
from clinnlp.training.memory import PeakMemory
from tests.recipes.command import FAST, clinnlp, read_json, write_jsonl

ARMS: dict[str, Any] = {
    "full": {"strategy": "full", "fit.learning_rate": [1e-7, 5e-3]},
    "top layer": {"strategy": {"name": "freeze", "layers": 1}, "fit.learning_rate": 5e-3},
}


@pytest.fixture
def words(tiny: Callable[[str], Path], corpus: Path, tmp_path: Path) -> list[object]:
    path = tmp_path / "bench.yaml"
    fit = {"epochs": 3, "evaluations": 1, "patience": 0}
    path.write_text(yaml.safe_dump({"arms": ARMS, "seeds": [1, 2], "fit": fit, "task": {"window": 24, "overlap": 8}}))
    return [path, "--base", tiny("bert"), "--data.train", corpus / "train.jsonl", *FAST, "--out", tmp_path / "run"]


def splits(corpus: Path) -> list[object]:
    return [word for name in ("dev", "test") for word in (f"--data.{name}", corpus / f"{name}.jsonl")]


def test_one_table_and_a_stopped_run_goes_on(
    words: list[object], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words += splits(corpus)
    done = compare.run

    def stopped(settings: Any) -> int:
        raise StoppedError(15)

    monkeypatch.setattr(compare, "run", stopped)
    assert clinnlp("compare", "strategies", *words) == 143
    out = tmp_path / "run"
    cells = sorted(path.name for path in out.iterdir() if path.is_dir())
    assert cells == [
        "full-seed-1", "full-seed-2", "full-tuned-learning-rate-0-005", "full-tuned-learning-rate-1e-07",
        "top-layer-seed-1", "top-layer-seed-2",
    ]  # fmt: skip
    before = {name: (out / name / "manifest.json").stat().st_mtime_ns for name in cells}
    monkeypatch.setattr(compare, "run", done)
    assert clinnlp("compare", "strategies", *words) == 0
    assert before == {name: (out / name / "manifest.json").stat().st_mtime_ns for name in cells}, "nothing twice"

    arms = read_json(out / "metrics.json")["arms"]
    assert list(arms) == ["full", "top layer"]
    assert arms["full"]["tuned"] == {"fit.learning_rate": 5e-3}, "1e-7 learns nothing"
    assert arms["full"]["against"] is None and arms["top layer"]["against"]["second"] == "full"
    f1 = [read_json(out / f"full-seed-{n}" / "metrics.json")["entity"]["strict"]["micro"]["f1"] for n in (1, 2)]
    assert arms["full"]["mean"] == pytest.approx(sum(f1) / 2)
    assert arms["full"]["trained_share"] == 1 > arms["top layer"]["trained_share"] > 0
    assert all(arm[cost] > 0 for arm in arms.values() for cost in ("minutes", "stored_mb"))
    for name in cells:
        assert read_json(out / name / "manifest.json")["facts"]["steps"] == 15
    tuned = read_json(out / "full-tuned-learning-rate-0-005" / "manifest.json")["facts"]
    assert tuned["test notes"] == 0, "rates are chosen without the test notes"
    text = (out / "report.txt").read_text()
    assert "learning_rate 0.005" in text and "minus full" in text
    assert "<table" in (out / "report.html").read_text()
    assert not list(out.rglob("*.safetensors")), "models are not kept"


def test_folds_in_place_of_a_test_split(words: list[object], tmp_path: Path) -> None:
    folds = ("--data.dev_share", 0.2, "--folds.count", 2, "--seeds", "[1]", "--fit.epochs", 1)
    assert clinnlp("compare", "strategies", *words, *folds) == 0
    compared = read_json(tmp_path / "run" / "comparison" / "metrics.json")
    assert compared["entity"]["over_folds"][0]["score"] == "entity.strict.micro.f1"
    assert (tmp_path / "run" / "full-seed-1" / "fold-1").is_dir()


def test_what_was_waived_stands_on_top(words: list[object], corpus: Path, tmp_path: Path) -> None:
    both = corpus / "train.jsonl"
    some = [line | {"id": f"again {n}"} for n, line in enumerate(map(json.loads, both.read_text().splitlines()[:8]))]
    words += ["--data.test", write_jsonl(tmp_path / "test.jsonl", some), "--seeds", "[1]", "--fit.epochs", 1]
    Path(str(words[0])).write_text(yaml.safe_dump({"arms": {"a": {}, "b": {"strategy": "full"}}}))
    assert clinnlp("compare", "strategies", *words) == 4
    assert clinnlp("compare", "strategies", *words, "--out", tmp_path / "new", "--data.allow", "groups") == 0
    told = "groups: groups (patients) in both train and test: 4"
    for folder in (tmp_path / "new", tmp_path / "new" / "a-seed-1"):
        assert read_json(folder / "metrics.json")["waived"] == [told]
        assert (folder / "report.txt").read_text(encoding="utf-8").startswith(f"waived: {told}\n")
        page = (folder / "report.html").read_text(encoding="utf-8")
        assert f'<h2>Waived</h2><ul class="facts"><li>{told}.</li>' in page


@pytest.mark.parametrize(
    ("arms", "told"),
    [
        ({"full": {"strategy": "full"}}, "arms: 1 arms: there is nothing to compare"),
        ({"a": {"strategy.rnk": 1}, "b": {}}, "arms.a: strategy.rnk: unknown key. Next: Did you mean 'rank'?"),
        ({"a b": {}, "a-b": {}}, "arms: two names differ in signs alone"),
        ({"a": {"fit.batch": []}, "b": {}}, "arms.a: there is no value to try"),
        ({"a": {}, "b": 3}, "arms.b: should be settings (key: value). Next: {} takes the settings as given."),
        ({"a": {}, "b": None}, "arms.b: should be settings (key: value)"),
        ({"a": {}, "b": {"out": "x"}}, "arms.b.out: this setting is the same for all arms"),
        ({"a": {}, "b": {"seed": [1, 2]}}, "arms.b.seed: this setting is the same for all arms"),
        ({"a": {}, "b": {"with_text": True}}, "arms.b.with_text: this setting is the same for all arms"),
        ({"a": {}, "b": {"data.train": "x"}}, "arms.b.data.train: this setting is the same for all arms"),
        ({"a": {}, "b": {"data": {"dev_share": 0.2}}}, "arms.b.data.dev_share: this setting is the same for all arms"),
        ({"a": {}, "b": {"data.target_labeled": "x"}}, "arms.b.data.target_labeled: this setting is the same"),
        ({"a": {}, "b": {"task": "note_classification"}}, "arms.b.task: this setting is the same for all arms"),
        (
            {"a": {}, "b": {"task": {"name": "nested_ner"}}},
            "arms.b.task.name: this setting is the same for all arms, or their scores could not be compared. Next: set "
            "it beside arms; an arm may change base, strategy, domain, fit, and options of the task.",
        ),
    ],
)
def test_arms_that_cannot_be_compared_are_refused(
    words: list[object], arms: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(str(words[0])).write_text(yaml.safe_dump({"arms": arms}))
    assert clinnlp("compare", "strategies", *words) == 2
    assert told in capsys.readouterr().err
    assert not Path(str(words[-1])).exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--against", "lora"), "against: there is no arm 'lora'"),
        (("--seeds", "[1, 1]"), "seeds: give one seed or more, each once"),
        (("--seeds", "[1, -1]"), "seeds: must be from 0 to 4294967295"),
        (("--seeds", "[4294967296]"), "seeds: must be from 0 to 4294967295"),
        (("--folds.seed", -1), "folds.seed: must be from 0 to 4294967295"),
        (("--fit.epochs", "null"), "fit.epochs: arms need the same budget"),
        ((), "there are no test notes"),
        (("--data.test_share", 0.2), "data.dev: values are tuned on dev notes, and there are none"),
    ],
)
def test_settings_without_what_it_takes_are_refused(
    words: list[object], given: tuple[object, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert clinnlp("compare", "strategies", *words, *given) == 2
    assert told in capsys.readouterr().err


def test_an_arm_may_have_options_of_the_task_and_a_target_of_its_domain_method(tmp_path: Path) -> None:
    arms = {
        "plain": {"task": {"crf": True}, "fit.batch": [4, 8]},
        "adapted": {"domain": "reweight", "data.target": "x.jsonl", "task.overlap": 64},
    }
    settings = compare_strategies.CompareStrategies(out=tmp_path, base="b", arms=arms)
    assert [chosen.fit.batch for _, chosen in settings.choices("plain")] == [4, 8]
    ((_, adapted),) = settings.choices("adapted")
    assert (adapted.data.target, adapted.task.overlap) == ("x.jsonl", 64)


def test_names_of_arms_become_names_of_folders() -> None:
    assert compare_strategies.slug("LoRA, top/half + 1e-3") == "lora-top-half-1e-3"


def test_peak_memory_is_that_of_the_stretch() -> None:
    with PeakMemory("cpu") as before:
        pass
    if before.bytes is None:
        pytest.skip("this system does not tell the peak memory of a process")
    with PeakMemory("cpu") as large:
        bytearray(300_000_000)
    with PeakMemory("cpu") as after:
        pass
    assert large.bytes is not None and after.bytes is not None
    assert large.bytes - before.bytes > 250e6, "a stretch that takes more"
    assert large.bytes - after.bytes > 250e6, "and is over"
