"""Which policy is nearest to a point, and where does a constant pull end?

    expected ascent on the logits    a - b pi,      a = mu (r - V),   b = sum a       (T13.7)

b > 0: minus the gradient of the convex b logsumexp(theta) - a theta.  Its velocity tends to the shortest
vector of {a - b pi}, so that pi tends to the Euclidean projection of a/b on the simplex; a/b sums to one, so
that arms with a <= 0, those that nobody samples among them, die out.  b <= 0: every end is one arm.

Axes: one context, arms (A,).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bandits.checks import Floats

SAME = 1e-12  # relative: pulls that are nearer are equal, and neither arm wins


def nearest_policy(point: Floats) -> Floats:
    """The policy nearest to a point, max(point - t, 0) with the level t that makes the sum one, (A,).

    Held, Wolfe & Crowder 1974 (Math. Program. 6): sort, and t follows from the largest entries.

    Example:
        >>> nearest_policy(np.array([0.8, 0.6, -0.4])).round(12).tolist()
        [0.6, 0.4, 0.0]
    """
    falling = np.sort(point)[::-1]
    levels = (np.cumsum(falling) - 1) / np.arange(1, len(falling) + 1)
    return np.maximum(point - levels[np.flatnonzero(falling > levels)[-1]], 0.0)


def lonely(pull: Floats, alive: NDArray[np.bool_]) -> list[int]:
    """The arms that attract alone where b = sum a <= 0: a(y) - b > a(z) for all others  (T13.7)."""
    a, b = pull[alive], min(pull.sum(), 0.0)
    size = SAME * np.abs(a).max(initial=0.0)
    return [int(y) for i, y in enumerate(np.flatnonzero(alive)) if (np.delete(a, i) < a[i] - b - size).all()]


def miss(policy: Floats, pull: Floats) -> float:
    """How far a policy is from the conditions of such an end.

    The logits of all arms that live rise alike, those of none that died faster.
    """
    velocity = pull - pull.sum() * policy
    top = velocity[policy > 0].max()
    short = np.where(policy > 0, np.abs(velocity - top), np.maximum(velocity - top, 0.0))
    return float(short.max())
