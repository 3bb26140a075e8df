"""Online against offline: who wins, who knows the better answer, what the order of batches decides (T9.9)."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize
from scipy.special import expit, softmax

import bandits as b
from bandits.estimation import accuracy, draw_wins, fitted_preference
from bandits.policy import kl, log_ratio
from bandits.selection import best_of_n, winner_of_two
from bandits.testing import strategies

EXAMPLES = settings(max_examples=20)
CYCLE = [[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]]
REFERENCE = np.array([0.6, 0.3, 0.1])
WORLD = b.Bandit(preference=CYCLE, reference=REFERENCE)  # T12.14


def offline(world: b.Bandit, beta: float) -> np.ndarray:
    return b.fixed_point(b.IPO(beta), world, b.Offline(world.reference)).policy


def online(world: b.Bandit, beta: float) -> np.ndarray:
    return b.fixed_point(b.OnlineIPO(beta), world, b.OnPolicy()).policy


def divergence(world: b.Bandit, policy: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        return float(kl(np.log(policy), world.log_reference))


# ---- at the same distance from the reference (T9.9) -------------------------------------------------------


@EXAMPLES
@given(
    world=strategies.worlds(st.integers(2, 6), preference=strategies.preferences),
    beta=strategies.betas(0.1, 2),
    data=st.data(),
)
def test_at_equal_kl_offline_beats_the_reference_most_and_online_loses_to_nobody(world, beta, data):
    """Offline's end is E_pi[p(y > ref)] - beta KL's maximum (T1.1), and online's has P_beta(pi* > pi) >= 1/2.

    So at one KL nobody beats the reference as often as offline's, and nobody beats online's (T6.1).
    """
    best = online(world, beta)
    budget = divergence(world, best)
    if budget > 1e-9:
        log_beta = optimize.brentq(
            lambda x: divergence(world, offline(world, math.exp(x))) - budget, -12, 12, xtol=1e-13
        )
        other = offline(world, math.exp(log_beta))
        assert world.win_rate(other, world.reference) >= world.win_rate(best, world.reference) - 1e-9
        assert world.win_rate(best, other) >= 0.5 - 1e-9
    for policy in data.draw(strategies.generators(3)).dirichlet(np.ones(world.arms), size=20):
        tax = beta * max(divergence(world, policy) - budget, 0.0)  # beyond the budget its lead is paid in KL
        assert world.win_rate(best, policy) >= 0.5 - tax - 1e-11


@EXAMPLES
@given(data=st.data(), arms=st.integers(2, 6), beta=strategies.betas(0.1, 3))
def test_ipo_on_fitted_preferences_is_tilted_by_the_fitted_wins_over_the_sampler(data, arms, beta):
    """Goodhart's proxy: P^ of 200 comparisons is a world like any other, and T4.1 its end."""
    gold = data.draw(strategies.worlds(arms, preference=strategies.preferences))
    mu = data.draw(strategies.behaviors(arms, smallest=1e-2))
    proxy = fitted_preference(draw_wins(gold, mu, mu, 200, data.draw(strategies.generators(4))))
    world = b.Bandit(preference=proxy, reference=gold.reference)
    found = b.fixed_point(b.IPO(beta), world, b.Offline(mu)).policy
    assert_allclose(found, softmax(np.log(gold.reference) + proxy @ mu / beta), rtol=1e-9)


# ---- the tandem (T9.9) ------------------------------------------------------------------------------------


@dataclass
class Recorded:
    """An algorithm that writes down which pairs it saw, and which of the two won."""

    algorithm: object
    batches: list = field(default_factory=list)
    k: int = 2

    def update(self, samples: b.Samples) -> b.Update:
        arms, first_won = np.asarray(samples.arm), np.asarray(samples.preference)[..., 0, 1]
        rows = np.where(first_won[..., None] > 0.5, arms, arms[..., ::-1])
        self.batches.append(rows.reshape(-1, 2))
        return self.algorithm.update(samples)


def replayed(algorithm, world: b.Bandit, batches, rate: float) -> np.ndarray:
    """Plain ascent over the batches as data sets, in their order; an arm against itself says nothing."""
    logits = np.array(world.log_reference)
    for batch in batches:
        told = batch[batch[:, 0] != batch[:, 1]]
        if len(told):
            share = len(told) / len(batch)
            logits += rate * share * b.expected_update(algorithm, world, b.Dataset(told), softmax(logits))
    return softmax(logits)


@pytest.mark.parametrize("algorithm", [b.IPO(0.3), b.DPO(0.3)], ids=["IPO", "DPO"])
@pytest.mark.parametrize("seed", [1, 2])
def test_in_tandem_offline_training_on_the_online_batches_is_online_training(algorithm, seed):
    """The same ordered batches, whoever wrote them, give the same parameters; in another order, others."""
    rng = np.random.default_rng(seed)
    world = b.Bandit(preference=CYCLE, reference=rng.dirichlet(np.full(3, 5.0)))
    watched = Recorded(algorithm)
    trace = b.simulate(watched, world, b.OnPolicy(), steps=60, batch_size=8, learning_rate=0.2, rng=rng)
    batches = watched.batches[-60:]  # the first call only asks which fields are read
    assert len(watched.batches) == 61
    end = trace.policies[-1, 0]
    assert_allclose(replayed(algorithm, world, batches, 0.2), end, rtol=1e-11)
    assert np.abs(replayed(algorithm, world, batches[::-1], 0.2) - end).max() > 1e-3


# ---- under Bradley-Terry both order alike (T12.13) --------------------------------------------------------


@EXAMPLES
@given(
    world=strategies.worlds(st.integers(2, 6), reward=strategies.rewards),
    beta=strategies.betas(0.05, 5),
    data=st.data(),
)
def test_under_bradley_terry_both_order_log_ratios_as_rewards(world, beta, data):
    """Pairs i.i.d. from any mu; so both are perfect classifiers, under any law."""
    mu = data.draw(strategies.behaviors(world.arms, smallest=1e-2))
    ends = [
        b.fixed_point(b.IPO(beta), world, b.Offline(mu)),
        b.fixed_point(b.OnlineIPO(beta), world, b.OnPolicy()),
    ]
    order = np.argsort(world.reward)
    apart = np.diff(world.reward[order]) > 1e-3
    for end in ends:
        h = log_ratio(end.log_policy, world.log_reference)
        assert (np.diff(h[order])[apart] > 0).all()
        if apart.all():
            assert accuracy(h * 1e6, world, mu) == 1.0  # far from what counts as a tie


def test_a_law_that_is_no_product_can_turn_the_order_around():
    """T12.13: r = (10, .1, -10, 0), edges 1-0, 0-2, 2-3, beta = 1: h1 = -1/4 < h3 = 1/4 though r1 > r3."""
    joint = np.zeros((4, 4))
    for edge in ((1, 0), (0, 2), (2, 3)):
        joint[edge] = 1 / 3
    end = b.fixed_point(b.IPO(1.0), b.Bandit([10.0, 0.1, -10.0, 0.0]), b.Pairs(joint))
    h = np.log(4 * end.policy)
    steps = expit([10.0 - 0.1, 20.0, 10.0]) - 0.5  # along a tree every edge is fitted exactly
    assert_allclose([h[0] - h[1], h[0] - h[2], h[3] - h[2]], steps, rtol=1e-11)
    centred = h - h.mean()
    assert_allclose(centred[[1, 3]], [-0.25, 0.25], rtol=0, atol=5e-5)
    assert_allclose(h[3] - h[1], 0.5, rtol=0, atol=1e-4)


# ---- a better generator, a worse classifier (T12.14) ------------------------------------------------------


def test_the_numbers_of_the_better_generator_and_worse_classifier():
    """Ties count half: offline's h0 = h2, for p(y > ref) = .59 of both."""
    wins = WORLD.preference_over(REFERENCE)
    assert_allclose(wins, [0.59, 0.29, 0.59], rtol=1e-15)
    past, present = offline(WORLD, 0.05), online(WORLD, 0.05)
    assert_allclose(past, [0.8562, 0.0011, 0.1427], rtol=0, atol=5e-5)
    assert_allclose(present, [0.388, 0.208, 0.404], rtol=0, atol=5e-4)
    rates = [
        WORLD.win_rate(past, REFERENCE),
        WORLD.win_rate(present, REFERENCE),
        WORLD.win_rate(present, past),
    ]
    assert_allclose(rates, [0.590, 0.527, 0.525], rtol=0, atol=5e-4)
    h = np.log(np.stack([past, present]) / REFERENCE)
    met = np.array([0.36, 0.12, 0.06]) / 0.54  # pairs 01, 02, 12: 0 beats 1, 2 beats 0, 1 beats 2
    by_hand = [met[0] + met[1] / 2, met[1]]
    assert_allclose(accuracy(h, WORLD, REFERENCE), by_hand, rtol=1e-12)
    assert_allclose(by_hand, [0.778, 0.222], rtol=0, atol=5e-4)


def test_the_online_classifier_is_good_again_where_beta_is_not_small():
    """It orders 0 before 1 from beta = .0558 on: .89 there, .22 below."""
    betas = np.array([0.05, 0.055, 0.056, 0.1, 0.5, 2.0])
    found = [accuracy(np.log(online(WORLD, beta) / REFERENCE), WORLD, REFERENCE) for beta in betas]
    assert_allclose(found, [0.12 / 0.54] * 2 + [0.48 / 0.54] * 4, rtol=1e-12)


def test_imitating_the_winner_of_two():
    """2 mu(y) p(y beats mu), T12.14's numbers; under sure preferences it is the best of two."""
    assert_allclose(winner_of_two(CYCLE, REFERENCE), [0.708, 0.174, 0.118], rtol=1e-14)
    reward = np.array([0.3, 2.0, -1.0])
    sure = np.where(np.eye(3), 0.5, (reward[:, None] > reward).astype(float))
    assert_allclose(winner_of_two(sure, REFERENCE), best_of_n(reward, REFERENCE, 2), rtol=1e-14)
    with pytest.raises(ValueError, match=re.escape("preference + its transpose[0, 1] = 1.2")):
        winner_of_two([[0.5, 0.9], [0.3, 0.5]], [0.5, 0.5])
    with pytest.raises(ValueError, match="preference must have shape"):
        winner_of_two([0.5, 0.5], [0.5, 0.5])


@EXAMPLES
@given(world=strategies.worlds(st.integers(2, 5), preference=strategies.preferences), data=st.data())
def test_accuracy_and_the_winners_law_are_sums_over_pairs(world, data):
    rng, arms = data.draw(strategies.generators(6)), world.arms
    mu, score = rng.dirichlet(np.ones(arms)), rng.integers(0, 3, arms).astype(float)
    right = decided = 0.0
    winners = np.zeros(arms)
    for i, j in itertools.product(range(arms), repeat=2):
        p = world.preference[i, j]
        winners[i] += mu[i] * mu[j] * p
        winners[j] += mu[i] * mu[j] * (1 - p)
        if i != j and p != 0.5:
            decided += mu[i] * mu[j]
            said = 0.5 if score[i] == score[j] else float((score[i] > score[j]) == (p > 0.5))
            right += mu[i] * mu[j] * said
    assert_allclose(accuracy(score, world, mu), right / decided, rtol=1e-12)
    assert_allclose(winner_of_two(world.preference, mu), winners, rtol=1e-12)
    both = accuracy(np.stack([score, -score]), world, mu)
    assert_allclose(both.sum(), 1.0, rtol=1e-12)
    assert_array_equal(both[0], accuracy(score, world, mu))
