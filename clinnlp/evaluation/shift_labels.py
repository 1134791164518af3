"""How the classes of two sets of notes differ: counted where both have gold, estimated from predictions where not."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from clinnlp.core.document import Document
from clinnlp.evaluation.resample import (
    LABEL_RESAMPLES,
    Ratios,
    accuracy_of,
    divide,
    percentile_interval,
    resampled,
    sum_by_unit,
)  # fmt: skip
from clinnlp.evaluation.shift import PERMUTATIONS, Figure, Sides, figure, permuted_units

What = Literal["labels", "spans"]


def label_shift(sides: Sides, what: What, seed: int) -> dict[str, Any] | None:
    """The share of each label on both sides and their total variation distance; None if a side has none.

    The distance is half the sum of differences: 0 for the same shares, 1 for none in common. It comes with what chance
    gives in 95 of 100 cases at most and the p-value, where whole groups change sides at random. There is no bootstrap
    interval: the distance is never under 0, so that resamples are farther apart than the notes are.
    """
    counts, labels = _counted(sides, what)
    width = len(labels)
    if not (counts[:, :width].any() and counts[:, width:].any()):
        return None
    shares = {}
    for place, label in enumerate(labels):
        two = [np.stack([counts[:, at + place], counts[:, at : at + width].sum(axis=1)], axis=1) for at in (0, width)]
        shares[label] = {
            side: figure(own, accuracy_of, sides.units, seed).as_dict()
            for side, own in zip(("source", "target"), two, strict=True)
        }
    return {"distance": _distance(counts, sides, seed), "shares": shares}


def _distance(counts: npt.NDArray[np.int64], sides: Sides, seed: int) -> dict[str, Any]:
    """The distance of counts (N, 2 L), and what chance makes of it; permutations that leave a side nothing are none."""
    observed = float(distance_of_shares(counts.sum(axis=0, keepdims=True).astype(np.float64))[0])
    both = sum_by_unit(np.add(*np.split(counts, 2, axis=1)), sides.units).astype(np.float64)
    target = permuted_units(sides, seed, PERMUTATIONS) @ both
    by_chance = distance_of_shares(np.concatenate([both.sum(axis=0) - target, target], axis=1))
    by_chance = np.append(by_chance[np.isfinite(by_chance)], observed)
    p = float((by_chance >= observed - 1e-12).mean())
    return {"value": observed, "chance": float(np.quantile(by_chance, 0.95)), "p": p, "permutations": PERMUTATIONS}


def distance_of_shares(sums: Ratios) -> Ratios:
    """The total variation distance of each row of L counts of the source and L of the target."""
    source, target = np.split(sums, 2, axis=1)
    shares = [divide(own, own.sum(axis=1, keepdims=True)) for own in (source, target)]
    return np.asarray(np.abs(shares[0] - shares[1]).sum(axis=1) / 2, np.float64)


def estimated_shares(
    sides: Sides, predicted: Sequence[Document], labels: Sequence[str], seed: int
) -> dict[str, Any] | None:
    """The shares of the target's classes, by how often a classifier names each and how it errs on the source (BBSE).

    Black box shift estimation (Lipton et al. 2018): it holds where the notes of a class are alike on both sides and
    only the shares of the classes differ. `predicted` are the notes of both sides as the classifier names them, the
    source being labeled notes that it was not trained on. None unless every source note has one class and every note
    is given one. Raises nothing for a confusion matrix that cannot be inverted: `condition` tells.
    """
    width, numbers = len(labels), {label: place for place, label in enumerate(labels)}
    counts = np.zeros((len(predicted), width * width + width), np.int64)
    for row, (gold, said) in enumerate(zip(sides.documents, predicted, strict=True)):
        own = [numbers[label] for label in said.labels if label in numbers]
        true = [numbers[label] for label in gold.labels if label in numbers]
        if len(own) != 1 or (not sides.target[row] and len(true) != 1):
            return None
        counts[row, width * width + own[0] if sides.target[row] else own[0] * width + true[0]] = 1
    by_unit = sum_by_unit(counts, sides.units)
    whole = by_unit.sum(axis=0, keepdims=True).astype(np.float64)
    values = resampled(by_unit, _solved, seed, LABEL_RESAMPLES)
    intervals = [percentile_interval(values[:, place], sides.units) for place in range(width)]
    found = _solved(whole)[0]
    confusion = whole[0, : width * width].reshape(width, width)
    return {
        "shares": {label: Figure(float(found[n]), intervals[n]).as_dict() for label, n in numbers.items()},
        "condition": float(min(np.linalg.cond(confusion / confusion.sum()), 1e12)),
    }


def _solved(sums: Ratios) -> Ratios:
    """The target's shares (R, K) from rows of K x K confusions (predicted, gold) and K predictions of the target."""
    width = int((np.sqrt(1 + 4 * sums.shape[1]) - 1) / 2 + 0.5)
    joint = sums[:, : width * width].reshape(-1, width, width)
    joint = divide(joint, joint.sum(axis=(1, 2), keepdims=True))
    said = divide(sums[:, width * width :], sums[:, width * width :].sum(axis=1, keepdims=True))
    kept = np.isfinite(joint).all(axis=(1, 2)) & np.isfinite(said).all(axis=1)
    found = np.full((len(sums), width), np.nan)
    weights = np.einsum("rij,rj->ri", np.linalg.pinv(joint[kept]), said[kept])
    shares = np.maximum(weights, 0.0) * joint[kept].sum(axis=1)
    found[kept] = divide(shares, shares.sum(axis=1, keepdims=True))
    return found


def _counted(sides: Sides, what: What) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Counts (N, 2 L): of each label in the notes of the source, then of the target."""
    held = [
        Counter(document.labels) if what == "labels" else Counter(span.label for span in document.spans)
        for document in sides.documents
    ]
    labels = sorted(set().union(*held))
    counts = np.zeros((len(held), 2 * len(labels)), np.int64)
    for row, own in enumerate(held):
        for label, count in own.items():
            counts[row, labels.index(label) + len(labels) * int(sides.target[row])] = count
    return counts, labels
