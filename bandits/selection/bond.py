"""Which reward has the best of n as its optimum?

As F^n - F-^n = (F - F-) sum_{j<n} F^{n-1-j} F-^j, the best of n is ref exp(score) at

    score = log sum_{j<n} F^{n-1-j} F-^j + const                                    (T13.18):

a KL-regularised problem with beta = 1, which any algorithm of this package solves on `Bandit(score)`.
Trainers take a power of one distribution function instead, beta = 1/(n - 1) on the log of

    F                       the inclusive form, as published: exact where arms have no mass
    (F + F-) / 2            the mid form: exact at n = 2

Axes: arms last; scores are defined up to a constant, and are 0 where the reference has nothing at or below.

Source: Sessa et al. 2024, "BOND: Aligning LLMs with Best-of-N Distillation", arXiv:2407.14622.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.checks import Floats
from bandits.selection.levels import levels


def bond(reward: ArrayLike, reference: ArrayLike, n: int) -> Floats:
    """log (1/n) sum_{j<n} F^{n-1-j} F-^j, (..., A): at beta = 1 its optimum is the best of n  (T13.18).

    Raises:
        ValueError: n is no integer >= 1, a reward is not finite, or the reference is no distribution.

    Example:
        >>> score = bond([1.0, 0.0], [0.5, 0.5], n=2)  # (1 + 1/2)/2 and (1/2 + 0)/2
        >>> np.exp(score).round(12)
        array([0.75, 0.25])
    """
    n, order = checks.count(n, "n"), levels(reward, reference)
    log_F = order.log_at_most
    gap = np.minimum(order.own * np.exp(-log_F), 1.0)  # 1 - F-/F
    with np.errstate(divide="ignore", invalid="ignore"):
        log_mean = np.log(-np.expm1(n * np.log1p(-gap)) / (n * gap))
    return (n - 1) * log_F + np.where(gap > 0, log_mean, 0.0)


def bond_mid(reward: ArrayLike, reference: ArrayLike, n: int) -> Floats:
    """(n - 1) log((F + F-)/2), (..., A): exact at n = 2, near the best of n beyond  (T13.18).

    Raises:
        ValueError: as `bond`.

    Example: ((1 + 1/2) / 2)^2 and ((1/2 + 0) / 2)^2 for the best of three.

        >>> np.exp(bond_mid([1.0, 0.0], [0.5, 0.5], n=3)).round(12)
        array([0.5625, 0.0625])
    """
    n, order = checks.count(n, "n"), levels(reward, reference)
    log_F = order.log_at_most
    return (n - 1) * (log_F + np.log1p(-np.minimum(order.own * np.exp(-log_F), 1.0) / 2))


def bond_inclusive(reward: ArrayLike, reference: ArrayLike, n: int) -> Floats:
    """(n - 1) log F, (..., A), the published form: exact only where no two samples ever tie  (T13.18).

    Raises:
        ValueError: as `bond`.

    Example: F = 1 and 1/2, squared for the best of three.

        >>> np.exp(bond_inclusive([1.0, 0.0], [0.5, 0.5], n=3)).round(12)
        array([1.  , 0.25])
    """
    return (checks.count(n, "n") - 1) * levels(reward, reference).log_at_most
