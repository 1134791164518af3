"""Labels compared one by one: figures by hand, one family of p-values, and the names that are shown."""

import numpy as np
import pytest

from clinnlp.core.document import Document
from clinnlp.evaluation.comparison import Drawing, RunCounts
from clinnlp.evaluation.comparison_labels import MOST_LABELS, compare_labels, label_panels, labels_text
from clinnlp.evaluation.resample import units_of
from clinnlp.evaluation.significance import holm

QUICK = Drawing(resamples=300, rounds=300)
UNITS = units_of([Document(str(number), "") for number in range(4)])


def a_run(name: str, *labels: list[tuple[int, int, int]]) -> RunCounts:
    """A run with tp, fp, fn by label and document."""
    by_label = np.array(labels, np.int64).transpose(1, 0, 2)
    return RunCounts(name, name, None, name, by_label, np.zeros(len(by_label), bool))


def test_counted_by_hand() -> None:
    rare, often = [(1, 0, 0), (0, 0, 1), (0, 0, 0), (0, 0, 0)], [(3, 0, 1)] * 4  # F1 2/3, and 24/28
    worse, never = [(2, 0, 2)] * 4, [(0, 0, 0)] * 4  # F1 2/3
    invented = [(0, 1, 0)] * 4  # a label that gold does not hold is no row
    runs = [a_run("a", rare, often, never), a_run("b", rare, worse, invented)]
    made = compare_labels(runs, UNITS, ["rare", "often", "never"], QUICK)
    assert list(made) == ["often", "rare"], "by falling support"
    found = {label: one.contrasts[0] for label, one in made.items()}
    assert found["often"].difference == pytest.approx(24 / 28 - 2 / 3) and found["rare"].difference == 0
    assert found["rare"].p == 1.0
    assert [one.p_holm for one in found.values()] == holm([one.p for one in found.values()])
    told = labels_text(made)
    assert "often  a      b      0.8571  0.6667     +0.1905" in told and "adjusted (Holm) over all 2 rows" in told


def test_the_panel_names_the_pair_once_or_in_each_row() -> None:
    right, wrong = [(1, 0, 0)] * 4, [(0, 0, 1)] * 4
    runs = [a_run("a", right, right), a_run("b", right, wrong), a_run("c", wrong, wrong)]
    (panel,) = label_panels("Entities", compare_labels(runs[:2], UNITS, ["x", "y"], QUICK))
    assert panel.facts[0] == "F1 of each label, a minus b"
    (table,) = panel.tables
    assert [row[:4] for row in table.rows] == [("x", "100.0", "100.0", "+0.00"), ("y", "100.0", "0.0", "+100.00")]
    (panel,) = label_panels("Entities", compare_labels(runs, UNITS, ["x", "y"], QUICK))
    assert [row[0] for row in panel.tables[0].rows[:3]] == ["x: a minus b", "x: a minus c", "x: b minus c"]


def test_one_label_has_no_rows_of_its_own() -> None:
    runs = [a_run("a", [(1, 0, 0)] * 4), a_run("b", [(0, 0, 1)] * 4)]
    made = compare_labels(runs, UNITS, ["only"], QUICK)
    assert (made, labels_text(made), list(label_panels("Entities", made))) == ({}, "", [])


def test_the_most_frequent_of_many_labels() -> None:
    columns = [[(number, 0, 0)] * 4 for number in range(1, MOST_LABELS + 6)]
    labels = [f"label {number}" for number in range(1, MOST_LABELS + 6)]
    made = compare_labels([a_run("a", *columns), a_run("b", *columns)], UNITS, labels, QUICK)
    assert len(made) == MOST_LABELS and next(iter(made)) == labels[-1]
    assert f"the {MOST_LABELS} labels most frequent in gold" in labels_text(made)


def test_hostile_names_are_shown_safely() -> None:
    runs = [a_run("a\x1b[31m", [(1, 0, 0)] * 4, [(1, 0, 0)] * 4), a_run("b", [(0, 0, 1)] * 4, [(1, 0, 0)] * 4)]
    told = labels_text(compare_labels(runs, UNITS, ["x\n\u202ey", "L" * 10_000], QUICK))
    assert "\x1b" not in told and "\u202e" not in told and "x\\n" in told and len(told) < 2_000
