"""Fixed points by routes that know nothing of closed forms, over the rows of every algorithm they suit.

    affine updates    the sum over all groups of arms (`enumerated_coefficient`) is probed at A + 1 points,
                      and the least-norm solution of the linear system is taken: least norm keeps the mean
                      logit of each component (T3.3).  Neither `closed_form` nor `linear` is called
    games             mirror descent pi <- pi^(1 - eta beta) ref^(eta beta) exp(eta p(y beats m)), Euler's
                      method for d log pi/dt, run until nothing moves  (T6.5)
    policy gradients  J is concave: its slope along every edge of the simplex vanishes at its maximum  (T2.1)

`test_fixed_point.py` has a second solver for each family (`independent_solvers`): dense least squares,
SciPy's root finder, 60 digits.  Tolerances: 1e-8 on probabilities is what the project promises; 1e-10 on the
residual likewise.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

import worlds
from bandits import Bandit, NashMD, Offline, OnlineIPO, OnPolicy, Pairs, fixed_point
from bandits.exact import enumerated_coefficient
from bandits.sampling.observation import State
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from rows import Row, every_row

RESIDUAL, AGREEMENT = 1e-10, 1e-8


def check(algorithm, bandit: Bandit, sampling, second: np.ndarray) -> None:
    first = fixed_point(algorithm, bandit, sampling)
    assert np.max(first.residual) <= RESIDUAL, (algorithm, first)
    np.testing.assert_allclose(first.policy, second, rtol=0, atol=AGREEMENT)


# ---- affine updates ----------------------------------------------------------------------------------------


def is_affine(row: Row) -> bool:
    """It says so, and its update needs nothing that is trained beside the policy."""
    algorithm = row.make(0.7)
    if not hasattr(algorithm, "linear") or row.reads("revision_log_prob"):
        return False
    law = Offline(worlds.BEHAVIOR).law(algorithm, worlds.MIXED, worlds.MIXED.log_reference)
    return algorithm.linear(worlds.MIXED, law) is not None


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
    return softmax(bandit.log_reference + h)


@pytest.mark.parametrize("name", [name for name, row in every_row().items() if is_affine(row)])
@settings(max_examples=30)
@given(data=st.data(), arms=st.integers(2, 50), beta=strategies.betas())
def test_affine_updates_rest_where_the_sum_over_all_groups_does(name, data, arms: int, beta: float) -> None:
    """Any law that connects the arms: one behaviour policy or one for each place, joint laws, data sets."""
    row = every_row()[name]
    algorithm = row.make(beta)
    arms = min(arms, {1: 50, 2: 50, 3: 10}[algorithm.k])  # groups of three: a thousand
    bandit = data.draw(strategies.bandits_with_both(arms, arms))
    rules = [strategies.offline(arms, 1), strategies.offline(arms, algorithm.k)]
    if algorithm.k == 2:
        rules += [strategies.joints(arms).map(Pairs), strategies.connected_datasets(arms)]
    sampling = data.draw(st.one_of(rules))
    check(algorithm, bandit, sampling, rest_of_affine_update(algorithm, bandit, sampling))


def test_the_affine_updates_are_those_of_the_table():
    """The wrong twin of an empty list: these rows at least are under the law above."""
    named = {name for name, row in every_row().items() if is_affine(row)}
    assert named >= {
        "CoPG",
        "CoPG(k=3)",
        "RLOO",
        "IPO",
        "PsiPO",
        "DRO",
        "DROV",
        "PolicyGradient(behavior_value)",
    }
    assert not named & {"DPO", "SRPO", "PolicyGradient", "NashMD"}


# ---- games -------------------------------------------------------------------------------------------------


def mirror_descent(bandit: Bandit, beta: float, mixture: float) -> np.ndarray:
    """Run until nothing moves: steps of 1e-14 of the logits, which leave 1e-11 at the slowest rate below.

    The payoff turns the policy at a speed of at most 1/2 (its margins), so that a step of eta changes
    distances by |1 - eta beta + i eta / 2|, least at eta = beta / (beta^2 + 1/4): at beta = .03 by 1 - .0018.
    """
    eta, log_policy = beta / (beta**2 + 0.25), bandit.log_reference
    for _ in range(100_000):
        opponent = softmax((1 - mixture) * log_policy + mixture * bandit.log_reference)
        tilted = (1 - eta * beta) * log_policy + eta * beta * bandit.log_reference
        moved = log_softmax(tilted + eta * bandit.preference @ opponent)
        step, log_policy = np.abs(moved - log_policy).max(), moved
        if step <= 1e-14 * (1 + np.abs(moved).max()):
            return np.exp(moved)
    raise AssertionError(f"mirror descent still moves, by {step:.1g}")


@pytest.mark.parametrize("mixture", [0.0, 0.125, 0.5, 1.0])
@settings(max_examples=10)
@given(data=st.data(), arms=st.integers(2, 50), beta=strategies.betas(0.03, 1e3))
def test_games_end_where_their_own_mirror_descent_does(mixture, data, arms: int, beta: float) -> None:
    """Below beta = .03 the descent takes too long; `test_fixed_point.py` goes to 1e-3 by a root finder."""
    bandit = data.draw(strategies.bandits_with_preference(arms, arms))
    check(NashMD(beta, mixture=mixture), bandit, OnPolicy(), mirror_descent(bandit, beta, mixture))


@settings(max_examples=15)
@given(data=st.data(), arms=st.integers(2, 50), beta=strategies.betas(0.03, 1e3))
def test_online_ipo_ends_where_mirror_descent_does(data, arms: int, beta: float) -> None:
    bandit = data.draw(strategies.bandits_with_preference(arms, arms))
    check(OnlineIPO(beta), bandit, OnPolicy(), mirror_descent(bandit, beta, 0.0))


# ---- policy gradients --------------------------------------------------------------------------------------


def slopes_along_edges(objective: Bandit, policy: np.ndarray, beta: float) -> np.ndarray:
    """d J / dt of moving mass t from arm j to arm i, for every pair of arms, by autograd, (A, A)."""
    pi = torch.tensor(policy, requires_grad=True)
    R = torch.tensor(objective.reward) - beta * (torch.log(pi) - torch.tensor(objective.log_reference))
    (slope,) = torch.autograd.grad((pi * R).sum(), pi)
    return (slope[:, None] - slope).numpy()


def climbs_rewards(row: Row) -> bool:
    """On-policy its update climbs E_pi[score] - beta KL, with a score made of rewards."""
    return row.climbs is not None and row.reads("reward")


@pytest.mark.parametrize("name", [name for name, row in every_row().items() if climbs_rewards(row)])
@settings(max_examples=15)
@given(data=st.data(), arms=st.integers(2, 50), beta=strategies.betas())
def test_policy_gradients_end_at_the_maximum_of_what_they_climb(name, data, arms: int, beta: float) -> None:
    """J is concave with a slope of zero along every edge: no other policy is better, and five are tried."""
    row = every_row()[name]
    algorithm = row.make(beta)
    arms = min(arms, {1: 50, 2: 50, 3: 10}[algorithm.k])
    bandit = data.draw(strategies.bandits_with_reward(arms, arms))
    solved = fixed_point(algorithm, bandit, OnPolicy())
    assert np.max(solved.residual) <= RESIDUAL
    _, score = row.climbs(algorithm, Case(bandit, OnPolicy(), solved.policy))
    objective, size = Bandit(score, reference=bandit.reference), 1 + np.abs(bandit.reward).max()
    value = objective.value(solved.policy, beta)
    for other in np.random.default_rng(arms).dirichlet(np.ones(arms), size=5):
        toward = 0.999 * solved.policy + 0.001 * other
        assert objective.value(toward, beta) <= value + 1e-12 * (size + 30 * beta)
    assume(solved.policy.min() > 1e-300)  # the logarithm of a probability that underflows has no slope
    size += beta * np.abs(solved.log_policy).max()
    edges = slopes_along_edges(objective, solved.policy, beta)
    np.testing.assert_allclose(edges, 0, rtol=0, atol=1e-13 * size)
