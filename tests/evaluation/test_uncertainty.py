"""Uncertainty of a note, counted by hand, and independent of its length."""

import math

import numpy as np
import pytest
from scipy.stats import entropy

from clinnlp.evaluation.uncertainty import entropies, of_labels, of_units


def test_entropy_of_units_by_hand() -> None:
    """20 units, of which two are as unsure as can be and 18 certain: the highest tenth is those two."""
    logits = np.zeros((20, 3))
    logits[2:, 0] = 100
    assert of_units(logits, np.ones(20), "entropy") == pytest.approx(1)
    logits[1, 0] = 100
    assert of_units(logits, np.ones(20), "entropy") == pytest.approx(0.5)
    assert entropies([[0.3, 1.2, -1.0]])[0] == pytest.approx(
        entropy(np.exp([0.3, 1.2, -1.0]) / np.exp([0.3, 1.2, -1.0]).sum(), base=3)
    )


def test_least_confidence_of_units_by_hand() -> None:
    """The geometric mean of 0.9 and 0.4 is 0.6."""
    assert of_units(np.zeros((2, 3)), [0.9, 0.4], "least_confidence") == pytest.approx(0.4)


@pytest.mark.parametrize("measure", ["entropy", "least_confidence"])
def test_a_note_ten_times_as_long_is_as_unsure(measure: str) -> None:
    random = np.random.default_rng(1)
    logits, chances = random.normal(size=(50, 5)), random.uniform(0.3, 1, size=50)
    short = of_units(logits, chances, measure)
    assert of_units(np.tile(logits, (10, 1)), np.tile(chances, 10), measure) == pytest.approx(short)
    assert 0 < short < 1
    assert of_units(np.zeros((0, 5)), [], measure) == 0, "a note without words"


def test_labels_by_hand() -> None:
    even = {"a": 0.5, "b": 0.25, "c": 0.25}
    assert of_labels(even, False, "entropy") == pytest.approx(1.5 * math.log(2) / math.log(3))
    assert of_labels(even, False, "least_confidence") == pytest.approx(0.75)
    assert of_labels({"a": 1.0, "b": 0.0}, False, "entropy") == 0
    assert of_labels({"a": 0.5, "b": 1.0}, True, "entropy") == pytest.approx(0.5)
    assert of_labels({"a": 0.3, "b": 0.95}, True, "least_confidence") == pytest.approx(0.6)
    assert of_labels({}, True, "entropy") == of_labels({"a": 1.0}, False, "least_confidence") == 0
