"""Laws of the fixed points: every algorithm, under every rule of sampling that fits, found twice.

Each answer must have an undamped residual of at most 1e-10 and agree to 1e-8 with `independent_solvers`,
which share no code with it, for 2 to 50 arms, beta from 1e-3 to 1e3, references down to 1e-12, behaviours
down to 1e-6, cyclic and deterministic preferences.  Then: what happens where there is no unique answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import independent_solvers as second
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import solve_ivp
from scipy.special import log_softmax, softmax

import bandits as b
import worlds
from bandits.algorithms.ipo import identity
from bandits.policy import kl, spread
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from motions import motion
from rows import every_row, optimum

ARMS = st.integers(2, 50)
FEW = settings(max_examples=15)
MANY = settings(max_examples=40)

ROWS = every_row()
# What is linear in h = log pi/ref: E[c] is proportional to sum W (t - (h - h')), t the target of a pair.
ON_REWARDS = [name for name, row in ROWS.items() if row.target is optimum]
ON_POLICY = [name for name, row in ROWS.items() if row.climbs and not row.reads("preference")]


def check(found: b.Solution, policy, at_most: float = 1e-10) -> None:
    """The promise: residual 1e-10, and 1e-8 to the second solver."""
    assert np.max(found.residual) <= at_most
    assert_allclose(found.policy, policy, rtol=0, atol=1e-8)


# ---- rewards ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ON_REWARDS)
@FEW
@given(data=st.data(), arms=ARMS, beta=strategies.betas())
def test_regression_on_rewards_ends_where_least_squares_does(name, data, arms, beta):
    """Any law, also one that leaves arms apart: min-norm least squares on the sampled differences (T3.3)."""
    algorithm = ROWS[name].make(beta)
    world = data.draw(strategies.bandits_with_reward(arms, arms))
    start = data.draw(strategies.policies(arms, salt=7))
    rules = [strategies.offline(arms)]
    if algorithm.k == 2:
        rules += [strategies.pair_samplings(arms), strategies.datasets(arms)]
    sampling = data.draw(st.one_of(rules))
    target = (world.reward[:, None] - world.reward) / beta
    h = second.least_squares(second.pair_law(sampling, arms), target, np.log(start) - np.log(world.reference))
    found = b.fixed_point(algorithm, world, sampling, start)
    check(found, softmax(world.log_reference + h))
    connected = bool(second.connected(second.pair_law(sampling, arms)).all())
    assert found.unique == connected
    assert found.stable is (True if connected else None)  # apart, the answer is one of a continuum
    assert connected or found.message.startswith("continuum")


@pytest.mark.parametrize("name", ON_POLICY)
@FEW
@given(data=st.data(), arms=ARMS, beta=strategies.betas())
def test_on_policy_all_policy_gradients_end_at_the_optimum(name, data, arms, beta):
    """Of what they climb, in 60-digit arithmetic; groups of three are enumerated up to 12 arms."""
    algorithm = ROWS[name].make(beta)
    arms = min(arms, 12) if algorithm.k == 3 else arms
    world = data.draw(strategies.bandits_with_reward(arms, arms))
    found = b.fixed_point(algorithm, world, b.OnPolicy())
    _, score = ROWS[name].climbs(algorithm, Case(world, b.OnPolicy(), found.policy))
    check(found, second.tilted(world.log_reference, score, beta))
    assert found.stable and found.unique


@settings(max_examples=5)
@given(data=st.data(), beta=strategies.betas(0.3, 10))
def test_on_policy_gradient_ascent_arrives_at_the_same_optimum(data, beta):
    """Maximise J(softmax(theta)) by integrating its gradient, written by hand: g = pi (R - E[R])."""
    world = data.draw(strategies.bandits_with_reward(2, 5, smallest=0.05, scale=0.5))

    def gradient(_, theta):
        pi = softmax(theta)
        R = world.reward - beta * (np.log(pi) - world.log_reference)
        return pi * (R - pi @ R)

    run = solve_ivp(gradient, (0, 1e5), world.log_reference, method="Radau", rtol=1e-11, atol=1e-13)
    check(b.fixed_point(b.RLOO(beta), world, b.OnPolicy()), softmax(run.y[:, -1]))


@pytest.mark.parametrize("algorithm", [b.DRO, b.DROV])
@MANY
@given(data=st.data(), arms=ARMS, beta=strategies.betas(0.05, 1e3))
def test_dro_finds_policy_and_value_together(algorithm, data, arms, beta):
    """min over (V, h) of E_mu[(r - V - beta h)^2]: columns for V and for every arm (T8.1)."""
    world = data.draw(strategies.bandits_with_reward(arms, arms))
    mu = data.draw(strategies.behaviors(arms))
    found = b.fixed_point(algorithm(beta), world, b.Offline(mu))
    log_ratio = found.log_policy - world.log_reference
    errors = world.reward - found.value - beta * log_ratio
    scale = 1 + np.abs(world.reward).max() + beta * np.abs(world.log_reference).max()
    assert_allclose(errors, 0, atol=1e-14 * scale)  # all of them: the fit is perfect, hence the minimum


# ---- preferences ------------------------------------------------------------------------------------------


@MANY
@given(data=st.data(), arms=ARMS, beta=strategies.betas())
def test_ipo_is_a_least_squares_ranking_of_any_pairs(data, arms, beta):
    """HodgeRank, also of cycles, data sets and graphs in pieces (T4.3)."""
    world = data.draw(strategies.bandits_with_preference(arms, arms))
    sampling = data.draw(st.one_of(strategies.pair_samplings(arms), strategies.datasets(arms)))
    start = data.draw(strategies.policies(arms, salt=7))
    target = (second.first_wins(sampling, world) - 0.5) / beta
    h = second.least_squares(second.pair_law(sampling, arms), target, np.log(start) - np.log(world.reference))
    check(b.fixed_point(b.IPO(beta), world, sampling, start), softmax(world.log_reference + h))


@MANY
@given(data=st.data(), arms=ARMS, beta=strategies.betas())
def test_psipo_tilts_by_the_mean_of_psi(data, arms, beta):
    """ref exp(E_mu[Psi(p(y beats y'))] / beta) / Z with Psi = p^2 and 60 digits (T4.1)."""
    arms = min(arms, 20)
    world = data.draw(strategies.bandits_with_preference(arms, arms))
    sampling = data.draw(st.one_of(strategies.offline(arms), strategies.offline(arms, 3)))
    score = (world.preference**2) @ sampling.behaviors[-1]
    found = b.fixed_point(b.PsiPO(beta, psi=np.square), world, sampling)
    check(found, second.tilted(world.log_reference, score, beta))


@MANY
@given(data=st.data(), arms=ARMS, beta=strategies.betas())
def test_dpo_on_bradley_terry_preferences_ends_at_the_optimum(data, arms, beta):
    """pi* for every law, and on its own samples (T5.1)."""
    world = data.draw(strategies.bandits_with_reward(arms, arms))
    sampling = data.draw(st.one_of(strategies.pair_samplings(arms), st.just(b.OnPolicy())))
    check(
        b.fixed_point(b.DPO(beta), world, sampling),
        second.tilted(world.log_reference, world.reward, beta),
    )


@MANY
@given(data=st.data(), arms=ARMS, beta=strategies.betas(), smoothing=st.sampled_from([0.0, 0.1]))
def test_dpo_ends_at_the_maximum_of_the_likelihood_or_has_none(data, arms, beta, smoothing):
    """SciPy's `root` on the gradient; existence by Ford's condition, by powers of the wins (T5.3)."""
    world = data.draw(strategies.bandits_with_preference(arms, arms))
    sampling = data.draw(
        st.one_of(strategies.pair_samplings(arms), strategies.strongly_connected_datasets(arms))
    )
    W, p = second.pair_law(sampling, arms), second.first_wins(sampling, world)
    p = (1 - smoothing) * p + smoothing * (1 - p)
    beats = second.reachable(W * p + (W * (1 - p)).T)
    if (beats & beats.T).all():
        h = second.logistic(W, p) / beta
        check(b.fixed_point(b.DPO(beta, smoothing), world, sampling), softmax(world.log_reference + h))
    else:
        with pytest.raises(b.NoFixedPoint, match="no chain of wins leads back"):
            b.fixed_point(b.DPO(beta, smoothing), world, sampling)


@FEW
@given(data=st.data(), arms=st.integers(2, 5), beta=strategies.betas(), alpha=st.floats(0.1, 0.9))
def test_srpo_minimises_both_losses_at_once(data, arms, beta, alpha):
    """One least-squares problem over policy and revision policy; a data set brings its own labels (T7.3)."""
    world = data.draw(strategies.bandits_with_preference(arms, arms))
    every = np.array([(i, j) for i in range(arms) for j in range(i)])
    listed = data.draw(strategies.datasets(arms)).pairs
    covering = b.Dataset(np.concatenate([every, listed, listed]))
    sampling = data.draw(st.one_of(strategies.pair_samplings(arms), st.just(covering)))
    log_policy, log_revision = second.srpo(sampling, world, beta, alpha)
    found = b.fixed_point(b.SRPO(beta, alpha), world, sampling)
    check(found, np.exp(log_policy))
    assert_allclose(np.exp(found.revision_log_policy), np.exp(log_revision), rtol=0, atol=1e-8)


GAMES = {
    **{
        name: row.make
        for name, row in ROWS.items()
        if row.climbs and row.reads("preference") and getattr(row.make(1.0), "psi", identity) is identity
    },
    "NashMD(1)": lambda beta: b.NashMD(beta, mixture=1.0),  # the other end of the mixtures
}


@pytest.mark.parametrize("name", GAMES)
@FEW
@given(data=st.data(), arms=ARMS, beta=strategies.betas())
def test_games_end_at_the_answer_to_their_own_mixture(name, data, arms, beta):
    """SciPy's `root` along a path in beta (T6.1, T6.4); groups of three are enumerated up to 12 arms."""
    algorithm = GAMES[name](beta)
    arms = min(arms, 12) if algorithm.k == 3 else arms
    world = data.draw(strategies.bandits_with_preference(arms, arms))
    if isinstance(algorithm, b.NashMD):  # a mixture may repel: test_ends.py follows those
        assume(algorithm.closed_form(world, b.OnPolicy(), world.log_reference).stable)
    found = b.fixed_point(algorithm, world, b.OnPolicy())
    mixture = getattr(algorithm, "mixture", 0.0)
    check(found, np.exp(second.game(world.preference, world.log_reference, beta, mixture)))


# ---- without a closed form --------------------------------------------------------------------------------


def followed(row) -> bool:
    """Whether its end on a fixed law is known from the flow alone."""
    return b.fixed_point(row.make(0.7), worlds.REWARDS, b.Offline(worlds.BEHAVIOR)).method.startswith("flow")


MOVING = [  # what jumps where the favourite changes has its own test below
    name
    for name, row in ROWS.items()
    if row.settles and not row.reads("preference") and not row.reads("greedy_reward") and followed(row)
]


@pytest.mark.parametrize("name", MOVING)
@settings(max_examples=3)
@given(data=st.data(), beta=strategies.betas(0.3, 3))
def test_what_has_to_be_solved_ends_where_the_motion_ends(name, data, beta):
    """Four starts side by side."""
    world = data.draw(strategies.bandits_with_reward(2, 4, smallest=0.1, scale=0.3))
    mu = data.draw(strategies.policies(world.arms, smallest=0.1, salt=5))
    starts = data.draw(strategies.policies(world.arms, (4,), smallest=0.1, salt=6))
    algorithm = ROWS[name].make(beta)
    found = b.fixed_point(algorithm, world, b.Offline(mu), starts)
    check(found, motion(algorithm, world, b.Offline(mu), starts))


@FEW
@given(data=st.data(), arms=ARMS, beta=strategies.betas(), baseline=st.floats(-3, 0))
def test_a_low_constant_baseline_ends_where_one_equation_says(data, arms, beta, baseline):
    """b < J*: log pi = a - v with v exp(v) = c exp(a) / mu, and c makes the sum one (T2.5), by bisection."""
    world = data.draw(strategies.bandits_with_reward(arms, arms))
    baseline += float(world.optimal_value(beta)) - 0.1
    mu = data.draw(strategies.behaviors(arms))
    a = (world.reward - baseline) / beta + world.log_reference

    def log_policy(log_c):  # Newton on v + log v = a + log_c - log mu, from above
        goal = a + log_c - np.log(mu)
        v = np.where(goal > 1, goal, np.exp(np.minimum(goal, 1)))
        for _ in range(60):
            v = np.maximum(v, 1e-300)
            v = np.maximum(v * (1 + goal - np.log(v)) / (1 + v), v * 1e-3)
        return a - v

    low, high = -800.0, 800.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.logaddexp.reduce(log_policy(middle)) > 0 else (low, middle)
    check(b.fixed_point(b.PolicyGradient(beta, baseline), world, b.Offline(mu)), np.exp(log_policy(low)))


@FEW
@given(data=st.data(), arms=st.integers(2, 8), beta=strategies.betas(0.05, 1e3))
def test_psipo_on_its_own_samples_answers_itself(data, arms, beta):
    """Psi = p^2: at the answer pi = ref exp(E_pi[Psi(p(y beats y'))] / beta) / Z (T4.1, with mu = pi)."""
    world = data.draw(strategies.bandits_with_preference(arms, arms, smallest=1e-4))
    found = b.fixed_point(b.PsiPO(beta, psi=np.square), world, b.OnPolicy())
    score = (world.preference**2) @ found.policy
    check(found, second.tilted(world.log_reference, score, beta))


@FEW
@given(data=st.data(), arms=st.integers(2, 8), beta=strategies.betas(1, 1e3))
def test_dpo_on_its_own_samples_fits_them(data, arms, beta):
    """At the answer pi, the maximum-likelihood fit of pairs from pi is pi itself (T5.2 with W = pi x pi)."""
    world = b.Bandit(
        preference=0.9 * data.draw(strategies.any_preferences(arms)) + 0.05,
        reference=data.draw(strategies.references(arms, smallest=1e-3)),
    )
    found = b.fixed_point(b.DPO(beta), world, b.OnPolicy())
    h = second.logistic(np.outer(found.policy, found.policy), world.preference) / beta
    check(found, softmax(world.log_reference + h))


@FEW
@given(data=st.data(), beta=strategies.betas(0.05, 10))
def test_remax_off_policy_ends_where_its_own_favourite_is_the_baseline(data, beta):
    """Only rest points of b = r(y) whose favourite is y (T2.5) are ends; or two favourites tie for ever."""
    world = data.draw(strategies.bandits_with_reward(2, 6, smallest=1e-2, scale=0.5))
    sampling = b.Offline(data.draw(strategies.policies(world.arms, smallest=1e-2, salt=5)))
    consistent = [
        one.policy
        for y in range(world.arms)
        for one in b.fixed_points(b.PolicyGradient(beta, float(world.reward[y])), world, sampling)
        if one.policy.argmax() == y
    ]
    try:
        found = b.fixed_point(b.ReMax(beta), world, sampling)
    except b.NotConverged as error:
        first, runner_up = np.sort(error.solution.policy)[::-1][:2]
        assert first - runner_up < 1e-2
    else:
        assert found.residual <= 1e-10
        assert min(np.abs(found.policy - policy).max() for policy in consistent) < 1e-8


def test_newton_does_not_take_a_diverging_flow_to_another_vertex():
    """Ascent on E[r] without a KL ends at no finite logits; (0, 1, 0) is at rest, but no flow leads there."""

    class Ascent:
        k = 1

        def update(self, samples):
            return b.Update(log_prob=samples.reward)

    with pytest.raises(b.NotConverged, match="the logits diverge") as stopped:
        b.fixed_point(Ascent(), b.Bandit([0.0, 0.6, 0.9]), b.OnPolicy())
    np.testing.assert_allclose(stopped.value.solution.policy, [0, 0, 1], rtol=0, atol=1e-6)


@FEW
@given(data=st.data(), arms=ARMS, beta=strategies.betas(0.1, 1e3))
def test_a_baseline_that_looks_at_its_own_sample_is_not_taken_for_an_unbiased_one(data, arms, beta):
    """b = r(y) / 2 for the sample y itself leaves c = r/2 - beta h: the optimum of half the reward."""
    world = data.draw(strategies.bandits_with_reward(arms, arms, smallest=1e-3))
    half = b.PolicyGradient(beta, baseline=lambda samples, _: samples.reward / 2)
    check(
        b.fixed_point(half, world, b.OnPolicy()),
        second.tilted(world.log_reference, world.reward / 2, beta),
    )


# ---- several attractors -----------------------------------------------------------------------------------


@settings(max_examples=5)
@given(data=st.data(), arms=st.integers(2, 5), beta=strategies.betas(0.2, 2))
def test_every_locked_arm_is_an_attractor_and_draws_its_neighbourhood(data, arms, beta):
    """A baseline far above the rewards has one attractor for each arm; flows that start near it end there."""
    world = data.draw(strategies.bandits_with_reward(arms, arms, smallest=0.05, scale=0.5))
    mu = data.draw(strategies.policies(arms, smallest=0.2, salt=5))
    algorithm, sampling = b.PolicyGradient(beta, baseline=30.0 * max(1.0, beta)), b.Offline(mu)
    found = b.fixed_points(algorithm, world, sampling)
    assert sorted(one.policy.argmax() for one in found) == list(range(arms))
    for one in found:
        assert one.stable and not one.unique and one.residual <= 1e-10
        start = 0.9 * one.policy + 0.1 / arms
        reached = b.fixed_point(algorithm, world, sampling, start)
        assert_allclose(reached.policy, one.policy, rtol=0, atol=1e-12)


def test_the_start_decides_which_attractor_is_reached():
    """Starts on a line between two locked arms: on each side of one point the flow ends at another attractor.

    The end is compared with the motion itself, followed by another solver.
    """
    world, sampling = b.Bandit([0.4, 0.0], reference=[0.4, 0.6]), b.Offline([0.3, 0.7])
    algorithm = b.PolicyGradient(1.0, baseline=5.0)
    ends = []
    for p in (0.05, 0.2, 0.4, 0.6, 0.95):
        found = b.fixed_point(algorithm, world, sampling, [p, 1 - p])
        assert_allclose(found.policy, motion(algorithm, world, sampling, [p, 1 - p], 1e4), rtol=0, atol=1e-8)
        ends.append(found.policy.argmax())
    assert ends == sorted(ends, reverse=True) and set(ends) == {0, 1}


def test_attractors_of_a_baseline_that_moves_are_found_from_many_starts():
    """b = E_pi[r]: the flow from each found point, pushed a little, comes back."""
    world, sampling = b.Bandit([2.5, 2.0, 1.0]), b.Offline([0.1, 0.2, 0.7])
    algorithm = b.PolicyGradient(0.5, b.policy_reward)
    found = b.fixed_points(algorithm, world, sampling, starts=5, rng=np.random.default_rng(0))
    for one in found:
        pushed = one.policy + 1e-3 * np.array([1, -2, 1])
        assert_allclose(b.fixed_point(algorithm, world, sampling, pushed).policy, one.policy, atol=1e-9)
    for again in (b.fixed_points(algorithm, world, sampling), b.fixed_points(algorithm, world, sampling)):
        assert_allclose([one.policy for one in again], [one.policy for one in found], atol=1e-9)
    with pytest.raises(ValueError, match="rng must be a numpy.random.Generator, but rng = 0"):
        b.fixed_points(algorithm, world, sampling, rng=0)


@settings(max_examples=3)
@given(data=st.data(), beta=strategies.betas(0.3, 1))
def test_starts_side_by_side_find_what_each_finds_alone(data, beta):
    world = data.draw(strategies.bandits_with_reward(3, 4, smallest=0.1, scale=2.0))
    sampling = b.Offline(data.draw(strategies.policies(world.arms, smallest=0.1, salt=5)))
    alone = [
        b.fixed_point(b.ReMax(beta), world, sampling, start).policy
        for start in (world.reference, *spread(world.reference, 1, np.random.default_rng(3)))
    ]
    found = b.fixed_points(b.ReMax(beta), world, sampling, starts=1, rng=np.random.default_rng(3))
    for policy in alone:  # 1e-9: Newton's method leaves less, and attractors are 1e-6 apart
        assert min(np.abs(one.policy - policy).max() for one in found) < 1e-9
    assert all(min(np.abs(one.policy - policy).max() for policy in alone) < 1e-9 for one in found)


def test_flows_that_diverge_are_no_attractors():
    """Nothing to list: the error carries where the flow from `start` stood."""
    world = b.Bandit([1.0, 0.0, 0.5], reference=[0.5, 0.2, 0.3])
    with pytest.raises(b.NoFixedPoint, match="no flow of Pushing came to a stable rest") as caught:
        b.fixed_points(Pushing(), world, b.Offline([0.2, 0.5, 0.3]), starts=0)
    assert caught.value.solution.policy[0] > 0.999


def test_a_unique_fixed_point_is_the_only_attractor():
    world, sampling = b.Bandit([1.0, 0.0], reference=[0.3, 0.7]), b.Offline([0.5, 0.5])
    (only,) = b.fixed_points(b.CoPG(1.0), world, sampling)
    assert only.unique


def test_attractors_are_listed_for_one_context_only():
    world = b.Bandit([1.0, 0.0])
    many = b.Offline([[0.5, 0.5], [0.2, 0.8]])
    with pytest.raises(ValueError, match=r"one context, but bandit, sampling and start have \(2,\)"):
        b.fixed_points(b.PolicyGradient(1.0), world, many)
    with pytest.raises(ValueError, match="one context"):
        b.fixed_points(b.PolicyGradient(1.0), world, b.Offline([0.5, 0.5]), [[0.5, 0.5]] * 3)


# ---- disconnected graphs, arms without mass ---------------------------------------------------------------


@MANY
@given(data=st.data(), arms=st.integers(3, 12), beta=strategies.betas())
def test_each_component_keeps_its_mean_logit_and_an_unsampled_arm_its_logit(data, arms, beta):
    """T3.3, in logits relative to the start: shifts of the components' means are one common constant."""
    world = data.draw(strategies.bandits_with_reward(arms, arms, smallest=1e-4))
    start = data.draw(strategies.policies(arms, salt=7))
    sampling = data.draw(strategies.datasets(arms))
    found = b.fixed_point(b.CoPG(beta), world, sampling, start)
    linked = second.connected(second.pair_law(sampling, arms))
    moved = found.log_policy - np.log(start)
    means = (linked @ moved) / linked.sum(axis=1)
    assert_allclose(means, means[0], rtol=0, atol=1e-11 * (1 + np.abs(moved).max()))
    tilt = found.log_policy - world.log_reference - world.reward / beta
    spread = np.where(linked, tilt[:, None] - tilt, 0.0)
    assert_allclose(spread, 0, atol=1e-11 * (1 + 20 / beta))
    assert found.unique == linked.all()


def test_an_arm_that_starts_at_zero_and_is_not_sampled_stays_there():
    world = b.Bandit([1.0, 0.0, 3.0], reference=[0.3, 0.3, 0.4])
    sampling = b.Offline([0.6, 0.4, 0.0])
    for algorithm in (b.CoPG(1.0), b.DPO(1.0), b.IPO(1.0), b.DRO(1.0), b.PolicyGradient(1.0, b.policy_value)):
        found = b.fixed_point(algorithm, world, sampling, [0.5, 0.5, 0.0])
        assert found.log_policy[2] == -np.inf
        assert found.residual <= 1e-12
    smoothed = b.DPO(1.0, smoothing=0.1)
    assert b.fixed_point(smoothed, world, sampling, [0.5, 0.5, 0.0]).policy[2] == 0


def test_on_policy_an_arm_that_starts_at_zero_stays_there():
    world = b.Bandit([1.0, 0.0, 3.0], reference=[0.3, 0.3, 0.4])
    alone = b.Bandit([1.0, 0.0], reference=[0.5, 0.5])
    for algorithm in (
        b.CoPG(1.0),
        b.RLOO(1.0),
        b.ReMax(1.0),
        b.DPO(1.0),
        b.IPO(1.0),
        b.NashMD(1.0),
        b.DRO(1.0),
    ):
        found = b.fixed_point(algorithm, world, b.OnPolicy(), [0.5, 0.5, 0.0])
        assert_allclose(found.policy[:2], b.fixed_point(algorithm, alone, b.OnPolicy()).policy, atol=1e-13)
        assert found.policy[2] == 0


@MANY
@given(data=st.data(), arms=st.integers(3, 10), beta=strategies.betas())
def test_arms_outside_the_references_support_change_nothing(data, arms, beta):
    """A world with arms of reference zero behaves as the world without them."""
    reference = data.draw(strategies.partial_policies(arms))
    alive = reference > 0
    reward, P = data.draw(strategies.rewards(arms)), data.draw(strategies.preferences(arms))
    world = b.Bandit(reward, preference=P, reference=reference)
    inner = b.Bandit(reward[alive], preference=P[np.ix_(alive, alive)], reference=reference[alive])
    mu = reference[alive] ** 0.5 / (reference[alive] ** 0.5).sum()
    wide = np.zeros(arms)
    wide[alive] = mu
    for algorithm in (b.CoPG(beta), b.IPO(beta), b.DRO(beta), b.SRPO(beta), b.DPO(beta, smoothing=0.1)):
        if alive.sum() == 1 and isinstance(algorithm, b.DPO):
            continue  # one arm alone: nothing to fit
        found = b.fixed_point(algorithm, world, b.Offline(wide))
        assert_allclose(
            found.policy[alive], b.fixed_point(algorithm, inner, b.Offline(mu)).policy, atol=1e-12
        )
        assert (found.policy[~alive] == 0).all()
        assert found.residual <= 1e-10


# ---- no fixed point ---------------------------------------------------------------------------------------


@MANY
@given(data=st.data(), arms=st.integers(2, 12), beta=strategies.betas())
def test_dpo_on_data_has_a_fixed_point_by_fords_condition_alone(data, arms, beta):
    """Each weak component must be strong (T5.3); the limit's mass is on the one that never loses."""
    sampling = data.draw(strategies.datasets(arms))
    world = b.Bandit(np.zeros(arms), reference=data.draw(strategies.references(arms)))
    wins = second.pair_law(sampling, arms)
    beats = second.reachable(wins)
    strong, linked = beats & beats.T, second.connected(wins)
    if (strong == linked).all():
        found = b.fixed_point(b.DPO(beta), world, sampling)
        assert found.residual <= 1e-10
        assert found.unique == linked.all()
        return
    with pytest.raises(b.NoFixedPoint, match="smooth the labels, or use IPO") as caught:
        b.fixed_point(b.DPO(beta), world, sampling)
    limit = caught.value.solution.log_policy
    never_lose = (beats | ~beats.T).all(axis=1) & (beats & ~strong).any(axis=1)
    tops = {tuple(np.flatnonzero(strong[i])) for i in np.flatnonzero(never_lose)}
    if len(tops) == 1:
        assert_array_equal(np.flatnonzero(np.isfinite(limit)), tops.pop())
    else:
        assert limit is None and caught.value.solution.unique is False


def test_the_limit_of_dpo_is_the_fit_among_those_who_never_lost():
    """Arms 0 and 1 beat each other 2 : 1, and 0 beats 2: the limit is (2/3, 1/3, 0)."""
    pairs = [(0, 1), (0, 1), (1, 0), (0, 2)]
    with pytest.raises(b.NoFixedPoint) as caught:
        b.fixed_point(b.DPO(1.0), b.Bandit(np.zeros(3)), b.Dataset(pairs))
    assert_allclose(caught.value.solution.policy, [2 / 3, 1 / 3, 0], atol=1e-13)


def test_srpo_needs_every_pair_of_arms():
    world = b.Bandit([1.0, 0.5, 0.0])
    with pytest.raises(b.NoFixedPoint, match="never sampled"):
        b.fixed_point(b.SRPO(0.5), world, b.Dataset([(0, 1), (1, 2)]))
    b.fixed_point(b.SRPO(0.5), world, b.Dataset([(0, 1), (1, 2), (2, 0)]))


# ---- a reader's own algorithm -----------------------------------------------------------------------------


@dataclass(frozen=True)
class ClippedGradient:
    """A home-made policy gradient whose advantage is clipped to [-limit, limit]: no subclassing."""

    beta: float
    limit: float
    k: int = 1

    def update(self, samples: b.Samples) -> b.Update:
        advantage = samples.regularized_reward(self.beta) - 0.3
        return b.Update(log_prob=np.clip(advantage, -self.limit, self.limit))


@FEW
@given(data=st.data(), beta=strategies.betas(0.3, 3), limit=st.floats(0.2, 2))
def test_a_readers_own_algorithm_is_solved_like_any_other(data, beta, limit):
    world = data.draw(strategies.bandits_with_reward(2, 4, smallest=0.1, scale=0.3))
    sampling = b.Offline(data.draw(strategies.policies(world.arms, smallest=0.1, salt=5)))
    algorithm = ClippedGradient(beta, limit)
    assume(float(world.optimal_value(beta)) > 0.31)  # below, it locks in: T2.5
    found = b.fixed_point(algorithm, world, sampling)
    check(found, motion(algorithm, world, sampling, world.reference))


@FEW
@given(data=st.data(), arms=st.integers(2, 8), beta=strategies.betas(0.1, 10))
def test_a_clip_that_never_binds_is_no_clip(data, arms, beta):
    world = data.draw(strategies.bandits_with_reward(arms, arms))
    sampling = b.Offline(data.draw(strategies.behaviors(arms)))
    assume(float(world.optimal_value(beta)) > 0.31)
    found = b.fixed_point(ClippedGradient(beta, 1e6), world, sampling)
    check(found, b.fixed_point(b.PolicyGradient(beta, 0.3), world, sampling).policy)


class Pushing:
    """Always raises the first arm: its logits grow for ever."""

    k = 1

    def update(self, samples: b.Samples) -> b.Update:
        return b.Update(log_prob=np.where(samples.arm == 0, 1.0, 0.0))


@pytest.mark.parametrize("mu", [[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])
def test_logits_that_diverge_are_said_to(mu):
    with pytest.raises(b.NotConverged, match="Pushing does not come to rest") as caught:
        b.fixed_point(Pushing(), b.Bandit([1.0, 0.0, 0.5], reference=[0.5, 0.2, 0.3]), b.Offline(mu))
    assert caught.value.solution.policy[0] > 0.999


class Circling:
    """Rock, paper, scissors with the wrong sign of beta: spirals outwards."""

    k = 2

    def update(self, samples: b.Samples) -> b.Update:
        h = samples.log_ratio
        c = samples.preference[..., 0, 1] - 0.5 + 0.05 * (h[..., 0] - h[..., 1])
        return b.Update(log_prob=np.stack([c, -c], axis=-1))


def test_motion_that_goes_round_for_ever_is_no_rest():
    P = [[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]]
    world = b.Bandit(preference=P, reference=[0.4, 0.35, 0.25])
    with pytest.raises(b.NotConverged):
        b.fixed_point(Circling(), world, b.OnPolicy())


class WrongClosedForm(ClippedGradient):
    """Claims an answer that is none."""

    def closed_form(self, bandit, sampling, log_start):
        return b.Solution(log_policy=np.log([0.5, 0.5]), residual=np.nan, method="guess")


def test_a_closed_form_is_not_believed_without_its_residual():
    with pytest.raises(b.NotConverged, match="does not rest where its guess says") as caught:
        b.fixed_point(WrongClosedForm(1.0, 1.0), b.Bandit([1.0, 0.0]), b.Offline([0.5, 0.5]))
    assert caught.value.solution.residual > 1e-3


class NoGroupSize:
    def update(self, samples):
        return b.Update(log_prob=samples.log_prob)


class WrongShape:
    k = 2

    def update(self, samples):
        return b.Update(log_prob=samples.log_prob.sum(-1))


class NoUpdate:
    k = 1

    def update(self, samples):
        return samples.log_prob


class NotANumber:
    k = 1

    def update(self, samples):
        return b.Update(log_prob=np.sqrt(samples.log_prob))


@pytest.mark.parametrize(
    ("algorithm", "message"),
    [
        (NoGroupSize(), "NoGroupSize has no attribute k"),
        (
            WrongShape(),
            r"WrongShape.update must return .* \(\.\.\., 2\) like samples.log_prob, but its shape",
        ),
        (NoUpdate(), "NoUpdate.update must return an Update"),
        (NotANumber(), r"finite coefficients, but it returns nan for sample 0 of the arms \[0\]"),
    ],
)
def test_what_is_no_algorithm_is_told_so(algorithm, message):
    with pytest.raises(ValueError, match=message):
        b.fixed_point(algorithm, b.Bandit([1.0, 0.0]), b.Offline([0.5, 0.5]))


def test_bad_starts_are_refused():
    world = b.Bandit([1.0, 0.0, 0.5], reference=[0.5, 0.5, 0.0])
    mu = b.Offline([0.5, 0.5, 0.0])
    with pytest.raises(ValueError, match=r"start must be zero where the reference is zero, but start\[2\]"):
        b.fixed_point(b.CoPG(1.0), world, mu, [0.4, 0.4, 0.2])
    with pytest.raises(ValueError, match="sum of start must be 1"):
        b.fixed_point(b.CoPG(1.0), world, mu, [0.4, 0.4, 0.0])
    with pytest.raises(
        ValueError, match=r"start must be positive where the sampler has mass, but start\[1\]"
    ):
        b.fixed_point(b.CoPG(1.0), world, mu, [1.0, 0.0, 0.0])


# ---- contexts ---------------------------------------------------------------------------------------------

SETTLING = {name: row.make(0.7) for name, row in every_row().items() if row.settles}


@pytest.mark.parametrize("name", SETTLING)
@settings(max_examples=2)
@given(data=st.data())
def test_contexts_are_solved_as_if_each_were_alone(name, data):
    """Rewards, preferences, references, samplers and starts over (2, 3) contexts, or over some of them.

    Any three of the six are solved alone; where together they have no end, all until one has none either.
    """
    algorithm, shape, arms = SETTLING[name], (2, 3), 3
    world = b.Bandit(
        data.draw(strategies.rewards(arms, (3,))),
        preference=data.draw(strategies.any_preferences(arms, (2, 1))),
        reference=data.draw(strategies.references(arms, (2, 3), smallest=1e-2)),
    )
    rules: list = [b.OnPolicy()]
    if not getattr(algorithm, "needs_on_policy", False):
        rules.append(b.Offline(data.draw(strategies.policies(arms, (2, 1), smallest=0.05))))
        if algorithm.k == 2:
            rules.append(b.Pairs(data.draw(strategies.joints(arms, (3,)))))
            rules.append(b.Dataset([(0, 1), (1, 2), (2, 0), (0, 2)]))
    start = data.draw(strategies.policies(arms, (3,), smallest=0.1, salt=7))
    starts, rng = np.broadcast_to(start, (2, 3, arms)), np.random.default_rng(len(name))
    for sampling in rules:
        places = map(tuple, rng.permutation([*np.ndindex(shape)]).tolist())
        together = _end_or_reason(algorithm, world, sampling, start)
        alone = (
            (i, _end_or_reason(algorithm, world.at(i), sampling.at(i, shape), starts[i])) for i in places
        )
        if isinstance(together, str):  # ReMax's favourite may change for ever: one that slides is told of
            assert any(one == together for _, one in alone if isinstance(one, str))
            continue
        assert together.log_policy.shape == (*shape, arms)
        assert np.shape(together.residual) == shape
        for index, one in islice(alone, 3):
            assert_allclose(together.policy[index], one.policy, rtol=0, atol=1e-11)
            assert_allclose(together.residual[index], one.residual, rtol=0, atol=1e-12)


def _end_or_reason(*problem) -> b.Solution | str:
    """Where it ends, or why it does not."""
    try:
        return b.fixed_point(*problem)
    except b.NotConverged as error:
        return error.reason


def test_contexts_of_the_start_and_of_the_sampler_reach_the_answer():
    world = b.Bandit([1.0, 0.0, 0.5])
    starts = [[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]
    assert b.fixed_point(b.CoPG(1.0), world, b.Offline([0.2, 0.3, 0.5]), starts).policy.shape == (2, 3)
    assert b.fixed_point(b.CoPG(1.0), world, b.Offline([[0.2, 0.3, 0.5]] * 4)).policy.shape == (4, 3)
    apart = b.fixed_point(b.CoPG(1.0), world, b.Dataset([(0, 1)]), starts)
    assert_allclose(apart.policy[0], b.fixed_point(b.CoPG(1.0), world, b.Dataset([(0, 1)]), starts[0]).policy)
    assert not apart.unique


# ---- extremes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [1e-8, 1e-3, 1.0, 1e3, 1e8])
@pytest.mark.parametrize("algorithm", [b.CoPG, b.DRO, b.DROV, b.RLOO, b.DPO, b.IPO])
def test_rewards_of_a_million_and_any_beta_give_a_certified_answer(algorithm, beta):
    """Residuals are relative to the update at the reference, up to 1e14; the policy is held to 60 digits."""
    reward = np.array([1e6, 1e6 - 0.25, -1e6, 3.0])
    world = b.Bandit(reward, reference=[1e-12, 0.3, 0.5, 0.2 - 1e-12])
    sampling = b.Offline([0.1, 0.2, 0.3, 0.4])
    found = b.fixed_point(algorithm(beta), world, sampling)
    assert np.isfinite(found.log_policy).all() and found.policy.sum() == pytest.approx(1, abs=1e-14)
    if algorithm is not b.IPO:
        expected = second.tilted(world.log_reference, reward, beta)
        assert_allclose(found.policy, expected, rtol=1e-10, atol=1e-300)


@example(scale=1e3)
@given(scale=st.floats(1, 1e3))
def test_the_policy_and_its_log_ratio_say_the_same(scale):
    """log_ratio holds log pi/ref up to a constant, with more digits than log_policy has room for."""
    world = b.Bandit([0.3, 0.1, 0.7], reference=[1e-9, 0.4, 0.6 - 1e-9])
    found = b.fixed_point(b.CoPG(scale), world, b.Offline([0.2, 0.3, 0.5]))
    assert_allclose(log_softmax(world.log_reference + found.log_ratio), found.log_policy, rtol=0, atol=1e-14)
    assert_allclose(np.diff(found.log_ratio) * scale, np.diff(world.reward), rtol=1e-15)


def test_nothing_is_written_to():
    reward, mu, start = np.array([1.0, 0.2]), np.array([0.4, 0.6]), np.array([0.7, 0.3])
    world, sampling = b.Bandit(reward), b.Offline(mu)
    for algorithm in (b.CoPG(1.0), b.DPO(1.0), b.PolicyGradient(1.0, b.policy_value)):
        b.fixed_point(algorithm, world, sampling, start)
    assert_array_equal(reward, [1.0, 0.2])
    assert_array_equal(mu, [0.4, 0.6])
    assert_array_equal(start, [0.7, 0.3])
    assert float(kl(world.log_reference, np.log([0.5, 0.5]))) == 0
