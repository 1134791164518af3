"""Unfreezing from a middle layer outwards."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clinnlp.errors import ConfigError
from clinnlp.strategies.base import Strategy, head_names, layer_count, levels

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SerialUnfreeze(Strategy):
    """The head and a middle layer move first, then one layer after the other outwards, the embeddings last."""

    first: int | None = None
    """The layer that moves first, 1 being the lowest; null takes the middle one."""
    until: float = 0.5
    """Share of the steps after which all weights move."""

    def __post_init__(self) -> None:
        if not 0 < self.until < 1:
            raise ConfigError("must be a share between 0 and 1", where="strategy.until")
        if self.first is not None and self.first < 1:
            raise ConfigError("must be 1 or more", where="strategy.first")

    def apply(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """All weights move in the end. Raises ConfigError if the base does not have the layer that is to be first."""
        count = layer_count(levels(model, head_names(model)))
        if self.first is not None and self.first > count:
            raise ConfigError(
                f"there is no layer {self.first}: the base has {count}",
                where="strategy.first",
                next=f"choose 1 to {count}",
            )
        return model

    def moving(self, levels: Mapping[str, int], progress: float) -> Collection[str]:
        """The head and the first layer; the others join in equal steps, the nearer ones first, the upper of two."""
        head = max(levels.values())
        first = self.first or head // 2
        outwards = sorted(range(1, head), key=lambda layer: (abs(layer - first), -layer))
        joined = int(progress / self.until * (head - 1) + 1e-9)  # 0.3 / 0.4 * 4 is a little under 3
        there = {head, *[*outwards, 0][: joined + 1]}
        return {name for name, level in levels.items() if level in there}
