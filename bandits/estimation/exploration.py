"""What should be compared next?  Two policies that the comparisons so far cannot tell apart.

Online, the main policy is the best for the fit, pi1 = ref exp(r^/beta)/Z, and an explorer meets it: the
policy of the largest uncertainty against it among those that may still be better,

    pi2 = argmax |pi - pi1|  where  beta KL(pi || pi1) <= c |pi - pi1|,  in the metric of Sigma^-1   (T9.8)

(a policy with beta KL(pi || pi1) beyond c |pi - pi1| loses to pi1 in every believable world).  In the hybrid
of offline and online the reference meets the main policy instead: offline data must cover the rest.  With no
KL to hold them the two would be arms: the pair of the largest effective resistance.

Maximising a convex function has several answers; each arm's direction is followed to the best policy along
it, then the direction is turned to the gradient there, which never loses, and the best of all is kept.

Source: Xiong et al. 2023, "Iterative Preference Learning from Human Feedback", arXiv:2312.11456, Algorithm 2.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from bandits import checks
from bandits.checks import Floats
from bandits.estimation.comparisons import checked_wins, policy_of
from bandits.estimation.fits import fitted_reward
from bandits.estimation.uncertainty import metric, uncertainty
from bandits.policy import log_policy_of, tilt

CLOSEST = 1e-100  # width in units of beta below which the explorer is the main policy
MOST_TURNS = 500  # of one arm's direction
FARTHEST = 40.0  # log s beyond its least value: arms that differ by less are tied
PROGRESS = 1e-10  # relative growth of the distance from which on it is not turned again


def next_pair(wins: ArrayLike, ridge: float) -> tuple[int, int]:
    """The two arms whose rewards are known least against each other  (T9.8).

    Raises:
        ValueError: wins is no matrix of wins, or the ridge is not positive.

    Example: arms 0 and 1 met often, arm 2 met arm 1 once.
        >>> next_pair([[0, 5, 0], [4, 0, 1], [0, 0, 0]], ridge=0.1)
        (0, 2)
    """
    inverse = metric(wins, ridge)
    own = np.diag(inverse)
    apart = np.triu(own[:, None] + own - inverse - inverse.T, 1)
    first, second = np.unravel_index(np.argmax(apart), apart.shape)
    return int(first), int(second)


def online_step(
    wins: ArrayLike, reference: ArrayLike, beta: float, *, width: float, ridge: float
) -> tuple[Floats, Floats]:
    """The main policy and its explorer, whose answers are to be compared next, each (A,)  (T9.8).

    Args:
        wins: (A, A), how often the row's arm beat the column's so far; zeros to begin with.
        reference: ref, (A,).
        beta: strength of the KL to the reference.
        width: c, 0 or more; 0 explores nothing: both are the main policy.
        ridge: lambda > 0, of the fit and of Sigma.

    Raises:
        ValueError: wins is no such matrix, the reference no distribution, the width is negative, or beta or
            the ridge is not positive.

    Example: nothing is known yet: the main policy is the reference, and the explorer is far from it.

        >>> main, explores = online_step(np.zeros((2, 2)), [0.75, 0.25], 1.0, width=1.0, ridge=0.5)
        >>> main.round(4), bool(np.abs(explores - main).max() > 0.1)
        (array([0.75, 0.25]), True)
    """
    main = _main(wins, reference, beta, ridge)
    return main, explorer(main, wins, beta, width=width, ridge=ridge)


def hybrid_step(wins: ArrayLike, reference: ArrayLike, beta: float, *, ridge: float) -> tuple[Floats, Floats]:
    """The main policy of all comparisons and the reference that it meets, each (A,)  (T9.8).

    Args, Raises: as for `online_step`.

    Example: nothing is known yet: both are the reference.

        >>> main, meets = hybrid_step(np.zeros((2, 2)), [0.75, 0.25], 1.0, ridge=0.5)
        >>> main.round(4), meets
        (array([0.75, 0.25]), array([0.75, 0.25]))
    """
    return _main(wins, reference, beta, ridge), np.array(checks.distribution(reference, "reference"))


def explorer(main: ArrayLike, wins: ArrayLike, beta: float, *, width: float, ridge: float) -> Floats:
    """The policy farthest from the main one that may still be better, (A,)  (T9.8).

    Args:
        main: pi1, (A,).
        wins, beta, width, ridge: as for `online_step`.

    Raises:
        ValueError: as `online_step`, or `main` is no distribution.

    Example: all but arm 2 is known, so the explorer asks for arm 2.
        >>> wins = [[0, 90, 0], [60, 0, 0], [0, 0, 0]]
        >>> explorer([0.4, 0.3, 0.3], wins, 1.0, width=1.0, ridge=0.5).round(3)
        array([0., 0., 1.])
    """
    pi1 = policy_of(main, "main", checked_wins(wins)[0])
    beta, width = checks.positive(beta, "beta"), checks.deviation(width, "width")
    inverse = metric(wins, ridge)
    if width / beta < CLOSEST:
        return np.array(pi1)
    log_main = log_policy_of(pi1)
    found = [_climb(arm, log_main, inverse, width / beta) for arm in np.eye(len(pi1))[pi1 > 0]]
    return found[int(np.argmax(uncertainty(np.stack(found), pi1, wins, ridge)))]


def _main(wins: ArrayLike, reference: ArrayLike, beta: float, ridge: float) -> Floats:
    ref = policy_of(reference, "reference", checked_wins(wins)[0])
    reward = fitted_reward(wins, checks.positive(ridge, "ridge"))
    return np.exp(tilt(log_policy_of(ref), reward, checks.positive(beta, "beta")))


def _climb(arm: Floats, log_main: Floats, inverse: Floats, reach: float) -> Floats:
    """From one arm's direction to a policy that no turn of it improves."""
    main, policy, length = np.exp(log_main), np.exp(log_main), 0.0
    apart = arm - main
    for _ in range(MOST_TURNS):
        before = np.sqrt(apart @ inverse @ apart)
        if before == 0:
            break
        gradient = inverse @ apart / before
        policy = _farthest(gradient, log_main, reach)
        apart = policy - main
        previous, length = length, float(gradient @ apart)
        if length <= previous * (1 + PROGRESS):
            break
    return policy


def _farthest(gradient: Floats, log_main: Floats, reach: float) -> Floats:
    """The largest gain gradient.(pi - pi1) with KL(pi || pi1) <= reach * gain.

    It is pi1 exp(s gradient)/Z with s as large as may be: KL / gain rises with s, and is below the reach at
    s = reach by Jensen's inequality.
    """
    main = np.exp(log_main)
    level = gradient - main @ gradient

    def excess(log_s: float) -> float:
        """KL - reach * gain, whose first orders cancel: KL = s gain - log E_pi1[exp(s level)]."""
        s = math.exp(log_s)
        shift = top if s * top > 1 else 0.0
        grown = main * np.expm1(s * level) if shift == 0 else main * np.exp(s * (level - shift))
        mass = float(grown.sum()) + (shift == 0)
        gain = float(grown @ level) / mass
        log_mean = math.log1p(mass - 1) if shift == 0 else math.log(mass) + s * shift
        return (s - reach) * gain - log_mean

    top = float(np.where(main > 0, level, -np.inf).max())
    best = np.where(level >= top - 1e-12 * abs(top), main, 0.0)
    if -np.log(best.sum()) <= reach * top:
        return best / best.sum()
    low = high = math.log(reach)
    if excess(low) >= 0:  # by rounding: the main policy is all but one arm
        return np.exp(tilt(log_main, level, math.exp(-low)))
    while excess(high) < 0 and high < low + FARTHEST:
        high += 0.5
    root = brentq(excess, low, high, xtol=1e-12) if excess(high) > 0 else high
    return np.exp(tilt(log_main, level, math.exp(-root)))
