"""Every algorithm obeys every law of `coefficient_laws`, and keeps what all of them keep."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import log_softmax, softmax

import answer_key
import bandits as b
import coefficient_laws as laws
import strategies
from answer_key import Case
from coefficient_laws import (
    CLIMBING,
    RESTING,
    SMOOTH,
    VARIANTS,
    WITH_LOSS,
    cases,
    connected_case,
    gradient,
    update_of,
)

EXAMPLES = settings(max_examples=12)
TORCH_EXAMPLES = settings(max_examples=6)
FEW_EXAMPLES = settings(max_examples=2)

every_algorithm = pytest.mark.parametrize("name", VARIANTS)
every_loss = pytest.mark.parametrize("name", WITH_LOSS)


@every_algorithm
@EXAMPLES
@given(data=st.data())
def test_coefficients_follow_the_formula(name, data):
    algorithm = VARIANTS[name](beta=data.draw(strategies.betas()))
    case = data.draw(cases(algorithm, smallest=1e-12))
    laws.coefficients_follow_the_formula(algorithm, algorithm, case)


@every_algorithm
@EXAMPLES
@given(data=st.data())
def test_expectation_is_the_sum_over_all_groups(name, data):
    algorithm = VARIANTS[name](beta=data.draw(strategies.betas()))
    case = data.draw(cases(algorithm, smallest=1e-12))
    laws.expectation_is_the_sum_over_all_groups(algorithm, algorithm, case)


@every_algorithm
@FEW_EXAMPLES
@given(data=st.data())
def test_many_arms_are_no_different(name, data):
    """50 arms where groups are single samples, 30 in pairs (900 groups), 8 in triples."""
    algorithm = VARIANTS[name](beta=data.draw(strategies.betas()))
    arms = {1: 50, 2: 30, 3: 8}[algorithm.k]
    case = data.draw(cases(algorithm, min_arms=arms, max_arms=arms, smallest=1e-12))
    laws.expectation_is_the_sum_over_all_groups(algorithm, algorithm, case)


@pytest.mark.parametrize("name", SMOOTH)
@EXAMPLES
@given(data=st.data())
def test_expectation_descends_the_loss(name, data):
    algorithm = VARIANTS[name](beta=data.draw(strategies.betas(0.05, 20)))
    laws.expectation_descends_the_loss(algorithm, algorithm, data.draw(cases(algorithm, smallest=1e-2)))


@every_loss
@TORCH_EXAMPLES
@given(data=st.data())
def test_coefficients_differentiate_the_loss(name, data):
    algorithm = VARIANTS[name](beta=data.draw(strategies.betas()))
    value = data.draw(st.floats(-2, 2)) if name == "DRO" else None
    laws.coefficients_differentiate_the_loss(algorithm, algorithm, data.draw(cases(algorithm, value=value)))


@every_algorithm
@TORCH_EXAMPLES
@given(data=st.data())
def test_torch_trains_as_numpy_expects(name, data):
    algorithm = VARIANTS[name](beta=data.draw(strategies.betas()))
    laws.torch_trains_as_numpy_expects(algorithm, algorithm, data.draw(cases(algorithm)))


@pytest.mark.parametrize("name", CLIMBING)
@TORCH_EXAMPLES
@given(data=st.data())
def test_on_policy_it_climbs(name, data):
    algorithm = VARIANTS[name](beta=data.draw(strategies.betas()))
    laws.on_policy_it_climbs(algorithm, algorithm, data.draw(cases(algorithm)))


@pytest.mark.parametrize("name", RESTING)
@EXAMPLES
@given(data=st.data())
def test_it_rests_where_theory_says(name, data):
    algorithm = VARIANTS[name](beta=data.draw(strategies.betas(0.3, 30)))
    laws.it_rests_where_theory_says(algorithm, algorithm, connected_case(data, algorithm))


# ---- what every algorithm keeps ---------------------------------------------------------------------------


@every_algorithm
def test_batch_axes_do_not_mix(name):
    """A batch of groups in any shape gives each group what it gets alone."""
    algorithm = VARIANTS[name](beta=0.7)
    case = one_case(algorithm)
    _, _, samples = answer_key.stacked(algorithm, case)
    together = algorithm.update(samples).log_prob
    alone = [algorithm.update(s).log_prob for _, _, s in answer_key.groups(algorithm, case)]
    assert_allclose(together, np.stack(alone), rtol=0, atol=1e-14)


@every_algorithm
def test_samples_are_not_written_to(name):
    """Read-only arrays pass through every algorithm: nothing is computed in place."""
    algorithm = VARIANTS[name](beta=0.7)
    _, _, samples = answer_key.stacked(algorithm, one_case(algorithm))
    for each in (samples, samples.population):
        for field in fields(each):
            if isinstance(getattr(each, field.name), np.ndarray):
                getattr(each, field.name).flags.writeable = False
    algorithm.update(samples)
    if hasattr(algorithm, "loss"):
        algorithm.loss(samples)


@every_algorithm
def test_hyper_parameters_are_frozen(name):
    algorithm = VARIANTS[name](beta=0.7)
    with pytest.raises(AttributeError):
        algorithm.beta = 1.0
    with pytest.raises(AttributeError):
        algorithm.k = 7


@every_algorithm
def test_equal_hyper_parameters_make_equal_algorithms(name):
    assert VARIANTS[name](beta=0.7) == VARIANTS[name](beta=0.7) != VARIANTS[name](beta=0.8)


@every_algorithm
def test_expected_update_keeps_the_mean_logit(name):
    """sum_y E[sum_i c_i (1{y_i = y} - pi(y))] = 0: softmax does not see a common shift of the logits."""
    algorithm = VARIANTS[name](beta=0.7)
    case = one_case(algorithm)
    assert_allclose(update_of(algorithm, case).sum(), 0, atol=1e-14)


@every_algorithm
def test_contrastive_coefficients_sum_to_zero_and_no_others_do(name):
    """What one answer gains the others lose, so that log Z of the policy never matters.

    SRPO's generative half is contrastive too, but its revision policy moves besides: it does not say so.
    """
    algorithm = VARIANTS[name](beta=0.7)
    _, _, samples = answer_key.stacked(algorithm, one_case(algorithm))
    sums = np.abs(algorithm.update(samples).log_prob.sum(-1)).max()
    says = getattr(algorithm, "contrastive", False)
    if says or "SRPO" in name:
        assert sums < 1e-13
    elif "ImportanceWeighted(RLOO)" not in name:  # a common weight keeps the sum of RLOO's
        assert sums > 1e-2


@pytest.mark.parametrize("name", [n for n in VARIANTS if hasattr(VARIANTS[n](beta=1.0), "contrastive")])
def test_contrastive_coefficients_see_only_differences_of_log_probabilities(name):
    """The other half of the word: the normaliser of the policy may be left out."""
    algorithm = VARIANTS[name](beta=0.7)
    _, _, samples = answer_key.stacked(algorithm, one_case(algorithm))
    shifted = replace(samples, log_prob=samples.log_prob + 3.0)
    found, shift_free = (algorithm.update(s).log_prob for s in (samples, shifted))
    assert_allclose(found, shift_free, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["RLOO", "CoPG", "CoPG(k=3)", "DRO", "PolicyGradient(behavior_value)"])
def test_a_constant_reward_offset_changes_nothing(name):
    algorithm = VARIANTS[name](beta=0.7)
    case = one_case(algorithm)
    shifted = b.Bandit(case.bandit.reward + 5.0, reference=case.bandit.reference)
    moved = update_of(algorithm, replace(case, bandit=shifted))
    assert_allclose(moved, update_of(algorithm, case), rtol=0, atol=1e-13)


@every_algorithm
def test_a_missing_field_is_named(name):
    algorithm = VARIANTS[name](beta=0.7)
    bare = b.Samples(log_prob=np.log(np.full(algorithm.k, 0.5)))
    with pytest.raises(ValueError, match=r"samples\.\w+ is None, but this algorithm needs it"):
        algorithm.update(bare)


def one_case(algorithm) -> Case:
    """Three arms, nothing symmetric."""
    world = b.Bandit(
        [0.9, -0.4, 0.3],
        preference=[[0.5, 0.8, 0.35], [0.2, 0.5, 0.9], [0.65, 0.1, 0.5]],
        reference=[0.5, 0.2, 0.3],
    )
    on_policy = getattr(algorithm, "needs_on_policy", False)
    revision = np.array([[0.2, 0.7, 0.1], [0.3, 0.3, 0.4], [0.6, 0.15, 0.25]])
    return Case(
        bandit=world,
        sampling=b.OnPolicy() if on_policy else b.Offline([0.6, 0.1, 0.3]),
        policy=np.array([0.25, 0.35, 0.4]),
        revision=revision if isinstance(algorithm, b.SRPO) else None,
    )


def test_the_finite_difference_is_exact_to_nine_digits():
    """On a function with a known gradient: log-sum-exp, whose gradient is softmax."""
    point = np.array([0.3, -1.2, 0.8])
    found = gradient(lambda x: -log_softmax(x)[0] + x[0], point)
    assert_allclose(found, softmax(point), rtol=0, atol=1e-10)
