"""Which strengths explain the wins best, and when are there none?  The Bradley-Terry fit.

`wins[i, j]` = N_ij >= 0 is the weight of "arm i beat arm j": counts of a data set, or W(i, j) p(i beats j)
for a population.  The weighted Bradley-Terry loss of the strengths x is

    f(x) = sum_ij N_ij * -log sigma(x_i - x_j),          sigma(d) = 1 / (1 + e^-d),

which is DPO's loss with x = beta h (T5.1), for any preferences, Bradley-Terry or not (T5.2).  Its gradient is
(flow out of i) - (flow into i), N_ij sigma(x_j - x_i) flowing from j to i; its Hessian is the Laplacian of
the comparison graph with conductances (N_ij + N_ji) sigma sigma'.

Existence (T5.3; Ford 1957, Zermelo 1929).  Draw an arrow i -> j where N_ij > 0.  A minimiser exists iff each
weakly connected component is strongly connected; otherwise the gaps along the arrows between strong
components grow for ever.

Axes: arms, and arms x arms with the winner first.  Sources: Ford 1957, Amer. Math. Monthly 64(8); Zermelo
1929, Math. Z. 29; damping: Sun & Tran-Dinh 2019, arXiv:1703.04599; sweeps: Newman 2023, arXiv:2207.00076.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.special import expit

from bandits.checks import Floats
from bandits.solvers import graph
from bandits.solvers.ford import Comparisons, Fit, fit_each
from bandits.solvers.laplacian import conjugate_gradients, eliminate, spectral_gap_bound

TOLERANCE = 1e-13  # net flow of each arm, relative to its gross flow
LAST_STEP = 1e-6  # Newton's error is the square of its last step
MAX_STEPS = 500
SMALL = 64  # so few arms are eliminated at once; in larger graphs, so many are looked at as hubs
DENSE = 1000  # sparse comparisons of at most so many arms are solved as dense ones
WELL_CONNECTED = 1e-7  # certified spectral gap above which conjugate gradients lose few digits
ROWS = 64  # rows of the comparisons evaluated together: they stay in the cache


def fit(wins: ArrayLike | sparse.sparray | sparse.spmatrix, start: ArrayLike | None = None) -> Fit:
    """Strengths x that minimise sum_ij N_ij * -log sigma(x_i - x_j)  (T5.1-T5.3).

    Each weakly connected component keeps the mean of `start`, as the gradient flow does.

    Where no minimiser exists, gradient flow still converges inside each strong component, and drives the
    gaps along arrows between them to +inf.  If exactly one weak component diverges, and exactly one of its
    strong components, the top, never loses to an outsider, all mass ends in the top, where x is the inner
    fit: that is `limit`.  With two tops, or two diverging components, `limit` is None: the optimiser decides
    what becomes of the gap between them, not the loss (T5.3).

    Accuracy: the residual is relative to each arm's own flow, so that arms of weight 1e-24 are solved as
    well as the others, and at most 1e-13, or the rounding of the strengths, 4 eps max |x_i - x_j|.  Groups
    that are linked weakly, even by 1e-24 of what they exchange inside, are placed as accurately; only sparse
    comparisons of more than 1000 arms are solved without that care.

    Args:
        wins: (A, A) array or sparse matrix, N_ij >= 0 on any scale; the diagonal does not matter.
        start: (A,) strengths at the start, default 0.

    Raises:
        ValueError: `wins` is not a square matrix of finite, non-negative numbers, or `start` does not fit.

    Example: 3 wins against 1 are odds of 3.
        >>> found = fit([[0, 3], [1, 0]])
        >>> found.exists, float(np.exp(found.strength[0] - found.strength[1]).round(12))
        (True, 3.0)
        >>> fit([[0, 3], [0, 0]]).limit
        array([  0., -inf])
    """
    return fit_each(wins, start, _solve)


# ---- Newton on the logistic Laplacian ---------------------------------------------------------------------


def _solve(wins: Comparisons) -> tuple[Floats, float, int]:
    """The fit of one strong component by Newton's method: (strength, residual, steps).  Rescales `wins`.

    A whole step descends if the largest change of a gap is delta <= 1, the fraction log(1 + delta) / delta of
    it from anywhere (T5.2); far away, the fraction is doubled as long as that still descends.  Unequal
    weights are first evened out by sweeps of Newman's iteration, x_i += log(flow in / flow out): only while
    the worst ratio is well below the best so far, hence finitely often.
    """
    wins = wins.toarray() if sparse.issparse(wins) and wins.shape[0] <= DENSE else wins
    wins /= wins.max()
    links = wins if sparse.issparse(wins) else np.empty_like(wins)  # work space
    x, safe = _guess(wins), np.zeros(wins.shape[0])
    delta = residual = best = np.inf
    for steps in range(MAX_STEPS + 1):
        pulls = _pulls(wins, links, x)
        previous, residual = residual, pulls.imbalance
        balanced = residual <= max(TOLERANCE, 4 * np.finfo(float).eps * np.ptp(x))
        if steps == MAX_STEPS or (delta <= LAST_STEP and (balanced or residual >= previous)):
            break
        worst = np.max(np.abs(pulls.log_ratio))
        share, progress = (0.5, 0.9) if worst > 1 else (1 - 1 / len(x), 0.5)
        if 0.03 < worst < progress * best:
            x, best = x + share * pulls.log_ratio, worst
            continue
        with np.errstate(all="ignore"):  # too far out, flows underflow to 0 / 0
            step = _newton_step(wins, pulls, x)
        delta = np.ptp(step)
        if not np.isfinite(delta):
            x = (x + safe) / 2
            continue
        fraction = np.log1p(delta) / delta if delta > 1 else 1.0
        while delta > 3 and _descends(_pulls(wins, links, x + 2 * fraction * step), step, worst):
            fraction *= 2
        x, safe = x + fraction * step, x
        x -= x.mean()
    return x, residual, steps


def _guess(wins: Comparisons) -> Floats:
    """Strengths from the log-odds of each arm's wins: exact for two arms, close for many.

    If the opponents' strengths are normal with variance s2, the mean win rate of strength x is about
    sigma(x / sqrt(1 + pi s2 / 8)); so the log-odds, of variance v, are stretched by 1 / sqrt(1 - pi v / 8).
    """
    size = wins.shape[0]
    log_odds = np.log(wins.sum(axis=1)) - np.log(wins.sum(axis=0))
    variance = min((size - 2) / size * np.var(log_odds), 2.0)
    x = (size - 1) / size * log_odds / np.sqrt(1 - np.pi / 8 * variance)
    return x - x.mean()


class _Pulls(NamedTuple):
    """What pulls at the arms.  The conductances are odds_i (links + links.T)_ij odds_j."""

    into: Floats  # (A,) sum_j N_ij sigma(x_j - x_i): wins pull up
    out: Floats  # (A,) sum_j N_ji sigma(x_i - x_j): losses pull down
    links: Comparisons  # (A, A)
    odds: Floats  # (A,)

    @property
    def net(self) -> Floats:
        """The ascent direction of the likelihood, (A,)."""
        return self.into - self.out

    @property
    def imbalance(self) -> float:
        """Largest |flow in - flow out| / (flow in + flow out) over the arms."""
        with np.errstate(invalid="ignore"):  # all of an arm's flows underflowed: NaN, which never passes
            return float(np.max(np.abs(self.net) / (self.into + self.out)))

    @property
    def log_ratio(self) -> Floats:
        """log(flow in / flow out), (A,): zero at the fit."""
        with np.errstate(divide="ignore", invalid="ignore"):  # underflow: infinite, or NaN
            return np.log(self.into) - np.log(self.out)

    def conduct(self, v: Floats) -> Floats:
        """The matrix of conductances times v."""
        scaled = self.odds * v
        return self.odds * (self.links @ scaled + scaled @ self.links)


def _pulls(wins: Comparisons, links: Comparisons, x: Floats) -> _Pulls:
    """The pulls at x; dense `links` are overwritten."""
    if sparse.issparse(wins):
        fall = x[wins.indices] - np.repeat(x, np.diff(wins.indptr))
        flow, links = wins.copy(), wins.copy()
        flow.data *= expit(fall)
        links.data = flow.data * expit(-fall)
        return _Pulls(flow.sum(axis=1), flow.sum(axis=0), links, np.ones_like(x))
    near = np.ptp(x) < 300
    odds = np.exp(x - (x.max() + x.min()) / 2) if near else np.ones_like(x)
    into, out = np.empty_like(x), np.zeros_like(x)
    for first in range(0, len(x), ROWS):
        rows = slice(first, first + ROWS)
        if near:  # sigma(x_j - x_i) = odds_j / (odds_i + odds_j): one division a pair, no exponential
            loses = beats = 1.0 / (odds[rows, None] + odds)
        else:
            fall = x - x[rows, None]
            loses, beats = expit(fall), expit(-fall)
        pull = wins[rows] * loses
        into[rows] = pull @ odds
        out += pull.sum(axis=0)
        np.multiply(pull, beats, out=links[rows])
    return _Pulls(into, out * odds, links, odds)


def _descends(pulls: _Pulls, step: Floats, worst: float) -> bool:
    """Does the loss still fall along the step, beyond rounding, and did no light arm fly off?"""
    falls = pulls.net @ step > 1e-10 * ((pulls.into + pulls.out) @ np.abs(step))
    return bool(falls and np.max(np.abs(pulls.log_ratio)) <= max(1.0, worst))


def _newton_step(wins: Comparisons, pulls: _Pulls, x: Floats) -> Floats:
    """d with L d = (flow in - flow out), L the Laplacian of the conductances."""
    degree = pulls.conduct(np.ones_like(x))
    if sparse.issparse(wins) or (len(x) > SMALL and _well_connected(pulls, degree)):
        accuracy = max(1e-10, 0.01 * pulls.imbalance)  # below Newton's own error
        step = conjugate_gradients(pulls.conduct, degree, pulls.net, accuracy)
        if step is not None:
            return step
    if sparse.issparse(wins):
        return graph.solve(pulls.links + pulls.links.T, pulls.net)
    half, flow = pulls.odds[:, None] * pulls.links * pulls.odds, wins * expit(x - x[:, None])
    return eliminate(half + half.T, flow - flow.T)


def _well_connected(pulls: _Pulls, degree: Floats) -> bool:
    """Do the links to the arms of highest degree certify a spectral gap?"""
    hubs = np.argsort(degree)[-SMALL:]
    half = pulls.links[:, hubs] + pulls.links[hubs].T
    to_hubs = pulls.odds[:, None] * half * pulls.odds[hubs]
    return spectral_gap_bound(to_hubs, hubs, degree) > WELL_CONNECTED
