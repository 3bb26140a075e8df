"""What is the law of the best of n samples, and of the best of n of the best of n?

With F and F- of `levels`, the best of n samples of the reference is y with probability

    (F^n - F-^n) ref(y) / (F - F-)                                                  (T9.2),

for P(no reward above a level) = F^n.  Its KL to the reference is at most log n - (n - 1)/n, which is reached
where no two samples ever tie.  RAFT, which trains on the best of n and samples again, raises F to the power n
in every round: T rounds are the best of n^T.

Source: Dong et al. 2023, "RAFT", arXiv:2304.06767; Beirami et al. 2024, "Theoretical guarantees on the
best-of-n alignment policy", arXiv:2401.01879.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.checks import Floats
from bandits.selection.levels import levels

MOST_ROUNDS = 1000


def best_of_n(reward: ArrayLike, reference: ArrayLike, n: int) -> Floats:
    """Probability that an arm is the best of n samples of the reference, (..., A)  (T9.2).

    Equal rewards share in proportion to the reference.

    Args:
        reward: (..., A).
        reference: who is sampled, (..., A); arms of probability zero stay at zero.
        n: samples to choose from, 1 or more.

    Raises:
        ValueError: n is no integer >= 1, a reward is not finite, or the reference is no distribution.

    Example: the worse of two is the best of two only if it comes twice.
        >>> best_of_n([1.0, 0.0], [0.5, 0.5], n=2)
        array([0.75, 0.25])
    """
    return np.exp(log_best_of_n(reward, reference, n))


def log_best_of_n(reward: ArrayLike, reference: ArrayLike, n: int) -> Floats:
    """Logarithm of `best_of_n`, (..., A), with all digits where F^n - F-^n would lose them.

    Example: the worse of two comes a thousand times in a row with 2^-1000.

        >>> (log_best_of_n([1.0, 0.0], [0.5, 0.5], n=1000) / np.log(2.0)).round(6)
        array([    0., -1000.])
    """
    n, order = checks.count(n, "n"), levels(reward, reference)
    log_F, own = order.log_at_most, order.own
    with np.errstate(divide="ignore"):  # arms without mass, and levels without any below
        log_lower = np.log1p(-np.minimum(own * np.exp(-log_F), 1.0))  # log of F-/F
        return np.log(order.share) + n * log_F + np.log(-np.expm1(n * np.where(own > 0, log_lower, -1.0)))


def raft(reward: ArrayLike, reference: ArrayLike, n: int, rounds: int) -> Floats:
    """The policy after T rounds of "sample n, train on the best", (..., A): the best of n^T  (T9.2).

    Raises:
        ValueError: as `best_of_n`, or n^T is beyond 2^53.

    Example:
        >>> raft([1.0, 0.0], [0.5, 0.5], n=2, rounds=3).round(6)  # 1 - 1/2^8
        array([0.996094, 0.003906])
    """
    rounds = checks.count(rounds, "rounds", least=0, most=MOST_ROUNDS)
    return best_of_n(reward, reference, checks.count(checks.count(n, "n") ** rounds, "n ** rounds"))
