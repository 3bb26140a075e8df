"""What is the law of the best and the worst of n samples?  The pairs of iterative DPO.

For r(a) > r(b), F and F- the reference's distribution function and what lies strictly below,

    P(best at a's level, worst at b's) = (F_a - F-_b)^n - (F-_a - F-_b)^n - (F_a - F_b)^n + (F-_a - F_b)^n

by inclusion and exclusion, times the arms' shares of their levels.  If all n samples are of one level, which
has probability (its mass)^n, best and worst are two of them by chance, or one and the same  (T9.2).

The four powers cancel; what is computed is the same number, sample by sample, as a sum of positive terms:
so far all samples lie between a and b; has one been at a, one at b, one at each?

Source: Dong et al. 2024, "RLHF Workflow", arXiv:2405.07863.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits import checks
from bandits.checks import Floats
from bandits.selection.levels import Levels, levels


def best_versus_worst(reward: ArrayLike, reference: ArrayLike, n: int, *, coincide: float = 0.0) -> Floats:
    """P(best of n = a, worst of n = b), (..., A, A) with [..., a, b]: a law for `Pairs`  (T9.2).

    Args:
        reward: (..., A); equal rewards share in proportion to the reference.
        reference: who is sampled, (..., A).
        n: samples to choose from, 2 or more.
        coincide: where all n have the same reward, the probability that best and worst are the same sample:
            0 if a pair are always two samples, 1/n if each is drawn by itself, 1 for argmax and argmin, which
            both take the first.

    Raises:
        ValueError: n is no integer >= 2, `coincide` is no probability, a reward is not finite, or the
            reference is no distribution.

    Example: two samples of three arms.
        >>> best_versus_worst([1.0, 0.5, 0.0], [0.2, 0.3, 0.5], n=2).round(12)
        array([[0.04, 0.12, 0.2 ],
               [0.  , 0.09, 0.3 ],
               [0.  , 0.  , 0.25]])
    """
    n, coincide = (
        checks.count(n, "n", least=2, most=checks.MOST_SAMPLES),
        checks.fraction(coincide, "coincide"),
    )
    order = levels(reward, reference)
    share, rewards = order.share, np.broadcast_to(np.asarray(reward, float), order.own.shape)
    higher = rewards[..., :, None] > rewards[..., None, :]
    level = rewards[..., :, None] == rewards[..., None, :]
    both = share[..., :, None] * share[..., None, :]
    alone = share[..., :, None] * np.eye(order.own.shape[-1])
    tied = order.own[..., :, None] ** n * ((1 - coincide) * both + coincide * alone)
    return np.where(higher, both * _spanning(order, higher, n), np.where(level, tied, 0.0))


def _spanning(order: Levels, higher: NDArray[np.bool_], n: int) -> Floats:
    """P(n samples reach from b's level to a's and no further), (..., A, A), where r(a) > r(b)."""
    top = np.where(higher, order.own[..., :, None], 0.0)
    low = np.where(higher, order.own[..., None, :], 0.0)
    below_a, at_most_b = order.below[..., :, None], (order.below + order.own)[..., None, :]
    inner = np.where(higher, np.maximum(below_a - at_most_b, 0.0), 0.0)
    neither = np.ones_like(inner)
    only_top = only_low = both = np.zeros_like(inner)
    for _ in range(n):
        both = (inner + top + low) * both + low * only_top + top * only_low
        only_top = (inner + top) * only_top + top * neither
        only_low = (inner + low) * only_low + low * neither
        neither = inner * neither
    return both
