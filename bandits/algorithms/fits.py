"""How does a fit of the comparisons, context by context, become a `Solution`?

A loss of the margin x - x', x = beta h + Gamma, is fitted by `solvers.bradley_terry` or `solvers.margins`,
arms without mass left out.  Where it has no minimiser, the limit policy is handed over with the error
(T5.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.policy import log_ratio
from bandits.solution import NoFixedPoint, NotConverged, Solution
from bandits.solvers.ford import Fit

Wins: TypeAlias = "Floats | Any"  # how often the row's arm beat the column's, (..., A, A), or sparse
FitOne: TypeAlias = Callable[[Any, Floats], Fit]  # comparisons (A, A), and scores at the start, (A,)

ACCEPTED = 1e-10  # net flow of an arm, relative to its gross flow


def fitted(
    fit: FitOne,
    wins: Wins,
    bandit: Bandit,
    log_start: Floats,
    *,
    beta: float,
    margin: Floats | float = 0.0,
    method: str,
    remedy: str,
    at_jump: bool = False,
) -> Solution:
    """The policy whose scores beta h + Gamma are the fit of each context.

    Args:
        wins: (..., A, A), or sparse, (A, A), for all contexts.
        margin: Gamma, (..., A).
        remedy: what to do where there is no fit.
        at_jump: the loss has kinks, and the fit stands at them: its residual is that of optimality.

    Raises:
        NoFixedPoint: the loss has no minimiser; carries the limit policy where it is determined.
        NotConverged: the comparisons are too uneven for double precision; carries the last fit.
    """
    x = beta * log_ratio(log_start, bandit.log_reference) + margin
    shape = np.broadcast_shapes(x.shape, wins.shape[:-1], bandit.log_reference.shape)
    alive = np.broadcast_to(np.isfinite(log_start), shape).reshape(-1, shape[-1])
    inputs = zip(_each_context(wins, np.broadcast_to(x, shape)), alive, strict=True)
    fits = [_fit_among(fit, n, z, on) for (n, z), on in inputs]
    solution = _solution(fits, bandit, shape, beta, margin, method, at_jump)
    if not all(f.exists for f in fits):
        raise NoFixedPoint(f"{solution.message}; {remedy}", solution)
    if not np.all(solution.residual <= ACCEPTED):  # NaN included
        raise NotConverged(f"the fit is not accurate: {solution.message}; {remedy}", solution)
    return solution


def _solution(
    fits: list[Fit],
    bandit: Bandit,
    shape: tuple[int, ...],
    beta: float,
    margin: Floats | float,
    method: str,
    at_jump: bool,
) -> Solution:
    """What the fits of all contexts, (..., A), say of the policy."""
    limits = [f.limit for f in fits if f.limit is not None]
    h = log_policy = None
    if len(limits) == len(fits):
        h = (np.stack(limits).reshape(shape) - margin) / beta
        log_policy = log_softmax(bandit.log_reference + h, axis=-1)
    unique = all(f.unique for f in fits)
    words = [*([] if unique else ["continuum"]), *(f.message for f in fits if f.message)]
    return Solution(
        log_policy=log_policy,
        log_ratio=h,
        residual=np.reshape([f.residual for f in fits], shape[:-1]),
        stable=True if unique else None,
        unique=unique,
        at_jump=at_jump,
        method=method,
        iterations=max(f.iterations for f in fits),
        message="; ".join(dict.fromkeys(words)),
    )


def _each_context(wins: Wins, x: Floats) -> Iterator[tuple[Wins, Floats]]:
    """Pairs of (A, A) wins and (A,) strengths, over all contexts; sparse wins serve every context."""
    if wins.ndim == 2:
        return ((wins, z) for z in x.reshape(-1, x.shape[-1]))
    shape = np.broadcast_shapes(x.shape, wins.shape[:-1])
    matrices = np.broadcast_to(wins, (*shape, shape[-1])).reshape(-1, shape[-1], shape[-1])
    return zip(matrices, np.broadcast_to(x, shape).reshape(-1, shape[-1]), strict=True)


def _fit_among(fit: FitOne, wins: Wins, start: Floats, alive: NDArray[np.bool_]) -> Fit:
    """The fit among the arms that take part; the others have no strength, -inf."""
    if alive.all():
        return fit(wins, start)
    some = np.flatnonzero(alive)
    found = fit(wins[some][:, some], start[some])
    message = found.message and f"{found.message} (counting the {len(some)} arms that have mass)"
    strength, limit = np.full((2, len(start)), -np.inf)
    strength[some] = found.strength
    if found.limit is None:
        return found._replace(strength=strength, message=message)
    limit[some] = found.limit
    return found._replace(strength=strength, limit=limit, message=message)
