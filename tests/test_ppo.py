"""PPO: the clip, what it freezes, and where the normaliser makes it slide (T9.5)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import answer_key
import bandits as b
import worlds
from bandits import PPO, Samples
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from bandits.testing.strategies import unrelated_groups
from rows import WIDE, Row, largest_weight, rewards, size_of_rewards


def formula(a: PPO, s: Samples) -> list[float]:
    """T9.5: w (R - b) / k where that is the smaller side of the surrogate."""
    advantages = [R - answer_key.baseline(a, s) for R in answer_key.regularized(a.beta, s)]
    return [c / a.k for c in answer_key.clipped(advantages, s, a)]


def size(a: PPO, case: Case) -> float:
    """R, times the largest weight."""
    return size_of_rewards(a, case) * largest_weight(a, case)


def _row(settles: bool, **changes) -> Row:
    return Row(
        make=lambda beta: PPO(beta, **changes),
        formula=formula,
        size=size,
        climbs=rewards,  # T9.5: w = 1, policy gradient
        settles=settles,
        ends={
            "on-policy": "optimum",
            "elsewhere": "optimum" if settles else ("none: slides", "other"),
        },  # T9.5
        sees_offset=not settles,  # without a clip the weights make it grad J
        blind=WIDE,
    )


ROWS = {
    "PPO": _row(False),
    "PPO(1.5, clip=inf, k=2)": _row(True, clip=np.inf, baseline=1.5, k=2),
}


# ---- what it is known for ---------------------------------------------------------------------------------


EXAMPLES = settings(max_examples=20)
FEW = settings(max_examples=8)
WORLD, POLICY = worlds.RARE, worlds.POLICY
MU = b.Offline([0.1, 0.6, 0.3])
TWO, HALVES = b.Bandit([1.0, 0.0]), b.Offline([0.5, 0.5])  # beta = 1/2: pi* = (.881, .119)


@pytest.mark.parametrize("clip", [0.05, 0.2, 0.9, 1.0, 3.0, np.inf])
@pytest.mark.parametrize("upper_clip", [None, 0.4, np.inf])
def test_ppo_differentiates_the_clipped_surrogate(clip, upper_clip):
    """Autograd of the mean of min(w a, clip(w) a), Eq. (7), with a = R - b held fixed by detach."""
    top = 1 + (clip if upper_clip is None else upper_clip)
    samples, beta, b0 = unrelated_groups(3, 0), 0.7, 0.1
    theta = torch.tensor(samples.log_prob, requires_grad=True)
    mu, ref, reward = (
        torch.tensor(x) for x in (samples.behavior_log_prob, samples.reference_log_prob, samples.reward)
    )
    advantage = (reward - beta * (theta - ref) - b0).detach()
    w = torch.exp(theta - mu)
    surrogate = torch.minimum(w * advantage, torch.clamp(w, 1 - clip, top) * advantage)
    (slope,) = torch.autograd.grad(surrogate.mean(-1).sum(), theta)
    found = b.PPO(beta, clip=clip, baseline=b0, k=3, upper_clip=upper_clip).update(samples).log_prob
    assert_allclose(found, slope.numpy(), rtol=0, atol=1e-13)
    stopped = (found == 0).mean()
    assert stopped > 0.05 if min(clip, top - 1) < 0.9 else stopped < 0.1 or clip < 3


@pytest.mark.parametrize("baseline", [0.4, b.policy_value, b.policy_reward, b.behavior_value, b.greedy])
@pytest.mark.parametrize("clip", [1e-3, 0.2, np.inf])
def test_on_its_own_samples_ppo_is_policy_gradient(clip, baseline):
    """w = 1 is in the middle of every clip; rounding of log pi - log mu is far inside."""
    ppo, plain = b.PPO(0.7, clip=clip, baseline=baseline, k=2), b.PolicyGradient(0.7, baseline=baseline, k=2)
    found, known = (b.expected_update(a, WORLD, b.OnPolicy(), POLICY) for a in (ppo, plain))
    assert_allclose(found, known, rtol=0, atol=1e-15)
    check_optimum(b.fixed_point(ppo, WORLD, b.OnPolicy()), 0.7)


def check_optimum(found: b.Solution, beta: float) -> None:
    assert np.max(found.residual) < 1e-12
    assert_allclose(found.policy, WORLD.optimal_policy(beta), rtol=0, atol=1e-8)


def test_samples_that_do_not_say_who_drew_them_are_the_policys_own():
    samples = replace(unrelated_groups(3, 1), behavior_log_prob=None)
    for clipped, plain in (
        (b.PPO(0.7, k=3), b.PolicyGradient(0.7, k=3)),
        (b.GRPO(0.7, k=3), b.GRPO(0.7, k=3, clip=np.inf)),
    ):
        own = replace(samples, behavior_log_prob=samples.log_prob)
        assert_array_equal(clipped.update(samples).log_prob, plain.update(own).log_prob)
    with pytest.raises(ValueError, match="samples.behavior_log_prob is None"):
        b.GRPO(0.7, k=3).loss(samples)


def test_unclipped_ppo_is_policy_gradient_with_importance_weights():
    """For k = 1 the coefficients are the same; for any k and any places the expectation is, and the end."""
    one = unrelated_groups(1, 2)
    weighted = b.ImportanceWeighted(b.PolicyGradient(0.7, 0.3))
    found = b.PPO(0.7, clip=np.inf, baseline=0.3).update(one).log_prob
    assert_allclose(found, weighted.update(one).log_prob, rtol=1e-14)
    ppo, places = b.PPO(0.7, clip=np.inf, baseline=0.3, k=2), b.Offline([0.6, 0.1, 0.3], [0.1, 0.1, 0.8])
    on_policy = b.expected_update(b.PolicyGradient(0.7), WORLD, b.OnPolicy(), POLICY)
    assert_allclose(b.expected_update(ppo, WORLD, places, POLICY), on_policy, rtol=0, atol=1e-15)
    end = b.fixed_point(ppo, WORLD, places)
    check_optimum(end, 0.7)
    assert end.unique and "closed form" in end.method


def test_the_clip_stops_what_is_better_and_frequent_or_worse_and_rare():
    """Exactly these: an answer that moved the wrong way is pushed on, however far it is."""
    log_w = np.log([[1.1, 1.3, 0.9, 0.7], [1.1, 1.3, 0.9, 0.7]])
    reward = np.array([[1.0] * 4, [-1.0] * 4])
    zero = np.zeros_like(log_w)
    samples = b.Samples(log_prob=log_w, reference_log_prob=log_w, behavior_log_prob=zero, reward=reward)
    found = b.PPO(1.0, k=4).update(samples).log_prob
    assert_allclose(found, np.array([[1.1, 0, 0.9, 0.7], [-1.1, -1.3, -0.9, 0]]) / 4, rtol=1e-15)


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 10), clip=st.sampled_from([0.1, 0.2, 0.5, 2.0]))
def test_off_policy_the_update_is_that_of_the_arms_in_motion(data, beta, clip):
    """E_mu[c (e_y - pi)] = pi (m a - E_pi[m a]), m = 0 where the arm is clipped: mu enters through m only."""
    world = data.draw(strategies.bandits_with_reward(2, 6, smallest=1e-3))
    policy = data.draw(strategies.policies(world.arms))
    mu = 0.7 * policy + 0.3 * data.draw(strategies.behaviors(world.arms))
    a = world.reward - beta * np.log(policy / world.reference) - 0.3
    w = policy / mu
    moving = np.where(((a > 0) & (w > 1 + clip)) | ((a < 0) & (w < 1 - clip)), 0.0, a)
    found = b.expected_update(b.PPO(beta, clip=clip, baseline=0.3), world, b.Offline(mu), policy)
    assert_allclose(found, policy * (moving - policy @ moving), rtol=0, atol=1e-13 * (3 + np.abs(a).max()))


@FEW
@given(data=st.data(), beta=strategies.betas(0.3, 3), baseline=st.sampled_from([0.0, 9.0, b.policy_value]))
def test_from_samples_near_the_optimum_ppo_reaches_it(data, beta, baseline):
    """No pi*/mu beyond the clip: pi* rests, and from mu the flow comes there."""
    world = data.draw(strategies.bandits_with_reward(2, 5, smallest=0.1, scale=0.5))
    best = world.optimal_policy(beta)
    mu = best * (1 + 0.05 * np.cos(np.arange(world.arms)))
    mu = mu / mu.sum()
    found = b.fixed_point(b.PPO(beta, baseline=baseline), world, b.Offline(mu), mu)
    assert found.residual < 1e-12 and found.stable
    assert_allclose(found.policy, best, rtol=0, atol=1e-8)


def test_the_clip_freezes_a_whole_region_on_the_way_to_the_optimum():
    """b = E_pi[R] lies between R_1 and R_2 until pi* is reached: w = (1.2, .8) stops both arms at once.

    All policies between (.6, .4) and pi* rest, so that the end depends on the start, and so it is said.
    """
    ppo = b.PPO(0.5, baseline=b.policy_value)
    for p in (0.61, 0.7, 0.85):
        assert (b.expected_update(ppo, TWO, HALVES, [p, 1 - p]) == 0).all()
        assert_allclose(b.fixed_point(ppo, TWO, HALVES, [p, 1 - p]).policy, [p, 1 - p], rtol=1e-12)
    for start in (0.3, 0.5, 0.59):
        found = b.fixed_point(ppo, TWO, HALVES, [start, 1 - start])
        assert_allclose(found.policy, [0.6, 0.4], atol=1e-4)  # the first at rest, as far as a step overshoots
        assert found.residual == 0 and not found.unique
    best = TWO.optimal_policy(0.5)
    beyond = b.expected_update(ppo, TWO, HALVES, [0.95, 0.05])
    assert beyond[0] < -0.01 and best[0] < 0.95  # on the other side of pi* nothing is frozen


@pytest.mark.parametrize("baseline", [-3.0, 0.0])
def test_between_the_clip_and_the_normaliser_ppo_slides(baseline):
    """Both arms beat b: the first stops at 1.2, the second pushes on, which frees the first again.

    There the update jumps from up to down and is zero nowhere near: no policy rests, and it is said so.
    """
    ppo = b.PPO(0.5, baseline=baseline)
    below, above = (b.expected_update(ppo, TWO, HALVES, [p, 1 - p])[0] for p in (0.6 - 1e-9, 0.6 + 1e-9))
    assert below > 0.02 and above < -0.02
    with pytest.raises(b.NotConverged, match="PPO does not come to rest") as refusal:
        b.fixed_point(ppo, TWO, HALVES)
    assert_allclose(refusal.value.solution.policy, [0.6, 0.4], atol=1e-6)
    assert refusal.value.solution.residual > 0.01


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.3, 3), below=st.booleans())
def test_whether_the_optimum_rests_one_of_the_clips_decides(data, beta, below):
    """b < J*: every arm is pushed up there, and only the upper clip stops; b > J*: only the lower  (T9.5)."""
    world = data.draw(strategies.bandits_with_reward(2, 6, smallest=0.02, scale=0.5))
    best, mu = world.optimal_policy(beta), data.draw(strategies.behaviors(world.arms, smallest=0.02))
    w, level = best / mu, float(world.optimal_value(beta)) + (-1.0 if below else 1.0)
    reach = float(w.max() - 1 if below else 1 - w.min())
    for factor in (0.9, 1.1):
        eps = reach * factor
        clips = {"clip": 0.01, "upper_clip": eps} if below else {"clip": eps, "upper_clip": 0.01}
        moved = b.expected_update(b.PPO(beta, baseline=level, **clips), world, b.Offline(mu), best)
        if factor > 1:
            assert_allclose(moved, 0, atol=1e-13 * (3 + np.abs(world.reward).max()))
        else:
            assert np.abs(moved).max() > 1e-3 * best.min()


@pytest.mark.parametrize("baseline", [0.0, 2.0])
def test_with_one_clip_wide_enough_ppo_no_longer_slides(baseline):
    """It slides at w = 1 + eps' (b < J*) or 1 - eps (b > J*) until eps = tanh 1; then pi*  (T9.5)."""
    wide = "upper_clip" if baseline == 0 else "clip"
    for eps in (0.4, 0.75):
        ppo = b.PPO(0.5, **{"clip": 0.2, "upper_clip": 0.2, wide: eps}, baseline=baseline)
        with pytest.raises(b.NotConverged) as refusal:
            b.fixed_point(ppo, TWO, HALVES)
        assert refusal.value.reason == "slides"
        assert_allclose(refusal.value.solution.policy, [(1 + eps) / 2, (1 - eps) / 2], atol=1e-6)
    for eps in (0.77, np.inf):
        ppo = b.PPO(0.5, **{"clip": 0.2, "upper_clip": 0.2, wide: eps}, baseline=baseline)
        found = b.fixed_point(ppo, TWO, HALVES)
        assert_allclose(found.policy, [(1 + np.tanh(1)) / 2, (1 - np.tanh(1)) / 2], atol=1e-8)
        assert_allclose(found.policy, TWO.optimal_policy(0.5), atol=1e-8)


def test_sampled_ppo_is_what_it_is_on_average():
    """With the same dice: policy gradient on-policy, importance weights off-policy without a clip."""

    def run(algorithm, sampling):
        chance = {"batch_size": 4, "learning_rate": 0.1, "rng": np.random.default_rng(7), "runs": 3}
        return b.simulate(algorithm, WORLD, sampling, steps=50, **chance).policies

    plain = b.PolicyGradient(0.5, 0.3)
    for ppo, sampling, same in (
        (b.PPO(0.5, baseline=0.3), b.OnPolicy(), plain),
        (b.PPO(0.5, clip=np.inf, baseline=0.3), MU, b.ImportanceWeighted(plain)),
    ):
        assert_allclose(run(ppo, sampling), run(same, sampling), rtol=0, atol=1e-12)
