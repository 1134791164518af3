"""How much privacy noisy steps on drawn patients spend: the accountant of differentially private training."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clinnlp.errors import ConfigError
from clinnlp.training.settings import LEAST_NOISE

ORDERS = (*(1 + tenth / 10 for tenth in range(1, 100)), *range(11, 64), 96, 128, 192, 256, 512)
MOST_NOISE = 10_000.0
POINTS = 8  # a standard deviation, or its square, is cut into so many steps


def epsilon_of(rate: float, noise: float, steps: int, delta: float) -> float:
    """The epsilon at `delta` of `steps` steps; infinite without noise, 0 without steps.

    In each, every unit is drawn with chance `rate`, its vector of length at most C added up, and Gaussian noise of
    standard deviation `noise` times C added to each coordinate. Neighbours differ by one unit more or less. Source:
    Renyi differential privacy (Mironov 2017) of the sampled Gaussian mechanism (Mironov, Talwar and Zhang 2019), turned
    into epsilon by theorem 21 of Balle et al. (2020). An upper bound: other accountants may find less.
    """
    if not steps or not rate:
        return 0.0
    if not noise:
        return math.inf
    return _least(steps * renyi(rate, noise), delta)


def noise_for(epsilon: float, rate: float, steps: int, delta: float) -> float:
    """The least noise, to four decimals, whose `epsilon_of` is not over `epsilon`. Raises ConfigError if none does."""
    low, high = LEAST_NOISE, LEAST_NOISE
    while epsilon_of(rate, high, steps, delta) > epsilon:
        low, high = high, high * 2
        if high > MOST_NOISE:
            raise ConfigError(
                f"no noise gives epsilon {epsilon:g} at delta {delta:g} over {steps} steps",
                where="privacy.epsilon", next="ask for a larger one, or train fewer epochs",
            )  # fmt: skip
    while high - low > 5e-5:
        middle = (low + high) / 2
        low, high = (middle, high) if epsilon_of(rate, middle, steps, delta) > epsilon else (low, middle)
    return math.ceil(high * 1e4) / 1e4


def renyi(rate: float, noise: float, orders: Sequence[float] = ORDERS) -> NDArray[np.float64]:
    """The Renyi divergence of one step at each order over 1.

    It is log A / (order - 1), where A is the mean over x of N(0, noise^2) of (1 - rate + rate r(x))^order, and r(x) the
    odds of N(1, noise^2). The integral is a sum over even steps, which for such functions is exact to rounding.
    """
    step = min(noise, noise**2) / POINTS
    with np.errstate(divide="ignore"):
        rest = np.log1p(-rate)  # of rate 1 it is -inf
    found = []
    for order in orders:
        x = np.arange(-12 * noise, order + 12 * noise, step)
        odds = np.logaddexp(rest, np.log(rate) + (2 * x - 1) / (2 * noise**2))
        log_density = -(x**2) / (2 * noise**2) - np.log(noise * math.sqrt(2 * math.pi))
        terms = order * odds + log_density + np.log(step)
        highest = terms.max()
        found.append((highest + np.log(np.exp(terms - highest).sum())) / (order - 1))
    return np.maximum(np.array(found), 0.0)


def _least(spent: NDArray[np.float64], delta: float) -> float:
    """The epsilon at the order that gives the least."""
    orders = np.array(ORDERS, np.float64)
    found = spent + np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    return max(float(found.min()), 0.0)
