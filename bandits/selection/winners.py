"""Which of two samples is kept if only preferences choose?  The law of the winner of a pair.

Imitating the winner of two answers of mu makes the policy 2 mu(y) p(y beats mu)  (T12.14): the best of two
where p says which reward is larger, and defined where there is no reward.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.checks import Floats


def winner_of_two(preference: ArrayLike, behavior: ArrayLike) -> Floats:
    """Probability that an arm wins the comparison of two samples of a policy, (..., A)  (T12.14).

    Args:
        preference: P, (..., A, A), P + P^T = 1.
        behavior: mu, (..., A).

    Raises:
        ValueError: P is no such matrix, or mu no distribution over its arms.

    Example:
        >>> winner_of_two([[0.5, 1.0], [0.0, 0.5]], [0.5, 0.5])
        array([0.75, 0.25])
    """
    P, mu = checks.arms(preference, "preference"), checks.distribution(behavior, "behavior")
    if P.ndim < 2 or P.shape[-1] != P.shape[-2]:
        raise ValueError(f"preference must have shape (..., A, A), but its shape is {P.shape}")
    both = P + np.swapaxes(P, -1, -2)
    checks.reject_first(
        np.abs(both - 1) > checks.SUM_TOLERANCE,
        both,
        "preference + its transpose",
        "1",
        "make p(i beats j) = 1 - p(j beats i)",
    )
    checks.same_arms(P[..., 0], mu, "preference", "behavior")
    return 2 * mu * (P @ mu[..., None])[..., 0]
