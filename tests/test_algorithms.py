"""Every algorithm obeys every law of `coefficient_laws`, and keeps what all of them keep."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import log_softmax, softmax

import bandits as b
import coefficient_laws as laws
import worlds
from bandits.testing import enumeration, strategies
from bandits.testing.enumeration import Case
from bandits.testing.laws import gradient, update_of
from bandits.testing.reading import reads
from coefficient_laws import some_case
from rows import Row, every_row

EXAMPLES = settings(max_examples=12)
TORCH_EXAMPLES = settings(max_examples=6)
FEW_EXAMPLES = settings(max_examples=2)

ROWS = every_row()


def of_rows(which: Callable[[Row], Any] = lambda row: True) -> pytest.MarkDecorator:
    """A test of every row that this holds of."""
    chosen = [pytest.param(row, id=name) for name, row in ROWS.items() if which(row)]
    return pytest.mark.parametrize("row", chosen)


every_algorithm = of_rows()


@every_algorithm
@EXAMPLES
@given(data=st.data())
def test_coefficients_follow_the_formula(row, data):
    algorithm = row.make(data.draw(strategies.betas()))
    case = some_case(data, algorithm, smallest=1e-12)
    laws.coefficients_follow_the_formula(algorithm, algorithm, row, case)


@every_algorithm
@EXAMPLES
@given(data=st.data())
def test_expectation_is_the_sum_over_all_groups(row, data):
    algorithm = row.make(data.draw(strategies.betas()))
    case = some_case(data, algorithm, smallest=1e-12)
    laws.expectation_is_the_sum_over_all_groups(algorithm, algorithm, row, case)


@every_algorithm
@FEW_EXAMPLES
@given(data=st.data())
def test_many_arms_are_no_different(row, data):
    """50 arms where groups are single samples, 30 in pairs (900 groups), 8 in triples."""
    algorithm = row.make(data.draw(strategies.betas()))
    arms = {1: 50, 2: 30, 3: 8}[algorithm.k]
    case = some_case(data, algorithm, (arms, arms), smallest=1e-12)
    laws.expectation_is_the_sum_over_all_groups(algorithm, algorithm, row, case)


@of_rows(lambda row: row.has_loss and row.smooth)
@EXAMPLES
@given(data=st.data())
def test_expectation_descends_the_loss(row, data):
    algorithm = row.make(data.draw(strategies.betas(0.05, 20)))
    laws.expectation_descends_the_loss(algorithm, algorithm, row, some_case(data, algorithm, smallest=1e-2))


@of_rows(lambda row: row.has_loss)
@TORCH_EXAMPLES
@given(data=st.data())
def test_coefficients_differentiate_the_loss(row, data):
    algorithm = row.make(data.draw(strategies.betas()))
    value = data.draw(st.floats(-2, 2)) if row.reads("value") else None
    laws.coefficients_differentiate_the_loss(
        algorithm, algorithm, row, some_case(data, algorithm, value=value)
    )


@every_algorithm
@TORCH_EXAMPLES
@given(data=st.data())
def test_torch_trains_as_numpy_expects(row, data):
    algorithm = row.make(data.draw(strategies.betas()))
    laws.torch_trains_as_numpy_expects(algorithm, algorithm, row, some_case(data, algorithm))


@of_rows(lambda row: row.climbs)
@TORCH_EXAMPLES
@given(data=st.data())
def test_on_policy_it_climbs(row, data):
    algorithm = row.make(data.draw(strategies.betas()))
    laws.on_policy_it_climbs(algorithm, algorithm, row, some_case(data, algorithm))


@of_rows(lambda row: row.target)
@EXAMPLES
@given(data=st.data())
def test_it_rests_where_theory_says(row, data):
    algorithm = row.make(data.draw(strategies.betas(0.3, 30)))
    case = some_case(data, algorithm, smallest=1e-2, connected=True)
    laws.it_rests_where_theory_says(algorithm, algorithm, row, case)


# ---- every algorithm has its rows --------------------------------------------------------------------------


@pytest.mark.parametrize("cls", b.ALGORITHMS, ids=lambda cls: cls.__name__)
def test_every_algorithm_has_a_row_under_its_own_name(cls):
    """At its defaults; and every row that names a class makes that class."""
    assert type(ROWS[cls.__name__].make(0.7)) is cls
    others = [name for name in ROWS if name.partition("(")[0] == cls.__name__]
    assert {type(ROWS[name].make(0.7)) for name in others} == {cls}


def test_every_public_class_with_an_update_is_one_of_the_algorithms():
    public = [getattr(b, name) for name in b.__all__]
    assert {each for each in public if isinstance(each, type) and hasattr(each, "update")} == set(
        b.ALGORITHMS
    )


def test_a_module_without_rows_is_named(monkeypatch):
    every_row.cache_clear()
    monkeypatch.setattr(importlib.import_module("test_copg"), "ROWS", {})
    with pytest.raises(LookupError, match=r"algorithms/copg.py has no ROWS in tests/test_copg.py"):
        every_row()
    every_row.cache_clear()


# ---- what every algorithm keeps ---------------------------------------------------------------------------


@every_algorithm
def test_batch_axes_do_not_mix(row):
    """A batch of groups in any shape gives each group what it gets alone."""
    algorithm = row.make(0.7)
    case = one_case(algorithm)
    _, _, samples = enumeration.stacked(algorithm, case)
    together = algorithm.update(samples).log_prob
    alone = [algorithm.update(s).log_prob for _, _, s in enumeration.groups(algorithm, case)]
    assert_allclose(together, np.stack(alone), rtol=0, atol=1e-14)


@every_algorithm
def test_samples_are_not_written_to(row):
    """Read-only arrays pass through every algorithm: nothing is computed in place."""
    algorithm = row.make(0.7)
    _, _, samples = enumeration.stacked(algorithm, one_case(algorithm))
    for each in (samples, samples.population):
        for field in fields(each):
            if isinstance(getattr(each, field.name), np.ndarray):
                getattr(each, field.name).flags.writeable = False
    algorithm.update(samples)
    if hasattr(algorithm, "loss"):
        algorithm.loss(samples)


@every_algorithm
def test_hyper_parameters_are_frozen(row):
    algorithm = row.make(0.7)
    with pytest.raises(AttributeError):
        algorithm.beta = 1.0
    with pytest.raises(AttributeError):
        algorithm.k = 7


@every_algorithm
def test_equal_hyper_parameters_make_equal_algorithms(row):
    """And others others, where there is a number to choose: best-of-n has whole ones alone."""
    algorithm = row.make(0.7)
    assert algorithm == row.make(0.7)
    assert (algorithm != row.make(0.8)) == has_a_number(algorithm)


def has_a_number(algorithm) -> bool:
    """Among its hyper-parameters, or those of the algorithm that it is built around."""
    values = [getattr(algorithm, each.name) for each in fields(algorithm)]
    return any(isinstance(x, float) or (hasattr(x, "update") and has_a_number(x)) for x in values)


@every_algorithm
def test_expected_update_keeps_the_mean_logit(row):
    """sum_y E[sum_i c_i (1{y_i = y} - pi(y))] = 0: softmax does not see a common shift of the logits."""
    algorithm = row.make(0.7)
    case = one_case(algorithm)
    assert_allclose(update_of(algorithm, case).sum(), 0, atol=1e-14)


@every_algorithm
def test_contrastive_coefficients_sum_to_zero_and_no_others_do(row):
    """What one answer gains the others lose, so that log Z of the policy never matters."""
    algorithm = row.make(0.7)
    _, _, samples = enumeration.stacked(algorithm, one_case(algorithm))
    sums = np.abs(algorithm.update(samples).log_prob.sum(-1)).max()
    if getattr(algorithm, "contrastive", False) or row.zero_sum:
        assert sums < 1e-13
    else:
        assert sums > 1e-2


@of_rows(lambda row: getattr(row.make(1.0), "contrastive", False))
def test_contrastive_coefficients_see_only_differences_of_log_probabilities(row):
    """The other half of the word: the normaliser of the policy may be left out."""
    algorithm = row.make(0.7)
    _, _, samples = enumeration.stacked(algorithm, one_case(algorithm))
    shifted = replace(samples, log_prob=samples.log_prob + 3.0)
    found, shift_free = (algorithm.update(s).log_prob for s in (samples, shifted))
    assert_allclose(found, shift_free, rtol=0, atol=1e-13)


@of_rows(lambda row: row.reads("reward"))
def test_a_constant_reward_offset_changes_nothing_where_the_row_says_so(row):
    algorithm = row.make(0.7)
    case = one_case(algorithm)
    world = case.bandit
    shifted = b.Bandit(
        world.reward + 5.0,
        preference=world.preference,
        reference=world.reference,
        length=world.length,
        desirable=world.desirable,
    )
    moved = update_of(algorithm, replace(case, bandit=shifted))
    if row.sees_offset:
        assert np.abs(moved - update_of(algorithm, case)).max() > 1e-2
    else:
        assert_allclose(moved, update_of(algorithm, case), rtol=0, atol=1e-13)


@every_algorithm
def test_a_missing_field_is_named(row):
    algorithm = row.make(0.7)
    bare = b.Samples(log_prob=np.log(np.full(algorithm.k, 0.5)))
    with pytest.raises(ValueError, match=r"samples\.\w+ is None, but this algorithm needs it"):
        algorithm.update(bare)


def one_case(algorithm) -> Case:
    """Three arms, nothing symmetric."""
    on_policy = getattr(algorithm, "needs_on_policy", False)
    return Case(
        bandit=worlds.MIXED,
        sampling=b.OnPolicy() if on_policy else b.Offline(worlds.BEHAVIOR),
        policy=worlds.POLICY,
        revision=worlds.REVISION if "revision_log_prob" in reads(algorithm) else None,
    )


def test_the_finite_difference_is_exact_to_nine_digits():
    """On a function with a known gradient: log-sum-exp, whose gradient is softmax."""
    point = np.array([0.3, -1.2, 0.8])
    found = gradient(lambda x: -log_softmax(x)[0] + x[0], point)
    assert_allclose(found, softmax(point), rtol=0, atol=1e-10)
