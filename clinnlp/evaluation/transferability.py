"""How well features of a frozen encoder suit labels, without training: LogME and the H-score."""

import math

import numpy as np
from numpy.typing import NDArray

from clinnlp.errors import DataError

Features = NDArray[np.float64] | NDArray[np.float32]
Gold = NDArray[np.bool_]

ROUNDS = 1_000  # of LogME's fixed point; about ten are needed
CLOSE = 1e-9  # relative change of the ratio of its two precisions at which it stands


def logme(features: Features, gold: Gold) -> float:
    """The log of the maximum evidence per row that a Bayesian linear model gives the labels; higher is better.

    `features` are (N, D), `gold` (N, C) says which classes a row has. The mean over the classes that some rows have and
    some lack, each as a column of 0 and 1; features are taken as they are, without centring. Raises DataError if there
    is no such class. Source: You et al. 2021 (LogME, ICML), with the fixed point of You et al. 2022.
    """
    f, columns = _checked(features, gold)
    rows, width = f.shape
    squares, basis = np.linalg.eigh(f.T @ f if width <= rows else f @ f.T)
    squares = np.where(squares > squares[-1] * rows * np.finfo(np.float64).eps, squares, 0.0)
    projected = basis.T @ (f.T @ columns if width <= rows else columns)  # (min(N, D), C)
    kept = squares > 0
    along = projected[kept] ** 2 / (squares[kept, None] if width <= rows else 1.0)
    totals = (columns**2).sum(axis=0)
    found = [
        _log_evidence(squares[kept], along[:, c], totals[c] - along[:, c].sum(), rows, width)
        for c in range(columns.shape[1])
    ]
    return float(math.fsum(found) / len(found) / rows)


def _log_evidence(
    squares: NDArray[np.float64], along: NDArray[np.float64], beside: float, rows: int, width: int
) -> float:
    """The largest log evidence of one column of labels over the precisions of weights (a) and of noise (b).

    `squares` are the squared singular values of the features, `along` the squared parts of the labels along them,
    `beside` what of the labels lies along none.
    """
    beside = max(beside, 0.0)
    ratio, a, b = 1.0, 1.0, 1.0
    for _ in range(ROUNDS):
        shrunk = squares / (squares + ratio)
        weights = float((squares * along / (squares + ratio) ** 2).sum())
        left = float((along * (1 - shrunk) ** 2).sum()) + beside
        a = float(shrunk.sum()) / max(weights, 1e-12)
        b = (rows - float(shrunk.sum())) / max(left, 1e-12)
        before, ratio = ratio, a / b
        if abs(ratio - before) <= CLOSE * before:
            break
    weights = float((squares * along / (squares + a / b) ** 2).sum())
    left = float((along * ((a / b) / (squares + a / b)) ** 2).sum()) + beside
    logs = width * math.log(a) + rows * math.log(b / (2 * math.pi)) - float(np.log(a + b * squares).sum())
    logs -= (width - len(squares)) * math.log(a)
    return 0.5 * (logs - b * left - a * weights)


def h_score(features: Features, gold: Gold) -> float:
    """How much of the spread of the features lies between the classes; higher is better, and 0 is nothing.

    The trace of the features' inverse covariance times the covariance of their class means, with the covariance shrunk
    towards a multiple of the identity. `features` are (N, D), `gold` (N, C); where rows have no class or several, the
    mean over each class against the rest. Raises DataError if there is nothing to tell apart. Source: Bao et al. 2019,
    shrunk as by Ibrahim et al. 2022.
    """
    f, columns = _checked(features, gold)
    f = f - f.mean(axis=0)
    covariance, shrinkage = shrunk_covariance(f)
    if (gold.sum(axis=1) == 1).all():
        between = [_between(f, np.asarray(gold, np.float64)[:, gold.any(axis=0)])]
    else:
        between = [_between(f, np.stack([column, 1 - column], axis=1)) for column in columns.T]
    whole = sum(between[1:], between[0]) / len(between)
    inverse = np.linalg.pinv(covariance, hermitian=True)
    return float((1 - shrinkage) * (inverse * whole).sum())


def _between(centred: NDArray[np.float64], members: NDArray[np.float64]) -> NDArray[np.float64]:
    """The covariance of the class means, each as often as the class has rows, (D, D)."""
    sizes = members.sum(axis=0)
    means = members.T @ centred / sizes[:, None]
    return np.asarray((means * sizes[:, None]).T @ means / (len(centred) - 1))


def shrunk_covariance(centred: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The covariance (D, D) of centred rows (N, D), shrunk towards its mean variance, and by which share.

    Source: Ledoit and Wolf 2004; the same as `sklearn.covariance.ledoit_wolf`.
    """
    rows, width = centred.shape
    plain = centred.T @ centred / rows
    mean = float(np.trace(plain)) / width
    apart = float(((plain - mean * np.eye(width)) ** 2).sum()) / width
    square = centred**2
    noise = float((square.T @ square / rows - plain**2).sum()) / rows / width
    noise = min(max(noise, 0.0), apart)
    shrinkage = noise / apart if apart > 0 else 0.0
    return (1 - shrinkage) * plain + shrinkage * mean * np.eye(width), shrinkage


def _checked(features: Features, gold: Gold) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features and the columns of classes that tell rows apart, as numbers."""
    if features.ndim != 2 or gold.ndim != 2 or len(features) != len(gold):
        raise ValueError(f"features {features.shape} and gold {gold.shape} are not (N, D) and (N, C)")
    if not np.isfinite(features).all():
        raise DataError("the features hold NaN or infinity", next="leave this model out")
    told = gold.any(axis=0) & ~gold.all(axis=0)
    if not told.any():
        raise DataError("the labels tell no two rows apart", next="give notes with two classes or more")
    return np.asarray(features, np.float64), np.asarray(gold[:, told], np.float64)
