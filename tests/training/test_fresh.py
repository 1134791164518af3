"""Top layers that begin with random weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from clinnlp.errors import ConfigError
from clinnlp.strategies.base import Strategy, head_names, levels
from clinnlp.strategies.freeze import Freeze
from clinnlp.strategies.full import Full
from clinnlp.strategies.lora import Lora
from clinnlp.training.fresh import check_fresh, make_fresh

Tiny = Callable[[str], Path]
KINDS = ("bert", "modernbert", "deberta_v2")


def model_of(folder: Path) -> Any:
    return transformers.AutoModelForTokenClassification.from_pretrained(folder, num_labels=2)


def random_of(folder: Path) -> Any:
    torch.manual_seed(5)
    return transformers.AutoModelForTokenClassification.from_config(transformers.AutoConfig.from_pretrained(folder))


@pytest.mark.parametrize("kind", KINDS)
def test_the_top_layers_and_nothing_else_are_fresh(kind: str, tiny: Tiny) -> None:
    model, before = model_of(tiny(kind)), dict(model_of(tiny(kind)).named_parameters())
    make_fresh(model, random_of(tiny(kind)), 1)
    places = levels(model, head_names(model))
    changed = {n for n, w in model.named_parameters() if not torch.equal(w, before[n]) and places[n] < 3}
    assert changed
    assert changed == {n for n, level in places.items() if level == 2 and n in changed}
    assert {n for n, w in model.named_parameters() if places[n] == 2 and w.ndim > 1} <= changed


def test_a_base_must_be_left(tiny: Tiny) -> None:
    with pytest.raises(ConfigError) as error:
        make_fresh(model_of(tiny("bert")), random_of(tiny("bert")), 2)
    assert str(error.value) == (
        "fit.fresh_layers: the base has 2 layers, 2 of them fresh leave too little of it. Next: choose 1 or fewer."
    )


@pytest.mark.parametrize(("strategy", "moves"), [(Full(), True), (Freeze(layers=1), True), (Lora(), False)], ids=str)
def test_fresh_layers_that_nothing_moves_are_refused(strategy: Strategy, moves: bool, tiny: Tiny) -> None:
    model = model_of(tiny("bert"))
    heads = head_names(model)
    model = strategy.apply(model)
    places = levels(model, heads)
    check_fresh(model, places, 0)
    if moves:
        check_fresh(model, places, 1)
        return
    with pytest.raises(ConfigError) as error:
        check_fresh(model, places, 1)
    assert str(error.value) == (
        "fit.fresh_layers: this strategy leaves weights of the fresh layers as they are, at random. "
        "Next: choose --strategy full, freeze or gradual_unfreeze, or --fit.fresh_layers 0."
    )
