"""CISPO, of MiniMax-M1: REINFORCE whose likelihood ratios are capped, and no answer is dropped.

    c_i = (1/k) min(pi/mu, C) a_i      (weight and advantage not differentiated)

with a = (r - mean of the group) / spread of the group, as in GRPO, or a = r - b.  There is no KL.

Who samples: any fixed mu.  Both advantages then are frozen numbers of each arm, a(y) = E[a_i | y_i = y] in
groups of mu, and with x = pi/mu and S = E_mu[a min(x, C)] it ends (T13.10) where x / min(x, C) = a / S:

    a > S at x = C a / S,    an arm with a = S takes the rest,    all others die out

like 1/t.  A small cap, C E_mu[a] <= min a, leaves mu a / E_mu[a], cloning; a large one gathers on the arm
with the largest a: C chooses between them.  With a = r - b and no a > 0 it gathers on one arm, any y with
a(z) < a(y) min(1, C mu(y)) for all z != y.  On its own samples, moving with them, it gathers on the best arm
whatever C is (T13.7).

Source: MiniMax 2025, "MiniMax-M1", arXiv:2506.13585, Section 3.1: its lower bound is left out there as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace

from bandits import checks
from bandits.algorithms import boundary
from bandits.algorithms.grpo import GRPO
from bandits.algorithms.ppo import log_weight
from bandits.bandit import Bandit, gather
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, need
from bandits.sampling.coefficients import sum_by_arm
from bandits.sampling.groups import multisets, unordered_groups
from bandits.sampling.laws import BLOCK, Law
from bandits.sampling.rules import Sampling
from bandits.solution import Solution
from bandits.solvers.gates import Gate

MOST_GROUPS = 10**6  # different groups that the mean advantage is summed over: a second


@dataclass(frozen=True)
class CISPO:
    """c_i = min(pi/mu, C) a_i / k.

    Ends at pi = mu C a / S where the mean advantage a(y) exceeds S = E_mu[a min(pi/mu, C)], an arm with a = S
    takes the rest, the others die out  (T13.10).

    Args:
        cap: C, the largest weight; infinite for none.
        baseline: b, a number: a = r - b; None: a is the reward less the mean of its group, over its spread.
        k: samples in a group.

    Example: two good answers, b = 0, one of them now three times as frequent as it was.
        >>> import numpy as np
        >>> two = Samples(log_prob=np.log([0.6, 0.2]), behavior_log_prob=np.log([0.2, 0.2]),
        ...               reward=np.array([1.0, 1.0]))
        >>> CISPO(cap=1.5, baseline=0.0).update(two).log_prob.round(12)
        array([0.75, 0.5 ])
    """

    cap: float = 2.0
    baseline: float | None = None
    k: int = 2
    weighted: ClassVar[bool] = True  # by pi/mu: `ImportanceWeighted` would do it again

    def __post_init__(self) -> None:
        object.__setattr__(self, "cap", checks.positive_or_infinite(self.cap, "cap"))
        if self.baseline is not None:
            object.__setattr__(self, "baseline", checks.number(self.baseline, "baseline"))
        least = 2 if self.baseline is None else 1
        object.__setattr__(self, "k", checks.count(self.k, "k", least=least, most=checks.MOST_SAMPLES))

    def update(self, samples: Samples) -> Update:
        """c = min(pi/mu, C) a / k, Section 3.1, MiniMax 2025  (T13.10)."""
        a = self._advantage(samples)
        xp = array_namespace(a)
        return Update(log_prob=a * xp.exp(xp.clip(log_weight(samples), max=math.log(self.cap))) / a.shape[-1])

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """The end on a fixed mu where some arm has a > 0; on its own samples the best arm  (T13.10, T13.7).

        None where the places of a group have different laws, and for more than a million different groups.

        Raises:
            NoFixedPoint: several arms share a = S, and the start decides among the limits.
        """
        if sampling.on_policy:
            return boundary.best_arm(bandit, log_start)
        law = sampling.law(self, bandit, log_start)
        mass = self._mass(bandit, law)
        return None if mass is None else boundary.gated("CISPO", mass, self._gate(law), bandit, log_start)

    def attractors(self, bandit: Bandit, law: Law, log_start: Floats) -> list[Solution] | None:
        """Every end where no sampled arm has a > 0, one context  (T13.10)."""
        mass = self._mass(bandit, law)
        if mass is None or self.baseline is None:
            return None
        words = f"no sampled arm has a reward above the baseline {self.baseline:g}"
        return boundary.attractors(mass, self._gate(law), bandit, log_start, words)

    def _gate(self, law: Law) -> Gate:
        return Gate(law.behavior, 0.0, self.cap)

    def _mass(self, bandit: Bandit, law: Law) -> Floats | None:
        """mu(y) a(y), (..., A), a the mean advantage of an arm in groups of mu; None if unknown."""
        if not boundary.one_law(law):
            return None
        reward = bandit.needed_reward()
        if self.baseline is not None:
            return law.behavior * (reward - self.baseline)
        if (multisets(law) or 0) > MOST_GROUPS:
            return None
        total = np.zeros(bandit.arms)
        for arms, weight in unordered_groups(law, BLOCK):
            each = gather(reward, arms, axes=2)
            a = self._advantage(Samples(log_prob=each, reward=each)) / self.k
            total = total + sum_by_arm(weight[..., None] * a, arms, bandit.arms)
        return total

    def _advantage(self, samples: Samples) -> Array:
        """a_i, (..., k)."""
        return (
            self._group.advantage(samples)
            if self.baseline is None
            else need(samples, "reward") - self.baseline
        )

    @cached_property
    def _group(self) -> GRPO:
        """Whose advantage it takes."""
        return GRPO(beta=1.0, k=self.k)
