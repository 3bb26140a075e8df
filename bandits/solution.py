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
from functools import partial
from typing import Any

import numpy as np

from bandits import display

Array = np.ndarray
WORDS = {True: "yes", False: "no", None: "not known"}
CONTINUUM = "continuum: other policies around rest as well, and the start decides"


@dataclass(frozen=True, eq=False, kw_only=True)
class Solution:
    """A policy that a solver arrived at, with its certificate.  Its arrays are read-only.

    Attributes:
        log_policy: log of the probabilities, (..., A); -inf where an arm has no mass; None: there is no
            (unique) limit policy.  `policy` has the probabilities themselves.
        residual: the undamped residual, (...): the largest entry of the expected update there.
        stable: True: it attracts all around; False: it repels; None: not known, or one point of a
            continuum, and then `message` says so; (...).
        unique: does every start within the reference's support end here? None: unknown.
        face: of a limit on the boundary, the arms that live, bool, (..., A); None: no arm dies.
        at_jump: it is held where the update jumps; `residual` is that of the conditions of optimality.
        method: "closed form", "newton", ...
        iterations: of the solver; 0 for closed forms.
        value: DRO's V, in units of reward, (...).
        revision_log_policy: SRPO's log pi'(y2 | y1) at [..., y1, y2], (..., A, A).
        log_ratio: log pi/ref + a constant, (..., A), where it is known to more digits than the policy.
        message: what a reader should know: limits, departures, remedies.
        names: of the arms, A strings, where the world that was asked about has some.

    Example:
        >>> found = Solution(log_policy=np.log([0.25, 0.75]), residual=0.0, unique=True, method="closed form")
        >>> found
        Solution(policy=[0.25 0.75], residual=0, unique=True, method='closed form')
        >>> print(found)
        Solution by closed form: residual 0, unique
          policy [0.25 0.75]
    """

    log_policy: Array | None
    residual: Array | float
    stable: Array | bool | None = None
    unique: bool | None = None
    face: Array | None = None
    at_jump: bool = False
    method: str = ""
    iterations: int = 0
    value: Array | None = None
    revision_log_policy: Array | None = None
    log_ratio: Array | None = None
    message: str = ""
    names: tuple[str, ...] | None = None  # a solver knows no world: `fixed_point` hands them on

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

    @property
    def _all_stable(self) -> bool | None:
        flags = np.ravel(np.asarray(self.stable, dtype=object)).tolist()
        return None if None in flags else all(flags)

    def __repr__(self) -> str:
        parts = {"policy": "None" if self.log_policy is None else display.numbers(self.policy)}
        parts["residual"] = display.digits(self._largest_residual)
        known = {"stable": self._all_stable, "unique": self.unique}
        parts |= {name: str(x) for name, x in known.items() if x is not None}
        parts |= {name: repr(x) for name in ("method", "message") if (x := getattr(self, name))}
        return display.call("Solution", parts)

    def __str__(self) -> str:
        lines = [f"Solution by {self.method or 'unnamed method'}: {', '.join(self._facts())}", self._words()]
        return "\n  ".join([*lines, *filter(None, [self.message])])

    def _repr_html_(self) -> str:
        above = [f"Solution by {self.method or 'unnamed method'}: {', '.join(self._facts())}"]
        if self.log_policy is None:
            return display.page([*above, "no policy"], [], [], filter(None, [self.message]))
        heads, rows = display.policies(self.policy, self.names)
        shape = self.policy.shape[:-1]
        residual = np.broadcast_to(self.residual, shape)
        stable = np.broadcast_to(np.asarray(self.stable, dtype=object), shape)
        for at, row in zip(display.contexts(shape), rows, strict=True):
            row += [display.digits(residual[at]), WORDS[stable[at]]]
        dead = "arms that do not live have no mass at all" if self.face is not None else ""
        below = filter(None, [*display.rest(shape), dead, self.message])
        return display.page(above, [*heads, "residual", "stable"], rows, below)

    @property
    def _largest_residual(self) -> float:
        return float(np.max(self.residual, initial=0.0))

    def _facts(self) -> list[str]:
        """What is known of it, in words."""
        facts = [f"residual {self._largest_residual:.2g}"]
        if self.iterations:
            facts.append(f"{self.iterations} iterations")
        facts += [{True: "stable", False: "not stable", None: ""}[self._all_stable]]
        if self.unique is not None:
            facts.append("unique" if self.unique else "not unique")
        return [*filter(None, facts)]

    def _words(self) -> str:
        """The policy, by the names of the arms if they have some."""
        if self.log_policy is None:
            return "no policy"
        if self.names is None or self.policy.ndim > 1:
            return f"policy {_short(self.policy)}"
        shown = zip(display.arms(len(self.policy), self.names), display.cells(self.policy), strict=True)
        return f"policy {', '.join(f'{name} {share}' for name, share in shown)}"


def _short(array: Array) -> str:
    return np.array2string(array, precision=4, suppress_small=True, threshold=12, prefix=" " * 9)


def gathered(each: list[Solution], shape: tuple[int, ...]) -> Solution:
    """One `Solution` of all contexts."""
    if not shape:
        return each[0]

    def stacked(values: list[Array | None]) -> Array | None:
        known = [v for v in values if v is not None]
        return np.stack(known).reshape(*shape, -1) if len(known) == len(values) else None

    flags = [None if one.stable is None else bool(one.stable) for one in each]
    return Solution(
        log_policy=stacked([one.log_policy for one in each]),
        log_ratio=stacked([one.log_ratio for one in each]),
        residual=np.reshape([one.residual for one in each], shape),
        stable=together(flags, shape),
        unique=_all_known([one.unique for one in each]),
        face=_faces(each, shape),
        at_jump=any(one.at_jump for one in each),
        method="; ".join(dict.fromkeys(one.method for one in each)),
        iterations=max(one.iterations for one in each),
        message="; ".join(
            sorted(dict.fromkeys(one.message for one in each if one.message), key=_continuum_first)
        ),
    )


def _continuum_first(message: str) -> bool:
    return not message.startswith("continuum")


def _faces(each: list[Solution], shape: tuple[int, ...]) -> Array | None:
    if all(one.face is None for one in each):
        return None
    faces = [one.policy > 0 if one.face is None else one.face for one in each]
    return np.reshape(faces, (*shape, -1))


def flags_of(attracts: Array, repels: Array) -> list[bool | None]:
    return [True if a else False if r else None for a, r in zip(attracts, repels, strict=True)]


def together(flags: list[bool | None], shape: tuple[int, ...]) -> Array | bool | None:
    """The flags of all contexts, (...); an array of objects where some are None and some are not."""
    if len(set(flags)) == 1 and None in flags:
        return None
    kind = object if None in flags else bool
    return np.array(flags, dtype=kind).reshape(shape) if shape else flags[0]


def _all_known(flags: list[bool | None]) -> bool | None:
    return None if None in flags else all(flags)


class NoFixedPoint(ValueError):
    """No fixed point exists; the message says why and what to do, `.solution` holds the limit, if any.

    Example: an unbeaten arm drives DPO to a vertex (T5.3); the limit is told.

        >>> from bandits import DPO, Bandit, Dataset, fixed_point
        >>> try:
        ...     fixed_point(DPO(beta=1.0), Bandit([1.0, 0.0]), Dataset([(0, 1)]))
        ... except NoFixedPoint as error:
        ...     print(error.solution.policy)
        [1. 0.]
    """

    def __init__(self, message: str, solution: Solution) -> None:
        super().__init__(message)
        self.solution = solution

    def __reduce__(self) -> tuple[Any, ...]:  # so that it crosses a process boundary with its solution
        return type(self), (str(self), self.solution)


class NotConverged(RuntimeError):
    """The motion does not come to rest, or the solver stopped before its certificate held.

    `.solution` holds where it stood, `.reason` what it did:

        runs away    logits move apart for ever; `.arms` are those that lose their mass
        slides       it is held at a jump of the update, which is zero on neither side; `.arms` stand there
        circles      it comes back to where it was; `.period`, and `.cycle`, policies of one round (points, A)
        unfinished   none of these within the steps allowed

    Example: without a KL the worse arm loses its mass for ever, ever more slowly.

        >>> from bandits import Bandit, Offline, Update, fixed_point
        >>> class TowardsTheBetter:
        ...     k = 2
        ...     def update(self, samples):
        ...         return Update(log_prob=samples.reward - samples.reward[..., ::-1])
        >>> try:
        ...     fixed_point(TowardsTheBetter(), Bandit([1.0, 0.0]), Offline([0.5, 0.5]))
        ... except NotConverged as error:
        ...     print(error.reason)
        unfinished
    """

    def __init__(
        self,
        message: str,
        solution: Solution,
        reason: str = "unfinished",
        *,
        arms: Array | None = None,
        period: float | None = None,
        cycle: Array | None = None,
    ) -> None:
        super().__init__(message)
        self.solution, self.reason = solution, reason
        self.arms, self.period, self.cycle = arms, period, cycle

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), arms=self.arms, period=self.period, cycle=self.cycle), (
            str(self),
            self.solution,
            self.reason,
        )
