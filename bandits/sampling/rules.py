"""Who produced the samples?

    Offline(mu)         k independent arms from a fixed behaviour policy mu
    Offline(mu1, mu2)   one behaviour policy for each place of the group
    Pairs(joint)        any joint law W(y, y') of a pair
    Dataset(pairs)      a finite list of (winner, loser) arms: the labels are the data's
    OnPolicy()          the policy in training, k independent samples; an algorithm that brings an
                        `opponent` (Nash-MD) has it for its last sample

A sampling rule is a description; `rule.law(algorithm, bandit, log_policy)` binds it to a group size, a
world and a policy, checks that they fit, and gives the law that `bandits.sampling.laws` describes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax

from bandits import checks, display
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Algorithm, group_size
from bandits.sampling.laws import Joint, Labelled, Product

MOST_ARMS = 2**31 - 1  # so that the number of pairs of arms is an integer


@dataclass(frozen=True, eq=False, init=False)
class Offline:
    """Independent arms from fixed behaviour policies, each (..., A).

    Raises:
        ValueError: no behaviour policy is given, or one is not a distribution.

    Example:
        >>> Offline([0.2, 0.8]).behaviors[0]
        array([0.2, 0.8])
        >>> Offline([0.2, 0.8], [0.5, 0.5])  # one law for each of two places
        Offline([0.2 0.8], [0.5 0.5])
    """

    behaviors: tuple[Floats, ...]
    on_policy: ClassVar[bool] = False

    def __init__(self, *behaviors: ArrayLike) -> None:
        if not behaviors:
            raise ValueError("Offline needs at least one behaviour policy: Offline(mu) or Offline(mu1, mu2)")
        named = zip(behaviors, _names(behaviors), strict=True)
        checked = tuple(checks.distribution(mu, name) for mu, name in named)
        for i, mu in enumerate(checked[1:], start=2):
            checks.same_arms(checked[0], mu, "mu1", f"mu{i}")
        object.__setattr__(self, "behaviors", checked)

    def __repr__(self) -> str:
        return f"Offline({', '.join(display.numbers(mu) for mu in self.behaviors)})"

    def _repr_html_(self) -> str:
        heads, rows = ["place", *display.policies(self.behaviors[0], None)[0]], []
        for name, mu in zip(_names(self.behaviors), self.behaviors, strict=True):
            rows += [[name, *row] for row in display.policies(mu, None)[1]]
        below = display.rest(self.behaviors[0].shape[:-1])
        return display.page(["Offline: independent arms from a policy that stays"], heads, rows, below)

    @cached_property
    def _laws(self) -> dict[int, Product]:
        """One for each size of group that was asked for."""
        return {}

    def law(self, algorithm: Algorithm, bandit: Bandit, log_policy: Floats) -> Product:
        """One behaviour policy serves all k places, or there is one for each.

        Raises:
            ValueError: the number of behaviour policies is neither 1 nor k, the arms do not fit, or a
                behaviour policy has mass where the reference has none.
        """
        k = group_size(algorithm)
        _refuse_on_policy_algorithms(algorithm, self)
        if len(self.behaviors) not in (1, k):
            raise ValueError(
                f"sampling must fit the algorithm: {type(algorithm).__name__} looks at groups of k = {k} "
                f"samples, but Offline holds {len(self.behaviors)} behaviour policies; "
                f"give 1 (for all places) or {k}"
            )
        for mu, name in zip(self.behaviors, _names(self.behaviors), strict=True):
            _check_support(mu, bandit, name)
        if k not in self._laws:
            self._laws[k] = Product(self.behaviors * k if len(self.behaviors) == 1 else self.behaviors)
        return self._laws[k]

    def at(self, index: tuple[int, ...], contexts: tuple[int, ...]) -> Offline:
        """The same rule in one context."""
        return Offline(*(np.broadcast_to(mu, (*contexts, mu.shape[-1]))[index] for mu in self.behaviors))


@dataclass(frozen=True, eq=False, init=False)
class Pairs:
    """Pairs from any joint law W, (..., A, A), non-negative with sum one.

    Raises:
        ValueError: W is not square, has a negative entry, or does not sum to one.

    Example: two arms that are never shown with themselves.

        >>> Pairs([[0.0, 0.75], [0.25, 0.0]])
        Pairs(2 x 2, first=[0.75 0.25], second=[0.25 0.75])
    """

    joint: Floats
    on_policy: ClassVar[bool] = False

    def __init__(self, joint: ArrayLike) -> None:
        raw = checks.as_numbers(joint, "joint")
        if raw.ndim < 2 or raw.shape[-1] != raw.shape[-2]:
            raise ValueError(f"joint must have shape (..., A, A), but its shape is {raw.shape}")
        object.__setattr__(self, "joint", checks.distribution(raw, "joint", axes=2))

    def __repr__(self) -> str:
        first, second = (display.numbers(self.joint.sum(axis=axis)) for axis in (-1, -2))
        return f"Pairs({' x '.join(map(str, self.joint.shape))}, first={first}, second={second})"

    def _repr_html_(self) -> str:
        """The matrix of the first context: the first arm of a pair down, the second across."""
        contexts, size = self.joint.shape[:-2], self.joint.shape[-1]
        here = self.joint[(0,) * len(contexts)]
        names = display.arms(size, None)
        cells = [display.cells(row) for row in here[: display.MOST]] + [["..."] * len(names)] * (
            size > display.MOST
        )
        rows = [[name, *row] for name, row in zip(names, cells, strict=True)]
        where = f", context {', '.join('0' for _ in contexts)} of {contexts}" if contexts else ""
        return display.page(
            [f"Pairs: W(y, y'), the probability of a pair{where}"], ["y, y'", *names], rows, []
        )

    @cached_property
    def _law(self) -> Joint:
        return Joint(self.joint)

    def law(self, algorithm: Algorithm, bandit: Bandit, log_policy: Floats) -> Joint:
        """The law itself.

        Raises:
            ValueError: the algorithm does not take pairs, the arms do not fit, or W leaves the
                reference's support.
        """
        _need_pairs(algorithm, self)
        _check_support(self._law.behavior, bandit, "joint (its marginal)")
        return self._law

    def at(self, index: tuple[int, ...], contexts: tuple[int, ...]) -> Pairs:
        """The same rule in one context."""
        return Pairs(np.broadcast_to(self.joint, (*contexts, *self.joint.shape[-2:]))[index])


@dataclass(frozen=True, eq=False, init=False)
class Dataset:
    """A finite list of comparisons, (N, 2) integer (winner, loser) arms, drawn uniformly with replacement.

    The labels are the data's own: the bandit's preferences are not consulted.

    Raises:
        ValueError: the list is empty, not integer, not (N, 2), has a negative index, or compares an
            arm with itself.

    Example:
        >>> Dataset([(0, 1), (1, 2)]).pairs.shape
        (2, 2)
        >>> Dataset([(0, 1), (1, 2), (0, 1)])
        Dataset(3 pairs, 2 different: 0 beats 1 2 times, 1 beats 2 once)
    """

    pairs: NDArray[np.intp]
    on_policy: ClassVar[bool] = False

    def __init__(self, pairs: ArrayLike) -> None:
        array = checks.as_numbers(pairs, "pairs")
        if array.size == 0:
            raise ValueError("pairs must hold at least one (winner, loser) pair, but the data set is empty")
        if array.ndim != 2 or array.shape[1] != 2 or not np.issubdtype(array.dtype, np.integer):
            raise ValueError(
                f"pairs must be integers of shape (N, 2), (winner, loser), but they have "
                f"shape {array.shape} and type {array.dtype}"
            )
        bad = (array < 0) | (array > MOST_ARMS)
        checks.reject_first(bad, array, "pairs", f"indices of arms, 0 to {MOST_ARMS}", "count arms from 0")
        same = array[:, 0] == array[:, 1]
        checks.reject_first(
            same, array[:, 0], "pairs", "two different arms", "drop pairs of an arm with itself"
        )
        array = array.astype(np.intp)
        array.flags.writeable = False
        object.__setattr__(self, "pairs", array)

    def __repr__(self) -> str:
        shown = ", ".join(f"{winner} beats {loser} {_times(n)}" for winner, loser, n in self._most_often())
        pairs, different = len(self.pairs), len(self.counted[0])
        more = ", ..." if different > display.MOST else ""
        return f"Dataset({pairs} pairs, {different} different: {shown}{more})"

    def _repr_html_(self) -> str:
        rows = [
            [str(winner), str(loser), str(n), display.digits(n / len(self.pairs))]
            for winner, loser, n in self._most_often()
        ]
        above = f"Dataset: {len(self.pairs)} labelled pairs, {len(self.counted[0])} different"
        below = ["the most frequent"] if len(self.counted[0]) > display.MOST else []
        return display.page([above], ["winner", "loser", "times", "share"], rows, below)

    def _most_often(self) -> list[tuple[int, int, int]]:
        """Winner, loser and number of the most frequent pairs."""
        pairs, share = self.counted
        first = np.argsort(-share, kind="stable")[: display.MOST]
        return [
            (int(winner), int(loser), round(n * len(self.pairs)))
            for (winner, loser), n in zip(pairs[first], share[first], strict=True)
        ]

    @cached_property
    def counted(self) -> tuple[NDArray[np.intp], Floats]:
        """The distinct pairs, (n, 2), and the share of each in the data, (n,)."""
        size = self.pairs.max() + 1
        codes, counts = np.unique(self.pairs[:, 0] * size + self.pairs[:, 1], return_counts=True)
        return np.stack(np.divmod(codes, size), axis=-1), counts / counts.sum()

    def law(self, algorithm: Algorithm, bandit: Bandit, log_policy: Floats) -> Labelled:
        """The distinct pairs with their shares.

        Raises:
            ValueError: the algorithm does not take pairs, an index is out of range, or a listed arm is
                outside the reference's support.
        """
        _need_pairs(algorithm, self)
        checks.reject_first(
            self.pairs >= bandit.arms,
            self.pairs,
            "pairs",
            f"indices below {bandit.arms}",
            "the bandit has no such arm",
        )
        law = Labelled(*self.counted, bandit.arms)
        _check_support(law.behavior, bandit, "pairs (share of an arm)")
        return law

    def at(self, index: tuple[int, ...], contexts: tuple[int, ...]) -> Dataset:
        """The same data in one context."""
        return self


@dataclass(frozen=True)
class OnPolicy:
    """Samples from the policy in training; expectations move with it.

    Example:
        >>> from bandits import CoPG
        >>> OnPolicy().law(CoPG(beta=1.0), Bandit([1.0, 0.0]), np.log([0.25, 0.75])).behavior
        array([0.25, 0.75])
    """

    on_policy: ClassVar[bool] = True

    def _repr_html_(self) -> str:
        return display.page(["OnPolicy: k independent samples of the policy in training"], [], [], [])

    def law(self, algorithm: Algorithm, bandit: Bandit, log_policy: Floats) -> Product:
        """k independent samples of the policy, the last from the algorithm's opponent if it brings one."""
        k = group_size(algorithm)
        policy = np.exp(log_policy)
        if not hasattr(algorithm, "opponent"):
            return Product((policy,) * k)
        opponent = np.exp(log_softmax(algorithm.opponent(log_policy, bandit.log_reference), axis=-1))
        return Product((policy,) * (k - 1) + (opponent,))

    def at(self, index: tuple[int, ...], contexts: tuple[int, ...]) -> OnPolicy:
        """The same rule in one context."""
        return self


Sampling = Offline | Pairs | Dataset | OnPolicy


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _names(behaviors: tuple[Any, ...]) -> list[str]:
    return ["mu"] if len(behaviors) == 1 else [f"mu{i + 1}" for i in range(len(behaviors))]


def as_sampling(sampling: Any) -> Sampling:
    """A sampling rule as it is; a flat list of A numbers as `Offline`.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(sampling, type):
        name = sampling.__name__
        raise ValueError(f"sampling must be an object, but it is the class {name}; write {name}(...)")
    if all(hasattr(sampling, name) for name in ("law", "at", "on_policy")):
        return sampling
    rule = (
        "sampling must be Offline(mu), Pairs(joint), Dataset(pairs), OnPolicy() or a flat list of A numbers, "
        "which is Offline(list); several behaviour policies are Offline(mu1, mu2), one for each place of the "
        "group, or Offline([mu1, mu2]), one for each context"
    )
    try:
        numbers = checks.as_numbers(sampling, "sampling")
    except ValueError as error:
        raise ValueError(f"{rule}; {error}") from error
    if numbers.ndim != 1:
        raise ValueError(f"{rule}; but the shape of sampling is {numbers.shape}")
    return Offline(checks.distribution(numbers, "sampling"))


def _need_pairs(algorithm: Algorithm, sampling: Sampling) -> None:
    _refuse_on_policy_algorithms(algorithm, sampling)
    k = group_size(algorithm)
    if k != 2:
        raise ValueError(
            f"{type(sampling).__name__} gives pairs, but {type(algorithm).__name__} looks at groups of "
            f"k = {k} samples; use Offline(mu) or OnPolicy()"
        )


def _refuse_on_policy_algorithms(algorithm: Algorithm, sampling: Sampling) -> None:
    if getattr(algorithm, "needs_on_policy", False):
        raise ValueError(
            f"{type(algorithm).__name__} brings its own opponent and takes OnPolicy(), "
            f"but the sampling is {type(sampling).__name__}; on fixed data use IPO"
        )


def _check_support(behavior: Floats, bandit: Bandit, name: str) -> None:
    if behavior.shape != (*bandit.contexts, bandit.arms):
        checks.same_arms(behavior, np.broadcast_to(0.0, (*bandit.contexts, bandit.arms)), name, "the bandit")
    if bandit.reference.min() > 0:
        return
    reference = np.broadcast_to(bandit.reference, np.broadcast_shapes(behavior.shape, bandit.reference.shape))
    bad = (behavior > 0) & (reference == 0)
    checks.reject_first(
        bad,
        np.broadcast_to(behavior, bad.shape),
        name,
        "zero where the reference is zero",
        "log pi/ref is infinite there: give the reference mass or do not sample the arm",
    )
