"""Every fixed point twice: `fixed_point` against a solver that knows nothing of closed forms.

The second route never calls `closed_form`, `linear` or `expected_coefficient`: it sees the algorithm through
`enumerated_coefficient` only, the sum over all groups of arms.

    affine algorithms   the update is probed at A + 1 points, and the least-norm solution of the linear
                        system is taken: least norm keeps the mean logit of each component (T3.3)
    DPO                 scipy.optimize.root on the enumerated gradient, from the mean-zero start
    games               mirror descent pi <- pi^(1 - eta beta) ref^(eta beta) exp(eta p(y beats m)), Euler's
                        method for d log pi/dt, run until nothing moves

Tolerances: 1e-8 on probabilities is what the project promises; 1e-10 on the residual likewise.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from bandits import (
    DPO,
    DRO,
    DROV,
    IPO,
    RLOO,
    Bandit,
    CoPG,
    NashMD,
    OnlineIPO,
    OnPolicy,
    PolicyGradient,
    behavior_value,
    fixed_point,
)
from bandits.exact import enumerated_coefficient
from bandits.policy import log_policy_of
from bandits.sampling.observation import State
from strategies import (
    bandits_with_preference,
    bandits_with_reward,
    betas,
    connected_datasets,
    offline,
    pair_samplings,
    strongly_connected_datasets,
)

RESIDUAL, AGREEMENT = 1e-10, 1e-8
SIZES = st.integers(2, 50)


def rest_of_affine_update(algorithm, bandit: Bandit, sampling) -> np.ndarray:
    """The policy where an update that is affine in the log-ratios rests, reached from the reference."""
    law = sampling.law(algorithm, bandit, bandit.log_reference)

    def ascent(h: np.ndarray) -> np.ndarray:  # not normalised: contrasts do not see a constant
        state = State(bandit.log_reference + h)
        return enumerated_coefficient(algorithm, bandit, law, state)

    origin = ascent(np.zeros(bandit.arms))
    slope = np.stack([ascent(unit) - origin for unit in np.eye(bandit.arms)], axis=-1)
    # Rows of arms that are rarely sampled are small; all rows count alike once divided by their diagonal.
    scale = 1 / np.maximum(np.abs(np.diag(slope)), 1e-300)
    h = np.linalg.lstsq(scale[:, None] * slope, -scale * origin, rcond=1e-12)[0]
    for _ in range(3):  # iterative refinement
        h += np.linalg.lstsq(scale[:, None] * slope, -scale * ascent(h), rcond=1e-12)[0]
    logits = bandit.log_reference + h
    return np.exp(logits - np.logaddexp.reduce(logits))


def check(algorithm, bandit: Bandit, sampling, second: np.ndarray) -> None:
    first = fixed_point(algorithm, bandit, sampling)
    assert np.max(first.residual) <= RESIDUAL, (algorithm, first)
    np.testing.assert_allclose(first.policy, second, rtol=0, atol=AGREEMENT)


AFFINE_ON_REWARDS = (
    CoPG,
    RLOO,
    lambda beta: CoPG(beta=beta, k=2),
    DRO,
    DROV,
    lambda beta: PolicyGradient(beta=beta, baseline=behavior_value),
)


@pytest.mark.parametrize("make", AFFINE_ON_REWARDS)
@settings(max_examples=60)
@given(data=st.data(), arms=SIZES, beta=betas())
def test_affine_algorithms_on_rewards(make, data, arms: int, beta: float) -> None:
    algorithm = make(beta=beta)
    bandit = data.draw(bandits_with_reward(arms, arms))
    places = algorithm.k if data.draw(st.booleans()) else 1
    sampling = data.draw(offline(arms, places))
    check(algorithm, bandit, sampling, rest_of_affine_update(algorithm, bandit, sampling))


@settings(max_examples=60)
@given(data=st.data(), arms=SIZES, beta=betas())
def test_ipo_on_any_law_of_pairs(data, arms: int, beta: float) -> None:
    bandit = data.draw(bandits_with_preference(arms, arms))
    sampling = data.draw(pair_samplings(arms))
    check(IPO(beta=beta), bandit, sampling, rest_of_affine_update(IPO(beta=beta), bandit, sampling))


@settings(max_examples=60)
@given(data=st.data(), arms=SIZES, beta=betas())
def test_ipo_and_copg_on_any_connected_data_set(data, arms: int, beta: float) -> None:
    bandit = data.draw(bandits_with_reward(arms, arms))
    sampling = data.draw(connected_datasets(arms))
    for algorithm in (IPO(beta=beta), CoPG(beta=beta)):
        check(algorithm, bandit, sampling, rest_of_affine_update(algorithm, bandit, sampling))


def rest_of_dpo(algorithm: DPO, bandit: Bandit, sampling) -> np.ndarray:
    """Root of DPO's enumerated gradient, divided by each arm's share of the samples."""
    law = sampling.law(algorithm, bandit, bandit.log_reference)
    share = np.maximum(law.behavior, 1e-300)

    def field(x: np.ndarray) -> np.ndarray:  # x = beta h
        state = State(bandit.log_reference + (x - x.mean()) / algorithm.beta)
        gradient = enumerated_coefficient(algorithm, bandit, law, state) / (algorithm.beta * share)
        return gradient + x.mean()  # the mean of x is free: hold it at zero

    found = optimize.root(field, np.zeros(bandit.arms), method="hybr", tol=1e-14, options={"maxfev": 20_000})
    logits = bandit.log_reference + (found.x - found.x.mean()) / algorithm.beta
    return np.exp(logits - np.logaddexp.reduce(logits))


@settings(max_examples=25)
@given(data=st.data(), arms=st.integers(2, 12), beta=betas(0.05, 1e3))
def test_dpo_on_any_law_and_data_set(data, arms: int, beta: float) -> None:
    """Smoothed labels, so that deterministic preferences have a minimiser as well (T5.4).

    Below beta = .05 the second solver, not the first, loses the last digits to the division by beta.
    """
    algorithm = DPO(beta=beta, smoothing=0.1)
    bandit = data.draw(bandits_with_preference(arms, arms))
    sampling = data.draw(st.one_of(pair_samplings(arms), strongly_connected_datasets(arms)))
    check(algorithm, bandit, sampling, rest_of_dpo(algorithm, bandit, sampling))


@settings(max_examples=25)
@given(data=st.data(), arms=SIZES, beta=betas(1e-3, 1e3), mixture=st.sampled_from([0.0, 0.125, 0.5, 1.0]))
def test_games_against_their_own_mirror_descent(data, arms: int, beta: float, mixture: float) -> None:
    """Every iterate contracts towards the equilibrium in KL for eta small against beta (T6.5)."""
    bandit = data.draw(bandits_with_preference(arms, arms))
    algorithm = NashMD(beta=beta, mixture=mixture)
    solved = fixed_point(algorithm, bandit, OnPolicy())
    assert np.max(solved.residual) <= RESIDUAL
    # The second route certifies: at the answer one step of any length stays put.
    log_policy, eta = log_policy_of(solved.policy + 0.0), 0.5 / beta
    mixed = (1 - mixture) * log_policy + mixture * bandit.log_reference
    opponent = np.exp(mixed - np.logaddexp.reduce(mixed))
    score = bandit.preference @ opponent
    moved = (1 - eta * beta) * log_policy + eta * beta * bandit.log_reference + eta * score
    moved = np.exp(moved - np.logaddexp.reduce(moved))
    np.testing.assert_allclose(moved, solved.policy, rtol=0, atol=AGREEMENT)


@settings(max_examples=15)
@given(data=st.data(), arms=SIZES, beta=betas(0.3, 1e3))
def test_online_ipo_against_mirror_descent_run_to_rest(data, arms: int, beta: float) -> None:
    """At beta >= .3 > |L| / 2 a step of 1 / (2 beta) contracts, and 400 of them leave 1e-12."""
    bandit = data.draw(bandits_with_preference(arms, arms))
    log_policy = bandit.log_reference
    for _ in range(400):
        score = bandit.preference @ np.exp(log_policy)
        log_policy = (log_policy + bandit.log_reference + score / beta) / 2
        log_policy = log_policy - np.logaddexp.reduce(log_policy)
    check(OnlineIPO(beta=beta), bandit, OnPolicy(), np.exp(log_policy))


@settings(max_examples=25)
@given(data=st.data(), arms=SIZES, beta=betas())
def test_on_policy_gradient_ends_at_the_maximum_of_the_value(data, arms: int, beta: float) -> None:
    """J has one stationary point of full support: the tilt, found here by maximising J along every edge.

    For each pair of arms the one-dimensional derivative of J towards either arm vanishes: R is constant.
    """
    bandit = data.draw(bandits_with_reward(arms, arms))
    for algorithm in (PolicyGradient(beta=beta), RLOO(beta=beta)):
        solved = fixed_point(algorithm, bandit, OnPolicy())
        assert np.max(solved.residual) <= RESIDUAL
        value = bandit.value(solved.policy, beta)
        for other in np.random.default_rng(arms).dirichlet(np.ones(arms), size=5):
            toward = 0.999 * solved.policy + 0.001 * other
            rounding = 1e-12 * (1 + np.abs(bandit.needed_reward()).max() + 30 * beta)
            assert bandit.value(toward, beta) <= value + rounding
