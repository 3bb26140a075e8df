"""QRPO: regress the quantile of a reward on the log-ratio of its answer, with a log Z known beforehand.

    c_i = (1/k) (F_i - V - beta h_i),      F(y) = P_ref(r(y') <= r(y)),    V = beta log Z,    h = log pi/ref

Where no two answers are equally good, as with continuous rewards, the quantiles F of the reference's answers
are uniform on [0, 1], and Z = E_ref[exp(F / beta)] = beta (exp(1 / beta) - 1) needs no estimate.

Who samples: anybody, single answers.  V is a constant baseline on the reward F (T2.5).  With the exact Z the
end is ref exp(F / beta) / Z whoever samples.  Where there are finitely many answers F lies above uniform
ones (P(F <= t) <= t), the published Z is too small and V below J*: the end is unique and depends on who
samples, drawn towards mu  (T13.5).  On its own samples V does not matter.

What is known of F: all of the reference, or the group itself if the reference drew it (`group_quantile`, what
language models can do): that is on average 1/k + (1 - 1/k) F.

Departure: the paper also offers transformed quantiles.  Source: Matrenok et al. 2025, "Quantile Reward Policy
Optimization", arXiv:2507.08068.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from array_api_compat import array_namespace

from bandits import checks
from bandits.algorithms import regression
from bandits.algorithms.linear import optimum_on_support
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, fitting, need
from bandits.sampling.laws import Law
from bandits.sampling.rules import Sampling
from bandits.solution import Solution

Quantile = Callable[[Samples], Array]  # what stands for the reward, (..., k)
Value = Callable[[Samples, float], Array]  # V = beta log Z, (..., 1) or a number
WHOLE = 0.99  # probability that a population has at least, if it is everybody
LARGE = 10.0  # beta above which log Z is a series: logarithms would lose its digits


def reference_quantile(samples: Samples) -> Array:
    """F(y) = P_ref(r(y') <= r(y)), (..., k), over the population: all arms, or all completions  (T13.5).

    Raises:
        ValueError: the population is not everybody.

    Example: three quarters of the reference are no better than the worse answer.

        >>> everyone = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.75, 0.25]),
        ...                    reward=np.array([0.0, 1.0]))
        >>> both = Samples(log_prob=np.log([0.5, 0.5]), reward=np.array([0.0, 1.0]), population=everyone)
        >>> reference_quantile(both)
        array([0.75, 1.  ])
    """
    everyone = need(samples, "population")
    weight = array_namespace(everyone.log_prob).exp(need(everyone, "reference_log_prob"))
    total = float(weight.sum(-1).min())
    if total < WHOLE:
        raise ValueError(
            f"population must be all answers to a prompt, but the reference gives these {total:.3g} of its "
            f"mass; where answers cannot be enumerated, let it draw groups, and use quantile=group_quantile"
        )
    return _share_below(need(samples, "reward"), need(everyone, "reward"), weight)


def group_quantile(samples: Samples) -> Array:
    """The share of the group that is no better, itself included, (..., k): F, if the reference drew it.

    Example: the best of three is no worse than all.

        >>> group_quantile(Samples(log_prob=np.zeros(3), reward=np.array([1.0, 0.0, 2.0]))).round(4)
        array([0.6667, 0.3333, 1.    ])
    """
    return _among_themselves(need(samples, "reward"))


def continuous_value(samples: Samples, beta: float) -> float:
    """V = beta log Z, Z = beta (exp(1 / beta) - 1), of a quantile that is uniform on [0, 1]  (T13.5).

    Example: Z = e - 1 at beta = 1.

        >>> round(float(np.exp(continuous_value(Samples(log_prob=np.zeros(1)), beta=1.0))), 6)
        1.718282
    """
    beta = checks.positive(beta, "beta")
    if beta < LARGE:
        return float(1 + beta * (np.log(beta) + np.log(-np.expm1(-1 / beta))))
    u = 0.5 / beta  # log Z = u + log(sinh u / u)
    return float(0.5 + beta * u**2 * (1 / 6 - u**2 / 180 + u**4 / 2835 - u**6 / 37800))


def reference_value(samples: Samples, beta: float) -> Array:
    """V = beta log Z, Z = E_ref[exp(F / beta)] over the population, (..., 1): exact  (T13.5).

    Example: log of 3/4 exp(3/4) + 1/4 exp(1) at beta = 1.

        >>> everyone = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.75, 0.25]),
        ...                    reward=np.array([0.0, 1.0]))
        >>> both = Samples(log_prob=np.log([0.5, 0.5]), reward=np.array([0.0, 1.0]), population=everyone)
        >>> np.exp(reference_value(both, 1.0)).round(4), round(float(0.75 * np.exp(0.75) + 0.25 * np.e), 4)
        (array([2.2673]), 2.2673)
    """
    beta, everyone = checks.positive(beta, "beta"), need(samples, "population")
    xp = array_namespace(everyone.log_prob)
    F = reference_quantile(replace(everyone, population=everyone))
    gain = xp.exp(need(everyone, "reference_log_prob")) * xp.expm1((F - 1) / beta)
    return 1 + beta * xp.log1p(gain.sum(-1)[..., None])


@dataclass(frozen=True)
class QRPO:
    """Quantile-reward regression.

    Ends at policy gradient's end on the reward F with baseline V: unique, drawn towards who samples; with
    `reference_value` at ref exp(F / beta) / Z, whoever samples all arms  (T13.5, T2.5).

    Args:
        beta: strength of the KL to the reference.
        quantile: F, `reference_quantile` or `group_quantile`.
        value: V = beta log Z, `continuous_value` as published, or `reference_value`.
        k: samples averaged in one update.

    Example: the better of two answers has F = 1, and Z = e - 1 at beta = 1.
        >>> import numpy as np
        >>> two = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.5]),
        ...               reward=np.array([3.0, 1.0]))
        >>> one = Samples(log_prob=np.log([0.5]), reference_log_prob=np.log([0.5]), reward=np.array([3.0]),
        ...               population=two)
        >>> QRPO(beta=1.0).update(one).log_prob.round(4)  # 1 - log(e - 1)
        array([0.4587])
    """

    beta: float
    quantile: Quantile = reference_quantile
    value: Value = continuous_value
    k: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        checks.function(self.quantile, "quantile", "samples")
        checks.function(self.value, "value", "samples", "beta")
        least = 2 if self.quantile is group_quantile else 1
        object.__setattr__(self, "k", checks.count(self.k, "k", least=least, most=checks.MOST_SAMPLES))

    def update(self, samples: Samples) -> Update:
        """c = (F - V - beta h) / k, V = beta log Z  (T13.5)."""
        return Update(log_prob=self._residual(samples) / samples.log_prob.shape[-1])

    def loss(self, samples: Samples) -> Array:
        """sum_i (F_i - V - beta h_i)^2 / (2 beta k), (...)  (T13.5)."""
        return (self._residual(samples) ** 2).mean(-1) / (2 * self.beta)

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """ref exp(F / beta) / Z, on-policy, where no constant matters  (T2.1)."""
        if not sampling.on_policy or self.quantile is not reference_quantile:
            return None
        world = Bandit(self.quantile(_everybody(bandit)), reference=bandit.reference)
        return optimum_on_support(world, self.beta, log_start)

    def attractors(self, bandit: Bandit, law: Law, log_start: Floats) -> list[Solution] | None:
        """Every end on a law that stays, one context  (T13.5, T2.5)."""
        if self.quantile not in KNOWN or self.value not in KNOWN:
            return None
        everyone = _everybody(bandit)
        V, score = self.value(everyone, self.beta), None
        if self.quantile is reference_quantile:
            score = self.quantile(everyone) - V
        else:
            score = regression.mean_credit(lambda reward: _among_themselves(reward) - V, bandit, law)
        return regression.attractors(score, self.beta, bandit, law, log_start)

    def _residual(self, samples: Samples) -> Array:
        """F_i - V - beta h_i, (..., k)."""
        try:
            F = fitting(self.quantile(samples), samples.log_prob, "quantile")
        except TypeError as error:  # a function of something else
            raise ValueError(f"quantile must be a function of Samples, but it says: {error}") from error
        V = fitting(self.value(samples, self.beta), samples.log_prob, "value")
        return F - V - self.beta * samples.log_ratio


KNOWN = (reference_quantile, group_quantile, continuous_value, reference_value)


def _everybody(bandit: Bandit) -> Samples:
    """All arms as one group, and as their own population."""
    log_ref = bandit.log_reference
    everyone = Samples(log_prob=log_ref, reference_log_prob=log_ref, reward=bandit.needed_reward())
    return replace(everyone, population=everyone)


def _among_themselves(reward: Array) -> Array:
    """Of each reward of a group, the share that is no better, (..., k)."""
    weight = array_namespace(reward).ones_like(reward) / reward.shape[-1]
    return _share_below(reward, reward, weight)


def _share_below(reward: Array, of: Array, weight: Array) -> Array:
    """The weight of rewards `of` (..., A) that are not above each reward, (..., k)."""
    xp = array_namespace(reward)
    no_better = of[..., None, :] <= reward[..., :, None]
    return xp.where(no_better, weight[..., None, :], xp.zeros_like(weight)[..., None, :]).sum(-1)
