"""RLOO: an average over pairs, and the variance that follows from it (T2.2)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import answer_key
import worlds
from bandits import RLOO, OnPolicy, Samples, update_covariance
from bandits.testing import strategies
from rows import Row, optimum, rewards

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: RLOO, s: Samples) -> list[float]:
    """T2.2: (R_i - mean of the other R) / k."""
    R = answer_key.regularized(a.beta, s)
    return [(R[i] - sum(R[:i] + R[i + 1 :]) / (a.k - 1)) / a.k for i in range(a.k)]


def _row(k: int) -> Row:
    return Row(
        make=lambda beta: RLOO(beta, k=k),
        formula=formula,
        target=optimum,  # T3.1: CoPG's coefficients
        climbs=rewards,  # T2.2
        sees_offset=False,
        ends={"on-policy": "optimum", "elsewhere": "optimum"},  # T2.2, T3.1
    )


ROWS = {"RLOO": _row(2), "RLOO(k=3)": _row(3)}


# ---- what it is known for ---------------------------------------------------------------------------------


@settings(max_examples=25)
@given(strategies.generators(), strategies.betas(), st.integers(3, 6))
def test_rloo_is_the_average_of_rloo_of_two_over_pairs(rng, beta, k):
    """T2.2: (R_i - mean of the others)/k = mean over all pairs of (R_i - R_j)/2 where i takes part."""
    fields = {"log_prob": -rng.random(k), "reference_log_prob": -rng.random(k), "reward": rng.normal(size=k)}
    c = np.zeros(k)
    pairs = list(itertools.combinations(range(k), 2))
    for pair in map(list, pairs):
        c[pair] += RLOO(beta).update(Samples(**{n: v[pair] for n, v in fields.items()})).log_prob
    found = RLOO(beta, k).update(Samples(**fields)).log_prob
    assert_allclose(found, c / len(pairs), atol=1e-14 * (1 + 10 * beta))


def variances(bandit, policy, beta):
    """z1 and z2 of T2.2, and grad J, from their definitions."""
    R = bandit.reward - beta * np.log(policy / bandit.reference)
    score = np.eye(bandit.arms) - policy  # row y: e_y - pi
    J = policy @ R
    gradient = (policy * R) @ score
    single = 0.5 * ((R - J)[:, None] * score + gradient)
    z1 = policy @ (single**2).sum(1) - (gradient**2).sum()
    both = 0.5 * (R[:, None] - R)[..., None] * (score[:, None] - score)
    z2 = np.einsum("y,z,yza->", policy, policy, both**2) - (gradient**2).sum()
    return z1, z2


@settings(max_examples=10)
@given(st.data(), strategies.betas(0.1, 10), st.integers(2, 4))
def test_the_variance_of_rloo_is_that_of_a_u_statistic(data, beta, k):
    """T2.2.  RLOO_k is a U-statistic with the kernel g(y, y') = (R - R')(s - s')/2, so (Hoeffding 1948)

        tr Var = 2 / (k (k-1)) * (2 (k-2) z1 + z2),   z1 = tr Var E[g | y],   z2 = tr Var g,

    and E[g | y] = ((R - J) s + grad J)/2, because E[s'] = 0 and E[R' s'] = grad J.
    """
    world = data.draw(strategies.bandits_with_reward(2, 4, smallest=1e-2))
    policy = data.draw(strategies.policies(world.arms, smallest=1e-2))
    z1, z2 = variances(world, policy, beta)
    expected = 4 * (k - 2) / (k * (k - 1)) * z1 + 2 / (k * (k - 1)) * z2
    found = np.trace(update_covariance(RLOO(beta, k), world, OnPolicy(), policy))
    R = world.reward - beta * np.log(policy / world.reference)
    assert_allclose(found, expected, rtol=1e-9, atol=1e-13 * np.abs(R).max() ** 2)


def test_the_variance_is_not_that_of_independent_pairs():
    """The wrong twin z2 / (number of pairs) forgets that pairs share samples; so does z1 = z2 / 4."""
    world = worlds.REWARDS
    policy = np.array([0.2, 0.5, 0.3])
    z1, z2 = variances(world, policy, 0.7)
    found = np.trace(update_covariance(RLOO(0.7, k=3), world, OnPolicy(), policy))
    assert_allclose(found, 4 / 6 * z1 + 2 / 6 * z2, rtol=1e-12)
    for wrong in (z2 / 3, z2 / 2, 4 / 6 * z2 + 2 / 6 * z1):
        with pytest.raises(AssertionError):
            assert_allclose(found, wrong, rtol=1e-3)
