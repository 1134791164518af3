"""Baselines one setting away: the same architecture from random weights, and a frozen encoder."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.recipes.command import FAST, clinnlp, read_json

WINDOW = ("--task.window", 24, "--task.overlap", 8)


def words(corpus: Path, out: Path) -> tuple[object, ...]:
    data = [word for name in ("train", "dev", "test") for word in (f"--data.{name}", corpus / f"{name}.jsonl")]
    return (*data, *FAST, *WINDOW, "--fit.epochs", 2, "--fit.learning_rate", 1e-2, "--seed", 1, "--out", out)


def test_from_scratch_takes_the_architecture_and_no_weights(
    tiny: Callable[[str], Path], corpus: Path, tmp_path: Path
) -> None:
    base, out = tiny("bert"), tmp_path / "run"
    assert clinnlp("finetune", "--like", base, "--strategy", "full", *words(corpus, out), "--fit.max_steps", 1) == 0
    assert read_json(out / "manifest.json")["weights_sha256"]["base"] == "random:1"
    assert "random weights" in read_json(out / "manifest.json")["facts"]["base"]
    given, drawn = load_file(base / "model.safetensors"), load_file(out / "model" / "model.safetensors")
    name = next(name for name in drawn if name.endswith("word_embeddings.weight"))
    (same,) = (value for key, value in given.items() if key.endswith("word_embeddings.weight"))
    assert drawn[name].shape == same.shape
    assert not torch.allclose(drawn[name], same, atol=0.05), "one step moves nothing so far"
    notes = ("--notes", corpus / "test.jsonl", "--format", "jsonl")
    assert clinnlp("label", "--model", out / "model", *notes, "--out", tmp_path / "labels") == 0


def test_a_frozen_encoder_stays_as_it_was(tiny: Callable[[str], Path], corpus: Path, tmp_path: Path) -> None:
    base, out = tiny("bert"), tmp_path / "run"
    assert clinnlp("finetune", "--base", base, "--strategy", "feature_extractor", *words(corpus, out)) == 0
    given, kept = load_file(base / "model.safetensors"), load_file(out / "model" / "model.safetensors")
    layer = "encoder.layer.0.attention.self.query.weight"
    (before,), (after,) = ([v for k, v in weights.items() if k.endswith(layer)] for weights in (given, kept))
    assert torch.equal(before, after)
    facts = read_json(out / "manifest.json")["facts"]
    assert facts["trained weights"] < facts["weights"] / 10


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((), "base: give either base or like. Next: --base DIR, or --like DIR from scratch."),
        (("--base", "x", "--like", "x"), "base: give either base or like."),
        (("--like", "x"), "strategy: random weights cannot be adapted, only trained. Next: choose --strategy full."),
    ],
)
def test_what_cannot_be_is_said(
    given: tuple[str, ...], told: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert clinnlp("finetune", *given, *words(corpus, tmp_path / "run")) == 2
    assert told in capsys.readouterr().err
