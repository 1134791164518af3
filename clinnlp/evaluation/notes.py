"""Scores of note labels: one label per note (multi-class) or any number (multi-label)."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from clinnlp.core.document import Document
from clinnlp.core.report import Interval, LabelScores, NotesReport, Score
from clinnlp.errors import DataError
from clinnlp.evaluation.pairing import Pair, pair
from clinnlp.evaluation.ranking import Ranking
from clinnlp.evaluation.resample import (
    RESAMPLES,
    Method,
    Units,
    accuracy_of,
    bca_interval,
    f1_of,
    label_intervals,
    left_out,
    macro_f1_of,
    percentile_interval,
    resampled,
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
    method: Method = "percentile",
) -> NotesReport:
    """Score predicted note labels against gold, joined by document id; `labels` declares further labels.

    Multi-class if every gold document has one label and no prediction has more, unless told. What needs a ranking
    (average precision, AUROC) is computed where predictions carry `meta["label_scores"]`. Memory grows with
    documents x labels. Raises DataError if documents or labels do not fit.
    """
    pairs = pair(gold, predicted)
    multi_label = _is_multi_label(pairs, multi_label)
    names = sorted({label for both in pairs for document in both for label in document.labels}.union(labels or ()))
    position = {label: number for number, label in enumerate(names)}
    truth = _indicators([gold for gold, _ in pairs], position)
    said = _indicators([predicted for _, predicted in pairs], position)
    by_label = np.stack([truth & said, ~truth & said, truth & ~said], axis=2)  # (documents, labels, 3): tp, fp, fn
    totals = by_label.sum(axis=0).tolist()
    correct = (truth == said).all(axis=1)
    units = units_of([gold for gold, _ in pairs])
    f1, macro_f1, accuracy = _intervals(by_label, correct, units, (seed, resamples, method))
    own = label_intervals(by_label, names, units, seed, method)
    report = NotesReport(
        scores=LabelScores({label: Score(*totals[i]) for i, label in enumerate(names)}, f1, own),
        documents=len(pairs),
        correct=int(correct.sum()),
        multi_label=multi_label,
        unpredicted=sum(not predicted.labels for _, predicted in pairs),
        accuracy_interval=accuracy,
        macro_f1_interval=macro_f1,
        confusion=None if multi_label else _confusion(truth, said),
    )
    scores = _label_scores([predicted for _, predicted in pairs], names)
    if scores is None:
        return report
    rankings = {label: Ranking.of(truth[:, i], scores[:, i]) for i, label in enumerate(names)}
    return replace(
        report,
        average_precision={
            label: ranking.average_precision for label, ranking in rankings.items() if ranking.positives
        },
        auroc={label: rankings[label].auroc for label in report.varying},
        micro_average_precision=Ranking.of(truth.ravel(), scores.ravel()).average_precision,
    )


def best_thresholds(
    gold: Iterable[Document], predicted: Iterable[Document], enough: int
) -> tuple[float | None, dict[str, float]]:
    """The threshold on label scores with the best micro F1, and of each label that `enough` notes have its own.

    None where no scored note has a label. A note with empty scores gets no label at any threshold; its labels are
    missed. Raises DataError if documents do not fit or scores are missing or no numbers.
    """
    pairs = pair(gold, predicted)
    have = Counter(label for document, _ in pairs for label in set(document.labels))
    scored = [(one, other) for one, other in pairs if other.meta.get(LABEL_SCORES) != {}]
    names = sorted({label for _, other in scored for label in other.meta.get(LABEL_SCORES, ())})
    scores = _label_scores([other for _, other in scored], names)
    if scores is None:
        return None, {}
    position = {label: number for number, label in enumerate(dict.fromkeys([*names, *have]))}
    truth = _indicators([one for one, _ in scored], position)[:, : len(names)]
    together = Ranking.of(truth.ravel(), scores.ravel())
    own: dict[str, float] = {}
    for number, label in enumerate(names):
        ranking = Ranking.of(truth[:, number], scores[:, number])
        threshold = ranking.best_threshold(missed=have[label] - ranking.positives)
        if threshold is not None and ranking.positives >= enough:
            own[label] = threshold
    return together.best_threshold(missed=have.total() - together.positives), own


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


def _intervals(
    by_label: npt.NDArray[np.bool_], correct: npt.NDArray[np.bool_], units: Units, how: tuple[int, int, Method]
) -> tuple[Interval | None, Interval | None, Interval | None]:
    """The intervals of micro F1, macro F1 and accuracy, all from the same resamples.

    The labels are those of the whole data. One that a resample holds neither in gold nor in predictions has no F1
    there and is left out of its mean: as 0 it would push the interval of a perfect prediction below 1.
    """
    seed, resamples, method = how
    if units.count < 2:
        return None, None, None
    present = by_label[:, by_label.any(axis=(0, 2))].reshape(len(correct), -1)
    counts = np.column_stack([present, correct, np.ones_like(correct)]).astype(np.int64)
    by_unit = sum_by_unit(counts, units)
    values = resampled(by_unit, _figures, seed, resamples)
    if method == "percentile":
        found = [percentile_interval(values[:, number], units) for number in range(3)]
    else:
        without, observed = left_out(by_unit, _figures), _figures(by_unit.sum(axis=0, keepdims=True).astype(np.float64))
        found = [bca_interval(values[:, n], without[:, n], float(observed[0, n]), units) for n in range(3)]
    return found[0], found[1], found[2]


def _figures(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Micro F1, macro F1 and accuracy (R, 3) of the sums of each label's tp, fp and fn, of correct and of all."""
    by_label = sums[:, :-2]
    micro_f1 = f1_of(by_label.reshape(len(sums), -1, 3).sum(axis=1))
    return np.column_stack([micro_f1, macro_f1_of(by_label), accuracy_of(sums[:, -2:])])


def _confusion(truth: npt.NDArray[np.bool_], said: npt.NDArray[np.bool_]) -> tuple[tuple[int, ...], ...]:
    """Documents by gold label (rows) and predicted label (columns, the last for none); one label each."""
    labels = truth.shape[1]
    rows = np.nonzero(truth)[1]
    columns = np.full(len(said), labels)
    document, label = np.nonzero(said)
    columns[document] = label
    counts = np.bincount(rows * (labels + 1) + columns, minlength=labels * (labels + 1))
    return tuple(tuple(row) for row in counts.reshape(labels, labels + 1).tolist())


def _label_scores(predicted: Sequence[Document], names: Sequence[str]) -> npt.NDArray[np.float64] | None:
    """The scores (documents, labels), None where no prediction has any; a label that is given none has 0."""
    scored = sum(LABEL_SCORES in document.meta for document in predicted)
    if not scored:
        return None
    if scored < len(predicted):
        raise DataError(
            f"label scores are missing in {len(predicted) - scored} of {len(predicted)} predicted documents",
            next="write them for all documents or for none",
        )
    values = np.array([_numbers(document, names) for document in predicted], np.float64)
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).any(axis=1).sum())
        raise DataError(f"label scores are not finite numbers in {bad} of {len(predicted)} predicted documents")
    return values


def _numbers(document: Document, names: Sequence[str]) -> list[float]:
    """The scores of a document, all NaN if one of them is no number."""
    try:
        scores = document.meta[LABEL_SCORES]
        return [float(scores.get(name, 0.0)) for name in names]
    except (TypeError, ValueError, AttributeError):
        return [math.nan] * len(names)
