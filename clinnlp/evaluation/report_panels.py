"""Calibration and error analysis as panels of the page and as sentences of report.txt."""

import math
from collections.abc import Iterator

from clinnlp.core.report import Score
from clinnlp.evaluation.calibration_report import BeforeAndAfter, CalibrationReport
from clinnlp.evaluation.error_report import ErrorReport, no_slice
from clinnlp.evaluation.panels import Bar, Cell, Chart, Line, Panel, Point, Table, percent_axis
from clinnlp.evaluation.reliability import Reliability, RiskCoverage, wilson
from clinnlp.evaluation.slices import RANKED, Slices, worst
from clinnlp.evaluation.thresholds import Threshold

RISKS = (0.04, 0.08, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Where an axis of risks may end: a quarter of each is a whole number of percents."""


def calibration_facts(found: BeforeAndAfter) -> Iterator[str]:
    """What calibration did, in sentences."""
    before, after = found.before.overall, found.after.overall
    if not after.items:
        yield "Calibration: no scores to look at"
        return
    scores = f"{after.items:,} {found.after.unit} scores"
    if found.calibration.changes_nothing:
        yield (
            f"The {scores}, not calibrated here: ECE {after.ece:.4f} (perfect scores would show "
            f"{after.ece_by_chance:.4f} by chance), Brier {after.brier:.4f}, log loss {after.log_loss:.4f}"
        )
    else:
        yield (
            f"Calibration of {scores}, raw to calibrated: ECE {before.ece:.4f} to {after.ece:.4f} (perfect scores "
            f"would show {after.ece_by_chance:.4f} by chance), Brier {before.brier:.4f} to {after.brier:.4f}, "
            f"log loss {before.log_loss:.4f} to {after.log_loss:.4f}"
        )
    if found.calibration.reason:
        yield f"The calibration was {found.calibration.reason}"
    if found.fitted_here:
        yield "The calibration was fitted on these very documents, where it cannot but look good"


def calibration_panel(found: BeforeAndAfter) -> Panel:
    """The reliability diagram before and after, the risk-coverage curve, and thresholds for targets."""
    lines = [Line("raw", _reliability(found.before.overall))]
    if not found.calibration.changes_nothing:
        lines.append(Line("calibrated", _reliability(found.after.overall)))
    diagram = Chart(percent_axis("score, %"), percent_axis("share correct, %"), tuple(lines), diagonal=True)
    charts = [diagram] if found.after.overall.items else []
    if found.after.risk_coverage.points:
        charts.append(_risk(found.after.risk_coverage))
    facts = [*calibration_facts(found)]
    if any(one.chosen_here for one in found.after.thresholds):
        facts.append("The thresholds were chosen on these documents, so what they reach is a little too good")
    return Panel("Calibration", tuple(facts), _thresholds(found.after), tuple(charts))


def error_panels(errors: ErrorReport) -> Iterator[Panel]:
    """Kinds of error and what was lost on the way, then the slices that cost most."""
    if errors.kinds is not None:
        kinds = tuple(
            (name, *(f"{count[side]:,}" for side in ("errors", "gold", "predicted")))
            for name, count in errors.kinds.items()
        )
        tables = [Table(("error", "errors", "gold spans", "predicted spans"), kinds)]
        if (lost := errors.losses) is not None:
            counts = {"found": lost.found, "lost to the flat scheme": lost.scheme, "lost to alignment": lost.alignment,
                      "lost to windows": lost.windows, "missed by the model": lost.model}  # fmt: skip
            rows = tuple((name, f"{n:,}", Bar(n / lost.gold if lost.gold else math.nan)) for name, n in counts.items())
            tables.append(Table(("gold spans", "count", "share, %"), rows))
        yield Panel("Errors", (), tuple(tables))
    for what, slices in (("entities", errors.spans), ("notes", errors.notes)):
        if slices is not None:
            yield _slice_panel(what, slices)


def _reliability(found: Reliability) -> tuple[Point, ...]:
    return tuple(
        Point(b.mean_score, b.share_correct, *wilson(b.correct, b.items), f"{b.items:,} scores")
        for b in found.equal_mass
        if b.items
    )


def _risk(curve: RiskCoverage) -> Chart:
    points = tuple(Point(kept / curve.items, wrong / kept) for _, kept, wrong in curve.points if kept)
    highest = max(point.y for point in points) if points else 1.0
    top = next(end for end in RISKS if end >= highest)
    return Chart(percent_axis("kept, most confident first, %"), percent_axis("wrong, %", 0.0, top),
                 (Line("risk", points, marks=False),))  # fmt: skip


def _thresholds(report: CalibrationReport) -> tuple[Table, ...]:
    if not report.thresholds:
        return ()
    return (Table(("target", "score from", "Precision, %", "Recall, %"), tuple(map(_threshold, report.thresholds))),)


def _threshold(one: Threshold) -> tuple[Cell, ...]:
    bars = [
        Bar(value, *((interval.low, interval.high) if interval else (None, None)))
        for value, interval in ((one.precision, one.precision_interval), (one.recall, one.recall_interval))
    ]
    reached = "out of reach" if math.isnan(one.score) else f"{one.score:.4f}"
    return (f"{one.target} {one.aim:.2f}", reached, *bars)


def _slice_panel(what: str, slices: Slices) -> Panel:
    name = "F1" if isinstance(slices.total, Score) else "accuracy"
    rows = tuple(
        (
            f"{cell.dimension}: {cell.name}{' *' if cell.worse else ''}",
            f"{cell.size:,}",
            f"{cell.excess:,.1f}",
            Bar(cell.ratio, *((cell.interval.low, cell.interval.high) if cell.interval else (None, None))),
        )
        for cell in worst(slices)
    )
    if not rows:
        return Panel(f"Where the errors are: {what}", (no_slice(slices),))
    return Panel(
        f"Where the errors are: {what}",
        (
            f"Slices with most errors above what the overall {name} would give; * where the 99 % interval of the "
            "difference to the rest of the data lies below 0",
            f"{slices.compared:,} slices were compared; those with under {RANKED} are not ranked",
        ),
        (Table(("slice", "n", "errors above", f"{name}, %"), rows),),
    )
