"""Learning-rate curves, by hand."""

import math

import pytest

from clinnlp.training.schedules import FLOOR, curve

NAMES = ("linear", "cosine", "constant", "wsd")


@pytest.mark.parametrize("name", NAMES)
def test_warmup_rises_in_a_line_and_the_peak_is_1(name: str) -> None:
    factor = curve(name, 100, 0.1, 0.25)
    assert [factor(step) for step in (0, 4, 9)] == pytest.approx([1 / 11, 5 / 11, 10 / 11])
    assert factor(10) == 1.0
    assert max(factor(step) for step in range(100)) == 1.0
    assert min(factor(step) for step in range(100)) > 0


@pytest.mark.parametrize(
    ("name", "step", "wanted"),
    [
        ("linear", 55, 0.5),
        ("linear", 100, 0.0),
        ("cosine", 55, 0.5),
        ("cosine", 100, 0.0),
        ("constant", 99, 1.0),
        ("wsd", 74, 1.0),
        ("wsd", 75, 1.0),
        ("wsd", 84, 1 - math.sqrt(9 / 25)),
        ("wsd", 100, FLOOR),
    ],
)
def test_points_by_hand(name: str, step: int, wanted: float) -> None:
    assert curve(name, 100, 0.1, 0.25)(step) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(
    ("step", "wanted"), [(0, 1 / 32), (5, 1 / 32 + 31 / 64), (10, 1.0), (55, 1 / 32 + 31 / 64), (100, 1 / 32)]
)
def test_a_slanted_triangle_by_hand(step: int, wanted: float) -> None:
    """ULMFiT's with cut_frac 0.1 and ratio 32: up to step 10, down to step 100."""
    assert curve("slanted_triangular", 100, 0.1, 0.25)(step) == pytest.approx(wanted)


@pytest.mark.parametrize("name", (*NAMES, "slanted_triangular"))
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_runs_of_a_few_steps_move_the_weights(name: str, steps: int) -> None:
    factor = curve(name, steps, 0.1, 0.25)
    assert all(factor(step) > 0 for step in range(steps))
