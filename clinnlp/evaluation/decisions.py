"""What a score is of: predicted spans, the label of a note, or each label of a note, and whether it was right."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clinnlp.core.document import Document
from clinnlp.errors import DataError
from clinnlp.evaluation.notes import LABEL_SCORES
from clinnlp.evaluation.pairing import Pair
from clinnlp.evaluation.resample import Units, units_of

Row = tuple[int, str, float, bool, bool]  # document, label, score, correct, chosen


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """N scored decisions of D documents; `correct` says whether gold holds what the score is the probability of.

    `chosen` is False for a label that a multi-label model did not give; not to give a wrong one is right.
    """

    unit: str
    names: tuple[str, ...]
    label: npt.NDArray[np.int64]  # (N,) index into names
    scores: npt.NDArray[np.float64]  # (N,) in [0, 1]
    correct: npt.NDArray[np.bool_]  # (N,)
    chosen: npt.NDArray[np.bool_]  # (N,)
    document: npt.NDArray[np.int64]  # (N,)
    gold: npt.NDArray[np.int64]  # (D,) spans or labels in gold, for recall
    units: Units
    unscored: int  # decisions without a score

    @property
    def confidence(self) -> npt.NDArray[np.float64]:
        """The probability (N,) of what was decided."""
        return np.asarray(np.where(self.chosen, self.scores, 1 - self.scores), np.float64)

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Whether what was decided is so (N,)."""
        return np.asarray(self.chosen == self.correct, np.bool_)


def span_decisions(pairs: Sequence[Pair]) -> Decisions:
    """One decision per predicted span, correct by strict match; of copies of a span the surest are matched first.

    Raises DataError for scores that are no probabilities.
    """
    rows: list[Row] = []
    unscored = 0
    for number, (gold, predicted) in enumerate(pairs):
        left = Counter(span.key for span in gold.spans)
        scored = [(span.score, span) for span in predicted.spans if span.score is not None]
        unscored += len(predicted.spans) - len(scored)
        correct = [False] * len(scored)
        for index in sorted(range(len(scored)), key=lambda i: -scored[i][0]):
            key = scored[index][1].key
            correct[index] = left[key] > 0
            left[key] -= 1
        rows += [(number, span.label, score, hit, True) for (score, span), hit in zip(scored, correct, strict=True)]
    return _decisions("span", rows, pairs, [len(gold.spans) for gold, _ in pairs], unscored)


def note_decisions(pairs: Sequence[Pair], multi_label: bool) -> Decisions:
    """One decision per note, its label; or, multi-label, one per note and label that has a probability.

    Probabilities are in `meta["label_scores"]`. Raises DataError for scores that are no probabilities.
    """
    rows: list[Row] = []
    unscored = 0
    for number, (gold, predicted) in enumerate(pairs):
        scores = label_scores(predicted)
        if multi_label:
            unscored += not scores
            rows += [(number, name, p, name in gold.labels, name in predicted.labels) for name, p in scores.items()]
        elif predicted.labels and predicted.labels[0] in scores:
            name = predicted.labels[0]
            rows.append((number, name, scores[name], name in gold.labels, True))
        else:
            unscored += 1
    unit = "note and label" if multi_label else "note"
    return _decisions(unit, rows, pairs, [len(set(gold.labels)) for gold, _ in pairs], unscored)


def label_scores(document: Document) -> Mapping[str, float]:
    """The probability of each label of a note, in `meta["label_scores"]`; empty where there is none."""
    scores = document.meta.get(LABEL_SCORES) or {}
    if not isinstance(scores, Mapping):
        raise DataError(f"label_scores is a {type(scores).__name__}", next="write it as {label: probability}")
    return scores


def _decisions(unit: str, rows: list[Row], pairs: Sequence[Pair], gold: list[int], unscored: int) -> Decisions:
    names = tuple(sorted({name for _, name, _, _, _ in rows}))
    position = {name: index for index, name in enumerate(names)}
    document, labels, scores, correct, chosen = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    return Decisions(
        unit=unit,
        names=names,
        label=np.array([position[name] for name in labels], np.int64),
        scores=probabilities(scores),
        correct=np.array(correct, np.bool_),
        chosen=np.array(chosen, np.bool_),
        document=np.array(document, np.int64),
        gold=np.array(gold, np.int64),
        units=units_of([one for one, _ in pairs]),
        unscored=unscored,
    )


def probabilities(scores: Sequence[Any]) -> npt.NDArray[np.float64]:
    """The scores as an array. Raises DataError, with counts, unless all are numbers from 0 to 1."""
    try:
        values = np.array(scores, np.float64)
    except (TypeError, ValueError):
        raise DataError("scores are not numbers", next="write probabilities, or no scores at all") from None
    bad = int((~((values >= 0) & (values <= 1))).sum())
    if bad:
        raise DataError(
            f"{bad} of {values.size} scores are no probabilities (numbers from 0 to 1)",
            next="write probabilities, or no scores at all",
        )
    return values
