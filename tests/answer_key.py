"""Expectations a second time: every group of samples that can be drawn, one at a time, in plain Python.

    groups(algorithm, case)                      every group that a sampling rule can draw, its probability
    expected_by_hand(formula, algorithm, case)   the coefficients of the paper (`rows`) summed over them
    log_ratio, regularized, ...                  the words that the formulas are written in

Nothing here calls what it checks: from the algorithms only their hyper-parameters are read, from the
bandit its arrays, from the sampling its behaviour policies.

Axes: none but the sample's place in its group, (k,), and the arms, (A,).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import bandits as b
from bandits import Bandit, Samples

Floats = NDArray[np.float64]
Formula: TypeAlias = Callable[[Any, Samples], list[float]]


@dataclass(frozen=True)
class Case:
    """A world, a way to sample it and where training stands; no contexts."""

    bandit: Bandit
    sampling: b.Offline | b.Pairs | b.Dataset | b.OnPolicy
    policy: Floats  # (A,)
    value: float | None = None  # DRO's V; None: eliminated
    revision: Floats | None = None  # (A, A)  SRPO's pi'(y2 | y1) at [y1, y2]


# ---- the words of the formulas ----------------------------------------------------------------------------


def log_ratio(samples: Samples) -> list[float]:
    """h = log pi/ref of each sample."""
    return [float(a - c) for a, c in zip(samples.log_prob, samples.reference_log_prob, strict=True)]


def regularized(beta: float, samples: Samples) -> list[float]:
    """R = r - beta h of each sample."""
    return [float(r) - beta * h for r, h in zip(samples.reward, log_ratio(samples), strict=True)]


def mean_regularized(beta: float, samples: Samples, weights: Floats) -> float:
    """E[R] over the population with these weights."""
    terms = zip(weights, regularized(beta, samples.population), strict=True)
    return math.fsum(w * R for w, R in terms if w > 0)


def near_one(ratio: float, clip: float) -> float:
    """The ratio, held between 1 - clip and 1 + clip."""
    return min(max(ratio, 1 - clip), 1 + clip)


def clipped(advantages: list[float], samples: Samples, clip: float) -> list[float]:
    """w a, or nothing where min(w a, clip(w) a) does not move with w = pi/mu."""
    weights = [math.exp(x) for x in samples.log_prob - samples.behavior_log_prob]
    pairs = zip(weights, advantages, strict=True)
    return [w * A if w * A <= near_one(w, clip) * A else 0.0 for w, A in pairs]


def baseline(algorithm, samples: Samples) -> float:
    """b of T2.5 by name."""
    everyone = samples.population
    if algorithm.baseline is b.policy_reward:
        return math.fsum(np.exp(everyone.log_prob) * everyone.reward)
    if algorithm.baseline is b.policy_value:
        return mean_regularized(algorithm.beta, samples, np.exp(everyone.log_prob))
    if algorithm.baseline is b.behavior_value:
        return mean_regularized(algorithm.beta, samples, np.exp(everyone.behavior_log_prob))
    if algorithm.baseline is b.greedy:
        return float(samples.greedy_reward)
    return algorithm.baseline


def over_labels(of_winner: Callable[[int, int], float], p: float) -> list[float]:
    """Mean over the label of +-of_winner(winner, loser): the first wins with probability p."""
    c = p * of_winner(0, 1) - (1 - p) * of_winner(1, 0)
    return [c, -c]


# ---- every group that can be drawn ------------------------------------------------------------------------


def groups(algorithm, case: Case) -> Iterator[tuple[float, tuple[int, ...], Samples]]:
    """Probability, arms and `Samples` of each group."""
    places = place_laws(algorithm, case)
    for weight, arms, label in _draws(algorithm.k, case, places):
        if weight > 0:
            yield weight, arms, _samples(case, places, arms, label)


def place_laws(algorithm, case: Case) -> list[Floats]:
    """Who sampled each place of the group."""
    sampling, k = case.sampling, algorithm.k
    if isinstance(sampling, b.Offline):
        return [sampling.behaviors[i % len(sampling.behaviors)] for i in range(k)]
    if isinstance(sampling, b.Pairs):
        return [sampling.joint.sum(axis=1), sampling.joint.sum(axis=0)]
    if isinstance(sampling, b.Dataset):
        listed = sampling.pairs
        return [np.array([np.mean(listed[:, i] == y) for y in range(case.bandit.arms)]) for i in (0, 1)]
    laws = [case.policy] * k
    if hasattr(algorithm, "mixture"):  # Nash-MD's opponent
        mix = case.policy ** (1 - algorithm.mixture) * case.bandit.reference**algorithm.mixture
        laws[-1] = mix / mix.sum()
    return laws


def _draws(k: int, case: Case, places: list[Floats]) -> Iterator[tuple[float, tuple[int, ...], bool]]:
    if isinstance(case.sampling, b.Dataset):
        for winner, loser in case.sampling.pairs:
            yield 1 / len(case.sampling.pairs), (int(winner), int(loser)), True
        return
    for arms in itertools.product(range(case.bandit.arms), repeat=k):
        if isinstance(case.sampling, b.Pairs):
            yield float(case.sampling.joint[arms]), arms, False
        else:
            yield math.prod(float(law[y]) for law, y in zip(places, arms, strict=True)), arms, False


def _samples(case: Case, places: list[Floats], arms: tuple[int, ...], label: bool) -> Samples:
    world, pick = case.bandit, list(arms)
    everyone = Samples(
        log_prob=np.log(case.policy),
        reference_log_prob=np.log(world.reference),
        reward=world.reward,
        behavior_log_prob=_log(sum(places) / len(places)),
    )
    preference = np.array([[_p(world, y, z) for z in arms] for y in arms])
    return Samples(
        log_prob=everyone.log_prob[pick],
        reference_log_prob=everyone.reference_log_prob[pick],
        reward=None if world.reward is None else world.reward[pick],
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
    return 1 / (1 + math.exp(world.reward[z] - world.reward[y]))


def _conditional(revision: Floats | None, arms: tuple[int, ...]) -> Floats | None:
    """[i, j] = log pi'(y_i | y_j)."""
    if revision is None:
        return None
    return np.array([[math.log(revision[given, y]) for given in arms] for y in arms])


def _log(probabilities: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.log(probabilities)


def expected_by_hand(formula: Formula, algorithm, case: Case) -> Floats:
    """E[sum_i c_i (e_{y_i} - pi)], group by group, (A,)."""
    total = np.zeros(case.bandit.arms)
    for weight, arms, samples in groups(algorithm, case):
        for y, c in zip(arms, formula(algorithm, samples), strict=True):
            total[y] += weight * c
            total -= weight * c * case.policy
    return total


def stacked(algorithm, case: Case) -> tuple[Floats, NDArray[np.intp], Samples]:
    """All groups at once: probabilities (n,), arms (n, k) and `Samples` whose batch axis is the group."""
    weights, arms, listed = zip(*groups(algorithm, case), strict=True)
    everyone = listed[0].population
    names = ("log_prob", "reference_log_prob", "reward", "preference", "behavior_log_prob", "arm")
    names += ("greedy_reward", "value", "revision_log_prob", "reference_revision_log_prob")
    columns = {name: [getattr(s, name) for s in listed] for name in names}
    fields = {name: None if column[0] is None else np.stack(column) for name, column in columns.items()}
    population = Samples(
        **{
            name: None if getattr(everyone, name) is None else getattr(everyone, name)[None]
            for name in ("log_prob", "reference_log_prob", "reward", "behavior_log_prob")
        }
    )
    return np.array(weights), np.array(arms), Samples(**fields, population=population)
