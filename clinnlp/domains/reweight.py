"""Importance weights of source notes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from clinnlp.core.document import Document
from clinnlp.domains.base import Array, Domain, Weighing
from clinnlp.errors import ConfigError, DataError

FEWEST = 10.0  # notes by effective sample size under which nothing is trained
LEAST_SHARE = 0.05  # of the source notes


@dataclass(frozen=True)
class Reweight(Domain):
    """Draw source notes as often as the target has their like, or only those most like it (Shimodaira 2000).

    A domain classifier (Bickel et al. 2009), cross-fitted so that it judges no note whose group it saw, gives the odds
    of each source note to be of the target. Calibrated (Platt 1999), clipped and divided by their mean they are its
    weight: the chance to be drawn, which suits stochastic gradients better than weights in the loss (An et al. 2021)
    and any task alike.

    When to use it: the target is a part of what the source holds, in other shares. It does nothing for notes that the
    source has no like of; the effective sample size tells.
    """

    features: Literal["words", "encoder"] = "words"
    """What the classifier reads: TF-IDF of words, or the mean token vector of each note by the base model."""
    clip: float = 10.0
    """Largest weight, before they are divided by their mean."""
    keep: float | None = None
    """Instance selection in place of weights: the share of source notes that is kept, those most like the target."""

    def __post_init__(self) -> None:
        if not self.clip >= 1:
            raise ConfigError("must be 1 or more", where="domain.clip")
        if self.keep is not None and not 0 < self.keep < 1:
            raise ConfigError("must be a share between 0 and 1", where="domain.keep", next="give 0.5 for half")

    @property
    def does(self) -> Literal["weights", "maps", "loss"]:
        return "weights"

    @property
    def reads_vectors(self) -> bool:
        """As `features` says."""
        return self.features == "encoder"

    def weigh(
        self, source: Sequence[Document], target: Sequence[Document], vectors: Array | None, seed: int
    ) -> Weighing:
        """Raises DataError for fewer than ten notes a side, or where so few of them carry all the weight."""
        from clinnlp.evaluation.shift import APART, area, calibrated, domain_scores, sides_of, word_features

        sides = sides_of(source, target)
        scores = domain_scores(word_features(sides.documents) if vectors is None else vectors, sides, seed)
        auc = area(scores, sides.target)
        chances = scores if self.keep else calibrated(scores, sides.target)  # in the same order
        weights = self.weights_of(chances[~sides.target])
        effective = effective_size(weights)
        if effective < max(FEWEST, LEAST_SHARE * len(source)):
            raise DataError(
                f"the weight lies on {effective:.1f} of {len(source)} source notes (effective sample size)",
                where="domain",
                next="lower domain.clip, give source notes more like the target, or choose --domain dann, coral or mmd",
            )
        warnings: tuple[str, ...] = ()
        if auc >= APART:
            warnings = (
                f"a classifier tells source and target apart with AUC {auc:.3f}: the source has next to no notes like "
                "the target, so that weights mean little",
            )
        facts = {
            "domain classifier AUC": round(auc, 4),
            "effective sample size": round(effective, 1),
            "source notes kept": int((weights > 0).sum()),
            "largest weight": round(float(weights.max()), 3),
        }
        return Weighing(weights, facts, warnings)

    def weights_of(self, chances: Array) -> Array:
        """The weights of source notes by their chances to be of the target, both sides alike in size."""
        if self.keep is None:
            odds = chances / np.maximum(1 - chances, 1e-12)
            clipped = np.minimum(np.maximum(odds, 1e-12), self.clip)
            return np.asarray(clipped / clipped.mean(), np.float64)
        kept = np.zeros(len(chances))
        kept[np.argsort(-chances, kind="stable")[: max(round(self.keep * len(chances)), 1)]] = 1.0
        return kept


def effective_size(weights: Array) -> float:
    """The number of equally weighted notes that are worth as much: (sum w)^2 / sum w^2 (Kish 1965)."""
    return float(weights.sum() ** 2 / (weights**2).sum())
