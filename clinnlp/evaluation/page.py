"""The report as one self-contained page."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from clinnlp.core.report import DataCounts, Interval, LabelScores, Ratios, Report, Score
from clinnlp.evaluation.panels import Bar, Cell, Panel, Table, confusion
from clinnlp.evaluation.rendering import (
    COUNTED,
    MEANINGS,
    METHODS,
    data_facts,
    detection_facts,
    entity_facts,
    notes_facts,
    printable,
    scorer_counts,
    scorer_iou,
    shown,
    why_no_interval,
)

MOST_ROWS = 300
"""Labels that the page has a row for, the most frequent in gold; a page of all codes of ICD would take megabytes."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around the scores: `waived` and `notices` on top, `facts` and `settings` at the end."""

    facts: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)
    waived: Sequence[str] = ()
    notices: Sequence[str] = ()


def html_report(
    report: Report, title: str, around: Surroundings | Mapping[str, str], panels: Sequence[Panel] = ()
) -> str:
    """One HTML page without scripts or outside requests; `panels` stand after the scores."""
    if not isinstance(around, Surroundings):
        around = Surroundings(around)
    page: str = _template().render(
        title=printable(title),
        top=[(name, lines) for name, lines in (("Waived", around.waived), ("Read first", around.notices)) if lines],
        panels=[*_score_panels(report), *panels],
        sections=list(_sections(report)),
        data=next(data_facts(report.data)) if report.data != DataCounts() else None,
        facts=_printable(around.facts),
        settings=_printable(around.settings),
    )
    return page if page.endswith("\n") else page + "\n"


@cache
def _template() -> Any:
    """The page's template."""
    from jinja2 import DictLoader, Environment, StrictUndefined

    folder, names = resources.files("clinnlp.evaluation"), ("report.html.j2", "panel.html.j2")
    templates = {name: folder.joinpath(name).read_text(encoding="utf-8") for name in names}
    environment = Environment(
        loader=DictLoader(templates), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"printable": printable, "shown": shown}
    return environment.get_template("report.html.j2")


def _score_panels(report: Report) -> Iterator[Panel]:
    """The confusion of note labels, and the span scorers side by side."""
    if report.notes is not None and report.notes.confusion is not None:
        labels = report.notes.labels
        table = confusion(labels, report.notes.confusion, [*labels, "no prediction"])
        yield Panel("Confusion", (), (table,))
    if report.entity is None or not report.entity.scorers:
        return
    rows: list[tuple[Cell, ...]] = []
    for name, scorer in report.entity.scorers.items():
        ratios = map(_percent, (scorer.micro.precision, scorer.micro.recall))
        overlap = scorer_iou(scorer)
        covered = "-" if overlap is None else _percent(overlap)
        rows.append((name, Bar(scorer.micro.f1), *ratios, covered, *scorer_counts(scorer)))
    columns = ("scorer", "F1", "Precision", "Recall", "IoU", *COUNTED)
    facts = [f"{name}: {MEANINGS[name]}" for name in report.entity.scorers]
    table = Table(columns, tuple(rows), frozenset(range(2, len(columns))))
    yield Panel("Scorers side by side", (*facts, *detection_facts(report.entity)), (table,))


def _sections(report: Report) -> Iterator[dict[str, Any]]:
    """What the page shows of each task, ready to print."""
    if report.entity is not None:
        strict = report.entity.strict
        tiles = {"Precision": strict.micro.precision, "Recall": strict.micro.recall}
        yield {
            "name": "Entities, strict",
            **_headline("Micro F1", strict.micro.f1, strict.f1_interval),
            **_figures(strict, tiles | {"Macro F1": strict.macro.f1, "Weighted F1": strict.weighted.f1}),
            "facts": [*_rows_left_out(strict), *entity_facts(report.entity)],
            "extra": None,
        }
    if report.notes is not None:
        notes, scores = report.notes, report.notes.scores
        tiles = {"Macro F1": scores.macro.f1, "Weighted F1": scores.weighted.f1}
        if notes.multi_label:
            head = _headline("Micro F1", scores.micro.f1, scores.f1_interval)
            tiles["Subset accuracy"] = notes.accuracy
        else:
            head = _headline("Accuracy", notes.accuracy, notes.accuracy_interval)
            tiles["Macro recall"] = scores.macro.recall
        precisions = notes.average_precision or {}
        yield {
            "name": "Notes, several labels each" if notes.multi_label else "Notes, one label each",
            **head,
            **_figures(scores, tiles | {"Average precision (macro)": notes.macro_average_precision}),
            "facts": [*_rows_left_out(scores), *notes_facts(notes)],
            "extra": {
                shown(label): f"{_percent(precisions.get(label, math.nan))} ({_percent(notes.prevalence(label))})"
                for label in scores.present
            },
        }


def _headline(metric: str, value: float, interval: Interval | None) -> dict[str, Any]:
    drawn = None
    if interval is not None:
        drawn = {
            "low": _percent(interval.low),
            "high": _percent(interval.high),
            "left": 100 * interval.low,
            "width": 100 * (interval.high - interval.low),
            "point": 100 * value,
            "level": f"{interval.level:.0%}",
            "drawn": f"{METHODS[interval.method]}, {interval.resamples:,} resamples of {interval.units:,} "
            f"{interval.unit}s",
        }
    return {"metric": metric, "value": _percent(value), "interval": drawn, "why": why_no_interval(value)}


def _rows_left_out(scores: LabelScores) -> Iterator[str]:
    if len(scores.present) > MOST_ROWS:
        yield f"The other {len(scores.present) - MOST_ROWS:,} labels, the least frequent, stand in metrics.json"


def _figures(scores: LabelScores, tiles: Mapping[str, float]) -> dict[str, Any]:
    """Rows by falling support, averages and counts."""
    ordered = sorted(scores.present, key=lambda label: (-scores.per_label[label].support, label))
    largest = max([s.support + s.fp for s in scores.per_label.values()], default=0)
    micro = scores.micro
    averages: dict[str, Score | Ratios] = {"micro": micro, "macro": scores.macro, "weighted": scores.weighted}
    return {
        "tiles": [(name, _percent(value)) for name, value in tiles.items()],
        "counts": [("found", f"{micro.tp:,}"), ("missed", f"{micro.fn:,}"), ("spurious", f"{micro.fp:,}")],
        "rows": [
            _page_row(shown(label), scores.per_label[label], largest, (scores.label_intervals or {}).get(label))
            for label in ordered[:MOST_ROWS]
        ],
        "averages": [(name, *_cells(ratios), f"{micro.support:,}") for name, ratios in averages.items()],
    }


def _page_row(name: str, score: Score, largest: int, interval: Interval | None) -> dict[str, Any]:
    counts = {"tp": score.tp, "fn": score.fn, "fp": score.fp}
    return {
        "name": name,
        "cells": _cells(score),
        "support": f"{score.support:,}",
        "f1": 0.0 if math.isnan(score.f1) else 100 * score.f1,
        "interval": None if interval is None else (100 * interval.low, 100 * interval.high),
        "counts": {kind: f"{count:,}" for kind, count in counts.items()},
        "parts": {kind: 100 * count / largest if largest else 0.0 for kind, count in counts.items()},
    }


def _cells(ratios: Score | Ratios) -> tuple[str, str, str]:
    return _percent(ratios.precision), _percent(ratios.recall), _percent(ratios.f1)


def _printable(values: Mapping[str, str]) -> dict[str, str]:
    return {printable(name): printable(value) for name, value in values.items()}


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
