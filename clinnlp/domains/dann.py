"""An adversary that must not tell source from target."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clinnlp.domains.base import Domain, check_positive
from clinnlp.errors import ConfigError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Dann(Domain):
    """Train the encoder against a classifier of the domain, by gradient reversal (Ganin et al. 2016).

    The classifier learns to tell the features of source and target apart; its gradient reaches the encoder with the
    other sign, times 2 / (1 + exp(-steepness p)) - 1 at the share p of the steps: 0 at first, 1 in the end. The
    classifier is part of a checkpoint and of no model folder.

    When to use it: with an encoder that moves, where the classes have the same shares on both sides; else their
    difference is taken for one of the domain. For clinical negation no gain over plain fine-tuning was found (Lin et
    al. 2020).
    """

    weight: float = 1.0
    """What the loss of the domain classifier counts beside that of the task."""
    hidden: int = 128
    """Width of the classifier's hidden layer."""
    steepness: float = 10.0
    """How fast the reversed gradient grows; 10 as in the paper."""

    def __post_init__(self) -> None:
        check_positive("weight", self.weight)
        check_positive("steepness", self.steepness)
        if self.hidden < 1:
            raise ConfigError("must be 1 or more", where="domain.hidden")

    @property
    def does(self) -> Literal["weights", "maps", "loss"]:
        return "loss"

    @property
    def share(self) -> float:
        """As `weight` says."""
        return self.weight

    def strength(self, progress: float) -> float:
        """What the reversed gradient is multiplied by at a share of the steps."""
        import math

        return 2 / (1 + math.exp(-self.steepness * progress)) - 1

    def head(self, hidden: int) -> "torch.nn.Module":
        """The domain classifier: one hidden layer."""
        from torch import nn

        return nn.Sequential(nn.Linear(hidden, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1))

    def loss(
        self, head: "torch.nn.Module | None", source: "torch.Tensor", target: "torch.Tensor", progress: float
    ) -> "torch.Tensor":
        """The mean of the mean cross-entropies of both sides."""
        import torch
        from torch.nn.functional import softplus

        assert head is not None
        said = head(reversed_gradient(torch.cat([source, target]), self.strength(progress)))[:, 0]
        return (softplus(said[: len(source)]).mean() + softplus(-said[len(source) :]).mean()) / 2


def reversed_gradient(features: "torch.Tensor", strength: float) -> "torch.Tensor":
    """The features as they are, up to rounding, with their gradient times -strength."""
    return (1 + strength) * features.detach() - strength * features
