"""Robust DPO and label smoothing: who undoes flipped labels, and when there is no end (T13.14)."""

from __future__ import annotations

from itertools import chain, combinations

import independent_solvers as second
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import expit, softmax

import answer_key
import bandits as b
import worlds
from bandits.solvers import margins
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from rows import Row, size_of_rewards

EXAMPLES = settings(max_examples=20)

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: b.RobustDPO, s: b.Samples) -> list[float]:
    """T13.14: +-beta ((1 - eps) sigma(-z) + eps sigma(z)) / (1 - 2 eps), z the winner's margin."""
    h, eps = answer_key.log_ratio(s), a.flips

    def of_winner(won: int, lost: int) -> float:
        z = a.beta * (h[won] - h[lost])
        kept, flipped = (1 - np.tanh(z / 2)) / 2, (1 + np.tanh(z / 2)) / 2
        return a.beta * ((1 - eps) * kept + eps * flipped) / (1 - 2 * eps)

    return answer_key.over_labels(of_winner, float(s.preference[0, 1]))


def size(a: b.RobustDPO, case: Case) -> float:
    return size_of_rewards(a, case) * max(1.0, a.beta) ** 2


def every_set(arms: int):
    return chain.from_iterable(combinations(range(arms), n) for n in range(1, arms))


def held(wins: np.ndarray, eps: float) -> float:
    """How much the loosest set of arms is held down, of wins before they were flipped."""
    clean, everyone = (1 - eps) * wins - eps * wins.T, np.arange(len(wins))
    return min(clean[np.ix_(np.setdiff1d(everyone, S), S)].sum() for S in every_set(len(wins))) / (
        1 - 2 * eps
    )


def fit(a: b.RobustDPO, case: Case) -> np.ndarray:
    """T13.14: SciPy's root of the gradient of the robust loss, where there is one."""
    wins, off = second.wins_of(case.sampling, case.bandit), a.flips / (1 - 2 * a.flips)
    assume(held(wins, a.flips) > 1e-3)
    x = second.margins(wins, lambda z: -expit(-z) - off)
    return softmax(case.bandit.log_reference + x / a.beta)


ROWS = {
    "RobustDPO": Row(
        make=b.RobustDPO,
        formula=formula,
        size=size,
        target=fit,
        ends={"on-policy": "other", "elsewhere": "other"},  # T13.14: these labels are not flipped
    )
}


# ---- what it is known for ---------------------------------------------------------------------------------


def flipped(world: b.Bandit, eps: float) -> b.Bandit:
    """The same world, labels flipped with probability eps."""
    P = (1 - eps) * world.preference + eps * (1 - world.preference)
    return b.Bandit(world.reward, preference=P, reference=world.reference)


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.3, 10), eps=st.floats(0.01, 0.45))
def test_with_the_known_share_of_flips_it_ends_at_the_optimum_whoever_sampled(data, beta, eps):
    """T13.14: pi* for every connected law; by the sum over pairs, and by the fit."""
    world = data.draw(strategies.bandits_with_reward(2, 5, smallest=1e-2))
    sampling = data.draw(strategies.pair_samplings(world.arms))
    best, robust, noisy = world.optimal_policy(beta), b.RobustDPO(beta, eps), flipped(world, eps)
    size = 1e-13 * beta / (1 - 2 * eps)
    assert_allclose(b.expected_update(robust, noisy, sampling, best), 0, atol=30 * size)
    found = b.fixed_point(robust, noisy, sampling)
    assert_allclose(found.policy, best, rtol=0, atol=1e-11 / (1 - 2 * eps))
    assert found.unique and found.stable and found.residual <= 1e-10


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(), eps=st.floats(0, 0.49))
def test_over_the_flips_the_loss_is_that_of_the_clean_label(data, beta, eps):
    """T13.14: (1 - eps) f(z) + eps f(-z) = l(z), group by group."""
    rng = data.draw(strategies.generators())
    h, won = rng.normal(size=2), np.array([[0.5, 1.0], [0.0, 0.5]])

    def loss(algorithm, preference):
        pair = b.Samples(log_prob=h, reference_log_prob=np.zeros(2), preference=preference)
        return algorithm.loss(pair)

    robust = b.RobustDPO(beta, eps)
    mean = (1 - eps) * loss(robust, won) + eps * loss(robust, won.T)
    scale = (1 + beta * np.ptp(h)) / (1 - 2 * eps)
    assert_allclose(mean, loss(b.DPO(beta), won), rtol=0, atol=1e-14 * scale)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_label_smoothing_does_not_end_at_the_optimum_with_flips_or_without(noise):
    """T13.14: nor does it depend on nothing but the reward: two samplers give two ends."""
    world = b.Bandit(np.log([1.0, 2.0, 6.0]), reference=[0.6, 0.3, 0.1])
    ends = [
        b.fixed_point(b.DPO(0.5, smoothing=0.1), flipped(world, noise), b.Offline(mu)).policy
        for mu in ([0.6, 0.25, 0.15], [0.1, 0.1, 0.8])
    ]
    assert np.abs(ends[0] - ends[1]).max() > 5e-3
    assert min(np.abs(end - world.optimal_policy(0.5)).max() for end in ends) > 0.05


def test_without_flips_it_is_dpo_and_with_them_it_is_dpo_smoothed_backwards():
    """p -> (p - eps) / (1 - 2 eps) is smoothing by -eps / (1 - 2 eps), undone by smoothing by eps."""
    case = Case(worlds.MIXED, b.Offline(worlds.BEHAVIOR), worlds.POLICY)
    one, two = (b.expected_update(a, *_of(case)) for a in (b.RobustDPO(0.7, 0.0), b.DPO(0.7)))
    assert_allclose(one, two, rtol=0, atol=1e-15)
    noisy = b.Bandit(preference=0.8 * worlds.MIXED.preference + 0.1, reference=worlds.MIXED.reference)
    undone = b.expected_update(b.RobustDPO(0.7, 0.1), noisy, case.sampling, case.policy)
    assert_allclose(undone, two, rtol=0, atol=1e-15)


def _of(case: Case):
    return case.bandit, case.sampling, case.policy


# ---- existence ---------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(rng=strategies.generators(), arms=st.integers(2, 5), eps=st.floats(0.05, 0.4), sharp=st.floats(0.5, 6))
def test_it_has_an_end_iff_no_set_of_arms_gains_by_rising(rng, arms, eps, sharp):
    """T13.14: sums over all 2^A - 2 sets, against the linear programme; an end is SciPy's root."""
    reward, mu = sharp * rng.normal(size=arms), rng.dirichlet(np.full(arms, 2.0))
    world, law = b.Bandit(reward, reference=rng.dirichlet(np.full(arms, 2.0))), b.Offline(mu)
    wins = second.wins_of(law, world)
    clean = ((1 - eps) * wins - eps * wins.T) / (1 - 2 * eps)
    assume(abs(held(wins, eps)) > 1e-9)
    if held(wins, eps) > 0:
        found = b.fixed_point(b.RobustDPO(0.5, eps), world, law)
        assert found.unique and found.residual <= 1e-10
        assert_allclose(b.expected_update(b.RobustDPO(0.5, eps), world, law, found.policy), 0, atol=1e-10)
        if (clean >= 0).all():
            u = second.margins(clean, lambda z: -expit(-z))
            assert_allclose(found.policy, softmax(world.log_reference + u / 0.5), atol=1e-9)
    else:
        with pytest.raises(b.NoFixedPoint, match="labels are cleaner than flips") as refusal:
            b.fixed_point(b.RobustDPO(0.5, eps), world, law)
        assert "rise above the others" in str(refusal.value) and "fewer flips" in str(refusal.value)


def test_the_set_that_rises_lowers_the_loss_for_ever():
    """Certain labels with flips of .1: the loss falls by .125 for each unit of a lead."""
    wins = np.array([[0, 1.0, 1.0], [0, 0, 1.0], [0, 0, 0]])
    rising = margins.rising(wins, 1.125, 0.125)
    assert rising is not None and 0 < len(rising) < 3
    lost = [sum(1.125 * max(y - x, 0) - 0.125 * max(x - y, 0) for x, y in _pairs(wins, rising))]
    assert lost[0] < 0
    with pytest.raises(b.NoFixedPoint, match="no minimiser"):
        b.fixed_point(b.RobustDPO(0.5), b.Bandit(np.zeros(3)), b.Dataset([(0, 1), (1, 2), (0, 2)]))


def _pairs(wins, rising):
    height = np.isin(np.arange(len(wins)), rising).astype(float)
    return [(height[i], height[j]) for i, j in np.argwhere(wins > 0)]


def test_labels_that_are_too_clean_for_a_pair_may_still_have_an_end():
    """p = .03 < eps = .1 for one pair, whom the others hold; not for the pair alone."""
    P = np.array([[0.5, 0.97, 0.5], [0.03, 0.5, 0.5], [0.5, 0.5, 0.5]])
    world, law = b.Bandit(preference=P, reference=[0.2, 0.5, 0.3]), b.Offline([0.3, 0.3, 0.4])
    found = b.fixed_point(b.RobustDPO(0.5, 0.1), world, law)
    assert found.unique and found.residual <= 1e-10
    assert_allclose(b.expected_update(b.RobustDPO(0.5, 0.1), world, law, found.policy), 0, atol=1e-13)
    alone = b.Bandit(preference=P[:2, :2])
    with pytest.raises(b.NoFixedPoint, match=r"the arms \[0\] rise"):
        b.fixed_point(b.RobustDPO(0.5, 0.1), alone, b.Offline([0.4, 0.6]))


@pytest.mark.parametrize("flips", [0.5, -0.1, 0.9])
def test_shares_of_flips_that_are_none_are_refused(flips):
    with pytest.raises(ValueError, match=rf"flips must lie in \[0, 1/2\), but flips = {flips}.*swap"):
        b.RobustDPO(0.5, flips)
