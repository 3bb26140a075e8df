"""Which steps of sampled training are kept, and what of them?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandits import checks
from bandits.checks import Floats
from bandits.simulation.step import Training


@dataclass(frozen=True, eq=False)
class Trace:
    """What was recorded of sampled training; the first record is the start."""

    steps: NDArray[np.intp]  # (records,)
    policies: Floats  # (records, runs, contexts..., A)
    values: Floats | None = None  # (records, runs, contexts...)  V, where one was trained (DRO)
    revision_policies: Floats | None = (
        None  # (records, runs, contexts..., A, A)  pi'(y2 | y1) at [..., y1, y2] (SRPO)
    )

    @property
    def policy(self) -> Floats:
        """Where the runs stood at the last record, (runs, contexts..., A)."""
        return self.policies[-1]


def recorded_steps(record: int | Sequence[int] | None, steps: int) -> NDArray[np.intp]:
    """Steps to record, beginning with 0.

    Raises:
        ValueError: they do not increase, or go beyond the run.
    """
    if record is None:
        return np.array([0, steps])
    if isinstance(record, int | np.integer):
        every = checks.count(record, "record")
        if every > steps:
            raise ValueError(f"record must not go beyond the run of {steps} steps, but record = {every}")
        return np.arange(0, steps + 1, every)
    asked = checks.as_numbers(record, "record")
    if asked.ndim != 1 or asked.dtype.kind not in "iu":
        raise ValueError(
            f"record must be a number of steps or a sequence of them, but record = {checks.shown(record)}"
        )
    checks.reject_first(asked < 0, asked, "record", "steps, 0 or more", "step 0 is the start")
    checks.reject_first(asked > steps, asked, "record", f"at most {steps}, the last step", "raise steps")
    later = np.diff(asked, prepend=-1) <= 0
    checks.reject_first(later, asked, "record", "increasing", "sort the steps and drop repeats")
    return np.union1d([0], asked)


class Recorder:
    """Keeps the policies of the steps asked for."""

    def __init__(self, steps: NDArray[np.intp]) -> None:
        self.steps = steps
        self.records: list[tuple[Floats, Floats | None, Floats | None]] = []
        self.next = 0

    def note(self, step: int, training: Training) -> None:
        """Record `step`, which is the next to be recorded."""
        training.check(step)
        value = None if training.value is None else training.value.values.copy()
        self.records.append((training.policy, value, training.revision_policy))
        left = self.steps[len(self.records) :]
        self.next = int(left[0]) if len(left) else -1

    def trace(self) -> Trace:
        """All records, stacked."""
        policies, values, revisions = zip(*self.records, strict=True)
        return Trace(self.steps, np.stack(policies), _stacked(values), _stacked(revisions))


def _stacked(arrays: Sequence[Floats | None]) -> Floats | None:
    present = [array for array in arrays if array is not None]
    return np.stack(present) if present else None
