"""TOPR, tapered off-policy REINFORCE: good answers are cloned, bad ones pushed down while they are frequent.

    c = a        where a > 0
    c = a min(pi/mu, 1)  else,       a = r - b      (the weight is held fixed)

Who samples: any fixed law mu of single answers.  The expected update on the logits is

    mu a+ - min(pi, mu) a- - pi C,   C the sum of the first two,

and as there is no KL, it ends at mu a+ / Z: positive cloning.  Arms with a <= 0 and those that nobody samples
die out like 1/t, bad ones however heavy (T13.9).  With no a > 0 it gathers on one arm: any y with
a(z) < a(y) mu(y) for all z != y, the least bad one at least; or on the only arm with a = 0 (T13.10, C = 1).
On its own samples (weights 1) it gathers on the best arm (T13.7).

Source: Le Roux et al. 2025, "Tapered Off-Policy REINFORCE", arXiv:2503.14286: the canonical choice, whose
weights lie in [0, 1] for bad answers and are 1 for good ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace

from bandits import checks
from bandits.algorithms import boundary
from bandits.algorithms.ppo import log_weight
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Samples, Update, need
from bandits.sampling.laws import Law
from bandits.sampling.rules import Sampling
from bandits.solution import Solution
from bandits.solvers.gates import Gate


@dataclass(frozen=True)
class TOPR:
    """c_i = (r_i - b) / k, bad answers weighted by min(pi/mu, 1).

    Ends at mu (r - b)+ / Z on a fixed mu: positive cloning  (T13.9).

    Args:
        baseline: b, a number.
        k: samples averaged in one update.

    Example: a bad answer that has become half as frequent is pushed half as much.
        >>> import numpy as np
        >>> two = Samples(log_prob=np.log([0.2, 0.2]), behavior_log_prob=np.log([0.4, 0.4]),
        ...               reward=np.array([1.0, -1.0]))
        >>> TOPR(k=2).update(two).log_prob.round(12)
        array([ 0.5 , -0.25])
    """

    baseline: float = 0.0
    k: int = 1
    weighted: ClassVar[bool] = True  # by pi/mu: `ImportanceWeighted` would do it again

    def __post_init__(self) -> None:
        object.__setattr__(self, "baseline", checks.number(self.baseline, "baseline"))
        object.__setattr__(self, "k", checks.count(self.k, "k", most=checks.MOST_SAMPLES))

    def update(self, samples: Samples) -> Update:
        """c = (r - b) / k, times min(pi/mu, 1) where r < b  (T13.9)."""
        a = need(samples, "reward") - self.baseline
        xp, log_w = array_namespace(a), log_weight(samples)
        weight = xp.exp(xp.where((a < 0) & (log_w < 0), log_w, xp.zeros_like(log_w)))
        return Update(log_prob=a * weight / a.shape[-1])

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """mu (r - b)+ / Z if some sampled arm has r > b; on its own samples the best arm  (T13.9, T13.7)."""
        if sampling.on_policy:
            return boundary.best_arm(bandit, log_start)
        behavior = sampling.law(self, bandit, log_start).behavior
        cloned = np.maximum(behavior * (bandit.needed_reward() - self.baseline), 0.0)
        return boundary.gated("TOPR", cloned, Gate(np.ones_like(cloned), 1.0, 1.0), bandit, log_start)

    def attractors(self, bandit: Bandit, law: Law, log_start: Floats) -> list[Solution] | None:
        """Every end where no sampled arm has r > b, one context  (T13.10)."""
        if not boundary.one_law(law):
            return None
        mass = law.behavior * (bandit.needed_reward() - self.baseline)
        words = f"no sampled arm has a reward above the baseline {self.baseline:g}"
        return boundary.attractors(mass, Gate(law.behavior, 0.0, 1.0), bandit, log_start, words)
