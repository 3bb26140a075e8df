"""CISPO: capped weights that are held fixed, between cloning and the best arm (T13.10)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import brentq

import bandits as b
from bandits import CISPO, Offline, OnPolicy, Samples, expected_update, fixed_point, fixed_points
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from motions import motion
from rows import WIDE, Row

# ---- the row ----------------------------------------------------------------------------------------------


def advantages(reward, baseline: float | None) -> list[float]:
    """r - b, or (r - mean) / standard deviation of the group."""
    if baseline is not None:
        return [float(r) - baseline for r in reward]
    if len(set(map(float, reward))) == 1:
        return [0.0 for _ in reward]
    mean = math.fsum(reward) / len(reward)
    spread = math.sqrt(math.fsum((r - mean) ** 2 for r in reward) / (len(reward) - 1))
    return [(float(r) - mean) / spread for r in reward]


def formula(a: CISPO, s: Samples) -> list[float]:
    """T13.10: min(pi/mu, C) a / k."""
    weights = [min(math.exp(x), a.cap) for x in s.log_prob - s.behavior_log_prob]
    return [w * A / a.k for w, A in zip(weights, advantages(s.reward, a.baseline), strict=True)]


def size(a: CISPO, case: Case) -> float:
    """Advantages of at most sqrt(k), or r - b, times the cap."""
    return (2 + np.abs(case.bandit.reward).max() + abs(a.baseline or 0)) * max(a.cap, 1.0)


ROWS = {
    "CISPO": Row(
        make=lambda beta: CISPO(cap=1 + beta),  # it has no KL: the number is its cap
        formula=formula,
        size=size,
        settles=False,  # on the boundary
        sees_offset=False,
        ends={"on-policy": "vertex", "elsewhere": ("face", "vertex")},  # T13.7, T13.10
        blind=WIDE,
    )
}


# ---- what it is known for ---------------------------------------------------------------------------------


EXAMPLES = settings(max_examples=20)
FEW = settings(max_examples=3, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # slow to shrink
MU = np.array([0.4, 0.3, 0.2, 0.1])
FOUR = b.Bandit([1.0, 0.9, 0.8, -0.5])


def test_the_numbers_of_the_theory():
    """T13.10: S = .9, the second arm takes what the first leaves."""
    found = fixed_point(CISPO(1.5, baseline=0.0, k=1), FOUR, Offline(MU))
    assert_allclose(found.policy, [2 / 3, 1 / 3, 0, 0], rtol=0, atol=1e-15)
    assert found.face.tolist() == [True, True, False, False]
    assert found.unique and found.stable and found.residual < 1e-15
    S = MU @ (FOUR.reward * np.minimum(found.policy / MU, 1.5))
    assert_allclose(S, 0.9, rtol=1e-15)


def level(mu: np.ndarray, a: np.ndarray, cap: float) -> float:
    """S, by Brent's method: the mass that arms above it take, C mu a / S, falls from infinity through one.

    Arms above S are at C mu a / S; the sum jumps down by C mu(y) at S = a(y), where arm y takes any part.
    """
    good = a > 0

    def excess(S: float) -> float:
        return (cap * mu * a / S)[good & (a > S)].sum() - 1

    return brentq(excess, 1e-12, a.max() * (1 + 1e-12), xtol=1e-15, rtol=8.9e-16)


def check_the_law(policy: np.ndarray, mu: np.ndarray, a: np.ndarray, cap: float) -> None:
    """x / min(x, C) = a / S on the arms that live, a <= S on the others: to rounding."""
    x = policy / mu
    S = float(mu @ (a * np.minimum(x, cap)))
    lives = policy > 0
    assert_allclose((a * np.minimum(x, cap))[lives], S * x[lives], rtol=0, atol=1e-12 * a.max() * cap)
    assert (a[~lives] <= S * (1 + 1e-12)).all()


@EXAMPLES
@given(data=st.data(), arms=st.integers(2, 30), cap=st.sampled_from([0.3, 1.0, 1.5, 3.0, 20.0]))
def test_arms_above_the_mean_stand_at_the_cap_and_one_takes_the_rest(data, arms, cap):
    world = data.draw(strategies.bandits_with_reward(arms, arms, smallest=1e-3))
    mu = data.draw(strategies.behaviors(arms, smallest=1e-3))
    baseline = float(np.sort(world.reward)[arms // 2 - 1])
    a = world.reward - baseline
    assume(a.max() > 1e-3)
    found = fixed_point(CISPO(cap, baseline=baseline), world, Offline(mu))
    check_the_law(found.policy, mu, a, cap)
    S = level(mu, a, cap)
    at = np.abs(a - S) < 1e-9 * a.max()
    expected = np.where((a > S) & ~at, cap * mu * a / S, 0.0)
    expected = np.where(at, 1 - expected.sum(), expected)
    assert_allclose(found.policy, expected, rtol=0, atol=1e-8)  # S to 1e-9
    assert found.unique and found.residual < 1e-12 * (1 + a.max())


def test_the_cap_decides_between_cloning_and_the_best_arm():
    """C E_mu[a] <= min a: mu a / E_mu[a]; C mu(y) a(y) >= the second best a: the best arm y alone."""
    world = b.Bandit([1.0, 0.7, 0.5])
    mu = np.array([0.2, 0.5, 0.3])  # E_mu[a] = .7
    clone = fixed_point(CISPO(0.7, baseline=0.0), world, Offline(mu))
    assert clone.face is None and clone.residual < 1e-15
    assert_allclose(clone.policy, mu * world.reward / 0.7, rtol=1e-14)
    assert_allclose(
        fixed_point(CISPO(0.72, baseline=0.0), world, Offline(mu)).policy, clone.policy, atol=0.01
    )
    assert (
        np.abs(fixed_point(CISPO(0.72, baseline=0.0), world, Offline(mu)).policy - clone.policy).max() > 1e-4
    )
    for cap in (3.51, np.inf):  # .7 / .2
        assert fixed_point(CISPO(cap, baseline=0.0), world, Offline(mu)).policy.tolist() == [1, 0, 0]
    assert fixed_point(CISPO(3.49, baseline=0.0), world, Offline(mu)).policy[1] > 0


@EXAMPLES
@given(data=st.data(), cap=st.sampled_from([0.5, 1.5, 4.0]), k=st.sampled_from([2, 3, 4]))
def test_a_groups_advantage_is_frozen_by_who_samples(data, cap, k):
    """a(y) = E[(r - mean) / spread | y in the group], group by group: the same law with that a."""
    world = data.draw(strategies.bandits_with_reward(2, 5, smallest=1e-2))
    mu = data.draw(strategies.behaviors(world.arms, smallest=1e-2))
    a = np.zeros(world.arms)
    for group in itertools.product(range(world.arms), repeat=k):
        a[group[0]] += np.prod(mu[list(group[1:])]) * advantages(world.reward[list(group)], None)[0]
    assume(a.max() > 1e-3)
    found = fixed_point(CISPO(cap, k=k), world, Offline(mu))
    assert_allclose(mu @ a, 0, atol=1e-13)
    check_the_law(found.policy, mu, a, cap)
    frozen = b.Bandit(a, reference=world.reference)
    alone = fixed_point(CISPO(cap, baseline=0.0, k=1), frozen, Offline(mu))
    assert_allclose(found.policy, alone.policy, rtol=0, atol=1e-11)


@FEW
@given(data=st.data(), cap=st.sampled_from([0.7, 1.5]))
def test_the_motion_comes_as_near_as_one_over_time(data, cap):
    """Arms that die have a push of pi (S - a): pi ~ 1 / ((S - a) t), t = 1e6."""
    world = data.draw(strategies.bandits_with_reward(3, 4, smallest=0.05, scale=0.5))
    mu, start = (data.draw(strategies.policies(world.arms, smallest=0.1, salt=salt)) for salt in (5, 6))
    baseline = float(np.sort(world.reward)[0]) + 0.1
    a = world.reward - baseline
    assume(a.max() > 0.1)
    found = fixed_point(CISPO(cap, baseline=baseline, k=1), world, Offline(mu), start)
    S = float(mu @ (a * np.minimum(found.policy / mu, cap)))
    gap = np.abs(a - S)[np.abs(a - S) > 1e-9 * S].min()
    assume(gap > 0.02)
    late = motion(CISPO(cap, baseline=baseline, k=1), world, Offline(mu), start, 1e6)
    assert_allclose(late, found.policy, rtol=0, atol=10 / (1e6 * gap))


@EXAMPLES
@given(data=st.data(), above=st.floats(0.05, 2), cap=st.sampled_from([0.7, 1.0, 3.0]))
def test_where_nothing_is_good_one_arm_is_left(data, above, cap):
    """The vertices where no other arm grows: a(z) < a(y) min(1, C mu(y)), by the enumerated update."""
    world = data.draw(strategies.bandits_with_reward(2, 6, smallest=1e-2))
    mu = data.draw(strategies.behaviors(world.arms, smallest=1e-2))
    cispo, near = CISPO(cap, baseline=float(world.reward.max()) + above, k=1), 1e-9
    a, expected = world.reward - cispo.baseline, []
    for y in range(world.arms):
        vertex = np.where(np.arange(world.arms) == y, 1 - near, near / (world.arms - 1))
        growth = expected_update(cispo, world, Offline(mu), vertex) / vertex
        fastest = np.delete(growth, y).max()
        assume(abs(fastest) > 1e-6)
        expected += [y] * bool(fastest < 0)
        assert (fastest < 0) == (np.delete(a, y).max() < a[y] * min(1, cap * mu[y]))
    if not expected:  # a cap above 1: the two least bad arms may share it
        return
    found = fixed_points(cispo, world, Offline(mu))
    assert [one.policy.argmax() for one in found] == expected


def test_several_arms_that_share_the_rest_share_it_as_they_start():
    """1 and 1 at a = S: only their sum is given."""
    world = b.Bandit([1.0, 1.0, 0.2])
    with pytest.raises(
        b.NoFixedPoint, match="CISPO rests at no finite logits.*the limit depends on the start"
    ):
        fixed_point(CISPO(3.0, baseline=0.0), world, Offline([0.3, 0.3, 0.4]))


@pytest.mark.parametrize("cispo", [CISPO(0.5), CISPO(2.0, k=4), CISPO(2.0, baseline=0.3)], ids=repr)
def test_on_its_own_samples_it_gathers_on_the_best_arm(cispo):
    """Weights are min(1, C); a flow from the reference comes as near as 1/t."""
    world = b.Bandit([0.2, 1.0, 0.5], reference=[0.5, 0.2, 0.3])
    found = fixed_point(cispo, world, OnPolicy())
    assert found.policy.tolist() == [0, 1, 0] and found.unique
    assert_allclose(motion(cispo, world, OnPolicy(), world.reference, 1e5), found.policy, atol=1e-3)


def test_places_with_laws_of_their_own_have_no_common_weight():
    """pi/mu1 in the first place, pi/mu2 in the second: no closed form is claimed."""
    cispo, two = CISPO(1.5, baseline=0.0), Offline([0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4])
    law = two.law(cispo, FOUR, FOUR.log_reference)
    assert cispo.closed_form(FOUR, two, FOUR.log_reference) is None
    assert cispo.attractors(FOUR, law, FOUR.log_reference) is None
