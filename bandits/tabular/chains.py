"""What is a chain with rewards worth?  Its value, where it lives, and the law of its returns, exactly.

A Markov reward process visits states x_0, x_1, ... by P(x, x') and collects a reward R(x) at each visit.
Its return G(x) = R(x_0) + g R(x_1) + g^2 R(x_2) + ..., x_0 = x, 0 <= g < 1 the discount, has the law of

    G(x) = R(x) + g G(X'),    X' ~ P(x, .)        so that   V = E[G] = (I - g P)^-1 E[R]

The return has finitely many values iff the rewards have, and each state that the chain can come back to has
one value only: each time round a loop of length k brings two values closer, by g^k, and never together.

Axes: states first, (S,) and (S, S); samples before them, (..., S).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve
from scipy.sparse.csgraph import connected_components

from bandits import checks
from bandits.checks import Floats
from bandits.tabular.rewards import Continuous, Discrete, constant, discrete, laplace, normal, student

__all__ = [
    "Atoms",
    "Continuous",
    "Discrete",
    "MarkovRewardProcess",
    "constant",
    "discrete",
    "laplace",
    "normal",
    "student",
]

Integers = NDArray[np.int64]
BLOCK = 256  # steps whose chance is drawn together
MOST_ATOMS = 2**20  # of the returns of all states together
SAME = 1e-12  # values closer than this, relative to the largest, are one


class Atoms(NamedTuple):
    """A law on finitely many values, which increase."""

    values: Floats  # (n,)
    probabilities: Floats  # (n,)


@dataclass(frozen=True, eq=False, init=False)
class MarkovRewardProcess:
    """A chain with rewards, validated once.

    Args:
        transition: P(x, x'), (S, S), rows summing to one.
        reward: one of the laws of `bandits.tabular.rewards`, or numbers, (S,), the same at every visit.
        discount: g, 0 <= g < 1.

    Raises:
        ValueError: a row is no distribution, the discount lies outside of [0, 1), or shapes do not fit.

    Example: two states, T12.3.

        >>> P = [[0.5, 0.5], [0.25, 0.75]]
        >>> MarkovRewardProcess(P, discrete([0.0, 1.0], [[0.7, 0.3], [0.2, 0.8]]), 0.5).value.round(6)
        array([0.885714, 1.457143])
    """

    transition: Floats
    reward: Discrete | Continuous
    discount: float

    def __init__(
        self, transition: ArrayLike, reward: Discrete | Continuous | ArrayLike, discount: float
    ) -> None:
        P = stochastic(transition, "transition")
        if not isinstance(reward, Discrete | Continuous):
            reward = constant(reward)
        checks.within(reward.mean(), (len(P),), "reward")
        if isinstance(reward, Discrete):
            shape = (len(P), reward.values.shape[-1])
            values, p = (np.broadcast_to(a, shape) for a in (reward.values, reward.probabilities))
            reward = Discrete(values, p)
        g = checks.fraction(discount, "discount")
        if g == 1:
            raise ValueError("discount must be below 1, where returns are finite, but discount = 1")
        for name, value in (("transition", P), ("reward", reward), ("discount", g)):
            object.__setattr__(self, name, value)

    @property
    def states(self) -> int:
        """S."""
        return len(self.transition)

    @cached_property
    def mean_reward(self) -> Floats:
        """E[R(x)], (S,)."""
        return np.broadcast_to(self.reward.mean(), (self.states,))

    @cached_property
    def value(self) -> Floats:
        """V = (I - g P)^-1 E[R], (S,)."""
        return solve(np.eye(self.states) - self.discount * self.transition, self.mean_reward)

    @cached_property
    def stationary(self) -> Floats:
        """The law that the chain keeps, d P = d, (S,).

        Raises:
            ValueError: there is more than one, since the chain cannot leave either of two sets of states.
        """
        closed = closed_classes(self.transition)
        if len(closed) > 1:
            a, b = (int(states[0]) for states in closed[:2])
            raise ValueError(
                f"transition must have one stationary law, but states {a} and {b} never meet: "
                f"start in one of them, or let them meet"
            )
        return _left_fixed_vector(self.transition, closed[0])

    def bounds(self) -> tuple[float, float]:
        """Least and largest reward over 1 - g, between which all returns lie; infinite for densities."""
        if isinstance(self.reward, Continuous):
            return -np.inf, np.inf
        possible = self.reward.values[self.reward.probabilities > 0]
        return possible.min() / (1 - self.discount), possible.max() / (1 - self.discount)

    def returns(self, steps: int | None = None) -> list[Atoms]:
        """The law of the return from each state, or of its first `steps` rewards.

        Raises:
            ValueError: it has infinitely many values (without `steps`), or more than 2^20.

        Example: a coin decides between 0 for ever and 1 for ever.

            >>> process = MarkovRewardProcess([[0, 0.5, 0.5], [0, 1, 0], [0, 0, 1]], [0, 0, 1], 0.5)
            >>> [float(value) for value in process.returns()[0].values]
            [0.0, 1.0]
        """
        if isinstance(self.reward, Continuous):
            raise ValueError(
                "reward must be discrete for the law of returns, but it has a density: sample it"
            )
        rest = np.zeros(self.states, dtype=bool)
        if steps is None:
            rest = self._without_spread()
            _need_acyclic(self.transition if self.discount else 0 * self.transition, rest)
        count = self.states if steps is None else checks.count(steps, "steps", least=0)
        still = [Atoms(np.array([v]), np.ones(1)) for v in np.where(rest, self.value, 0.0)]
        laws = still
        for _ in range(count):
            laws = [still[x] if rest[x] else self._backup(x, laws) for x in range(self.states)]
        return laws

    def sample(self, rng: np.random.Generator, size: tuple[int, ...] = ()) -> tuple[Floats, Integers]:
        """One transition of every state: rewards and next states, (*size, S) each."""
        rng, shape = checks.generator(rng), (*size, self.states)
        return self.reward.rvs(shape, rng), self._next(np.arange(self.states), rng.random(shape))

    def stream(self, rng: np.random.Generator, runs: int) -> Iterator[tuple[Floats, Integers]]:
        """`sample(rng, (runs,))` for ever, drawn 256 steps at a time."""
        while True:
            yield from zip(*self.sample(rng, (BLOCK, runs)), strict=True)

    def trajectory(self, rng: np.random.Generator, start: int, steps: int) -> tuple[Integers, Floats]:
        """A path of the chain: states (steps + 1,), and the reward at each of them."""
        rng, count = checks.generator(rng), checks.count(steps, "steps", least=0)
        states = np.empty(count + 1, dtype=np.int64)
        states[0] = checks.count(start, "start", least=0, most=self.states - 1)
        for t, u in enumerate(rng.random(count)):
            states[t + 1] = self._next(states[t], u)
        return states, self.reward.rvs((count + 1, self.states), rng)[np.arange(count + 1), states]

    def _next(self, states: Integers, uniform: ArrayLike) -> Integers:
        """Where uniform numbers lead, by the cumulated rows."""
        last = self.states - 1 - np.argmax(self.transition[:, ::-1] > 0, axis=1)  # never beyond the support
        steps = np.cumsum(self.transition, axis=1)[states]
        return np.minimum((np.asarray(uniform)[..., None] >= steps).sum(axis=-1), last[states])

    def _backup(self, state: int, laws: list[Atoms]) -> Atoms:
        """The law of R(x) + g G(X')."""
        assert isinstance(self.reward, Discrete)
        r, p = self.reward.values[state], self.reward.probabilities[state]
        ahead = [x for x in range(self.states) if self.transition[state, x] > 0]
        values = [np.add.outer(r, self.discount * laws[x].values).ravel() for x in ahead]
        weight = [np.outer(p, self.transition[state, x] * laws[x].probabilities).ravel() for x in ahead]
        return merged(np.concatenate(values), np.concatenate(weight))

    def _without_spread(self) -> NDArray[np.bool_]:
        """States whose return has one value only, (S,)."""
        assert isinstance(self.reward, Discrete)
        V, size = self.value, SAME * max(1.0, float(np.abs(self.value).max()))
        possible = self.reward.probabilities > 0
        low = np.where(possible, self.reward.values, np.inf).min(axis=1)
        rest = np.where(possible, self.reward.values, -np.inf).max(axis=1) - low <= size
        for _ in range(self.states):  # a state has spread if a successor has, or its successors differ
            ahead = self.transition > 0
            gap = np.where(ahead, V, -np.inf).max(axis=1) - np.where(ahead, V, np.inf).min(axis=1)
            same = (self.discount * gap <= size) & ~(ahead & ~rest).any(axis=1)
            rest = rest & (same | (self.discount == 0))
        return rest


def process_of(process: MarkovRewardProcess) -> MarkovRewardProcess:
    """What is given as a process, which must be one.

    Raises:
        ValueError: it is something else.
    """
    checks.instance(process, MarkovRewardProcess, "process", "make one of transition, reward and discount")
    return process


def stochastic(transition: ArrayLike, name: str) -> Floats:
    """A square matrix whose rows are distributions, (S, S).

    Raises:
        ValueError: it is not square, an entry is negative, or a row does not sum to one.
    """
    P = checks.distribution(transition, name)
    if P.ndim != 2 or P.shape[0] != P.shape[1]:
        raise ValueError(
            f"{name} must have one row and one column for each state, but its shape is {P.shape}"
        )
    return P


def closed_classes(transition: Floats) -> list[Integers]:
    """Sets of states that the chain cannot leave and in which it comes everywhere."""
    count, label = connected_components(transition > 0, connection="strong")
    leaves = np.zeros(count, dtype=bool)
    x, y = np.nonzero(transition)
    np.logical_or.at(leaves, label[x], label[x] != label[y])
    return [np.flatnonzero(label == c) for c in range(count) if not leaves[c]]


def merged(values: Floats, probabilities: Floats) -> Atoms:
    """Atoms in increasing order; those that differ by rounding only become one."""
    alive = probabilities > 0
    order = np.argsort(values[alive])
    v, p = values[alive][order], probabilities[alive][order]
    first = np.diff(v, prepend=-np.inf) > SAME * max(1.0, float(np.abs(v).max()))
    if first.sum() > MOST_ATOMS:
        raise ValueError(f"steps must leave at most {MOST_ATOMS} values of the return; choose fewer")
    return Atoms(v[first], np.add.reduceat(p, np.flatnonzero(first)))


def _left_fixed_vector(P: Floats, states: Integers) -> Floats:
    """d P = d on one closed class, (S,)."""
    inside = P[np.ix_(states, states)].T - np.eye(len(states))
    inside[-1] = 1.0  # the rows sum to zero: one of them may give way to sum d = 1
    d = np.zeros(len(P))
    d[states] = solve(inside, np.eye(len(states))[-1])
    return d


def _need_acyclic(P: Floats, rest: NDArray[np.bool_]) -> None:
    """No state with spread comes back to itself."""
    moving = np.flatnonzero(~rest)
    inside = P[np.ix_(moving, moving)] > 0
    _, label = connected_components(inside, connection="strong")
    again = (np.bincount(label)[label] > 1) | np.diag(inside) if len(moving) else np.zeros(0, dtype=bool)
    if again.any():
        x = int(moving[np.argmax(again)])
        raise ValueError(
            f"steps must be given where returns have infinitely many values, but steps = None and state {x} "
            f"comes back to itself; after n steps what is left out is at most g^n of the bounds"
        )
