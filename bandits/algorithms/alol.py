"""A-LoL and R-LoL, leftover lunch: imitate what is better than the reference's average, or what has reward.

    A-LoL   c = a+ w,   a+ = max(r - V, 0),   V = E_ref[r]
    R-LoL   c = r w,                          w = clip(pi/ref, 1 - eps, 1 + eps)      (w is held fixed)

Who sampled: any fixed law D of single answers.  There is no KL term, and no beta.  eps = 0 is the
reference-free variant, w = 1, for R-LoL weighted behaviour cloning; eps = inf does not clip.

Where they end (T9.1): with a = a+, or r >= 0, u = D a / ref and Z = E_D[a w],

    pi = D a w / Z,    w = 1 + eps where u > Z,   max(1 - eps, 0) where u < Z,   between them where u = Z.

There is one Z, and one policy unless several arms share u = Z: then the start decides.  Arms with D a = 0 die
out, in A-LoL some arm with r <= V: `fixed_point` answers with the limit and its `face`.  On their own samples
nothing holds them, and they gather on a few arms.  So do negative rewards, in R-LoL, by a push that does not
fade with pi unless eps >= 1: eps = 0 is then AsymRE with V = 0 (T13.7); between, only the flow tells.

Source: Baheti et al. 2024, "Leftover Lunch: Advantage-based Offline Reinforcement Learning for Language
Models", arXiv:2305.14718.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from array_api_compat import array_namespace

from bandits import checks
from bandits.algorithms import boundary
from bandits.algorithms.ppo import log_bounds
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, need
from bandits.sampling.laws import Law
from bandits.sampling.rules import Sampling
from bandits.solution import Solution
from bandits.solvers.gates import Gate

REMEDY = "choose 0 (no reference), a positive number"


@dataclass(frozen=True)
class ALoL:
    """c = a+ clip(pi/ref).

    Ends at D a+ w / Z, where arms no better than V have died out  (T9.1).

    `samples.value` is V where it is given, say the mean reward of a prompt's reference samples; without it
    V = E_ref[r] is summed over `samples.population`.

    Args:
        clip: eps >= 0, how far pi/ref may go from 1; 0 needs no reference, infinity does not clip.

    Example: pi/ref = 3 counts 1.9 times.
        >>> import numpy as np
        >>> one = Samples(log_prob=np.log([0.6]), reference_log_prob=np.log([0.2]), reward=np.array([1.0]),
        ...               value=np.array(0.5))
        >>> ALoL().update(one).log_prob.round(6)
        array([0.95])
    """

    clip: float = 0.9
    k: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "clip", checks.zero_or_more(self.clip, "clip", REMEDY, infinite=True))

    def update(self, samples: Samples) -> Update:
        """c = max(r - V, 0) clip(pi/ref, 1 - eps, 1 + eps)  (T9.1)."""
        reward = need(samples, "reward")
        xp, advantage = array_namespace(reward), reward - _reference_value(samples)
        gain = xp.where(advantage > 0, advantage, xp.zeros_like(advantage))
        return Update(log_prob=gain * _weight(samples, self.clip))

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """D a+ w / Z on a fixed law D  (T9.1).

        None where nothing moves, and where the start decides between policies that all rest.

        Raises:
            NoFixedPoint: some arms die out and the start decides among the limits.
        """
        reward = bandit.needed_reward()
        everyone = Samples(log_prob=log_start, reference_log_prob=bandit.log_reference, reward=reward)
        gain = ALoL(clip=0).update(replace(everyone, population=everyone)).log_prob
        return _end(self, gain, bandit, sampling, log_start)


@dataclass(frozen=True)
class RLoL:
    """c = r clip(pi/ref).

    Ends at D r w / Z where no reward is negative, D r / Z with clip = 0: weighted behaviour cloning  (T9.1).

    Args:
        clip: eps >= 0, how far pi/ref may go from 1; 0 needs no reference, infinity does not clip.

    Example: pi/ref = 3 counts 1.9 times.
        >>> import numpy as np
        >>> one = Samples(log_prob=np.log([0.6]), reference_log_prob=np.log([0.2]), reward=np.array([0.5]))
        >>> RLoL().update(one).log_prob.round(6), RLoL(clip=0).update(one).log_prob
        (array([0.95]), array([0.5]))
    """

    clip: float = 0.9
    k: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "clip", checks.zero_or_more(self.clip, "clip", REMEDY, infinite=True))

    def update(self, samples: Samples) -> Update:
        """c = r clip(pi/ref, 1 - eps, 1 + eps)  (T9.1)."""
        return Update(log_prob=need(samples, "reward") * _weight(samples, self.clip))

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """D r w / Z on a fixed law D, where rewards are not negative or the clip lets them go  (T9.1).

        Raises:
            NoFixedPoint: some arms die out and the start decides among the limits.
        """
        return _end(self, bandit.needed_reward(), bandit, sampling, log_start)

    def attractors(self, bandit: Bandit, law: Law, log_start: Floats) -> list[Solution] | None:
        """Every end where rewards are negative, one context, for clip = 0 and clip >= 1  (T13.7, T13.10)."""
        mass = law.behavior * bandit.needed_reward()
        return boundary.attractors(mass, _gate(self.clip, bandit), bandit, log_start, NO_REWARD)


NO_REWARD = "the mean reward is not positive"


def _weight(samples: Samples, clip: float) -> Array | float:
    """clip(pi/ref, 1 - eps, 1 + eps), (..., k); without a reference 1."""
    if clip == 0:
        return 1.0
    up, down = log_bounds(clip)
    return array_namespace(samples.log_prob).exp(
        array_namespace(samples.log_prob).clip(samples.log_ratio, down, up)
    )


def _gate(clip: float, bandit: Bandit) -> Gate:
    return Gate(bandit.reference, max(1 - clip, 0.0), 1 + clip)


def _end(
    algorithm: ALoL | RLoL, gain: Floats, bandit: Bandit, sampling: Sampling, log_start: Floats
) -> Solution | None:
    """Where gains that are imitated with clipped weights lead."""
    name, gate = type(algorithm).__name__, _gate(algorithm.clip, bandit)
    if sampling.on_policy:
        boundary.refuse_own_samples(name, gain, gate, log_start)
        return None
    mass = sampling.law(algorithm, bandit, log_start).behavior * gain
    return boundary.gated(name, mass, gate, bandit, log_start)


def _reference_value(samples: Samples) -> Array:
    """V, (..., 1); equal rewards have no rounding between them and their mean."""
    if samples.value is not None:
        return samples.value[..., None]
    everyone = need(samples, "population")
    reward = need(everyone, "reward")
    reference = array_namespace(reward).exp(need(everyone, "reference_log_prob"))
    level = reward[..., :1]
    return level + (reference * (reward - level)).sum(-1)[..., None]
