"""What does a verdict hold?  Numbers as they were computed; how many digits are shown is decided at display.

A `Report` has one `Row` for each world and law.  It is frozen, its arrays are read-only, and it goes to JSON
and back without rounding: floats are written so that they are read back bit by bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

import numpy as np

from bandits.checks import Floats
from bandits.display import call, digits
from bandits.verdict import table
from bandits.verdict.ends import Attractor
from bandits.verdict.picture import Picture


@dataclass(frozen=True, eq=False, kw_only=True)
class Row:
    """The verdict in one world under one law; None: there is no such number here."""

    world: str
    sampling: str
    end: str  # "optimum", ..., see `bandits.verdict.targets`
    policy: Floats | None  # (A,)  where it ends, from the reference; where it stood if it does not rest
    regret: float | None = None  # J* - J there
    kl: float | None = None  # KL(pi || ref) there, in nats
    residual: float | None = None  # largest entry of the expected update there
    unique: bool = False  # does every start end here? by theory, else all that were followed
    attractors: tuple[Attractor, ...] = ()  # (policy, share of the uniform starts) of each isolated rest
    rate: float | None = None  # slowest rate of return to the end, 1 / time
    step: float | None = None  # largest learning rate at which descent stays there
    coverage: float | None = None  # of the arms by the samples, 0: not connected, 1: all pairs alike
    bias: float | None = None  # against grad J, 0: its direction everywhere, 1: nothing of it
    variance: float | None = None  # trace of the covariance of the update of max(k, 2) samples, labels drawn
    variance_rloo: float | None = None  # RLOO's at as many samples, with as long a mean update
    ess: float | None = None  # effective sample size of its weights, a share of the samples
    note: str = ""  # what else there is to say; several remarks are parted by "; "
    names: tuple[str, ...] | None = None  # of the arms, where the world has some

    def __post_init__(self) -> None:
        if self.policy is not None:
            object.__setattr__(self, "policy", _frozen(self.policy))
        object.__setattr__(self, "names", self.names and tuple(self.names))
        object.__setattr__(
            self, "attractors", tuple(Attractor(_frozen(one.policy), one.share) for one in self.attractors)
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Report:
    """The verdict on one algorithm, made by `report`; prints as a table, and as HTML in a notebook.

    Example:
        >>> from bandits import Bandit, CoPG, Offline, report
        >>> card = report(CoPG(beta=0.5), Bandit([1.0, 0.0]), Offline([0.5, 0.5]))
        >>> card
        Report(algorithm=CoPG, beta=0.5, end=optimum, kin=equal CoPG, rows=1)
        >>> Report.from_json(card.to_json()).rows[0].policy.round(4)  # pi* = sigma(1 / 0.5)
        array([0.8808, 0.1192])
    """

    algorithm: str
    beta: float | None
    inferred: bool  # was beta fitted to the ends, and not the algorithm's own or the caller's?
    rows: tuple[Row, ...]
    end: str  # what all rows share, else "depends"
    kin: str | None  # the nearest known algorithm by expected update over all worlds
    agreement: str | None  # with it: "equal", "proportional" or "near"
    scale: float | None  # the update is this many times the known one's
    distance: float | None  # what is left of the update beside it, 0 to 1
    equals: tuple[str, ...] = ()  # other known algorithms that are equal to it in all of these worlds
    blind: Mapping[str, bool] = field(default_factory=dict)  # what makes no difference to it
    unseen_arms: str = ""  # what happens to arms that are never sampled
    both_fall: str = ""  # whether both log-probabilities of a pair can fall
    loss_agrees: bool | None = None  # is minus the derivative of its loss its coefficient? None: it has none
    picture: Picture | None = None  # what `draw` shows: the flows of the first world

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(self.rows))
        object.__setattr__(self, "equals", tuple(self.equals))
        object.__setattr__(self, "blind", MappingProxyType(dict(self.blind)))

    def __repr__(self) -> str:
        kin = "none" if self.kin is None else f"{self.agreement} {self.kin}"
        parts = {"algorithm": self.algorithm, "beta": digits(self.beta), "end": self.end, "kin": kin}
        return call("Report", parts | {"rows": str(len(self.rows))})

    def __str__(self) -> str:
        return table.text(self)

    def _repr_html_(self) -> str:
        return table.html_page(self)

    def draw(self) -> Any:
        """One figure (matplotlib's) of the first world: flows, coverage, regret, variance beside RLOO's."""
        from bandits.verdict import portrait  # matplotlib takes a second to come

        return portrait.figure(self)

    def to_json(self) -> str:
        """All of it as JSON text, every float with all its digits; `Report.from_json` reads it back."""
        return json.dumps(_plain(self), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that `to_json` wrote.

        Raises:
            ValueError: it is no such text.
        """
        try:
            read = json.loads(text)
            rows = [Row(**_with_arrays(row)) for row in read.pop("rows")]
            drawn = read.pop("picture")
            return cls(rows=tuple(rows), picture=drawn and Picture(**drawn), **read)
        except (TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"text must be what Report.to_json() wrote, but {error!r}") from error


def _frozen(array: Any) -> Floats:
    copy = np.array(array, dtype=float)
    copy.flags.writeable = False
    return copy


def _with_arrays(row: dict[str, Any]) -> dict[str, Any]:
    attractors = tuple(Attractor(_frozen(policy), share) for policy, share in row["attractors"])
    return row | {"attractors": attractors}


def _plain(value: Any) -> Any:
    """What JSON can hold: records as objects, arrays as lists."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, Row | Report | Picture):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    return value
