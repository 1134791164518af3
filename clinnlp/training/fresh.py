"""Fresh weights in the top layers of a base, whose last layers know its pretraining rather than language."""

import logging
from typing import Any

import torch

from clinnlp.errors import ConfigError
from clinnlp.strategies.base import head_names, layer_count, levels

log = logging.getLogger("clinnlp")
WHERE = "fit.fresh_layers"


def make_fresh(model: Any, random: Any, count: int) -> None:
    """Give the top `count` layers of `model` the weights of `random`, a model of the same architecture.

    Raises ConfigError if it has no more layers than that.
    """
    places = levels(model, head_names(model))
    layers = layer_count(places, WHERE)
    if count >= layers:
        raise ConfigError(
            f"the base has {layers} layers, {count} of them fresh leave too little of it",
            where=WHERE,
            next=f"choose {layers - 1} or fewer",
        )
    donor = dict(random.named_parameters())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if layers - count < places[name] <= layers:
                weight.copy_(donor[name])
    log.info("the top %d of %d layers begin with random weights", count, layers)


def check_fresh(model: Any, places: dict[str, int], count: int) -> None:
    """Raises ConfigError if the strategy would leave weights of the fresh layers as they are, at random."""
    layers = max(places.values()) - 1
    fresh = [w for name, w in model.named_parameters() if layers - count < places[name] <= layers]
    if not all(weight.requires_grad for weight in fresh):
        raise ConfigError(
            "this strategy leaves weights of the fresh layers as they are, at random",
            where=WHERE,
            next="choose --strategy full, freeze or gradual_unfreeze, or --fit.fresh_layers 0",
        )
