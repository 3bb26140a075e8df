"""TOPR: positive cloning, and what becomes of a world without good answers (T13.9)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import bandits as b
from bandits import TOPR, Offline, OnPolicy, Samples, expected_update, fixed_point, fixed_points
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from motions import motion
from rows import Row

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: TOPR, s: Samples) -> list[float]:
    """T13.9: (r - b) / k, bad answers weighted by min(pi/mu, 1)."""
    weights = [math.exp(x) for x in s.log_prob - s.behavior_log_prob]
    advantages = [float(r) - a.baseline for r in s.reward]
    return [A / a.k if A > 0 else A * min(w, 1.0) / a.k for w, A in zip(weights, advantages, strict=True)]


def size(a: TOPR, case: Case) -> float:
    """No weight is above 1."""
    return 2 + np.abs(case.bandit.reward).max() + abs(a.baseline)


ROWS = {
    "TOPR": Row(
        make=lambda beta: TOPR(baseline=beta),  # it has no KL: the number is its baseline
        formula=formula,
        size=size,
        settles=False,  # on the boundary
        ends={"on-policy": "vertex", "elsewhere": "face"},  # T13.7, T13.9
    )
}


# ---- what it is known for ---------------------------------------------------------------------------------


EXAMPLES = settings(max_examples=20)
FEW = settings(max_examples=3, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # slow to shrink
MU = np.array([0.4, 0.1, 0.2, 0.3])
E = b.Bandit([1.0, 0.6, 0.2, 0.0])  # the common example of chapter T13


@pytest.mark.parametrize(
    ("baseline", "expected"), [(0.0, [0.8, 0.12, 0.08, 0]), (0.5, [0.95238, 0.04762, 0, 0])]
)
def test_the_numbers_of_the_theory(baseline, expected):
    found = fixed_point(TOPR(baseline), E, Offline(MU))
    assert_allclose(found.policy.round(5), expected)
    assert found.unique and found.stable and found.residual < 1e-15
    assert (found.face == (np.array(expected) > 0)).all()


def conditions(policy: np.ndarray, mu: np.ndarray, a: np.ndarray) -> float:
    """How far a policy is from mu a+ - min(pi, mu) a- = pi C, and from no dead arm that would grow."""
    push = mu * np.maximum(a, 0) + np.minimum(policy, mu) * np.minimum(a, 0)
    C = push.sum()
    regrowth = np.where(a > 0, mu * a, -C)  # of pi, or relative to pi
    return max(np.abs(push - policy * C).max(), regrowth[policy == 0].max(initial=0.0))


@EXAMPLES
@given(data=st.data(), arms=st.integers(2, 30), baseline=st.floats(-2, 2))
def test_it_clones_what_is_better_than_the_baseline(data, arms, baseline):
    world = data.draw(strategies.bandits_with_reward(arms, arms, smallest=1e-3))
    mu = data.draw(strategies.behaviors(arms, smallest=1e-3))
    a = world.reward - baseline
    assume(a.max() > 1e-3)
    found = fixed_point(TOPR(baseline), world, Offline(mu))
    cloned = mu * np.maximum(a, 0)
    assert_allclose(found.policy, cloned / cloned.sum(), rtol=0, atol=1e-14)
    assert conditions(found.policy, mu, a) < 1e-13 * (1 + np.abs(a).max())
    assert found.unique and (found.face is None) == bool((a > 0).all())


@FEW
@given(data=st.data())
def test_the_motion_comes_as_near_as_one_over_time(data):
    """Bad arms, however heavy, have pi ~ (share of arms that live) / ((a- + C) t), C = E_mu[a+]: t = 1e6."""
    world = data.draw(strategies.bandits_with_reward(3, 5, smallest=0.05, scale=0.5))
    mu, start = (data.draw(strategies.policies(world.arms, smallest=0.05, salt=salt)) for salt in (5, 6))
    baseline = float(np.sort(world.reward)[1:].mean())
    a = world.reward - baseline
    C = mu @ np.maximum(a, 0)
    assume(C > 0.02 and np.abs(a).min() > 1e-2)
    found = fixed_point(TOPR(baseline), world, Offline(mu), start)
    late = motion(TOPR(baseline), world, Offline(mu), start, 1e6)
    dead = a < 0
    assert_allclose(late[~dead], found.policy[~dead], rtol=0, atol=1e-6 * len(mu) / C)
    assert_allclose(late[dead] * 1e6 * (C - a[dead]), (~dead).mean(), atol=0.05)


@EXAMPLES
@given(data=st.data(), above=st.floats(0.05, 2))
def test_where_nothing_is_good_one_arm_is_left(data, above):
    """The vertices where no other arm grows, by the enumerated update; the least bad one at least."""
    world = data.draw(strategies.bandits_with_reward(2, 6, smallest=1e-2))
    mu = data.draw(strategies.behaviors(world.arms, smallest=1e-2))
    topr, near = TOPR(float(world.reward.max()) + above), 1e-9
    expected = []
    for y in range(world.arms):
        vertex = np.where(np.arange(world.arms) == y, 1 - near, near / (world.arms - 1))
        growth = expected_update(topr, world, Offline(mu), vertex) / vertex
        fastest = np.delete(growth, y).max()
        assume(abs(fastest) > 1e-6)
        expected += [y] * bool(fastest < 0)
    found = fixed_points(topr, world, Offline(mu))
    assert [one.policy.argmax() for one in found] == expected
    assert world.reward.argmax() in expected
    assert all(one.stable and "no sampled arm has a reward above" in one.message for one in found)


def test_the_start_decides_among_bad_arms():
    for start in ([0.1, 0.1, 0.7, 0.1],):
        found = fixed_point(TOPR(2.0), E, Offline(MU), start)
        assert not found.unique and "one arm takes everything" in found.message
        assert_allclose(found.policy, motion(TOPR(2.0), E, Offline(MU), start, 1e5), atol=1e-4)


def test_an_arm_that_is_neither_good_nor_bad_is_where_bad_ones_leave_their_mass():
    """r = b, or never sampled: it is not pushed, and takes everything."""
    alone = b.Bandit([0.0, -1.0, -0.5])
    for mu in ([0.2, 0.5, 0.3], [0.0, 0.6, 0.4]):
        found = fixed_point(TOPR(), alone, Offline(mu))
        assert found.policy.tolist() == [1, 0, 0] and found.unique
        assert_allclose(found.policy, motion(TOPR(), alone, Offline(mu), alone.reference, 1e6), atol=1e-4)


def test_on_its_own_samples_it_gathers_on_the_best_arm():
    """All weights are 1: policy gradient without a KL."""
    plain = b.AsymRE(baseline=0.5)
    policy = np.array([0.4, 0.3, 0.2, 0.1])
    same = [expected_update(a, E, OnPolicy(), policy) for a in (TOPR(0.5), plain)]
    assert_allclose(*same, rtol=0, atol=0)
    assert fixed_point(TOPR(0.5), E, OnPolicy()).policy.tolist() == [1, 0, 0, 0]
