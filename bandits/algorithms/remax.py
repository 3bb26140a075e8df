"""ReMax: the reward of the greedy answer is the baseline.

    c = R(y) - r(argmax pi)

Who samples: the policy, one answer; the greedy answer is decoded besides.  Unbiased, since the baseline
does not depend on y.  With two arms, p = pi(a_1) and r_1 > r_2 > 0 it has less variance than no
baseline always for p < 1/2, and for p > 1/2 iff p < r_1 / (2 (r_1 - r_2))  (T2.4).

Source: Li et al. 2023, "ReMax", arXiv:2310.10505, Algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bandits import checks
from bandits.algorithms.linear import optimum_on_support
from bandits.algorithms.policy_gradient import greedy
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Samples, Update
from bandits.sampling.rules import Sampling
from bandits.solution import Solution


@dataclass(frozen=True)
class ReMax:
    """Policy gradient with the greedy answer's reward as baseline; needs `samples.greedy_reward`.

    Ends at pi* on-policy; on other samples where the favourite's reward, as a constant baseline, leads
    (T2.5).

    Example: R - r(argmax pi) = 1 - 3/4, as h = 0.

        >>> import numpy as np
        >>> one = Samples(log_prob=np.log([0.5]), reference_log_prob=np.log([0.5]), reward=np.array([1.0]),
        ...               greedy_reward=np.array(0.75))
        >>> ReMax(beta=0.5).update(one).log_prob
        array([0.25])
    """

    beta: float
    k: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))

    def update(self, samples: Samples) -> Update:
        """c = R - r(argmax pi)  (T2.4)."""
        return Update(log_prob=samples.regularized_reward(self.beta) - greedy(samples, self.beta))

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """pi* on-policy  (T2.1)."""
        return optimum_on_support(bandit, self.beta, log_start) if sampling.on_policy else None
