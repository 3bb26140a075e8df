"""What is known of each algorithm, written a second time: one `Row` for each setting of its hyper-parameters.

The rows of `bandits.algorithms.copg` stand in `test_copg.py`, as `ROWS = {name: Row(...)}`; that of a class
at its defaults under its own name.  All common laws (`coefficient_laws`), the wrong twins, and the tests of
bad input, simulation and fixed points run over `every_row()`: whoever adds a row has added them all.

What can be asked of an algorithm is asked: `reads`, `k`, `contrastive`, whether it has a `loss`.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import bandits as b
from answer_key import Floats
from bandits.testing.enumeration import Case, stacked
from bandits.testing.reading import reads

Algorithm = Any


def size_of_rewards(algorithm: Algorithm, case: Case) -> float:
    """r, beta h and b: what a coefficient is made of before its terms cancel."""
    return 2 + np.abs(case.bandit.reward).max() + algorithm.beta * log_ratios(case)


def log_ratios(case: Case) -> float:
    """The largest |log pi/ref|, that of the revision policy on top."""
    h = np.abs(np.log(case.policy / case.bandit.reference)).max()
    if case.revision is not None:
        h += np.abs(np.log(case.revision / case.bandit.reference)).max()
    return h


def largest_weight(algorithm: Algorithm, case: Case) -> float:
    """The largest pi/mu of a sample, at least 1."""
    samples = stacked(algorithm, case)[2]
    return max(1.0, np.exp((samples.log_prob - samples.behavior_log_prob).max()))


def optimum(algorithm: Algorithm, case: Case) -> Floats:
    """pi* = ref exp(r / beta) / Z  (T1.1)."""
    weights = np.log(case.bandit.reference) + case.bandit.reward / algorithm.beta
    return np.exp(weights - np.logaddexp.reduce(weights))


def rewards(algorithm: Algorithm, case: Case) -> tuple[float, Floats]:
    """On-policy the update is grad (E_pi[r] - beta KL) itself  (T2.1)."""
    return 1.0, case.bandit.reward


WIDE = {"single_precision": "weights pi/mu are large, and so is the tolerance"}  # for `Row.blind`


@dataclass(frozen=True, kw_only=True)
class Row:
    """One algorithm on trial, and what theory says of it.

    Args:
        make: beta to the algorithm (A-LoL, which has none, takes the number as its clip).
        formula: the coefficient of each sample of one group, in the words of the paper.
        size: how large the terms of a coefficient are, before they cancel: what rounding is relative to.
        target: where it rests on a fixed law that connects all arms; None: see its own tests.
        climbs: on-policy its update is factor * grad (E_pi[score] - beta KL): (factor, score); None: not so.
        smooth: its loss, where it has one, has no kinks.
        settles: on a fixed law that shows every arm it comes to rest, in the interior.
        sees_offset: a constant added to every reward changes the expected update.
        zero_sum: the coefficients of a group sum to zero, though the algorithm is not `contrastive`.
        ends: what `report` calls its end "on-policy" and "elsewhere", that is on fixed laws that connect all
            arms, at beta = 1/2 in a Bradley-Terry world whose shares the data show; several where the world
            decides, nothing where it takes no such law.
        blind: names of twins that it cannot tell from itself, and why.
    """

    make: Callable[[float], Algorithm]
    formula: Callable[[Algorithm, b.Samples], list[float]]
    size: Callable[[Algorithm, Case], float] = size_of_rewards
    target: Callable[[Algorithm, Case], Floats] | None = None
    climbs: Callable[[Algorithm, Case], tuple[float, Floats]] | None = None
    smooth: bool = True
    settles: bool = True
    sees_offset: bool = True
    zero_sum: bool = False
    ends: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    blind: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_loss(self) -> bool:
        return hasattr(self.make(1.0), "loss")

    def reads(self, name: str) -> bool:
        """Whether the update looks at this field of the samples."""
        return name in reads(self.make(1.0))


@functools.cache
def every_row() -> dict[str, Row]:
    """All rows of all of `ALGORITHMS`, by name."""
    found: dict[str, Row] = {}
    for module in dict.fromkeys(cls.__module__.rpartition(".")[2] for cls in b.ALGORITHMS):
        rows = getattr(importlib.import_module(f"test_{module}"), "ROWS", None)
        if not rows:
            raise LookupError(f"bandits/algorithms/{module}.py has no ROWS in tests/test_{module}.py")
        twice = found.keys() & rows.keys()
        assert not twice, f"two rows are called {sorted(twice)}"
        found |= rows
    return found


def name_of(algorithm: Algorithm) -> str:
    """A test's name: no address of a function, so that every process collects the same tests."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(algorithm))


def row_of(algorithm: Algorithm) -> Row:
    """The row of the class at its defaults: its formula reads the hyper-parameters."""
    return every_row()[type(algorithm).__name__]
