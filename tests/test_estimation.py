"""Learning from N comparisons: fits, their uncertainty, pessimism and exploration (T9.8)."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize
from scipy.special import softmax

import bandits as b
from bandits.estimation import (
    accuracy,
    draw_wins,
    effective_resistance,
    explorer,
    fitted_preference,
    fitted_reward,
    hybrid_step,
    information,
    next_pair,
    online_step,
    pessimistic_policy,
    pessimistic_reward,
    pointwise_policy,
    uncertainty,
    wins_of,
)
from bandits.policy import kl
from bandits.testing import strategies

EXAMPLES = settings(max_examples=20)
FEW = settings(max_examples=8)
RIDGES = st.sampled_from([0.03, 0.5, 4.0])
WIDTHS = st.sampled_from([0.05, 0.3, 1.0, 4.0])


@st.composite
def tallies(draw, most: int = 5, connected: bool = False) -> np.ndarray:
    """Counts of wins; some pairs never met, unless a chain must join all arms."""
    arms, rng = draw(st.integers(2, most)), draw(strategies.generators(7))
    wins = rng.poisson(rng.choice([0.4, 2.0, 8.0], size=(arms, arms))).astype(float)
    if connected:
        order = rng.permutation(arms)
        wins[order, np.roll(order, 1)] += 1  # a cycle of wins: Ford's condition holds too
    np.fill_diagonal(wins, 0)
    return wins


def penalised(wins: np.ndarray, reward: np.ndarray, ridge: float) -> float:
    """The loss by its definition, pair by pair."""
    total = ridge / 2 * float(reward @ reward)
    for i, j in itertools.permutations(range(len(wins)), 2):
        total += wins[i, j] * math.log1p(math.exp(reward[j] - reward[i]))
    return total


def objective(policy, reward, origin, metric, reference, beta: float, width: float) -> float:
    """E_pi[r] - c |pi - nu| - beta KL(pi || ref)."""
    apart = policy - origin
    with np.errstate(divide="ignore"):
        divergence = kl(np.log(policy), np.log(reference))
    return float(policy @ reward - width * math.sqrt(max(apart @ metric @ apart, 0.0)) - beta * divergence)


# ---- comparisons ------------------------------------------------------------------------------------------


def test_comparisons_are_counted_and_drawn_as_the_world_labels_them():
    """N draws of "i beat j": mean N S P, and no entry further off than five of its standard deviations."""
    world = b.Bandit(preference=[[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]])
    first, second, count = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.5, 0.3]), 100_000
    wins = draw_wins(world, first, second, count, np.random.default_rng(3))
    law = np.zeros((3, 3))
    for i, j in itertools.product(range(3), repeat=2):
        law[i, j] += first[i] * second[j] * world.preference[i, j]
        law[j, i] += first[i] * second[j] * world.preference[j, i]
    assert wins.sum() == count
    assert (np.abs(wins - count * law) <= 5 * np.sqrt(count * law * (1 - law))).all()
    pairs = [(0, 1), (2, 1), (0, 1), (1, 0)]
    assert_array_equal(wins_of(b.Dataset(pairs), 4)[:3, :2], [[0, 2], [1, 0], [0, 1]])


# ---- fits -------------------------------------------------------------------------------------------------


@EXAMPLES
@given(wins=tallies(), ridge=RIDGES)
def test_the_penalised_fit_minimises_the_loss_by_its_definition(wins, ridge):
    found = fitted_reward(wins, ridge)
    other = optimize.minimize(lambda x: penalised(wins, x, ridge), np.zeros(len(wins)), tol=1e-12)
    assert_allclose(found, other.x, rtol=0, atol=3e-5)  # BFGS on a flat floor: the root of its 1e-10
    assert penalised(wins, found, ridge) <= other.fun + 1e-13 * abs(other.fun)
    assert_allclose(found.sum(), 0, atol=1e-12 * (1 + np.abs(found).max()))


@EXAMPLES
@given(wins=tallies(connected=True), beta=strategies.betas(0.1, 10), data=st.data())
def test_dpo_on_the_data_ends_at_the_tilt_by_the_fit_and_a_small_ridge_hardly_moves_it(wins, beta, data):
    reference = data.draw(strategies.references(len(wins), smallest=1e-3))
    world = b.Bandit(reward=np.zeros(len(wins)), reference=reference)
    pairs = [pair for pair in np.ndindex(wins.shape) for _ in range(int(wins[pair]))]
    fit = fitted_reward(wins_of(b.Dataset(pairs), len(wins)))
    end = b.fixed_point(b.DPO(beta), world, b.Dataset(pairs)).policy
    assert_allclose(end, b.Bandit(fit, reference=reference).optimal_policy(beta), rtol=1e-9)
    assert_allclose(fitted_reward(wins, 1e-7), fit, rtol=0, atol=1e-5 * (1 + np.abs(fit).max()))


@EXAMPLES
@given(wins=tallies(), prior=st.sampled_from([0.0, 0.5, 3.0]))
def test_preferences_are_shares_of_games(wins, prior):
    found = fitted_preference(wins, prior)
    for i, j in itertools.permutations(range(len(wins)), 2):
        games = wins[i, j] + wins[j, i] + 2 * prior
        assert_allclose(found[i, j], (wins[i, j] + prior) / games if games else 0.5, rtol=1e-15)
    b.Bandit(preference=found)  # and they are preferences


def test_the_fit_spreads_as_the_resistance_says():
    """Over 400 data sets Cov(r^) -> Fisher's inverse, which for equal arms is 4 x that of the games: 4 R_ij.

    A sample variance of 400 has the relative deviation sqrt(2/400) = 7 %; the fit's own third order adds 1/N.
    """
    world, mu, count = b.Bandit(np.zeros(4)), np.array([0.4, 0.3, 0.2, 0.1]), 2000
    rng = np.random.default_rng(5)
    fits = np.array([fitted_reward(draw_wins(world, mu, mu, count, rng)) for _ in range(400)])
    resistance = effective_resistance(
        count * np.outer(mu, mu)
    )  # games: N (mu mu' + mu' mu) P = N mu mu' each way
    for i, j in itertools.combinations(range(4), 2):
        variance = np.var(fits[:, i] - fits[:, j])
        assert_allclose(variance, 4 * resistance[i, j], rtol=5 * 0.07)


# ---- uncertainty ------------------------------------------------------------------------------------------


@EXAMPLES
@given(wins=tallies(connected=True))
def test_resistance_is_that_of_the_pseudo_inverse_and_the_energy_of_the_unit_flow(wins):
    """The flow of least energy sum f^2/g among those with the divergence e_i - e_j: a least-norm solution."""
    arms, games = len(wins), wins + wins.T
    edges = [edge for edge in itertools.combinations(range(arms), 2) if games[edge] > 0]
    conductance = np.array([games[edge] for edge in edges])
    incidence = np.zeros((arms, len(edges)))
    for column, (i, j) in enumerate(edges):
        incidence[i, column], incidence[j, column] = 1.0, -1.0
    pseudo = np.linalg.pinv(incidence * conductance @ incidence.T, hermitian=True)
    found = effective_resistance(wins)
    for i, j in itertools.permutations(range(arms), 2):
        unit = np.eye(arms)[i] - np.eye(arms)[j]
        scaled = np.linalg.lstsq(incidence * np.sqrt(conductance), unit, rcond=1e-12)[0]
        assert_allclose(found[i, j], scaled @ scaled, rtol=1e-9)
        assert_allclose(found[i, j], unit @ pseudo @ unit, rtol=1e-9)
        assert_allclose(found[i, j], uncertainty(np.eye(arms)[i], np.eye(arms)[j], wins) ** 2, rtol=1e-9)
    trees = sum(games[edge] * found[edge] for edge in edges)
    assert_allclose(trees, arms - 1, rtol=1e-10)  # Foster's theorem: each edge's share in spanning trees


@EXAMPLES
@given(wins=tallies(), data=st.data())
def test_more_comparisons_never_make_less_sure_and_detours_are_longer(wins, data):
    """Rayleigh's monotonicity, and the triangle inequality; no chain, no knowledge."""
    arms, rng = len(wins), data.draw(strategies.generators(8))
    before = effective_resistance(wins)
    more = wins.copy()
    more[tuple(rng.choice(arms, 2, replace=False))] += 1
    after = effective_resistance(more)
    assert (after <= before * (1 + 1e-12)).all()
    for i, j, k in itertools.permutations(range(arms), 3):
        assert before[i, j] <= (before[i, k] + before[k, j]) * (1 + 1e-12)
    lone = np.pad(wins, (0, 1))
    assert np.isinf(effective_resistance(lone)[-1, :-1]).all() and effective_resistance(lone)[-1, -1] == 0
    assert uncertainty(np.eye(arms + 1)[-1], np.eye(arms + 1)[0], lone) == np.inf


@EXAMPLES
@given(wins=tallies(), ridge=RIDGES, data=st.data())
def test_uncertainty_is_the_most_that_a_believable_reward_can_say(wins, ridge, data):
    """max (pi - nu).w over |w|_Sigma <= 1, reached at Sigma^-1 (pi - nu); no random w says more."""
    arms, rng = len(wins), data.draw(strategies.generators(9))
    policy, origin = rng.dirichlet(np.ones(arms), size=2)
    sigma = ridge * np.eye(arms)
    for i, j in itertools.permutations(range(arms), 2):
        pair = np.eye(arms)[i] - np.eye(arms)[j]
        sigma += wins[i, j] * np.outer(pair, pair)
    assert_allclose(information(wins, ridge), sigma, rtol=1e-14, atol=1e-13)
    found, apart = uncertainty(policy, origin, wins, ridge), policy - origin
    w = rng.normal(size=(500, arms))
    w /= np.sqrt(np.einsum("ni,ij,nj->n", w, sigma, w))[:, None]
    best = np.linalg.solve(sigma, apart)
    assert (w @ apart).max() <= found * (1 + 1e-12)
    assert_allclose(best @ apart / math.sqrt(best @ sigma @ best), found, rtol=1e-11)
    both = uncertainty(np.stack([policy, origin]), origin, wins, ridge)
    assert_allclose(both, [found, 0.0], rtol=1e-12, atol=1e-14)


@EXAMPLES
@given(wins=tallies(connected=True))
def test_the_ridge_vanishes_into_the_resistance(wins):
    resistance = effective_resistance(wins)
    for i, j in itertools.permutations(range(len(wins)), 2):
        found = uncertainty(np.eye(len(wins))[i], np.eye(len(wins))[j], wins, ridge=1e-7)
        assert_allclose(found**2, resistance[i, j], rtol=1e-5)


# ---- pessimism --------------------------------------------------------------------------------------------


@EXAMPLES
@given(wins=tallies(), ridge=RIDGES, width=WIDTHS, beta=strategies.betas(0.1, 5), data=st.data())
def test_pessimism_is_best_against_the_worst_believable_reward(wins, ridge, width, beta, data):
    """By its dual: the least beta log E_ref[exp((r - w)/beta)] + w.nu over |w|_Sigma <= c is the value."""
    rng, arms = data.draw(strategies.generators(10)), len(wins)
    reference, origin = rng.dirichlet(np.full(arms, 2.0), size=2)
    origin = reference if data.draw(st.booleans()) else origin
    found = pessimistic_policy(wins, reference, beta, width=width, ridge=ridge, origin=origin)
    reward, sigma = fitted_reward(wins, ridge), information(wins, ridge)
    metric, root = np.linalg.inv(sigma), np.linalg.inv(np.linalg.cholesky(sigma)).T
    reached = objective(found, reward, origin, metric, reference, beta, width)

    def worst(u: np.ndarray) -> float:
        w = root @ u  # |w|_Sigma = |u|
        return b.Bandit(reward - w, reference=reference).optimal_value(beta) + w @ origin

    bound = {"type": "ineq", "fun": lambda u: width**2 - u @ u, "jac": lambda u: -2 * u}
    dual = optimize.minimize(worst, np.zeros(arms), constraints=[bound], method="SLSQP", tol=1e-12)
    assert_allclose(reached, dual.fun, rtol=0, atol=1e-7 * (1 + abs(dual.fun)))  # SLSQP's own gradient
    for other in [*rng.dirichlet(np.ones(arms), size=50), reference, 0.999 * found + 0.001 * origin]:
        assert objective(other, reward, origin, metric, reference, beta, width) <= reached + 1e-12
    apart = found - origin
    if np.abs(apart).max() > 1e-6:  # away from the norm's kink the slope is level
        pull = width * metric @ apart / math.sqrt(apart @ metric @ apart)
        slope = reward - pull - beta * np.log(found / reference)
        assert np.ptp(slope) <= 1e-8 * (1 + np.abs(pull).max() + np.abs(reward).max())


@EXAMPLES
@given(wins=tallies(), ridge=RIDGES, beta=strategies.betas(0.1, 5), data=st.data())
def test_no_sure_gain_leaves_the_reference(wins, ridge, beta, data):
    """From the width min_k |r - k|_Sigma on, whatever beta; a little below it moves.  Without width: pi*."""
    reference = data.draw(strategies.references(len(wins), smallest=1e-2))
    reward, sigma = fitted_reward(wins, ridge), information(wins, ridge)
    level = (sigma.sum(axis=0) @ reward) / sigma.sum()
    edge = math.sqrt((reward - level) @ sigma @ (reward - level))
    if edge < 1e-9:  # nobody won more than others
        return
    beyond = pessimistic_policy(wins, reference, beta, width=1.001 * edge, ridge=ridge)
    below = pessimistic_policy(wins, reference, beta, width=0.9 * edge, ridge=ridge)
    assert_array_equal(beyond, reference)
    assert reward @ (below - reference) > 0
    best = b.Bandit(reward, reference=reference).optimal_policy(beta)
    for policy in (pessimistic_policy, pointwise_policy):
        assert_allclose(policy(wins, reference, beta, width=0.0, ridge=ridge), best, rtol=1e-12)


@EXAMPLES
@given(wins=tallies(), ridge=RIDGES, width=WIDTHS, beta=strategies.betas(0.1, 5), data=st.data())
def test_if_the_truth_is_believable_the_regret_is_at_most_twice_the_optimums_uncertainty(
    wins, ridge, width, beta, data
):
    """Both options: J(pi*) - J(found) <= 2 Gamma(pi*), of the policy or in the mean of its arms."""
    rng, arms = data.draw(strategies.generators(11)), len(wins)
    reference = data.draw(strategies.references(arms, smallest=1e-2))
    sigma = information(wins, ridge)
    w = rng.normal(size=arms)
    truth = fitted_reward(wins, ridge) + width * w / math.sqrt(w @ sigma @ w)
    world = b.Bandit(truth, reference=reference)
    best = world.optimal_policy(beta)
    whole = width * uncertainty(best, reference, wins, ridge)
    each = width * best @ uncertainty(np.eye(arms), reference, wins, ridge)
    assert whole <= each * (1 + 1e-12)
    given_ = {"width": width, "ridge": ridge}
    assert world.regret(pessimistic_policy(wins, reference, beta, **given_), beta) <= 2 * whole + 1e-10
    assert world.regret(pointwise_policy(wins, reference, beta, **given_), beta) <= 2 * each + 1e-10


@EXAMPLES
@given(wins=tallies(connected=True), width=WIDTHS, beta=strategies.betas(0.1, 5), data=st.data())
def test_dpo_with_the_uncertainty_as_its_margin_trains_pointwise_pessimism(wins, width, beta, data):
    """T5.4 on a data set: ref exp((r - Gamma)/beta)/Z."""
    reference = data.draw(strategies.references(len(wins), smallest=1e-2))
    gamma = width * uncertainty(np.eye(len(wins)), reference, wins, 0.5)
    pairs = [pair for pair in np.ndindex(wins.shape) for _ in range(int(wins[pair]))]
    algorithm = b.DPO(beta, margin=lambda answers: gamma[answers.arm])
    world = b.Bandit(np.zeros(len(wins)), reference=reference)
    end = b.fixed_point(algorithm, world, b.Dataset(pairs)).policy
    score = fitted_reward(wins) - gamma
    assert_allclose(end, b.Bandit(score, reference=reference).optimal_policy(beta), rtol=1e-8)
    score = pessimistic_reward(wins, reference, width=width, ridge=0.5)
    here = pointwise_policy(wins, reference, beta, width=width, ridge=0.5)
    assert_allclose(here, b.Bandit(score, reference=reference).optimal_policy(beta), rtol=1e-12)


# ---- exploration ------------------------------------------------------------------------------------------


@FEW
@given(wins=tallies(most=3), ridge=RIDGES, width=WIDTHS, beta=strategies.betas(0.2, 5), data=st.data())
def test_the_explorer_is_the_most_uncertain_of_those_that_may_be_better(wins, ridge, width, beta, data):
    """Against a grid over the simplex; on it the explorer's distance is missed by no more than a cell."""
    reference = data.draw(strategies.references(len(wins), smallest=1e-2))
    main, found = online_step(wins, reference, beta, width=width, ridge=ridge)
    reward = fitted_reward(wins, ridge)
    assert_allclose(main, b.Bandit(reward, reference=reference).optimal_policy(beta), rtol=1e-12)
    axis = np.linspace(0, 1, 201)
    points = np.stack(np.meshgrid(*[axis] * (len(wins) - 1)), axis=-1).reshape(-1, len(wins) - 1)
    points = points[points.sum(axis=-1) <= 1]
    grid = np.append(points, np.maximum(1 - points.sum(axis=-1, keepdims=True), 0), axis=-1)
    grid /= grid.sum(axis=-1, keepdims=True)
    spread = uncertainty(np.vstack([grid, found]), main, wins, ridge)
    with np.errstate(divide="ignore"):
        divergence = kl(np.log(np.vstack([grid, found])), np.log(main))
    may = beta * divergence <= width * spread
    assert beta * divergence[-1] <= width * spread[-1] * (1 + 1e-9)
    assert spread[:-1][may[:-1]].max(initial=0.0) <= spread[-1] * (1 + 1e-9)


@FEW
@given(wins=tallies(), ridge=RIDGES, width=WIDTHS, beta=strategies.betas(0.2, 5), data=st.data())
def test_the_truths_optimum_is_among_them_and_no_farther_than_the_explorer(wins, ridge, width, beta, data):
    rng, arms = data.draw(strategies.generators(12)), len(wins)
    reference = data.draw(strategies.references(arms, smallest=1e-2))
    w = rng.normal(size=arms)
    truth = fitted_reward(wins, ridge) + width * w / math.sqrt(w @ information(wins, ridge) @ w)
    best = b.Bandit(truth, reference=reference).optimal_policy(beta)
    main, found = online_step(wins, reference, beta, width=width, ridge=ridge)
    gap = uncertainty(best, main, wins, ridge)
    assert beta * kl(np.log(best), np.log(main)) <= width * gap * (1 + 1e-9)
    assert gap <= uncertainty(found, main, wins, ridge) * (1 + 1e-9)
    assert_array_equal(explorer(main, wins, beta, width=0.0, ridge=ridge), main)
    again, other = hybrid_step(wins, reference, beta, ridge=ridge)
    assert_array_equal(again, main)
    assert_array_equal(other, reference)


@EXAMPLES
@given(wins=tallies(), ridge=RIDGES)
def test_the_next_pair_is_the_least_known(wins, ridge):
    arms = np.eye(len(wins))
    pairs = list(itertools.combinations(range(len(wins)), 2))
    spread = {pair: uncertainty(arms[pair[0]], arms[pair[1]], wins, ridge) for pair in pairs}
    assert spread[next_pair(wins, ridge)] >= max(spread.values()) * (1 - 1e-12)


def test_comparing_the_least_known_pair_teaches_every_pair():
    """60 comparisons: aimed, of 6 arms none is farther than 1/5 from another; from a policy, some are."""
    aimed, blind = np.zeros((6, 6)), np.zeros((6, 6))
    rng = np.random.default_rng(4)
    mu = np.array([0.4, 0.3, 0.15, 0.1, 0.03, 0.02])
    for _ in range(60):
        aimed[next_pair(aimed, ridge=1e-3)] += 1
        blind[tuple(rng.choice(6, 2, replace=False, p=mu))] += 1
    assert effective_resistance(aimed).max() < 0.2 < effective_resistance(blind).max()


# ---- the border -------------------------------------------------------------------------------------------

WINS, REF = [[0.0, 3.0], [1.0, 0.0]], [0.6, 0.4]
WORLD = b.Bandit([1.0, 0.0])
BAD = {
    "wins must be a square matrix": lambda: fitted_reward([[0.0, 1.0]], 1.0),
    "wins[0, 1] = -1.0": lambda: information([[0.0, -1.0], [0.0, 0.0]], 1.0),
    "give a ridge > 0": lambda: fitted_reward([[0.0, 3.0], [0.0, 0.0]]),
    "ridge must be 0 or more": lambda: fitted_reward(WINS, -1.0),
    "ridge must be 0 or at least 3e-10": lambda: fitted_reward(WINS, 1e-20),
    "prior must be 0 or more": lambda: fitted_preference(WINS, -0.5),
    "ridge must be a positive": lambda: pessimistic_reward(WINS, REF, width=1.0, ridge=0.0),
    "width must be a standard deviation": lambda: pointwise_policy(WINS, REF, 1.0, width=-1.0, ridge=1.0),
    "beta must be a positive": lambda: pessimistic_policy(WINS, REF, 0.0, width=1.0, ridge=1.0),
    "sum of reference must be 1": lambda: pessimistic_policy(WINS, [0.6, 0.6], 1.0, width=1.0, ridge=1.0),
    "origin must be zero where the reference is zero": lambda: pessimistic_policy(
        WINS, [1.0, 0.0], 1.0, width=1.0, ridge=1.0, origin=REF
    ),
    "reference and wins must have the same number": lambda: online_step(
        WINS, [0.2, 0.3, 0.5], 1.0, width=1.0, ridge=1.0
    ),
    "main and wins must have the same number": lambda: explorer(
        [0.2, 0.3, 0.5], WINS, 1.0, width=1.0, ridge=1.0
    ),
    "policy and wins must have the same number": lambda: uncertainty([0.2, 0.3, 0.5], REF, WINS),
    "origin and wins must have the same number": lambda: uncertainty(REF, [0.2, 0.3, 0.5], WINS),
    "comparisons must be a Dataset": lambda: wins_of([(0, 1)], 2),
    "comparisons.pairs[0, 1] = 2": lambda: wins_of(b.Dataset([(0, 2)]), 2),
    "bandit must have one context": lambda: draw_wins(
        b.Bandit([[1.0, 0.0]]), REF, REF, 3, np.random.default_rng(0)
    ),
    "count must be an integer of at least 0": lambda: draw_wins(
        WORLD, REF, REF, -1, np.random.default_rng(0)
    ),
    "rng must be a numpy.random.Generator": lambda: draw_wins(WORLD, REF, REF, 1, 0),
    "score and behavior must have the same number": lambda: accuracy([1.0, 2.0, 3.0], WORLD, REF),
    "or there is nothing to tell apart": lambda: accuracy([1.0, 2.0], WORLD, [1.0, 0.0]),
}


@pytest.mark.parametrize("words", BAD)
def test_what_cannot_be_used_is_refused_by_name(words):
    with pytest.raises(ValueError, match=re.escape(words)):
        BAD[words]()


def test_arms_outside_of_the_reference_stay_outside_and_arguments_are_left_alone():
    wins, reference = np.array([[0.0, 3, 1], [1, 0, 2], [0, 0, 0]]), np.array([0.6, 0.0, 0.4])
    kept = wins.copy(), reference.copy()
    for policy in (pessimistic_policy, pointwise_policy):
        assert policy(wins, reference, 0.5, width=0.5, ridge=0.1)[1] == 0
    main, other = online_step(wins, reference, 0.5, width=0.5, ridge=0.1)
    assert main[1] == other[1] == 0
    assert_array_equal(wins, kept[0])
    assert_array_equal(reference, kept[1])
    assert_allclose(softmax(np.log(main[[0, 2]])), main[[0, 2]])  # and they are policies


@FEW
@given(data=st.data())
def test_rare_arms_many_games_and_tiny_ridges_cost_no_digits(data):
    """Counts over six decades, the ridge down to 1e-6, arms unheard of: slopes are level, sets are kept."""
    rng = data.draw(strategies.generators(13))
    arms = int(rng.integers(2, 8))
    wins = np.floor(10 ** rng.uniform(-1, 5, (arms, arms))) * (rng.random((arms, arms)) < 0.7)
    wins[np.arange(arms), (np.arange(arms) + 1) % arms] += 1  # all hang together
    np.fill_diagonal(wins, 0)
    beta, width, ridge = 10.0 ** rng.uniform([-2, -3, -4], [1, 2, 1])
    reference = np.exp(rng.uniform(-12, 0, arms))
    reference /= reference.sum()
    found = pessimistic_policy(wins, reference, beta, width=width, ridge=ridge)
    apart = found - reference
    if np.abs(apart).max() > 1e-6:
        w = width * np.linalg.pinv(information(wins, ridge)) @ apart
        w /= uncertainty(found, reference, wins, ridge)
        alive = found > 1e-200
        pull = beta * np.log(found[alive] / reference[alive])
        size = beta + np.abs(w).max() + np.abs(pull).max()
        assert np.ptp((fitted_reward(wins, ridge) - w)[alive] - pull) <= 1e-5 * size  # kappa(Sigma) is 1e11
    main, far = online_step(wins, reference, beta, width=width, ridge=ridge)
    with np.errstate(divide="ignore"):
        price = beta * kl(np.log(far), np.log(main))
    assert price <= width * uncertainty(far, main, wins, ridge) * (1 + 1e-6) + 1e-13 * beta


GOOD = {
    fitted_reward: {"wins": WINS, "ridge": 0.5},
    fitted_preference: {"wins": WINS, "prior": 0.5},
    effective_resistance: {"wins": WINS},
    information: {"wins": WINS, "ridge": 0.5},
    uncertainty: {"policy": REF, "origin": [0.5, 0.5], "wins": WINS, "ridge": 0.5},
    next_pair: {"wins": WINS, "ridge": 0.5},
    pessimistic_reward: {"wins": WINS, "origin": REF, "width": 1.0, "ridge": 0.5},
    pointwise_policy: {"wins": WINS, "reference": REF, "beta": 0.5, "width": 1.0, "ridge": 0.5},
    pessimistic_policy: {"wins": WINS, "reference": REF, "beta": 0.5, "width": 1.0, "ridge": 0.5},
    online_step: {"wins": WINS, "reference": REF, "beta": 0.5, "width": 1.0, "ridge": 0.5},
    hybrid_step: {"wins": WINS, "reference": REF, "beta": 0.5, "ridge": 0.5},
    explorer: {"main": REF, "wins": WINS, "beta": 0.5, "width": 1.0, "ridge": 0.5},
    accuracy: {"score": REF, "bandit": WORLD, "behavior": REF},
    draw_wins: {"bandit": WORLD, "first": REF, "second": REF, "count": 3, "rng": np.random.default_rng(0)},
    wins_of: {"comparisons": b.Dataset([(0, 1)]), "arms": 2},
}
WRONG = (
    None,
    "text",
    math.nan,
    [[0.2, math.nan], [0.1, 0.0]],
    {},
    object(),
    1j,
    [],
    [[]],
    [[1.0], [2.0, 3.0]],
)


@pytest.mark.parametrize("function", GOOD, ids=lambda function: function.__name__)
def test_a_wrong_kind_is_refused_by_the_name_of_its_argument(function):
    function(**GOOD[function])
    for name in GOOD[function]:
        for wrong in WRONG:
            with pytest.raises(ValueError, match=name):
                function(**GOOD[function] | {name: wrong})
