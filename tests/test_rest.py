"""Laws of the search for rest points, many side by side, on motions whose ends are known by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import bandits as b
from bandits.solvers import rest
from bandits.solvers.endings import ending
from bandits.solvers.rest import graded_rates
from bandits.testing import strategies
from worlds import ClippedPairs


@dataclass(frozen=True, eq=False)
class Motion:
    """A field of all problems, the same for each, with its weights."""

    field: Callable
    size: np.ndarray | float = 1.0

    def velocity(self, x):
        return self.field(x)

    def relative(self, x):
        return self.field(x) / self.size

    def rates(self, x, slope):
        return graded_rates(slope, np.broadcast_to(self.size, x.shape))

    def some(self, rows):
        return self


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
    """x' = -A (x - goal), A positive definite on vectors of mean zero; its rates are A's eigenvalues."""
    rng = data.draw(strategies.generators())
    half, goal, start = rng.normal(size=(n, n)), rng.normal(size=n), rng.normal(size=(3, n))
    centre = np.eye(n) - 1 / n
    A = centre @ (half @ half.T + 0.1 * np.eye(n)) @ centre
    motion = Motion(lambda x: -(x - goal) @ A)
    found = rest.ends(motion, start)
    assert found.rested.all() and found.attracts.all()
    middle = found.x - found.x.mean(axis=1, keepdims=True)
    # the least eigenvalue is .1: residuals of rounding size move the end by ten times that
    assert_allclose(middle, np.broadcast_to(goal - goal.mean(), (3, n)), rtol=0, atol=1e-9)
    rates = np.sort(motion.rates(found.x, found.slope).rate.real, axis=-1)
    expected = np.sort(np.linalg.eigvalsh(A))[1:]
    assert_allclose(rates, np.broadcast_to(expected, rates.shape), rtol=1e-7)  # differences: 1e-10 of A


@given(leads=st.lists(st.floats(-3, 3).filter(lambda x: abs(x) > 1e-5), min_size=1, max_size=6))
@example(leads=[1e-4, -2e-5, 0.3])  # a long step of an L-stable method leaps back onto the saddle
def test_each_start_ends_in_its_own_well(leads):
    start = np.array([[lead, -lead] for lead in leads])
    found = rest.ends(Motion(two_wells), start)
    assert_allclose(found.x[:, 0] - found.x[:, 1], 2 * np.sign(leads), rtol=0, atol=1e-12)
    assert found.attracts.all() and found.rested.all()


def test_on_the_ridge_the_motion_stays_and_is_said_to_repel():
    found = rest.ends(Motion(two_wells), np.zeros((1, 2)))
    assert (found.x == 0).all() and found.rested.all() and found.repels.all()


def test_a_flow_that_creeps_past_a_saddle_is_followed_to_its_end():
    """A fast arm rests at once, while the lead of another grows from 1e-4: t |g| is small on the way."""

    def field(x):
        lead, fast = (x[..., 0] - x[..., 1]) / 2, x[..., 2]
        pull = 1e-4 * (lead - lead**3)
        return np.stack([pull + (1 - fast), -pull + (1 - fast), -2 * (1 - fast)], axis=-1) * [1, 1, -1]

    found = rest.ends(Motion(field), np.array([[1e-4, -1e-4, 0.0]]))
    assert found.rested.all()
    assert_allclose((found.x[0, 0] - found.x[0, 1]) / 2, 1, rtol=0, atol=1e-9)


def test_a_rare_arm_is_solved_as_well_as_the_others():
    """Rows of size 1e-14: their part of the residual is lost in rounding, not their logit nor their rate."""
    rare = np.array([1.0, 1.0, 1e-14])
    goal = np.array([0.3, -1.2, 4.0])

    def field(x):
        pull = rare * (goal - x)
        pull = pull - rare * pull.sum(axis=-1, keepdims=True) / rare.sum()
        return np.concatenate([-pull[..., 1:].sum(axis=-1, keepdims=True), pull[..., 1:]], axis=-1)

    motion = Motion(field, rare)
    found = rest.ends(motion, np.zeros((1, 3)))
    assert found.rested.all() and found.attracts.all()
    assert_allclose(np.diff(found.x[0]), np.diff(goal), rtol=0, atol=1e-9)
    # diag(rare) - rare rare'/sum: eigenvalues 1 and, to first order, 1e-14 (1 + 1/2): the lead over the mean
    assert_allclose(np.sort(motion.rates(found.x, found.slope).rate.real[0]), [1.5e-14, 1], rtol=1e-6)


def test_a_motion_without_end_is_not_at_rest():
    """x' = exp(-x) grows like log t: each step of Newton adds 1, for ever."""

    def field(x):
        pull = np.exp(-(x[..., 0] - x[..., 1]))
        return np.stack([pull, -pull], axis=-1)

    assert not rest.ends(Motion(field), np.zeros((1, 2))).rested.any()
    told = ending(field, np.zeros(2))
    assert told.reason == "runs away" and told.coordinates.tolist() == [1]


def test_circles_that_shrink_end_in_the_middle_and_circles_that_grow_do_not():
    inward = rest.ends(Motion(lambda x: spiral(x, -0.05)), np.array([[1.0, 0.5, 0.0]]))
    assert inward.rested.all() and inward.attracts.all()
    assert_allclose(np.ptp(inward.x), 0, atol=1e-9)
    outward = rest.rest_at(Motion(lambda x: spiral(x, 0.05)), np.zeros((1, 3)))
    assert outward.repels.all()


def limit_cycle(x):
    """In the plane of the first two: radius 1, one round in 2 pi."""
    u, v = x[..., 0] - x[..., 2], x[..., 1] - x[..., 2]
    pull = 1 - u**2 - v**2
    du, dv = 0.3 * pull * u - v, 0.3 * pull * v + u
    return np.stack([2 * du - dv, 2 * dv - du, -du - dv], axis=-1) / 3


def test_a_limit_cycle_is_told_with_its_period_and_one_round():
    told = ending(limit_cycle, np.array([0.3, 0.1, 0.0]))
    assert told.reason == "circles" and not told.inward
    assert_allclose(told.period, 2 * np.pi, rtol=1e-4)  # loops close to 1e-4
    u, v = told.cycle[:, 0] - told.cycle[:, 2], told.cycle[:, 1] - told.cycle[:, 2]
    assert_allclose(np.hypot(u, v), 1, rtol=0, atol=1e-3)


def test_a_motion_that_rests_between_two_velocities_slides():
    """x' = -sign(lead) + drift: neither side is zero."""

    def field(x):
        push = np.where(x[..., 0] > x[..., 1], -1.0, 1.0)
        return np.stack([push + 0.2, -push - 0.2], axis=-1)

    told = ending(field, np.array([0.7, -0.4]))
    assert told.reason == "slides"
    assert abs(told.x[0] - told.x[1]) < 1e-8


def test_a_single_arm_is_always_at_rest():
    found = rest.ends(Motion(np.zeros_like), np.zeros((2, 1)))
    assert found.attracts.all() and found.rested.all()


@settings(max_examples=30)
@given(data=st.data(), n=st.integers(2, 7), spread=st.floats(0, 30))
def test_rates_of_rare_arms_keep_their_digits(data, n, spread):
    """On-policy gradient at pi*: -J = beta (diag(pi) - pi pi'), whose eigenvalues interlace with pi's.

    The reference is the same matrix with 60 digits.
    """
    import mpmath

    rng = data.draw(strategies.generators())
    pi = np.exp(-spread * rng.random(n))
    pi = pi / pi.sum()
    slope = -(np.eye(n) - pi)
    found = np.sort(graded_rates(slope[None], pi[None]).rate[0].real)
    with mpmath.workdps(60):
        p = [mpmath.mpf(float(x)) for x in pi]
        total = mpmath.fsum(p)
        H = mpmath.matrix(n, n)
        for i in range(n):
            for j in range(n):
                H[i, j] = (p[i] if i == j else 0) - p[i] * p[j] / total
        exact = sorted(float(x) for x in mpmath.eigsy(H, eigvals_only=True))[1:]
    assert_allclose(found, exact, rtol=1e-11)  # n^2 roundings of a graded matrix


# ---- through the front door: many prompts ------------------------------------------------------------------


@pytest.mark.parametrize("arms", [2, 5])
def test_prompts_side_by_side_are_solved_as_each_alone(arms):
    rng = np.random.default_rng(arms)
    world = b.Bandit(rng.normal(size=(300, arms)), reference=rng.dirichlet(np.ones(arms), size=300))
    sampling = b.Offline(rng.dirichlet(np.ones(arms), size=300))
    together = b.fixed_point(ClippedPairs(), world, sampling)
    assert together.stable.all() and together.residual.max() <= 1e-12
    for i in rng.integers(300, size=12):
        alone = b.fixed_point(ClippedPairs(), world.at((i,)), sampling.at((i,), (300,)))
        assert_allclose(together.policy[i], alone.policy, rtol=0, atol=1e-10)
