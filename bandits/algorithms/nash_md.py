"""Nash-MD-PG: play against a geometric mixture of yourself and the reference.

    c = p(y beats y') - 1/2 - beta h(y),   y ~ pi,   y' ~ pi^(1-eps) ref^eps / Z,   h = log pi/ref

Who samples: the policy y, the mixture its opponent y', whose coefficient is zero.  The fixed point is
pi = ref exp(p(y beats mixture) / beta) / Z: the regularised equilibrium for eps = 0, and IPO's policy
with mu = ref for eps = 1 (T6.4).  So the mixture weight moves the answer, and Nash-MD at a constant
step eta, whose mixture is eps = eta beta, misses the equilibrium by a KL of order eta^2 (T6.5).

Conventions: Munos's mixture weight "beta" is our eps = `mixture`, his tau is our beta (T11.1).
Source: Munos et al. 2023, "Nash Learning from Human Feedback", Section 7, arXiv:2312.00886.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace

from bandits import checks
from bandits.algorithms.linear import reference_on_support
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, need, stack
from bandits.sampling.rules import Sampling
from bandits.solution import Solution
from bandits.solvers.equilibrium import equilibrium


@dataclass(frozen=True)
class NashMD:
    """Nash-MD policy gradient; brings its own opponent and takes `OnPolicy()`.

    Ends at ref exp(p(y beats pi^(1-eps) ref^eps) / beta) / Z, for eps = 0 the regularised equilibrium
    (T6.4).

    Args:
        beta: strength of the KL to the reference.
        mixture: eps, weight of the reference in the opponent, in [0, 1].
    """

    beta: float
    mixture: float = 0.0
    k: ClassVar[int] = 2
    needs_on_policy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        object.__setattr__(self, "mixture", checks.fraction(self.mixture, "mixture"))

    def opponent(self, log_policy: Array, log_reference: Array) -> Array:
        """log of pi^(1-eps) ref^eps, not normalised, over arms or over tokens  (T6.4)."""
        if self.mixture == 0:  # the end points are limits: 0 * -inf must not arise
            return log_policy
        if self.mixture == 1:
            return array_namespace(log_policy).where(log_policy == -math.inf, log_policy, log_reference)
        return (1 - self.mixture) * log_policy + self.mixture * log_reference

    def update(self, samples: Samples) -> Update:
        """c = p(y beats y') - 1/2 - beta h(y) for the policy's sample, 0 for the opponent's  (T6.5)."""
        p, h = need(samples, "preference")[..., 0, 1], samples.log_ratio[..., 0]
        c = p - 0.5 - self.beta * h
        return Update(log_prob=stack(c, 0 * c))

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution:
        """pi = ref exp(p(y beats pi^(1-eps) ref^eps) / beta) / Z, by Newton's method  (T6.4)."""
        log_reference = reference_on_support(bandit, log_start)
        return equilibrium(bandit.preference, log_reference, self.beta, mixture=self.mixture)
