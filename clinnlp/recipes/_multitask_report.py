"""The report over all tasks of `multitask`: their shares, and the scores of each on its own notes."""

import json
import logging
from collections.abc import Sequence
from functools import reduce
from operator import getitem
from typing import TYPE_CHECKING, Any

from clinnlp.config import name_of
from clinnlp.core.report import Report
from clinnlp.core.run import Run, write_json
from clinnlp.recipes._multitask import Member, passes
from clinnlp.recipes._scores import provenance

if TYPE_CHECKING:
    from clinnlp.training.fit import Fit

log = logging.getLogger("clinnlp")

HEADS = ("task", "predicts", "train notes", "examples", "share", "weight", "dev", "scored on", "score", "95 % interval",
         "measure")  # fmt: skip


def write_overview(run: Run, members: Sequence[Member], fitted: "Fit", facts: dict[str, Any]) -> dict[str, Any]:
    """Write metrics.json, report.txt and report.html; returns the facts of the run."""
    from clinnlp.evaluation.comparison_report import text_table
    from clinnlp.evaluation.page import Surroundings, html_report
    from clinnlp.evaluation.panels import Panel, Table
    from clinnlp.evaluation.rendering import above, printable

    tasks = {one.name: _values(run, one) for one in members}
    told = {
        "tasks": len(members),
        "passes of labeling": passes(members),
        "steps": fitted.steps,
        "best step": fitted.best_step,
        "best mean dev score": fitted.best_score,
        "train seconds": round(fitted.seconds, 1),
        "device": fitted.device,
        "precision": fitted.precision,
        "peak MB": fitted.peak_bytes and round(fitted.peak_bytes / 1e6),
        "seed": run.manifest.seed,
        **facts,
    }
    waived = [f"{one.name}: {line}" for one in members for line in one.splits.waived]
    notices = [_cost(told["passes of labeling"], len(members))]
    values = {"format_version": 1, "mean_dev": fitted.best_score, "tasks": tasks, "passes": told["passes of labeling"]}
    write_json(run.folder / "metrics.json", {"waived": waived, **values} if waived else values)
    rows = [_row(name, held) for name, held in tasks.items()]
    lines = [[printable(cell) for cell in row] for row in rows]
    text = above(waived) + text_table(HEADS, lines, 2)
    text += "".join(f"{notice}.\n" for notice in notices)
    (run.folder / "report.txt").write_text(text, encoding="utf-8")
    known, settings = provenance(run)
    shown = {name: str(value) for name, value in told.items()} | known
    panel = Panel("Tasks", (), (Table(HEADS, tuple(rows)),))
    page = html_report(Report(), "clinnlp multitask", Surroundings(shown, settings, waived, notices), [panel])
    (run.folder / "report.html").write_text(page, encoding="utf-8")
    log.info("%s", text)
    return told


def _values(run: Run, one: Member) -> dict[str, Any]:
    """What metrics.json says of a task; a score is None where nothing was scored."""
    path, (*parents, last) = run.folder / one.name / "metrics.json", one.settings.task.dev_score.split(".")
    scored, value, interval = None, None, None
    if path.is_file():
        held: Any = reduce(getitem, parents, json.loads(path.read_text(encoding="utf-8")))
        scored = "test" if one.splits.test else "dev"
        value, interval = held[last], held.get(f"{last}_interval")
    return {
        "task": name_of(one.settings.task),
        "train_notes": len(one.splits.train),
        "examples": len(one.examples),
        "share": one.share,
        "weight": one.settings.weight,
        "dev": one.measured["dev"],
        "scored_on": scored,
        "measure": one.settings.task.dev_score,
        "score": value,
        "interval": interval and [interval["low"], interval["high"]],
    }


def _row(name: str, held: dict[str, Any]) -> tuple[str, ...]:
    ends = held["interval"]
    return (
        name,
        held["task"],
        f"{held['train_notes']:,}",
        f"{held['examples']:,}",
        f"{held['share']:.1%}",
        f"{held['weight']:g}",
        _number(held["dev"]),
        held["scored_on"] or "-",
        _number(held["score"]),
        "-" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}",
        held["measure"],
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _cost(reads: int, tasks: int) -> str:
    """What labeling by all tasks costs."""
    if reads == 1:
        return f"All {tasks} models cut notes alike and share one encoder: `label --models` runs it once a note"
    return (
        f"The tasks cut notes in {reads} ways, so that `label --models` runs the encoder {reads} times a note: give "
        "all the same window and overlap for one pass"
    )
