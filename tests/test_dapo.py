"""DAPO on whole answers: clip-higher, and tokens of the group as the divisor (T9.5, T13.12)."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import root
from scipy.special import softmax

import answer_key
import bandits as b
from bandits import DAPO, GRPO, Samples, unit_spread
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from motions import the_best_arm_takes_everything
from rows import WIDE, Row, largest_weight, log_ratios, size_of_rewards

# ---- the row ----------------------------------------------------------------------------------------------


def advantages(a: DAPO, rewards: list[float]) -> list[float]:
    """(r - mean) / std, zero among equals."""
    if len(set(rewards)) == 1:
        return [0.0] * a.k
    mean, scale = math.fsum(rewards) / a.k, 1.0
    if a.spread is not unit_spread:
        scale = math.sqrt(math.fsum((r - mean) ** 2 for r in rewards) / (a.k - 1))
    return [(r - mean) / scale for r in rewards]


def formula(a: DAPO, s: Samples) -> list[float]:
    """T13.12: (advantage, clipped, + beta (ref/pi - 1)) / tokens of the group."""
    pushed = answer_key.clipped(advantages(a, list(map(float, s.reward))), s, a)
    pull = [a.beta * (math.exp(-h) - 1) for h in answer_key.log_ratio(s)]
    return [(c + k) / math.fsum(s.length) for c, k in zip(pushed, pull, strict=True)]


def size(a: DAPO, case: Case) -> float:
    """R, times the largest weight; and ref/pi; over the shortest answers."""
    whole = size_of_rewards(a, case) * largest_weight(a, case) + a.beta * np.exp(log_ratios(case))
    return whole / case.bandit.length.min()


ROWS = {
    "DAPO": Row(
        make=DAPO,
        formula=formula,
        size=size,
        smooth=False,
        settles=False,  # the clip freezes, or lets it slide
        sees_offset=False,
        ends={"on-policy": "other", "elsewhere": ("other", "none: slides")},  # T13.12, T9.5
        blind=WIDE,
    )
}


# ---- what it is known for ---------------------------------------------------------------------------------

REWARD, REFERENCE, LENGTH = [1.0, 0.6, 0.2, 0.0], [0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 4.0, 8.0]
WORLD = b.Bandit(REWARD, reference=REFERENCE, length=LENGTH)  # of T13.12


def rest_of(a: DAPO, world: b.Bandit) -> np.ndarray:
    """SciPy's `root` on the sum over all groups, each as T13.12 has it; from a large beta, where pi = ref."""

    def step(theta: np.ndarray, beta: float) -> np.ndarray:
        policy, total = softmax(theta), np.zeros(world.arms)
        for group in itertools.product(range(world.arms), repeat=a.k):
            arms = list(group)
            c = np.array(advantages(a, world.reward[arms].tolist()))
            c += beta * (world.reference[arms] / policy[arms] - 1)
            np.add.at(total, arms, policy[arms].prod() * c / world.length[arms].sum())
        return total - policy * total.sum() + theta.mean()

    theta = np.log(world.reference)
    for beta in np.geomspace(8.0, a.beta, 9):
        theta = root(step, theta, args=(beta,), tol=1e-13).x
    assert np.abs(step(theta, a.beta)).max() < 1e-12
    return softmax(theta)


def test_it_rests_where_the_sum_over_all_groups_does_and_lengths_move_it():
    """Against SciPy; with the same length for all it is GRPO's end, with these it is elsewhere."""
    for a in (DAPO(0.5), DAPO(0.5, k=3, spread=unit_spread)):
        found = b.fixed_point(a, WORLD, b.OnPolicy())
        assert found.stable and found.residual < 1e-12
        assert_allclose(found.policy, rest_of(a, WORLD), rtol=0, atol=1e-9)
        grpo = b.fixed_point(GRPO(0.5, k=a.k, spread=a.spread), WORLD, b.OnPolicy()).policy
        even = b.Bandit(REWARD, reference=REFERENCE, length=[3.0] * 4)
        assert_allclose(b.fixed_point(a, even, b.OnPolicy()).policy, grpo, rtol=0, atol=1e-9)
        assert np.abs(found.policy - grpo).max() > 1e-2


@settings(max_examples=2)
@given(data=st.data(), k=st.sampled_from([2, 3]))
def test_without_a_kl_the_best_arm_takes_everything_whatever_the_lengths(data, k):
    world = data.draw(strategies.bandits_with_both(2, 4, smallest=0.05))
    assume(np.diff(np.sort(world.reward)).min() > 0.2)
    the_best_arm_takes_everything(DAPO(k=k), world)


def test_a_group_of_long_answers_counts_little():
    """Twice the tokens, half the step; and no reference is needed without a KL."""
    samples = strategies.unrelated_groups(3, 5)
    own = b.Samples(log_prob=samples.log_prob, reward=samples.reward, length=np.full((200, 3), 2.0))
    long = b.Samples(log_prob=own.log_prob, reward=own.reward, length=2 * own.length)
    assert_array_equal(DAPO(k=3).update(own).log_prob, 2 * DAPO(k=3).update(long).log_prob)
    assert_allclose(DAPO(k=3).update(own).log_prob, GRPO(0.0, k=3).update(own).log_prob / 2, rtol=1e-15)
