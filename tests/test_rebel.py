"""REBEL, and rounds of any algorithm whose reference moves (T13.6)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import log_softmax

import answer_key
import bandits as b
import worlds
from bandits import DPO, IPO, REBEL, RLOO, Bandit, CoPG, Dataset, Offline, OnPolicy, Samples, iterated
from bandits.testing import strategies
from rows import Row, optimum, size_of_rewards

EXAMPLES = settings(max_examples=25)
FEW = settings(max_examples=8)


# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: REBEL, s: Samples) -> list[float]:
    """T13.6: 2 beta (R - R')."""
    R, other = answer_key.regularized(a.beta, s)
    return [2 * a.beta * (R - other), 2 * a.beta * (other - R)]


ROWS = {
    "REBEL": Row(
        make=REBEL,
        formula=formula,
        size=lambda a, case: (1 + 2 * a.beta) * size_of_rewards(a, case),
        target=optimum,  # T3.3
        climbs=lambda a, c: (4 * a.beta, c.bandit.reward),  # T3.7, times 2 beta
        sees_offset=False,
        ends={"on-policy": "optimum", "elsewhere": "optimum"},
    )
}


# ---- one round --------------------------------------------------------------------------------------------


@EXAMPLES
@given(rng=strategies.generators(), eta=st.floats(0.05, 20))
def test_a_round_is_the_regression_of_the_paper(rng, eta):
    """((log pi/pi_t(y) - log pi/pi_t(y')) / eta - (r - r'))^2, differentiated; CoPG's times 2 / eta."""
    log_prob, log_old = -3 * rng.random((2, 5, 2))
    reward = 2 * rng.normal(size=(5, 2))
    leaf = torch.tensor(log_prob, requires_grad=True)
    h = leaf - torch.tensor(log_old)
    loss = ((h[:, 0] - h[:, 1]) / eta - torch.tensor(reward[:, 0] - reward[:, 1])) ** 2
    (slope,) = torch.autograd.grad(loss.sum(), leaf)
    samples = Samples(log_prob=log_prob, reference_log_prob=log_old, reward=reward)
    size = (1 + 1 / eta) ** 2 * 10
    found = REBEL(1 / eta).update(samples).log_prob
    assert_allclose(found, -slope.numpy(), rtol=0, atol=1e-13 * size)
    assert_allclose(REBEL(1 / eta).loss(samples), loss.detach().numpy(), rtol=0, atol=1e-13 * size)
    assert_allclose(found, 2 / eta * CoPG(1 / eta).update(samples).log_prob, rtol=0, atol=1e-13 * size)


def test_at_one_half_it_is_copg_itself():
    """2 beta = 1: the verdict, which calls a class by its own name, says equal of both."""
    law = Offline(worlds.BEHAVIOR)
    updates = [b.expected_update(a(0.5), worlds.MIXED, law, worlds.POLICY) for a in (REBEL, CoPG)]
    assert_allclose(*updates, rtol=0, atol=1e-15)


# ---- rounds -----------------------------------------------------------------------------------------------


def tilted(world: Bandit, start, exponent) -> np.ndarray:
    """start exp(exponent) / Z."""
    return np.exp(log_softmax(np.log(start) + exponent))


REGRESSIONS = {"REBEL": REBEL, "CoPG": CoPG, "RLOO": RLOO, "DPO": DPO}  # DPO on Bradley-Terry labels


@pytest.mark.parametrize("name", REGRESSIONS)
@FEW
@given(data=st.data(), beta=strategies.betas(0.5, 20), rounds=st.integers(0, 4))
def test_a_moving_reference_adds_the_reward_in_every_round(name, data, beta, rounds):
    """T13.6: start exp(t r / beta) / Z after t rounds; on anybody's samples, the round's, or its own."""
    world = data.draw(strategies.bandits_with_reward(2, 5, smallest=1e-2))
    mu = Offline(data.draw(strategies.behaviors(world.arms)))
    start = data.draw(strategies.policies(world.arms, smallest=1e-2, salt=3))
    rule = data.draw(st.sampled_from([mu, OnPolicy(), lambda policy: Offline(policy)]))
    found = iterated(REGRESSIONS[name](beta), world, rule, rounds, start)
    assert found.shape == (rounds + 1, world.arms)
    for t, policy in enumerate(found):
        assert_allclose(policy, tilted(world, start, t * world.reward / beta), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", REGRESSIONS)
@FEW
@given(data=st.data(), beta=strategies.betas(0.5, 20))
def test_with_a_reference_that_stays_the_first_round_is_the_last(name, data, beta):
    world = data.draw(strategies.bandits_with_reward(2, 5, smallest=1e-2))
    found = iterated(REGRESSIONS[name](beta), world, lambda policy: Offline(policy), 3, moving=False)
    assert_array_equal(found[0], world.reference)
    for policy in found[1:]:
        assert_allclose(policy, world.optimal_policy(beta), rtol=0, atol=1e-9)


def test_the_numbers_of_the_theory():
    """T13.6 on the example E of its chapter, eta = 1: three rounds are one with three times the reward."""
    world = Bandit([1.0, 0.6, 0.2, 0.0], reference=[0.4, 0.1, 0.2, 0.3])
    found = iterated(REBEL(1.0), world, lambda policy: Offline(policy), 3)
    expected = world.reference * np.exp(3 * world.reward)
    assert_allclose(found[3], expected / expected.sum(), rtol=1e-12)
    assert_allclose(found[3], [0.863559, 0.065025, 0.039170, 0.032246], rtol=0, atol=5e-7)


@FEW
@given(data=st.data(), beta=strategies.betas(0.3, 5), rounds=st.integers(1, 4))
def test_each_round_gains_and_many_end_at_the_best_answer(data, beta, rounds):
    """Mirror descent: E[r] never falls, by the variance of r under an exponential family."""
    world = data.draw(strategies.bandits_with_reward(2, 5, smallest=1e-2))
    gained = np.diff(iterated(REBEL(beta), world, OnPolicy(), rounds) @ world.reward)
    assert gained.min() >= -1e-13 * (1 + np.abs(world.reward).max())
    best = world.reward == world.reward.max()
    many = int(np.ceil(40 * beta / max(np.ptp(world.reward), 0.3)))
    gap = world.reward.max() - np.where(best, -np.inf, world.reward).max()
    left = iterated(REBEL(beta), world, OnPolicy(), many)[-1][~best].sum()
    assert left <= 100 * world.arms * np.exp(-many * gap / beta)  # ref >= 1/100


def test_on_cycles_the_reference_that_moves_matters():
    """IPO on a wheel (T4.3): each round adds the ranking of its own sampler; what stays answers it only."""
    world = worlds.GAME
    moving, staying = (
        iterated(IPO(0.5), world, lambda policy: Offline(policy), 3, moving=moves) for moves in (True, False)
    )
    assert_allclose(moving[1], staying[1], rtol=0, atol=1e-12)
    assert np.abs(moving[2] - staying[2]).max() > 1e-3
    for policies, reference in ((moving, moving[1]), (staying, world.reference)):
        score = world.preference @ policies[1] / 0.5
        expected = np.exp(log_softmax(np.log(reference) + score))
        assert_allclose(policies[2], expected, rtol=0, atol=1e-9)  # T4.1: pairs i.i.d. from pi_1


def test_contexts_are_rounds_of_their_own():
    world = Bandit([[1.0, 0.2, 0.0], [0.1, -0.4, 0.7]], reference=[0.5, 0.3, 0.2])
    together = iterated(REBEL(0.7), world, Offline([0.2, 0.2, 0.6]), 2)
    assert together.shape == (3, 2, 3)
    for i in range(2):
        alone = iterated(REBEL(0.7), world.at((i,)), Offline([0.2, 0.2, 0.6]), 2)
        assert_allclose(together[:, i], alone, rtol=0, atol=1e-14)


# ---- bad input --------------------------------------------------------------------------------------------


def test_a_round_that_leads_nowhere_says_which():
    unbeaten = Dataset([(0, 1), (1, 2)])
    rules = iter([Offline([0.2, 0.3, 0.5]), Offline([0.2, 0.3, 0.5]), unbeaten])
    with pytest.raises(b.NoFixedPoint, match="round 2: ") as refusal:
        iterated(DPO(0.5), worlds.REWARDS, lambda policy: next(rules), 2)
    assert refusal.value.solution is not None


def test_a_rule_of_the_round_is_checked():
    world, law = worlds.REWARDS, Offline([0.2, 0.3, 0.5])
    with pytest.raises(ValueError, match="sampling must be a function of"):
        iterated(CoPG(0.5), world, lambda: law, 1)
    with pytest.raises(ValueError, match="sampling must be Offline"):
        iterated(CoPG(0.5), world, lambda policy: None, 1)
    with pytest.raises(ValueError, match="write OnPolicy"):
        iterated(CoPG(0.5), world, OnPolicy, 1)
    with pytest.raises(ValueError, match="rounds must"):
        iterated(CoPG(0.5), world, law, -1)


def test_an_answer_too_rare_to_be_a_number_is_named():
    """ref exp(-800): the sampler still shows it, and log pi/ref would be infinite."""
    world = Bandit([0.0, -400.0], reference=[0.5, 0.5])
    with pytest.raises(ValueError, match=r"round 3: .*log pi/ref is infinite there"):
        iterated(REBEL(1.0), world, Offline([0.5, 0.5]), 3)
