"""Strict span scores: the same bounds, label and fragments, over whole documents, in characters."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clinnlp.core.document import Document, Span
from clinnlp.core.report import EntityReport, LabelScores, Score, SpanCounts
from clinnlp.evaluation.pairing import Pair, pair
from clinnlp.evaluation.resample import (
    RESAMPLES,
    Counts,
    Units,
    f1_of,
    percentile_interval,
    resampled_sums,
    sum_by_unit,
    units_of,
)


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
) -> EntityReport:
    """Score predicted spans against gold spans, joined by document id; `labels` declares further labels.

    The interval of micro F1 is a bootstrap by group. Raises DataError if the two sides hold different documents.
    """
    return report_spans(count_spans(pair(gold, predicted), labels), seed, resamples)


def count_spans(pairs: Sequence[Pair], labels: Sequence[str] | None = None) -> EntityCounts:
    """Count matches by document and label, spans as multisets: a copy of a span needs a copy to match."""
    found: list[tuple[int, str, int, int]] = []  # document, label, column, count
    for row, (gold, predicted) in enumerate(pairs):
        ours, theirs = Counter(s.key for s in gold.spans), Counter(s.key for s in predicted.spans)
        for column, keys in enumerate((ours & theirs, theirs - ours, ours - theirs)):
            found.extend((row, key[2], column, count) for key, count in keys.items())
    names = tuple(sorted({label for _, label, _, _ in found}.union(labels or ())))
    position = {label: number for number, label in enumerate(names)}
    array = np.zeros((len(pairs), len(names), 3), np.int32)
    if found:
        rows, spelled, columns, counts = zip(*found, strict=True)
        np.add.at(array, (rows, [position[label] for label in spelled], columns), counts)
    return EntityCounts(
        labels=names,
        array=array,
        units=units_of([gold for gold, _ in pairs]),
        gold=_describe([gold.spans for gold, _ in pairs]),
        predicted=_describe([predicted.spans for _, predicted in pairs]),
        documents_without_gold=sum(not gold.spans for gold, _ in pairs),
    )


def report_spans(counts: EntityCounts, seed: int = 13, resamples: int = RESAMPLES) -> EntityReport:
    """Sum counts over documents and draw the interval of micro F1 by group."""
    totals = counts.array.sum(axis=0, dtype=np.int64).tolist()
    interval = None
    if counts.units.count > 1:
        sums = resampled_sums(sum_by_unit(counts.micro, counts.units), seed, resamples)
        interval = percentile_interval(f1_of(sums), counts.units)
    return EntityReport(
        strict=LabelScores({label: Score(*totals[i]) for i, label in enumerate(counts.labels)}, interval),
        gold=counts.gold,
        predicted=counts.predicted,
        documents=len(counts.array),
        documents_without_gold=counts.documents_without_gold,
    )


def _describe(spans_by_document: Sequence[Sequence[Span]]) -> SpanCounts:
    total = discontinuous = overlapping = duplicates = 0
    for spans in spans_by_document:
        total += len(spans)
        if spans:
            keys = {span.key for span in spans}
            discontinuous += sum(bool(span.fragments) for span in spans)
            duplicates += len(spans) - len(keys)
            overlapping += _overlapping([key[:2] for key in keys])
    return SpanCounts(total, discontinuous, overlapping, duplicates)


def _overlapping(bounds: list[tuple[int, int]]) -> int:
    """How many of these bounds share a character with another of them."""
    bounds.sort()
    count, reach = 0, 0
    for number, (start, end) in enumerate(bounds):
        into_next = number + 1 < len(bounds) and bounds[number + 1][0] < end
        count += start < reach or into_next
        reach = max(reach, end)
    return count
