"""What has the best of n samples, at every n, from the same samples?

Of N samples of a prompt every n are equally likely to be those one chooses from; with r_(1) <= ... <= r_(N)

    reward   sum_i C(i-1, n-1)/C(N, n) r_(i)          without bias: the mean of the best of all n-subsets
    KL       sum_l P_l log(P_l / m_l)                  P_l = F_l^n - F_{l-1}^n over the levels of the reward,

m_l and F_l the shares of the samples at the level l, and up to it  (T9.2).  Where no two samples ever tie the
KL is log n - (n - 1)/n, the largest that it can be; ties take some of it.  The share of a level is known from
N samples only: the jackknife takes the 1/N out.

Axes: n first, then prompts.  Source: Stiennon 2020, arXiv:2009.01325 (the KL); Chen 2021, arXiv:2107.03374
(all subsets, for pass@k); Beirami 2024, arXiv:2401.01879 (that the KL is a bound).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from bandits import checks
from bandits.checks import Floats
from llm.frontier.jackknife import Estimate, Mean, jackknife, over_prompts
from llm.frontier.optimum import scored

SHARE = 4  # samples for each that one chooses from: then the KL is biased by .003 nats at most (the campaign)


@dataclass(frozen=True, eq=False)
class BestOf:
    """The mean over prompts of what the best of n has, (sizes,) each; NaN where n is too large.

    The `_se` are those of other completions of these prompts, the `_total_se` those of other prompts too.
    """

    n: Floats
    reward: Floats
    reward_se: Floats
    reward_total_se: Floats
    kl: Floats
    kl_se: Floats
    kl_total_se: Floats
    kl_bound: Floats  # log n - (n - 1)/n


def best_of(rewards: ArrayLike, n: ArrayLike) -> BestOf:
    """Reward and KL of the best of n samples of the reference, one point an n  (T10.3).

    Args:
        rewards: of N completions of each prompt, (prompts, N).
        n: how many one chooses from, integers, (sizes,); above N/4 there is a gap.

    Raises:
        ValueError: rewards are not finite, N < 2, or an n is no integer of at least 1.

    Example: of the answers 0 and 1, one half each, the best of 2 is 1 in three cases of four. Both came 8
    times: two different ones of these 16 are not both 0 with 1 - (8 7)/(16 15).

        >>> found = best_of([[0.0, 1.0] * 8], [1, 2, 8])
        >>> found.reward.round(4), found.kl_bound.round(3)
        (array([0.5   , 0.7667,    nan]), array([0.   , 0.193, 1.204]))
        >>> found.kl.round(2)  # of shares of one half, 3/4 log(3/2) + 1/4 log(1/2) = .13; which may be others
        array([0.  , 0.14,  nan])
    """
    reward = np.sort(scored(rewards), axis=-1)
    sizes = np.asarray(n)
    if sizes.ndim != 1 or not sizes.size:
        raise ValueError(f"n must be a list of at least one, but its shape is {sizes.shape}; give a list")
    counts = [checks.count(each, f"n[{i}]") for i, each in enumerate(sizes.tolist())]
    gap = np.array([0.0 if n == 1 or SHARE * n <= reward.shape[1] else np.nan for n in counts])
    used = [1 if missing else n for n, missing in zip(counts, np.isnan(gap), strict=True)]
    best, kl = (Mean(*np.array([over_prompts(of(reward, n)) for n in used]).T) for of in (_reward, _kl))
    size = np.array(counts, dtype=float)
    return BestOf(
        n=size,
        reward=best.value + gap,
        reward_se=best.se + gap,
        reward_total_se=best.total_se + gap,
        kl=kl.value + gap,
        kl_se=kl.se + gap,
        kl_total_se=kl.total_se + gap,
        kl_bound=np.log(size) - (size - 1) / size,
    )


def _reward(reward: Floats, n: int) -> Estimate:
    """The mean of the best of all n-subsets, and of those that leave one sample out, from sorted rewards."""
    N = reward.shape[1]
    whole, fewer = _chances(N, n), _chances(N - 1, n)
    below = np.cumsum(reward[:, :-1] * fewer, axis=-1)  # the chosen of the others, up to each place
    above = np.cumsum((reward[:, 1:] * fewer)[:, ::-1], axis=-1)[:, ::-1]
    without = np.pad(below, ((0, 0), (1, 0))) + np.pad(above, ((0, 0), (0, 1)))
    return jackknife(reward @ whole, without)


def _chances(N: int, n: int) -> Floats:
    """C(i-1, n-1)/C(N, n) for i = 1 ... N: that the i-th smallest of N is the best of n of them."""
    i = np.arange(N, 1, -1)
    return (n / N * np.cumprod(np.append(1.0, np.maximum(i - n, 0) / (i - 1))))[::-1]


def _kl(reward: Floats, n: int) -> Estimate:
    """The KL with the shares of the samples, and of the samples without each, from sorted rewards."""
    N = reward.shape[1]
    up_to, below = rankdata(reward, "max", axis=-1), rankdata(reward, "min", axis=-1) - 1
    own = up_to - below
    lower = (
        _terms(up_to, below, N - 1, n) / own
    )  # of levels below what is left out; each sample brings its part
    upper = _terms(up_to - 1, below - 1, N - 1, n) / own  # of levels above it: one sample fewer up to there
    before, behind = (np.pad(np.cumsum(x, axis=-1), ((0, 0), (1, 0))) for x in (lower, upper))
    without = np.take_along_axis(before, below.astype(int), -1)
    without += behind[:, -1:] - np.take_along_axis(behind, up_to.astype(int), -1)
    without += _terms(up_to - 1, below, N - 1, n)
    return jackknife((_terms(up_to, below, N, n) / own).sum(axis=-1), without)


def _terms(up_to: Floats, below: Floats, N: int, n: int) -> Floats:
    """P log(P / m) of the level with `up_to` of N samples up to it and `below` below; 0 if empty."""
    F, F_below = up_to.clip(min=0) / N, below.clip(min=0) / N
    P = F**n - F_below**n
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(P > 0, P * np.log(P / (F - F_below)), 0.0)
