"""How do several algorithms compare?  Their verdicts in the same worlds, side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bandits import checks
from bandits.bandit import Bandit
from bandits.display import call
from bandits.samples import Algorithm, group_size
from bandits.verdict import table
from bandits.verdict.card import Report
from bandits.verdict.report import report


@dataclass(frozen=True, eq=False)
class Comparison:
    """The verdicts on several algorithms, made by `compare`.

    Example:
        >>> from bandits import CoPG, IPO, Offline
        >>> world = Bandit([1.0, 0.0, 0.3], reference=[0.3, 0.5, 0.2])
        >>> compare([CoPG(beta=0.5), IPO(beta=0.5)], world, Offline([0.6, 0.3, 0.1]))
        Comparison(CoPG=optimum, IPO=other)
    """

    reports: tuple[Report, ...]

    def __repr__(self) -> str:
        return call("Comparison", {each.algorithm: each.end for each in self.reports})

    def __str__(self) -> str:
        return table.side_by_side(self.reports)

    def _repr_html_(self) -> str:
        return table.side_by_side_html(self.reports)

    def draw(self) -> Any:
        """One figure (matplotlib's): where each ends, world by world, and its regret along the flow."""
        from bandits.verdict import portrait  # matplotlib takes a second to come

        return portrait.beside(self.reports)

    def to_json(self) -> str:
        """All of it as JSON text, every float with all its digits."""
        return json.dumps({"reports": [json.loads(each.to_json()) for each in self.reports]}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Comparison:
        """The comparison that `to_json` wrote.

        Raises:
            ValueError: it is no such text.
        """
        try:
            each = [json.dumps(one) for one in json.loads(text)["reports"]]
        except (TypeError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"text must be what Comparison.to_json() wrote, but {error!r}") from error
        return cls(tuple(Report.from_json(one) for one in each))


def compare(
    algorithms: list[Algorithm] | tuple[Algorithm, ...],
    bandit: Bandit | Sequence[Bandit] | None = None,
    sampling: Any = None,
) -> Comparison:
    """The verdicts on several algorithms in the same worlds under the same laws, as for `report`.

    Raises:
        ValueError: there are no algorithms, or as `report`.

    Example:
        >>> from bandits import Bandit, CoPG, IPO, Offline
        >>> world = Bandit([1.0, 0.0, 0.3], reference=[0.3, 0.5, 0.2])
        >>> found = compare([CoPG(beta=0.5), IPO(beta=0.5)], world, Offline([0.6, 0.3, 0.1]))
        >>> [each.end for each in found.reports]
        ['optimum', 'other']
    """
    if not isinstance(algorithms, list | tuple) or not algorithms:
        raise ValueError(
            f"algorithms must be a list of at least one algorithm, but it is {checks.shown(algorithms)}; "
            f"write compare([CoPG(beta=0.5), IPO(beta=0.5)])"
        )
    for i, each in enumerate(algorithms):
        try:
            group_size(each)
        except ValueError as error:
            raise ValueError(f"algorithms[{i}] is no algorithm: {error}") from error
    return Comparison(tuple(report(each, bandit, sampling) for each in algorithms))
