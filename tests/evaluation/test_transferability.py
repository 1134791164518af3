"""LogME and the H-score: cases counted by hand, the evidence that an optimiser finds, the formula written out."""

import math

import numpy as np
import pytest

from clinnlp.errors import DataError
from clinnlp.evaluation.transferability import h_score, logme, shrunk_covariance


def gold(*columns: list[int]) -> np.ndarray:
    return np.array(columns, bool).T


def test_logme_of_two_rows_by_hand() -> None:
    """Feature (1, 1), labels (1, 0): the parts along and beside it are both 1/2.

    The evidence is that of two normal variables, greatest where their variances are the squares, 1/2 each: by row
    -1/4 (2 log 1/2 + 2 + 2 log 2 pi).
    """
    by_hand = -(2 * math.log(0.5) + 2 + 2 * math.log(2 * math.pi)) / 4
    assert logme(np.array([[1.0], [1.0]]), gold([1, 0])) == pytest.approx(by_hand, abs=1e-6)


def test_logme_of_one_feature_by_hand() -> None:
    """Feature (3, 4, 0), labels (1, 1, 0): along it 7/5 squared, 1.96; beside it 0.04, 0.02 for each direction.

    The evidence is greatest where noise has the variance 0.02 and noise with weights 1.96.
    """
    by_hand = -(math.log(1.96) + 2 * math.log(0.02) + 3 + 3 * math.log(2 * math.pi)) / 6
    assert logme(np.array([[3.0], [4.0], [0.0]]), gold([1, 1, 0])) == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize(("rows", "width"), [(30, 5), (12, 20), (20, 20)])
def test_logme_is_the_evidence_that_an_optimiser_finds(rows: int, width: int) -> None:
    from scipy.optimize import minimize
    from scipy.stats import multivariate_normal

    random = np.random.default_rng(rows)
    features = random.normal(size=(rows, width))
    labels = features[:, 0] + random.normal(size=rows) > 0

    def against(logs: np.ndarray) -> float:
        covariance = np.eye(rows) * math.exp(-logs[1]) + math.exp(-logs[0]) * features @ features.T
        return -float(multivariate_normal.logpdf(labels.astype(float), cov=covariance))

    starts = [(a, b) for a in (-2, 2, 5) for b in (-1, 1, 3)]
    options = {"xatol": 1e-8, "fatol": 1e-12, "maxiter": 5000}
    best = min(minimize(against, start, method="Nelder-Mead", options=options).fun for start in starts)
    assert logme(features, labels[:, None]) == pytest.approx(-best / rows, abs=1e-5)


def test_logme_is_the_mean_over_the_classes_that_tell_rows_apart() -> None:
    random = np.random.default_rng(1)
    features, first = random.normal(size=(40, 4)), random.random(40) > 0.5
    both = logme(features, np.stack([first, ~first], axis=1))
    alone = [logme(features, column[:, None]) for column in (first, ~first)]
    assert both == pytest.approx(np.mean(alone))
    nothing, all_of_it = np.zeros(40, bool), np.ones(40, bool)
    assert logme(features, np.stack([first, ~first, nothing, all_of_it], axis=1)) == pytest.approx(both)


@pytest.mark.parametrize("measure", [logme, h_score])
def test_what_tells_labels_apart_scores_higher_whatever_the_order_of_rows(measure) -> None:  # type: ignore[no-untyped-def]
    random = np.random.default_rng(2)
    labels = np.eye(3, dtype=bool)[random.integers(0, 3, 300)]
    noise = random.normal(size=(300, 8))
    scores = [measure(noise + strength * np.pad(labels, ((0, 0), (0, 5))), labels) for strength in (0, 1, 2, 4)]
    assert scores == sorted(scores) and scores[0] < scores[-1]
    order = random.permutation(300)
    assert measure(noise[order], labels[order]) == pytest.approx(measure(noise, labels))


def test_h_score_of_one_feature_by_hand() -> None:
    """Features -3, -1, 1, 3 of two classes: variance (of n - 1) of the means -2, 2 is 16/3, of the features (of n) 5.

    One feature is not shrunk: there is nothing else to shrink its variance towards.
    """
    assert h_score(np.array([[-3.0], [-1.0], [1.0], [3.0]]), gold([1, 1, 0, 0], [0, 0, 1, 1])) == pytest.approx(16 / 15)


def test_h_score_with_the_covariance_of_sklearn() -> None:
    """The formula written out, row by row, beside ours."""
    from sklearn.covariance import ledoit_wolf

    random = np.random.default_rng(3)
    features = random.normal(size=(60, 6)) @ random.normal(size=(6, 6))
    classes = random.integers(0, 3, 60)
    centred = features - features.mean(axis=0)
    covariance, shrinkage = ledoit_wolf(centred, assume_centered=True)
    means = np.stack([centred[classes == one].mean(axis=0) for one in classes])
    written_out = (1 - shrinkage) * np.trace(np.linalg.inv(covariance) @ np.cov(means, rowvar=False))
    assert h_score(features, np.eye(3, dtype=bool)[classes]) == pytest.approx(written_out)
    ours, share = shrunk_covariance(centred)
    assert share == pytest.approx(shrinkage) and 0 < share < 1
    assert np.allclose(ours, covariance)


def test_h_score_of_several_labels_is_the_mean_over_each_against_the_rest() -> None:
    random = np.random.default_rng(4)
    features, labels = random.normal(size=(80, 5)), random.random((80, 3)) > 0.6
    single = [h_score(features, np.stack([column, ~column], axis=1)) for column in labels.T]
    assert h_score(features, labels) == pytest.approx(np.mean(single))


def test_labels_that_tell_nothing_apart_and_features_that_are_no_numbers() -> None:
    features = np.ones((4, 2))
    for measure in (logme, h_score):
        with pytest.raises(DataError, match="the labels tell no two rows apart"):
            measure(features, gold([1, 1, 1, 1]))
        with pytest.raises(DataError, match="the features hold NaN or infinity"):
            measure(features * np.nan, gold([1, 0, 1, 0]))
