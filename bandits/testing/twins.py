"""Which mistakes must a law reject?  Wrong twins: algorithms with one well-known mistake each.

A law that every twin passes tests nothing.  Each function takes a right algorithm and returns its twin, or
None where the mistake cannot be made; `TWINS` lists them all, `twins_of` makes those of one algorithm.  The
twins run over NumPy and torch like what they imitate.  What the mistakes do to where an algorithm ends: T9.6
for the estimators of the KL, T10.1 for lengths, T13.3 for the baseline, T9.5 for the clip.

Two twins may be one function of the samples for some algorithm, or the right algorithm times a constant
(a baseline that counts the sample itself is RLOO's times (k - 1)/k): then no test can tell them apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeAlias

from array_api_compat import array_namespace

from bandits.algorithms.grpo import standard_deviation
from bandits.algorithms.ppo import log_bounds, log_weight
from bandits.samples import Algorithm, Array, Samples, Update, need
from bandits.testing.reading import reads

MakesTwin: TypeAlias = Callable[[Algorithm], "Algorithm | None"]


def _as_they_are(samples: Samples) -> Samples:
    return samples


def _as_it_is(right: Algorithm, samples: Samples, update: Update) -> Update:
    return update


@dataclass(frozen=True)
class Twin:
    """An algorithm with changed samples or a changed update; the sampling sees no difference."""

    right: Any
    change_samples: Callable[[Samples], Samples] = _as_they_are
    change_update: Callable[[Any, Samples, Update], Update] = _as_it_is

    @property
    def k(self) -> int:
        """Samples in a group."""
        return int(self.right.k)

    def update(self, samples: Samples) -> Update:
        """The right coefficient of the wrong samples, changed."""
        seen = self.change_samples(samples)
        return self.change_update(self.right, seen, self.right.update(seen))

    def loss(self, samples: Samples) -> Any:
        """The right loss of the wrong samples."""
        return self.right.loss(self.change_samples(samples))

    def __getattr__(self, name: str) -> Any:
        if name in ("opponent", "needs_on_policy", "log_revision_policy", "mixture", "beta"):
            return getattr(self.right, name)
        raise AttributeError(name)


# ---- the coefficient as a whole ---------------------------------------------------------------------------


def _times(right: Algorithm, factor: Callable[[Samples], Array]) -> Twin:
    """Every coefficient times a number of its sample."""
    return Twin(right, change_update=lambda _, s, u: replace(u, log_prob=u.log_prob * factor(s)))


def flipped_sign(algorithm: Algorithm) -> Twin:
    """Descends where it should ascend."""
    return Twin(algorithm, change_update=lambda _, __, u: replace(u, log_prob=-u.log_prob))


def divided_by_k(algorithm: Algorithm) -> Twin | None:
    """Divides by the size of the group once too often: a constant, so that only the speed is wrong."""
    return None if algorithm.k == 1 else _times(algorithm, lambda s: 1 / algorithm.k)


def divided_by_length(algorithm: Algorithm) -> Twin:
    """Each answer's coefficient is divided by its own tokens."""
    return _times(algorithm, lambda s: 1 / need(s, "length"))


def divided_by_group_tokens(algorithm: Algorithm) -> Twin:
    """A divisor that varies between groups: the tokens of the whole group."""
    return _times(algorithm, lambda s: 1 / need(s, "length").sum(-1)[..., None])


def varying_divisor(algorithm: Algorithm) -> Twin | None:
    """A divisor that varies between groups: the standard deviation of their rewards."""
    if algorithm.k == 1 or "reward" not in reads(algorithm):
        return None
    return _times(algorithm, lambda s: 1 / standard_deviation(need(s, "reward")))


def stopped_loser(algorithm: Algorithm) -> Twin | None:
    """A stop-gradient too many: the losing answer of a pair is not trained."""
    return _times(algorithm, _wins) if _is_labelled_pair(algorithm) else None


def stopped_winner(algorithm: Algorithm) -> Twin | None:
    """A stop-gradient too many: the winning answer of a pair is not trained."""
    return _times(algorithm, lambda s: 1 - _wins(s)) if _is_labelled_pair(algorithm) else None


def _is_labelled_pair(algorithm: Algorithm) -> bool:
    return algorithm.k == 2 and "preference" in reads(algorithm)


def _wins(samples: Samples) -> Array:
    """Label of each answer of a pair, (..., 2)."""
    p = need(samples, "preference")
    return array_namespace(p).stack((p[..., 0, 1], p[..., 1, 0]), axis=-1)


def dropped_detach(algorithm: Algorithm) -> Twin:
    """Differentiates c log pi, c included: c_i + sum_j log pi(y_j) dc_j / dlog pi(y_i)."""

    def with_derivative(right: Algorithm, s: Samples, u: Update) -> Update:
        return replace(u, log_prob=u.log_prob + _slope(right, s, need(s, "log_prob")))

    return Twin(algorithm, change_update=with_derivative)


def undetached_reward(algorithm: Algorithm) -> Twin | None:
    """Differentiates the clipped surrogate of w a whole, the KL inside the advantage a included."""
    free = forgotten_clip(algorithm)
    if free is None or not getattr(algorithm, "weighted", False) or hasattr(algorithm, "loss"):
        return None
    up, down = log_bounds(_setting(algorithm, "clip", math.inf), _setting(algorithm, "upper_clip", None))
    advantage = _times(free, lambda s: array_namespace(s.log_prob).exp(-log_weight(s)))

    def differentiated(_: Algorithm, s: Samples, u: Update) -> Update:
        xp, a, log_w = array_namespace(u.log_prob), advantage.update(s).log_prob, log_weight(s)
        stopped = ((a > 0) & (log_w > up)) | ((a < 0) & (log_w < down))
        weight = xp.exp(xp.where(stopped, xp.clip(log_w, down, up), log_w))
        return replace(u, log_prob=u.log_prob + _slope(advantage, s, weight))

    return Twin(algorithm, change_update=differentiated)


def _slope(algorithm: Algorithm, samples: Samples, weight: Array, step: float = 1e-3) -> Array:
    """sum_j weight_j dc_j / dlog pi(y_i), (..., k), by central differences: an error of order step^4."""
    xp = array_namespace(samples.log_prob)
    place = xp.arange(samples.log_prob.shape[-1], device=samples.log_prob.device)

    def at(i: int, by: float) -> Array:
        moved = xp.where(place == i, samples.log_prob + by, samples.log_prob)
        return (weight * algorithm.update(replace(samples, log_prob=moved)).log_prob).sum(-1)

    def central(i: int, h: float) -> Array:
        return (at(i, h) - at(i, -h)) / (2 * h)

    columns = [(4 * central(i, step / 2) - central(i, step)) / 3 for i in range(algorithm.k)]
    return xp.stack(columns, axis=-1)


# ---- labels -----------------------------------------------------------------------------------------------


def flipped_label(algorithm: Algorithm) -> Twin | None:
    """Winner and loser exchanged, or good and bad."""

    def flip(s: Samples) -> Samples:
        p, label = s.preference, s.desirable
        p = None if p is None else array_namespace(p).moveaxis(p, -1, -2)
        return replace(s, preference=p, desirable=None if label is None else 1 - label)

    labelled = reads(algorithm) & {"preference", "desirable"}
    return Twin(algorithm, change_samples=flip) if labelled else None


# ---- the reference ----------------------------------------------------------------------------------------


def _with_reference(algorithm: Algorithm, reference_of: Callable[[Samples], Array]) -> Twin | None:
    """Another reference, also in what is summed over the population; None where none is read."""
    if "reference_log_prob" not in reads(algorithm):
        return None
    return Twin(algorithm, change_samples=lambda s: _for_all(s, reference_of))


def _for_all(samples: Samples, reference_of: Callable[[Samples], Array]) -> Samples:
    everyone = samples.population
    if everyone is not None and everyone.reference_log_prob is not None:
        everyone = replace(everyone, reference_log_prob=reference_of(everyone))
    return replace(samples, reference_log_prob=reference_of(samples), population=everyone)


def swapped_kl(algorithm: Algorithm) -> Twin | None:
    """The KL the wrong way round: log ref/pi in place of log pi/ref, in the coefficient."""
    return _with_reference(algorithm, lambda s: 2 * s.log_prob - need(s, "reference_log_prob"))


def exchanged_reference(algorithm: Algorithm) -> Twin | None:
    """Policy and reference exchanged in a loss: the coefficient is minus that of log ref/pi."""
    swapped = swapped_kl(algorithm)
    return None if swapped is None or not hasattr(algorithm, "loss") else flipped_sign(swapped)


def wrong_reference(algorithm: Algorithm) -> Twin | None:
    """The behaviour policy in place of the reference."""
    return _with_reference(algorithm, lambda s: need(s, "behavior_log_prob"))


def dropped_reference(algorithm: Algorithm) -> Twin | None:
    """No reference: log pi in place of log pi/ref."""
    return _with_reference(algorithm, lambda s: 0 * s.log_prob)


def dropped_kl(algorithm: Algorithm) -> Twin | None:
    """No KL: the reward alone."""
    return _with_reference(algorithm, lambda s: s.log_prob) if "reward" in reads(algorithm) else None


def swapped_reference(algorithm: Algorithm) -> Twin | None:
    """Each answer gets the reference of its neighbour: in a pair, winner and loser exchange theirs."""
    if algorithm.k == 1 or "reference_log_prob" not in reads(algorithm):
        return None

    def roll(s: Samples) -> Samples:
        log_reference = need(s, "reference_log_prob")
        return replace(s, reference_log_prob=array_namespace(log_reference).roll(log_reference, 1, axis=-1))

    return Twin(algorithm, change_samples=roll)


def added_reference(algorithm: Algorithm) -> Twin | None:
    """A reference where there should be none: log pi/ref in place of log pi."""
    if "reference_log_prob" in reads(algorithm):
        return None
    return Twin(algorithm, change_samples=lambda s: replace(s, log_prob=s.log_ratio))


# ---- estimators of the KL  (T9.6) -------------------------------------------------------------------------


def _of_reward(algorithm: Algorithm) -> float | None:
    """beta of an algorithm that takes rewards and a KL; None of others."""
    both = {"reward", "reference_log_prob"} <= reads(algorithm)
    return _setting(algorithm, "beta", None) if both else None


def _without_kl(samples: Samples) -> Samples:
    return _for_all(samples, lambda s: s.log_prob)


def _as_loss(algorithm: Algorithm, slope: Callable[[Array], Array]) -> Twin | None:
    """The reward alone, and beta times an estimator as a loss; `slope` is its derivative in log pi, of h."""
    beta = _of_reward(algorithm)
    if beta is None:
        return None

    def charged(right: Algorithm, s: Samples, u: Update) -> Update:
        reward_alone = right.update(_without_kl(s)).log_prob
        return replace(u, log_prob=reward_alone - beta / right.k * slope(s.log_ratio))

    return Twin(algorithm, change_update=charged)


def _in_reward(algorithm: Algorithm, estimator: Callable[[Array], Array]) -> Twin | None:
    """beta times an estimator taken off the reward, and no other KL; `estimator` is a function of h."""
    beta = _of_reward(algorithm)
    if beta is None:
        return None

    def charge(s: Samples) -> Samples:
        return replace(s, reward=need(s, "reward") - beta * estimator(s.log_ratio))

    return Twin(algorithm, change_samples=lambda s: _without_kl(charge(s)))


def k1_as_loss(algorithm: Algorithm) -> Twin | None:
    """k1 = h as a loss: over the policy's own samples its gradient is zero."""
    return _as_loss(algorithm, lambda h: array_namespace(h).ones_like(h))


def k2_as_loss(algorithm: Algorithm) -> Twin | None:
    """k2 = h^2/2 as a loss: the gradient of KL(pi || ref), but no baseline is taken off it."""
    return _as_loss(algorithm, lambda h: h)


def k3_as_loss(algorithm: Algorithm) -> Twin | None:
    """k3 = rho - 1 + h, rho = ref/pi, as a loss: the gradient of KL(ref || pi), the wrong way round."""
    return _as_loss(algorithm, lambda h: 1 - array_namespace(h).exp(-h))


def k1_in_reward(algorithm: Algorithm) -> Twin | None:
    """k1 = h in the reward: the gradient of KL(pi || ref)."""
    return _in_reward(algorithm, lambda h: h)


def k2_in_reward(algorithm: Algorithm) -> Twin | None:
    """k2 = h^2/2 in the reward."""
    return _in_reward(algorithm, lambda h: h**2 / 2)


def k3_in_reward(algorithm: Algorithm) -> Twin | None:
    """k3 = rho - 1 + h in the reward: it vanishes to first order near the reference."""
    return _in_reward(algorithm, lambda h: array_namespace(h).exp(-h) - 1 + h)


# ---- lengths, baselines, clips, hyper-parameters ----------------------------------------------------------


def average_for_sum(algorithm: Algorithm) -> Twin:
    """Log-probabilities averaged over tokens, not summed  (T10.1)."""
    names = ("log_prob", "reference_log_prob", "behavior_log_prob")

    def averaged(s: Samples) -> Samples:
        given = {name: getattr(s, name) for name in names}
        return replace(s, **{n: x / need(s, "length") for n, x in given.items() if x is not None})

    def chain(_: Algorithm, s: Samples, u: Update) -> Update:
        return replace(u, log_prob=u.log_prob / need(s, "length"))

    return Twin(algorithm, change_samples=averaged, change_update=chain)


def leave_one_in(algorithm: Algorithm) -> Twin | None:
    """The reward's baseline counts the sample itself, which the KL does not know  (T13.3)."""
    if algorithm.k == 1 or "reward" not in reads(algorithm):
        return None

    def shrink(s: Samples) -> Samples:
        reward = need(s, "reward")
        mean = reward.mean(-1)[..., None]
        return replace(s, reward=mean + (1 - 1 / algorithm.k) * (reward - mean))

    return Twin(algorithm, change_samples=shrink)


def forgotten_ratio(algorithm: Algorithm) -> Twin | None:
    """No likelihood ratio pi/mu: every sample counts as the policy's own."""
    if "behavior_log_prob" not in reads(algorithm):
        return None
    return Twin(algorithm, change_samples=lambda s: replace(s, behavior_log_prob=s.log_prob))


def forgotten_clip(algorithm: Algorithm) -> Algorithm | None:
    """Weights pi/mu without any bound."""
    clip, upper = _setting(algorithm, "clip", math.inf), _setting(algorithm, "upper_clip", None)
    free = algorithm if upper is None else altered(algorithm, "upper_clip", math.inf) or algorithm
    return altered(free, "clip", math.inf) if math.isfinite(clip) or free is not algorithm else None


def _clipped_by_hand(algorithm: Algorithm, unbounded: Callable[[Array], Array]) -> Twin | None:
    """The clip works only where `unbounded`, a condition on log w, does not hold."""
    free = forgotten_clip(algorithm)
    if free is None or not getattr(algorithm, "weighted", False):
        return None

    def clip(_: Algorithm, s: Samples, u: Update) -> Update:
        xp, bare = array_namespace(u.log_prob), free.update(s).log_prob
        return replace(u, log_prob=xp.where(unbounded(log_weight(s)), bare, u.log_prob))

    return Twin(algorithm, change_update=clip)


def clipped_above_only(algorithm: Algorithm) -> Twin | None:
    """A one-sided clip: bad answers that have become rare are pushed down further."""
    return _clipped_by_hand(algorithm, lambda log_w: log_w < 0)


def clipped_below_only(algorithm: Algorithm) -> Twin | None:
    """A one-sided clip: good answers that have become frequent are pushed up further."""
    return _clipped_by_hand(algorithm, lambda log_w: log_w > 0)


def clip_without_minimum(algorithm: Algorithm) -> Twin | None:
    """clip(w) a without the minimum with w a: whatever left the trust region never comes back."""
    if forgotten_clip(algorithm) is None or not getattr(algorithm, "weighted", False):
        return None
    up, down = log_bounds(_setting(algorithm, "clip", math.inf), _setting(algorithm, "upper_clip", None))

    def stop(right: Algorithm, s: Samples, u: Update) -> Update:
        xp, log_w = array_namespace(u.log_prob), log_weight(s)
        rest = 0 * u.log_prob
        if hasattr(right, "loss"):  # its KL is a loss of its own, which no clip stops
            rest = right.update(replace(s, reward=0 * need(s, "reward"))).log_prob
        return replace(u, log_prob=xp.where((log_w > up) | (log_w < down), rest, u.log_prob))

    return Twin(algorithm, change_update=stop)


def forgotten_beta(algorithm: Algorithm) -> Algorithm | None:
    """beta = 1, whatever was asked for."""
    return altered(algorithm, "beta", 1.0) if _setting(algorithm, "beta", 1.0) != 1 else None


def squared_beta(algorithm: Algorithm) -> Algorithm | None:
    """beta^2 in place of beta: it was multiplied in twice."""
    beta = _setting(algorithm, "beta", 1.0)
    return altered(algorithm, "beta", beta**2) if beta not in (0, 1) else None


def swapped_mixture(algorithm: Algorithm) -> Algorithm | None:
    """Nash-MD whose opponent has the weights of policy and reference exchanged."""
    mixture = _setting(algorithm, "mixture", None)
    return None if mixture is None else altered(algorithm, "mixture", 1 - mixture)


def _setting(algorithm: Algorithm, name: str, otherwise: Any) -> Any:
    """A hyper-parameter by its name."""
    return getattr(algorithm, name, otherwise)


def altered(algorithm: Algorithm, name: str, value: float | None) -> Algorithm | None:
    """The same algorithm with another hyper-parameter; None where it is no record of them."""
    if not is_dataclass(algorithm) or name not in {each.name for each in fields(algorithm)}:
        return None
    return replace(algorithm, **{name: value})


TWINS: tuple[MakesTwin, ...] = (
    flipped_sign,
    flipped_label,
    swapped_reference,
    dropped_reference,
    added_reference,
    wrong_reference,
    exchanged_reference,
    average_for_sum,
    divided_by_length,
    divided_by_group_tokens,
    varying_divisor,
    divided_by_k,
    leave_one_in,
    forgotten_ratio,
    forgotten_clip,
    clipped_above_only,
    clipped_below_only,
    clip_without_minimum,
    forgotten_beta,
    squared_beta,
    dropped_kl,
    k1_as_loss,
    k2_as_loss,
    k3_as_loss,
    k1_in_reward,
    k2_in_reward,
    k3_in_reward,
    swapped_kl,
    dropped_detach,
    undetached_reward,
    stopped_loser,
    stopped_winner,
    swapped_mixture,
)
