"""What is kept of the experiment?  The numbers that its figures, tables and sentences are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import permutations
from typing import Any

import numpy as np

from bandits.checks import Floats
from llm.experiment import compare
from llm.experiment.plan import METHODS, betas_of
from llm.experiment.record import Policy, Record
from llm.intervals import Interval
from llm.rewards import length

Summary = dict[str, Any]


def summary(records: Sequence[Record]) -> Summary:
    """Of all seeds; `pairs` only where there are several."""
    first = records[0]
    names = [name for name in METHODS if all(name in record.methods for record in records)]
    several = len(records) > 1
    return {
        "truth": first.truth,
        "plan": asdict(first.plan),
        "seeds": [record.seed for record in records],
        "made": [record.made for record in records],
        "prompts": len(first.reference),
        "reference": [float(record.reference.mean()) for record in records],
        "reference_rule": [_mean(record.reference_rule) for record in records],
        "reference_words": [_mean(_words([row["reference"] for row in record.asked])) for record in records],
        "accuracy": [record.accuracy for record in records],
        "rise": compare.rise(records),
        "methods": {name: _method(records, name) for name in names},
        "possible": [record.possible for record in records],
        "wins": _wins(records, [compare.REFERENCE, *names]),
        "revisions": {name: _revised(records, name) for name in names},
        **{
            key: [asdict(each) for each in compare.pairs(records, couples)]
            for key, couples in compare.groups(names).items()
            if several
        },
    }


def _method(records: Sequence[Record], name: str) -> Summary:
    """Along its grid, and along training at the beta that each seed chose."""
    grid = betas_of(records[0].plan, name)
    places = [record.chosen(name) for record in records]
    return {
        "chosen": [None if place is None else grid[place] for place in places],
        "at_edge": compare.at_edge(records, name),
        "rates": [next((end.rate for end in compare.policies(record, name)), None) for record in records],
        "points": [_point(records, name, i, beta) for i, beta in enumerate(grid)],
        "curves": [_curve(record, name) for record in records],
    }


def _wins(records: Sequence[Record], names: Sequence[str]) -> list[Summary]:
    """Of every two policies, each at its chosen beta."""
    found = [(one, other, compare.wins(records, one, other)) for one, other in permutations(names, 2)]
    return [{"one": one, "other": other, **asdict(share)} for one, other, share in found if share is not None]


def _revised(records: Sequence[Record], name: str) -> list[list[float]]:
    """Mean rewards of answers and their revisions at the chosen beta, seed by seed; empty if nobody asked."""
    places = [(record, record.chosen(name)) for record in records]
    ends = [record.methods[name][place] for record, place in places if place is not None]
    return [end.revisions for end in ends if end is not None and end.revisions]


def _point(records: Sequence[Record], name: str, place: int, beta: float) -> Summary:
    """One beta: KL, reward, what the rule thinks, and length, seed by seed; None has diverged."""
    ends = [record.methods[name][place] for record in records]
    gap = compare.gap(records, name, place)

    def each(of: Callable[[Policy], Any]) -> list[float | None]:
        return [None if end is None else _mean(of(end)) for end in ends]

    return {
        "beta": beta,
        "kl": each(lambda end: end.log_ratio),
        "reward": each(lambda end: end.reward),
        "rule": each(lambda end: end.rule),
        "words": each(lambda end: _words(end.texts)),
        "diverged": sum(end is None for end in ends),
        "gap": None if gap is None else asdict(gap),
    }


def _curve(record: Record, name: str) -> Summary:
    """Step and rise over the reference along training, on the watched prompts."""
    place = record.chosen(name)
    chosen = None if place is None else record.methods[name][place]
    entries = [] if chosen is None else [entry for entry in chosen.log if "eval_rise" in entry]
    return {"step": [e["step"] for e in entries], "rise": [e["eval_rise"] for e in entries]}


def reached(found: Summary, methods: Sequence[str]) -> list[Interval]:
    """What share of the rise that is possible at its KL each policy has, where that is known and some KL.

    1 - gap / rise of the frontier, both at the prompts where the frontier was looked for, from the least.
    """
    shares = []
    for point in (p for name in methods for p in found["methods"][name]["points"] if p["gap"]):
        if np.mean(point["kl"]) < compare.TARGETS[0]:
            continue  # of next to nothing a share is noise
        each = zip(point["kl"], found["possible"], strict=True)
        most = float(np.mean([np.interp(kl, *compare.frontier_of(possible)) for kl, possible in each]))
        shares.append(Interval(*(1 - point["gap"][name] / most for name in ("mean", "high", "low"))))
    return sorted(shares, key=lambda share: share.mean)


def mean_rise(rewards: list[float | None], reference: list[float]) -> float | None:
    """The mean over seeds of the rise over the reference; None where one has diverged."""
    each = [x - its for x, its in zip(rewards, reference, strict=True) if x is not None]
    return sum(each) / len(each) if len(each) == len(reference) else None


def _words(texts: Sequence[str]) -> Floats:
    return length(texts, texts, None)


def _mean(values: Any) -> float | None:
    return None if values is None else float(np.mean(values))
