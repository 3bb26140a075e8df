"""The game dynamics: numbers of the papers, limits against the equilibrium solver, bounds with constants."""

from __future__ import annotations

from itertools import islice, repeat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar

import bandits as b
import worlds
from bandits import examples
from bandits.dynamics import games, gradient
from bandits.policy import kl
from bandits.problem import bind
from bandits.solvers import paths
from bandits.solvers.equilibrium import equilibrium, von_neumann_winner
from bandits.testing import strategies

CYCLE = b.Bandit(preference=worlds.CYCLE)  # T6.8
SKEWED = b.Bandit(preference=CYCLE.preference, reference=[0.2, 0.5, 0.3])
STRONG = b.Bandit(preference=[[0.5, 1.0, 0.0], [0.0, 0.5, 1.0], [1.0, 0.0, 0.5]], reference=[0.2, 0.5, 0.3])
START = np.array([0.6, 0.3, 0.1])


def distance(bandit, beta, policies) -> np.ndarray:
    """KL(pi* || pi)."""
    with np.errstate(divide="ignore"):
        return kl(np.log(bandit.nash_policy(beta)), np.log(policies))


# ---- numbers of the papers


def test_one_step_on_the_dice():
    """T6.7 (iii): beta = .1, eta = 5, so that the mixture is sqrt(pi ref) / Z; three digits as printed."""
    step = games.nash_md(examples.dice(), beta=0.1, learning_rate=5.0)
    found = paths.iterate([step], START)[1]
    np.testing.assert_allclose(found, [0.491, 0.309, 0.200], atol=5e-4)
    # the same by hand: mixture (.6, .3, .1)^(1/2), die i beats die i + 1 and loses to i - 1 with 5/9
    mix = np.sqrt(START) / np.sqrt(START).sum()
    beats = np.array([mix[1] - mix[2], mix[2] - mix[0], mix[0] - mix[1]]) / 18
    if examples.dice().preference[0, 1] < 0.5:
        beats = -beats
    by_hand = mix * np.exp(5 * beats)
    np.testing.assert_allclose(found, by_hand / by_hand.sum(), rtol=1e-13)


def test_regret_matching_finds_the_von_neumann_winner():
    """T6.8: (.3, .3, .4), whose payoff L (.3, .3, .4) vanishes by hand: .4 .3 - .3 .4 = 0, ..."""
    np.testing.assert_allclose((CYCLE.preference - 0.5) @ [0.3, 0.3, 0.4], 0, atol=1e-16)
    steps = 5_000
    path = paths.iterate((games.regret_matching(CYCLE, 1 / (t + 1)) for t in range(1, steps)), START)
    # exploitability e bounds the distance: L has singular value .52 on the plane of the simplex
    np.testing.assert_allclose(path[-1], [0.3, 0.3, 0.4], atol=np.sqrt(3 / steps))
    np.testing.assert_allclose(path[-1], von_neumann_winner(CYCLE.preference), atol=np.sqrt(3 / steps))


@settings(max_examples=20)
@given(strategies.bandits_with_preference(smallest=1e-2))
def test_regret_matching_is_never_exploited_more_than_its_bound(bandit):
    """Both players together: at most sqrt(A / T) after T policies, at every T, from any start."""
    start = np.roll(bandit.reference, 1)
    path = paths.iterate((games.regret_matching(bandit, 1 / (t + 1)) for t in range(1, 200)), start)
    exploited = np.array([games.exploitability(bandit, policy) for policy in path])
    # both sides of the game: its value is 1/2 and the game symmetric
    assert (2 * exploited <= np.sqrt(bandit.arms / np.arange(1, 201)) + 1e-12).all()


def test_regret_matching_is_hart_and_mas_colell_s():
    """Second route: accumulate the regrets of every round and play their positive part."""
    L, policies = CYCLE.preference - 0.5, [START]
    regret = np.zeros(3)
    for _ in range(40):
        regret += L @ policies[-1] - policies[-1] @ L @ policies[-1]
        positive = np.maximum(regret, 0)
        policies.append(positive / positive.sum())
    averages = np.cumsum(policies, axis=0) / np.arange(1, 42)[:, None]
    path = paths.iterate((games.regret_matching(CYCLE, 1 / (t + 1)) for t in range(1, 41)), START)
    np.testing.assert_allclose(path, averages, atol=1e-12)


def test_regret_matching_rests_at_the_winner():
    game = b.Bandit(preference=[[0.5, 1.0], [0.0, 0.5]])
    path = paths.iterate(repeat(games.regret_matching(game, 0.25), 3), [1.0, 0.0])
    assert (path == [1.0, 0.0]).all()


def test_fictitious_play_averages_best_responses():
    """Second route: count the arms that are played against the counts so far."""
    counts = np.array([0.61, 0.27, 0.12])  # no ties
    start = counts.copy()
    for _ in range(60):
        counts[np.argmax(CYCLE.preference @ counts)] += 1
    path = paths.iterate((games.fictitious_play(CYCLE, 1 / (t + 1)) for t in range(1, 61)), start)
    np.testing.assert_allclose(path[-1], counts / 61, atol=1e-14)


def test_fictitious_play_shares_ties_as_the_reference_does():
    game = b.Bandit(preference=np.full((3, 3), 0.5), reference=[0.2, 0.8, 0.0])
    found = paths.iterate([games.fictitious_play(game, 1.0)], [0.5, 0.5, 0.0])[1]
    np.testing.assert_allclose(found, [0.2, 0.8, 0.0], atol=1e-15)


def test_fictitious_play_is_exploited_less_and_less():
    path = paths.iterate((games.fictitious_play(CYCLE, 1 / (t + 1)) for t in range(1, 5000)), START)
    exploited = [float(games.exploitability(CYCLE, path[n])) for n in (49, 499, 4999)]
    assert exploited[0] > 2 * exploited[1] > 4 * exploited[2]


# ---- Nash-MD


@pytest.mark.parametrize("bandit", [examples.three_raters(), examples.dice(), SKEWED])
@pytest.mark.parametrize("eta", [0.1, 0.5, 2.0])
def test_nash_md_at_a_constant_step_ends_at_the_mixture_s_fixed_point(bandit, eta):
    """T6.5: eps = eta beta exactly, from the equilibrium solver of T6.4."""
    beta = 0.2
    end = paths.iterate(repeat(games.nash_md(bandit, beta, eta), 3000), START)[-1]
    expected = equilibrium(bandit.preference, bandit.log_reference, beta, mixture=eta * beta).policy
    np.testing.assert_allclose(end, expected, atol=1e-13)


def test_the_end_would_tell_a_mixture_weight_turned_round():
    """The named wrong twin of T6.5: eps = 1 - eta beta."""
    end = paths.iterate(repeat(games.nash_md(SKEWED, 0.2, 0.5), 3000), START)[-1]
    twin = equilibrium(SKEWED.preference, SKEWED.log_reference, 0.2, mixture=0.9).policy
    assert np.abs(end - twin).max() > 1e-3


@pytest.mark.parametrize("bandit", [examples.three_raters(), SKEWED])
def test_the_bias_of_a_constant_step_is_of_second_order(bandit):
    """KL(pi* || limit) = c eta^2: halving eta divides it by 4; the next order is a few eta beta."""
    beta, bias = 0.2, []
    for eta in (0.02, 0.01):
        limit = equilibrium(bandit.preference, bandit.log_reference, beta, mixture=eta * beta).policy
        bias.append(float(distance(bandit, beta, limit)))
    np.testing.assert_allclose(np.log2(bias[0] / bias[1]), 2.0, atol=0.05)


@pytest.mark.parametrize("bandit", [examples.three_raters(), examples.dice(), SKEWED, examples.srpo_spirit()])
@pytest.mark.parametrize("beta", [0.05, 0.5])
def test_nash_md_with_decreasing_steps_keeps_theorem_1(bandit, beta):
    steps = (games.nash_md(bandit, beta, games.nash_md_rate(beta, t)) for t in range(3000))
    found = distance(bandit, beta, paths.iterate(steps, bandit.reference))
    assert (found <= games.nash_md_bound(beta, np.arange(3001))).all()
    # the theorem says 1/T; it tends to zero as 1/T^2, because the bias of a step is of second order
    assert found[-1] < max(1e-12, 1e-2 * found[100])


def test_mirror_descent_has_no_bias_at_any_step():
    for eta in (0.1, 0.5, 2.0):
        end = paths.iterate(repeat(games.mirror_descent(SKEWED, 0.2, eta), 3000), START)[-1]
        np.testing.assert_allclose(end, SKEWED.nash_policy(0.2), atol=1e-13)


def frequency(bandit, policy) -> float:
    """Largest of the imaginary eigenvalues of L H, H = diag(pi) - pi pi'."""
    H = np.diag(policy) - np.outer(policy, policy)
    return float(np.abs(np.linalg.eigvals((bandit.preference - 0.5) @ H)).max())


@pytest.mark.parametrize(
    ("law", "mixed", "growth"),
    [
        (games.nash_md, True, lambda share, turn: share**2 * (1 + turn**2)),
        (games.mirror_descent, False, lambda share, turn: share**2 + turn**2),
    ],
)
def test_a_constant_step_circles_when_it_is_too_long(law, mixed, growth):
    """A step multiplies a small distance by (1 - eta beta)(1 +- i eta f) for Nash-MD, and by
    1 - eta beta +- i eta f for mirror descent: eta may not exceed about 2 beta / f^2."""
    beta = 0.05

    def end(eta):
        mixture = eta * beta if mixed else 0.0
        found = equilibrium(STRONG.preference, STRONG.log_reference, beta, mixture=mixture).policy
        opponent = found ** (1 - mixture) * STRONG.reference**mixture
        return found, frequency(STRONG, opponent / opponent.sum())

    limit = brentq(lambda eta: growth(1 - eta * beta, eta * end(eta)[1]) - 1, 0.1, 5.0)
    for share, grows in ((0.9, False), (1.1, True)):
        found = end(share * limit)[0]
        near = found * np.exp(1e-6 * np.array([1.0, -2.0, 1.0]))
        path = paths.iterate(repeat(law(STRONG, beta, share * limit), 400), near / near.sum())
        away = np.abs(path - found).max(axis=-1)
        assert (away[-30:].max() > away[:30].max()) == grows


def test_nash_ema_meets_its_average():
    """decay = 0 is mirror descent; decay = 1 answers the start for ever: ref exp(p(y beats start) / beta)."""
    both = np.stack([START, START])
    self_play = paths.iterate(repeat(games.nash_ema(SKEWED, 0.2, 0.5, 0.0), 20), both)
    mirror = paths.iterate(repeat(games.mirror_descent(SKEWED, 0.2, 0.5), 20), START)
    np.testing.assert_allclose(self_play[:, 0], mirror, atol=1e-14)
    frozen = paths.iterate(repeat(games.nash_ema(SKEWED, 0.2, 0.5, 1.0), 500), both)[-1]
    np.testing.assert_allclose(frozen[0], SKEWED.best_response(START, 0.2), atol=1e-13)
    np.testing.assert_allclose(frozen[1], START, atol=1e-15)
    for decay in (0.3, 0.9):
        end = paths.iterate(repeat(games.nash_ema(SKEWED, 0.2, 0.5, decay), 3000), both)[-1]
        np.testing.assert_allclose(end, np.stack([SKEWED.nash_policy(0.2)] * 2), atol=1e-12)


# ---- the same motions by other roads


@settings(max_examples=20)
@given(strategies.bandits_with_preference(smallest=1e-3), st.floats(0.05, 1.0), strategies.betas(0.05, 5.0))
def test_nash_md_is_the_natural_gradient_of_nash_md_pg(bandit, weight, beta):
    """Eqs. (3)-(5) are one natural step of Section 7's policy gradient with the mixture eps = eta beta."""
    start, eta = np.roll(bandit.reference, 1), weight / beta
    step = games.nash_md(bandit, beta, eta)
    algorithm = b.NashMD(beta=beta, mixture=min(eta * beta, 1.0))
    natural = gradient.natural_step(bind(algorithm, bandit, b.OnPolicy()), eta)
    np.testing.assert_allclose(paths.iterate([step], start), paths.iterate([natural], start), atol=1e-12)


@settings(max_examples=20)
@given(strategies.bandits_with_preference(smallest=1e-3), st.floats(0.05, 1.0))
def test_nash_md_is_a_proximal_step(bandit, weight):
    """Second route: the maximiser of eta P(pi beats m) - KL(pi || m), found on a segment of policies."""
    beta, start = 0.5, np.roll(bandit.reference, 1)
    eta = weight / beta
    found = paths.iterate([games.nash_md(bandit, beta, eta)], start)[1]
    mix = start ** (1 - weight) * bandit.reference**weight
    mix /= mix.sum()

    def objective(policy):
        return eta * bandit.win_rate(policy, mix) - kl(np.log(policy), np.log(mix))

    for corner in np.eye(bandit.arms):
        best = minimize_scalar(
            lambda s, y=corner: -objective((1 - s) * found + s * y),
            bounds=(-0.5 * found.min(), 0.5),
            method="bounded",
            options={"xatol": 1e-12},
        )
        # flat to round-off within 1e-7 of a maximum
        assert -best.fun <= objective(found) + 1e-12


def test_flows_end_where_their_iterations_do():
    times, beta = [0.0, 400.0], 0.2
    nash, mixed = (
        SKEWED.nash_policy(beta),
        equilibrium(SKEWED.preference, SKEWED.log_reference, beta, mixture=0.3),
    )
    for velocity, end in (
        (games.self_play(SKEWED, beta), nash),
        (games.self_play(SKEWED, beta, mix=0.3), mixed.policy),
        (games.best_response_flow(SKEWED, beta), nash),
    ):
        np.testing.assert_allclose(paths.integrate(velocity, START, times), [START, end], atol=1e-9)
        assert (paths.integration_error(velocity, START, times) < 1e-8).all()
    both = paths.integrate(games.averaged_play(SKEWED, beta, rate=0.5), np.stack([START, START]), times)
    np.testing.assert_allclose(both[-1], [nash, nash], atol=1e-9)


@pytest.mark.parametrize("law", [games.nash_md, games.mirror_descent])
def test_short_steps_follow_the_flow(law):
    """Euler's method in log space: half the step, half the error."""
    end = paths.integrate(games.self_play(SKEWED, 0.2), START, [6.0])[0]
    errors = [
        np.abs(paths.iterate(repeat(law(SKEWED, 0.2, 6.0 / n), n), START)[-1] - end).max() for n in (400, 800)
    ]
    np.testing.assert_allclose(np.log2(errors[0] / errors[1]), 1.0, atol=0.03)  # next order 6 / 400


def test_self_play_is_the_natural_flow_of_nash_md_pg():
    found = paths.integrate(games.self_play(SKEWED, 0.2, mix=0.3), START, [0.5, 4.0])
    algorithm = b.NashMD(beta=0.2, mixture=0.3)
    np.testing.assert_allclose(
        found, b.natural_flow(algorithm, SKEWED, b.OnPolicy(), [0.5, 4.0], START), atol=1e-9
    )


def test_contexts_play_by_themselves():
    worlds = [CYCLE, SKEWED]
    both = b.Bandit(preference=[w.preference for w in worlds], reference=[w.reference for w in worlds])
    starts = np.stack([START, START[::-1]])
    for law in (
        lambda w: games.nash_md(w, 0.2, 0.5),
        lambda w: games.mirror_descent(w, 0.2, 0.5),
        lambda w: games.fictitious_play(w, 0.3),
        lambda w: games.fictitious_play(w, 0.3, beta=0.2),
        lambda w: games.regret_matching(w, 0.3),
    ):
        together = paths.iterate(repeat(law(both), 5), starts)
        for i, world in enumerate(worlds):
            alone = paths.iterate(repeat(law(world), 5), starts[i])
            np.testing.assert_allclose(together[:, i], alone, atol=1e-14)


def test_arms_outside_the_reference_never_enter():
    game = b.Bandit(preference=[[0.5, 0.2, 0.1], [0.8, 0.5, 0.3], [0.9, 0.7, 0.5]], reference=[0.4, 0.6, 0.0])
    start = [0.7, 0.3, 0.0]
    for step in (
        games.nash_md(game, 0.2, 0.5),
        games.mirror_descent(game, 0.2, 0.5),
        games.fictitious_play(game, 0.5),
        games.regret_matching(game, 0.5),
    ):
        path = paths.iterate(repeat(step, 3), start)
        assert np.isfinite(path).all() and (path[:, 2] == 0).all()
    np.testing.assert_allclose(games.exploitability(game, start), 0.7 * 0.3, rtol=1e-14)


# ---- bad input


@pytest.mark.parametrize("law", [games.nash_md, games.mirror_descent, games.extragradient])
def test_steps_longer_than_one_over_beta_are_refused(law):
    with pytest.raises(ValueError, match="learning_rate must be at most 1 / beta = 5"):
        law(CYCLE, 0.2, 5.1)
    law(CYCLE, 0.2, 5.0)  # the mixture is the reference itself
    for beta, eta in ((0.2, 0.0), (0.2, -1.0), (0.0, 1.0), (np.nan, 1.0)):
        with pytest.raises(ValueError, match="must be"):
            law(CYCLE, beta, eta)


def test_other_arguments_out_of_range_are_refused():
    for call in (
        lambda: games.nash_ema(CYCLE, 0.2, 0.5, 1.5),
        lambda: games.fictitious_play(CYCLE, 1.5),
        lambda: games.fictitious_play(CYCLE, 0.5, beta=-1.0),
        lambda: games.regret_matching(CYCLE, -0.1),
        lambda: games.nash_md_rate(0.2, -1),
        lambda: games.self_play(CYCLE, 0.2, mix=2.0),
        lambda: games.sppo(CYCLE, 0.0),
        lambda: games.exponential_weights(CYCLE, -1.0),
        lambda: games.optimistic_weights(CYCLE, np.nan),
        lambda: games.averaged_play(CYCLE, 0.2, rate=0.0),
        lambda: games.best_response_flow(CYCLE, 0.0),
    ):
        with pytest.raises(ValueError, match="must"):
            call()


def test_steps_run_as_long_as_they_are_asked_for():
    steps = repeat(games.nash_md(CYCLE, 0.2, 0.5))
    assert paths.iterate(islice(steps, 7), START).shape == (8, 3)
