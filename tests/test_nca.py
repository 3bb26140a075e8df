"""NCA: an answer charged by itself; best-of-2 by preferences in one special case (T13.13)."""

from __future__ import annotations

import independent_solvers as second
import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import expit

import answer_key
import bandits as b
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from rows import Row, size_of_rewards

EXAMPLES = settings(max_examples=20)

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: b.NCA, s: b.Samples) -> list[float]:
    """T13.13: beta (sigma(-u) - sigma(u)/2) of the winner, -beta sigma(u)/2 of the loser, by label."""
    u, p = [a.beta * h for h in answer_key.log_ratio(s)], float(s.preference[0, 1])
    return [a.beta * (w * expit(-x) - expit(x) / 2) for w, x in zip((p, 1 - p), u, strict=True)]


def size(a: b.NCA, case: Case) -> float:
    return size_of_rewards(a, case) * max(1.0, a.beta) ** 2


def slopes(beta: float, wins: np.ndarray):
    """d/dh of sum_y [wins l(u) + shown l(-u) / 2]."""
    won, shown = wins.sum(axis=1), wins.sum(axis=1) + wins.sum(axis=0)
    return lambda h: beta * (shown * expit(beta * h) / 2 - won * expit(-beta * h))


def rest(a: b.NCA, case: Case) -> np.ndarray:
    """SciPy's root of the update by hand, from the pointwise best log-ratios."""
    wins = second.wins_of(case.sampling, case.bandit)
    won, shown = wins.sum(axis=1), wins.sum(axis=1) + wins.sum(axis=0)
    assume(won.min() > 0)  # an arm that never wins dies out
    start = case.bandit.log_reference + np.log(2 * won / shown) / a.beta
    return np.exp(second.singly(slopes(a.beta, wins), case.bandit.log_reference, start))


ROWS = {
    "NCA": Row(
        make=b.NCA,
        formula=formula,
        size=size,
        target=rest,
        ends={"on-policy": "other", "elsewhere": "other"},  # T13.13
    )
}


# ---- what it is known for ---------------------------------------------------------------------------------


@EXAMPLES
@given(data=st.data())
def test_pairs_of_the_reference_at_beta_one_end_at_best_of_two(data):
    """T13.13: exactly 2 ref p(y > ref), for any preferences; every start, rest and closed form."""
    world = data.draw(strategies.bandits_with_preference(2, 6, smallest=1e-2))
    world = b.Bandit(preference=0.98 * world.preference + 0.01, reference=world.reference)
    best = 2 * world.reference * (world.preference @ world.reference)
    law = b.Offline(world.reference)
    assert_allclose(best.sum(), 1, rtol=1e-13)
    assert_allclose(b.expected_update(b.NCA(1.0), world, law, best), 0, atol=1e-15)
    found = b.fixed_point(b.NCA(1.0), world, law)
    assert_allclose(found.policy, best, rtol=1e-9)
    assert found.unique and found.stable and found.residual <= 1e-12


def test_the_imitation_of_best_of_two_of_the_theory():
    """T12.14: 2 mu(y) p(y > mu) = (.708, .174, .118)."""
    P = [[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]]
    mu = np.array([0.6, 0.3, 0.1])
    found = b.fixed_point(b.NCA(1.0), b.Bandit(preference=P, reference=mu), b.Offline(mu))
    assert_allclose(found.policy, [0.708, 0.174, 0.118], rtol=0, atol=1e-12)


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.05, 1))
def test_with_the_reference_as_sampler_and_beta_up_to_one_the_end_is_unique(data, beta):
    """T13.13: sum ref (2p)^(1/beta) >= 1 by Jensen; the end is SciPy's, slopes are -kappa pi, kappa >= 0."""
    world = data.draw(strategies.bandits_with_preference(2, 6, smallest=1e-2))
    world = b.Bandit(preference=0.9 * world.preference + 0.05, reference=world.reference)
    law = b.Offline(world.reference)
    found = b.fixed_point(b.NCA(beta), world, law)
    wins = second.wins_of(law, world)
    slope = slopes(beta, wins)(found.log_policy - world.log_reference)
    assert found.unique and found.residual <= 1e-10
    assert slope.sum() <= 1e-10
    assert_allclose(slope, found.policy * slope.sum(), rtol=0, atol=1e-11)
    if beta < 0.9:
        theirs = second.singly(slopes(beta, wins), world.log_reference, found.log_policy + 0.01)
        assert_allclose(found.policy, np.exp(theirs), rtol=0, atol=1e-9)


def test_from_every_start_the_flow_leads_to_the_only_end():
    """Six starts all over the simplex, by the flow alone."""
    world, law = b.Bandit([1.0, 0.2, -0.5], reference=[0.2, 0.5, 0.3]), b.Offline([0.3, 0.4, 0.3])
    starts = np.random.default_rng(2).dirichlet(np.ones(3), size=6)
    path = b.flow(b.NCA(0.4), world, law, [0.0, 3e3], starts)
    found = b.fixed_point(b.NCA(0.4), world, law)
    assert found.unique
    assert_allclose(path[-1], np.tile(found.policy, (6, 1)), rtol=0, atol=1e-6)


def test_other_samplers_and_betas_miss_best_of_two_and_the_optimum():
    world = b.Bandit([1.0, 0.2, -0.5], reference=[0.2, 0.5, 0.3])
    best = 2 * world.reference * (world.preference @ world.reference)
    for beta, mu in ((1.0, [0.6, 0.3, 0.1]), (0.5, world.reference), (2.0, world.reference)):
        found = b.fixed_point(b.NCA(beta), world, b.Offline(mu)).policy
        assert np.abs(found - best).max() > 5e-3
        assert np.abs(found - world.optimal_policy(beta)).max() > 5e-3


def test_an_arm_that_never_wins_or_is_never_shown_dies_out():
    """The limit on the boundary is an ordinary answer, with the arms that live."""
    P = np.array([[0.5, 0.7, 1.0], [0.3, 0.5, 1.0], [0.0, 0.0, 0.5]])
    world = b.Bandit(preference=P, reference=[0.4, 0.3, 0.3])
    found = b.fixed_point(b.NCA(0.5), world, b.Offline([0.4, 0.4, 0.2]))
    assert found.unique and found.face is None  # against itself it wins half
    pairs = np.array([[0, 0.3, 0.2], [0.1, 0, 0.4], [0, 0, 0]])
    found = b.fixed_point(b.NCA(0.5), world, b.Pairs(pairs))
    assert found.unique and found.face.tolist() == [True, True, False] and found.residual <= 1e-10
    late = b.flow(b.NCA(0.5), world, b.Pairs(pairs), [0.0, 3e6])[-1]
    assert_allclose(late, found.policy, rtol=0, atol=1e-3)  # it dies like a power of 1/t
    shy = b.Bandit([1.0, 0.0, 0.5], reference=[0.45, 0.45, 0.1])
    unseen = b.fixed_point(b.NCA(0.3), shy, b.Offline([0.5, 0.5, 0.0]))
    assert unseen.unique and unseen.face.tolist() == [True, True, False]


def test_on_its_own_samples_all_slopes_are_equal():
    """T13.13 with mu = pi: p(y > pi) sigma(-u) - sigma(u) / 2 is the same for every arm."""
    world = b.Bandit([1.0, 0.2, -0.5], reference=[0.2, 0.5, 0.3])
    found = b.fixed_point(b.NCA(0.5), world, b.OnPolicy())
    u = 0.5 * (found.log_policy - world.log_reference)
    slope = (world.preference @ found.policy) * expit(-u) - expit(u) / 2
    assert_allclose(slope, slope[0], rtol=0, atol=1e-9)
    assert found.stable and found.residual <= 1e-10
