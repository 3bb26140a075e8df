"""Where is a motion in continuous time?  SciPy's Runge-Kutta of order 8, held at 1e-12, with a clear refusal.

A law of motion is a bare function `velocity(z)` of an array of any shape.  The invariants of the flows of
this wing then hold to 1e-10 along them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp

from bandits import checks
from bandits.checks import Floats
from bandits.solution import NotConverged, Solution
from bandits.solvers import paths

Velocity = Callable[[Floats], Floats]
TOLERANCE = 1e-12
MOST = 40_000  # velocities of one motion


def integrate(velocity: Velocity, start: ArrayLike, times: ArrayLike) -> Floats:
    """z at each time along dz/dt = velocity(z), from `start` at time 0, (times, ...).

    Raises:
        ValueError: times do not increase from 0 or later.
        NotConverged: the motion runs away, or is so stiff that 40 000 velocities are not enough.

    Example:
        >>> integrate(lambda z: -z, [1.0, 2.0], [0.0, np.log(2.0)]).round(9)
        array([[1. , 2. ],
               [0.5, 1. ]])
    """
    z, t = checks.floats(start, "start"), paths.increasing(times, "times")
    asked = count()

    def law(_: float, flat: Floats) -> Floats:
        if next(asked) > MOST:
            raise _unfinished(f"it was asked for {MOST} velocities and is not there; shorten the times")
        return velocity(flat.reshape(z.shape)).ravel()

    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what runs away is told below
            found = solve_ivp(
                law,
                (0.0, max(float(t[-1]), np.finfo(float).tiny)),
                z.ravel(),
                method="DOP853",
                t_eval=t,
                rtol=TOLERANCE,
                atol=TOLERANCE,
            )
    except np.linalg.LinAlgError as error:
        raise _unfinished(f"it met what cannot be solved ({error})") from error
    if not found.success or not np.isfinite(found.y).all():
        raise _unfinished(found.message)
    return found.y.T.reshape(len(t), *z.shape)


def _unfinished(why: str) -> NotConverged:
    unsolved = Solution(log_policy=None, residual=np.inf, method="DOP853")
    return NotConverged(f"the motion could not be followed to the last time: {why}", unsolved)
