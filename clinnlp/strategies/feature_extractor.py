"""A frozen encoder under a trained head."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from clinnlp.strategies.base import Strategy, freeze_all_but, head_names

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class FeatureExtractor(Strategy):
    """Only the head moves, the encoder gives features: the baseline of what the base knows (Peters et al. 2019)."""

    default_learning_rate: ClassVar[float] = 1e-3
    default_epochs: ClassVar[float] = 20

    cache: bool = False
    """Compute the encoder once, without dropout, and keep what it gave: 2 bytes a token and dimension."""

    @property
    def caches(self) -> bool:
        """As `cache` says."""
        return self.cache

    def apply(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """Freeze all but the head; a fresh pooler is part of it."""
        freeze_all_but(model, head_names(model), lambda name: False)
        return model
