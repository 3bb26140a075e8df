"""Where does the motion end?  For algorithms without a closed form: follow the flow, then polish.

The expected update g moves the logits, d theta/dt = g(theta).  `follow` integrates this from the start with
a stiff solver until nothing moves, so that the answer is the attractor that *this* start reaches;
Newton's method on g then takes the residual to rounding level, and its Jacobian says whether the point
is stable.  Logits are free up to a constant, which both steps leave alone (the sum of g is zero).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp

from bandits.checks import Floats

Field = Callable[[Floats], Floats]  # logits (n,) to their velocity (n,)

HORIZON = 1e12  # in units of 1 / |g(start)|: flows that are still moving then are said not to arrive
STILL = 1e-9  # |g| / |g(start)| at which Newton takes over
TOLERANCE = 1e-13  # residual relative to the largest entry of the Jacobian
NEWTON_STEPS = 30


def follow(field: Field, start: Floats) -> Floats:
    """Logits where the flow from `start` has come to rest, or where it stands at the horizon, (n,)."""
    speed = np.abs(field(start)).max()
    if speed == 0:
        return start

    def still(_: float, logits: Floats) -> float:
        return float(np.abs(field(logits)).max() - STILL * speed)

    still.terminal = True  # type: ignore[attr-defined]
    run = solve_ivp(
        lambda _, logits: field(logits),
        (0.0, HORIZON / speed),
        start,
        method="LSODA",
        events=still,
        rtol=1e-8,
        atol=1e-10,
    )
    return run.y[:, -1]


def polish(field: Field, logits: Floats) -> tuple[Floats, float, int]:
    """Newton's method on the velocity from nearby logits: (logits, residual max|g|, steps)."""
    velocity = field(logits)
    for step in range(NEWTON_STEPS):
        residual = float(np.abs(velocity).max())
        slope = jacobian(field, logits)
        if residual <= TOLERANCE * np.abs(slope).max():
            return logits, residual, step
        move = np.linalg.lstsq(slope, -velocity, rcond=1e-14)[0]
        candidate = logits + move - move.mean()
        with np.errstate(all="ignore"):
            candidate_velocity = field(candidate)
        if not np.abs(candidate_velocity).max() < residual:
            return logits, residual, step
        logits, velocity = candidate, candidate_velocity
    return logits, float(np.abs(velocity).max()), NEWTON_STEPS


def jacobian(field: Field, logits: Floats) -> Floats:
    """d g / d theta by central differences, (n, n), [i, j] = d g_i / d theta_j."""
    step = 1e-6
    columns = []
    for j in range(len(logits)):
        shift = np.zeros_like(logits)
        shift[j] = step
        columns.append((field(logits + shift) - field(logits - shift)) / (2 * step))
    return np.stack(columns, axis=-1)


def is_stable(slope: Floats) -> bool:
    """Whether every eigenvalue of the Jacobian, beside the constant direction's zero, has a negative real part."""
    n = len(slope)
    if n == 1:
        return True
    basis = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, : n - 1]]))[0][
        :, 1:
    ]  # orthogonal to constants
    return bool(
        np.linalg.eigvals(basis.T @ slope @ basis).real.max() < 1e-9 * max(np.abs(slope).max(), 1e-300)
    )
