"""DPO: Bradley-Terry is recovered whoever sampled; smoothing and margins in closed form (T5.1, T5.4)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import root
from scipy.special import expit, log_softmax, softmax

import answer_key
import worlds
from bandits import (
    DPO,
    IPO,
    Bandit,
    Dataset,
    NotConverged,
    Offline,
    OnPolicy,
    Samples,
    expected_loss,
    expected_update,
    fixed_point,
)
from bandits.solvers import bradley_terry
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from rows import Row, size_of_rewards

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: DPO, s: Samples) -> list[float]:
    """T5.1 and T5.4: +-beta sigma(-(beta dh + dGamma)); with smoothing, the flipped label with weight eps."""
    gamma = [0.0, 0.0] if a.margin is None else [float(g) for g in a.margin(s)]
    h = answer_key.log_ratio(s)

    def of_winner(w: int, l: int) -> float:  # noqa: E741
        margin = a.beta * (h[w] - h[l]) + gamma[w] - gamma[l]
        kept, flipped = (1 - np.tanh(margin / 2)) / 2, (1 + np.tanh(margin / 2)) / 2
        return a.beta * ((1 - a.smoothing) * kept - a.smoothing * flipped)

    return answer_key.over_labels(of_winner, float(s.preference[0, 1]))


def size(a: DPO, case: Case) -> float:
    """sigma sees beta h, and beta stands before it."""
    return size_of_rewards(a, case) * max(1.0, a.beta) ** 2


def a_fifth_of_the_reward(answers):
    return 0.2 * answers.reward


ROWS = {
    "DPO": Row(
        make=DPO,
        formula=formula,
        size=size,
        ends={"on-policy": "optimum", "elsewhere": "optimum"},  # T5.1
    ),
    "DPO(smoothing, margin)": Row(
        make=lambda beta: DPO(beta, smoothing=0.1, margin=a_fifth_of_the_reward),
        formula=formula,
        size=size,
        sees_offset=False,  # only differences of the margin are seen
        ends={"on-policy": "other", "elsewhere": "other"},  # T5.4
    ),
}


# ---- what it is known for ---------------------------------------------------------------------------------


EXAMPLES = settings(max_examples=25)


@EXAMPLES
@given(st.data(), strategies.betas(0.3, 30))
def test_under_bradley_terry_every_connected_law_ends_at_the_optimum(data, beta):
    """T5.1: at pi* beta dh = dr, and p sigma(-dr) = (1 - p) sigma(dr) for p = sigma(dr), pair by pair."""
    world = data.draw(strategies.bandits_with_reward(max_arms=5, smallest=1e-2))
    sampling = data.draw(strategies.pair_samplings(world.arms))
    best = world.optimal_policy(beta)
    assert_allclose(expected_update(DPO(beta), world, sampling, best), 0, atol=1e-13 * beta * 30)
    assert_allclose(fixed_point(DPO(beta), world, sampling).policy, best, rtol=1e-12)


def test_for_other_preferences_the_answer_depends_on_who_sampled():
    """T5.2: the Bradley-Terry fit of a cycle weighs the comparisons by W."""
    ends = [
        fixed_point(DPO(0.4), worlds.GAME, Offline(mu)).policy for mu in ([0.6, 0.3, 0.1], [0.1, 0.3, 0.6])
    ]
    assert np.abs(ends[0] - ends[1]).max() > 0.1


@EXAMPLES
@given(strategies.betas(), st.floats(1e-3, 0.49), strategies.references(2, smallest=1e-3))
def test_smoothing_bounds_the_margin_of_a_deterministic_label(beta, smoothing, reference):
    """T5.4: (1 - eps) sigma(-x) = eps sigma(x) at x = beta dh = log((1 - eps)/eps)."""
    always = Bandit(preference=[[0.5, 1.0], [0.0, 0.5]], reference=reference)
    gap = np.log((1 - smoothing) / smoothing) / beta
    log_answer, samplings = (
        log_softmax(np.log(reference) + [gap, 0.0]),
        (Offline([0.3, 0.7]), Dataset([(0, 1)])),
    )
    for sampling in samplings:
        found = fixed_point(DPO(beta, smoothing=smoothing), always, sampling)
        assert_allclose(found.log_policy, log_answer, rtol=1e-10)
    assume(log_answer.min() > -690)  # the update is read off probabilities, which underflow
    for sampling in samplings:
        update = expected_update(DPO(beta, smoothing=smoothing), always, sampling, np.exp(log_answer))
        assert_allclose(update, 0, atol=1e-13 * (1 - beta * log_answer.min()) * beta)


@EXAMPLES
@given(st.data(), strategies.betas(0.3, 30))
def test_a_margin_is_subtracted_from_the_reward(data, beta):
    """T5.4: x = beta dh + dGamma = dr at the optimum, so pi ~ ref exp((r - Gamma) / beta)."""
    world = data.draw(strategies.bandits_with_reward(max_arms=5, smallest=1e-2))
    gamma = data.draw(strategies.rewards(world.arms, scale=0.5))
    algorithm = DPO(beta, margin=lambda samples: gamma[samples.arm])
    sampling = data.draw(strategies.pair_samplings(world.arms))
    pessimistic = softmax(np.log(world.reference) + (world.reward - gamma) / beta)
    assert_allclose(expected_update(algorithm, world, sampling, pessimistic), 0, atol=1e-12 * beta)
    assert_allclose(fixed_point(algorithm, world, sampling).policy, pessimistic, rtol=1e-10)
    added = softmax(np.log(world.reference) + (world.reward + gamma) / beta)  # the flipped sign is no answer
    assert np.abs(expected_update(algorithm, world, sampling, added)).max() > 1e-9


@EXAMPLES
@given(st.data(), strategies.betas(0.1, 10))
def test_the_loss_is_the_cross_entropy_of_the_labels(data, beta):
    """E[loss] = sum W [-p log q - (1 - p) log(1 - q)], q = sigma(beta dh): least where q = p."""
    world = data.draw(strategies.bandits_with_reward(max_arms=4, smallest=1e-2))
    mu, policy = data.draw(strategies.behaviors(world.arms)), data.draw(strategies.policies(world.arms))
    h = np.log(policy / world.reference)
    q, p = expit(beta * (h[:, None] - h)), world.preference
    by_hand = (np.outer(mu, mu) * -(p * np.log(q) + (1 - p) * np.log(1 - q))).sum()
    assert_allclose(expected_loss(DPO(beta), world, Offline(mu), policy), by_hand, rtol=1e-9)
    best = expected_loss(DPO(beta), world, Offline(mu), world.optimal_policy(beta))
    entropy = (np.outer(mu, mu) * -(p * np.log(p) + (1 - p) * np.log(1 - p))).sum()
    assert_allclose(best, entropy, rtol=1e-9)
    assert best <= by_hand


@pytest.mark.parametrize("gap", [-1e6, -800.0, 800.0, 1e6])
def test_large_margins_neither_overflow_nor_vanish(gap):
    """-log sigma(x) = -x for x << 0, and its slope is 1; for x >> 0 both are 0."""
    won = np.array([[0.5, 1.0], [0.0, 0.5]])
    pair = Samples(log_prob=np.array([gap, 0.0]), reference_log_prob=np.zeros(2), preference=won)
    assert_allclose(DPO(1.0).loss(pair), max(-gap, 0.0), rtol=1e-14)
    assert_allclose(DPO(1.0).update(pair).log_prob, [float(gap < 0), -float(gap < 0)], atol=1e-300)


def test_dpo_regresses_no_number_where_ipo_does():
    """T11.1: DPO's margin is beta dh, IPO regresses dh on 1/(2 beta).  At dh = 1/(2 beta) only IPO rests."""
    beta = 0.25
    won = np.array([[0.5, 1.0], [0.0, 0.5]])
    pair = Samples(log_prob=np.array([2.0, 0.0]), reference_log_prob=np.zeros(2), preference=won)
    assert_allclose(IPO(beta).update(pair).log_prob, 0)
    assert_allclose(DPO(beta).update(pair).log_prob[0], beta * expit(-beta * 2.0), rtol=1e-14)


def test_a_fit_that_ran_out_of_steps_is_refused_and_handed_over(monkeypatch):
    """One Newton step cannot fit this cycle to 1e-10."""
    monkeypatch.setattr(bradley_terry, "MAX_STEPS", 1)
    world = Bandit(preference=[[0.5, 0.99, 0.2], [0.01, 0.5, 0.8], [0.8, 0.2, 0.5]])
    with pytest.raises(NotConverged, match="not accurate") as refusal:
        fixed_point(DPO(0.4), world, Offline([0.6, 0.3, 0.1]))
    assert refusal.value.solution.residual > 1e-10
    assert refusal.value.solution.policy.shape == (3,)


@EXAMPLES
@given(st.data(), strategies.betas(0.2, 10))
def test_on_its_own_samples_it_wins_as_often_as_its_own_bradley_terry_model_says(data, beta):
    """T5.5: p(y > pi) = E_pi[sigma(beta (h - h'))] for every arm, any preferences without certain winners."""
    world = data.draw(strategies.bandits_with_preference(2, 5, smallest=5e-2))
    world = Bandit(preference=0.9 * world.preference + 0.05, reference=world.reference)
    found = fixed_point(DPO(beta), world, OnPolicy())
    h = found.log_policy - world.log_reference
    model = expit(beta * (h[:, None] - h)) @ found.policy
    assert_allclose(found.policy * (world.preference @ found.policy - model), 0, atol=1e-10)
    assert found.stable


def test_online_dpo_of_the_theory():
    """T5.5: neither the equilibrium nor an offline fit; SciPy's root of the same condition."""
    P, reference = np.array([[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]]), [0.6, 0.3, 0.1]
    world = Bandit(preference=P, reference=reference)
    found = fixed_point(DPO(0.5), world, OnPolicy())
    assert_allclose(found.policy, [0.529340, 0.143261, 0.327399], rtol=0, atol=5e-7)
    assert_allclose(world.nash_policy(0.5), [0.666622, 0.196806, 0.136572], rtol=0, atol=5e-7)

    def excess(logits):
        log_policy = log_softmax(logits)
        h = log_policy - np.log(reference)
        return (P - expit(0.5 * (h[:, None] - h))) @ np.exp(log_policy) + logits.mean()

    theirs = root(excess, np.log(reference), tol=1e-14).x
    assert_allclose(found.policy, softmax(theirs), rtol=0, atol=1e-9)


def test_online_dpo_runs_away_with_an_arm_that_beats_all_others_for_certain():
    """T5.5: p(y > pi) = 1 - pi(y)/2, and no model of finite scores wins so often."""
    P = np.array([[0.5, 1.0, 1.0], [0.0, 0.5, 0.7], [0.0, 0.3, 0.5]])
    with pytest.raises(NotConverged) as stopped:
        fixed_point(DPO(0.5), Bandit(preference=P, reference=[0.2, 0.5, 0.3]), OnPolicy())
    assert stopped.value.reason == "runs away" and set(stopped.value.arms) == {1, 2}
