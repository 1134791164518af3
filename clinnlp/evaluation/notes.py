"""Scores of note labels: one label per note (multi-class) or any number (multi-label)."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from clinnlp.core.document import Document
from clinnlp.core.report import LabelScores, NotesReport, Score
from clinnlp.errors import DataError
from clinnlp.evaluation.pairing import Pair, pair
from clinnlp.evaluation.resample import (
    RESAMPLES,
    divide,
    f1_of,
    percentile_interval,
    resampled_sums,
    sum_by_unit,
    units_of,
)

LABEL_SCORES = "label_scores"  # key of Document.meta: the probability of each label


def evaluate_notes(
    gold: Iterable[Document],
    predicted: Iterable[Document],
    labels: Sequence[str] | None = None,
    multi_label: bool | None = None,
    seed: int = 13,
    resamples: int = RESAMPLES,
) -> NotesReport:
    """Score predicted note labels against gold, joined by document id; `labels` declares further labels.

    Multi-class if every gold document has one label and no prediction has more, unless told. Average precision
    is computed where predictions carry `meta["label_scores"]`. Raises DataError if documents or labels do not fit.
    """
    pairs = pair(gold, predicted)
    multi_label = _is_multi_label(pairs, multi_label)
    names = sorted({label for both in pairs for document in both for label in document.labels}.union(labels or ()))
    position = {label: number for number, label in enumerate(names)}
    gold_array = _indicators([gold for gold, _ in pairs], position)
    predicted_array = _indicators([predicted for _, predicted in pairs], position)
    by_label = np.stack(
        [gold_array & predicted_array, ~gold_array & predicted_array, gold_array & ~predicted_array], axis=2
    )  # (documents, labels, 3): tp, fp, fn
    totals = by_label.sum(axis=0).tolist()
    correct = (gold_array == predicted_array).all(axis=1)
    units = units_of([gold for gold, _ in pairs])
    accuracy_interval = f1_interval = None
    if units.count > 1:
        counts = np.column_stack([by_label.sum(axis=1), correct, np.ones_like(correct)]).astype(np.int64)
        sums = resampled_sums(sum_by_unit(counts, units), seed, resamples)
        f1_interval = percentile_interval(f1_of(sums), units)
        accuracy_interval = percentile_interval(divide(sums[:, 3], sums[:, 4]), units)
    return NotesReport(
        scores=LabelScores({label: Score(*totals[i]) for i, label in enumerate(names)}, f1_interval),
        documents=len(pairs),
        correct=int(correct.sum()),
        multi_label=multi_label,
        unpredicted=sum(not predicted.labels for _, predicted in pairs),
        average_precision=_average_precision([predicted for _, predicted in pairs], names, gold_array),
        accuracy_interval=accuracy_interval,
    )


def _is_multi_label(pairs: Sequence[Pair], told: bool | None) -> bool:
    without_one = sum(len(set(gold.labels)) != 1 for gold, _ in pairs)
    several = sum(len(set(predicted.labels)) > 1 for _, predicted in pairs)
    if told is False and (without_one or several):
        raise DataError(
            f"multi-class notes need one label: {without_one} of {len(pairs)} gold documents have none or several, "
            f"{several} predicted documents have several",
            next="score them as multi-label",
        )
    return bool(without_one or several) if told is None else told


def _indicators(documents: Sequence[Document], position: dict[str, int]) -> npt.NDArray[np.bool_]:
    array = np.zeros((len(documents), len(position)), np.bool_)
    for row, document in enumerate(documents):
        for label in document.labels:
            array[row, position[label]] = True
    return array


def _average_precision(
    predicted: Sequence[Document], names: Sequence[str], gold: npt.NDArray[np.bool_]
) -> dict[str, float] | None:
    """Average precision of each label that gold holds; a label without a probability has 0."""
    scored = sum(LABEL_SCORES in document.meta for document in predicted)
    if not scored:
        return None
    if scored < len(predicted):
        raise DataError(
            f"label scores are missing in {len(predicted) - scored} of {len(predicted)} predicted documents",
            next="write them for all documents or for none",
        )
    from sklearn.metrics import average_precision_score

    values = np.array([[_number(document, label) for label in names] for document in predicted])
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).any(axis=1).sum())
        raise DataError(f"label scores are not finite numbers in {bad} of {len(predicted)} predicted documents")
    return {
        label: float(average_precision_score(gold[:, number], values[:, number]))
        for number, label in enumerate(names)
        if gold[:, number].any()
    }


def _number(document: Document, label: str) -> float:
    try:
        return float(document.meta[LABEL_SCORES].get(label, 0.0))
    except (TypeError, ValueError, AttributeError):
        return math.nan
