"""Estimators of the KL: in the reward or as a loss, with the likelihood ratio or without (T9.6, T13.12)."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq

import answer_key
import bandits as b
from bandits import Samples
from bandits.algorithms.kl_estimators import WithKLLoss, WithKLReward, gain_of_rewards, k1, k2, k3
from bandits.testing import enumeration, reading, strategies
from bandits.testing.enumeration import Case
from bandits.verdict.claims import Bare
from coefficient_laws import on_policy_it_climbs, some_case
from rows import WIDE, Row, every_row, largest_weight, optimum, rewards

# ---- the formulas, around RLOO ----------------------------------------------------------------------------

VALUE = {"k1": lambda h: h, "k2": lambda h: h * h / 2, "k3": lambda h: math.exp(-h) - 1 + h}
SLOPE = {"k1": lambda h: 1.0, "k2": lambda h: h, "k3": lambda h: 1 - math.exp(-h)}


def leads(credit: list[float]) -> list[float]:
    """RLOO without a KL: (1/k) (r_i - mean of the others)."""
    total, k = math.fsum(credit), len(credit)
    return [(r - (total - r) / (k - 1)) / k for r in credit]


def charged(a: WithKLReward, s: Samples) -> list[float]:
    """T9.6: r - beta k(h) for the reward, and no other KL."""
    costs = [a.beta * VALUE[a.estimator.name](h) for h in answer_key.log_ratio(s)]
    return leads([float(r) - cost for r, cost in zip(s.reward, costs, strict=True)])


def beside(a: WithKLLoss, s: Samples) -> list[float]:
    """T9.6: less beta k'(h) / k, or beta w (k' + k)(h) / k."""
    pulls = []
    for i, h in enumerate(answer_key.log_ratio(s)):
        pull = SLOPE[a.estimator.name](h)
        if a.weighted:
            w = math.exp(s.log_prob[i] - s.behavior_log_prob[i])
            pull = w * (pull + VALUE[a.estimator.name](h))
        pulls.append(a.beta * pull / a.k)
    return [c - pull for c, pull in zip(leads([float(r) for r in s.reward]), pulls, strict=True)]


def size(a: WithKLReward | WithKLLoss, case: Case) -> float:
    """r, beta k(h), beta k'(h) and b before they cancel, times the ratio where it is there."""
    h = np.concatenate([s.log_ratio.ravel() for _, _, s in enumeration.groups(a, case)])
    terms = 2 + np.abs(case.bandit.reward).max() + a.beta * (1 + (h**2).max() + np.exp(-h).max())
    return float(terms * (largest_weight(a, case) if getattr(a, "weighted", False) else 1.0))


ROWS = {
    "WithKLReward": Row(
        make=lambda beta: WithKLReward(b.RLOO(beta)),
        formula=charged,
        size=size,
        target=optimum,  # T3.1: with k1 it is RLOO
        climbs=rewards,  # T2.2
        sees_offset=False,
        ends={"on-policy": "optimum", "elsewhere": "optimum"},
    ),
    "WithKLLoss": Row(
        make=lambda beta: WithKLLoss(b.RLOO(beta)),
        formula=beside,
        size=size,
        sees_offset=False,
        ends={"on-policy": "optimum", "elsewhere": "other"},
    ),
    "WithKLLoss(k3)": Row(
        make=lambda beta: WithKLLoss(b.RLOO(beta), k3),
        formula=beside,
        size=size,
        sees_offset=False,
        ends={"on-policy": "other", "elsewhere": "other"},
    ),
    "WithKLLoss(k1, weighted)": Row(
        make=lambda beta: WithKLLoss(b.RLOO(beta), k1, weighted=True),
        formula=beside,
        size=size,
        settles=False,  # the drift of mu's samples against a pull that is bounded
        sees_offset=False,
        ends={"on-policy": "optimum", "elsewhere": ("other", "none: runs away")},
        blind=WIDE,
    ),
}


def test_they_look_at_what_their_algorithm_looks_at_and_no_more():
    """The samples are handed on unread; with the ratio, at who sampled as well; the population if asked."""
    for kind in (WithKLReward, WithKLLoss):
        for plain in (b.RLOO(0.5), b.PPO(0.5), b.ReMax(0.5), b.PolicyGradient(0.5, b.policy_value)):
            assert reading.reads(kind(plain)) == reading.reads(plain)
    weighted = WithKLLoss(b.RLOO(0.5), k1, weighted=True)
    assert reading.reads(weighted) == reading.reads(b.RLOO(0.5)) | {"behavior_log_prob"}


@pytest.mark.parametrize("estimator", [k1, k2, k3], ids=["k1", "k2", "k3"])
def test_coefficients_follow_the_formula(estimator):
    """Group by group, around RLOO, with the ratio and without."""
    samples = strategies.unrelated_groups(3, 7, count=20)
    plain = b.RLOO(0.7, k=3)
    for a, formula in (
        (WithKLReward(plain, estimator), charged),
        (WithKLLoss(plain, estimator), beside),
        (WithKLLoss(plain, estimator, weighted=True), beside),
    ):
        found = a.update(samples).log_prob
        expected = [formula(a, choose_group(samples, i)) for i in range(20)]
        assert_allclose(found, expected, rtol=1e-12, atol=1e-13 * np.abs(expected).max())


def choose_group(samples: Samples, i: int) -> Samples:
    """The i-th group alone."""
    names = ("log_prob", "reference_log_prob", "behavior_log_prob", "reward")
    return Samples(**{name: getattr(samples, name)[i] for name in names})


# ---- what they pull towards -------------------------------------------------------------------------------

EXAMPLES = settings(max_examples=15)


def gradients(policy: np.ndarray, reference: np.ndarray) -> dict[str, np.ndarray]:
    """grad E_pi[r = 0], grad KL(pi || ref), grad KL(ref || pi) in the logits, by autograd."""
    found = {}
    ref = torch.tensor(reference)
    for name, divergence in (
        ("reverse", lambda q: (q.exp() * (q - ref.log())).sum()),
        ("forward", lambda q: (ref * (ref.log() - q)).sum()),
    ):
        logits = torch.tensor(np.log(policy), requires_grad=True)
        (slope,) = torch.autograd.grad(divergence(torch.log_softmax(logits, 0)), logits)
        found[name] = slope.numpy()
    return found


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 10))
def test_what_each_estimator_pulls_towards_in_each_place(data, beta):
    """Equal rewards leave the KL alone: T9.6, against autograd of the two divergences."""
    reference = data.draw(strategies.references(4, smallest=1e-2))
    policy = data.draw(strategies.policies(4, smallest=1e-2))
    world, slope = b.Bandit(np.full(4, 0.3), reference=reference), gradients(policy, reference)
    plain = b.PolicyGradient(beta)
    size = beta * (1 + np.log(policy / reference).max() ** 2 + (reference / policy).max())
    zero = np.zeros(4)
    for algorithm, expected in (
        (WithKLReward(plain, k1), slope["reverse"]),
        (WithKLReward(plain, k3), slope["reverse"] - slope["forward"]),
        (WithKLLoss(plain, k1), zero),
        (WithKLLoss(plain, k2), slope["reverse"]),
        (WithKLLoss(plain, k3), slope["forward"]),
        (WithKLLoss(plain, k1, weighted=True), slope["reverse"]),
        (WithKLLoss(plain, k3, weighted=True), slope["reverse"]),
    ):
        found = b.expected_update(algorithm, world, b.OnPolicy(), policy)
        assert_allclose(found, -beta * expected, rtol=0, atol=1e-13 * size)


@EXAMPLES
@given(data=st.data(), estimator=st.sampled_from([k1, k3]))
def test_with_the_ratio_the_pull_is_right_whoever_samples(data, estimator):
    """E_mu[w (k + k')] = E_pi[h + ...]: the gradient of KL(pi || ref); without it, it is another."""
    reference, mu = (data.draw(strategies.references(4, smallest=1e-2)) for _ in range(2))
    policy = data.draw(strategies.policies(4, smallest=1e-2))
    world = b.Bandit(np.zeros(4), reference=reference)
    found = b.expected_update(
        WithKLLoss(b.PolicyGradient(0.7), estimator, weighted=True), world, b.Offline(mu), policy
    )
    scale = 1 + (reference / policy).max() + np.abs(np.log(policy / reference)).max()
    assert_allclose(found, -0.7 * gradients(policy, reference)["reverse"], rtol=0, atol=1e-13 * scale)


@EXAMPLES
@given(seed=st.integers(0, 99), beta=strategies.betas())
def test_k1_in_the_reward_is_what_they_do_and_k3_as_a_loss_is_what_grpo_does(seed, beta):
    samples = strategies.unrelated_groups(2, seed)
    scale = 1 + np.abs(samples.reward).max() + beta * np.exp(-samples.log_ratio).max()
    scale *= np.exp(samples.log_prob - samples.behavior_log_prob).max()
    for plain in (b.RLOO(beta), b.PPO(beta, k=2), b.PolicyGradient(beta, 0.3, k=2)):
        found = WithKLReward(plain, k1).update(samples).log_prob
        assert_allclose(found, plain.update(samples).log_prob, rtol=0, atol=1e-14 * scale)
    found = WithKLLoss(b.GRPO(beta), k3).update(samples).log_prob
    assert_allclose(found, b.GRPO(beta).update(samples).log_prob, rtol=0, atol=1e-14 * scale)


# ---- how noisy they are -----------------------------------------------------------------------------------


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 10))
def test_the_variance_of_each_estimator_in_each_place(data, beta):
    """T9.6: tr Var = sum_y pi c(y)^2 |e_y - pi|^2 - |mean|^2, against the covariance of enumerated groups.

    And of a group of k independent ones the mean: 1/k of it; c = -beta k(h), or -beta k'(h) as a loss.
    """
    reference = data.draw(strategies.references(4, smallest=1e-2))
    policy = data.draw(strategies.policies(4, smallest=1e-2))
    world = b.Bandit(np.zeros(4), reference=reference)
    h = np.log(policy / reference)
    square = ((np.eye(4) - policy) ** 2).sum(axis=1)
    for estimator in (k1, k2, k3):
        name = estimator.name
        for kind, by_hand in ((WithKLReward, VALUE[name]), (WithKLLoss, SLOPE[name])):
            c = -beta * np.array([by_hand(float(x)) for x in h])
            mean = policy * (c - policy @ c)
            expected = policy @ (c**2 * square) - mean @ mean
            size = policy @ (c**2 * square)
            for k in (1, 3):
                algorithm = kind(b.PolicyGradient(beta, k=k), estimator)
                found = np.trace(b.update_covariance(algorithm, world, b.OnPolicy(), policy))
                assert_allclose(k * found, expected, rtol=0, atol=1e-12 * size)


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 10))
def test_near_the_reference_each_noise_has_its_order(data, beta):
    """T9.6: tr Var falls as h^2, of k3 in the reward as h^4, of k1 as a loss stays beta^2 (1 - |pi|^2)."""
    reference = data.draw(strategies.references(4, smallest=0.05))
    world = b.Bandit(np.zeros(4), reference=reference)
    tilts = (reference * np.exp(t * np.array([1.0, -0.6, 0.3, -0.9])) for t in (1e-3, 1e-4))
    near = [tilted / tilted.sum() for tilted in tilts]

    def noise(algorithm, policy) -> float:
        return float(np.trace(b.update_covariance(algorithm, world, b.OnPolicy(), policy)))

    plain = b.PolicyGradient(beta)
    for algorithm, order in (
        (WithKLReward(plain, k1), 2),
        (WithKLLoss(plain, k2), 2),
        (WithKLLoss(plain, k3), 2),
        (WithKLReward(plain, k3), 4),
    ):
        far, close = (noise(algorithm, policy) for policy in near)
        assert_allclose(math.log10(far / close), order, rtol=0, atol=0.01)  # the next order is 1e-3 of it
    stays = noise(WithKLLoss(plain, k1), near[0])
    assert_allclose(stays, beta**2 * (1 - near[0] @ near[0]), rtol=1e-12)


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 10))
def test_k2_with_the_ratio_pulls_elsewhere(data, beta):
    """T9.6: its slope is h + h^2 / 2, that of E_pi[h^2] / 2, by autograd; no gradient of KL(pi || ref)."""
    reference = data.draw(strategies.references(4, smallest=1e-2))
    policy = data.draw(strategies.policies(4, smallest=1e-2))
    h = np.log(policy / reference)
    assume(np.ptp(h) > 0.5)
    world = b.Bandit(np.zeros(4), reference=reference)
    found = b.expected_update(WithKLLoss(b.RLOO(beta), k2, weighted=True), world, b.OnPolicy(), policy)
    logits = torch.tensor(np.log(policy), requires_grad=True)
    q = torch.log_softmax(logits, 0)
    (slope,) = torch.autograd.grad((q.exp() * (q - torch.tensor(world.log_reference)) ** 2).sum() / 2, logits)
    pull = slope.numpy()
    assert_allclose(found, -beta * pull, rtol=0, atol=1e-13 * beta * (1 + np.abs(h).max() ** 2))
    right = gradients(policy, reference)["reverse"]
    aside = pull - right * (pull @ right) / (right @ right)
    assert np.linalg.norm(aside) > 1e-4 * np.linalg.norm(pull)


# ---- where they end ---------------------------------------------------------------------------------------

WORLD = b.Bandit([1.0, 0.6, 0.2, 0.0], reference=[0.1, 0.2, 0.3, 0.4], length=[1.0, 2.0, 4.0, 8.0])


def test_where_each_ends_on_its_own_samples():
    """pi*, or with k3 as a loss the maximiser of E_pi[r] - beta KL(ref || pi), GRPO's at k -> infinity."""
    best = WORLD.optimal_policy(0.5)
    for algorithm in (
        WithKLReward(b.RLOO(0.5)),
        WithKLLoss(b.RLOO(0.5), k2),
        WithKLLoss(b.RLOO(0.5), k1, weighted=True),
        WithKLLoss(b.RLOO(0.5), k3, weighted=True),
    ):
        assert_allclose(b.fixed_point(algorithm, WORLD, b.OnPolicy()).policy, best, rtol=0, atol=1e-8)
    other = b.fixed_point(WithKLLoss(b.RLOO(0.5), k3), WORLD, b.OnPolicy()).policy
    louder = b.Bandit(2 * WORLD.reward, reference=WORLD.reference)  # 1 - 1/k = 1/2
    assert_allclose(other, b.fixed_point(b.DrGRPO(0.5), louder, b.OnPolicy()).policy, rtol=0, atol=1e-8)


def on_trial() -> dict[str, tuple]:
    """What `WithKLLoss` may be put around, and how many times E_pi[r] it is said to climb."""
    found = {}
    for name, row in every_row().items():
        algorithm = row.make(0.7)
        try:
            WithKLLoss(algorithm)
        except ValueError:
            continue
        found[name] = (algorithm, gain_of_rewards(algorithm))
    return found


TRAINS_A_VALUE = ("DRO", "DROV")  # they climb, but their end is two numbers, of which the wrapper knows one


@pytest.mark.parametrize("seed", [1, 2])
def test_the_gain_is_what_the_update_climbs_on_its_own_samples(seed):
    """T9.6: s pi (r - E r), by enumeration; who is said to have none climbs no multiple of E_pi[r]."""
    rng = np.random.default_rng(seed)
    world = b.Bandit(
        rng.normal(size=4), reference=rng.dirichlet(np.full(4, 3.0)), length=[3.0, 1.0, 4.0, 2.0]
    )
    policy = rng.dirichlet(np.full(4, 3.0))
    climb = policy * (world.reward - policy @ world.reward)
    for name, (algorithm, gain) in on_trial().items():
        found = b.expected_update(WithKLLoss(algorithm, k1), world, b.OnPolicy(), policy)
        fitted = float(found @ climb / (climb @ climb))
        off = np.abs(found - fitted * climb).max() / max(np.abs(found).max(), 1e-300)
        if gain is None:
            assert (off > 0.01) != (name in TRAINS_A_VALUE), name
        else:
            assert off < 1e-12, name
            assert_allclose(fitted, gain, rtol=1e-12, err_msg=name)


@settings(max_examples=10)
@given(data=st.data(), log_beta=st.floats(-3, 1.5))
@pytest.mark.parametrize("arms", [3, 50])
def test_on_its_own_samples_the_end_is_one_root(arms, data, log_beta):
    """T9.6: k3 rests at beta ref / (t - s r), t by bisection; the enumerated update is zero there.

    The update's rounding is that of its terms, s r and beta ref/pi.
    """
    world = data.draw(strategies.bandits_with_reward(arms, arms, smallest=1e-4, scale=2.0))
    beta = math.exp(log_beta)
    for plain, s in ((b.RLOO(beta), 1.0), (b.CoPG(beta), 2.0), (b.DrGRPO(beta), 0.5), (b.ReMax(beta), 1.0)):
        algorithm = WithKLLoss(plain, k3)
        found = b.fixed_point(algorithm, world, b.OnPolicy())
        gap = s * (world.reward.max() - world.reward)

        def mass(log_t, gap=gap):
            return float((beta * world.reference / (math.exp(log_t) + gap)).sum()) - 1

        t = math.exp(brentq(mass, -30, 10, xtol=1e-14))
        assert_allclose(found.policy, beta * world.reference / (t + gap), rtol=1e-9)
        size = s * np.ptp(world.reward) + beta * (1 + (world.reference / found.policy).max())
        moved = b.expected_update(Bare(algorithm), world, b.OnPolicy(), found.policy)
        assert_allclose(moved, 0, rtol=0, atol=1e-13 * size * arms)
        assert found.unique and found.stable and found.method.startswith("closed form")


def test_the_example_of_the_answer_key():
    found = b.fixed_point(WithKLLoss(b.RLOO(0.5), k3), WORLD, b.OnPolicy()).policy
    assert_allclose(found, [0.458257, 0.196422, 0.164997, 0.180325], rtol=0, atol=5e-7)


@settings(max_examples=3)
@given(data=st.data(), beta=strategies.betas(0.3, 3))
def test_the_flow_ends_where_the_closed_form_says(data, beta):
    """T9.6: that of the bare update, from a start of its own; with k1 the best arm takes more and more."""
    world = data.draw(strategies.bandits_with_reward(3, 3, smallest=0.05, scale=1.0))
    start = data.draw(strategies.policies(3, smallest=0.05))
    for plain, estimator, weighted in (
        (b.PolicyGradient(beta, 0.3), k2, False),
        (b.CoPG(beta), k3, False),
        (b.RLOO(beta), k1, True),
        (b.PPO(beta), k3, True),
    ):
        algorithm = WithKLLoss(plain, estimator, weighted)
        known = b.fixed_point(algorithm, world, b.OnPolicy(), start)
        found = b.fixed_point(Bare(algorithm), world, b.OnPolicy(), start)
        assert_allclose(known.policy, found.policy, rtol=0, atol=1e-8)
    alone = b.fixed_point(WithKLLoss(b.RLOO(beta), k1), world, b.OnPolicy(), start)
    assert_array_equal(alone.policy, np.eye(3)[world.reward.argmax()])
    assert_array_equal(alone.face, alone.policy > 0)


def test_k3_in_the_reward_switches_itself_off():
    """Near the reference its pull is of second order; what falls far behind is pushed further."""
    for step, order in ((1e-2, 1e-3), (1e-3, 1e-5)):
        policy = WORLD.reference * (1 + step * np.array([1, -1, 1, -1]) * [2, 1, 1, 0.75])
        policy = policy / policy.sum()
        still = b.Bandit(np.zeros(4), reference=WORLD.reference)
        pulls = [
            np.abs(b.expected_update(WithKLReward(b.RLOO(1.0), k), still, b.OnPolicy(), policy)).max()
            for k in (k1, k3)
        ]
        assert pulls[1] < order < pulls[0]
    rare = np.array([0.3, 0.3, 0.399, 0.001])  # the last far below its .4: k1 lifts it, k3 pushes it down
    lifts = [
        float(b.expected_update(WithKLReward(b.RLOO(1.0), k), still, b.OnPolicy(), rare)[3]) for k in (k1, k3)
    ]
    assert lifts[1] < 0 < lifts[0]


def test_k3_in_the_reward_rests_between_the_reference_and_one_half_or_runs_away():
    """T9.6: two arms, ref = .2 of the better one, a gap of .1: it rests iff beta > .53679."""
    world = b.Bandit([0.1, 0.0], reference=[0.2, 0.8])

    def slope(p: float, beta: float) -> float:
        return 0.1 - beta * (VALUE["k3"](math.log(p / 0.2)) - VALUE["k3"](math.log((1 - p) / 0.8)))

    for beta in (0.56, 7.0):
        found = b.fixed_point(WithKLReward(b.RLOO(beta), k3), world, b.OnPolicy())
        expected = brentq(slope, 0.2, 0.5, args=(beta,), xtol=1e-15)
        assert_allclose(found.policy[0], expected, rtol=0, atol=1e-9)
    with pytest.raises(b.NotConverged, match=r"arms \[1\] lose their mass"):
        b.fixed_point(WithKLReward(b.RLOO(0.51), k3), world, b.OnPolicy())


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 10))
def test_in_the_reward_it_climbs_away_from_the_reference(data, beta):
    """T9.6: E_pi[r] - beta KL(pi || ref) + beta KL(ref || pi); with k2 E_pi[r - beta (h^2/2 - h)]."""
    world = data.draw(strategies.bandits_with_reward(3, 3, smallest=1e-2, scale=0.5))
    policy = data.draw(strategies.policies(3, smallest=1e-2))
    reward, ref = torch.tensor(world.reward), torch.tensor(world.reference)
    for estimator in (k2, k3):
        logits = torch.tensor(np.log(policy), requires_grad=True)
        q = torch.log_softmax(logits, 0)
        h, p = q - ref.log(), q.exp()
        cost = p @ h - ref @ -h if estimator is k3 else p @ (h**2 / 2 - h)
        (slope,) = torch.autograd.grad(p @ reward - beta * cost, logits)
        found = b.expected_update(WithKLReward(b.RLOO(beta), estimator), world, b.OnPolicy(), policy)
        size = 1 + np.abs(world.reward).max() + beta * float((h**2 + (-h).exp()).detach().max())
        assert_allclose(found, slope.numpy(), rtol=0, atol=1e-13 * size)


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 10), estimator=st.sampled_from([k2, k3]))
def test_a_rest_with_two_arms_below_their_reference_repels(data, beta, estimator):
    """T9.6: -beta k'(h) / pi is positive where two arms trade mass; so the flow has a growing mode."""
    reference = data.draw(strategies.references(4, smallest=0.05))
    policy = reference * np.exp([-0.9, -0.7, 0.4, 0.6])
    policy = policy / policy.sum()
    h = np.log(policy / reference)
    below = np.flatnonzero(h < 0)[:2]
    assume(len(below) == 2)
    value, slope = ([of[estimator.name](float(x)) for x in h] for of in (VALUE, SLOPE))
    assert (-beta * np.array(slope) / policy)[below].sum() > 0
    world = b.Bandit(beta * np.array(value), reference=reference)  # r - beta k is the same for all: it rests
    algorithm = WithKLReward(b.RLOO(beta), estimator)

    def update(logits):
        return b.expected_update(algorithm, world, b.OnPolicy(), np.exp(logits) / np.exp(logits).sum())

    at = np.log(policy)
    assert_allclose(update(at), 0, rtol=0, atol=1e-14 * (1 + beta * max(value)))
    columns = [(update(at + x) - update(at - x)) / 2e-5 for x in 1e-5 * np.eye(4)]
    assert np.linalg.eigvals(np.stack(columns, axis=1)).real.max() > 1e-4 * beta


def test_the_card_says_that_k3_in_the_reward_runs_away():
    """Its coefficients grow as an arm dies, on others' samples in finite time: said in words."""
    algorithm, world = WithKLReward(b.RLOO(0.5), k3), b.Bandit([1.0, 0.0], reference=[0.2, 0.8])
    card = b.report(algorithm, world, b.OnPolicy())
    assert card.end == "none: runs away" and "lose their mass" in card.rows[0].note
    assert (card.kin, card.agreement) == ("WithKLReward", "equal")
    with pytest.raises(b.NotConverged, match="the logits diverge, for ever"):
        b.fixed_point(algorithm, world, b.Offline([0.7, 0.3]))


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.3, 3))
def test_on_others_samples_losses_rest_at_a_maximum_of_their_own(data, beta):
    """T9.6: of E_mu[(r - E_mu r) log pi - beta k(h)]; slopes along the logits vanish there, by autograd."""
    world = data.draw(strategies.bandits_with_reward(3, 3, smallest=0.05, scale=0.5))
    mu = data.draw(strategies.policies(3, smallest=0.1, salt=5))
    drift = mu * (world.reward - mu @ world.reward)
    for estimator, cost in ((k2, lambda h: h**2 / 2), (k3, lambda h: (-h).exp() - 1 + h)):
        found = b.fixed_point(WithKLLoss(b.RLOO(beta), estimator), world, b.Offline(mu))
        logits = torch.tensor(found.log_policy, requires_grad=True)
        q = torch.log_softmax(logits, 0)
        value = torch.tensor(drift) @ q - beta * torch.tensor(mu) @ cost(
            q - torch.tensor(world.log_reference)
        )
        (slope,) = torch.autograd.grad(value, logits)
        assert_allclose(slope.numpy(), 0, rtol=0, atol=1e-9 * (1 + beta))


@pytest.mark.parametrize(
    "algorithm",
    [
        WithKLLoss(b.RLOO(0.7)),
        WithKLLoss(b.RLOO(0.7), k1, weighted=True),
        WithKLLoss(b.PPO(0.7), k3, weighted=True),
    ],
    ids=["k2", "k1, weighted", "PPO, k3, weighted"],
)
@EXAMPLES
@given(data=st.data())
def test_the_right_losses_climb_on_policy(algorithm, data):
    """T9.6: E_pi[r] - beta KL(pi || ref), sampled by pi; by autograd."""
    row = replace(ROWS["WithKLLoss"], climbs=rewards)
    on_policy_it_climbs(algorithm, algorithm, row, some_case(data, algorithm))


def test_lengths_and_the_place_of_the_kl():
    """T13.12: a / |y| with the KL in the advantage rests at pi*, beside a loss of its own it does not."""
    expected = [0.26531, 0.20149, 0.22748, 0.30572]
    doubled = b.Bandit(2 * WORLD.reward, reference=WORLD.reference, length=WORLD.length)  # 1 - 1/k = 1/2
    gspo = b.GSPO(0.5, spread=b.unit_spread)
    found = b.fixed_point(WithKLLoss(gspo, k2), doubled, b.OnPolicy()).policy
    assert_allclose(found, expected, rtol=0, atol=5e-6)
    inside = b.fixed_point(WithKLReward(gspo, k1), WORLD, b.OnPolicy()).policy
    assert_allclose(inside, [0.32833, 0.29506, 0.19887, 0.17774], rtol=0, atol=5e-6)
    assert_allclose(inside, WORLD.optimal_policy(0.5), rtol=0, atol=1e-8)


# ---- the border -------------------------------------------------------------------------------------------


def test_what_has_no_reward_or_no_kl_is_refused():
    for algorithm in (b.DPO(0.5), b.BestOfN(3), b.IPO(0.5)):
        for kind in (WithKLReward, WithKLLoss):
            with pytest.raises(ValueError, match="algorithm must look at rewards and have a KL"):
                kind(algorithm)
    for kind in (WithKLReward, WithKLLoss):
        with pytest.raises(ValueError, match="must not weight its samples itself, but WithKL"):
            b.ImportanceWeighted(kind(b.PPO(0.5)))
        assert b.ImportanceWeighted(kind(b.RLOO(0.5))).k == 2
    with pytest.raises(ValueError, match="estimator must be k1, k2 or k3"):
        WithKLLoss(b.RLOO(0.5), "k3")


def test_baselines_over_everybody_are_charged_as_well():
    """PolicyGradient(policy_value): J over the population, k1 or not."""
    for baseline in (b.policy_value, b.behavior_value):
        plain = b.PolicyGradient(0.5, baseline)
        both = [
            b.expected_update(a, WORLD, b.Offline([0.4, 0.1, 0.2, 0.3]), [0.3, 0.3, 0.2, 0.2])
            for a in (plain, WithKLReward(plain, k1))
        ]
        assert_allclose(both[0], both[1], rtol=0, atol=1e-14)
    assert_array_equal(WithKLReward(b.RLOO(0.5, k=3)).k, 3)
