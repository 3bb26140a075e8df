"""Convex losses of the margin: what finds the reward, and what depends on who sampled (T12.15-T12.17)."""

from __future__ import annotations

import independent_solvers as second
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import expit, softmax

import answer_key
import bandits as b
import worlds
from bandits.algorithms.margin_loss import reward_scale
from bandits.solvers import bradley_terry, margins
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from rows import Row, size_of_rewards

EXAMPLES = settings(max_examples=20)

# ---- the row ----------------------------------------------------------------------------------------------

SLOPES = {  # f' of each, written a second time
    b.logistic: lambda z: -expit(-z),
    b.squared: lambda z: 2 * (z - 1),
    b.exponential: lambda z: -np.exp(-z),
    b.savage: lambda z: -2 * expit(-z) ** 2 * expit(z),
    b.truncated_squared: lambda z: -2 * np.maximum(0, 1 - z),
}
VALUES = {
    b.logistic: lambda z: np.logaddexp(0, -z),
    b.squared: lambda z: (z - 1) ** 2,
    b.exponential: lambda z: np.exp(-z),
    b.savage: lambda z: 1 / (1 + np.exp(z)) ** 2,
    b.truncated_squared: lambda z: np.maximum(0, 1 - z) ** 2,
    b.hinge: lambda z: np.maximum(0, 1 - z),
}


def formula(a: b.ConvexLoss, s: b.Samples) -> list[float]:
    """T12.15: -+beta f'(beta dh) for each outcome of the label."""
    h = answer_key.log_ratio(s)
    return answer_key.over_labels(
        lambda won, lost: -a.beta * float(SLOPES[a.f](a.beta * (h[won] - h[lost]))),
        float(s.preference[0, 1]),
    )


def size(a: b.ConvexLoss, case: Case) -> float:
    """f' sees beta h, and beta stands before it."""
    return 4 * size_of_rewards(a, case) * max(1.0, a.beta) ** 2


def least(a: b.ConvexLoss, case: Case) -> np.ndarray:
    """T12.15: SciPy's root of the gradient of E f(du), from wins counted by hand."""
    x = second.margins(second.wins_of(case.sampling, case.bandit), SLOPES[a.f])
    return softmax(case.bandit.log_reference + x / a.beta)


ROWS = {
    "ConvexLoss": Row(
        make=b.ConvexLoss,
        formula=formula,
        size=size,
        ends={"on-policy": "optimum", "elsewhere": "optimum"},  # T12.16, c = 1
    ),
    "ConvexLoss(squared)": Row(
        make=lambda beta: b.ConvexLoss(beta, b.squared),
        formula=formula,
        size=size,
        target=least,
        ends={"on-policy": "other", "elsewhere": "other"},  # T4.3
    ),
}


# ---- the functions ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("f", VALUES)
def test_values_and_slopes_are_the_formulas(f):
    z = np.array([-7.3, -1.1, -0.2, 0.0, 0.4, 0.97, 1.6, 5.2])
    assert_allclose(f.value(z), VALUES[f](z), rtol=1e-14, atol=1e-300)
    by_difference = (VALUES[f](z + 1e-6) - VALUES[f](z - 1e-6)) / 2e-6
    assert_allclose(f.slope(z), by_difference, atol=1e-6 * (1 + np.abs(by_difference).max()))


@pytest.mark.parametrize("f", VALUES)
def test_those_that_say_so_are_convex_and_savage_is_not(f):
    slopes = f.slope(np.linspace(-8, 8, 401))
    assert f.convex == bool((np.diff(slopes) >= -1e-12).all())
    assert f.convex == (f is not b.savage)


def test_what_is_no_loss_of_the_margin_is_refused():
    with pytest.raises(ValueError, match="f must be a MarginLoss.*MarginLoss\\(value, slope\\)"):
        b.ConvexLoss(0.5, np.exp)
    with pytest.raises(ValueError, match="slope"):
        b.MarginLoss(np.exp, 3.0)
    constant = b.MarginLoss(np.exp, lambda z: np.zeros(3))
    pair = b.Samples(log_prob=np.zeros(2), reference_log_prob=np.zeros(2), preference=np.full((2, 2), 0.5))
    with pytest.raises(ValueError, match=r"slope must return numbers .* shape \(3,\)"):
        b.ConvexLoss(0.5, constant).update(pair)


def test_at_its_default_it_is_dpo():
    """The same coefficients, and `report` says equal, under its own name first."""
    case = Case(worlds.MIXED, b.Offline(worlds.BEHAVIOR), worlds.POLICY)
    one, two = (
        b.expected_update(a, case.bandit, case.sampling, case.policy) for a in (b.ConvexLoss(0.7), b.DPO(0.7))
    )
    assert_allclose(one, two, rtol=0, atol=1e-15)


def test_the_square_is_ipo_of_half_beta():
    """(beta dh - 1)^2 = beta^2 (dh - 1/(2 (beta/2)))^2: IPO with beta / 2, times beta^2  (T11.1)."""
    case = Case(worlds.MIXED, b.Offline(worlds.BEHAVIOR), worlds.POLICY)
    square, ipo = (
        b.expected_update(a, case.bandit, case.sampling, case.policy)
        for a in (b.ConvexLoss(0.7, b.squared), b.IPO(0.35))
    )
    assert_allclose(square, 0.7**2 * ipo, rtol=0, atol=1e-14)


# ---- T12.15: beta only says how far the policy goes --------------------------------------------------------


@pytest.mark.parametrize("f", [b.logistic, b.squared, b.exponential, b.truncated_squared])
@EXAMPLES
@given(data=st.data(), betas=st.tuples(strategies.betas(0.05, 20), strategies.betas(0.05, 20)))
def test_the_best_scores_do_not_depend_on_beta(f, data, betas):
    """T12.15: u = beta h is the same for all beta, any preferences, any law, and is SciPy's."""
    world = data.draw(strategies.bandits_with_preference(2, 6, smallest=1e-2))
    world = b.Bandit(preference=0.9 * world.preference + 0.05, reference=world.reference)
    sampling = data.draw(strategies.pair_samplings(world.arms))
    u = second.margins(second.wins_of(sampling, world), SLOPES[f])
    for beta in betas:
        found = b.fixed_point(b.ConvexLoss(beta, f), world, sampling)
        scores = beta * found.log_ratio
        assert_allclose(scores - scores.mean(), u, rtol=0, atol=1e-9 * (1 + np.abs(u).max()))
        assert found.unique and found.residual <= 1e-10


# ---- T12.16: which find the reward -------------------------------------------------------------------------


@pytest.mark.parametrize(("f", "c"), [(b.logistic, 1), (b.savage, 1), (b.exponential, 2)])
@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.3, 3))
def test_an_exponential_ratio_of_slopes_finds_the_reward_whoever_sampled(f, c, data, beta):
    """T12.16: pi* of c beta for any law, its own samples too; by the sum over pairs, and Newton's."""
    assert reward_scale(f) == c
    world = data.draw(strategies.bandits_with_reward(2, 5, smallest=1e-2))
    sampling = data.draw(st.one_of(strategies.pair_samplings(world.arms), st.just(b.OnPolicy())))
    best = world.optimal_policy(c * beta)
    steep = beta * np.exp(np.ptp(world.reward))
    assert_allclose(b.expected_update(b.ConvexLoss(beta, f), world, sampling, best), 0, atol=1e-13 * steep)
    assert_allclose(b.fixed_point(b.ConvexLoss(beta, f), world, sampling).policy, best, rtol=1e-11)
    if f.convex and not sampling.on_policy:
        wins = second.wins_of(sampling, world)
        found = margins.fit(wins, np.zeros(world.arms), f.slope)
        assert_allclose(c * (found.strength - found.strength[0]), world.reward - world.reward[0], atol=1e-9)


def test_savage_ends_at_the_reward_from_every_start_though_it_is_not_convex():
    """T12.16: the arm where u - r is largest is pulled down by all its pairs."""
    world, sampling = b.Bandit([2.0, 0.3, -1.0], reference=[0.2, 0.5, 0.3]), b.Offline([0.6, 0.3, 0.1])
    plain = b.ConvexLoss(0.5, b.MarginLoss(b.savage.value, lambda z: 1.0000001 * b.savage.slope(z)))
    starts = np.random.default_rng(0).dirichlet(np.ones(3), size=10)
    found = b.fixed_point(
        plain, world, sampling, starts
    )  # its own closed form: the same, with the certificate
    assert_allclose(found.policy, np.tile(world.optimal_policy(0.5), (10, 1)), atol=1e-9)
    path = b.flow(b.ConvexLoss(0.5, b.savage), world, sampling, [0.0, 3e4], starts)
    assert_allclose(path[-1], np.tile(world.optimal_policy(0.5), (10, 1)), atol=1e-5)


def test_savage_may_have_several_ends_where_preferences_are_a_cycle():
    """Not convex: a strong pair far from its preference hardly pulls."""
    cycle = [[0.5, 0.02, 0.98], [0.98, 0.5, 0.02], [0.02, 0.98, 0.5]]
    law = b.Pairs(np.array([[0.038, 0.061, 0.029], [0.0, 0.056, 0.004], [0.748, 0.064, 0.0]]))
    world = b.Bandit(preference=cycle, reference=[0.3, 0.4, 0.3])
    ends = b.fixed_points(b.ConvexLoss(1.0, b.savage), world, law, starts=6)
    assert len(ends) == 2 and all(one.stable and not one.unique for one in ends)
    assert len(b.fixed_points(b.ConvexLoss(1.0, b.exponential), world, law, starts=6)) == 1


@pytest.mark.parametrize("f", [b.squared, b.truncated_squared])
def test_the_squares_depend_on_who_sampled(f):
    """T12.16: no exponential ratio, and two samplers give two ends, also under Bradley-Terry."""
    assert reward_scale(f) is None
    world = b.Bandit([2.0, 0.3, -1.0], reference=[0.2, 0.5, 0.3])
    laws = b.Offline([0.8, 0.1, 0.1]), b.Offline([0.1, 0.1, 0.8])
    one, two = (b.fixed_point(b.ConvexLoss(0.5, f), world, law).policy for law in laws)
    assert np.abs(one - two).max() > 0.02


# ---- T12.17: near a tie all are IPO ------------------------------------------------------------------------

TIES = {b.logistic: 2.0, b.savage: 2.0, b.exponential: 1.0, b.squared: 1.0}


@pytest.mark.parametrize(("f", "times"), TIES.items())
def test_near_a_tie_every_smooth_loss_is_the_square_times_its_slope_over_its_curvature(f, times):
    """T12.17: P - 1/2 = eps A: u = -f'(0)/f''(0) (the square's) + O(eps^2); IPO's is half the square's."""
    rng = np.random.default_rng(3)
    A, mu, reference = (
        np.triu(rng.normal(size=(4, 4)), 1),
        rng.dirichlet(np.ones(4)),
        rng.dirichlet(np.ones(4)),
    )
    step = 1e-4
    assert_allclose(-SLOPES[f](0.0) / ((SLOPES[f](step) - SLOPES[f](-step)) / (2 * step)), times, rtol=1e-6)
    off = []
    for eps in (1e-2, 1e-3):
        world = b.Bandit(preference=0.5 + eps * (A - A.T), reference=reference)
        u, square, ipo = (
            0.5 * (h - h.mean())
            for h in (b.fixed_point(a, world, b.Offline(mu)).log_ratio for a in _three(f))
        )
        assert_allclose(square, 2 * ipo, rtol=0, atol=1e-14)
        off.append(np.abs(u / eps - times * square / eps).max())
    assert off[0] < 0.2 and (f is b.squared or 8 < off[0] / off[1])  # the error falls like eps, or faster


def _three(f):
    return b.ConvexLoss(0.5, f), b.ConvexLoss(0.5, b.squared), b.IPO(0.5)


# ---- existence ---------------------------------------------------------------------------------------------

LADDER = np.array([[0.5, 1.0, 1.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.5]])
CERTAIN = b.Bandit(preference=LADDER, reference=[0.2, 0.5, 0.3])


@pytest.mark.parametrize("f", [b.logistic, b.exponential])
def test_what_falls_for_ever_has_no_end_where_an_arm_never_loses(f):
    """Ford's condition, and the limit  (T5.3)."""
    with pytest.raises(b.NoFixedPoint, match=r"arm 0 beat arm 1 and no chain of wins leads back") as refusal:
        b.fixed_point(b.ConvexLoss(0.5, f), CERTAIN, b.Offline([0.3, 0.3, 0.4]))
    assert_allclose(refusal.value.solution.policy, [1, 0, 0])


def test_the_square_has_an_end_for_certain_labels():
    """z = 2p - 1 = 1 along the ladder is impossible for all three: u = (2, 0, -2)/3 for equal weights."""
    found = b.fixed_point(b.ConvexLoss(0.5, b.squared), CERTAIN, b.Offline(np.full(3, 1 / 3)))
    u = 0.5 * found.log_ratio
    assert_allclose(u - u.mean(), np.array([2, 0, -2]) / 3, atol=1e-13)


def test_the_truncated_square_leaves_a_continuum_and_ends_where_the_flow_enters_it():
    """Every lead of at least one is free; one that is larger from the start stays."""
    law = b.Offline([0.3, 0.3, 0.4])
    start = softmax(np.log(CERTAIN.reference) + np.array([9.0, 0.0, -9.0]))
    stays = b.fixed_point(b.ConvexLoss(0.5, b.truncated_squared), CERTAIN, law, start)
    assert stays.message.startswith("continuum") and stays.unique is False and stays.stable is None
    assert_allclose(stays.policy, start, atol=1e-12)
    found = b.fixed_point(b.ConvexLoss(0.5, b.truncated_squared), CERTAIN, law)
    u = 0.5 * (found.log_policy - CERTAIN.log_reference)
    assert found.message.startswith("continuum") and np.diff(u).max() < -1 + 1e-4


def test_weak_links_and_rare_arms_keep_their_digits():
    """Newton's method for any f against the one made for the logistic, weights down to 1e-12."""
    rng = np.random.default_rng(1)
    for arms in (3, 12, 40):
        mu = rng.dirichlet(np.full(arms, 0.3)) + 1e-12
        wins = np.outer(mu, mu) * expit(4 * rng.normal(size=(arms, arms)))
        found = margins.fit(wins, np.zeros(arms), b.logistic.slope)
        assert_allclose(found.strength, bradley_terry.fit(wins).strength, rtol=0, atol=1e-11)
        assert found.residual < 1e-13


@pytest.mark.parametrize("short", [1e-3, 1e-9])
def test_the_exponential_balances_flows_that_differ_by_many_orders(short):
    """On a tree of comparisons every gap is half the log-odds: N_ij e^-z = N_ji e^z."""
    wins = np.array([[0, 1.0, 0], [short, 0, 1e-6], [0, 1e-6 * short, 0]])
    found = margins.fit(wins, np.zeros(3), b.exponential.slope)
    assert_allclose(-np.diff(found.strength), -np.log(short) / 2, rtol=1e-11)


def test_sparse_data_sets_are_fitted_as_dense_ones():
    pairs = np.array([(0, 1)] * 3 + [(1, 0)] + [(1, 2)] * 2 + [(2, 0)] + [(2, 1)])
    world = b.Bandit(preference=LADDER * 0 + 0.5, reference=[0.2, 0.5, 0.3])
    found = b.fixed_point(b.ConvexLoss(0.5, b.exponential), world, b.Dataset(pairs))
    u = second.margins(second.wins_of(b.Dataset(pairs), world), SLOPES[b.exponential])
    assert_allclose(found.policy, softmax(world.log_reference + u / 0.5), atol=1e-12)


def test_slopes_that_overflow_are_refused_and_the_fit_does_not_meet_them():
    """e^(beta h) beyond 1e308: no expectation is computed from it; u itself knows no beta (T12.15)."""
    world, law = b.Bandit([1.0, -0.5, 0.25], reference=[0.5, 0.3, 0.2]), b.Offline([0.6, 0.1, 0.3])
    with pytest.raises(ValueError, match="expected update must be finite, but .* = nan; take a smaller beta"):
        b.expected_update(b.ConvexLoss(1e4, b.exponential), world, law, [0.2, 0.5, 0.3])
    game = b.Bandit(preference=[[0.5, 0.7, 0.2], [0.3, 0.5, 0.9], [0.8, 0.1, 0.5]])
    found = b.fixed_point(b.ConvexLoss(1e4, b.exponential), game, law, [0.98, 0.01, 0.01])
    assert found.unique and found.residual <= 1e-10 * 1e4  # of coefficients that beta multiplies
