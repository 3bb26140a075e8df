"""Laws of enumeration: groups that are alike are visited once, and only if they are; no batch is mixed.

An `update` may depend on the order within its group (then every ordered group is summed), and may not depend
on the other groups of its batch (then there is no expectation over groups, and nobody gets one).
"""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from math import comb, factorial, prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import bandits as b
from bandits import exact
from bandits.problem import bind
from bandits.sampling import groups
from bandits.sampling.laws import Product
from bandits.sampling.observation import State
from bandits.testing import strategies
from rows import every_row, name_of


@pytest.fixture
def always_ask(monkeypatch):
    """Let small sums go over multisets too, wherever the order does not matter."""
    monkeypatch.setattr(groups, "FEW", 0)
    monkeypatch.setattr(groups, "FEWER", 0)


# ---- the multisets -----------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(data=st.data(), arms=st.integers(1, 5), k=st.integers(1, 5), block=st.integers(1, 40))
def test_multisets_have_multinomial_weights(data, arms, k, block):
    """Each once, with k!/prod n! prod p^n by hand, whatever the block; arms without mass have none."""
    contexts = data.draw(st.sampled_from([(), (2,)]))
    p = data.draw(
        strategies.partial_policies(arms, contexts) if arms > 1 else st.just(np.ones((*contexts, 1)))
    )
    found = list(groups.unordered_groups(Product((p,) * k), block))
    every, weight = np.concatenate([a for a, _ in found]), np.concatenate([w for _, w in found], axis=-1)
    assert len({tuple(row) for row in every}) == len(every) == comb(arms + k - 1, k)
    for row, w in zip(every, np.moveaxis(weight, -1, 0), strict=True):
        counts = np.bincount(row, minlength=arms)
        ways = factorial(k) / prod(factorial(n) for n in counts)
        assert_allclose(w, ways * np.prod(p**counts, axis=-1), rtol=1e-13)  # a dozen roundings of logs


def test_a_table_that_is_not_kept_has_the_same_groups(monkeypatch):
    law = Product((np.array([0.1, 0.2, 0.3, 0.4]),) * 5)
    kept = list(groups.unordered_groups(law, 7))
    monkeypatch.setattr(groups, "KEPT", 0)
    for (arms, weight), (arms_2, weight_2) in zip(kept, groups.unordered_groups(law, 7), strict=True):
        assert_array_equal(arms, arms_2)
        assert_array_equal(weight, weight_2)


# ---- what the order within a group is to an update ---------------------------------------------------------


@dataclass(frozen=True)
class Own:
    """A reader's algorithm: any function of the samples to coefficients."""

    coefficients: Callable[[b.Samples], Any]
    k: int = 3

    def update(self, samples: b.Samples) -> b.Update:
        """Its coefficients."""
        return b.Update(log_prob=self.coefficients(samples))

    def loss(self, samples: b.Samples) -> Any:
        """Any number of the group."""
        return self.coefficients(samples).sum(-1)


def only_with_arm_one(s):
    """The first place counts more, in groups with arm 1 twice."""
    twice = (s.arm == 1).sum(-1) >= 2
    return np.where(twice[..., None], np.arange(1, s.arm.shape[-1] + 1) * s.log_prob, s.log_prob)


def first_of_the_best(s):
    """Among equal rewards the first wins."""
    return np.eye(s.reward.shape[-1])[np.argmax(s.reward, axis=-1)] * s.reward


ORDER_MATTERS = {
    "places": lambda s: s.reward * np.arange(1, s.reward.shape[-1] + 1),
    "places of log_prob": lambda s: s.log_prob - s.log_prob[..., :1],
    "first of the best": first_of_the_best,
    "only with arm 1": only_with_arm_one,
    "preference against the last": lambda s: s.preference[..., :, -1],
    "behavior of the first": lambda s: s.behavior_log_prob[..., :1] * s.reward,
    "length before": lambda s: np.cumsum(s.length, axis=-1),
    "desirable of the next": lambda s: np.roll(s.desirable, 1, axis=-1),
    "off the reference": lambda s: s.log_ratio * np.arange(1, s.reward.shape[-1] + 1),
}
ORDER_IS_NOTHING = {
    "GRPO": b.GRPO(0.7, k=3),
    "GRPO(clip)": b.GRPO(0.7, k=4, clip=0.1),
    "PolicyGradient": b.PolicyGradient(0.7, b.policy_value, k=3),
    "PPO": b.PPO(0.7, k=3),
    "RLOO weighted": b.ImportanceWeighted(b.RLOO(0.7, k=3), clip=1.3),
    "best of the group": Own(lambda s: (s.reward == s.reward.max(-1)[..., None]) * s.length),
    "wins": Own(lambda s: s.preference.sum(-1) - s.desirable),
}


@st.composite
def worlds(draw, contexts=()):
    """Everything known; of three arms or more, two have the same reward now and then."""
    rng, arms = draw(strategies.generators()), draw(st.integers(2, 4))
    reward = draw(strategies.rewards(arms, contexts))
    if arms > 2 and draw(st.booleans()):
        reward = np.where(np.arange(arms) == arms - 1, reward[..., :1], reward)
    return b.Bandit(
        reward,
        preference=draw(strategies.any_preferences(arms)),
        reference=draw(strategies.policies(arms)),
        length=1.0 + rng.random((*contexts, arms)),
        desirable=rng.random(arms),
    )


def plain(algorithm, world, sampling, policy):
    """The sum over all ordered groups, one after another."""
    state = State(np.log(policy))
    law = sampling.law(algorithm, world, state.log_policy)
    a = exact.enumerated_coefficient(algorithm, world, law, state)
    return a - policy * a.sum(axis=-1, keepdims=True)


def visits(algorithm, world, sampling, policy) -> int:
    """How many groups `update` saw at once, at most."""
    seen = []
    spy = Own(lambda s: (seen.append(s.log_prob.shape[-2]), algorithm.update(s).log_prob)[1], algorithm.k)
    b.expected_update(spy, world, sampling, policy)
    return seen[-1]


@pytest.mark.usefixtures("always_ask")
@pytest.mark.parametrize("moving", [False, True], ids=["offline", "on policy"])
@pytest.mark.parametrize("name", [*ORDER_IS_NOTHING, *ORDER_MATTERS])
@settings(max_examples=3)
@given(data=st.data())
def test_both_enumerations_agree(name, moving, data):
    """Multisets where order is nothing, ordered groups where it is not: the same sum, to rounding."""
    algorithm = ORDER_IS_NOTHING.get(name) or Own(ORDER_MATTERS[name])
    contexts = data.draw(st.sampled_from([(), (2,)]))
    world = data.draw(worlds(contexts))
    sampling = b.OnPolicy() if moving else b.Offline(data.draw(strategies.behaviors(world.arms)))
    policy = data.draw(strategies.policies(world.arms, salt=3))
    found = b.expected_update(algorithm, world, sampling, policy)
    expected = np.broadcast_to(plain(algorithm, world, sampling, policy), found.shape)
    assert_allclose(found, expected, rtol=0, atol=1e-13 * max(1.0, np.abs(expected).max()))


@pytest.mark.usefixtures("always_ask")
@settings(max_examples=10)
@given(data=st.data())
def test_losses_and_covariances_agree_too(data):
    """The loss and the covariance of GRPO and of an update in which places count."""
    world = data.draw(worlds())
    policy = data.draw(strategies.policies(world.arms, salt=3))
    sampling = b.Offline(data.draw(strategies.behaviors(world.arms, smallest=1e-2)))
    for algorithm in (b.GRPO(0.7, k=3), Own(ORDER_MATTERS["places"])):
        found = b.expected_loss(algorithm, world, sampling, policy)
        covariance = b.update_covariance(algorithm, world, sampling, policy)
        by_places = b.Offline(*sampling.behaviors * 3)  # three laws, as far as anybody knows: no multisets
        assert_allclose(b.expected_loss(algorithm, world, by_places, policy), found, rtol=1e-12)
        second = b.update_covariance(algorithm, world, by_places, policy)
        assert_allclose(covariance, second, rtol=0, atol=1e-12 * max(1.0, np.abs(second).max()))


@pytest.mark.usefixtures("always_ask")
@pytest.mark.parametrize("name", [*ORDER_IS_NOTHING, *ORDER_MATTERS])
def test_multisets_are_visited_exactly_where_order_is_nothing(name):
    """On a world without ties (else "first of the best" would not differ), three arms."""
    rng = np.random.default_rng(3)
    world = b.Bandit(
        [0.3, 0.3, -0.4] if name == "first of the best" else [0.3, 0.1, -0.4],
        preference=[[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]],
        reference=[0.2, 0.5, 0.3],
        length=[1.0, 2.0, 4.0],
        desirable=[0.1, 0.4, 0.9],
    )
    algorithm = ORDER_IS_NOTHING.get(name) or Own(ORDER_MATTERS[name])
    seen = visits(algorithm, world, b.Offline(rng.dirichlet(np.ones(3))), rng.dirichlet(np.ones(3)))
    k = algorithm.k
    assert seen == (comb(3 + k - 1, k) if name in ORDER_IS_NOTHING else 3**k)


@pytest.mark.usefixtures("always_ask")
@settings(max_examples=3, deadline=None)
@given(data=st.data(), k=st.integers(2, 4))
def test_grpo_ends_where_plain_enumeration_says(data, k):
    """The plain sum of all A^k groups is zero where `fixed_point` ends on multisets."""
    world = data.draw(worlds())
    end = b.fixed_point(b.GRPO(0.7, k=k), world, b.OnPolicy())
    assert np.abs(plain(b.GRPO(0.7, k=k), world, b.OnPolicy(), end.policy)).max() <= 1e-10


def test_eight_of_ten_arms_are_summed_over_24310_multisets():
    """Against the 10^8 groups' sum in closed form.

    Dr. GRPO's advantage is linear: E[sum c e_y] = pi ((1 - 1/k)(r - E r) + beta (rho - 1)), on-policy.
    """
    rng, beta, k = np.random.default_rng(0), 0.5, 8
    world = b.Bandit(rng.normal(size=10), reference=rng.dirichlet(np.full(10, 3.0)))
    policy = rng.dirichlet(np.full(10, 3.0))
    found = b.expected_update(b.GRPO(beta, k=k, spread=b.unit_spread), world, b.OnPolicy(), policy)
    a = policy * (
        (1 - 1 / k) * (world.reward - policy @ world.reward) + beta * (world.reference / policy - 1)
    )
    assert_allclose(found, a - policy * a.sum(), rtol=0, atol=1e-13)


# ---- how many are too many ---------------------------------------------------------------------------------


def refusals(algorithm, world, sampling, policy, **setting):
    """Every public function that enumerates."""
    world_of = (algorithm, world, sampling)
    return {
        "expected_update": lambda: b.expected_update(*world_of, policy, **setting),
        "expected_loss": lambda: b.expected_loss(*world_of, policy, **setting),
        "update_covariance": lambda: b.update_covariance(*world_of, policy, **setting),
        "fixed_point": lambda: b.fixed_point(*world_of, policy, **setting),
        "fixed_points": lambda: b.fixed_points(*world_of, policy, starts=0, **setting),
        "flow": lambda: b.flow(*world_of, [0.0, 1.0], policy, **setting),
        "natural_flow": lambda: b.natural_flow(*world_of, [0.0, 1.0], policy, **setting),
        "flow_error": lambda: b.flow_error(*world_of, [0.0, 1.0], policy, **setting),
        "descent": lambda: b.descent(*world_of, 0.1, [0, 1], policy, **setting),
        "convergence_rate": lambda: b.convergence_rate(*world_of, **setting),
        "largest_stable_step": lambda: b.largest_stable_step(*world_of, **setting),
    }


@pytest.mark.parametrize("name", refusals(None, None, None, None))
def test_too_many_groups_are_counted_before_and_refused_with_a_remedy(name):
    """5 of 100 arms are 10^10 groups, 9 * 10^7 multisets: refused at once, and `max_groups` is named."""
    rng = np.random.default_rng(0)
    seen = []
    algorithm = Own(lambda s: (seen.append(s.log_prob.shape[-2]), s.log_prob)[1], k=5)
    world = b.Bandit(rng.normal(size=100), reference=rng.dirichlet(np.ones(100)))
    with pytest.raises(ValueError, match=r"1e\+10 groups of k = 5 among 100 arms, 9\.2e\+07.*max_groups"):
        refusals(algorithm, world, b.OnPolicy(), world.reference)[name]()
    assert max(seen, default=0) <= 10


@pytest.mark.parametrize("name", refusals(None, None, None, None))
def test_the_limit_is_the_callers(name):
    """27 ordered groups are too many for 26, and 27 are not."""
    world = b.Bandit([0.3, 0.1, -0.4], reference=[0.2, 0.5, 0.3])
    algorithm = Own(lambda s: 0.1 * (s.reward - s.log_ratio - s.reward[..., :1]))
    arguments = (algorithm, world, b.Offline([0.5, 0.2, 0.3]), world.reference)
    with pytest.raises(ValueError, match=r"27 groups.*max_groups = 26"):
        refusals(*arguments, max_groups=26)[name]()
    refusals(*arguments, max_groups=27)[name]()
    with pytest.raises(ValueError, match="max_groups must be an integer of at least 1"):
        refusals(*arguments, max_groups=0)[name]()


def test_order_that_matters_is_named_as_the_reason():
    world = b.Bandit(np.arange(10.0) / 10)
    algorithm = Own(ORDER_MATTERS["places"], k=8)
    with pytest.raises(ValueError, match=r"1e\+08 groups.*the order within a group matters to Own\.update"):
        b.expected_update(algorithm, world, b.OnPolicy(), world.reference)


# ---- a batch is no group -----------------------------------------------------------------------------------


def whitened(s):
    """The mistake of many trainers: rewards whitened over the batch."""
    return (s.reward - s.reward.mean()) / s.reward.std() - 0.5 * s.log_ratio


MIXING = {
    "whitened": whitened,
    "mean of the batch": lambda s: s.reward - s.reward.mean(-2, keepdims=True) + 0 * s.log_prob,
    "divided by its size": lambda s: (s.reward - s.log_ratio) / s.log_prob.shape[-2],
    "largest weight": lambda s: s.reward * np.exp(s.log_prob - s.log_prob.max()),
    "the neighbour": lambda s: s.reward - np.roll(s.log_ratio, 1, axis=-2),
    "a little": lambda s: s.reward - s.log_ratio + 1e-6 * s.log_ratio.mean(),
}


@pytest.mark.parametrize("k", [2, 3])
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_centred_in_the_group_and_scaled_by_the_batch_is_mixing(k, data):
    """Blind are groups of one arm k times: their coefficients are zero in any company."""
    world = data.draw(strategies.bandits_with_reward(2, 4, smallest=0.05))

    def scaled(s):
        r = s.regularized_reward(0.5)
        r = r - r.mean(-1, keepdims=True)
        return r / (r.std() + 0.1)

    with pytest.raises(ValueError, match="mixes the groups of a batch"):
        b.expected_update(Own(scaled, k=k), world, b.OnPolicy(), world.reference)


@pytest.mark.parametrize("name", MIXING)
@pytest.mark.parametrize("k", [1, 2, 3])
@settings(max_examples=3, deadline=None)
@given(data=st.data())
def test_an_update_that_mixes_the_batch_has_no_expectation(name, k, data):
    """Alone and among others differ: every function says so, on every law, with and without contexts."""
    world = data.draw(worlds(data.draw(st.sampled_from([(), (2,)]))))
    mu = data.draw(strategies.behaviors(world.arms, smallest=1e-2))
    policy = data.draw(strategies.policies(world.arms, smallest=1e-2))
    for sampling in (b.Offline(mu), b.OnPolicy()) + ((b.Pairs(np.outer(mu, mu)),) if k == 2 else ()):
        asked = refusals(Own(MIXING[name], k), world, sampling, policy)
        for function in ("expected_update", "expected_loss", "update_covariance", "fixed_point", "flow"):
            with pytest.raises(ValueError, match="mixes the groups of a batch"):
                asked[function]()


@settings(max_examples=5)
@given(data=st.data())
def test_an_update_that_mixes_contexts_has_none_either(data):
    """A mean over the first axis is one over contexts where there are any."""
    world = data.draw(worlds((3,)))
    policy = data.draw(strategies.policies(world.arms, (3,)))
    algorithm = Own(lambda s: s.reward - s.log_prob.mean(0))
    with pytest.raises(ValueError, match="mixes the groups of a batch"):
        b.expected_update(algorithm, world, b.OnPolicy(), policy)


@pytest.mark.parametrize("algorithm", [row.make(0.6) for row in every_row().values()], ids=name_of)
@settings(max_examples=5)
@given(data=st.data())
def test_no_algorithm_of_the_package_is_suspected(algorithm, data):
    """Arms outside the reference, equal rewards, contexts: their sums are over multisets, and go through."""
    arms, contexts = data.draw(st.integers(2, 4)), data.draw(st.sampled_from([(), (2,)]))
    reference = data.draw(strategies.partial_policies(arms))
    reward = data.draw(
        st.one_of(strategies.rewards(arms, contexts), st.just(np.full((*contexts, arms), 0.1)))
    )
    world = b.Bandit(
        reward,
        preference=data.draw(strategies.any_preferences(arms)),
        reference=reference,
        length=data.draw(strategies.lengths(arms)),
        desirable=data.draw(strategies.labels(arms)),
    )
    samplings = [b.OnPolicy()]
    if not getattr(algorithm, "needs_on_policy", False):
        samplings.append(b.Offline(reference))
    for sampling in samplings:
        problem = bind(algorithm, world, sampling)
        law = problem.law()
        state = exact.completed(problem, law, State(problem.log_start))
        a = exact.enumerated_coefficient(algorithm, world, law, state)
        found = exact.update_at(problem, state)
        expected = np.broadcast_to(a - world.reference * a.sum(-1, keepdims=True), found.shape)
        assert_allclose(found, expected, rtol=0, atol=1e-12 * max(1.0, np.abs(expected).max()))


def test_it_is_found_out_once_for_a_problem():
    """A handful of looks at the first sum, none at the next, nor in any context of it."""
    seen = []
    algorithm = Own(lambda s: (seen.append(1), s.reward - s.log_ratio)[1], k=2)
    world = b.Bandit([[0.3, 0.1, -0.4], [0.1, 0.2, 0.9]])
    problem = bind(algorithm, world, b.OnPolicy())
    exact.update_at(problem, State(problem.log_start))
    first = len(seen)
    exact.update_at(problem, State(problem.log_start))
    assert len(seen) == first + 1 and first <= 8
    here = problem.at((1,))
    exact.update_at(here, State(here.log_start))
    assert len(seen) == first + 2


def test_a_long_sum_shows_its_progress(monkeypatch):
    """Blocks are counted as they are done; a short sum has no bar."""
    shown = []

    class Bar:
        def __init__(self, **setting):
            self.setting, self.done = setting, 0
            shown.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def update(self, n):
            self.done += n

    monkeypatch.setattr(groups, "tqdm", Bar)
    world, policy = b.Bandit(np.arange(5.0)), np.full(5, 0.2)
    algorithm = Own(ORDER_MATTERS["places"], k=3)
    b.expected_update(algorithm, world, b.OnPolicy(), policy)
    assert shown == []
    monkeypatch.setattr(groups, "MANY", 100)
    b.expected_update(algorithm, world, b.OnPolicy(), policy)
    assert [bar.done for bar in shown] == [125] and shown[0].setting["total"] == 125


def test_thousands_of_contexts_are_summed_in_bounded_memory():
    """2000 contexts of 1296 groups of four: a field of all of them would take 83 MB."""
    rng = np.random.default_rng(0)
    world = b.Bandit(rng.normal(size=(2000, 6)), reference=rng.dirichlet(np.ones(6), size=2000))
    tracemalloc.start()
    b.expected_update(b.GRPO(0.5, k=4), world, b.OnPolicy(), world.reference)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6


def test_every_ordered_group_is_counted():
    laws = [b.Offline([0.5, 0.2, 0.3]).law(b.RLOO(1.0, k=3), b.Bandit(np.zeros(3)), np.zeros(3))]
    laws.append(b.Pairs(np.full((3, 3), 1 / 9)).law(b.IPO(1.0), b.Bandit(np.zeros(3)), np.zeros(3)))
    laws.append(b.Dataset([(0, 1), (2, 1), (0, 1)]).law(b.IPO(1.0), b.Bandit(np.zeros(3)), np.zeros(3)))
    for law in laws:
        assert groups.ordered_groups(law) == sum(len(arms) for arms, _ in law.tuples())
    assert list(itertools.islice((groups.multisets(law) for law in laws), 3)) == [10, None, None]
