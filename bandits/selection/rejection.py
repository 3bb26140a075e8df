"""What is the law of the samples that were not rejected?

Rejection sampling accepts a sample of the reference with probability exp((r - top) / beta), top the largest
reward of *all* arms.  What is accepted has the law pi* = ref exp(r / beta) / Z exactly, at the rate
E_ref[exp((r - top) / beta)]; with a smaller top, say the largest reward of a batch, the better arms are all
accepted alike: ref min(1, exp((r - top) / beta)) / rate is another law.

In many steps, at beta_1 > beta_2 > ... > beta, step i takes the optimum at beta_{i-1} to the optimum at
beta_i and accepts Z_i / Z_{i-1} of it, Z_i = E_ref[exp((r - top) / beta_i)]: the product of the rates is that
of one step.  A threshold accepts an arm or does not: ref restricted to r >= threshold  (T9.3).

Source: Liu et al. 2023, "RSO", arXiv:2309.06657; Xiong et al. 2023, arXiv:2312.11456; thresholds: Gulcehre et
al. 2023, "ReST", arXiv:2308.08998.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.checks import Floats


def first_accepted(reward: ArrayLike, reference: ArrayLike, beta: float, top: float | None = None) -> Floats:
    """The law of an accepted sample, (..., A)  (T9.3).

    Args:
        reward: (..., A).
        reference: who is sampled, (..., A).
        beta: accepts with probability min(1, exp((r - top) / beta)).
        top: by default the largest reward of the arms that the reference knows: then it is pi*.

    Raises:
        ValueError: beta is not positive, a reward is not finite, or the reference is no distribution.

    Example:
        >>> first_accepted([np.log(3.0), 0.0], [0.5, 0.5], beta=1.0).round(12)
        array([0.75, 0.25])
    """
    accepted, log_rate = _accepted(*_checked(reward, reference), [checks.positive(beta, "beta")], top)
    return np.exp(accepted[0] - log_rate[0])


def acceptance_rates(
    reward: ArrayLike, reference: ArrayLike, betas: Sequence[float], top: float | None = None
) -> Floats:
    """Share of the samples that each step of a schedule beta_1 > beta_2 > ... accepts, (..., steps)  (T9.3).

    One step is a schedule of one beta.

    Args:
        top: as for `first_accepted`.

    Raises:
        ValueError: the betas are not positive and falling, a reward is not finite, or the reference is no
            distribution.

    Example: one in two steps at one half, or 3/4 and then 2/3 of it.
        >>> acceptance_rates([0.0, -2 * np.log(2.0)], [0.5, 0.5], [2.0]).round(12)
        array([0.75])
        >>> acceptance_rates([0.0, -2 * np.log(2.0)], [0.5, 0.5], [2.0, 1.0]).round(12)
        array([0.75      , 0.83333333])
    """
    steps = [checks.positive(beta, f"betas[{i}]") for i, beta in enumerate(_sequence(betas))]
    for i in range(1, len(steps)):
        if steps[i] >= steps[i - 1]:
            raise ValueError(
                f"betas must fall from step to step, but betas[{i}] = {steps[i]:g} after {steps[i - 1]:g}; "
                f"each step makes the optimum of a smaller beta"
            )
    _, log_rate = _accepted(*_checked(reward, reference), steps, top)
    return np.moveaxis(np.exp(np.diff(log_rate[..., 0], axis=0, prepend=0.0)), 0, -1)


def above(reward: ArrayLike, reference: ArrayLike, threshold: float) -> Floats:
    """The reference's samples of reward threshold or more, (..., A)  (T9.3).

    Raises:
        ValueError: the threshold rejects everything, a reward is not finite, or the reference is no
            distribution.

    Example:
        >>> above([1.0, 0.5, 0.0], [0.2, 0.3, 0.5], threshold=0.5)
        array([0.4, 0.6, 0. ])
    """
    r, ref = _checked(reward, reference)
    line = checks.number(threshold, "threshold")
    kept = np.where(r >= line, ref, 0.0)
    rate = np.asarray(kept.sum(axis=-1, keepdims=True))
    best = np.where(ref > 0, r, -np.inf).max(axis=-1, keepdims=True)
    rule, remedy = f"at least the threshold {line:g}, or every sample is rejected", "choose a lower threshold"
    checks.reject_first(rate == 0, best, "largest reward of the reference's arms", rule, remedy)
    return kept / rate


def _checked(reward: ArrayLike, reference: ArrayLike) -> tuple[Floats, Floats]:
    r, ref = checks.arms(reward, "reward"), checks.distribution(reference, "reference")
    checks.same_arms(r, ref, "reward", "reference")
    r, ref = np.broadcast_arrays(r, ref)
    return r, ref


def _sequence(betas: Sequence[float]) -> list[float]:
    found = checks.floats(betas, "betas")
    if found.ndim != 1 or not found.size:
        raise ValueError(f"betas must be a list of one number or more, but its shape is {found.shape}")
    return found.tolist()


def _accepted(r: Floats, ref: Floats, betas: list[float], top: float | None) -> tuple[Floats, Floats]:
    """log of ref times what each beta accepts, (betas, ..., A), and of its sum, (betas, ..., 1)."""
    largest = np.where(ref > 0, r, -np.inf).max(axis=-1, keepdims=True)
    lead = np.minimum(r - (largest if top is None else checks.number(top, "top")), 0.0)
    scale = np.reshape(betas, (-1, *(1,) * r.ndim))
    with np.errstate(divide="ignore"):
        log_accepted = np.log(ref) + lead / scale
    peak = log_accepted.max(axis=-1, keepdims=True)
    return log_accepted, peak + np.log(np.exp(log_accepted - peak).sum(axis=-1, keepdims=True))
