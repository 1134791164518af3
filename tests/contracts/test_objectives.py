"""What every pretraining objective keeps to; a new file in clinnlp/objectives is tested without editing this one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from clinnlp import config, plugins
from clinnlp.encode.packing import PackedBlocks, TokenStore, attention
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.objectives.base import Objective
from clinnlp.training.loader import Draw
from clinnlp.training.pretraining import BlockSource
from tests.tiny import TOKENIZER_OF, sentences

NAMES = plugins.names("objectives")
Tiny = Callable[[str], Path]


def load(tiny: Tiny, kind: str, objective: Objective) -> tuple[Any, NoteTokenizer]:
    model = getattr(transformers, objective.model_class).from_pretrained(tiny(kind))
    return model.eval(), NoteTokenizer.load(tiny(kind))


def source(objective: Objective, tokenizer: NoteTokenizer, packed: bool = True, seed: int = 3) -> BlockSource:
    store = TokenStore.of(tokenizer.encode_many(sentences(12)))
    return BlockSource(PackedBlocks(store, tokenizer, 64, packed), objective, tokenizer, seed)


def batch(blocks: BlockSource, indices: list[int], epoch: int = 0) -> dict[str, torch.Tensor]:
    examples = [blocks.example(Draw(epoch, index, 0.5)) for index in indices]
    return blocks.collate(examples)


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}


def test_there_are_objectives() -> None:
    assert "mlm" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_plugin_is_a_frozen_documented_dataclass(name: str) -> None:
    plugin = plugins.find("objectives", name)
    assert plugin.__bases__ == (Objective,)
    assert plugin.__dataclass_params__.frozen
    assert 10 < len(plugins.meaning(plugin)) <= 110
    assert config.build(plugin, config.plain(plugin())) == plugin()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", TOKENIZER_OF)
def test_loss_and_gradients_are_numbers(name: str, kind: str, tiny: Tiny) -> None:
    objective = plugins.find("objectives", name)()
    model, tokenizer = load(tiny, kind, objective)
    packed = kind != "deberta_v2"
    blocks = source(objective, tokenizer, packed)
    objective.prepare(model)
    given = batch(blocks, [0, 1])
    loss = blocks.loss(model, given, int((given["labels"] != -100).sum()))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.shape == ()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(grad).all() for grad in gradients(model).values())
    assert model.get_input_embeddings().weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_loss_is_the_same_however_a_step_is_divided(name: str, tiny: Tiny) -> None:
    objective = plugins.find("objectives", name)()
    model, tokenizer = load(tiny, "bert", objective)
    blocks = source(objective, tokenizer)
    objective.prepare(model)
    whole = batch(blocks, [0, 1, 2])
    items = int((whole["labels"] != -100).sum())
    with torch.no_grad():
        parts = sum(float(blocks.loss(model, batch(blocks, indices), items)) for indices in ([0], [1, 2]))
        assert abs(float(blocks.loss(model, whole, items)) - parts) < 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_randomness_depends_on_seed_epoch_and_index_alone(name: str, tiny: Tiny) -> None:
    objective = plugins.find("objectives", name)()
    tokenizer = NoteTokenizer.load(tiny("wordpiece"))
    blocks = source(objective, tokenizer)

    def seen(order: list[int], epoch: int = 0) -> dict[int, list[int]]:
        return {index: blocks.example(Draw(epoch, index, 0.5))["input_ids"].tolist() for index in order}

    forwards, backwards = seen([0, 1, 2]), seen([2, 1, 0])
    assert forwards == backwards
    assert all(forwards[index] != seen([index], epoch=1)[index] for index in forwards)
    other = source(objective, tokenizer, seed=4).example(Draw(0, 0, 0.5))["input_ids"].tolist()
    assert other != forwards[0]


@pytest.mark.parametrize("name", NAMES)
def test_frame_tokens_are_never_targets_and_every_block_has_one(name: str, tiny: Tiny) -> None:
    objective = plugins.find("objectives", name)()
    tokenizer = NoteTokenizer.load(tiny("wordpiece"))
    store = TokenStore.of(tokenizer.encode_many(["fever", *sentences(6)]))
    blocks = PackedBlocks(store, tokenizer, 64, pack=False)
    for index in range(len(blocks)):
        block = blocks.block(index)
        made = objective.corrupt(block, tokenizer, 1.0, np.random.default_rng(index))
        assert (made["labels"] != -100).any()
        assert (made["labels"][block.special] == -100).all()
        assert (made["input_ids"][block.special] == block.ids[block.special]).all()


# --- masked language modelling alone


@pytest.mark.parametrize("kind", TOKENIZER_OF)
def test_mlm_head_on_masked_positions_equals_the_full_head(kind: str, tiny: Tiny) -> None:
    objective = plugins.find("objectives", "mlm")()
    model, tokenizer = load(tiny, kind, objective)
    packed = kind != "deberta_v2"
    blocks = source(objective, tokenizer, packed)

    given = batch(blocks, [0, 1])
    labels = given["labels"].clone()
    items = int((labels != -100).sum())
    extra = attention(model, given["pieces"], given["positions"], packed)
    logits = model(input_ids=given["input_ids"], **extra).logits
    full = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") / items
    full.backward()
    wanted = gradients(model)
    model.zero_grad()

    objective.prepare(model)
    gathered = blocks.loss(model, given, items)
    gathered.backward()
    found = gradients(model)
    assert abs(full.item() - gathered.item()) < 1e-5
    assert found.keys() == wanted.keys()
    assert max(float((found[name] - wanted[name]).abs().max()) for name in wanted) < 1e-5


def test_mlm_rate_falls_from_30_to_15_percent(tiny: Tiny) -> None:
    objective = plugins.find("objectives", "mlm")()
    tokenizer = NoteTokenizer.load(tiny("wordpiece"))
    store = TokenStore.of(tokenizer.encode_many([" ".join(sentences(400))]))
    block = PackedBlocks(store, tokenizer, 100_000).block(0)
    inner = int((~block.special).sum())

    def share(progress: float) -> float:
        made = objective.corrupt(block, tokenizer, progress, np.random.default_rng(0))
        return int((made["labels"] != -100).sum()) / inner

    assert inner > 4000
    assert share(0.0) == pytest.approx(0.30, abs=0.02)
    assert share(0.5) == pytest.approx(0.225, abs=0.02)
    assert share(1.0) == pytest.approx(0.15, abs=0.02)


def test_mlm_masks_80_swaps_10_keeps_10(tiny: Tiny) -> None:
    objective = plugins.find("objectives", "mlm")(rate=0.9, final_rate=0.9)
    tokenizer = NoteTokenizer.load(tiny("wordpiece"))
    store = TokenStore.of(tokenizer.encode_many([" ".join(sentences(400))]))
    block = PackedBlocks(store, tokenizer, 100_000).block(0)
    made = objective.corrupt(block, tokenizer, 0.0, np.random.default_rng(0))
    chosen = made["labels"] != -100
    masked = (made["input_ids"] == tokenizer.mask_id)[chosen].mean()
    kept = (made["input_ids"] == block.ids)[chosen].mean()
    assert masked == pytest.approx(0.8, abs=0.02)
    assert kept == pytest.approx(0.1, abs=0.02)
    assert (made["input_ids"] == block.ids)[~chosen].all()
