"""Learning curves: a known law is found again, its cost is what the law says, and too little data is said."""

import json
import math

import numpy as np
import pytest

from clinnlp.evaluation.learning import Curve, Size, fit_curve, learning_curve
from clinnlp.evaluation.learning_page import curve_panel

SIZES = (10, 25, 50, 100, 250)


def test_a_known_law_is_found_again() -> None:
    law = Curve(0.9, 2.0, 0.5)
    notes = np.array(SIZES, float)
    found = fit_curve(notes, np.array([law(n) for n in notes]))
    assert found is not None
    assert found.ceiling == pytest.approx(0.9, abs=0.005) and found.rate == pytest.approx(0.5, rel=0.05)


def test_the_cost_of_the_next_point_by_hand() -> None:
    """0.9 - 2/sqrt(n) is 0.7 at 100 notes; 0.71 needs sqrt(n) = 2/0.19, n = 110.8: 10.8 notes more."""
    law = Curve(0.9, 2.0, 0.5)
    assert law(100) == pytest.approx(0.7)
    assert law.notes_for(0.71) == pytest.approx((2 / 0.19) ** 2)
    assert law.notes_for(0.9) == math.inf
    found = learning_curve({n: [law(n)] for n in (10, 25, 50, 100)})
    assert found.cost == pytest.approx(10.8, rel=0.1)
    assert found.cost_low is None and "one repeat per size gives no range" in found.sentence()


def test_repeats_give_intervals_and_a_range() -> None:
    """Scores 0.4, 0.5, 0.6: mean 0.5, sd 0.1, t(2) = 4.303, half width 4.303 * 0.1 / sqrt(3) = 0.248."""
    assert Size(10, (0.4, 0.5, 0.6)).interval == pytest.approx((0.5 - 0.2484, 0.5 + 0.2484), abs=1e-3)
    assert Size(10, (0.4, 0.6)).interval is None
    random = np.random.Generator(np.random.Philox(1))
    law = Curve(0.9, 1.5, 0.5)
    scores = {n: (law(n) + random.normal(0, 0.01, 5)).tolist() for n in SIZES}
    found = learning_curve(scores)
    assert found.cost_low is not None and found.cost_high is not None and found.cost is not None
    assert found.cost_low <= found.cost <= found.cost_high
    assert found == learning_curve(scores), "the same seed draws the same"
    json.dumps(found.as_dict(), allow_nan=False)


def test_what_cannot_be_said() -> None:
    few = learning_curve({10: [0.1], 20: [0.2], 40: [0.3]})
    assert few.cost is None and few.sentence().startswith("4 sizes or more are needed")
    flat = learning_curve({n: [0.5 - n / 1000] for n in SIZES})
    assert flat.curve is None and flat.sentence().startswith("The scores do not rise")
    full = learning_curve({n: [0.995] * 2 for n in (10, 25, 50)} | {100: [0.9951] * 2})
    assert full.cost == math.inf and "more notes than this curve reaches" in full.sentence()
    assert full.as_dict()["notes_for_next_point"]["estimate"] is None
    assert full.as_dict()["ends_below_next_point"]
    json.dumps(full.as_dict(), allow_nan=False)


def test_numbers_under_the_axis_do_not_overlap() -> None:
    law = Curve(0.9, 1.5, 0.5)
    sizes = (10, 11, 25, 50, 100, 230, 240)
    (chart,) = curve_panel(learning_curve({n: [law(n)] for n in sizes}), "F1").charts
    assert [name for _, name in chart.x.ticks] == ["10", "25", "50", "100", "240"]
    assert [len(line.points) for line in chart.lines] == [7, 21] and not chart.lines[1].marks
    (chart,) = curve_panel(learning_curve({7: [0.5]}), "F1").charts
    assert [name for _, name in chart.x.ticks] == ["7"]
