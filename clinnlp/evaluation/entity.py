"""Strict span scores: the same bounds, label and fragments, over whole documents, in characters."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from clinnlp.core.document import Document
from clinnlp.core.report import EntityReport, LabelScores, Score, SpanCounts
from clinnlp.evaluation.pairing import Pair, pair
from clinnlp.evaluation.resample import (
    RESAMPLES,
    Counts,
    Method,
    Units,
    bootstrap_interval,
    f1_of,
    label_intervals,
    units_of,
)
from clinnlp.evaluation.scorers import score_table
from clinnlp.evaluation.scorers_detection import detect
from clinnlp.evaluation.scorers_table import SpanTable, tabulate, tally


@dataclass(frozen=True, slots=True, eq=False)
class EntityCounts:
    """Strict counts by document and label: what intervals, tests and slices are computed from."""

    labels: tuple[str, ...]
    array: npt.NDArray[np.int32]  # (documents, labels, 3): tp, fp, fn
    units: Units
    gold: SpanCounts
    predicted: SpanCounts
    documents_without_gold: int

    @property
    def micro(self) -> Counts:
        """(documents, 3): tp, fp, fn over all labels."""
        return np.asarray(self.array.sum(axis=1), np.int64)


def evaluate_spans(
    gold: Iterable[Document],
    predicted: Iterable[Document],
    labels: Sequence[str] | None = None,
    seed: int = 13,
    resamples: int = RESAMPLES,
    method: Method = "percentile",
) -> EntityReport:
    """Score predicted spans against gold spans, joined by document id, strictly and by all scorers.

    `labels` declares further labels. Intervals are a bootstrap by group. Raises DataError if the two sides hold
    different documents or a span's score is not finite.
    """
    pairs = pair(gold, predicted)
    table = tabulate(pairs, labels)
    report = report_spans(_count(table, pairs), seed, resamples, method)
    scorers = score_table(table, [gold.text for gold, _ in pairs])
    return replace(report, scorers=scorers, detection=detect(table, pairs))


def count_spans(pairs: Sequence[Pair], labels: Sequence[str] | None = None) -> EntityCounts:
    """Count matches by document and label, spans as multisets: a copy of a span needs a copy to match."""
    return _count(tabulate(pairs, labels), pairs)


def report_spans(
    counts: EntityCounts, seed: int = 13, resamples: int = RESAMPLES, method: Method = "percentile"
) -> EntityReport:
    """Sum counts over documents and draw the intervals of F1, micro and by label, by group; strict scores only."""
    totals = counts.array.sum(axis=0, dtype=np.int64).tolist()
    scores = {label: Score(*totals[i]) for i, label in enumerate(counts.labels)}
    interval = bootstrap_interval(counts.micro, f1_of, counts.units, seed, method, resamples)
    by_label = label_intervals(counts.array, counts.labels, counts.units, seed, method)
    return EntityReport(
        strict=LabelScores(scores, interval, by_label),
        gold=counts.gold,
        predicted=counts.predicted,
        documents=len(counts.array),
        documents_without_gold=counts.documents_without_gold,
    )


def _count(table: SpanTable, pairs: Sequence[Pair]) -> EntityCounts:
    labels = len(table.labels)
    array = np.zeros((table.documents, labels, 3), np.int32)
    cells, flat = table.document * labels + table.label, array.reshape(-1, 3)
    for column, counts in enumerate((table.equal, table.predicted - table.equal, table.gold - table.equal)):
        flat[:, column] = tally(cells, len(flat), counts)
    return EntityCounts(
        labels=table.labels,
        array=array,
        units=units_of([gold for gold, _ in pairs]),
        gold=_describe(table, table.gold),
        predicted=_describe(table, table.predicted),
        documents_without_gold=sum(not gold.spans for gold, _ in pairs),
    )


def _describe(table: SpanTable, copies: npt.NDArray[np.int64]) -> SpanCounts:
    held = copies > 0
    total = int(copies.sum())
    return SpanCounts(
        total=total,
        discontinuous=int(copies[table.pieces > 0].sum()),
        overlapping=_overlapping(table.start[held], table.end[held]),
        duplicates=total - int(held.sum()),
    )


def _overlapping(start: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> int:
    """How many of these bounds, sorted, share a character with another of them."""
    shares = np.zeros(len(start), np.bool_)
    shares[1:] = start[1:] < np.maximum.accumulate(end)[:-1]
    shares[:-1] |= start[1:] < end[:-1]
    return int(shares.sum())
