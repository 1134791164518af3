"""A frozen encoder under a trained head."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from clinnlp.strategies.base import Strategy, head_names

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class FeatureExtractor(Strategy):
    """Only the head moves, the encoder gives features: the baseline of what the base knows (Peters et al. 2019)."""

    default_learning_rate: ClassVar[float] = 1e-3
    default_epochs: ClassVar[float] = 20

    def apply(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """Freeze all but the head; a fresh pooler is part of it."""
        inner: Any = model
        heads = head_names(inner)
        for name, weight in inner.named_parameters():
            weight.requires_grad = any(head in name.split(".") for head in heads)
        return model
