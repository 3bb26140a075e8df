"""Which known mistake makes the same gradient?  The wrong twins of `bandits.testing` and a few more, by name.

A positive factor is no fault.  Twins that are one function, for the algorithm in question, share what is
found: the first of `FAULTS` is the name, the others are given beside it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from bandits.algorithms import ALGORITHMS
from bandits.samples import Algorithm, Samples
from bandits.testing.twins import TWINS, MakesTwin, altered
from llm.conformance.trials import SAME


def _name(make: MakesTwin) -> str:
    return str(getattr(make, "__name__", make)).replace("_", " ")


def _meaning(make: MakesTwin) -> str:
    first = (make.__doc__ or "").partition("\n")[0]
    return re.sub(r"\s*\(T[\d.]+\)", "", first)


OF_TWINS = {_name(make): make for make in TWINS}
FAULTS: dict[str, str] = {
    "mixes the batch": "The coefficients of a group depend on which other groups are in its batch.",
    "batch divisor": "Divides by a number of the whole batch, such as its tokens: a group's weight varies.",
    "reads padding": "The mask is not applied: what stands behind the last token makes a difference.",
    "token by token": "The tokens of one answer are trained unequally: by a ratio, clip or square of each.",
    **{name: _meaning(make) for name, make in OF_TWINS.items()},
    "another beta": "The gradient is right for another beta, which the message names.",
    "another objective": "No slip but another goal: the message names what it optimises, or the nearest.",
}
ALSO = {  # other words for the same mistake
    "swapped kl": "KL the wrong way round",
    "k3 as loss": "KL(ref || pi) in place of KL(pi || ref)",
    "k1 as loss": "a KL that does nothing on the policy's own samples",
    "dropped detach": "missing stop-gradient",
    "stopped loser": "one stop-gradient too many",
    "average for sum": "mean over tokens",
    "leave one in": "a baseline that counts the sample itself",
    "forgotten clip": "no clip",
    "clip without minimum": "two-sided clip of the surrogate alone",
    "dropped kl": "reward alone",
}
FAULTS.update({name: f"{FAULTS[name]} Also: {words}." for name, words in ALSO.items()})


@dataclass(frozen=True)
class Match:
    """How near a multiple of one gradient is to another: found = scale * known, up to the error."""

    name: str
    scale: float
    error: float
    known: Tensor


def match(name: str, found: Tensor, known: Tensor) -> Match:
    """The positive multiple of `known` that is nearest to `found`; without one the error is infinite.

    error = max |found - scale known| / max |found|.
    """
    scale = float((found * known).sum() / (known**2).sum()) if known.any() else 0.0
    if not (scale > 0 and math.isfinite(scale)):
        return Match(name, scale, math.inf, known)
    return Match(name, scale, float((found - scale * known).abs().max() / found.abs().max()), known)


@dataclass(frozen=True)
class Claim:
    """What a loss is said to be, on the groups that it is tried on."""

    against: Algorithm
    samples: Samples

    @cached_property
    def right(self) -> Tensor:
        """The algorithm's own coefficients, (n, k).

        Raises:
            ValueError: it needs what a loss is never shown, or gives something else.
        """
        self.against.update(self.samples)  # its own error, where a field is missing
        found = coefficients_of(self.against, self.samples)
        if found is None:
            raise ValueError(f"against must give k finite numbers a group, but {self.against!r} does not")
        return found

    @cached_property
    def twins(self) -> list[tuple[str, Tensor]]:
        """Name and coefficients of every wrong twin that is another function than the algorithm."""
        made = ((name, make(self.against)) for name, make in OF_TWINS.items())
        found = ((name, coefficients_of(twin, self.samples)) for name, twin in made if twin is not None)
        return [(name, c) for name, c in found if c is not None and match("", c, self.right).error > SAME]


def named_fault(found: Tensor, claim: Claim, tolerance: float) -> tuple[Match, list[str]] | None:
    """The twin whose gradient this is, and the names of those that are the same function."""
    matches = [match(name, found, known) for name, known in claim.twins]
    near = [m for m in matches if m.error <= tolerance]
    if not near:
        return None
    least = min(m.error for m in near)
    best = next(m for m in near if m.error <= max(least, SAME))
    return best, [m.name for m in matches if m is not best and match("", m.known, best.known).error <= SAME]


def coefficients_of(algorithm: Algorithm, samples: Samples) -> Tensor | None:
    """Its coefficients, (n, k); None where it lacks a field or they are not finite."""
    try:
        with torch.no_grad():
            found = torch.as_tensor(algorithm.update(samples).log_prob).double()
    except (ValueError, TypeError, AttributeError, RuntimeError, OverflowError):
        return None
    return found if found.shape == samples.log_prob.shape and found.isfinite().all() else None


# ---- what else it could be ---------------------------------------------------------------------------------

GRID = [10 ** (i / 8) for i in range(-16, 17)]  # betas that are looked at, times the one that is claimed


def with_beta(algorithm: Algorithm, beta: float) -> Algorithm | None:
    """The same algorithm with another beta; None where it has none."""
    return altered(algorithm, "beta", beta)


def nearest_beta(found: Tensor, algorithm: Algorithm, samples: Samples) -> tuple[Algorithm, Match] | None:
    """The algorithm at the beta where its gradient is nearest, by a grid and thirds; None without a beta."""
    own = getattr(algorithm, "beta", None)
    if own is None or with_beta(algorithm, 1.0) is None:
        return None
    start = own or 1.0  # 0: it has no KL, and one that was added may have any strength

    def at(log_beta: float) -> tuple[Algorithm, Match]:
        there = with_beta(algorithm, float(f"{math.exp(log_beta):.9g}"))
        assert there is not None
        known = coefficients_of(there, samples)
        return there, Match("", 0.0, math.inf, found) if known is None else match("", found, known)

    def error(log_beta: float) -> float:
        return at(log_beta)[1].error

    logs = [math.log(start * factor) for factor in GRID]
    i = min(range(len(logs)), key=lambda i: error(logs[i]))
    low, high = logs[max(i - 1, 0)], logs[min(i + 1, len(logs) - 1)]
    for _ in range(60 if error(logs[i]) < 0.5 else 0):
        third = (high - low) / 3
        if error(low + third) < error(high - third):
            high -= third
        else:
            low += third
    return at(min((logs[i], (low + high) / 2), key=error))


def objectives(k: int, beta: float) -> Iterator[Algorithm]:
    """Every algorithm of `bandits` that looks at k samples, at this beta where it has one."""
    for cls in ALGORITHMS:
        given: dict[str, Any] = {"beta": beta, "k": k}
        names = {each.name for each in fields(cls)}
        if "algorithm" in names:  # it takes another, whose gradient on its own samples is the same
            continue
        try:
            made: Algorithm = partial(cls, **{name: given[name] for name in given if name in names})()
        except ValueError:  # it compares, and takes no group of one
            continue
        if made.k == k:
            yield made


def nearest_objective(found: Tensor, claim: Claim) -> tuple[Algorithm, Match] | None:
    """The algorithm, with its best beta, whose gradient is nearest."""
    best: tuple[Algorithm, Match] | None = None
    for algorithm in objectives(claim.against.k, float(getattr(claim.against, "beta", 1.0)) or 1.0):
        candidate = nearest_beta(found, algorithm, claim.samples)
        if candidate is None:
            known = coefficients_of(algorithm, claim.samples)
            candidate = None if known is None else (algorithm, match("", found, known))
        if candidate is not None and (best is None or candidate[1].error < best[1].error):
            best = candidate
    return best
