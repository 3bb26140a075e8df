"""AsymRE, asymmetric REINFORCE: no KL and no weights, and the baseline V decides where it ends.

    c = r - V        (beta > 0: r - V - beta h,  h = log pi/ref, not differentiated: policy gradient, T2.5)

Who samples: any fixed law mu.  With a = mu (r - V) and b = sum a = V^mu - V, V^mu = E_mu[r], the expected
update on the logits is a - b pi, and without a KL (beta = 0) it ends (T13.7):

    V < V^mu     at the Euclidean projection of a / b on the simplex, max(a/b - t, 0): arms die out, from
                 V <= min r on none does, and the end is a / b, cloning in proportion to r - V
    V >= V^mu    on one arm, any y with a(y) - b > a(z) for all z != y; the start decides among several

On its own samples it gathers on the best arm.  The limit beta -> 0 is another one: mu (r - V)+ / Z, V < V^mu,
where what is worse than V dies out and the others keep their proportions (T13.8).

Source: Arnal et al. 2025, "Asymmetric REINFORCE for off-policy reinforcement learning", arXiv:2506.20520.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bandits import checks
from bandits.algorithms import boundary
from bandits.algorithms.policy_gradient import PolicyGradient
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, need
from bandits.sampling.laws import Law
from bandits.sampling.rules import Sampling
from bandits.solution import Solution
from bandits.solvers.gates import Gate


@dataclass(frozen=True)
class AsymRE:
    """c_i = (r_i - V) / k.

    Ends at the projection of mu (r - V) / (V^mu - V) on the simplex for V < V^mu = E_mu[r], else on one arm;
    with beta > 0 where policy gradient does  (T13.7, T2.5).

    Args:
        beta: strength of the KL to the reference; zero by default: none.
        baseline: V, a number.
        k: samples averaged in one update.

    Example:
        >>> two = Samples(log_prob=np.log([0.5, 0.5]), reward=np.array([1.0, 0.0]))
        >>> AsymRE(baseline=0.25).update(two).log_prob
        array([ 0.375, -0.125])
    """

    beta: float = 0.0
    baseline: float = 0.0
    k: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.zero_or_more(self.beta, "beta", "choose 0 (no KL) or more"))
        object.__setattr__(self, "baseline", checks.number(self.baseline, "baseline"))
        object.__setattr__(self, "k", checks.count(self.k, "k", most=checks.MOST_SAMPLES))

    def update(self, samples: Samples) -> Update:
        """c = (r - V - beta h) / k  (T13.7)."""
        R = need(samples, "reward") if self.beta == 0 else samples.regularized_reward(self.beta)
        return Update(log_prob=(R - self.baseline) / R.shape[-1])

    def loss(self, samples: Samples) -> Array:
        """mean of -(r - V) log pi + (beta/2) h^2, (...), whose derivative is -c  (T13.7)."""
        loss = -(need(samples, "reward") - self.baseline) * samples.log_prob
        return (loss if self.beta == 0 else loss + self.beta / 2 * samples.log_ratio**2).mean(-1)

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """On its own samples the best arm, with a KL pi*  (T13.7, T2.1)."""
        if self.beta > 0:
            return self._regularized.closed_form(bandit, sampling, log_start)
        return boundary.best_arm(bandit, log_start) if sampling.on_policy else None

    def attractors(self, bandit: Bandit, law: Law, log_start: Floats) -> list[Solution] | None:
        """Every end on somebody else's samples, one context  (T13.7; with a KL T2.5)."""
        if self.beta > 0:
            return self._regularized.attractors(bandit, law, log_start)
        reward = bandit.needed_reward()
        threshold = float(law.behavior @ reward)
        words = f"V = {self.baseline:g} is not below V^mu = E_mu[r] = {threshold:.10g}"
        pull = law.behavior * (reward - self.baseline)
        return boundary.attractors(pull, Gate(np.ones_like(pull), 1.0, 1.0), bandit, log_start, words)

    @cached_property
    def _regularized(self) -> PolicyGradient:
        """What it is with a KL."""
        return PolicyGradient(self.beta, self.baseline, self.k)
