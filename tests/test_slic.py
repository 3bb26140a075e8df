"""SLiC: integer scores by a network linear programme, and what the flow does at the kinks (T12.18)."""

from __future__ import annotations

import independent_solvers as second
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog

import answer_key
import bandits as b
from bandits.solvers import hinge
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from rows import Row

EXAMPLES = settings(max_examples=20)

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: b.SLiC, s: b.Samples) -> list[float]:
    """T12.18: +-beta where the lead beta dh is short of one."""
    h = answer_key.log_ratio(s)
    return answer_key.over_labels(
        lambda won, lost: a.beta * float(a.beta * (h[won] - h[lost]) < 1), float(s.preference[0, 1])
    )


def size(a: b.SLiC, case: Case) -> float:
    return a.beta


FEW = "the hinge sees of a margin only whether it is short of one"
ROWS = {
    "SLiC": Row(
        make=b.SLiC,
        formula=formula,
        size=size,
        smooth=False,
        settles=False,  # held at the kinks, where the update jumps
        ends={"on-policy": "none: slides", "elsewhere": "other"},  # T12.18
        blind={
            "dropped_detach": "the slope of a hinge is constant",
            "swapped_kl": FEW,
            "wrong_reference": FEW,
        },
    )
}


# ---- what it is known for ---------------------------------------------------------------------------------


def scores(found: b.Solution, world: b.Bandit, beta: float) -> np.ndarray:
    u = beta * (found.log_policy - world.log_reference)
    return u - u[0]


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 10))
def test_the_scores_are_integers_and_no_others_cost_as_little(data, beta):
    """T12.18: an independent programme in u, SciPy's; and the exact path of the flow from the reference."""
    world = data.draw(strategies.bandits_with_preference(2, 6, smallest=1e-2))
    world = b.Bandit(preference=0.9 * world.preference + 0.05, reference=world.reference)
    sampling = data.draw(strategies.pair_samplings(world.arms))
    wins = second.wins_of(sampling, world)
    np.fill_diagonal(wins, 0)
    found = b.fixed_point(b.SLiC(beta), world, sampling)
    u, least = second.hinge(wins)
    mine = scores(found, world, beta)
    assert_allclose((wins * np.maximum(0, 1 - (mine[:, None] - mine))).sum(), least, rtol=1e-9)
    assert found.at_jump and found.residual <= 1e-10
    if found.unique:
        assert_allclose(mine, np.round(mine), atol=1e-9)
        assert_allclose(mine, u, atol=1e-7)  # SciPy's tolerance on the programme
        end, residual, _ = hinge.flow(wins, np.zeros(world.arms))
        assert_allclose(end - end[0], mine, atol=1e-9)
        assert residual <= 1e-12
    else:
        assert found.message.startswith("continuum") and found.stable is None


@EXAMPLES
@given(data=st.data())
def test_the_largest_circulation_tells_every_optimum(data):
    """T12.18: max sum phi, 0 <= phi <= N, in = out at each arm, costs as little; its slackness, pair by pair.

    Both programmes are SciPy's, whose tolerance is 1e-7.
    """
    world = data.draw(strategies.bandits_with_preference(2, 6, smallest=1e-2))
    wins = second.wins_of(data.draw(strategies.pair_samplings(world.arms)), world)
    np.fill_diagonal(wins, 0)
    u, least = second.hinge(wins)
    first, other = np.nonzero(wins)
    out_less_in, most = (np.eye(world.arms)[first] - np.eye(world.arms)[other]).T, wins[first, other]
    nothing, most_of_each = np.zeros(world.arms), [(0, x) for x in most]
    found = linprog(-np.ones(len(most)), A_eq=out_less_in, b_eq=nothing, bounds=most_of_each)
    assert_allclose(-found.fun, least, rtol=1e-7, atol=1e-9)
    lead, idle, full = u[first] - u[other], found.x < 1e-9, found.x > most - 1e-9
    assert (lead[idle & ~full] >= 1 - 1e-6).all() and (lead[full & ~idle] <= 1 + 1e-6).all()
    assert_allclose(lead[~idle & ~full], 1, atol=1e-6)


def test_a_certificate_of_optimality_by_hand():
    """0 beats 1 and 1 beats 2 three times of four, 0 beats 2 nine of ten: u = (2, 1, 0)."""
    P = np.array([[0.5, 0.75, 0.9], [0.25, 0.5, 0.75], [0.1, 0.25, 0.5]])
    world = b.Bandit(preference=P, reference=[0.2, 0.5, 0.3])
    found = b.fixed_point(b.SLiC(0.5), world, b.Offline(np.full(3, 1 / 3)))
    assert_array_equal(np.round(scores(found, world, 0.5), 12), [0, -1, -2])
    assert found.unique and found.stable and found.at_jump


def test_it_knows_rewards_by_the_rung_alone():
    """Two arms: a lead of one if the first wins more often, by however much; a tie leaves all between."""
    for p in (0.51, 0.7, 0.99):
        world = b.Bandit(preference=[[0.5, p], [1 - p, 0.5]])
        assert_allclose(scores(b.fixed_point(b.SLiC(2.0), world, b.Offline([0.4, 0.6])), world, 2.0), [0, -1])
    tie = b.Bandit(preference=np.full((2, 2), 0.5))
    stays = b.fixed_point(b.SLiC(2.0), tie, b.Offline([0.4, 0.6]), [0.55, 0.45])
    assert stays.message.startswith("continuum") and stays.unique is False
    assert_allclose(stays.policy, [0.55, 0.45], rtol=1e-12)


def test_the_rung_depends_on_who_sampled_also_under_bradley_terry():
    world = b.Bandit([1.5, 0.9, 0.0], reference=[0.2, 0.5, 0.3])
    ends = {
        tuple(np.round(scores(b.fixed_point(b.SLiC(0.5), world, b.Offline(mu)), world, 0.5)))
        for mu in ([0.9, 0.05, 0.05], [0.05, 0.05, 0.9], [0.34, 0.33, 0.33])
    }
    assert len(ends) > 1


def test_certain_labels_end_where_the_flow_enters_the_continuum():
    """A ladder of certain wins: leads of at least one, all the others free; from above nothing moves."""
    P = np.array([[0.5, 1.0, 1.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.5]])
    world, law = b.Bandit(preference=P, reference=[0.2, 0.5, 0.3]), b.Offline([0.3, 0.3, 0.4])
    found = b.fixed_point(b.SLiC(0.5), world, law)
    assert_allclose(scores(found, world, 0.5), [0, -1, -2], atol=1e-12)
    assert found.message.startswith("continuum") and found.stable is None and found.residual == 0
    assert found.at_jump
    with pytest.raises(b.NoFixedPoint, match="continuum"):
        b.fixed_points(b.SLiC(0.5), world, law)


@EXAMPLES
@given(data=st.data())
def test_small_steps_of_descent_come_to_the_end_of_the_exact_path(data):
    """Plain descent with falling steps, which chatters about the kinks by the size of a step."""
    rng = data.draw(strategies.generators())
    wins = rng.dirichlet(np.ones(9)).reshape(3, 3)
    np.fill_diagonal(wins, 0)
    u, step = np.zeros(3), 0.2
    for _ in range(3000):
        short = wins * (u[:, None] - u < 1)
        u = u + step * (short.sum(axis=1) - short.sum(axis=0))
        step *= 0.998
    end = hinge.flow(wins, np.zeros(3))[0]
    cost = [(wins * np.maximum(0, 1 - (x[:, None] - x))).sum() for x in (u, end)]
    assert cost[0] - cost[1] < 5e-3 and cost[1] <= cost[0] + 1e-12


def test_it_is_the_convex_loss_of_the_hinge():
    world, law, policy = b.Bandit([1.0, 0.2, 0.0]), b.Offline([0.5, 0.3, 0.2]), [0.9, 0.06, 0.04]
    one, two = (b.expected_update(a, world, law, policy) for a in (b.SLiC(0.7), b.ConvexLoss(0.7, b.hinge)))
    assert_array_equal(one, two)
    assert_array_equal(
        b.fixed_point(b.SLiC(0.7), world, law).policy,
        b.fixed_point(b.ConvexLoss(0.7, b.hinge), world, law).policy,
    )


def test_simulated_training_hovers_about_the_vertex():
    """SGD with steps of .01 stays within a few steps of it."""
    world, law = b.Bandit([1.0, 0.3, -0.5], reference=[0.2, 0.5, 0.3]), b.Offline([0.4, 0.3, 0.3])
    trace = b.simulate(
        b.SLiC(0.5), world, law, steps=1500, batch_size=256, learning_rate=0.1, rng=np.random.default_rng(0)
    )
    found = b.fixed_point(b.SLiC(0.5), world, law)
    assert np.abs(trace.policies[-1, 0] - found.policy).max() < 0.05
