"""The upper layers, over a frozen lower part that is computed once."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from clinnlp.errors import ConfigError
from clinnlp.plugins import find
from clinnlp.strategies.base import Strategy, head_names, layer_count, levels

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TopLayers(Strategy):
    """LoRA on the upper layers and the head; what lies under them is computed once for all steps.

    Dropout is off under them. One forward pass of the notes then saves that part of every step.
    """

    default_learning_rate: ClassVar[float] = 5e-4
    default_epochs: ClassVar[float] = 20

    layers: int | float = 0.5
    """Upper layers that move: a count (4), or a share of them all (0.5)."""
    rank: int = 16
    """Rank of the updates."""
    alpha: int = 32
    """Scale of the updates, as of lora."""
    cache: bool = True
    """Compute the lower layers once and keep what they gave: 2 bytes a token and dimension; else in every step."""

    def __post_init__(self) -> None:
        if not self.layers > 0 or (isinstance(self.layers, float) and self.layers >= 1):
            raise ConfigError(
                "must be a count, or a share under 1",
                where="strategy.layers",
                next="give 4 for four layers, 0.5 for half",
            )
        if self.rank < 1:
            raise ConfigError("must be 1 or more", where="strategy.rank")

    @property
    def caches(self) -> bool:
        """As `cache` says."""
        return self.cache

    def apply(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """As lora on the upper layers. Raises ConfigError if all layers are upper ones."""
        count = layer_count(levels(model, head_names(model)))
        upper = self.layers if isinstance(self.layers, int) else max(round(self.layers * count), 1)
        if upper >= count:
            raise ConfigError(
                f"the base has {count} layers, not more than {upper}",
                where="strategy.layers",
                next=f"choose {count - 1} or fewer, or --strategy lora",
            )
        lora: Strategy = find("strategies", "lora")(layers=upper, rank=self.rank, alpha=self.alpha)
        adapted: torch.nn.Module = lora.apply(model)
        return adapted
