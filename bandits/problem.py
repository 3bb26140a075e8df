"""Do these four fit together?  An algorithm, a world, who sampled, and where training starts.

`bind` checks them once, and broadcasts them to common contexts; whatever computes with the four takes the
`Problem` that it returns.  The start (or the policy that one asks about) stays inside the reference's
support, where log pi/ref is finite, and has mass wherever the sampler has.

Axes: arms last; leading axes are contexts, each a problem of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property, lru_cache
from numbers import Real
from types import BuiltinFunctionType, FunctionType
from typing import Any
from weakref import ref

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.algorithms.linear import Linear
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.policy import log_policy_of
from bandits.samples import Algorithm, group_size
from bandits.sampling.laws import Law
from bandits.sampling.rules import OnPolicy, Sampling, as_sampling

MAX_GROUPS = 10**7  # some seconds a sum


@dataclass(frozen=True, eq=False)
class Problem:
    """An algorithm on a world with its samples, from a start; made by `bind`, which checks that they fit."""

    algorithm: Algorithm
    bandit: Bandit
    sampling: Sampling
    log_start: Floats  # (..., A)  -inf where the start has no mass
    contexts: tuple[int, ...]  # leading axes that all four broadcast to
    max_groups: int = MAX_GROUPS  # groups of arms that a sum may visit
    notes: dict[Hashable, bool] | None = None  # what sums found out about `update`, of a larger problem

    @property
    def name(self) -> str:
        """The algorithm's, for messages."""
        return type(self.algorithm).__name__

    def law(self, log_policy: Floats | None = None) -> Law:
        """Law of a group of k samples when training stands at a policy, by default at the start."""
        if log_policy is None or not self.sampling.on_policy:
            return self._law_at_start
        return self.sampling.law(self.algorithm, self.bandit, log_policy)

    @cached_property
    def _law_at_start(self) -> Law:
        return self.sampling.law(self.algorithm, self.bandit, self.log_start)

    @cached_property
    def known(self) -> dict[Hashable, bool]:
        """What sums found out about this `update`, here or in this world before, by question."""
        if self.notes is not None:
            return self.notes
        if self.log_start.min() == -np.inf or not _settled(self.algorithm):
            return {}  # it may have changed
        on_policy = isinstance(self.sampling, OnPolicy)
        if not (on_policy or isinstance(self.sampling, Sampling)):
            return {}
        rule: Any = self.sampling if on_policy else ref(self.sampling)
        algorithm: Any = self.algorithm
        return _notes(algorithm, ref(self.bandit), rule, self.contexts)

    def found(self, question: Hashable, look: Callable[[], bool]) -> bool:
        """The answer to a question about `update`, looked for once."""
        if question not in self.known:
            self.known[question] = look()
        return self.known[question]

    def linear(self) -> Linear | None:
        """The expected update as rate L (score / beta - h), where the algorithm says so and the law stays."""
        linear = getattr(self.algorithm, "linear", None)
        return None if linear is None or self.sampling.on_policy else linear(self.bandit, self.law())

    def at(self, index: tuple[Any, ...], contexts: tuple[int, ...] | None = None) -> Problem:
        """The problem of one context, without leading axes; `index` refers to `contexts`."""
        shape = self.contexts if contexts is None else contexts
        log_start = np.broadcast_to(self.log_start, (*shape, self.bandit.arms))[index]
        world, data = self.bandit.at(index, shape), self.sampling.at(index, shape)
        return Problem(self.algorithm, world, data, log_start, (), self.max_groups, self.known)

    def each(self) -> Iterator[Problem]:
        """The problem of each context, in C order."""
        return (self.at(index) for index in np.ndindex(self.contexts))

    def paths(self, path: Callable[[Problem], Floats]) -> Floats:
        """path(problem) -> (n, ...) of each context, side by side: (n, contexts, ...)."""
        paths = np.stack([path(problem) for problem in self.each()], axis=1)
        return paths.reshape(len(paths), *self.contexts, *paths.shape[2:])


def bind(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling | ArrayLike,
    policy: ArrayLike | None = None,
    name: str = "start",
    max_groups: int = MAX_GROUPS,
) -> Problem:
    """The four as a `Problem`.

    Args:
        sampling: a rule, or a flat list of A probabilities, which is `Offline(list)`.
        policy: probabilities (..., A) to start from, or to look at; by default the reference.
        name: what messages call it.
        max_groups: groups of arms that a sum may visit before it is refused.

    Raises:
        ValueError: one of them is of another kind, they do not fit together, or the policy is no
            distribution, has mass outside the reference's support, or none where the sampler has some.
    """
    group_size(algorithm)  # is it an algorithm?
    checks.instance(bandit, Bandit, "bandit", "the order of arguments is algorithm, bandit, sampling")
    sampling = as_sampling(sampling)
    checks.count(max_groups, "max_groups")
    log_start = bandit.log_reference if policy is None else _inside(bandit, policy, name)
    law = sampling.law(algorithm, bandit, log_start)
    checks.same_arms(log_start, law.behavior, name, "sampling")
    _check_mass(law, log_start, name)
    shape = np.broadcast_shapes(log_start.shape[:-1], law.behavior.shape[:-1], bandit.contexts)
    problem = Problem(algorithm, bandit, sampling, log_start, shape, max_groups)
    object.__setattr__(problem, "_law_at_start", law)  # what the cached property would find
    return problem


@lru_cache(maxsize=128)
def _notes(*about: Any) -> dict[Hashable, bool]:
    """A leaf for each; worlds and samples are held weakly."""
    return {}


def _settled(value: Any) -> bool:
    """Whether it is frozen all through, so that equal ones answer alike; functions are taken to be."""
    if is_dataclass(value) and not isinstance(value, type):
        frozen = type(value).__dataclass_params__.frozen  # type: ignore[attr-defined]
        return frozen and all(_settled(getattr(value, each.name)) for each in fields(value))
    return value is None or isinstance(value, Real | str | FunctionType | BuiltinFunctionType)


def _inside(bandit: Bandit, policy: ArrayLike, name: str) -> Floats:
    """log of a policy within the reference's support, (..., A)."""
    probabilities = bandit.checked_policy(policy, name)
    checks.inside(probabilities, bandit.reference, name)
    log_policy = log_policy_of(probabilities)
    if log_policy.shape == bandit.reference.shape:
        return log_policy
    return np.broadcast_to(log_policy, np.broadcast_shapes(log_policy.shape, bandit.reference.shape))


def _check_mass(law: Law, log_policy: Floats, name: str) -> None:
    """Refuse a policy that is zero where the sampler has mass."""
    if log_policy.min() > -np.inf:
        return
    behavior, log_policy = np.broadcast_arrays(law.behavior, log_policy)
    checks.reject_first(
        np.isneginf(log_policy) & (behavior > 0),
        np.exp(log_policy),
        name,
        "positive where the sampler has mass",
        "log pi/ref is infinite there: give the arm some mass",
    )
