"""Which worlds and samplers put an algorithm on trial?  None of them even, none symmetric.

A fault hides where things are equal: with a uniform reference a loss whose reference is swapped passes.  The
worlds differ in the reference (the best answer is the rarest), in the lengths, in the scale of the rewards
(0.1, 1, 10), and in the preferences: Bradley-Terry of the rewards, deterministic, cyclic.  In the last one
the sampling graph is not connected.  Every world has all that an algorithm may look at.

The five laws of a world: on-policy, one skewed sampler, two different ones, a joint law of pairs that is no
product, and a finite data set.  An algorithm gets those that its group size allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from math import comb
from typing import Any, NamedTuple

import numpy as np

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Algorithm, group_size
from bandits.sampling.rules import Dataset, Offline, OnPolicy, Pairs, Sampling, as_sampling

MOST_GROUPS = 10**5  # groups of arms that one sum may visit: a verdict takes thousands of sums
ODDS = np.log([1.0, 2.0, 6.0])  # rewards whose Bradley-Terry shares 1/3, 1/4, 1/7 a small data set can show
SKEW = 2.0  # log of the odds of the first arm against the last, where somebody samples
EVERY_PAIR = 8  # arms up to which the data compare all pairs; beyond, each arm with the next two
FINEST = 24  # comparisons of a pair, about: a share of wins is rounded to this
ISLANDS = "islands"  # the world whose sampling graph is not connected


class World(NamedTuple):
    """A world by name."""

    name: str
    bandit: Bandit


class Trial(NamedTuple):
    """A world and who samples there, by name."""

    world: str
    law: str
    bandit: Bandit
    sampling: Sampling


def adversarial_worlds() -> list[World]:
    """Six worlds of three arms, where any law may sample, and one of four whose laws are islands.

    Example:
        >>> [world.name for world in adversarial_worlds()][:4]
        ['uneven reference', 'uneven lengths', 'small rewards', 'large rewards']
    """
    ladder = [[0.5, 1.0, 1.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.5]]
    wheel = [[0.5, 0.8, 0.35], [0.2, 0.5, 0.9], [0.65, 0.1, 0.5]]
    given: list[tuple[str, Floats, Any, list[float], list[float]]] = [
        ("uneven reference", ODDS, None, [0.6, 0.3, 0.1], [3, 4, 5]),
        ("uneven lengths", ODDS[[1, 0, 2]], None, [0.3, 0.5, 0.2], [2, 40, 9]),
        ("small rewards", ODDS / 10, None, [0.5, 0.2, 0.3], [5, 3, 8]),
        ("large rewards", 10 * ODDS[[0, 2, 1]], None, [0.55, 0.1, 0.35], [4, 6, 3]),
        ("deterministic", ODDS[[2, 0, 1]], ladder, [0.2, 0.35, 0.45], [7, 2, 3]),
        ("cyclic", ODDS[[1, 2, 0]], wheel, [0.45, 0.2, 0.35], [3, 9, 4]),
        (ISLANDS, np.log([1.0, 3.0, 2.0, 8.0]), None, [0.4, 0.1, 0.3, 0.2], [3, 6, 2, 4]),
    ]
    return [
        World(name, Bandit(r, preference=P, reference=ref, length=tokens, desirable=_labels(len(ref))))
        for name, r, P, ref, tokens in given
    ]


def _labels(arms: int) -> Floats:
    """P(label 1) of each arm alone: uneven, and not in the order of the rewards."""
    return np.array([0.7, 0.2, 0.55, 0.35])[:arms]


def trials(
    algorithm: Algorithm,
    bandit: Bandit | Sequence[Bandit] | None = None,
    sampling: Any = None,
) -> list[Trial]:
    """Every (world, law) of a report: the given ones, the adversarial worlds, the laws that fit.

    Raises:
        ValueError: a world has several prompts, it has too many groups of arms to enumerate, or a given law
            does not fit.
    """
    k = group_size(algorithm)
    worlds = adversarial_worlds() if bandit is None else _given_worlds(bandit)
    if bandit is None and sampling is not None:
        worlds = [world for world in worlds if world.name != ISLANDS]
    for world in worlds:
        refuse_large(type(algorithm).__name__, world.bandit.arms, k)
    found = []
    for name, one in worlds:
        laws = _laws(algorithm, name, one) if sampling is None else _given_laws(sampling)
        found += [Trial(name, law, one, rule) for law, rule in laws.items()]
    return found


def refuse_large(name: str, arms: int, k: int) -> None:
    """Refuse a world in which one sum would take too long for a verdict.

    Raises:
        ValueError: there are more than `MOST_GROUPS` groups of k arms.
    """
    count = comb(arms + k - 1, k)
    if count > MOST_GROUPS:
        raise ValueError(
            f"bandit must be small enough to enumerate, but it has {arms} arms, {count:.3g} different groups "
            f"of {name}'s k = {k}; a report visits them thousands of times and allows {MOST_GROUPS}: take "
            f"fewer arms or a smaller k, or ask fixed_point(...) or simulate(...) one question"
        )


def _given_worlds(bandit: Bandit | Sequence[Bandit]) -> list[World]:
    several = list(bandit) if isinstance(bandit, Sequence) else [bandit]
    if not several:
        raise ValueError("bandit must be a Bandit or a sequence of them, but it is empty; None takes ours")
    for one in several:
        checks.instance(one, Bandit, "bandit", "the order of arguments is algorithm, bandit, sampling")
        if one.contexts:
            raise ValueError(
                f"bandit must have one prompt, but one has contexts {one.contexts}; "
                f"give a list of its prompts, [bandit.at((i,)) for i in ...]"
            )
    names = ["world"] if len(several) == 1 else [f"world {i}" for i in range(1, len(several) + 1)]
    return [World(name, one) for name, one in zip(names, several, strict=True)]


def _given_laws(sampling: Any) -> dict[str, Sampling]:
    """The laws that a caller gave: one rule, a flat list of probabilities, or a sequence of rules."""
    is_sequence = isinstance(sampling, Sequence) and not isinstance(sampling, str)
    several = is_sequence and any(hasattr(each, "on_policy") for each in sampling)
    rules = [as_sampling(each) for each in (sampling if several else [sampling])]
    kinds = ["on-policy" if rule.on_policy else type(rule).__name__ for rule in rules]
    return {
        kind if kinds.count(kind) == 1 else f"{kind} {kinds[: i + 1].count(kind)}": rule
        for i, (kind, rule) in enumerate(zip(kinds, rules, strict=True))
    }


def _laws(algorithm: Algorithm, name: str, world: Bandit) -> dict[str, Sampling]:
    """The laws that this algorithm can take in a world."""
    on_policy: dict[str, Sampling] = {"on-policy": OnPolicy()}
    if getattr(algorithm, "needs_on_policy", False):
        return {} if name == ISLANDS else on_policy
    k = group_size(algorithm)
    if name == ISLANDS:
        joint = np.array([[0, 0.3, 0, 0], [0.1, 0, 0, 0], [0, 0, 0, 0.2], [0, 0, 0.4, 0]])
        pairs: dict[str, Sampling] = {"joint": Pairs(joint), "data": _data(world, [(0, 1), (2, 3)])}
        pairs = pairs if k == 2 else {}
        return {"an arm unseen": Offline([0.5, 0.2, 0.3, 0.0]), **pairs}
    first, second = skewed(world), skewed(world, last_first=True)
    laws = on_policy | {"skewed": Offline(first)}
    if k > 1:
        laws["two marginals"] = Offline(*([first, second] * k)[:k])
    if k == 2:
        laws |= {"joint": Pairs(_joint(world)), "data": _data(world, _compared(world))}
    return laws


def skewed(world: Bandit, last_first: bool = False) -> Floats:
    """A behaviour policy on the reference's support that favours the first arms, or the last."""
    slope = np.linspace(SKEW, 0.0, world.arms)
    weight = np.where(world.reference > 0, np.exp(slope[::-1] if last_first else slope), 0.0)
    return weight / weight.sum()


def _joint(world: Bandit) -> Floats:
    """A law of pairs, uneven, no product, not symmetric, on the reference's support."""
    i, j = np.indices((world.arms, world.arms))
    weight = (1.0 + (3 * i + 5 * j) % 7) * np.outer(world.reference > 0, world.reference > 0)
    return weight / weight.sum()


def _compared(world: Bandit) -> list[tuple[int, int]]:
    """The pairs of arms that the data compare: all of a few arms, else those next to each other."""
    arms = [int(y) for y in np.flatnonzero(world.reference > 0)]
    if len(arms) <= EVERY_PAIR:
        return list(combinations(arms, 2))
    return [(a, arms[(i + ahead) % len(arms)]) for i, a in enumerate(arms) for ahead in (1, 2)]


def _data(world: Bandit, pairs: list[tuple[int, int]]) -> Dataset:
    """Comparisons in which each pair's share of wins is the world's, as nearly as a few of them can show."""
    if not pairs:
        return Dataset([(0, 1)])
    listed = []
    for place, (a, b) in enumerate(pairs):
        p = float(world.preference_rows(slice(a, a + 1))[0, b])
        share = Fraction(p).limit_denominator(FINEST)
        times = 1 + place % 2 + FINEST // (2 * share.denominator)
        won = share.numerator * times
        listed += [(a, b)] * won + [(b, a)] * (share.denominator * times - won)
    return Dataset(listed)
