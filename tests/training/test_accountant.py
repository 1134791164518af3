"""The accountant against a second one, closed forms and figures of another library."""

import math

import numpy as np
import pytest
from scipy.special import gammaln, logsumexp

from clinnlp.errors import ConfigError
from clinnlp.training.accountant import ORDERS, epsilon_of, noise_for, renyi

# rate, noise, steps, delta; epsilon of Opacus 1.6.0 by its RDP accountant, and by its PRV accountant, which is tighter
OPACUS = [
    (0.01, 1.0, 1_000, 1e-5, 2.1013652716430564, 1.8383716376346455),
    (0.01, 1.1, 10_000, 1e-5, 5.63199236854841, 5.20286525204925),
    (0.1, 1.0, 200, 1e-3, 8.184229526518223, 7.106853608641076),
    (0.05, 2.0, 500, 1e-5, 2.768584530797209, 2.542188532567259),
    (1.0, 10.0, 100, 1e-5, 4.728507067217623, 4.3874132887396895),
    (0.2, 0.8, 100, 1e-3, 18.543752605931488, 16.197938891021817),
    (0.01, 4.0, 10_000, 1e-5, 1.0354900660362476, 0.956936183403828),
    (0.25, 3.0, 400, 1e-3, 6.98356264045029, 6.247243731122989),
    (0.02, 0.6, 300, 1e-4, 8.269218902054995, 6.886670270580777),
]


def by_sum(rate: float, noise: float, order: int) -> float:
    """The closed form at whole orders: a binomial sum (Mironov, Talwar and Zhang 2019, section 3.3)."""
    k = np.arange(order + 1)
    binomial = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    terms = binomial + k * math.log(rate) + (order - k) * math.log1p(-rate) + (k * k - k) / (2 * noise**2)
    return float(logsumexp(terms)) / (order - 1)


@pytest.mark.parametrize("noise", [0.2, 0.5, 1.0, 3.0, 40.0])
@pytest.mark.parametrize("rate", [0.001, 0.05, 0.5, 0.99])
def test_it_is_the_binomial_sum_at_whole_orders(rate: float, noise: float) -> None:
    orders = [2, 3, 7, 32, 63, 128]
    expected = [by_sum(rate, noise, order) for order in orders]
    assert renyi(rate, noise, orders) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("noise", [0.2, 1.0, 7.0])
def test_of_everyone_in_each_step_it_is_the_plain_gaussian_mechanism(noise: float) -> None:
    assert renyi(1.0, noise) == pytest.approx(np.array(ORDERS) / (2 * noise**2), rel=1e-9)


@pytest.mark.parametrize(("rate", "noise", "steps", "delta", "rdp", "prv"), OPACUS)
def test_it_agrees_with_another_library(
    rate: float, noise: float, steps: int, delta: float, rdp: float, prv: float
) -> None:
    found = epsilon_of(rate, noise, steps, delta)
    assert found == pytest.approx(rdp, rel=1e-4)
    assert prv < found < 1.25 * prv, "an upper bound, and not a loose one"


def test_one_release_by_hand() -> None:
    # order 2 of N(0, 1) against N(1, 1): 2 / 2 = 1, and 1 + log(1/2) - (log 0.1 + log 2) / 1 = 1.916
    at_two = 1 + math.log(0.5) - math.log(0.1) - math.log(2)
    assert at_two == pytest.approx(1.916, abs=1e-3)
    assert 1.0 < epsilon_of(1.0, 1.0, 1, 0.1) <= at_two


def test_more_steps_less_noise_or_a_higher_rate_spend_more() -> None:
    by_steps = [epsilon_of(0.1, 1.0, steps, 1e-5) for steps in (0, 1, 10, 100, 1000)]
    by_noise = [epsilon_of(0.1, noise, 100, 1e-5) for noise in (50, 5, 2, 1, 0.5, 0.2)]
    by_rate = [epsilon_of(rate, 1.0, 100, 1e-5) for rate in (0, 0.01, 0.1, 0.5, 1.0)]
    for found in (by_steps, by_noise, by_rate):
        assert all(np.diff(found) > 0)
    assert by_steps[0] == by_rate[0] == 0
    assert epsilon_of(0.1, 0.0, 1, 1e-5) == math.inf


@pytest.mark.parametrize("epsilon", [0.5, 3.0, 8.0, 100.0])
def test_the_noise_for_an_epsilon_is_enough_and_not_more(epsilon: float) -> None:
    noise = noise_for(epsilon, 0.1, 200, 1e-5)
    assert epsilon_of(0.1, noise, 200, 1e-5) <= epsilon < epsilon_of(0.1, noise - 2e-4, 200, 1e-5)


def test_an_epsilon_that_cannot_be_had_is_refused() -> None:
    with pytest.raises(ConfigError) as error:
        noise_for(0.001, 0.1, 200, 1e-5)
    assert str(error.value).startswith("privacy.epsilon: no noise gives epsilon 0.001 at delta 1e-05 over 200 steps.")
