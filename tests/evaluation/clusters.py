"""Synthetic notes of patients, on which systems are good or bad patient by patient, with a micro F1 known by design."""

import numpy as np
import numpy.typing as npt

from clinnlp.core.document import Document, Span
from clinnlp.evaluation.resample import (
    Statistic,
    Units,
    bca_interval,
    left_out,
    percentile_interval,
    resampled,
    sum_by_unit,
    total,
)

TRUE_F1 = 0.8  # 2 * 6 * 0.8 / (2 * 6 * 0.8 + 1.2 + 6 * 0.2)
ENTITIES, RECALL, SPURIOUS = 6.0, 0.8, 1.2  # per note; mean over patients; per note, mean over patients

Counts = npt.NDArray[np.int64]


def simulate(generator: np.random.Generator, patients: int, systems: int = 1) -> tuple[Counts, Units, Units]:
    """tp, fp, fn of each system on each note, (systems, notes, 3), and the notes by patient and each by itself.

    A patient has 1 to 8 notes. How hard the patient is holds for all systems, how well a system does with the
    patient for that system alone; both have the same distribution for all systems, so none is better than another.
    """
    notes = generator.integers(1, 9, patients)
    patient = np.repeat(np.arange(patients), notes)
    gold = generator.poisson(ENTITIES, len(patient))
    spread = (4 * RECALL, 4 * (1 - RECALL))
    hard, own = generator.beta(*spread, patients), generator.beta(*spread, (systems, patients))
    loud = generator.gamma(2.0, SPURIOUS / 2, patients) + generator.gamma(2.0, SPURIOUS / 2, (systems, patients))
    tp = generator.binomial(gold, ((hard + own) / 2)[:, patient])
    fp = generator.poisson((loud / 2)[:, patient])
    counts = np.stack([tp, fp, gold - tp], axis=2).astype(np.int64)
    return counts, Units(patient, patients, "group"), Units(np.arange(len(patient)), len(patient), "document")


def as_documents(counts: Counts, patient: npt.NDArray[np.int64]) -> tuple[list[Document], list[Document]]:
    """Gold and predicted documents with these counts (notes, 3): one character and one space per entity."""
    gold, predicted = [], []
    for number, (tp, fp, fn) in enumerate(counts.tolist()):
        spans = [Span(2 * i, 2 * i + 1, "X") for i in range(tp + fn + fp)]
        text, group = "x " * (tp + fn + fp), f"p{patient[number]}"
        gold.append(Document(f"d{number}", text, tuple(spans[: tp + fn]), group=group))
        predicted.append(Document(f"d{number}", text, (*spans[:tp], *spans[tp + fn :]), group=group))
    return gold, predicted


def both_intervals(counts: Counts, statistic: Statistic, units: Units, seed: int) -> list[tuple[float, float]]:
    """The percentile and the BCa interval of the same 1,000 resamples."""
    by_unit = sum_by_unit(counts, units)
    values = resampled(by_unit, statistic, seed, 1000)
    observed = total(by_unit, statistic)
    made = percentile_interval(values, units), bca_interval(values, left_out(by_unit, statistic), observed, units)
    return [(interval.low, interval.high) for interval in made if interval is not None]
