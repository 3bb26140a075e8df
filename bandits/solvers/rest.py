"""Where does the motion end?  For algorithms without a closed form: follow the flow, then polish.

The expected update g moves the logits, d theta/dt = g(theta).  `follow` integrates this from the start with
a stiff solver until time itself makes no difference (t |g| is small: to wait as long again would move
nothing), so that the answer is the attractor that *this* start reaches.  `polish` takes the residual to
rounding level by Newton's method.  A flow that creeps past a saddle looks at rest there: if the
polished point is unstable, the flow is followed further.

Rare arms: g(y) is of the order of the probability of y, so it is divided by this `weight` before Newton's
method sees it.  Logits are free up to a constant, and so are those of components that nothing connects:
steps are of least norm, which leaves them alone.

Axes: logits (n,) of the arms that take part.  A `Field` moves one point, a `Batch` of them (..., n) alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.integrate import Radau

from bandits.checks import Floats

Field = Callable[[Floats], Floats]  # logits (n,) to their velocity (n,)
Batch = Callable[[Floats], Floats]  # logits (..., n) to velocities, or to weights, (..., n)

HORIZON = 1e11  # in units of 1 / |g(start)|: flows that are still moving then are said not to arrive
STILL = 1e-6  # t |g| below which the flow is at rest
EVALUATIONS = 3000  # of the field after which one looks where the flow leads, circling as it may be
NEWTON_STEPS = 50
ARRIVED = 1e-6  # largest last step of Newton, in logits, that is an arrival
NEAR = 1e-3  # a flow within so many logits of the polished point has come to rest there
ELSEWHERE = 0.01  # a flow at rest is closer than this to its end, in probability
RESTARTS = 3  # times that the flow is followed away from a saddle
SHIFT = 1e-6  # of a logit, for differences
RANK = 1e-9  # singular values below this, relative to the largest, are the noise of differences


class Rest(NamedTuple):
    """Where the motion ended."""

    logits: Floats  # (n,)
    velocity: Floats  # (n,)  g there
    slope: Floats  # (n, n)  dg / d theta there
    stable: bool
    rested: bool  # did the flow itself come to rest, or was it still on its way?
    steps: int  # of Newton
    last_step: float  # largest change of a logit in the last of them: Newton's error is below it
    drift: float  # largest change of a logit if one waits as long again

    @property
    def residual(self) -> float:
        """Largest entry of the expected update."""
        return float(np.abs(self.velocity).max())


def rest(field: Batch, weight: Batch, start: Floats) -> Rest:
    """The end of the flow along `field` from `start`; `weight` is the size of each arm's terms in it."""
    logits, total, found = start, 0.0, None
    for _ in range(RESTARTS):
        logits, time, rested = journey(field, lambda x: batched_jacobian(field, x), logits)
        total += time
        polished, steps, last_step = polish(field, weight, logits)
        if rested and np.abs(weight(polished) - weight(logits)).max() > ELSEWHERE:  # Newton ran away
            polished, last_step = logits, np.inf
        velocity, slope = field(polished), batched_jacobian(field, polished)
        rested = rested or bool(np.abs(polished - logits).max() <= NEAR)
        drift = float(total * np.abs(velocity).max())
        found = Rest(polished, velocity, slope, is_stable(slope), rested, steps, last_step, drift)
        if found.stable or last_step > ARRIVED:
            break
    assert found is not None
    return found


def follow(field: Field, start: Floats) -> Floats:
    """The end of `journey`, (n,)."""
    return journey(field, lambda logits: jacobian(field, logits), start)[0]


def journey(field: Field, slope: Field, start: Floats) -> tuple[Floats, float, bool]:
    """Logits where the flow from `start` stops, (n,), the time it took, and whether it is on its way no more.

    It stops at rest, at the horizon, or, with more to come, when it has cost too much.
    """
    speed = np.abs(field(start)).max()
    if speed == 0:
        return start, 0.0, True
    solver = Radau(
        lambda _, logits: field(logits),
        0.0,
        start,
        HORIZON / speed,
        rtol=1e-5,
        atol=1e-7,
        jac=lambda _, logits: slope(logits),
    )
    while solver.nfev < EVALUATIONS:
        solver.step()
        if solver.status != "running" or np.abs(solver.f).max() * max(solver.t, 1 / speed) <= STILL:
            return solver.y, solver.t, solver.status != "failed"
    return solver.y, solver.t, False


def polish(field: Batch, weight: Batch, logits: Floats) -> tuple[Floats, int, float]:
    """Newton's method on g / weight from nearby logits: (logits, steps, size of the last step)."""

    def relative(x: Floats) -> Floats:
        return field(x) / np.maximum(weight(x), np.finfo(float).tiny)

    size, miss = np.inf, relative(logits)
    for step in range(NEWTON_STEPS):
        move = np.linalg.lstsq(batched_jacobian(relative, logits), -miss, rcond=RANK)[0]
        candidate = logits + move - move.mean()
        with np.errstate(all="ignore"):
            missed = relative(candidate)
        if not np.abs(missed).max() < np.abs(miss).max():
            return logits, step, min(size, float(np.abs(move).max()))
        size = float(np.abs(move).max())
        logits, miss = candidate, missed
    return logits, NEWTON_STEPS, size


def jacobian(field: Field, logits: Floats) -> Floats:
    """d g / d theta by central differences, (n, n), [i, j] = d g_i / d theta_j."""
    return batched_jacobian(lambda points: np.stack([field(point) for point in points]), logits)


def batched_jacobian(field: Batch, logits: Floats) -> Floats:
    """`jacobian` of a field that moves all shifted points together."""
    shifts = SHIFT * np.eye(len(logits))
    return (field(logits + shifts) - field(logits - shifts)).T / (2 * SHIFT)


def is_stable(slope: Floats) -> bool:
    """Whether no eigenvalue of the Jacobian has a positive real part, constants left aside."""
    n = len(slope)
    if n == 1:
        return True
    constant_first = np.column_stack([np.ones(n), np.eye(n)[:, : n - 1]])
    basis = np.linalg.qr(constant_first)[0][:, 1:]
    growth = np.linalg.eigvals(basis.T @ slope @ basis).real.max()
    return bool(growth < 1e-9 * max(np.abs(slope).max(), 1e-300))
