"""Where do rounds of training lead, each from the end of the last, with a reference that moves or stays?

A round trains until nothing moves: it leads from pi_t to pi_{t+1}, the end of the algorithm that starts at
pi_t, whose samples may be those of pi_t. Its KL is to the first reference, or to pi_t itself: REBEL, iterated
DPO and mirror descent move it  (T13.6).

Axes: rounds first, then contexts `...`, arms last.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.fixed_point import fixed_point
from bandits.problem import MAX_GROUPS, bind
from bandits.samples import Algorithm, group_size
from bandits.sampling.rules import Sampling, as_sampling
from bandits.solution import NotConverged

MOST_ROUNDS = 10**6
Rule: TypeAlias = Sampling | ArrayLike
RuleOfRound: TypeAlias = Callable[[Floats], Rule]  # the policy a round starts from, (..., A), to its samples


def iterated(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Rule | RuleOfRound,
    rounds: int,
    start: ArrayLike | None = None,
    *,
    moving: bool = True,
    max_groups: int = MAX_GROUPS,
) -> Floats:
    """Policies after each round, (rounds + 1, ..., A), the first being `start` (default: the reference).

    Args:
        sampling: a rule for all rounds, or a function that makes one of the policy that a round starts from,
            such as `lambda policy: Offline(policy)`; `OnPolicy()` samples the policy in training.
        moving: each round's reference is the policy it starts from; else it stays the world's.
        max_groups: groups of arms that one sum may visit, as for `expected_update`.

    Raises:
        NoFixedPoint: a round leads nowhere; the message says which.
        NotConverged: a round does not come to rest.
        ValueError: the arguments do not fit together, or an answer that is still sampled has become so rare
            that its probability underflows.

    Example: REBEL adds r / beta to log pi in every round.
        >>> from bandits import REBEL, Offline
        >>> world = Bandit([np.log(3.0), 0.0])
        >>> iterated(REBEL(beta=1.0), world, Offline([0.9, 0.1]), rounds=2).round(4).tolist()
        [[0.5, 0.5], [0.75, 0.25], [0.9, 0.1]]
    """
    group_size(algorithm)  # is it an algorithm?
    checks.instance(bandit, Bandit, "bandit", "the order of arguments is algorithm, bandit, sampling")
    rounds, moving = checks.count(rounds, "rounds", least=0, most=MOST_ROUNDS), checks.flag(moving, "moving")
    policy = bandit.reference if start is None else bandit.checked_policy(start, "start")
    rule = _rule(sampling, policy)
    contexts = bind(algorithm, bandit, rule, policy, max_groups=max_groups).contexts
    policies = [np.broadcast_to(policy, (*contexts, bandit.arms))]
    for number in range(1, rounds + 1):
        policy, world = policies[-1], _with_reference(bandit, policies[-1]) if moving else bandit
        try:
            end = fixed_point(algorithm, world, _rule(sampling, policy), policy, max_groups=max_groups)
        except (ValueError, NotConverged) as error:
            error.args = (f"round {number}: {error}", *error.args[1:])
            raise
        policies.append(np.broadcast_to(end.policy, policies[0].shape))
    return np.stack(policies)


def _rule(sampling: Rule | RuleOfRound, policy: Floats) -> Sampling:
    """The samples of a round that starts from this policy."""
    if callable(sampling) and not isinstance(sampling, type):
        checks.function(sampling, "sampling", "policy")
        return as_sampling(sampling(policy))
    return as_sampling(sampling)


def _with_reference(bandit: Bandit, reference: Floats) -> Bandit:
    """The same world with another reference."""
    return Bandit(
        bandit.reward,
        preference=bandit.given_preference,
        reference=reference,
        length=bandit.length,
        desirable=bandit.desirable,
        names=bandit.names,
    )
