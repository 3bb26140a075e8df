"""PPO on whole answers: policy gradient with likelihood ratios, which stops pushing what has moved enough.

    c_i = w_i a_i / k  where  min(w a, clip(w, 1 - eps, 1 + eps') a) = w a,   else 0
    w = pi(y)/mu(y),   a = R(y) - b,   R = r - beta log pi/ref      (R and b not differentiated)

This is the derivative of the clipped surrogate in log pi; eps' = eps, or more: "clip-higher".  There is no
`loss`: R and b look at pi and are held fixed, and a function of log pi cannot tell which of its arguments to
hold.

Who samples: mu, the policy of a moment ago; without `samples.behavior_log_prob` the policy itself, w = 1.
On-policy nothing is clipped, c is that of policy gradient, and pi* is the end (T2.1).

On a fixed mu (T9.5) it rests at pi* if nothing is clipped there, else where all arms are frozen or have
R = b: a continuum, of which `fixed_point` answers with the point that its flow meets first.  An arm that the
clip stops and the normaliser pulls back slides along w = 1 + eps': `fixed_point` raises `NotConverged`.

Source: Schulman et al. 2017, arXiv:1707.06347, Eq. (7), with a sequence as one action; eps' of its own:
Yu et al. 2025, "DAPO", arXiv:2503.14476.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from array_api_compat import array_namespace

from bandits import checks
from bandits.algorithms.importance import ImportanceWeighted
from bandits.algorithms.policy_gradient import Baseline, PolicyGradient
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update
from bandits.sampling.rules import Sampling
from bandits.solution import Solution


@dataclass(frozen=True)
class PPO:
    """Policy gradient, weighted by pi/mu and clipped.

    Ends at pi* on-policy; on a fixed mu the clip freezes it or lets it slide  (T9.5).

    Args:
        beta: strength of the KL to the reference, charged to the reward.
        clip: eps, how far pi/mu may go from 1; infinite for no clipping, which leaves importance weights.
        baseline: b, a number or a function of `Samples` as for `PolicyGradient`.
        k: samples averaged in one update.
        upper_clip: eps', how far pi/mu may rise above 1, where that is not `clip`, as in DAPO.

    Example: pi/mu = 1.5 is beyond 1.2, and the answer is better than the baseline: enough.
        >>> import numpy as np
        >>> two = Samples(log_prob=np.log([0.6, 0.4]), behavior_log_prob=np.log([0.4, 0.4]),
        ...               reference_log_prob=np.log([0.6, 0.4]), reward=np.array([1.0, 1.0]))
        >>> PPO(beta=1.0, k=2).update(two).log_prob
        array([0. , 0.5])
        >>> PPO(beta=1.0, k=2, upper_clip=0.6).update(two).log_prob
        array([0.75, 0.5 ])
    """

    beta: float
    clip: float = 0.2
    baseline: float | Baseline = 0.0
    k: int = 1
    upper_clip: float | None = None
    weighted: ClassVar[bool] = True  # by pi/mu: `ImportanceWeighted` would do it again

    def __post_init__(self) -> None:
        object.__setattr__(self, "clip", checks.positive_or_infinite(self.clip, "clip"))
        object.__setattr__(self, "upper_clip", upper_clip_or_none(self.upper_clip))
        plain = self._unclipped  # its checks are ours
        for name in ("beta", "baseline", "k"):
            object.__setattr__(self, name, getattr(plain, name))

    def update(self, samples: Samples) -> Update:
        """c = w (R - b) / k where it is not clipped, Eq. (7), Schulman 2017  (T9.5)."""
        advantage = self._unclipped.update(samples).log_prob
        return Update(log_prob=clipped(advantage, log_weight(samples), self.clip, self.upper_clip))

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """pi* on-policy (T2.1), and without a clip wherever importance weights lead there (T2.6).

        None on a fixed law where the clip may bind.
        """
        if sampling.on_policy:
            return self._unclipped.closed_form(bandit, sampling, log_start)
        weighted = ImportanceWeighted(self._unclipped)
        free = self.clip == math.inf and self.upper_clip in (None, math.inf)
        return weighted.closed_form(bandit, sampling, log_start) if free else None

    @cached_property
    def _unclipped(self) -> PolicyGradient:
        """What it is on-policy."""
        return PolicyGradient(beta=self.beta, baseline=self.baseline, k=self.k)


def clipped(advantage: Array, log_weight: Array, clip: float, upper_clip: float | None = None) -> Array:
    """w a where the surrogate min(w a, clip(w) a) moves with w, else 0; w = exp(log_weight).

    It is flat where a > 0 and w > 1 + eps', and where a < 0 and w < 1 - eps.  Eq. (7), Schulman 2017.
    """
    xp = array_namespace(advantage)
    up, down = log_bounds(clip, upper_clip)
    stopped = ((advantage > 0) & (log_weight > up)) | ((advantage < 0) & (log_weight < down))
    zero = xp.zeros_like(log_weight)
    return xp.where(stopped, zero, advantage * xp.exp(xp.where(stopped, zero, log_weight)))


def log_bounds(clip: float, upper_clip: float | None = None) -> tuple[float, float]:
    """log(1 + eps') and log(1 - eps), the latter -inf from eps = 1 on.  None: eps' = eps."""
    upper = clip if upper_clip is None else upper_clip
    return math.log1p(upper), math.log1p(-clip) if clip < 1 else -math.inf


def upper_clip_or_none(upper_clip: float | None) -> float | None:
    """eps', checked; None where it is that below.

    Raises:
        ValueError: it is not positive.
    """
    return None if upper_clip is None else checks.positive_or_infinite(upper_clip, "upper_clip")


def log_weight(samples: Samples) -> Array:
    """log pi/mu of each sample, (..., k); zero, on-policy, where the samples do not say who drew them."""
    if samples.behavior_log_prob is None:
        return array_namespace(samples.log_prob).zeros_like(samples.log_prob)
    return samples.log_prob - samples.behavior_log_prob
