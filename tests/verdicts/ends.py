"""Where does it end, and does the trainer rest there?

The end is that of `bandits` for the algorithm that a row agrees with, on the law of its groups: pairs and
answers as they are given, groups by the policy itself; token-wise algorithms train the table of next tokens.
Then the model is put there and the trainer asked for its own expected gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

import bandits as b
from bandits.bandit import Bandit
from bandits.samples import TokenSamples, TokenUpdate
from bandits.sequences import TokenTable, table_fixed_point, table_flow
from bandits.solution import NoFixedPoint, NotConverged
from llm.exact import Completions, as_table
from verdicts.judged import Row, pull, seen
from verdicts.pair_algorithms import WithoutReference
from verdicts.world import COUNTS, World

SAME = 1e-6  # total variation between two policies that are called one
LONG, GATHERED = 1000.0, 0.9
NOT_YET = "no KL: not at rest"
GATHERS = "no KL: gathers on the best answer", "no KL: gathers on one answer"
ALIVE = 1e-9  # the model is not put where an answer has less


@dataclass(frozen=True)
class End:
    """The end in a word, as a policy, how far it is from pi*, and how far the trainer is from rest there."""

    word: str
    policy: NDArray[np.float64] | None = None
    distance: float | None = None  # total variation to pi*
    pull: float | None = None  # |expected gradient| there, of a group's at the policy where it was judged


def end_of(world: World, row: Row, size: float, beta: float) -> End:
    """Where a row ends, and what is left of the trainer's gradient there, of `size`."""
    found = where_it_ends(world, row, beta)
    if found.distance is None or found.policy is None or found.policy.min() <= ALIVE or not row.smooth:
        return found
    there = world.parameters(np.log(found.policy))
    return replace(found, pull=pull(world, row, there) / size)


def where_it_ends(world: World, row: Row, beta: float) -> End:
    """The end by `bandits` alone; the trainer is not asked."""
    algorithm = row.against if isinstance(row.ends_as, str) else row.ends_as
    if algorithm is None:
        return End("not derived")
    algorithm = algorithm if hasattr(algorithm, "update") else algorithm(world)
    if getattr(algorithm, "no_kl", False):
        return _without_kl(world, algorithm)
    try:
        policy = _policy(world, row, algorithm)
    except (NoFixedPoint, NotConverged) as error:
        return End(f"none: {getattr(error, 'reason', None) or 'several ends, or none'}")
    strength = getattr(innermost(algorithm), "beta", beta)
    if strength == 0:
        best = policy[world.reward.argmax()] > 1 - SAME
        return End("no KL: the best answer" if best else "no KL: other answers", policy)
    best = world.bandit.optimal_policy(strength)
    distance = float(np.abs(policy - best).sum() / 2)
    word = "pi*" if distance <= SAME else "a vertex" if policy.max() > 1 - SAME else "another policy"
    return End(word, policy, distance)


def innermost(algorithm: Any) -> Any:
    """What a wrapper holds; else itself."""
    held = getattr(algorithm, "algorithm", None)
    return algorithm if held is None else innermost(held)


def _without_kl(world: World, algorithm: Any) -> End:
    """Where the motion on its own samples has come to after a long time, from the reference."""
    table = _table(world)
    made = table.bandit(world.reward)
    late = table_flow(algorithm, table, made, b.OnPolicy(), [0.0, LONG])[-1]
    policy = np.exp(table.log_prob(late))
    if policy.max() < GATHERED:
        return End(NOT_YET, policy)
    return End(GATHERS[int(policy.argmax() != world.reward.argmax())], policy)


def _table(world: World) -> TokenTable:
    arms = Completions(world.tokens, world.lengths, world.table(world.reference).sum(-1))
    return as_table(arms, world.table(world.reference))


def _policy(world: World, row: Row, algorithm: Any) -> NDArray[np.float64]:
    if _token_wise(world, algorithm):
        table = _table(world)
        made = table.bandit(world.reward)
        return np.asarray(table_fixed_point(algorithm, table, made, sampling_of(world, row)).policy)
    bandit, start = world.certain if row.kind == "own pairs" else world.bandit, world.bandit.reference
    if isinstance(algorithm, WithoutReference):
        algorithm = algorithm.algorithm
        bandit = Bandit(bandit.reward, preference=bandit.given_preference, length=bandit.length)
    found = b.fixed_point(algorithm, bandit, sampling_of(world, row), start)
    return np.asarray(found.policy)


def sampling_of(world: World, row: Row) -> Any:
    """Who samples, in the words of `bandits`."""
    if row.kind == "pairs":
        between = np.where(np.eye(len(world.joint), dtype=bool), 0.0, world.joint)
        return b.Pairs(between / between.sum())
    return b.Offline(np.array(COUNTS) / sum(COUNTS)) if row.kind == "answers" else b.OnPolicy()


def _token_wise(world: World, algorithm: Any) -> bool:
    groups = world.groups(world.policy) if algorithm.k == 3 else world.pairs
    groups = world.answers if algorithm.k == 1 else groups
    samples: TokenSamples = seen(world, groups, world.policy, world.policy)
    return isinstance(algorithm.update(samples), TokenUpdate)


def kto_at_rest(world: World, beta: float) -> Any:
    """KTO whose reference point is where the data's mean log-ratio is at its own end."""
    law = np.array(COUNTS) / sum(COUNTS)
    bandit: Bandit = world.bandit

    def surplus(z: float) -> float:
        policy = b.fixed_point(b.KTO(beta, reference_point=z), bandit, b.Offline(law)).policy
        return float(max(law @ np.log(policy / bandit.reference), 0.0) - z)

    z = 0.0 if surplus(0.0) <= 0 else float(brentq(surplus, 0.0, 5.0, xtol=1e-14))
    return b.KTO(beta, reference_point=z)
