"""Laws of exact expectations: by formula, by enumeration and group by group by hand, in every context."""

from __future__ import annotations

import inspect
import itertools
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import bandits as b
from bandits import exact
from bandits.policy import log_policy_of, log_ratio
from bandits.problem import bind
from bandits.sampling.observation import State
from bandits.testing import enumeration, strategies
from bandits.testing.enumeration import Case
from rows import name_of, row_of

# Every algorithm that knows E[c] of each arm by a formula.
KNOWN = {
    "CoPG": b.CoPG,
    "CoPG(k=3)": lambda beta: b.CoPG(beta, k=3),
    "RLOO": b.RLOO,
    "RLOO(k=3)": lambda beta: b.RLOO(beta, k=3),
    "IPO": b.IPO,
    "PsiPO": lambda beta: b.PsiPO(beta, psi=np.square),
    "DPO": b.DPO,
    "DPO(smoothing)": lambda beta: b.DPO(beta, smoothing=0.2),
    "DPO(margin)": lambda beta: b.DPO(beta, margin=lambda s: 0.3 * s.reward),
    "DRO": b.DRO,
    "DROV": b.DROV,
    "PolicyGradient(behavior_value)": lambda beta: b.PolicyGradient(beta, b.behavior_value),
    "PolicyGradient(behavior_value, k=2)": lambda beta: b.PolicyGradient(beta, b.behavior_value, k=2),
    "SRPO": b.SRPO,
}


@st.composite
def rules(draw, k: int, arms: int, contexts=()):
    """Every rule that fits; behaviours with zeros among them."""
    behaviour = st.one_of(strategies.behaviors(arms, contexts), strategies.partial_policies(arms, contexts))
    choices = [behaviour.map(b.Offline), st.just(b.OnPolicy())]
    if k > 1:
        choices.append(st.lists(behaviour, min_size=k, max_size=k).map(lambda mus: b.Offline(*mus)))
    if k == 2:
        choices += [strategies.joints(arms, contexts).map(b.Pairs), strategies.datasets(arms)]
    return draw(st.one_of(choices))


@pytest.mark.parametrize("name", KNOWN)
@settings(max_examples=40)
@given(data=st.data(), arms=st.integers(2, 5), beta=strategies.betas(1e-2, 1e2))
def test_the_formula_for_the_coefficient_equals_enumeration(name, data, arms, beta):
    """E[c] of each arm: the O(A) or O(A^2) path against the sum over all groups (T3.2)."""
    algorithm = KNOWN[name](beta)
    world = data.draw(strategies.bandits_with_both(arms, arms, smallest=1e-4))
    sampling = data.draw(rules(algorithm.k, arms))
    log_policy = log_policy_of(data.draw(strategies.policies(arms, salt=6)))
    law = sampling.law(algorithm, world, log_policy)
    state = State(log_policy)
    known = exact.known_coefficient(algorithm, world, law, state)
    problem = bind(algorithm, world, sampling, np.exp(log_policy))
    summed = exact.enumerated_coefficient(algorithm, world, law, exact.completed(problem, law, state))
    size = (1 + beta**2) * (1 + np.abs(log_ratio(log_policy, world.log_reference)).max()) + 1 / beta
    assert known is not None
    assert_allclose(known, summed, rtol=0, atol=1e-13 * size * (1 + np.abs(world.reward).max()))


@pytest.mark.parametrize("name", KNOWN)
@settings(max_examples=8)
@given(data=st.data(), beta=strategies.betas(0.1, 10))
def test_the_formula_holds_in_every_context(name, data, beta):
    """Leading axes (2, 3) of world, samples and policy, each over some of them; a reference with zeros."""
    algorithm, arms = KNOWN[name](beta), 3
    reference = np.array([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])[:, None]
    world = b.Bandit(
        data.draw(strategies.rewards(arms, (3,))),
        preference=data.draw(strategies.preferences(arms, (2, 1))),
        reference=reference,
    )
    mus = [data.draw(strategies.behaviors(arms, (2, 1))) * reference for _ in range(algorithm.k)]
    mus = [mu / mu.sum(axis=-1, keepdims=True) for mu in mus]
    policy = data.draw(strategies.policies(arms, (2, 3))) * reference
    policy = policy / policy.sum(axis=-1, keepdims=True)
    for sampling in (b.Offline(*mus), b.Offline(mus[0]), b.OnPolicy()):
        together = b.expected_update(algorithm, world, sampling, policy)
        assert together.shape == (2, 3, arms)
        for index in np.ndindex(2, 3):
            here = sampling.at(index, (2, 3))
            state = State(log_policy_of(policy[index]))
            problem = bind(algorithm, world.at(index), here, policy[index])
            law = problem.law()
            state = exact.completed(problem, law, state)
            a = exact.enumerated_coefficient(algorithm, world.at(index), law, state)
            assert_allclose(together[index], a - policy[index] * a.sum(), rtol=0, atol=1e-12 * (1 + beta**2))


ENUMERATED = [
    b.PolicyGradient(0.7, 0.4),
    b.PolicyGradient(0.7, b.policy_value, k=2),
    b.ReMax(0.7),
    b.RLOO(0.7, k=3),
    b.PsiPO(0.7, psi=np.square),
    b.NashMD(0.7, mixture=0.3),
    b.OnlineIPO(0.7),
    b.ImportanceWeighted(b.RLOO(0.7), clip=1.5),
]


@pytest.mark.parametrize("algorithm", ENUMERATED, ids=name_of)
@settings(max_examples=8)
@given(data=st.data())
def test_enumeration_sums_group_by_group(algorithm, data):
    """Against `bandits.testing.enumeration`, one group at a time, in every context of a (2, 3) batch."""
    arms, on_policy = 3, getattr(algorithm, "needs_on_policy", False)
    world = b.Bandit(
        data.draw(strategies.rewards(arms, (3,))),
        preference=data.draw(strategies.any_preferences(arms, (2, 1))),
        reference=data.draw(strategies.references(arms, smallest=1e-2)),
    )
    mu = data.draw(strategies.behaviors(arms, (2, 1), smallest=1e-2))
    sampling = b.OnPolicy() if on_policy else b.Offline(mu)
    policy = data.draw(strategies.policies(arms, (2, 3), smallest=1e-2))
    together = b.expected_update(algorithm, world, sampling, policy)
    for index in np.ndindex(2, 3):
        case = Case(world.at(index), sampling.at(index, (2, 3)), policy[index])
        by_hand = enumeration.expected_by_hand(row_of(algorithm).formula, algorithm, case)
        assert_allclose(together[index], by_hand, rtol=0, atol=1e-13)


@pytest.mark.parametrize("block", [1, 7, 100])
def test_the_size_of_the_blocks_does_not_matter(block, monkeypatch):
    world, policy = b.Bandit([1.0, 0.2, 0.5, -1.0]), [0.1, 0.2, 0.3, 0.4]
    sampling = b.Offline([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])

    def answers():
        algorithm = b.RLOO(0.7, k=3)
        return (
            b.expected_update(algorithm, world, sampling, policy),
            b.update_covariance(algorithm, world, sampling, policy),
            b.expected_loss(b.CoPG(0.7, k=3), world, sampling, policy),
        )

    whole = answers()
    monkeypatch.setattr(exact, "BLOCK", block)
    for one, other in zip(whole, answers(), strict=True):
        assert_allclose(one, other, rtol=1e-13, atol=1e-15)


def test_memory_does_not_grow_with_the_number_of_contexts():
    """4096 groups in each of 300 contexts: less is held than two arrays of all of them."""
    rng = np.random.default_rng(0)
    world = b.Bandit(rng.normal(size=(300, 16)))
    policy = rng.dirichlet(np.ones(16), 300)
    tracemalloc.start()
    b.expected_update(b.RLOO(0.7, k=3), world, b.OnPolicy(), policy)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 300 * 16**3 * 3 * 8


# ---- loss and covariance ----------------------------------------------------------------------------------


@given(data=st.data(), arms=st.integers(2, 4), beta=strategies.betas(0.1, 10))
def test_the_expected_loss_of_dro_is_least_at_its_value(data, arms, beta):
    """With V eliminated half the loss of pairs: E_mu (R - V)^2 / 2 at V = E_mu R is Var R / 2 (T3.7)."""
    world = data.draw(strategies.bandits_with_reward(arms, arms))
    mu, policy = data.draw(strategies.behaviors(arms)), data.draw(strategies.policies(arms))
    R = world.reward - beta * (np.log(policy) - world.log_reference)
    V = mu @ R
    least = b.expected_loss(b.DRO(beta), world, b.Offline(mu), policy)
    assert_allclose(least, mu @ (R - V) ** 2 / 2, rtol=1e-9, atol=1e-14)
    for shift in (-0.1, 0.2):
        assert b.expected_loss(b.DRO(beta), world, b.Offline(mu), policy, value=V + shift) > least
    pairs = b.expected_loss(b.CoPG(beta), world, b.Offline(mu), policy)
    assert_allclose(pairs, 2 * least / beta, rtol=1e-9, atol=1e-14)


@settings(max_examples=25)
@given(data=st.data(), arms=st.integers(2, 3), k=st.sampled_from([2, 3]), beta=strategies.betas(0.1, 10))
def test_the_covariance_is_that_of_the_groups_steps(data, arms, k, beta):
    """E[s s'] - E[s] E[s]' over all groups in plain Python, s = sum_i c_i (e_{y_i} - pi) (T0.1)."""
    world = data.draw(strategies.bandits_with_reward(arms, arms, smallest=1e-2))
    mu = data.draw(strategies.behaviors(arms, smallest=1e-2))
    policy = data.draw(strategies.policies(arms, smallest=1e-2))
    R = world.reward - beta * (np.log(policy) - world.log_reference)
    steps, weights = [], []
    for group in itertools.product(range(arms), repeat=k):
        c = [k * R[y] - sum(R[z] for z in group) for y in group]
        steps.append(sum(ci * (np.eye(arms)[y] - policy) for ci, y in zip(c, group, strict=True)))
        weights.append(np.prod(mu[list(group)]))
    steps, weights = np.array(steps), np.array(weights)
    mean = weights @ steps
    by_hand = np.einsum("n,na,nb->ab", weights, steps - mean, steps - mean)
    found = b.update_covariance(b.CoPG(beta, k), world, b.Offline(mu), policy)
    assert_allclose(found, by_hand, rtol=0, atol=1e-13 * (1 + np.abs(steps).max() ** 2))
    assert_allclose(found, found.T, rtol=0, atol=1e-13 * (1 + np.abs(found).max()))


def test_label_noise_adds_the_variance_of_a_coin():
    """IPO on one pair, uniform mu, pi = ref: c = +-1/beta; steps +-(1/beta) (1, -1) if the arms differ.

    Without noise the step is (2p - 1)/beta (1, -1) with probability 1/2; p = .8, beta = 2.
    """
    world = b.Bandit(preference=[[0.5, 0.8], [0.2, 0.5]])
    arguments = (b.IPO(2.0), world, b.Offline([0.5, 0.5]), [0.5, 0.5])
    square = np.array([[1.0, -1.0], [-1.0, 1.0]])
    mean = 0.5 * 0.6 / 2
    quiet = b.update_covariance(*arguments, label_noise=False)
    assert_allclose(quiet, (0.5 * 0.3**2 - mean**2) * square, rtol=1e-13)
    noisy = b.update_covariance(*arguments)
    assert_allclose(noisy, (0.5 * 0.5**2 - mean**2) * square, rtol=1e-13)


def test_labels_are_noisy_unless_it_is_said_that_they_are_not():
    """One default for drawn training and for its exact moments."""
    for function in (b.simulate, b.update_covariance, b.sgd_moments, b.stationary_covariance):
        assert inspect.signature(function).parameters["label_noise"].default is True


@settings(max_examples=20)
@given(data=st.data(), beta=strategies.betas(0.1, 10), arms=st.integers(2, 5))
def test_dpo_varies_at_the_optimum_by_its_labels(data, beta, arms):
    """At pi* a label of probability p moves a pair by beta (1{won} - p) (e_i - e_j), beta^2 p (1-p)."""
    world = data.draw(strategies.bandits_with_reward(arms, arms, smallest=1e-3))
    mu = data.draw(strategies.behaviors(arms, smallest=1e-2))
    found = b.update_covariance(b.DPO(beta), world, b.Offline(mu), world.optimal_policy(beta))
    weight = 2 * beta**2 * np.outer(mu, mu) * world.preference * (1 - world.preference)
    assert_allclose(found, np.diag(weight.sum(1)) - weight, rtol=0, atol=1e-10 * beta**2)
    assert found.trace() > 0


@dataclass(frozen=True)
class Labels:
    """A reader's KTO: pushes up what is desirable, and down what is not."""

    k: int = 2

    def update(self, samples):
        """2 label - 1, less a log-ratio."""
        return b.Update(log_prob=2 * samples.desirable - 1 - 0.3 * samples.log_ratio)


@settings(max_examples=10)
@given(data=st.data(), arms=st.integers(2, 4), k=st.integers(1, 3))
def test_labels_of_single_answers_add_their_own_variance(data, arms, k):
    """sum_i 2 (label_i - p_i)(e_i - pi): by total covariance k E[4 p (1 - p) (e - pi)(e - pi)']."""
    world = data.draw(strategies.bandits_with_reward(arms, arms, smallest=1e-2))
    chance = data.draw(strategies.generators()).random(arms)
    world = b.Bandit(world.reward, reference=world.reference, desirable=chance)
    mu, policy = (data.draw(strategies.policies(arms, salt=i)) for i in (1, 2))
    arguments = (Labels(k), world, b.Offline(mu), policy)
    noise = b.update_covariance(*arguments) - b.update_covariance(*arguments, label_noise=False)
    steps = np.eye(arms) - policy
    by_hand = k * np.einsum("y,ya,yb->ab", 4 * mu * chance * (1 - chance), steps, steps)
    assert_allclose(noise, by_hand, rtol=0, atol=1e-11)


@settings(max_examples=10)
@given(data=st.data())
def test_where_no_label_is_drawn_the_default_changes_nothing(data):
    """Groups of three, data sets, and updates that look at no label."""
    world = data.draw(strategies.bandits_with_both(3, 3, smallest=1e-2))
    policy = data.draw(strategies.policies(3))
    mu, pairs = b.Offline(data.draw(strategies.behaviors(3))), data.draw(strategies.datasets(3))
    for algorithm, law in (
        (b.PsiPO(0.7), mu),
        (b.GRPO(0.7, k=3), mu),
        (b.CoPG(0.7), mu),
        (b.IPO(0.7), pairs),
    ):
        found = b.update_covariance(algorithm, world, law, policy)
        quiet = b.update_covariance(algorithm, world, law, policy, label_noise=False)
        assert_allclose(found, quiet, rtol=0, atol=0)
    for algorithm, law in ((b.CoPG(0.3), mu), (b.RLOO(0.3), mu), (b.IPO(0.3), pairs)):
        quiet = {"label_noise": False}
        found = b.sgd_moments(algorithm, world, law, 0.1, [3], policy)
        expected = b.sgd_moments(algorithm, world, law, 0.1, [3], policy, **quiet)
        assert_allclose(found.covariance, expected.covariance, rtol=0, atol=0)


def test_a_certain_sample_has_no_variance():
    world = b.Bandit([1.0, 0.2, 0.5])
    found = b.update_covariance(b.PolicyGradient(0.5), world, b.Offline([0.0, 1.0, 0.0]), [0.2, 0.3, 0.5])
    assert_allclose(found, 0, atol=1e-17)


# ---- what is trained beside the policy --------------------------------------------------------------------


def test_a_frozen_value_is_a_constant_baseline():
    """DRO with V frozen is beta times policy gradient with b = V (T8.2)."""
    world, mu, policy = b.Bandit([1.0, 0.2, 0.5]), b.Offline([0.5, 0.2, 0.3]), [0.2, 0.3, 0.5]
    frozen = b.expected_update(b.DRO(0.7), world, mu, policy, value=0.9)
    baseline = b.expected_update(b.PolicyGradient(0.7, 0.9), world, mu, policy)
    assert_allclose(frozen, 0.7 * baseline, rtol=1e-13)
    many = b.expected_update(b.DRO(0.7), world, mu, policy, value=[0.9, 0.1])
    assert_allclose(many[0], frozen, rtol=1e-14)


def test_the_revision_policy_is_optimal_unless_given():
    """SRPO: without `revision_policy` its optimum is used, which the data's labels decide (T7.2)."""
    world, policy = b.Bandit([1.0, 0.2, 0.5], reference=[0.5, 0.3, 0.2]), [0.2, 0.3, 0.5]
    for sampling in (b.Offline([0.5, 0.2, 0.3]), b.Dataset([(0, 1), (2, 1), (0, 2), (2, 0)])):
        law = sampling.law(b.SRPO(0.7), world, np.log(policy))
        best = np.exp(b.SRPO(0.7).log_revision_policy(world, law))
        given = b.expected_update(b.SRPO(0.7), world, sampling, policy, revision_policy=best)
        assert_allclose(b.expected_update(b.SRPO(0.7), world, sampling, policy), given, rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match=r"revision_policy must have shape \(\.\.\., 3, 3\)"):
        b.expected_update(b.SRPO(0.7), world, sampling, policy, revision_policy=policy)


# ---- the border -------------------------------------------------------------------------------------------


@dataclass
class Returns:
    """An algorithm that returns what it is told."""

    what: object
    k: int = 2

    def update(self, samples):
        return self.what(samples)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (
            lambda s: b.Update(log_prob=s.log_prob[..., :1]),
            r"for each of the k = 2 samples.*\(4, 1\)",
        ),
        (lambda s: b.Update(log_prob=s.log_prob.sum(-1)), r"its shape is \(4,\)"),
        (lambda s: s.log_prob, "must return an Update"),
        (lambda s: b.Update(log_prob=s.log_prob * np.inf), r"-inf for sample 0 of the arms \[0, 0\]"),
    ],
)
def test_an_update_of_the_wrong_kind_is_told_so(what, message):
    with pytest.raises(ValueError, match=message):
        b.expected_update(
            Returns(what), b.Bandit([1.0, 0.2, 0.5]), b.Offline([0.5, 0.2, 0.3]), [0.2, 0.3, 0.5]
        )


def test_groups_that_never_occur_may_hold_anything():
    """Arm 2 is not sampled: its infinite log-ratio and coefficient count for nothing."""
    world = b.Bandit([1.0, 0.2, 0.5], reference=[0.5, 0.5, 0.0])
    for algorithm in (b.RLOO(0.7), b.PolicyGradient(0.7, b.policy_value), b.SRPO(0.7), b.DPO(0.7)):
        found = b.expected_update(algorithm, world, b.Offline([0.6, 0.4, 0.0]), [0.3, 0.7, 0.0])
        inner = b.Bandit([1.0, 0.2])
        alone = b.expected_update(algorithm, inner, b.Offline([0.6, 0.4]), [0.3, 0.7])
        assert_allclose(found, [*alone, 0.0], rtol=0, atol=1e-15)


def test_bad_arguments_are_refused():
    world, mu = b.Bandit([1.0, 0.2, 0.5]), b.Offline([0.5, 0.2, 0.3])
    with pytest.raises(ValueError, match=r"positive where the sampler has mass, but policy\[2\] = 0.0"):
        b.expected_update(b.CoPG(0.7), world, mu, [0.4, 0.6, 0.0])
    with pytest.raises(ValueError, match="policy and the bandit must have the same number of arms"):
        b.expected_update(b.CoPG(0.7), world, mu, [0.4, 0.6])
    with pytest.raises(ValueError, match="PolicyGradient has no loss; use expected_update"):
        b.expected_loss(b.PolicyGradient(0.7), world, mu, [0.2, 0.3, 0.5])
    with pytest.raises(ValueError, match="no reward"):
        b.expected_update(b.CoPG(0.7), b.Bandit(preference=np.full((3, 3), 0.5)), mu, [0.2, 0.3, 0.5])
    with pytest.raises(ValueError, match=r"samples.reward is None"):
        b.expected_update(b.ReMax(0.7), b.Bandit(preference=np.full((3, 3), 0.5)), mu, [0.2, 0.3, 0.5])
    with pytest.raises(ValueError, match="value must be finite"):
        b.expected_update(b.DRO(0.7), world, mu, [0.2, 0.3, 0.5], value=np.nan)


def test_policies_below_the_smallest_number_are_still_told_apart():
    """In log space: arms of probability e^-2000 and e^-3000 have different log-ratios, hence coefficients."""
    world = b.Bandit([0.0, 0.0, 0.0])
    state = State(np.array([0.0, -2000.0, -3000.0]))
    found = exact.update_at(bind(b.CoPG(1.0), world, b.Offline([0.2, 0.3, 0.5])), state)
    h = np.array([0.0, -2000.0, -3000.0])
    mu = np.array([0.2, 0.3, 0.5])
    assert_allclose(found, 2 * mu * (mu @ h - h), rtol=1e-13)
