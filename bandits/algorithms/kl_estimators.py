"""Which estimate of the KL, and where?  Any algorithm of rewards, its KL estimated in another way.

With h = log pi/ref and rho = ref/pi of a sample, the estimates of KL(pi || ref) are

    k1 = h,    k2 = h^2 / 2,    k3 = rho - 1 + h,        with the slopes 1, h and 1 - rho in log pi.

What they pull towards, over the policy's own samples (T9.6):

    in the reward (not differentiated)     k1: grad KL(pi || ref)      k3: that less grad KL(ref || pi)
    as a loss (the slope)                  k1: nothing      k2: grad KL(pi || ref)      k3: grad KL(ref || pi)
    as a loss times pi/mu, differentiated  k1 and k3: grad KL(pi || ref), whoever sampled      k2: h + h^2 / 2

Near the reference k3 in the reward is of second order in h, and so is its slope's pull: the regulariser
switches itself off.  An arm far below its reference costs more the rarer it gets, and is pushed further down:
what is climbed has no maximum.  A ratio makes the slope w (k + k'): of k1 h + 1, of k3 h, and both are right.

Who samples: the policy; the ratio, where trainers have it, makes a KL loss right on samples of mu too.

Source: Schulman 2020, "Approximating KL Divergence"; k3 as a loss: Shao et al. 2024, arXiv:2402.03300, Eq.
(4); with the ratio: DeepSeek-AI 2025, "DeepSeek-V3.2", arXiv:2512.02556.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from operator import attrgetter
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from bandits import checks
from bandits.algorithms.boundary import best_arm
from bandits.algorithms.grpo import forward_optimum
from bandits.algorithms.linear import Linear, optimum_on_support
from bandits.algorithms.ppo import log_weight
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, group_size, need, sample_axes
from bandits.sampling.laws import Law
from bandits.sampling.observation import fields_read, seen_as
from bandits.sampling.rules import Sampling
from bandits.solution import Solution

End = Callable[[Bandit, float, float, Floats], Solution | None]


@dataclass(frozen=True)
class Estimator:
    """An estimate of KL(pi || ref) from h = log pi/ref of a sample, and how it moves with log pi  (T9.6).

    Example: h = log 2: k1 is h, k2 half its square, k3 1/2 - 1 + h; slopes 1, h and 1 - 1/2.

        >>> import numpy as np
        >>> [round(float(k.value(np.log(2.0))), 4) for k in (k1, k2, k3)]
        [0.6931, 0.2402, 0.1931]
        >>> [round(float(k.slope(np.log(2.0))), 4) for k in (k1, k2, k3)]
        [1.0, 0.6931, 0.5]
    """

    name: str
    value: Callable[[Array], Array]  # k(h)
    slope: Callable[[Array], Array]  # k'(h)
    weighted_slope: Callable[[Array], Array]  # k(h) + k'(h): of the estimate times pi/mu, over pi/mu
    end: End | None = None  # as a loss beside s E_pi[r], on own samples: of the world, s, beta and the start
    weighted_end: End | None = None  # the same, of the estimate times pi/mu

    def __repr__(self) -> str:
        return self.name


def _exp(h: Array) -> Array:
    """exp(h), held below e^650: of an arm this far below its reference all that counts is that it is."""
    xp = array_namespace(h)
    return xp.exp(xp.clip(h, max=650.0))


def _itself(h: Array) -> Array:
    return h


def _one(h: Array) -> Array:
    return 0 * h + 1


def _one_more(h: Array) -> Array:
    return h + 1


def _half_square(h: Array) -> Array:
    return h**2 / 2


def _with_half_square(h: Array) -> Array:
    return h + h**2 / 2


def _excess(h: Array) -> Array:
    return _exp(-h) - 1 + h


def _shortfall(h: Array) -> Array:
    return 1 - _exp(-h)


def _the_best_arm(bandit: Bandit, gain: float, beta: float, log_start: Floats) -> Solution | None:
    return best_arm(bandit, log_start)


def _the_optimum(bandit: Bandit, gain: float, beta: float, log_start: Floats) -> Solution:
    return optimum_on_support(bandit, beta / gain, log_start)


k1 = Estimator("k1", _itself, _one, _one_more, end=_the_best_arm, weighted_end=_the_optimum)
k2 = Estimator("k2", _half_square, _itself, _with_half_square, end=_the_optimum)
k3 = Estimator("k3", _excess, _shortfall, _itself, end=forward_optimum, weighted_end=_the_optimum)


NO_KL = {"reference_log_prob": attrgetter("log_prob")}  # who is its own reference pays nothing


@dataclass(frozen=True)
class WithKLReward:
    """An algorithm whose KL is an estimate that the reward is charged, not differentiated.

    Ends with k1 at pi*, where policy gradient does; k3 climbs E_pi[r] - beta KL(pi || ref) +
    beta KL(ref || pi), without bound as an arm dies, and runs away; if the rewards are small against beta it
    may rest, r - beta k the same on all arms and one of them at most below its reference; so may k2  (T9.6).

    Args:
        algorithm: any that looks at rewards and has a beta, the strength of the KL; its own KL is left out.
        estimator: `k1`, `k2` or `k3`.

    Example: k1 in the reward is R; near the reference k3 charges next to nothing.
        >>> from bandits import RLOO
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.45, 0.55]),
        ...                reward=np.array([1.0, 0.0]))
        >>> [WithKLReward(RLOO(beta=1.0), k).update(pair).log_prob.round(3).tolist() for k in (k1, k3)]
        [[0.4, -0.4], [0.5, -0.5]]
    """

    algorithm: Any
    estimator: Estimator = k1

    def __post_init__(self) -> None:
        _check(self.algorithm, self.estimator)

    @property
    def k(self) -> int:
        """Samples in a group: those of the algorithm."""
        return self.algorithm.k

    @property
    def beta(self) -> float:
        """Strength of the KL: the algorithm's."""
        return self.algorithm.beta

    def update(self, samples: Samples) -> Update:
        """c of the algorithm at r - beta k(h), without a KL of its own  (T9.6)."""
        return self.algorithm.update(seen_as(samples, {"reward": self._paid, **NO_KL}))

    @property
    def contrastive(self) -> bool:
        """Whether coefficients cancel in a group, and see differences alone: the algorithm's do, with k1."""
        return self._changes_nothing and getattr(self.algorithm, "contrastive", False)

    def linear(self, bandit: Bandit, law: Law) -> Linear | None:
        """The algorithm's own, where it is the algorithm  (T9.6)."""
        own = getattr(self.algorithm, "linear", None)
        return own(bandit, law) if own and self._changes_nothing else None

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """The algorithm's own, where it is the algorithm  (T9.6)."""
        own = getattr(self.algorithm, "closed_form", None)
        return own(bandit, sampling, log_start) if own and self._changes_nothing else None

    @cached_property
    def _changes_nothing(self) -> bool:
        """Whether k1 in the reward is what the algorithm does already: R = r - beta h.

        Tried out on one group of uneven numbers, which no other KL fits by chance.
        """
        group = _group(self.algorithm)
        own, found = (each.update(group).log_prob for each in (self.algorithm, self))
        return self.estimator is k1 and bool(np.abs(found - own).max() <= 1e-12 * np.abs(own).max())

    def _paid(self, samples: Samples) -> Array:
        return need(samples, "reward") - self.beta * self.estimator.value(samples.log_ratio)


@dataclass(frozen=True)
class WithKLLoss:
    """An algorithm whose KL is an estimate beside its loss, differentiated sample by sample.

    Ends on its own samples, if the algorithm climbs s E_pi[r], with k2 at pi* of beta/s; with k3 at the
    maximiser of s E_pi[r] - beta KL(ref || pi); with k1, which does not pull, on the best arm.  Weighted by
    pi/mu, k1 and k3 end where k2 does.  On samples of mu k2 and k3 lift every arm that dies, and rest inside;
    the weighted pull is bounded, and arms worse than the mean may run away from it  (T9.6).

    Args:
        algorithm: any that looks at rewards and has a beta, the strength of the KL; its own KL is left out.
            Its coefficients are averages over the group, and so is the loss.
        estimator: `k1`, `k2` or `k3`.
        weighted: the loss is pi/mu times the estimate, the ratio differentiated with it.

    Example: h = 0 and -log 2.
        >>> from bandits import RLOO
        >>> pair = Samples(log_prob=np.log([0.5, 0.25]), reference_log_prob=np.log([0.5, 0.5]),
        ...                reward=np.array([1.0, 0.0]))
        >>> WithKLLoss(RLOO(beta=1.0), k3).update(pair).log_prob  # less (1 - 1) / 2 and (1 - 2) / 2
        array([0.5, 0. ])
    """

    algorithm: Any
    estimator: Estimator = k2
    weighted: bool = False

    def __post_init__(self) -> None:
        _check(self.algorithm, self.estimator)
        object.__setattr__(self, "weighted", checks.flag(self.weighted, "weighted"))

    @property
    def k(self) -> int:
        """Samples in a group: those of the algorithm."""
        return self.algorithm.k

    @property
    def beta(self) -> float:
        """Strength of the KL: the algorithm's."""
        return self.algorithm.beta

    def update(self, samples: Samples) -> Update:
        """c of the algorithm without a KL, less beta k'(h) / k, or beta w (k + k')(h) / k  (T9.6)."""
        update, h = self.algorithm.update(seen_as(samples, NO_KL)), samples.log_ratio
        pull = self.estimator.slope(h)
        if self.weighted:
            pull = array_namespace(h).exp(log_weight(samples)) * self.estimator.weighted_slope(h)
        return replace(update, log_prob=update.log_prob - self.beta / self.k * pull)

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """The end on its own samples, where the algorithm climbs a multiple of E_pi[r] there  (T9.6)."""
        end = self.estimator.weighted_end if self.weighted else self.estimator.end
        if end is None or not sampling.on_policy or self._gain is None:
            return None
        return end(bandit, self._gain, self.beta, log_start) if self.beta else best_arm(bandit, log_start)

    @cached_property
    def _gain(self) -> float | None:
        return gain_of_rewards(self.algorithm)


def gain_of_rewards(algorithm: Any) -> float | None:
    """s, where without a KL an algorithm climbs s E_pi[r] on its own samples; None: not known to  (T9.6).

    It does where the coefficients of a group are M r + b, with numbers M, whose trace is s, and a b that is
    the same for all samples and looks at none of them.  Tried out on two groups of uneven numbers, which no
    other coefficients fit by chance.

    Example: a sample that counts itself into its baseline loses half of its reward in a group of two.
        >>> from bandits import CoPG, DrGRPO, GRPO, RLOO
        >>> [gain_of_rewards(a) for a in (RLOO(0.5), CoPG(0.5), DrGRPO(0.5), GRPO(0.5))]
        [1.0, 2.0, 0.5, None]
    """
    found = []
    for group in (_group(algorithm), _regrouped(_group(algorithm))):
        own = seen_as(group, {**NO_KL, "behavior_log_prob": attrgetter("log_prob")})
        rewards = need(group, "reward") + np.eye(algorithm.k + 1, algorithm.k, -1)
        update = [algorithm.update(replace(own, reward=r)) for r in (*rewards, 99 * rewards[0])]
        if update[0].value is not None or update[0].revision_log_prob is not None:
            return None
        first, *shifted, far = [np.asarray(each.log_prob) for each in update]
        slopes = np.stack(shifted, axis=-1) - first[:, None]  # M
        rest = first - slopes @ rewards[0]
        found.append((slopes, np.append(rest, far - 99 * slopes @ rewards[0])))
    (slopes, rest), (others, other_rest) = found
    size = 99 * (1 + np.abs(slopes).max() + np.abs(rest).max())
    rounding = max(np.abs(slopes - others).max(), np.ptp([rest, other_rest]))
    return float(round(np.trace(slopes), 12)) if rounding <= 1e-12 * size and np.trace(slopes) > 0 else None


def _check(algorithm: Any, estimator: Estimator) -> None:
    """Is there a KL to be estimated in another way?"""
    name, _ = type(algorithm).__name__, group_size(algorithm)
    has_kl = getattr(algorithm, "beta", None) is not None
    if not (has_kl and "reward" in fields_read(algorithm, _group(algorithm))[0]):
        raise ValueError(
            f"algorithm must look at rewards and have a KL of strength beta, but {name} does not; "
            f"take one such as RLOO(beta=0.5)"
        )
    if not isinstance(estimator, Estimator):
        raise ValueError(f"estimator must be k1, k2 or k3, but estimator = {checks.shown(estimator)}")


def _regrouped(group: Samples) -> Samples:
    """Other samples, of the same population."""
    names = [name for name, axes in sample_axes(Samples).items() if axes > 0 and name != "arm"]
    return replace(group, **{name: np.cos(7 * getattr(group, name)) ** 2 for name in names})


def _group(algorithm: Any) -> Samples:
    """One group with a number in every field."""
    sizes = {name: (algorithm.k,) * axes for name, axes in sample_axes(Samples).items() if name != "arm"}
    arrays = {
        name: np.sin(np.arange(1.0, prod(size) + 1) + place).reshape(size) ** 2
        for place, (name, size) in enumerate(sizes.items())
    }
    return Samples(**arrays, population=Samples(**arrays))
