"""IPO, PsiPO and online IPO: the regression, its labels, and what the sampler changes (chapter T4, T6.6)."""

from __future__ import annotations

import independent_solvers
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import logsumexp, rel_entr, softmax

import answer_key
import worlds
from bandits import (
    IPO,
    Bandit,
    Offline,
    OnlineIPO,
    OnPolicy,
    Pairs,
    PsiPO,
    Samples,
    expected_loss,
    expected_update,
    fixed_point,
)
from bandits.testing import enumeration, laws, strategies
from bandits.testing.enumeration import Case
from rows import Row, log_ratios

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: IPO | OnlineIPO, s: Samples) -> list[float]:
    """T4.2: +-2 (1/(2 beta) - (h_w - h_l)) for each outcome of the label."""
    h = answer_key.log_ratio(s)
    tau = 1 / (2 * a.beta)
    return answer_key.over_labels(lambda won, lost: 2 * (tau - (h[won] - h[lost])), s.preference[0, 1])


def formula_of_psipo(a: PsiPO, s: Samples) -> list[float]:
    """T4.1: +-(Psi(p(y, y'')) - Psi(p(y', y'')) - beta (h - h')), nothing for the opponent y''."""
    h, p = answer_key.log_ratio(s), s.preference
    c = float(a.psi(p[0, 2]) - a.psi(p[1, 2])) - a.beta * (h[0] - h[1])
    return [c, -c, 0.0]


def size(a: IPO | OnlineIPO, case: Case) -> float:
    """The terms are 1/beta and h."""
    return 1 / a.beta + log_ratios(case)


def self_play(a: IPO | OnlineIPO, case: Case):
    """T6.6: 2/beta times CoPG's 2, the opponent held fixed."""
    return 4 / a.beta, case.bandit.preference @ case.policy


def ranking(a: IPO, case: Case):
    """T4.3: L h = flow, by least squares on the sampled pairs."""
    weight = independent_solvers.pair_law(case.sampling, case.bandit.arms)
    target = (independent_solvers.first_wins(case.sampling, case.bandit) - 0.5) / a.beta
    h = independent_solvers.least_squares(weight, target, np.zeros(case.bandit.arms))
    return softmax(case.bandit.log_reference + h)


def tilt_by_psi(a: PsiPO, case: Case):
    """T4.1 with the law of the third sample."""
    score = a.psi(case.bandit.preference) @ enumeration.place_laws(a, case)[2]
    return softmax(case.bandit.log_reference + score / a.beta)


def square(p):
    return p**2


def _psipo(**changes) -> Row:
    return Row(
        make=lambda beta: PsiPO(beta, **changes),
        formula=formula_of_psipo,
        target=tilt_by_psi,
        ends={"on-policy": "other" if changes else "equilibrium", "elsewhere": "other"},  # T6.6, T4.1
        climbs=lambda a, c: (2, a.psi(c.bandit.preference) @ c.policy),  # T4.1
    )


ROWS = {
    "IPO": Row(
        make=IPO,
        formula=formula,
        size=size,
        target=ranking,
        climbs=self_play,
        ends={"on-policy": "equilibrium", "elsewhere": "other"},  # T6.6, T4.3
    ),
    "PsiPO": _psipo(),
    "PsiPO(square)": _psipo(psi=square),
}


# ---- what it is known for ---------------------------------------------------------------------------------


EXAMPLES = settings(max_examples=25)


def _logit(p):
    """Psi of RLHF in Azar 2023: BT preferences become reward gaps."""
    return np.log(p) - np.log1p(-p)


@EXAMPLES
@given(strategies.generators(), strategies.betas())
def test_the_loss_is_zero_where_the_winner_leads_by_one_over_two_beta(rng, beta):
    """Eq. (17), T4.2: (h_w - h_l - 1/(2 beta))^2, whose slope in h_w is -2 (1/(2 beta) - dh)."""
    reference = -rng.random(2)
    won = np.array([[0.5, 1.0], [0.0, 0.5]])
    for gap in (1 / (2 * beta), 0.3, -1.1):
        pair = Samples(log_prob=reference + [gap, 0.0], reference_log_prob=reference, preference=won)
        missing = 1 / (2 * beta) - gap
        size = 1e-14 * (1 + 1 / beta)
        assert_allclose(IPO(beta).loss(pair), missing**2, atol=size * (1 + 1 / beta))
        assert_allclose(IPO(beta).update(pair).log_prob, [2 * missing, -2 * missing], atol=4 * size)


@EXAMPLES
@given(st.data(), strategies.betas())
def test_on_pairs_from_one_law_psipo_with_the_identity_is_ipo(data, beta):
    """T4.1: the flow 2 mu (P mu - 1/2) / beta is L s / beta with s = P mu, because mu' P mu = 1/2.

    PsiPO's coefficient carries no 2/beta: its update is beta/2 times IPO's.
    """
    world = data.draw(strategies.bandits_with_preference(max_arms=4))
    mu, policy = data.draw(strategies.behaviors(world.arms)), data.draw(strategies.policies(world.arms))
    one, two = (expected_update(a, world, Offline(mu), policy) for a in (PsiPO(beta), IPO(beta)))
    size = 1 + beta * np.abs(np.log(policy / world.reference)).max()
    assert_allclose(one, beta / 2 * two, rtol=0, atol=1e-13 * size)


def test_on_two_laws_they_differ():
    """T4.3: for mu1 != mu2 the regression of IPO is not the tilt by p(y beats mu2)."""
    world, beta = worlds.GAME, 0.4
    one, two = np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.2, 0.7])
    tilt = softmax(np.log(world.reference) + worlds.CYCLE @ two / beta)
    assert_allclose(expected_update(PsiPO(beta), world, Offline(one, two, two), tilt), 0, atol=1e-14)
    assert np.abs(expected_update(IPO(beta), world, Offline(one, two), tilt)).max() > 1e-2


@EXAMPLES
@given(st.data(), strategies.betas(0.3, 30))
def test_psipo_with_the_logit_maximises_the_reward(data, beta):
    """T4.1: under Bradley-Terry Psi(p(y beats y')) = r(y) - r(y'), so PsiPO ends at RLHF's pi*."""
    world = data.draw(strategies.bandits_with_reward(max_arms=4, smallest=1e-2))
    mu = data.draw(strategies.behaviors(world.arms))
    found = fixed_point(PsiPO(beta, psi=_logit), world, Offline(mu))
    assert_allclose(found.policy, world.optimal_policy(beta), rtol=1e-9)
    size = 1e-12 * (1 + np.abs(world.reward).max()) * np.exp(np.ptp(world.reward))  # p near 1 loses digits
    assert_allclose(expected_update(PsiPO(beta, psi=_logit), world, Offline(mu), found.policy), 0, atol=size)


@EXAMPLES
@given(st.data(), strategies.betas(0.1, 10))
def test_ipo_minimises_its_expected_loss(data, beta):
    """The closed form is a minimum over policies: moving away by d costs E[(d - d')^2] > 0 exactly."""
    world = data.draw(strategies.bandits_with_preference(max_arms=5, smallest=1e-2))
    sampling = data.draw(strategies.pair_samplings(world.arms))
    found = fixed_point(IPO(beta), world, sampling)
    d = data.draw(strategies.rewards(world.arms))
    moved = softmax(found.log_policy + d)
    pairs = isinstance(sampling, Pairs)
    joint = sampling.joint if pairs else np.outer(sampling.behaviors[0], sampling.behaviors[-1])
    cost = (joint * (d[:, None] - d) ** 2).sum()
    least, more = (expected_loss(IPO(beta), world, sampling, p) for p in (found.policy, moved))
    h = np.abs(found.log_policy - world.log_reference).max() + np.abs(d).max()
    assert_allclose(more - least, cost, rtol=1e-9, atol=1e-12 * (1 / beta + h) ** 2)


@EXAMPLES
@given(st.data(), strategies.betas(0.05, 20))
def test_online_ipo_rests_at_the_equilibrium_and_offline_ipo_does_not(data, beta):
    """T6.6: pairs from the policy move the answer from ref exp(P mu / beta) to ref exp(P pi / beta)."""
    world = data.draw(strategies.bandits_with_preference(3, 6, smallest=1e-2))
    nash = world.nash_policy(beta)
    size = 1e-12 * (1 + 1 / beta)
    assert_allclose(expected_update(OnlineIPO(beta), world, OnPolicy(), nash), 0, atol=size)
    assert_allclose(expected_update(IPO(beta), world, OnPolicy(), nash), 0, atol=size)


def test_offline_ipo_does_not_rest_at_the_equilibrium():
    world = worlds.GAME
    nash = world.nash_policy(0.4)
    assert np.abs(expected_update(IPO(0.4), world, Offline([0.6, 0.3, 0.1]), nash)).max() > 1e-2


@pytest.mark.parametrize("algorithm", [IPO, OnlineIPO])
def test_on_policy_the_equilibrium_keeps_to_the_support_of_the_start(algorithm):
    """An arm that starts at zero is never sampled: the game is played without it."""
    world, matrix = worlds.GAME, worlds.CYCLE
    with np.errstate(divide="ignore"):
        log_start = np.log([0.4, 0.0, 0.6])
    found = algorithm(0.4).closed_form(world, OnPolicy(), log_start).policy
    rest = Bandit(preference=matrix[[0, 2]][:, [0, 2]], reference=[5 / 7, 2 / 7])
    assert_allclose(found, [rest.nash_policy(0.4)[0], 0, rest.nash_policy(0.4)[1]], rtol=1e-13)
    assert_allclose(expected_update(algorithm(0.4), world, OnPolicy(), found), 0, atol=1e-13)


@EXAMPLES
@given(data=st.data(), arms=st.integers(3, 6))
def test_the_squared_margin_is_no_kl(data, arms):
    """T12.19: E (h - h')^2 / 2 on i.i.d. pairs of mu has the gradient of Var_mu(h): at mu = pi 2 grad KL."""
    policy, mu = (data.draw(strategies.policies(arms, smallest=0.02, salt=salt)) for salt in (0, 5))
    reference = data.draw(strategies.references(arms, smallest=0.02))

    def half_square(logits, weight) -> float:
        h = logits - logsumexp(logits) - np.log(reference)
        return float(weight @ (h[:, None] - h) ** 2 @ weight / 2)

    def forward_kl(logits) -> float:
        return float(rel_entr(softmax(logits), reference).sum())

    def backward_kl(logits) -> float:
        return float(rel_entr(reference, softmax(logits)).sum())

    at, h = np.log(policy), np.log(policy / reference)
    forward, backward = laws.gradient(forward_kl, at), laws.gradient(backward_kl, at)
    on = laws.gradient(lambda x: half_square(x, policy), at)
    assert_allclose(on, 2 * forward, rtol=0, atol=1e-8)
    assert_allclose(on, 2 * policy * (h - policy @ h), rtol=0, atol=1e-8)  # 2 H h
    off = laws.gradient(lambda x: half_square(x, mu), at)
    assert_allclose(off, 2 * mu * (h - mu @ h), rtol=0, atol=1e-8)
    for kl in (
        forward,
        backward,
    ):  # what is left of it when its part along the gradient of the KL is taken away
        along = off - kl * (off @ kl) / (kl @ kl)
        assume(np.abs(mu / policy - 1).max() > 0.1 and np.abs(h).max() > 0.1)
        assert np.linalg.norm(along) > 1e-4 * np.linalg.norm(off)
