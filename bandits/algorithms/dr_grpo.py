"""Dr. GRPO: GRPO done right is GRPO without its two divisors.

    c_i = (1/k) ( clipped(w_i (r_i - mean of the group)) + beta (rho_i - 1) ),   w = pi/mu,  rho = ref/pi

The standard deviation, which weighs prompts by how hard they are (T13.11), and the length of the answer,
which makes long wrong answers cheap (T13.12), are left out: tokens are summed.  What remains is RLOO times
1 - 1/k with PPO's clip, and GRPO's k3 as the KL where there is one: the published algorithm has none.

Who samples: the policy, or mu, a policy of a moment ago.  On its own samples it climbs (1 - 1/k) E_pi[r] -
beta KL(ref || pi), whose maximiser is one equation in one unknown, and not pi*; without a KL (beta = 0) it
ends on the best arm  (T9.5).

Source: Liu et al. 2025, "Understanding R1-Zero-Like Training", arXiv:2503.20783.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from bandits.algorithms.grpo import GRPO, unit_spread
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update
from bandits.sampling.rules import Sampling
from bandits.solution import Solution


@dataclass(frozen=True)
class DrGRPO:
    """GRPO whose advantages keep the scale of the rewards.

    Ends at the maximiser of (1 - 1/k) E_pi[r] - beta KL(ref || pi) on its own samples, which is not pi*;
    without a KL, beta = 0, on the best arm; elsewhere the clip freezes or slides  (T9.5).

    Args:
        beta: strength of the k3 loss; 0, as published, for none.
        k: samples in a group.
        clip: eps, how far pi/mu may go from 1; infinite for no clipping.
        upper_clip: how far pi/mu may rise above 1, where that is not `clip`.

    Example: a lead of 2 counts as twice a lead of 1; without a KL the two answers sum to zero.
        >>> import numpy as np
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.25]),
        ...                reward=np.array([3.0, 1.0]))
        >>> DrGRPO().update(pair).log_prob
        array([ 0.5, -0.5])
    """

    beta: float = 0.0
    k: int = 2
    clip: float = 0.2
    upper_clip: float | None = None
    weighted: ClassVar[bool] = True  # by pi/mu: `ImportanceWeighted` would do it again

    def __post_init__(self) -> None:
        for name in ("beta", "k", "clip", "upper_clip"):  # its checks are ours
            object.__setattr__(self, name, getattr(self._grpo, name))

    def update(self, samples: Samples) -> Update:
        """c = (clipped(w (r - mean)) + beta (rho - 1)) / k, Section 3.2, Liu 2025  (T9.5)."""
        return self._grpo.update(samples)

    def loss(self, samples: Samples) -> Array:
        """GRPO's, (...), with the plain lead over the group's mean for an advantage  (T9.5)."""
        return self._grpo.loss(samples)

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """The maximiser of (1 - 1/k) E_pi[r] - beta KL(ref || pi), on-policy  (T9.5)."""
        return self._grpo.closed_form(bandit, sampling, log_start)

    @cached_property
    def _grpo(self) -> GRPO:
        return GRPO(self.beta, self.k, self.clip, unit_spread, self.upper_clip)
