"""Laws of the sampling rules: what they produce, what they share, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from bandits import (
    IPO,
    RLOO,
    Bandit,
    CoPG,
    Dataset,
    NashMD,
    Offline,
    OnlineIPO,
    OnPolicy,
    Pairs,
    PolicyGradient,
)
from bandits.policy import log_policy_of
from bandits.testing import strategies

WORLD = Bandit([1.0, 0.2, 0.5], reference=[0.5, 0.3, 0.2])
MU, NU = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.2, 0.6])


def law(rule, algorithm, world=WORLD, policy=(0.2, 0.3, 0.5)):
    return rule.law(algorithm, world, log_policy_of(np.array(policy)))


def test_one_behaviour_serves_every_place_and_many_serve_one_each():
    for k in (2, 3):
        assert_array_equal(np.stack(law(Offline(MU), CoPG(1.0, k)).place_behavior()), [MU] * k)
    assert_array_equal(np.stack(law(Offline(MU, NU), CoPG(1.0)).place_behavior()), [MU, NU])
    with pytest.raises(ValueError, match="CoPG looks at groups of k = 3 .* holds 2 .*; give 1 .* or 3"):
        law(Offline(MU, NU), CoPG(1.0, k=3))


def test_a_joint_law_keeps_the_order_of_the_places():
    joint = np.arange(1.0, 10.0).reshape(3, 3) / 45
    places = law(Pairs(joint), IPO(1.0)).place_behavior()
    assert_allclose(np.stack(places), [joint.sum(axis=1), joint.sum(axis=0)], rtol=1e-15)


@given(data=st.data(), arms=st.integers(2, 8))
def test_a_data_set_counts_its_distinct_pairs(data, arms):
    rule = data.draw(strategies.datasets(arms))
    found = law(rule, IPO(1.0), Bandit(np.zeros(arms)), np.full(arms, 1 / arms))
    assert len(found.pairs) == len({tuple(pair) for pair in rule.pairs})
    for pair, share in zip(found.pairs, found.share, strict=True):
        assert share == pytest.approx((rule.pairs == pair).all(axis=1).mean(), rel=1e-15)


def test_on_policy_the_law_is_the_policy():
    assert_allclose(np.stack(law(OnPolicy(), RLOO(1.0, k=3)).place_behavior()), [[0.2, 0.3, 0.5]] * 3)


@pytest.mark.parametrize("mixture", [0.0, 0.25, 1.0])
def test_an_opponent_has_the_last_place(mixture):
    """pi^(1 - eps) ref^eps / Z, by hand (T6.4)."""
    policy = np.array([0.2, 0.3, 0.5])
    mixed = policy ** (1 - mixture) * WORLD.reference**mixture
    places = law(OnPolicy(), NashMD(1.0, mixture=mixture)).place_behavior()
    assert_allclose(np.stack(places), [policy, mixed / mixed.sum()], rtol=1e-14)


@pytest.mark.parametrize("rule", [Offline(MU), Pairs(np.outer(MU, NU)), Dataset([(0, 1)])])
@pytest.mark.parametrize("algorithm", [NashMD(1.0), OnlineIPO(1.0)])
def test_an_algorithm_with_its_own_opponent_takes_no_fixed_samples(rule, algorithm):
    with pytest.raises(ValueError, match=r"brings its own opponent and takes OnPolicy\(\).*use IPO"):
        law(rule, algorithm)


@pytest.mark.parametrize("rule", [Pairs(np.outer(MU, NU)), Dataset([(0, 1)])])
def test_pairs_do_not_fit_other_groups(rule):
    with pytest.raises(ValueError, match="gives pairs, but PolicyGradient looks at groups of k = 1"):
        law(rule, PolicyGradient(1.0))


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (Offline(MU), r"mu\[2\] = 0.1"),
        (Offline([0.5, 0.5, 0.0], NU), r"mu2\[2\] = 0.6"),
        (Pairs(np.outer(MU, MU)), r"joint \(its marginal\)\[2\]"),
        (Dataset([(0, 2)]), r"pairs \(share of an arm\)\[2\]"),
    ],
)
def test_no_sample_may_leave_the_references_support(rule, name):
    world = Bandit([1.0, 0.2, 0.5], reference=[0.5, 0.5, 0.0])
    with pytest.raises(ValueError, match=f"zero where the reference is zero, but {name}.*do not sample"):
        law(rule, CoPG(1.0), world, (0.4, 0.4, 0.2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Offline(), "needs at least one behaviour policy"),
        (lambda: Offline([0.5, 0.4]), "sum of mu must be 1"),
        (lambda: Offline([0.5, 0.5], [1.2, -0.2]), r"mu2 must be non-negative, but mu2\[1\] = -0.2"),
        (lambda: Offline([np.nan, 1.0]), r"mu must be finite, but mu\[0\] = nan"),
        (lambda: Offline([0.5, 0.5], [0.2, 0.3, 0.5]), "mu1 and mu2 must have the same number of arms"),
        (lambda: Pairs([0.5, 0.5]), r"joint must have shape \(\.\.\., A, A\)"),
        (lambda: Pairs([[0.5, 0.6], [0.1, -0.2]]), r"joint must be non-negative, but joint\[1, 1\] = -0.2"),
        (lambda: Pairs([[0.5, 0.1], [0.1, 0.2]]), "sum of joint .* must be 1"),
        (lambda: Dataset([]), "the data set is empty"),
        (lambda: Dataset([(0, 1, 2)]), r"integers of shape \(N, 2\)"),
        (lambda: Dataset([(0.0, 1.0)]), r"integers of shape \(N, 2\).*float64"),
        (lambda: Dataset([(0, 1), (-1, 0)]), r"pairs\[1, 0\] = -1; count arms from 0"),
        (lambda: Dataset([(0, 1), (2, 2)]), r"two different arms, but pairs\[1\] = 2; drop pairs"),
    ],
)
def test_bad_rules_are_refused_with_the_remedy(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Offline([0.5, 0.5]), "mu and the bandit must have the same number of arms"),
        (Pairs(np.full((2, 2), 0.25)), "the same number of arms"),
        (Dataset([(0, 1), (0, 3)]), r"indices below 3, but pairs\[1, 1\] = 3; the bandit has no such arm"),
        (Offline(np.full((2, 3), 1 / 3)), "contexts of mu and the bandit must broadcast"),
    ],
)
def test_a_rule_must_fit_the_world(rule, message):
    world = Bandit(np.zeros((5, 3))) if "contexts" in message else WORLD
    with pytest.raises(ValueError, match=message):
        law(rule, CoPG(1.0), world)


def test_a_rule_keeps_private_copies():
    mu, joint, pairs = MU.copy(), np.outer(MU, NU), np.array([(0, 1), (1, 2)])
    rules = Offline(mu), Pairs(joint), Dataset(pairs)
    mu[0], joint[0, 0], pairs[0, 0] = 9, 9, 2
    assert_array_equal(rules[0].behaviors[0], MU)
    assert_array_equal(rules[1].joint, np.outer(MU, NU))
    assert_array_equal(rules[2].pairs, [(0, 1), (1, 2)])
    for array in (rules[0].behaviors[0], rules[1].joint, rules[2].pairs):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_one_context_of_a_rule_is_the_rule_there():
    mu = np.stack([MU, NU])
    assert_array_equal(Offline(mu[:, None], MU).at((1, 0), (2, 4)).behaviors[0], NU)
    assert_array_equal(Offline(mu).at((2, 1), (3, 2)).behaviors[0], NU)
    joint = np.stack([np.outer(MU, NU), np.outer(NU, NU)])
    assert_array_equal(Pairs(joint).at((1,), (2,)).joint, np.outer(NU, NU))
    rule = Dataset([(0, 1)])
    assert rule.at((1,), (2,)) is rule
    assert OnPolicy().at((0,), (2,)) == OnPolicy()
