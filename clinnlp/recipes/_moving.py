"""What moves in a fine-tuning run: optimizer groups, when each weight has its turn, and how many there are."""

import logging
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any

from clinnlp.strategies.base import Strategy, levels, parameter_groups

if TYPE_CHECKING:
    from clinnlp.training.settings import SupervisedFit

log = logging.getLogger("clinnlp")


def what_moves(
    strategy: Strategy, fit: "SupervisedFit", model: Any, heads: list[str]
) -> tuple[list[dict[str, Any]], Callable[[float], Collection[str]], dict[str, int]]:
    """Optimizer groups, the names of the weights that move at a share of the steps, and the counts of weights."""
    from clinnlp.training.fresh import check_fresh
    from clinnlp.training.moving import layer_rate, moving_table

    rate = fit.learning_rate or strategy.default_learning_rate
    head_rate = strategy.head_learning_rate or rate
    every = levels(model, heads)
    check_fresh(model, every, fit.fresh_layers)
    rate_of = layer_rate(every, fit.layer_decay, strategy.rate_of)
    groups = parameter_groups(model, heads, rate, head_rate, fit.weight_decay, rate_of, fit.base_penalty)
    trainable = {name: every[name] for name, weight in model.named_parameters() if weight.requires_grad}
    moving = partial(strategy.moving, trainable)
    log.info("what moves:\n%s", moving_table(model, every, groups, moving))
    moved = sum(weight.numel() for group in groups for weight in group["params"])
    total = sum(weight.numel() for weight in model.parameters())
    log.info("%s of %s weights are trained (%.2f %%)", f"{moved:,}", f"{total:,}", 100 * moved / total)
    return groups, moving, {"trained weights": moved, "weights": total}
