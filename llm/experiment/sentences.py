"""What can be said of the methods?  Sentences, each with the numbers that say it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llm.experiment.compare import QUARTER, TARGETS, by_data
from llm.experiment.plan import METHODS
from llm.experiment.summary import Summary, mean_rise, reached
from llm.intervals import Interval


def sentences(found: Summary) -> list[str]:
    """What can be said of the methods, each with the numbers that say it, as a Markdown list."""
    seeds, (on, off) = len(found["seeds"]), by_data(found["methods"])
    grids = any(len(method["points"]) > 1 for method in found["methods"].values())
    said = [_compared(found, "pairs", seeds)] if found.get("pairs") else []
    many = f"mean of {seeds} seeds" if seeds > 1 else "one seed"
    what = "What a method's grid of β does" if grids else "At one β"
    what = f"{what} (rise over the reference, {many})"
    said += [f"{what}: {_along(found, on)}."] if on else []
    if off:
        first = "The same" if on else f"{what},"
        said.append(f"{first} learned from samples of a bad policy: {_along(found, off)}.")
    said += [_lengths(found)] if "reference_words" in found else []
    said += [_compared(found, key, seeds) for key in ("pairs_off", "pairs_data") if found.get(key)]
    said += _accuracy(found["accuracy"]) if all(found["accuracy"]) else []
    shares = reached(found, on) if seeds > 1 else []  # of one seed the intervals are as wide as the range
    if shares:
        told = " to ".join(dict.fromkeys(map(_percent, (shares[0], shares[-1]))))
        where = f"{TARGETS[0]:g} nats or more have {told} of the rise that is possible at their KL"
        said.append(f"Policies that went {where} (the least and the most of {len(shares)}).")
    edges = {name: found["methods"][name]["at_edge"] for name in on if found["methods"][name]["at_edge"]}
    if edges and grids:
        told = ", ".join(f"{name} in {count} of {seeds}" for name, count in edges.items())
        said.append(
            f"The chosen β lies at the edge of the grid, so that a better one may lie beyond it: {told}."
        )
    return [f"- {each}" for each in said]


OF = {
    "pairs": "differences between two methods",
    "pairs_off": "differences between two methods on samples of a bad policy",
    "pairs_data": "differences between a method and itself on samples of a bad policy",
}
WHOSE = {"reference": "a sample of the reference", "others": "what they wrote for another prompt"}


def _accuracy(each: list[dict[str, Any]]) -> list[str]:
    """How often the learned reward prefers what people wrote, by whose the other text is."""
    told = []
    for name, whose in WHOSE.items():
        shares = [seed["accuracy_against"].get(name) for seed in each if "accuracy_against" in seed]
        if len(shares) < len(each) or None in shares:
            continue
        said = ", ".join(_percent(Interval(x["mean"], x["low"], x["high"])) for x in shares)
        many = " (seed by seed)" if len(each) > 1 else ""
        told.append(f"The learned reward prefers what people wrote to {whose} in {said}{many}.")
    return told


def _percent(share: Interval) -> str:
    return f"{share.mean:.0%} [{100 * share.low:.0f}, {100 * share.high:.0f}]"


def _along(found: Summary, methods: Sequence[str]) -> str:
    """The least and the largest mean rise along each grid."""
    rises = {name: _rises(found["methods"][name]["points"], found["reference"]) for name in methods}
    return _ranges(rises, "+.2f")


def _ranges(values: Mapping[str, Sequence[float]], form: str) -> str:
    """From the least to the most of each that has any.

    Example:
        >>> _ranges({"CoPG": [0.2, 0.1], "DPO": [], "IPO": [0.3]}, "+.1f")
        'CoPG +0.1 to +0.2, IPO +0.3'
    """
    ends = {
        name: dict.fromkeys(f"{end:{form}}" for end in (min(x), max(x))) for name, x in values.items() if x
    }
    return ", ".join(f"{name} {' to '.join(each)}" for name, each in ends.items())


def _lengths(found: Summary) -> str:
    """How long answers are: a reward without its length cannot be read."""
    start, words = np.mean(found["reference_words"]), {}
    for name, method in found["methods"].items():
        words[name] = [float(np.mean(p["words"])) for p in method["points"] if not p["diverged"]]
    return f"Words of an answer: the reference {start:.1f}, {_ranges(words, '.1f')}."


def _compared(found: Summary, key: str, seeds: int) -> str:
    """How many differences at equal KL are what, and the largest of them."""
    pairs = found[key]
    count = Counter(each["verdict"] for each in pairs)
    most = max(pairs, key=lambda each: abs(each["difference"]["mean"]))
    d, rise = most["difference"], found["rise"]
    many = f"{count['differ']} {'is' if count['differ'] == 1 else 'are'}" if count["differ"] else "none is"
    differ = f"{many} more than chance" + (f" ({exceptions(pairs)})" if count["differ"] else "")
    return (
        f"At equal KL, of {len(pairs)} {OF[key]} (95 % over {seeds} seeds "
        f"and {found['prompts']} prompts, Holm's correction) {differ}, {count['equal']} are equal to within "
        f"a quarter of the rise from the reference to the best ({QUARTER * rise:.2f}), and "
        f"{count['not resolved']} are not resolved. The largest is {most['one']} − {most['other']} at "
        f"{most['kl']:g} nats, {d['mean']:+.2f} [{d['low']:+.2f}, {d['high']:+.2f}]."
    )


def exceptions(pairs: Sequence[dict[str, Any]]) -> str:
    """The differences that are more than chance, by name, with the reason where theory has one.

    Example:
        >>> d = {"one": "CoPG-off", "other": "PG0-off", "verdict": "differ"}
        >>> exceptions([d | {"kl": 0.5}, d | {"kl": 1.0}])
        'CoPG-off − PG0-off at 0.5, 1 nats; PG0-off: b = 0 has another end, T2.5'
    """
    at: dict[tuple[str, str], list[str]] = {}
    for each in pairs:
        if each["verdict"] == "differ":
            at.setdefault((each["one"], each["other"]), []).append(f"{each['kl']:g}")
    told = [f"{one} − {other} at {', '.join(kls)} nats" for (one, other), kls in at.items()]
    names = dict.fromkeys(name for both in at for name in both)
    return "; ".join([*told, *(f"{name}: {METHODS[name].why}" for name in names if METHODS[name].why)])


def _rises(points: list[dict[str, Any]], reference: list[float]) -> list[float]:
    """The mean rises along a grid, of what diverged in no seed."""
    rises = (mean_rise(p["reward"], reference) for p in points)
    return [rise for rise in rises if rise is not None]
