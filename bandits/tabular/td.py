"""Where does temporal-difference learning end, and how noisily?  At V, for every step; its noise is exact.

Each step shows one transition (r, x') of every state and moves

    V(x) += a [r + g V(x') - V(x)]             expected update  E[R] + g P V - V

With M = (1 - a) I + a g P and e = V - V*, the mean obeys e <- M e and the covariance

    C <- M C M' + a^2 diag(Var R(x) + g^2 Var[V*(X')] + g^2 (P diag C - diag(P C P')))

which is linear: its rest point is exact at every step size.  Without a next state (g = 0) it is
a Var / (2 - a)  (T12.5), infinite if the rewards' variance is.  Source: Sutton 1988, "Learning to predict
by the methods of temporal differences".

Axes: runs first, then states, (..., S).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import expm, solve

from bandits import checks
from bandits.checks import Floats
from bandits.solvers import paths
from bandits.tabular.chains import Integers, MarkovRewardProcess, process_of


def expected_update(process: MarkovRewardProcess, value: ArrayLike) -> Floats:
    """E[R] + g P V - V, (..., S); zero at `process.value` and nowhere else."""
    V = checks.arms(value, "value")
    if V.shape[-1] != process_of(process).states:
        raise ValueError(
            f"value must have {process.states} states as its last axis, but its shape is {V.shape}"
        )
    return process.mean_reward + process.discount * V @ process.transition.T - V


def flow(process: MarkovRewardProcess, times: ArrayLike, start: ArrayLike | None = None) -> Floats:
    """V(t) = V* + exp((g P - I) t)(V_0 - V*), from zero by default, (times, S)."""
    V0 = _start(start, (process_of(process).states,))
    motion = process.discount * process.transition - np.eye(process.states)
    return process.value + expm(motion * paths.increasing(times, "times")[:, None, None]) @ (
        V0 - process.value
    )


def step(
    value: Floats, reward: Floats, next_state: Integers, discount: float, learning_rate: float
) -> Floats:
    """V(x) + a [r + g V(x') - V(x)] for one transition of every state, (..., S)."""
    ahead = np.take_along_axis(value, next_state, axis=-1)
    return value + learning_rate * (reward + discount * ahead - value)


def simulate(
    process: MarkovRewardProcess,
    *,
    steps: ArrayLike,
    learning_rate: float,
    rng: np.random.Generator,
    runs: int = 1,
    start: ArrayLike | None = None,
) -> Floats:
    """V of independent runs after each number of `steps`, (records, runs, S).

    The start is zero by default; one for all or one for each run, (S,) or (runs, S).
    """
    a, counts = checks.fraction(learning_rate, "learning_rate"), paths.increasing_counts(steps)
    n, process = checks.count(runs, "runs"), process_of(process)
    V, done = np.array(_start(start, (n, process.states))), 0
    seen = process.stream(rng, n)
    records = np.empty((len(counts), *V.shape))
    for record, count in zip(records, counts, strict=True):
        for _ in range(count - done):
            V = step(V, *next(seen), process.discount, a)
        record[:], done = V, count
    return records


def stationary_covariance(process: MarkovRewardProcess, learning_rate: float) -> Floats:
    """Covariance that constant-step TD settles at, (S, S); infinite where a variance is  (T12.5).

    Raises:
        ValueError: the step is not positive, or so long that the variance grows without bound.

    Example: without a next state, a Var / (2 - a).

        >>> from bandits.tabular.rewards import normal
        >>> stationary_covariance(MarkovRewardProcess([[1.0]], normal(), 0.0), 0.01).round(5)
        array([[0.00503]])
    """
    a, process = checks.positive(learning_rate, "learning_rate"), process_of(process)
    P, g = process.transition, process.discount
    states, noise = process.states, np.broadcast_to(process.reward.var(), (process.states,))
    if not np.isfinite(noise).all():
        return np.full((states, states), np.inf)
    noise = noise + g**2 * (P @ process.value**2 - (P @ process.value) ** 2)
    M = (1 - a) * np.eye(states) + a * g * P
    basis = np.eye(states * states).reshape(-1, states, states)
    spread = basis.diagonal(axis1=1, axis2=2) @ P.T - (P @ basis @ P.T).diagonal(axis1=1, axis2=2)
    moved = (M @ basis @ M.T + (a * g) ** 2 * spread[:, None, :] * np.eye(states)).reshape(len(basis), -1).T
    if np.abs(np.linalg.eigvals(moved)).max() >= 1 - 1e-12:
        raise ValueError(
            f"learning_rate must be smaller, but learning_rate = {learning_rate!r}: variance grows for ever"
        )
    C = solve(np.eye(len(basis)) - moved, a**2 * np.diag(noise).ravel())
    return C.reshape(states, states)


def mean_squared_error(process: MarkovRewardProcess, learning_rate: float) -> Floats:
    """E[(V - V*)^2] of each state once settled, (S,): all variance, no bias  (T12.5)."""
    return np.diag(stationary_covariance(process, learning_rate)).copy()


def _start(start: ArrayLike | None, shape: tuple[int, ...]) -> Floats:
    return checks.within(np.zeros(shape) if start is None else checks.floats(start, "start"), shape, "start")
