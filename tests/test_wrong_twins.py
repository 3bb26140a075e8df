"""Each common law rejects the wrong twins: a law that every mistake passes tests nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bandits.testing import enumeration, strategies, twins
from bandits.testing.laws import update_of
from coefficient_laws import (
    coefficients_differentiate_the_loss,
    coefficients_follow_the_formula,
    expectation_descends_the_loss,
    expectation_is_the_sum_over_all_groups,
    it_rests_where_theory_says,
    on_policy_it_climbs,
    single_precision,
    some_case,
    torch_trains_as_numpy_expects,
)
from rows import every_row

ROWS = every_row()
FEW = settings(max_examples=2)
FLIPPED, AVERAGED = twins.flipped_sign, twins.divided_by_k
SWAPPED, ELSEWHERE, ATTACHED = twins.swapped_kl, twins.wrong_reference, twins.dropped_detach
MISLABELLED, MIXED = twins.flipped_label, twins.swapped_mixture
REJECTED = {
    coefficients_follow_the_formula: (FLIPPED, AVERAGED, SWAPPED, ELSEWHERE, ATTACHED, MISLABELLED),
    expectation_is_the_sum_over_all_groups: (FLIPPED, AVERAGED, SWAPPED, MIXED, MISLABELLED),
    expectation_descends_the_loss: (FLIPPED, AVERAGED, ATTACHED),
    coefficients_differentiate_the_loss: (FLIPPED, AVERAGED, ATTACHED),
    torch_trains_as_numpy_expects: (FLIPPED, single_precision),
    on_policy_it_climbs: (FLIPPED, AVERAGED, SWAPPED, ELSEWHERE, ATTACHED, MIXED),
    it_rests_where_theory_says: (SWAPPED, ELSEWHERE, ATTACHED, MISLABELLED, MIXED),
}
NEEDS = {  # what a row must know for a law to speak of it
    expectation_descends_the_loss: lambda row: row.has_loss,
    coefficients_differentiate_the_loss: lambda row: row.has_loss,
    on_policy_it_climbs: lambda row: row.climbs,
    it_rests_where_theory_says: lambda row: row.target,
}


def speaks_of(law, row) -> bool:
    return law not in NEEDS or bool(NEEDS[law](row))


def can_be_told(twin, row) -> bool:
    """The mistake can be made, and the row does not say that nobody would see it."""
    return twin(row.make(0.7)) is not None and twin.__name__ not in row.blind


def every_twin(law):
    """A test of each twin that the law has to reject, for each row that it speaks of."""
    pairings = [
        pytest.param(twin, name, id=f"{twin.__name__}-{name}")
        for twin in REJECTED[law]
        for name, row in ROWS.items()
        if speaks_of(law, row) and can_be_told(twin, row)
    ]
    return lambda test: pytest.mark.parametrize(("twin", "name"), pairings)(FEW(given(data=st.data())(test)))


# One test a law: hypothesis nests its settings once for each case of a test, out of stack at a thousand.


@every_twin(coefficients_follow_the_formula)
def test_the_formula_rejects_the_wrong_twin(twin, name, data):
    rejected(coefficients_follow_the_formula, twin, name, data)


@every_twin(expectation_is_the_sum_over_all_groups)
def test_the_sum_over_all_groups_rejects_the_wrong_twin(twin, name, data):
    rejected(expectation_is_the_sum_over_all_groups, twin, name, data)


@every_twin(expectation_descends_the_loss)
def test_descent_of_the_loss_rejects_the_wrong_twin(twin, name, data):
    rejected(expectation_descends_the_loss, twin, name, data)


@every_twin(coefficients_differentiate_the_loss)
def test_autograd_of_the_loss_rejects_the_wrong_twin(twin, name, data):
    rejected(coefficients_differentiate_the_loss, twin, name, data)


@every_twin(torch_trains_as_numpy_expects)
def test_training_with_torch_rejects_the_wrong_twin(twin, name, data):
    rejected(torch_trains_as_numpy_expects, twin, name, data)


@every_twin(on_policy_it_climbs)
def test_the_climb_on_policy_rejects_the_wrong_twin(twin, name, data):
    rejected(on_policy_it_climbs, twin, name, data)


@every_twin(it_rests_where_theory_says)
def test_the_rest_of_theory_rejects_the_wrong_twin(twin, name, data):
    rejected(it_rests_where_theory_says, twin, name, data)


def rejected(law, twin, name, data):
    """The law raises on a case where the mistake can show."""
    row = ROWS[name]
    right = row.make(data.draw(strategies.betas(0.3, 3)))
    case = some_case(data, right, (3, 4), smallest=1e-2, listed=False)
    assume(np.abs(update_of(right, case)).max() > 1e-3)  # a clip may stop a whole case: 0 has no wrong sign
    assume(twin is not single_precision or rounding_shows(right, row, case))
    with pytest.raises(AssertionError):
        law(twin(right), right, row, case)


def rounding_shows(right, row, case) -> bool:
    """Whether float32 moves the expected update: round numbers stay, and the errors of a group may cancel."""
    weights, arms, samples = enumeration.stacked(right, case)
    c = np.asarray(right.update(samples).log_prob)
    errors = weights[:, None] * (c.astype(np.float32) - c)
    of_arm = np.bincount(np.ravel(arms), np.ravel(errors), minlength=case.bandit.arms)
    moved = of_arm - case.policy * of_arm.sum()
    return bool(np.abs(moved).max() > 1e-10 * row.size(right, case))


def test_what_a_row_is_blind_to_is_the_name_of_a_twin_with_a_reason():
    known = {*vars(twins), single_precision.__name__}
    for name, row in ROWS.items():
        assert all(twin in known and reason for twin, reason in row.blind.items()), name
