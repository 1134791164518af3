"""Notes ranked by the probability of a label: what the ranking is worth, and where to cut it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """N notes cut after each of the K distinct scores, highest first; equal scores are never parted."""

    scores: npt.NDArray[np.float64]  # (K,) distinct, falling
    kept: npt.NDArray[np.int64]  # (K,) notes with at least this score
    hits: npt.NDArray[np.int64]  # (K,) those of them that have the label in gold

    @classmethod
    def of(cls, gold: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> "Ranking":
        """Rank notes by `scores (N,)`, finite numbers; `gold (N,)` says which of them have the label."""
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], ranked.size > 0))
        return cls(ranked[last], last + 1, np.cumsum(gold[order], dtype=np.int64)[last])

    @property
    def positives(self) -> int:
        return int(self.hits[-1]) if self.hits.size else 0

    @property
    def negatives(self) -> int:
        return int(self.kept[-1]) - self.positives if self.hits.size else 0

    @property
    def average_precision(self) -> float:
        """The mean over positives of the precision at their score, without interpolation; NaN without positives."""
        if not self.positives:
            return np.nan
        gained = np.diff(self.hits, prepend=0)
        return float((gained * (self.hits / self.kept)).sum() / self.positives)

    @property
    def auroc(self) -> float:
        """How often a positive scores above a negative, ties counted half; NaN without both.

        The Mann-Whitney statistic (Hanley and McNeil 1982), from whole counts.
        """
        if not self.positives or not self.negatives:
            return np.nan
        passed = self.kept - self.hits  # negatives at this score or above
        level = np.diff(passed, prepend=0)
        twice = np.diff(self.hits, prepend=0) * (2 * (self.negatives - passed) + level)
        return float(twice.sum() / (2 * self.positives * self.negatives))

    def best_threshold(self, missed: int = 0) -> float | None:
        """The threshold with the best F1, for `score >= threshold`; None where no note has the label.

        It lies midway between the last score that is kept and the next lower one (or 0), so that a new note near
        one of them is not decided by the last digit. Of cuts with equal F1 the one that keeps fewest notes is
        taken. `missed` positives without a score are missed at every threshold.
        """
        if not self.positives:
            return None
        f1 = 2 * self.hits / (self.kept + self.positives + missed)  # of whole numbers: equal ratios are equal floats
        best = int(f1.argmax())  # the first of the best
        lowest = float(self.scores[best])
        below = float(self.scores[best + 1]) if best + 1 < len(self.scores) else 0.0
        middle = (lowest + below) / 2
        return middle if below < middle <= lowest else lowest  # neighbouring floats have no middle
