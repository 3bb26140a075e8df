"""GOLD: demonstrations weighed by the policy itself, between cloning and the mode (T9.1)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import brentq

import bandits as b
from bandits import GOLD, Offline, OnPolicy, Samples, fixed_point
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from motions import motion
from rows import Row

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: GOLD, s: Samples) -> list[float]:
    """r max(pi, u)."""
    return [float(s.reward[0]) * max(math.exp(s.log_prob[0]), a.floor)]


def size(a: GOLD, case: Case) -> float:
    """r, times a weight of at most 1, or u."""
    return (2 + np.abs(case.bandit.reward).max()) * max(a.floor, 1.0)


ROWS = {
    "GOLD": Row(
        make=lambda beta: GOLD(floor=beta / 5),  # it has no KL: the number is its floor
        formula=formula,
        size=size,
        settles=False,  # on the boundary
        ends={"on-policy": "none: runs away", "elsewhere": "face"},  # T9.1, an arm without reward
    )
}


# ---- what it is known for ---------------------------------------------------------------------------------


EXAMPLES = settings(max_examples=20)
FEW = settings(max_examples=3, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # slow to shrink


@EXAMPLES
@given(data=st.data(), arms=st.integers(2, 30), floor=st.sampled_from([0.01, 0.1, 0.5, 1.0, 3.0]))
def test_the_largest_takes_what_the_floor_leaves(data, arms, floor):
    """pi / max(pi, u) = D r / Z: at u D r / Z below u, the rest at Z = max D r; Brent's method in Z."""
    world = data.draw(strategies.bandits_with_reward(arms, arms, smallest=1e-3))
    reward = world.reward - world.reward.min() + 0.1
    world = b.Bandit(reward, reference=world.reference)
    D = data.draw(strategies.behaviors(arms, smallest=1e-3))
    mass = np.sort(D * reward)
    assume(mass[-1] - mass[-2] > 1e-9 * mass[-1])
    found = fixed_point(GOLD(floor), world, Offline(D))
    Z = brentq(lambda Z: (floor * D * reward / Z).sum() - 1, 1e-9, 1e3 * arms, xtol=1e-300, rtol=1e-15)
    expected = floor * D * reward / max(Z, mass[-1])
    if Z < mass[-1]:  # room is left, and the largest weighs itself by pi > u
        expected[expected.argmax()] += 1 - expected.sum()
    assert_allclose(found.policy, expected, rtol=0, atol=1e-12)
    assert found.unique and found.residual < 1e-13 * (1 + reward.max())


def test_the_floor_leads_from_cloning_to_the_mode():
    world, D = b.Bandit([0.5, 0.8, 0.9]), np.array([0.4, 0.3, 0.3])  # D r = (.2, .24, .27)
    for floor in (1.0, 7.0):
        clone = fixed_point(GOLD(floor), world, Offline(D)).policy
        assert_allclose(clone, D * world.reward / 0.71, rtol=1e-14)
    assert_allclose(
        fixed_point(GOLD(0.1), world, Offline(D)).policy[:2], [0.1 * 0.2 / 0.27, 0.1 * 0.24 / 0.27]
    )
    assert fixed_point(GOLD(0.0), world, Offline(D)).policy.tolist() == [0, 0, 1]
    assert fixed_point(GOLD(1e-6), world, Offline(D)).policy[2] > 1 - 2e-6


@FEW
@given(data=st.data(), floor=st.sampled_from([0.1, 0.4]))
def test_the_motion_ends_there(data, floor):
    """All arms have reward, so that all is at rest in the interior."""
    world = data.draw(strategies.bandits_with_reward(3, 4, smallest=0.05, scale=0.5))
    world = b.Bandit(world.reward - world.reward.min() + 0.3, reference=world.reference)
    D, start = (data.draw(strategies.policies(world.arms, smallest=0.1, salt=salt)) for salt in (5, 6))
    mass = np.sort(D * world.reward)
    assume(mass[-1] - mass[-2] > 0.02)
    found = fixed_point(GOLD(floor), world, Offline(D), start)
    assert found.face is None and found.residual < 1e-14
    assert_allclose(found.policy, motion(GOLD(floor), world, Offline(D), start, 1e5), rtol=0, atol=1e-8)


def test_negative_rewards_push_for_ever_unless_the_weight_goes_with_the_policy():
    """u = 0: they die quietly; u >= 1: a constant pull (T13.7); between, the flow runs away."""
    world, D = b.Bandit([1.0, 0.9, 0.8, -0.5]), Offline([0.4, 0.3, 0.2, 0.1])
    assert fixed_point(GOLD(0.0), world, D).policy.tolist() == [1, 0, 0, 0]
    pulled = fixed_point(GOLD(2.0), world, D).policy
    assert_allclose(pulled, fixed_point(b.AsymRE(), world, D).policy, rtol=0, atol=1e-15)
    with pytest.raises(b.NotConverged) as refusal:
        fixed_point(GOLD(0.1), world, D)
    assert refusal.value.reason == "runs away" and refusal.value.arms.tolist() == [3]
    bad = b.Bandit([-1.0, -0.9, -0.8, -0.5])
    assert [one.policy.argmax() for one in b.fixed_points(GOLD(0.0), bad, D)] == [3]


def test_on_its_own_samples_the_start_decides():
    world = b.Bandit([0.5, 0.8, 0.9])
    with pytest.raises(b.NoFixedPoint, match="on its own samples nothing keeps GOLD from gathering"):
        fixed_point(GOLD(), world, OnPolicy())
    starts = np.array([[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])
    assert motion(GOLD(), world, OnPolicy(), starts, 1e5).argmax(axis=-1).tolist() == [0, 2]
