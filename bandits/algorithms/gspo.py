"""GSPO: the likelihood ratio of an answer is a mean over its tokens, and so is its step.

    c_i = (1/k) ( clipped(s_i a_i) / |y_i| + beta (rho_i - 1) ),     s = (pi/mu)^(1/|y|),  rho = ref/pi

a_i = (r_i - mean) / spread of the group as in GRPO; s is clipped in the place of w = pi/mu, and its
derivative in log pi has the factor 1/|y|: a long answer moves little.

Who samples: the policy (s = 1), or mu, a policy of a moment ago.  On-policy E[c | y] = at(y) / |y|, at the
mean advantage of an arm.  As published, without a KL (beta = 0) it ends on the best arm.  With one the end is
beta ref / (t - at / |y|) with the t that makes the sum one; without the spread at = (1 - 1/k) (r - m), and
m = E_pi[r] is one more equation.  Lengths move it (T13.12).  They do not where the KL is charged to the
reward (k1, `WithKLReward`) and `unit_spread` taken: that ends at pi*.

Source: Zheng et al. 2025, "Group Sequence Policy Optimization", arXiv:2507.18071.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from bandits.algorithms.boundary import only_best_arm
from bandits.algorithms.grpo import GRPO, Spread, kl_pull, standard_deviation
from bandits.algorithms.ppo import clipped, log_weight
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, need
from bandits.sampling.rules import Sampling
from bandits.solution import Solution


@dataclass(frozen=True)
class GSPO:
    """GRPO with the ratio and the step of an answer averaged over its tokens.

    Ends at beta ref / (t - at/|y|) on its own samples, at the mean advantage of an arm, which is not pi*;
    without a KL, beta = 0, on the best arm; elsewhere the clip freezes or slides  (T13.12, T9.5).

    Args:
        beta: strength of the k3 loss; 0, as published, for none.
        k: samples in a group.
        clip: eps, how far (pi/mu)^(1/|y|) may go from 1; trainers take 3e-4.
        spread: what divides the advantages, `standard_deviation` or `unit_spread`.
        upper_clip: how far it may rise above 1, where that is not `clip`.

    Example: two answers of one and two tokens.
        >>> import numpy as np
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reward=np.array([1.0, 0.0]),
        ...                length=np.array([1.0, 2.0]))
        >>> GSPO().update(pair).log_prob.round(4)
        array([ 0.3536, -0.1768])
    """

    beta: float = 0.0
    k: int = 2
    clip: float = 0.2
    spread: Spread = standard_deviation
    upper_clip: float | None = None
    weighted: ClassVar[bool] = True  # by pi/mu: `ImportanceWeighted` would do it again

    def __post_init__(self) -> None:
        for name in ("beta", "k", "clip", "upper_clip"):  # its checks are ours
            object.__setattr__(self, name, getattr(self._grpo, name))

    def update(self, samples: Samples) -> Update:
        """c = (clipped(s a) / |y| + beta (rho - 1)) / k, s = (pi/mu)^(1/|y|), Zheng 2025  (T13.12)."""
        length, advantage = need(samples, "length"), self._grpo.advantage(samples)
        push = clipped(advantage, log_weight(samples) / length, self.clip, self.upper_clip) / length
        return Update(log_prob=(push + kl_pull(samples, self.beta)) / self.k)

    def loss(self, samples: Samples) -> Array:
        """-(1/k) sum_i (min(s a, clip(s) a) - beta k3), (...)  (T13.12)."""
        log_s = (samples.log_prob - need(samples, "behavior_log_prob")) / need(samples, "length")
        return self._grpo.loss(replace(samples, behavior_log_prob=samples.log_prob - log_s))

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """Without a KL, on-policy, the best arm, if one is  (T13.12)."""
        if self.beta > 0 or not sampling.on_policy:
            return None
        return only_best_arm(bandit, log_start)

    @cached_property
    def _grpo(self) -> GRPO:
        return GRPO(self.beta, self.k, self.clip, self.spread, self.upper_clip)
