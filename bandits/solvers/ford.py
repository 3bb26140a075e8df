"""When do comparisons have a fit, and what becomes of the scores where they have none?  Ford's condition.

Scores x are fitted to wins by the least sum_ij N_ij f(x_i - x_j), N_ij >= 0 the weight of "arm i beat arm j",
f convex and falling for ever: minus the log of sigma (Bradley-Terry), or e^-z.  Draw an arrow i -> j where
N_ij > 0.  A minimiser exists iff each weakly connected component is strongly connected (Ford 1957, Zermelo
1929); otherwise the gaps along the arrows between strong components grow for ever, and inside each of them
the scores tend to the fit of its own comparisons (T5.3).

If f rises again beyond some margin, as a square does, an arrow binds both its ends, and nothing diverges
(`both_ways`).

Axes: arms, and arms x arms with the winner first.  Sources: Ford 1957, Amer. Math. Monthly 64(8); Zermelo
1929, Math. Z. 29.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse import csgraph

from bandits.checks import Floats, floats, reject_first
from bandits.solvers import graph

Comparisons: TypeAlias = Any  # (A, A), a dense array or a sparse.csr_array
Labels = NDArray[np.integer]
Solve: TypeAlias = Callable[
    [Comparisons], tuple[Floats, float, int]
]  # of a component: scores, residual, steps

CONVERGED = 1e-10  # residual above which the message says that a fit has not converged


class Fit(NamedTuple):
    """The fit, or what the strengths tend to where no fit exists."""

    strength: Floats  # (A,)  the fit inside each strong component, whose mean is that of `start`
    limit: Floats | None  # (A,)  limit of the strengths, -inf where all mass is lost; None: not determined
    residual: float  # largest |flow in - flow out| / (flow in + flow out) over the arms
    exists: bool  # does the loss have a minimiser? then `strength` is one, and equals `limit`
    unique: bool  # is `limit`, up to a constant, the same for every start?
    iterations: int  # steps of the solver, over all strong components
    component: Labels  # (A,) label of the weakly connected component: arms compared, however indirectly
    strong: Labels  # (A,) label of the strongly connected component: chains of wins lead there and back
    message: str  # why there is no minimiser, or why the limit is not unique; "" when all is well


def fit_each(
    wins: ArrayLike | sparse.sparray | sparse.spmatrix,
    start: ArrayLike | None,
    solve: Solve,
    *,
    both_ways: bool = False,
) -> Fit:
    """The fit of each component by `solve`, with the mean of `start`, and the limit where there is no fit.

    Args:
        wins: (A, A) array or sparse matrix, N_ij >= 0 on any scale; the diagonal does not matter.
        start: (A,) strengths at the start, default 0.
        solve: scores of one component from its comparisons, which it may overwrite.
        both_ways: a comparison binds the winner as well: every connected component has a fit.

    Raises:
        ValueError: `wins` is not a square matrix of finite, non-negative numbers, or `start` does not fit.
    """
    matrix = _comparisons(wins)
    size = matrix.shape[0]
    origin = np.zeros(size) if start is None else _start(start, size)
    component, strong, arrows = _connectivity(matrix + matrix.T if both_ways else matrix)
    strength, residual, iterations = origin.copy(), 0.0, 0
    for group in np.split(np.argsort(strong, kind="stable"), np.cumsum(np.bincount(strong))[:-1]):
        if len(group) > 1:
            inner = matrix if len(group) == size else matrix[group][:, group]
            x, error, steps = solve(inner)
            strength[group] = x - x.mean() + origin[group].mean()
            residual, iterations = float(np.maximum(residual, error)), iterations + steps
    limit, unique, message = _limit(strength, component, strong, arrows)
    if not residual <= CONVERGED:  # also where it is NaN
        message += f"; not converged: residual {residual:.2g} after {iterations} steps"
    exists = arrows.shape[1] == 0
    return Fit(strength, limit, residual, exists, unique, iterations, component, strong, message.lstrip("; "))


# ---- the border -------------------------------------------------------------------------------------------


def _comparisons(wins: ArrayLike | sparse.sparray | sparse.spmatrix) -> Comparisons:
    """A private (A, A) copy with a zero diagonal: dense stays dense, sparse becomes CSR without zeros."""
    if sparse.issparse(wins):
        matrix = sparse.coo_array(wins, dtype=np.float64)
        values = matrix.data
    else:
        try:
            matrix = values = np.array(wins, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"wins must be a matrix of real numbers, but {error}") from error
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        raise ValueError(
            f"wins must be a square matrix (winner, loser) of at least one arm, but has shape {matrix.shape}"
        )
    if values.size and not (values.min() >= 0 and values.max() < np.inf):  # NaN fails both
        everything = matrix.toarray() if sparse.issparse(matrix) else matrix
        bad = ~(np.isfinite(everything) & (everything >= 0))
        remedy = "a loss of i to j belongs in wins[j, i]"
        reject_first(bad, everything, "wins", "finite and non-negative", remedy)
    if sparse.issparse(matrix):
        winner, loser = matrix.coords
        keep = (winner != loser) & (values > 0)
        return sparse.csr_array((values[keep], (winner[keep], loser[keep])), shape=matrix.shape)
    np.fill_diagonal(matrix, 0.0)
    return matrix


def _start(start: ArrayLike, size: int) -> Floats:
    origin = floats(start, "start")
    if origin.shape != (size,):
        raise ValueError(
            f"start must hold one strength for each of the {size} arms, but its shape is {origin.shape}"
        )
    return origin


# ---- Ford's condition -------------------------------------------------------------------------------------


def _connectivity(wins: Comparisons) -> tuple[Labels, Labels, Labels]:
    """Labels of the weak and of the strong components, and the arrows (2, n) between strong components."""
    size = wins.shape[0]
    if not sparse.issparse(wins) and np.count_nonzero(wins) == size * (size - 1):
        return np.zeros(size, int), np.zeros(size, int), np.empty((2, 0), int)  # everyone beat everyone
    beats = sparse.csr_array(wins)
    component = graph.components(beats)
    strong = csgraph.connected_components(beats, directed=True, connection="strong")[1]
    winner, loser = beats.nonzero()
    between = strong[winner] != strong[loser]
    return component, strong, np.array([winner[between], loser[between]])


def _limit(
    strength: Floats, component: Labels, strong: Labels, arrows: Labels
) -> tuple[Floats | None, bool, str]:
    """Where the strengths go, whether they go there from every start, and why not."""
    winner, loser = arrows
    if not len(winner):
        if component.max() == 0:
            return strength, True, ""
        reason = "not every arm was compared, however indirectly, with every other"
        return strength, False, f"{reason}: each connected component keeps the mean of its start"
    tops = np.setdiff1d(strong[winner], strong[loser])  # they beat outsiders and never lose to one
    first = np.argmax(strong[winner] == tops[0])
    verdict = (
        f"the loss has no minimiser: arm {winner[first]} beat arm {loser[first]} and no chain "
        f"of wins leads back, so their gap grows for ever; "
    )
    if len(tops) > 1:
        a, b = (int(np.argmax(strong == top)) for top in tops[:2])
        reason = f"arms {a} and {b} both run away from others, and the loss does not say which one faster"
        return None, False, verdict + f"the limit is not determined: {reason}"
    top = np.flatnonzero(strong == tops[0])
    named = f"arm {top[0]}" if len(top) == 1 else f"arm {top[0]} and the {len(top) - 1} tied to it by cycles"
    return np.where(strong == tops[0], strength, -np.inf), True, verdict + f"all mass ends on {named}"
