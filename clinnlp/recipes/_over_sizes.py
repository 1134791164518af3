"""Runs that differ in their training notes alone: the learning curve through their scores."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from clinnlp.recipes._runs import StoredRun, short_name, training_key

if TYPE_CHECKING:
    from clinnlp.evaluation.comparison import Arm
    from clinnlp.evaluation.learning import LearningCurve

FEWEST_SIZES = 3
ALIKE = 1.2  # whole patients make 10 to 12 notes where 10 were asked for


def over_sizes(stored: Sequence[StoredRun], scores: "Sequence[Arm]", seed: int) -> "dict[str, LearningCurve]":
    """A curve for each set of runs with equal settings but for data, seed and folder, on three sizes or more.

    `scores` are those of the runs, in their order. Runs without a score or a recorded number of notes are left out.
    """
    from clinnlp.evaluation.learning import learning_curve

    found: dict[str, tuple[StoredRun, list[tuple[int, float]]]] = {}
    for run, score in zip(stored, scores, strict=True):
        notes = run.trained.get("facts", {}).get("train notes")
        if notes and not math.isnan(score.mean):
            found.setdefault(training_key(run, "data"), (run, []))[1].append((notes, score.mean))
    curves: dict[str, LearningCurve] = {}
    for first, measured in found.values():
        by_size = _by_size(measured)
        if len(by_size) >= FEWEST_SIZES:
            name = short_name(first)
            curves[f"{name}, as {first.name}" if name in curves else name] = learning_curve(by_size, seed)
    return curves


def _by_size(measured: Sequence[tuple[int, float]]) -> dict[int, list[float]]:
    """Scores by number of notes; numbers within a fifth of the smallest of them are one size, their mean."""
    sizes: list[list[tuple[int, float]]] = []
    for notes, score in sorted(measured, key=lambda one: one[0]):
        if not sizes or notes > ALIKE * sizes[-1][0][0]:
            sizes.append([])
        sizes[-1].append((notes, score))
    return {round(fmean(notes for notes, _ in size)): [score for _, score in size] for size in sizes}
