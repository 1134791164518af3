"""Strategies in a loop: what moves and when, the same after a break, and the table that says so beforehand."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from clinnlp import plugins
from clinnlp.encode.tokens import NoteTokenizer
from clinnlp.errors import ConfigError
from clinnlp.strategies.base import Strategy, head_names, levels, parameter_groups
from clinnlp.strategies.gradual_unfreeze import GradualUnfreeze
from clinnlp.strategies.linear_probe_then import LinearProbeThen
from clinnlp.strategies.lora import Lora
from clinnlp.training.checkpoints import Checkpoints
from clinnlp.training.fit import Fit, fit
from clinnlp.training.loader import Draw
from clinnlp.training.moving import layer_rate, moving_table
from clinnlp.training.settings import FitSettings
from tests.tiny import sentences
from tests.training.test_checkpoints import Killed, kill

Tiny = Callable[[str], Path]
STEPS = 12
SETTINGS = FitSettings(
    device="cpu", precision="fp32", batch=4, accumulate=2, max_steps=STEPS, epochs=99, save_minutes=0, clip=1e9
)


class Notes:
    """Eight short rows whose tags are the parity of their ids; `at_pass` is called with the model."""

    def __init__(self, tokenizer: NoteTokenizer, at_pass: Callable[[int, Any], None]) -> None:
        self.rows = [tokenizer.wrap(note.ids[:10]) for note in tokenizer.encode_many(sentences(8))]
        self.lengths = np.array([len(row) for row in self.rows])
        self.at_pass, self.passes = at_pass, 0

    def example(self, draw: Draw) -> Any:
        return self.rows[draw.index]

    def collate(self, rows: Any) -> dict[str, torch.Tensor]:
        ids = torch.tensor(np.stack(rows).astype(np.int64))
        return {"input_ids": ids, "labels": ids % 2}

    def loss(self, model: Any, batch: dict[str, torch.Tensor], items: Any) -> torch.Tensor:
        self.passes += 1
        self.at_pass(self.passes, model)
        logits = model(input_ids=batch["input_ids"]).logits
        total = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), reduction="sum")
        return torch.div(total, items)


def prepared(strategy: Strategy, tiny: Tiny) -> tuple[Any, list[dict[str, Any]], dict[str, int], dict[str, int]]:
    """A tiny model, its groups, and the level of all weights and of those that are trained."""
    torch.manual_seed(0)
    model: Any = transformers.AutoModelForTokenClassification.from_pretrained(tiny("bert"), num_labels=2)
    heads = head_names(model)
    model = strategy.apply(model)
    groups = parameter_groups(model, heads, 3e-3, 1e-2, 0.01, strategy.rate_of, base_penalty=0.05)
    every = levels(model, heads)
    return model, groups, every, {n: every[n] for n, w in model.named_parameters() if w.requires_grad}


def train(
    strategy: Strategy, tiny: Tiny, folder: Path | None = None, at_pass: Callable[[int, Any], None] = lambda n, m: None,
    settings: FitSettings = SETTINGS, score: Any = None,
) -> tuple[dict[str, torch.Tensor], Fit]:  # fmt: skip
    model, groups, _, places = prepared(strategy, tiny)
    source = Notes(NoteTokenizer.load(tiny("bert")), at_pass)
    moving = partial(strategy.moving, places)
    told = fit(model, source, groups, settings, 1, score, Checkpoints(folder) if folder else None, moving)
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}, told


@pytest.mark.parametrize("name", plugins.names("strategies"))
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(name: str, tiny: Tiny, tmp_path: Path) -> None:
    strategy = plugins.find("strategies", name)()
    whole, _ = train(strategy, tiny)
    for at in (2, 10, 17):
        with pytest.raises(Killed):
            train(strategy, tiny, tmp_path / f"{at}", lambda number, _, at=at: kill(at)(number))
        again, _ = train(strategy, tiny, tmp_path / f"{at}")
        assert all(torch.equal(weight, again[name]) for name, weight in whole.items())


@pytest.mark.parametrize("strategy", [GradualUnfreeze(), LinearProbeThen(share=0.3)], ids=str)
def test_weights_stay_as_they_were_until_it_is_their_turn(strategy: Strategy, tiny: Tiny) -> None:
    before = {name: w.detach().clone() for name, w in prepared(strategy, tiny)[0].named_parameters()}
    places = prepared(strategy, tiny)[3]
    began: dict[str, int] = {}

    def look(number: int, model: Any) -> None:
        step = (number - 1) // 2
        weights = dict(model.named_parameters())
        names = strategy.moving(places, step / STEPS)
        assert {name for name, weight in weights.items() if weight.requires_grad} == set(names)
        for name, weight in weights.items():
            if not torch.equal(weight, before[name]):
                began.setdefault(name, step)

    train(strategy, tiny, at_pass=look)
    for name, step in began.items():
        first = next(at for at in range(STEPS) if name in strategy.moving(places, at / STEPS))
        assert step > first, f"{name} moved before its turn"
    late = {first for name in began if (first := began[name]) > 2}
    assert late, "some began later"


def test_patience_begins_when_all_weights_move(tiny: Tiny) -> None:
    scores = iter([0.9] + [0.1] * 20)
    settings = FitSettings(
        device="cpu", precision="fp32", batch=8, max_steps=STEPS, epochs=99, evaluations=STEPS, patience=2
    )
    _, told = train(LinearProbeThen(share=0.5), tiny, settings=settings, score=lambda: next(scores))
    assert told.steps == 8, "six steps of the head alone, and two more"
    assert told.best_score == 0.9


def test_the_table_says_what_moves_how_fast_and_from_when(tiny: Tiny) -> None:
    strategy = GradualUnfreeze()
    model, groups, every, places = prepared(strategy, tiny)
    lines = moving_table(model, every, groups, partial(strategy.moving, places)).splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["weights", "trained", "of", "peak", "rate", "from"],
        ["head", "66", "66", "0.01", "0.0%"],
        ["layer", "2", "8,544", "8,544", "0.003", "17.0%"],
    ]
    assert lines[3].split()[:2] == ["layer", "1"] and lines[3].endswith("33.5%")
    assert lines[4].split()[0] == "embeddings" and lines[4].endswith("50.0%")
    assert len({len(line) for line in lines}) == 1


def test_the_table_puts_layers_together_that_are_treated_alike(tiny: Tiny) -> None:
    strategy = Lora(b_rate=4)
    model, groups, every, places = prepared(strategy, tiny)
    lines = moving_table(model, every, groups, partial(strategy.moving, places)).splitlines()
    assert lines[2].split()[:2] == ["layers", "1-2"] and "0.003 to 0.012" in lines[2]
    trained = sum(w.numel() for n, w in model.named_parameters() if w.requires_grad and places[n] in (1, 2))
    assert lines[2].split()[2] == f"{trained:,}", "of both together"
    assert lines[3].split()[:2] == ["embeddings", "0"], "frozen: without a rate"


def test_rates_fall_from_the_top_layer_down_by_hand() -> None:
    places = {"head": 4, "top": 3, "middle": 2, "lowest": 1, "embeddings": 0}
    rate_of = layer_rate(places, 0.5, lambda name: 3.0 if name == "middle" else 1.0)
    assert [rate_of(name) for name in places] == [1.0, 1.0, 1.5, 0.25, 0.125]
    even = layer_rate({"head": 1, "all": 0}, 1.0, lambda name: 1.0)
    assert (even("head"), even("all")) == (1.0, 1.0), "without decay there may be no layers"
    with pytest.raises(ConfigError) as error:
        layer_rate({"head": 1, "all": 0}, 0.9, lambda name: 1.0)
    assert str(error.value) == (
        "fit.layer_decay: this goes by layers, and the base has none that are numbered. "
        "Next: leave it out, or choose --strategy full or lora."
    )


def test_groups_of_layers_with_decayed_rates(tiny: Tiny) -> None:
    model, _, every, _ = prepared(Lora(b_rate=4), tiny)
    rate_of = layer_rate(every, 0.5, Lora(b_rate=4).rate_of)
    groups = parameter_groups(model, ["classifier"], 1e-3, 1e-2, 0.1, rate_of, base_penalty=0.2)
    assert [round(group["lr"], 6) for group in groups] == [4e-3, 2e-3, 1e-3, 5e-4, 1e-2, 1e-2]
    assert [group["base_penalty"] for group in groups] == [0.2] * 4 + [0.0] * 2
    assert [group["weight_decay"] for group in groups] == [0.0] * 4 + [0.0, 0.1], "one or the other"
