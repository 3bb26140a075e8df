"""Policy gradient on whole answers, and what its baseline does.

    c = R(y) - b,     R = r - beta log pi/ref      (not differentiated)

Who sampled decides everything.  On-policy, E_pi[(R - b) grad log pi] = grad J for every b, and pi* is
the only interior stationary point (T2.1).  Off-policy without importance weights the answer depends
on b: E_mu[(R - b)(e_y - pi)] = 0 has pi* as a solution only if b equals E_mu[R] there; a constant b
far above the rewards locks in on a single arm, one attractor for each (T2.5, `bandits.solvers.off_policy`).

A baseline is a number or a function of `Samples`.  Those below take exact expectations, which needs
`samples.population` (all arms, or all completions of a model small enough to enumerate).

Source: Sutton et al. 2000; the KL-regularised return as in Flet-Berliac et al. 2024, Section 3,
arXiv:2406.19185.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from bandits import checks
from bandits.algorithms.linear import Linear, optimum_on_support
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, fitting, need
from bandits.sampling.laws import Law
from bandits.sampling.rules import Sampling
from bandits.solution import CONTINUUM, Solution
from bandits.solvers import off_policy
from bandits.solvers.off_policy import Attractor

Baseline = Callable[[Samples, float], Array]


def policy_reward(samples: Samples, beta: float) -> Array:
    """b = E_pi[r], the unregularised value: off-policy it is biased  (T2.5).

    Example: pi = (1/2, 1/2), r = (1, 0).

        >>> import numpy as np
        >>> from bandits.samples import Samples
        >>> everyone = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.5]),
        ...                    behavior_log_prob=np.log([0.25, 0.75]), reward=np.array([1.0, 0.0]))
        >>> one = Samples(log_prob=np.log([0.5]), population=everyone)
        >>> policy_reward(one, beta=1.0).round(12)
        array([0.5])
    """
    population = need(samples, "population")
    return _mean(population.log_prob, need(population, "reward"))


def policy_value(samples: Samples, beta: float) -> Array:
    """b = E_pi[R] = J(pi): moves with pi, and makes pi* a fixed point even off-policy  (T2.5).

    Example: pi = (1/2, 1/2), r = (1, 0), h = 0.

        >>> import numpy as np
        >>> from bandits.samples import Samples
        >>> everyone = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.5]),
        ...                    behavior_log_prob=np.log([0.25, 0.75]), reward=np.array([1.0, 0.0]))
        >>> one = Samples(log_prob=np.log([0.5]), population=everyone)
        >>> policy_value(one, beta=1.0).round(12)
        array([0.5])
    """
    population = need(samples, "population")
    return _mean(population.log_prob, population.regularized_reward(checks.positive(beta, "beta")))


def behavior_value(samples: Samples, beta: float) -> Array:
    """b = E_mu[R], the mean over whoever samples: the update is then linear and ends at pi*  (T2.5, T3.7).

    Example: mu = (1/4, 3/4), r = (1, 0), h = 0.

        >>> import numpy as np
        >>> from bandits.samples import Samples
        >>> everyone = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.5]),
        ...                    behavior_log_prob=np.log([0.25, 0.75]), reward=np.array([1.0, 0.0]))
        >>> one = Samples(log_prob=np.log([0.5]), population=everyone)
        >>> behavior_value(one, beta=1.0).round(12)
        array([0.25])
    """
    population = need(samples, "population")
    log_behavior = need(population, "behavior_log_prob")
    return _mean(log_behavior, population.regularized_reward(checks.positive(beta, "beta")))


def greedy(samples: Samples, beta: float) -> Array:
    """b = r(argmax pi), ReMax's baseline (Li 2023, arXiv:2310.10505)  (T2.4).

    Example: two answers to a prompt whose favourite earns 3/4.

        >>> import numpy as np
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), greedy_reward=np.array(0.75))
        >>> greedy(pair, beta=1.0)
        array([0.75])
    """
    return need(samples, "greedy_reward")[..., None]


UNBIASED = (policy_reward, policy_value, behavior_value, greedy)  # on-policy: none looks at its own sample


@dataclass(frozen=True)
class PolicyGradient:
    """c_i = (R_i - b) / k.

    Ends at pi* on-policy; on other samples at pi* only with b = E_mu[R], with far baselines on one arm
    (T2.5).

    Args:
        beta: strength of the KL to the reference.
        baseline: b, a number or one of the functions of this module.
        k: samples averaged in one update.

    Example:
        >>> import numpy as np
        >>> one = Samples(log_prob=np.log([0.5]), reference_log_prob=np.log([0.5]), reward=np.array([1.0]))
        >>> PolicyGradient(beta=1.0, baseline=0.25).update(one).log_prob
        array([0.75])
    """

    beta: float
    baseline: float | Baseline = 0.0
    k: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        object.__setattr__(self, "k", checks.count(self.k, "k", most=checks.MOST_SAMPLES))
        if callable(self.baseline):
            checks.function(self.baseline, "baseline", "samples", "beta")
        else:
            object.__setattr__(self, "baseline", checks.number(self.baseline, "baseline"))

    def update(self, samples: Samples) -> Update:
        """c = (R - b) / k  (T2.1)."""
        R = samples.regularized_reward(self.beta)
        b = self.baseline
        if callable(b):
            b = fitting(b(samples, self.beta), R, "baseline")
        return Update(log_prob=(R - b) / R.shape[-1])

    def linear(self, bandit: Bandit, law: Law) -> Linear | None:
        """With b = E_mu[R]: beta/2 L (r/beta - h); with other baselines it is not linear  (T3.7)."""
        if self.baseline is not behavior_value:
            return None
        return Linear(rate=self.beta / 2, law=law.resampled(), beta=self.beta, given=bandit.needed_reward())

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """pi* on-policy  (T2.1).

        A reader's own baseline may look at the very sample that it is subtracted from, and bias the update.
        """
        unbiased = not callable(self.baseline) or self.baseline in UNBIASED
        return optimum_on_support(bandit, self.beta, log_start) if sampling.on_policy and unbiased else None

    def attractors(self, bandit: Bandit, law: Law, log_start: Floats) -> list[Solution] | None:
        """Every end of a constant baseline on somebody else's samples, one context  (T2.5).

        Arms that nobody samples die out where the mean advantage is positive, and where it is zero the start
        decides how they share what the others leave.
        """
        if callable(self.baseline):
            return None
        found = off_policy.attractors(
            law.behavior, bandit.log_reference, bandit.needed_reward(), self.beta, self.baseline, log_start
        )
        ends = [one for one in found if one.stable is not False]
        return [_attractor(one, bandit, len(ends) == 1) for one in ends]


def _attractor(found: Attractor, bandit: Bandit, only: bool) -> Solution:
    dying = np.isneginf(found.log_policy) & np.isfinite(bandit.log_reference)
    return Solution(
        log_policy=found.log_policy,
        residual=found.residual,
        stable=found.stable,
        unique=only and found.stable is True,
        face=~np.isneginf(found.log_policy) if dying.any() and found.mean_advantage > 0 else None,
        method="enumerated attractors (T2.5)",
        message="" if found.stable else CONTINUUM,
    )


def _mean(log_weight: Array, values: Array) -> Array:
    """Expectation over all arms, (..., 1); arms without weight count zero even where R is infinite."""
    xp = array_namespace(values)
    weight = xp.exp(log_weight)
    return xp.where(weight > 0, weight * values, xp.zeros_like(values)).sum(-1)[..., None]
