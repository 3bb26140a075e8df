"""How do the policies of many prompts move, seen in log-ratios?  A field for `bandits.solvers.rest`.

A point is h = log pi/ref + a constant on the arms that the start supports; the others take no part.  An
arm's update is of the size of its `weight`: the probability of being sampled, plus that of the policy.

Axes: m prompts, A arms, both last; shifted copies of all prompts come before them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bandits.checks import Floats
from bandits.policy import log_ratio, normalised
from bandits.solvers.levels import Quantities, log_probs_and_leads
from bandits.solvers.rest import Rates, graded_rates, jacobian

TINY = np.finfo(float).tiny


@dataclass(frozen=True, eq=False)
class Motions:
    """The flows of prompts side by side."""

    log_start: Floats  # (m, A)  -inf where the start has no mass
    log_reference: Floats  # (m, A), or (A,) where all share it
    update: Callable[[Floats, Floats], Floats]  # of log pi and log pi/ref: ascent direction on the logits
    behavior: Callable[[Floats], Floats]  # of log pi: how often each arm is sampled
    those: Callable[[NDArray[np.intp]], Motions]  # prompts, by row
    sign: float = 1.0  # -1: backwards

    @cached_property
    def alive(self) -> NDArray[np.bool_]:
        """The arms that take part, (m, A)."""
        return np.isfinite(self.log_start)

    @cached_property
    def start(self) -> Floats:
        """Where training starts, (m, A)."""
        return self.coordinates(self.log_start)

    def coordinates(self, log_policy: Floats) -> Floats:
        """h of policies with the support of the start, (m, A); 0 where an arm takes no part."""
        reference = np.where(self.alive, self.log_reference, 0.0)
        return np.where(self.alive, log_policy, 0.0) - reference

    def log_ratio(self, h: Floats) -> Floats:
        """log pi/ref + a constant, (..., m, A)."""
        return np.where(self.alive, h, -np.inf)

    def log_policy(self, h: Floats) -> Floats:
        """log pi, (..., m, A)."""
        return normalised(self.log_reference + self.log_ratio(h))

    def velocity(self, h: Floats) -> Floats:
        """The expected update, (..., m, A).

        It sums to zero: the heaviest arm's entry, which has lost digits, is minus the sum of the others', so
        that differences of it show rare arms as well.
        """
        return self._velocity_and_weight(h)[0]

    def _velocity_and_weight(self, h: Floats) -> tuple[Floats, Floats]:
        log_policy = self.log_policy(h)
        g = np.where(self.alive, self.sign * self.update(log_policy, self.log_ratio(h)), 0.0)
        weight = self._weight_at(log_policy)
        heaviest = weight.reshape(-1, *weight.shape[-2:]).sum(axis=0).argmax(axis=-1)
        top = np.arange(weight.shape[-1]) == heaviest[:, None]
        others = np.where(top, 0.0, g)
        return np.where(top, -others.sum(axis=-1, keepdims=True), others), weight

    def weight(self, h: Floats) -> Floats:
        """Probability of being sampled, plus that of the policy, (..., m, A)."""
        return self._weight_at(self.log_policy(h))

    def _weight_at(self, log_policy: Floats) -> Floats:
        return self.behavior(log_policy) + np.exp(log_policy)

    def relative(self, h: Floats) -> Floats:
        """The expected update over the weight, (..., m, A)."""
        velocity, weight = self._velocity_and_weight(h)
        return velocity / np.maximum(weight, TINY)

    def rates(self, h: Floats, slope: Floats) -> Rates:
        """Rates at rest; arms that take no part return to where they are."""
        both = self.alive[:, :, None] & self.alive[:, None, :]
        weight = np.where(self.alive, np.maximum(self.weight(h), TINY), TINY)
        return graded_rates(np.where(both, slope, -np.eye(slope.shape[-1])), weight)

    def rates_at(self, log_policy: Floats) -> Rates:
        """Rates at policies where the flows rest, (m, A)."""
        h = self.coordinates(log_policy)
        return self.rates(h, jacobian(self.relative, h))

    def size(self, log_policy: Floats) -> float:
        """Size of the update's terms: its largest entry at the reference and a nat away from policies."""
        away = normalised(log_policy + np.cos(np.arange(log_policy.shape[-1])))
        updates = (
            self.update(each, log_ratio(each, self.log_reference)) for each in (self.log_reference, away)
        )
        return max(float(np.abs(each).max()) for each in updates)

    def field(self, h: Floats) -> Floats:
        """Velocity of the only prompt, on the arms that take part: points (..., n)."""
        full = np.zeros((*h.shape[:-1], 1, self.alive.shape[-1]))
        full[..., 0, self.alive[0]] = h
        return self.velocity(full)[..., 0, self.alive[0]]

    @property
    def quantities(self) -> Quantities:
        """What the update of the only prompt may watch, on the arms that take part."""
        reference = np.broadcast_to(self.log_reference, self.alive.shape)
        return log_probs_and_leads(reference[0, self.alive[0]])

    def some(self, rows: NDArray[np.intp]) -> Motions:
        """These prompts alone."""
        return self if len(rows) == len(self.alive) else replace(self.those(rows), sign=self.sign)
