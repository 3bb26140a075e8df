"""Where is a convex function of log-ratios least among those of policies?  sum_y ref(y) e^h(y) = 1.

    least Phi(h)  with  log sum ref e^h = 0:     grad Phi = -kappa pi,  pi = ref e^h

Losses of one answer move the logits along -(grad Phi - pi sum grad Phi), which is zero there and nowhere
else if the least h without the condition, h0, has sum ref e^h0 >= 1 (then kappa >= 0, and Phi may be
minimised over the convex set sum ref e^h <= 1), provided that grad Phi keeps order: grad Phi(h) >= grad
Phi(h0) only where h >= h0, as it does if Phi is a sum over the arms, or its Hessian has no positive entry
off the diagonal (T13.13).  Otherwise kappa < 0, the problem is not convex, and there may be several ends:
no answer is given.

h(kappa), the least Phi + kappa sum ref e^h, is found by Newton's method, and so is kappa.

Axes: one context; arms (A,).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from scipy.special import logsumexp

from bandits.checks import Floats

Gradient: TypeAlias = Callable[[Floats], Floats]  # (A,) to (A,)
Hessian: TypeAlias = Callable[[Floats], Floats]  # (A,) to (A, A)

STEPS = 200
SMALL = 1e-9  # a step so small is Newton's last but one: the next one is rounding
ROUNDING = 1e-12  # of log sum ref e^h


def least(gradient: Gradient, hessian: Hessian, log_reference: Floats) -> tuple[Floats, float] | None:
    """h and kappa >= 0 of the only end, (A,); None where sum ref e^h0 < 1.

    Example: Phi = sum ref (h - a)^2 / 2 with equal a: the policy stays at the reference.
        >>> reference = np.array([0.25, 0.75])
        >>> h, kappa = least(lambda h: reference * (h - 1.0), lambda h: np.diag(reference), np.log(reference))
        >>> h.round(12) + 0.0, round(kappa, 12)
        (array([0., 0.]), 1.0)
    """
    h, kappa, low, high = np.zeros_like(log_reference), 0.0, 0.0, np.inf
    for _ in range(STEPS):
        h = _descend(gradient, hessian, log_reference, kappa, h)
        excess = float(logsumexp(log_reference + h))
        if abs(excess) <= ROUNDING:
            break
        if excess < 0 and kappa == 0:
            return None
        low, high = (kappa, high) if excess > 0 else (low, kappa)
        mass = np.exp(log_reference + h)
        falls = mass @ np.linalg.solve(hessian(h) + kappa * np.diag(mass), mass) / mass.sum()
        kappa += excess / falls  # Newton's step, or halfway where it leaves the bracket
        if not low < kappa < high:
            kappa = (low + high) / 2 if high < np.inf else 2 * low + 1
    return h, float(kappa)


def _descend(gradient: Gradient, hessian: Hessian, log_reference: Floats, kappa: float, h: Floats) -> Floats:
    """The least of the convex Phi + kappa sum ref e^h, by Newton's method from h.

    A step is halved until the slope along it is not more than half of what it was, with the other sign.
    """
    for _ in range(STEPS):
        pull, slope = _pull(gradient, log_reference, kappa, h), hessian(h)
        slope = slope + kappa * np.diag(np.exp(log_reference + h))
        scale = 1 / np.sqrt(np.diag(slope))  # rare arms count like the others
        step = scale * np.linalg.solve(scale[:, None] * slope * scale, scale * pull)
        part, first = 1.0, float(pull @ step)
        with np.errstate(over="ignore", invalid="ignore"):  # a step too long is halved
            while not _pull(gradient, log_reference, kappa, h + part * step) @ step >= -first / 2:
                part /= 2
                if part < ROUNDING:
                    return h
        h = h + part * step
        if part == 1.0 and np.abs(step).max() <= SMALL * (1 + np.abs(h).max()):
            return h
    return h


def _pull(gradient: Gradient, log_reference: Floats, kappa: float, h: Floats) -> Floats:
    return -gradient(h) - kappa * np.exp(log_reference + h)
