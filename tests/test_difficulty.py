"""Which prompts does it weigh?  w(p) in closed form against the algorithms themselves (T13.11)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import brentq

import bandits as b
from bandits import difficulty_weight
from bandits.dynamics.difficulty import grpo_weight, maxrl_weight, pass_at_k_weight, rejection_weight
from bandits.experiments.difficulty import PassAtK
from bandits.testing import strategies

EXAMPLES = settings(max_examples=15)
LEVELS = np.array([1e-6, 0.03, 0.4, 0.77, 1 - 1e-6])  # prompts from hopeless to sure


def ones(success, k: int) -> np.ndarray:
    return np.ones(np.shape(success))


WEIGHTS = {
    "RLOO": (lambda k: b.RLOO(0.5, k=k), ones),
    "GRPO": (lambda k: b.GRPO(0.5, k=k), grpo_weight),
    "DrGRPO": (lambda k: b.DrGRPO(0.5, k=k), lambda p, k: (1 - 1 / k) * ones(p, k)),
    "MaxRL": (lambda k: b.MaxRL(0.5, k=k), maxrl_weight),
    "rejection fine-tuning": (lambda k: b.MaxRL(0.5, k=k, centred=False), rejection_weight),
    "BestOfN": (lambda k: b.BestOfN(k), maxrl_weight),
    "pass@k": (PassAtK, pass_at_k_weight),
}


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("k", [2, 3, 4, 9])
def test_the_closed_form_is_the_sum_over_all_groups(name, k):
    """Prompts of different difficulty side by side, as contexts; to what 1e-6 leaves of 1 - p."""
    make, weight = WEIGHTS[name]
    found = difficulty_weight(make(k), LEVELS)
    assert_allclose(found, weight(LEVELS, k), rtol=1e-9)
    assert_allclose(difficulty_weight(make(k), 0.4), weight(0.4, k), rtol=1e-13)
    assert difficulty_weight(make(k), LEVELS[:, None]).shape == (5, 1)


def test_the_numbers_of_the_theory():
    """T13.11: p = .4, k = 4."""
    found = [float(difficulty_weight(WEIGHTS[name][0](4), 0.4)) for name in WEIGHTS]
    assert_allclose(found, [1, 1.4035, 0.75, 1.96, 2.176, 1.96, 0.864], rtol=0, atol=5e-5)


def test_grpo_in_pairs_has_no_difficulty_weight_and_in_large_groups_that_of_the_arcsine():
    """1/sqrt 2 at k = 2; 1/sqrt(p q) from below as k grows, whose integral is 2 arcsin sqrt p."""
    p = LEVELS[1:4]
    assert_allclose(grpo_weight(p, 2), 1 / np.sqrt(2), rtol=1e-14)
    for k, tolerance in ((100, 0.2), (10_000, 2e-3)):
        assert_allclose(grpo_weight(p, k), 1 / np.sqrt(p * (1 - p)), rtol=tolerance)
    steps = np.diff(2 * np.arcsin(np.sqrt([0.3 - 1e-5, 0.3 + 1e-5])))
    assert_allclose(steps / 2e-5, grpo_weight(0.3, 10_000), rtol=1e-3)


@EXAMPLES
@given(data=st.data(), k=st.sampled_from([2, 3]), name=st.sampled_from(sorted(WEIGHTS)))
def test_of_many_arms_only_the_probability_of_success_counts(data, k, name):
    """The expected update is w(p) grad p in the logits of any right-or-wrong bandit, at any policy."""
    make, weight = WEIGHTS[name]
    right = np.array(data.draw(st.permutations([1.0, 1.0, 0.0, 0.0, 0.0])))
    policy = data.draw(strategies.policies(5, smallest=1e-3))
    world = b.Bandit(right, reference=policy)  # no KL pulls there
    p = float(policy @ right)
    gradient = policy * (right - p)
    found = b.expected_update(make(k), world, b.OnPolicy(), policy)
    assert_allclose(found, weight(p, k) * gradient, rtol=0, atol=1e-13 * (1 + k))


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 10), k=st.sampled_from([2, 4]))
@pytest.mark.parametrize("name", ["GRPO", "MaxRL"])
def test_with_a_kl_it_ends_where_the_pulls_balance(name, data, beta, k):
    """beta (p - p0) = p q w(p) by Brent's method; successes keep their ratios, failures theirs."""
    reference = data.draw(strategies.references(4, smallest=0.02))
    right = np.array(data.draw(st.permutations([1.0, 1.0, 0.0, 0.0])))
    p0, weight = float(reference @ right), WEIGHTS[name][1]

    def excess(p: float) -> float:
        return float(beta * (p - p0) - p * (1 - p) * weight(p, k))

    p = brentq(excess, p0 + 1e-12, 1 - 1e-12, xtol=1e-15)
    algorithm = {"GRPO": b.GRPO, "MaxRL": b.MaxRL}[name](beta, k=k)
    found = b.fixed_point(algorithm, b.Bandit(right, reference=reference), b.OnPolicy())
    share = np.where(right > 0, p / p0, (1 - p) / (1 - p0))
    assert_allclose(found.policy, reference * share, rtol=0, atol=1e-8)


@pytest.mark.parametrize("success", [0.0, 1.0, [0.5, -0.1], [0.2, 1.5], np.nan])
def test_prompts_that_never_or_always_succeed_are_refused(success):
    with pytest.raises(ValueError, match="success must be"):
        difficulty_weight(b.RLOO(0.5), success)
    with pytest.raises(ValueError, match="success must be"):
        grpo_weight(success, 3)
