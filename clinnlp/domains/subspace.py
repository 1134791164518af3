"""Subspace alignment of frozen features."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from clinnlp.domains.base import Array, Domain, Maps, Moments
from clinnlp.errors import ConfigError


@dataclass(frozen=True)
class Subspace(Domain):
    """Turn the main directions of source features into those of the target (Fernando et al. 2013).

    Source features are projected on their first principal directions, which are aligned with the target's; target
    features on theirs. The encoder must be frozen (`--strategy feature_extractor`). The projection of the target is
    folded into the first layer of the head, so that the saved folder is a plain model.

    When to use it: a frozen encoder and minutes of time. It keeps `dimensions` directions alone, which costs accuracy
    where there is no shift.
    """

    dimensions: int = 64
    """Principal directions that are kept, at most those that the notes have."""

    def __post_init__(self) -> None:
        if self.dimensions < 1:
            raise ConfigError("must be 1 or more", where="domain.dimensions")

    @property
    def does(self) -> Literal["weights", "maps", "loss"]:
        return "maps"

    def maps(self, source: Moments, target: Moments) -> Maps:
        """Source: S S' T T', from one mean to the other; target: T T'. S and T hold the directions in columns."""
        count = min(self.dimensions, source.count - 1, target.count - 1, len(source.mean))
        ours, theirs = main_directions(source.covariance, count), main_directions(target.covariance, count)
        aligned, projected = ours @ ours.T @ theirs @ theirs.T, theirs @ theirs.T
        shift = target.mean @ projected - source.mean @ aligned
        return Maps((aligned, shift), (projected, np.zeros_like(shift)))  # a head may have no bias to hold a shift


def main_directions(covariance: Array, count: int) -> Array:
    """The eigenvectors (H, count) of the largest eigenvalues."""
    _, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors[:, ::-1][:, :count], np.float64)
