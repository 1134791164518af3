"""Correlation alignment."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from clinnlp.domains.base import Array, Domain, Maps, Moments, check_positive

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Coral(Domain):
    """Give source features the covariance of the target's: as a loss, or on frozen features (Sun et al. 2016).

    `use: loss` is deep CORAL (Sun and Saenko 2016): the squared difference of both covariances is added to the loss of
    the task while the encoder learns. `use: features` whitens source features and colours them as the target's once,
    under a frozen encoder; the head then reads target features as they are.

    When to use it: as features where minutes must do. A loss needs batches of 16 or more to see a covariance.
    """

    use: Literal["loss", "features"] = "loss"
    """A loss while the encoder learns, or a map of the features of a frozen encoder."""
    weight: float = 1.0
    """What the loss counts beside that of the task (use: loss)."""
    ridge: float = 1.0
    """What is added to the diagonals of both covariances, in mean variances (use: features); 1 as in the paper."""

    def __post_init__(self) -> None:
        check_positive("weight", self.weight)
        check_positive("ridge", self.ridge)

    @property
    def does(self) -> Literal["weights", "maps", "loss"]:
        return "loss" if self.use == "loss" else "maps"

    @property
    def share(self) -> float:
        """As `weight` says."""
        return self.weight

    def maps(self, source: Moments, target: Moments) -> Maps:
        """Source: whitened, coloured as the target and moved to its mean; target: as it is."""
        added = self.ridge * (np.trace(source.covariance) + np.trace(target.covariance)) / (2 * len(source.mean))
        one = np.eye(len(source.mean)) * added
        matrix = power(source.covariance + one, -0.5) @ power(target.covariance + one, 0.5)
        return Maps((matrix, target.mean - source.mean @ matrix))

    def loss(
        self, head: "torch.nn.Module | None", source: "torch.Tensor", target: "torch.Tensor", progress: float
    ) -> "torch.Tensor":
        """The squared Frobenius distance of both covariances over 4 H^2."""
        difference = _covariance(source) - _covariance(target)
        return (difference**2).sum() / (4 * source.shape[1] ** 2)


def power(matrix: Array, exponent: float) -> Array:
    """A power of a symmetric positive definite matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, 1e-12) ** exponent) @ vectors.T, np.float64)


def _covariance(features: "torch.Tensor") -> "torch.Tensor":
    centered = features - features.mean(dim=0)
    return centered.T @ centered / max(len(features) - 1, 1)
