"""GSPO on whole answers: ratio and step averaged over tokens (T9.5, T13.12)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import brentq
from test_dapo import advantages

import answer_key
import bandits as b
from bandits import GSPO, DrGRPO, Samples, unit_spread
from bandits.sequences import Averaged
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from motions import the_best_arm_takes_everything
from rows import WIDE, Row, largest_weight, log_ratios, size_of_rewards

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: GSPO, s: Samples) -> list[float]:
    """T13.12: (advantage, clipped by (pi/mu)^(1/|y|), over |y|, + beta (ref/pi - 1)) / k."""
    mild = replace(s, behavior_log_prob=s.log_prob - (s.log_prob - s.behavior_log_prob) / s.length)
    pushed = answer_key.clipped(advantages(a, list(map(float, s.reward))), mild, a)
    pull = [a.beta * (math.exp(-h) - 1) for h in answer_key.log_ratio(s)]
    return [float(c / n + k) / a.k for c, n, k in zip(pushed, s.length, pull, strict=True)]


def size(a: GSPO, case: Case) -> float:
    """R, times the largest weight; and ref/pi."""
    return size_of_rewards(a, case) * largest_weight(a, case) + a.beta * np.exp(log_ratios(case))


ROWS = {
    "GSPO": Row(
        make=GSPO,
        formula=formula,
        size=size,
        smooth=False,
        settles=False,  # the clip freezes, or lets it slide
        sees_offset=False,
        ends={"on-policy": "other", "elsewhere": ("other", "none: slides")},  # T13.12, T9.5
        blind=WIDE,
    )
}


# ---- what it is known for ---------------------------------------------------------------------------------

EXAMPLES = settings(max_examples=10)


@EXAMPLES
@given(k=st.sampled_from([2, 3, 5]), clip=st.sampled_from([3e-4, 0.2, np.inf]), seed=st.integers(0, 99))
def test_without_a_kl_it_is_grpo_of_averages(k, clip, seed):
    """The chain rule for log pi/|y|: what `Averaged` does to any algorithm."""
    samples = strategies.unrelated_groups(k, seed)
    length = np.random.default_rng(seed).integers(1, 9, size=samples.reward.shape).astype(float)
    samples = replace(samples, length=length)
    found = GSPO(k=k, clip=clip).update(samples).log_prob
    same = Averaged(b.GRPO(0.0, k=k, clip=clip)).update(samples).log_prob
    scale = np.exp(np.abs(samples.log_prob - samples.behavior_log_prob).max())
    assert_allclose(found, same, rtol=0, atol=1e-14 * scale)


def rest_of(a: GSPO, world: b.Bandit) -> np.ndarray:
    """beta ref / (t - score), score = (1 - 1/k) (r - m) / |y|: t from sum pi = 1, then m from E_pi[r] = m."""

    def policy(m: float) -> np.ndarray:
        score = (1 - 1 / a.k) * (world.reward - m) / world.length
        weight, gap = a.beta * world.reference, score.max() - score

        def excess(log_t: float) -> float:
            return np.log((weight / (np.exp(log_t) + gap)).sum())

        log_t = brentq(excess, np.log(weight[gap == 0].sum()) - 1e-9, np.log(a.beta) + 1e-9, xtol=1e-14)
        return weight / (np.exp(log_t) + gap)

    low, high = world.reward.min(), world.reward.max()
    m = brentq(lambda m: policy(m) @ world.reward - m, low, high, xtol=1e-15, rtol=1e-14)
    return policy(m) / policy(m).sum()


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 10), k=st.sampled_from([2, 3]))
def test_without_the_spread_it_rests_where_two_equations_say(data, beta, k):
    world = data.draw(strategies.bandits_with_both(2, 5, smallest=0.02))
    a = GSPO(beta, k=k, spread=unit_spread)
    found = b.fixed_point(a, world, b.OnPolicy())
    assert found.stable and found.residual < 1e-11
    assert_allclose(found.policy, rest_of(a, world), rtol=0, atol=1e-8)


@EXAMPLES
@given(data=st.data(), tokens=st.sampled_from([1.0, 2.0, 7.0]))
def test_answers_of_one_length_only_strengthen_the_kl(data, tokens):
    """(r - m)/n + beta (rho - 1): Dr. GRPO's end at n times beta."""
    world = data.draw(strategies.bandits_with_reward(2, 5, smallest=0.02))
    even = b.Bandit(world.reward, reference=world.reference, length=np.full(world.arms, tokens))
    found = b.fixed_point(GSPO(0.3, spread=unit_spread), even, b.OnPolicy()).policy
    assert_allclose(found, b.fixed_point(DrGRPO(0.3 * tokens), world, b.OnPolicy()).policy, rtol=0, atol=1e-8)


@settings(max_examples=2)
@given(data=st.data(), k=st.sampled_from([2, 3]))
def test_without_a_kl_the_best_arm_takes_everything_whatever_the_lengths(data, k):
    world = data.draw(strategies.bandits_with_both(2, 4, smallest=0.05))
    assume(np.diff(np.sort(world.reward)).min() > 0.2)
    the_best_arm_takes_everything(GSPO(k=k), world)
