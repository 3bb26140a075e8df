"""The expected updates that are linear in the logits, and where they end.

CoPG, IPO and DRO (with V eliminated), on samples whose law W does not move with the policy, all have

    expected ascent on the logits = rate * L (score / beta - h),     h = log pi/ref,

with L = diag((W + W^T) 1) - (W + W^T) the Laplacian of the sampling graph  (T3.2, T4.3, T8.1).  L is
positive semi-definite and constant vectors on each connected component are its null space: every
start converges, inside a component to ref exp(score / beta), and the mean logit of each component
never moves  (T3.3).  `bandits.dynamics` follows the same object through time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.laws import Arms, Law
from bandits.policy import tilt
from bandits.solution import Solution


@dataclass(frozen=True, eq=False)
class Linear:
    """rate * L (score / beta - h): `law` holds L, `score` is r for CoPG and the ranking potential for IPO."""

    rate: float
    law: Law
    score: Floats  # (..., A)
    beta: float

    def fixed_point(self, bandit: Bandit, log_start: Floats) -> Solution:
        """Tilt of the reference inside each component; mean logits and unsampled arms stay  (T3.3)."""
        return settle(self.law, bandit, log_start, tilt(bandit.log_reference, self.score, self.beta))


def settle(law: Law, bandit: Bandit, log_start: Floats, log_target: Floats) -> Solution:
    """The policy that equals `log_target` up to a constant on each component, with the start's mean logits.

    Any update that is a sum of c (e_y - e_y') over sampled pairs keeps the sum of the logits of each
    connected component of the sampling graph: that fixes the constants  (T3.3).
    """
    labels = law.components(bandit.arms)
    supported = np.isfinite(log_target)
    lowest = np.where(supported, labels, bandit.arms).min(axis=-1)
    highest = np.where(supported, labels, -1).max(axis=-1)
    if (lowest == highest).all():
        return Solution(
            log_policy=log_target, residual=np.nan, stable=True, unique=True, method="closed form (T3.3)"
        )
    log_policy = _shift_components(labels, log_start, log_target)
    return Solution(
        log_policy=log_policy,
        residual=np.nan,
        stable=True,
        unique=False,
        method="closed form (T3.3)",
        message="the sampling graph is not connected: the answer depends on the start",
    )


def _shift_components(labels: Arms, log_start: Floats, log_target: Floats) -> Floats:
    shape = np.broadcast_shapes(labels.shape, log_start.shape, log_target.shape)
    supported = np.broadcast_to(np.isfinite(log_start) & np.isfinite(log_target), shape)
    offset = np.where(supported, log_start, 0.0) - np.where(supported, log_target, 0.0)
    contexts = np.arange(int(np.prod(shape[:-1]))).reshape(*shape[:-1], 1)
    cells = (contexts * shape[-1] + labels).ravel()
    size = np.bincount(cells, weights=supported.ravel(), minlength=labels.size)
    total = np.bincount(cells, weights=offset.ravel(), minlength=labels.size)
    mean = (total / np.maximum(size, 1))[cells].reshape(shape)
    logits = np.where(supported, log_target + mean, -np.inf)
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def optimum_on_support(bandit: Bandit, beta: float, log_start: Floats) -> Solution:
    """pi*, the only stationary point of J with the support of the start  (T2.1)."""
    log_policy = tilt(reference_on_support(bandit, log_start), bandit.needed_reward(), beta)
    return Solution(
        log_policy=log_policy, residual=np.nan, stable=True, unique=True, method="closed form (T1.1)"
    )


def reference_on_support(bandit: Bandit, log_start: Floats) -> Floats:
    """log ref where the start has mass, else -inf: on-policy, an arm that starts at zero is never sampled."""
    return np.where(np.isneginf(log_start), -np.inf, bandit.log_reference)
