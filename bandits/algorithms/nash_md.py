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
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray
from scipy.special import log_softmax

from bandits import checks
from bandits.algorithms.linear import reference_on_support
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, need, stack
from bandits.sampling.rules import Sampling
from bandits.solution import Solution
from bandits.solvers.equilibrium import equilibrium
from bandits.solvers.rest import graded_rates

LARGEST = 1000  # arms up to which the stability of an answer is computed


@dataclass(frozen=True)
class NashMD:
    """Nash-MD policy gradient; brings its own opponent and takes `OnPolicy()`.

    Ends at ref exp(p(y beats pi^(1-eps) ref^eps) / beta) / Z, for eps = 0 the regularised equilibrium
    (T6.4).

    Args:
        beta: strength of the KL to the reference.
        mixture: eps, weight of the reference in the opponent, in [0, 1].

    Example: the first answer beats the opponent's with 3/4, and h = 0: c = 3/4 - 1/2.

        >>> import numpy as np
        >>> start, p = np.log([0.5, 0.5]), np.array([[0.5, 0.75], [0.25, 0.5]])
        >>> NashMD(beta=1.0).update(Samples(log_prob=start, reference_log_prob=start, preference=p)).log_prob
        array([0.25, 0.  ])
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
        found = equilibrium(bandit.preference, log_reference, self.beta, mixture=self.mixture)
        if self.mixture in (0, 1) or bandit.arms > LARGEST:  # at the end points theory knows: it attracts
            return found
        assert found.log_policy is not None  # an equilibrium always exists
        stable = self._attracts(bandit, found.log_policy)
        return replace(found, stable=stable, unique=bool(stable.all()) and None)

    def _attracts(self, bandit: Bandit, log_policy: Floats) -> NDArray[np.bool_]:
        """Whether gradient ascent on the logits comes back, (...).

        The expected update is pi (c - E_pi[c]), c = p(y beats m) - beta h, so that at rest its Jacobian is
        diag(pi) (I - 1 pi') ((1 - eps) (P - 1/2) H_m - beta I), H = diag(m) - m m'  (T6.4).
        """
        keep = 1 - self.mixture
        policy = np.exp(log_policy)
        m = np.exp(log_softmax(self.opponent(log_policy, bandit.log_reference), axis=-1))
        payoff = bandit.preference - 0.5
        slope = keep * (payoff - np.matvec(payoff, m)[..., None]) * m[..., None, :]
        slope = slope - self.beta * np.eye(bandit.arms)
        slope = slope - np.vecmat(policy, slope)[..., None, :]
        alive = policy > 0
        slope = np.where(alive[..., :, None] & alive[..., None, :], slope, -np.eye(bandit.arms))
        weight = np.where(alive, policy, np.finfo(float).tiny)
        flat = graded_rates(slope.reshape(-1, *slope.shape[-2:]), weight.reshape(-1, bandit.arms))
        return flat.attracts.reshape(weight.shape[:-1])[()]
