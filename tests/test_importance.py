"""Importance weights: no bias, and the exact price in variance (T2.6)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from bandits import (
    DRO,
    IPO,
    RLOO,
    SRPO,
    Bandit,
    CoPG,
    ImportanceWeighted,
    Offline,
    OnPolicy,
    Pairs,
    PolicyGradient,
    Samples,
    expected_update,
    update_covariance,
)
from bandits.testing import enumeration, strategies
from bandits.testing.enumeration import Case
from rows import WIDE, Row, row_of

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: ImportanceWeighted, s: Samples) -> list[float]:
    """T2.6: the coefficients times min(prod pi/mu, clip)."""
    weight = min(np.prod(np.exp(s.log_prob - s.behavior_log_prob)), a.clip)
    return [weight * c for c in row_of(a.algorithm).formula(a.algorithm, s)]


def size(a: ImportanceWeighted, case: Case) -> float:
    """The terms of what is weighted, times the largest weight."""
    listed = [s for _, _, s in enumeration.groups(a, case)]
    largest = max(np.exp((s.log_prob - s.behavior_log_prob).sum()) for s in listed)
    return row_of(a.algorithm).size(a.algorithm, case) * max(1.0, min(largest, a.clip))


ROWS = {
    "ImportanceWeighted": Row(
        make=lambda beta: ImportanceWeighted(PolicyGradient(beta)),
        formula=formula,
        size=size,
        sees_offset=False,  # grad J has no baseline
        ends={"on-policy": "optimum", "elsewhere": "optimum"},  # T2.6
        blind=WIDE,
    ),
    "ImportanceWeighted(RLOO)": Row(
        make=lambda beta: ImportanceWeighted(RLOO(beta)),
        formula=formula,
        size=size,
        zero_sum=True,  # a common weight keeps the sum of RLOO's
        sees_offset=False,
        ends={"on-policy": "optimum", "elsewhere": "optimum"},  # at pi* R is constant
        blind=WIDE,
    ),
    "ImportanceWeighted(PolicyGradient, clip)": Row(
        make=lambda beta: ImportanceWeighted(PolicyGradient(beta), 1.2),
        formula=formula,
        size=size,
        ends={"on-policy": "optimum", "elsewhere": "other"},
        blind=WIDE,
    ),
}


# ---- what it is known for ---------------------------------------------------------------------------------


EXAMPLES = settings(max_examples=25)
ON_POLICY = {
    "PolicyGradient": lambda beta: PolicyGradient(beta, baseline=0.5),
    "RLOO": RLOO,
    "RLOO(k=3)": lambda beta: RLOO(beta, k=3),
    "CoPG": CoPG,
    "IPO": IPO,
}
WORLD = Bandit([1.0, -0.5, 0.25], preference=np.full((3, 3), 0.5), reference=[0.5, 0.3, 0.2])
POLICY, BETA = np.array([0.2, 0.5, 0.3]), 0.7


@pytest.mark.parametrize("name", ON_POLICY)
@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 10))
def test_weights_restore_the_on_policy_mean(name, data, beta):
    """T2.6: E_mu[(pi/mu) f] = E_pi[f], whichever behaviour policy took which place of the group."""
    algorithm = ON_POLICY[name](beta)
    world = data.draw(strategies.bandits_with_both(max_arms=4, smallest=1e-2))
    policy = data.draw(strategies.policies(world.arms, smallest=1e-2))
    places = data.draw(st.sampled_from([1, algorithm.k]))
    mu = data.draw(strategies.offline(world.arms, places))
    on_policy = expected_update(algorithm, world, OnPolicy(), policy)
    weighted = expected_update(ImportanceWeighted(algorithm), world, mu, policy)
    size = np.abs(world.reward).max() + (1 + beta) * np.abs(np.log(policy / world.reference)).max() + 2 / beta
    assert_allclose(weighted, on_policy, rtol=0, atol=1e-13 * 10 * size)


def test_what_is_trained_beside_the_policy_is_weighted_too():
    """E_mu[w (r - V - beta h)] = E_pi[r - V - beta h] for DRO's value; SRPO's revision policy likewise."""
    mu, R = np.array([0.6, 0.1, 0.3]), WORLD.reward - BETA * np.log(POLICY / WORLD.reference)
    every = Samples(
        log_prob=np.log(POLICY)[:, None],
        reference_log_prob=WORLD.log_reference[:, None],
        reward=WORLD.reward[:, None],
        behavior_log_prob=np.log(mu)[:, None],
        value=np.full(3, 0.4),
    )
    steps = ImportanceWeighted(DRO(BETA)).update(every).value
    assert_allclose(mu @ steps, POLICY @ R - 0.4, rtol=1e-13)
    rng = np.random.default_rng(3)
    pair = Samples(
        log_prob=np.log(POLICY[:2]),
        reference_log_prob=WORLD.log_reference[:2],
        preference=np.array([[0.5, 0.7], [0.3, 0.5]]),
        behavior_log_prob=np.log(mu[:2]),
        revision_log_prob=-rng.random((2, 2)),
        reference_revision_log_prob=-rng.random((2, 2)),
    )
    weight = np.prod(POLICY[:2] / mu[:2])
    plain, weighted = (a.update(pair).revision_log_prob for a in (SRPO(BETA), ImportanceWeighted(SRPO(BETA))))
    assert_allclose(weighted, weight * plain, rtol=1e-13)


def test_without_weights_there_is_bias():
    mu = Offline([0.6, 0.1, 0.3])
    on_policy = expected_update(PolicyGradient(BETA), WORLD, OnPolicy(), POLICY)
    assert np.abs(expected_update(PolicyGradient(BETA), WORLD, mu, POLICY) - on_policy).max() > 0.05


@EXAMPLES
@given(st.data(), strategies.betas(0.1, 10))
def test_the_variance_is_exact(data, beta):
    """tr Var = E_mu[w^2 R^2 |s|^2] - |grad J|^2 = sum_y pi(y)^2/mu(y) R(y)^2 |s(y)|^2 - |grad J|^2."""
    world = data.draw(strategies.bandits_with_reward(2, 6, smallest=1e-2))
    policy, mu = data.draw(strategies.policies(world.arms)), data.draw(strategies.behaviors(world.arms))
    R = world.reward - beta * np.log(policy / world.reference)
    length = ((np.eye(world.arms) - policy) ** 2).sum(1)
    second = (policy**2 / mu) @ (R**2 * length)
    gradient = policy * (R - policy @ R)
    weighted = ImportanceWeighted(PolicyGradient(beta))
    found = np.trace(update_covariance(weighted, world, Offline(mu), policy))
    assert_allclose(found, second - (gradient**2).sum(), rtol=1e-10, atol=1e-12 * second)


def test_the_variance_grows_like_one_over_the_smallest_probability():
    """mu(a) -> 0 where pi has mass: mu(a) tr Var -> pi(a)^2 R(a)^2 |s(a)|^2, slope -1 in log-log."""
    rare = np.logspace(-3, -9, 7)
    weighted = ImportanceWeighted(PolicyGradient(BETA))
    variance = [
        np.trace(update_covariance(weighted, WORLD, Offline([m, 0.6 * (1 - m), 0.4 * (1 - m)]), POLICY))
        for m in rare
    ]
    slopes = np.diff(np.log(variance)) / np.diff(np.log(rare))
    assert_allclose(slopes[-1], -1, atol=1e-5)
    R = WORLD.reward - BETA * np.log(POLICY / WORLD.reference)
    limit = (POLICY[0] * R[0]) ** 2 * ((np.eye(3)[0] - POLICY) ** 2).sum()
    assert_allclose(rare[-1] * variance[-1], limit, rtol=1e-6)


def test_clipping_bounds_the_variance_and_biases_the_mean():
    """w <= 2: mean and second moment of the rare arm vanish with mu(a) instead of staying and exploding."""
    clipped = ImportanceWeighted(PolicyGradient(BETA), clip=2.0)
    rare = Offline([1e-9, 0.6, 0.4 - 1e-9])
    R = WORLD.reward - BETA * np.log(POLICY / WORLD.reference)
    mu = rare.behaviors[0]
    w = np.minimum(POLICY / mu, 2.0)
    by_hand = (mu * w * R) @ (np.eye(3) - POLICY)
    assert_allclose(expected_update(clipped, WORLD, rare, POLICY), by_hand, rtol=1e-13)
    assert np.trace(update_covariance(clipped, WORLD, rare, POLICY)) < (2 * np.abs(R).max()) ** 2 * 2
    on_policy = expected_update(PolicyGradient(BETA), WORLD, OnPolicy(), POLICY)
    assert np.abs(by_hand - on_policy).max() > 0.01


@settings(max_examples=10)
@given(st.data())
def test_a_clip_that_never_binds_changes_nothing(data):
    mu = data.draw(strategies.behaviors(3, smallest=1e-2))
    loose, none = (
        expected_update(ImportanceWeighted(RLOO(BETA), clip), WORLD, Offline(mu), POLICY)
        for clip in (1e9, np.inf)
    )
    assert_allclose(loose, none, rtol=1e-14)


# ---- what the closed form may claim -----------------------------------------------------------------------


def _closed_form(sampling, clip=np.inf, algorithm=None):
    weighted = ImportanceWeighted(algorithm or RLOO(BETA), clip)
    return weighted.closed_form(WORLD, sampling, WORLD.log_reference)


def test_independent_samples_that_see_every_arm_end_at_the_optimum():
    for sampling in (Offline([0.6, 0.1, 0.3]), Offline([0.6, 0.1, 0.3], [0.1, 0.1, 0.8]), OnPolicy()):
        assert_allclose(_closed_form(sampling).policy, WORLD.optimal_policy(BETA), rtol=1e-13)


def test_nothing_is_claimed_where_the_weights_do_not_restore_the_policy():
    """Clipped weights, an arm that one place of the group never shows, pairs that depend on each other."""
    assert _closed_form(Offline([0.6, 0.1, 0.3]), clip=2.0) is None
    assert _closed_form(Offline([0.6, 0.0, 0.4])) is None
    assert _closed_form(Offline([0.6, 0.4, 0.0], [0.0, 0.5, 0.5])) is None
    assert _closed_form(Pairs(np.array([[0, 2, 1], [1, 0, 3], [2, 1, 0]]) / 10)) is None


def test_on_dependent_pairs_weights_do_not_restore_the_mean():
    """W(y, y') is not the product of its marginals, so that w is no likelihood ratio."""
    joint = Pairs(np.array([[0, 2, 1], [1, 0, 3], [2, 1, 0]]) / 10)
    weighted = expected_update(ImportanceWeighted(RLOO(BETA)), WORLD, joint, POLICY)
    on_policy = expected_update(RLOO(BETA), WORLD, OnPolicy(), POLICY)
    assert np.abs(weighted - on_policy).max() > 1e-3
