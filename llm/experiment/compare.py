"""Is one method better than another, and how far are both from the best?

At the same KL: along its grid a method's policies are joined by lines in sqrt(KL), prompt by prompt
(`at_kl`), and the difference of two methods has an interval for other seeds and other prompts (`two_level`),
with Holm's correction for all that are looked at. A difference is one of three:

    differ          its p-value, corrected, is below .05
    equal           the interval lies within a quarter of the rise from reference to best, to each side of 0
    not resolved    else

The gap of a policy is the reward that the best policy of its KL has more: J* - J at the beta whose optimum
has this KL (T1.2). It needs no beta of the method's own, so that all have one. Where pi* is not known any
more the best of n stands for it, which is a policy too: the gap is then at least so large, and hardly larger
(T9.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from typing import Any

import numpy as np

from bandits.checks import Floats
from llm.experiment.record import Policy, Record
from llm.figures import known, points_of
from llm.intervals import Interval
from llm.paired import Difference, at_kl, holm, two_level

TARGETS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # KL at which methods are compared, where both have it
QUARTER = 0.25  # of the rise: what is called resolved
OFF = "-off"
REFERENCE = "reference"


@dataclass(frozen=True)
class Pair:
    """Two methods at one KL: by how much the first has more reward."""

    kl: float
    one: str
    other: str
    difference: Difference
    corrected: float  # Holm's p-value
    verdict: str


def rise(records: Sequence[Record]) -> float:
    """From the reference to the best mean reward of any policy, the mean over seeds."""
    found = []
    for record in records:
        best = max(each.reward.mean() for each in policies(record))
        found.append(best - record.reference.mean())
    return float(np.mean(found))


def policies(record: Record, method: str | None = None) -> list[Policy]:
    """Those that did not diverge, of one method or of all."""
    names = record.methods if method is None else [method]
    return [each for name in names for each in record.methods[name] if each is not None]


def by_data(methods: Iterable[str]) -> tuple[list[str], list[str]]:
    """Those that learn from the reference's samples or their own, and those from a bad policy's."""
    names = list(methods)
    return [name for name in names if OFF not in name], [name for name in names if OFF in name]


def groups(methods: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Which differences are looked at together: of methods on the same data, and of a method on two.

    Example:
        >>> groups(["CoPG", "DPO", "CoPG-off"])["pairs"], groups(["CoPG", "DPO", "CoPG-off"])["pairs_data"]
        ([('CoPG', 'DPO')], [('CoPG', 'CoPG-off')])
    """
    on, off = by_data(methods)
    both = [(name.removesuffix(OFF), name) for name in off if name.removesuffix(OFF) in on]
    return {"pairs": [*combinations(on, 2)], "pairs_off": [*combinations(off, 2)], "pairs_data": both}


def pairs(records: Sequence[Record], couples: Sequence[tuple[str, str]]) -> list[Pair]:
    """These differences of two methods at every KL that both have in every seed.

    Raises:
        ValueError: there is one seed only.
    """
    tables = {}
    for kl in TARGETS:
        at = {name: _at(records, name, kl) for name in dict.fromkeys(chain.from_iterable(couples))}
        for one, other in couples:
            d = at[one] - at[other]
            if not np.isnan(d).any():
                tables[kl, one, other] = two_level(d)
    if not tables:
        return []
    corrected = holm([found.p for found in tables.values()])
    quarter = QUARTER * rise(records)
    return [
        Pair(*key, found, float(p), verdict(found, float(p), quarter))
        for (key, found), p in zip(tables.items(), corrected, strict=True)
    ]


def wins(records: Sequence[Record], one: str, other: str) -> Interval | None:
    """How often the first one has the higher reward, a tie counting one half, each at its chosen beta.

    None where all of a method have diverged in some seed.
    """
    rows = []
    for record in records:
        its, theirs = (_chosen_reward(record, name) for name in (one, other))
        if its is None or theirs is None:
            return None
        rows.append(0.5 + 0.5 * np.sign(its - theirs))
    found = _over(rows)
    return Interval(found.mean, found.low, found.high)


def _chosen_reward(record: Record, name: str) -> Floats | None:
    if name == REFERENCE:
        return record.reference
    place = record.chosen(name)
    policy = None if place is None else record.methods[name][place]
    return None if policy is None else policy.reward


def _over(rows: Sequence[Floats]) -> Difference:
    """An interval over seeds and prompts; of one seed over prompts alone, as if it had come twice."""
    return two_level(np.stack(rows if len(rows) > 1 else [*rows, *rows]))


def verdict(found: Difference, corrected: float, quarter: float) -> str:
    """differ, equal or not resolved.

    Example:
        >>> verdict(Difference(0.0, -0.2, 0.2, 1.0), 1.0, 0.1)
        'not resolved'
    """
    if corrected < 0.05:
        return "differ"
    return "equal" if max(abs(found.low), abs(found.high)) <= quarter else "not resolved"


def _at(records: Sequence[Record], method: str, kl: float) -> Floats:
    """The method's reward at one KL, (seeds, prompts); NaN where it has no such policy."""
    found = []
    for record in records:
        ends = policies(record, method)
        if ends:
            kls, rewards = ([getattr(each, name) for each in ends] for name in ("log_ratio", "reward"))
            found.append(at_kl(kls, rewards, kl))
        else:
            found.append(np.full(len(record.reference), np.nan))
    return np.stack(found)


def gap(records: Sequence[Record], method: str, place: int) -> Difference | None:
    """The gap of a method at one place of its grid; None where the frontier is not known at its KL.

    Both as rises over the reference: the policy's over its sample with the same noise, the frontier's over
    the mean of all its samples, at the prompts where it was looked for.
    """
    rows = []
    for record in records:
        policy = record.methods[method][place]
        most = frontier_of(record.possible)
        if policy is None:
            return None
        h = policy.log_ratio[: record.judged]
        if not most[0][0] <= h.mean() <= most[0][-1]:
            return None
        rise = (policy.reward - record.reference)[: record.judged]
        rows.append(_chord(*most, h) - rise)
    return _over(rows)


def _chord(kl: Floats, rises: Floats, log_ratio: Floats) -> Floats:
    """The frontier's rise at the policy's KL, with what each prompt brings to that, (prompts,)."""
    mean = float(log_ratio.mean())
    i = int(np.clip(np.searchsorted(kl, mean), 1, len(kl) - 1))
    slope = (rises[i] - rises[i - 1]) / (kl[i] - kl[i - 1])
    return np.asarray(rises[i - 1] + slope * (log_ratio - kl[i - 1]))


def frontier_of(possible: Mapping[str, Any]) -> tuple[Floats, Floats]:
    """KL and rise over the reference of pi* as far as it is known, then of the best of n, KL rising."""
    best = points_of(possible["best_of_n"], "n")
    curve = [(kl, reward) for kl, reward, _ in known(possible)]
    last = max((kl for kl, _ in curve), default=0.0)
    further = [(kl, reward) for kl, reward, _ in best if kl > last]
    kl, rewards = np.array(sorted([best[0][:2], *curve, *further])).T
    return kl, rewards - best[0][1]


def at_edge(records: Sequence[Record], method: str) -> int:
    """In how many seeds the chosen beta is the first or the last of the grid."""
    places = [record.chosen(method) for record in records]
    return sum(place in (0, len(records[0].methods[method]) - 1) for place in places)
