"""And where the velocity jumps?  A motion that both sides push onto the jump slides along it (Filippov).

Let the velocity f of dx/dt = f(x) jump across surfaces, by D_k across surface k with normal n_k:

    dx/dt = f_ + sum_k a_k D_k,     0 <= a_k <= 1,     n_j . dx/dt = 0 for every j

f_ being the velocity on the minus side of all of them.  The shares a are one linear system; where one leaves
[0, 1] the motion leaves that surface on that side.  A clip (PPO, GRPO) and a hinge are such jumps.

A jump is all that is seen of a surface, so it is measured: its place on a line by bisection, its normal by
the places on shifted lines.  Which side a point is on is read off the velocity there, by the dual basis of
the jumps.  A surface that turns out to be a level of a known quantity is measured only once.

Source: Filippov 1988, "Differential Equations with Discontinuous Righthand Sides", Section 4.
Axes: x (n,); fields move points (..., n) together.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.integrate import LSODA

from bandits.checks import Floats
from bandits.solvers.levels import Level, Quantities, foot, level_at

Field = Callable[[Floats], Floats]  # (..., n) to the same shape
Path = Callable[[float], Floats]  # a time to a point (n,)

NEARBY, REACH = 1e-3, 0.05  # a surface is looked for so far from where it was met, in logits
PARTS, ROUNDS = 16, 11  # into which the reach is parted, so many times: 1e-15 of a logit
HALVINGS = 50
BESIDE = 1e-9  # so far from a surface a point is clearly on one side
TURN = 1e-4  # shift of the lines whose meeting points give the normal
CREEP, CREEP_ALONG = 1e-7, 5e-6  # a step that moves no logit by more creeps, free or along a surface
CREPT = 40  # so many steps in a row that creep: there may be a jump
RESTARTS = 50  # turns in a row without progress
ALONG = 1e-7  # local error along a surface, whose normal is known to 1e-10
STEEP = 1e4  # slope of the velocity, relative to its size, above which a change is called a jump
HALVED, LEAP = 1e-9, 0.01  # within this part of a step, shares that change by more have jumped
FADED = 0.1  # of the jump that was met: what is less is no longer a surface
SUDDEN = 100.0  # and relative to the slopes around: near rest a smooth velocity is small, not its slope


@dataclass(frozen=True, eq=False)
class Surfaces:
    """The surfaces that a motion slides along: velocity on the minus side of all, and the jumps, (c, n)."""

    field: Field
    below: Floats  # (n,)
    jumps: Floats  # (c, n)
    quantities: Quantities | None = None
    levels: tuple[Level, ...] = ()  # of each surface, or of none

    def along(self, x: Floats) -> Floats:
        """Velocity along the surfaces at points (..., n)."""
        flat = x.reshape(-1, x.shape[-1])
        return np.stack([self.velocity(point)[0] for point in flat]).reshape(x.shape)

    def beside(self, x: Floats) -> Floats:
        """Velocity on the minus side of all surfaces near points (..., n)."""
        flat = x.reshape(-1, x.shape[-1])
        return np.stack([self.corners(point)[1][0] for point in flat]).reshape(x.shape)

    def velocity(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """Velocity along the surfaces near x, the shares a, (c,), and the point of the surfaces next to x.

        NaN where there is no surface within reach.
        """
        _, values, normals, at = self.corners(x)
        below, *above = values
        jumps = np.stack(above) - below
        there = np.isfinite(at).all() and (np.diag(jumps @ np.linalg.pinv(self.jumps)) > FADED).all()
        shares = (
            np.linalg.lstsq(normals @ jumps.T, -normals @ below)[0] if there else np.full(len(jumps), np.nan)
        )
        return below + shares @ jumps, shares, at

    def known(self, x: Floats) -> Surfaces:
        """The same with the levels that they are, if every one is a level; x is near them all."""
        if self.quantities is None:
            return self
        at = self.corners(x)[3]
        for _ in range(2):  # each errs by the square of the distance
            if not np.isfinite(at).all():
                return self
            at = self.corners(at)[3]
        levels = [level_at(self.quantities, at, normal) for normal in self._foot(at)[1]]
        return self if None in levels else replace(self, levels=tuple(filter(None, levels)))

    def off(self, x: Floats, k: int, above: bool) -> Floats:
        """The direction that leads away from surface k alone, (n,), to its plus or minus side."""
        away = np.asarray(np.linalg.pinv(self._foot(x)[1])[:, k], dtype=float)
        return away if above else -away

    def left(self, k: int, above: bool) -> Surfaces:
        """Without surface k, on its plus or minus side."""
        below = self.below + self.jumps[k] if above else self.below
        levels = self.levels[:k] + self.levels[k + 1 :]
        return replace(self, below=below, jumps=np.delete(self.jumps, k, axis=0), levels=levels)

    def corners(self, x: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Places below all surfaces and above each, (1 + c, n), velocities there, normals, and the point."""
        at, normals = self._foot(x)
        if not (np.isfinite(at).all() and np.isfinite(normals).all()):
            here = np.broadcast_to(x, (1 + len(self.jumps), len(x)))
            return here, self.field(here), normals, np.full_like(x, np.nan)
        away = np.linalg.pinv(normals)  # (n, c)  along column k the distance to surface k alone grows
        places = at - BESIDE * away.sum(axis=1) + np.vstack([0 * x, 2 * BESIDE * away.T])
        return places, self.field(places), normals, at

    def _gap(self, x: Floats) -> Floats:
        """Distance of points (..., n) beyond each surface, against its jump, (..., c); NaN: none near."""
        near = self._gap_within(x, NEARBY)
        if np.isfinite(near).all():
            return near
        return np.where(np.isfinite(near), near, self._gap_within(x, REACH))

    def _gap_within(self, x: Floats, reach: float) -> Floats:
        """The same; another surface may be crossed beyond the reach, or lie between here and `below`."""
        lines = self.jumps / np.linalg.norm(self.jumps, axis=1, keepdims=True)
        dual = np.linalg.pinv(self.jumps)  # (n, c)
        low, width = np.full((*x.shape[:-1], len(lines)), -reach), 2 * reach

        def height(t: Floats) -> Floats:  # in jumps of the surface; the plus side lies against the jump
            values = self.field(x[..., None, :] - t[..., None] * lines)
            return np.einsum("...kn,nk->...k", values, dual)

        first, last = height(np.stack([low, low + width]))
        places = np.arange(1, PARTS).reshape(-1, *[1] * low.ndim) / PARTS
        for _ in range(ROUNDS):
            plus = height(low + width * places) > (first + last) / 2
            low, width = low + width / PARTS * (~plus).sum(axis=0), width / PARTS
        return np.where(last - first > 0.5, -low - width / 2, np.nan)

    def _foot(self, x: Floats) -> tuple[Floats, Floats]:
        """The point of the surfaces next to x, (n,), and their normals, (c, n); NaN: there is none."""
        if self.levels and self.quantities is not None:
            return foot(self.quantities, self.levels, x)
        shifts = TURN * np.eye(len(x))
        ahead, behind, here = np.split(
            self._gap(np.vstack([x + shifts, x - shifts, x])), [len(x), 2 * len(x)]
        )
        normals = (ahead - behind).T / (2 * TURN)
        if not (np.isfinite(here).all() and np.isfinite(normals).all()):
            return np.full_like(x, np.nan), normals
        return x - np.linalg.pinv(normals) @ here[0], normals


def jump_along(field: Field, x: Floats, direction: Floats) -> tuple[Floats, Floats] | None:
    """Velocities before and beyond the steepest jump on the line through x; None if it is smooth."""
    reach = np.geomspace(1e-13, 1e-5, 33)
    places = np.concatenate([-reach[::-1], [0.0], reach])
    line = direction / np.linalg.norm(direction)
    values = field(x + places[:, None] * line)
    rise = np.abs(np.diff(values, axis=0)).max(axis=-1)
    slope = rise / np.diff(places)
    steepest = int(np.argmax(np.where(rise > 1e-6 * np.abs(values).max(), slope, 0.0)))
    if slope[steepest] <= max(STEEP * np.abs(values).max(), SUDDEN * np.median(slope)):
        return None
    return values[steepest], values[steepest + 1]


class Leg(NamedTuple):
    """A piece of a path."""

    begin: float
    end: float
    at: Path
    x: Floats  # (n,)  where it ends
    field: Field  # that it follows
    surfaces: Surfaces | None  # what it slid along

    @property
    def speed(self) -> Floats:
        """Velocity at the end, (n,)."""
        return self.field(self.x)


def legs(
    field: Field, start: Floats, horizon: float, tolerance: float, quantities: Quantities | None = None
) -> Iterator[Leg]:
    """The path of dx/dt = field(x) from `start` (n,) at time 0 to the horizon, step by step of LSODA.

    It ends early where the solver fails, or where jumps hold it fast in a way that is not understood.

    Args:
        quantities: those on whose levels jumps may sit.
    """
    x, time, surfaces, restarts = start, 0.0, None, 0
    while time < horizon and restarts < RESTARTS:
        turn, begun = None, time
        for piece in _until_turn(field, x, surfaces, (time, horizon), tolerance, quantities):
            if isinstance(piece, Leg):
                x, time = piece.x, piece.end
                yield piece
            else:
                turn = piece
        if turn is None:
            return
        restarts = restarts + 1 if time - begun <= 1e-9 * time else 0
        x, surfaces = turn


class Turn(NamedTuple):
    """Where a path begins or ceases to slide along a surface."""

    x: Floats
    surfaces: Surfaces | None


def _staying(x: Floats, begin: float, end: float, velocity: Field, surfaces: Surfaces) -> Leg:
    """What stands still on its surfaces stays there."""
    return Leg(begin, end, lambda _: x, x, velocity, surfaces)


def _until_turn(
    field: Field,
    x: Floats,
    surfaces: Surfaces | None,
    span: tuple[float, float],
    tolerance: float,
    quantities: Quantities | None,
) -> Iterator[Leg | Turn]:
    """One run of the solver, free or along surfaces, and the turn that ends it, if it is not over."""
    velocity, creep, crept = field, CREEP, 0
    if surfaces is not None:
        velocity, creep, tolerance = surfaces.along, CREEP_ALONG, max(tolerance, ALONG)
    with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", UserWarning)  # LSODA's, which it reports; it tries points too far out
        solver = LSODA(lambda _, y: velocity(y), span[0], x, span[1], rtol=tolerance, atol=tolerance / 100)
        while solver.status == "running":
            old = solver.y
            solver.step()
            if solver.status == "failed" or solver.t == solver.t_old or not np.isfinite(solver.y).all():
                yield from [Turn(x, None)] * (surfaces is not None)  # it ends, or another crosses it here
                return
            path, end, turn = solver.dense_output(), solver.t, None
            if surfaces is not None:
                end, turn = _released(surfaces, path, solver.t_old, solver.t)
            x = path(end)
            crept = crept + 1 if np.abs(x - old).max() < creep else 0
            yield Leg(solver.t_old, end, path, x, velocity, surfaces)
            if crept == CREPT and turn is None:
                crept, turn = 0, _met(field, x, surfaces, quantities)
            last: Leg | Turn | None = turn
            if turn is None and surfaces is not None and not velocity(x).any():
                last = _staying(x, end, span[1], velocity, surfaces)
            if last is not None:
                yield last
                return


def _released(surfaces: Surfaces, path: Path, begin: float, end: float) -> tuple[float, Turn | None]:
    """When, on a piece of path, a share leaves [0, 1], and what is left then; the end if none does."""

    def inside(time: float) -> bool:
        shares = surfaces.velocity(path(time))[1]
        return bool(((shares >= 0) & (shares <= 1)).all())

    if inside(end):
        return end, None
    low, high = begin, end
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) else (low, middle)
    _, shares, at = surfaces.velocity(path(high))
    if not np.isfinite(shares).all():
        return high, Turn(path(high), None)
    k = int(np.argmax(np.abs(shares - 0.5)))
    above = bool(shares[k] > 0.5)
    left = surfaces.left(k, above) if len(surfaces.jumps) > 1 else None
    return high, _crossed(surfaces, path, begin, high) or Turn(at + BESIDE * surfaces.off(at, k, above), left)


def _crossed(surfaces: Surfaces, path: Path, begin: float, end: float) -> Turn | None:
    """The surfaces with one more, if it is a jump across this one that made a share leave [0, 1]."""
    before, after = (surfaces.velocity(path(time))[1] for time in (end - HALVED * (end - begin), end))
    if not (np.isfinite(after).all() and np.abs(after - before).max() > LEAP):
        return None
    turn = _met(surfaces.field, path(end), surfaces, surfaces.quantities)
    return turn if turn is not None and turn.surfaces is not surfaces else None


def _met(field: Field, x: Floats, on: Surfaces | None, quantities: Quantities | None) -> Turn | None:
    """The surfaces with one more, if a jump close by holds the motion; the same, if it was crossed there.

    A solver that has crossed a jump may keep to the steps that this took: it begins anew.
    """
    base = field if on is None else on.beside
    speed = field(x) if on is None else on.along(x)
    found = jump_along(base, x, speed) if np.abs(speed).max() > 0 else None
    if found is None:
        return None
    below, above = found
    jump = (above - below)[None]
    jumps = jump if on is None else np.vstack([on.jumps, jump])
    surfaces = Surfaces(field, below, jumps, quantities)
    _, shares, at = surfaces.velocity(x)
    held = np.isfinite(shares).all() and ((shares > 0) & (shares < 1)).all()
    return Turn(at, surfaces.known(x)) if held else Turn(x, on)
