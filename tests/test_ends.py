"""Is every end an end?  What `unique`, `stable`, `face` and `NotConverged.reason` promise, on any world."""

from __future__ import annotations

import importlib
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import log_softmax

import bandits as b
from bandits.exact import update_at
from bandits.problem import bind
from bandits.sampling.observation import State
from bandits.solvers.levels import log_probs_and_leads
from bandits.solvers.sliding import Surfaces
from bandits.testing import strategies
from motions import motion
from rows import every_row

FEW = settings(max_examples=6)


def skewed_cycle(rng) -> b.Bandit:
    """Paper, scissors, stone with uneven margins, one arm frequent: where mixtures may repel."""
    P = np.full((3, 3), 0.5)
    for (i, j), margin in zip([(0, 1), (1, 2), (2, 0)], rng.uniform(0.05, 0.5, 3), strict=True):
        P[i, j], P[j, i] = 0.5 + margin, 0.5 - margin
    return b.Bandit(preference=P, reference=rng.dirichlet([0.3, 0.3, 3.0]) * 0.97 + 0.01)


def nash_growth(world, policy, beta, mixture) -> float:
    """Largest real part of the Jacobian of Nash-MD's flow, written by hand, by complex steps."""
    log_ref, n = np.log(world.reference), len(policy)

    def update(theta):
        pi = np.exp(theta) / np.exp(theta).sum()
        m = pi ** (1 - mixture) * np.exp(mixture * log_ref)
        c = world.preference @ (m / m.sum()) - beta * (np.log(pi) - log_ref)
        return pi * (c - pi @ c)

    theta = np.log(policy).astype(complex)
    J = np.stack([update(theta + 1e-30j * e).imag / 1e-30 for e in np.eye(n)], axis=1)
    basis = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))[0][:, 1:]
    return float(np.linalg.eigvals(basis.T @ J @ basis).real.max())


def test_nash_md_says_repels_exactly_where_an_independent_jacobian_does():
    """400 skewed cycles; within 1e-12 of zero the sign is rounding's.  Some must repel."""
    from bandits.algorithms.nash_md import NashMD

    repelling = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        world, beta, mixture = skewed_cycle(rng), 10 ** rng.uniform(-3, -1), rng.uniform(0.1, 0.9)
        found = NashMD(beta, mixture).closed_form(world, b.OnPolicy(), world.log_reference)
        growth = nash_growth(world, found.policy, beta, mixture)
        assert abs(growth) < 1e-12 or bool(found.stable) == (growth < 0)
        repelling += growth > 1e-12
    assert repelling > 5


def test_a_closed_form_that_repels_is_not_the_answer():
    """The flow circles for ever, and its period is that of the long flow."""
    P = np.full((3, 3), 0.5)
    for (i, j), margin in {(0, 1): 0.3, (1, 2): 0.475, (2, 0): 0.125}.items():
        P[i, j], P[j, i] = 0.5 + margin, 0.5 - margin
    world, nash = b.Bandit(preference=P, reference=[0.02, 0.02, 0.96]), b.NashMD(0.01, mixture=0.4)
    with pytest.raises(b.NotConverged, match="goes round in circles") as caught:
        b.fixed_point(nash, world, b.OnPolicy())
    error = caught.value
    assert error.reason == "circles" and error.solution.stable is None
    assert "stable" not in str(error.solution)
    late = b.flow(nash, world, b.OnPolicy(), [0.0, error.period], error.cycle[0])
    assert_allclose(late[1], late[0], rtol=0, atol=5e-3)  # a loop that closes to 1e-4 of its width, in logits
    assert_allclose(error.cycle[0], error.cycle[-1], rtol=0, atol=5e-3)
    copy = pickle.loads(pickle.dumps(error))
    assert copy.reason == "circles" and copy.period == error.period


# ---- unique and stable -------------------------------------------------------------------------------------


@FEW
@given(data=st.data(), beta=strategies.betas(0.3, 3))
def test_hidden_arms_are_shared_by_the_start(data, beta):
    """b > J* of the seen arms: two starts end apart, so that a continuum rests (T2.5)."""
    world = data.draw(strategies.bandits_with_reward(4, 4, smallest=0.05, scale=0.5))
    seen = data.draw(strategies.policies(2, smallest=0.2))
    sampling, starts = b.Offline([*seen, 0, 0]), [[0.25] * 4, [0.25, 0.25, 0.1, 0.4]]
    inner = b.Bandit(world.reward[:2], reference=world.reference[:2] / world.reference[:2].sum())
    room = float(inner.optimal_value(beta)) + beta * np.log(world.reference[:2].sum())
    algorithm = b.PolicyGradient(beta, room + 0.5)
    ends = [b.fixed_point(algorithm, world, sampling, start) for start in starts]
    assert np.abs(ends[0].policy - ends[1].policy).max() > 1e-3
    for end in ends:
        assert end.unique is False and end.stable is None and end.message.startswith("continuum")
    with pytest.raises(b.NoFixedPoint, match="continuum"):
        b.fixed_points(algorithm, world, sampling)
    low = b.fixed_point(b.PolicyGradient(beta, room - 0.5), world, sampling)
    assert low.unique and low.stable and low.face.tolist() == [True, True, False, False]


@FEW
@given(data=st.data(), beta=strategies.betas(0.3, 3))
def test_a_start_with_zeros_does_not_speak_for_all_starts(data, beta):
    world = data.draw(strategies.bandits_with_reward(4, 4, smallest=0.05))
    start = data.draw(strategies.policies(3, smallest=0.1))
    for algorithm in (b.RLOO(beta), b.OnlineIPO(beta), b.NashMD(beta), b.ReMax(beta), b.DPO(beta)):
        part = b.fixed_point(algorithm, world, b.OnPolicy(), [*start, 0.0])
        whole = b.fixed_point(algorithm, world, b.OnPolicy())
        assert part.unique is False and part.message
        assert whole.unique and whole.policy[3] > 0 == part.policy[3]


def test_points_of_a_continuum_are_neither_stable_nor_listed():
    ppo, two, halves = b.PPO(0.5, baseline=b.policy_value), b.Bandit([1.0, 0.0]), b.Offline([0.5, 0.5])
    apart = b.Dataset([(0, 1), (2, 3), (1, 0)])
    cases = [(ppo, two, halves), (b.CoPG(0.5), b.Bandit([1.0, -2.0, 0.5, 3.0]), apart)]
    for algorithm, world, sampling in cases:
        found = b.fixed_point(algorithm, world, sampling)
        assert found.stable is None and found.unique is False and found.message.startswith("continuum")
    with pytest.raises(b.NoFixedPoint):
        b.fixed_points(b.CoPG(0.5), cases[1][1], apart, starts=2, rng=np.random.default_rng(0))


# ---- restarting --------------------------------------------------------------------------------------------


class SimPOLike:
    """A margin of log-probabilities, no reference: sigma(gamma - beta (log pi_w - log pi_l))."""

    k = 2

    def update(self, samples):
        p, x = samples.preference[..., 0, 1], samples.log_prob[..., 0] - samples.log_prob[..., 1]
        win, lose = 1 / (1 + np.exp(x - 0.3)), 1 / (1 + np.exp(-x - 0.3))
        c = p * win - (1 - p) * lose
        return b.Update(log_prob=np.stack([c, -c], axis=-1))


@settings(max_examples=12)
@given(data=st.data(), beta=strategies.betas(0.2, 5))
def test_training_that_starts_at_its_end_stays(data, beta):
    """The speed there is rounding, not zero: the restart must not take it for motion."""
    world = data.draw(strategies.bandits_with_reward(2, 5, smallest=0.05, scale=0.5))
    mu = b.Offline(data.draw(strategies.policies(world.arms, smallest=0.1, salt=5)))
    for algorithm, sampling in (
        (b.GRPO(beta), b.OnPolicy()),
        (b.GRPO(beta, clip=np.inf), mu),
        (SimPOLike(), mu),
    ):
        end = b.fixed_point(algorithm, world, sampling)
        again = b.fixed_point(algorithm, world, sampling, end.policy)
        assert_allclose(again.policy, end.policy, rtol=0, atol=1e-10)
        assert again.stable == end.stable is True


@pytest.mark.parametrize("beta", [1e6, 1e9])
def test_a_large_beta_makes_rounding_large_and_not_an_error(beta):
    """beta h is a difference of numbers of size beta log ref: its rounding is 1e-16 of that."""
    world = b.Bandit([1.0, 0.3, -0.4, 0.9], reference=[0.4, 0.3, 0.2999, 0.0001])

    class Enumerated:
        k = 1

        def update(self, samples):
            return b.PolicyGradient(beta).update(samples)

    for algorithm in (b.CoPG(beta), b.DRO(beta), b.PolicyGradient(beta), Enumerated()):
        found = b.fixed_point(algorithm, world, b.OnPolicy())
        assert_allclose(found.policy, world.optimal_policy(beta), rtol=0, atol=1e-8)


# ---- sliding -----------------------------------------------------------------------------------------------


def euler(algorithm, world, sampling, start, time: float, steps: int, seen=None) -> np.ndarray:
    """Explicit Euler, which chatters at a jump and keeps to Filippov's solution within O(step).

    Policies after each of the numbers of steps `seen`, by default after the last, (seen, ..., A).
    """
    problem = bind(algorithm, world, sampling, start)
    theta, path = np.broadcast_to(problem.log_start, (*problem.contexts, world.arms)), []
    for step in range(1, steps + 1):
        theta = log_softmax(theta + time / steps * update_at(problem, State(theta)), axis=-1)
        if step in (seen or [steps]):
            path.append(np.exp(theta))
    return np.stack(path)


SLIDING = (
    b.PPO(0.8),
    b.Bandit([1.0, 0.4, -1.6], reference=[0.54, 0.34, 0.12]),
    b.Offline([0.39, 0.315, 0.295]),
)


def test_a_flow_along_a_jump_is_followed():
    """PPO slides on w = 1.2 of arm 0, first along it, then rests: against 4000 steps of Euler."""
    start = np.array([0.3, 0.4, 0.3])
    path = b.flow(*SLIDING, [0.5, 3.0, 5.0], start)
    steps = euler(*SLIDING, start, 5.0, 4000, seen=[400, 2400, 4000])
    assert_allclose(path, steps, rtol=0, atol=3e-3)  # a step is 1.25e-3 of a logit at most
    assert_allclose(path[1:, 0], 1.2 * 0.39, rtol=0, atol=1e-6)  # on the clip


def test_a_flow_does_not_depend_on_how_far_it_is_followed():
    """A solver that crosses a jump must not keep to the steps that this took: whether it does is chance."""
    rng, start = np.random.default_rng(11), [0.3, 0.4, 0.3]
    worlds = [b.Bandit(rng.normal(size=3), reference=rng.dirichlet([5] * 3)) for _ in range(2)]
    samples = [b.Offline(rng.dirichlet([20] * 3)) for _ in worlds]
    for case in (SLIDING, *((b.PPO(0.8), *each) for each in zip(worlds, samples, strict=True))):
        ends = [b.flow(*case, [0.0, 1.0, far], start) for far in (4.0, 1000.0)]
        for path in ends[1:]:  # 1e-7 a step along a surface
            assert_allclose(path[1], ends[0][1], rtol=0, atol=1e-5)
    late = b.flow(*SLIDING, [7.0, 10.0], start)
    assert_allclose(late[0], late[1], rtol=0, atol=1e-9)  # at rest from t = 6


def test_what_slides_and_then_rests_is_an_end():
    found = b.fixed_point(*SLIDING, [0.3, 0.4, 0.3])
    assert found.residual == 0 and found.message.startswith("continuum")
    assert_allclose(found.policy[:2], [1.2 * 0.39, 1.2 * 0.315], rtol=0, atol=1e-5)


class Hinge:
    """A pair's margin is pushed up to 1 and no further (SLiC)."""

    k = 2

    def update(self, samples):
        p, x = samples.preference[..., 0, 1], samples.log_ratio[..., 0] - samples.log_ratio[..., 1]
        c = p * (x < 1) - (1 - p) * (x > -1)
        return b.Update(log_prob=np.stack([c, -c], axis=-1))


@settings(max_examples=1)
@given(strategies.generators())
def test_a_hinge_slides_where_euler_chatters(rng):
    """Eight worlds at a time."""
    pairs = np.triu_indices(3, 1)
    upper = rng.uniform(0.15, 0.85, (8, 3))
    P = np.full((8, 3, 3), 0.5)
    P[:, *pairs] = upper
    P[:, *pairs[::-1]] = 1 - upper
    world = b.Bandit(preference=P, reference=rng.dirichlet(np.full(3, 5.0), 8))
    sampling = b.Offline(rng.dirichlet(np.full(3, 5.0), 8))
    path = b.flow(Hinge(), world, sampling, [8.0])
    # Euler's step is 2e-3 of a logit
    assert_allclose(path, euler(Hinge(), world, sampling, None, 8.0, 4000), rtol=0, atol=4e-3)


@FEW
@given(strategies.generators())
def test_a_measured_surface_is_a_level_of_what_the_clip_or_the_hinge_watches(rng):
    """A velocity that turns back at log pi(2) = a, or where arm 0 leads arm 3 by a: place and normal."""
    offset, x = rng.normal(size=4), rng.normal(size=4)
    quantities = log_probs_and_leads(offset)
    for which in (2, 4 + 2):  # leads are (0, 1), (0, 2), (0, 3), ...
        value, gradient = (each[which] for each in quantities(x))
        level = value + 1e-4 * rng.normal()
        wind = 0.3 * rng.normal(size=4)

        def field(points, which=which, level=level, gradient=gradient, wind=wind):
            log_policy = log_softmax(points + offset, axis=-1)
            value = log_policy[..., 2] if which == 2 else points[..., 0] - points[..., 3]
            return wind - np.sign(value - level)[..., None] * gradient

        below, above = wind + gradient, wind - gradient
        measured = Surfaces(field, below, (above - below)[None], quantities)
        known = measured.known(x)
        (found,) = known.levels
        assert (found.quantity, found.side) == (which, 1.0)
        assert_allclose(found.value, level, rtol=0, atol=1e-12)  # places are measured to 1e-15
        for one, other in zip(known.velocity(x), measured.velocity(x), strict=True):
            assert_allclose(one, other, rtol=0, atol=1e-6)  # the other is measured on lines, from 1e-4 away


def test_what_two_clips_hold_slides_along_both():
    """GRPO pushes arm 1 onto w = 1.2 and arm 3 onto w = 0.8 at once: Euler chatters there."""
    world = b.Bandit([0.4, 0.4, 0.3, -0.4], reference=[0.11, 0.26, 0.37, 0.26])
    mu = np.array([0.25, 0.28, 0.17, 0.3])
    with pytest.raises(b.NotConverged, match=r"slides .* arms \[1 3\]") as caught:
        b.fixed_point(b.GRPO(1.5), world, b.Offline(mu))
    held = caught.value.solution.policy
    assert_allclose(held[[1, 3]] / mu[[1, 3]], [1.2, 0.8], rtol=1e-6)
    (last,) = euler(b.GRPO(1.5), world, b.Offline(mu), None, 40.0, 2000)
    assert_allclose(held, last, rtol=0, atol=5e-3)  # a step is 1e-2 of a logit


# ---- what does not converge says why -----------------------------------------------------------------------


class Flipped:
    """CoPG with the sign of a loss's gradient."""

    k = 2

    def update(self, samples):
        return b.Update(log_prob=-b.CoPG(0.5).update(samples).log_prob)


def test_a_flipped_sign_gets_a_hint_and_the_arms_that_lose_their_mass():
    world = b.Bandit([1.0, 0.0, 0.4], reference=[0.2, 0.5, 0.3])
    with pytest.raises(b.NotConverged, match="opposite sign") as caught:
        b.fixed_point(Flipped(), world, b.Offline([0.1, 0.6, 0.3]))
    assert caught.value.reason == "runs away"
    assert (caught.value.solution.policy[caught.value.arms] < 0.5).all()


def test_the_rate_of_rare_arms_is_no_noise_and_may_be_asked_of_any_start():
    """beta times the smallest eigenvalue of diag(pi*) - pi* pi*', with 60 digits; both take a start."""
    world = b.Bandit([3.0, 1.0, 0.0])
    assert_allclose(
        b.convergence_rate(b.PolicyGradient(0.1), world, b.OnPolicy()), 1.403627511e-14, rtol=1e-7
    )
    two = (
        b.PolicyGradient(1.0, baseline=5.0),
        b.Bandit([0.4, 0.0], reference=[0.4, 0.6]),
        b.Offline([0.3, 0.7]),
    )
    rates = [float(b.convergence_rate(*two, start)) for start in ([0.05, 0.95], [0.95, 0.05])]
    steps = [float(b.largest_stable_step(*two, start)) for start in ([0.05, 0.95], [0.95, 0.05])]
    assert rates[0] != pytest.approx(rates[1]) and min(rates) > 0
    assert_allclose(np.multiply(rates, steps), 2, rtol=1e-9)  # two arms: one rate, and the step is 2 / rate


@FEW
@given(data=st.data(), beta=strategies.betas(0.3, 3))
def test_ends_are_where_an_accurate_flow_of_this_start_leads(data, beta):
    """Baselines high enough for several attractors, random starts, against LSODA at 1e-10."""
    world = data.draw(strategies.bandits_with_reward(3, 3, smallest=0.1, scale=0.5))
    sampling = b.Offline(data.draw(strategies.policies(3, smallest=0.2, salt=5)))

    class Plain:
        k = 1

        def update(self, samples):
            return b.PolicyGradient(beta, 4.0 + beta).update(samples)

    starts = data.draw(strategies.policies(3, (8,), smallest=0.05, salt=6))
    found = b.fixed_point(Plain(), world, sampling, starts)
    assert_allclose(found.policy, motion(Plain(), world, sampling, starts, 1e6), rtol=0, atol=1e-7)


def campaign(name: str):
    """The module of a campaign."""
    sys.path.insert(0, str(Path(__file__).parent / "campaigns"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


def test_a_sample_of_the_campaign_of_stability_finds_no_disagreement():
    """90 random games and worlds, 9 long flows; all of it: tests/campaigns/stability.py."""
    stability = campaign("stability")
    for kind in stability.KINDS:
        seen, _, flowed, wrong = stability.compared(kind, 30, 3)
        assert seen >= 20 and flowed == 3 and wrong == 0


@pytest.mark.parametrize("name", every_row())
def test_ends_hold_their_formula_their_slope_and_theory_in_a_sample_of_the_campaign(name):
    """Five worlds a row; all of it: tests/campaigns/ends.py."""
    ends, row = campaign("ends"), every_row()[name]
    own = hasattr(row.make(0.5), "clip")  # what slides on samples that stay takes seconds, as what gathers
    seeds = range(5) if row.settles else range(own, 10, 2)  # on an arm of its own samples does
    seen = [ends.judged(name, row, seed) for seed in seeds]
    assert [said for each in seen for said in each.wrong] == []
    assert sum(each.ends + each.refused for each in seen)


def test_the_campaign_of_ends_notices():
    """Wrong twins: the end of another beta, and one that attracts but is said to repel."""
    ends, row = campaign("ends"), every_row()["CoPG"]
    world, sampling = ends.world(np.random.default_rng(0), b.CoPG(0.5), own=False)
    found = b.fixed_point(b.CoPG(0.5), world, sampling)

    def said(algorithm, solution):
        case = ends.Case(world, sampling, np.asarray(solution.policy))
        return ends.held(row, algorithm, case, solution, "{}").wrong

    assert said(b.CoPG(0.5), found) == ()
    (pulled, elsewhere) = said(b.CoPG(0.6), found)
    assert "pulled by" in pulled and "theory says" in elsewhere
    assert "what is pushed grows" in said(b.CoPG(0.5), replace(found, stable=False))[0]
