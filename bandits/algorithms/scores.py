"""Which policy has the scores that a fit of comparisons found, where scores are no log-ratios?

DPO fits scores v to labels of pairs, and v = beta log pi/ref up to a constant, which the sum of pi fixes.
Where an algorithm scores otherwise, chi-PO beta (x + log x) with x = pi/ref, SimPO beta log pi / length,
each score still rises with log pi, from -inf to +inf, so that again one constant makes a policy of the
scores: policies, and scores up to a constant, are the same thing in two coordinates.  A loss that is convex
in the scores of pairs thus has one end on comparisons that connect all arms, and no other place to rest,
whatever it looks like in the logits (T13.15, T13.17).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.special import logsumexp

from bandits.checks import Floats
from bandits.solution import NoFixedPoint, Solution

HALVINGS = 200  # at most; until two neighbouring numbers are left
OfScores = Callable[[Floats], Floats]  # scores (..., A) to log pi, (..., A), rising with its own score


def rescored(fit: Callable[[], Solution | None], log_policy_of: OfScores) -> Solution | None:
    """A fit whose `log_ratio` are scores, as the policy that has them; None where it is not unique.

    Args:
        fit: of scores to comparisons; -inf where they fall without end.
        log_policy_of: log pi of every arm that has these scores, whatever they sum to.

    Raises:
        NoFixedPoint: as the fit; carries the policy of its limit.
    """
    try:
        found = fit()
    except NoFixedPoint as refusal:
        if refusal.solution.log_ratio is not None:
            refusal.solution = _with_policy(refusal.solution, log_policy_of)
        raise
    return _with_policy(found, log_policy_of) if found is not None and found.unique else None


def _with_policy(found: Solution, log_policy_of: OfScores) -> Solution:
    scores = found.log_ratio
    assert scores is not None  # a fit has them
    log_policy = log_policy_of(scores + constant(log_policy_of, scores))
    log_policy = log_policy - logsumexp(log_policy, axis=-1, keepdims=True)  # what the last digit of it left
    return replace(found, log_policy=log_policy, log_ratio=None, residual=np.nan)


def constant(log_policy_of: OfScores, scores: Floats) -> Floats:
    """What has to be added to scores (..., A) for their policy to sum to one, (..., 1), by bisection.

    Example:
        >>> constant(lambda scores: scores / 2, np.log([0.25, 0.25])).round(12) + 0.0  # sqrt(1/4) = 1/2
        array([0.])
    """

    def excess(shift: Floats) -> Floats:
        return logsumexp(log_policy_of(scores + shift), axis=-1, keepdims=True)

    low, high = -np.ones((*scores.shape[:-1], 1)), np.ones((*scores.shape[:-1], 1))
    while (excess(low) > 0).any():
        low *= 2
    while (excess(high) < 0).any():
        high *= 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if ((middle == low) | (middle == high)).all():
            break
        low, high = np.where(excess(middle) < 0, middle, low), np.where(excess(middle) < 0, high, middle)
    return high
