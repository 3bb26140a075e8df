"""Laws of the world, the optimum (chapter T1) and win rates (chapter T6), against mpmath and slopes."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logsumexp, softmax

from bandits import Bandit, bandit
from bandits.testing import strategies
from bandits.testing.strategies import (
    bandits_with_both,
    bandits_with_preference,
    bandits_with_reward,
    betas,
    policies,
)

EXAMPLES = settings(max_examples=40)
SLOW = settings(max_examples=15)


# ---- T1.1: the optimum -------------------------------------------------------------------------------------


@EXAMPLES
@given(bandits_with_reward(max_arms=50), betas())
def test_regularized_reward_is_constant_at_the_optimum(world, beta):
    """T1.1: r - beta log pi*/ref = J* on every arm.  (log pi* keeps what pi* underflows to.)"""
    log_ratio = world.log_optimal_policy(beta) - world.log_reference
    R = world.reward - beta * log_ratio
    scale = np.abs(world.reward).max() + beta * np.abs(log_ratio).max() + 30 * beta
    assert_allclose(R, world.optimal_value(beta), rtol=0, atol=1e-14 * scale)


@EXAMPLES
@given(bandits_with_reward(max_arms=50), betas())
def test_the_optimum_is_attained_at_the_optimal_policy(world, beta):
    """T1.1: J(pi*) = beta log E_ref[exp(r / beta)], two routes to one number.

    Rounding: terms of size r and beta KL, KL <= log 1e12 = 28 at most.
    """
    scale = np.abs(world.reward).max() + 30 * beta
    attained = world.value(world.optimal_policy(beta), beta)
    assert_allclose(attained, world.optimal_value(beta), rtol=0, atol=1e-13 * scale)
    by_formula = beta * logsumexp(world.log_reference + world.reward / beta)
    assert_allclose(world.optimal_value(beta), by_formula, rtol=0, atol=1e-13 * scale)


@EXAMPLES
@given(st.data(), betas(1e-2, 1e2))
def test_value_has_no_slope_at_the_optimum_and_some_elsewhere(data, beta):
    """dJ/dlogits = pi (R - J), by central differences; zero at pi*.  Truncation and cancellation: 1e-8."""
    world = data.draw(bandits_with_reward(max_arms=5, smallest=1e-2))
    policy = data.draw(policies(world.arms))

    def slope(logits):
        shifts = 1e-4 * np.eye(world.arms)
        values = [
            world.value(softmax(logits + e), beta) - world.value(softmax(logits - e), beta) for e in shifts
        ]
        return np.array(values) / 2e-4

    scale = np.abs(world.reward).max() + 10 * beta
    R = world.reward - beta * np.log(policy / world.reference)
    exact = policy * (R - policy @ R)
    assert_allclose(slope(np.log(policy)), exact, rtol=0, atol=1e-7 * scale)
    at_optimum = slope(np.log(world.optimal_policy(beta) + 1e-300))
    assert_allclose(at_optimum, 0, atol=1e-7 * scale)


# ---- T1.2: the regret --------------------------------------------------------------------------------------


@EXAMPLES
@given(st.data(), betas())
def test_regret_is_the_value_that_is_missing(data, beta):
    """T1.2: J* - J(pi) = beta KL(pi || pi*) for every pi, by the difference that `regret` avoids."""
    world = data.draw(bandits_with_reward(max_arms=50))
    policy = data.draw(policies(world.arms, smallest=1e-12))
    difference = world.optimal_value(beta) - world.value(policy, beta)
    scale = np.abs(world.reward).max() + 30 * beta
    assert_allclose(world.regret(policy, beta), difference, rtol=1e-12, atol=1e-13 * scale)


@EXAMPLES
@given(st.data(), betas(0.1, 10))
def test_regret_is_not_the_swapped_divergence(data, beta):
    """The wrong twin beta KL(pi* || pi) is rejected by the law above."""
    world = data.draw(bandits_with_reward(min_arms=3, max_arms=5, smallest=1e-2))
    policy = data.draw(policies(world.arms))
    best = world.optimal_policy(beta)
    swapped = beta * (best * np.log(best / policy)).sum()
    with pytest.raises(AssertionError):
        assert_allclose(swapped, world.optimal_value(beta) - world.value(policy, beta), rtol=1e-9, atol=1e-12)


@EXAMPLES
@given(st.data(), betas())
def test_regret_is_positive_off_the_optimum(data, beta):
    world = data.draw(bandits_with_reward(max_arms=50))
    policy = data.draw(policies(world.arms))
    assert world.regret(policy, beta) > 0
    assert world.regret(world.optimal_policy(beta), beta) <= 1e-25 * beta * world.arms


def test_leaving_the_support_costs_everything():
    world = Bandit([1.0, 5.0, 0.0], reference=[0.5, 0.0, 0.5])
    outside = [0.2, 0.3, 0.5]
    assert world.value(outside, 0.7) == -np.inf
    assert world.regret(outside, 0.7) == np.inf
    assert world.optimal_policy(0.7)[1] == 0


# ---- T1.3: the limits --------------------------------------------------------------------------------------


@EXAMPLES
@given(bandits_with_reward(max_arms=20))
def test_large_beta_gives_the_reference(world):
    """pi*/ref - 1 = (r - E_ref[r]) / beta + O(beta^-2): at beta = 1e8 below 1e-6 for rewards of size ten."""
    size = np.abs(world.reward).max() / 1e8
    assert_allclose(world.optimal_policy(1e8), world.reference, rtol=3 * size)
    assert_allclose(
        world.optimal_value(1e8), world.reference @ world.reward, atol=size * np.abs(world.reward).max()
    )


def test_small_beta_gives_the_reference_restricted_to_the_best_arms():
    """Ties at the top share in proportion to ref; the arm outside the support does not count."""
    world = Bandit([3.0, 1.0, 3.0, 9.0], reference=[0.1, 0.6, 0.3, 0.0])
    assert_allclose(world.optimal_policy(1e-8), [0.25, 0.0, 0.75, 0.0], rtol=1e-14)
    assert_allclose(world.optimal_value(1e-8), 3.0 + 1e-8 * np.log(0.4), rtol=1e-15)


# ---- at the edges of the numbers, against mpmath -----------------------------------------------------------


@st.composite
def extreme_worlds(draw):
    """Rewards to +-1e6, references down to 1e-12, beta from 1e-8 to 1e8."""
    arms = draw(st.integers(2, 20))
    rng = draw(strategies.generators())
    size = draw(st.sampled_from([1e-6, 1.0, 1e3, 1e6]))
    world = Bandit(size * rng.uniform(-1, 1, arms), reference=draw(strategies.references(arms)))
    return world, draw(policies(arms, smallest=1e-12)), draw(betas(1e-8, 1e8))


@settings(max_examples=150)
@given(extreme_worlds())
def test_extreme_numbers_agree_with_many_digits(drawn):
    """Relative 1e-10, plus the rounding of a sum of terms of size r (J has a zero somewhere)."""
    world, policy, beta = drawn
    with mp.workdps(60):
        exact = _many_digits(world, policy, beta)
    found = world.optimal_policy(beta)
    assert_allclose(found.sum(), 1, rtol=1e-13)
    assert np.isfinite(
        [world.optimal_value(beta), world.value(policy, beta), world.regret(policy, beta)]
    ).all()
    assert_allclose(found, np.array([float(p) for p in exact["policy"]]), rtol=1e-10, atol=1e-300)
    rounding = 1e-15 * np.abs(world.reward).max()
    assert_allclose(world.optimal_value(beta), float(exact["optimum"]), rtol=1e-10, atol=rounding)
    terms = rounding + 1e-15 * beta * float(exact["kl"])
    assert_allclose(world.value(policy, beta), float(exact["value"]), rtol=1e-10, atol=terms)
    assert_allclose(world.regret(policy, beta), float(exact["optimum"] - exact["value"]), rtol=1e-10)


@pytest.mark.parametrize("beta", [1e-8, 1e-3, 0.7, 1.0, 3.0, 1e3, 3e4, 7e7, 1e8])
@pytest.mark.parametrize("size", [1.0, 1e6])
def test_rewards_that_cancel_leave_no_more_than_rounding(beta, size):
    """E_ref[r] = 0, so that at large beta J* is as small as Var_ref[r] / (2 beta)."""
    world = Bandit(size * np.array([3.0, -2.0, 1.0]), reference=[0.25, 0.5, 0.25])
    with mp.workdps(60):
        exact = _many_digits(world, np.array([0.2, 0.3, 0.5]), beta)
    assert_allclose(world.optimal_value(beta), float(exact["optimum"]), rtol=1e-14, atol=3e-16 * size)


def _many_digits(world, policy, beta):
    """T1.1 and T1.2 from their definitions in mpmath, the doubles taken as exact and renormalised."""

    def normalised(p):
        values = [mp.mpf(float(x)) for x in p]
        return [x / mp.fsum(values) for x in values]

    r, ref, pi = [mp.mpf(float(x)) for x in world.reward], normalised(world.reference), normalised(policy)
    beta, top = mp.mpf(beta), max(mp.mpf(float(x)) for x in world.reward)
    weights = [q * mp.exp((x - top) / beta) for q, x in zip(ref, r, strict=True)]
    kl = mp.fsum(p * mp.log(p / q) for p, q in zip(pi, ref, strict=True))
    return {
        "policy": [w / mp.fsum(weights) for w in weights],
        "optimum": top + beta * mp.log(mp.fsum(weights)),
        "value": mp.fsum(p * x for p, x in zip(pi, r, strict=True)) - beta * kl,
        "kl": kl,
    }


# ---- T0.2, chapter T6: preferences -------------------------------------------------------------------------


@EXAMPLES
@given(bandits_with_reward(max_arms=10))
def test_preferences_default_to_bradley_terry(world):
    """T0.2: P(y, y') = sigma(r(y) - r(y')) = e^r / (e^r + e^r'), which is not its transpose."""
    strength = np.exp(world.reward - world.reward.max())
    odds = strength[:, None] / (strength[:, None] + strength)
    assert_allclose(world.preference, odds, rtol=1e-12, atol=1e-15)
    best, worst = world.reward.argmax(), world.reward.argmin()
    assert world.preference[best, worst] > 0.5 > world.preference[worst, best]


@EXAMPLES
@given(st.data())
def test_preference_over_a_policy_is_the_mean_over_its_arms(data):
    world = data.draw(bandits_with_both(max_arms=8))
    rival = data.draw(policies(world.arms))
    by_hand = [sum(world.preference[y, z] * rival[z] for z in range(world.arms)) for y in range(world.arms)]
    assert_allclose(world.preference_over(rival), by_hand, rtol=1e-13)


def test_blocks_of_rows_make_no_difference(monkeypatch):
    """The Bradley-Terry matrix is visited a few rows at a time; here three of seven, in three contexts."""
    rng = np.random.default_rng(4)
    world, rival = Bandit(rng.normal(size=(3, 7))), rng.dirichlet(np.ones(7), size=3)
    matrix = expit(world.reward[..., :, None] - world.reward[..., None, :])
    monkeypatch.setattr(bandit, "BLOCK", 3 * 3 * 7)
    assert_allclose(world.preference_over(rival), (matrix @ rival[..., None])[..., 0], rtol=1e-14)
    assert "preference" not in vars(world)


@EXAMPLES
@given(st.data())
def test_win_rates_of_a_game_add_up_to_one(data):
    world = data.draw(bandits_with_preference(max_arms=20))
    p, q = data.draw(policies(world.arms)), data.draw(strategies.behaviors(world.arms))
    assert_allclose(world.win_rate(p, q) + world.win_rate(q, p), 1, rtol=1e-13)
    assert_allclose(world.win_rate(p, p), 0.5, rtol=1e-13)
    by_hand = sum(p[y] * q[z] * world.preference[y, z] for y in range(world.arms) for z in range(world.arms))
    assert_allclose(world.win_rate(p, q), by_hand, rtol=1e-12)


@EXAMPLES
@given(st.data(), betas(0.01, 100))
def test_no_policy_answers_an_opponent_better_than_the_best_response(data, beta):
    """P(pi beats pi') - beta KL(pi || ref) falls short of its maximum by beta KL(pi || best)  (T1.2)."""
    world = data.draw(bandits_with_preference(max_arms=8, smallest=1e-3))
    rival, other = data.draw(strategies.behaviors(world.arms)), data.draw(policies(world.arms))
    best = world.best_response(rival, beta)

    def payoff(policy):
        terms = np.where(policy > 0, policy * np.log(np.where(policy > 0, policy, 1) / world.reference), 0)
        return world.win_rate(policy, rival) - beta * terms.sum()

    log_best = np.log(world.reference) + world.preference_over(rival) / beta
    shortfall = beta * (other * (np.log(other) - log_best + logsumexp(log_best))).sum()
    assert_allclose(payoff(best) - payoff(other), shortfall, rtol=1e-9, atol=1e-12 * (1 + beta))


@SLOW
@given(st.data(), betas(0.05, 20))
def test_the_duality_gap_is_what_best_responses_gain(data, beta):
    """T6.3: max_pi' P_beta(pi' beats pi) - min_pi' P_beta(pi beats pi'), best responses inserted."""
    world = data.draw(bandits_with_preference(max_arms=8, smallest=1e-3))
    policy = data.draw(policies(world.arms))
    rival = world.best_response(policy, beta)

    def kl(p):
        return np.where(p > 0, p * np.log(np.where(p > 0, p, 1) / world.reference), 0).sum()

    def regularized(p, q):
        return world.win_rate(p, q) - beta * kl(p) + beta * kl(q)

    gain = regularized(rival, policy) - regularized(policy, rival)
    assert_allclose(world.duality_gap(policy, beta), gain, rtol=1e-9, atol=1e-12 * (1 + beta))
    assert world.duality_gap(policy, beta) > 0


@SLOW
@given(bandits_with_preference(max_arms=20), betas(1e-2, 1e2))
def test_nash_policy_is_its_own_best_response(world, beta):
    """T6.1; |pi - best response| is the undamped residual, and the gap is the certificate."""
    nash = world.nash_policy(beta)
    assert_allclose(world.best_response(nash, beta), nash, rtol=0, atol=1e-12)
    assert 0 <= world.duality_gap(nash, beta) <= 1e-12


@EXAMPLES
@given(st.data(), betas(0.3, 30))
def test_optimum_and_equilibrium_differ(data, beta):
    """Maximising the reward and winning the Bradley-Terry game are two questions with two answers."""
    world = data.draw(bandits_with_reward(max_arms=4, smallest=1e-2, scale=3.0))
    assert np.abs(world.nash_policy(beta) - world.optimal_policy(beta)).max() > 1e-9


# ---- contexts ----------------------------------------------------------------------------------------------

CONTEXTS = (2, 3)


@SLOW
@given(st.data(), betas(0.1, 10))
def test_contexts_are_a_loop(data, beta):
    """Every question with leading axes = the same question, one context at a time."""
    world = data.draw(bandits_with_both(contexts=CONTEXTS, max_arms=4))
    policy = data.draw(policies(world.arms, CONTEXTS))
    rival = data.draw(strategies.behaviors(world.arms))  # one opponent for all contexts

    def answers(w, p):
        yield from (w.optimal_policy(beta), w.optimal_value(beta), w.value(p, beta), w.regret(p, beta))
        yield from (w.preference_over(rival), w.win_rate(p, rival), w.best_response(rival, beta))
        yield from (w.nash_policy(beta), w.duality_gap(p, beta))

    assert world.contexts == CONTEXTS
    for i, together in enumerate(answers(world, policy)):
        alone = [list(answers(world.at(c), policy[c]))[i] for c in np.ndindex(CONTEXTS)]
        assert_allclose(together, np.reshape(alone, np.shape(together)), rtol=1e-12, atol=1e-13)


def test_contexts_of_reward_and_reference_broadcast():
    world = Bandit(np.arange(6.0).reshape(2, 1, 3), reference=[[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
    assert world.contexts == (2, 2)
    assert world.optimal_policy(1.0).shape == (2, 2, 3)
    assert_allclose(world.at((1, 0)).reward, [3, 4, 5])
    assert_allclose(world.at((1, 0)).reference, [0.2, 0.3, 0.5])


# ---- a frozen record ---------------------------------------------------------------------------------------


def test_a_bandit_cannot_be_changed():
    world = Bandit([1.0, 2.0], preference=[[0.5, 0.3], [0.7, 0.5]], reference=[0.4, 0.6])
    for name in ("reward", "reference", "log_reference", "given_preference", "preference"):
        with pytest.raises(AttributeError):
            setattr(world, name, np.zeros(2))
        with pytest.raises(ValueError, match="read-only"):
            getattr(world, name)[...] = 0.5


def test_the_derived_preference_matrix_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        Bandit([1.0, 2.0]).preference[...] = 0.5


def test_a_bandit_keeps_copies():
    reward, matrix, reference = np.array([1.0, 2.0]), np.array([[0.5, 0.3], [0.7, 0.5]]), np.array([0.4, 0.6])
    world = Bandit(reward, preference=matrix, reference=reference)
    for array in (reward, matrix, reference):
        array[...] = 7.0
    assert_array_equal(world.reward, [1.0, 2.0])
    assert_array_equal(world.preference, [[0.5, 0.3], [0.7, 0.5]])
    assert_array_equal(world.reference, [0.4, 0.6])


def test_the_reference_defaults_to_uniform():
    assert_array_equal(Bandit([1.0, 2.0, 3.0, 4.0]).reference, np.full(4, 0.25))
    assert_array_equal(Bandit(preference=np.full((2, 2), 0.5)).reference, [0.5, 0.5])


# ---- what else an arm has ----------------------------------------------------------------------------------


@EXAMPLES
@given(st.data(), st.integers(2, 5))
def test_a_context_keeps_its_lengths_labels_and_names(data, arms):
    """`at` takes of each what belongs to the context, whichever of them has contexts; arrays are copied."""
    rng = data.draw(strategies.generators())
    length, desirable = 1.0 + rng.integers(50, size=(2, arms)), rng.random((3, 1, arms))
    names = [f"answer {i}" for i in range(arms)]
    world = bandit.Bandit(rng.normal(size=arms), length=length, desirable=desirable, names=names)
    length_before = length.copy()
    length[:] = 0
    assert world.contexts == (3, 2)
    for index in np.ndindex(3, 2):
        here = world.at(index)
        assert here.contexts == ()
        assert_array_equal(here.length, length_before[index[1]])
        assert_array_equal(here.desirable, desirable[index[0], 0])
        assert here.names == tuple(names)
    assert not world.length.flags.writeable


def test_what_is_not_given_is_absent_in_every_context():
    here = Bandit(np.zeros((2, 3))).at((1,))
    assert here.length is None and here.desirable is None and here.names is None
