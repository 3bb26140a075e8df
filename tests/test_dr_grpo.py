"""Dr. GRPO: GRPO without its divisors (T9.5, T13.11)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import answer_key
import bandits as b
from bandits import GRPO, DrGRPO, Samples, unit_spread
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from motions import motion
from rows import WIDE, Row, largest_weight, log_ratios, size_of_rewards

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: DrGRPO, s: Samples) -> list[float]:
    """T9.5: (r - mean, clipped, + beta (ref/pi - 1)) / k."""
    mean = math.fsum(s.reward) / a.k
    pushed = answer_key.clipped([float(r) - mean for r in s.reward], s, a)
    pull = [a.beta * (math.exp(-h) - 1) for h in answer_key.log_ratio(s)]
    return [(c + k) / a.k for c, k in zip(pushed, pull, strict=True)]


def size(a: DrGRPO, case: Case) -> float:
    """R, times the largest weight; and ref/pi."""
    return size_of_rewards(a, case) * largest_weight(a, case) + a.beta * np.exp(log_ratios(case))


ROWS = {
    "DrGRPO": Row(
        make=DrGRPO,
        formula=formula,
        size=size,
        smooth=False,
        settles=False,  # the clip freezes, or lets it slide
        sees_offset=False,
        ends={"on-policy": "other", "elsewhere": ("other", "none: slides")},  # T9.5
        blind=WIDE,
    )
}


# ---- what it is known for ---------------------------------------------------------------------------------

WORLD = b.Bandit([1.0, 0.6, 0.2, 0.0], reference=[0.1, 0.2, 0.3, 0.4])


@settings(max_examples=15)
@given(data=st.data(), beta=strategies.betas(), k=st.sampled_from([2, 3, 5]))
def test_it_is_grpo_without_the_spread(data, beta, k):
    """To the bit, its end too, which `test_grpo` holds against the flow and against Brent's method."""
    world = data.draw(strategies.bandits_with_reward(2, 8))
    mine, its = DrGRPO(beta, k=k), GRPO(beta, k=k, spread=unit_spread)
    samples = strategies.unrelated_groups(k, 3)
    assert_array_equal(mine.update(samples).log_prob, its.update(samples).log_prob)
    assert_array_equal(mine.loss(samples), its.loss(samples))
    ends = [b.fixed_point(each, world, b.OnPolicy()).policy for each in (mine, its)]
    assert_array_equal(*ends)


@settings(max_examples=2)
@given(data=st.data(), k=st.sampled_from([2, 3]))
@pytest.mark.parametrize("kind", [DrGRPO, GRPO])
def test_without_a_kl_the_best_arm_takes_everything(kind, data, k):
    """With the spread and without, of groups of one's own: the motion comes as near as one over time."""
    world = data.draw(strategies.bandits_with_reward(2, 4, smallest=0.05))
    assume(np.diff(np.sort(world.reward)).min() > 0.2)
    start = data.draw(strategies.policies(world.arms, smallest=0.05, salt=6))
    found = b.fixed_point(kind(beta=0.0, k=k), world, b.OnPolicy(), start)
    best = np.arange(world.arms) == world.reward.argmax()
    assert found.unique and found.residual == 0
    assert_array_equal(found.policy, best)
    assert_array_equal(found.face, best)
    reached = motion(kind(beta=0.0, k=k), world, b.OnPolicy(), start, 1e4)
    assert_allclose(reached, best, rtol=0, atol=2e-2)


def test_without_a_kl_of_several_best_arms_the_frequent_one_does():
    world = b.Bandit([1.0, 1.0, 0.0], reference=[0.3, 0.2, 0.5])
    assert_array_equal(b.fixed_point(DrGRPO(), world, b.OnPolicy()).policy, [1, 0, 0])
    early, late = (motion(DrGRPO(), world, b.OnPolicy(), world.reference, t) for t in (1e2, 1e5))
    assert late[0] > early[0] + 0.1 > 0.7


def test_the_limit_of_a_weak_kl_is_the_end_without_one():
    """t = beta ref(best) / (1 - ...): the rest of the mass is of order beta, with no second limit."""
    for beta in (1e-3, 1e-5):
        found = b.fixed_point(DrGRPO(beta), WORLD, b.OnPolicy()).policy
        assert_allclose(
            found[1:], beta * WORLD.reference[1:] / (0.5 * (1 - WORLD.reward[1:])), rtol=10 * beta
        )


def test_without_a_kl_it_is_rloo_times_one_less_one_over_k():
    samples = strategies.unrelated_groups(4, 5)
    own = b.Samples(log_prob=samples.log_prob, reward=samples.reward)
    plain = b.Samples(log_prob=own.log_prob, reference_log_prob=own.log_prob, reward=own.reward)
    found = DrGRPO(k=4).update(own).log_prob
    assert_allclose(found, 0.75 * b.RLOO(1.0, k=4).update(plain).log_prob, rtol=0, atol=1e-15)
