"""How are two algorithms compared?  By expected updates, or by where they end, on random uneven worlds.

An answer is any object with `k` and `update`, or its class if that needs no arguments.  Worlds are drawn
with a seed of their own, so that the same answer gets the same verdict, and none has a symmetry that
would let a mistake through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.exact import expected_update
from bandits.fixed_point import fixed_point
from bandits.samples import Algorithm
from bandits.sampling.rules import Offline, OnPolicy
from bandits.solution import NoFixedPoint, NotConverged
from bandits.testing.enumeration import Case

Cases: TypeAlias = Callable[[], list[Case]]
ARMS, WORLDS, SEED = 3, 3, 2024
ASKED = "an algorithm: an object with `k` and `update(samples)` that returns Update(log_prob=...)"


def off_policy_pairs() -> list[Case]:
    """Pairs whose two answers come from two skewed behaviour policies."""
    return [Case(world, Offline(first, second), policy) for world, policy, first, second in _uneven()]


def off_policy() -> list[Case]:
    """Answers from one skewed behaviour policy."""
    return [Case(world, Offline(first), policy) for world, policy, first, _ in _uneven()]


def on_policy() -> list[Case]:
    """Answers from the policy itself."""
    return [Case(world, OnPolicy(), policy) for world, policy, _, _ in _uneven()]


@dataclass(frozen=True)
class Updates:
    """An algorithm, compared by its expected updates."""

    cases: Cases

    @property
    def asks(self) -> str:
        return ASKED

    @property
    def unit(self) -> str:
        return "in the expected update of random worlds"

    def read(self, answer: Any) -> Floats:
        """Expected ascent directions on the logits, (cases, A)."""
        it = _object(answer)
        return np.stack([expected_update(it, c.bandit, c.sampling, c.policy) for c in self.cases()])


@dataclass(frozen=True)
class Ends:
    """An algorithm, compared by where it ends; how fast it gets there does not matter."""

    cases: Cases

    @property
    def asks(self) -> str:
        return ASKED

    @property
    def unit(self) -> str:
        return "of probability where it ends, on random worlds"

    def read(self, answer: Any) -> Floats:
        """Policies where it ends, (cases, A); infinite where it does not come to rest."""
        it = _object(answer)
        return np.stack([_end(it, case) for case in self.cases()])


def _end(algorithm: Algorithm, case: Case) -> Floats:
    try:
        return fixed_point(algorithm, case.bandit, case.sampling, case.policy).policy
    except (NoFixedPoint, NotConverged):
        return np.full(case.bandit.arms, np.inf)


def _object(answer: Any) -> Algorithm:
    """The algorithm, or an instance of the class that was given for it.

    Raises:
        ValueError: it lacks `k` or `update`.
    """
    it = answer() if isinstance(answer, type) else answer
    missing = [f"`{name}`" for name in ("k", "update") if not hasattr(it, name)]
    if missing:
        raise ValueError(f"that is a {type(it).__name__}, without {' and without '.join(missing)}")
    return it


def _uneven() -> list[tuple[Bandit, Floats, Floats, Floats]]:
    """World, policy and two behaviour policies, all of them far from even and from one another."""
    rng, found = np.random.default_rng(SEED), []
    for _ in range(WORLDS):
        reference, policy, first, second = 0.1 + 0.7 * rng.dirichlet(np.ones(ARMS), size=4)
        world = Bandit(rng.normal(size=ARMS), reference=reference, preference=_uneven_preference(rng))
        found.append((world, policy, first, second))
    return found


def _uneven_preference(rng: np.random.Generator) -> Floats:
    """Preferences that no score explains, (A, A), none of them near 0, 1/2 or 1 on purpose."""
    upper = np.triu(rng.uniform(0.1, 0.9, size=(ARMS, ARMS)), 1)
    return np.asarray(upper + np.tril(1 - upper.T, -1) + 0.5 * np.eye(ARMS))
