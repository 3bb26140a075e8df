"""DAPO: GRPO with a higher upper clip, in which every token of a group counts alike.

    c_i = ( clipped(w_i a_i) + beta (rho_i - 1) ) / sum_j |y_j|,      w = pi/mu,  rho = ref/pi

a_i = (r_i - mean) / spread of the group as in GRPO; pi/mu may fall by eps and rise by eps', the larger.  The
divisor, the tokens |y| of all answers of the group, is one for the group and another from group to group: a
group with long answers counts little.  That moves the end wherever a KL holds it (T13.12).

Who samples: the policy (w = 1), or mu, a policy of a moment ago.  As published, without a KL
(beta = 0) it ends on the best arm of its own samples, whatever the lengths: the coefficients of a group sum
to zero, and the best arm's is never negative.  With one it rests where an arm's share of
(a + beta (rho - 1)) / sum |y|, over all groups, is proportional to pi: enumerate.

Departures: one ratio for a whole answer where the paper has one a token (`bandits.sequences.TokenGRPO`);
groups of equal rewards are not resampled, they count zero; a penalty for overlong answers is the reward's.

Source: Yu et al. 2025, "DAPO: An Open-Source LLM Reinforcement Learning System at Scale", arXiv:2503.14476,
Eq. (8).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from bandits.algorithms.boundary import only_best_arm
from bandits.algorithms.grpo import GRPO, Spread, standard_deviation
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, need
from bandits.sampling.rules import Sampling
from bandits.solution import Solution


@dataclass(frozen=True)
class DAPO:
    """Clip-higher, and a divisor that is the tokens of the group.

    Ends where the sum over all groups says, which the lengths move and which is not pi*; without a KL,
    beta = 0, on the best arm of its own samples; elsewhere the clip freezes or slides  (T13.12, T9.5).

    Args:
        beta: strength of the k3 loss; 0, as published, for none.
        k: samples in a group.
        clip: eps, how far pi/mu may fall below 1.
        upper_clip: eps', how far it may rise above 1.
        spread: what divides the advantages, `standard_deviation` or `unit_spread`.

    Example: two answers of one and three tokens.
        >>> import numpy as np
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reward=np.array([1.0, 0.0]),
        ...                length=np.array([1.0, 3.0]))
        >>> DAPO().update(pair).log_prob.round(4)  # +- 1/sqrt(2) / 4
        array([ 0.1768, -0.1768])
    """

    beta: float = 0.0
    k: int = 2
    clip: float = 0.2
    upper_clip: float | None = 0.28
    spread: Spread = standard_deviation
    weighted: ClassVar[bool] = True  # by pi/mu: `ImportanceWeighted` would do it again

    def __post_init__(self) -> None:
        for name in ("beta", "k", "clip", "upper_clip"):  # its checks are ours
            object.__setattr__(self, name, getattr(self._grpo, name))

    def update(self, samples: Samples) -> Update:
        """c = (clipped(w a) + beta (rho - 1)) / sum |y|, Eq. (8), Yu 2025  (T13.12)."""
        return Update(log_prob=self._grpo.update(samples).log_prob * self._share(samples)[..., None])

    def loss(self, samples: Samples) -> Array:
        """-sum_i (min(w a, clip(w) a) - beta k3) / sum |y|, (...)  (T13.12)."""
        return self._grpo.loss(samples) * self._share(samples)

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """Without a KL, on-policy, the best arm, if one is  (T13.12)."""
        if self.beta > 0 or not sampling.on_policy:
            return None
        return only_best_arm(bandit, log_start)

    def _share(self, samples: Samples) -> Array:
        """k / sum_j |y_j| of each group, (...)."""
        return self.k / need(samples, "length").sum(-1)

    @cached_property
    def _grpo(self) -> GRPO:
        return GRPO(self.beta, self.k, self.clip, self.spread, self.upper_clip)
