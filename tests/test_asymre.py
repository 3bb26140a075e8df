"""AsymRE: without a KL the baseline decides between a face of the simplex and one arm (T13.7, T13.8)."""

from __future__ import annotations

import numpy as np
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import brentq

import answer_key
import bandits as b
from bandits import (
    AsymRE,
    Offline,
    OnPolicy,
    PolicyGradient,
    Samples,
    expected_update,
    fixed_point,
    fixed_points,
)
from bandits.testing import strategies
from motions import motion
from rows import Row

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: AsymRE, s: Samples) -> list[float]:
    """T13.7: (r - V) / k, less the KL if there is one."""
    R = answer_key.regularized(a.beta, s) if a.beta else [float(r) for r in s.reward]
    return [(each - a.baseline) / a.k for each in R]


ROWS = {
    "AsymRE": Row(
        make=lambda beta: AsymRE(baseline=beta / 4),  # it has no KL: the number is its baseline
        formula=formula,
        settles=False,  # on the boundary
        ends={"on-policy": "vertex", "elsewhere": "face"},  # T13.7, V < V^mu
        blind={"dropped_detach": "the coefficient is constant, held fixed or not"},
    )
}


# ---- what it is known for ---------------------------------------------------------------------------------


EXAMPLES = settings(max_examples=20)
FEW = settings(max_examples=5, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # slow to shrink
MU = np.array([0.4, 0.1, 0.2, 0.3])
E = b.Bandit([1.0, 0.6, 0.2, 0.0])  # the common example of chapter T13


def projected(point: np.ndarray) -> np.ndarray:
    """The nearest point of the simplex: max(point - t, 0), the level t by Brent's method."""
    t = brentq(lambda t: np.maximum(point - t, 0).sum() - 1, point.max() - 1, point.max(), xtol=1e-15)
    return np.maximum(point - t, 0)


def some_world(data, arms: int = 6) -> tuple[b.Bandit, np.ndarray, float]:
    """A world, who samples, and V^mu."""
    world = data.draw(strategies.bandits_with_reward(2, arms, smallest=1e-2))
    mu = data.draw(strategies.behaviors(world.arms, smallest=1e-2))
    return world, mu, float(mu @ world.reward)


def test_the_numbers_of_the_theory():
    """T13.7, E: V = .2; V = .7 is above V^mu = .5."""
    low = fixed_point(AsymRE(baseline=0.2), E, Offline(MU))
    assert_allclose(low.policy, [0.29 / 0.3, 0.01 / 0.3, 0, 0], rtol=0, atol=1e-15)
    assert_allclose(low.policy.round(5), [0.96667, 0.03333, 0, 0])
    assert low.unique and low.stable and low.face.tolist() == [True, True, False, False]
    assert low.residual < 1e-15
    high = fixed_points(AsymRE(baseline=0.7), E, Offline(MU))
    assert [one.policy.argmax() for one in high] == [0, 1]
    for one in high:
        assert one.stable and not one.unique and one.policy.max() == 1
        assert "V = 0.7 is not below V^mu = E_mu[r] = 0.5: one arm takes everything" in one.message


@EXAMPLES
@given(data=st.data(), below=st.floats(0.01, 3.0))
def test_below_the_samplers_mean_it_projects_on_the_simplex(data, below):
    """Brent's method in the level; and the conditions of Bruck's shortest velocity, to rounding."""
    world, mu, level = some_world(data, arms=30)
    V = level - below
    found = fixed_point(AsymRE(baseline=V), world, Offline(mu))
    pull = mu * (world.reward - V)
    size = 1 + np.abs(pull / below).max()
    assert_allclose(found.policy, projected(pull / below), rtol=0, atol=1e-14 * size)
    velocity = pull - below * found.policy
    lives = found.policy > 0
    assert_allclose(velocity[lives], velocity.max(), rtol=0, atol=1e-13 * size)
    assert found.unique and found.stable and found.residual <= 1e-13 * size
    assert (found.face is None) == bool(lives.all())
    if found.face is not None:
        assert (found.face == lives).all()


@FEW
@given(data=st.data(), below=st.floats(0.1, 1.0))
def test_the_motion_ends_at_the_projection(data, below):
    """From any start; what dies out falls as exp(-t gap), the gap of the velocities: wait 60 of these."""
    world, mu, level = some_world(data, arms=5)
    start = data.draw(strategies.policies(world.arms, smallest=0.05, salt=3))
    asymre = AsymRE(baseline=level - below)
    pull = mu * (world.reward - asymre.baseline)
    found = fixed_point(asymre, world, Offline(mu), start).policy
    velocity = pull - below * found
    gap = np.append((velocity.max() - velocity)[found == 0], below * found[found > 0].min())
    assume(gap.min() > 1e-3)
    ended = motion(asymre, world, Offline(mu), start, 60 / gap.min())
    assert_allclose(ended, found, rtol=0, atol=1e-8)


def test_a_baseline_below_all_rewards_clones_in_proportion():
    """V <= min r: mu (r - V) / (V^mu - V) is a policy already, no arm dies, and all of it is at rest."""
    found = fixed_point(AsymRE(baseline=-0.2), E, Offline(MU))
    assert found.face is None and found.residual < 1e-15
    assert_allclose(found.policy, MU * (E.reward + 0.2) / 0.7, rtol=1e-14)


@EXAMPLES
@given(data=st.data(), above=st.floats(0, 3.0))
def test_above_the_samplers_mean_one_arm_is_left(data, above):
    """The ends are the vertices whose own logit rises fastest next to them, by the enumerated update."""
    world, mu, level = some_world(data)
    asymre, near = AsymRE(baseline=level + above), 1e-9
    expected = []
    for y in range(world.arms):
        vertex = np.where(np.arange(world.arms) == y, 1 - near, near / (world.arms - 1))
        velocity = expected_update(asymre, world, Offline(mu), vertex)
        ahead = velocity[y] - np.delete(velocity, y).max()
        assume(abs(ahead) > 1e-6)
        expected += [y] * bool(ahead > 0)
    found = fixed_points(asymre, world, Offline(mu))
    assert [one.policy.argmax() for one in found] == expected
    assert {one.unique for one in found} == {len(expected) == 1}


def test_the_start_decides_among_several_arms():
    """Where LSODA goes from the same start; the answer names the threshold."""
    for start in ([0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.3, 0.4, 0.2, 0.1]):
        found = fixed_point(AsymRE(baseline=0.7), E, Offline(MU), start)
        assert_allclose(found.policy, motion(AsymRE(baseline=0.7), E, Offline(MU), start, 1e3), atol=1e-8)
        assert "V^mu = E_mu[r] = 0.5" in found.message


def test_at_the_samplers_mean_the_largest_pull_wins():
    """V = V^mu, also where rounding puts it just below: the logits rise by mu (r - V), for ever."""
    for V in (0.5, float(MU @ E.reward)):
        (one,) = fixed_points(AsymRE(baseline=V), E, Offline(MU))
        assert one.unique and one.policy.tolist() == [1, 0, 0, 0] and "V^mu" in one.message


def test_arms_that_nobody_samples_die_out():
    """a = 0 is never above the level of a point that sums to one."""
    mu = np.array([0.6, 0.3, 0.1, 0.0])
    world = b.Bandit([0.1, 0.3, 0.0, 5.0])
    for V in (-1.0, 0.0, 0.1):
        found = fixed_point(AsymRE(baseline=V), world, Offline(mu))
        assert found.policy[3] == 0 and found.unique
    found = fixed_point(AsymRE(baseline=0.0), world, Offline(mu))
    late = motion(AsymRE(baseline=0.0), world, Offline(mu), world.reference, 1e5)
    assert_allclose(found.policy, late, rtol=0, atol=2e-4)  # 1 / (b t), b = .15: slower than by a push


@FEW
@given(data=st.data(), V=st.floats(-2, 2))
def test_on_its_own_samples_it_gathers_on_the_best_arm(data, V):
    """Whatever V is; the others fall like 1/t."""
    world = data.draw(strategies.bandits_with_reward(2, 5, smallest=0.1, scale=0.5))
    best = np.sort(world.reward)
    assume(best[-1] - best[-2] > 0.05)
    found = fixed_point(AsymRE(baseline=V), world, OnPolicy())
    assert found.unique and found.policy[world.reward.argmax()] == 1
    ended = motion(AsymRE(baseline=V), world, OnPolicy(), world.reference, 1e6)
    assert_allclose(ended, found.policy, rtol=0, atol=1e-3)


def test_of_two_best_arms_the_one_that_starts_ahead_takes_all():
    """e^-theta of the two falls alike, so that the one behind stops while the other goes on.

    How much they fall in all is finite for the one behind: pi_1 / pi_0 tends to zero, by a power of t.
    """
    world = b.Bandit([1.0, 1.0, 0.0], reference=[0.4, 0.3, 0.3])
    found = fixed_point(AsymRE(), world, OnPolicy())
    assert found.policy.tolist() == [1, 0, 0] and not found.unique
    even = fixed_point(AsymRE(), world, OnPolicy(), [0.35, 0.35, 0.3])
    assert even.policy.tolist() == [0.5, 0.5, 0] and not even.unique
    shares = [motion(AsymRE(), world, OnPolicy(), world.reference, t)[:2] for t in (1e2, 1e4, 1e6)]
    ratios = [share[1] / share[0] for share in shares]
    assert 0.7 > ratios[0] > 1.3 * ratios[1] > 1.3**2 * ratios[2]


# ---- with a KL, and in the limit --------------------------------------------------------------------------


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(), V=st.floats(-3, 3))
def test_with_a_kl_it_is_policy_gradient_with_a_constant_baseline(data, beta, V):
    world, mu, _ = some_world(data)
    policy = data.draw(strategies.policies(world.arms))
    one, other = AsymRE(beta, baseline=V), PolicyGradient(beta, baseline=V)
    for rule in (Offline(mu), OnPolicy()):
        found = expected_update(one, world, rule, policy)
        assert_allclose(found, expected_update(other, world, rule, policy), rtol=0, atol=0)
    ends = [[e.policy for e in fixed_points(a, world, Offline(mu))] for a in (one, other)]
    assert_allclose(*ends, rtol=0, atol=0)


def test_the_numbers_of_the_singular_limit():
    """T13.8, E, V = .2: (8, 1, 0, 0) / 9, at a distance of .078 from the end at beta = 0."""
    limit = fixed_point(AsymRE(1e-9, baseline=0.2), E, Offline(MU)).policy
    assert_allclose(limit, [8 / 9, 1 / 9, 0, 0], rtol=0, atol=1e-7)
    assert_allclose(limit.round(4), [0.8889, 0.1111, 0, 0])
    at_zero = fixed_point(AsymRE(baseline=0.2), E, Offline(MU)).policy
    assert_allclose(np.abs(limit - at_zero).max(), 0.96667 - 0.88889, atol=1e-5)


@EXAMPLES
@given(data=st.data(), below=st.floats(0.05, 2.0))
def test_beta_to_zero_is_not_beta_zero(data, below):
    """mu (r - V)+ / Z, the distance falling as beta log(1 / beta); the same if no arm is worse than V."""
    world, mu, level = some_world(data)
    V = level - below
    pull = mu * (world.reward - V)
    limit = np.maximum(pull, 0) / np.maximum(pull, 0).sum()
    size = (1 + np.abs(np.log(world.reference)).max()) / below
    for beta in (1e-4, 1e-6):
        found = fixed_point(AsymRE(beta, baseline=V), world, Offline(mu))
        assert found.unique
        assert_allclose(found.policy, limit, rtol=0, atol=5 * beta * np.log(1 / beta) * size)
    at_zero = fixed_point(AsymRE(baseline=V), world, Offline(mu)).policy
    worse = pull.min() < 0 and np.abs(limit - projected(pull / below)).max() > 1e-12
    assert (np.abs(at_zero - limit).max() > 1e-12) == worse
    if (pull > 0).sum() > 1 and pull.min() < -1e-6:
        assert worse
