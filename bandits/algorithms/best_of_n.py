"""Best of n: imitate the best answer of a group, whatever it is.

    c_i = 1 / (number of the best)  for the best of the k samples,  0 for the others

Minus the derivative of a cross-entropy, -log pi of the best: there is no reference, no KL and no scale of the
rewards, only their order.  Equally good answers share.

Who samples: any law of groups.  E[c] is then the law of the best, of sum one, and the expected update
E[c] - pi leads there: on k samples of one mu to the best of k of mu, F^k - F-^k (T9.2), from every start.  An
arm that is never the best dies out, like 1/t.

On its own samples (RAFT, a round a step) the target moves on: best-of-k(pi) - pi gathers all mass on the best
arm.  Several best arms compete, and the flow ends on the one that had most.  Whole rounds of RAFT, in which
the policy arrives before it samples again, keep their shares: they are `bandits.selection.raft`.

Source: Dong et al. 2023, "RAFT", arXiv:2304.06767; Sessa et al. 2024, "BOND", arXiv:2407.14622, for what it
distils.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.policy import log_policy_of
from bandits.samples import Array, Samples, Update, need
from bandits.sampling.coefficients import sum_by_arm
from bandits.sampling.groups import multisets, ordered_groups
from bandits.sampling.laws import Law
from bandits.sampling.rules import Sampling
from bandits.selection.best import log_best_of_n
from bandits.solution import CONTINUUM, NoFixedPoint, Solution

MOST_GROUPS = 2**20  # of samples that come from different laws: they are enumerated
DYING = "arms that are never the best of a group lose all their mass"
METHOD = "closed form (T9.2)"


@dataclass(frozen=True)
class BestOfN:
    """Behaviour cloning of the best of k samples.

    Ends at the best of k, F^k - F-^k, of whoever samples, and on its own samples on the best arm: there is no
    KL  (T9.2).

    Args:
        k: n, the samples to choose from; 1 clones all.

    Example: of three answers two are best.
        >>> three = Samples(log_prob=np.log([0.2, 0.3, 0.5]), reward=np.array([1.0, 0.0, 1.0]))
        >>> BestOfN(k=3).update(three).log_prob
        array([0.5, 0. , 0.5])
    """

    k: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", checks.count(self.k, "k", most=checks.MOST_SAMPLES))

    def update(self, samples: Samples) -> Update:
        """c = 1 / (number of the best) for the best, else 0  (T9.2)."""
        return Update(log_prob=_shares(need(samples, "reward")))

    def loss(self, samples: Samples) -> Array:
        """Minus the mean log pi of the best, (...)  (T9.2)."""
        return -(_shares(need(samples, "reward")) * samples.log_prob).sum(-1)

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """The law of the best on a law that stays, the best arm on-policy  (T9.2).

        None where there are too many groups to enumerate.

        Raises:
            NoFixedPoint: on its own samples, several arms are best and the start decides.
        """
        if sampling.on_policy:
            return self._gathered(bandit, log_start)
        log_law = self._log_law_of_the_best(bandit, sampling.law(self, bandit, log_start))
        if log_law is None:
            return None
        dying = (np.isneginf(log_law) & np.isfinite(log_start)).any()
        return Solution(
            log_policy=log_law,
            residual=np.zeros(log_law.shape[:-1])[()] if dying else np.nan,  # E[c] - pi, term by term
            stable=True,
            unique=True,
            face=np.isfinite(log_law) if dying else None,
            method=METHOD,
            message=DYING if dying else "",
        )

    def _log_law_of_the_best(self, bandit: Bandit, law: Law) -> Floats | None:
        """log E[c], (..., A)."""
        reward = bandit.needed_reward()
        if self.k == 1 or multisets(law) is not None:  # all from one distribution
            return log_best_of_n(reward, law.behavior, self.k)
        if ordered_groups(law) > MOST_GROUPS:
            return None
        total: Floats = np.zeros(bandit.arms)
        for arms, weight in law.tuples():
            total = total + sum_by_arm(weight[..., None] * _shares(reward[..., arms]), arms, bandit.arms)
        return log_policy_of(total)

    def _gathered(self, bandit: Bandit, log_start: Floats) -> Solution:
        """All mass on the best arm of the start's support; the start itself, where all are equally good."""
        alive, reward = np.broadcast_arrays(np.isfinite(log_start), bandit.needed_reward())
        best = alive & (reward == np.where(alive, reward, -np.inf).max(axis=-1, keepdims=True))
        several = best.sum(axis=-1) > 1
        if self.k == 1 or (several.any() and (best == alive).all()):  # nothing moves
            start = np.broadcast_to(log_start, best.shape)
            return Solution(log_policy=start, residual=np.nan, unique=False, method=METHOD, message=CONTINUUM)
        if several.any():
            raise NoFixedPoint(
                "on its own samples BestOfN gathers on one arm, and where several have the largest reward "
                "the start decides on which; follow it by flow(...), or take Offline(...)",
                Solution(log_policy=None, residual=np.nan, unique=False, method=METHOD),
            )
        return Solution(
            log_policy=np.where(best, 0.0, -np.inf),
            residual=np.zeros(best.shape[:-1])[()],
            stable=True,
            unique=True,
            face=best,
            method=METHOD,
            message="all mass gathers on the best arm",
        )


def _shares(reward: Array) -> Array:
    """1 / (number of the best) for the best of each group, else 0, (..., k)."""
    xp = array_namespace(reward)
    best = reward == xp.max(reward, axis=-1, keepdims=True)
    mine = xp.where(best, xp.ones_like(reward), xp.zeros_like(reward))
    return mine / mine.sum(-1)[..., None]
