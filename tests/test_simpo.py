"""SimPO: comparisons of log-probabilities per token (T13.15)."""

from __future__ import annotations

import independent_solvers as second
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import answer_key
import worlds
from bandits import (
    DPO,
    Bandit,
    Dataset,
    NoFixedPoint,
    Offline,
    OnPolicy,
    Pairs,
    Samples,
    SimPO,
    expected_update,
    fixed_point,
)
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from motions import motion
from rows import Row

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: SimPO, s: Samples) -> list[float]:
    """T13.15: +-beta sigma(gamma - z) / length, z = beta (log pi / length of one less that of the other)."""
    score = [a.beta * float(x) / float(n) for x, n in zip(s.log_prob, s.length, strict=True)]
    pull, push = answer_key.over_labels(
        lambda w, l: a.beta * (1 + np.tanh((a.margin - score[w] + score[l]) / 2)) / 2,  # noqa: E741
        float(s.preference[0, 1]),
    )
    return [pull / float(s.length[0]), push / float(s.length[1])]


def size(a: SimPO, case: Case) -> float:
    """sigma sees beta log pi, and beta stands before it."""
    return max(1.0, a.beta) ** 2 * (2 + np.abs(np.log(case.policy)).max())


def end(a: SimPO, case: Case) -> np.ndarray:
    """T13.15: SciPy's root of the gradient in the scores, and of sum pi = 1."""
    W, p = second.pair_law(case.sampling, case.bandit.arms), second.first_wins(case.sampling, case.bandit)
    assume(second.beaten_by_all(W, p))
    v = second.logistic(W, p, a.margin)
    return second.of_scores(lambda c: case.bandit.length * (v + c) / a.beta)


ROWS = {
    "SimPO": Row(
        make=SimPO,
        formula=formula,
        size=size,
        target=end,
        settles=False,  # on its own samples nothing holds an answer that others beat
        ends={"on-policy": "other", "elsewhere": "other"},
    )
}


# ---- two arms ---------------------------------------------------------------------------------------------

EXAMPLES = settings(max_examples=25)


@settings(max_examples=12)
@given(p=st.floats(1e-3, 1 - 1e-3), margin=st.floats(0, 5), beta=strategies.betas(0.1, 20))
def test_two_arms_are_apart_by_the_root_of_a_quadratic(p, margin, beta):
    """T13.15; without a margin by logit p: DPO's log-odds, per token."""
    world = Bandit(preference=[[0.5, p], [1 - p, 0.5]], reference=[0.3, 0.7], length=[2, 5])
    found = fixed_point(SimPO(beta, margin=margin), world, Pairs([[0, 0.2], [0.8, 0]]))
    score = beta * found.log_policy / world.length
    g = np.exp(-margin)
    odds = ((2 * p - 1) + np.sqrt((2 * p - 1) ** 2 + 4 * p * (1 - p) * g**2)) / (2 * (1 - p) * g)
    # where 2p - 1 < 0 the root is a difference of like numbers, of relative error 1e-16 / (g^2 p (1 - p))
    assert_allclose(score[0] - score[1], np.log(odds), rtol=0, atol=1e-12 + 1e-15 / (g**2 * p * (1 - p)))
    if margin == 0:
        assert_allclose(odds, p / (1 - p), rtol=1e-9)


# ---- more -------------------------------------------------------------------------------------------------


@settings(max_examples=12)
@given(data=st.data(), beta=strategies.betas(0.2, 50), margin=st.floats(0, 4), arms=st.integers(2, 12))
def test_it_ends_at_the_fit_with_a_margin_whatever_the_reference(data, beta, margin, arms):
    """Scores by SciPy, then one constant; another reference, and other starts, end at the same place."""
    world = data.draw(
        strategies.worlds(arms, preference=strategies.any_preferences, length=strategies.lengths)
    )
    sampling = data.draw(
        st.one_of(strategies.pair_samplings(arms), strategies.strongly_connected_datasets(arms))
    )
    W, p = second.pair_law(sampling, arms), second.first_wins(sampling, world)
    a = SimPO(beta, margin=margin)
    found = fixed_point(a, world, sampling)
    v = second.logistic(W, p, margin)
    wanted = second.of_scores(lambda c: world.length * (v + c) / beta)
    assert_allclose(found.policy, wanted, rtol=0, atol=1e-8)
    assert found.unique and found.stable
    other = Bandit(preference=world.preference, length=world.length)
    assert_allclose(fixed_point(a, other, sampling).policy, found.policy, rtol=1e-9, atol=1e-300)


@settings(max_examples=2)
@given(data=st.data(), beta=strategies.betas(1, 8), margin=st.floats(0, 2))
def test_the_flow_leads_there_from_every_start(data, beta, margin):
    """Though the loss is not convex in the logits."""
    world = data.draw(strategies.worlds(3, preference=strategies.any_preferences, length=strategies.lengths))
    law = Offline(data.draw(strategies.policies(3, smallest=0.1, salt=5)))
    found = fixed_point(SimPO(beta, margin=margin), world, law)
    assume(found.policy.min() > 1e-3)  # rarer arms take longer
    starts = data.draw(strategies.policies(3, (3,), smallest=0.1, salt=6))
    ends = motion(SimPO(beta, margin=margin), world, law, starts, 1e6)
    assert_allclose(ends, np.broadcast_to(found.policy, ends.shape), rtol=0, atol=1e-6)


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(), tokens=st.integers(1, 9))
def test_with_equal_lengths_and_no_margin_it_is_dpo_from_a_flat_reference(data, beta, tokens):
    """beta / length in the place of beta, and log pi in that of h."""
    world = data.draw(strategies.bandits_with_preference(2, 5))
    flat = Bandit(preference=world.preference, length=np.full(world.arms, tokens))
    policy, sampling = (
        data.draw(strategies.policies(world.arms)),
        data.draw(strategies.pair_samplings(world.arms)),
    )
    found = expected_update(SimPO(beta, margin=0.0), flat, sampling, policy)
    wanted = expected_update(DPO(beta / tokens), flat, sampling, policy)
    assert_allclose(found, wanted, rtol=0, atol=1e-12 * max(1, beta / tokens) ** 2)


def test_at_equal_scores_the_longer_answer_is_exponentially_rarer():
    """A tie, p = 1/2: s = s', so that log pi is in proportion to the length."""
    world = Bandit(preference=[[0.5, 0.5], [0.5, 0.5]], length=[3, 12])
    found = fixed_point(SimPO(2.0, margin=0.7), world, Offline([0.4, 0.6]))
    assert_allclose(found.log_policy[1] / found.log_policy[0], 4, rtol=1e-10)


def test_a_larger_margin_draws_scores_further_apart():
    world = Bandit([1.0, 0.2, -0.5], length=[4, 7, 5])
    gaps = []
    for margin in (0.0, 0.5, 1.0, 2.0):
        found = fixed_point(SimPO(2.0, margin=margin), world, Offline([0.3, 0.3, 0.4]))
        gaps.append(np.ptp(2.0 * found.log_policy / world.length))
    assert (np.diff(gaps) > 0.1).all()


def test_an_unbeaten_arm_takes_all():
    with pytest.raises(NoFixedPoint, match="all mass ends on arm 0") as refusal:
        fixed_point(
            SimPO(2.0), Bandit([1.0, 0.0, 0.5], length=[3, 2, 4]), Dataset([(0, 1), (1, 2), (2, 1), (0, 2)])
        )
    assert_allclose(refusal.value.solution.policy, [1, 0, 0], atol=0)


def test_comparisons_that_do_not_connect_leave_a_continuum():
    world = Bandit([1.0, 0.0, 0.5, 0.2], length=[3, 2, 4, 5])
    found = fixed_point(SimPO(2.0), world, Dataset([(0, 1), (1, 0), (2, 3), (3, 2), (2, 3)]))
    assert found.stable is None and found.message.startswith("continuum") and not found.unique


def test_contexts_and_lengths_of_their_own():
    rng = np.random.default_rng(0)
    both = Bandit(rng.normal(size=(2, 3)), length=rng.integers(1, 20, size=(3, 1, 3)))
    together = fixed_point(SimPO(2.0), both, Offline([0.3, 0.3, 0.4])).policy
    assert together.shape == (3, 2, 3)
    for index in np.ndindex(3, 2):
        alone = fixed_point(SimPO(2.0), both.at(index), Offline([0.3, 0.3, 0.4])).policy
        assert_allclose(together[index], alone, rtol=1e-9)


def test_on_its_own_samples_it_rests_where_the_flow_leads():
    world = Bandit([1.0, 0.2, -0.5], length=worlds.LENGTH)
    found = fixed_point(SimPO(2.0, margin=0.0), world, OnPolicy())
    score = 2.0 * found.log_policy / world.length  # without a margin each pair is at rest by itself
    assert_allclose(score - score[0], world.reward - world.reward[0], rtol=0, atol=1e-8)


@pytest.mark.parametrize("margin", [-0.1, np.nan])
def test_the_margin_is_not_negative(margin):
    with pytest.raises(ValueError, match="margin must be"):
        SimPO(2.0, margin=margin)


def test_a_world_without_lengths_is_refused():
    with pytest.raises(ValueError, match="samples.length is None"):
        fixed_point(SimPO(2.0), Bandit([1.0, 0.0]), Offline([0.5, 0.5]))
