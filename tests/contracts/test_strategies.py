"""What every strategy keeps to; a new file in clinnlp/strategies is tested without editing this one."""

import json
from collections.abc import Callable
from itertools import pairwise
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
from clinnlp.recipes.finetune import Finetune
from clinnlp.strategies.base import Strategy, head_names, levels, parameter_groups
from clinnlp.strategies.bitfit import Bitfit
from clinnlp.strategies.freeze import Freeze
from clinnlp.strategies.full import Full
from clinnlp.strategies.gradual_unfreeze import GradualUnfreeze
from clinnlp.strategies.ia3 import Ia3
from clinnlp.strategies.linear_probe_then import LinearProbeThen
from clinnlp.strategies.lora import Lora
from clinnlp.strategies.serial_unfreeze import SerialUnfreeze
from clinnlp.strategies.top_layers import TopLayers
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


def applied(strategy: Strategy, model: Any) -> Any:
    """The model to train; a strategy may refuse an architecture that lacks what it is about, if it says what to do."""
    try:
        return strategy.apply(model)
    except ConfigError as error:
        assert error.where.startswith("strategy") and "choose --strategy" in error.next
        assert model.config.model_type != "bert", "all work on BERT"
        pytest.skip(error.what)


def trained(strategy: Strategy, tiny: Tiny, kind: str, task: str) -> Any:
    """A model on which the strategy moved the weights a few steps."""
    model = applied(strategy, fresh(tiny, kind, task))
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
    assert {"full", "lora", "gradual_unfreeze"} <= set(NAMES)


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
    model = applied(plugins.find("strategies", name)(), model)
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


@pytest.mark.parametrize("name", NAMES)
def test_what_moves_depends_on_the_progress_alone_and_in_the_end_all_do(name: str, tiny: Tiny) -> None:
    model = fresh(tiny, "bert", "ner")
    heads = head_names(model)
    strategy = plugins.find("strategies", name)()
    model = strategy.apply(model)
    every = levels(model, heads)
    places = {n: every[n] for n, w in model.named_parameters() if w.requires_grad}
    shares = [share / 100 for share in range(100)]
    seen = [set(strategy.moving(places, share)) for share in shares]
    assert seen == [set(strategy.moving(places, share)) for share in reversed(shares)][::-1]
    assert all({n for n, level in places.items() if level == 3} <= names <= set(places) for names in seen)
    assert all(before <= after for before, after in pairwise(seen)), "what moves goes on moving"
    assert seen[-1] == set(places)


@pytest.mark.parametrize(("kind", "task"), CASES)
def test_every_weight_has_its_level(kind: str, task: str, tiny: Tiny) -> None:
    model = fresh(tiny, kind, task)
    places = levels(model, head_names(model))
    assert set(places.values()) == {0, 1, 2, 3}
    inside = f"{model.base_model_prefix}."
    assert all(n.startswith(inside) for n, level in places.items() if level < 3)
    assert {level for n, level in places.items() if "embeddings" in n} == {0}
    for layer in (1, 2):
        assert {level for n, level in places.items() if f".{layer - 1}." in n.removeprefix(inside)} - {3} == {layer}
    assert {places[n] for n in places if "final_norm" in n} <= {2}


# --- options of strategies, over an architecture of each kind

VARIANTS: dict[str, Strategy] = {
    "dora": Lora(dora=True),
    "pissa": Lora(pissa=True, merge=True),
    "top half": Lora(layers="top_half"),
    "one layer": Lora(layers=1),
    "all, rank-stabilised and merged": Lora(rank=32, merge=True, b_rate=16),
    "embeddings frozen": Freeze(layers=0),
    "one layer frozen": Freeze(layers=1),
    "ia3 merged": Ia3(merge=True),
    "probe, then all": LinearProbeThen(then=Full()),
    "probe, then DoRA merged": LinearProbeThen(then=Lora(dora=True, merge=True)),
}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize(("kind", "task"), [("bert", "note_classification"), ("modernbert", "ner")])
def test_what_is_saved_with_options_answers_as_what_was_trained(
    name: str, kind: str, task: str, tiny: Tiny, tmp_path: Path
) -> None:
    strategy = VARIANTS[name]
    before = answers(fresh(tiny, kind, task), tiny, kind)
    model = strategy.finish(trained(strategy, tiny, kind, task))
    wanted = answers(model, tiny, kind)
    assert not torch.allclose(before, wanted, atol=1e-3)
    folder = save(model, tiny, kind, task, tmp_path / "model")
    assert (folder / "model.safetensors").exists() != (folder / "adapter_model.safetensors").exists()
    assert torch.allclose(answers(load_trained(folder).model, tiny, kind), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("strategy", "layers"),
    [
        (Freeze(layers=0), {1, 2}),
        (Freeze(layers=1), {2}),
        (Freeze(layers=0.5), {2}),
        (Freeze(layers=0.4), {1, 2}),
        (Lora(layers="top_half"), {2}),
        (Lora(layers=1), {2}),
        (Lora(layers=2), {1, 2}),
        (Lora(), {1, 2}),
        (Ia3(), {1, 2}),
        (TopLayers(), {2}),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", TOKENIZER_OF)
def test_the_layers_that_are_chosen_move_and_no_others(
    strategy: Strategy, layers: set[int], kind: str, tiny: Tiny
) -> None:
    model = fresh(tiny, kind, "ner")
    heads = head_names(model)
    model = strategy.apply(model)
    places = levels(model, heads)
    assert {places[n] for n, w in model.named_parameters() if w.requires_grad} - {0} == {*layers, 3}


@pytest.mark.parametrize(
    ("progress", "gradual", "serial"),
    [
        (0.0, {4}, {2, 4}),
        (0.12, {4}, {2, 4}),
        (0.13, {3, 4}, {2, 4}),
        (0.17, {3, 4}, {2, 3, 4}),
        (0.25, {2, 3, 4}, {2, 3, 4}),
        (0.34, {2, 3, 4}, {1, 2, 3, 4}),
        (0.38, {1, 2, 3, 4}, {1, 2, 3, 4}),
        (0.5, {0, 1, 2, 3, 4}, {0, 1, 2, 3, 4}),
        (0.99, {0, 1, 2, 3, 4}, {0, 1, 2, 3, 4}),
    ],
)
def test_unfreezing_by_hand(progress: float, gradual: set[int], serial: set[int]) -> None:
    """Three layers, so four steps down to the embeddings, or three outwards from layer 2."""
    places = {str(level): level for level in range(5)}
    assert {int(n) for n in GradualUnfreeze().moving(places, progress)} == gradual
    assert {int(n) for n in SerialUnfreeze().moving(places, progress)} == serial


def test_serial_unfreezing_from_another_layer() -> None:
    places = {str(level): level for level in range(6)}
    strategy = SerialUnfreeze(first=1, until=0.4)
    seen = [sorted(int(n) for n in strategy.moving(places, share)) for share in (0, 0.1, 0.2, 0.3, 0.4)]
    assert seen == [[1, 5], [1, 2, 5], [1, 2, 3, 5], [1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]]


def test_a_probe_takes_its_share_of_the_steps_and_leaves_the_rest_to_what_follows() -> None:
    places = {str(level): level for level in range(4)}
    strategy = LinearProbeThen(share=0.2, then=GradualUnfreeze(until=0.5))
    seen = [sorted(int(n) for n in strategy.moving(places, share)) for share in (0, 0.19, 0.2, 0.34, 0.6)]
    assert seen == [[3], [3], [3], [2, 3], [0, 1, 2, 3]]
    assert (strategy.default_learning_rate, strategy.default_epochs) == (3e-5, 8)
    assert LinearProbeThen().default_learning_rate == Lora.default_learning_rate
    assert [LinearProbeThen(then=then).caches for then in (Lora(), TopLayers(), TopLayers(cache=False))] == [0, 1, 0]


def test_lora_plus_gives_b_another_rate(tiny: Tiny) -> None:
    strategy = LinearProbeThen(then=Lora(b_rate=16))
    model = fresh(tiny, "bert", "ner")
    heads = head_names(model)
    model = strategy.apply(model)
    groups = parameter_groups(model, heads, 1e-4, 1e-3, 0.01, strategy.rate_of)
    rates = {id(w): group["lr"] for group in groups for w in group["params"]}
    for n, w in model.named_parameters():
        if w.requires_grad:
            wanted = 16e-4 if "lora_B" in n else 1e-4 if "lora_A" in n else 1e-3
            assert rates[id(w)] == pytest.approx(wanted)


def test_bitfit_moves_biases(tiny: Tiny) -> None:
    model = Bitfit().apply(fresh(tiny, "bert", "ner"))
    moving = {n for n, w in model.named_parameters() if w.requires_grad}
    assert moving == {n for n, _ in model.named_parameters() if n.endswith(".bias")} | {"classifier.weight"}


WRONG: list[tuple[Callable[[], Strategy], str, str]] = [
    (lambda: Freeze(layers=2), "bert", "strategy.layers: the base has 2 layers, and 2 of them frozen leave none to "
     "move. Next: freeze 1 or fewer, or choose --strategy feature_extractor."),
    (lambda: Freeze(layers=1.0), "bert", "strategy.layers: must be a count, or a share under 1. "
     "Next: give 6 for six layers, 0.5 for half."),
    (lambda: Freeze(layers=-1), "bert", "strategy.layers: must be a count, or a share under 1. "
     "Next: give 6 for six layers, 0.5 for half."),
    (lambda: Lora(layers=3), "bert", "strategy.layers: the base has 2 layers, not 3. Next: choose 1 to 2, or all."),
    (lambda: Lora(layers=0), "bert", "strategy.layers: must be all, top_half, or 1 or more."),
    (lambda: Lora(b_rate=0), "bert", "strategy.b_rate: must be more than 0."),
    (lambda: Lora(pissa=True), "bert", "strategy.pissa: PiSSA takes its directions out of the base, so that the "
     "adapter is wrong on the base as it was. Next: add --strategy.merge true."),
    (lambda: Bitfit(), "modernbert", "strategy: the encoder of this base has no biases to move. "
     "Next: choose --strategy ia3, which is as small, or lora."),
    (lambda: GradualUnfreeze(until=0), "bert", "strategy.until: must be a share between 0 and 1."),
    (lambda: SerialUnfreeze(until=1), "bert", "strategy.until: must be a share between 0 and 1."),
    (lambda: SerialUnfreeze(first=0), "bert", "strategy.first: must be 1 or more."),
    (lambda: SerialUnfreeze(first=3), "bert", "strategy.first: there is no layer 3: the base has 2. "
     "Next: choose 1 to 2."),
    (lambda: TopLayers(layers=2), "bert", "strategy.layers: the base has 2 layers, not more than 2. "
     "Next: choose 1 or fewer, or --strategy lora."),
    (lambda: TopLayers(layers=0), "bert", "strategy.layers: must be a count, or a share under 1. "
     "Next: give 4 for four layers, 0.5 for half."),
    (lambda: TopLayers(rank=0), "bert", "strategy.rank: must be 1 or more."),
    (lambda: LinearProbeThen(then=Full(head_learning_rate=1e-3)), "bert", "strategy.then.head_learning_rate: the head "
     "has one rate for the whole run. Next: give it as --strategy.head_learning_rate."),
    (lambda: LinearProbeThen(share=1), "bert", "strategy.share: must be a share between 0 and 1."),
]  # fmt: skip


@pytest.mark.parametrize(("make", "kind", "message"), WRONG)
def test_a_strategy_that_moves_nothing_or_cannot_be_is_refused(
    make: Callable[[], Strategy], kind: str, message: str, tiny: Tiny
) -> None:
    with pytest.raises(ConfigError) as error:
        make().apply(fresh(tiny, kind, "ner"))
    assert str(error.value) == message


@pytest.mark.parametrize(
    "strategy", [Ia3(), GradualUnfreeze(), SerialUnfreeze(), Freeze(), Lora(layers="top_half")], ids=str
)
def test_an_encoder_without_layers_is_refused(strategy: Strategy) -> None:
    with pytest.raises(ConfigError, match="choose --strategy "):
        strategy.apply(Flat())


class Flat(torch.nn.Module):
    """An encoder of one matrix under a head."""

    class Config:
        hidden_size = 4

    config = Config()

    def __init__(self) -> None:
        super().__init__()
        self.base_model, self.classifier = torch.nn.Linear(4, 4), torch.nn.Linear(4, 2)


def test_options_are_read_as_given() -> None:
    def build(given: Any) -> Any:
        return config.build(Finetune, {"out": "x", "base": "y", "strategy": given}).strategy

    assert build({"name": "lora", "layers": "top_half"}).layers == "top_half"
    assert build({"name": "lora", "layers": 4}).layers == 4
    assert (build({"name": "freeze", "layers": 4}).layers, build({"name": "freeze", "layers": 0.25}).layers) == (
        4,
        0.25,
    )
    then = build({"name": "linear_probe_then", "then": {"name": "freeze", "layers": 2}}).then
    assert then == Freeze(layers=2)
    with pytest.raises(ConfigError, match=r"strategy\.then\.rnk"):
        build({"name": "linear_probe_then", "then": {"rnk": 2}})


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
