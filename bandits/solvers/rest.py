"""Where do motions end, many side by side?  Follow each flow until it is near its rest, then polish.

    journey    dx/dt = g(x) by a stiff one-step method, every problem with its own step, until time itself
               makes no difference: the answer is the attractor that *this* start leads to
    newton     the residual to rounding level
    rates      the certificate: the eigenvalues of -dg/dx there; an end attracts if none is negative

Rare arms: g(y) is of the order of the weight of y, the probability of being seen.  Newton's method and the
certificate work with u = g / weight, whose derivatives are all of one size: that is what keeps rates of
1e-14 beside rates of 1.  A flow that creeps past a saddle looks at rest there: it is followed further.

`journey` is Shampine & Reichelt's Rosenbrock pair ode23s ("The MATLAB ODE Suite", 1997, Section 3.1):
second order, L-stable, d = 1 / (2 + sqrt 2); its Jacobian serves a few steps.

Axes: m problems, n coordinates each, both last; shifted copies of all problems come before them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from bandits.checks import Floats

Field = Callable[[Floats], Floats]  # (..., m, n) to the same shape

TOLERANCE = 3e-4  # local error of a step of the journey, in logits
FRESH = 4  # steps that one Jacobian serves
STEPS = 400  # of the journey: what is under way after these does not come to rest soon
HORIZON = 1e25  # in units of 1 / |g(start)|
LONG = 1e6  # of an arm's own time: longer waits would only add up its rounding
STILL = 1e-3  # t |g| below which the journey is at rest: to wait as long again would move no logit by more
NEAR = 0.05  # logits between where the journey rests and the polished end: further off is another end
RESTARTS = 3  # journeys away from a saddle, each rests only where it is 1000 times stiller
NEWTON_STEPS = 50
ARRIVED = 1e-6  # largest last step of Newton, in logits, that is an arrival
SHIFT = 1e-6  # of a logit, for differences
RANK = 1e-9  # singular values below this, relative to the largest, are the noise of differences
NEUTRAL = 1e-7  # rates below this, relative to the arm's own, are the noise of differences
CROOKED = 0.01  # slopes ahead and behind that differ by more belong to a kink
ROUNDING = 1e-9  # of a logit: what starts so near to a rest point is at it


class Motion(Protocol):
    """Problems side by side."""

    def velocity(self, x: Floats) -> Floats:
        """g, (..., m, n)."""

    def relative(self, x: Floats) -> Floats:
        """u = g / weight, (..., m, n): what Newton's method takes to zero."""

    def rates(self, x: Floats, slope: Floats) -> Rates:
        """The rates at a rest point, from slope = du/dx there."""

    def some(self, rows: NDArray[np.intp]) -> Self:
        """These problems alone."""


class Rates(NamedTuple):
    """How fast one returns to a rest point, mode by mode."""

    rate: NDArray[Any]  # (m, modes)  eigenvalues of -dg/dx
    neutral: NDArray[np.bool_]  # (m,)  is there a direction in which nothing moves?

    @property
    def attracts(self) -> NDArray[np.bool_]:
        """Whether every direction leads back, (m,)."""
        return (self.rate.real > 0).all(axis=-1) & ~self.neutral

    @property
    def repels(self) -> NDArray[np.bool_]:
        """Whether some direction leads away, (m,): for neutral points beyond the noise of differences."""
        noise = NEUTRAL * np.abs(self.rate).max(axis=-1, initial=0.0, keepdims=True)
        leaves = self.rate.real < np.where(self.neutral[:, None], -noise, 0.0)
        return np.asarray(leaves.any(axis=-1))


class Rest(NamedTuple):
    """Where each motion ended."""

    x: Floats  # (m, n)
    slope: Floats  # (m, n, n)  du/dx there
    rested: NDArray[np.bool_]  # (m,)  is the flow there at rest?
    attracts: NDArray[np.bool_]  # (m,)  does the flow come back when pushed?
    repels: NDArray[np.bool_]  # (m,)  does it leave?  Neither: other rest points lie around
    steps: int  # of Newton, at most


def ends(motion: Motion, start: Floats) -> Rest:
    """Where the flows along g from `start`, (m, n), end; those not `rested` are left where they stood."""
    found = rest_at(motion, start)
    x = np.where(found.rested[:, None], found.x, start)
    rested, time, still, steps = found.rested.copy(), np.zeros(len(start)), STILL, found.steps
    longest = np.full(len(start), np.inf)
    pending = np.flatnonzero(~rested)
    for _ in range(RESTARTS):
        if pending.size:
            some = motion.some(pending)
            x[pending], time[pending], stopped = journey(
                some, x[pending], time[pending], still, longest[pending]
            )
            pending = pending[stopped]
        if not pending.size:
            break
        polished = rest_at(motion.some(pending), x[pending], NEAR)
        done = polished.rested & polished.attracts
        for whole, part in zip(found[1:5], polished[1:5], strict=True):
            whole[pending] = part
        x[pending[done]], rested[pending] = polished.x[done], done
        saddle = polished.rested & polished.repels
        if (again := pending[saddle]).size:  # a step longer than a saddle's own time leaps onto it
            x[again], time[again] = start[again], 0.0
            longest[again] = _own_time(motion.some(again), polished.x[saddle])
        pending, still, steps = pending[~done], still / 1000, max(steps, polished.steps)
    return Rest(x, found.slope, rested, found.attracts, found.repels, steps)


def rest_at(motion: Motion, x: Floats, within: float = ROUNDING) -> Rest:
    """The zeros of g that Newton's method finds near x, (m, n); `rested` if `within` so many logits."""
    polished, slope, steps, last = newton(motion, x, within)
    away = np.abs(polished - x).max(axis=-1, initial=0.0)
    rates = motion.rates(polished, slope)
    rested = (last <= min(ARRIVED, within)) & (away <= within) & ~_crooked(motion.relative, polished, slope)
    return Rest(polished, slope, rested, rates.attracts, rates.repels, steps)


def _own_time(motion: Motion, x: Floats) -> Floats:
    """In which what leaves the saddles x grows e times, (m,)."""
    growth = np.linalg.eigvals(jacobian(motion.velocity, x)).real.max(axis=-1, initial=0.0)
    return 1 / np.where(growth > 0, growth, 1 / HORIZON)


def journey(
    motion: Motion, start: Floats, time: Floats, still: float, longest: Floats
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Where the flows from `start` stop, when, and whether they rest there: t |g| is below `still`.

    Args:
        longest: time of a step, at most, (m,).
    """
    ends, time, rested, rows = start.copy(), time.copy(), np.zeros(len(start), bool), np.arange(len(start))
    x, speed = start, motion.velocity(start)
    fastest = np.abs(speed).max(axis=-1, initial=0.0)
    unit = 1 / np.where(fastest > 0, fastest, 1.0)
    h = np.minimum(0.01 * unit, longest)
    for count in range(STEPS):
        if count % FRESH == 0:
            slope = jacobian(motion.velocity, x, speed)
        candidate, fast, error = _step(motion.velocity, x, speed, slope, h)
        good = error <= TOLERANCE
        x, speed = np.where(good[:, None], candidate, x), np.where(good[:, None], fast, speed)
        ends[rows], time[rows] = x, time[rows] + np.where(good, h, 0.0)
        h = h * np.clip(0.8 * (TOLERANCE / np.maximum(error, 1e-300)) ** (1 / 3), 0.1, 10.0)
        h = np.minimum(h, longest[rows])
        own = np.abs(np.diagonal(slope, axis1=-2, axis2=-1))  # what is fast has long come to where it follows
        wait = np.minimum(np.maximum(time[rows], unit[rows])[:, None], LONG / np.maximum(own, 1 / HORIZON))
        rested[rows] = (np.abs(speed) * wait).max(axis=-1, initial=0.0) <= still
        rested[rows] |= h >= HORIZON * unit[rows]  # and where it does not rest, Newton's method will tell
        going = np.flatnonzero(~rested[rows])
        if not going.size:
            break
        if going.size < rows.size:
            motion, rows = motion.some(going), rows[going]
            x, speed, h, slope = x[going], speed[going], h[going], slope[going]
    return ends, time, rested


def _step(
    velocity: Field, x: Floats, speed: Floats, slope: Floats, h: Floats
) -> tuple[Floats, Floats, Floats]:
    """One step of ode23s of length h, (m,): the points, the velocities there, and the errors, (m,)."""
    H, d = h[:, None], 1 / (2 + np.sqrt(2))
    matrix = np.eye(x.shape[-1]) - d * h[:, None, None] * slope
    try:
        inverse = np.linalg.inv(matrix)
    except np.linalg.LinAlgError:  # h so long that the identity is lost in rounding
        inverse = np.linalg.pinv(matrix)
    with np.errstate(all="ignore"):  # a step too long is refused below
        k1 = np.matvec(inverse, speed)
        half = velocity(x + H / 2 * k1)
        k2 = np.matvec(inverse, half - k1) + k1
        candidate = x + H * k2
        fast = velocity(candidate)
        k3 = np.matvec(inverse, fast - (6 + np.sqrt(2)) * (k2 - half) - 2 * (k1 - speed))
        error = np.abs(H / 6 * (k1 - 2 * k2 + k3)).max(axis=-1)
    return candidate, fast, np.where(np.isfinite(fast).all(axis=-1) & np.isfinite(error), error, np.inf)


def newton(motion: Motion, start: Floats, within: float = np.inf) -> tuple[Floats, Floats, int, Floats]:
    """Newton's method on u, while it improves: points, du/dx there, steps, size of the last, (m,).

    Steps are of least norm, so that directions that change nothing (constants, arms that nothing connects)
    are left alone.  A point that would move by more than twice `within` is left where it is.
    """
    x, slope = start.copy(), jacobian(motion.relative, start)
    miss, last, rows = motion.relative(start), np.full(len(start), np.inf), np.arange(len(start))
    for step in range(NEWTON_STEPS):
        move = -np.matvec(np.linalg.pinv(slope[rows], rcond=RANK), miss[rows])
        size = np.abs(move).max(axis=-1, initial=0.0)
        with np.errstate(all="ignore"):
            missed = motion.some(rows).relative(x[rows] + move)
            better = np.abs(missed).max(axis=-1, initial=0.0) < np.abs(miss[rows]).max(axis=-1, initial=0.0)
        last[rows] = np.where(better, size, np.minimum(last[rows], size))
        better &= size <= 2 * within
        rows = rows[better]
        if not rows.size:
            return x, slope, step, last
        x[rows], miss[rows] = x[rows] + move[better], missed[better]
        slope[rows] = jacobian(motion.some(rows).relative, x[rows])
    return x, slope, NEWTON_STEPS, last


def jacobian(field: Field, x: Floats, value: Floats | None = None) -> Floats:
    """d field_i / d x_j of each problem, (m, n, n): central differences, or from a known value onwards."""
    shifts = SHIFT * np.eye(x.shape[-1])[:, None, :]
    ahead = field(x + shifts)
    behind, width = (field(x - shifts), 2 * SHIFT) if value is None else (value, SHIFT)
    return np.moveaxis((ahead - behind) / width, 0, -1)


def _crooked(field: Field, x: Floats, slope: Floats) -> NDArray[np.bool_]:
    """Whether the slope is another ahead than behind: a kink or a jump, where it certifies nothing, (m,)."""
    ahead = jacobian(field, x, field(x))
    return np.abs(ahead - slope).max(axis=(-2, -1)) > CROOKED * np.abs(slope).max(axis=(-2, -1))


def graded_rates(slope: Floats, weight: Floats) -> Rates:
    """Rates of arms whose motion has the Jacobian diag(weight) slope, constants left aside.

    On the basis e_j - e_0 of vectors of mean zero the Jacobian is J_ij - J_i0.  With arm 0 the heaviest, the
    others in falling order, and scaled by the roots of the weights it is graded like them: then its small
    eigenvalues keep their digits.
    """
    order = np.argsort(-weight, axis=-1, kind="stable")
    rows = np.take_along_axis(slope, order[:, :, None], axis=1)
    sorted_slope = np.take_along_axis(rows, order[:, None, :], axis=2)
    reduced = sorted_slope[:, 1:, 1:] - sorted_slope[:, 1:, :1]
    if not reduced.size:
        return Rates(np.empty((len(slope), 0)), np.zeros(len(slope), bool))
    sizes = np.linalg.svd(reduced, compute_uv=False)
    root = np.sqrt(np.take_along_axis(weight, order, axis=-1)[:, 1:])
    rate = -np.linalg.eigvals(root[:, :, None] * reduced * root[:, None, :])
    return Rates(rate, sizes[:, -1] <= NEUTRAL * sizes[:, 0])
