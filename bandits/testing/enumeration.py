"""Which groups of samples can be drawn, one at a time?  Expectations a second time, in plain Python.

    Case                                         a world, a way to sample it and where training stands
    groups(algorithm, case)                      every group that can be drawn, with its probability
    stacked(algorithm, case)                     the same as one `Samples`, whose batch axis is the group
    expected_by_hand(formula, algorithm, case)   the coefficients of a formula summed over them

Nothing here calls what it checks: of an algorithm only its k and its hyper-parameters are read, of the
bandit its arrays, of the sampling its behaviour policies.

Axes: none but the sample's place in its group, (k,), and the arms, (A,).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Algorithm, Samples
from bandits.sampling.rules import Dataset, Offline, OnPolicy, Pairs

Formula: TypeAlias = Callable[[Algorithm, Samples], list[float]]  # one group: a coefficient a sample
Draw: TypeAlias = tuple[float, tuple[int, ...], bool]  # probability, arms, whether the first is said to win


@dataclass(frozen=True)
class Case:
    """A world, a way to sample it and where training stands; no contexts.

    Args:
        value: DRO's V; None: eliminated.
        revision: SRPO's pi'(y2 | y1) at [y1, y2], (A, A).
    """

    bandit: Bandit
    sampling: Offline | Pairs | Dataset | OnPolicy
    policy: Floats  # (A,)
    value: float | None = None
    revision: Floats | None = None

    def __str__(self) -> str:
        """The call that makes it again, digit by digit."""
        world = self.bandit
        given = {"preference": world.given_preference, "length": world.length, "desirable": world.desirable}
        parts = [] if world.reward is None else [_listed(world.reward)]
        parts += [f"{name}={_listed(x)}" for name, x in given.items() if x is not None]
        parts += [f"reference={_listed(world.reference)}"]
        trained = [f"value={self.value}"] * (self.value is not None)
        trained += [] if self.revision is None else [f"revision=np.array({_listed(self.revision)})"]
        lines = [f"bandit=Bandit({', '.join(parts)})", f"sampling={_rule(self.sampling)}"]
        lines += [f"policy=np.array({_listed(self.policy)})", *trained]
        return "Case(\n    " + ",\n    ".join(lines) + ",\n)"


def _listed(array: Floats) -> str:
    return str(np.asarray(array).tolist())


def _rule(sampling: Offline | Pairs | Dataset | OnPolicy) -> str:
    """The call that makes the sampling rule."""
    given: tuple[Floats | NDArray[np.intp], ...] = ()
    if isinstance(sampling, Offline):
        given = tuple(sampling.behaviors)
    elif isinstance(sampling, Pairs):
        given = (sampling.joint,)
    elif isinstance(sampling, Dataset):
        given = (sampling.pairs,)
    return f"{type(sampling).__name__}({', '.join(str(np.asarray(x).tolist()) for x in given)})"


def groups(algorithm: Algorithm, case: Case) -> Iterator[tuple[float, tuple[int, ...], Samples]]:
    """Probability, arms and `Samples` of each group."""
    places = place_laws(algorithm, case)
    for weight, arms, label in _draws(algorithm.k, case, places):
        if weight > 0:
            yield weight, arms, _samples(case, places, arms, label)


def place_laws(algorithm: Any, case: Case) -> list[Floats]:
    """Who sampled each place of the group, k times (A,)."""
    sampling, k = case.sampling, algorithm.k
    if isinstance(sampling, Offline):
        return [sampling.behaviors[i % len(sampling.behaviors)] for i in range(k)]
    if isinstance(sampling, Pairs):
        return [sampling.joint.sum(axis=1), sampling.joint.sum(axis=0)]
    if isinstance(sampling, Dataset):
        listed = sampling.pairs
        return [np.array([np.mean(listed[:, i] == y) for y in range(case.bandit.arms)]) for i in (0, 1)]
    laws = [case.policy] * k
    if hasattr(algorithm, "opponent"):  # Nash-MD's
        mixture = algorithm.mixture
        mix = case.policy ** (1 - mixture) * case.bandit.reference**mixture
        laws[-1] = mix / mix.sum()
    return laws


def _draws(k: int, case: Case, places: list[Floats]) -> Iterator[Draw]:
    if isinstance(case.sampling, Dataset):
        for winner, loser in case.sampling.pairs:
            yield 1 / len(case.sampling.pairs), (int(winner), int(loser)), True
        return
    for arms in itertools.product(range(case.bandit.arms), repeat=k):
        if isinstance(case.sampling, Pairs):
            yield float(case.sampling.joint[arms]), arms, False
        else:
            yield math.prod(float(law[y]) for law, y in zip(places, arms, strict=True)), arms, False


def _samples(case: Case, places: list[Floats], arms: tuple[int, ...], label: bool) -> Samples:
    world, pick = case.bandit, list(arms)
    tables: dict[str, Any] = {
        "log_prob": np.log(case.policy),
        "reference_log_prob": np.log(world.reference),
        "reward": world.reward,
        "length": world.length,
        "desirable": world.desirable,
    }
    everyone = Samples(**tables, behavior_log_prob=_log(sum(places, np.zeros(world.arms)) / len(places)))
    preference = np.array([[_p(world, y, z) for z in arms] for y in arms])
    return Samples(
        **{name: None if table is None else table[pick] for name, table in tables.items()},
        preference=np.array([[0.5, 1.0], [0.0, 0.5]]) if label else preference,
        behavior_log_prob=np.array([_log(law)[y] for law, y in zip(places, arms, strict=True)]),
        arm=np.array(arms),
        population=everyone,
        greedy_reward=None if world.reward is None else world.reward[np.argmax(case.policy)],
        value=None if case.value is None else np.float64(case.value),
        revision_log_prob=_conditional(case.revision, arms),
        reference_revision_log_prob=None
        if case.revision is None
        else np.array([[np.log(world.reference[y])] * len(arms) for y in arms]),
    )


def _p(world: Bandit, y: int, z: int) -> float:
    if world.given_preference is not None:
        return float(world.given_preference[y, z])
    assert world.reward is not None
    return 1 / (1 + math.exp(world.reward[z] - world.reward[y]))


def _conditional(revision: Floats | None, arms: tuple[int, ...]) -> Floats | None:
    """[i, j] = log pi'(y_i | y_j)."""
    if revision is None:
        return None
    return np.array([[math.log(revision[given, y]) for given in arms] for y in arms])


def _log(probabilities: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(probabilities))


def stacked(algorithm: Algorithm, case: Case) -> tuple[Floats, NDArray[np.intp], Samples]:
    """All groups at once: probabilities (n,), arms (n, k) and `Samples` whose batch axis is the group."""
    weights, arms, listed = zip(*groups(algorithm, case), strict=True)
    everyone = listed[0].population
    assert everyone is not None
    columns = {
        each.name: [getattr(s, each.name) for s in listed]
        for each in fields(Samples)
        if each.name != "population"
    }
    whole = {name: None if column[0] is None else np.stack(column) for name, column in columns.items()}
    population = {each.name: getattr(everyone, each.name) for each in fields(Samples)}
    alone = {name: x if x is None else x[None] for name, x in population.items()}
    return np.array(weights), np.array(arms), Samples(**whole, population=Samples(**alone))


def expected_by_hand(formula: Formula, algorithm: Algorithm, case: Case) -> Floats:
    """E[sum_i c_i (e_{y_i} - pi)], group by group, (A,)  (T0.1)."""
    total = np.zeros(case.bandit.arms)
    for weight, arms, samples in groups(algorithm, case):
        for y, c in zip(arms, formula(algorithm, samples), strict=True):
            total[y] += weight * c
            total -= weight * c * case.policy
    return total
