"""What the scores of predicted spans are worth: average precision, and recall at a fixed precision."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from clinnlp.core.scorers import Detection, OperatingPoint
from clinnlp.errors import DataError
from clinnlp.evaluation.pairing import Pair
from clinnlp.evaluation.scorers_table import Ints, SpanTable

TARGETS = (0.90, 0.95)

Floats = npt.NDArray[np.float64]


def detect(table: SpanTable, pairs: Sequence[Pair]) -> Detection | None:
    """Rank the predicted spans of all documents by score and compare them, strictly, with gold.

    Of copies of a span the best-scored are the right ones; spans of one score enter together; gold spans that
    nothing found bound recall. None if a predicted span has no score. Raises DataError for one that is not finite.
    """
    given = [span.score for _, predicted in pairs for span in predicted.spans]
    scores = np.array([math.nan if score is None else score for score in given], np.float64)
    without = given.count(None)
    bad = len(given) - without - int(np.isfinite(scores).sum())
    if bad:
        raise DataError(
            f"scores of {bad:,} of {len(given):,} predicted spans are not finite numbers",
            next="write a probability for each span, or no score for any",
        )
    if without:
        return None
    right = _right(table, scores)
    gold = table.by_label(table.gold)
    label = table.label[table.predicted_rows]
    order = np.argsort(label, kind="stable")
    borders = np.cumsum(np.bincount(label, minlength=len(table.labels)))[:-1]
    parts = np.split(order, borders) if table.labels else []
    per_label = {
        name: average_precision(right[part], scores[part], count)
        for name, part, count in zip(table.labels, parts, gold.tolist(), strict=True)
    }
    known = [value for value in per_label.values() if not math.isnan(value)]
    total = int(gold.sum())
    return Detection(
        micro=average_precision(right, scores, total),
        macro=math.fsum(known) / len(known) if known else math.nan,
        per_label=per_label,
        recall_at_precision=tuple(recall_at_precision(right, scores, total, target) for target in TARGETS),
    )


def average_precision(right: npt.NDArray[np.bool_], scores: Floats, gold: int) -> float:
    """The sum over thresholds of precision times the gain in recall, without interpolation, as in sklearn.

    `right` (N,) says which predictions are, `gold` is how many there were to find; NaN if none.
    """
    if not gold:
        return math.nan
    tp, kept, _ = _thresholds(right, scores)
    return float(np.sum(np.diff(tp, prepend=0) / gold * (tp / kept)))


def recall_at_precision(right: npt.NDArray[np.bool_], scores: Floats, gold: int, target: float) -> OperatingPoint:
    """The threshold with the largest recall among those whose precision is at least `target`, the highest of equals."""
    tp, kept, thresholds = _thresholds(right, scores)
    reached = np.flatnonzero(tp / kept >= target)
    if not gold or not len(reached):
        return OperatingPoint(target)
    best = reached[np.argmax(tp[reached])]  # the first, which has the highest threshold
    return OperatingPoint(target, float(tp[best] / gold), float(tp[best] / kept[best]), float(thresholds[best]))


def _right(table: SpanTable, scores: Floats) -> npt.NDArray[np.bool_]:
    """Which predicted spans are found in gold, the best-scored copies first."""
    order = np.lexsort((-scores, table.predicted_rows))
    rows = table.predicted_rows[order]
    copy = np.arange(len(rows)) - np.searchsorted(rows, rows)
    right = np.empty(len(rows), np.bool_)
    right[order] = copy < table.gold[rows]
    return right


def _thresholds(right: npt.NDArray[np.bool_], scores: Floats) -> tuple[Ints, Ints, Floats]:
    """For each distinct score, from the highest: right predictions and all predictions of at least that score."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1) if len(ranked) else np.zeros(0, np.int64)
    return np.cumsum(right[order], dtype=np.int64)[last], last + 1, ranked[last]
