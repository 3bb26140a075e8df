"""Where does imitation end whose weights are held between two bounds, or held by nothing?

    expected ascent on the logits    m w - pi S,    w = clip(x, low, high),   x = pi/n,   S = sum m w

The mass m is who sampled times a frozen advantage, the measure n what pi is compared with: ref for A-LoL
(T9.1), mu for CISPO (T13.10), 1 for GOLD; low = high is cloning.  w is detached.  With u = m/n,

    some m > 0             x / w(x) = u / S on the arms that live: `limit`.  Negative masses have died out if
                           low = 0 (w goes with x); with low > 0 none must be negative
    none, and low = 0      it gathers on one arm, on any of `lonely`  (T13.10)

Axes: arms last; `limit` and `miss` take contexts before them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bandits.checks import Floats
from bandits.policy import log_policy_of

Arms = NDArray[np.intp]
SAME = 1e-12  # relative distance below which two arms share u: rounding must not part them


class Gate(NamedTuple):
    """w = clip(pi/measure, low, high)."""

    measure: Floats  # (..., A)
    low: float
    high: float


def limit(mass: Floats, gate: Gate, log_start: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """log of the policy where each context ends, (..., A), and whether the start makes no difference, (...).

    A context where no mass is positive stays at its start.

    Example: u = (1, .9, .8, -.5), S = .9
        >>> gate = Gate(np.array([0.4, 0.3, 0.2, 0.1]), 0.0, 1.5)
        >>> policy, only = limit(np.array([0.4, 0.27, 0.16, -0.05]), gate, np.log([0.25] * 4))
        >>> np.exp(policy).round(6).tolist(), bool(only)
        ([0.666667, 0.333333, 0.0, 0.0], True)
    """
    shape = np.broadcast_shapes(mass.shape, gate.measure.shape, log_start.shape)
    rows = (np.broadcast_to(x, shape).reshape(-1, shape[-1]) for x in (mass, gate.measure, log_start))
    ends = [_end(m, n, start, gate.low, gate.high) for m, n, start in zip(*rows, strict=True)]
    policies = np.stack([log_policy for log_policy, _ in ends]).reshape(shape)
    return policies, np.reshape([only for _, only in ends], shape[:-1])


def lonely(mass: Floats, gate: Gate, alive: NDArray[np.bool_]) -> list[int]:
    """The arms that attract alone where no mass is positive and low = 0, one context  (T13.10).

    At the vertex y, S = u(y) min(1, high n(y)); another arm z, rare, grows as pi(z) (u(z) - S).
    """
    u = _ratio(mass, gate.measure)
    S = u * np.minimum(1.0, gate.high * gate.measure) if np.isfinite(gate.high) else u
    return [
        int(y)
        for y in np.flatnonzero(alive)
        if (np.delete(u, y)[np.delete(alive, y)] < S[y] - SAME * abs(S[y])).all()
    ]


def miss(log_policy: Floats, mass: Floats, gate: Gate) -> Floats:
    """How far a policy is from the conditions of such an end, (...).

    |m w - pi S| on the arms that live, and the speed at which one that has died would grow.
    """
    pi = np.exp(log_policy)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(gate.measure > 0, pi / gate.measure, 0.0)
    pull = np.where(mass == 0, 0.0, mass * np.clip(x, gate.low, gate.high))
    S = pull.sum(axis=-1, keepdims=True)
    regrowth = mass * gate.low if gate.low > 0 else _ratio(mass, gate.measure) - S
    return np.where(pi > 0, np.abs(pull - pi * S), np.maximum(regrowth, 0.0)).max(axis=-1)


def _ratio(mass: Floats, measure: Floats) -> Floats:
    """u, (..., A); zero where there is neither."""
    return mass / np.where(measure > 0, measure, 1.0)


def _end(mass: Floats, measure: Floats, log_start: Floats, low: float, high: float) -> tuple[Floats, bool]:
    """The same for one context, (A,): the root S of sum m w / S = 1."""
    gains = np.flatnonzero(mass > 0)
    if gains.size == 0:
        return log_policy_of(np.exp(log_start)), False
    u = mass[gains] / measure[gains]
    order = np.argsort(u)
    gains, u = gains[order], u[order]
    group: Arms = np.cumsum(np.diff(u, prepend=u[0]) > SAME * u)  # 0 for the smallest u, equal for equal u
    w, tied = _weights(mass[gains], u, group, low, high)
    policy = mass[gains] * w
    if tied.any():
        room = 1 - (policy[~tied] / u[tied][0]).sum()
        policy = np.where(tied, room * measure[gains] / measure[gains][tied].sum(), policy / u[tied][0])
    log_policy = np.full(mass.shape, -np.inf)
    log_policy[gains] = log_policy_of(policy)
    return log_policy, bool(tied.sum() <= 1)


def _weights(
    mass: Floats, u: Floats, group: Arms, low: float, high: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """w of each arm in rising order of u, (n,), and the arms with u = S, whose w is what room is left."""
    if low == high:
        return np.full(len(mass), high), np.zeros(len(mass), bool)
    size, value = np.bincount(group, mass), u[np.searchsorted(group, np.arange(group[-1] + 1))]
    before = np.concatenate([[0.0], np.cumsum(size)[:-1]])
    after = np.concatenate([np.cumsum(size[::-1])[::-1][1:], [0.0]])
    lowest = low * (before + size) + _times(high, after)  # S, if it is just beyond the jump
    highest = low * before + _times(high, after + size)  # S, if it is just before the jump
    passed = np.flatnonzero(lowest > value)  # jumps that the root lies beyond: the first few
    jump = 0 if passed.size == 0 else passed[-1] + 1
    at_jump = jump < len(value) and highest[jump] >= value[jump]
    tied = (group == jump) & at_jump
    return np.where((group >= jump) & ~tied, high, low), tied


def _times(weight: float, mass: Floats) -> Floats:
    """weight * mass, where infinity times nothing is nothing."""
    return np.where(mass > 0, weight * np.where(mass > 0, mass, 1.0), 0.0)
