"""MaxRL: successes share one unit of weight, and where that ends (T13.11)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize_scalar

import answer_key
import bandits as b
from bandits import BestOfN, MaxRL, Samples
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from motions import motion
from rows import WIDE, Row, largest_weight, log_ratios

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: MaxRL, s: Samples) -> list[float]:
    """T13.11: (k s / m - 1, clipped, + beta (ref/pi - 1)) / k; nothing where nothing succeeds."""
    success = [float(r > a.threshold) for r in s.reward]
    m = math.fsum(success)
    lead = [a.k * each / m - (1 if a.centred else 0) for each in success] if m else [0.0] * a.k
    pushed = answer_key.clipped(lead, s, a)
    pull = [a.beta * (math.exp(-h) - 1) for h in answer_key.log_ratio(s)]
    return [(c + k) / a.k for c, k in zip(pushed, pull, strict=True)]


def size(a: MaxRL, case: Case) -> float:
    """At most k, times the largest weight; and ref/pi."""
    return a.k * largest_weight(a, case) + a.beta * np.exp(log_ratios(case))


def _row(**changes) -> Row:
    return Row(
        make=lambda beta: MaxRL(beta, **changes),
        formula=formula,
        size=size,
        smooth=False,
        settles=False,  # the clip freezes, or lets it slide
        ends={"on-policy": "other", "elsewhere": ("other", "none: slides")},  # T13.11, T9.5
        blind=WIDE,
    )


ROWS = {"MaxRL": _row(), "MaxRL(k=3, centred=False)": _row(k=3, centred=False)}


# ---- what it is known for ---------------------------------------------------------------------------------

EXAMPLES = settings(max_examples=12)


@st.composite
def right_or_wrong(draw, most: int = 5, smallest: float = 0.02):
    """Rewards 0 and 1, both kinds, an uneven reference."""
    arms = draw(st.integers(2, most))
    wins = draw(st.integers(1, arms - 1))
    reward = np.array(draw(st.permutations([1.0] * wins + [0.0] * (arms - wins))))
    return b.Bandit(reward, reference=draw(strategies.references(arms, smallest=smallest)))


@EXAMPLES
@given(data=st.data(), world=right_or_wrong(), k=st.integers(2, 4))
def test_right_or_wrong_it_is_best_of_n_on_its_own_samples(data, world, k):
    """c is BestOfN's less 1/k, also where all fail and BestOfN imitates all: E[grad log pi] = 0."""
    policy = data.draw(strategies.policies(world.arms))
    found = b.expected_update(MaxRL(k=k), world, b.OnPolicy(), policy)
    assert_allclose(found, b.expected_update(BestOfN(k), world, b.OnPolicy(), policy), rtol=0, atol=1e-15)


def objective(a: MaxRL, p: float) -> float:
    """W with W' = weight: -sum q^j / j, j below k (or up to k uncentred), the first terms of log p."""
    return -math.fsum((1 - p) ** j / j for j in range(1, a.k + (not a.centred)))


@EXAMPLES
@given(world=right_or_wrong(), beta=strategies.betas(0.05, 20), k=st.integers(2, 4), centred=st.booleans())
def test_it_ends_where_the_cut_logarithm_less_the_kl_is_largest(world, beta, k, centred):
    """Bounded search over p for W(p) - beta KL(ref || pi), and the flow's own certificate."""
    a = MaxRL(beta, k=k, centred=centred)
    p0 = float(world.reference @ world.reward)

    def loss(p: float) -> float:
        return -objective(a, p) - beta * (p0 * math.log(p) + (1 - p0) * math.log1p(-p))

    best = minimize_scalar(loss, bounds=(1e-9, 1 - 1e-9), method="bounded", options={"xatol": 1e-12}).x
    found = b.fixed_point(a, world, b.OnPolicy())
    assert found.unique and found.stable and found.residual < 1e-12
    share = np.where(world.reward > 0, best / p0, (1 - best) / (1 - p0))
    assert_allclose(found.policy, world.reference * share, rtol=0, atol=1e-6)  # a flat minimum


@settings(max_examples=3)
@given(world=right_or_wrong(4, 0.05), centred=st.booleans())
def test_the_flow_finds_it_too(world, centred):
    a = MaxRL(0.4, k=3, centred=centred)
    found = b.fixed_point(a, world, b.OnPolicy())
    reached = motion(a, world, b.OnPolicy(), np.full(world.arms, 1 / world.arms), 2e4)
    assert_allclose(found.policy, reached, rtol=0, atol=1e-7)


def test_without_a_kl_the_most_frequent_success_takes_everything():
    world = b.Bandit([0.0, 1.0, 1.0], reference=[0.5, 0.2, 0.3])
    for a in (MaxRL(k=3), MaxRL(k=3, centred=False)):
        assert_array_equal(b.fixed_point(a, world, b.OnPolicy()).policy, [0, 0, 1])
        early, late = (motion(a, world, b.OnPolicy(), world.reference, t) for t in (1e2, 1e5))
        assert late[2] > early[2] + 0.1 > 0.7


@pytest.mark.parametrize("reward", [[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
def test_where_all_fail_or_none_does_the_reference_stays(reward):
    world = b.Bandit(reward, reference=[0.5, 0.2, 0.3])
    found = b.fixed_point(MaxRL(0.3), world, b.OnPolicy(), [0.2, 0.2, 0.6])
    assert_allclose(found.policy, world.reference, rtol=1e-14)


def test_contexts_and_starts_that_lack_an_arm():
    world = b.Bandit([[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]], reference=[0.1, 0.2, 0.3, 0.4])
    together = b.fixed_point(MaxRL(0.3, k=4), world, b.OnPolicy())
    for i in range(2):
        alone = b.fixed_point(MaxRL(0.3, k=4), world.at((i,)), b.OnPolicy())
        assert_allclose(together.policy[i], alone.policy, rtol=1e-14)
    found = b.fixed_point(MaxRL(0.3, k=4), world.at((0,)), b.OnPolicy(), [0.5, 0.3, 0.2, 0.0])
    assert found.policy[3] == 0 and not found.unique and found.residual < 1e-13


def test_what_counts_as_a_success_is_above_the_threshold():
    group = Samples(log_prob=np.log(np.full(3, 0.3)), reward=np.array([0.2, 0.5, 0.9]))
    assert_allclose(MaxRL(k=3, threshold=0.5).update(group).log_prob, [-1 / 3, -1 / 3, 2 / 3], rtol=1e-15)
    assert_array_equal(MaxRL(k=3, threshold=0.9).update(group).log_prob, [0, 0, 0])
