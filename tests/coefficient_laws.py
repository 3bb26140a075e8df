"""The laws of `bandits.testing`, told what a row knows, and those that need torch.

Four routes to one number:
    the formula           `Row.formula`, written from the papers, one group at a time
    enumeration           `expected_update`, against the same formula summed over all groups by hand
    finite difference     of `expected_loss` along the logits, the sampler held fixed
    autograd              the same algorithm object over torch tensors in float64: `loss` and `update`
and, where an algorithm has no loss, the gradient of the objective that it climbs on-policy.

In each law `algorithm` is on trial, `right` is what it claims to be, and `row` what is known of that:
`test_algorithms.py` puts every algorithm against itself, `test_wrong_twins.py` lets the wrong twins in.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import bandits as b
from bandits.testing import laws
from bandits.testing.cases import cases, every_field
from bandits.testing.enumeration import Case, stacked
from bandits.testing.laws import update_of
from bandits.testing.twins import Twin
from rows import Row


def some_case(data, algorithm, arms=(2, 4), smallest: float = 1e-3, **given) -> Case:
    """A random case with this many arms."""
    worlds = every_field(st.integers(*arms), smallest=smallest)
    return data.draw(cases(algorithm, worlds, smallest=smallest, **given))


# ---- the laws: `algorithm` is on trial, `right` is what it claims to be ------------------------------------


def coefficients_follow_the_formula(algorithm, right, row: Row, case: Case) -> None:
    laws.follows(algorithm, row.formula, case, right=right, size=_size(row, right, case))


def expectation_is_the_sum_over_all_groups(algorithm, right, row: Row, case: Case) -> None:
    size = _size(row, right, case)
    laws.is_its_expectation(algorithm, case, formula=row.formula, right=right, size=size)


def expectation_descends_the_loss(algorithm, right, row: Row, case: Case) -> None:
    laws.descends_its_loss(algorithm, case, right=right, size=_size(row, right, case))


def on_policy_it_climbs(algorithm, right, row: Row, case: Case) -> None:
    """The opponent of a preference objective is held fixed (that is what "self-play" differentiates)."""
    case = replace(case, sampling=b.OnPolicy())
    scale, score = row.climbs(right, case)
    beta, size = right.beta, _size(row, right, case)
    laws.is_unbiased(algorithm, case, scale=scale, score=lambda _: score, beta=beta, size=size)


def it_rests_where_theory_says(algorithm, right, row: Row, case: Case) -> None:
    case = replace(case, policy=row.target(right, case))
    laws.rests_at(algorithm, lambda c: c.policy, case, size=_size(row, right, case))


def coefficients_differentiate_the_loss(algorithm, right, row: Row, case: Case) -> None:
    """Autograd of the loss of each group in log pi(y_i): exact up to rounding."""
    _, _, samples = stacked(right, case)
    found = algorithm.update(samples).log_prob
    leaves = to_torch(samples)
    leaves.log_prob.requires_grad_()
    (slope,) = torch.autograd.grad(algorithm.loss(leaves).sum(), leaves.log_prob)
    assert_close(found, -slope.numpy(), 1e-12, _size(row, right, case))


def torch_trains_as_numpy_expects(algorithm, right, row: Row, case: Case) -> None:
    """-d/dlogits of -sum c.detach() log pi over torch tensors: the same object, the same update."""
    weights, arms, samples = stacked(right, case)
    logits = torch.tensor(np.log(case.policy), requires_grad=True)
    log_prob = torch.log_softmax(logits, 0)[torch.as_tensor(arms)]
    c = algorithm.update(replace(to_torch(samples), log_prob=log_prob)).log_prob
    assert c.dtype == torch.float64
    surrogate = (torch.as_tensor(weights)[:, None] * c.detach() * log_prob).sum()
    (ascent,) = torch.autograd.grad(surrogate, logits)
    assert_close(ascent.numpy(), update_of(right, case), 1e-12, _size(row, right, case))


# ---- tools ------------------------------------------------------------------------------------------------


def assert_close(actual, desired, tolerance: float, scale: float) -> None:
    """|actual - desired| <= tolerance * scale, entry by entry."""
    assert_allclose(actual, desired, rtol=0, atol=tolerance * scale)


def _size(row: Row, right, case: Case) -> float:
    """What the coefficients of a group are made of, before their terms cancel."""
    return float(4 * right.k * row.size(right, case))


def to_torch(samples: b.Samples) -> b.Samples:
    """The same samples as float64 tensors."""
    values = {field.name: getattr(samples, field.name) for field in fields(samples)}
    converted = {
        name: torch.as_tensor(np.array(value))
        for name, value in values.items()
        if value is not None and name != "population"
    }
    if samples.population is not None:
        converted["population"] = to_torch(samples.population)
    return b.Samples(**converted)


def single_precision(algorithm):
    """A wrong twin: computes in float32 on the way."""

    def rounded(_, __, u: b.Update) -> b.Update:
        narrow = u.log_prob.float().double() if torch.is_tensor(u.log_prob) else u.log_prob
        return replace(u, log_prob=narrow)

    return Twin(algorithm, change_update=rounded)
