"""The learning curve: nested subsets of whole patients, every size scored, and a stopped run goes on."""

from collections.abc import Callable
from pathlib import Path

from clinnlp.core.document import Document
from clinnlp.recipes.learning_curve import subset
from tests.recipes.command import FAST, clinnlp, read_json

LORA = ("--strategy", "lora", "--strategy.head_learning_rate", 5e-2, "--fit.learning_rate", 1e-2, "--fit.epochs", 4)


def test_subsets_are_nested_and_hold_whole_groups() -> None:
    documents = [Document(str(n), f"note {n}", group=f"p{n // 3}") for n in range(60)]
    small, large = subset(documents, 7, 1), subset(documents, 20, 1)
    assert len(small) == 9 and len(large) == 21, "whole patients of three notes until the number is reached"
    assert {d.id for d in small} < {d.id for d in large}
    assert [d.id for d in large] == sorted((d.id for d in large), key=int)
    assert {d.id for d in subset(documents, 7, 2)} != {d.id for d in small}
    assert subset(documents, 60, 1) == documents


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
    assert "<polyline" in (out / "report.html").read_text()
    assert clinnlp("learning_curve", *words, "--out", out) == 5, "it is finished"
