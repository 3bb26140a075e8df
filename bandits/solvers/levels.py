"""On which quantity does a jump of the velocity sit?  A clip watches log pi(y), a hinge how far y leads y'.

Where a jump is met, its place and its normal have to be measured.  If the normal is the gradient of a
quantity q(x) that updates look at, the surface is {q(x) = level}, and from then on known to every digit:

    log pi(y)     x_y - logsumexp(x),  gradient e_y - pi
    x_y - x_y'    gradient e_y - e_y'

Axes: x (n,); E quantities, values (E,) and gradients (E, n).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax

from bandits.checks import Floats

Quantities = Callable[[Floats], tuple[Floats, Floats]]  # x (n,) to values (E,) and gradients (E, n)
STEPS = 3  # of Newton's method, from 1e-3 away at most: each squares the distance
PARALLEL = 1e-10  # 1 - cosine of two normals that are one: a measured one errs by 1e-8


class Level(NamedTuple):
    """The surface {q(x) = value} of the quantity in this place; beyond it, q rises or falls."""

    quantity: int
    value: float
    side: float  # 1: q is larger on the plus side; -1: smaller


def log_probs_and_leads(offset: Floats) -> Quantities:
    """The quantities of policies softmax(x + offset), offset (n,): n log-probabilities, n (n-1)/2 leads."""
    one = np.eye(len(offset))
    first, second = np.triu_indices(len(offset), 1)
    leads = one[first] - one[second]

    def quantities(x: Floats) -> tuple[Floats, Floats]:
        log_policy = log_softmax(x + offset)
        return np.concatenate([log_policy, leads @ x]), np.vstack([one - np.exp(log_policy), leads])

    return quantities


def level_at(quantities: Quantities, at: Floats, normal: Floats) -> Level | None:
    """The level through a point (n,) of a surface with this normal (n,); None: of none of the quantities."""
    values, gradients = quantities(at)
    sizes = np.maximum(np.linalg.norm(gradients, axis=-1), np.finfo(float).tiny)
    cosine = gradients @ normal / (sizes * np.linalg.norm(normal))
    q = int(np.abs(cosine).argmax())
    found = Level(q, float(values[q]), float(np.sign(cosine[q])))
    return found if abs(cosine[q]) >= 1 - PARALLEL else None


def foot(quantities: Quantities, levels: tuple[Level, ...], x: Floats) -> tuple[Floats, Floats]:
    """The point of the surfaces next to x (n,), by Newton's method, and their unit normals there, (c, n)."""
    which, level, side = (np.array(each) for each in zip(*levels, strict=True))
    for _ in range(STEPS):
        values, gradients = quantities(x)
        x = x - np.linalg.pinv(gradients[which]) @ (values[which] - level)
    steep = side[:, None] * quantities(x)[1][which]
    return x, steep / np.linalg.norm(steep, axis=-1, keepdims=True)
