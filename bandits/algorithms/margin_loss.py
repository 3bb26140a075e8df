"""What does it cost that the winner of a pair leads by z = beta dh?  Functions f of the margin.

                       f(z)               f'(-z) / f'(z)
    logistic           -log sigma(z)      e^z
    exponential        e^-z               e^(2z)
    savage             sigma(-z)^2        e^z         not convex
    squared            (1 - z)^2          not a power of e: its end depends on who sampled
    truncated_squared  max(0, 1 - z)^2    likewise
    hinge              max(0, 1 - z)      likewise, with jumps

Sources: Tang et al. 2024, "Generalized Preference Optimization", Table 1, arXiv:2402.05749; savage:
Masnadi-Shirazi & Vasconcelos 2008, "On the Design of Loss Functions for Classification", NeurIPS 21.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from bandits import checks, display
from bandits.samples import Array, fitting, log_sigmoid

TRIED = np.array([0.25, 0.5, 1.0, 2.0, 4.0])  # margins at which f'(-z) / f'(z) = e^(cz) is looked at
SAME = 1e-12  # relative difference of c that is rounding


@dataclass(frozen=True)
class MarginLoss:
    """What a pair costs whose winner leads by z: functions of arrays, NumPy's or torch's.

    Args:
        value: f, entry by entry.
        slope: f', entry by entry; negative at 0, where the winner is to gain.
        convex: f' never falls; then Newton's method finds the end, and there is no other.

    Example: a reader's own, softer than the exponential.
        >>> fourth = MarginLoss(lambda z: (1 - z) ** 4, lambda z: -4 * (1 - z) ** 3, convex=True)
        >>> float(fourth.slope(np.array(0.0)))
        -4.0
    """

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    convex: bool = False

    def __post_init__(self) -> None:
        for name in ("value", "slope"):
            checks.function(getattr(self, name), name, "z")
        object.__setattr__(self, "convex", checks.flag(self.convex, "convex"))

    def __repr__(self) -> str:
        return display.record(self)

    def coefficient(self, p: Array, z: Array) -> Array:
        """-d/dz of p f(z) + (1 - p) f(-z): how much the first of a pair gains that leads by z."""
        kept, flipped = (fitting(self.slope(lead), lead, "slope") for lead in (z, -z))
        return (1 - p) * flipped - p * kept

    def mean(self, p: Array, z: Array) -> Array:
        """p f(z) + (1 - p) f(-z): averaged over the label."""
        kept, flipped = (fitting(self.value(lead), lead, "value") for lead in (z, -z))
        return p * kept + (1 - p) * flipped


def _log_loss(z: Array) -> Array:
    return -log_sigmoid(z)


def _log_loss_slope(z: Array) -> Array:
    return -array_namespace(z).exp(log_sigmoid(-z))


def _square(z: Array) -> Array:
    return (1 - z) ** 2


def _square_slope(z: Array) -> Array:
    return -2 * (1 - z)


def _exponential(z: Array) -> Array:
    return array_namespace(z).exp(-z)


def _exponential_slope(z: Array) -> Array:
    return -array_namespace(z).exp(-z)


def _savage(z: Array) -> Array:
    return array_namespace(z).exp(2 * log_sigmoid(-z))


def _savage_slope(z: Array) -> Array:
    return -2 * array_namespace(z).exp(2 * log_sigmoid(-z) + log_sigmoid(z))


def _short_of_one(z: Array) -> Array:
    return array_namespace(z).where(z < 1, 1 - z, 0 * z)


def _truncated_square(z: Array) -> Array:
    return _short_of_one(z) ** 2


def _truncated_square_slope(z: Array) -> Array:
    return -2 * _short_of_one(z)


def _hinge_slope(z: Array) -> Array:
    xp = array_namespace(z)
    return xp.where(z < 1, -xp.ones_like(z), xp.zeros_like(z))


logistic = MarginLoss(_log_loss, _log_loss_slope, convex=True)
squared = MarginLoss(_square, _square_slope, convex=True)
exponential = MarginLoss(_exponential, _exponential_slope, convex=True)
savage = MarginLoss(_savage, _savage_slope)
truncated_squared = MarginLoss(_truncated_square, _truncated_square_slope, convex=True)
hinge = MarginLoss(_short_of_one, _hinge_slope, convex=True)


def reward_scale(f: MarginLoss) -> float | None:
    """c with f'(-z) / f'(z) = e^(cz) at a few margins, None if there is none: f finds r / c  (T12.16).

    Example:
        >>> reward_scale(logistic), reward_scale(savage), reward_scale(exponential), reward_scale(squared)
        (1.0, 1.0, 2.0, None)
    """
    with np.errstate(all="ignore"):
        kept, flipped = np.asarray(f.slope(TRIED)), np.asarray(f.slope(-TRIED))
        if not ((kept < 0).all() and (flipped < 0).all()):
            return None
        c = np.log(flipped / kept) / TRIED
    return float(c.mean().round(12)) if np.ptp(c) <= SAME * np.abs(c).max() else None
