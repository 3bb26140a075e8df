"""CoPG: the objective, its graph form, and the identities that tie it to RLOO, IPO and DRO (chapter T3)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import answer_key
import worlds
from bandits import (
    DRO,
    IPO,
    RLOO,
    CoPG,
    Dataset,
    Offline,
    OnPolicy,
    Pairs,
    Samples,
    Update,
    expected_loss,
    expected_update,
    fixed_point,
    report,
)
from bandits.testing import enumeration, strategies
from rows import Row, optimum

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: CoPG, s: Samples) -> list[float]:
    """T3.1: sum over the pairs that contain sample i of the difference of R."""
    R = answer_key.regularized(a.beta, s)
    return [sum(R[i] - R[j] for j in range(a.k) if j != i) for i in range(a.k)]


def _row(k: int) -> Row:
    return Row(
        make=lambda beta: CoPG(beta, k=k),
        formula=formula,
        target=optimum,  # T3.3
        climbs=lambda a, c: (a.k * (a.k - 1), c.bandit.reward),  # T3.7
        sees_offset=False,
        ends={"on-policy": "optimum", "elsewhere": "optimum"},  # T3.3, T3.7
    )


ROWS = {"CoPG": _row(2), "CoPG(k=3)": _row(3)}


# ---- what it is known for ---------------------------------------------------------------------------------


EXAMPLES = settings(max_examples=25)


@st.composite
def pairs_of_samples(draw, k: int = 2, batch: int = 5):
    """A batch of groups with random numbers in every field that CoPG looks at."""
    rng = draw(strategies.generators())
    return Samples(
        log_prob=-3 * rng.random((batch, k)),
        reference_log_prob=-3 * rng.random((batch, k)),
        reward=2 * rng.normal(size=(batch, k)),
    )


def _objective(log_prob, samples, beta):
    """Eqs. (7)-(10): (R_{beta/2}(y) - R_{beta/2}(y')) (h(y) - h(y')), R_b = r - b h."""
    h = log_prob - torch.tensor(samples.reference_log_prob)
    R = torch.tensor(samples.reward) - beta / 2 * h
    return (R[:, 0] - R[:, 1]) * (h[:, 0] - h[:, 1])


@EXAMPLES
@given(pairs_of_samples(), strategies.betas())
def test_the_coefficient_is_the_gradient_of_the_papers_objective(samples, beta):
    """T3.1: with d = h - h', (dr - beta d / 2) d has the slope dr - beta d = R_beta(y) - R_beta(y')."""
    log_prob = torch.tensor(samples.log_prob, requires_grad=True)
    (slope,) = torch.autograd.grad(_objective(log_prob, samples, beta).sum(), log_prob)
    assert_allclose(CoPG(beta).update(samples).log_prob, slope.numpy(), atol=1e-13 * (10 + 10 * beta))


@EXAMPLES
@given(pairs_of_samples(), strategies.betas())
def test_the_half_in_the_papers_objective_matters(samples, beta):
    """With R_beta in place of R_{beta/2} the slope is dr - 2 beta d: the KL is counted twice."""
    log_prob = torch.tensor(samples.log_prob, requires_grad=True)
    whole = _objective(log_prob, samples, 2 * beta)
    (slope,) = torch.autograd.grad(whole.sum(), log_prob)
    assert np.abs(CoPG(beta).update(samples).log_prob - slope.numpy()).max() > 1e-6 * beta


@EXAMPLES
@given(pairs_of_samples(), strategies.betas())
def test_loss_and_objective_differ_by_a_constant(samples, beta):
    """T3.1: (dr - beta d)^2 / (2 beta) + (dr - beta d / 2) d = dr^2 / (2 beta), whatever the policy."""
    objective = _objective(torch.tensor(samples.log_prob), samples, beta).numpy()
    dr = samples.reward[:, 0] - samples.reward[:, 1]
    size = np.abs(dr).max() ** 2 / beta + 10 * (1 + beta)
    assert_allclose(CoPG(beta).loss(samples) + objective, dr**2 / (2 * beta), atol=1e-14 * 10 * size)


@EXAMPLES
@given(pairs_of_samples(k=4), strategies.betas())
def test_k_samples_are_all_their_pairs(samples, beta):
    """Coefficients and losses of k samples are the sums over the pairs of k = 2."""
    together, c, loss = CoPG(beta, k=4), np.zeros((5, 4)), np.zeros(5)
    for i in range(4):
        for j in range(i + 1, 4):
            pick = [i, j]
            pair = Samples(
                log_prob=samples.log_prob[:, pick],
                reference_log_prob=samples.reference_log_prob[:, pick],
                reward=samples.reward[:, pick],
            )
            c[:, pick] += CoPG(beta).update(pair).log_prob
            loss += CoPG(beta).loss(pair)
    assert_allclose(together.update(samples).log_prob, c, atol=1e-12 * (1 + beta))
    assert_allclose(together.loss(samples), loss, rtol=1e-12)


@EXAMPLES
@given(pairs_of_samples(k=3), strategies.betas())
def test_copg_is_rloo_times_the_number_of_ordered_pairs(samples, beta):
    """T3.1: sum_j (R_i - R_j) = k (k - 1) (R_i - mean of the others) / k."""
    c = RLOO(beta, k=3).update(samples).log_prob
    assert_allclose(CoPG(beta, k=3).update(samples).log_prob, 6 * c, atol=1e-12 * (1 + beta))


@EXAMPLES
@given(pairs_of_samples(), strategies.betas())
def test_a_reward_gap_of_one_half_gives_ipo(samples, beta):
    """T3.7: with r_w - r_l := 1/2, CoPG's 1/2 - beta dh is beta/2 times IPO's 2 (1/(2 beta) - dh)."""
    won = np.broadcast_to([[0.5, 1.0], [0.0, 0.5]], (5, 2, 2))
    fields = {"log_prob": samples.log_prob, "reference_log_prob": samples.reference_log_prob}
    labelled = Samples(**fields, preference=won)
    rewarded = Samples(**fields, reward=np.broadcast_to([0.5, 0.0], (5, 2)))
    c = CoPG(beta).update(rewarded).log_prob
    assert_allclose(c, beta / 2 * IPO(beta).update(labelled).log_prob, atol=1e-13 * (1 + 10 * beta))


class VarGrad:
    """Trajectory balance whose log Z is the group's own mean of R / beta (arXiv:2503.18929)."""

    def __init__(self, beta: float, k: int) -> None:
        self.beta, self.k = beta, k

    def update(self, samples: Samples) -> Update:
        """c_i = R_i - mean of the group's R: the KL in the advantage, centred with it."""
        R = samples.regularized_reward(self.beta)
        return Update(log_prob=R - R.mean(-1)[..., None])


@EXAMPLES
@given(pairs_of_samples(k=3), strategies.betas())
def test_copg_is_the_gradient_of_the_variance_of_r(samples, beta):
    """T13.1: k beta / 2 times the variance of R / beta in the group, its mean differentiated or not."""
    log_prob = torch.tensor(samples.log_prob, requires_grad=True)
    h = log_prob - torch.tensor(samples.reference_log_prob)
    error = torch.tensor(samples.reward) / beta - h  # log Z of one sample: trajectory balance
    mean = error.mean(-1, keepdim=True)
    vargrad = VarGrad(beta, 3).update(samples).log_prob
    for center in (mean, mean.detach()):
        loss = beta / 2 * ((error - center) ** 2).sum()
        (slope,) = torch.autograd.grad(loss, log_prob, retain_graph=True)
        assert_allclose(vargrad, -slope.numpy(), rtol=0, atol=1e-13 * (10 + 10 * beta))
    assert_allclose(
        CoPG(beta, k=3).update(samples).log_prob, 3 * vargrad, rtol=0, atol=1e-13 * (10 + 10 * beta)
    )


@settings(max_examples=8)
@given(data=st.data(), beta=strategies.betas(0.3, 10), k=st.sampled_from([2, 3]))
def test_vargrad_ends_where_copg_does(data, beta, k):
    """T13.1, by the flow of a class that knows no closed form: pi*, whoever sampled."""
    world = data.draw(strategies.bandits_with_reward(2, 4, smallest=0.05, scale=0.5))
    law = Offline(data.draw(strategies.policies(world.arms, smallest=0.1)))
    found = fixed_point(VarGrad(beta, k), world, law)
    assert found.method.startswith("flow") and found.residual <= 1e-10
    assert_allclose(found.policy, fixed_point(CoPG(beta, k=k), world, law).policy, rtol=0, atol=1e-8)


def test_the_verdict_names_vargrad_copg_over_k():
    card = report(VarGrad(0.7, 3), worlds.MIXED, Offline(worlds.BEHAVIOR), beta=0.7)
    assert (card.kin, card.agreement, card.end) == ("CoPG", "proportional", "optimum")
    assert_allclose(card.scale, 1 / 3, rtol=1e-12)


# ---- the graph form ---------------------------------------------------------------------------------------


@EXAMPLES
@given(st.data(), strategies.betas())
def test_the_graph_form_equals_enumeration(data, beta):
    """T3.2: L (r - beta h) in O(A) against the sum over all groups by hand, for every kind of law."""
    world = data.draw(strategies.bandits_with_reward(max_arms=5))
    k = data.draw(st.sampled_from([2, 3]))
    rules = [strategies.offline(world.arms, 1), strategies.offline(world.arms, k), st.just(OnPolicy())]
    if k == 2:
        rules += [strategies.joints(world.arms).map(Pairs), strategies.datasets(world.arms)]
    sampling, policy = data.draw(st.one_of(rules)), data.draw(strategies.policies(world.arms))
    algorithm = CoPG(beta, k)
    slowly = enumeration.expected_by_hand(formula, algorithm, enumeration.Case(world, sampling, policy))
    size = np.abs(world.reward).max() + beta * np.abs(np.log(policy / world.reference)).max()
    assert_allclose(
        expected_update(algorithm, world, sampling, policy), slowly, rtol=0, atol=1e-13 * 6 * size
    )
    assert_allclose(slowly.sum(), 0, atol=1e-13 * 6 * size)


def test_the_laplacian_of_a_data_set_by_hand():
    """Pairs 0-1 twice and 1-2 once: S = [[0, 2, 0], [2, 0, 1], [0, 1, 0]] / 3 and L = diag(S 1) - S."""
    L = np.array([[2, -2, 0], [-2, 3, -1], [0, -1, 1]]) / 3
    world = worlds.REWARDS
    policy, beta = np.array([0.2, 0.5, 0.3]), 0.7
    R = world.reward - beta * np.log(policy / world.reference)
    for pairs in ([(0, 1), (0, 1), (1, 2)], [(0, 1), (1, 0), (2, 1)]):  # who won does not matter
        found = expected_update(CoPG(beta), world, Dataset(pairs), policy)
        assert_allclose(found, L @ R, rtol=1e-13)


@EXAMPLES
@given(st.data(), strategies.betas())
def test_every_connected_law_ends_at_the_optimum(data, beta):
    """T3.3: L (r - beta h) = 0 at pi*, whoever sampled; and at no other policy."""
    world = data.draw(strategies.bandits_with_reward(max_arms=5, smallest=1e-2))
    connected = strategies.connected_datasets(world.arms)
    sampling = data.draw(st.one_of(strategies.pair_samplings(world.arms), connected))
    best, other = world.optimal_policy(beta), data.draw(strategies.policies(world.arms))
    assume(best.min() >= 1e-200)  # the update of a policy is read off probabilities, which underflow
    size = np.abs(world.reward).max() + 30 * beta
    assert_allclose(expected_update(CoPG(beta), world, sampling, best), 0, atol=1e-12 * size)
    assert np.abs(expected_update(CoPG(beta), world, sampling, other)).max() > 0


# ---- DRO --------------------------------------------------------------------------------------------------


@EXAMPLES
@given(st.data(), strategies.betas())
def test_on_pairs_from_one_law_copg_is_dro_without_its_value(data, beta):
    """T3.7: E (R - R')^2 / 2 = Var_mu(R) = 2 min_V E[(R - V)^2] / 2.

    CoPG's loss carries 1/beta, so beta * E[CoPG] = 2 * min_V E[DRO]; the minimum is at V = E_mu[R].
    """
    world = data.draw(strategies.bandits_with_reward(max_arms=5))
    mu, policy = data.draw(strategies.behaviors(world.arms)), data.draw(strategies.policies(world.arms))
    R = world.reward - beta * np.log(policy / world.reference)
    variance = mu @ (R - mu @ R) ** 2
    rounding = 1e-13 * np.abs(R).max() ** 2
    pairs = beta * expected_loss(CoPG(beta), world, Offline(mu), policy)
    assert_allclose(pairs, variance, rtol=1e-11, atol=rounding)
    least = expected_loss(DRO(beta), world, Offline(mu), policy, value=mu @ R)
    assert_allclose(2 * least, variance, rtol=1e-11, atol=rounding)
    assert_allclose(
        2 * expected_loss(DRO(beta), world, Offline(mu), policy), variance, rtol=1e-11, atol=rounding
    )
    for off in (-0.3, 0.2):  # E[(R - V)^2] = Var + (V - E[R])^2
        elsewhere = expected_loss(DRO(beta), world, Offline(mu), policy, value=mu @ R + off)
        assert_allclose(2 * elsewhere, variance + off**2, rtol=1e-11, atol=rounding)


def test_skewed_pairs_are_not_dro():
    """With mu1 != mu2 the pairs' loss exceeds the pooled variance by half the squared gap of the means.

    E (R1 - R2)^2 / 2 = (Var1 + Var2 + (E1 - E2)^2) / 2, while the pooled law has
    (Var1 + Var2) / 2 + (E1 - E2)^2 / 4.
    """
    world, beta = worlds.REWARDS, 0.7
    policy = np.array([0.2, 0.5, 0.3])
    one, two = np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.2, 0.7])
    R = world.reward - beta * np.log(policy / world.reference)
    pairs = beta * expected_loss(CoPG(beta), world, Offline(one, two), policy)
    pooled = 2 * expected_loss(DRO(beta), world, Offline((one + two) / 2), policy)
    assert_allclose(pairs - pooled, ((one - two) @ R) ** 2 / 4, rtol=1e-12)
    with pytest.raises(AssertionError):
        assert_allclose(pairs, pooled, rtol=1e-6)
