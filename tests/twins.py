"""Wrong twins: algorithms with one well-known mistake each, which the laws of the tests must reject.

A law that every twin passes tests nothing.  Each function takes a right algorithm and returns its twin, or
None where the mistake cannot be made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from bandits import Samples, Update
from rows import reads


@dataclass(frozen=True)
class Twin:
    """An algorithm with changed samples or a changed update; the sampling sees no difference."""

    right: Any
    change_samples: Callable[[Samples], Samples] = lambda samples: samples
    change_update: Callable[[Any, Samples, Update], Update] = lambda right, samples, update: update

    @property
    def k(self) -> int:
        """Samples in a group."""
        return self.right.k

    def update(self, samples: Samples) -> Update:
        """The right coefficient of the wrong samples, changed."""
        seen = self.change_samples(samples)
        return self.change_update(self.right, seen, self.right.update(seen))

    def loss(self, samples: Samples) -> Any:
        """The right loss of the wrong samples."""
        return self.right.loss(self.change_samples(samples))

    def __getattr__(self, name: str) -> Any:
        if name in ("opponent", "needs_on_policy", "log_revision_policy"):
            return getattr(self.right, name)
        raise AttributeError(name)


def flipped_sign(algorithm) -> Twin:
    """Descends where it should ascend."""
    return Twin(algorithm, change_update=lambda _, __, u: replace(u, log_prob=-u.log_prob))


def average_for_sum(algorithm) -> Twin | None:
    """Divides by the size of the group once too often."""
    if algorithm.k == 1:
        return None
    return Twin(algorithm, change_update=lambda _, __, u: replace(u, log_prob=u.log_prob / algorithm.k))


def swapped_kl(algorithm) -> Twin:
    """log ref/pi in place of log pi/ref, also in what is summed over the population."""

    def swap(s: Samples) -> Samples:
        everyone = s.population
        if everyone is not None and everyone.reference_log_prob is not None:
            everyone = replace(
                everyone, reference_log_prob=2 * everyone.log_prob - everyone.reference_log_prob
            )
        return replace(s, reference_log_prob=2 * s.log_prob - s.reference_log_prob, population=everyone)

    return Twin(algorithm, change_samples=swap)


def wrong_reference(algorithm) -> Twin:
    """The behaviour policy in place of the reference."""

    def exchange(s: Samples) -> Samples:
        everyone = replace(s.population, reference_log_prob=s.population.behavior_log_prob)
        return replace(s, reference_log_prob=s.behavior_log_prob, population=everyone)

    return Twin(algorithm, change_samples=exchange)


def flipped_label(algorithm) -> Twin | None:
    """Winner and loser exchanged."""
    if "preference" not in reads(algorithm):
        return None
    return Twin(algorithm, change_samples=lambda s: replace(s, preference=np.swapaxes(s.preference, -1, -2)))


def dropped_detach(algorithm) -> Twin:
    """Differentiates c log pi, c included: c_i + sum_j log pi(y_j) dc_j / dlog pi(y_i)."""

    def with_derivative(right, s: Samples, u: Update) -> Update:
        log_prob = torch.tensor(s.log_prob, requires_grad=True)
        c = right.update(replace(to_torch(s), log_prob=log_prob)).log_prob
        (gradient,) = torch.autograd.grad((c * log_prob).sum(), log_prob)
        return replace(u, log_prob=gradient.numpy())

    return Twin(algorithm, change_update=with_derivative)


def swapped_mixture(algorithm) -> Any | None:
    """Nash-MD whose opponent has the weights of policy and reference exchanged."""
    if not hasattr(algorithm, "mixture"):
        return None
    return replace(algorithm, mixture=1 - algorithm.mixture)


def single_precision(algorithm) -> Twin:
    """Computes in float32 on the way."""

    def rounded(_, __, u: Update) -> Update:
        narrow = u.log_prob.float().double() if torch.is_tensor(u.log_prob) else u.log_prob
        return replace(u, log_prob=narrow)

    return Twin(algorithm, change_update=rounded)


def to_torch(samples: Samples) -> Samples:
    """The same samples as float64 tensors."""
    values = {field.name: getattr(samples, field.name) for field in fields(samples)}
    converted = {
        name: torch.as_tensor(np.array(value))
        for name, value in values.items()
        if value is not None and name != "population"
    }
    if samples.population is not None:
        converted["population"] = to_torch(samples.population)
    return Samples(**converted)
