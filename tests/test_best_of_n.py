"""Best of n as a trained algorithm: it imitates the best of whoever samples (T9.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import bandits as b
import worlds
from bandits import BestOfN, Samples
from bandits.selection import best_of_n, raft
from bandits.testing import enumeration, strategies
from bandits.testing.enumeration import Case
from motions import motion
from rows import Row

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: BestOfN, s: Samples) -> list[float]:
    """T9.2: 1 for the best, shared among the equally good."""
    best = [float(r == max(s.reward)) for r in s.reward]
    return [each / sum(best) for each in best]


def end(a: BestOfN, case: Case) -> np.ndarray:
    """How often each arm is the best of a group, group by group; in the interior."""
    found, anywhere = np.zeros(case.bandit.arms), replace(case, policy=case.bandit.reference)
    for weight, arms, s in enumeration.groups(a, anywhere):
        np.add.at(found, list(arms), weight * np.array(formula(a, s)))
    assume(found.min() > 1e-9)  # the worst of a data set is never the best
    return found


CONSTANTS = {"dropped_detach": "its coefficients are constants"}
HALVES = {**CONSTANTS, "single_precision": "they are 0, 1/2 and 1"}


def _row(k: int, blind: dict[str, str]) -> Row:
    return Row(
        make=lambda _: BestOfN(k),
        formula=formula,
        size=lambda a, case: 1.0,
        target=end,
        sees_offset=False,
        ends={"on-policy": "vertex", "elsewhere": ("other", "face")},  # T9.2; data show no pair of equals
        blind=blind,
    )


ROWS = {"BestOfN": _row(2, HALVES), "BestOfN(k=3)": _row(3, CONSTANTS)}


# ---- where it ends on a law that stays --------------------------------------------------------------------

EXAMPLES = settings(max_examples=20)
REWARD, REFERENCE = [1.0, 0.6, 0.2, 0.0], [0.1, 0.2, 0.3, 0.4]
WORLD = b.Bandit(REWARD, reference=REFERENCE)


@settings(max_examples=4)
@given(data=st.data(), k=st.integers(1, 3))
def test_it_ends_at_the_best_of_n_of_the_sampler(data, k):
    """Whatever the reference is; equal rewards share; against SciPy's motion."""
    world = data.draw(strategies.bandits_with_reward(2, 4, smallest=0.1))
    world = b.Bandit(world.reward.round(0), reference=world.reference)
    mu, start = (data.draw(strategies.policies(world.arms, smallest=0.1, salt=salt)) for salt in (5, 6))
    found = b.fixed_point(BestOfN(k), world, b.Offline(mu), start)
    assert found.unique and found.stable and found.residual < 1e-15
    assert_allclose(found.policy, best_of_n(world.reward, mu, k), rtol=0, atol=1e-14)
    reached = motion(BestOfN(k), world, b.Offline(mu), start, 40 / found.policy.min())
    assert_allclose(found.policy, reached, rtol=0, atol=1e-8)


def test_the_number_of_the_theory():
    """T13.18: 1 - .9^2, .9^2 - .7^2, .7^2 - .4^2, .4^2."""
    found = b.fixed_point(BestOfN(2), WORLD, b.Offline(REFERENCE))
    assert_allclose(found.policy, [0.19, 0.32, 0.33, 0.16], rtol=0, atol=1e-15)


@EXAMPLES
@given(data=st.data())
def test_other_laws_end_at_their_own_law_of_the_best(data):
    """Places with their own samplers, joint laws, data sets: the world's rewards decide, not the labels."""
    world = data.draw(strategies.bandits_with_reward(3, 5, smallest=0.05))
    rules = [strategies.joints(world.arms).map(b.Pairs), strategies.offline(world.arms, 2)]
    sampling = data.draw(st.one_of(*rules, strategies.connected_datasets(world.arms)))
    found = b.fixed_point(BestOfN(), world, sampling)
    expected = np.zeros(world.arms)
    law = sampling.law(BestOfN(), world, world.log_reference)
    for arms, weights in law.tuples():
        for (i, j), weight in zip(arms, weights, strict=True):
            expected[i if world.reward[i] >= world.reward[j] else j] += weight
    assert_allclose(found.policy, expected, rtol=0, atol=1e-14)
    assert (found.face is None) == (expected > 0).all()
    assert_array_equal(found.policy > 0, expected > 0)


def test_an_arm_that_nobody_samples_dies_out_like_one_over_time():
    mu = b.Offline([0.2, 0.5, 0.3, 0.0])
    found = b.fixed_point(BestOfN(3), WORLD, mu)
    assert found.unique and found.residual == 0 and "lose all their mass" in found.message
    assert_array_equal(found.face, [True, True, True, False])
    left = [motion(BestOfN(3), WORLD, mu, REFERENCE, until)[3] for until in (1e4, 2e4)]
    assert_allclose(left[0] / left[1], 2, rtol=1e-3)  # 1/t, but for the start's share of t
    assert_allclose(left[1], 0, atol=1e-4)


def test_contexts_end_as_if_each_were_alone():
    rng = np.random.default_rng(5)
    world = b.Bandit(rng.normal(size=(3, 4)), reference=rng.dirichlet(np.ones(4), size=(2, 1)))
    mu = rng.dirichlet(np.ones(4), size=(2, 1))
    together = b.fixed_point(BestOfN(3), world, b.Offline(mu)).policy
    assert together.shape == (2, 3, 4)
    for i, j in np.ndindex(2, 3):
        assert_allclose(together[i, j], best_of_n(world.reward[j], mu[i, 0], 3), rtol=1e-12)


# ---- on its own samples -----------------------------------------------------------------------------------


@settings(max_examples=4)
@given(data=st.data(), k=st.sampled_from([2, 3]))
def test_on_its_own_samples_it_gathers_on_the_best_arm(data, k):
    """From every start, also one where the best is rare and first becomes rarer; like 1/t."""
    world = data.draw(strategies.bandits_with_reward(3, 5, smallest=0.05))
    assume(np.diff(np.sort(world.reward)).min() > 0)
    start = data.draw(strategies.policies(world.arms, smallest=0.005, salt=6))
    found = b.fixed_point(BestOfN(k), world, b.OnPolicy(), start)
    vertex = np.arange(world.arms) == world.reward.argmax()
    assert found.unique and found.residual == 0
    assert_array_equal(found.policy, vertex)
    assert_array_equal(found.face, vertex)
    reached = motion(BestOfN(k), world, b.OnPolicy(), start, 1e6)
    assert_allclose(reached, vertex, rtol=0, atol=1e-3)


def test_where_several_are_best_the_flow_keeps_the_frequent_one_and_rounds_keep_both():
    """The step of a best arm rises with its own share; whole rounds of RAFT multiply shares alike."""
    world = b.Bandit([1.0, 1.0, 0.0], reference=[0.2, 0.3, 0.5])
    with pytest.raises(b.NoFixedPoint, match="the start decides on which") as refusal:
        b.fixed_point(BestOfN(2), world, b.OnPolicy())
    assert refusal.value.solution.unique is False and refusal.value.solution.log_policy is None
    early, late = (motion(BestOfN(2), world, b.OnPolicy(), world.reference, t) for t in (1e2, 1e8))
    assert late[1] > early[1] > 0.65 and late[0] < early[0] < 0.35
    assert late[1] > 0.95
    policy = world.reference
    for _ in range(6):  # of RAFT: sample, arrive, sample again
        policy = b.fixed_point(BestOfN(2), world, b.Offline(policy)).policy
    assert_allclose(policy, raft(world.reward, world.reference, 2, 6), rtol=1e-12)
    assert_allclose(policy, [0.4, 0.6, 0.0], rtol=0, atol=1e-15)


def test_among_equals_nothing_moves():
    world = b.Bandit([0.3, 0.3, 0.3], reference=worlds.BEHAVIOR)
    for k, sampling in ((1, b.OnPolicy()), (3, b.OnPolicy())):
        found = b.fixed_point(BestOfN(k), world, sampling, worlds.POLICY)
        assert_allclose(found.policy, worlds.POLICY, rtol=1e-15)
        assert found.message.startswith("continuum")


@pytest.mark.parametrize("k", [0, -1, 1.5, "two", None])
def test_groups_of_none_are_refused(k: Any):
    with pytest.raises(ValueError, match="k must be an integer"):
        BestOfN(k)
