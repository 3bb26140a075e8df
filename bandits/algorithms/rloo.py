"""RLOO, REINFORCE leave-one-out: each sample's baseline is the mean of the others.

    c_i = (1/k) (R_i - mean_{j != i} R_j)

Who samples: the policy (k independent samples).  The expectation is grad J exactly, and RLOO_k is the
average of RLOO_2 over all pairs (T2.2).  The same coefficients on anybody's samples are CoPG's divided
by k (k - 1) (T3.1): that is what makes CoPG the off-policy form of RLOO.

Source: Ahmadian et al. 2024, "Back to Basics", arXiv:2402.14740; Kool et al. 2019, "Buy 4 REINFORCE
Samples, Get a Baseline for Free!".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bandits import checks
from bandits.algorithms.linear import Linear, optimum_on_support
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Samples, Update
from bandits.sampling.laws import Law
from bandits.sampling.rules import Sampling
from bandits.solution import Solution


@dataclass(frozen=True)
class RLOO:
    """Leave-one-out policy gradient on k >= 2 samples.

    Ends at pi*, on its own samples and on every connected law  (T2.2, T3.3).

    Example:
        >>> import numpy as np
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.5]),
        ...                reward=np.array([1.0, 0.0]))
        >>> RLOO(beta=1.0, k=2).update(pair).log_prob
        array([ 0.5, -0.5])
    """

    beta: float
    k: int = 2
    contrastive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        object.__setattr__(self, "k", checks.count(self.k, "k", least=2, most=checks.MOST_SAMPLES))

    def update(self, samples: Samples) -> Update:
        """c_i = (1/k)(R_i - mean of the other R_j), Section 3.2, Ahmadian 2024  (T2.2)."""
        R = samples.regularized_reward(self.beta)
        k = R.shape[-1]
        others = (R.sum(-1)[..., None] - R) / (k - 1)
        return Update(log_prob=(R - others) / k)

    def linear(self, bandit: Bandit, law: Law) -> Linear:
        """The expected update as beta L (r/beta - h) / (k (k - 1)), on a fixed law  (T3.1, T3.2)."""
        rate = self.beta / (self.k * (self.k - 1))
        return Linear(rate=rate, law=law, beta=self.beta, given=bandit.needed_reward())

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """pi* on-policy  (T2.2)."""
        return optimum_on_support(bandit, self.beta, log_start) if sampling.on_policy else None
