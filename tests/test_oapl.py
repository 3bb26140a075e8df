"""OAPL: what the log-mean-exp of a group does in the place of J* (T13.2)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import root
from scipy.special import logsumexp, softmax

import answer_key
from bandits import OAPL, Bandit, CoPG, Offline, OnPolicy, Samples, expected_update, fixed_point, fixed_points
from bandits.testing import enumeration, strategies
from bandits.testing.enumeration import Case
from rows import Row

EXAMPLES = settings(max_examples=25)
FEW = settings(max_examples=8)
MU = np.array([0.4, 0.1, 0.2, 0.3])
E = Bandit([1.0, 0.6, 0.2, 0.0], reference=MU)  # the common example of chapter T13, beta = .5


# ---- the row ----------------------------------------------------------------------------------------------


def value_of(rewards, beta: float) -> float:
    """V = beta log mean exp(r / beta), in plain Python."""
    most = max(rewards)
    return float(most) + beta * math.log(
        math.fsum(math.exp((r - most) / beta) for r in rewards) / len(rewards)
    )


def formula(a: OAPL, s: Samples) -> list[float]:
    """T13.2: (r - V - beta h) / k."""
    V = value_of(s.reward, a.beta)
    return [(R - V) / a.k for R in answer_key.regularized(a.beta, s)]


def rest(log_reference, mu, score, beta: float) -> np.ndarray:
    """SciPy's `root` on the gradient by hand, mu (score - beta h) - pi E_mu[score - beta h]."""

    def gradient(h):  # the last term holds the free constant of the logits
        log_ratio = h - logsumexp(log_reference + h)
        gap = score / beta - log_ratio
        policy = np.exp(log_reference + log_ratio)
        return mu * gap - policy * (mu @ gap) + h.mean() - (score / beta).mean()

    found = root(gradient, score / beta, method="hybr", tol=1e-14)
    assume(np.abs(gradient(found.x)).max() < 1e-13 * (1 + np.abs(score / beta).max()))  # its own failure
    return softmax(log_reference + found.x)


def scores(a: OAPL, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """score(y) = r(y) - E[V | y in the group], and mu, group by group."""
    total, mu = np.zeros((2, case.bandit.arms))
    for weight, arms, s in enumeration.groups(a, case):
        V = value_of(s.reward, a.beta)
        for y, r in zip(arms, s.reward, strict=True):
            total[y] += weight * (r - V) / a.k
            mu[y] += weight / a.k
    return total / mu, mu


def end(a: OAPL, case: Case) -> np.ndarray:
    """T13.2 on any law that shows every arm: one of its ends."""
    score, mu = scores(a, case)
    return rest(case.bandit.log_reference, mu, score, a.beta)


def _row(k: int) -> Row:
    return Row(
        make=lambda beta: OAPL(beta, k=k),
        formula=formula,
        target=end,
        ends={"on-policy": "other", "elsewhere": "other"},
        sees_offset=False,
    )


ROWS = {"OAPL": _row(2), "OAPL(k=3)": _row(3)}


# ---- what it is known for ---------------------------------------------------------------------------------


def test_the_numbers_of_the_theory():
    """T13.2, example E: pi*, the end for pairs, and what the group gains in regret."""
    assert_allclose(E.optimal_policy(0.5), [0.760582, 0.085438, 0.076779, 0.077200], rtol=0, atol=5e-7)
    pair = fixed_point(OAPL(0.5, k=2), E, Offline(MU))
    assert_allclose(pair.policy, [0.600632, 0.107886, 0.136295, 0.155187], rtol=0, atol=5e-7)
    assert pair.unique and pair.stable and pair.residual < 1e-14
    regrets = [E.regret(fixed_point(OAPL(0.5, k=k), E, Offline(MU)).policy, 0.5) for k in (2, 4, 8, 16)]
    assert_allclose(regrets[:2], [0.0350, 0.0061], rtol=0, atol=5e-5)
    assert_allclose(regrets[2:], [0.0012, 0.00027], rtol=0.05)  # their last printed digit


def test_the_distance_to_the_optimum_falls_as_one_over_k():
    """E[V | y] misses J* by the variance of exp(r / beta) over k: twice the group, half the distance."""
    sizes = np.array([8, 16, 32])
    ends = [fixed_point(OAPL(0.5, k=int(k)), E, Offline(MU)).policy for k in sizes]
    far = [np.abs(policy - E.optimal_policy(0.5)).max() for policy in ends]
    assert_allclose(np.diff(np.log(far)) / np.diff(np.log(sizes)), -1, atol=0.15)  # the next order: 1/k^2


@EXAMPLES
@given(data=st.data(), arms=st.integers(2, 6), beta=strategies.betas(0.3, 1e3), k=st.sampled_from([2, 3]))
def test_it_ends_where_the_gradient_by_hand_vanishes(data, arms, beta, k):
    """Whoever samples; where there are several ends, the root is one of them or a saddle between them."""
    world = data.draw(strategies.bandits_with_reward(arms, arms, smallest=1e-2))
    case = Case(world, Offline(data.draw(strategies.behaviors(arms))), world.reference)
    score, mu = scores(OAPL(beta, k), case)
    root_found = rest(world.log_reference, mu, score, beta)
    ends = fixed_points(OAPL(beta, k), world, case.sampling)
    assert all(one.residual <= 1e-10 and one.stable for one in ends)
    if len(ends) == 1:
        assert_allclose(ends[0].policy, root_found, rtol=0, atol=1e-8)


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 30), k=st.sampled_from([2, 3]))
def test_the_estimated_value_pushes_away_from_the_sampler(data, beta, k):
    """mu = ref: E_ref[exp(score / beta)] <= 1 by Jensen, since the mean of exp(r_1 / beta) / mean exp is 1.

    Hence b = 0 >= J* of the scores (T2.5), and Abar = E_mu[score - beta h] <= 0 at every end.
    """
    mu = data.draw(strategies.references(4, smallest=1e-2))
    world = Bandit(data.draw(strategies.rewards(4)), reference=mu)
    score, _ = scores(OAPL(beta, k), Case(world, Offline(mu), mu))
    size = 1e-13 * (1 + np.abs(score).max() / beta)
    assert mu @ np.exp(score / beta) <= 1 + size
    groups = list(itertools.product(range(4), repeat=k))
    weight, gain = mu[np.array(groups)].prod(1), np.exp((world.reward - world.reward.max()) / beta)[groups,]
    assert_allclose(weight @ (gain[:, 0] / gain.mean(1)), 1, rtol=1e-12)
    for one in fixed_points(OAPL(beta, k), world, Offline(mu)):
        pull = mu @ (score - beta * (one.log_policy - world.log_reference))
        assert pull <= 1e-12 * (1 + np.abs(score).max() + beta)


def test_an_answer_that_is_rarely_shown_may_lock_in():
    """T13.2: on samples of the reference itself there are two ends, and the start decides."""
    world = Bandit([2.0, 2.0, 0.0], reference=[0.1, 0.05, 0.85])
    law = Offline(world.reference)
    first, second = sorted(fixed_points(OAPL(0.2), world, law), key=lambda one: -one.policy[0])
    assert_allclose(first.policy, [0.562157, 0.215991, 0.221853], rtol=0, atol=5e-7)
    assert_allclose(second.policy, [0.312540, 0.467193, 0.220267], rtol=0, atol=5e-7)
    for start, there in (([0.9, 0.05, 0.05], first), ([0.05, 0.9, 0.05], second)):
        found = fixed_point(OAPL(0.2), world, law, start)
        assert_allclose(found.policy, there.policy, rtol=0, atol=1e-9)
        assert found.unique is False
    assert fixed_point(CoPG(0.2), world, law).unique


@FEW
@given(data=st.data(), beta=strategies.betas(0.1, 10), k=st.sampled_from([2, 3]))
def test_on_its_own_samples_it_climbs_a_reward_that_moves(data, beta, k):
    """E_pi[r] - E[V] / k - beta KL, by autograd of the sum over all groups."""
    world = data.draw(strategies.bandits_with_reward(3, 4, smallest=1e-2))
    policy = data.draw(strategies.policies(world.arms, smallest=1e-2))
    groups = list(itertools.product(range(world.arms), repeat=k))
    values = torch.tensor(np.array([value_of(world.reward[list(group)], beta) for group in groups]))
    logits = torch.tensor(np.log(policy), requires_grad=True)
    log_pi = torch.log_softmax(logits, 0)
    J = (
        log_pi.exp() * (torch.tensor(world.reward) - beta * (log_pi - torch.tensor(world.log_reference)))
    ).sum()
    J = J - (log_pi[torch.tensor(groups)].sum(1).exp() * values).sum() / k
    (slope,) = torch.autograd.grad(J, logits)
    size = 1 + np.abs(world.reward).max() + beta * np.abs(np.log(policy / world.reference)).max()
    found = expected_update(OAPL(beta, k), world, OnPolicy(), policy)
    assert_allclose(found, slope.numpy(), rtol=0, atol=1e-13 * size * k)


def test_where_there_are_too_many_groups_it_is_followed_step_by_step():
    """Places with laws of their own are no multisets: 4^12 groups would be summed for one score."""
    mus = [MU, *[np.roll(MU, i) for i in range(1, 12)]]
    with pytest.raises(ValueError, match="max_groups"):
        fixed_point(OAPL(0.5, k=12), E, Offline(*mus))
