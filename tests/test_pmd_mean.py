"""PMD-mean: where the mean reward in the place of log Z leads (T13.3)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import brentq, root
from scipy.special import lambertw, logsumexp, softmax

import answer_key
from bandits import (
    Bandit,
    CoPG,
    Offline,
    OnPolicy,
    PMDMean,
    PolicyGradient,
    Samples,
    expected_update,
    fixed_point,
    fixed_points,
)
from bandits.testing import enumeration, strategies
from bandits.testing.enumeration import Case
from rows import Row

EXAMPLES = settings(max_examples=25)
MU = np.array([0.4, 0.1, 0.2, 0.3])
E = Bandit([1.0, 0.6, 0.2, 0.0], reference=MU)  # the common example of chapter T13, beta = .5


# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: PMDMean, s: Samples) -> list[float]:
    """T13.3: (r - mean of the group, or of the others, - beta h) / k."""
    means = [mean_seen_by(i, a, s) for i in range(a.k)]
    return [(R - mean) / a.k for R, mean in zip(answer_key.regularized(a.beta, s), means, strict=True)]


def mean_seen_by(i: int, a: PMDMean, s: Samples) -> float:
    """The mean reward of the group, or of all samples but the i-th."""
    seen = [r for j, r in enumerate(s.reward) if j != i or not a.leave_one_out]
    return math.fsum(seen) / len(seen)


def rest(log_reference, mu, score, beta: float) -> np.ndarray:
    """pi = mu u, u exp(kappa u) = exp(score / beta) ref/mu, by Lambert's W and a root of sum pi = 1 in kappa.

    The sum falls from E_ref[exp(score / beta)] at kappa = 0; kappa >= 0 only where that is at least one.
    """
    goal = score / beta + log_reference - np.log(mu)

    def policy(log_kappa: float) -> np.ndarray:
        return mu * lambertw(np.exp(goal + log_kappa)).real * np.exp(-log_kappa)

    log_kappa = brentq(lambda x: policy(x).sum() - 1, -30, 30, xtol=1e-15, rtol=1e-15)
    return policy(log_kappa) / policy(log_kappa).sum()


def end(a: PMDMean, case: Case) -> np.ndarray:
    """T13.3 on any law: score(y) = E[r_i - mean | y_i = y], group by group."""
    pull, mu = np.zeros((2, case.bandit.arms))
    for weight, arms, s in enumeration.groups(a, case):
        for i, (y, r) in enumerate(zip(arms, s.reward, strict=True)):
            pull[y] += weight * (r - mean_seen_by(i, a, s)) / a.k
            mu[y] += weight / a.k
    score = pull / mu
    assume(logsumexp(score / a.beta + case.bandit.log_reference) > 1e-6)  # else kappa < 0: several ends
    return rest(case.bandit.log_reference, mu, score, a.beta)


def factor(a: PMDMean) -> float:
    """What rewards count: 1 - 1/k where the mean knows the sample itself."""
    return 1.0 if a.leave_one_out else 1 - 1 / a.k


def _row(**changes) -> Row:
    return Row(
        make=lambda beta: PMDMean(beta, **changes),
        formula=formula,
        target=end,
        ends={  # T2.1 with beta / (1 - 1/k), T13.3
            "on-policy": "optimum" if changes.get("leave_one_out") else "other",
            "elsewhere": "other",
        },
        climbs=lambda a, c: (1, c.bandit.reward if a.leave_one_out else factor(a) * c.bandit.reward),  # T2.1
        sees_offset=False,
    )


ROWS = {
    "PMDMean": _row(),
    "PMDMean(k=3)": _row(k=3),
    "PMDMean(leave_one_out)": _row(leave_one_out=True, k=3),
}


# ---- what it is known for ---------------------------------------------------------------------------------


def test_the_numbers_of_the_theory():
    """T13.3, example E; with the exact mean there is no factor 1 - 1/k."""
    exact = rest(np.log(MU), MU, E.reward - MU @ E.reward, 0.5)
    assert_allclose(exact, [0.704737, 0.096353, 0.097368, 0.101542], rtol=0, atol=5e-7)
    pair = fixed_point(PMDMean(0.5, k=2), E, Offline(MU))
    assert_allclose(pair.policy, [0.584909, 0.101670, 0.139898, 0.173523], rtol=0, atol=5e-7)
    assert pair.unique and pair.stable and pair.residual < 1e-14
    for k in (2, 5):
        others = fixed_point(PMDMean(0.5, k, leave_one_out=True), E, Offline(MU))
        assert_allclose(others.policy, exact, rtol=0, atol=1e-12)


def test_the_distance_to_the_exact_mean_falls_as_one_over_k():
    """The factor is 1 - 1/k: twice the group, half the distance."""
    exact = rest(np.log(MU), MU, E.reward - MU @ E.reward, 0.5)
    sizes = np.array([2, 4, 8])
    far = [np.abs(fixed_point(PMDMean(0.5, k=int(k)), E, Offline(MU)).policy - exact).max() for k in sizes]
    slopes = np.diff(np.log(far)) / np.diff(np.log(sizes))
    assert_allclose(slopes, -1, atol=0.25)  # the curvature of the policy in the factor: 1/k^2


@EXAMPLES
@given(data=st.data(), arms=st.integers(2, 30), beta=strategies.betas(0.05, 1e3))
def test_it_ends_where_the_gradient_by_hand_vanishes(data, arms, beta):
    """SciPy's `root` on mu (score - beta h) - pi E_mu[score - beta h], with mu = ref, uneven."""
    mu = data.draw(strategies.references(arms, smallest=1e-3))
    world = Bandit(data.draw(strategies.rewards(arms)), reference=mu)
    score = (world.reward - mu @ world.reward) / 2  # pairs: 1 - 1/k = 1/2

    def gradient(h):  # in the logits, relative to mu; the last equation holds the free constant
        log_ratio = h - logsumexp(np.log(mu) + h)
        gap = (score - beta * log_ratio) / beta
        return gap - np.exp(log_ratio) * (mu @ gap) + h.mean() - (score / beta).mean()

    found = root(gradient, score / beta, method="hybr", tol=1e-14)
    assume(np.abs(gradient(found.x)).max() < 1e-9 * (1 + np.abs(score / beta).max()))  # the root finder's own
    solved = fixed_point(PMDMean(beta), world, Offline(mu))
    assert solved.unique and solved.residual <= 1e-10
    assert_allclose(solved.policy, softmax(np.log(mu) + found.x), rtol=0, atol=1e-8)


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.05, 20))
def test_on_samples_of_the_reference_the_loss_is_convex_in_the_logits(data, beta):
    """Hessian beta E[(e_y - pi)(e_y - pi)'] + beta kappa (diag pi - pi pi'), by autograd: none negative."""
    mu = data.draw(strategies.references(4, smallest=1e-2))
    reward = data.draw(strategies.rewards(4))
    a, log_mu = torch.tensor((reward - mu @ reward) / 2), torch.tensor(np.log(mu))

    def loss(logits):
        h = torch.log_softmax(logits, 0) - log_mu
        return (torch.tensor(mu) * (a - beta * h) ** 2).sum() / (2 * beta)

    at = torch.tensor(np.log(data.draw(strategies.policies(4))))
    values = np.linalg.eigvalsh(torch.autograd.functional.hessian(loss, at).numpy())
    size = np.abs(values).max()
    assert values.min() > -1e-13 * size
    assert values[1] > 1e-13 * size  # flat along the common constant of the logits alone


def test_where_others_sample_an_arm_may_lock_in():
    """The reference hardly knows the arms that are sampled: E_ref[exp(score / beta)] < 1, kappa < 0."""
    world, mu = Bandit([-4.0, 2.0, 1.0], reference=[0.98, 0.01, 0.01]), np.array([0.2, 0.4, 0.4])
    ends = fixed_points(PMDMean(0.5), world, Offline(mu))
    assert sorted(one.policy.argmax() for one in ends) == [0, 1, 2]
    for one in ends:
        assert one.stable and not one.unique and one.residual <= 1e-10
        assert mu @ (one.log_policy - world.log_reference) > 0  # kappa = E_mu[-h] < 0


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(), k=st.sampled_from([2, 3]), others=st.booleans())
def test_it_is_policy_gradient_with_the_samplers_mean_as_a_constant_baseline(data, beta, k, others):
    """T2.5 with b = E_mu[r], in a world whose rewards count 1 - 1/k, or in full; any mu, any reference."""
    world = data.draw(strategies.bandits_with_reward(max_arms=5))
    mu, policy = data.draw(strategies.behaviors(world.arms)), data.draw(strategies.policies(world.arms))
    algorithm = PMDMean(beta, k, leave_one_out=others)
    less = Bandit(factor(algorithm) * world.reward, reference=world.reference)
    plain = PolicyGradient(beta, baseline=float(mu @ less.reward))
    size = 1 + np.abs(world.reward).max() + beta * np.abs(np.log(policy / world.reference)).max()
    found = expected_update(algorithm, world, Offline(mu), policy)
    assert_allclose(found, expected_update(plain, less, Offline(mu), policy), rtol=0, atol=1e-13 * size)


@pytest.mark.parametrize("beta", [0.2, 0.5, 2.0])
def test_it_is_softer_than_the_optimum_that_copg_finds(beta):
    """KL(mu || pi) > 0 stands where zero should: less is gained, from the same samples."""
    best, soft = (fixed_point(a, E, Offline(MU)).policy for a in (CoPG(beta), PMDMean(beta)))
    assert E.regret(soft, beta) > 1e-4 > E.regret(best, beta)
    assert MU @ E.reward < soft @ E.reward < best @ E.reward


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(), k=st.sampled_from([2, 3]))
def test_on_its_own_samples_rewards_count_less(data, beta, k):
    """(1 - 1/k) r in the place of r: the optimum at beta k / (k - 1)."""
    world = data.draw(strategies.bandits_with_reward(max_arms=6))
    found = fixed_point(PMDMean(beta, k=k), world, OnPolicy())
    assert_allclose(found.policy, world.optimal_policy(beta * k / (k - 1)), rtol=1e-11, atol=1e-300)
