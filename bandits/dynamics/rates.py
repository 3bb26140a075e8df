"""How fast does an algorithm approach its end, and how long may a step be?

The rates are the eigenvalues of -dg/dtheta at the end, g the expected update of the logits: for linear
updates rate times those of the Laplacian of the sampling graph  (T3.4).

Axes: `...` are contexts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bandits.algorithms.linear import Linear
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics.gradient import gradient_velocity
from bandits.dynamics.linear import extreme_eigenvalues
from bandits.fixed_point import fixed_point
from bandits.problem import Problem, bind
from bandits.samples import Algorithm
from bandits.sampling.rules import Sampling
from bandits.solvers import paths


def convergence_rate(algorithm: Algorithm, bandit: Bandit, sampling: Sampling) -> Floats:
    """Rate at which the flow approaches its end: the distance falls as exp(-rate t), (...).

    rate * lambda_2(L) for linear updates, beta lambda_2 for CoPG: the algebraic connectivity of the sampling
    graph is the coverage coefficient (T3.4), and 0 says that the graph is not connected, so that
    some ratio of probabilities never moves.  For other algorithms the slowest rate at the fixed point
    that the reference leads to: minus the largest real part of the Jacobian's eigenvalues.

    Raises:
        NoFixedPoint: there is nothing to approach.

    Example: two arms sampled evenly have L = [[1, -1], [-1, 1]] / 2, whose eigenvalues are 0 and 1.

        >>> from bandits import Bandit, CoPG, Offline
        >>> float(convergence_rate(CoPG(beta=0.25), Bandit([1.0, 0.0]), Offline([0.5, 0.5])))
        0.25
    """

    def slowest(problem: Problem) -> Floats:
        return np.array([_rates(problem).real.min(initial=np.inf)])

    return bind(algorithm, bandit, sampling).paths(slowest)[0]


def largest_stable_step(algorithm: Algorithm, bandit: Bandit, sampling: Sampling) -> Floats:
    """Learning rate above which gradient descent diverges: 2 / (rate lambda_max(L)), (...)  (T3.4).

    For updates that are not linear: above which it leaves the fixed point that the reference leads to, the
    smallest 2 Re(a) / |a|^2 over the eigenvalues -a of the Jacobian there.  0: it leaves at every step.

    Raises:
        NoFixedPoint: there is no end to be stable at.

    Example:
        >>> from bandits import Bandit, CoPG, Offline
        >>> float(largest_stable_step(CoPG(beta=0.25), Bandit([1.0, 0.0]), Offline([0.5, 0.5])))
        8.0
    """

    def largest(problem: Problem) -> Floats:
        return np.array([stable_step(_rates(problem))])

    return bind(algorithm, bandit, sampling).paths(largest)[0]


def _rates(problem: Problem) -> NDArray:
    """Eigenvalues of -dg/dtheta at the end, but the constants' own; only the extreme ones of a linear g."""
    linear = problem.linear()
    if linear is not None:
        return linear_rates(linear, problem)
    end = fixed_point(
        problem.algorithm, problem.bandit, problem.sampling, np.exp(problem.log_start)
    ).log_policy
    assert end is not None  # it raises where there is none
    alive = np.isfinite(end)
    field, n = paths.on_alive(gradient_velocity(problem), alive), int(alive.sum())
    slope = paths.jacobian(field, end[alive])
    basis = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, : n - 1]]))[0][:, 1:]
    return -np.linalg.eigvals(basis.T @ slope @ basis)


def linear_rates(linear: Linear, problem: Problem) -> Floats:
    """Slowest and fastest rate of a linear motion, rate * (lambda_2, lambda_max) of L  (T3.4)."""
    return linear.rate * np.array(extreme_eigenvalues(linear.law, np.isfinite(problem.log_start)))


def stable_step(rates: NDArray) -> float:
    """Largest step at which no moving mode of these rates grows, min 2 Re(a) / |a|^2."""
    moving = rates[rates != 0]
    size = np.abs(moving)
    with np.errstate(over="ignore"):  # rates below 1e-308 allow any step
        return float(np.maximum(2 * (moving.real / size) / size, 0.0).min(initial=np.inf))
