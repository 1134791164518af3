"""The report of a tuning run: its trials as tables, and plots of what they scored."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clinnlp.core.report import Report
from clinnlp.core.run import Run, write_json
from clinnlp.recipes._scores import provenance
from clinnlp.recipes._trials import Trials, Tried
from clinnlp.recipes._tuning import Choices, Range

if TYPE_CHECKING:
    from clinnlp.evaluation.panels import Axis, Chart, Panel

OPTIMISTIC = (
    "The dev score of the best trial is the highest of many on the same notes, so it is too high: the score on test "
    "notes, read once at the end, is the one to quote"
)
NOT_EXACT = "Importance is the share of the spread of dev scores that a setting explains; of so few trials a rough hint"


def write_tuning(run: Run, trials: Trials, facts: Mapping[str, Any], notices: Sequence[str]) -> None:
    """Write trials.csv, metrics.json, report.txt and report.html."""
    from clinnlp.evaluation.page import Surroundings, html_report
    from clinnlp.evaluation.rendering import printable

    tried, best, importance = trials.tried(), trials.best(), trials.importance()
    (run.folder / "trials.csv").write_text(_csv(tried, list(trials.space)), encoding="utf-8")
    described = [
        {"number": one.number, "state": one.state, "score": one.score, "values": dict(one.values),
         "dev_scores": list(one.scores), "seconds": one.seconds, "reason": one.reason}
        for one in tried
    ]  # fmt: skip
    values = {"format_version": 1, "notices": list(notices), "score": facts["score"], "best": best.number,
              "test": facts["test notes"], "trials": described, "importance": importance}  # fmt: skip
    write_json(run.folder / "metrics.json", values)
    rows = _rows(tried, list(trials.space))
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    table = ["  ".join(c.rjust(w) for c, w in zip(row[:-1], widths, strict=False)) + f"  {row[-1]}" for row in rows]
    lines = [printable(line).rstrip() for line in table]
    said = [f"{name}: {value}" for name, value in facts.items()]
    said += [f"importance of {path}: {share:.0%}" for path, share in importance.items()]
    text = "\n".join([lines[0], "", *lines[1:], "", *map(printable, said), *map(printable, notices), f"{OPTIMISTIC}."])
    (run.folder / "report.txt").write_text(text + "\n", encoding="utf-8")
    known, settings = provenance(run)
    around = Surroundings({**{name: str(value) for name, value in facts.items()}, **known}, settings, (), notices)
    page = html_report(Report(), "clinnlp tune", around, _panels(trials, tried, importance))
    (run.folder / "report.html").write_text(page, encoding="utf-8")


def _rows(tried: Sequence[Tried], paths: Sequence[str]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("trial", "dev score", *paths, "evaluations", "seconds", "state")]
    for one in tried:
        score = "-" if one.score is None else f"{one.score:.4f}"
        state = one.state if one.reason is None else f"{one.state}: {one.reason}"
        seconds = "-" if one.seconds is None else f"{one.seconds:,.0f}"
        held = [_shown(one.values[path]) for path in paths]
        rows.append((str(one.number), score, *held, str(len(one.scores)), seconds, state))
    return rows


def _csv(tried: Sequence[Tried], paths: Sequence[str]) -> str:
    """The trials with values as they are; a cell that a spreadsheet would take for a formula gets a quote before it."""
    made = io.StringIO(newline="")
    writer = csv.writer(made)
    writer.writerow(["trial", "state", "score", *paths, "evaluations", "seconds", "reason"])
    for one in tried:
        held = [one.values[path] for path in paths]
        line = [one.number, one.state, one.score, *held, len(one.scores), one.seconds, one.reason]
        writer.writerow([f"'{c}" if isinstance(c, str) and c[:1] in "=+-@" else c for c in line])
    return made.getvalue()


def _panels(trials: Trials, tried: Sequence[Tried], importance: Mapping[str, float]) -> "list[Panel]":
    from clinnlp.evaluation.panels import Bar, Panel, Table

    rows = _rows(tried, list(trials.space))
    panels = [Panel("Trials", (OPTIMISTIC,), (Table(rows[0], tuple(rows[1:])),), (_history(tried),))]
    slices = tuple(_slice(path, dimension, tried) for path, dimension in trials.space.items())
    tables: tuple[Table, ...] = ()
    if importance:
        tables = (Table(("setting", "importance, %"), tuple((path, Bar(share)) for path, share in importance.items())),)
    panels.append(Panel("Dev score by setting", (NOT_EXACT,) if importance else (), tables, slices))
    return panels


def _history(tried: Sequence[Tried]) -> "Chart":
    """The score of each trial, and the best up to there."""
    from clinnlp.evaluation.panels import Axis, Chart, Line, Point, percent_axis

    done = [(one.number, one.score) for one in tried if one.score is not None]
    best = [(number, max(score for at, score in done if at <= number)) for number, _ in done]
    numbers = range(1, len(tried) + 1)
    ticks = tuple((n, str(n)) for n in numbers if len(tried) <= 15 or n % math.ceil(len(tried) / 15) == 1)
    points = tuple(Point(n, score, caption=f"trial {n}: {100 * score:.1f}") for n, score in done)
    lines = (Line("trial", points, joined=False), Line("best so far", tuple(Point(*at) for at in best), marks=False))
    return Chart(Axis("trial", 1, max(len(tried), 2), ticks), percent_axis("dev score, %", *_reach(tried)), lines)


def _slice(path: str, dimension: Range | Choices, tried: Sequence[Tried]) -> "Chart":
    """The scores over the values of one setting."""
    from clinnlp.evaluation.panels import Chart, Line, Point, percent_axis

    points = tuple(
        Point(_place(dimension, one.values[path]), one.score, caption=f"trial {one.number}: {_shown(one.values[path])}")
        for one in tried
        if one.score is not None
    )
    return Chart(
        _axis(path, dimension), percent_axis("dev score, %", *_reach(tried)), (Line(path, points, joined=False),)
    )


def _place(dimension: Range | Choices, value: Any) -> float:
    return float(value) if isinstance(dimension, Range) else float(dimension.values.index(value))


def _axis(path: str, dimension: Range | Choices) -> "Axis":
    from clinnlp.evaluation.panels import Axis

    if isinstance(dimension, Choices):
        ticks = tuple((float(n), _shown(value)) for n, value in enumerate(dimension.values))
        return Axis(path, -0.5, len(dimension.values) - 0.5, ticks)
    low, high = dimension.low, dimension.high
    places = [low * (high / low) ** (n / 3) if dimension.log else low + (high - low) * n / 3 for n in range(4)]
    return Axis(path, low, high, tuple((place, f"{place:.2g}") for place in places), log=dimension.log)


def _reach(tried: Sequence[Tried]) -> tuple[float, float]:
    """Whole tenths around all scores."""
    scores = [one.score for one in tried if one.score is not None]
    low, high = math.floor(10 * min(scores)) / 10, math.ceil(10 * max(scores)) / 10
    return (low, high) if low < high else (max(low - 0.1, 0.0), min(high + 0.1, 1.0))


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
