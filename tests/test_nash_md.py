"""Nash-MD-PG: the opponent's mixture weight moves the answer (T6.4, T6.5)."""

from __future__ import annotations

import independent_solvers
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import softmax

import answer_key
import worlds
from bandits import IPO, Bandit, NashMD, Offline, OnPolicy, Samples, expected_update, fixed_point
from bandits.policy import kl
from bandits.testing import enumeration, strategies
from bandits.testing.enumeration import Case
from rows import Row

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: NashMD, s: Samples) -> list[float]:
    """T6.5: p(y beats y') - 1/2 - beta h(y), nothing for the opponent y'."""
    return [float(s.preference[0, 1]) - 0.5 - a.beta * answer_key.log_ratio(s)[0], 0.0]


def answer_to_mixture(a: NashMD, case: Case):
    """T6.4."""
    world = case.bandit
    return np.exp(independent_solvers.game(world.preference, world.log_reference, a.beta, a.mixture))


def _row(mixture: float) -> Row:
    return Row(
        make=lambda beta: NashMD(beta, mixture=mixture),
        formula=formula,
        target=answer_to_mixture,
        ends={"on-policy": "other" if mixture else "equilibrium"},  # T6.4
        climbs=lambda a, c: (1, c.bandit.preference @ enumeration.place_laws(a, c)[1]),  # T6.5
    )


ROWS = {"NashMD": _row(0.0), "NashMD(0.3)": _row(0.3)}


# ---- what it is known for ---------------------------------------------------------------------------------


EXAMPLES = settings(max_examples=25)


def _end(world: Bandit, beta: float, mixture: float):
    return NashMD(beta, mixture).closed_form(world, OnPolicy(), world.log_reference)


@EXAMPLES
@given(st.data(), st.floats(0, 1))
def test_the_opponent_is_the_normalised_geometric_mixture(data, mixture):
    """T6.4: pi^(1 - eps) ref^eps / Z, as the last place of the group; the first places are the policy's."""
    world = data.draw(strategies.bandits_with_preference(max_arms=5))
    policy = data.draw(strategies.policies(world.arms))
    law = OnPolicy().law(NashMD(1.0, mixture), world, np.log(policy))
    mix = policy ** (1 - mixture) * world.reference**mixture
    assert_allclose(law.marginals[0], policy, rtol=1e-12)
    assert_allclose(law.marginals[1], mix / mix.sum(), rtol=1e-12)


@EXAMPLES
@given(st.data(), strategies.betas(0.05, 20), st.floats(0, 1))
def test_the_closed_form_answers_its_own_mixture(data, beta, mixture):
    """T6.4: pi ~ ref exp(P(y beats mix) / beta), and the expected update is zero there."""
    world = data.draw(strategies.bandits_with_preference(max_arms=6, smallest=1e-2))
    pi = _end(world, beta, mixture).policy
    mix = pi ** (1 - mixture) * world.reference**mixture
    answer = softmax(np.log(world.reference) + world.preference @ (mix / mix.sum()) / beta)
    assert_allclose(pi, answer, rtol=0, atol=1e-12)
    update = expected_update(NashMD(beta, mixture), world, OnPolicy(), pi)
    assert_allclose(update, 0, atol=1e-12 * (1 + beta))


@EXAMPLES
@given(st.data(), strategies.betas(0.05, 20))
def test_the_ends_of_the_mixture_are_nash_and_ipo(data, beta):
    """T6.4: eps = 0 is the equilibrium of T6.1, eps = 1 is IPO on pairs from the reference (T4.1)."""
    world = data.draw(strategies.bandits_with_preference(max_arms=6, smallest=1e-2))
    assert_allclose(_end(world, beta, 0).policy, world.nash_policy(beta), rtol=0, atol=1e-13)
    offline = fixed_point(IPO(beta), world, Offline(world.reference))
    assert_allclose(_end(world, beta, 1).policy, offline.policy, rtol=0, atol=1e-12)


def test_a_mixture_between_them_is_neither():
    ends = [_end(worlds.GAME, 0.1, eps).policy for eps in (0.0, 0.3, 0.7, 1.0)]
    gaps = [np.abs(a - b).max() for i, a in enumerate(ends) for b in ends[:i]]
    assert min(gaps) > 1e-2  # in particular eps and 1 - eps are different algorithms


@EXAMPLES
@given(st.data(), strategies.betas(0.2, 5), st.floats(0.01, 0.99))
def test_nash_md_at_a_constant_step_rests_at_the_mixture_of_step_times_beta(data, beta, mixture):
    """T6.5: pi = mix exp(eta P(y beats mix)) / Z with eps = eta beta is T6.4's equation.

    log pi = (1 - eps) log pi + eps log ref + eta P mix + c  <=>  eps log pi/ref = eta P mix + c.
    """
    world = data.draw(strategies.bandits_with_preference(max_arms=6, smallest=1e-2))
    pi, eta = _end(world, beta, mixture).policy, mixture / beta
    log_mix = (1 - mixture) * np.log(pi) + mixture * np.log(world.reference)
    step = softmax(log_mix + eta * (world.preference @ softmax(log_mix)))
    assert_allclose(step, pi, rtol=0, atol=1e-12)


def test_the_distance_to_the_equilibrium_is_of_second_order_in_the_step():
    """T6.5: KL(pi* || end) = O(eta^2): slope 2 in log-log as eps = eta beta -> 0."""
    beta, eps = 0.1, np.array([1e-2, 1e-3, 1e-4])
    nash = np.log(worlds.GAME.nash_policy(beta))
    distance = [kl(nash, _end(worlds.GAME, beta, e).log_policy) for e in eps]
    slopes = np.diff(np.log(distance)) / np.diff(np.log(eps))
    assert_allclose(slopes, 2, atol=0.1)
    assert_allclose(slopes[-1], 2, atol=0.01)


def test_the_end_keeps_to_the_support_of_the_start():
    """An arm that starts at zero has no mass in pi^(1 - eps) ref^eps either, also in the limit eps = 1."""
    with np.errstate(divide="ignore"):
        log_start = np.log([0.4, 0.0, 0.6])
    rest = Bandit(preference=worlds.GAME.preference[[0, 2]][:, [0, 2]], reference=[5 / 7, 2 / 7])
    for eps in (0.0, 0.3, 1.0):
        found = NashMD(0.4, eps).closed_form(worlds.GAME, OnPolicy(), log_start).policy
        alone = _end(rest, 0.4, eps).policy
        assert_allclose(found, [alone[0], 0, alone[1]], rtol=1e-13)
        assert_allclose(expected_update(NashMD(0.4, eps), worlds.GAME, OnPolicy(), found), 0, atol=1e-13)
