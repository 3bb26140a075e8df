"""How often does a policy know the better answer?  It prefers the answer whose log-ratio it raised more.

Of two different answers y, y' of a behaviour policy, a policy says "y" where h(y) > h(y'), h = log pi/ref,
and is right where p(y beats y') > 1/2; a tie of its own counts half.  A better generator may be a worse
classifier (T12.14), though not under Bradley-Terry preferences with i.i.d. pairs (T12.13).

Source: Tang et al. 2024, "Understanding the performance gap between online and offline alignment algorithms",
arXiv:2405.08448.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats

TIE = 1e-9  # scores that differ by less are one: what solvers leave of a tie


def accuracy(score: ArrayLike, bandit: Bandit, behavior: ArrayLike) -> Floats:
    """Share of the decided pairs that a score orders as the preferences do, (...)  (T12.14).

    Args:
        score: (..., A): log pi/ref of a policy, or a reward.
        bandit: who is better; pairs with p = 1/2 are not decided and not counted.
        behavior: who answers twice, (..., A).

    Raises:
        ValueError: the shapes do not fit, behavior is no distribution, or it meets no decided pair.

    Example:
        >>> accuracy([0.0, 1.0, 2.0], Bandit([1.0, 0.0, 2.0]), [1 / 3, 1 / 3, 1 / 3]).round(4)
        np.float64(0.6667)
    """
    checks.instance(bandit, Bandit, "bandit", "write Bandit(reward) or Bandit(preference=...)")
    x, mu = checks.arms(score, "score"), bandit.checked_policy(behavior, "behavior")
    checks.same_arms(x, mu, "score", "behavior")
    better = np.sign(bandit.preference - 0.5)
    gap = x[..., :, None] - x[..., None, :]
    says = np.where(np.abs(gap) <= TIE, 0.0, np.sign(gap))
    met = mu[..., :, None] * mu[..., None, :] * np.abs(better)
    total = met.sum(axis=(-1, -2))
    rule, remedy = (
        "positive, or there is nothing to tell apart",
        "let it answer with two arms, one the better",
    )
    checks.reject_first(
        np.asarray(total == 0), np.asarray(total), "P(behavior meets a decided pair)", rule, remedy
    )
    return (met * (1 + better * says) / 2).sum(axis=(-1, -2)) / total
