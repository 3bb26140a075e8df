"""How far below pi* is a policy?  Its regret, from samples of both, on the same prompts.

    J* - J(pi) = beta KL(pi || pi*)                                                               (T1.2)

J*(x) = beta log E_ref[exp(r/beta)] comes from samples of the reference, weighted as in `optimum`; J(x) is the
mean of r - beta log pi/ref over samples of the policy. The difference is taken prompt by prompt: what makes a
prompt easy for both is gone.  Both parts come from samples, and an estimate may be negative.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.checks import Floats
from bandits.samples import Samples
from llm.frontier.optimum import frontier, optimum
from llm.intervals import Interval, interval


def regret(
    rewards: ArrayLike,
    beta: float,
    policy_rewards: ArrayLike,
    policy_log_ratio: ArrayLike,
    *,
    min_ess: float | None = None,
    reference_log_prob: ArrayLike | None = None,
    behavior_log_prob: ArrayLike | None = None,
) -> Interval:
    """J* - J(pi) = beta KL(pi || pi*), the mean over prompts with its 95 % interval  (T1.2, T10.3).

    NaN where too few samples of the reference count.

    Args:
        rewards, min_ess, reference_log_prob, behavior_log_prob: of the reference, as for `frontier`.
        beta: at which the policy is judged; positive.
        policy_rewards, policy_log_ratio: r and log pi/ref of m samples of the policy at the same prompts,
            (prompts, m), or (prompts,) of one.

    Raises:
        ValueError: as `frontier`, the policy was sampled at other prompts, or there is only one prompt.

    Example: the reference itself, of the answers 0 and 1, one half each, is at 1/2, and
    J* = log((1 + e)/2).

        >>> halves = [[0.0, 1.0] * 64] * 3
        >>> found = regret(halves, 1.0, halves, np.zeros((3, 128)))
        >>> round(found.mean, 2)  # .62 - .50
        0.12
    """
    checks.positive(beta, "beta")
    best = optimum(
        rewards, [beta], min_ess=1, reference_log_prob=reference_log_prob, behavior_log_prob=behavior_log_prob
    ).value[0]
    curve = frontier(
        rewards,
        [beta],
        min_ess=min_ess,
        reference_log_prob=reference_log_prob,
        behavior_log_prob=behavior_log_prob,
    )
    found = regret_below(best, beta, policy_rewards, policy_log_ratio)
    return Interval(np.nan, np.nan, np.nan) if np.isnan(curve.reward[0]) else found


def regret_below(
    best: Floats, beta: float, policy_rewards: ArrayLike, policy_log_ratio: ArrayLike
) -> Interval:
    """The regret against an estimate of J* at each prompt, (prompts,), say of `Annealed.value`.

    Raises:
        ValueError: the policy was sampled at other prompts, or there is only one prompt.

    Example:
        >>> print(regret_below(np.array([1.0, 2.0]), 1.0, [0.5, 1.4], [0.0, 0.0]))
        0.550 [0.452, 0.648]
    """
    own = _values(policy_rewards, policy_log_ratio, beta)
    if best.shape != own.shape or len(own) < 2:
        raise ValueError(
            f"policy_rewards must be of the same prompts as rewards, 2 or more, but there are {len(own)} and "
            f"{len(best)}; sample both at each prompt"
        )
    return interval(best - own)


def _values(rewards: ArrayLike, log_ratios: ArrayLike, beta: float) -> Floats:
    """The mean of r - beta h over the policy's samples of each prompt, (prompts,)."""
    reward, h = checks.floats(rewards, "policy_rewards"), checks.floats(log_ratios, "policy_log_ratio")
    if reward.shape != h.shape or reward.ndim not in (1, 2) or not reward.size:
        raise ValueError(
            f"policy_rewards and policy_log_ratio must have one shape, (prompts,) or (prompts, m), but have "
            f"{reward.shape} and {h.shape}; give both of the same samples"
        )
    samples = Samples(log_prob=h, reference_log_prob=np.zeros_like(h), reward=reward)
    value = np.asarray(samples.regularized_reward(checks.positive(beta, "beta")))
    return value if value.ndim == 1 else value.mean(axis=-1)
