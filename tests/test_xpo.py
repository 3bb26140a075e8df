"""XPO: how large may the bonus for exploration be, before the loss has no minimum (T13.16)?"""

from __future__ import annotations

import itertools

import independent_solvers as second
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.special import log_expit, log_softmax, softmax

import answer_key
import worlds
from bandits import (
    DPO,
    XPO,
    Bandit,
    Dataset,
    NoFixedPoint,
    Offline,
    OnPolicy,
    Pairs,
    Samples,
    expected_update,
    fixed_point,
)
from bandits.solvers.cuts import least_ratio
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from rows import Row, size_of_rewards

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: XPO, s: Samples) -> list[float]:
    """T13.16: DPO's +-beta sigma(-beta dh), and -alpha for the second answer."""
    h = answer_key.log_ratio(s)
    pull, push = answer_key.over_labels(
        lambda w, l: a.beta * (1 - np.tanh(a.beta * (h[w] - h[l]) / 2)) / 2,  # noqa: E741
        float(s.preference[0, 1]),
    )
    return [pull, push - a.alpha]


def size(a: XPO, case: Case) -> float:
    """As DPO's."""
    return size_of_rewards(a, case) * max(1.0, a.beta) ** 2


ROWS = {
    "XPO": Row(
        make=lambda beta: XPO(beta, alpha=0.02),
        formula=formula,
        size=size,
        settles=False,  # from alpha* on nowhere
        ends={"on-policy": "other", "elsewhere": "other"},
    )
}


# ---- the threshold ----------------------------------------------------------------------------------------

EXAMPLES = settings(max_examples=25)
E = Bandit([1.0, 0.6, 0.2, 0.0], reference=[0.1, 0.2, 0.3, 0.4])
TIED = Bandit([5.0, 5.0, 0.0, 0.0], reference=[0.1, 0.1, 0.4, 0.4])


def by_enumeration(a: XPO, world: Bandit, sampling) -> tuple[float, tuple[int, ...]]:
    """alpha* over all 2^A - 2 sets S, pair by pair, and the set."""
    W, p = second.pair_law(sampling, world.arms), second.first_wins(sampling, world)
    won, nu, found = W * p + (W * (1 - p)).T, W.sum(axis=0), []
    for count in range(1, world.arms):
        for S in itertools.combinations(range(world.arms), count):
            others = [y for y in range(world.arms) if y not in S]
            lost = sum(won[winner, y] for y in S for winner in others)
            found.append((a.beta * lost / nu[others].sum(), S))
    return min(found)


def loss(a: XPO, world: Bandit, sampling, logits) -> float:
    """E[-log sigma] + alpha E_nu[log pi], from the pairs' own law."""
    W, p = second.pair_law(sampling, world.arms), second.first_wins(sampling, world)
    log_policy = log_softmax(logits)
    h = log_policy - world.log_reference
    z = a.beta * (h[:, None] - h)
    return -(W * (p * log_expit(z) + (1 - p) * log_expit(-z))).sum() + a.alpha * W.sum(axis=0) @ log_policy


def test_the_numbers_of_the_theory():
    assert_allclose(XPO(0.5).largest_alpha(E, Offline(E.reference)), 0.031205, rtol=0, atol=5e-7)
    assert by_enumeration(XPO(0.5), E, Offline(E.reference))[1] == (0,)
    found = XPO(0.5).largest_alpha(TIED, Offline(TIED.reference))
    assert_allclose(found, 0.001339, rtol=0, atol=5e-7)
    assert by_enumeration(XPO(0.5), TIED, Offline(TIED.reference))[1] == (0, 1)
    wins = 2 * np.outer(TIED.reference, TIED.reference) * TIED.preference
    assert_allclose(0.5 * (wins[1:, 0].sum() / 0.9), 0.00615, rtol=0, atol=5e-6)  # an arm alone


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.01, 10), arms=st.integers(2, 7))
def test_flows_find_the_threshold_of_all_sets(data, beta, arms):
    """Deterministic and cyclic preferences, joint laws and data sets too; the error of ties is A^2 2^-30."""
    world = data.draw(strategies.bandits_with_both(arms, arms, smallest=1e-3))
    sampling = data.draw(
        st.one_of(strategies.pair_samplings(arms), strategies.strongly_connected_datasets(arms))
    )
    nu = second.pair_law(sampling, arms).sum(axis=0)
    assume(np.sort(nu)[1:].min() > 0)  # else a set without weight may divide 0 by 0
    wanted, _ = by_enumeration(XPO(beta), world, sampling)
    assert_allclose(XPO(beta).largest_alpha(world, sampling), wanted, rtol=1e-7, atol=0)


def test_no_random_set_of_many_arms_is_cheaper_than_what_flows_find():
    rng = np.random.default_rng(0)
    reward, reference = rng.normal(size=40), rng.dirichlet(np.ones(40))
    reward[:3] += 4  # three that hardly ever lose to the others
    wins = 2 * np.outer(reference, reference) * Bandit(reward).preference
    ratio, inside = least_ratio(wins, reference)
    assert_allclose(wins[np.ix_(inside, ~inside)].sum() / reference[inside].sum(), ratio, rtol=1e-14)
    sets = rng.random((5000, 40)) < rng.random((5000, 1))
    sets = np.vstack([sets, inside ^ np.eye(40, dtype=bool)])  # and all neighbours of the set found
    sets = sets[sets.any(axis=1) & ~sets.all(axis=1)]
    cuts = ((sets @ wins) * ~sets).sum(axis=1)
    assert (cuts / (sets @ reference) >= ratio * (1 - 1e-6)).all()


@settings(max_examples=6)
@given(data=st.data(), beta=strategies.betas(0.2, 2))
def test_below_it_the_loss_has_a_minimum_and_the_flow_rests_at_one(data, beta):
    """SciPy's BFGS from the answer finds nothing better near by, and no start a lower loss than the best."""
    world = data.draw(strategies.bandits_with_reward(2, 4, smallest=0.05, scale=0.5))
    sampling = Offline(data.draw(strategies.policies(world.arms, smallest=0.1, salt=5)), world.reference)
    a = XPO(beta, alpha=float(0.7 * XPO(beta).largest_alpha(world, sampling)))
    found = fixed_point(a, world, sampling)
    assert found.stable and found.residual < 1e-10
    starts = [found.log_policy, world.log_reference, *np.random.default_rng(0).normal(size=(3, world.arms))]
    ends = [minimize(lambda x: loss(a, world, sampling, x), each, method="BFGS") for each in starts]
    assert_allclose(softmax(ends[0].x), found.policy, rtol=0, atol=1e-4)
    assert_allclose(ends[1].fun, loss(a, world, sampling, found.log_policy), rtol=0, atol=1e-7)
    assert min(each.fun for each in ends) > -np.inf


@settings(max_examples=8)
@given(data=st.data(), beta=strategies.betas(0.2, 2), beyond=st.floats(1.01, 3))
def test_beyond_it_the_loss_falls_without_end_as_the_set_runs_away(data, beta, beyond):
    """Along the indicator of S its slope tends to (alpha* - alpha) (1 - nu(S)): here 1000 logits away."""
    world = data.draw(strategies.bandits_with_reward(2, 5, smallest=0.02, scale=0.5))
    sampling = data.draw(strategies.pair_samplings(world.arms))
    limit, S = by_enumeration(XPO(beta), world, sampling)
    assume(limit > 1e-6)
    a, ray = XPO(beta, alpha=beyond * limit), np.zeros(world.arms)
    ray[list(S)] = 1.0
    near, far = (loss(a, world, sampling, t / beta * ray) for t in (1000, 2000))
    nu = second.pair_law(sampling, world.arms).sum(axis=0)
    slope = (limit - a.alpha) * (1 - nu[list(S)].sum())
    assert_allclose((far - near) * beta / 1000, slope, rtol=1e-8, atol=1e-12)
    with pytest.raises(NoFixedPoint, match=r"alpha = .* is not below alpha\* = ") as refusal:
        fixed_point(a, world, sampling)
    assert f"to arms {', '.join(map(str, S))};" in str(refusal.value)


def test_an_unbeaten_arm_allows_no_bonus_at_all():
    """As DPO has no end there: alpha* = 0."""
    data = Dataset([(0, 1), (1, 2), (2, 1), (0, 2)])
    assert XPO(0.5).largest_alpha(worlds.REWARDS, data) == 0
    with pytest.raises(NoFixedPoint, match=r"alpha\* = 0, from which the bonus drives all mass to arms 0"):
        fixed_point(XPO(0.5, alpha=1e-9), worlds.REWARDS, data)


def test_each_context_has_its_threshold_and_the_first_beyond_is_named():
    both = Bandit([E.reward, TIED.reward], reference=[E.reference, TIED.reference])
    sampling = Offline(both.reference)
    found = XPO(0.5).largest_alpha(both, sampling)
    assert_allclose(found, [0.0312051880, 0.00133857018], rtol=1e-8)
    with pytest.raises(NoFixedPoint, match=r"alpha\* = 0.00133857, .* arms 0, 1;"):
        fixed_point(XPO(0.5, alpha=0.01), both, sampling)


def test_arms_that_the_reference_lacks_have_no_say():
    wide = Bandit([1.0, 9.0, 0.6, 0.2, 0.0], reference=[0.1, 0.0, 0.2, 0.3, 0.4])
    for world in (E, wide):
        assert_allclose(XPO(0.5).largest_alpha(world, Offline(world.reference)), 0.0312051880, rtol=1e-8)


# ---- what the bonus does ----------------------------------------------------------------------------------


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(), alpha=st.floats(1e-3, 10))
def test_on_its_own_samples_the_second_answer_is_the_references(data, beta, alpha):
    """DPO on Offline(pi, ref), less alpha (ref - pi)."""
    world = data.draw(strategies.bandits_with_both(2, 5))
    policy = data.draw(strategies.policies(world.arms))
    plain = expected_update(DPO(beta), world, Offline(policy, world.reference), policy)
    found = expected_update(XPO(beta, alpha=alpha), world, OnPolicy(), policy)
    wanted = plain - alpha * (world.reference - policy)
    assert_allclose(found, wanted, rtol=0, atol=1e-13 * (beta + alpha))


def test_the_larger_the_bonus_the_further_from_what_the_reference_answers():
    """E_ref[log pi] falls; DPO's own end is pi*, who pays nothing for leaving."""
    ends = [fixed_point(XPO(0.5, alpha=alpha), E, Offline(E.reference)) for alpha in (1e-9, 0.01, 0.02, 0.03)]
    assert_allclose(ends[0].policy, E.optimal_policy(0.5), rtol=0, atol=1e-6)
    assert (np.diff([E.reference @ end.log_policy for end in ends]) < -0.05).all()


def test_the_threshold_of_samples_that_move_is_not_asked_for():
    with pytest.raises(ValueError, match="sampling must be a fixed law"):
        XPO(0.5).largest_alpha(E, OnPolicy())


def test_the_order_within_the_pair_matters():
    """Who is second is paid for: the same comparisons, listed the other way round, have another threshold."""
    joint = np.outer([0.7, 0.1, 0.1, 0.1], E.reference)
    ahead, back = (XPO(0.5).largest_alpha(E, Pairs(W)) for W in (joint, joint.T))
    assert abs(ahead - back) > 1e-3
