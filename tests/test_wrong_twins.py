"""Each common law rejects the wrong twins: a law that every mistake passes tests nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import strategies
import twins
from coefficient_laws import (
    CLIMBING,
    RESTING,
    VARIANTS,
    WITH_LOSS,
    cases,
    coefficients_differentiate_the_loss,
    coefficients_follow_the_formula,
    expectation_descends_the_loss,
    expectation_is_the_sum_over_all_groups,
    it_rests_where_theory_says,
    on_policy_it_climbs,
    torch_trains_as_numpy_expects,
)

MOVING = [name for name in VARIANTS if name != "PPO"]  # its clip may stop a whole case: 0 has no wrong sign
DETACHED = [name for name in MOVING if name != "ALoL"]  # a clipped weight is constant, held fixed or not
WITH_REFERENCE = [name for name in MOVING if "clip" not in name or "inf" in name]
WEIGHTED = ("Importance", "PPO", "GRPO")  # large weights, wide tolerance
WITHOUT_WEIGHTS = [name for name in VARIANTS if not name.startswith(WEIGHTED)]
WITH_LABEL = ["IPO", "OnlineIPO", "DPO", "PsiPO", "NashMD", "SRPO"]
IN_GROUPS = [name for name in VARIANTS if VARIANTS[name](beta=1.0).k > 1]
REJECTED = [
    (coefficients_follow_the_formula, twins.flipped_sign, MOVING),
    (coefficients_follow_the_formula, twins.average_for_sum, IN_GROUPS),
    (coefficients_follow_the_formula, twins.swapped_kl, MOVING),
    (coefficients_follow_the_formula, twins.wrong_reference, WITH_REFERENCE),
    (coefficients_follow_the_formula, twins.dropped_detach, DETACHED),
    (coefficients_follow_the_formula, twins.flipped_label, WITH_LABEL),
    (expectation_is_the_sum_over_all_groups, twins.flipped_sign, MOVING),
    (expectation_is_the_sum_over_all_groups, twins.average_for_sum, IN_GROUPS),
    (expectation_is_the_sum_over_all_groups, twins.swapped_kl, MOVING),
    (expectation_is_the_sum_over_all_groups, twins.swapped_mixture, ["NashMD", "NashMD(0.3)"]),
    (expectation_is_the_sum_over_all_groups, twins.flipped_label, WITH_LABEL),
    (expectation_descends_the_loss, twins.flipped_sign, WITH_LOSS),
    (expectation_descends_the_loss, twins.average_for_sum, ["CoPG", "CoPG(k=3)", "IPO", "DPO", "SRPO"]),
    (expectation_descends_the_loss, twins.dropped_detach, WITH_LOSS),
    (coefficients_differentiate_the_loss, twins.flipped_sign, WITH_LOSS),
    (coefficients_differentiate_the_loss, twins.average_for_sum, ["CoPG", "CoPG(k=3)", "IPO", "DPO", "SRPO"]),
    (coefficients_differentiate_the_loss, twins.dropped_detach, WITH_LOSS),
    (torch_trains_as_numpy_expects, twins.flipped_sign, MOVING),
    (torch_trains_as_numpy_expects, twins.single_precision, WITHOUT_WEIGHTS),
    (on_policy_it_climbs, twins.flipped_sign, CLIMBING),
    (on_policy_it_climbs, twins.average_for_sum, [n for n in CLIMBING if n in IN_GROUPS]),
    (on_policy_it_climbs, twins.swapped_kl, CLIMBING),
    (on_policy_it_climbs, twins.wrong_reference, CLIMBING),
    (on_policy_it_climbs, twins.dropped_detach, CLIMBING),
    (on_policy_it_climbs, twins.swapped_mixture, ["NashMD", "NashMD(0.3)"]),
    (it_rests_where_theory_says, twins.swapped_kl, RESTING),
    (it_rests_where_theory_says, twins.wrong_reference, RESTING),
    (it_rests_where_theory_says, twins.dropped_detach, RESTING),
    (it_rests_where_theory_says, twins.flipped_label, [n for n in RESTING if n in WITH_LABEL]),
    (it_rests_where_theory_says, twins.swapped_mixture, ["NashMD", "NashMD(0.3)"]),
]
PAIRINGS = [
    pytest.param(law, twin, name, id=f"{law.__name__}-{twin.__name__}-{name}")
    for law, twin, names in REJECTED
    for name in names
]


@pytest.mark.parametrize(("law", "twin", "name"), PAIRINGS)
@settings(max_examples=2)
@given(data=st.data())
def test_the_law_rejects_the_wrong_twin(law, twin, name, data):
    right = VARIANTS[name](beta=data.draw(strategies.betas(0.3, 3)))
    case = data.draw(cases(right, min_arms=3, smallest=1e-2, listed=False))
    with pytest.raises(AssertionError):
        law(twin(right), right, case)
