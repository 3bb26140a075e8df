"""Iterative DPO: best against worst of K, round after round; the reference stays or moves (T9.7)."""

from __future__ import annotations

import itertools

import independent_solvers as second
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import expit, log_softmax, softmax

import bandits as b
from bandits.selection import best_versus_worst
from bandits.testing import strategies

REWARD, MU = np.array([1.0, 0.6, 0.2, 0.0]), np.array([0.4, 0.1, 0.2, 0.3])  # E of chapter T13
DRAWN = b.Bandit(REWARD, reference=MU)
SURE = b.Bandit(REWARD, preference=np.heaviside(REWARD[:, None] - REWARD, 0.5), reference=MU)


def rounds(algorithm, world, K: int, count: int, moving: bool) -> np.ndarray:
    """Policies after each round, (count + 1, A)."""
    return b.iterated(
        algorithm, world, lambda policy: b.Pairs(best_versus_worst(REWARD, policy, K)), count, moving=moving
    )


def by_hand(K: int, count: int, moving: bool, beta: float, eps: float) -> np.ndarray:
    """The same from all A^K groups of samples, and SciPy's root of the smoothed likelihood."""
    groups = np.array(list(itertools.product(range(4), repeat=K)))
    policies = [MU]
    for _ in range(count):
        weight = policies[-1][groups].prod(axis=1)
        joint = np.zeros((4, 4))
        np.add.at(joint, (groups.min(axis=1), groups.max(axis=1)), weight)  # arms are in order of reward
        wins = (1 - eps) * joint + eps * joint.T
        np.fill_diagonal(wins, 0)
        x = second.margins(wins, lambda z: -expit(-z))
        policies.append(softmax(np.log(policies[-1] if moving else MU) + x / beta))
    return np.stack(policies)


@pytest.mark.parametrize("K", [2, 3, 8])
def test_with_drawn_labels_a_fixed_reference_stays_and_a_moving_one_divides_beta(K):
    """T9.7: pi* of beta, or pi* of beta / T after T rounds, whichever pairs are compared."""
    stays, moves = (rounds(b.DPO(0.5), DRAWN, K, 4, moving) for moving in (False, True))
    for T in range(1, 5):
        assert_allclose(stays[T], DRAWN.optimal_policy(0.5), rtol=1e-11)
        assert_allclose(moves[T], DRAWN.optimal_policy(0.5 / T), rtol=1e-11)


@pytest.mark.parametrize("moving", [False, True])
def test_the_first_round_of_certain_labels_has_no_end(moving):
    """T5.3: the limit is the best answer."""
    with pytest.raises(b.NoFixedPoint, match=r"round 1: .*no chain of wins leads back") as refusal:
        rounds(b.DPO(0.5), SURE, 4, 1, moving)
    assert_allclose(refusal.value.solution.policy, [1, 0, 0, 0])


@pytest.mark.parametrize("moving", [False, True])
@settings(max_examples=6)
@given(K=st.integers(2, 5), beta=strategies.betas(0.3, 3), eps=st.floats(0.05, 0.4))
def test_smoothed_rounds_are_those_of_every_group_by_hand(moving, K, beta, eps):
    found = rounds(b.DPO(beta, smoothing=eps), SURE, K, 2, moving)
    theirs = by_hand(K, 2, moving, beta, eps)
    assert_allclose(found, theirs, rtol=0, atol=1e-8)


def test_the_numbers_of_the_theory():
    """T9.7: where a fixed reference settles, and the first steps of a moving one."""
    two, four, eight = (rounds(b.DPO(0.5, smoothing=0.1), SURE, K, 12, False)[-1] for K in (2, 4, 8))
    assert_allclose(two, [0.981903, 0.003428, 0.006321, 0.008347], rtol=0, atol=5e-7)
    odds = MU * np.array([81.0, 1.0, 1.0, 1.0])
    for policy in (four, eight):
        assert_allclose(policy, odds / odds.sum(), rtol=0, atol=5e-7)
    moves = rounds(b.DPO(0.5, smoothing=0.1), SURE, 4, 3, True)
    assert_allclose(moves[1:, 0], [0.946427, 0.999302, 0.999991], rtol=0, atol=5e-7)


def test_a_fixed_reference_settles_at_the_fit_of_its_own_pairs():
    """T9.7: another round changes nothing, whatever the start."""
    algorithm, law = b.DPO(0.5, smoothing=0.1), lambda policy: b.Pairs(best_versus_worst(REWARD, policy, 2))
    ends = [
        b.iterated(algorithm, SURE, law, 25, start, moving=False)[-1]
        for start in (MU, [0.01, 0.01, 0.01, 0.97], [0.25, 0.25, 0.25, 0.25])
    ]
    for end in ends:
        assert_allclose(end, ends[0], rtol=0, atol=1e-10)
        assert_allclose(b.fixed_point(algorithm, SURE, law(end)).policy, end, rtol=0, atol=1e-10)


def test_a_moving_reference_gains_the_same_log_odds_in_every_late_round():
    """T9.7: log((1 - eps)/eps) / beta, as on a star."""
    for K in (2, 4, 8):
        moves = rounds(b.DPO(0.5, smoothing=0.1), SURE, K, 5, True)
        gain = np.diff(np.log(moves[:, 0]) - np.log(moves[:, 1]))
        assert_allclose(gain[-1], 2 * np.log(9), rtol=1e-4)


def test_only_the_order_of_the_rewards_counts_where_the_best_has_always_won():
    """T9.7: a stretch of the scale changes what drawn labels lead to, and nothing here."""
    stretched = b.Bandit(REWARD**3, preference=SURE.preference, reference=MU)
    one, two = (rounds(b.DPO(0.5, smoothing=0.1), world, 3, 3, False) for world in (SURE, stretched))
    assert_allclose(one, two, rtol=0, atol=1e-14)
    assert np.abs(log_softmax(b.Bandit(REWARD**3).reward) - log_softmax(REWARD)).max() > 0.1
