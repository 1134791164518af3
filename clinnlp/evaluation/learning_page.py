"""The learning curve as text and as a page."""

from dataclasses import replace
from pathlib import Path

from clinnlp.core.report import Report
from clinnlp.evaluation.learning import LearningCurve, Size
from clinnlp.evaluation.page import Surroundings, html_report
from clinnlp.evaluation.panels import Axis, Bar, Chart, Line, Panel, Point, Table, percent_axis
from clinnlp.evaluation.rendering import above

APART = 0.08  # of the axis, between two numbers under it


def write_curve(folder: Path, curve: LearningCurve, score: str, around: Surroundings) -> None:
    """Write report.txt and report.html, what was waived on top."""
    text = above(around.waived) + curve_text(curve, score)
    (folder / "report.txt").write_text(text, encoding="utf-8")
    page = html_report(Report(), "clinnlp learning_curve", around, [curve_panel(curve, score)])
    (folder / "report.html").write_text(page, encoding="utf-8")


def curve_text(curve: LearningCurve, score: str) -> str:
    """A row per size: notes, repeats, mean, interval."""
    lines = [f"{'notes':>8}  {'repeats':>7}  {'mean':>6}  95 % interval of the mean ({score})", ""]
    for size in curve.sizes:
        shown = "-" if size.interval is None else "{:.4f} to {:.4f}".format(*size.interval)
        lines.append(f"{size.notes:>8,}  {len(size.scores):>7}  {size.mean:>6.4f}  {shown}")
    return "\n".join([*lines, "", curve.sentence() + "."]) + "\n"


def curve_panel(curve: LearningCurve, score: str, title: str = "Learning curve") -> Panel:
    """The curve with its intervals, and the table behind it."""
    notes = [size.notes for size in curve.sizes]
    axis = Axis("training notes", notes[0], notes[-1], (), log=True)
    axis = replace(axis, ticks=tuple((n, f"{n:,}") for n in _apart(notes, axis)))
    lines = [Line("measured", tuple(_point(size) for size in curve.sizes))]
    if curve.curve is not None and len(notes) > 1:
        law, steps = curve.curve, [notes[0] * (notes[-1] / notes[0]) ** (i / 20) for i in range(21)]
        lines.append(Line("fitted", tuple(Point(n, law(n)) for n in steps), marks=False))
    rows = tuple(
        (f"{size.notes:,}", str(len(size.scores)), Bar(size.mean, *(size.interval or (None, None))))
        for size in curve.sizes
    )
    return Panel(
        title,
        (f"Score: {score}; intervals of the mean over repeats", curve.sentence()),
        (Table(("notes", "repeats", "mean, %"), rows),),
        (Chart(axis, percent_axis("score, %"), tuple(lines)),),
    )


def _apart(notes: list[int], axis: Axis) -> list[int]:
    """The first, the last, and those between that leave room for their numbers."""
    kept = notes[:1]
    for count in notes[1:-1]:
        if axis.place(count) - axis.place(kept[-1]) >= APART and 1 - axis.place(count) >= APART:
            kept.append(count)
    return [*kept, *notes[1:][-1:]]


def _point(size: Size) -> Point:
    low, high = size.interval or (None, None)
    return Point(size.notes, size.mean, low, high, f"{size.notes:,} notes: {100 * size.mean:.1f}")
