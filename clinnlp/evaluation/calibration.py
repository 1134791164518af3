"""Calibration: a monotone map from scores to probabilities, fitted on dev, stored with the model, and invertible."""

import hashlib
import json
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from clinnlp.core.document import Document, Span
from clinnlp.errors import ConfigError, DataError
from clinnlp.evaluation.decisions import Decisions, label_scores, note_decisions, probabilities, span_decisions
from clinnlp.evaluation.notes import LABEL_SCORES
from clinnlp.evaluation.pairing import Pair, pair
from clinnlp.evaluation.reliability import CLIP, Bools, Floats

log = logging.getLogger("clinnlp")

ITEMS = 50  # fewest scored items (notes, where notes are classified) to fit a map on
LABEL_ITEMS = 200  # fewest items of a label for a map of its own ...
LABEL_RARER = 20  # ... and fewest of its right ones, and of its wrong ones
# within these bounds a clipped score comes back from the map to 1e-9: nearer to 1 there are too few floats
TEMPERATURES = (0.5, 20.0)
BIASES = (-10.0, 3.0)


@dataclass(frozen=True)
class LabelCalibration:
    """The map of one label."""

    label: str
    """The label."""
    temperature: float = 1.0
    """What the log-odds of its scores are divided by."""
    bias: float = 0.0
    """What is added to them then."""
    items: int = 0
    """Dev items it was fitted on."""

    def __post_init__(self) -> None:
        _check(self.temperature, self.bias)


@dataclass(frozen=True)
class Calibration:
    """The map of a head: sigmoid(logit(score) / temperature + bias); classes: softmax(log(score) / temperature).

    Temperature scaling (Guo et al. 2017) with the bias of Platt (1999) where a score is of one thing alone. Both
    are monotone: the order of one label's scores, and the surest class of a note, stay as they were.
    """

    temperature: float = 1.0
    """What log-odds are divided by: over 1 for a head that is too sure of itself; fitted on dev."""
    bias: float = 0.0
    """What is added to the log-odds then; fitted on dev, always 0 for multi-class notes."""
    labels: tuple[LabelCalibration, ...] = ()
    """The labels with a map of their own, because dev holds enough of them."""
    items: int = 0
    """Dev items it was fitted on: spans, notes, or notes times labels."""
    reason: str = ""
    """What it was fitted on, or why it was not fitted."""
    fitted_on: str = ""
    """SHA-256 of the ids and texts of all dev documents together."""

    def __post_init__(self) -> None:
        _check(self.temperature, self.bias)

    @property
    def changes_nothing(self) -> bool:
        return (self.temperature, self.bias, self.labels) == (1.0, 0.0, ())

    def was_fitted_on(self, documents: Iterable[Document]) -> bool:
        """Whether exactly these documents were the dev split it was fitted on."""
        return bool(self.fitted_on) and self.fitted_on == documents_sha256(documents)

    def apply(self, scores: Floats, labels: Sequence[str], classes: bool = False) -> Floats:
        """Calibrated scores, each of its label: (N,) of N spans, or (..., L) of L labels.

        `classes`: the last axis holds the probabilities of the classes of a note, which sum to 1.
        """
        if self.changes_nothing:
            return scores
        if classes:
            return _softmax(np.log(np.clip(scores, CLIP, 1.0)) / self.temperature)
        temperatures, biases = self._of(labels)
        return _sigmoid(_logit(np.clip(scores, CLIP, 1 - CLIP)) / temperatures + biases)

    def remove(self, scores: Floats, labels: Sequence[str], classes: bool = False) -> Floats:
        """The raw scores that `apply` made these of, to 1e-9 (held 1e-6 away from 0 and 1)."""
        if self.changes_nothing:
            return scores
        if classes:
            return _softmax(np.log(np.maximum(scores, np.finfo(np.float64).tiny)) * self.temperature)
        temperatures, biases = self._of(labels)
        held = np.clip(scores, np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg)
        return np.clip(_sigmoid((_logit(held) - biases) * temperatures), CLIP, 1 - CLIP)

    def _of(self, labels: Sequence[str]) -> tuple[Floats, Floats]:
        own = {one.label: (one.temperature, one.bias) for one in self.labels}
        pairs = [own.get(label, (self.temperature, self.bias)) for label in labels]
        both = np.array(pairs, np.float64).reshape(len(pairs), 2)
        return both[:, 0], both[:, 1]


def calibrate(
    documents: Sequence[Document], calibration: Calibration, multi_label: bool | None = None
) -> list[Document]:
    """The documents with calibrated scores of their spans or, with `multi_label` given, of their note labels.

    Spans without a score stay so; labels stay as they are. Raises DataError for scores that are no probabilities.
    """
    return _changed(documents, calibration, multi_label, back=False)


def uncalibrate(
    documents: Sequence[Document], calibration: Calibration, multi_label: bool | None = None
) -> list[Document]:
    """The documents with the raw scores that `calibrate` changed."""
    return _changed(documents, calibration, multi_label, back=True)


def fit_calibration(
    gold: Iterable[Document], predicted: Iterable[Document], multi_label: bool | None = None
) -> Calibration:
    """Fit the map of the raw scores of predicted spans or, with `multi_label` given, of note labels on dev.

    It minimises log loss. Where dev holds under 50 items, or all are right or all wrong, nothing is fitted and
    `reason` says why. Raises DataError if documents do not fit or scores are no probabilities.
    """
    pairs = pair(gold, predicted)
    decisions = span_decisions(pairs) if multi_label is None else note_decisions(pairs, multi_label)
    calibration = _fitted(pairs, decisions, multi_label)
    if calibration.items:
        calibration = replace(calibration, fitted_on=documents_sha256(one for one, _ in pairs))
    log.info("calibration: %s", calibration.reason)
    return calibration


def check_apart(fitted_on: Iterable[Document], scored: Iterable[Document]) -> None:
    """Raises DataError if a document, its id and text, is on both sides: what is fitted is not scored there."""
    known = {(document.id, document.text) for document in fitted_on}
    documents = list(scored)
    both = sum((document.id, document.text) in known for document in documents)
    if both:
        raise DataError(
            f"{both} of {len(documents)} scored documents are among those the calibration is fitted on",
            next="fit it on the dev split and score the test split",
        )


def documents_sha256(documents: Iterable[Document]) -> str:
    """One hash of the ids and texts of all documents together, whatever their order; none of a single one."""
    digest = hashlib.sha256()
    for both in sorted((document.id, document.text) for document in documents):
        digest.update(json.dumps(both).encode() + b"\n")
    return digest.hexdigest()


def _fitted(pairs: Sequence[Pair], decisions: Decisions, multi_label: bool | None) -> Calibration:
    unit = "predicted spans" if multi_label is None else "notes"
    count = len(decisions.scores) if multi_label is None else len(np.unique(decisions.document))
    classes = _classes(pairs) if multi_label is False else None
    if classes is not None:
        count = len(classes[0])
    if count < ITEMS:
        return Calibration(reason=f"not fitted: {count} scored {unit} on dev, {ITEMS} are needed")
    correct = decisions.correct
    if correct.all() or not correct.any():
        return Calibration(reason=f"not fitted: everything scored on dev is {'right' if correct.all() else 'wrong'}")
    reason = f"fitted on {count:,} {unit} of dev"
    if classes is not None:
        return Calibration(_class_temperature(*classes), items=count, reason=reason)
    temperature, bias = _platt(decisions.scores, correct)
    return Calibration(temperature, bias, tuple(_own_maps(decisions)), len(correct), reason)


def _own_maps(decisions: Decisions) -> Iterable[LabelCalibration]:
    for number, name in enumerate(decisions.names):
        own = decisions.label == number
        scores, correct = decisions.scores[own], decisions.correct[own]
        right = int(correct.sum())
        if len(scores) >= LABEL_ITEMS and min(right, len(scores) - right) >= LABEL_RARER:
            yield LabelCalibration(name, *_platt(scores, correct), len(scores))


def _platt(scores: Floats, correct: Bools) -> tuple[float, float]:
    """Temperature and bias with the least log loss; targets a little inside 0 and 1 as in Platt (1999)."""
    from scipy.optimize import minimize
    from scipy.special import expit, log_expit

    odds = _logit(np.clip(scores, CLIP, 1 - CLIP))
    right = int(correct.sum())
    wrong = len(correct) - right
    aims = np.where(correct, (right + 1) / (right + 2), 1 / (wrong + 2))

    def loss(weights: Floats) -> tuple[float, Floats]:
        logits = weights[0] * odds + weights[1]
        slope = (expit(logits) - aims) / len(odds)
        value = -(aims * log_expit(logits) + (1 - aims) * log_expit(-logits)).mean()
        return float(value), np.array([slope @ odds, slope.sum()])

    bounds = [(1 / TEMPERATURES[1], 1 / TEMPERATURES[0]), BIASES]  # convex in slope and bias: one minimum
    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds)
    return float(np.clip(1 / found.x[0], *TEMPERATURES)), float(found.x[1])


def _classes(pairs: Sequence[Pair]) -> tuple[npt.NDArray[np.int64], Floats]:
    """The gold class (N,) and the probabilities (N, L) of notes; those whose class has no score are left out."""
    scored = [(set(one.labels), label_scores(said)) for one, said in pairs]
    names = sorted({name for _, scores in scored for name in scores})
    position = {name: number for number, name in enumerate(names)}
    known = [
        (position[label], [scores.get(name, 0.0) for name in names])
        for labels, scores in scored
        for label in labels
        if len(labels) == 1 and label in scores
    ]
    truth = np.array([number for number, _ in known], np.int64)
    return truth, probabilities([scores for _, scores in known]).reshape(len(known), len(names))


def _class_temperature(truth: npt.NDArray[np.int64], scores: Floats) -> float:
    """The temperature with the least log loss of the gold class."""
    from scipy.optimize import minimize_scalar

    logs = np.log(np.clip(scores, CLIP, 1.0))

    def loss(log_temperature: float) -> float:
        scaled = logs / math.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(truth)), truth]).mean())

    bounds = (math.log(TEMPERATURES[0]), math.log(TEMPERATURES[1]))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.clip(math.exp(found.x), *TEMPERATURES))


def _changed(
    documents: Sequence[Document], calibration: Calibration, multi_label: bool | None, back: bool
) -> list[Document]:
    if calibration.changes_nothing:
        return list(documents)
    change = calibration.remove if back else calibration.apply
    if multi_label is None:
        spans = [span for document in documents for span in document.spans if span.score is not None]
        scores = probabilities([span.score for span in spans if span.score is not None])
        fresh = iter(change(scores, [span.label for span in spans]).tolist())
        return [
            replace(d, spans=tuple(s if s.score is None else _with_score(s, next(fresh)) for s in d.spans))
            for d in documents
        ]
    found: list[Document] = []
    for document in documents:
        given = label_scores(document)
        if given:
            values = change(probabilities(list(given.values())), list(given), classes=not multi_label)
            fresh_scores = dict(zip(given, values.tolist(), strict=True))
            document = replace(document, meta={**document.meta, LABEL_SCORES: fresh_scores})
        found.append(document)
    return found


def _with_score(span: Span, score: float) -> Span:
    return Span(span.start, span.end, span.label, score, span.attributes, span.fragments)  # faster than replace()


def _check(temperature: float, bias: float) -> None:
    for name, value, (low, high) in (("temperature", temperature, TEMPERATURES), ("bias", bias, BIASES)):
        if not low <= value <= high:
            raise ConfigError(
                f"{value} is not from {low:g} to {high:g}",
                where=f"calibration.{name}",
                next="leave it out: finetune fits it on the dev split",
            )


def _logit(p: Floats) -> Floats:
    return np.asarray(np.log(p) - np.log1p(-p), np.float64)


def _sigmoid(x: Floats) -> Floats:
    small = np.exp(-np.abs(x))
    small /= 1 + small
    return np.asarray(np.where(x > 0, 1 - small, small), np.float64)  # 1 - small: one rounding near 1


def _softmax(logits: Floats) -> Floats:
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True), np.float64)
