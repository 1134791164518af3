"""A comparison as plain values for metrics.json and as text."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from clinnlp.core.report import Interval
from clinnlp.evaluation.comparison import Arm, Comparison, Contrast
from clinnlp.evaluation.rendering import DIGITS, FEW_UNITS, printable
from clinnlp.evaluation.significance import Outcome

COSTS = {"train seconds": ",.1f", "trained weights": ",.0f", "model MB": ",.1f", "peak MB": ",.0f"}
"""What a run may have cost, and how it is printed; a mean over runs for an arm."""

Costs = Mapping[str, Mapping[str, float | None]]
"""By run: what each of COSTS was, None where it is not known."""


def comparison_values(comparison: Comparison) -> dict[str, Any]:
    """The content of metrics.json for one measure; None for NaN."""
    return {
        "runs": {run.name: {"value": _plain(run.mean), "interval": _as_dict(run.interval)} for run in comparison.runs},
        "arms": {
            arm.name: {
                "runs": list(arm.scores),
                "mean": _plain(arm.mean),
                "sd": _plain(arm.sd),
                "interval": _as_dict(arm.interval),
            }
            for arm in comparison.arms
        },
        "pairs": [_contrast(contrast) for contrast in comparison.contrasts],
    }


def outcome_values(outcome: Outcome | None) -> dict[str, Any] | None:
    """A test's outcome as plain values; None for NaN."""
    if outcome is None:
        return None
    return {name: _plain(value) if isinstance(value, float) else value for name, value in asdict(outcome).items()}


def comparison_text(comparisons: Sequence[Comparison], costs: Costs, seeds: Mapping[str, int | None]) -> str:
    """Tables of runs, of arms where they hold several runs, and of differences, with what a reader must know.

    The first of `comparisons` is the headline measure.
    """
    head = comparisons[0]
    several = len(head.arms) < len(head.runs)
    known = known_costs(costs)
    arm_of = {run: arm.name for arm in head.arms for run in arm.scores}
    first = ["run", *(["arm"] if several else []), "seed", *_heads(comparisons, spread=False), *known]
    rows = []
    for number, run in enumerate(head.runs):
        seed = "-" if seeds.get(run.name) is None else str(seeds[run.name])
        told = [printable(run.name), *([printable(arm_of[run.name])] if several else []), seed]
        scores = [c.runs[number] for c in comparisons]
        rows.append([*told, *_cells(scores, spread=False), *spent([run.name], costs, known)])
    parts = [text_table(first, rows, 2 if several else 1)]
    if several:
        rows = []
        for number, arm in enumerate(head.arms):
            scores = [c.arms[number] for c in comparisons]
            told = [printable(arm.name), str(len(arm.scores))]
            rows.append([*told, *_cells(scores, spread=True), *spent([*arm.scores], costs, known)])
        parts.append(text_table(["arm", "runs", *_heads(comparisons, spread=True), *known], rows, 1))
    for comparison in comparisons:
        if comparison.contrasts:
            heads = [f"{comparison.measure.name} of", "minus", "difference", "95 % interval", "p", "Holm"]
            rows = [_difference(contrast) for contrast in comparison.contrasts]
            parts.append(text_table([*heads, "test"], rows, 2))
    return "\n".join([*parts, "".join(f"{fact}.\n" for fact in comparison_facts(comparisons))])


def comparison_facts(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """Sentences on what the intervals and p-values mean."""
    head = comparisons[0]
    units, how, contrasts = head.units, head.how, head.contrasts
    for contrast in contrasts:
        if contrast.same_answers and not contrast.difference:
            yield f"{_names(contrast, 'and')} hold the same predictions: the difference is 0 and p is 1"
    yield from _interval_facts(comparisons)
    if any(c.outcome is not None and c.outcome.test.startswith("approx") for x in comparisons for c in x.contrasts):
        yield f"Approximate randomization: {how.rounds:,} rounds, each exchanges whole {units.name}s between two arms"
    if len(contrasts) > 1:
        yield f"Holm: p-values of a measure adjusted over its {len(contrasts)} pairs of arms"
    for contrast in contrasts:
        if not contrast.together:
            yield f"{_names(contrast, 'and')}: {contrast.paired}"
        elif len(contrast.together) > 1:
            told = ", ".join(score_text(value, "+") for value in contrast.by_run)
            yield f"{_names(contrast, 'minus')} {contrast.paired}, {head.measure.name}: {told}"
    if any(len(arm.scores) > 1 for arm in head.arms):
        yield (
            f"Intervals and p-values say how scores vary over {units.name}s, for these trained models; "
            "sd says how they vary over seeds"
        )


def _interval_facts(comparisons: Sequence[Comparison]) -> Iterator[str]:
    units, how = comparisons[0].units, comparisons[0].how
    methods = {interval.method for comparison in comparisons for interval in _intervals(comparison)}
    if units.count < 2:
        yield f"No intervals: {units.count} {units.name} only, and an interval takes two"
    elif not methods:
        yield "No intervals: there is nothing to score"
    else:
        name = "BCa" if "bca" in methods else "percentile"
        rest = ", percentile where BCa has nothing to correct" if methods == {"bca", "percentile"} else ""
        yield f"Intervals: {name} bootstrap{rest}, {how.resamples:,} resamples of {units.count:,} {units.name}s"
        if units.count < FEW_UNITS:
            yield f"With fewer than {FEW_UNITS} {units.name}s intervals are too narrow: see docs/statistics.md"


def _intervals(comparison: Comparison) -> Iterator[Interval]:
    parts: tuple[Arm | Contrast, ...] = (*comparison.runs, *comparison.arms, *comparison.contrasts)
    yield from (part.interval for part in parts if part.interval is not None)


def _names(contrast: Contrast, between: str) -> str:
    return f"{printable(contrast.first)} {between} {printable(contrast.second)}"


def _heads(comparisons: Sequence[Comparison], spread: bool) -> list[str]:
    heads: list[str] = []
    for comparison in comparisons:
        heads += [comparison.measure.name, *(["sd"] if spread else []), "95 % interval"]
    return heads


def _cells(arms: Sequence[Arm], spread: bool) -> list[str]:
    cells: list[str] = []
    for arm in arms:
        cells += [score_text(arm.mean), *([score_text(arm.sd)] if spread else []), interval_text(arm.interval)]
    return cells


def known_costs(costs: Costs) -> list[str]:
    """The costs that are known of a run at least."""
    return [name for name in COSTS if any(cost.get(name) is not None for cost in costs.values())]


def spent(runs: Sequence[str], costs: Costs, names: Sequence[str]) -> list[str]:
    """The mean cost of runs, of those where it is known."""
    cells = []
    for name in names:
        values = [value for run in runs if (value := costs[run].get(name)) is not None]
        cells.append(format(sum(values) / len(values), COSTS[name]) if values else "-")
    return cells


def _difference(contrast: Contrast) -> list[str]:
    names = [printable(contrast.first), printable(contrast.second)]
    test = "-" if contrast.outcome is None else contrast.outcome.test
    told = [
        score_text(contrast.difference, "+"),
        interval_text(contrast.interval),
        p_text(contrast.p),
        p_text(contrast.p_holm),
        test,
    ]
    return [*names, *told]


def _contrast(contrast: Contrast) -> dict[str, Any]:
    return {
        "first": contrast.first,
        "second": contrast.second,
        "difference": _plain(contrast.difference),
        "interval": _as_dict(contrast.interval),
        "p": _plain(contrast.p),
        "p_holm": _plain(contrast.p_holm),
        "test": outcome_values(contrast.outcome),
        "paired": contrast.paired,
        "runs": [list(pair) for pair in contrast.together],
        "by_run": [_plain(value) for value in contrast.by_run],
        "same_answers": contrast.same_answers,
    }


def text_table(heads: Sequence[str], rows: Sequence[Sequence[str]], names: int) -> str:
    """Columns of equal width: the first `names` and the last text column to the left, figures to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(heads, *rows, strict=True)]
    lines = []
    for row in (heads, *rows):
        cells = [
            cell.ljust(width) if column < names or heads[column] == "test" else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def _as_dict(interval: Interval | None) -> dict[str, Any] | None:
    return None if interval is None else asdict(interval)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def score_text(value: float, sign: str = "") -> str:
    """A score as the tables show it; - where it is none."""
    return "-" if math.isnan(value) else f"{value:{sign}.{DIGITS}f}"


def interval_text(interval: Interval | None) -> str:
    """An interval as the tables show it; - where there is none."""
    return "-" if interval is None else f"{interval.low:.{DIGITS}f} to {interval.high:.{DIGITS}f}"


def p_text(value: float) -> str:
    """A p-value as the tables show it; - where it is none."""
    return "-" if math.isnan(value) else "<0.0001" if value < 0.0001 else f"{value:.4f}"
