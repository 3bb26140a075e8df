"""DRO, direct reward optimisation: regress rewards on a value and a log-ratio.

    loss = 1/2 (r(y) - V - beta h(y))^2,    h = log pi/ref        (Eq. 4)

Who sampled: any law mu of single answers.  With full support the only optimum is (pi*, V* = J(pi*)),
whoever sampled (T8.1).  Eliminating V leaves CoPG's loss for pairs i.i.d. from mu: half the mean
square of R - R' is the variance of R under mu (T3.7).  Freezing V at another number is biased exactly as
policy gradient with that baseline is (T8.2, T2.5).

`samples.value` is the V in training.  Without it V is eliminated: V = E_mu[R], its optimum for the
policy at hand, which takes `samples.population`.

Conventions: Richemond's tau is our beta.  Source: Richemond et al. 2024, "Offline Regularised
Reinforcement Learning for Large Language Models Alignment", arXiv:2405.19107.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from bandits import checks
from bandits.algorithms.linear import Linear, optimum_on_support
from bandits.algorithms.policy_gradient import behavior_value
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.policy import log_ratio
from bandits.samples import Array, Samples, Update
from bandits.sampling.laws import Law
from bandits.sampling.rules import Sampling
from bandits.solution import Solution


@dataclass(frozen=True)
class DRO:
    """The exact gradient of DRO's loss, in the policy and in V.

    Ends at (pi*, J*), whoever sampled all arms  (T8.1).

    Example:
        >>> one = Samples(log_prob=np.log([0.5]), reference_log_prob=np.log([0.5]), reward=np.array([1.0]),
        ...               value=np.array(0.25))
        >>> DRO(beta=0.5).update(one)
        Update(log_prob=array([0.375]), value=np.float64(0.75), revision_log_prob=None)
    """

    beta: float
    k: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))

    def update(self, samples: Samples) -> Update:
        """beta (r - V - beta h) on log pi, r - V - beta h on V  (T8.1)."""
        residual = _residual(samples, self.beta)
        return Update(log_prob=self.beta * residual, value=residual.sum(-1))

    def loss(self, samples: Samples) -> Array:
        """1/2 (r - V - beta h)^2, (...), for a V given in `samples.value`, Eq. (4), Richemond 2024."""
        return 0.5 * (_residual(samples, self.beta) ** 2).sum(-1)

    def linear(self, bandit: Bandit, law: Law) -> Linear:
        """With V eliminated: beta^2/2 L (r/beta - h), L of pairs i.i.d. from mu  (T3.7)."""
        return Linear(
            rate=self.beta**2 / 2, law=law.resampled(), beta=self.beta, given=bandit.needed_reward()
        )

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution:
        """(pi*, J*) on the support of mu; arms never sampled keep their logit  (T8.1)."""
        return _closed_form(self, bandit, sampling, log_start)


@dataclass(frozen=True)
class DROV:
    """DRO-V as published: the policy step drops the factor beta (Section 4, Richemond 2024)  (T8.1).

    Ends at (pi*, J*), whoever sampled all arms  (T8.1).

    Example: both residuals are r - V - beta h = 1 - 1/4 - 0.

        >>> import numpy as np
        >>> start = np.log([0.5])
        >>> one = Samples(log_prob=start, reference_log_prob=start, reward=np.array([1.0]),
        ...               value=np.array(0.25))
        >>> update = DROV(beta=0.5).update(one)
        >>> update.log_prob, float(update.value)
        (array([0.75]), 0.75)
    """

    beta: float
    k: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))

    def update(self, samples: Samples) -> Update:
        """r - V - beta h both on log pi and on V  (T8.1)."""
        residual = _residual(samples, self.beta)
        return Update(log_prob=residual, value=residual.sum(-1))

    def linear(self, bandit: Bandit, law: Law) -> Linear:
        """With V eliminated: beta/2 L (r/beta - h)  (T3.7)."""
        return Linear(rate=self.beta / 2, law=law.resampled(), beta=self.beta, given=bandit.needed_reward())

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution:
        """The same fixed point as DRO's: a step size does not move it  (T8.1)."""
        return _closed_form(self, bandit, sampling, log_start)


def _residual(samples: Samples, beta: float) -> Array:
    """r - V - beta h, (..., k)."""
    V = behavior_value(samples, beta) if samples.value is None else samples.value[..., None]
    return samples.regularized_reward(beta) - V


def _closed_form(algorithm: DRO | DROV, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution:
    """The policy of CoPG on pairs from mu, and V = E_mu[R] there: J* if mu has full support  (T8.1)."""
    beta, law = algorithm.beta, sampling.law(algorithm, bandit, log_start)
    if sampling.on_policy:
        solution = optimum_on_support(bandit, beta, log_start)
    else:
        solution = algorithm.linear(bandit, law).fixed_point(bandit, log_start)
        if solution.unique:
            return replace(solution, value=bandit.optimal_value(beta))
    log_policy = solution.log_policy
    assert log_policy is not None  # closed forms always have one
    if solution.unique:  # R is constant, hence E_mu[R] = J(pi), which loses fewer digits
        return replace(solution, value=bandit.value(np.exp(log_policy), beta))
    R = bandit.needed_reward() - beta * log_ratio(log_policy, bandit.log_reference)
    seen = law.behavior > 0
    return replace(solution, value=(law.behavior * np.where(seen, R, 0.0)).sum(-1))
