"""EXO on pairs: IPO on two arms, near it on three, and sometimes several ends (T13.14)."""

from __future__ import annotations

import math

import independent_solvers as second
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import expit, softmax

import answer_key
import bandits as b
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from rows import Row, size_of_rewards

EXAMPLES = settings(max_examples=20)

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: b.EXO, s: b.Samples) -> list[float]:
    """T13.14: +-beta sigma sigma' (log((1 - eps)/eps) - z) for each outcome of the label."""
    h, goal = answer_key.log_ratio(s), math.log((1 - a.smoothing) / a.smoothing)

    def of_winner(won: int, lost: int) -> float:
        z = a.beta * (h[won] - h[lost])
        return a.beta * (1 - math.tanh(z / 2) ** 2) / 4 * (goal - z)

    return answer_key.over_labels(of_winner, float(s.preference[0, 1]))


def size(a: b.EXO, case: Case) -> float:
    return 8 * size_of_rewards(a, case) * max(1.0, a.beta) ** 2


def rest(a: b.EXO, case: Case) -> np.ndarray:
    """SciPy's root of the pulls, from wins counted by hand, from the reference's own scores."""
    goal = math.log((1 - a.smoothing) / a.smoothing)
    wins = second.wins_of(case.sampling, case.bandit)
    x = second.margins(wins, lambda z: expit(z) * expit(-z) * (z - goal))
    assume(np.ptp(x) <= len(x) * goal)  # no margin exceeds the goal; SciPy may run off to where all is flat
    return softmax(case.bandit.log_reference + x / a.beta)


ROWS = {
    "EXO": Row(
        make=b.EXO,
        formula=formula,
        size=size,
        target=rest,
        ends={"on-policy": "other", "elsewhere": "other"},  # T13.14
    )
}


# ---- what it is known for ---------------------------------------------------------------------------------


def test_the_numbers_of_the_theory():
    """T13.14: centred beta h of EXO, of IPO's form, and the distance between the policies."""
    world, law = b.Bandit([1.0, 0.6, 0.2, 0.0, -0.7]), b.Offline(np.full(5, 0.2))
    found = b.fixed_point(b.EXO(0.5, smoothing=0.1), world, law)
    u = 0.5 * (found.log_policy - found.log_policy.mean())
    assert_allclose(u, [0.7730, 0.3804, -0.0250, -0.2272, -0.9013], rtol=0, atol=5.1e-5)
    square = b.fixed_point(b.IPO(0.5), world, law).log_policy
    ipo = 0.5 * (square - square.mean()) * 2 * math.log(9)
    assert_allclose(ipo, [0.7605, 0.3792, -0.0245, -0.2271, -0.8881], rtol=0, atol=5.1e-5)
    assert_allclose(np.abs(found.policy - softmax(ipo / 0.5)).sum() / 2, 0.0063, atol=5.1e-5)


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 10), smoothing=st.floats(1e-4, 0.4), p=st.floats(0, 1))
def test_two_arms_end_where_ipo_does(data, beta, smoothing, p):
    """T13.14: the margin (2p - 1) L, certain labels included; IPO at beta / (2 L)."""
    reference = data.draw(strategies.references(2, smallest=1e-2))
    world, law = b.Bandit(preference=[[0.5, p], [1 - p, 0.5]], reference=reference), b.Offline([0.3, 0.7])
    L = math.log((1 - smoothing) / smoothing)
    best = softmax(world.log_reference + np.array([(2 * p - 1) * L / beta, 0.0]))
    assert_allclose(
        b.expected_update(b.EXO(beta, smoothing), world, law, best), 0, atol=1e-13 * beta * (1 + L)
    )
    assert_allclose(b.fixed_point(b.IPO(beta / (2 * L)), world, law).policy, best, rtol=1e-9, atol=1e-300)
    if best.min() > 1e-3:
        assert_allclose(b.fixed_point(b.EXO(beta, smoothing), world, law).policy, best, rtol=0, atol=1e-9)


@EXAMPLES
@given(data=st.data(), smoothing=st.floats(1e-3, 0.4))
def test_the_loss_is_the_reverse_kl_to_a_geometric_mixture(data, smoothing):
    """p KL(x || (1-eps, eps)) + (1-p) KL(x || (eps, 1-eps)), least at x ~ (1-eps)^p eps^(1-p)."""
    rng, p = data.draw(strategies.generators()), data.draw(st.floats(0, 1))
    algorithm = b.EXO(1.0, smoothing)

    def loss(z: float) -> float:
        P = np.array([[0.5, p], [1 - p, 0.5]])
        pair = b.Samples(log_prob=np.array([z, 0.0]), reference_log_prob=np.zeros(2), preference=P)
        return float(algorithm.loss(pair))

    def by_hand(z: float) -> float:
        x = np.array([expit(z), expit(-z)])
        q = np.array([1 - smoothing, smoothing])
        return float(p * (x * np.log(x / q)).sum() + (1 - p) * (x * np.log(x / q[::-1])).sum())

    z = float(rng.normal(scale=2))
    best = (2 * p - 1) * math.log((1 - smoothing) / smoothing)
    assert_allclose(loss(z), by_hand(z), rtol=1e-11, atol=1e-13)
    assert loss(best) <= min(loss(z), loss(best + 1e-3), loss(best - 1e-3)) + 1e-15


def test_the_flow_keeps_gaps_between_neighbours_below_the_margin_of_certain_labels():
    """A gap beyond L is pulled together by all pairs across it: there is an end, for certain labels too."""
    P = np.array([[0.5, 1.0, 1.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.5]])
    world = b.Bandit(preference=P, reference=[0.2, 0.5, 0.3])
    found = b.fixed_point(b.EXO(0.5, smoothing=0.1), world, b.Offline([0.3, 0.3, 0.4]))
    u = 0.5 * (found.log_policy - world.log_reference)
    assert found.stable and found.residual <= 1e-10
    assert (np.diff(u) < 0).all() and (np.diff(u) > -math.log(9)).all()


def test_it_may_have_several_ends():
    """Not convex: preferences on a cycle, strong labels, one rare pair."""
    world = b.Bandit(
        preference=[[0.5, 0.98, 0.02], [0.02, 0.5, 0.98], [0.98, 0.02, 0.5]], reference=[0.3, 0.4, 0.3]
    )
    joint = np.array([[0.216, 0.011, 0.011], [0.002, 0.007, 0.051], [0.144, 0.132, 0.426]])
    ends = b.fixed_points(b.EXO(1.0, smoothing=1e-4), world, b.Pairs(joint / joint.sum()), starts=6)
    assert len(ends) > 1 and all(one.stable for one in ends)


def test_it_is_not_the_optimum_under_bradley_terry():
    """The margin is linear in p; the log-odds of p are not."""
    world, law = b.Bandit(np.log([1.0, 2.0, 6.0]), reference=[0.6, 0.3, 0.1]), b.Offline([0.6, 0.25, 0.15])
    for smoothing in (1e-3, 0.1, 0.3):
        found = b.fixed_point(b.EXO(0.5, smoothing), world, law)
        best = min(world.regret(found.policy, 0.5 * scale) for scale in np.geomspace(0.05, 20, 200))
        assert best > 1e-6  # of no other beta either


@pytest.mark.parametrize("smoothing", [0.0, 0.5, -0.1])
def test_a_certain_label_is_refused(smoothing):
    with pytest.raises(ValueError, match=rf"smoothing must lie strictly .* smoothing = {smoothing}"):
        b.EXO(0.5, smoothing)


def test_on_its_own_samples_the_pulls_of_its_own_pairs_cancel():
    """The same rest with W = pi x pi: SciPy's root at the law of the end."""
    world = b.Bandit([1.0, 0.2, -0.5], reference=[0.2, 0.5, 0.3])
    found = b.fixed_point(b.EXO(0.5, smoothing=0.1), world, b.OnPolicy())
    wins = np.outer(found.policy, found.policy) * world.preference
    u = second.margins(2 * wins, lambda z: expit(z) * expit(-z) * (z - math.log(9)))
    assert_allclose(found.policy, softmax(world.log_reference + u / 0.5), rtol=0, atol=1e-9)
