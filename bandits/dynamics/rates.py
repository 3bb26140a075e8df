"""How fast does an algorithm approach its end, and how long may a step be?

The rates are the eigenvalues of -dg/dtheta at the end, g the expected update of the logits: for linear
updates rate times those of the Laplacian of the sampling graph  (T3.4).

Axes: `...` are contexts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits.algorithms.linear import Linear
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics.linear import extreme_eigenvalues
from bandits.exact import motions_of
from bandits.fixed_point import fixed_point
from bandits.problem import MAX_GROUPS, Problem, bind
from bandits.samples import Algorithm
from bandits.sampling.rules import Sampling
from bandits.solvers.rest import NEUTRAL

NOBODY = 1e-300  # a rate below this is that of an arm that takes no part


def convergence_rate(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling,
    start: ArrayLike | None = None,
    *,
    max_groups: int = MAX_GROUPS,
) -> Floats:
    """Rate at which the flow approaches its end: the distance falls as exp(-rate t), (...).

    rate * lambda_2(L) for linear updates, beta lambda_2 for CoPG: the algebraic connectivity of the sampling
    graph is the coverage coefficient (T3.4), and 0 says that the graph is not connected, so that
    some ratio of probabilities never moves.  For other algorithms the slowest rate at the fixed point
    that `start` (the reference) leads to: minus the largest real part of the Jacobian's eigenvalues, 0 in a
    continuum and where arms die out, which goes like 1/t.

    Raises:
        NoFixedPoint: there is nothing to approach.
        NotConverged: the motion does not come to rest.

    Example: two arms sampled evenly have L = [[1, -1], [-1, 1]] / 2, whose eigenvalues are 0 and 1.

        >>> from bandits import Bandit, CoPG, Offline
        >>> float(convergence_rate(CoPG(beta=0.25), Bandit([1.0, 0.0]), Offline([0.5, 0.5])))
        0.25
    """
    problem = bind(algorithm, bandit, sampling, start, max_groups=max_groups)
    return _each_end(problem, lambda rates: rates.real.min(initial=np.inf))


def largest_stable_step(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling,
    start: ArrayLike | None = None,
    *,
    max_groups: int = MAX_GROUPS,
) -> Floats:
    """Learning rate above which gradient descent diverges: 2 / (rate lambda_max(L)), (...)  (T3.4).

    For updates that are not linear: above which it leaves the fixed point that `start` (the reference)
    leads to, the smallest 2 Re(a) / |a|^2 over the eigenvalues -a of the Jacobian there.  0: it leaves at
    every step.

    Raises:
        NoFixedPoint: there is no end to be stable at.
        NotConverged: the motion does not come to rest.

    Example:
        >>> from bandits import Bandit, CoPG, Offline
        >>> float(largest_stable_step(CoPG(beta=0.25), Bandit([1.0, 0.0]), Offline([0.5, 0.5])))
        8.0
    """
    return _each_end(bind(algorithm, bandit, sampling, start, max_groups=max_groups), stable_step)


def _each_end(problem: Problem, measure: Callable[[NDArray[Any]], float]) -> Floats:
    """A measure of the rates at the end of each context, (...)."""
    if problem.linear() is None:
        each = _rates(problem)
    else:
        linear = ((one, one.linear()) for one in problem.each())
        each = [linear_rates(found, one) for one, found in linear if found is not None]
    return np.reshape([measure(rates) for rates in each], problem.contexts)[()]


def _rates(problem: Problem) -> list[NDArray[Any]]:
    """Eigenvalues of -dg/dtheta at the end of each context, but the constants' own."""
    world = (problem.algorithm, problem.bandit, problem.sampling)
    end = fixed_point(*world, np.exp(problem.log_start), max_groups=problem.max_groups).log_policy
    assert end is not None  # it raises where there is none
    shape = (*problem.contexts, problem.bandit.arms)
    starts, ends = (np.broadcast_to(x, shape).reshape(-1, shape[-1]) for x in (problem.log_start, end))
    rates = motions_of(replace(problem, log_start=end)).rates_at(ends)
    each = [rate[np.abs(rate) > NOBODY] for rate in rates.rate]
    halted = rates.neutral | (np.isfinite(starts) & np.isneginf(ends)).any(axis=-1)
    return [_with_zero(rate) if halt else rate for rate, halt in zip(each, halted, strict=True)]


def _with_zero(rates: NDArray[Any]) -> NDArray[Any]:
    """Rates of which the noise is replaced by the zero that it hides."""
    return np.append(rates[np.abs(rates) > NEUTRAL * np.abs(rates).max(initial=0.0)], 0.0)


def linear_rates(linear: Linear, problem: Problem) -> Floats:
    """Slowest and fastest rate of a linear motion, rate * (lambda_2, lambda_max) of L  (T3.4)."""
    return linear.rate * np.array(extreme_eigenvalues(linear.law, np.isfinite(problem.log_start)))


def stable_step(rates: NDArray[Any]) -> float:
    """Largest step at which no moving mode of these rates grows, min 2 Re(a) / |a|^2."""
    moving = rates[rates != 0]
    size = np.abs(moving)
    with np.errstate(over="ignore"):  # rates below 1e-308 allow any step
        return float(np.maximum(2 * (moving.real / size) / size, 0.0).min(initial=np.inf))
