"""How does an algorithm get to its end, by small steps or in continuous time?

`flow` and `descent` take the exact way where the expected update g is linear in the logits: with L the
Laplacian of the sampling graph, theta(t) - theta* = exp(-rate L t)(theta_0 - theta*), and (I - eta rate L)^n
for n steps (T3.4).  Elsewhere a stiff solver, whose error `flow_error` measures.

Axes: `...` are contexts, each moving by itself; arms last; times or steps first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax

from bandits import checks
from bandits.algorithms.linear import Linear
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics.gradient import gradient_step, gradient_velocity, natural_velocity
from bandits.dynamics.linear import contract, relax
from bandits.dynamics.rates import linear_rates, stable_step
from bandits.policy import tilt
from bandits.problem import MAX_GROUPS, Problem, bind
from bandits.samples import Algorithm
from bandits.sampling.rules import Sampling
from bandits.solvers import paths
from bandits.solvers.paths import FINER, TOLERANCE


def flow(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling,
    times: ArrayLike,
    start: ArrayLike | None = None,
    *,
    max_groups: int = MAX_GROUPS,
) -> Floats:
    """Policies of gradient flow on the logits, d theta / dt = g(theta), at each time, (times, ..., A).

    Closed form for CoPG, IPO, DRO with V eliminated and policy gradient with b = E_mu[R], on any fixed law
    or data set: theta(t) = theta* + exp(-rate L t)(theta_0 - theta*)  (T3.4).  Otherwise a stiff solver.

    Args:
        times: increasing, from 0 (where the policy is the start).
        start: (..., A), by default the reference.
        max_groups: groups of arms that one sum may visit, as for `expected_update`.

    Raises:
        ValueError: times do not increase or are negative, or the arguments do not fit together.
        NotConverged: the solver failed; `.solution` holds the last policy that it reached.

    Example: two arms sampled evenly have L = [[1, -1], [-1, 1]] / 2, so that log-odds decay as exp(-t).

        >>> from bandits import Bandit, CoPG, Offline
        >>> bandit, mu = Bandit([np.log(3.0), 0.0]), [0.5, 0.5]
        >>> p = flow(CoPG(beta=1.0), bandit, Offline(mu), [0.0, np.log(2.0)])[:, 0]
        >>> (np.log(p / (1 - p)) / np.log(3.0)).round(12)
        array([0. , 0.5])
    """
    times = paths.increasing(times, "times")

    def path(problem: Problem) -> Floats:
        linear = problem.linear()
        if linear is None:
            return paths.solve(gradient_velocity(problem), problem.log_start, times, TOLERANCE)
        distance, goal = _distance(linear, problem)
        return _seen_from(goal, relax(linear.law, distance, linear.rate * times), problem.log_start)

    return np.exp(bind(algorithm, bandit, sampling, start, max_groups=max_groups).paths(path))


def flow_error(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling,
    times: ArrayLike,
    start: ArrayLike | None = None,
    *,
    max_groups: int = MAX_GROUPS,
) -> Floats:
    """Largest error of `flow`'s policies at each time, measured, (times, ...).

    Against the same solver at a 100 times finer tolerance.  For the closed form, which knows no tolerance,
    it is the difference to that finer run of the solver: an upper bound that is mostly the solver's own.

    Example: of a closed form: what the solver that it is compared with errs by.

        >>> from bandits import CoPG, Offline
        >>> error = flow_error(CoPG(beta=1.0), Bandit([1.0, 0.0]), Offline([0.5, 0.5]), [0.0, 1.0])
        >>> bool(error.max() < 1e-9)
        True
    """
    times = paths.increasing(times, "times")

    def fine(problem: Problem) -> Floats:
        return paths.solve(gradient_velocity(problem), problem.log_start, times, FINER)

    truth = np.exp(bind(algorithm, bandit, sampling, start, max_groups=max_groups).paths(fine))
    path = flow(algorithm, bandit, sampling, times, start, max_groups=max_groups)
    return np.abs(path - truth).max(axis=-1)


def natural_flow(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling,
    times: ArrayLike,
    start: ArrayLike | None = None,
    *,
    max_groups: int = MAX_GROUPS,
) -> Floats:
    """Policies of the natural gradient's flow (mirror flow), d theta / dt = g / pi, (times, ..., A).

    Example: on-policy log-odds approach r / beta as 1 - exp(-beta t).

        >>> from bandits import OnPolicy, PolicyGradient
        >>> world, times = Bandit([np.log(3.0), 0.0]), [0.0, np.log(2.0)]
        >>> p = natural_flow(PolicyGradient(beta=1.0), world, OnPolicy(), times)[:, 0]
        >>> (np.log(p / (1 - p)) / np.log(3.0)).round(6)
        array([0. , 0.5])
    """
    times = paths.increasing(times, "times")

    def path(problem: Problem) -> Floats:
        return paths.solve(natural_velocity(problem), problem.log_start, times, TOLERANCE)

    return np.exp(bind(algorithm, bandit, sampling, start, max_groups=max_groups).paths(path))


def descent(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling,
    learning_rate: float,
    steps: ArrayLike,
    start: ArrayLike | None = None,
    *,
    max_groups: int = MAX_GROUPS,
) -> Floats:
    """Policies of exact gradient descent after each number of `steps`, (steps, ..., A).

    The matrix power (I - eta rate L)^n where the update is linear (T3.4), else iterations.

    Args:
        learning_rate: eta, positive; for a linear update at most `largest_stable_step`.
        steps: increasing integers from 0 (where the policy is the start), say range(101).
        start: (..., A), by default the reference.
        max_groups: groups of arms that one sum may visit, as for `expected_update`.

    Raises:
        ValueError: steps do not increase, or the learning rate is not positive or makes descent diverge.

    Example: as for `flow`; an eighth of the largest stable step, 2, leaves 3/4 of the log-odds.

        >>> from bandits import Bandit, CoPG, Offline
        >>> p = descent(CoPG(beta=1.0), Bandit([1.0, 0.0]), Offline([0.5, 0.5]), 0.25, [0, 1, 2])[:, 0]
        >>> 1 - np.log(p / (1 - p))
        array([1.    , 0.75  , 0.5625])
    """
    eta, steps = checks.positive(learning_rate, "learning_rate"), paths.increasing_counts(steps)

    def path(problem: Problem) -> Floats:
        linear = problem.linear()
        if linear is None:
            return paths.record(gradient_step(problem, eta), problem.log_start, steps)
        largest = stable_step(linear_rates(linear, problem))
        if eta > largest:
            raise ValueError(
                f"learning_rate must be at most {largest:.6g}, the largest stable step, but learning_rate = "
                f"{learning_rate!r}: descent diverges; choose a smaller one"
            )
        distance, goal = _distance(linear, problem)
        return _seen_from(goal, contract(linear.law, distance, eta * linear.rate, steps), problem.log_start)

    return np.exp(bind(algorithm, bandit, sampling, start, max_groups=max_groups).paths(path))


def _distance(linear: Linear, problem: Problem) -> tuple[Floats, Floats]:
    """theta_0 - theta* and theta* = log ref + score / beta on the arms that take part, (A,)."""
    log_start = problem.log_start
    goal = tilt(problem.bandit.log_reference, linear.score, linear.beta)
    alive = np.isfinite(log_start)
    return np.where(alive, log_start, 0.0) - np.where(alive, goal, 0.0), goal


def _seen_from(goal: Floats, distance: Floats, log_start: Floats) -> Floats:
    """log softmax(goal + distance), (times, A); arms that started at zero stay there."""
    alive = np.isfinite(log_start)
    return log_softmax(np.where(alive, np.where(alive, goal, 0.0) + distance, -np.inf), axis=-1)
