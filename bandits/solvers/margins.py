"""Which scores cost least where the lead of each winner is charged by any convex loss?  Newton's method.

    F(x) = sum_ij N_ij f(x_i - x_j),      N_ij >= 0 the weight of "arm i beat arm j"

Each comparison pulls its winner up and its loser down by the flow -N_ij f'(x_i - x_j): minus the gradient
of F is (flow into i) - (flow out of i), and its Hessian is the Laplacian of the conductances N_ij f'' +
N_ji f'' (T12.16).  `bradley_terry` is the case f(z) = -log sigma(z), with what its own shape allows.

f'' is a central difference of f': Newton's step needs no more, and the residual is that of f' itself.

Axes: arms, and arms x arms with the winner first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.integrate import solve_ivp
from scipy.optimize import linprog

from bandits.checks import Floats
from bandits.solvers import graph
from bandits.solvers.ford import Comparisons, Fit, fit_each
from bandits.solvers.laplacian import eliminate

Slope: TypeAlias = Callable[[Any], Any]  # f', entry by entry

TOLERANCE = 1e-13  # net flow of each arm, relative to its gross flow
LAST_STEP = 1e-6  # Newton's error is the square of its last step
SMALL_STEP = 1e-3  # so small steps are taken whole
LONG = 4.0  # of a gap: where f is nearly flat a Newton step is far too long, and f'' beyond it rounds to 0
MAX_STEPS = 500
DENSE = 1000  # sparse comparisons of at most so many arms are solved as dense ones
SHIFT = 1e-5  # of a margin, for differences of f'
FAINT = 1e-9  # conductance of every comparison where those of f'' leave arms unconnected
FAR = 30.0  # a margin so large shows how f goes on
FREE = "leads beyond where the loss is flat are free, and this is where the flow from the start enters"
LATE = 1e8  # of the flow, in units of the heaviest comparison


def fit(wins: Comparisons, start: Floats, slope: Slope) -> Fit:
    """Scores that minimise F, each component with the mean of `start`.

    If f falls for ever, a minimiser exists under Ford's condition; if it rises again, always.  If it
    becomes flat, always as well, but pairs whose lead is beyond no longer bind: where arms are left apart,
    the minimisers are a continuum, and `limit` is where the flow ends  (T5.3, T12.16).

    Example: e^-z; 4 wins against 1 are a gap of log(4) / 2.
        >>> found = fit(np.array([[0.0, 4.0], [1.0, 0.0]]), np.zeros(2), lambda z: -np.exp(-z))
        >>> float(np.exp(2 * (found.strength[0] - found.strength[1])).round(9))
        4.0
    """
    found = fit_each(wins, start, partial(_solve, slope=slope), both_ways=tail(slope) > 0)
    if tail(slope) == 0 and not (found.exists and _binds(wins, found, slope)):
        end, residual = _entry(wins, start, slope)
        words = f"{FREE}; {found.message}" if found.message else FREE
        return found._replace(limit=end, residual=residual, exists=True, unique=False, message=words)
    return found


def tail(slope: Slope) -> float:
    """The slope of f beyond large margins: negative if it falls for ever, 0 if it is flat, or positive."""
    return float(slope(np.array(FAR)))


def ascent(wins: Comparisons, x: Floats, slope: Slope) -> Floats:
    """Minus the gradient of F, (..., A): what pulls each arm up.

    Args:
        wins: (..., A, A), or sparse, (A, A).
        x: (..., A).
    """
    if sparse.issparse(wins):
        each = [_flows(wins.tocsr(), row, slope) for row in x.reshape(-1, x.shape[-1])]
        return np.stack([flow.sum(axis=1) - flow.sum(axis=0) for flow in each]).reshape(x.shape)
    flow = _flows(wins, x, slope)
    with np.errstate(invalid="ignore"):
        net = flow.sum(axis=-1) - flow.sum(axis=-2)
    return np.where(np.isfinite(net), net, np.nan)  # where prices overflow there is no saying


def _binds(wins: Comparisons, found: Fit, slope: Slope) -> bool:
    """Whether the pairs at which F is curved connect what comparisons connect."""
    links = _links(wins, found.strength, slope)
    return graph.components(links + links.T).max() == found.component.max()


def rising(wins: Comparisons, steep: float, tail: float) -> NDArray[np.intp] | None:
    """Arms that can rise above the others for ever while F falls; None if there are none.

    f falls by `tail` >= 0 per unit of a large lead and by `steep` > `tail` per unit of what is lacking.
    Far out F is sum N_ij ((steep - tail) (v_j - v_i)+ - tail (v_i - v_j)) along v, and that is least at the
    indicator of a set: a linear programme of differences  (T13.14).
    """
    table = sparse.coo_array(wins)
    (winner, loser), weight, size = table.coords, table.data, table.shape[0]
    arrows = np.arange(len(weight))
    lift = np.bincount(winner, weight, size) - np.bincount(loser, weight, size)
    price = np.concatenate([-tail * lift, (steep - tail) * weight])
    rows, ones = np.concatenate([arrows] * 3), np.ones_like(weight)
    columns = np.concatenate([loser, winner, size + arrows])
    lacks = sparse.csr_array((np.concatenate([ones, -ones, -ones]), (rows, columns)))  # v_j - v_i <= lack
    found = linprog(price / weight.max(), lacks, np.zeros(len(weight)), bounds=(0, 1), method="highs-ds")
    return np.flatnonzero(found.x[:size] > 0.5) if found.fun < -FAINT else None


def _entry(wins: Comparisons, start: Floats, slope: Slope) -> tuple[Floats, float]:
    """Where the flow from `start` ends in a continuum: scores, and the largest net flow left, relative.

    Near its end it moves along the pairs that still bind, as Newton's step of least norm does.
    """
    dense = np.array(wins.toarray() if sparse.issparse(wins) else wins)
    np.fill_diagonal(dense, 0.0)
    dense /= dense.max(initial=1e-300)
    run = solve_ivp(
        lambda _, x: ascent(dense, x, slope), (0, LATE), start, method="LSODA", rtol=1e-11, atol=1e-12
    )
    x = run.y[:, -1]
    for _ in range(3):
        links = _links(dense, x, slope)
        links = links + links.T
        laplacian = np.diag(links.sum(axis=1)) - links
        x = x + np.linalg.lstsq(laplacian, ascent(dense, x, slope), rcond=FAINT)[0]
    gross = np.maximum(dense.sum(axis=1) + dense.sum(axis=0), 1e-300)
    return x, float(np.max(np.abs(ascent(dense, x, slope)) / gross))


def _flows(wins: Comparisons, x: Floats, slope: Slope) -> Comparisons:
    """-N_ij f'(x_i - x_j)."""
    return _charged(wins, x, lambda lead: -slope(lead))


def _links(wins: Comparisons, x: Floats, slope: Slope) -> Comparisons:
    """N_ij f''(x_i - x_j)."""
    return _charged(wins, x, lambda lead: (slope(lead + SHIFT) - slope(lead - SHIFT)) / (2 * SHIFT))


def _charged(wins: Comparisons, x: Floats, price: Slope) -> Comparisons:
    """N_ij price(x_i - x_j); 0 where i never beat j."""
    if sparse.issparse(wins):
        found = wins.copy()
        found.data = wins.data * price(np.repeat(x, np.diff(wins.indptr)) - x[wins.indices])
        return found
    with np.errstate(over="ignore", invalid="ignore"):  # an infinite price is refused by the line search
        return np.where(wins > 0, wins * price(x[..., :, None] - x[..., None, :]), 0.0)


def _solve(wins: Comparisons, slope: Slope) -> tuple[Floats, float, int]:
    """The minimum over one component: (scores, residual, steps).  Rescales `wins`."""
    wins = wins.toarray() if sparse.issparse(wins) and wins.shape[0] <= DENSE else wins
    wins /= wins.max()
    x, delta, residual = np.zeros(wins.shape[0]), np.inf, np.inf
    for steps in range(MAX_STEPS + 1):
        flow, previous = _flows(wins, x, slope), residual
        net = flow.sum(axis=1) - flow.sum(axis=0)
        gross = abs(flow).sum(axis=1) + abs(flow).sum(axis=0)
        residual = float(np.max(np.abs(net) / np.where(gross > 0, gross, 1.0)))
        balanced = residual <= max(TOLERANCE, 4 * np.finfo(float).eps * np.ptp(x))
        if steps == MAX_STEPS or (delta <= LAST_STEP and (balanced or residual >= previous)):
            break
        step = _newton_step(wins, x, flow, slope)
        delta = float(np.ptp(step))
        x = x + (step if delta <= SMALL_STEP else _part(wins, x, net, step, slope) * step)
        x -= x.mean()
    return x, residual, steps


def _newton_step(wins: Comparisons, x: Floats, flow: Comparisons, slope: Slope) -> Floats:
    """d with L d = net flow, L the Laplacian of the conductances."""
    links = _links(wins, x, slope)
    if graph.components(links + links.T).any():
        links = links + FAINT * wins
    if sparse.issparse(wins):
        return graph.solve(links + links.T, flow.sum(axis=1) - flow.sum(axis=0))
    return eliminate(links + links.T, flow - flow.T)


def _part(wins: Comparisons, x: Floats, net: Floats, step: Floats, slope: Slope) -> float:
    """How much of a Newton step to take: until F hardly falls along it any more, and not far beyond."""
    first, part = float(net @ step), min(1.0, LONG / float(np.ptp(step)))
    falls = partial(_falls, wins, x, step, slope)
    while not falls(part) >= -first / 2:  # too far; infinite, or not a number: much too far
        part /= 2
        if part < 1e-12:
            return part
    while falls(2 * part) > first / 2:
        part *= 2
    return part


def _falls(wins: Comparisons, x: Floats, step: Floats, slope: Slope, part: float) -> float:
    """How fast F falls along the step, so far along it."""
    with np.errstate(all="ignore"):
        return float(ascent(wins, x + part * step, slope) @ step)
