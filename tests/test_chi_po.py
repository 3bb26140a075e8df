"""chi-PO: DPO's comparisons, read as x + log x of pi/ref (T13.17)."""

from __future__ import annotations

import math

import independent_solvers as second
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.special import lambertw, logsumexp

import answer_key
import worlds
from bandits import (
    Bandit,
    ChiPO,
    Dataset,
    NoFixedPoint,
    Offline,
    OnPolicy,
    Samples,
    fixed_point,
)
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from bandits.testing.laws import gradient, loss_of, update_of
from motions import motion
from rows import Row, size_of_rewards

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: ChiPO, s: Samples) -> list[float]:
    """T13.17: +-beta (1 + x) sigma(-beta (phi(x_w) - phi(x_l))), phi(x) = x + log x, x = pi/ref."""
    h = answer_key.log_ratio(s)
    x = [math.exp(each) for each in h]
    phi = [a.beta * (each + log) for each, log in zip(x, h, strict=True)]
    pull, push = answer_key.over_labels(
        lambda w, l: a.beta * (1 - np.tanh((phi[w] - phi[l]) / 2)) / 2,  # noqa: E741
        float(s.preference[0, 1]),
    )
    return [(1 + x[0]) * pull, (1 + x[1]) * push]


def size(a: ChiPO, case: Case) -> float:
    """sigma sees beta phi, and beta (1 + x) stands before it."""
    largest = 1 + np.exp(np.abs(np.log(case.policy / case.bandit.reference)).max())
    return size_of_rewards(a, case) * max(1.0, a.beta) ** 2 * largest**2


def end(a: ChiPO, case: Case) -> np.ndarray:
    """T13.17: the logistic fit v of the comparisons, x = W(e^((v + c) / beta)), Lambert's W, a root in c."""
    W, p = second.pair_law(case.sampling, case.bandit.arms), second.first_wins(case.sampling, case.bandit)
    assume(second.beaten_by_all(W, p))
    v = second.logistic(W, p) / a.beta
    return of_phi(case.bandit.reference, v)


def of_phi(reference, goal) -> np.ndarray:
    """The policy with pi/ref + log pi/ref = goal + a constant."""

    def log_policy(c: float):
        u = goal + c
        return np.log(reference) + u - lambertw(np.exp(np.minimum(u, 700))).real

    return second.of_scores(log_policy)


ROWS = {
    "ChiPO": Row(
        make=ChiPO,
        formula=formula,
        size=size,
        target=end,
        smooth=False,  # beta e^h within e^h: too steep for differences of 4e-3; its own law is below
        ends={"on-policy": "other", "elsewhere": "other"},  # T13.17
    )
}


# ---- what it is known for ---------------------------------------------------------------------------------

EXAMPLES = settings(max_examples=25)
E = Bandit([1.0, 0.6, 0.2, 0.0], reference=[0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("mu", [[0.1, 0.2, 0.3, 0.4], [0.4, 0.1, 0.2, 0.3]])
def test_the_number_of_the_theory(mu):
    """T13.17, whoever sampled, on its own samples as well."""
    for sampling in (Offline(mu), OnPolicy()):
        found = fixed_point(ChiPO(0.5), E, sampling)
        assert_allclose(found.policy, [0.180094, 0.263047, 0.269235, 0.287624], rtol=0, atol=5e-7)
        assert found.unique and found.stable and found.residual < 1e-15


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 100), arms=st.integers(2, 30))
def test_under_bradley_terry_phi_fits_the_reward_whoever_sampled(data, beta, arms):
    """phi(w) - phi(l) = dr / beta, pair by pair; every log-odds is nearer to the reference's than pi*'s."""
    world = data.draw(strategies.bandits_with_reward(arms, arms, smallest=1e-3))
    found = fixed_point(ChiPO(beta), world, data.draw(strategies.pair_samplings(arms)))
    assert_allclose(found.policy, of_phi(world.reference, world.reward / beta), rtol=1e-9, atol=1e-300)
    assert found.unique and found.stable
    h, best = found.log_policy - world.log_reference, world.reward / beta
    gaps, wanted = h[:, None] - h, best[:, None] - best
    assert (np.abs(gaps) <= np.abs(wanted) + 1e-9 * (1 + np.abs(wanted))).all()


@settings(max_examples=8)
@given(data=st.data(), beta=strategies.betas(0.2, 5))
def test_it_is_the_maximum_of_the_reward_less_chi_squared_and_kl(data, beta):
    """max E_pi[r] - beta (E_ref[x^2] / 2 + KL) over the simplex, by SciPy's SLSQP (Huang 2024, Section 3)."""
    world = data.draw(strategies.bandits_with_reward(2, 5, smallest=0.05, scale=0.5))

    def objective(policy):
        x = np.maximum(policy, 1e-300) / world.reference
        return -policy @ world.reward + beta * policy @ (x / 2 + np.log(x))

    best = minimize(
        objective,
        world.reference,
        method="SLSQP",
        bounds=[(1e-9, 1)] * world.arms,
        constraints={"type": "eq", "fun": lambda policy: policy.sum() - 1},
        options={"ftol": 1e-15, "maxiter": 500},
    )
    found = fixed_point(ChiPO(beta), world, Offline(world.reference)).policy
    assert objective(found) <= best.fun + 1e-12 * (1 + abs(best.fun))
    assert_allclose(found, best.x, rtol=0, atol=1e-5)  # a minimum that is flat to 1e-12


@settings(max_examples=6)
@given(data=st.data(), beta=strategies.betas(0.3, 3))
def test_the_flow_leads_there_from_every_start(data, beta):
    world = data.draw(strategies.worlds(3, preference=strategies.any_preferences))
    sampling = data.draw(strategies.pair_samplings(3))
    assume(
        min(world.reference) > 1e-2 and min(np.min(sampling.law(ChiPO(1.0), world, None).behavior), 1) > 0.02
    )
    starts = data.draw(strategies.policies(3, (3,), smallest=0.1, salt=6))
    found = fixed_point(ChiPO(beta), world, sampling)
    assert found.unique and found.stable
    ends = motion(ChiPO(beta), world, sampling, starts, 1e6)
    assert_allclose(ends, np.broadcast_to(found.policy, ends.shape), rtol=0, atol=1e-6)


@settings(max_examples=8)
@given(data=st.data(), beta=strategies.betas(0.1, 1))
def test_it_descends_its_loss(data, beta):
    """By finite differences, where pi/ref is at most 20: their error is (4e-3 (1 + beta x))^4."""
    world = data.draw(strategies.bandits_with_both(2, 4, smallest=0.1))
    policy = data.draw(strategies.policies(world.arms, smallest=0.1))
    case = Case(world, data.draw(strategies.pair_samplings(world.arms)), policy)

    def loss(logits):
        return loss_of(ChiPO(beta), Case(world, case.sampling, np.exp(logits - logsumexp(logits))))

    assert_allclose(-gradient(loss, np.log(policy)), update_of(ChiPO(beta), case), rtol=0, atol=1e-6)


def test_with_an_unbeaten_arm_it_has_no_end_as_dpo_has_none():
    with pytest.raises(NoFixedPoint, match="all mass ends on arm 0 and the 1 tied to it") as refusal:
        fixed_point(ChiPO(0.5), worlds.REWARDS, Dataset([(0, 1), (1, 0), (1, 0), (0, 2)]))
    limit, reference = refusal.value.solution.policy, worlds.REWARDS.reference
    assert limit[2] == 0
    x = limit[:2] / reference[:2]
    assert_allclose(0.5 * (x[1] + np.log(x[1]) - x[0] - np.log(x[0])), np.log(2), rtol=1e-12)


def test_comparisons_that_do_not_connect_leave_a_continuum():
    world = Bandit([1.0, 0.0, 0.5, 0.2], reference=[0.1, 0.2, 0.3, 0.4])
    islands = Dataset([(0, 1), (1, 0), (2, 3), (3, 2), (2, 3)])
    found = fixed_point(ChiPO(0.5), world, islands)
    assert found.stable is None and found.message.startswith("continuum") and not found.unique
