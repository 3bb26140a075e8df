"""DRO: one joint optimum for policy and value, whoever sampled (T8.1)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import answer_key
from bandits import DRO, DROV, Bandit, Offline, OnPolicy, Samples, expected_loss, expected_update, fixed_point
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from rows import Row, optimum, size_of_rewards

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: DRO, s: Samples) -> list[float]:
    """T8.1: beta (r - V - beta h)."""
    return [a.beta * c for c in formula_of_drov(a, s)]


def formula_of_drov(a: DRO | DROV, s: Samples) -> list[float]:
    """T8.1: r - V - beta h; V = E_mu[R] where it is eliminated."""
    V = s.value
    if V is None:
        V = answer_key.mean_regularized(a.beta, s, np.exp(s.population.behavior_log_prob))
    return [answer_key.regularized(a.beta, s)[0] - float(V)]


def size(a: DRO, case: Case) -> float:
    """beta stands before R."""
    return size_of_rewards(a, case) * max(1.0, a.beta)


ROWS = {
    "DRO": Row(
        make=DRO,
        formula=formula,
        size=size,
        target=optimum,  # T8.1
        climbs=lambda a, c: (a.beta, c.bandit.reward),  # T8.1, V = E_pi[R]
        sees_offset=False,
        ends={"on-policy": "optimum", "elsewhere": "optimum"},  # T8.1
    ),
    "DROV": Row(
        make=DROV,
        formula=formula_of_drov,
        target=optimum,
        climbs=lambda a, c: (1, c.bandit.reward),
        sees_offset=False,
        ends={"on-policy": "optimum", "elsewhere": "optimum"},
    ),
}


# ---- what it is known for ---------------------------------------------------------------------------------


EXAMPLES = settings(max_examples=25)
BOTH = pytest.mark.parametrize("algorithm", [DRO, DROV])


@EXAMPLES
@given(st.data(), strategies.betas(0.3, 30))
def test_the_loss_is_zero_only_at_the_optimum_and_its_value(data, beta):
    """T8.1: r - V - beta h = 0 on every arm iff pi = pi* and V = J*; no sampler changes that."""
    world = data.draw(strategies.bandits_with_reward(max_arms=5, smallest=1e-2))
    mu, other = data.draw(strategies.behaviors(world.arms)), data.draw(strategies.policies(world.arms))
    best, J = world.optimal_policy(beta), world.optimal_value(beta)
    size = 1e-13 * (np.abs(world.reward).max() + 30 * beta)
    assert_allclose(expected_loss(DRO(beta), world, Offline(mu), best, value=J), 0, atol=size**2)
    assert_allclose(expected_update(DRO(beta), world, Offline(mu), best, value=J), 0, atol=beta * size)
    assert_allclose(expected_loss(DRO(beta), world, Offline(mu), best, value=J + 0.5), 0.125, rtol=1e-9)
    assert expected_loss(DRO(beta), world, Offline(mu), other, value=J) > 0


@EXAMPLES
@given(st.data(), strategies.betas(0.1, 10), st.floats(-2, 2))
def test_the_coefficient_of_the_value_descends_the_loss(data, beta, V):
    """-d E[loss] / dV = E[r - V - beta h], by central differences of a quadratic: exact up to rounding."""
    world = data.draw(strategies.bandits_with_reward(max_arms=5, smallest=1e-2))
    mu, policy = data.draw(strategies.behaviors(world.arms)), data.draw(strategies.policies(world.arms))
    every = Samples(
        log_prob=np.log(policy)[:, None],
        reference_log_prob=world.log_reference[:, None],
        reward=world.reward[:, None],
        value=np.full(world.arms, V),
    )
    steps = DRO(beta).update(every).value
    assert steps.shape == (world.arms,)
    above, below = (expected_loss(DRO(beta), world, Offline(mu), policy, value=V + d) for d in (0.01, -0.01))
    size = 1e-12 * (2 + np.abs(world.reward).max() + 10 * beta) ** 2
    assert_allclose(mu @ steps, (below - above) / 0.02, rtol=0, atol=size)


@EXAMPLES
@given(st.data(), strategies.betas())
def test_dro_v_drops_the_factor_beta_on_the_policy_and_nothing_else(data, beta):
    rng = data.draw(strategies.generators())
    one = Samples(
        log_prob=-rng.random((4, 1)),
        reference_log_prob=-rng.random((4, 1)),
        reward=rng.normal(size=(4, 1)),
        value=rng.normal(size=4),
    )
    exact, published = DRO(beta).update(one), DROV(beta).update(one)
    assert_allclose(exact.log_prob, beta * published.log_prob, rtol=1e-15)
    assert_allclose(exact.value, published.value, rtol=0)


@EXAMPLES
@given(st.data(), strategies.betas())
def test_eliminating_the_value_is_its_best_choice(data, beta):
    """Without `value` V is E_mu[R]: the update is the one at that V, and no V has a smaller loss."""
    world = data.draw(strategies.bandits_with_reward(max_arms=5))
    mu, policy = data.draw(strategies.behaviors(world.arms)), data.draw(strategies.policies(world.arms))
    R = world.reward - beta * np.log(policy / world.reference)
    size = 1e-13 * (1 + beta) * (1 + np.abs(R).max())
    for a in (DRO(beta), DROV(beta)):
        at_best = expected_update(a, world, Offline(mu), policy, value=mu @ R)
        assert_allclose(expected_update(a, world, Offline(mu), policy), at_best, rtol=0, atol=size)
    least = expected_loss(DRO(beta), world, Offline(mu), policy)
    assert least <= expected_loss(DRO(beta), world, Offline(mu), policy, value=mu @ R + 0.1)


# ---- the closed form's value ------------------------------------------------------------------------------


@BOTH
@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.3, 30))
def test_the_fixed_point_brings_the_optimal_value(algorithm, data, beta):
    world = data.draw(strategies.bandits_with_reward(max_arms=5, smallest=1e-2))
    mu = data.draw(strategies.behaviors(world.arms))
    found = fixed_point(algorithm(beta), world, Offline(mu))
    assert_allclose(found.policy, world.optimal_policy(beta), rtol=1e-12)
    size = np.abs(world.reward).max() + 10 * beta
    assert_allclose(found.value, world.optimal_value(beta), rtol=0, atol=1e-13 * size)


@BOTH
def test_an_arm_that_is_never_sampled_keeps_its_logit_and_stays_out_of_the_value(algorithm):
    """mu = (.3, .7, 0): R is the constant V on the arms 0 and 1; arm 2's reward, however large, is not in it.

    Inside {0, 1} pi/ref is tilted by r/beta, the mean of its two logits is the start's.  From pi = ref:
    h = (r - mean r)/beta + c with the c of normalisation, so V = r - beta h = mean r - beta c.
    """
    world, beta = Bandit([1.0, -0.5, 99.0], reference=[0.5, 0.3, 0.2]), 0.7
    found = fixed_point(algorithm(beta), world, Offline([0.3, 0.7, 0.0]))
    weights = world.reference * np.exp([0.75 / beta, -0.75 / beta, 0.0])
    assert_allclose(found.policy, weights / weights.sum(), rtol=1e-13)
    assert_allclose(found.value, 0.25 + beta * np.log(weights.sum()), rtol=1e-13)
    assert found.unique is False


@BOTH
def test_on_policy_an_arm_that_starts_at_zero_stays_out_of_the_value(algorithm):
    """pi* and J* of the world without the arm: beta log of the sum of ref e^(r/beta) over the others."""
    world, beta = Bandit([1.0, 99.0, -0.5], reference=[0.5, 0.3, 0.2]), 0.7
    found = fixed_point(algorithm(beta), world, OnPolicy(), start=[0.4, 0.0, 0.6])
    weights = world.reference * np.exp(world.reward / beta) * [1, 0, 1]
    assert_allclose(found.policy, weights / weights.sum(), rtol=1e-13)
    assert_allclose(found.value, beta * np.log(weights.sum()), rtol=1e-13)
