"""Calibration reports: scores against gold, and what calibration changed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from clinnlp.core.document import Document
from clinnlp.core.report import Interval
from clinnlp.evaluation.calibration import Calibration, calibrate, check_apart, fit_calibration, uncalibrate
from clinnlp.evaluation.decisions import Decisions, note_decisions, span_decisions
from clinnlp.evaluation.pairing import pair
from clinnlp.evaluation.reliability import Floats, Reliability, RiskCoverage, measure, risk_coverage
from clinnlp.evaluation.resample import RESAMPLES, divide, percentile_interval, resampled_sums, sum_by_unit
from clinnlp.evaluation.thresholds import TARGETS, Target, Threshold, choose_thresholds, reached

_MICRO = 1_000_000  # squared errors are resampled in millionths: the bootstrap sums whole numbers


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """The scores of predictions held against gold; `unscored` decisions came without a score and are left out."""

    unit: str
    documents: int
    unscored: int
    overall: Reliability
    per_label: Mapping[str, Reliability]
    risk_coverage: RiskCoverage
    thresholds: tuple[Threshold, ...]
    brier_interval: Interval | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: null for NaN."""
        content: dict[str, Any] = without_nan({
            "unit": self.unit,
            "documents": self.documents,
            "unscored": self.unscored,
            **self.overall.as_dict(),
            "brier_interval": None if self.brier_interval is None else asdict(self.brier_interval),
            "per_label": {label: one.as_dict(bins=False) for label, one in self.per_label.items()},
            "risk_coverage": self.risk_coverage.as_dict(),
            "thresholds": [one.as_dict() for one in self.thresholds],
        })  # fmt: skip
        return content


@dataclass(frozen=True, slots=True)
class BeforeAndAfter:
    """What calibration did to the scores of the same predictions.

    `brier_change` is after minus before, so that below 0 is better; `fitted_here` says that these are the very
    documents the calibration was fitted on, where it cannot but look good.
    """

    before: CalibrationReport
    after: CalibrationReport
    calibration: Calibration
    fitted_here: bool
    brier_change_interval: Interval | None = None

    @property
    def brier_change(self) -> float:
        return self.after.overall.brier - self.before.overall.brier

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: null for NaN."""
        interval = self.brier_change_interval
        content: dict[str, Any] = without_nan({
            "calibration": asdict(self.calibration),
            "fitted_here": self.fitted_here,
            "brier_change": self.brier_change,
            "brier_change_interval": None if interval is None else asdict(interval),
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
        })  # fmt: skip
        return content


def before_and_after(
    gold: Iterable[Document],
    predicted: Iterable[Document],
    calibration: Calibration,
    multi_label: bool | None = None,
    thresholds: Sequence[Threshold] | None = None,
    seed: int = 13,
    resamples: int = RESAMPLES,
) -> BeforeAndAfter:
    """The reports of calibrated predictions and of their raw scores, which are recovered, not predicted again.

    `thresholds`: those chosen on dev, to be scored here; without, they are chosen here. Raises DataError as
    `calibration_report`.
    """
    golds, calibrated = list(gold), list(predicted)
    after = _decide(golds, calibrated, multi_label)
    before = _decide(golds, uncalibrate(calibrated, calibration, multi_label), multi_label)
    errors = [_squared(before), _squared(after)]
    raw, now, change = _mean_intervals([*errors, errors[1] - errors[0]], after, seed, resamples)
    if thresholds is None:
        thresholds = choose_thresholds(after, TARGETS, seed, resamples)
    else:
        thresholds = reached(after, thresholds, seed, resamples)
    return BeforeAndAfter(
        before=_report(before, (), raw),
        after=_report(after, thresholds, now),
        calibration=calibration,
        fitted_here=calibration.was_fitted_on(golds),
        brier_change_interval=change,
    )


def calibrate_elsewhere(
    dev: tuple[Sequence[Document], Sequence[Document]],
    test: tuple[Sequence[Document], Sequence[Document]],
    multi_label: bool | None = None,
    seed: int = 13,
) -> tuple[list[Document], BeforeAndAfter]:
    """Calibrate predictions of any origin: fit on (gold, predicted) of dev, apply to and score on those of test.

    Thresholds are chosen on dev too. Raises DataError if a document is on both sides, and as `fit_calibration`.
    """
    check_apart(dev[0], test[0])
    calibration = fit_calibration(*dev, multi_label)
    chosen = calibration_report(dev[0], calibrate(dev[1], calibration, multi_label), multi_label, seed=seed).thresholds
    predicted = calibrate(test[1], calibration, multi_label)
    return predicted, before_and_after(test[0], predicted, calibration, multi_label, chosen, seed)


def calibration_report(
    gold: Iterable[Document],
    predicted: Iterable[Document],
    multi_label: bool | None = None,
    targets: Sequence[Target] = TARGETS,
    seed: int = 13,
    resamples: int = RESAMPLES,
) -> CalibrationReport:
    """Hold the scores of predicted spans (or, with `multi_label` given, of note labels) against gold.

    A target's threshold is chosen on these very documents, so on dev; `before_and_after` scores it on others.
    Raises DataError if documents do not fit or scores are no probabilities.
    """
    decisions = _decide(gold, predicted, multi_label)
    (interval,) = _mean_intervals([_squared(decisions)], decisions, seed, resamples)
    return _report(decisions, choose_thresholds(decisions, targets, seed, resamples), interval)


def without_nan(value: Any) -> Any:
    """Plain values with None for every NaN, in lists too."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _decide(gold: Iterable[Document], predicted: Iterable[Document], multi_label: bool | None) -> Decisions:
    pairs = pair(gold, predicted)
    return span_decisions(pairs) if multi_label is None else note_decisions(pairs, multi_label)


def _squared(decisions: Decisions) -> Floats:
    return np.asarray((decisions.scores - decisions.correct) ** 2, np.float64)


def _report(decisions: Decisions, thresholds: Sequence[Threshold], brier: Interval | None) -> CalibrationReport:
    scores, correct = decisions.scores, decisions.correct
    return CalibrationReport(
        unit=decisions.unit,
        documents=len(decisions.gold),
        unscored=decisions.unscored,
        overall=measure(scores, correct),
        per_label={
            name: measure(scores[decisions.label == number], correct[decisions.label == number])
            for number, name in enumerate(decisions.names)
        },
        risk_coverage=risk_coverage(decisions.confidence, decisions.right),
        thresholds=tuple(thresholds),
        brier_interval=brier,
    )


def _mean_intervals(
    columns: Sequence[Floats], decisions: Decisions, seed: int, resamples: int
) -> list[Interval | None]:
    """The bootstrap intervals by group of the means of columns (N,), one value from -1 to 1 per decision."""
    if decisions.units.count < 2 or not len(decisions.scores):
        return [None] * len(columns)
    values = np.column_stack([*(np.round(column * _MICRO) for column in columns), np.ones(len(decisions.scores))])
    counts = np.zeros((len(decisions.gold), len(columns) + 1), np.int64)
    np.add.at(counts, decisions.document, values.astype(np.int64))
    sums = resampled_sums(sum_by_unit(counts, decisions.units), seed, resamples)
    return [percentile_interval(divide(sums[:, i] / _MICRO, sums[:, -1]), decisions.units) for i in range(len(columns))]
