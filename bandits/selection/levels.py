"""How much of the reference lies below an arm, and how much beside it, at the same reward?

Whatever chooses among samples by their order sees a reward through the reference's distribution function

    F(y) = P_ref(reward <= r(y)),      F-(y) = P_ref(reward < r(y)),      F - F- = the mass of y's level,

and arms of one level share what their level gets in proportion to the reference: samples are exchangeable.

Axes: arms last; leading axes are contexts and broadcast.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.checks import Floats


class Levels(NamedTuple):
    """The reference in the order of the rewards, each (..., A)."""

    reference: Floats
    below: Floats  # F-, mass of the arms with less reward
    own: Floats  # mass of the arms with the same reward
    above: Floats  # 1 - F, which F near one would lose

    @property
    def share(self) -> Floats:
        """What an arm has of its level, (..., A); 0 where the reference has nothing."""
        return self.reference / np.where(self.own > 0, self.own, 1.0)

    @property
    def log_at_most(self) -> Floats:
        """log F, (..., A), to all digits at both ends; 0 where nothing is at or below."""
        F = self.below + self.own
        near_one = F > 0.5
        far = np.log(np.where(near_one | (F == 0), 1.0, F))
        return np.where(near_one, np.log1p(-np.where(near_one, self.above, 0.0)), far)


def levels(reward: ArrayLike, reference: ArrayLike) -> Levels:
    """F- and F - F- of each arm.

    Raises:
        ValueError: a reward is not finite, the reference is no distribution, or their shapes do not fit.
    """
    r, ref = checks.arms(reward, "reward"), checks.distribution(reference, "reference")
    checks.same_arms(r, ref, "reward", "reference")
    r, ref = np.broadcast_arrays(r, ref)
    order = np.argsort(r, axis=-1, kind="stable")
    sorted_reward, mass = np.take_along_axis(r, order, axis=-1), np.take_along_axis(ref, order, axis=-1)
    new = np.concatenate([np.ones_like(r[..., :1], bool), np.diff(sorted_reward, axis=-1) > 0], axis=-1)
    level = np.cumsum(new, axis=-1) - 1  # 0 for the lowest
    size = np.zeros(r.shape)
    rows = np.arange(int(np.prod(r.shape[:-1]))).reshape(*r.shape[:-1], 1)
    np.add.at(size.reshape(-1, r.shape[-1]), (rows, level), mass)
    below, above = _before(size), _before(size[..., ::-1])[..., ::-1]
    ranks = np.argsort(order, axis=-1, kind="stable")
    found = (
        np.take_along_axis(np.take_along_axis(x, level, axis=-1), ranks, axis=-1)
        for x in (below, size, above)
    )
    return Levels(ref, *found)


def _before(size: Floats) -> Floats:
    """The sum of what comes before each, (..., A): no difference of sums, which would lose digits."""
    return np.concatenate([np.zeros_like(size[..., :1]), np.cumsum(size, axis=-1)[..., :-1]], axis=-1)
