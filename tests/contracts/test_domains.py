"""What every domain method keeps to; a new file in clinnlp/domains is tested without editing this one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clinnlp import config, plugins
from clinnlp.domains.base import Domain
from clinnlp.models import verify
from clinnlp.models.load import load_trained
from tests.recipes.command import FAST, clinnlp, notes, read_json, write_jsonl

NAMES = plugins.names("domains")
Tiny = Callable[[str], Path]
VARIANTS = {
    **{name: ("--domain", name) for name in NAMES},
    "coral as features": ("--domain", "coral", "--domain.use", "features"),
    "kept": ("--domain", "reweight", "--domain.keep", 0.5),
    "by vectors": ("--domain", "reweight", "--domain.features", "encoder"),
}


def some(names: list[str], *kept: str) -> list[Any]:
    """All names as parameters, of which only those kept are not slow."""
    return [pytest.param(name, marks=() if name in kept else pytest.mark.slow) for name in names]


TASKS = plugins.names("tasks")


def test_there_are_domains() -> None:
    assert {"reweight", "subspace", "coral", "dann", "mmd"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_plugin_is_a_frozen_documented_dataclass(name: str) -> None:
    plugin = plugins.find("domains", name)
    assert plugin.__bases__ == (Domain,)
    assert plugin.__dataclass_params__.frozen
    assert 10 < len(plugins.meaning(plugin)) <= 120
    assert "When to use it" in plugin.__doc__
    assert plugin().does in ("weights", "maps", "loss")
    assert config.build(plugin, config.plain(plugin())) == plugin()


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_a_number_that_depends_on_both_sides_alone(name: str) -> None:
    method = plugins.find("domains", name)()
    if method.does != "loss":
        assert method.share == 0
        return
    torch.manual_seed(0)
    head = method.head(8)
    source, target = torch.randn(6, 8, requires_grad=True), torch.randn(5, 8, requires_grad=True)
    losses = [method.loss(head, source, target, 0.7) for _ in range(2)]
    assert losses[0].shape == () and torch.equal(*losses) and losses[0] > 0 and method.share > 0
    losses[0].backward()
    assert all(side.grad is not None and side.grad.abs().sum() > 0 for side in (source, target))


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """Labeled source notes, and notes of a target that is written otherwise."""
    folder = tmp_path_factory.mktemp("corpora")
    words: list[object] = []
    for name, count in (("train", 24), ("dev", 8)):
        words += [f"--data.{name}", write_jsonl(folder / f"{name}.jsonl", notes(count, name))]
    for name, count in (("test", 8), ("target", 20)):
        shifted = [{**note, "text": note["text"].upper()} for note in notes(count, name)]
        words += [f"--data.{name}", write_jsonl(folder / f"{name}.jsonl", shifted)]
    return tuple(words)


@pytest.fixture(autouse=True)
def reloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof that a saved folder answers as the model in memory, in this process: a fresh one takes seconds."""

    def proof(folder: Path, trained: Any) -> float:
        ids = torch.tensor([[5, 40, 41, 42, 43, 44, 6], [5, 50, 51, 52, 53, 54, 6]])
        with torch.inference_mode():
            both = [model.eval()(input_ids=ids).logits for model in (trained.model, load_trained(folder).model)]
        return float((both[0] - both[1]).abs().max() / both[0].abs().max())

    monkeypatch.setattr(verify, "verify_folder", proof)


def run(tiny: Tiny, corpora: tuple[object, ...], out: Path, words: tuple[object, ...], kind: str = "bert") -> int:
    given = ("--base", tiny(kind), *corpora, *FAST, "--fit.evaluations", 2, "--fit.max_steps", 6, "--task.window", 24)
    return clinnlp("finetune", *given, "--task.overlap", 8, *words, "--out", out)


def frozen(words: tuple[object, ...]) -> tuple[object, ...]:
    """With a frozen encoder where the method maps features."""
    return ("--strategy", "feature_extractor") if {"subspace", "features"} & set(words[1:3:2] + words[3:]) else ()


@pytest.mark.parametrize("task", some(TASKS, "ner", "note_classification"))
@pytest.mark.parametrize("name", VARIANTS)
def test_a_plain_model_is_left_and_the_report_names_the_method(
    name: str, task: str, tiny: Tiny, corpora: tuple[object, ...], tmp_path: Path
) -> None:
    words = VARIANTS[name]
    strategy = frozen(words) or ("--strategy", "full")
    assert run(tiny, corpora, tmp_path / "run", ("--task", task, *words, *strategy)) == 0
    facts = read_json(tmp_path / "run" / "manifest.json")["facts"]
    assert (facts["domain"], facts["target notes"]) == (words[1], 20)
    assert facts["reload_difference"] <= 1e-5
    report = (tmp_path / "run" / "report.txt").read_text(encoding="utf-8")
    assert f"note: adapted by {words[1]} to unlabeled notes of the target: 20" in report
    weights = load_trained(tmp_path / "run" / "model").model.state_dict()
    assert not any("clinnlp" in weight for weight in weights), "no head of the method's own"
    if words[1] == "reweight":
        assert f"effective sample size {facts['effective sample size']}" in report


@pytest.mark.parametrize("strategy", some(plugins.names("strategies"), "lora"))
def test_every_strategy_goes_with_a_loss_and_with_weights(
    strategy: str, tiny: Tiny, corpora: tuple[object, ...], tmp_path: Path
) -> None:
    cached: tuple[Any, ...] = ("--strategy.cache", "false") if strategy == "top_layers" else ()
    for name in ("dann", "reweight"):
        words = ("--domain", name, "--strategy", strategy, *cached)
        assert run(tiny, corpora, tmp_path / name, words) == 0
        assert load_trained(tmp_path / name / "model").schema.labels == ("DRUG", "PROBLEM")


@pytest.mark.parametrize("kind", ["roberta", "electra", "deberta_v2", "modernbert"])
@pytest.mark.parametrize("task", some(TASKS, "ner"))
def test_maps_are_folded_into_the_head_of_every_architecture(
    kind: str, task: str, tiny: Tiny, corpora: tuple[object, ...], tmp_path: Path
) -> None:
    words = ("--domain", "subspace", "--strategy", "feature_extractor", "--task", task)
    assert run(tiny, corpora, tmp_path / "run", words, kind) == 0
    assert read_json(tmp_path / "run" / "manifest.json")["facts"]["reload_difference"] <= 1e-5
