"""Frozen embeddings and lower layers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from clinnlp.errors import ConfigError
from clinnlp.strategies.base import Strategy, freeze_all_but, head_names, layer_count, levels

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Freeze(Strategy):
    """The embeddings and the lower layers stay, the upper ones and the head move (Lee et al. 2019)."""

    default_learning_rate: ClassVar[float] = 5e-5

    layers: int | float = 0.5
    """Lower layers that stay: a count (6), or a share of them all (0.5); 0 keeps the embeddings alone."""

    def __post_init__(self) -> None:
        if self.layers < 0 or (isinstance(self.layers, float) and self.layers >= 1):
            raise ConfigError(
                "must be a count, or a share under 1",
                where="strategy.layers",
                next="give 6 for six layers, 0.5 for half",
            )

    def apply(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """Freeze the embeddings and the lower layers. Raises ConfigError if no layer is left to move."""
        heads = head_names(model)
        places = levels(model, heads)
        count = layer_count(places)
        frozen = self.layers if isinstance(self.layers, int) else int(self.layers * count)
        if frozen >= count:
            raise ConfigError(
                f"the base has {count} layers, and {frozen} of them frozen leave none to move",
                where="strategy.layers",
                next=f"freeze {count - 1} or fewer, or choose --strategy feature_extractor",
            )
        freeze_all_but(model, heads, lambda name: places[name] > frozen)
        return model
