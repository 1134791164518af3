"""Coverage of a collection by few notes: the greedy choice against every choice there is, and by hand."""

from itertools import combinations

import numpy as np
import pytest

from clinnlp.core.document import Document
from clinnlp.errors import DataError
from clinnlp.text.diversity import Coverage, centred, word_vectors


def unit(rows: list[list[float]]) -> np.ndarray:
    vectors = np.array(rows, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_coverage_by_hand() -> None:
    """Two notes along x, one along y: the nearest of x is 1, 1, 0, of both 1, 1, 1."""
    coverage = Coverage(unit([[1, 0], [1, 0], [0, 1]]), [0, 1, 2], seed=1)
    assert coverage.value == 0
    coverage.offer([0, 1, 2])
    everything = np.ones(3, np.bool_)
    assert coverage.best(everything) == 0, "x stands for two notes, y for one"
    coverage.take([0])
    assert coverage.value == pytest.approx(2 / 3)
    assert coverage.gain(1) == 0
    assert coverage.gain(2) == pytest.approx(1 / 3)
    assert coverage.best(everything) == 2


def test_lazy_choices_are_the_greedy_ones_and_near_the_best() -> None:
    random = np.random.default_rng(3)
    vectors = unit(random.normal(size=(14, 3)).tolist())
    coverage = Coverage(vectors, range(14), seed=1)
    coverage.offer(range(14))
    open_to, chosen = np.ones(14, np.bool_), []
    for _ in range(3):
        gains = [coverage.gain(place) if open_to[place] else -1.0 for place in range(14)]
        place = coverage.best(open_to)
        assert place is not None
        assert gains[place] == pytest.approx(max(gains))
        open_to[place] = False
        coverage.take([place])
        chosen.append(place)
    best = max(coverage.similar[list(some)].max(axis=0).mean() for some in combinations(range(14), 3))
    assert (1 - 1 / np.e) * best <= coverage.value <= best + 1e-6
    assert coverage.by_chance(range(14), 3, [], seed=1) < coverage.value


def test_closed_notes_are_passed_over_until_none_is_left() -> None:
    coverage = Coverage(unit([[1, 0], [0, 1]]), [0, 1], seed=1)
    coverage.offer([0, 1])
    assert coverage.best(np.array([False, True])) == 1
    assert coverage.best(np.array([False, False])) is None


def test_the_ground_is_drawn_by_the_seed() -> None:
    vectors = unit(np.random.default_rng(1).normal(size=(3_000, 2)).tolist())
    one, same, other = (Coverage(vectors, range(3_000), seed).ground for seed in (1, 1, 2))
    assert len(one) == 2_000
    assert (one == same).all()
    assert (one != other).any()


def test_vectors() -> None:
    words = word_vectors([Document("1", "fever and cough"), Document("2", "Fever AND cough"), Document("3", " ")])
    lengths = np.sqrt(words.multiply(words).sum(axis=1))
    assert np.allclose(lengths.ravel(), [1, 1, 0])
    assert (words[0] @ words[1].T).toarray()[0, 0] == pytest.approx(1)
    with pytest.raises(DataError, match="hold no words"):
        word_vectors([Document("1", " "), Document("2", "...")])
    moved = centred(np.array([[3.0, 10.0], [5.0, 10.0]]))
    assert moved.tolist() == [[-1, 0], [1, 0]], "what all share says nothing"
