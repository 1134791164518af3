"""Biases alone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from clinnlp.errors import ConfigError
from clinnlp.strategies.base import Strategy, freeze_all_but, head_names

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Bitfit(Strategy):
    """Only the biases of the encoder and the head move: a thousandth of the weights (Ben Zaken et al. 2022)."""

    default_learning_rate: ClassVar[float] = 1e-3
    default_epochs: ClassVar[float] = 20

    def apply(self, model: "torch.nn.Module") -> "torch.nn.Module":
        """Freeze all but biases and the head. Raises ConfigError for an encoder without biases (ModernBERT)."""
        if not freeze_all_but(model, head_names(model), lambda name: name.endswith(".bias")):
            raise ConfigError(
                "the encoder of this base has no biases to move",
                where="strategy",
                next="choose --strategy ia3, which is as small, or lora",
            )
        return model
