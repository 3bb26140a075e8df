"""ReMax: when the greedy answer's reward is a good baseline (T2.4)."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import answer_key
from bandits import (
    Bandit,
    Offline,
    OnPolicy,
    PolicyGradient,
    ReMax,
    Samples,
    expected_update,
    greedy,
    update_covariance,
)
from bandits.testing import strategies
from rows import Row, rewards

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: ReMax, s: Samples) -> list[float]:
    """T2.4: R - r(argmax pi)."""
    return [answer_key.regularized(a.beta, s)[0] - float(s.greedy_reward)]


ROWS = {
    "ReMax": Row(
        make=ReMax,
        formula=formula,
        climbs=rewards,
        sees_offset=False,
        ends={"on-policy": "optimum", "elsewhere": "other"},  # T2.4, T2.5
    )
}


# ---- what it is known for ---------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.floats(0.01, 0.99), st.floats(0.1, 5), st.floats(0.02, 0.98))
def test_two_arms_gain_from_the_greedy_baseline_exactly_when_theory_says(p, r1, share):
    """T2.4, r1 > r2 > 0, p = pi(a1), at pi = ref so that R = r.

    |s(a1)|^2 = 2 (1-p)^2 and |s(a2)|^2 = 2 p^2, so tr Var + |grad J|^2 is 2 p (1-p) times
        no baseline   (1-p) r1^2 + p r2^2
        b = r1        p (r1 - r2)^2            (p > 1/2)   less iff p < r1 / (2 (r1 - r2))
        b = r2        (1-p) (r1 - r2)^2        (p < 1/2)   less always, since r1 - r2 < r1.
    """
    r2 = share * r1
    threshold = r1 / (2 * (r1 - r2))
    assume(abs(p - 0.5) > 1e-6 and abs(p - threshold) > 1e-6)
    policy = [p, 1 - p]
    world = Bandit([r1, r2], reference=policy)
    with_greedy = np.trace(update_covariance(ReMax(1.0), world, OnPolicy(), policy))
    without = np.trace(update_covariance(PolicyGradient(1.0), world, OnPolicy(), policy))
    assert (with_greedy < without) == (p < 0.5 or p < threshold)


def test_the_condition_changes_sides():
    """r = (3, 1): threshold 3/4.  At p = .7 ReMax helps, at .8 it hurts."""
    world = Bandit([3.0, 1.0])
    for p, helps in ((0.3, True), (0.7, True), (0.8, False)):
        at = Bandit(world.reward, reference=[p, 1 - p])
        variance = [
            np.trace(update_covariance(a, at, OnPolicy(), [p, 1 - p]))
            for a in (ReMax(1.0), PolicyGradient(1.0))
        ]
        assert (variance[0] < variance[1]) == helps


@settings(max_examples=20)
@given(st.data(), strategies.betas())
def test_remax_is_policy_gradient_with_the_greedy_baseline(data, beta):
    world = data.draw(strategies.bandits_with_reward(max_arms=5))
    mu, policy = data.draw(strategies.behaviors(world.arms)), data.draw(strategies.policies(world.arms))
    one, other = (
        expected_update(a, world, Offline(mu), policy) for a in (ReMax(beta), PolicyGradient(beta, greedy))
    )
    assert_allclose(one, other, rtol=1e-14)
