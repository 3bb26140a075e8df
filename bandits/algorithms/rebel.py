"""REBEL: regress differences of log-ratios on differences of rewards, round after round.

    loss = (beta (h - h') - (r - r'))^2,      h = log pi/ref,    ref the policy of the round before

The square is that of a difference of R = r - beta h: CoPG's loss times 2 beta, so that one round is CoPG
against the policy that it starts from, and ends at ref exp(r / beta) / Z  (T3.3).

Who samples: anybody, if every answer is compared; the paper lets the policy of the round before give one
answer or both.  What is REBEL's own is that the reference moves: each round adds r / beta to log pi, and T
rounds end at ref exp(T r / beta) / Z, with the first reference  (T13.6).  `bandits.iterated` runs them; with
a reference that stays, rounds after the first change nothing.

Conventions: Gao's eta is 1/beta.  Source: Gao et al. 2024, "REBEL: Reinforcement Learning via Regressing
Relative Rewards", arXiv:2404.16767, Algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bandits import checks
from bandits.algorithms.copg import CoPG
from bandits.algorithms.linear import Linear
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update
from bandits.sampling.laws import Law
from bandits.sampling.rules import Sampling
from bandits.solution import Solution


@dataclass(frozen=True)
class REBEL:
    """Relative-reward regression on pairs; this is one round of it.

    Ends at pi* of its reference on every connected law of pairs, whoever sampled; with the reference moved
    there after each of T rounds at ref exp(T r / beta) / Z  (T13.6).

    Args:
        beta: 1 / eta, strength of the KL to the reference of the round.

    Example: 2 beta (R - R').
        >>> import numpy as np
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.5]),
        ...                reward=np.array([1.0, 0.25]))
        >>> REBEL(beta=2.0).update(pair).log_prob
        array([ 3., -3.])
    """

    beta: float
    k: ClassVar[int] = 2
    contrastive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))

    def update(self, samples: Samples) -> Update:
        """c = 2 beta (R - R'), and minus that for y', Algorithm 1, Gao 2024  (T13.6)."""
        return Update(log_prob=2 * self.beta * CoPG(self.beta).update(samples).log_prob)

    def loss(self, samples: Samples) -> Array:
        """(beta (h - h') - (r - r'))^2, (...)  (T13.6)."""
        return 2 * self.beta * CoPG(self.beta).loss(samples)

    def linear(self, bandit: Bandit, law: Law) -> Linear:
        """2 beta^2 L (r/beta - h): CoPG's, faster  (T3.2)."""
        return Linear(rate=2 * self.beta**2, law=law, beta=self.beta, given=bandit.needed_reward())

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """pi* of the round's reference, on-policy  (T3.7)."""
        return CoPG(self.beta).closed_form(bandit, sampling, log_start)
