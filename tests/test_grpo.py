"""GRPO: a group as its own baseline and scale, and where it ends instead of pi* (T9.5)."""

from __future__ import annotations

import itertools
import math
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

import answer_key
import bandits as b
import worlds
from bandits import GRPO, Samples, standard_deviation
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from bandits.testing.strategies import unrelated_groups
from rows import WIDE, Row, largest_weight, log_ratios, size_of_rewards


def formula(a: GRPO, s: Samples) -> list[float]:
    """T9.5: ((r - mean) / std, clipped, + beta (ref/pi - 1)) / k."""
    mean, scale = math.fsum(s.reward) / a.k, 1.0
    if a.spread is standard_deviation:
        scale = math.sqrt(math.fsum((r - mean) ** 2 for r in s.reward) / (a.k - 1))
    same = len(set(map(float, s.reward))) == 1
    advantages = [0.0 if same else float(r - mean) / scale for r in s.reward]
    pull = [a.beta * (math.exp(-h) - 1) for h in answer_key.log_ratio(s)]
    pushed = answer_key.clipped(advantages, s, a)
    return [(c + k) / a.k for c, k in zip(pushed, pull, strict=True)]


def size(a: GRPO, case: Case) -> float:
    """R, times the largest weight; and ref/pi."""
    return size_of_rewards(a, case) * largest_weight(a, case) + a.beta * np.exp(log_ratios(case))


def _row(smooth: bool, **changes) -> Row:
    return Row(
        make=lambda beta: GRPO(beta, **changes),
        formula=formula,
        size=size,
        smooth=smooth,
        settles=False,  # the clip freezes, or lets it slide
        sees_offset=False,
        ends={"on-policy": "other", "elsewhere": ("other", "none: slides")},  # T9.5
        blind=WIDE,
    )


ROWS = {
    "GRPO": _row(False),
    "GRPO(k=3, clip=inf)": _row(True, k=3, clip=np.inf),
}


# ---- what it is known for ---------------------------------------------------------------------------------


EXAMPLES = settings(max_examples=20)
FEW = settings(max_examples=8)
WORLD, POLICY = worlds.RARE, worlds.POLICY
MU = b.Offline([0.1, 0.6, 0.3])
TWO, HALVES = b.Bandit([1.0, 0.0]), b.Offline([0.5, 0.5])  # beta = 1/2: pi* = (.881, .119)


def test_grpo_slides_as_well():
    with pytest.raises(b.NotConverged, match="GRPO does not come to rest") as refusal:
        b.fixed_point(b.GRPO(0.3), WORLD, MU)
    w = refusal.value.solution.policy / MU.behaviors[0]
    assert np.abs(w - 1.2).min() < 1e-4  # an arm stands at the clip
    loose = b.fixed_point(b.GRPO(0.3, clip=np.inf), WORLD, MU)
    assert loose.residual < 1e-12


@EXAMPLES
@given(data=st.data(), k=st.sampled_from([2, 3, 5]))
def test_only_standardised_rewards_matter(data, k):
    """r -> 7 r + 3 changes nothing, whatever beta is; of two answers only the order matters."""
    samples = unrelated_groups(k, data.draw(st.integers(0, 1000)), 20)
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
        samples = replace(unrelated_groups(k, 4), reward=np.full((200, k), value))
        for spread in (b.standard_deviation, b.unit_spread):
            found = b.GRPO(0.7, k=k, spread=spread).update(samples).log_prob
            assert_array_equal(found, 0.7 * (np.exp(-samples.log_ratio) - 1) / k)


@pytest.mark.parametrize("k", [2, 3, 8])
def test_without_spread_and_kl_it_is_rloo_times_k_minus_one_over_k(k):
    """r_i - mean of all = (k-1)/k (r_i - mean of the others); at pi = ref = mu no KL is felt by either."""
    samples = unrelated_groups(k, 5)
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
