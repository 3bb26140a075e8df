"""SRPO: one answer for both policies, whoever sampled (chapter T7)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import log_softmax, softmax

import answer_key
import worlds
from bandits import (
    SRPO,
    Bandit,
    NoFixedPoint,
    Offline,
    Pairs,
    Samples,
    expected_loss,
    expected_update,
    fixed_point,
)
from bandits.testing import enumeration, strategies
from bandits.testing.enumeration import Case
from coefficient_laws import to_torch
from rows import Row, size_of_rewards

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: SRPO, s: Samples) -> list[float]:
    """T7.3, the part of the generative policy: +-2 beta (1 - alpha) (1 - beta [...])."""

    def of_winner(w: int, l: int) -> float:  # noqa: E741
        return 2 * a.beta * (1 - a.alpha) * _errors(a, s, w, l)[0]

    return answer_key.over_labels(of_winner, float(s.preference[0, 1]))


def revision_formula(a: SRPO, s: Samples):
    """T7.3, the coefficient of log pi'(y_i | y_j) at [i, j], (2, 2)."""
    total = np.zeros((2, 2))
    for share, (w, l) in ((s.preference[0, 1], (0, 1)), (s.preference[1, 0], (1, 0))):  # noqa: E741
        gen, from_loser, from_winner = _errors(a, s, w, l)
        total[w, l] += share * 2 * a.beta * ((1 - a.alpha) * gen + a.alpha * from_loser)
        total[l, l] -= share * 2 * a.beta * a.alpha * from_loser
        total[w, w] += share * 2 * a.beta * a.alpha * from_winner
        total[l, w] -= share * 2 * a.beta * ((1 - a.alpha) * gen + a.alpha * from_winner)
    return total


def _errors(a: SRPO, s: Samples, w: int, l: int) -> tuple[float, float, float]:  # noqa: E741
    """The three brackets of T7.3."""
    h, hr = answer_key.log_ratio(s), s.revision_log_prob - s.reference_revision_log_prob
    gen = 1 - a.beta * (hr[w, l] + h[w] - hr[l, w] - h[l])
    return (
        float(gen),
        float(0.5 - a.beta * (hr[w, l] - hr[l, l])),
        float(0.5 - a.beta * (hr[w, w] - hr[l, w])),
    )


def size(a: SRPO, case: Case) -> float:
    """beta stands before brackets that hold beta h."""
    return size_of_rewards(a, case) * max(1.0, a.beta)


def _row(alpha: float) -> Row:
    # contrastive in the generative half alone: the revision policy moves besides, so it does not say so
    return Row(
        make=lambda beta: SRPO(beta, alpha=alpha),
        formula=formula,
        size=size,
        zero_sum=True,
        ends={"on-policy": "other", "elsewhere": "other"},  # ref / Z, T7.2
    )


ROWS = {"SRPO": _row(0.5), "SRPO(0.2)": _row(0.2)}


# ---- what it is known for ---------------------------------------------------------------------------------


EXAMPLES = settings(max_examples=20)
ALPHAS = st.floats(0.05, 0.95)


def optimum(world: Bandit, beta: float):
    """T7.2 from its formula: pi'*(y2|y1) = ref(y2) e^{p(y2 beats y1)/beta}/Z(y1), pi*(y) ~ ref(y)/Z(y)."""
    weights = world.reference * np.exp((world.preference.T - 0.5) / beta)  # [y1, y2]
    Z = weights.sum(1)
    return (world.reference / Z) / (world.reference / Z).sum(), weights / Z[:, None]


@st.composite
def trained_cases(draw):
    """Any place of training on any law of pairs."""
    world = draw(strategies.bandits_with_preference(max_arms=4, smallest=1e-2))
    return Case(
        bandit=world,
        sampling=draw(strategies.pair_samplings(world.arms)),
        policy=draw(strategies.policies(world.arms)),
        revision=draw(strategies.policies(world.arms, (world.arms,))),
    )


@EXAMPLES
@given(trained_cases(), strategies.betas(), ALPHAS)
def test_the_revision_coefficients_follow_the_formula_and_differentiate_the_loss(case, beta, alpha):
    """T7.3: by hand, and by autograd in log pi'(y_i | y_j)."""
    algorithm = SRPO(beta, alpha)
    _, _, samples = enumeration.stacked(algorithm, case)
    found = algorithm.update(samples).revision_log_prob
    by_hand = [revision_formula(algorithm, s) for _, _, s in enumeration.groups(algorithm, case)]
    size = 1e-13 * beta * (1 + 40 * beta)
    assert_allclose(found, by_hand, rtol=0, atol=size)
    leaves = to_torch(samples)
    leaves.revision_log_prob.requires_grad_()
    (slope,) = torch.autograd.grad(algorithm.loss(leaves).sum(), leaves.revision_log_prob)
    assert_allclose(found, -slope.numpy(), rtol=0, atol=size)


@EXAMPLES
@given(trained_cases(), strategies.betas(0.1, 10), ALPHAS)
def test_the_revision_update_descends_the_expected_loss(case, beta, alpha):
    """Third route: E[sum_ij c'_ij (e_{y_i} - pi'(.|y_j))] in row y_j = -dE[loss]/dlogits', by differences."""
    algorithm, arms = SRPO(beta, alpha), case.bandit.arms
    ascent = np.zeros((arms, arms))
    for weight, group, samples in enumeration.groups(algorithm, case):
        c = algorithm.update(samples).revision_log_prob
        for j, given_arm in enumerate(group):
            for i, answer in enumerate(group):
                ascent[given_arm] += weight * c[i, j] * (np.eye(arms)[answer] - case.revision[given_arm])

    def loss(logits):
        return expected_loss(
            algorithm, case.bandit, case.sampling, case.policy, revision_policy=softmax(logits, axis=-1)
        )

    start = np.log(case.revision)
    for row, column in ((0, 1), (arms - 1, 0)):
        slopes = []
        for h in (2e-3, 1e-3):
            e = np.zeros_like(start)
            e[row, column] = h
            slopes.append((loss(start + e) - loss(start - e)) / (2 * h))
        slope = (4 * slopes[1] - slopes[0]) / 3
        assert_allclose(ascent[row, column], -slope, rtol=0, atol=1e-9 * (1 + 10 * beta) ** 2)


@EXAMPLES
@given(trained_cases(), strategies.betas(0.1, 10), ALPHAS)
def test_both_policies_rest_at_the_same_place_for_every_law_and_every_alpha(case, beta, alpha):
    """T7.2, T7.3: all three brackets of the loss average to zero pair by pair, so no law can weigh them."""
    policy, revision = optimum(case.bandit, beta)
    at_optimum = replace(case, policy=policy, revision=revision)
    algorithm = SRPO(beta, alpha)
    for _, _, samples in enumeration.groups(algorithm, at_optimum):
        update = algorithm.update(samples)
        assert_allclose(update.log_prob, 0, atol=1e-12 * (1 + beta))
        assert_allclose(update.revision_log_prob, 0, atol=1e-12 * (1 + beta))
    found = fixed_point(algorithm, case.bandit, case.sampling)
    assert_allclose(found.policy, policy, rtol=1e-10)
    assert_allclose(np.exp(found.revision_log_policy), revision, rtol=1e-10)


@EXAMPLES
@given(trained_cases(), strategies.betas(0.1, 10), ALPHAS)
def test_elsewhere_they_do_not_rest(case, beta, alpha):
    policy, revision = optimum(case.bandit, beta)
    for moved in (replace(case, policy=policy), replace(case, revision=revision)):
        pushed = [
            np.abs(u.log_prob).max() + np.abs(u.revision_log_prob).max()
            for u in (SRPO(beta, alpha).update(s) for _, _, s in enumeration.groups(SRPO(beta, alpha), moved))
        ]
        assert max(pushed) > 1e-9


@EXAMPLES
@given(st.data(), strategies.betas(0.1, 10))
def test_the_closed_form_solves_the_minimax_problem(data, beta):
    """T7.1: the inner maximum over pi' is beta log Z(y1) at pi'*; the outer minimum over pi is T7.2's pi*.

    E_pi[beta log Z(y)] + beta KL(pi || ref) = beta KL(pi || pi*) + min, as in T1.2.
    """
    world = data.draw(strategies.bandits_with_preference(max_arms=5, smallest=1e-2))
    policy, other = data.draw(strategies.policies(world.arms)), data.draw(strategies.behaviors(world.arms))
    best, revision = optimum(world, beta)
    ref = world.reference

    def game(p, r):
        gain = (p[:, None] * r * world.preference.T).sum()
        strayed = (p[:, None] * r * np.log(r / ref)).sum()
        return gain - beta * strayed + beta * (p * np.log(p / ref)).sum()

    worse = np.tile(other, (world.arms, 1))
    assert game(policy, worse) <= game(policy, revision) + 1e-12
    gap = game(policy, revision) - game(best, revision)
    assert_allclose(gap, beta * (policy * np.log(policy / best)).sum(), rtol=1e-9, atol=1e-12 * (1 + beta))


@EXAMPLES
@given(st.data(), strategies.betas(0.1, 10), ALPHAS)
def test_with_the_revision_at_its_optimum_the_update_is_linear(data, beta, alpha):
    """2 beta^2 (1 - alpha) L (-log Z - h) on the logits: the graph form of the generative half."""
    world = data.draw(strategies.bandits_with_preference(max_arms=4, smallest=1e-2))
    joint, policy = data.draw(strategies.joints(world.arms)), data.draw(strategies.policies(world.arms))
    log_Z = np.log((world.reference * np.exp((world.preference.T - 0.5) / beta)).sum(1))
    S = joint + joint.T
    L = np.diag(S.sum(1)) - S
    by_hand = 2 * beta**2 * (1 - alpha) * L @ (-log_Z - np.log(policy / world.reference))
    found = expected_update(SRPO(beta, alpha), world, Pairs(joint), policy)
    assert_allclose(found, by_hand, rtol=0, atol=1e-12 * (1 + beta) ** 2)


def test_pairs_that_are_never_sampled_leave_the_revision_undetermined():
    world = Bandit(preference=worlds.CYCLE)
    for sampling in (Offline([0.5, 0.5, 0.0]), Pairs(np.array([[0, 1, 1], [1, 0, 0], [1, 0, 0]]) / 4)):
        with pytest.raises(NoFixedPoint, match="never sampled"):
            fixed_point(SRPO(0.5), world, sampling)


def test_a_label_enters_through_its_mean():
    """The coefficient at p is p times that of a win plus 1 - p times that of a loss, as for DPO and IPO."""
    case = Case(
        bandit=Bandit(preference=[[0.5, 0.7], [0.3, 0.5]], reference=[0.4, 0.6]),
        sampling=Offline([0.3, 0.7]),
        policy=np.array([0.2, 0.8]),
        revision=np.array([[0.6, 0.4], [0.1, 0.9]]),
    )
    win = np.array([[0.5, 1.0], [0.0, 0.5]])
    for algorithm in (SRPO(0.4), *(cls(0.4) for cls in (answer_key.b.DPO, answer_key.b.IPO))):
        _, _, samples = next(g for g in enumeration.groups(algorithm, case) if g[1] == (0, 1))
        mean, won, lost = (
            algorithm.update(replace(samples, preference=p)).log_prob
            for p in (samples.preference, win, win.T)
        )
        assert_allclose(mean, 0.7 * won + 0.3 * lost, rtol=1e-13)


def test_the_tilt_of_the_generative_policy_is_not_upside_down():
    """A good answer has little to improve: small Z, large pi*.  The twin ref * Z prefers the bad ones."""
    world = Bandit(preference=[[0.5, 0.99, 0.3], [0.01, 0.5, 0.25], [0.7, 0.75, 0.5]])
    found = fixed_point(SRPO(0.1), world, Offline([0.2, 0.5, 0.3])).log_policy
    policy, _ = optimum(world, 0.1)
    assert_allclose(found, np.log(policy), rtol=1e-10)
    upside_down = log_softmax(-np.log(policy))
    assert np.argmax(found) == 2 != np.argmax(upside_down)
