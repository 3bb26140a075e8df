"""The laws of a coefficient, as functions that raise AssertionError, and the cases that they are tried on.

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

from dataclasses import replace

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import softmax

import answer_key
import bandits as b
import strategies
import twins
from answer_key import Case
from bandits import expected_loss, expected_update
from rows import Row, reads


@st.composite
def cases(
    draw,
    algorithm,
    min_arms: int = 2,
    max_arms: int = 4,
    smallest: float = 1e-3,
    value: float | None = None,
    listed: bool = True,
) -> Case:
    """A world with rewards and unrelated preferences, a sampling rule that fits the algorithm, a policy.

    With two arms Nash-MD's opponent makes no difference, and a finite list of pairs may say "a > b" as
    often as "b > a", so that labels make none: no world to catch a mistake in.
    """
    world = draw(strategies.bandits_with_both(min_arms, max_arms, smallest=smallest))
    arms = world.arms
    rules = [strategies.offline(arms, 1), strategies.offline(arms, algorithm.k)]
    if algorithm.k == 2:
        rules += [strategies.joints(arms).map(b.Pairs)] + [strategies.datasets(arms)] * listed
    if getattr(algorithm, "needs_on_policy", False):
        rules = [st.just(b.OnPolicy())]
    revision = (
        draw(strategies.policies(arms, (arms,), smallest))
        if "revision_log_prob" in reads(algorithm)
        else None
    )
    return Case(
        bandit=world,
        sampling=draw(st.one_of(rules)),
        policy=draw(strategies.policies(arms, smallest=smallest)),
        value=value,
        revision=revision,
    )


def connected_case(data, algorithm) -> Case:
    """A case whose sampling graph is connected."""
    case = data.draw(cases(algorithm, smallest=1e-2))
    if isinstance(case.sampling, b.Dataset):
        case = replace(case, sampling=data.draw(strategies.connected_datasets(case.bandit.arms)))
    return case


# ---- the laws: `algorithm` is on trial, `right` is what it claims to be ------------------------------------


def coefficients_follow_the_formula(algorithm, right, row: Row, case: Case) -> None:
    """Tolerance: a coefficient is a difference of at most 2k terms R or h/beta, each rounded to 1e-16."""
    _, arms, samples = answer_key.stacked(right, case)
    by_formula = [row.formula(right, s) for _, _, s in answer_key.groups(right, case)]
    assert_close(algorithm.update(samples).log_prob, np.array(by_formula), 1e-12, _size(row, right, case))


def expectation_is_the_sum_over_all_groups(algorithm, right, row: Row, case: Case) -> None:
    """Tolerance: as the coefficients; the sum of probabilities times them adds no more."""
    by_hand = answer_key.expected_by_hand(row.formula, right, case)
    assert_close(update_of(algorithm, case), by_hand, 1e-12, _size(row, right, case))


def expectation_descends_the_loss(algorithm, right, row: Row, case: Case) -> None:
    """-d expected loss / d logits, extrapolated: truncation (4e-3)^4 / 100, cancellation 1e-16 / 4e-3."""
    if isinstance(case.sampling, b.OnPolicy):
        weights = answer_key.stacked(right, case)[0]  # the sampler stays where it is

        def loss(logits):
            moved = replace(case, policy=softmax(logits))
            return weights @ algorithm.loss(_with_log_prob(right, case, moved))
    else:

        def loss(logits):
            return _expected_loss(algorithm, replace(case, policy=softmax(logits)))

    slope = gradient(loss, np.log(case.policy))
    scale = abs(loss(np.log(case.policy))) + _size(row, right, case)
    assert_close(-slope, update_of(algorithm, case), 1e-9, scale)


def coefficients_differentiate_the_loss(algorithm, right, row: Row, case: Case) -> None:
    """Autograd of the loss of each group in log pi(y_i): exact up to rounding."""
    _, _, samples = answer_key.stacked(right, case)
    found = algorithm.update(samples).log_prob
    leaves = twins.to_torch(samples)
    leaves.log_prob.requires_grad_()
    (slope,) = torch.autograd.grad(algorithm.loss(leaves).sum(), leaves.log_prob)
    assert_close(found, -slope.numpy(), 1e-12, _size(row, right, case))


def torch_trains_as_numpy_expects(algorithm, right, row: Row, case: Case) -> None:
    """-d/dlogits of -sum c.detach() log pi over torch tensors: the same object, the same update."""
    weights, arms, samples = answer_key.stacked(right, case)
    logits = torch.tensor(np.log(case.policy), requires_grad=True)
    log_prob = torch.log_softmax(logits, 0)[torch.as_tensor(arms)]
    c = algorithm.update(replace(twins.to_torch(samples), log_prob=log_prob)).log_prob
    assert c.dtype == torch.float64
    surrogate = (torch.as_tensor(weights)[:, None] * c.detach() * log_prob).sum()
    (ascent,) = torch.autograd.grad(surrogate, logits)
    assert_close(ascent.numpy(), update_of(right, case), 1e-12, _size(row, right, case))


def on_policy_it_climbs(algorithm, right, row: Row, case: Case) -> None:
    """E[update] on the policy's own samples = scale * grad of the objective, by autograd in float64.

    The opponent of a preference objective is held fixed (that is what "self-play" differentiates).
    """
    case = replace(case, sampling=b.OnPolicy())
    scale, score = row.climbs(right, case)
    logits = torch.tensor(np.log(case.policy), requires_grad=True)
    log_pi = torch.log_softmax(logits, 0)
    h = log_pi - torch.as_tensor(np.log(case.bandit.reference))
    value = (log_pi.exp() * (torch.tensor(score) - right.beta * h)).sum()
    (gradient,) = torch.autograd.grad(value, logits)
    assert_close(update_of(algorithm, case), scale * gradient.numpy(), 1e-12, scale * _size(row, right, case))


def it_rests_where_theory_says(algorithm, right, row: Row, case: Case) -> None:
    """The expected update vanishes at the closed form, and nowhere near it."""
    case = replace(case, policy=row.target(right, case))
    size = _size(row, right, case)
    assert_close(update_of(algorithm, case), np.zeros(case.bandit.arms), 1e-11, size)
    away = replace(case, policy=softmax(np.log(case.policy) + np.linspace(0, 1, case.bandit.arms) ** 2))
    assert np.abs(update_of(algorithm, away)).max() > 1e-7


# ---- tools ------------------------------------------------------------------------------------------------


def assert_close(actual, desired, tolerance: float, scale: float) -> None:
    """|actual - desired| <= tolerance * scale, entry by entry."""
    assert_allclose(actual, desired, rtol=0, atol=tolerance * scale)


def _size(row: Row, right, case: Case) -> float:
    """What the coefficients of a group are made of, before their terms cancel."""
    return float(4 * right.k * row.size(right, case))


def _state(algorithm, case: Case) -> dict:
    return {"value": case.value, "revision_policy": case.revision}


def update_of(algorithm, case: Case):
    return expected_update(algorithm, case.bandit, case.sampling, case.policy, **_state(algorithm, case))


def _expected_loss(algorithm, case: Case) -> float:
    return float(expected_loss(algorithm, case.bandit, case.sampling, case.policy, **_state(algorithm, case)))


def _with_log_prob(algorithm, case: Case, moved: Case) -> b.Samples:
    """The groups of `case` seen with the policy of `moved`."""
    _, arms, samples = answer_key.stacked(algorithm, case)
    return replace(samples, log_prob=np.log(moved.policy)[arms])


def gradient(function, point, step: float = 4e-3):
    """Central differences at steps h and h/2, extrapolated: the error is of order h^4."""

    def central(h):
        shifts = h * np.eye(len(point))
        return np.array([(function(point + e) - function(point - e)) / (2 * h) for e in shifts])

    return (4 * central(step / 2) - central(step)) / 3
