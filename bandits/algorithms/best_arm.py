"""Where does a group's policy gradient end on its own samples, when no KL holds it?  On the best arm.

The coefficients of a group sum to zero, and that of its best arm is never negative: only policies all of
whose arms are equally good rest, and only those of the best attract.  The mass of the others falls like 1/t.
If several arms are best and are treated alike, their steps go with their shares, d(theta_a - theta_b)/dt =
(pi_a - pi_b) s(t) with an s like 1/t, whose integral diverges: the most frequent takes everything  (T9.5).
"""

from __future__ import annotations

import numpy as np

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.solution import Solution

MESSAGE = "all mass gathers on the best arm"


def best_arm(bandit: Bandit, reward: Floats, log_start: Floats, *, alike: bool = True) -> Solution | None:
    """All mass on the best arm that the start knows, (..., A).

    None where nothing moves, and where arms that share mass beforehand decide: equal shares, or, unless they
    are treated `alike`, several best arms.

    Args:
        reward: what is climbed, (..., A).
        alike: equally good arms of the same probability get the same update.
    """
    alive, reward = np.broadcast_arrays(np.isfinite(log_start), reward)
    best = alive & (reward == np.where(alive, reward, -np.inf).max(axis=-1, keepdims=True))
    favourite = np.where(best, log_start, -np.inf)
    chosen = best & (favourite == favourite.max(axis=-1, keepdims=True))
    several = best.sum(axis=-1) > 1
    if (chosen.sum(axis=-1) > 1).any() or (several & (best == alive).all(axis=-1)).any():
        return None
    if several.any() and not alike:
        return None
    known = np.isfinite(bandit.log_reference)
    rivals = known & (reward >= np.where(best, reward, -np.inf).max(axis=-1, keepdims=True))
    return Solution(
        log_policy=np.where(chosen, 0.0, -np.inf),
        residual=np.zeros(best.shape[:-1])[()],
        stable=True,
        unique=bool((rivals.sum(axis=-1) == 1).all()),
        face=chosen,
        method="closed form (T9.5)",
        message=MESSAGE,
    )
