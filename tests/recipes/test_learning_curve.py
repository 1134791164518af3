"""The learning curve: nested subsets of whole patients, every size scored, and a stopped run goes on."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clinnlp.core.document import Document
from clinnlp.recipes.learning_curve import _by_notes, subset
from tests.recipes.command import FAST, clinnlp, notes, read_json, write_jsonl

LORA = ("--strategy", "lora", "--strategy.head_learning_rate", 5e-2, "--fit.learning_rate", 1e-2, "--fit.epochs", 4)


def test_subsets_are_nested_and_hold_whole_groups() -> None:
    documents = [Document(str(n), f"note {n}", group=f"p{n // 3}") for n in range(60)]
    small, large = subset(documents, 7, 1), subset(documents, 20, 1)
    assert len(small) == 9 and len(large) == 21, "whole patients of three notes until the number is reached"
    assert {d.id for d in small} < {d.id for d in large}
    assert [d.id for d in large] == sorted((d.id for d in large), key=int)
    assert {d.id for d in subset(documents, 7, 2)} != {d.id for d in small}
    assert subset(documents, 60, 1) == documents


def test_a_size_is_the_notes_that_its_subsets_held() -> None:
    """Ten notes were asked for; whole patients made 12 and 13, whose mean is 12 (half to even)."""
    assert _by_notes({10: [(12, 0.5), (13, 0.6)], 20: [(21, 0.7)]}) == {12: [0.5, 0.6], 21: [0.7]}
    assert _by_notes({1: [(3, 0.5)], 2: [(3, 0.6)]}) == {3: [0.5, 0.6]}, "one patient is the least there is"


def test_the_same_notes_with_the_same_seed_are_trained_on_once(
    tiny: Callable[[str], Path], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three patients of five notes: sizes 1, 2 and 3 are one patient each, two runs and not six."""
    out = tmp_path / "run"
    grouped = [note | {"group": f"p{n // 5}"} for n, note in enumerate(notes(15, "grouped"))]
    train = write_jsonl(tmp_path / "train.jsonl", grouped)
    data = ("--data.train", train, "--data.test", corpus / "test.jsonl", "--task.window", 24, "--task.overlap", 8)
    words = ("--base", tiny("bert"), *data, *FAST, *LORA, "--fit.epochs", 1, "--sizes", "[1, 2, 3]", "--repeats", 2)
    assert clinnlp("learning_curve", *words, "--out", out) == 0
    sizes = read_json(out / "metrics.json")["sizes"]
    assert [(size["notes"], len(size["scores"]), size["low"]) for size in sizes] == [(5, 2, None), (15, 2, None)]
    assert len(list(out.glob("notes-*"))) == 4
    assert "size 3, repeat 2: the same 5 notes as of a smaller size, not trained on again" in capsys.readouterr().err


def test_test_notes_without_anything_to_find_are_refused(
    tiny: Callable[[str], Path], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = write_jsonl(tmp_path / "test.jsonl", [note | {"spans": []} for note in notes(4, "none")])
    words = ("--base", tiny("bert"), "--data.train", corpus / "train.jsonl", "--data.test", test, *FAST, *LORA)
    assert clinnlp("learning_curve", *words, "--out", tmp_path / "run") == 2
    assert "data.test: the test notes hold nothing to find: there is no score to measure" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_curve_end_to_end(tiny: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    data = [word for name in ("train", "dev", "test") for word in (f"--data.{name}", corpus / f"{name}.jsonl")]
    window = ("--task.window", 24, "--task.overlap", 8)
    words = ("--base", tiny("bert"), *data, *FAST, *LORA, *window, "--sizes", "[4, 8, 99]", "--repeats", 2, "--seed", 1)
    assert clinnlp("learning_curve", *words, "--out", out) == 0
    metrics = read_json(out / "metrics.json")
    assert [size["notes"] for size in metrics["sizes"]] == [4, 8, 40], "99 is more than there are: all are tried"
    assert all(len(size["scores"]) == 2 for size in metrics["sizes"])
    one = read_json(out / "notes-000008-repeat-2" / "metrics.json")["entity"]["strict"]["micro"]["f1"]
    assert metrics["sizes"][1]["scores"][1] == one
    assert "4 sizes or more are needed" in (out / "report.txt").read_text()
    page = (out / "report.html").read_text()
    assert "<polyline" in page
    for told in ("sha256 of train", "sha256 of test", "settings fingerprint", "fit.learning_rate"):
        assert told in page, "provenance and settings"
    assert clinnlp("learning_curve", *words, "--out", out) == 5, "it is finished"


def test_what_was_waived_stands_on_top(
    tiny: Callable[[str], Path], corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, both = tmp_path / "run", corpus / "train.jsonl"
    some = [line | {"id": f"again {n}"} for n, line in enumerate(map(json.loads, both.read_text().splitlines()[:8]))]
    test = write_jsonl(tmp_path / "test.jsonl", some)
    words = ("--base", tiny("bert"), "--data.train", both, "--data.test", test, *FAST, *LORA, "--fit.epochs", 1)
    small = ("--task.window", 24, "--task.overlap", 8, "--sizes", "[99]", "--repeats", 1)
    assert clinnlp("learning_curve", *words, *small, "--out", out) == 4
    assert clinnlp("learning_curve", *words, *small, "--data.allow", "groups", "--out", out) == 0
    told = "groups: groups (patients) in both train and test: 4"
    assert (out / "report.txt").read_text(encoding="utf-8").startswith(f"waived: {told}\n\n   notes ")
    assert read_json(out / "metrics.json")["waived"] == [told]
    assert read_json(out / "notes-000040-repeat-1" / "metrics.json")["waived"] == [told]
    assert f'<h2>Waived</h2><ul class="facts"><li>{told}.</li>' in (out / "report.html").read_text(encoding="utf-8")


def test_what_was_waived_in_a_single_run_stands_on_top_too(
    tiny: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    target = write_jsonl(tmp_path / "target.jsonl", [*notes(20, "target"), *notes(12, "test")[:2]])
    data = ("--data.train", corpus / "train.jsonl", "--data.test", corpus / "test.jsonl", "--data.target", target)
    words = ("--base", tiny("bert"), *data, "--domain", "reweight", "--data.allow", "transductive", *FAST, *LORA)
    small = ("--task.window", 24, "--task.overlap", 8, "--sizes", "[99]", "--repeats", 2, "--fit.epochs", 1)
    assert clinnlp("learning_curve", *words, *small, "--out", tmp_path / "run") == 0
    told = "transductive: groups (patients) in both target and test: 1"
    assert read_json(tmp_path / "run" / "metrics.json")["waived"] == [told]
