"""The words that formulas are written in a second time, one group at a time, in plain Python.

Nothing here calls what it checks.  Axes: the sample's place in its group, (k,), and the arms, (A,).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

import bandits as b
from bandits import Samples

Floats = NDArray[np.float64]


def log_ratio(samples: Samples) -> list[float]:
    """h = log pi/ref of each sample."""
    return [float(a - c) for a, c in zip(samples.log_prob, samples.reference_log_prob, strict=True)]


def regularized(beta: float, samples: Samples) -> list[float]:
    """R = r - beta h of each sample."""
    return [float(r) - beta * h for r, h in zip(samples.reward, log_ratio(samples), strict=True)]


def mean_regularized(beta: float, samples: Samples, weights: Floats) -> float:
    """E[R] over the population with these weights."""
    terms = zip(weights, regularized(beta, samples.population), strict=True)
    return math.fsum(w * R for w, R in terms if w > 0)


def near_one(ratio: float, clip: float, upper_clip: float | None = None) -> float:
    """The ratio, held between 1 - clip and 1 + clip, or 1 + upper_clip."""
    return min(max(ratio, 1 - clip), 1 + (clip if upper_clip is None else upper_clip))


def clipped(advantages: list[float], samples: Samples, a) -> list[float]:
    """w A, or nothing where min(w A, clip(w) A) does not move with w = pi/mu; a holds the clips."""
    weights = [math.exp(x) for x in samples.log_prob - samples.behavior_log_prob]
    pairs = zip(weights, advantages, strict=True)
    return [
        w * A if w * A <= near_one(w, a.clip, getattr(a, "upper_clip", None)) * A else 0.0 for w, A in pairs
    ]


def baseline(algorithm, samples: Samples) -> float:
    """b of T2.5 by name."""
    everyone = samples.population
    if algorithm.baseline is b.policy_reward:
        return math.fsum(np.exp(everyone.log_prob) * everyone.reward)
    if algorithm.baseline is b.policy_value:
        return mean_regularized(algorithm.beta, samples, np.exp(everyone.log_prob))
    if algorithm.baseline is b.behavior_value:
        return mean_regularized(algorithm.beta, samples, np.exp(everyone.behavior_log_prob))
    if algorithm.baseline is b.greedy:
        return float(samples.greedy_reward)
    return algorithm.baseline


def over_labels(of_winner: Callable[[int, int], float], p: float) -> list[float]:
    """Mean over the label of +-of_winner(winner, loser): the first wins with probability p."""
    c = p * of_winner(0, 1) - (1 - p) * of_winner(1, 0)
    return [c, -c]
