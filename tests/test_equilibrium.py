"""Laws of the regularised equilibrium, its mixtures, its duality gap, and its limit without regularisation.

Independent routes: the extragradient method, Nash-MD's own iteration, mpmath, closed forms.
"""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandits import examples
from bandits.policy import kl, mixture, tilt
from bandits.solution import NotConverged
from bandits.solvers import equilibrium as solver
from bandits.solvers.equilibrium import duality_gap, equilibrium, von_neumann_winner
from bandits.testing.strategies import betas, generators, partial_policies, policies, preferences, references


@st.composite
def games(draw, most_arms: int = 50, low: float = 1e-3, high: float = 1e3, smallest: float = 1e-12):
    """P, log ref and beta: random, cyclic and deterministic preferences, references down to 1e-12."""
    arms = draw(st.integers(2, most_arms))
    reference = draw(references(arms, smallest=smallest))
    return draw(preferences(arms)), np.log(reference), draw(betas(low, high))


def regularized(preference, log_reference, log_policy, log_opponent, beta):
    """P_beta(pi beats pi'), by the double sum  (T6.1)."""
    wins = np.einsum("i,ij,j", np.exp(log_policy), preference, np.exp(log_opponent))
    return wins - beta * kl(log_policy, log_reference) + beta * kl(log_opponent, log_reference)


def normalized(score):
    score = score - score.max()
    return score - np.log(np.exp(score).sum())


def extragradient(preference, log_reference, beta):
    """log pi*, by mirror-prox with step 1 (stable since |L| <= 1/2): the error shrinks by 1 + beta a step."""
    log_policy = log_reference
    for _ in range(int(60 * (1 + beta) / beta)):
        pull = beta * log_reference + log_policy
        ahead = normalized((preference @ np.exp(log_policy) + pull) / (1 + beta))
        new = normalized((preference @ np.exp(ahead) + pull) / (1 + beta))
        moved, log_policy = np.abs(new - log_policy).max(), new
        if moved <= 1e-11 * min(1, beta):
            break
    return log_policy


def nash_md(preference, log_reference, beta, step, iterations):
    """log of Nash-MD's policy at a constant step  (Eqs. 3-5, Munos 2023; T6.5)."""
    log_policy = log_reference
    for _ in range(iterations):
        mixed = normalized((1 - step * beta) * log_policy + step * beta * log_reference)
        log_policy = normalized(mixed + step * (preference @ np.exp(mixed)))
    return log_policy


# ---- the equilibrium --------------------------------------------------------------------------------------


@given(games())
def test_the_equilibrium_is_its_own_best_response_and_nobody_exploits_it(game):
    preference, log_reference, beta = game
    solution = equilibrium(*game)
    response = np.exp(normalized(log_reference + preference @ solution.policy / beta))
    assert np.abs(response - solution.policy).max() <= 1e-10
    assert solution.residual <= 1e-10 and solution.unique and solution.stable
    assert duality_gap(preference, log_reference, solution.log_policy, beta) <= 1e-12
    ratio = solution.log_policy - log_reference  # z up to a constant, so F up to a constant
    assert np.ptp(beta * ratio - preference @ solution.policy) <= 1e-10


@settings(max_examples=30)
@given(games())
def test_newton_agrees_with_the_extragradient_method(game):
    np.testing.assert_allclose(equilibrium(*game).policy, np.exp(extragradient(*game)), rtol=0, atol=1e-8)


@settings(max_examples=25)
@given(games(most_arms=4, high=10.0))
def test_every_log_probability_agrees_with_forty_digits(game):
    """Newton's F is exact to 1e-14, hence log pi to 1e-14 / beta (arms of probability e^-500 too)."""
    preference, log_reference, beta = game
    found = equilibrium(*game).log_policy
    with mpmath.workdps(40):
        exact = mpmath.matrix(preference.tolist())

        def residual(*z):
            weights = [mpmath.exp(a + b) for a, b in zip(z, log_reference.tolist(), strict=True)]
            policy = mpmath.matrix(weights) / mpmath.fsum(weights)
            return [mpmath.mpf(beta) * a - b for a, b in zip(z, exact * policy, strict=True)]

        start = found - log_reference
        start += (preference @ np.exp(found) / beta - start) @ np.exp(found)
        z = mpmath.findroot(residual, start.tolist(), tol=1e-50)
        expected = np.array([float(a + b) for a, b in zip(z, log_reference.tolist(), strict=True)])
    # The preferences' own rounding, P + P^T - 1 = 1e-16, moves log pi by as much over beta.
    np.testing.assert_allclose(found, normalized(expected), rtol=1e-12, atol=1e-13 / beta)


@given(generators(), betas())
def test_two_arms_have_log_odds_of_the_margin_over_beta(rng, beta):
    """L pi = a (pi_1, -pi_0), so z_0 - z_1 = a / beta whatever pi is, a = p - 1/2."""
    p, ref = rng.random(), np.array([1.0, 99.0]) / 100
    log_policy = equilibrium([[0.5, p], [1 - p, 0.5]], np.log(ref), beta).log_policy
    np.testing.assert_allclose(
        log_policy[0] - log_policy[1], (p - 0.5) / beta - np.log(99), rtol=1e-12, atol=1e-13 / beta
    )


@given(games(most_arms=12), generators())
def test_the_answer_does_not_depend_on_the_start(game, rng):
    log_start = normalized(5 * rng.normal(size=game[1].shape))
    elsewhere = equilibrium(*game, log_start=log_start)
    np.testing.assert_allclose(elsewhere.policy, equilibrium(*game).policy, rtol=0, atol=1e-10)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_a_good_start_saves_steps(weight):
    rng = np.random.default_rng(0)
    preference = _random_preference(rng, 40)
    log_reference = normalized(rng.normal(size=40))
    cold = equilibrium(preference, log_reference, 1e-3, mixture=weight)
    warm = equilibrium(preference, log_reference, 1e-3, mixture=weight, log_start=cold.log_policy)
    assert warm.iterations <= 1 < cold.iterations


@given(games(most_arms=12), generators())
def test_relabelling_the_arms_relabels_the_answer(game, rng):
    preference, log_reference, beta = game
    order = rng.permutation(len(log_reference))
    relabelled = equilibrium(preference[np.ix_(order, order)], log_reference[order], beta)
    np.testing.assert_allclose(relabelled.policy, equilibrium(*game).policy[order], rtol=0, atol=1e-10)


@given(games(most_arms=12))
def test_halving_payoffs_and_beta_changes_nothing(game):
    preference, log_reference, beta = game
    halved = equilibrium(0.5 + (preference - 0.5) / 2, log_reference, beta / 2)
    np.testing.assert_allclose(halved.policy, equilibrium(*game).policy, rtol=0, atol=1e-10)


@given(st.data(), st.integers(3, 8), betas())
def test_arms_outside_the_reference_stay_at_zero_and_do_not_matter(data, arms, beta):
    reference, preference = data.draw(partial_policies(arms)), data.draw(preferences(arms))
    with np.errstate(divide="ignore"):
        found = equilibrium(preference, np.log(reference), beta).policy
    on = reference > 0
    assert (found[~on] == 0).all()
    inside = equilibrium(preference[np.ix_(on, on)], np.log(reference[on]), beta).policy
    np.testing.assert_allclose(found[on], inside, rtol=0, atol=1e-12)


@given(st.data(), betas(1e-2, 1e2))
def test_contexts_are_independent_and_broadcast(data, beta):
    preference = data.draw(preferences(4, (3, 1)))
    log_reference = np.log(data.draw(references(4, (2,))))
    together = equilibrium(preference, log_reference, beta, mixture=0.25)
    assert together.policy.shape == (3, 2, 4) and together.residual.shape == (3, 2)
    for i, j in np.ndindex(3, 2):
        alone = equilibrium(preference[i, 0], log_reference[j], beta, mixture=0.25)
        np.testing.assert_array_equal(together.log_policy[i, j], alone.log_policy)


@given(games(most_arms=8), generators())
def test_the_jacobian_has_eigenvalues_one_plus_imaginary(game, rng):
    """What makes Newton's method safe: L H is similar to a skew matrix  (T6.2)."""
    preference, log_reference, beta = game
    policy = np.exp(normalized(log_reference + rng.normal(size=log_reference.shape)))
    coupling = (preference - 0.5) @ (np.diag(policy) - np.outer(policy, policy))
    np.testing.assert_allclose(np.linalg.eigvals(coupling).real, 0, atol=1e-8)  # sqrt(eps): double roots at 0


def test_large_games_are_solved_by_either_linear_solver():
    """300 arms: three-term recurrence at beta = .03, elimination below; the extragradient method agrees."""
    rng = np.random.default_rng(1)
    preference, log_reference = _random_preference(rng, 300), normalized(3 * rng.normal(size=300))
    for beta in (0.03, 1e-4):
        log_policy = equilibrium(preference, log_reference, beta).log_policy
        assert duality_gap(preference, log_reference, log_policy, beta) <= 1e-18
        if beta == 0.03:
            np.testing.assert_allclose(
                np.exp(log_policy), np.exp(extragradient(preference, log_reference, beta)), rtol=0, atol=1e-10
            )


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_recurrence_solves_what_elimination_solves(scale):
    rng = np.random.default_rng(2)
    payoff, policy = _random_preference(rng, 60) - 0.5, np.exp(normalized(rng.normal(size=60)))
    target = rng.normal(size=60)
    system = np.eye(60) - scale * payoff @ (np.diag(policy) - np.outer(policy, policy))
    rough, exact = (
        solver._krylov(payoff, policy, scale, target, 500),
        solver._dense(payoff, policy, scale, target),
    )
    assert np.linalg.norm(system @ rough - target) <= 0.1001 * np.linalg.norm(target)
    np.testing.assert_allclose(system @ exact, target, atol=1e-10)
    assert solver._krylov(payoff, policy, 1e6, target, 3) is None


# ---- the mixture opponent  (T6.4, T6.5) -------------------------------------------------------------------


@given(games(most_arms=20), st.floats(0, 1))
def test_the_answer_to_a_mixture_is_a_fixed_point(game, weight):
    preference, log_reference, beta = game
    solution = equilibrium(*game, mixture=weight)
    opponent = np.exp(normalized((1 - weight) * solution.log_policy + weight * log_reference))
    response = np.exp(normalized(log_reference + preference @ opponent / beta))
    assert np.abs(response - solution.policy).max() <= 1e-10 and solution.residual <= 1e-10


@given(games(most_arms=12))
def test_mixture_zero_is_the_equilibrium_and_one_is_ipo_with_the_reference(game):
    preference, log_reference, beta = game
    np.testing.assert_array_equal(equilibrium(*game, mixture=0.0).policy, equilibrium(*game).policy)
    ipo = tilt(log_reference, preference @ np.exp(log_reference), beta)
    np.testing.assert_allclose(equilibrium(*game, mixture=1.0).policy, np.exp(ipo), rtol=0, atol=1e-13)
    nearly = equilibrium(*game, mixture=1 - 1e-9)  # the limit exists: mixtures near 1 are no special case
    np.testing.assert_allclose(nearly.policy, np.exp(ipo), rtol=0, atol=1e-7 * max(1, 1 / beta) ** 2)


@settings(max_examples=20)
@given(games(most_arms=12, low=0.2, high=2.0), st.floats(0.05, 0.9))
def test_nash_md_at_a_constant_step_ends_at_the_mixture_it_plays(game, weight):
    preference, log_reference, beta = game
    iterated = nash_md(preference, log_reference, beta, weight / beta, 1000)
    response = equilibrium(*game, mixture=weight).log_policy
    np.testing.assert_allclose(np.exp(iterated), np.exp(response), rtol=0, atol=1e-8)


def test_nash_md_misses_the_equilibrium_by_the_square_of_its_step():
    """KL(pi* || pi) = O(eta^2)  (T6.5): the slope in log-log is 2."""
    log_reference, beta = np.log([0.6, 0.3, 0.1]), 0.2
    preference = examples.three_raters(0.1).preference
    limit = equilibrium(preference, log_reference, beta).log_policy
    steps = np.array([0.1, 0.01])
    miss = [
        kl(limit, equilibrium(preference, log_reference, beta, mixture=e * beta).log_policy) for e in steps
    ]
    np.testing.assert_allclose(np.log10(miss[0] / miss[1]), 2, atol=0.05)


def test_gradient_ascent_can_leave_the_answer_to_a_mixture():
    """For 0 < eps < 1 the flow on logits may have a repeller where mirror descent has its limit.

    Expected update of Nash-MD-PG: pi (c - E_pi[c]), c = P(y beats m) - 1/2 - beta h; its Jacobian by central
    differences has eigenvalues +.0012 +- .0102i.
    """
    preference = np.array([[0.5, 0.4, 0.7], [0.6, 0.5, 0.0], [0.3, 1.0, 0.5]])
    log_reference, beta, weight = np.log([0.39, 0.6, 0.01]), 0.01, 0.5
    solution = equilibrium(preference, log_reference, beta, mixture=weight)

    def update(logits):
        log_policy = normalized(logits)
        opponent = np.exp(normalized((1 - weight) * log_policy + weight * log_reference))
        c = preference @ opponent - 0.5 - beta * (log_policy - log_reference)
        return np.exp(log_policy) * (c - np.exp(log_policy) @ c)

    at, small = solution.log_policy, 1e-5
    jacobian = np.stack([(update(at + d) - update(at - d)) / (2 * small) for d in small * np.eye(3)], axis=1)
    np.testing.assert_allclose(update(at), 0, atol=1e-15)
    assert np.linalg.eigvals(jacobian).real.max() > 1e-3 and solution.stable is None


# ---- the duality gap  (T6.3) ------------------------------------------------------------------------------


@given(games(most_arms=10, low=1e-2, smallest=1e-4), generators())
def test_the_gap_is_the_formula_of_the_theory(game, rng):
    preference, log_reference, beta = game
    log_policy = normalized(rng.normal(size=log_reference.shape))
    free_energy = beta * np.log(np.exp(log_reference) @ np.exp(preference @ np.exp(log_policy) / beta))
    expected = 2 * (free_energy + beta * kl(log_policy, log_reference) - 0.5)
    np.testing.assert_allclose(
        duality_gap(preference, log_reference, log_policy, beta), expected, rtol=1e-9, atol=1e-13 * (1 + beta)
    )


@given(games(most_arms=10), generators())
def test_the_gap_is_what_the_best_opponents_gain(game, rng):
    """Both sides attained by the best response, and not exceeded by any other policy."""
    preference, log_reference, beta = game
    log_policy = normalized(3 * rng.normal(size=log_reference.shape))
    best = tilt(log_reference, preference @ np.exp(log_policy), beta)
    gap = duality_gap(preference, log_reference, log_policy, beta)

    def gain(log_opponent):
        attack = regularized(preference, log_reference, log_opponent, log_policy, beta)
        return attack - regularized(preference, log_reference, log_policy, log_opponent, beta)

    np.testing.assert_allclose(gain(best), gap, rtol=1e-9, atol=1e-11 * (1 + beta))
    other = normalized(best + rng.normal(size=best.shape))
    assert gain(other) <= gap + 1e-11 * (1 + beta)


@given(games(most_arms=10), generators())
def test_the_gap_bounds_the_distance_to_the_equilibrium(game, rng):
    """gap >= 2 (P_beta(pi* beats pi) - 1/2) = 2 beta KL(pi || pi*), as pi* maximises P_beta(. beats pi*)."""
    preference, log_reference, beta = game
    limit = equilibrium(*game).log_policy
    log_policy = normalized(limit + 0.1 * rng.normal(size=limit.shape))
    gap = duality_gap(preference, log_reference, log_policy, beta)
    assert gap >= 2 * beta * kl(log_policy, limit) * (1 - 1e-9) - 1e-25


@given(games(most_arms=10, low=1e-2, high=1.0), generators())
def test_a_gap_of_1e_18_is_a_number_and_not_round_off(game, rng):
    """Near the equilibrium the gap is quadratic: ten times the step, a hundred times the gap."""
    preference, log_reference, beta = game
    limit = equilibrium(*game).log_policy
    direction = rng.normal(size=limit.shape)
    small, large = (
        duality_gap(preference, log_reference, normalized(limit + step * direction), beta)
        for step in (1e-9, 1e-8)
    )
    assert 0 < small < 1e-13
    if np.exp(limit).max() < 0.99:  # a policy on one arm hardly feels the direction
        np.testing.assert_allclose(large / small, 100, rtol=1e-2)


@given(games(most_arms=20), st.floats(-13, -3))
def test_the_gap_is_at_most_the_square_of_the_tolerance_over_beta(game, exponent):
    preference, log_reference, beta = game
    loose = equilibrium(*game, tolerance=10**exponent)
    assert duality_gap(preference, log_reference, loose.log_policy, beta) <= 100**exponent / beta * (1 + 1e-6)


def test_the_gap_is_infinite_outside_the_reference():
    log_reference = np.array([np.log(0.3), np.log(0.7), -np.inf])
    preference = examples.dice().preference
    assert duality_gap(preference, log_reference, np.log([0.2, 0.3, 0.5]), 0.5) == np.inf
    inside = duality_gap(preference, log_reference, np.array([np.log(0.4), np.log(0.6), -np.inf]), 0.5)
    assert 0 < inside < 1


# ---- extremes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [1e-4, 1e-5, 1e-6])
@settings(max_examples=20)
@given(data=st.data())
def test_small_beta_is_solved_with_its_certificate(data, beta):
    arms = data.draw(st.integers(2, 30))
    preference, reference = data.draw(preferences(arms)), data.draw(references(arms))
    solution = equilibrium(preference, np.log(reference), beta)
    assert duality_gap(preference, np.log(reference), solution.log_policy, beta) <= 1e-20
    assert solution.residual <= 1e-8


@settings(max_examples=30)
@given(games(most_arms=30, low=1e-8, high=1e-6))
def test_tiny_beta_is_solved_or_says_that_it_is_not(game):
    try:
        solution = equilibrium(*game)
        assert duality_gap(*game[:2], solution.log_policy, game[2]) <= 1e-18
    except NotConverged as error:
        solution = error.solution
    np.testing.assert_allclose(solution.policy.sum(), 1, atol=1e-12)


@given(games(most_arms=20, low=1e4, high=1e8))
def test_large_beta_is_the_reference_and_its_first_correction(game):
    """pi = ref (1 + (P(y beats ref) - 1/2) / beta + O(beta^-2))."""
    preference, log_reference, beta = game
    correction = 1 + (preference @ np.exp(log_reference) - 0.5) / beta
    np.testing.assert_allclose(
        equilibrium(*game).policy / np.exp(log_reference), correction, rtol=2 / beta**2 + 1e-13
    )


def test_a_failed_solve_carries_its_solution(monkeypatch):
    monkeypatch.setattr(solver, "MAX_STEPS", 2)
    preference = np.stack([examples.dice().preference, examples.three_raters(0.1).preference])
    with pytest.raises(
        NotConverged, match=r"after 2 steps with max \|F\| = .* in context \(.*,\).*log_start"
    ) as caught:
        equilibrium(preference, np.log([0.6, 0.3, 0.1]), 1e-3)
    solution = caught.value.solution
    assert solution.policy.shape == (2, 3) and (solution.residual > 1e-3).any()


# ---- without regularisation  (T6.7, T6.8) -----------------------------------------------------------------


def test_three_raters_end_at_their_unregularised_equilibrium():
    """T6.7 (i): (1/3 + e/2, 1/3 + e/2, 1/3 - e): each arm then wins exactly half of its duels."""
    e = 0.1
    preference = examples.three_raters(e).preference
    expected = np.array([1 / 3 + e / 2, 1 / 3 + e / 2, 1 / 3 - e])
    np.testing.assert_allclose(preference @ expected, 0.5, atol=1e-15)
    np.testing.assert_allclose(von_neumann_winner(preference), expected, atol=1e-9)
    nearly = equilibrium(preference, np.log([0.6, 0.3, 0.1]), 1e-6).policy
    np.testing.assert_allclose(nearly, expected, atol=1e-4)


def test_dice_end_uniform_and_their_first_step_is_the_printed_one():
    """T6.7 (iii): beta = .1, eta = 5, pi = (.6, .3, .1), uniform ref -> (.491, .309, .200)."""
    preference = examples.dice().preference
    np.testing.assert_allclose(von_neumann_winner(preference), np.full(3, 1 / 3), atol=1e-9)
    np.testing.assert_allclose(
        equilibrium(preference, np.log([0.6, 0.3, 0.1]), 1e-6).policy, np.full(3, 1 / 3), atol=1e-4
    )
    mixed = mixture(np.log([0.6, 0.3, 0.1]), np.log(np.full(3, 1 / 3)), 0.5)
    stepped = np.exp(normalized(mixed + 5 * (preference @ np.exp(mixed))))
    np.testing.assert_allclose(stepped, [0.491, 0.309, 0.200], atol=5e-4)


def test_the_printed_winner():
    """T6.8: (.3, .3, .4) wins half of its duels against each arm: .3(.5) + .3(.1) + .4(.8) = .5 and so on."""
    preference = [[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]]
    np.testing.assert_allclose(von_neumann_winner(preference), [0.3, 0.3, 0.4], atol=1e-9)
    np.testing.assert_allclose(
        equilibrium(preference, np.log([0.2, 0.7, 0.1]), 1e-7).policy, [0.3, 0.3, 0.4], atol=1e-5
    )


@given(st.data(), st.integers(2, 30))
def test_nobody_beats_the_von_neumann_winner(data, arms):
    preference = data.draw(preferences(arms, (2,)))
    winner = von_neumann_winner(preference)
    assert winner.shape == (2, arms) and (winner >= 0).all()
    np.testing.assert_allclose(winner.sum(axis=-1), 1, atol=1e-12)
    assert ((winner[:, None] @ preference)[:, 0] >= 0.5 - 1e-9).all()


@settings(max_examples=20)
@given(st.data(), st.integers(2, 10))
def test_regret_matching_averages_to_an_unbeaten_policy(data, arms):
    """Exploitability of the average after T steps <= sqrt(A / T): the second route to the winner  (T6.8)."""
    payoff = data.draw(preferences(arms)) - 0.5
    regret, total, steps = np.zeros(arms), np.zeros(arms), 2000
    for _ in range(steps):
        positive = np.maximum(regret, 0)
        policy = positive / positive.sum() if positive.any() else np.eye(arms)[0]
        regret, total = regret + payoff @ policy, total + policy
    assert (payoff @ total / steps).max() <= np.sqrt(arms / steps)


# ---- bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"preference": [[0.5, 0.7], [0.4, 0.5]]}, r"preference .* must be 1, but .*\[0, 1\] = 1.1"),
        ({"preference": [[0.5, np.nan], [0.5, 0.5]]}, r"preference .*\[0, 1\] = nan"),
        ({"preference": [[0.5, np.inf], [-np.inf, 0.5]]}, "preference"),
        ({"preference": [0.5, 0.5]}, r"\(\.\.\., A, A\)"),
        ({"log_reference": np.log([0.2, 0.3, 0.5])}, "same number of arms"),
        ({"log_reference": [0.0, np.nan]}, r"log_reference\[1\] = nan"),
        ({"log_reference": [-np.inf, -np.inf]}, "some mass"),
        ({"log_reference": 0.0}, "last axis"),
        ({"beta": 0.0}, "beta must be a positive, finite number"),
        ({"beta": np.inf}, "beta must be a positive, finite number"),
        ({"mixture": 1.5}, r"mixture must lie in \[0, 1\]"),
        ({"log_start": [0.0, -np.inf]}, r"log_start\[1\] = -inf; give every arm"),
    ],
)
def test_bad_input_names_argument_rule_entry_and_remedy(change, words):
    good = {"preference": [[0.5, 0.7], [0.3, 0.5]], "log_reference": np.log([0.2, 0.8]), "beta": 0.5}
    equilibrium(**good)
    with pytest.raises(ValueError, match=words):
        equilibrium(**(good | change))


@given(games(most_arms=6), policies(6))
def test_nothing_mutates_the_arguments(game, policy):
    preference, log_reference, beta = game
    arguments = preference, log_reference, np.log(policy[: len(log_reference)])
    before = [a.copy() for a in arguments]
    equilibrium(preference, log_reference, beta, log_start=arguments[2])
    duality_gap(preference, log_reference, arguments[2], beta)
    von_neumann_winner(preference)
    for now, then in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(now, then)


def _random_preference(rng, arms):
    """sigma(x_ij - x_ji), x normal."""
    noise = rng.normal(size=(arms, arms))
    return 1 / (1 + np.exp(noise.T - noise))
