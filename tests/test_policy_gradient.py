"""Policy gradient: what the baseline does to the mean and to the variance (T2.1, T2.3, T2.5)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import answer_key
import worlds
from bandits import (
    Offline,
    OnPolicy,
    PolicyGradient,
    Samples,
    behavior_value,
    expected_update,
    greedy,
    policy_reward,
    policy_value,
    update_covariance,
)
from bandits.testing import strategies
from rows import Row, optimum, rewards

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: PolicyGradient, s: Samples) -> list[float]:
    """T2.1: (R - b) / k."""
    return [(R - answer_key.baseline(a, s)) / a.k for R in answer_key.regularized(a.beta, s)]


def _row(**changes) -> Row:
    return Row(
        make=lambda beta: PolicyGradient(beta, **changes),
        formula=formula,
        climbs=rewards,
        target=optimum if changes.get("baseline") is behavior_value else None,  # T2.5: E_mu[R] and no other
        sees_offset=not callable(changes.get("baseline")),
        ends={  # T2.5
            "on-policy": "optimum",
            "elsewhere": "optimum" if changes.get("baseline") in (policy_value, behavior_value) else "other",
        },
    )


ROWS = {
    "PolicyGradient": _row(),
    "PolicyGradient(1.5)": _row(baseline=1.5),
    "PolicyGradient(policy_reward)": _row(baseline=policy_reward),
    "PolicyGradient(policy_value)": _row(baseline=policy_value),
    "PolicyGradient(behavior_value)": _row(baseline=behavior_value),
    "PolicyGradient(greedy, k=2)": _row(baseline=greedy, k=2),
}


# ---- what it is known for ---------------------------------------------------------------------------------


EXAMPLES = settings(max_examples=25)
BASELINES = [-3.0, 0.0, 7.5, policy_reward, policy_value, behavior_value, greedy]


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda b: getattr(b, "__name__", str(b)))
@EXAMPLES
@given(data=st.data(), beta=strategies.betas())
def test_on_policy_every_baseline_has_the_mean_of_none(baseline, data, beta):
    """T2.1: E_pi[b grad log pi] = b grad(sum pi) = 0."""
    world = data.draw(strategies.bandits_with_reward(max_arms=6))
    policy = data.draw(strategies.policies(world.arms))
    R = world.reward - beta * np.log(policy / world.reference)
    gradient = policy * (R - policy @ R)  # dJ/dlogits
    found = expected_update(PolicyGradient(beta, baseline), world, OnPolicy(), policy)
    assert_allclose(found, gradient, rtol=0, atol=1e-13 * (8 + np.abs(R).max()))


@EXAMPLES
@given(st.data(), strategies.betas(0.1, 10))
def test_the_variance_is_a_parabola_in_the_baseline(data, beta):
    """T2.3: tr Var[(R - b) s] = E[(R - b)^2 |s|^2] - |grad J|^2, s = e_y - pi.

    Its minimum is at b* = E[R |s|^2] / E[|s|^2], and b* + d costs d^2 E[|s|^2] more.
    """
    world = data.draw(strategies.bandits_with_reward(2, 6, smallest=1e-2))
    policy = data.draw(strategies.policies(world.arms, smallest=1e-2))
    R = world.reward - beta * np.log(policy / world.reference)
    length = ((np.eye(world.arms) - policy) ** 2).sum(1)
    best = (policy * length) @ R / (policy @ length)

    def variance(b):
        return np.trace(update_covariance(PolicyGradient(beta, float(b)), world, OnPolicy(), policy))

    size = 1e-12 * (1 + np.abs(R).max()) ** 2
    for d in (-0.5, 0.25, 1.0):
        assert_allclose(variance(best + d) - variance(best), d**2 * (policy @ length), rtol=1e-10, atol=size)


def test_the_value_is_not_the_best_baseline():
    """T2.3: b = J costs (J - b*)^2 E[|s|^2] more than b*."""
    world, policy, beta = worlds.REWARDS, np.array([0.2, 0.5, 0.3]), 0.7
    R = world.reward - beta * np.log(policy / world.reference)
    length = ((np.eye(3) - policy) ** 2).sum(1)
    best = float((policy * length) @ R / (policy @ length))
    least, at_value = (
        np.trace(update_covariance(PolicyGradient(beta, b), world, OnPolicy(), policy))
        for b in (best, policy_value)
    )
    assert_allclose(at_value - least, (policy @ R - best) ** 2 * (policy @ length), rtol=1e-10)
    assert at_value > least + 1e-4


@EXAMPLES
@given(st.data(), strategies.betas(0.3, 30))
def test_off_policy_the_optimum_rests_only_on_the_mean_of_the_sampler(data, beta):
    """T2.5: at pi* R = J* everywhere, so E_mu[(R - b)(e_y - pi*)] = (J* - b)(mu - pi*): zero iff b = J*.

    E_mu[R], E_pi[R] are J* there; E_pi[r] = J* + beta KL(pi* || ref) and any other constant are not.
    """
    world = data.draw(strategies.bandits_with_reward(2, 5, smallest=1e-2))
    mu, best, J = (
        data.draw(strategies.behaviors(world.arms)),
        world.optimal_policy(beta),
        world.optimal_value(beta),
    )
    assume(best.min() > 1e-12 and np.abs(mu - best).max() > 1e-2)
    size = 1e-13 * (np.abs(world.reward).max() + 30 * beta)

    def update(baseline):
        return expected_update(PolicyGradient(beta, baseline), world, Offline(mu), best)

    for right in (policy_value, behavior_value, float(J)):
        assert_allclose(update(right), 0, atol=size)
    for wrong, b in ((policy_reward, best @ world.reward), (float(J) + 0.5, J + 0.5)):
        assert_allclose(update(wrong), (J - b) * (mu - best), rtol=1e-9, atol=size)


@EXAMPLES
@given(st.data(), strategies.betas(), st.integers(2, 3))
def test_k_samples_average(data, beta, k):
    """One batch of k has the mean of a single sample and its variance divided by k."""
    world = data.draw(strategies.bandits_with_reward(2, 4, smallest=1e-2))
    mu, policy = data.draw(strategies.behaviors(world.arms)), data.draw(strategies.policies(world.arms))
    R = world.reward - beta * np.log(policy / world.reference)
    size = 1e-13 * (1 + np.abs(R).max())
    one, many = PolicyGradient(beta, 0.5), PolicyGradient(beta, 0.5, k)
    means = [expected_update(a, world, Offline(mu), policy) for a in (one, many)]
    assert_allclose(means[1], means[0], rtol=0, atol=size)
    covariances = [update_covariance(a, world, Offline(mu), policy) for a in (one, many)]
    assert_allclose(k * covariances[1], covariances[0], rtol=1e-9, atol=10 * size * (1 + np.abs(R).max()))
