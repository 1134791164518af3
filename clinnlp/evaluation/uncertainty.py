"""How unsure a model is of a note: one number from 0 to 1 that does not grow with the note's length."""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

Measure = Literal["entropy", "least_confidence"]
Floats = npt.NDArray[np.float64]

TOP = 0.1  # share of a note's units, those with the highest entropy, whose mean is its uncertainty


def of_units(logits: npt.ArrayLike, chances: npt.ArrayLike, measure: Measure) -> float:
    """The uncertainty of a note by the logits (U, C) of its units and the probability (U,) of their tags; 0 without.

    entropy: the mean of the highest tenth of the entropies, over log C; all units together would be mostly words that
    are plainly nothing. least_confidence: 1 - the geometric mean of the probabilities (Shen et al. 2018).
    """
    chosen = np.asarray(chances, np.float64)
    if not len(chosen):
        return 0.0
    if measure == "least_confidence":
        return float(-np.expm1(np.log(np.clip(chosen, 1e-12, 1.0)).mean()))
    each = np.sort(entropies(logits))
    return float(each[-math.ceil(TOP * len(each)) :].mean())


def of_labels(scores: Mapping[str, float], multi_label: bool, measure: Measure) -> float:
    """The uncertainty of a note by the probabilities of its labels; 0 without any.

    entropy: that of the classes over log L, or the mean over labels of that of yes and no. least_confidence: 1 - the
    probability of what was decided for the class, or for the most doubtful label; times L / (L - 1), so that 1 is
    reached.
    """
    chances = np.array(list(scores.values()), np.float64)
    if not len(chances):
        return 0.0
    if multi_label:
        both = np.stack([chances, 1 - chances], axis=1)
        if measure == "entropy":
            return float(_entropy(both).mean())
        return float(2 * both.min(axis=1).max())
    if len(chances) == 1:
        return 0.0
    if measure == "entropy":
        return float(_entropy(chances[None])[0])
    return float((1 - chances.max()) * len(chances) / (len(chances) - 1))


def entropies(logits: npt.ArrayLike) -> Floats:
    """The entropy (U,) of each row of logits (U, C) over log C: from 0 for sure to 1 for all alike."""
    rows = np.asarray(logits, np.float64)
    odds = np.exp(rows - rows.max(axis=1, keepdims=True))
    return _entropy(odds / odds.sum(axis=1, keepdims=True))


def _entropy(chances: Floats) -> Floats:
    logs = np.log(np.maximum(chances, np.finfo(np.float64).tiny))
    return np.asarray(-(chances * logs).sum(axis=1) / math.log(chances.shape[1]), np.float64)
