"""MaxRL: right or wrong, each prompt's successes share one unit of weight.

    c_i = (1/k) ( clipped(w_i a_i) + beta (rho_i - 1) ),   a_i = k s_i / m - 1 where m > 0, else 0
    s_i = 1 for a success (r_i > threshold), 0 for a failure,   m = sum_j s_j,   w = pi/mu,  rho = ref/pi

The successes' mean of grad log pi estimates grad log p, p the probability of success: a hard prompt counts
1/p, as in maximum likelihood.  With k samples grad p counts (1 - q^(k-1)) / p times, q = 1 - p: the slope of
log p, cut off after k - 1 terms, -sum_j q^j / j  (T13.11).  What is taken off, 1/k for all, costs no bias.
Uncentred it is rejection fine-tuning, (1 - q^k) / p.  Right-or-wrong rewards given, it is on average BestOfN
on its own samples.

Who samples: the policy (w = 1), or mu, a policy of a moment ago, with PPO's clip.  On-policy successes keep
their ratios, failures theirs, and p is where beta (p - p0) = p q weight(p), p0 the reference's: the k3 loss
pulls as KL(ref || pi)  (T9.6).  As published, without a KL (beta = 0) it ends with no failure alive, and on
the most frequent success.

Source: "Maximum Likelihood Reinforcement Learning" 2026, arXiv:2602.02710.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace
from scipy.optimize import brentq

from bandits import checks
from bandits.algorithms.boundary import best_arm
from bandits.algorithms.grpo import kl_pull, surrogate_loss
from bandits.algorithms.linear import reference_on_support
from bandits.algorithms.ppo import clipped, log_weight
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, need
from bandits.sampling.rules import Sampling
from bandits.solution import Solution


@dataclass(frozen=True)
class MaxRL:
    """The successes of a group share its weight, however few they are.

    Ends at ref p/p0 on successes and ref q/q0 on failures, beta (p - p0) = q (1 - q^(k-1)), on its own
    samples; without a KL, beta = 0, on the most frequent success; elsewhere the clip freezes or slides
    (T13.11, T9.5).

    Args:
        beta: strength of the k3 loss; 0, as published, for none.
        k: samples in a group.
        threshold: an answer whose reward is larger is a success.
        centred: False imitates the successes alone, which is rejection fine-tuning.
        clip: eps, how far pi/mu may go from 1; infinite for no clipping.

    Example: one success among four weighs as much as three.
        >>> four = Samples(log_prob=np.log(np.full(4, 0.25)), reward=np.array([1.0, 0.0, 0.0, 0.0]))
        >>> MaxRL(k=4).update(four).log_prob
        array([ 0.75, -0.25, -0.25, -0.25])
    """

    beta: float = 0.0
    k: int = 2
    threshold: float = 0.0
    centred: bool = True
    clip: float = 0.2
    weighted: ClassVar[bool] = True  # by pi/mu: `ImportanceWeighted` would do it again

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.zero_or_more(self.beta, "beta", "choose 0 for no KL"))
        object.__setattr__(self, "k", checks.count(self.k, "k", least=2, most=checks.MOST_SAMPLES))
        object.__setattr__(self, "threshold", checks.number(self.threshold, "threshold"))
        object.__setattr__(self, "centred", checks.flag(self.centred, "centred"))
        object.__setattr__(self, "clip", checks.positive_or_infinite(self.clip, "clip"))

    def update(self, samples: Samples) -> Update:
        """c = (clipped(w (k s / m - 1)) + beta (rho - 1)) / k  (T13.11)."""
        push = clipped(self.advantage(samples), log_weight(samples), self.clip)
        return Update(log_prob=(push + kl_pull(samples, self.beta)) / self.k)

    def loss(self, samples: Samples) -> Array:
        """-(1/k) sum_i (min(w a, clip(w) a) - beta k3), (...), of samples that say who drew them (T13.11)."""
        return surrogate_loss(samples, self.advantage(samples), self.beta, self.clip)

    def advantage(self, samples: Samples) -> Array:
        """k s_i / m - 1, (..., k), or k s_i / m; zero where nothing succeeds."""
        reward = need(samples, "reward")
        xp = array_namespace(reward)
        success = xp.where(reward > self.threshold, xp.ones_like(reward), xp.zeros_like(reward))
        found = success.sum(-1)[..., None]
        share = success.shape[-1] * success / xp.where(found > 0, found, xp.ones_like(found))
        return xp.where(found > 0, share - float(self.centred), xp.zeros_like(share))

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """One equation for p on-policy; without a KL the most frequent success  (T13.11)."""
        if not sampling.on_policy:
            return None
        success = np.where(bandit.needed_reward() > self.threshold, 1.0, 0.0)
        if self.beta == 0:
            return best_arm(Bandit(success, reference=bandit.reference), log_start)
        ref = np.exp(reference_on_support(bandit, log_start))
        won, lost = (success * ref).sum(-1, keepdims=True), ((1 - success) * ref).sum(-1, keepdims=True)
        fails = np.vectorize(self._failures)(won, lost)
        with np.errstate(divide="ignore"):
            share = np.where(success > 0, (1 - fails) / np.where(won > 0, won, 1.0), 0.0)
            share += np.where(success == 0, fails / np.where(lost > 0, lost, 1.0), 0.0)
            log_policy = np.log(ref * share)
        return Solution(
            log_policy=log_policy, residual=np.nan, stable=True, unique=True, method="closed form (T13.11)"
        )

    def _failures(self, won: float, lost: float) -> float:
        """q at the end: beta (q0 - q) = q (1 - q^j), whose right side is concave: one root below q0."""
        if won == 0 or lost == 0:
            return 1.0 if won == 0 else 0.0
        beta, start, j = self.beta * (won + lost), lost / (won + lost), self.k - self.centred

        def miss(q: float) -> float:
            return q * (1 - q**j) - beta * (start - q)

        return float(brentq(miss, 0.0, start, xtol=1e-300, rtol=1e-15))
