"""The papers' numbers on the named worlds, each with its derivation (T3.8, T4.4, T4.5, T6.7, T7.4).

Numbers are quoted to as many digits as the theory prints: a tolerance is half a unit of the last one.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softmax

from bandits import (
    DPO,
    IPO,
    SRPO,
    CoPG,
    Dataset,
    NoFixedPoint,
    Offline,
    PolicyGradient,
    examples,
    fixed_point,
    policy_reward,
)
from bandits.solvers.equilibrium import von_neumann_winner

THIRD = np.full(3, 1 / 3)


# ---- CoPG's toy (T3.8) -------------------------------------------------------------------------------------


def test_copg_toy_has_its_optimum():
    """pi* ~ e^{r / .5} = (e^5, e^4, e^2), J* = .5 log(mean of them); the start is the reference."""
    world, _ = examples.copg_toy()
    by_hand = np.exp([5.0, 4.0, 2.0])
    assert_allclose(world.optimal_policy(0.5), by_hand / by_hand.sum(), rtol=1e-13)
    assert_allclose(world.optimal_policy(0.5), [0.7054, 0.2595, 0.0351], atol=5e-5)
    assert_allclose(world.optimal_value(0.5), 0.5 * np.log(by_hand.mean()), rtol=1e-14)
    assert_allclose(world.optimal_value(0.5), 2.12520, atol=5e-6)
    assert_allclose(world.regret(THIRD, 0.5), 0.29187, atol=5e-6)
    assert_allclose(world.regret(THIRD, 0.5), world.optimal_value(0.5) - 5.5 / 3, rtol=1e-12)


def test_copg_toy_tells_the_algorithms_apart():
    """Same skewed pairs, same beta: only CoPG ends at pi*.  Policy gradient pools the two behaviours."""
    world, pairs = examples.copg_toy()
    assert_array_equal(pairs.behaviors, [[0.1, 0.2, 0.7], [0.05, 0.05, 0.9]])
    pooled = Offline(np.mean(pairs.behaviors, axis=0))
    ends = {
        "CoPG": (CoPG(0.5), pairs, [0.7054, 0.2595, 0.0351], 0.0, 5e-5),
        "IPO": (IPO(0.5), pairs, [0.424, 0.353, 0.223], 0.1525, 5e-4),
        "PG b=0": (PolicyGradient(0.5), pooled, None, 0.638, 5e-4),
        "PG b=E[r]": (PolicyGradient(0.5, policy_reward), pooled, [0.8115, 0.1675, 0.0209], 0.0148, 5e-5),
    }
    for algorithm, sampling, policy, regret, digits in ends.values():
        found = fixed_point(algorithm, world, sampling)
        assert np.max(found.residual) < 1e-13
        if policy is not None:
            assert_allclose(found.policy, policy, atol=digits)
        assert_allclose(world.regret(found.policy, 0.5), regret, atol=max(digits, 5e-5))


def test_without_a_baseline_policy_gradient_ends_worse_than_it_starts():
    """T3.8: the regret rises from .292 to .638."""
    world, pairs = examples.copg_toy()
    end = fixed_point(PolicyGradient(0.5), world, Offline(np.mean(pairs.behaviors, axis=0)))
    assert world.regret(end.policy, 0.5) > 2 * world.regret(THIRD, 0.5)


# ---- IPO's examples (T4.4, T4.5) ---------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.1, 0.25, 1.0, 5.0])
def test_two_arms_part_ipo_from_dpo(beta):
    """T4.4: IPO regresses h_1 - h_2 on 1/(2 beta), so pi(y1) = sigma(.5 / beta); DPO's gap has no end."""
    world = examples.two_arms()
    for sampling in (Offline([0.3, 0.7]), Dataset([(0, 1)])):
        found = fixed_point(IPO(beta), world, sampling).policy
        assert_allclose(found, [expit(0.5 / beta), expit(-0.5 / beta)], rtol=1e-13)
        with pytest.raises(NoFixedPoint) as refusal:
            fixed_point(DPO(beta), world, sampling)
        assert_array_equal(refusal.value.solution.policy, [1.0, 0.0])


@pytest.mark.parametrize(
    ("beta", "printed"),
    [
        (0.1, [0.964, 0.034, 0.001]),
        (0.25, [0.750, 0.198, 0.052]),
        (0.5, [0.563, 0.289, 0.148]),
        (1.0, [0.448, 0.321, 0.230]),
        (5.0, [0.356, 0.333, 0.311]),
    ],
)
def test_the_total_order_is_ranked_with_equal_steps(beta, printed):
    """T4.5, D1.  L = (1/3)(3 I - 1 1') is the identity on mean-zero vectors, and the flow is half of
    (wins - losses)/3 = (2, 0, -2)/3 over beta: h = (1, 0, -1)/(3 beta)."""
    world, data = examples.total_order()
    found = fixed_point(IPO(beta), world, data).policy
    assert_allclose(found, softmax(np.array([1, 0, -1]) / (3 * beta)), rtol=1e-12)
    assert_allclose(found, printed, atol=6e-4)
    with pytest.raises(NoFixedPoint) as refusal:
        fixed_point(DPO(beta), world, data)
    assert_array_equal(refusal.value.solution.policy, [1.0, 0.0, 0.0])


@pytest.mark.parametrize("algorithm", [IPO(0.1), IPO(1.0), DPO(0.1), DPO(1.0)], ids=str)
def test_a_cycle_fits_no_ranking(algorithm):
    """T4.5, D2: the flow of a cycle is zero, so the answer is the reference."""
    world, data = examples.cycle()
    assert_allclose(fixed_point(algorithm, world, data).policy, THIRD, rtol=1e-12)


@pytest.mark.parametrize("algorithm", [IPO(0.5), DPO(0.5)], ids=str)
def test_a_contradiction_says_nothing_of_the_third_arm(algorithm):
    """T4.5, D3 as printed: a and b share what they have, pi(c) stays at its start for both methods."""
    world, data = examples.contradiction()
    assert_allclose(fixed_point(algorithm, world, data).policy, THIRD, rtol=1e-12)
    start = np.array([0.5, 0.2, 0.3])
    found = fixed_point(algorithm, world, data, start=start).policy
    even = np.sqrt(0.5 * 0.2)  # the mean logit of a and b stays, and so does c's
    assert_allclose(found, np.array([even, even, 0.3]) / (2 * even + 0.3), rtol=1e-12)


def test_the_readings_of_d3_that_can_show_the_effect():
    """T4.5, beta = .5.  {ab, bc} is a path: every gap is 1/(2 beta) = 1.  {ab, ba, ac}: see the equations.

    a-b has weight 2/3 and no net flow, a-c weight 1/3 and the flow 1/3 * 1/2 / beta: h = (1, 1, 0) + const.
    """
    world, _ = examples.contradiction()
    path = fixed_point(IPO(0.5), world, Dataset([(0, 1), (1, 2)])).policy
    assert_allclose(path, softmax([1.0, 0.0, -1.0]), rtol=1e-12)
    assert_allclose(path, [0.665, 0.245, 0.090], atol=5e-4)
    fork = fixed_point(IPO(0.5), world, Dataset([(0, 1), (1, 0), (0, 2)])).policy
    assert_allclose(fork, softmax([1.0, 1.0, 0.0]), rtol=1e-12)
    assert_allclose(fork, [0.422, 0.422, 0.155], atol=6e-4)


def test_the_data_sets_are_those_printed():
    assert_array_equal(examples.total_order()[1].pairs, [(0, 1), (1, 2), (0, 2)])
    assert_array_equal(examples.cycle()[1].pairs, [(0, 1), (1, 2), (2, 0)])
    assert_array_equal(examples.contradiction()[1].pairs, [(0, 1), (1, 0)])
    assert_array_equal(examples.contradiction()[0].preference, np.full((3, 3), 0.5))


# ---- the games (T6.7) --------------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [-0.3, -0.1, 0.1, 0.3])
def test_three_raters_have_the_printed_preferences_and_winner(epsilon):
    """T6.7 i: the policy (1/3 + eps/2, 1/3 + eps/2, 1/3 - eps) beats every arm with exactly 1/2."""
    world = examples.three_raters(epsilon)
    P = world.preference
    assert_allclose(
        [P[1, 0], P[2, 1], P[2, 0]], [2 / 3 - epsilon / 2, 2 / 3 + epsilon / 4, 1 / 3 - epsilon / 4]
    )
    nash = np.array([1 / 3 + epsilon / 2, 1 / 3 + epsilon / 2, 1 / 3 - epsilon])
    assert_allclose(world.preference_over(nash), 0.5, rtol=1e-14)
    assert_allclose(von_neumann_winner(P), nash, atol=1e-12)
    assert_allclose(world.nash_policy(1e-4), nash, atol=1e-3)


def test_the_bradley_terry_favourite_jumps_where_the_equilibrium_does_not():
    """T6.7 i.  On uniform pairs the fit ranks by mean win rate: arm 0 has 1 + 3 eps/4, arm 1 1 - 3 eps/4.

    The equilibrium moves by O(eps).  Another sampling law makes another favourite at the same eps.
    """
    favourite, nash = {}, {}
    for epsilon in (-0.01, 0.01):
        world = examples.three_raters(epsilon)
        favourite[epsilon] = fixed_point(DPO(0.1), world, Offline(THIRD)).policy.argmax()
        nash[epsilon] = world.nash_policy(0.01)
    assert favourite == {-0.01: 1, 0.01: 0}
    assert np.abs(nash[0.01] - nash[-0.01]).max() < 0.02
    world = examples.three_raters(0.1)
    favourites = {fixed_point(DPO(0.1), world, Offline(mu)).policy.argmax() for mu in SKEWED}
    assert favourites == {0, 1, 2}
    assert_allclose(von_neumann_winner(world.preference), [0.38333333, 0.38333333, 0.23333333], atol=1e-7)


SKEWED = [examples.skewed_to(arm, 3, 0.8) for arm in range(3)]


def test_the_best_elo_need_not_win():
    """T6.7 ii: with pi(1) = 2 pi(2) the best mean Elo is ln 9 / 3 at (2/3, 1/3, 0), yet arm 2 alone
    beats it with 2/3 * 2/3 + 1/3 * 2/11 = 50/99: p(2 beats 0) = 2/3, p(2 beats 1) = 2/(2 + 9)."""
    world = examples.elo()
    best_elo, third = np.array([2 / 3, 1 / 3, 0.0]), np.array([0.0, 0.0, 1.0])
    assert best_elo @ world.reward > third @ world.reward
    assert_allclose(world.win_rate(third, best_elo), 50 / 99, rtol=1e-14)


def test_the_dice_are_intransitive():
    """T6.7 iii: each die beats the next with 5/9, so that only the uniform mixture cannot be beaten."""
    world = examples.dice()
    P = world.preference
    assert_allclose([P[0, 1], P[1, 2], P[2, 0]], 5 / 9, rtol=1e-15)
    assert_allclose(von_neumann_winner(P), THIRD, atol=1e-12)
    assert_allclose(world.nash_policy(0.1), THIRD, rtol=1e-12)


def test_one_step_of_nash_md_on_the_dice():
    """T6.7 iii: beta = .1, eta = 5, so mix = pi^.5 ref^.5 / Z, and pi' ~ mix exp(5 P mix)."""
    mix = np.sqrt([0.6, 0.3, 0.1]) / np.sqrt([0.6, 0.3, 0.1]).sum()
    step = mix * np.exp(5 * examples.dice().preference_over(mix))
    assert_allclose(step / step.sum(), [0.491, 0.309, 0.200], atol=5e-4)


# ---- SRPO's robustness (T7.4) ------------------------------------------------------------------------------


def test_ipos_favourite_flips_with_the_sampler_and_srpos_does_not():
    world, beta = examples.srpo_spirit(), 0.1
    skewed = Offline([0.05, 0.9, 0.05])
    for sampling in (Offline(THIRD), skewed):
        assert_allclose(fixed_point(SRPO(beta), world, sampling).policy, [0.126, 0.007, 0.867], atol=5e-4)
    assert_allclose(fixed_point(IPO(beta), world, Offline(THIRD)).policy, [0.365, 0.012, 0.623], atol=5e-4)
    assert_allclose(fixed_point(IPO(beta), world, skewed).policy, [0.869, 0.008, 0.122], atol=6e-4)


# ---- borders -----------------------------------------------------------------------------------------------


def test_skewed_to_gives_a_distribution():
    assert_allclose(examples.skewed_to(1, 4, 0.7), [0.1, 0.7, 0.1, 0.1], rtol=1e-14)


def test_three_raters_refuse_what_is_no_probability():
    for epsilon in (-0.7, 1.4, np.nan):
        with pytest.raises(ValueError, match="epsilon"):
            examples.three_raters(epsilon)
    assert examples.three_raters(4 / 3).preference.max() == 1
