"""ORPO: imitation and odds, without a reference: where two forces balance (T13.15)."""

from __future__ import annotations

import math
from functools import partial

import independent_solvers as second
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import brentq, minimize
from scipy.special import expit, log_expit, log_softmax, logit, softmax

from bandits import ORPO, Bandit, Dataset, NotConverged, Offline, Pairs, Samples, fixed_point, fixed_points
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from rows import Row

# ---- the rows ---------------------------------------------------------------------------------------------


def formula(a: ORPO, s: Samples) -> list[float]:
    """T13.15: 1/n + lambda sigma(-z) / (n (1 - P)) of the winner, the second part's minus of the loser."""
    n = [float(x) for x in s.length] if a.average else [1.0, 1.0]
    log_p = [float(x) / m for x, m in zip(s.log_prob, n, strict=True)]
    rest = [-math.expm1(x) for x in log_p]
    odds = [math.exp(x) / left for x, left in zip(log_p, rest, strict=True)]
    p = [float(s.preference[0, 1]), float(s.preference[1, 0])]
    lost = [odds[1] / (odds[0] + odds[1]), odds[0] / (odds[0] + odds[1])]  # sigma(-z) of each as the winner
    apart = p[0] * lost[0] - p[1] * lost[1]
    signs = (1, -1)
    return [(p[i] + a.weight * signs[i] * apart / rest[i]) / n[i] for i in (0, 1)]


def size(a: ORPO, case: Case) -> float:
    """1 - P, whose last digits are those of log P."""
    n = case.bandit.length if a.average else 1.0
    rest = -np.expm1(np.log(case.policy) / n)
    return 1 + a.weight / rest.min() ** 2


def _row(average: bool) -> Row:
    return Row(
        make=lambda beta: ORPO(weight=beta, average=average),
        formula=formula,
        size=size,
        settles=False,  # an answer that never wins dies
        ends={"on-policy": "other", "elsewhere": "other"},
    )


ROWS = {"ORPO": _row(True), "ORPO(average=False)": _row(False)}


# ---- two answers ------------------------------------------------------------------------------------------


def of_two(p: float, weight: float) -> float:
    """T13.15's root; the left side rises with pi."""
    return brentq(lambda x: x - p + 2 * weight * (expit(2 * logit(x)) - p), 1e-12, 1 - 1e-12, xtol=1e-15)


def one_pair(p: float) -> Bandit:
    return Bandit(preference=[[0.5, p], [1 - p, 0.5]], reference=[0.3, 0.7], length=[1, 1])


def test_the_number_of_the_theory():
    found = fixed_point(ORPO(1.0), one_pair(0.8), Pairs([[0, 0.3], [0.7, 0]]))
    assert_allclose(found.policy[0], 0.70297, rtol=0, atol=5e-6)
    assert_allclose(of_two(0.8, 1.0), 0.70297, rtol=0, atol=5e-6)


@settings(max_examples=5)
@given(p=st.floats(0.02, 0.98), weight=strategies.betas(0.01, 30))
def test_two_answers_end_at_the_root_of_one_equation(p, weight):
    """From any start; between how often it wins, lambda = 0, and sigma^-1 of that halved, lambda = inf."""
    for start in ([0.9, 0.1], [0.05, 0.95]):
        found = fixed_point(ORPO(weight, average=False), one_pair(p), Pairs([[0, 1], [0, 0]]), start)
        assert_allclose(found.policy[0], of_two(p, weight), rtol=0, atol=1e-9)
    low, high = sorted([p, expit(logit(p) / 2)])
    assert low - 1e-9 <= found.policy[0] <= high + 1e-9


# ---- more -------------------------------------------------------------------------------------------------


def expected_loss(a: ORPO, world: Bandit, law, logits) -> float:
    """Sum over all pairs, by hand: W (imitation + lambda odds), both answers in either role."""
    W, p = second.pair_law(law, world.arms), second.first_wins(law, world)
    log_p = log_softmax(logits) / (world.length if a.average else 1.0)
    odds = log_p - np.log(-np.expm1(log_p))
    z = odds[:, None] - odds
    imitation = p * log_p[:, None] + (1 - p) * log_p
    return -(W * (imitation + a.weight * (p * log_expit(z) + (1 - p) * log_expit(-z)))).sum()


@settings(max_examples=5)
@given(data=st.data(), weight=strategies.betas(0.05, 5), average=st.booleans())
def test_more_answers_end_at_the_least_loss_that_scipy_finds(data, weight, average):
    """BFGS on the expected loss, from three starts of its own."""
    world = data.draw(strategies.worlds(3, preference=strategies.any_preferences, length=strategies.lengths))
    law = Offline(data.draw(strategies.policies(3, smallest=0.1, salt=5)))
    a = ORPO(weight, average=average)
    found = fixed_point(a, world, law)
    assert found.stable and found.residual < 1e-10
    for start in np.random.default_rng(0).normal(size=(3, 3)):
        best = minimize(partial(expected_loss, a, world, law), start, method="BFGS", options={"gtol": 1e-7})
        assert_allclose(softmax(best.x), found.policy, rtol=0, atol=1e-4)  # BFGS's own differences


@pytest.mark.parametrize("average", [True, False])
def test_no_second_end_was_found(average):
    """Four uneven worlds, 20 starts each; a campaign of 200 worlds found none either."""
    rng = np.random.default_rng(1)
    for _ in range(4):
        arms = int(rng.integers(3, 6))
        upper = np.triu(rng.uniform(0.02, 0.98, size=(arms, arms)), 1)
        P = upper + np.tril(1 - upper.T, -1) + np.eye(arms) / 2
        world = Bandit(
            preference=P, length=rng.integers(1, 30, size=arms), reference=rng.dirichlet(np.ones(arms))
        )
        law = Pairs(rng.dirichlet(np.full(arms * arms, 0.5)).reshape(arms, arms))
        a = ORPO(float(np.exp(rng.uniform(-3, 3))), average=average)
        assert len(fixed_points(a, world, law, starts=20)) == 1


def test_an_answer_that_never_wins_dies():
    world = Bandit([1.0, 0.0], length=[2, 3])
    data = Dataset([(0, 1)])
    with pytest.raises(NotConverged, match="the logits diverge") as refusal:
        fixed_point(ORPO(0.5), world, data)
    assert refusal.value.reason == "runs away" and 1 in refusal.value.arms


def test_long_answers_count_as_much_as_short_ones_where_they_are_averaged():
    """The same comparisons, lengths exchanged: another end; without `average` lengths change nothing."""
    P = [[0.5, 0.7, 0.6], [0.3, 0.5, 0.8], [0.4, 0.2, 0.5]]
    worlds = [Bandit(preference=P, length=n) for n in ([2, 20, 7], [20, 2, 7])]
    law = Offline([0.3, 0.3, 0.4])
    averaged, summed = (
        [fixed_point(ORPO(0.5, average=average), world, law).policy for world in worlds]
        for average in (True, False)
    )
    assert np.abs(averaged[0] - averaged[1]).max() > 0.05
    assert_allclose(*summed, rtol=1e-12)


def test_a_sure_answer_has_finite_coefficients():
    """1 - P = 1e-12: sigma(-z) / (1 - P) is what the other's odds say, and no overflow."""
    sure = Samples(log_prob=np.array([-1e-12, -30.0]), preference=np.array([[0.5, 1.0], [0.0, 0.5]]))
    found = ORPO(1.0, average=False).update(sure).log_prob
    assert_allclose(found, [1 + np.exp(-30), -1e-12 * np.exp(-30)], rtol=1e-3)


def test_the_weight_is_positive():
    with pytest.raises(ValueError, match="weight must be a positive"):
        ORPO(weight=0.0)


def test_the_losses_of_the_paper_in_its_own_words():
    """log odds of pi^(1/n), with n = (3, 5), by hand."""
    pair = Samples(
        log_prob=np.log([0.2, 0.1]),
        length=np.array([3.0, 5.0]),
        preference=np.array([[0.5, 1.0], [0.0, 0.5]]),
    )
    P = np.array([0.2 ** (1 / 3), 0.1 ** (1 / 5)])
    ratio = np.log(P[0] / (1 - P[0])) - np.log(P[1] / (1 - P[1]))
    assert_allclose(ORPO(0.3).loss(pair), -np.log(P[0]) - 0.3 * np.log(expit(ratio)), rtol=1e-13)
