"""A-LoL, advantage-based leftover lunch: imitate what is better than the reference's average.

    c = a+ w,   a+ = max(r - V, 0),   V = E_ref[r],   w = clip(pi/ref, 1 - eps, 1 + eps)   (w is held fixed)

Who sampled: any fixed law D of single answers.  There is no KL term, and no beta.  eps = 0 is the
reference-free variant, w = 1; eps = inf does not clip.

Where it ends (T9.1): with u = D a+ / ref and Z = E_D[a+ w],

    pi = D a+ w / Z,    w = 1 + eps where u > Z,   max(1 - eps, 0) where u < Z,   between them where u = Z.

There is one Z, and one policy unless several arms share u = Z: then the start decides.  Arms with D a+ = 0
die out; some arm has r <= V, so unless it starts at zero no fixed point is finite: `fixed_point` answers with
this limit and its `face`.  On its own samples nothing holds it, and it gathers on a few arms.

Source: Baheti et al. 2024, "Leftover Lunch: Advantage-based Offline Reinforcement Learning for Language
Models", arXiv:2305.14718.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from bandits import checks
from bandits.algorithms.ppo import log_bounds
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.policy import log_policy_of
from bandits.samples import Array, Samples, Update, need
from bandits.sampling.laws import Arms
from bandits.sampling.rules import Sampling
from bandits.solution import NoFixedPoint, Solution

DYING = "arms that are not sampled, no better than V or given up by the clip lose all their mass"
ROUNDING = 1e-14  # expected updates below this are none
SAME = 1e-12  # relative distance below which two arms share u = D a+ / ref: rounding must not part them


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
        remedy = "choose 0 (no reference), a positive number"
        no_reference = isinstance(self.clip, Real) and self.clip == 0
        clip = 0.0 if no_reference else checks.positive_or_infinite(self.clip, "clip", remedy)
        object.__setattr__(self, "clip", clip)

    def update(self, samples: Samples) -> Update:
        """c = max(r - V, 0) clip(pi/ref, 1 - eps, 1 + eps)  (T9.1)."""
        reward = need(samples, "reward")
        xp, advantage = array_namespace(reward), reward - _reference_value(samples)
        gain = xp.where(advantage > 0, advantage, xp.zeros_like(advantage))
        if self.clip == 0:
            return Update(log_prob=gain)
        up, down = log_bounds(self.clip)
        return Update(log_prob=gain * xp.exp(xp.clip(samples.log_ratio, down, up)))

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """D a+ w / Z on a fixed law D  (T9.1).

        None where nothing moves, and where the start decides between policies that all rest.

        Raises:
            NoFixedPoint: some arms die out and the start decides among the limits.
        """
        if sampling.on_policy:
            self._refuse_its_own_samples(bandit, log_start)
            return None
        behavior = sampling.law(self, bandit, log_start).behavior
        mass = behavior * ALoL(clip=0).update(_every_arm(bandit, log_start)).log_prob
        log_policy, unique = _each_end(mass, bandit.reference, log_start, self.clip)
        dying = np.isfinite(log_start) & np.isneginf(log_policy)
        if unique:
            return Solution(
                log_policy=log_policy,
                residual=self._residual(bandit, behavior, log_policy),
                stable=True,
                unique=True,
                face=np.isfinite(log_policy),
                method="closed form (T9.1)",
                message=DYING if dying.any() else "",
            )
        if not dying.any():
            return None
        raise NoFixedPoint(
            f"A-LoL rests at no finite logits, {DYING}, and the limit depends on the start, "
            f"which flow(...) follows",
            Solution(log_policy=None, residual=np.nan, unique=False, method="closed form (T9.1)"),
        )

    def _refuse_its_own_samples(self, bandit: Bandit, log_start: Floats) -> None:
        if (self._residual(bandit, np.exp(log_start), log_start) > ROUNDING).any():
            raise NoFixedPoint(
                "on its own samples nothing keeps A-LoL from gathering on a few arms, and the start decides "
                "on which; take Offline(...), or follow it by flow(...)",
                Solution(log_policy=None, residual=np.nan, unique=False, method="closed form (T9.1)"),
            )

    def _residual(self, bandit: Bandit, behavior: Floats, log_policy: Floats) -> Floats:
        """max |D c - pi sum D c|, (...), where `exact` cannot look: at arms without mass that D samples."""
        with np.errstate(invalid="ignore"):  # arms outside the reference, which nobody samples
            c = self.update(_every_arm(bandit, log_policy)).log_prob
        pull = np.where(behavior > 0, behavior * c, 0.0)
        return np.abs(pull - np.exp(log_policy) * pull.sum(axis=-1, keepdims=True)).max(axis=-1)


def _every_arm(bandit: Bandit, log_policy: Floats) -> Samples:
    """All arms as one group."""
    everyone = Samples(
        log_prob=log_policy, reference_log_prob=bandit.log_reference, reward=bandit.needed_reward()
    )
    return replace(everyone, population=everyone)


def _each_end(mass: Floats, reference: Floats, log_start: Floats, clip: float) -> tuple[Floats, bool]:
    """log of the policy where each context ends, (..., A), and whether the start makes no difference."""
    shape = np.broadcast_shapes(mass.shape, reference.shape, log_start.shape)
    rows = (np.broadcast_to(x, shape).reshape(-1, shape[-1]) for x in (mass, reference, log_start))
    ends = [_end(m, ref, start, clip) for m, ref, start in zip(*rows, strict=True)]
    return np.stack([log_policy for log_policy, _ in ends]).reshape(shape), all(only for _, only in ends)


def _end(mass: Floats, reference: Floats, log_start: Floats, clip: float) -> tuple[Floats, bool]:
    """The same for one context, (A,), from mass = D a+ : the root Z of sum D a+ w / Z = 1."""
    gains = np.flatnonzero(mass > 0)
    if gains.size == 0:  # nothing pushes: every policy rests
        return log_policy_of(np.exp(log_start)), False
    u = mass[gains] / reference[gains]
    order = np.argsort(u)
    gains, u = gains[order], u[order]
    group: Arms = np.cumsum(np.diff(u, prepend=u[0]) > SAME * u)  # 0 for the smallest u, equal for equal u
    w, tied = _weights(mass[gains], u, group, max(1 - clip, 0.0), 1 + clip)
    policy = mass[gains] * w
    if tied.any():
        room = 1 - (policy[~tied] / u[tied][0]).sum()
        policy = np.where(tied, room * reference[gains] / reference[gains][tied].sum(), policy / u[tied][0])
    log_policy = np.full(mass.shape, -np.inf)
    log_policy[gains] = log_policy_of(policy)
    return log_policy, bool(tied.sum() <= 1)


def _weights(
    mass: Floats, u: Floats, group: Arms, low: float, high: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """w of each arm in rising order of u, (n,), and the arms with u = Z, whose w is what room is left."""
    size, value = np.bincount(group, mass), u[np.searchsorted(group, np.arange(group[-1] + 1))]
    before = np.concatenate([[0.0], np.cumsum(size)[:-1]])
    after = np.concatenate([np.cumsum(size[::-1])[::-1][1:], [0.0]])
    lowest = low * (before + size) + _times(high, after)  # Z, if it is just beyond the jump
    highest = low * before + _times(high, after + size)  # Z, if it is just before the jump
    passed = np.flatnonzero(lowest > value)  # jumps that the root lies beyond: the first few
    jump = 0 if passed.size == 0 else passed[-1] + 1
    at_jump = jump < len(value) and highest[jump] >= value[jump]
    tied = (group == jump) & at_jump
    return np.where((group >= jump) & ~tied, high, low), tied


def _times(weight: float, mass: Floats) -> Floats:
    """weight * mass, where infinity times nothing is nothing."""
    return np.where(mass > 0, weight * np.where(mass > 0, mass, 1.0), 0.0)


def _reference_value(samples: Samples) -> Array:
    """V, (..., 1); equal rewards have no rounding between them and their mean."""
    if samples.value is not None:
        return samples.value[..., None]
    everyone = need(samples, "population")
    reward = need(everyone, "reward")
    reference = array_namespace(reward).exp(need(everyone, "reference_log_prob"))
    level = reward[..., :1]
    return level + (reference * (reward - level)).sum(-1)[..., None]
