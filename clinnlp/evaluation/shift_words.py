"""What two sets of notes differ in: words that one of them lacks, the length of notes, what a masked LM expects."""

import re
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from clinnlp.evaluation.resample import Ratios, accuracy_of, divide, percentile_interval, resampled
from clinnlp.evaluation.shift import Figure, Sides, figure

_WORD = re.compile(r"[^\W\d_]+")


def vocabulary_gap(sides: Sides, seed: int) -> dict[str, Any]:
    """The share of the target's running words that no source note holds, and of its distinct words.

    `usual` is the same of the source notes among themselves: running words that one group alone holds.
    """
    words = [Counter(_WORD.findall(document.text.lower())) for document in sides.documents]
    place = {bool(side): np.flatnonzero(sides.target == side) for side in (False, True)}
    groups: dict[str, set[int]] = {}
    for row in place[False].tolist():
        for word in words[row]:
            groups.setdefault(word, set()).add(int(sides.groups[row]))
    counts = np.zeros((len(words), 4), np.int64)
    for row, held in enumerate(words):
        if sides.target[row]:
            counts[row, :2] = sum(n for word, n in held.items() if word not in groups), held.total()
        else:
            counts[row, 2:] = sum(n for word, n in held.items() if len(groups[word]) == 1), held.total()
    types = {word for row in place[True].tolist() for word in words[row]}
    unseen = sum(word not in groups for word in types)
    return {
        "unseen": figure(counts, accuracy_of, sides.units, seed).as_dict(),
        "usual": figure(counts[:, 2:], accuracy_of, sides.units, seed).as_dict(),
        "unseen_types": unseen,
        "types": len(types),
        "source_types": len(groups),
    }


def lengths(sides: Sides, seed: int) -> dict[str, Any]:
    """The mean number of words of a note on both sides, and their ratio, target over source."""
    words = np.array([len(_WORD.findall(document.text)) for document in sides.documents])
    counts = np.stack([words * sides.target, sides.target, words * ~sides.target, ~sides.target], axis=1)
    counts = counts.astype(np.int64)
    return {
        "target": figure(counts[:, :2], accuracy_of, sides.units, seed).as_dict(),
        "source": figure(counts[:, 2:], accuracy_of, sides.units, seed).as_dict(),
        "ratio": figure(counts, _ratio_of_means, sides.units, seed).as_dict(),
    }


def perplexity_gap(losses: Ratios, masked: npt.NDArray[np.int64], sides: Sides, seed: int) -> dict[str, Any]:
    """The perplexity of a masked LM on both sides and their ratio, target over source.

    `losses (N,)` are the mean losses of the masked tokens of each note, of which there are `masked (N,)`.
    """
    sums = np.where(masked > 0, np.nan_to_num(losses) * masked, 0.0)
    counts = np.stack([sums * sides.target, masked * sides.target, sums * ~sides.target, masked * ~sides.target], 1)
    by_unit = np.zeros((sides.units.count, 4))
    np.add.at(by_unit, sides.units.index, counts)
    values = resampled(by_unit, _perplexities, seed)  # type: ignore[arg-type]
    whole = _perplexities(by_unit.sum(axis=0, keepdims=True))[0]
    told = {}
    for place, name in enumerate(("target", "source", "ratio")):
        told[name] = Figure(float(whole[place]), percentile_interval(values[:, place], sides.units)).as_dict()
    return {**told, "masked_tokens": int(masked.sum())}


def _ratio_of_means(sums: Ratios) -> Ratios:
    return divide(accuracy_of(sums), divide(sums[:, 2], sums[:, 3]))


def _perplexities(sums: Ratios) -> Ratios:
    target, source = np.exp(divide(sums[:, 0], sums[:, 1])), np.exp(divide(sums[:, 2], sums[:, 3]))
    return np.stack([target, source, divide(target, source)], axis=1)
