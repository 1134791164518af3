"""Unfreezing from the top down."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clinnlp.errors import ConfigError
from clinnlp.strategies.base import Strategy, head_names, layer_count, levels

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class GradualUnfreeze(Strategy):
    """The head moves first, then layer after layer from the top, the embeddings last (Howard and Ruder 2018).

    ULMFiT is this with `fit.layer_decay` and `fit.schedule slanted_triangular`.
    """

    until: float = 0.5
    """Share of the steps after which all weights move."""

    def __post_init__(self) -> None:
        if not 0 < self.until < 1:
            raise ConfigError("must be a share between 0 and 1", where="strategy.until")

    def apply(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """All weights move in the end. Raises ConfigError if the base has no numbered layers."""
        layer_count(levels(model, head_names(model)))
        return model

    def moving(self, levels: Mapping[str, int], progress: float) -> Collection[str]:
        """The head at first; the rest joins in equal steps, highest first."""
        head = max(levels.values())
        joined = int(progress / self.until * head + 1e-9)  # 0.3 / 0.4 * 4 is a little under 3
        return {name for name, level in levels.items() if level >= head - joined}
