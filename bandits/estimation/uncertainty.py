"""How sure is the fit of one policy's reward against another's?

With one-hot features, N comparisons carry the information

    Sigma = ridge I + L,      L the Laplacian of the games N_ij + N_ji,

and |pi - nu| in the metric of Sigma^-1 says how far the fitted E_pi[r] - E_nu[r] may be off: pessimism and
exploration both multiply it by a width c, Gamma = c |pi - nu|.  For two arms and ridge -> 0 its square is the
*effective resistance* of the network in which every game is a conductor of 1:

    R_ij = (e_i - e_j)' L^+ (e_i - e_j) = the energy of the unit flow from i to j               (T9.8)

so that chains of comparisons add up, alternatives help, and arms that no chain joins are infinitely far.
Units: a game near a tie tells 1/4, the variance of its label, of what a conductor of 1 says about the
reward: the standard deviation of the maximum likelihood is close to 2 |pi - nu|  (T9.8).

Source: Xiong et al. 2023, arXiv:2312.11456.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg

from bandits import checks
from bandits.checks import Floats
from bandits.estimation.comparisons import checked_wins, policy_of
from bandits.solvers import graph

ROUNDING = 1e-9  # of a policy's mass on a component: what `checks.distribution` lets pass, and more


def information(wins: ArrayLike, ridge: float) -> Floats:
    """Sigma = ridge I + Laplacian of the games, (A, A)  (T9.8).

    Raises:
        ValueError: wins is no matrix of wins, or the ridge is not positive.

    Example:
        >>> information([[0, 2], [1, 0]], ridge=0.5)
        array([[ 3.5, -3. ],
               [-3. ,  3.5]])
    """
    matrix, ridge = checked_wins(wins), checks.positive(ridge, "ridge")
    games = matrix + matrix.T
    return np.diag(games.sum(axis=1) + ridge) - games


def metric(wins: ArrayLike, ridge: float) -> Floats:
    """A matrix that on differences of policies is Sigma^-1, (A, A)  (T9.8).

    They sum to zero, and 1 is an eigenvector of Sigma, of eigenvalue ridge: to put the mean degree in its
    place changes nothing on them, and a small ridge costs no digits where all arms hang together.
    """
    sigma = information(wins, ridge)
    return linalg.inv(sigma + np.trace(sigma) / len(sigma) ** 2)


def uncertainty(policy: ArrayLike, origin: ArrayLike, wins: ArrayLike, ridge: float = 0.0) -> Floats:
    """|pi - nu| in the metric of Sigma^-1, (...)  (T9.8).

    Args:
        policy: pi, (..., A); `np.eye(A)` asks for every arm.
        origin: nu, (A,), the policy against which rewards are measured.
        wins: (A, A).
        ridge: lambda; 0 is its limit: infinite where a component of the comparisons has not the same mass
            under both policies.

    Raises:
        ValueError: a policy is no distribution over the arms, wins is no such matrix, or the ridge is
        negative.

    Example: arms 0 and 2 met arm 1 once each: a chain of two.
        >>> chain = [[0, 1, 0], [0, 0, 0], [0, 1, 0]]
        >>> round(float(uncertainty([1.0, 0.0, 0.0], [0.0, 0.0, 1.0], chain)) ** 2, 12)
        2.0
    """
    matrix, pi = checked_wins(wins), checks.distribution(policy, "policy")
    checks.same_arms(pi, matrix[0], "policy", "wins")
    nu = policy_of(origin, "origin", matrix[0])
    apart = pi - nu
    if checks.deviation(ridge, "ridge") > 0:
        return np.sqrt(np.maximum((apart @ metric(matrix, ridge) * apart).sum(axis=-1), 0.0))
    rows = apart.reshape(-1, len(matrix))
    return np.array([_without_ridge(row, matrix + matrix.T) for row in rows]).reshape(pi.shape[:-1])[()]


def _without_ridge(apart: Floats, games: Floats) -> float:
    """The root of the energy of the flow that carries one policy's mass to the other."""
    if np.abs(np.bincount(graph.components(games), apart)).max() > ROUNDING:
        return np.inf
    return math.sqrt(max(float(apart @ graph.solve(games, apart)), 0.0))


def effective_resistance(wins: ArrayLike) -> Floats:
    """R_ij of the network whose conductors are the games, (A, A); infinite where no chain joins  (T9.8).

    Raises:
        ValueError: wins is no matrix of wins.

    Example: a triangle of single games: 1 beside 1 + 1.
        >>> effective_resistance([[0, 1, 1], [0, 0, 1], [0, 0, 0]]).round(6)[0]
        array([0.      , 0.666667, 0.666667])
    """
    matrix = checked_wins(wins)
    games = matrix + matrix.T
    labels = graph.components(games)
    resistance = np.full(games.shape, np.inf)
    for label in range(labels.max() + 1):
        members = np.flatnonzero(labels == label)
        inner = games[np.ix_(members, members)]
        laplacian = np.diag(inner.sum(axis=1)) - inner
        potential = np.zeros(inner.shape)  # [i, j]: of i, if a unit enters at j and leaves at the first
        potential[1:, 1:] = linalg.inv(laplacian[1:, 1:])
        own = np.diag(potential)
        resistance[np.ix_(members, members)] = own[:, None] + own - potential - potential.T
    np.fill_diagonal(resistance, 0.0)
    return resistance
