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

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import linalg
from scipy.optimize import brentq

from bandits import checks
from bandits.checks import Floats
from bandits.estimation.comparisons import checked_wins, policy_of
from bandits.estimation.fits import fitted_reward
from bandits.estimation.uncertainty import metric, uncertainty
from bandits.policy import log_policy_of, tilt

MOST_STEPS = 500  # of Newton's method at one stiffness: a handful is taken
LAST_STEP = 1e-8  # in units of beta: Newton's error is the square of its last step
ROUNDING = 1e-12  # of the width
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
    reward = fitted_reward(wins, checks.positive(ridge, "ridge"))
    spread = uncertainty(np.eye(len(reward)), origin, wins, ridge)
    return reward - checks.deviation(width, "width") * spread


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

    Example: arm 2 won once, its only comparison: the wider the doubt, the less that counts.

        >>> wins = [[0, 60, 0], [20, 0, 0], [0, 1, 0]]
        >>> doubts = [pointwise_policy(wins, [0.3, 0.3, 0.4], 0.5, width=c, ridge=0.5) for c in (0.0, 2.0)]
        >>> [round(float(policy[2]), 3) for policy in doubts]
        [0.612, 0.447]
    """
    ref = policy_of(reference, "reference", checked_wins(wins)[0])
    reward = pessimistic_reward(wins, ref if origin is None else origin, width=width, ridge=ridge)
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
    matrix = checked_wins(wins)
    ref = policy_of(reference, "reference", matrix[0])
    nu = ref if origin is None else policy_of(origin, "origin", matrix[0])
    checks.inside(nu, ref, "origin")
    inverse, reward = metric(matrix, ridge), fitted_reward(matrix, ridge)
    beta, width = checks.positive(beta, "beta"), checks.deviation(width, "width")
    known = ref > 0
    sigma = linalg.inv(inverse[np.ix_(known, known)])
    policy = np.zeros_like(ref)
    policy[known] = _within(reward[known], np.log(ref[known]), nu[known], sigma, beta, width)
    return policy


def _within(reward: Floats, log_ref: Floats, nu: Floats, sigma: Floats, beta: float, width: float) -> Floats:
    """ref exp((r^ - w)/beta)/Z on the reference's support, w of length c, which lowers its value most."""
    if width == 0:
        return np.exp(tilt(log_ref, reward, beta))
    if width >= _most(reward, log_ref, nu, sigma, beta):
        return nu
    w = np.zeros_like(nu)

    def excess(log_stiffness: float) -> float:
        nonlocal w
        w = _spring(reward, log_ref, nu, sigma / math.exp(log_stiffness), beta, w)
        return math.sqrt(w @ sigma @ w) / width - 1

    apart = np.eye(len(nu)) - nu
    farthest = (apart @ linalg.inv(sigma) * apart).sum(axis=-1).max()
    low = high = math.log(width / math.sqrt(farthest))  # the length is at most stiffness x distance
    while (over := excess(high)) < -ROUNDING:
        if high > low + math.log(STIFFEST):
            return nu
        high += 1.0
    if over > ROUNDING:
        excess(brentq(excess, low - 1.0, high, xtol=1e-13))
    return np.exp(tilt(log_ref, reward - w, beta))


def _most(reward: Floats, log_ref: Floats, nu: Floats, sigma: Floats, beta: float) -> float:
    """The width that keeps the policy at the origin: min_k |rho - k|_Sigma, rho = r^ - beta log nu/ref."""
    if nu.min() == 0:
        return math.inf  # the KL's slope is infinite there
    rho = reward - beta * (np.log(nu) - log_ref)
    rho -= sigma.sum(axis=0) @ rho / sigma.sum()
    return math.sqrt(rho @ sigma @ rho)


def _spring(reward: Floats, log_ref: Floats, nu: Floats, softness: Floats, beta: float, w: Floats) -> Floats:
    """argmin of beta log E_ref[exp((r^ - w)/beta)] + w.nu + w.softness.w/2, convex, by Newton's method.

    As of T5.2's, the fraction log(1 + delta)/delta of a step descends from anywhere, delta its spread in
    units of beta; it is doubled as long as that still descends.
    """

    def slope(w: Floats) -> tuple[Floats, Floats]:
        policy = np.exp(tilt(log_ref, reward - w, beta))
        return softness @ w - policy + nu, policy

    for _ in range(MOST_STEPS):
        falls, policy = slope(w)
        curvature = (np.diag(policy) - np.outer(policy, policy)) / beta
        step = -linalg.solve(softness + curvature, falls, assume_a="pos")
        delta = float(np.ptp(step)) / beta
        fraction = math.log1p(delta) / delta if delta > 1 else 1.0
        while delta > 3 and slope(w + 2 * fraction * step)[0] @ step < 0:
            fraction *= 2
        w = w + fraction * step
        if delta <= LAST_STEP:
            break
    return w
