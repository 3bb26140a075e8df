"""Which scores cost least where a winner is charged for what it lacks of a lead of one?  A network programme.

    F(u) = sum_ij N_ij max(0, 1 - (u_i - u_j)),      N_ij >= 0 the weight of "arm i beat arm j"

Its dual is a circulation: push as much flow as possible through arrows i -> j of capacity N_ij, as much
into each arm as out of it.  The constraints of both are differences of two unknowns, a totally unimodular
matrix, so that the scores at a vertex are integers  (T12.18).  A lead above one means no flow, one below a
full arrow, and a lead of exactly one whatever is between: that these hold, with flow in = flow out, is the
certificate.

The scores that fit some optimal circulation are all that are optimal.  They are differences bounded by -1
and 1, whose play shortest paths tell exactly: where there is any, the solutions are a continuum.

Axes: arms, and arms x arms with the winner first.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.optimize import linprog, lsq_linear

from bandits.checks import Floats
from bandits.solvers.ford import Comparisons, Fit, fit_each

BETWEEN = 1e-9  # share of an arrow's capacity below which it is empty, or full
AT_KINK = 1e-9  # a lead so near to one is one
STILL = 1e-12  # velocity, relative to an arm's comparisons, that is rounding
LEGS = 10_000  # straight pieces of a path
CONTINUUM = "the hinge leaves some margins free, and this is where the flow from the start enters"


def fit(wins: Comparisons, start: Floats) -> Fit:
    """Integer scores that minimise F, each component with the mean of `start`; `limit` if no others do.

    Example: 3 wins against 1: the lead is one, whatever the odds.
        >>> found = fit(np.array([[0.0, 3.0], [1.0, 0.0]]), np.zeros(2))
        >>> (found.strength[0] - found.strength[1]).item(), found.limit is None
        (1.0, False)
    """
    free = []

    def solve(matrix: Comparisons) -> tuple[Floats, float, int]:
        dense = matrix.toarray() if sparse.issparse(matrix) else matrix
        flow, scores, steps = _circulation(dense)
        free.append(_has_play(dense, flow, scores))
        return scores, _imbalance(dense, flow, scores), steps

    found = fit_each(wins, start, solve, both_ways=True)
    if not any(free):
        return found
    end, residual, legs = flow(wins.toarray() if sparse.issparse(wins) else wins, start)
    return found._replace(
        limit=end, unique=False, residual=residual, iterations=legs, message=f"{CONTINUUM}; {found.message}"
    )


def flow(wins: Floats, start: Floats) -> tuple[Floats, float, int]:
    """Where gradient descent from `start` comes to rest: (scores, residual, straight pieces of its path).

    Each piece goes along the shortest vector among minus the slopes of F there, pairs at the kink giving
    any share of their pull, until the next pair reaches its kink.
    """
    scores, gross = start.copy(), wins.sum(axis=1) + wins.sum(axis=0) - 2 * np.diag(wins)
    gross = np.where(gross > 0, gross, 1.0)
    for leg in range(LEGS):
        velocity, lead = _descent(wins, scores), _lead(scores)
        residual = float(np.max(np.abs(velocity) / gross))
        if residual <= STILL:
            return scores, residual, leg
        gains, lacks = _lead(velocity), 1 - lead
        comes = (wins > 0) & (lacks * gains > 0) & (np.abs(lacks) > AT_KINK)
        if not comes.any():
            break
        scores = scores + velocity * (lacks[comes] / gains[comes]).min()
    return scores, residual, LEGS


def _descent(wins: Floats, scores: Floats) -> Floats:
    """The shortest of the vectors that F may fall along, (A,)."""
    lead = _lead(scores)
    kink = (np.abs(lead - 1) <= AT_KINK) & (wins > 0)
    sure = np.where((lead < 1) & ~kink, wins, 0.0)
    net = sure.sum(axis=1) - sure.sum(axis=0)
    winner, loser = np.nonzero(kink)
    if not len(winner):
        return net
    pulls = np.zeros((len(net), len(winner)))
    pulls[winner, np.arange(len(winner))] = wins[winner, loser]
    pulls[loser, np.arange(len(winner))] -= wins[winner, loser]
    share = lsq_linear(pulls, -net, bounds=(0, 1), method="bvls", tol=1e-15).x
    return net + pulls @ share


def _circulation(wins: Floats) -> tuple[Floats, Floats, int]:
    """The largest circulation, (A, A), and its potentials, (A,), integers."""
    winner, loser = np.nonzero(wins)
    arrows, scale = np.arange(len(winner)), wins[winner, loser].min()
    ends = (np.concatenate([winner, loser]), np.concatenate([arrows, arrows]))
    signs = np.repeat([1.0, -1.0], len(winner))
    balance = sparse.csr_array((signs, ends), shape=(len(wins), len(winner)))
    capacity = wins[winner, loser] / scale  # tolerances of the solver are absolute
    found = linprog(
        -np.ones(len(winner)),
        A_eq=balance,
        b_eq=np.zeros(len(wins)),
        bounds=np.stack([np.zeros_like(capacity), capacity], axis=1),
        method="highs-ds",
    )
    flow = np.zeros_like(wins)
    flow[winner, loser] = scale * np.clip(found.x, 0, capacity)
    return flow, np.round(-found.eqlin.marginals), int(found.nit)


def _lead(scores: Floats) -> Floats:
    return scores[:, None] - scores


def _imbalance(wins: Floats, flow: Floats, scores: Floats) -> float:
    """Largest |flow in - flow out| of an arm relative to its comparisons, where leads allow a flow."""
    lead = _lead(scores)
    allowed = np.where(lead < 1, wins, np.where(lead > 1, 0.0, flow))
    net = allowed.sum(axis=1) - allowed.sum(axis=0)
    return float(np.max(np.abs(net) / (wins.sum(axis=1) + wins.sum(axis=0))))


def _has_play(wins: Floats, flow: Floats, scores: Floats) -> bool:
    """Whether other scores fit the same circulation: u_i - u_j <= bound_ij, all the shortest paths."""
    empty, full = flow <= BETWEEN * wins, flow >= (1 - BETWEEN) * wins
    bound = np.where((wins > 0) & ~empty, 1.0, np.inf)  # some flow: no lead above one
    bound = np.minimum(bound, np.where((wins > 0) & ~full, -1.0, np.inf).T)  # room: none below
    for middle in range(len(wins)):
        bound = np.minimum(bound, bound[:, middle, None] + bound[middle])
    np.fill_diagonal(bound, 0.0)
    return bool((bound + bound.T > 0).any())
