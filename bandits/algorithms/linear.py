"""Which expected updates are linear in the logits, and where do they end?

CoPG, IPO and DRO (with V eliminated), on samples whose law W does not move with the policy, all have

    expected ascent on the logits = rate * L (score / beta - h),     h = log pi/ref,

with L = diag((W + W^T) 1) - (W + W^T) the Laplacian of the sampling graph  (T3.2, T4.3, T8.1).  L is
positive semi-definite and constant vectors on each connected component are its null space: every
start converges, inside a component to ref exp(score / beta), and the mean logit of each component
never moves  (T3.3).  `bandits.dynamics.flow` follows the same object through time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.policy import centred, log_ratio, normalised, tilt
from bandits.sampling.laws import Arms, Law
from bandits.solution import Solution

DISCONNECTED = "continuum: the sampling graph is not connected, and the answer depends on the start"


@dataclass(frozen=True, eq=False)
class Linear:
    """rate * L (score / beta - h).

    `law` holds L, `given` the score; or, with `solve`, a flow f whose potential, L score = f, `solve` finds:
    IPO's ranking (T4.3), which its expected update does not need.
    """

    rate: float
    law: Law
    beta: float
    given: Floats  # (..., A)
    solve: Callable[[], Floats] | None = None

    @cached_property
    def score(self) -> Floats:
        """s, (..., A): r for CoPG, the ranking potential for IPO."""
        return self.given if self.solve is None else self.solve()

    def expected_coefficient(self, log_ratio: Floats) -> Floats:
        """E[c] of each arm, (rate / beta) L (score - beta h), (..., A)  (T3.2)."""
        if self.solve is None:
            return self.rate / self.beta * self.law.laplacian(self.given - self.beta * log_ratio)
        return self.rate * (self.given / self.beta - self.law.laplacian(log_ratio))

    def fixed_point(self, bandit: Bandit, log_start: Floats) -> Solution:
        """Tilt of the reference inside each component; mean logits and unsampled arms stay  (T3.3)."""
        return settle(self.law, bandit, log_start, self.score, self.beta)


def settle(law: Law, bandit: Bandit, log_start: Floats, score: Floats, beta: float) -> Solution:
    """ref exp(score / beta) inside each component of the sampling graph, with the start's mean logits.

    Any update that is a sum of c (e_y - e_y') over sampled pairs keeps the sum of the logits of each
    connected component of the sampling graph: that fixes the constants  (T3.3).
    """
    labels = law.components(bandit.arms)
    h = centred(bandit.log_reference, score, beta)
    connected = _is_connected(labels, bandit.log_reference)
    if not connected:
        h = _shift_components(labels, log_ratio(log_start, bandit.log_reference), h)
    log_policy = normalised(bandit.log_reference + h)
    for fresh in (h, log_policy):
        fresh.setflags(write=False)  # `Solution` copies what could still be written to
    return Solution(
        log_policy=log_policy,
        log_ratio=h,
        residual=np.nan,
        stable=True if connected else None,
        unique=connected,
        method="closed form (T3.3)",
        message="" if connected else DISCONNECTED,
    )


def _is_connected(labels: Arms, log_reference: Floats) -> bool:
    """Whether, in every context, all arms that the reference supports are in one component."""
    if not labels.any():
        return True
    supported = np.isfinite(log_reference)
    lowest = np.where(supported, labels, labels.shape[-1]).min(axis=-1)
    highest = np.where(supported, labels, -1).max(axis=-1)
    return bool((lowest == highest).all())


def _shift_components(labels: Arms, log_ratio_start: Floats, h: Floats) -> Floats:
    """h plus a constant on each component, such that its mean there is the start's; -inf where that is."""
    shape = np.broadcast_shapes(labels.shape, log_ratio_start.shape, h.shape)
    start, h = np.broadcast_to(log_ratio_start, shape), np.broadcast_to(h, shape)
    alive = np.isfinite(start)
    contexts = np.arange(int(np.prod(shape[:-1]))).reshape(*shape[:-1], 1)
    cells = (contexts * shape[-1] + np.broadcast_to(labels, shape)).ravel()
    size = np.bincount(cells, weights=alive.ravel(), minlength=alive.size)
    offset = np.where(alive, np.where(alive, start, 0.0) - h, 0.0)
    total = np.bincount(cells, weights=offset.ravel(), minlength=alive.size)
    mean = (total / np.maximum(size, 1))[cells].reshape(shape)
    return np.where(alive, h + mean, -np.inf)


def optimum_on_support(bandit: Bandit, beta: float, log_start: Floats) -> Solution:
    """pi*, the only stationary point of J with the support of the start  (T2.1)."""
    log_policy = tilt(reference_on_support(bandit, log_start), bandit.needed_reward(), beta)
    return Solution(
        log_policy=log_policy, residual=np.nan, stable=True, unique=True, method="closed form (T1.1)"
    )


def reference_on_support(bandit: Bandit, log_start: Floats) -> Floats:
    """log ref where the start has mass, else -inf: on-policy, an arm that starts at zero is never sampled."""
    return np.where(np.isneginf(log_start), -np.inf, bandit.log_reference)
