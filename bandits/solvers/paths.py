"""Where is a motion after each step, or at each time?

A law of motion is a bare function of a policy in log space, bound to its world when it is made
(`bandits.dynamics.flow`, `bandits.dynamics.games`):

    step(log_policy) -> log_policy        one iteration      iterate(steps, start)
    velocity(log_policy) -> logits        d logits / dt      integrate(velocity, start, times)

What follows it knows nothing of worlds or algorithms.  Time is continuous for a stiff solver (LSODA) whose
local error is held at 1e-10 of the logits; `integration_error` measures what that adds up to.

Axes: arms last, any leading axes (contexts) move together; times or steps come first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits import checks
from bandits.checks import Floats
from bandits.policy import log_policy_of, normalised
from bandits.solution import NotConverged, Solution
from bandits.solvers.levels import Quantities, log_probs_and_leads
from bandits.solvers.sliding import legs

Step = Callable[[Floats], Floats]
Velocity = Callable[[Floats], Floats]

TOLERANCE = 1e-10  # local error of the solver, relative to the logits (absolute: a hundredth of it)
LAYER = 1e-14  # of the first time asked for, and of the time that probabilities take: nothing seen happens
FINER = 1e-12  # the same for the second run, against which the error is measured


def iterate(steps: Iterable[Step], start: ArrayLike) -> Floats:
    """Policies along a sequence of steps, the start first, (n + 1, ..., A).

    `itertools.repeat(step, n)` repeats one law; a generator changes it as time goes on.

    Raises:
        ValueError: the start is no distribution, or a step gives NaN (it is too long).

    Example: a step that gives the first arm e times its odds.

        >>> from itertools import repeat
        >>> from scipy.special import log_softmax
        >>> tilt = lambda log_policy: log_softmax(log_policy + np.array([1.0, 0.0]))
        >>> odds = [p[0] / p[1] for p in iterate(repeat(tilt, 2), [0.5, 0.5])]
        >>> np.log(odds).round(12)
        array([0., 1., 2.])
    """
    path = [log_policy_of(checks.distribution(start, "start"))]
    for step in steps:
        path.append(moved(step, path[-1], len(path)))
    return np.exp(np.stack(path))


def integrate(velocity: Velocity, start: ArrayLike, times: ArrayLike) -> Floats:
    """Policies along d logits / dt = velocity(log_policy), from `start` at time 0, (times, ..., A).

    Arms of probability zero stay there.  Constants in the velocity do not matter.

    Raises:
        ValueError: times do not increase, or the start is no distribution.
        NotConverged: the solver failed; `.solution` holds the last policy that it reached.

    Example:
        >>> p = integrate(lambda log_policy: np.array([1.0, 0.0]), [0.5, 0.5], [0.0, np.log(3.0)])
        >>> p[:, 0].round(9)
        array([0.5 , 0.75])
    """
    log_start = log_policy_of(checks.distribution(start, "start"))
    one = _one_by_one(velocity, log_start.ndim)
    return np.exp(solve(one, log_start, increasing(times, "times"), TOLERANCE))


def integration_error(velocity: Velocity, start: ArrayLike, times: ArrayLike) -> Floats:
    """Largest error of `integrate`'s policies at each time, against a 100 times finer run, (times, ...)."""
    log_start, times = log_policy_of(checks.distribution(start, "start")), increasing(times, "times")
    one = _one_by_one(velocity, log_start.ndim)
    rough, fine = (solve(one, log_start, times, tolerance) for tolerance in (TOLERANCE, FINER))
    return np.abs(np.exp(rough) - np.exp(fine)).max(axis=-1)


def _one_by_one(velocity: Velocity, ndim: int) -> Velocity:
    """The velocity at many points (..., *shape), for a law that knows one point at a time."""

    def many(log_policy: Floats) -> Floats:
        if log_policy.ndim == ndim:
            return velocity(log_policy)
        return np.stack([many(each) for each in log_policy])

    return many


def solve(velocity: Velocity, log_start: Floats, times: Floats, tolerance: float) -> Floats:
    """log policies along the flow at checked times, (times, ..., A).

    Raises:
        NotConverged: the solver failed.
    """
    alive = np.isfinite(log_start)
    field, begin = on_alive(velocity, alive), log_start
    if (times > 0).any():
        begin = _past_layer(velocity(log_start), log_start, times[times > 0][0])
    quantities = log_probs_and_leads(np.zeros(alive.sum())) if alive.ndim == 1 else None
    logits = trajectory(
        field, begin[alive], times, tolerance, lambda y: whole_log_policy(y, alive), quantities
    )
    return whole_log_policy(np.where((times == 0)[:, None], log_start[alive], logits), alive)


def _past_layer(velocity: Floats, log_start: Floats, first: float) -> Floats:
    """The start, beyond what happens within LAYER of the first time that is asked for.

    Where the speed of a logit grows as 1 / pi (natural gradient, best responses), an arm of 1e-300 is back
    among the others at once, but on the way its logit takes a thousand steps.  Its probability moves evenly:
    pi + dt pi' is there in one, and errs by less than LAYER.
    """
    policy = np.exp(log_start)
    with np.errstate(over="ignore", invalid="ignore"):
        moved = policy * np.where(policy > 0, velocity, 0.0)
        fastest = np.abs(moved).max(initial=0.0)
        dt = LAYER * min(first, 1 / fastest if fastest > 0 else np.inf)
        leap = np.where(velocity * dt > 1, np.log1p(np.maximum(velocity, 0.0) * dt), 0.0)
    return np.where(np.isfinite(leap), log_start + leap, log_start)


def whole_log_policy(logits: Floats, alive: NDArray[np.bool_]) -> Floats:
    """log pi of all arms, (..., A), from the logits of those that take part, (..., n)."""
    full = np.full((*logits.shape[:-1], *alive.shape), -np.inf)
    full[..., alive] = logits
    return normalised(full)


def trajectory(
    field: Callable[[Floats], Floats],
    start: Floats,
    times: Floats,
    tolerance: float,
    log_policy: Callable[[Floats], Floats],
    quantities: Quantities | None = None,
) -> Floats:
    """The solution of dy/dt = field(y) from `start` (n,) at time 0, at checked times, (times, n).

    Args:
        log_policy: what y stands for, to tell where a solver failed.
        quantities: those on whose levels the field may jump.

    Raises:
        NotConverged: the solver failed; `.solution` holds the last policy that it reached.
    """
    points = [np.repeat(start[None], np.count_nonzero(times == 0), axis=0)]
    reached, time, done = start, 0.0, len(points[0])
    for leg in legs(field, start, times[-1], tolerance, quantities):
        now = int(np.searchsorted(times, leg.end, side="right"))
        points += [leg.at(at)[None] for at in times[done:now]]
        reached, time, done = leg.x, leg.end, max(done, now)
    if done < len(times):
        last = Solution(log_policy=log_policy(reached), residual=float(np.abs(field(reached)).max()))
        raise NotConverged(
            f"the flow could not be followed beyond t = {time:g}: the logits run off to infinity, or the "
            f"solver failed",
            last,
            reason="unfinished",
        )
    return np.concatenate(points)


def on_alive(velocity: Velocity, alive: NDArray[np.bool_]) -> Callable[[Floats], Floats]:
    """The velocity as a function of the logits (..., n) of the arms that take part, with mean zero."""
    count = np.maximum(np.count_nonzero(alive, axis=-1, keepdims=True), 1)

    def field(logits: Floats) -> Floats:
        change = np.where(alive, velocity(whole_log_policy(logits, alive)), 0.0)
        return (change - change.sum(axis=-1, keepdims=True) / count)[..., alive]

    return field


def record(step: Step, log_policy: Floats, steps: NDArray[np.integer]) -> Floats:
    """log policies after each of the increasing numbers of steps, (steps, ..., A)."""
    records, done = [], 0
    for count in steps:
        for n in range(done, count):
            log_policy = moved(step, log_policy, n + 1)
        records.append(log_policy)
        done = count
    return np.stack(records)


def moved(step: Step, log_policy: Floats, n: int) -> Floats:
    """The n-th step.

    Raises:
        ValueError: it gives NaN.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        log_policy = step(log_policy)
    if np.isnan(log_policy).any():
        raise ValueError(f"step {n} gives NaN: the logits have diverged; choose a smaller learning_rate")
    return log_policy


def increasing(times: ArrayLike, name: str) -> Floats:
    """A checked list of times (n,): 0 <= t_1 < t_2 < ...

    Raises:
        ValueError: it is empty, negative or does not increase.
    """
    array = checks.floats(times, name)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be a list of at least one number, but its shape is {array.shape}")
    checks.reject_first(array < 0, array, name, "0 or more", "motion starts at 0")
    late = np.append(False, np.diff(array) <= 0)
    checks.reject_first(late, array, name, "increasing", "sort them and drop repetitions")
    return array


def increasing_counts(steps: ArrayLike) -> NDArray[np.int64]:
    """A checked list of numbers of steps (n,): integers 0 <= n_1 < n_2 < ...

    Raises:
        ValueError: as `increasing`, or they are not integers.
    """
    array = increasing(steps, "steps")
    checks.reject_first(array != np.round(array), array, "steps", "integers", "a step cannot be divided")
    checks.reject_first(array > 2**53, array, "steps", "at most 2^53", "nobody counts further")
    return array.astype(np.int64)
