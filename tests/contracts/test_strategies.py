"""What every strategy keeps to; a new file in clinnlp/strategies is tested without editing this one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from clinnlp import config, plugins
from clinnlp.core.schema import LabelSchema
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.errors import ChangedError, ConfigError, IntegrityError
from clinnlp.models.folder import Card, weights_sha256
from clinnlp.models.load import load_trained
from clinnlp.strategies.base import Strategy, head_names, parameter_groups
from clinnlp.strategies.lora import Lora
from tests.tiny import TOKENIZER_OF, sentences

NAMES = plugins.names("strategies")
TASKS = ("ner", "note_classification")
SCHEMA = LabelSchema(("a", "b"))
Tiny = Callable[[str], Path]
CASES = [(kind, task) for kind in TOKENIZER_OF for task in TASKS]


def fresh(tiny: Tiny, kind: str, task: str) -> Any:
    plugin = plugins.find("tasks", task)
    options = {"multi_label": False} if task == "note_classification" else {}
    torch.manual_seed(0)
    loader = getattr(transformers, plugin.model_class)
    return loader.from_pretrained(tiny(kind), **plugin(**options).head_config(SCHEMA))


def rows(tiny: Tiny, kind: str) -> torch.Tensor:
    tokenizer = NoteTokenizer.load(tiny(kind))
    ids = [tokenizer.wrap(note.ids[:12]) for note in tokenizer.encode_many(sentences(3))]
    return torch.tensor([row.tolist() for row in ids])


def trained(strategy: Strategy, tiny: Tiny, kind: str, task: str) -> Any:
    """A model on which the strategy moved the weights a few steps."""
    model = strategy.apply(fresh(tiny, kind, task))
    optimizer = torch.optim.SGD([w for w in model.parameters() if w.requires_grad], lr=0.5)
    for _ in range(2):  # the first step of LoRA moves only B, which begins at zero
        logits = model(input_ids=rows(tiny, kind)).logits
        torch.nn.functional.cross_entropy(
            logits.flatten(0, -2), torch.zeros(logits.flatten(0, -2).shape[0]).long()
        ).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def save(model: Any, tiny: Tiny, kind: str, task: str, folder: Path) -> Path:
    """A model folder as finetune makes it."""
    model.save_pretrained(folder)
    if hasattr(model, "peft_config"):
        model.get_base_model().config.save_pretrained(folder)
    NoteTokenizer.load(tiny(kind)).hf.save_pretrained(folder)
    plugin = plugins.find("tasks", task)
    options = {"multi_label": False} if task == "note_classification" else {}
    Card(plugin(**options), SCHEMA, str(tiny(kind)), weights_sha256(tiny(kind))).write(folder)
    return folder


def answers(model: Any, tiny: Tiny, kind: str) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(input_ids=rows(tiny, kind)).logits.clone()


def test_there_are_strategies() -> None:
    assert {"full", "lora"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_plugin_is_a_frozen_documented_dataclass(name: str) -> None:
    plugin = plugins.find("strategies", name)
    assert plugin.__bases__ == (Strategy,)
    assert plugin.__dataclass_params__.frozen
    assert 10 < len(plugins.meaning(plugin)) <= 110
    changed = plugin(head_learning_rate=1e-3)
    assert config.build(plugin, config.plain(changed)) == changed


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("kind", "task"), CASES)
def test_what_is_saved_answers_as_what_was_trained(name: str, kind: str, task: str, tiny: Tiny, tmp_path: Path) -> None:
    strategy = plugins.find("strategies", name)()
    base = weights_sha256(tiny(kind))
    before = answers(fresh(tiny, kind, task), tiny, kind)
    model = strategy.finish(trained(strategy, tiny, kind, task))
    wanted = answers(model, tiny, kind)
    assert not torch.allclose(before, wanted, atol=1e-3), "nothing moved"
    folder = save(model, tiny, kind, task, tmp_path / "model")
    found = answers(load_trained(folder).model, tiny, kind)
    assert torch.allclose(found, wanted, atol=1e-5)
    assert weights_sha256(tiny(kind)) == base, "the base was changed"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("kind", "task"), CASES)
def test_the_head_is_trained_and_every_trained_weight_is_in_one_group(
    name: str, kind: str, task: str, tiny: Tiny
) -> None:
    model = fresh(tiny, kind, task)
    heads = head_names(model)
    assert heads
    model = plugins.find("strategies", name)().apply(model)
    moving = {n: w for n, w in model.named_parameters() if w.requires_grad}
    assert all(any(head in n.split(".") for n in moving) for head in heads)
    groups = parameter_groups(model, heads, 1e-3, 1e-2, 0.01)
    grouped = [id(w) for group in groups for w in group["params"]]
    assert sorted(grouped) == sorted(id(w) for w in moving.values())
    for group in groups:
        assert group["weight_decay"] == (0.01 if group["params"][0].ndim > 1 else 0.0)
        assert all((w.ndim > 1) == (group["weight_decay"] > 0) for w in group["params"])
    fast = {id(w) for group in groups if group["lr"] == 1e-2 for w in group["params"]}
    assert fast == {id(w) for n, w in moving.items() if any(head in n.split(".") for head in heads)}


# --- full alone


@pytest.mark.parametrize(("kind", "task"), CASES)
def test_full_moves_all_weights(kind: str, task: str, tiny: Tiny) -> None:
    model = plugins.find("strategies", "full")().apply(fresh(tiny, kind, task))
    assert all(weight.requires_grad for weight in model.parameters())


# --- LoRA alone


@pytest.mark.parametrize(("kind", "task"), CASES)
def test_lora_moves_adapters_of_all_encoder_linears_and_the_head(kind: str, task: str, tiny: Tiny) -> None:
    plain = fresh(tiny, kind, task)
    heads = head_names(plain)
    linears = {
        name
        for name, module in plain.base_model.named_modules()
        if isinstance(module, torch.nn.Linear) and "pooler" not in name
    }
    model = Lora().apply(plain)
    moving = [n for n, w in model.named_parameters() if w.requires_grad]
    adapters = [n for n in moving if "lora_" in n]
    rest = [n for n in moving if n not in adapters]
    assert all("modules_to_save" in n and any(head in n.split(".") for head in heads) for n in rest)
    prefix = f"base_model.model.{model.get_base_model().base_model_prefix}."
    adapted = {n.removeprefix(prefix).split(".lora_")[0] for n in adapters}
    assert adapted == linears
    assert not any("pooler" in n for n in adapters)


@pytest.mark.parametrize(("kind", "task"), CASES)
def test_a_saved_adapter_is_read_by_peft_and_transformers_alone(
    kind: str, task: str, tiny: Tiny, tmp_path: Path
) -> None:
    from peft import PeftModel

    model = trained(Lora(), tiny, kind, task)
    wanted = answers(model, tiny, kind)
    folder = save(model, tiny, kind, task, tmp_path / "model")
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {path.name for path in folder.iterdir()}
    assert not (folder / "model.safetensors").exists()

    adapter = json.loads((folder / "adapter_config.json").read_text())
    labels = transformers.AutoConfig.from_pretrained(folder)
    loader = getattr(transformers, plugins.find("tasks", task).model_class)
    plain = loader.from_pretrained(adapter["base_model_name_or_path"], num_labels=labels.num_labels)
    found = answers(PeftModel.from_pretrained(plain, str(folder)), tiny, kind)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_an_adapter_on_another_base_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    folder = save(Lora().apply(fresh(tiny, "bert", "ner")), tiny, "bert", "ner", tmp_path / "model")
    with pytest.raises(ChangedError, match=r"the adapter expects base weights sha256 [0-9a-f]{12}, this base has") as e:
        load_trained(folder, str(tiny("electra")))
    assert e.value.exit_status == 4
    assert "give --base with the folder it was trained on" in str(e.value)


def test_an_adapter_without_its_head_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    folder = save(Lora().apply(fresh(tiny, "bert", "ner")), tiny, "bert", "ner", tmp_path / "model")
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"modules_to_save": None}))
    with pytest.raises(IntegrityError, match=r"the head is not in the adapter: classifier\.\w+ is missing"):
        load_trained(folder)


@pytest.mark.parametrize("task", TASKS)
def test_merge_gives_a_full_folder(task: str, tiny: Tiny, tmp_path: Path) -> None:
    strategy = Lora(merge=True)
    model = trained(strategy, tiny, "bert", task)
    wanted = answers(model, tiny, "bert")
    folder = save(strategy.finish(model), tiny, "bert", task, tmp_path / "model")
    assert not (folder / "adapter_config.json").exists()
    loader = getattr(transformers, plugins.find("tasks", task).model_class)
    alone, info = loader.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert torch.allclose(answers(alone, tiny, "bert"), wanted, atol=1e-5)


def test_rank_is_checked_and_scaled() -> None:
    with pytest.raises(ConfigError, match=r"strategy\.rank: must be 1 or more"):
        Lora(rank=0)


def test_rank_stabilised_scaling_starts_at_rank_32(tiny: Tiny) -> None:
    scaling = {}
    for rank in (16, 32):
        model = Lora(rank=rank, alpha=32).apply(fresh(tiny, "bert", "ner"))
        scaling[rank] = {m.scaling["default"] for m in model.modules() if getattr(m, "lora_A", None)}
    assert scaling == {16: {2.0}, 32: {32 / 32**0.5}}


def test_the_label_map_travels_with_every_folder(tiny: Tiny, tmp_path: Path) -> None:
    folder = save(Lora().apply(fresh(tiny, "bert", "ner")), tiny, "bert", "ner", tmp_path / "model")
    loaded = load_trained(folder)
    assert loaded.schema == SCHEMA
    assert loaded.task == plugins.find("tasks", "ner")()
    assert loaded.model.config.id2label == dict(enumerate(SCHEMA.tags))
