"""A comparison as panels of a report page."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from clinnlp.core.report import Interval
from clinnlp.evaluation.comparison import Arm, Comparison, Contrast
from clinnlp.evaluation.comparison_report import Costs, comparison_facts, known_costs, p_text, spent
from clinnlp.evaluation.panels import Bar, Cell, Panel, Table

Budgets = Mapping[str, Sequence[Mapping[str, str | None]]]


def comparison_panels(
    title: str, comparisons: Sequence[Comparison], costs: Costs, further: Iterable[str] = ()
) -> Iterator[Panel]:
    """Runs, arms where they hold several runs, and differences with intervals and p-values; what a reader must know.

    The first of `comparisons` is the headline measure.
    """
    head = comparisons[0]
    several = len(head.arms) < len(head.runs)
    tables = [_scores("run", [c.runs for c in comparisons], comparisons, costs)]
    if several:
        tables.insert(0, _scores("arm", [c.arms for c in comparisons], comparisons, costs))
    yield Panel(f"{title}: scores and costs", (), tuple(tables))
    differences = tuple(_differences(comparison) for comparison in comparisons if comparison.contrasts)
    yield Panel(f"{title}: differences", (*comparison_facts(comparisons), *further), differences)


def budget_panel(arms: Budgets, verdict: str) -> Panel:
    """What each arm was given, side by side."""
    rows: list[tuple[Cell, ...]] = []
    for name in next(iter(arms.values()))[0]:
        rows.append((name, *(" or ".join(sorted({one[name] or "-" for one in budgets})) for budgets in arms.values())))
    return Panel("Budget", (verdict,), (Table(("", *arms), tuple(rows)),))


def _scores(what: str, by_measure: Sequence[Sequence[Arm]], comparisons: Sequence[Comparison], costs: Costs) -> Table:
    known = known_costs(costs)
    rows: list[tuple[Cell, ...]] = []
    for number, arm in enumerate(by_measure[0]):
        bars = [_bar(arms[number].mean, arms[number].interval) for arms in by_measure]
        sd = [] if what == "run" else ["-" if math.isnan(arm.sd) else f"{100 * arm.sd:.2f}"]
        rows.append((arm.name, *bars, *sd, *spent([*arm.scores], costs, known)))
    heads = [f"{comparison.measure.name}, %" for comparison in comparisons]
    columns = (what, *heads, *([] if what == "run" else [f"sd of {comparisons[0].measure.name}"]), *known)
    return Table(columns, tuple(rows), frozenset(range(len(columns) - len(known), len(columns))))


def _differences(comparison: Comparison) -> Table:
    heads = (f"{comparison.measure.name} of, minus", "difference, points", "95 % interval", "p", "p, Holm", "test")
    return Table(heads, tuple(_difference(contrast) for contrast in comparison.contrasts), frozenset({3, 5}))


def _difference(contrast: Contrast) -> tuple[Cell, ...]:
    interval = contrast.interval
    reach = "-" if interval is None else f"{100 * interval.low:+.2f} to {100 * interval.high:+.2f}"
    shown = "-" if math.isnan(contrast.difference) else f"{100 * contrast.difference:+.2f}"
    test = "-" if contrast.outcome is None else contrast.outcome.test
    return f"{contrast.first} minus {contrast.second}", shown, reach, p_text(contrast.p), p_text(contrast.p_holm), test


def _bar(value: float, interval: Interval | None) -> Bar:
    return Bar(value, *((interval.low, interval.high) if interval else (None, None)))
