"""SPPO: one round is PMD-mean's law with win rates; many rounds circle (T13.13, T13.19)."""

from __future__ import annotations

from itertools import repeat

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import root
from scipy.special import lambertw, log_softmax, logsumexp, softmax

import answer_key
import worlds
from bandits import (
    SPPO,
    Bandit,
    Dataset,
    NashMD,
    Offline,
    OnPolicy,
    PMDMean,
    Samples,
    expected_update,
    fixed_point,
    update_covariance,
)
from bandits.dynamics import games
from bandits.solvers import paths
from bandits.testing import enumeration, strategies
from bandits.testing.enumeration import Case
from rows import Row

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: SPPO, s: Samples) -> list[float]:
    """T13.13: (p_i - 1/2 - beta h_i) / 2, p_i against the other of the pair."""
    wins = (float(s.preference[0, 1]), float(s.preference[1, 0]))
    return [(p - 0.5 - a.beta * h) / 2 for p, h in zip(wins, answer_key.log_ratio(s), strict=True)]


def end(a: SPPO, case: Case) -> np.ndarray:
    """SciPy's `root` on mu (score - beta h) - pi E_mu[score - beta h], score(y) = E[p_i | y_i = y] - 1/2."""
    total, mu = np.zeros((2, case.bandit.arms))
    for weight, arms, s in enumeration.groups(a, case):
        for y, p in zip(arms, (s.preference[0, 1], s.preference[1, 0]), strict=True):
            total[y] += weight * (p - 0.5) / 2
            mu[y] += weight / 2
    score, log_reference = total / mu / a.beta, case.bandit.log_reference
    assume(logsumexp(score + log_reference) > 1e-6)  # else E_mu[h] > 0, and there may be several ends

    def gradient(h):  # the last term holds the free constant of the logits
        log_ratio = h - logsumexp(log_reference + h)
        gap = score - log_ratio
        return mu * gap - np.exp(log_reference + log_ratio) * (mu @ gap) + h.mean() - score.mean()

    found = root(gradient, score, method="hybr", tol=1e-14)
    assume(np.abs(gradient(found.x)).max() < 1e-13 * (1 + np.abs(score).max()))  # its own failure
    return softmax(log_reference + found.x)


ROWS = {
    "SPPO": Row(
        make=SPPO,
        formula=formula,
        target=end,
        ends={"on-policy": "equilibrium", "elsewhere": "other"},  # T6.1, T13.19
        climbs=lambda a, c: (1, c.bandit.preference @ c.policy),
    )
}


# ---- one round --------------------------------------------------------------------------------------------

EXAMPLES = settings(max_examples=25)
WHEEL = Bandit(
    preference=[[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]]
)  # deterministic, f = 1/(2 sqrt 3)


def round_by_lambert(policy, score, eta: float) -> np.ndarray:
    """T13.19, x = W(C e^(eta s)) / C: C by bisection, as sum pi x falls from E e^(eta s) >= 1 with C."""
    low, high = 1e-300, 1e6
    for _ in range(2000):
        C = np.sqrt(low * high)
        low, high = (C, high) if policy @ (lambertw(C * np.exp(eta * score)).real / C) > 1 else (low, C)
    return policy * lambertw(high * np.exp(eta * score)).real / high


@settings(max_examples=10)
@given(data=st.data(), arms=st.integers(2, 12), eta=st.floats(0.1, 20))
def test_one_round_is_pmd_means_law_with_win_rates(data, arms, eta):
    """log x + C x = eta (p(y beats mu) - 1/2), C = KL(mu || pi); the same as PMD-mean with those rewards."""
    world = data.draw(strategies.bandits_with_preference(arms, arms, smallest=1e-3))
    mu, score = world.reference, world.preference @ world.reference - 0.5
    found = fixed_point(SPPO(1 / eta), world, Offline(mu))
    assert found.unique and found.stable and found.residual < 1e-10
    assert_allclose(found.policy, round_by_lambert(mu, score, eta), rtol=1e-9)
    x, C = found.policy / mu, mu @ -np.log(found.policy / mu)
    assert_allclose(np.log(x) + C * x, eta * score, rtol=0, atol=1e-9 * (1 + eta))
    rewards = Bandit(2 * score, reference=mu)  # a pair's own mean costs one half
    assert_allclose(fixed_point(PMDMean(1 / eta), rewards, Offline(mu)).policy, found.policy, rtol=1e-8)
    step = games.sppo(world, eta)(np.log(mu))
    assert_allclose(np.exp(step), found.policy, rtol=1e-9)


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.05, 20))
def test_it_misses_the_pointwise_optimum_of_its_loss(data, beta):
    """T13.13: (beta h - (p - 1/2)) mu / pi is the same for all arms, zero only where no arm stands out."""
    world = data.draw(strategies.bandits_with_preference(2, 5, smallest=0.02))
    mu = data.draw(strategies.policies(world.arms, smallest=0.05, salt=5))
    found = fixed_point(SPPO(beta), world, Offline(mu))
    h = found.log_policy - world.log_reference
    residual = beta * h - (world.preference @ mu - 0.5)
    ratio = residual * mu / found.policy
    assume(found.policy.min() > 1e-100 and found.stable)
    assert_allclose(ratio, ratio[0], rtol=1e-6, atol=1e-9)


@EXAMPLES
@given(data=st.data(), beta=strategies.betas())
def test_soft_and_hard_labels_have_one_mean_and_hard_ones_more_noise(data, beta):
    world = data.draw(strategies.worlds(3, preference=strategies.any_preferences))
    policy = data.draw(strategies.policies(3))
    mu = Offline(data.draw(strategies.behaviors(3, smallest=1e-2)))
    soft, hard = (
        update_covariance(SPPO(beta), world, mu, policy, label_noise=noisy) for noisy in (False, True)
    )
    assert np.linalg.eigvalsh(hard - soft).min() > -1e-12 * (1 + np.abs(soft).max())
    assert np.trace(hard - soft) > 0


def test_on_its_own_samples_it_ends_where_nash_md_without_a_mixture_does():
    for beta in (0.05, 0.5, 5.0):
        found = fixed_point(SPPO(beta), worlds.GAME, OnPolicy())
        assert_allclose(found.policy, worlds.GAME.nash_policy(beta), rtol=1e-10)
        update = expected_update(NashMD(beta), worlds.GAME, OnPolicy(), worlds.POLICY)
        assert_allclose(
            expected_update(SPPO(beta), worlds.GAME, OnPolicy(), worlds.POLICY), update, rtol=1e-12
        )


def test_labels_of_a_data_set_are_win_rates_too():
    data = Dataset([(0, 1), (0, 1), (1, 0), (1, 2), (2, 0)])
    found = fixed_point(SPPO(0.5), worlds.GAME, data)
    rates = np.array([2 / 4, 2 / 4, 1 / 2]) - 0.5
    mu = np.array([4, 4, 2]) / 10
    h = found.log_policy - worlds.GAME.log_reference
    ratio = (rates - 0.5 * h) * mu / found.policy
    assert_allclose(ratio, ratio[0], rtol=1e-10)


# ---- many rounds ------------------------------------------------------------------------------------------


def slope(step, log_policy) -> np.ndarray:
    """Derivative of a map of log-probabilities, by central differences, (A, A)."""
    moves = 1e-5 * np.eye(log_policy.shape[-1])
    ends = [[step(log_softmax(log_policy + sign * e)) for sign in (1, -1)] for e in moves]
    return np.stack([(ahead - behind) / 2e-5 for ahead, behind in ends], axis=-1)


def moduli(step, log_policy) -> np.ndarray:
    """How much a step near a rest multiplies distances, largest first, constants of the logits aside."""
    centre = np.eye(len(log_policy)) - 1 / len(log_policy)
    return np.sort(np.abs(np.linalg.eigvals(centre @ slope(step, log_policy) @ centre)))[::-1]


@pytest.mark.parametrize(("eta", "printed"), [(0.5, 1.0104), (1.0, 1.0408), (2.0, 1.1547)])
def test_the_equilibrium_of_a_cycle_repels_the_rounds(eta, printed):
    """T13.19: sqrt(1 + eta^2 / 12) at the uniform policy, for SPPO's map and for exponential weights."""
    uniform = np.log(np.full(3, 1 / 3))
    for law in (games.sppo, games.exponential_weights):
        found = moduli(law(WHEEL, eta), uniform)
        assert_allclose(found[:2], np.sqrt(1 + eta**2 / 12), rtol=0, atol=1e-8)
        assert_allclose(found[0], printed, rtol=0, atol=5e-5)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_optimistic_weights_shrink_by_their_roots_there(eta):
    """t^2 - (1 + 2 i eta f) t + i eta f, f = 1 / (2 sqrt 3); at eta f = 1 / sqrt 3 the largest is 1."""

    def largest(omega: float) -> float:
        return float(np.abs(np.roots([1, -(1 + 2j * omega), 1j * omega])).max())

    assert_allclose(largest(1 / np.sqrt(3)), 1, rtol=1e-12)
    omega = eta / np.sqrt(12)
    step, uniform = games.optimistic_weights(WHEEL, eta), np.log(np.full((2, 3), 1 / 3))
    moves = 1e-5 * np.eye(6).reshape(6, 2, 3)
    flat = np.stack([(step(uniform + e) - step(uniform - e)).ravel() / 2e-5 for e in moves], axis=-1)
    centre = np.kron(np.eye(2), np.eye(3) - 1 / 3)
    assert_allclose(
        np.abs(np.linalg.eigvals(centre @ flat @ centre)).max(), largest(omega), rtol=0, atol=1e-8
    )
    assert largest(omega) < 1


@pytest.mark.parametrize("eta", [0.5, 2.0])
def test_extragradient_shrinks_where_mirror_descent_grows(eta):
    """(1 - eta beta)(1 + i eta f) - eta^2 f^2 against 1 - eta beta + i eta f, at beta = .01."""
    beta, omega, uniform = 0.01, eta / np.sqrt(12), np.log(np.full(3, 1 / 3))
    keep = 1 - eta * beta
    found = moduli(games.extragradient(WHEEL, beta, eta), uniform)[0]
    assert_allclose(found, abs(keep * (1 + 1j * omega) - omega**2), rtol=0, atol=1e-8)
    plain = moduli(games.mirror_descent(WHEEL, beta, eta), uniform)[0]
    assert_allclose(plain, abs(keep + 1j * omega), rtol=0, atol=1e-8)
    assert found < 1 < plain


def test_rounds_wind_outwards_and_optimistic_ones_arrive():
    """KL(w || pi) to w = (.3, .3, .4) rises by C sum w x a round of SPPO; optimistic rounds arrive."""
    cycle, start, w = Bandit(preference=worlds.CYCLE), np.array([0.35, 0.35, 0.3]), np.array([0.3, 0.3, 0.4])
    away = paths.iterate(repeat(games.sppo(cycle, 1.0), 400), start)
    x, C = away[1:] / away[:-1], (away[:-1] * np.log(away[:-1] / away[1:])).sum(axis=-1)
    rises = np.diff((w * np.log(w / away)).sum(axis=-1))
    assert_allclose(rises, C * (x @ w), rtol=0, atol=1e-13)
    assert (rises > 0).all() and rises.sum() > 0.5
    arrived = paths.iterate(repeat(games.optimistic_weights(cycle, 2.0), 1000), [start, start])[-1, 0]
    assert_allclose(arrived, w, rtol=0, atol=1e-9)


@settings(max_examples=5)
@given(data=st.data(), beta=strategies.betas(0.05, 2))
def test_extragradient_ends_at_the_regularised_equilibrium(data, beta):
    """T6.1; eta = 1 / (beta + 1), twice as long as mirror descent may step where beta is small."""
    world = data.draw(strategies.bandits_with_preference(2, 6, smallest=1e-2))
    eta = 1 / (beta + 1)
    end = paths.iterate(
        repeat(games.extragradient(world, beta, eta), int(60 / (eta * beta))), world.reference
    )[-1]
    assert_allclose(end, world.nash_policy(beta), rtol=0, atol=1e-9)


def test_contexts_play_by_themselves():
    """The new maps in two contexts at once, as each alone."""
    reference = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    both = Bandit(preference=[worlds.CYCLE, worlds.WHEEL], reference=reference)
    for law in (lambda w: games.sppo(w, 1.5), lambda w: games.extragradient(w, 0.1, 1.0)):
        together = paths.iterate(repeat(law(both), 3), reference)
        for i in range(2):
            alone = paths.iterate(repeat(law(both.at((i,))), 3), reference[i])
            assert_allclose(together[:, i], alone, rtol=1e-12)
