"""And what does not come to an isolated rest: does it creep to a halt, slide, circle, or run away?

One motion is followed with care (`bandits.solvers.sliding.legs`) and told by what it does:

    rests       to wait as long again would move no logit by more than STILL
    slides      the same, held between two velocities that both point at a jump: nothing is zero there
    circles     it comes back to where it was: the loop, and the time that it takes
    runs away   logits go on moving apart as log t, for ever
    unfinished  none of these within the steps allowed

Axes: x (n,); fields move points (..., n) together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bandits.checks import Floats
from bandits.solvers.levels import Quantities
from bandits.solvers.sliding import Field, Leg, legs

HORIZON = 1e11  # in units of 1 / |g(start)|
STILL = 1e-6  # t |g| below which a motion is at rest
QUIET, PATIENCE = 5e-11, 10.0  # what rests is followed until |g| is rounding, for so many times as long
LEGS = 4000  # steps of the solver
LOOK = 500  # steps between two looks for a loop
TOLERANCE = 1e-7  # local error of the solver, in logits
CLOSED = 1e-4  # a loop that ends so near to its beginning, relative to its width, is closed
SHRINKS = 1e-3  # a loop whose next round is narrower by more winds inwards
WIDE = 1e-3  # of a logit: narrower loops are noise
APART = 0.05  # logits that move by more while time doubles, and on and on, run away
STALLED = 0.99  # if so much of the time had passed LOOK steps ago, a jump holds it that is not understood
FAR = 600.0  # logits so far apart will not come together again
POINTS = 64  # of the loop that is handed over


class Ending(NamedTuple):
    """What a motion did, and where it stood then."""

    reason: str  # "rests", "slides", "circles", "runs away", "unfinished"
    x: Floats  # (n,)
    coordinates: NDArray[np.intp] | None = None  # those at the jump, or those that fall behind
    period: float | None = None
    cycle: Floats | None = None  # (points, n) one round
    inward: bool = False  # a loop that winds inwards: there is a rest point in the middle


def ending(
    field: Field, start: Floats, tolerance: float = TOLERANCE, quantities: Quantities | None = None
) -> Ending:
    """How the motion along `field` from `start` ends; jumps may sit on levels of the quantities."""
    speed = np.abs(field(start)).max(initial=0.0)
    if speed == 0:
        return Ending("rests", start)
    path: list[Leg] = []
    still = 0.0  # the last time at which it was not
    for leg in legs(field, start, HORIZON / speed, tolerance, quantities):
        path.append(leg)
        now = np.abs(leg.speed).max()
        if now * max(leg.end, 1 / speed) <= STILL:
            if leg.surfaces is not None:
                return _held(leg)
            if now <= QUIET or leg.end > PATIENCE * still:
                return Ending("rests", leg.x)
        else:
            still = leg.end
        if np.ptp(leg.x) > FAR:
            break
        if len(path) % LOOK == 0:
            loop = _loop(path)
            if loop is not None:
                return loop
            if len(path) >= LEGS:
                break
    return _apart(path) or Ending("unfinished", path[-1].x if path else start)


def _held(leg: Leg) -> Ending:
    """At rest between two velocities: the coordinates whose velocity jumps most."""
    assert leg.surfaces is not None
    places, values, *_ = leg.surfaces.corners(leg.x)
    beside = np.abs(values).max(axis=-1)
    if beside.min() <= STILL * beside.max():  # on one side nothing moves: it slid until it could rest
        return Ending("rests", places[beside.argmin()])
    size = np.abs(leg.surfaces.jumps)
    return Ending("slides", leg.x, np.unique(size.argmax(axis=-1)))


def _loop(path: list[Leg]) -> Ending | None:
    """The last two rounds compared, if there are three, on the coordinate that moves most."""
    points = np.stack([leg.x for leg in path])
    late = points[len(points) // 2 :]
    late = late - late.mean(axis=1, keepdims=True)
    moved = np.ptp(late, axis=0)
    i = int(moved.argmax())
    level = late[:, i].max() / 2 + late[:, i].min() / 2
    times = _crossings(path, i, level)
    if len(times) < 4 or moved[i] < WIDE:
        return None
    rounds = [_round(path, begin, end) for begin, end in zip(times[-4:-1], times[-3:], strict=True)]
    widths = [np.ptp(each - each.mean(axis=1, keepdims=True), axis=0).max() for each in rounds]
    period, last = times[-1] - times[-2], rounds[-1] - rounds[-1].mean(axis=1, keepdims=True)
    open_by = np.abs(last[0] - last[-1]).max() / widths[-1]
    falls = -np.diff(widths) / np.array(widths[:-1])
    if (falls > SHRINKS / 100).all() and widths[-1] < 0.5 * moved[i]:
        return Ending("circles", path[-1].x, period=period, cycle=rounds[-1], inward=True)
    if open_by <= CLOSED or (len(path) >= LEGS and (falls <= SHRINKS).all()):
        return Ending("circles", path[-1].x, period=period, cycle=rounds[-1])
    return None


def _crossings(path: list[Leg], i: int, level: float) -> list[float]:
    """Times at which coordinate i, less the mean, rises through the level."""

    def height(x: Floats) -> float:
        return float(x[i] - x.mean() - level)

    heights = np.array([height(leg.x) for leg in path])
    times = []
    for k in np.flatnonzero((heights[:-1] < 0) & (heights[1:] >= 0)):
        leg = path[k + 1]
        low, high = leg.begin, leg.end
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if height(leg.at(middle)) < 0 else (low, middle)
        times.append(high)
    return times


def _round(path: list[Leg], begin: float, end: float) -> Floats:
    """Points on the path between two times, (POINTS, n)."""
    return _points(path, np.linspace(begin, end, POINTS))


def _points(path: list[Leg], times: Floats) -> Floats:
    """Points on the path at these times, also inside a leg, which may double the time, (times, n)."""
    ends = np.array([leg.end for leg in path])
    return np.stack([path[min(int(np.searchsorted(ends, t)), len(path) - 1)].at(t) for t in times])


def _apart(path: list[Leg]) -> Ending | None:
    """Whether the logits moved apart in the last two doublings of time, and which fall behind."""
    last = path[-1].end if path else 0.0
    if len(path) < 3 or (len(path) > LOOK and path[-LOOK].end > STALLED * last):
        return None
    now, half, quarter = (x - x.max() for x in _points(path, last / np.array([1, 2, 4])))
    behind = (now - half < -APART) & (half - quarter < -APART)
    return Ending("runs away", path[-1].x, np.flatnonzero(behind)) if behind.any() else None
