"""Which labels make the difference of two arms: F1 of each label compared by itself, as text and as a panel."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from clinnlp.evaluation.comparison import Comparison, Contrast, Drawing, Measure, RunCounts, compare_runs
from clinnlp.evaluation.comparison_report import interval_text, p_text, score_text, text_table
from clinnlp.evaluation.panels import Bar, Cell, Panel, Table
from clinnlp.evaluation.rendering import shown
from clinnlp.evaluation.resample import Counts, Units, f1_of
from clinnlp.evaluation.significance import holm

MOST_LABELS = 30
"""Labels that are compared, the most frequent in gold: each more makes every p of the family larger."""


def compare_labels(
    runs: Sequence[RunCounts], units: Units, labels: Sequence[str], how: Drawing
) -> dict[str, Comparison]:
    """The comparison of each label in gold, by falling support; none where there is but one.

    `labels` are those of `RunCounts.by_label`. p is adjusted (Holm) over all labels and pairs of arms together.
    """
    support = runs[0].by_label[:, :, [0, 2]].sum(axis=(0, 2))  # the same in all runs: they share the gold
    order = sorted(np.flatnonzero(support).tolist(), key=lambda number: (-support[number], labels[number]))
    if len(order) < 2:
        return {}
    made = {labels[number]: compare_runs(runs, units, _f1_of_label(number), how) for number in order[:MOST_LABELS]}
    adjusted = iter(holm([contrast.p for one in made.values() for contrast in one.contrasts]))
    return {
        label: replace(one, contrasts=tuple(replace(contrast, p_holm=next(adjusted)) for contrast in one.contrasts))
        for label, one in made.items()
    }


def _f1_of_label(number: int) -> Measure:
    def counts(run: RunCounts) -> Counts:
        return run.by_label[:, number].astype(np.int64)

    return Measure("f1", "F1", counts, f1_of)


def labels_text(by_label: Mapping[str, Comparison]) -> str:
    """A row for each label and pair of arms; nothing without labels."""
    if not by_label:
        return ""
    heads = ["label", "F1 of", "minus", "first", "second", "difference", "95 % interval", "p", "Holm"]
    rows = [
        [shown(label), shown(contrast.first), shown(contrast.second), *map(score_text, both),
         score_text(contrast.difference, "+"), interval_text(contrast.interval), p_text(contrast.p),
         p_text(contrast.p_holm)]
        for label, contrast, both in _contrasts(by_label)
    ]  # fmt: skip
    return f"\n{text_table(heads, rows, 3)}{_fact(by_label)}.\n"


def label_panels(title: str, by_label: Mapping[str, Comparison]) -> Iterator[Panel]:
    """The same as a panel; none without labels."""
    if not by_label:
        return
    several = any(len(one.contrasts) > 1 for one in by_label.values())
    rows: list[tuple[Cell, ...]] = []
    pair = ""
    for label, contrast, both in _contrasts(by_label):
        interval = contrast.interval
        reach = "-" if interval is None else f"{100 * interval.low:+.2f} to {100 * interval.high:+.2f}"
        pair = f"{shown(contrast.first)} minus {shown(contrast.second)}"
        told = (f"{100 * contrast.difference:+.2f}", reach, p_text(contrast.p), p_text(contrast.p_holm))
        rows.append((f"{shown(label)}: {pair}" if several else label, *(Bar(value).figure for value in both), *told))
    heads = ("label", "first, %", "second, %", "difference, points", "95 % interval", "p", "p, Holm")
    facts = (f"F1 of each label, {pair}", _fact(by_label))[several:]
    yield Panel(f"{title}: by label", facts, (Table(heads, tuple(rows), frozenset({1, 2, 5})),))


def _contrasts(by_label: Mapping[str, Comparison]) -> Iterator[tuple[str, Contrast, tuple[float, float]]]:
    for label, one in by_label.items():
        means = {arm.name: arm.mean for arm in one.arms}
        for contrast in one.contrasts:
            yield label, contrast, (means[contrast.first], means[contrast.second])


def _fact(by_label: Mapping[str, Comparison]) -> str:
    pairs = sum(len(one.contrasts) for one in by_label.values())
    most = f"; the {MOST_LABELS} labels most frequent in gold" if len(by_label) == MOST_LABELS else ""
    return f"By label: approximate randomization, p adjusted (Holm) over all {pairs} rows{most}"
