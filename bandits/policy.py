"""How does one compute with policies?  They are points of the simplex, kept as log-probabilities.

    softmax    pi = softmax(theta)
    tilt       ref * exp(score / beta) / Z
    mixture    p^(1-w) * q^w / Z        (geometric)
    kl         KL(p || q) = E_p[log p - log q]
    entropy    -E_p[log p]

All functions take and return *logs* of probabilities, (..., A); an arm without mass has log -inf.
Two rules keep every digit: scores are centred before they are divided by beta (r / beta alone
loses the differences when beta is 1e-8), and a divergence is a sum of non-negative terms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr, log_softmax

from bandits import checks
from bandits.checks import Floats


def log_policy_of(policy: Floats) -> Floats:
    """Logarithm of probabilities, renormalised; zero becomes -inf without a warning."""
    with np.errstate(divide="ignore"):
        return np.log(policy) - np.log(policy.sum(axis=-1, keepdims=True))


def tilt(log_reference: ArrayLike, score: ArrayLike, beta: float) -> Floats:
    """Exponential tilting, log of ref(y) exp(score(y) / beta) / Z  (T1.1).

    Args:
        log_reference: (..., A); -inf outside the support, which the result keeps.
        score: (..., A), any finite numbers.
        beta: positive.

    Example:
        >>> np.exp(tilt(np.log([0.5, 0.5]), [np.log(3.0), 0.0], 1.0)).round(4)
        array([0.75, 0.25])
    """
    log_reference, score = np.asarray(log_reference), np.asarray(score, dtype=float)
    return normalised(log_reference + centred(log_reference, score, beta))


def centred(log_reference: Floats, score: Floats, beta: float) -> Floats:
    """(score - its maximum) / beta on the support, 0 elsewhere: a log-ratio up to a constant, (..., A)."""
    if log_reference.min() > -np.inf:
        exponent = score - score.max(axis=-1, keepdims=True)
    else:
        supported = log_reference > -np.inf
        best = np.where(supported, score, -np.inf).max(axis=-1, keepdims=True)
        exponent = np.where(supported, score - best, 0.0)
    exponent /= beta
    return exponent


def normalised(logits: Floats) -> Floats:
    """log softmax, (..., A).  Overwrites its argument: memory traffic is what a million arms cost."""
    logits -= logits.max(axis=-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return logits


def mixture(log_p: ArrayLike, log_q: ArrayLike, weight: float) -> Floats:
    """Geometric mixture, log of p^(1-weight) q^weight / Z  (T6.4).

    Example:
        >>> np.exp(mixture(np.log([0.8, 0.2]), np.log([0.2, 0.8]), 0.5)).round(4)
        array([0.5, 0.5])
    """
    # The end points are exact, and 0 * -inf never arises.
    if weight == 0:
        return np.array(log_p, dtype=float)
    if weight == 1:
        return np.array(log_q, dtype=float)
    return log_softmax((1 - weight) * np.asarray(log_p) + weight * np.asarray(log_q), axis=-1)


def log_ratio(log_p: ArrayLike, log_q: ArrayLike) -> Floats:
    """log p(y) / q(y), with 0 where neither has mass."""
    log_p, log_q = np.asarray(log_p), np.asarray(log_q)
    with np.errstate(invalid="ignore"):
        difference = log_p - log_q
    if log_q.min() > -np.inf:
        return difference
    return np.where(np.isneginf(log_p) & np.isneginf(log_q), 0.0, difference)


def kl(log_p: ArrayLike, log_q: ArrayLike) -> Floats:
    """Kullback-Leibler divergence KL(p || q) in nats, shape (...).

    Summed as p (u + exp(-u) - 1) with u = log p/q: every term is non-negative, so a divergence
    of 1e-20 is not drowned by terms of size 1.  Infinite where p has mass and q has none.

    Raises:
        ValueError: a logarithm is above 0, as probabilities themselves are.

    Example:
        >>> round(float(kl(np.log([0.5, 0.5]), np.log([0.25, 0.75]))), 6)
        0.143841
    """
    _logarithms(log_p, "log_p")
    _logarithms(log_q, "log_q")
    u = log_ratio(log_p, log_q)
    p, q = np.exp(log_p), np.exp(log_q)
    near = np.clip(u, -1.0, 1.0)
    with np.errstate(invalid="ignore"):
        far = np.where(p > 0, p * u, 0.0) + (q - p)
    terms = np.where(np.abs(u) < 1, p * (near + np.expm1(-near)), far)
    return np.maximum(terms.sum(axis=-1), 0.0)


def entropy(log_p: ArrayLike) -> Floats:
    """Shannon entropy -E_p[log p] in nats, shape (...).

    Raises:
        ValueError: a logarithm is above 0, as probabilities themselves are.

    Example:
        >>> round(float(entropy(np.log([0.5, 0.5]))), 6)
        0.693147
    """
    _logarithms(log_p, "log_p")
    return entr(np.exp(log_p)).sum(axis=-1)


def _logarithms(values: ArrayLike, name: str) -> None:
    """ValueError where a logarithm of a probability is above 0 by more than rounding."""
    given = np.asarray(values)
    above = given > checks.SUM_TOLERANCE_FLOAT32
    checks.reject_first(above, given, name, "at most 0", "give logarithms of probabilities, as np.log(p)")


def spread(policy: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Policies on the support of one, (A,): near its n vertices, and `count` random, (n + count, A).

    Example:
        >>> spread(np.array([0.5, 0.0, 0.5]), 0, np.random.default_rng(0)).round(3)
        array([[0.975, 0.   , 0.025],
               [0.025, 0.   , 0.975]])
    """
    support = policy > 0
    size = int(support.sum())
    full = np.zeros((size + count, len(policy)))
    full[:size, support] = 0.05 / size + 0.95 * np.eye(size)
    full[size:, support] = rng.dirichlet(np.ones(size), count)
    return full
