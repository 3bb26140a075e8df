"""GRPO: a group of answers is its own baseline and its own scale, and the KL is a loss.

    c_i = (1/k) ( clipped(w_i a_i) + beta (rho_i - 1) ),    rho = ref/pi
    a_i = (r_i - mean of the group) / spread of the group,      w = pi/mu, clipped as PPO's

beta (rho - 1) is minus the derivative of beta k3, k3 = rho - 1 - log rho (Eq. 4): over the policy's own
samples it pulls towards KL(ref || pi), not KL(pi || ref)  (T9.6).

Who samples: the policy (w = 1), or mu, a policy of a moment ago.  Where it ends on-policy (T9.5): at
pi = ref / (1 - at/beta), at(y) = E[a | y] in groups of pi, which is not pi*.  Without the spread
(`unit_spread`, "Dr. GRPO") that is the maximiser of (1 - 1/k) E_pi[r] - beta KL(ref || pi), one equation in
one unknown.  On a fixed mu the clip freezes or slides as PPO's does; without a KL (beta = 0) it ends on the
best arm of its own samples, with the spread or without.

Conventions: `standard_deviation` divides by k - 1, as trainers do, and adds nothing (they add 1e-4); a group
of equal rewards has a = 0.  Source: Shao et al. 2024, "DeepSeekMath", arXiv:2402.03300, Eq. (3)-(4); Liu et
al. 2025, "Understanding R1-Zero-Like Training", arXiv:2503.20783.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace

from bandits import checks
from bandits.algorithms.boundary import best_arm
from bandits.algorithms.linear import reference_on_support
from bandits.algorithms.ppo import clipped, log_bounds, log_weight, upper_clip_or_none
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.policy import normalised
from bandits.samples import Array, Samples, Update, fitting, need
from bandits.sampling.rules import Sampling
from bandits.solution import Solution

NEWTON_STEPS = 200  # each passes one scale of the rewards' gaps at least; a dozen are usual
Spread = Callable[[Array], Array]  # rewards of a group (..., k) to what divides their advantages, (..., 1)


def standard_deviation(reward: Array) -> Array:
    """sqrt(sum (r_i - mean)^2 / (k - 1)) of each group, (..., k) to (..., 1).

    Example: sqrt((1 + 0 + 1) / 2).

        >>> import numpy as np
        >>> standard_deviation(np.array([1.0, 2.0, 3.0]))
        array([1.])
    """
    deviation = _centred(_checked_group(reward))
    return ((deviation**2).sum(-1)[..., None] / (reward.shape[-1] - 1)) ** 0.5


def unit_spread(reward: Array) -> Array:
    """One: advantages keep the scale of the rewards, as in Dr. GRPO, (..., k) to (..., 1).

    Example:
        >>> import numpy as np
        >>> unit_spread(np.array([1.0, 2.0, 4.0]))
        array([1.])
    """
    group = _checked_group(reward)
    return array_namespace(group).ones_like(group[..., :1])


@dataclass(frozen=True)
class GRPO:
    """Group-relative policy optimisation on k >= 2 samples.

    Ends at ref / (1 - at/beta), at the mean advantage of an arm, which is not pi*; without a KL, beta = 0, on
    the best arm of its own samples  (T9.5).

    Args:
        beta: strength of the k3 loss; 0 for none.
        k: samples in a group.
        clip: eps, how far pi/mu may go from 1; infinite for no clipping.
        spread: what divides the advantages: `standard_deviation`, or `unit_spread` for Dr. GRPO.
        upper_clip: how far pi/mu may rise above 1, where that is not `clip`, as in DAPO.

    Example: of two answers the better has a = 1/sqrt(2), however much better it is.
        >>> import numpy as np
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.25]),
        ...                reward=np.array([3.0, 1.0]))
        >>> GRPO(beta=1.0).update(pair).log_prob.round(4)
        array([ 0.3536, -0.6036])
        >>> GRPO(beta=1.0, spread=unit_spread).update(pair).log_prob
        array([ 0.5 , -0.75])
    """

    beta: float
    k: int = 2
    clip: float = 0.2
    spread: Spread = standard_deviation
    upper_clip: float | None = None
    weighted: ClassVar[bool] = True  # by pi/mu: `ImportanceWeighted` would do it again

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.zero_or_more(self.beta, "beta", "choose 0 for no KL"))
        object.__setattr__(self, "k", checks.count(self.k, "k", least=2, most=checks.MOST_SAMPLES))
        object.__setattr__(self, "clip", checks.positive_or_infinite(self.clip, "clip"))
        object.__setattr__(self, "upper_clip", upper_clip_or_none(self.upper_clip))
        checks.function(self.spread, "spread", "reward")

    def update(self, samples: Samples) -> Update:
        """c = (clipped(w a) + beta (rho - 1)) / k, Eq. (3)-(4), Shao 2024  (T9.5)."""
        push = clipped(self.advantage(samples), log_weight(samples), self.clip, self.upper_clip)
        return Update(log_prob=(push + kl_pull(samples, self.beta)) / self.k)

    def loss(self, samples: Samples) -> Array:
        """-(1/k) sum_i (min(w a, clip(w) a) - beta k3), (...), for samples that say who drew them  (T9.5)."""
        return surrogate_loss(samples, self.advantage(samples), self.beta, self.clip, self.upper_clip)

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """The maximiser of (1 - 1/k) E_pi[r] - beta KL(ref || pi), on-policy with `unit_spread`  (T9.5).

        Without a KL the best arm, with either of the spreads of this module.
        """
        if not sampling.on_policy or self.spread not in (unit_spread, standard_deviation):
            return None
        if self.beta == 0:
            return best_arm(bandit, log_start)
        if self.spread is standard_deviation:
            return None
        return forward_optimum(bandit, 1 - 1 / self.k, self.beta, log_start)

    def advantage(self, samples: Samples) -> Array:
        """a_i = (r_i - mean) / spread, (..., k); zero where the spread is."""
        reward = need(samples, "reward")
        xp = array_namespace(reward)
        spread = fitting(self.spread(reward), reward, "spread")
        return _centred(reward) / xp.where(spread > 0, spread, xp.ones_like(spread))


def kl_pull(samples: Samples, beta: float) -> Array:
    """beta (rho - 1), minus beta times the slope of k3, (..., k); without a KL nobody needs a reference."""
    if beta == 0:
        return array_namespace(samples.log_prob).zeros_like(samples.log_prob)
    return beta * (array_namespace(samples.log_prob).exp(-samples.log_ratio) - 1)


def surrogate_loss(
    samples: Samples, advantage: Array, beta: float, clip: float, upper_clip: float | None = None
) -> Array:
    """-(1/k) sum_i (min(w a, clip(w) a) - beta k3), (...), for samples that say who drew them  (T9.5)."""
    xp, log_w = array_namespace(advantage), samples.log_prob - need(samples, "behavior_log_prob")
    up, down = log_bounds(clip, upper_clip)
    surrogate = xp.minimum(xp.exp(log_w) * advantage, xp.exp(xp.clip(log_w, down, up)) * advantage)
    if beta > 0:
        h = samples.log_ratio
        surrogate = surrogate - beta * (xp.exp(-h) - 1 + h)
    return -surrogate.mean(-1)


def _checked_group(reward: Array) -> Array:
    """Rewards of groups, (..., k); looked at briefly, for this is done at every step.

    Raises:
        ValueError: it is no array of finite numbers, or there are fewer than two in a group.
    """
    rule = "reward must be an array (..., k) of finite numbers, k >= 2"
    size, dtype = getattr(reward, "shape", ())[-1:], getattr(reward, "dtype", None)
    if dtype is None or not size or size[0] < 2 or getattr(dtype, "kind", "f") not in "fiu":
        raise ValueError(f"{rule}, but reward = {checks.shown(reward)}")
    if isinstance(reward, np.ndarray) and not np.isfinite(reward).all():
        raise ValueError(f"{rule}, but reward = {checks.shown(reward)}")
    return reward


def _centred(reward: Array) -> Array:
    """r_i - mean, (..., k): exactly zero in a group of equal rewards, which a rounded mean would not give."""
    lead = reward - reward[..., :1]
    return lead - lead.mean(-1)[..., None]


def forward_optimum(bandit: Bandit, gain: float, beta: float, log_start: Floats) -> Solution:
    """The maximiser of gain E_pi[r] - beta KL(ref || pi), with the support of the start  (T9.5)."""
    score = gain * bandit.needed_reward()
    log_policy = _hyperbolic_tilt(reference_on_support(bandit, log_start), score, beta)
    return Solution(
        log_policy=log_policy, residual=np.nan, stable=True, unique=True, method="closed form (T9.5)"
    )


def _hyperbolic_tilt(log_reference: Floats, score: Floats, beta: float) -> Floats:
    """log of beta ref / (t + max score - score), (..., A), with the t > 0 that makes the sum one.

    1 / sum is concave and rises with t: Newton's method from beta ref(best), where the sum is at least one,
    comes from below and never passes the root.
    """
    supported = np.isfinite(log_reference)
    gap = np.where(supported, score, -np.inf)
    gap = gap.max(axis=-1, keepdims=True) - gap
    weight = beta * np.exp(log_reference)
    t = np.where(gap == 0, weight, 0.0).max(axis=-1, keepdims=True)
    for _ in range(NEWTON_STEPS):
        term = weight / (t + gap)
        total, slope = term.sum(axis=-1, keepdims=True), (term / (t + gap)).sum(axis=-1, keepdims=True)
        step = total * (total - 1) / slope
        if not (step > 1e-16 * t).any():
            break
        t = t + np.maximum(step, 0.0)
    return normalised(log_reference - np.log(np.where(supported, t + gap, 1.0)))
