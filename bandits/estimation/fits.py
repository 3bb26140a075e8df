"""Which rewards and preferences explain the comparisons best?

    reward        Bradley-Terry's maximum likelihood, with a ridge:
                  r minimises  sum_ij N_ij * -log sigma(r_i - r_j) + ridge/2 |r|^2      (T5.2)
    preference    the share of games won, (N_ij + prior) / (N_ij + N_ji + 2 prior): no score is assumed

Both have what alignment needs: DPO on the data set ends at ref exp(r / beta)/Z (T5.2), and IPO in the world
of these preferences is `Bandit(preference=...)` like any other.

The reward is known up to a constant on each component of the comparisons; the fit's mean there is 0, with a
ridge or without (its gradient, a flow between arms, sums to zero).

Source: Xiong et al. 2023, arXiv:2312.11456 (the maximum likelihood of its algorithms); damping: Sun &
Tran-Dinh 2019, arXiv:1703.04599.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg
from scipy.special import expit

from bandits import checks
from bandits.checks import Floats
from bandits.estimation.comparisons import checked_wins
from bandits.solvers import bradley_terry

SMALLEST_RIDGE = 1e-10  # of the largest number of wins: the Hessian keeps six digits
LAST_STEP = 1e-8  # Newton's error is the square of its last step
MOST_STEPS = 1000  # steps shrink no gap by less than log(1 + delta): some ten are taken


def fitted_reward(wins: ArrayLike, ridge: float = 0.0) -> Floats:
    """Bradley-Terry's rewards, (A,), of mean 0 on each component of the comparisons  (T5.2, T9.8).

    Args:
        wins: (A, A), how often the row's arm beat the column's.
        ridge: lambda; of the reward's size: a normal prior of variance 1/lambda on each arm.

    Raises:
        ValueError: wins is no such matrix, the ridge is negative or below 1e-10 of the largest number of
            wins, or there is no ridge and no maximum: an arm that never lost to the others runs away  (T5.3).

    Example: one sure win, held by the ridge: sigma(-2x) = ridge x at x = .5
        >>> fitted_reward([[0, 1], [0, 0]], ridge=2 * expit(-1.0)).round(12)
        array([ 0.5, -0.5])
    """
    matrix, ridge = checked_wins(wins), _not_negative(ridge, "ridge")
    if ridge > 0:
        return _newton(matrix, ridge)
    found = bradley_terry.fit(matrix)
    if not found.exists:
        raise ValueError(f"wins must have a Bradley-Terry fit, but {found.message}; give a ridge > 0")
    return found.strength


def fitted_preference(wins: ArrayLike, prior: float = 0.0) -> Floats:
    """Share of the games that the row's arm won, (A, A); 1/2 for those who never met  (T9.9).

    Args:
        wins: (A, A), how often the row's arm beat the column's.
        prior: games that each is taken to have won besides.

    Raises:
        ValueError: wins is no such matrix, or the prior is negative.

    Example:
        >>> fitted_preference([[0, 3, 0], [1, 0, 0], [0, 0, 0]], prior=1.0).round(4)
        array([[0.5   , 0.6667, 0.5   ],
               [0.3333, 0.5   , 0.5   ],
               [0.5   , 0.5   , 0.5   ]])
    """
    matrix = checked_wins(wins) + _not_negative(prior, "prior")
    games = matrix + matrix.T
    share = np.where(games > 0, matrix / np.where(games > 0, games, 1.0), 0.5)
    np.fill_diagonal(share, 0.5)
    return share


def _not_negative(value: float, name: str) -> float:
    found = checks.number(value, name)
    if found < 0:
        raise ValueError(f"{name} must be 0 or more, but {name} = {checks.shown(value)}; leave it out for 0")
    return found


def _newton(wins: Floats, ridge: float) -> Floats:
    """The penalised fit.  The fraction log(1 + delta)/delta of a step descends from anywhere  (T5.2)."""
    if ridge < SMALLEST_RIDGE * wins.max():
        least = SMALLEST_RIDGE * wins.max()
        raise ValueError(f"ridge must be 0 or at least {least:.3g} for these wins, but ridge = {ridge!r}")
    x = np.zeros(len(wins))
    for _ in range(MOST_STEPS):
        loses = expit(x - x[:, None])
        flow = wins * loses
        conductance = flow * loses.T
        conductance += conductance.T
        hessian = np.diag(conductance.sum(axis=1) + ridge) - conductance
        step = linalg.solve(hessian, flow.sum(axis=1) - flow.sum(axis=0) - ridge * x, assume_a="pos")
        delta = max(np.ptp(step), np.abs(step).max())
        x += step * (np.log1p(delta) / delta if delta > 1 else 1.0)
        if delta <= LAST_STEP:
            break
    return x
