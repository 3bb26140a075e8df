"""Laws of the search for rest points, on motions whose ends are known by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import strategies
from bandits.solvers import rest


def ones(x):
    return np.ones_like(x)


def two_wells(x):
    """x' = x - x^3 for the difference of two logits: attractors at +-1, a saddle at 0."""
    d = (x[..., 0] - x[..., 1]) / 2
    pull = d - d**3
    return np.stack([pull, -pull], axis=-1)


def spiral(x, growth):
    """The first two of three logits circle around the third, their radius growing or shrinking."""
    u, v = x[..., 0] - x[..., 2], x[..., 1] - x[..., 2]
    du, dv = growth * u - v, growth * v + u
    return np.stack([2 * du - dv, 2 * dv - du, -du - dv], axis=-1) / 3


@settings(max_examples=30)
@given(data=st.data(), n=st.integers(2, 6))
def test_a_linear_motion_ends_at_its_rest_point(data, n):
    """x' = -A (x - goal), A positive definite on vectors of mean zero."""
    rng = data.draw(strategies.generators())
    half, goal, start = rng.normal(size=(n, n)), rng.normal(size=n), rng.normal(size=n)
    centre = np.eye(n) - 1 / n
    A = centre @ (half @ half.T + 0.1 * np.eye(n)) @ centre
    found = rest.rest(lambda x: -(x - goal) @ A, ones, start)
    assert_allclose(found.logits - found.logits.mean(), goal - goal.mean(), rtol=0, atol=1e-9)
    assert_allclose(found.slope, -A, rtol=0, atol=1e-8 * np.abs(A).max())
    assert found.stable and found.rested and found.residual <= 1e-12
    assert found.last_step <= rest.ARRIVED


@given(lead=st.floats(1e-5, 3), side=st.sampled_from([-1, 1]))
def test_each_start_ends_in_its_own_well(lead, side):
    found = rest.rest(two_wells, ones, side * np.array([lead, -lead]))
    assert_allclose(found.logits[0] - found.logits[1], 2 * side, rtol=0, atol=1e-12)
    assert found.stable and found.rested


def test_on_the_ridge_the_motion_stays_and_is_said_not_to_be_stable():
    found = rest.rest(two_wells, ones, np.zeros(2))
    assert (found.logits == 0).all() and not found.stable


def test_a_flow_that_creeps_past_a_saddle_is_followed_to_its_end():
    """A fast arm rests at once, while the lead of another grows from 1e-4: t |g| is small on the way."""

    def field(x):
        lead, fast = (x[..., 0] - x[..., 1]) / 2, x[..., 2]
        pull = 1e-4 * (lead - lead**3)
        return np.stack([pull + (1 - fast), -pull + (1 - fast), -2 * (1 - fast)], axis=-1) * [1, 1, -1]

    found = rest.rest(field, ones, np.array([1e-4, -1e-4, 0.0]))
    assert found.stable
    assert_allclose((found.logits[0] - found.logits[1]) / 2, 1, rtol=0, atol=1e-9)


def test_a_rare_arm_is_solved_as_well_as_the_others():
    """Rows of size 1e-14: their part of the residual is lost in rounding, but not their logit."""
    rare = np.array([1.0, 1.0, 1e-14])
    goal = np.array([0.3, -1.2, 4.0])

    def field(x):
        pull = rare * (goal - x)
        return pull - rare * pull.sum(axis=-1, keepdims=True) / rare.sum()

    found = rest.rest(field, lambda x: np.broadcast_to(rare, x.shape), np.zeros(3))
    assert_allclose(np.diff(found.logits), np.diff(goal), rtol=0, atol=1e-9)


def test_a_motion_without_end_is_not_at_rest():
    """x' = exp(-x) grows like log t: each step of Newton adds 1, for ever."""

    def field(x):
        pull = np.exp(-(x[..., 0] - x[..., 1]))
        return np.stack([pull, -pull], axis=-1)

    found = rest.rest(field, ones, np.zeros(2))
    assert found.last_step > 0.1


def test_circles_that_shrink_end_in_the_middle_and_circles_that_grow_do_not():
    inward = rest.rest(lambda x: spiral(x, -0.05), ones, np.array([1.0, 0.5, 0.0]))
    assert inward.stable and inward.rested
    assert_allclose(np.ptp(inward.logits), 0, atol=1e-9)
    outward = rest.is_stable(rest.jacobian(lambda x: spiral(x, 0.05), np.zeros(3)))
    assert not outward


def test_the_jacobian_of_one_point_is_that_of_a_batch():
    point = np.array([0.4, -0.3])
    d = 0.35
    by_hand = (1 - 3 * d**2) / 2 * np.array([[1, -1], [-1, 1]])
    assert_allclose(rest.jacobian(two_wells, point), by_hand, rtol=0, atol=1e-9)
    assert_allclose(rest.batched_jacobian(two_wells, point), by_hand, rtol=0, atol=1e-9)


def test_a_single_arm_is_always_at_rest():
    found = rest.rest(np.zeros_like, ones, np.zeros(1))
    assert found.stable and found.residual == 0


def test_follow_returns_where_the_flow_came_to_rest():
    assert_allclose(rest.follow(two_wells, np.array([0.2, -0.2])), [1, -1], rtol=0, atol=1e-5)
