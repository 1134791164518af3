"""How far two sets of notes lie apart: a domain classifier, the proxy A-distance and the maximum mean discrepancy.

A figure of a sample comes with an interval; notes of one group (patient) are drawn together. `sides_of` puts the notes
side by side, `note_shift` computes all that needs no model.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from clinnlp.core.document import Document
from clinnlp.core.report import Interval
from clinnlp.errors import DataError
from clinnlp.evaluation.resample import Counts, Ratios, Statistic, Units, bootstrap_interval, divide, total

MIN_NOTES = 10  # of each side
FOLDS = 5
PERMUTATIONS = 1000
APART = 0.98  # AUC of a domain classifier from which two domains have hardly a note in common

Features = Any
"""One row a note, (N, D): a numpy array or a scipy sparse matrix."""


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """Notes of the source, then of the target.

    `target (N,)` says which are which; `groups (N,)` numbers the groups (or the texts of notes without one), on both
    sides alike; `units` are what is drawn: the groups of each side.
    """

    documents: Sequence[Document]
    target: npt.NDArray[np.bool_]
    groups: npt.NDArray[np.int64]
    units: Units


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure and its interval, None where there are fewer than two units."""

    value: float
    interval: Interval | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values; None for a figure of nothing."""
        value = None if np.isnan(self.value) else self.value
        return {"value": value, "interval": asdict(self.interval) if self.interval else None}


def sides_of(source: Sequence[Document], target: Sequence[Document]) -> Sides:
    """Put the notes of two domains side by side. Raises DataError for fewer than MIN_NOTES notes or two groups."""
    documents = [*source, *target]
    is_target = np.arange(len(documents)) >= len(source)
    keys = [_group(document) for document in documents]
    groups = _numbered(keys)
    units = _numbered([(bool(side), key) for side, key in zip(is_target, keys, strict=True)])
    for name, side in (("source", ~is_target), ("target", is_target)):
        count, own = int(side.sum()), len(set(groups[side].tolist()))
        if count < MIN_NOTES or own < 2:
            raise DataError(
                f"{count} notes of {own} groups (patients), and {MIN_NOTES} notes of two groups are needed",
                where=name,
                next="give more notes",
            )
    grouped = sum(document.group is not None for document in documents)
    name = "document" if not grouped else "group" if grouped == len(documents) else "group or document"
    return Sides(documents, is_target, groups, Units(units, int(units.max()) + 1, name))


def word_features(documents: Sequence[Document]) -> Features:
    """TF-IDF of words and pairs of words, (N, D) sparse with rows of length 1, or 0 without words."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\w+", min_df=1)
    try:
        return words.fit_transform([document.text for document in documents])
    except ValueError:
        raise DataError("the notes hold no words", next="check the path and the format") from None


def domain_scores(features: Features, sides: Sides, seed: int) -> Ratios:
    """The probability of each note to be of the target, (N,), by a linear classifier that saw none of its group.

    Both sides weigh alike. Equal texts are in one fold, so that copies on both sides cannot be told apart.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min(len(set(sides.groups[side].tolist())) for side in (sides.target, ~sides.target))
    folds = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    scores = np.full(len(sides.target), 0.5)
    for train, test in folds.split(np.zeros(len(scores)), sides.target, sides.groups):
        if len(test) and len(set(sides.target[train].tolist())) == 2:
            linear = LogisticRegression(class_weight="balanced", max_iter=1000)
            scores[test] = linear.fit(features[train], sides.target[train]).predict_proba(features[test])[:, 1]
    return scores


def calibrated(scores: Ratios, target: npt.NDArray[np.bool_]) -> Ratios:
    """The scores as chances that hold, both sides weighing alike (Platt 1999), in the same order.

    A classifier that is held back by its penalty is too timid where the sides differ, and where they do not its scores
    are noise: they become one half.
    """
    from scipy.special import logit
    from sklearn.linear_model import LogisticRegression

    odds = logit(scores.clip(1e-9, 1 - 1e-9))[:, None]
    sizes = np.where(target, target.sum(), (~target).sum())
    hoped = np.where(target, sizes + 1, 1) / (sizes + 2)  # never quite sure, as Platt has it
    known, given = np.repeat([True, False], len(odds)), np.concatenate([hoped, 1 - hoped]) / np.tile(sizes, 2)
    linear = LogisticRegression(C=np.inf, max_iter=1000)
    linear.fit(np.tile(odds, (2, 1)), known, sample_weight=given * len(odds))
    if linear.coef_[0, 0] <= 0:
        return np.full(len(scores), 0.5)
    return np.asarray(linear.predict_proba(odds)[:, 1], np.float64)


def area(scores: Ratios, target: npt.NDArray[np.bool_]) -> float:
    """Chance that a note of the target scores higher than one of the source (AUC); half for ties."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(target, scores))


def proxy_distance(scores: Ratios, sides: Sides, seed: int) -> Figure:
    """The proxy A-distance 2 (1 - 2 err) of a domain classifier (Ben-David et al. 2007): 0 not told apart, 2 always.

    `err` is the mean of the error rates of both sides, so that their sizes do not matter; an unlucky classifier gives
    a little less than 0.
    """
    wrong = (scores >= 0.5) != sides.target
    counts = np.stack([wrong & ~sides.target, ~sides.target, wrong & sides.target, sides.target], axis=1)
    return figure(counts.astype(np.int64), distance_of, sides.units, seed)


def distance_of(sums: Ratios) -> Ratios:
    """The proxy A-distance of each row of (wrong source, source, wrong target, target)."""
    error = (divide(sums[:, 0], sums[:, 1]) + divide(sums[:, 2], sums[:, 3])) / 2
    return np.asarray(2 * (1 - 2 * error), np.float64)


def figure(counts: Counts, statistic: Statistic, units: Units, seed: int) -> Figure:
    """A statistic of counts (documents, K) with its interval."""
    return Figure(total(counts, statistic), bootstrap_interval(counts, statistic, units, seed))


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """The squared maximum mean discrepancy, its p-value, and what chance gives in 95 of 100 cases at most."""

    squared: float
    p: float
    chance: float
    permutations: int


def discrepancy(features: Features, sides: Sides, seed: int, permutations: int = PERMUTATIONS) -> Discrepancy:
    """The squared maximum mean discrepancy of both sides under a Gaussian kernel (Gretton et al. 2012).

    The kernel is exp(-d^2 / m), m the median squared distance of two notes. The p-value is that of a test in which
    whole groups change sides at random. There is no bootstrap interval: a resample holds notes twice, which raises it.
    """
    kernel = gaussian_kernel(squared_distances(features))
    whole = _weights(sides.target[None])
    observed = float(((whole @ kernel) * whole).sum())
    drawn = permuted_units(sides, seed, permutations)[:, sides.units.index]
    weights = _weights(drawn)
    by_chance = ((weights @ kernel) * weights).sum(axis=1)
    p = (1 + int((by_chance >= observed - 1e-12).sum())) / (1 + permutations)
    return Discrepancy(max(observed, 0.0), p, float(np.quantile(by_chance, 0.95)), permutations)


def permuted_units(sides: Sides, seed: int, permutations: int) -> npt.NDArray[np.bool_]:
    """Which groups are of the target (R, U) where they change sides at random, as many to a side as there are."""
    side = np.zeros(sides.units.count, bool)
    side[sides.units.index] = sides.target
    random = np.random.Generator(np.random.Philox(seed))
    return np.stack([random.permutation(side) for _ in range(permutations)])


def squared_distances(features: Features) -> Ratios:
    """The squared Euclidean distances of rows (N, D), (N, N)."""
    products = features @ features.T
    products = np.asarray(products.todense() if hasattr(products, "todense") else products, np.float64)
    own = np.diag(products)
    distances: Ratios = np.maximum(own[:, None] + own[None] - 2 * products, 0.0)
    return distances


def gaussian_kernel(distances: Ratios) -> Ratios:
    """exp(-d^2 / m) of squared distances (N, N), m their median over pairs that differ; 1 where none do."""
    apart = distances[np.triu_indices(len(distances), 1)]
    apart = apart[apart > 1e-12]
    return np.asarray(np.exp(-distances / np.median(apart)) if len(apart) else np.ones_like(distances), np.float64)


def note_shift(source: Sequence[Document], target: Sequence[Document], seed: int = 13) -> dict[str, Any]:
    """All figures of two sets of notes that need no model, as plain values (the keys of `metrics.json`).

    `classifier` and `mmd` on words, `vocabulary` and `words`; `labels` or `spans` where both sides have some.
    Raises DataError for fewer than MIN_NOTES notes on a side.
    """
    from clinnlp.evaluation.shift_labels import label_shift
    from clinnlp.evaluation.shift_words import lengths, vocabulary_gap

    sides = sides_of(source, target)
    made = {
        "notes": {"source": len(source), "target": len(target), "units": sides.units.count, "unit": sides.units.name},
        "words": feature_shift(word_features(sides.documents), sides, seed),
        "vocabulary": vocabulary_gap(sides, seed),
        "length": lengths(sides, seed),
    }
    gold = {what: label_shift(sides, what, seed) for what in ("labels", "spans")}
    return made | {f"gold_{what}": held for what, held in gold.items() if held is not None}


def feature_shift(features: Features, sides: Sides, seed: int) -> dict[str, Any]:
    """What separates two sides in a feature space: AUC and proxy A-distance of a domain classifier, and the MMD."""
    scores = domain_scores(features, sides, seed)
    return {
        "auc": area(scores, sides.target),
        "proxy_a_distance": proxy_distance(scores, sides, seed).as_dict(),
        "mmd": asdict(discrepancy(features, sides, seed)),
    }


def _weights(target: npt.NDArray[np.bool_]) -> Ratios:
    """What each note counts in the difference of both means: 1/n of the target, -1/n of the source; (R, N)."""
    plus, minus = target / target.sum(axis=1, keepdims=True), ~target / (~target).sum(axis=1, keepdims=True)
    return np.asarray(plus - minus, np.float64)


def _group(document: Document) -> tuple[bool, str]:
    if document.group is not None:
        return True, document.group
    return False, blake2b(document.text.encode(), digest_size=16).hexdigest()


def _numbered(keys: Sequence[Any]) -> npt.NDArray[np.int64]:
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
