"""What has pi* of each beta, of a model that is too large to enumerate?

Of n samples y_i of the reference the weights w_i = exp(r_i/beta), divided by their sum, are a policy p on the
samples, the optimum of the bandit whose arms they are, and

    reward   sum_i p_i r_i                    -> E_{pi*}[r]
    KL       sum_i p_i h_i                    -> KL(pi* || ref),   h_i = log(n p_i) = r_i/beta - log mean w
    value    reward - beta KL = beta log mean w  -> J*                                            (T10.3)

without bias as n grows; the jackknife takes the 1/n out.  Samples of any other sampler q, say of a policy
already trained, or tempered, weigh w_i = ref/q exp(r_i/beta) with h_i = log(n p_i) - log ref/q: the nearer q
is to pi*, the smaller the beta that can be reached.  Of two samplers in equal parts, q = (q_1 + q_2)/2.

A few heavy weights hide what was not drawn: the estimates are then wrong, and sure of it.  Hence a point
whose effective sample size 1/sum p^2 falls below a bound is a gap, NaN.  The bound is where 95 % intervals
begin to cover (tests/campaigns/frontier.py): n/2 + 24 for a mean over prompts, whose size is the harmonic
mean of theirs, and 3n/4 + 8 for one prompt: 56 of 64 samples, but of 256 some 152 and 200.  No prompt is left
out of a mean for its own size: those that pass are other prompts.

Axes: betas first, then prompts.  Source: Owen 2013, Monte Carlo theory, methods and examples, chapter 9.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.checks import Floats
from bandits.policy import tilt
from bandits.samples import Samples
from llm.frontier.jackknife import Estimate, jackknife, over_prompts

LOG_ZERO = checks.SUM_TOLERANCE_FLOAT32  # how far above 0 rounding may leave a log-probability


@dataclass(frozen=True, eq=False)
class Optimum:
    """pi* of every beta at every prompt, (betas, prompts) each; NaN where too few samples count."""

    beta: Floats  # (betas,)
    reward: Floats
    reward_se: Floats
    kl: Floats
    kl_se: Floats
    value: Floats  # J* = reward - beta KL
    value_se: Floats
    ess: Floats  # effective samples


@dataclass(frozen=True, eq=False)
class Frontier:
    """The mean over prompts of what pi* of every beta has, (betas,) each; NaN where too few samples count.

    The `_se` are those of other completions of these prompts, the `_total_se` those of other prompts too.
    """

    beta: Floats
    reward: Floats
    reward_se: Floats
    reward_total_se: Floats
    kl: Floats
    kl_se: Floats
    kl_total_se: Floats
    ess: Floats  # harmonic mean of those of the prompts


def frontier(
    rewards: ArrayLike,
    betas: ArrayLike,
    *,
    min_ess: float | None = None,
    reference_log_prob: ArrayLike | None = None,
    behavior_log_prob: ArrayLike | None = None,
) -> Frontier:
    """The largest mean reward that any policy has at its mean KL, one point a beta  (T10.3).

    One beta at all prompts: pi* of it has the most reward of all policies whose KL, a mean over prompts, is
    no larger.

    Args:
        rewards: of n completions of each prompt, (prompts, n); of the reference, if nothing else is said.
        betas: positive, (betas,).
        min_ess: effective samples, a harmonic mean over prompts, below which a point is a gap; by default
            n/2 + 24, where 95 % intervals of a mean over prompts cover.
        reference_log_prob, behavior_log_prob: log ref(y|x) and log q(y|x), (prompts, n), of samples of q.

    Raises:
        ValueError: rewards are not finite, n < 2, a beta is not positive, shapes differ, one of the
            log-probabilities comes alone or is above 0, or `min_ess` is below 1.

    Example: the answer 1 has a mass of 1/16, and 0 the rest; each came as often as that. pi* of beta = 2
    takes 1 with e^.5 / (e^.5 + 15) = .099; at .05 all its mass is on 16 samples, which are too few.

        >>> found = frontier([[1.0, *[0.0] * 15] * 16] * 3, [2.0, 0.05])
        >>> found.reward.round(3), found.ess.round()
        (array([0.099,   nan]), array([250.,  16.]))
    """
    taken = _taken(rewards, betas, reference_log_prob, behavior_log_prob)
    least = _least(of_mean, min_ess, taken.reward)
    return averaged(taken.beta, [_at(float(beta), taken) for beta in taken.beta], least)


def optimum(
    rewards: ArrayLike,
    betas: ArrayLike,
    *,
    min_ess: float | None = None,
    reference_log_prob: ArrayLike | None = None,
    behavior_log_prob: ArrayLike | None = None,
) -> Optimum:
    """What pi* of every beta has at every prompt, (betas, prompts)  (T10.3).

    Not to be averaged over the prompts that pass: `frontier` keeps them all.

    Args:
        rewards, betas, reference_log_prob, behavior_log_prob: as for `frontier`.
        min_ess: effective samples of the prompt, below which it is a gap; by default 3n/4 + 8.

    Raises:
        ValueError: as `frontier`.

    Example:
        >>> found = optimum([[0.0, 1.0] * 128], [2.0])
        >>> found.value.round(2)  # 2 log((1 + exp(1/2))/2) = .56
        array([[0.56]])
    """
    taken = _taken(rewards, betas, reference_log_prob, behavior_log_prob)
    least = _least(of_prompt, min_ess, taken.reward)
    points = [_at(float(beta), taken) for beta in taken.beta]
    ess = np.array([point.ess for point in points])
    gap = np.where(ess < least, np.nan, 0.0)
    reward, kl, value = (column(points, name) for name in ("reward", "kl", "value"))
    return Optimum(
        beta=taken.beta,
        reward=reward.value + gap,
        reward_se=reward.se + gap,
        kl=kl.value + gap,
        kl_se=kl.se + gap,
        value=value.value + gap,
        value_se=value.se + gap,
        ess=ess,
    )


class _Taken(NamedTuple):
    """What was given, checked."""

    reward: Floats  # (prompts, n)
    beta: Floats  # (betas,)
    log_weight: Floats  # (prompts, n)  log ref/q


class Point(NamedTuple):
    """One beta, (prompts,) each."""

    reward: Estimate
    kl: Estimate
    value: Estimate
    ess: Floats


def _at(beta: float, taken: _Taken) -> Point:
    n = taken.reward.shape[-1]
    log_p = tilt(taken.log_weight, taken.reward, beta)
    p = np.exp(log_p)
    h = np.where(p > 0, log_p + np.log(n) - taken.log_weight, 0.0)
    rest = _rest(p)
    with np.errstate(divide="ignore", invalid="ignore"):  # where nothing else counts: a gap
        reward, rewards = _means(p, rest, taken.reward)
        kl, kls = _means(p, rest, h)
        kls += np.log((n - 1) / n) - np.log(rest)  # the others' p_j are divided by their sum
        value = jackknife(_value(reward, kl, beta), _value(rewards, kls, beta))
        ess = np.maximum(1 / (p**2).sum(axis=-1), 1.0)
        return Point(jackknife(reward, rewards), jackknife(kl, kls), value, ess)


def _rest(p: Floats) -> Floats:
    """1 - p_i, summed where it would lose its digits."""
    heaviest = p.argmax(axis=-1)[:, None]
    others = p.copy()
    np.put_along_axis(others, heaviest, 0.0, axis=-1)
    found = 1 - p
    np.put_along_axis(found, heaviest, others.sum(axis=-1, keepdims=True), axis=-1)
    return found


def _means(p: Floats, rest: Floats, x: Floats) -> tuple[Floats, Floats]:
    """sum p x, (prompts,), and the same without each sample, (prompts, n), about the heaviest sample's x."""
    here = np.take_along_axis(x, p.argmax(axis=-1)[:, None], axis=-1)
    parts = p * (x - here)
    total = parts.sum(axis=-1, keepdims=True)
    return (here + total)[:, 0], here + (total - parts) / rest


def _value(reward: Floats, kl: Floats, beta: float) -> Floats:
    """reward - beta KL: the reward of an answer whose log-ratio is the KL, regularised."""
    answer = Samples(log_prob=kl, reference_log_prob=np.zeros_like(kl), reward=reward)
    return np.asarray(answer.regularized_reward(beta))


def averaged(betas: Floats, points: Sequence[Point], least: float, *, onward: bool = False) -> Frontier:
    """The mean over prompts at every beta; NaN where fewer than `least` count, or from there `onward`."""
    ess = np.array([1 / (1 / each.ess).mean() for each in points])
    gap = np.where((np.minimum.accumulate(ess) if onward else ess) < least, np.nan, 0.0)
    reward, kl = (over_prompts(column(points, name)) for name in ("reward", "kl"))
    return Frontier(
        beta=betas,
        reward=reward.value + gap,
        reward_se=reward.se + gap,
        reward_total_se=reward.total_se + gap,
        kl=kl.value + gap,
        kl_se=kl.se + gap,
        kl_total_se=kl.total_se + gap,
        ess=ess,
    )


def column(points: Sequence[Point], name: str) -> Estimate:
    """One quantity at all betas, (betas, prompts)."""
    found = [getattr(point, name) for point in points]
    return Estimate(np.array([each.value for each in found]), np.array([each.se for each in found]))


def _taken(
    rewards: ArrayLike, betas: ArrayLike, reference: ArrayLike | None, behavior: ArrayLike | None
) -> _Taken:
    reward = scored(rewards)
    beta = checks.floats(betas, "betas")
    if beta.ndim != 1 or not beta.size:
        raise ValueError(f"betas must be a list of at least one, but its shape is {beta.shape}; give a list")
    for i, each in enumerate(beta):
        checks.positive(float(each), f"betas[{i}]")
    if (reference is None) != (behavior is None):
        missing = "reference_log_prob" if reference is None else "behavior_log_prob"
        raise ValueError(f"{missing} must be given with the other, but is None; give both or neither")
    if reference is None or behavior is None:
        return _Taken(reward, beta, np.zeros(reward.shape))
    own, its = (
        _log_probs(reference, "reference_log_prob", reward),
        _log_probs(behavior, "behavior_log_prob", reward),
    )
    return _Taken(reward, beta, own - its)


def _log_probs(values: ArrayLike, name: str, like: Floats) -> Floats:
    """Logarithms of probabilities, one a reward."""
    found = checks.floats(values, name)
    if found.shape != like.shape:
        raise ValueError(f"{name} must have the shape of rewards {like.shape}, but has {found.shape}")
    checks.reject_first(found > LOG_ZERO, found, name, "at most 0", "give logarithms of probabilities")
    return found


def scored(rewards: ArrayLike) -> Floats:
    """Finite rewards of at least two completions of each prompt, (prompts, n)."""
    found = checks.floats(rewards, "rewards")
    if found.ndim != 2 or not len(found) or found.shape[1] < 2:
        rule = "(prompts, n) with at least 1 prompt and n >= 2 completions of each"
        raise ValueError(
            f"rewards must be {rule}, but its shape is {found.shape}; sample more of each prompt"
        )
    return found


def of_mean(n: int) -> float:
    """How many of n samples of each prompt must count, a harmonic mean, for a mean over prompts."""
    return n / 2 + 24


def of_prompt(n: int) -> float:
    """How many of n samples of a prompt must count, for this prompt."""
    return 3 * n / 4 + 8


def _least(default: Callable[[int], float], given: float | None, reward: Floats) -> float:
    """Below how many effective samples there is a gap."""
    if given is None:
        return default(reward.shape[1])
    least = checks.number(given, "min_ess")
    if least < 1:
        raise ValueError(f"min_ess must be at least 1, but min_ess = {given}; 1 lets everything pass")
    return least
