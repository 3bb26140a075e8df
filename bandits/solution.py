"""What did a solver find, and how sure is it?  The policy, and the evidence that it is one.

A `Solution` always carries its *undamped* residual: how far one full application of the map moves
the answer, not how short the last (damped) step was.  A solver that cannot answer raises, and what
it knows travels with the error:

    NoFixedPoint    there is none (or none at a finite point); `.solution` holds the limit policy
                    where that limit is unique
    NotConverged    there is one and the solver did not reach it; `.solution` holds the last iterate

Axes: `...` are contexts, `A` (last) are the arms.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

Array = np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class Solution:
    """A policy that a solver arrived at, with its certificate.  Its arrays are read-only.

    >>> print(Solution(log_policy=np.log([0.25, 0.75]), residual=0.0, unique=True, method="closed form"))
    Solution by closed form: residual 0, unique
      policy [0.25 0.75]
    """

    log_policy: Array | None  # (..., A)  -inf where the arm has no mass; None: no (unique) limit policy
    residual: Array | float  # (...)     the undamped residual, one per context
    stable: Array | bool | None = None  # (...)     does the motion come back when pushed? None: unknown
    unique: bool | None = None  # is it the only one? None: unknown
    method: str = ""  # "closed form", "newton", ...
    iterations: int = 0  # 0 for closed forms
    value: Array | None = None  # (...)     DRO's V
    revision_log_policy: Array | None = None  # (..., A, A)  SRPO's log pi'(y2 | y1): [..., y1, y2]
    log_ratio: Array | None = None  # (..., A)  log pi/ref + a constant, where known to more digits
    message: str = ""  # what a reader should know: limits, departures, remedies

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray) and (value.flags.writeable or not value.flags.owndata):
                frozen = value.copy()
                frozen.setflags(write=False)
                object.__setattr__(self, field.name, frozen)

    @property
    def policy(self) -> Array:
        """The probabilities exp(log_policy), shape (..., A).

        Raises:
            ValueError: there is no policy to speak of (`log_policy` is None).
        """
        if self.log_policy is None:
            raise ValueError(f"this solution holds no policy; {self.message or 'see its message'}")
        return np.exp(self.log_policy)

    def __str__(self) -> str:
        facts = [f"residual {np.max(self.residual, initial=0.0):.2g}"]
        if self.iterations:
            facts.append(f"{self.iterations} iterations")
        if self.stable is not None:
            facts.append("stable" if np.all(self.stable) else "not stable")
        if self.unique is not None:
            facts.append("unique" if self.unique else "not unique")
        lines = [f"Solution by {self.method or 'unnamed method'}: {', '.join(facts)}"]
        policy = "no policy" if self.log_policy is None else f"policy {_short(self.policy)}"
        return "\n  ".join([*lines, policy, *filter(None, [self.message])])


def _short(array: Array) -> str:
    return np.array2string(array, precision=4, suppress_small=True, threshold=12, prefix=" " * 9)


class NoFixedPoint(ValueError):
    """No fixed point exists; the message says why and what to do, `.solution` holds the limit, if any."""

    def __init__(self, message: str, solution: Solution) -> None:
        super().__init__(message)
        self.solution = solution

    def __reduce__(self) -> tuple:  # so that it crosses a process boundary with its solution
        return type(self), (str(self), self.solution)


class NotConverged(RuntimeError):
    """The solver stopped before its certificate held; `.solution` holds where it stood."""

    def __init__(self, message: str, solution: Solution) -> None:
        super().__init__(message)
        self.solution = solution

    def __reduce__(self) -> tuple:
        return type(self), (str(self), self.solution)
