"""Which updates are affine in the log-ratios of a pair?  Found by asking the algorithm, not its name.

A pair algorithm has coefficients (c, -c).  It is affine if, with h = log pi/ref and d = e_i - e_j,

    c = t_ij - g d'h        one slope g for all pairs

    CoPG   g = beta   t = r_i - r_j           RLOO, k = 2   half of CoPG
    IPO    g = 2      t = 2 (P_ij - 1/2) / beta

`affine_pairs` evaluates `update` at a few log-ratios, rewards and labels, reads off g, the mean of t and its
variance v under noise, and refuses what does not fit.  `bandits.dynamics.moments` computes with the answer.

Axes: one context; pairs are (A, A) arrays [i, j].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.problem import Problem
from bandits.samples import Algorithm, Samples, need
from bandits.sampling.laws import WON
from bandits.sampling.observation import State, samples_of

ROUNDING = 1e-9  # how far from affine a coefficient may be, relative to the largest


@dataclass(frozen=True, eq=False)
class Noise:
    """What is random in an observation besides the pair itself."""

    reward: float = 0.0  # standard deviation of each of the two rewards
    label: bool = False  # a 0/1 label with probability P, instead of P itself


@dataclass(frozen=True, eq=False)
class AffinePairs:
    """The update t_ij - g d'h of each pair, and how often it is drawn."""

    weight: Floats  # W, (A, A), zero on the diagonal, where nothing moves
    target: Floats  # mean of t, (A, A)
    variance: Floats  # of t, (A, A)
    slope: float  # g

    @cached_property
    def laplacian(self) -> Floats:
        """L = E[d d'], (A, A)."""
        return laplacian(self.weight)


def laplacian(weight: Floats) -> Floats:
    """sum_ij weight_ij d d', d = e_i - e_j, (A, A)."""
    symmetric = weight + weight.T
    return np.diag(symmetric.sum(1)) - symmetric


def affine_pairs(problem: Problem, noise: Noise) -> AffinePairs:
    """The affine form of an algorithm on one context.

    Raises:
        ValueError: the samples are on-policy or not pairs, the coefficients are not affine, or the
            algorithm does not look at what is noisy.
    """
    algorithm, bandit, name = problem.algorithm, problem.bandit, problem.name
    if problem.sampling.on_policy:
        raise ValueError(
            "moments need a fixed law of pairs, but OnPolicy() moves with the policy; use Offline(mu)"
        )
    law = problem.law()
    if law.k != 2:
        raise ValueError(f"moments are known for pairs, but {name} looks at groups of k = {law.k}; use k = 2")
    W, t, v = np.zeros((3, bandit.arms, bandit.arms))
    slopes = []
    for arms, weight in law.tuples():
        arms = arms[weight > 0]
        samples = samples_of(bandit, law, State(bandit.log_reference), arms)
        target, variance, slope = _observed(algorithm, samples, noise)
        place = tuple(arms.T)
        W[place], t[place], v[place] = weight[weight > 0], target, variance
        slopes.append(slope)
    np.fill_diagonal(W, 0.0)
    slope = np.concatenate(slopes)
    _need_affine(algorithm, slope, float(slope.mean()), "the same slope in every pair")
    return AffinePairs(W, t, v, float(slope.mean()))


def _observed(algorithm: Algorithm, samples: Samples, noise: Noise) -> tuple[Floats, Floats, Floats]:
    """Mean and variance of t and the slope g of each pair, (n,) each."""
    target, slope = _line(algorithm, samples)
    variance = np.zeros_like(target)
    if noise.label:
        p = need(samples, "preference")[..., 0, 1]
        won, lost = (replace(samples, preference=np.broadcast_to(w, (len(p), 2, 2))) for w in (WON, WON.T))
        step = _line(algorithm, won)[0] - _line(algorithm, lost)[0]
        variance = variance + p * (1 - p) * step**2
    if noise.reward:
        for place in (0, 1):
            shifted = replace(samples, reward=samples.reward + np.eye(2)[place])
            step = _line(algorithm, shifted)[0] - target
            _need_noisy_rewards(algorithm, step)
            variance = variance + noise.reward**2 * step**2
    return target, variance, slope


def _line(algorithm: Algorithm, samples: Samples) -> tuple[Floats, Floats]:
    """Intercept t at h = 0 and slope g of c = t - g (h_1 - h_2), checked at four points, (n,) each."""
    here = _coefficient(algorithm, samples, (0.0, 0.0))
    slope = here - _coefficient(algorithm, samples, (1.0, 0.0))
    for shift in ((-2.0, 0.0), (0.0, 1.0), (1.5, 1.5)):
        predicted = here - slope * (shift[0] - shift[1])
        _need_affine(
            algorithm, _coefficient(algorithm, samples, shift), predicted, "affine in the log-ratios"
        )
    return here, slope


def _coefficient(algorithm: Algorithm, samples: Samples, shift: tuple[float, float]) -> Floats:
    """c of each pair with the log-ratios at `shift`, (n,)."""
    log_prob = samples.reference_log_prob + np.array(shift)
    c = np.asarray(algorithm.update(replace(samples, log_prob=log_prob)).log_prob)
    _need_affine(algorithm, c[..., 1], -c[..., 0], "opposite for the two samples of a pair")
    return c[..., 0]


def _need_affine(algorithm: Algorithm, value: Floats, expected: Floats | float, rule: str) -> None:
    size = max(1.0, float(np.abs(value).max()), float(np.abs(expected).max()))
    if not np.abs(value - expected).max() <= ROUNDING * size:
        raise ValueError(
            f"the coefficients of {type(algorithm).__name__} must be {rule} for exact moments, and are not; "
            f"CoPG, IPO and RLOO with k = 2 have them: for others simulate many runs"
        )


def _need_noisy_rewards(algorithm: Algorithm, step: Floats) -> None:
    if not np.abs(step).max(initial=0.0) > 0:
        raise ValueError(
            f"reward_noise has no effect: {type(algorithm).__name__} does not look at rewards; drop it"
        )


def noise_of(bandit: Bandit, reward_noise: float, label_noise: bool) -> Noise:
    """Checked arguments.

    Raises:
        ValueError: the standard deviation is negative or not finite, there is no reward to be noisy, or
            `label_noise` is neither True nor False.
    """
    sigma = checks.deviation(reward_noise, "reward_noise")
    if sigma:
        bandit.needed_reward()
    return Noise(sigma, checks.flag(label_noise, "label_noise"))
