"""Which policy is best if the fit is as wrong as it may be?

Rewards within the width c of the fit r^, {r : |r - r^| <= c in the metric of Sigma}, are all believable.
Only differences to an origin nu can be known, and the best policy in the worst of these worlds maximises

    E_pi[r^] - c |pi - nu|_(Sigma^-1) - beta KL(pi || ref)         Algorithm 1, Option I     (T9.8)

Cheaper, each arm can be punished by itself, which is never less, since the norm is convex:

    pi = ref exp((r^ - Gamma)/beta)/Z,   Gamma(y) = c |e_y - nu|   Algorithm 1, Option II    (T9.8, T5.4)

which DPO trains, with Gamma as its margin.  With nu = ref a width beyond min_k |r^ - k|_Sigma makes Option I
stay at the reference: no gain is sure.

Source: Xiong et al. 2023, "Iterative Preference Learning from Human Feedback", arXiv:2312.11456.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg
from scipy.optimize import brentq

from bandits import checks
from bandits.checks import Floats
from bandits.estimation.fits import fitted_reward
from bandits.estimation.uncertainty import information, uncertainty
from bandits.policy import log_policy_of, tilt

MOST_STEPS = 200  # of Newton's method at one stiffness: a handful is taken
ACCURACY = 1e-13  # of Newton's residual, relative to the sizes that cancel in it
STIFFEST = 1e9  # of the pull to the origin, against the softest: beyond, the policy rests there


def pessimistic_reward(wins: ArrayLike, origin: ArrayLike, *, width: float, ridge: float) -> Floats:
    """The fitted reward of each arm less its uncertainty, r^ - c |e_y - nu|, (A,)  (T9.8).

    Args:
        wins: (A, A), how often the row's arm beat the column's.
        origin: nu, (A,), usually the reference: what is known is how much better than it an arm is.
        width: c, 0 or more; 2 is about one standard deviation where games are near a tie.
        ridge: lambda > 0, of the fit and of Sigma.

    Raises:
        ValueError: wins is no such matrix, origin no distribution, the width is negative or the ridge not
        positive.

    Example: arm 2 was never compared.
        >>> wins = [[0, 6, 0], [2, 0, 0], [0, 0, 0]]
        >>> pessimistic_reward(wins, [0.5, 0.5, 0.0], width=1.0, ridge=0.5).round(3)
        array([ 0.299, -0.647, -1.732])
    """
    checks.positive(ridge, "ridge")
    spread = uncertainty(np.eye(np.shape(wins)[-1]), origin, wins, ridge)
    return fitted_reward(wins, ridge) - checks.deviation(width, "width") * spread


def pointwise_policy(
    wins: ArrayLike,
    reference: ArrayLike,
    beta: float,
    *,
    width: float,
    ridge: float,
    origin: ArrayLike | None = None,
) -> Floats:
    """ref exp((r^ - Gamma)/beta)/Z, (A,): offline, each arm punished by itself  (Option II; T9.8, T5.4).

    Args:
        reference: ref, (A,).
        beta: strength of the KL to the reference.
        origin: nu; the reference by default.
        wins, width, ridge: as for `pessimistic_reward`.

    Raises:
        ValueError: as `pessimistic_reward`, or beta is not positive.
    """
    ref = checks.distribution(reference, "reference")
    reward = pessimistic_reward(wins, ref if origin is None else origin, width=width, ridge=ridge)
    checks.same_arms(ref, reward, "reference", "wins")
    return np.exp(tilt(log_policy_of(ref), reward, checks.positive(beta, "beta")))


def pessimistic_policy(
    wins: ArrayLike,
    reference: ArrayLike,
    beta: float,
    *,
    width: float,
    ridge: float,
    origin: ArrayLike | None = None,
) -> Floats:
    """argmax E_pi[r^] - c |pi - nu|_(Sigma^-1) - beta KL(pi || ref), (A,): offline  (Option I; T9.8).

    The policy is ref exp((r^ - w)/beta)/Z, w = c Sigma^-1 (pi - nu)/|pi - nu|: r^ - w is the worst reward
    that is believable.  Found as the end of a spring of stiffness k instead of the norm's pull, k|pi - nu| =
    c.

    Args, Raises: as for `pointwise_policy`; besides, the origin may have no mass outside the reference.

    Example: what is known (arm 0 beat arm 1) is used, the guess about arm 2 is not.
        >>> wins = [[0, 60, 0], [20, 0, 0], [0, 1, 0]]
        >>> pessimistic_policy(wins, [0.3, 0.3, 0.4], 0.5, width=2.0, ridge=0.5).round(3)
        array([0.504, 0.087, 0.409])
    """
    ref = checks.distribution(reference, "reference")
    nu = ref if origin is None else checks.distribution(origin, "origin")
    sigma, reward = information(wins, ridge), fitted_reward(wins, ridge)
    checks.same_arms(ref, reward, "reference", "wins")
    checks.within(nu, ref.shape, "origin")
    checks.inside(nu, ref, "origin")
    beta, width = checks.positive(beta, "beta"), checks.deviation(width, "width")
    known = ref > 0
    inner = linalg.inv(sigma)[np.ix_(known, known)]
    policy = np.zeros_like(ref)
    policy[known] = _within(reward[known], np.log(ref[known]), nu[known], inner, beta, width)
    return policy


def _within(reward: Floats, log_ref: Floats, nu: Floats, metric: Floats, beta: float, width: float) -> Floats:
    """The maximiser on the reference's support: at the origin, or where stiffness x distance is the width."""
    plain = np.exp(tilt(log_ref, reward, beta))
    if width == 0 or width >= _most(reward, log_ref, nu, metric, beta):
        return nu if width else plain
    state = [reward / beta]

    def excess(log_stiffness: float) -> float:
        stiffness = np.exp(log_stiffness)
        state[0] = _spring(reward, log_ref, nu, stiffness * metric, beta, state[0])
        return float(stiffness * _length(np.exp(tilt(log_ref, state[0], 1.0)) - nu, metric) - width)

    farthest = max(_length(vertex - nu, metric) for vertex in np.eye(len(nu)))
    low = high = np.log(width / farthest)
    while excess(high) < 0:
        if high > low + np.log(STIFFEST):
            return nu
        high += 1.0
    root = brentq(excess, low - 1.0, high, xtol=1e-14, rtol=1e-15)
    excess(root)
    return np.exp(tilt(log_ref, state[0], 1.0))


def _most(reward: Floats, log_ref: Floats, nu: Floats, metric: Floats, beta: float) -> float:
    """The width that keeps the policy at the origin: min_k |rho - k|_Sigma, rho = r^ - beta log nu/ref."""
    if nu.min() == 0:
        return np.inf  # the KL's slope is infinite there
    rho, one = reward - beta * (np.log(nu) - log_ref), np.ones_like(nu)
    weighed = linalg.solve(metric, np.stack([rho, one], axis=-1), assume_a="pos")
    rho = rho - (one @ weighed[:, 0]) / (one @ weighed[:, 1])
    return float(np.sqrt(rho @ linalg.solve(metric, rho, assume_a="pos")))


def _length(apart: Floats, metric: Floats) -> float:
    return float(np.sqrt(apart @ metric @ apart))


def _spring(reward: Floats, log_ref: Floats, nu: Floats, pull: Floats, beta: float, z: Floats) -> Floats:
    """z = log pi/ref + constant with beta z = r^ - pull (pi - nu): Newton's method, halved until it helps.

    Its Jacobian beta I + pull H, H = diag pi - pi pi', has eigenvalues of at least beta.
    """
    scale = np.abs(reward).max() + np.abs(pull).max()

    def miss(z: Floats) -> tuple[Floats, Floats]:
        policy = np.exp(tilt(log_ref, z, 1.0))
        return beta * z - reward + pull @ (policy - nu), policy

    off, policy = miss(z)
    for _ in range(MOST_STEPS):
        if np.abs(off).max() <= ACCURACY * scale:
            break
        curvature = np.diag(policy) - np.outer(policy, policy)
        step = linalg.solve(beta * np.eye(len(z)) + pull @ curvature, off)
        fraction = 1.0
        while fraction > 1e-6 and np.linalg.norm(miss(z - fraction * step)[0]) >= np.linalg.norm(off):
            fraction /= 2
        if fraction <= 1e-6:  # rounding: no step helps any more
            break
        z = z - fraction * step
        off, policy = miss(z)
    return z
