"""Which prompts does an algorithm weigh, where answers are right or wrong?

A prompt's difficulty is p, the policy's probability of success, q = 1 - p.  Given success grad log pi has the
mean grad p / p, given failure -grad p / q: whatever a symmetric algorithm does with the outcomes of a group,
its expected update on its own samples is  w(p) grad p,  and w says which prompts move the parameters that
they share  (T13.11):

    RLOO                       1
    GRPO                       E sqrt(m (k - m) (k - 1) / k) / (k p q),  m ~ Bin(k, p):  near 1 / sqrt(p q)
    rejection fine-tuning      (1 - q^k) / p            imitates the successes
    MaxRL                      (1 - q^(k-1)) / p        the same, centred
    pass@k, leave-one-out      k q^(k-1)                the slope of the probability that one of k succeeds

With a KL it ends where the two pulls balance, beta log((p / q) / (p0 / q0)) = w(p) for KL(pi || ref) and
beta (p - p0) = p q w(p) for KL(ref || pi), p0 the reference's p.

Source: Davis & Recht 2025, arXiv:2510.13651; MaxRL 2026, arXiv:2602.02710.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.exact import expected_update
from bandits.samples import Algorithm
from bandits.sampling.rules import OnPolicy


def difficulty_weight(algorithm: Algorithm, success: ArrayLike) -> Floats:
    """w(p) of an algorithm on its own samples of right (1) or wrong (0) answers, where no KL pulls  (T13.11).

    By enumeration, for any algorithm, prompts of different difficulty being contexts.

    Args:
        algorithm: one that looks at rewards; a KL of its own is not felt, the policy being the reference.
        success: p, probabilities in (0, 1) of any shape, which is the result's.

    Raises:
        ValueError: a probability is not between 0 and 1, or the algorithm does not fit.

    Example: centred by its group, a prompt counts alike however hard it is.
        >>> from bandits import RLOO
        >>> difficulty_weight(RLOO(beta=1.0, k=4), [0.1, 0.5, 0.9]).round(12)
        array([1., 1., 1.])
    """
    p = _probabilities(success)
    world = Bandit([1.0, 0.0], reference=np.stack([p, 1 - p], axis=-1), length=[1, 1], desirable=[1, 0])
    pull = expected_update(algorithm, world, OnPolicy(), world.reference)[..., 0]
    return np.asarray(pull / (p * (1 - p)))[()]


def grpo_weight(success: ArrayLike, k: int) -> Floats:
    """E sqrt(m (k - m) (k - 1) / k) / (k p q), the standard deviation dividing by k - 1  (T13.11)."""
    p, k = _probabilities(success), checks.count(k, "k", least=2, most=checks.MOST_SAMPLES)
    from scipy.stats import binom  # would take a third of the time of `import bandits`

    m = np.arange(k + 1)
    spread = np.sqrt(m * (k - m) * (k - 1) / k)
    return (binom.pmf(m, k, p[..., None]) @ spread) / (k * p * (1 - p))


def rejection_weight(success: ArrayLike, k: int) -> Floats:
    """(1 - q^k) / p  (T13.11)."""
    p, k = _probabilities(success), checks.count(k, "k", most=checks.MOST_SAMPLES)
    return -np.expm1(k * np.log1p(-p)) / p


def maxrl_weight(success: ArrayLike, k: int) -> Floats:
    """(1 - q^(k-1)) / p  (T13.11)."""
    return rejection_weight(success, checks.count(k, "k", least=2, most=checks.MOST_SAMPLES) - 1)


def pass_at_k_weight(success: ArrayLike, k: int) -> Floats:
    """k q^(k-1)  (T13.11)."""
    p, k = _probabilities(success), checks.count(k, "k", most=checks.MOST_SAMPLES)
    return k * np.exp((k - 1) * np.log1p(-p))


def _probabilities(success: ArrayLike) -> Floats:
    p = checks.floats(success, "success")
    bad = (p <= 0) | (p >= 1)
    rule, remedy = "between 0 and 1", "a prompt that always or never succeeds does not move"
    checks.reject_first(bad, p, "success", rule, remedy)
    return p
