"""Which steps of sampled training are kept, and what of them?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bandits import checks, display
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.policy import kl
from bandits.simulation.step import Training


@dataclass(frozen=True, eq=False)
class Trace:
    """What was recorded of sampled training, made by `simulate`; the first record is the start.

    Attributes:
        steps: how many steps had been taken at each record, (records,).
        policies: probabilities, (records, runs, contexts..., A).
        values: V in units of reward, (records, runs, contexts...), where one was trained (DRO); else None.
        revision_policies: pi'(y2 | y1) at [..., y1, y2], probabilities, (records, runs, contexts..., A, A),
            where they were trained (SRPO); else None.
        names: of the arms, A strings, where the world has some.

    Example:
        >>> from bandits import Bandit
        >>> trace = Trace(steps=np.array([0, 10]), policies=np.array([[[0.5, 0.5]], [[0.75, 0.25]]]))
        >>> trace
        Trace(steps=[0 10], runs=1, last policy=[0.75 0.25])
        >>> trace.policy  # one run of two arms, where it stood at last
        array([[0.75, 0.25]])
        >>> trace.regret(Bandit([np.log(3.0), 0.0]), beta=1.0).round(4)  # the optimum is (3/4, 1/4)
        array([[0.1438],
               [0.    ]])
    """

    steps: NDArray[np.intp]
    policies: Floats
    values: Floats | None = None
    revision_policies: Floats | None = None
    names: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        steps, runs = display.numbers(self.steps), str(self.policies.shape[1])
        mean = display.numbers(self.policy.mean(axis=0))
        name = "last policy" if self.policies.shape[1] == 1 else "mean last policy"
        return display.call("Trace", {"steps": steps, "runs": runs, name: mean})

    def _repr_html_(self) -> str:
        """The mean policy of the runs at the first and the last records, in the first context."""
        runs, shape = self.policies.shape[1], self.policies.shape[2:-1]
        first = (0,) * len(shape)
        where = f", context {', '.join(map(str, first))} of {shape}" if shape else ""
        many = len(self.steps) > display.MOST
        half = display.MOST // 2
        shown = (
            [*range(half), *range(len(self.steps) - half, len(self.steps))]
            if many
            else range(len(self.steps))
        )
        heads = ["step", *display.arms(self.policies.shape[-1], self.names)]
        rows = [
            [str(self.steps[i]), *display.cells(self.policies[(i, slice(None), *first)].mean(axis=0))]
            for i in shown
        ]
        below = [f"{len(self.steps)} records, the first and the last {half} of them"] if many else []
        return display.page(
            [f"Trace, mean policy of {runs} run{'s' * (runs > 1)}{where}"], heads, rows, below
        )

    @property
    def policy(self) -> Floats:
        """Where the runs stood at the last record, (runs, contexts..., A)."""
        return self.policies[-1]

    def regret(self, bandit: Bandit, beta: float) -> Floats:
        """J* - J(pi) = beta KL(pi || pi*) along training, in units of reward, (records, runs, contexts...).

        Raises:
            ValueError: the world has no reward or other arms, or beta is not positive.
        """
        checks.instance(bandit, Bandit, "bandit", "the arguments of regret are bandit, beta")
        return bandit.regret(self.policies, beta)

    def kl(self, bandit: Bandit) -> Floats:
        """KL(pi || ref) along training, how far it went, in nats, (records, runs, contexts...).

        Raises:
            ValueError: the world has other arms.

        Example:
            >>> from bandits import Bandit
            >>> path = np.array([[0.5, 0.5], [1.0, 0.0]])[:, None]  # one run; its end costs log 2
            >>> Trace(np.array([0, 10]), path).kl(Bandit([1.0, 0.0]))[:, 0].round(4)
            array([0.    , 0.6931])
        """
        checks.instance(bandit, Bandit, "bandit", "the world whose reference is meant")
        return kl(bandit.checked_log_policy(self.policies, "policies"), bandit.log_reference)


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
