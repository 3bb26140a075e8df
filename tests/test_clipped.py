"""PPO and GRPO: the clip, what it freezes, and where GRPO ends instead of pi* (T9.5)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq, root
from scipy.special import logsumexp, softmax

import bandits as b
import strategies

EXAMPLES = settings(max_examples=20)
FEW = settings(max_examples=8)
WORLD = b.Bandit([1.0, 0.0, 0.4], reference=[0.2, 0.5, 0.3])
POLICY = np.array([0.25, 0.35, 0.4])
MU = b.Offline([0.1, 0.6, 0.3])


def groups(k: int, seed: int, count: int = 200) -> b.Samples:
    """Groups whose policy, behaviour and reference have nothing to do with each other."""
    logs = -np.random.default_rng(seed).exponential(size=(3, count, k))
    reward = np.random.default_rng([seed, 1]).normal(size=(count, k))
    return b.Samples(log_prob=logs[0], reference_log_prob=logs[1], behavior_log_prob=logs[2], reward=reward)


# ---- PPO's coefficient ------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [0.05, 0.2, 0.9, 1.0, 3.0, np.inf])
def test_ppo_differentiates_the_clipped_surrogate(clip):
    """Autograd of the mean of min(w a, clip(w) a), Eq. (7), with a = R - b held fixed by detach."""
    samples, beta, b0 = groups(3, 0), 0.7, 0.1
    theta = torch.tensor(samples.log_prob, requires_grad=True)
    mu, ref, reward = (
        torch.tensor(x) for x in (samples.behavior_log_prob, samples.reference_log_prob, samples.reward)
    )
    advantage = (reward - beta * (theta - ref) - b0).detach()
    w = torch.exp(theta - mu)
    surrogate = torch.minimum(w * advantage, torch.clamp(w, 1 - clip, 1 + clip) * advantage)
    (slope,) = torch.autograd.grad(surrogate.mean(-1).sum(), theta)
    found = b.PPO(beta, clip=clip, baseline=b0, k=3).update(samples).log_prob
    assert_allclose(found, slope.numpy(), rtol=0, atol=1e-13)
    stopped = (found == 0).mean()
    assert stopped > 0.05 if clip < 3 else stopped < 0.1


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
    samples = replace(groups(3, 1), behavior_log_prob=None)
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
    one = groups(1, 2)
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


# ---- what the clip does to the end ------------------------------------------------------------------------


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


TWO, HALVES = b.Bandit([1.0, 0.0]), b.Offline([0.5, 0.5])  # beta = 1/2: pi* = (.881, .119)


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


def test_grpo_slides_as_well():
    with pytest.raises(b.NotConverged, match="GRPO does not come to rest") as refusal:
        b.fixed_point(b.GRPO(0.3), WORLD, MU)
    w = refusal.value.solution.policy / MU.behaviors[0]
    assert np.abs(w - 1.2).min() < 1e-4  # an arm stands at the clip
    loose = b.fixed_point(b.GRPO(0.3, clip=np.inf), WORLD, MU)
    assert loose.residual < 1e-12


# ---- GRPO's coefficient -----------------------------------------------------------------------------------


@EXAMPLES
@given(data=st.data(), k=st.sampled_from([2, 3, 5]))
def test_only_standardised_rewards_matter(data, k):
    """r -> 7 r + 3 changes nothing, whatever beta is; of two answers only the order matters."""
    samples = groups(k, data.draw(st.integers(0, 1000)), 20)
    grpo = b.GRPO(data.draw(strategies.betas()), k=k)
    moved = replace(samples, reward=7 * samples.reward + 3)
    scale = 1 + grpo.beta * np.exp(-samples.log_ratio).max() + np.exp(-samples.behavior_log_prob).max()
    found, same = (grpo.update(s).log_prob for s in (samples, moved))
    assert_allclose(found, same, rtol=0, atol=1e-11 * scale)
    bent = grpo.update(replace(samples, reward=np.exp(samples.reward))).log_prob
    assert_allclose(found, bent, rtol=0, atol=1e-11 * scale) if k == 2 else None
    assert k == 2 or np.abs(found - bent).max() > 1e-3


def test_the_spread_is_the_unbiased_standard_deviation():
    reward = np.array([[1.0, 2.0, 4.0, 9.0], [0.3, 0.3, 0.3, 0.3]])
    assert_allclose(b.standard_deviation(reward), reward.std(axis=-1, ddof=1, keepdims=True), atol=1e-15)
    assert_array_equal(b.unit_spread(reward), [[1.0], [1.0]])


def test_a_group_of_equals_is_pushed_nowhere():
    """Also where the mean of three times .1 is not .1: only the KL is left, beta (rho - 1) / k."""
    for k, value in itertools.product((2, 3, 7), (0.1, 0.3, 1e6 / 3)):
        samples = replace(groups(k, 4), reward=np.full((200, k), value))
        for spread in (b.standard_deviation, b.unit_spread):
            found = b.GRPO(0.7, k=k, spread=spread).update(samples).log_prob
            assert_array_equal(found, 0.7 * (np.exp(-samples.log_ratio) - 1) / k)


@pytest.mark.parametrize("k", [2, 3, 8])
def test_without_spread_and_kl_it_is_rloo_times_k_minus_one_over_k(k):
    """r_i - mean of all = (k-1)/k (r_i - mean of the others); at pi = ref = mu no KL is felt by either."""
    samples = groups(k, 5)
    same = replace(samples, reference_log_prob=samples.log_prob, behavior_log_prob=samples.log_prob)
    found = b.GRPO(0.7, k=k, spread=b.unit_spread).update(same).log_prob
    assert_allclose(found, (k - 1) / k * b.RLOO(0.7, k=k).update(same).log_prob, rtol=0, atol=1e-15)


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 10))
def test_the_kl_pulls_as_the_divergence_from_the_reference(data, beta):
    """Equal rewards leave -beta grad KL(ref || pi) = beta (ref - pi), not -beta grad KL(pi || ref)."""
    reference = data.draw(strategies.references(4, smallest=1e-3))
    policy = data.draw(strategies.policies(4))
    world = b.Bandit(np.full(4, 0.3), reference=reference)
    logits = torch.tensor(np.log(policy), requires_grad=True)
    log_pi, ref = torch.log_softmax(logits, 0), torch.tensor(reference)
    forward = (ref * (torch.log(ref) - log_pi)).sum()
    (slope,) = torch.autograd.grad(forward, logits)
    found = b.expected_update(b.GRPO(beta, k=3), world, b.OnPolicy(), policy)
    assert_allclose(found, -beta * slope.numpy(), rtol=0, atol=1e-13 * beta)
    assert_allclose(found, beta * (reference - policy), rtol=0, atol=1e-13 * beta)
    kl = np.log(policy / reference)
    assert np.abs(found + beta * policy * (kl - policy @ kl)).max() > 1e-6 * beta


# ---- where GRPO ends --------------------------------------------------------------------------------------


def mean_advantage(reward: np.ndarray, policy: np.ndarray, k: int, spread) -> np.ndarray:
    """at(y) = E[a | y_1 = y], the other k - 1 answers from the policy, group by group."""
    total = np.zeros(len(reward))
    for y, others in itertools.product(
        range(len(reward)), itertools.product(range(len(reward)), repeat=k - 1)
    ):
        group = reward[[y, *others]]
        scale = np.std(group, ddof=1) if spread is b.standard_deviation else 1.0
        if np.ptp(group) > 0:
            total[y] += np.prod(policy[list(others)]) * (group[0] - group.mean()) / scale
    return total


def rest_of_grpo(world: b.Bandit, grpo: b.GRPO) -> np.ndarray:
    """Root of log pi = log ref - log(1 - at(pi)/beta), continued from a large beta, where pi = ref."""
    logits = world.log_reference
    for beta in np.geomspace(max(20.0, grpo.beta), grpo.beta, 25):

        def miss(x, beta=beta):
            at = mean_advantage(world.reward, softmax(x), grpo.k, grpo.spread)
            return softmax(x) * (1 - at / beta) - world.reference + logsumexp(x)

        found = root(miss, logits - logsumexp(logits), tol=1e-14)
        logits = found.x
    assert np.abs(miss(logits)).max() < 1e-11
    return softmax(logits)


@settings(max_examples=6)
@given(data=st.data(), beta=strategies.betas(0.2, 10), k=st.sampled_from([2, 3]))
@pytest.mark.parametrize("spread", [b.standard_deviation, b.unit_spread])
def test_grpo_rests_where_the_reference_over_one_minus_advantage_says(spread, data, beta, k):
    """pi = ref / (1 - at/beta), with at from explicit groups, against the flow (T9.5)."""
    world = data.draw(strategies.bandits_with_reward(2, 4, smallest=0.05, scale=0.5))
    grpo = b.GRPO(beta, k=k, spread=spread)
    found = b.fixed_point(grpo, world, b.OnPolicy())
    assert found.residual < 1e-11 and found.stable
    at = mean_advantage(world.reward, found.policy, k, spread)
    assert_allclose(found.policy @ at, 0, atol=1e-14)
    assert_allclose(found.policy, world.reference / (1 - at / beta), rtol=0, atol=1e-8)
    assert_allclose(found.policy, rest_of_grpo(world, grpo), rtol=0, atol=1e-8)


@dataclass(frozen=True)
class Bare:
    """An algorithm without its closed form: the flow has to find the end."""

    algorithm: Any

    @property
    def k(self) -> int:
        return self.algorithm.k

    def update(self, samples: b.Samples) -> b.Update:
        return self.algorithm.update(samples)


@settings(max_examples=6)
@given(data=st.data(), beta=strategies.betas(0.05, 10), k=st.sampled_from([2, 3]), hidden=st.booleans())
def test_without_the_spread_the_closed_form_is_where_the_flow_ends(data, beta, k, hidden):
    world = data.draw(strategies.bandits_with_reward(3, 5, smallest=0.05, scale=0.5))
    start = data.draw(strategies.policies(world.arms, smallest=0.1, salt=6))
    start = np.where(np.arange(world.arms) == 1, 0, start) if hidden else start
    start = start / start.sum()
    grpo = b.GRPO(beta, k=k, spread=b.unit_spread)
    found = b.fixed_point(grpo, world, b.OnPolicy(), start)
    assert found.unique == (not hidden) and found.residual < 1e-12
    assert_allclose(found.policy, b.fixed_point(Bare(grpo), world, b.OnPolicy(), start).policy, atol=1e-8)
    assert (found.policy[1] == 0) == hidden


@settings(max_examples=40)
@given(data=st.data(), arms=st.integers(2, 50), beta=strategies.betas())
def test_without_the_spread_one_equation_decides(data, arms, beta):
    """pi = beta ref / (t + max s - s), s = r (k-1)/k, by Brent's method in log t; ref down to 1e-12."""
    world = data.draw(strategies.bandits_with_reward(arms, arms))
    gap = (world.reward.max() - world.reward) / 2

    def excess(log_t):
        return np.log((beta * world.reference / (np.exp(log_t) + gap)).sum())

    best = world.reference[world.reward.argmax()]
    log_t = brentq(excess, np.log(beta * best) - 1e-9, np.log(beta) + 1e-9, xtol=1e-15, rtol=1e-15)
    found = b.fixed_point(b.GRPO(beta, spread=b.unit_spread), world, b.OnPolicy())
    assert found.residual <= 1e-10
    assert_allclose(found.policy, beta * world.reference / (np.exp(log_t) + gap), rtol=0, atol=1e-8)


def test_without_the_spread_contexts_are_solved_as_if_each_were_alone():
    rng = np.random.default_rng(3)
    world = b.Bandit(rng.normal(size=(3, 4)), reference=rng.dirichlet(np.ones(4), size=(2, 1)))
    grpo = b.GRPO(0.3, spread=b.unit_spread)
    together = b.fixed_point(grpo, world, b.OnPolicy())
    assert together.policy.shape == (2, 3, 4)
    for index in np.ndindex(2, 3):
        alone = b.fixed_point(grpo, world.at(index), b.OnPolicy())
        assert_allclose(together.policy[index], alone.policy, rtol=0, atol=1e-14)


@pytest.mark.parametrize("beta", [0.3, 0.7, 2.0])
@pytest.mark.parametrize("k", [2, 3])
def test_grpo_does_not_end_at_the_optimum(k, beta):
    """A regret at every beta, with and without the spread; and with it the scale of the rewards is lost."""
    for spread in (b.standard_deviation, b.unit_spread):
        end = b.fixed_point(b.GRPO(beta, k=k, spread=spread), WORLD, b.OnPolicy())
        assert float(WORLD.regret(end.policy, beta)) > 1e-4
    louder = b.Bandit(5 * WORLD.reward, reference=WORLD.reference)
    grpo = b.GRPO(beta, k=k)
    ends = [b.fixed_point(grpo, world, b.OnPolicy()).policy for world in (WORLD, louder)]
    assert_allclose(ends[0], ends[1], rtol=0, atol=1e-9)
    assert np.abs(louder.optimal_policy(beta) - WORLD.optimal_policy(beta)).max() > 0.1


def test_the_flow_of_grpo_stays_where_it_ends():
    """The certificate is the enumerated update of all k-groups: perturbed starts come back."""
    grpo = b.GRPO(0.3, k=3)
    end = b.fixed_point(grpo, WORLD, b.OnPolicy()).policy
    for start in ([0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.01, 0.01, 0.98]):
        assert_allclose(b.fixed_point(grpo, WORLD, b.OnPolicy(), start).policy, end, rtol=0, atol=1e-9)


# ---- sampled training -------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("grpo", [b.GRPO(0.5, k=4), b.GRPO(0.5, k=4, spread=b.unit_spread)])
def test_sampled_grpo_goes_where_the_fixed_point_is(grpo):
    """The mean over the second half of 16 runs of constant-step SGD; spread and bias are of order eta."""
    trace = b.simulate(
        grpo,
        WORLD,
        b.OnPolicy(),
        steps=2000,
        batch_size=16,
        learning_rate=0.1,
        rng=np.random.default_rng(0),
        runs=16,
        record=20,
    )
    late = trace.policies[50:].mean(axis=(0, 1))
    assert_allclose(late, b.fixed_point(grpo, WORLD, b.OnPolicy()).policy, atol=0.01)
    assert np.abs(late - WORLD.optimal_policy(0.5)).max() > 0.03
