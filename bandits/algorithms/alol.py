"""A-LoL, advantage-based leftover lunch: imitate what is better than the reference's average.

    c = a+ w,   a+ = max(r - V, 0),   V = E_ref[r],   w = clip(pi/ref, 1 - eps, 1 + eps)   (w is held fixed)

Who sampled: any fixed law D of single answers.  There is no KL term, and no beta.  eps = 0 is the
reference-free variant, w = 1; eps = inf does not clip.

**Where it ends.**  With x = pi/ref, lo = max(1 - eps, 0), hi = 1 + eps, u = D a+ / ref and Z = E_D[a+ w], the
expected update D a+ w - pi Z vanishes where x / w(x) = u / Z.  The left side is x/lo below lo, 1 on [lo, hi]
and x/hi above: it never falls, so that

    pi = D a+ w / Z,    w = hi where u > Z,   lo where u < Z,   and anything in [lo, hi] where u = Z.

sum pi = 1 is one equation for Z.  Its left side falls from infinity to 0 and jumps down at each Z = u(y), by
exactly what w of that arm may take: there is one Z, and one policy, unless several arms share u = Z: then
only their total is given, and the start decides.  w depends on its own log pi alone, so the flow climbs
sum_y D a+ W(log pi), W' = w, which is bounded, and has no other place to rest: it ends here.

**On the boundary.**  Arms with D a+ = 0 feel -pi Z only and die out like 1/t; some arm has r <= V, so unless
it starts at zero no fixed point is finite: `fixed_point` raises `NoFixedPoint`, with this limit.  eps >= 1
kills all arms with u < Z as well, eps = inf all but the largest u.  Reference-free on D = ref: ref a+ / Z.

Source: Baheti et al. 2024, "Leftover Lunch", arXiv:2305.14718, Eq. (4) and Section 3  (T9).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace

from bandits import checks
from bandits.algorithms.ppo import log_bounds
from bandits.algorithms.samples import Array, Samples, Update, need


@dataclass(frozen=True)
class ALoL:
    """c = a+ clip(pi/ref).

    `samples.value` is V where it is given, say the mean reward of a prompt's reference samples; without it
    V = E_ref[r] is summed over `samples.population`.

    Args:
        clip: eps >= 0, how far pi/ref may go from 1; 0 needs no reference, infinity does not clip.

    Example: pi/ref = 3 counts 1.9 times.
        >>> import numpy as np
        >>> one = Samples(log_prob=np.log([0.6]), reference_log_prob=np.log([0.2]), reward=np.array([1.0]),
        ...               value=np.array(0.5))
        >>> ALoL().update(one).log_prob.round(6)
        array([0.95])
    """

    clip: float = 0.9
    k: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.clip not in (0, math.inf):
            remedy = "choose 0 (no reference), a positive number, or math.inf for no clipping"
            checks.positive(self.clip, "clip", remedy=remedy)

    def update(self, samples: Samples) -> Update:
        """c = max(r - V, 0) clip(pi/ref, 1 - eps, 1 + eps)  (T9)."""
        reward = need(samples, "reward")
        xp, advantage = array_namespace(reward), reward - _reference_value(samples)
        gain = xp.where(advantage > 0, advantage, xp.zeros_like(advantage))
        if self.clip == 0:
            return Update(log_prob=gain)
        up, down = log_bounds(self.clip)
        return Update(log_prob=gain * xp.exp(xp.clip(samples.log_ratio, down, up)))


def _reference_value(samples: Samples) -> Array:
    """V, (..., 1)."""
    if samples.value is not None:
        return samples.value[..., None]
    everyone = need(samples, "population")
    reward = need(everyone, "reward")
    reference = array_namespace(reward).exp(need(everyone, "reference_log_prob"))
    return (reference * reward).sum(-1)[..., None]
