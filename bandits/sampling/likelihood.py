"""How much more often does an arm win than strengths predict?  The gradient of the Bradley-Terry likelihood.

With S(y, y') how often two arms meet, p = P(y, y') and strengths x whose Bradley-Terry chances are
sigma(x - x'),

    gradient(y) = sum_y' S (p - sigma(x - x')) = sum_y' S (p sigma(x' - x) - (1 - p) sigma(x - x')).

It is what moves DPO, x = beta h  (T5.2).  The second
form keeps every digit even where sigma is 1 to sixteen of them.

Axes: arms last, leading axes are contexts and broadcast; rows of the A x A matrices a few at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import expit

from bandits.bandit import Bandit
from bandits.checks import Floats

ENTRIES = 2**16  # of an A x A matrix held at a time: they stay in the cache


def likelihood_gradient(
    meetings: Callable[[slice], Floats], shape: tuple[int, ...], bandit: Bandit, x: Floats, smoothing: float
) -> Floats:
    """Wins beyond those that strengths x predict, (..., A).

    Args:
        meetings: rows of S, slice -> (..., rows, A).
        shape: (..., A) of the law that S belongs to.
        x: (..., A).
        smoothing: share of the labels that are flipped.

    Example: two arms that always meet; the first wins 3 of 4, strengths say 1 of 2.
        >>> world = Bandit([np.log(3.0), 0.0])
        >>> likelihood_gradient(lambda rows: np.ones((2, 2))[rows], (2,), world, np.zeros(2), 0.0).round(12)
        array([ 0.25, -0.25])
    """
    result = np.empty(np.broadcast_shapes(shape, (*bandit.contexts, bandit.arms), x.shape))
    size = max(1, ENTRIES // int(np.prod(result.shape)))
    for rows in (slice(i, i + size) for i in range(0, bandit.arms, size)):
        p = bandit.preference_rows(rows)
        p = (1 - smoothing) * p + smoothing * (1 - p) if smoothing else p
        loses, beats = _chances(x, rows)
        result[..., rows] = np.vecdot(meetings(rows), p * loses - (1 - p) * beats)
    return result


def _chances(x: Floats, rows: slice) -> tuple[Floats, Floats]:
    """sigma(x' - x) and sigma(x - x'), (..., rows, A): one division a pair while exp(x) does not overflow."""
    middle = (x.max(axis=-1, keepdims=True) + x.min(axis=-1, keepdims=True)) / 2
    if np.abs(x - middle).max() > 300:
        lead = x[..., rows, None] - x[..., None, :]
        return expit(-lead), expit(lead)
    odds = np.exp(x - middle)
    share = 1 / (odds[..., rows, None] + odds[..., None, :])
    return share * odds[..., None, :], share * odds[..., rows, None]
