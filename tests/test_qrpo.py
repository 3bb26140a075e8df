"""QRPO: quantiles for rewards, and what the Z of continuous ones does to finitely many answers (T13.5)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.integrate import quad
from test_pmd_mean import rest

import answer_key
from bandits import (
    QRPO,
    Bandit,
    Offline,
    OnPolicy,
    PolicyGradient,
    Samples,
    continuous_value,
    expected_update,
    fixed_point,
    fixed_points,
    group_quantile,
    reference_quantile,
    reference_value,
)
from bandits.testing import enumeration, strategies
from bandits.testing.enumeration import Case
from rows import Row, log_ratios

EXAMPLES = settings(max_examples=25)
REFERENCE = np.array([0.1, 0.2, 0.3, 0.4])
WORLD = Bandit([1.0, 0.6, 0.2, 0.0], reference=REFERENCE)  # T13.5: E's rewards, beta = .5
F = np.array([1.0, 0.9, 0.7, 0.4])  # its quantiles
EXACT = {"value": reference_value}
GROUPS = {"quantile": group_quantile, "k": 3}


# ---- the row ----------------------------------------------------------------------------------------------


def quantiles(rewards, weights) -> list[float]:
    """P(r' <= r) of each reward, in plain Python."""
    return [math.fsum(w for w, other in zip(weights, rewards, strict=True) if other <= r) for r in rewards]


def uniform_value(beta: float) -> float:
    """beta log of the integral of exp(q / beta) over [0, 1], around its largest term."""
    return 1 + beta * math.log(quad(lambda q: math.exp((q - 1) / beta), 0, 1, epsabs=0, epsrel=1e-13)[0])


def value(a: QRPO, s: Samples) -> float:
    """beta log Z, by an integral, or the sum over the reference."""
    if a.value is continuous_value:
        return 1 + a.beta * math.log(
            quad(lambda q: math.exp((q - 1) / a.beta), 0, 1, epsabs=0, epsrel=1e-13)[0]
        )
    ref = np.exp(s.population.reference_log_prob)
    terms = zip(ref, quantiles(s.population.reward, ref), strict=True)
    return 1 + a.beta * math.log1p(math.fsum(w * math.expm1((q - 1) / a.beta) for w, q in terms))


def credits(a: QRPO, s: Samples) -> list[float]:
    """F - V of each sample."""
    if a.quantile is group_quantile:
        found = quantiles(s.reward, [1 / a.k] * a.k)
    else:
        ref = np.exp(s.population.reference_log_prob)
        found = [math.fsum(ref[s.population.reward <= r]) for r in s.reward]
    return [q - value(a, s) for q in found]


def formula(a: QRPO, s: Samples) -> list[float]:
    """T13.5: (F - V - beta h) / k."""
    h = answer_key.log_ratio(s)
    return [(each - a.beta * x) / a.k for each, x in zip(credits(a, s), h, strict=True)]


def end(a: QRPO, case: Case) -> np.ndarray:
    """T13.5 on any law that shows every arm, by Lambert's W: V is below J*, or equal to it."""
    world, total, mu = case.bandit, *np.zeros((2, case.bandit.arms))
    for weight, arms, s in enumeration.groups(a, case):
        for y, credit in zip(arms, credits(a, s), strict=True):
            total[y] += weight * credit / a.k
            mu[y] += weight / a.k
    if a.value is reference_value:
        weights = world.reference * np.exp((total / mu) / a.beta)
        return weights / weights.sum()
    assume(np.log(world.reference @ np.exp(total / mu / a.beta)) > 1e-6)  # of one answer in two: no bracket
    return rest(world.log_reference, mu, total / mu, a.beta)


def quantile_reward(a: QRPO, case: Case) -> tuple[float, np.ndarray]:
    """On-policy it climbs E_pi[F] - beta KL  (T2.1)."""
    return 1.0, np.array(quantiles(case.bandit.reward, case.bandit.reference))


def _row(**changes) -> Row:
    known = changes.get("quantile") is not group_quantile
    return Row(
        make=lambda beta: QRPO(beta, **changes),
        formula=formula,
        size=lambda a, case: 2 + a.beta * (1 + log_ratios(case)),
        target=end,
        climbs=quantile_reward if known else None,
        sees_offset=False,
        ends={"on-policy": "other", "elsewhere": "other"},
    )


ROWS = {
    "QRPO": _row(),
    "QRPO(reference_value)": _row(**EXACT),
    "QRPO(group_quantile, k=3)": _row(**GROUPS),
}


# ---- what it is known for ---------------------------------------------------------------------------------


def test_the_numbers_of_the_theory():
    """T13.5: the two Z; where the wrong one leads, three samplers; what it costs in the reward F."""
    assert_allclose(np.exp(continuous_value(None, 0.5) / 0.5), 3.1945, rtol=0, atol=5e-5)
    everyone = Samples(
        log_prob=WORLD.log_reference, reference_log_prob=WORLD.log_reference, reward=WORLD.reward
    )
    one = Samples(log_prob=WORLD.log_reference, reward=WORLD.reward, population=everyone)
    assert_allclose(np.exp(reference_value(one, 0.5) / 0.5), 4.0556, rtol=0, atol=5e-5)
    assert_allclose(reference_quantile(one), F, rtol=1e-15)
    target, world = [0.182193, 0.298335, 0.299970, 0.219502], Bandit(F, reference=REFERENCE)
    wrong = {
        (0.1, 0.2, 0.3, 0.4): ([0.164409, 0.282481, 0.307764, 0.245346], 0.00145),
        (0.4, 0.3, 0.2, 0.1): ([0.209112, 0.310243, 0.288351, 0.192294], 0.00206),
        (0.1, 0.1, 0.1, 0.7): ([0.185490, 0.273524, 0.274653, 0.266333], 0.00343),
    }
    for mu, (policy, regret) in wrong.items():
        exact = fixed_point(QRPO(0.5, **EXACT), WORLD, Offline(mu))
        assert_allclose(exact.policy, target, rtol=0, atol=5e-7)
        found = fixed_point(QRPO(0.5), WORLD, Offline(mu))
        assert_allclose(found.policy, policy, rtol=0, atol=5e-7)
        assert_allclose(world.regret(found.policy, 0.5), regret, rtol=0, atol=5e-6)
        assert found.unique and found.stable and found.residual < 1e-14


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.05, 100))
def test_the_published_value_is_too_low_and_the_end_is_unique(data, beta):
    """P(F <= t) <= t: E_ref[exp(F / beta)] exceeds the integral, V < J*, and no arm locks in  (T2.5)."""
    world = data.draw(strategies.bandits_with_reward(2, 6, smallest=1e-2))
    quantile = np.array(quantiles(world.reward, world.reference))
    for t in np.linspace(0, 1, 21):
        assert world.reference[quantile <= t].sum() <= t + 1e-12
    exact = Bandit(quantile, reference=world.reference).optimal_value(beta)
    assert continuous_value(None, beta) < exact
    mu = data.draw(strategies.behaviors(world.arms))
    (only,) = fixed_points(QRPO(beta), world, Offline(mu))
    assert only.unique and only.stable and only.residual <= 1e-10
    advantage = mu @ (
        quantile - continuous_value(None, beta) - beta * (only.log_policy - world.log_reference)
    )
    assert advantage > 0  # Abar: drawn towards mu


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.05, 100), k=st.integers(1, 3))
def test_it_is_policy_gradient_on_the_quantile_with_a_constant_baseline(data, beta, k):
    """T2.5 with r = F and b = V, whoever samples."""
    world = data.draw(strategies.bandits_with_reward(2, 5))
    mu, policy = data.draw(strategies.behaviors(world.arms)), data.draw(strategies.policies(world.arms))
    ranks = Bandit(quantiles(world.reward, world.reference), reference=world.reference)
    plain = PolicyGradient(beta, continuous_value(None, beta), k=k)
    size = 2 + beta * np.abs(np.log(policy / world.reference)).max()
    for law in (Offline(mu), OnPolicy()):
        found = expected_update(QRPO(beta, k=k), world, law, policy)
        assert_allclose(found, expected_update(plain, ranks, law, policy), rtol=0, atol=1e-13 * size)


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.05, 100))
def test_only_the_order_of_the_rewards_matters(data, beta):
    """Any increasing function of the reward gives the same end: cubes, ties kept."""
    world = data.draw(strategies.bandits_with_reward(2, 5, smallest=1e-2))
    rounded = np.round(world.reward)  # ties
    mu = Offline(data.draw(strategies.behaviors(world.arms)))
    ends = [
        fixed_point(QRPO(beta), Bandit(r, reference=world.reference), mu).policy
        for r in (rounded, 7 * rounded**3 + rounded - 2)
    ]
    assert_allclose(*ends, rtol=0, atol=1e-14)


@pytest.mark.parametrize("beta", [1e-3, 0.3, 9.9999, 10.0001, 50.0, 1e4, 1e100])
def test_the_continuous_value_keeps_its_digits(beta):
    """Against the integral where that is exact to 1e-13, and 1/2 + 1/(24 beta) - 1/(2880 beta^3) far out."""
    if beta < 100:
        expected = 1 + beta * math.log(
            quad(lambda q: math.exp((q - 1) / beta), 0, 1, epsabs=0, epsrel=1e-13)[0]
        )
        assert_allclose(continuous_value(None, beta), expected, rtol=0, atol=1e-13 * (1 + beta))
    else:
        assert_allclose(continuous_value(None, beta), 0.5 + 1 / (24 * beta), rtol=1e-15)


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 100), k=st.sampled_from([2, 3]))
def test_quantiles_of_a_group_shrink_towards_one(data, beta, k):
    """Where the reference drew the group: 1/k + (1 - 1/k) F on average, its own rank being known."""
    world = data.draw(strategies.bandits_with_reward(2, 5, smallest=1e-2))
    policy, ref = data.draw(strategies.policies(world.arms)), world.reference
    less = 1 / k + (1 - 1 / k) * np.array(quantiles(world.reward, ref))
    V = continuous_value(None, beta)
    found = expected_update(QRPO(beta, quantile=group_quantile, k=k), world, Offline(ref), policy)
    plain = PolicyGradient(beta, V)
    expected = expected_update(plain, Bandit(less, reference=ref), Offline(ref), policy)
    size = 2 + beta * np.abs(np.log(policy / ref)).max()
    assert_allclose(found, expected, rtol=0, atol=1e-13 * size)


def test_a_reader_may_bring_quantiles_and_values():
    """Followed along the flow, where no theory knows them; here they are the known ones in disguise."""
    mu = Offline([0.4, 0.3, 0.2, 0.1])
    plain = QRPO(0.5, quantile=lambda s: reference_quantile(s), value=lambda s, beta: 0.58071968)
    found = fixed_point(plain, WORLD, mu)
    assert found.method.startswith("flow")
    assert_allclose(found.policy, fixed_point(QRPO(0.5), WORLD, mu).policy, rtol=0, atol=1e-8)


# ---- bad input --------------------------------------------------------------------------------------------


def test_a_population_that_is_not_everybody_is_refused():
    """A group of a language model's answers: their probabilities are no reference to rank in."""
    logs = {"log_prob": np.array([-9.0, -12.0]), "reference_log_prob": np.array([-9.0, -12.0])}
    group = Samples(**logs, reward=np.array([1.0, 0.0]))
    seen = replace(group, population=group)
    with pytest.raises(ValueError, match=r"population must be all answers .* use quantile=group_quantile"):
        QRPO(0.5, k=2).update(seen)
    assert_allclose(QRPO(0.5, quantile=group_quantile, k=2).update(seen).log_prob[1], (0.5 - 0.58071968) / 2)


def test_a_group_of_one_has_no_quantiles():
    with pytest.raises(ValueError, match="k must be"):
        QRPO(0.5, quantile=group_quantile)
