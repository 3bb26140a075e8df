"""What is the world?  A bandit with finitely many arms, on which everything can be computed exactly.

A response y is an arm, a prompt is a context.  The world holds the reward r(y), the preference
P(y, y') = p(y beats y') with P + P^T = 1, and the reference policy ref(y).  The regularised value

    J(pi) = E_pi[r] - beta KL(pi || ref)

has the maximiser pi* = ref exp(r / beta) / Z, the maximum J* = beta log E_ref[exp(r / beta)], and
the regret J* - J(pi) = beta KL(pi || pi*) for every pi  (T1.1, T1.2).  Preferences alone define a
game whose regularised equilibrium is `nash_policy`  (T6.1).

Axes: arms last; all leading axes are contexts and broadcast.  Policies are probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from bandits import checks, display
from bandits.checks import Floats
from bandits.policy import kl, log_policy_of, tilt
from bandits.solvers import equilibrium

BLOCK = 2**16  # entries of the A x A preference matrix that are held at a time: they stay in the cache


@dataclass(frozen=True, eq=False, init=False)
class Bandit:
    """A finite world: reward and/or preferences, and a reference policy.

    Args:
        reward: r, (..., A); None for a world of preferences only.
        preference: P, (..., A, A), P[i, j] = p(i beats j).  Defaults to Bradley-Terry,
            sigmoid(r_i - r_j), which is never stored unless `preference` is read.
        reference: ref, (..., A); defaults to uniform.  Arms of probability zero stay at zero.
        length: tokens of each arm, (..., A), positive; for length-normalised losses.
        desirable: P(label 1) of each arm alone, (..., A), in [0, 1]; for unpaired labels (KTO).
        names: A strings, what pictures and tables call the arms.

    Raises:
        ValueError: an entry is not finite, a probability is negative or unnormalised,
            P + P^T is not 1, a length is not positive, the shapes do not fit, names are not A strings,
            or there is neither reward nor preference.

    Example:
        >>> bandit = Bandit([np.log(2.0), 0.0])
        >>> bandit.optimal_policy(beta=1.0).round(4)
        array([0.6667, 0.3333])
        >>> bandit
        Bandit(reward=[0.6931 0], reference=[0.5 0.5])
    """

    reward: Floats | None
    reference: Floats
    log_reference: Floats
    given_preference: Floats | None
    length: Floats | None
    desirable: Floats | None
    names: tuple[str, ...] | None

    def __init__(
        self,
        reward: ArrayLike | None = None,
        *,
        preference: ArrayLike | None = None,
        reference: ArrayLike | None = None,
        length: ArrayLike | None = None,
        desirable: ArrayLike | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        if reward is None and preference is None:
            raise ValueError("a Bandit needs a reward or a preference matrix, but both are None; give one")
        rewards = None if reward is None else checks.arms(reward, "reward")
        matrix = None if preference is None else _preference_matrix(preference)
        size = next(x.shape[-1] for x in (rewards, matrix) if x is not None)
        ref = checks.distribution(np.full(size, 1 / size) if reference is None else reference, "reference")
        of_arms = {
            "reward": rewards,
            "preference": None if matrix is None else matrix[..., 0],
            "length": None if length is None else _lengths(length),
            "desirable": None if desirable is None else _probabilities(desirable, "desirable"),
        }
        _check_shapes(of_arms, ref)
        log_ref = log_policy_of(ref)
        log_ref.flags.writeable = False
        for name, value in [
            ("reward", rewards),
            ("reference", ref),
            ("log_reference", log_ref),
            ("given_preference", matrix),
            ("length", of_arms["length"]),
            ("desirable", of_arms["desirable"]),
            ("names", None if names is None else _names(names, size)),
        ]:
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        parts = {name: display.numbers(array) for name, array in self._of_arms().items()}
        if self.given_preference is not None:
            parts["preference"] = display.numbers(self.given_preference)
        return display.call("Bandit", parts | ({} if self.names is None else {"names": str(self.names)}))

    def _repr_html_(self) -> str:
        """One line an arm, of the first context."""
        here = self.at((0,) * len(self.contexts)) if self.contexts else self
        P = here.given_preference
        columns = {"policy of the reference": here.reference, **here._of_arms()}
        del columns["reference"]
        tables = [display.cells(array) for array in columns.values()]
        heads = ["arm", *columns]
        if P is not None:
            names = display.arms(self.arms, self.names)
            heads += [f"beats {name}" for name in names]
            tables += [display.cells(column) for column in P.T[: display.MOST]]
            tables += [["..."] * len(names)] * (self.arms > display.MOST)
        rows = zip(display.arms(self.arms, self.names), *tables, strict=True)
        where = (
            f", context {', '.join('0' for _ in self.contexts)} of {self.contexts}" if self.contexts else ""
        )
        return display.page([f"Bandit, {self.arms} arms{where}"], heads, [*rows], [])

    def _of_arms(self) -> dict[str, Floats]:
        """What is known of each arm, by name."""
        known = {"reward": self.reward, "reference": self.reference}
        known |= {"length": self.length, "desirable": self.desirable}
        return {name: array for name, array in known.items() if array is not None}

    @property
    def arms(self) -> int:
        """A, the number of arms."""
        return self.reference.shape[-1]

    @cached_property
    def contexts(self) -> tuple[int, ...]:
        """Shape of the leading axes."""
        of_arms = (self.reference, self.reward, self.length, self.desirable)
        shapes = [x.shape[:-1] for x in of_arms if x is not None]
        shapes += [] if self.given_preference is None else [self.given_preference.shape[:-2]]
        return np.broadcast_shapes(*shapes)

    @cached_property
    def preference(self) -> Floats:
        """P, (..., A, A).  Bradley-Terry of the reward unless given (T0.2): A^2 numbers."""
        if self.given_preference is not None:
            return self.given_preference
        reward = self.needed_reward()
        matrix = expit(reward[..., :, None] - reward[..., None, :])
        matrix.flags.writeable = False
        return matrix

    def at(self, index: tuple[int, ...], contexts: tuple[int, ...] | None = None) -> Bandit:
        """The world of one context, without leading axes; `contexts` is the shape that `index` refers to."""
        shape = self.contexts if contexts is None else contexts

        def here(of_arms: Floats | None, axes: int = 1) -> Floats | None:
            return None if of_arms is None else np.broadcast_to(of_arms, (*shape, *[self.arms] * axes))[index]

        return Bandit(
            here(self.reward),
            preference=here(self.given_preference, axes=2),
            reference=here(self.reference),
            length=here(self.length),
            desirable=here(self.desirable),
            names=self.names,
        )

    def needed_reward(self) -> Floats:
        """The reward.

        Raises:
            ValueError: this is a world of preferences only.
        """
        if self.reward is None:
            raise ValueError(
                "this Bandit has preferences but no reward, and the question needs one; pass reward="
            )
        return self.reward

    # -------------------------------------------------------- the reward's side (chapter T1)

    def optimal_policy(self, beta: float) -> Floats:
        """The maximiser of J, pi* = ref exp(r / beta) / Z, (..., A)  (T1.1).

        Limits: beta -> inf gives ref, beta -> 0 gives ref restricted to the best arms (T1.3).
        """
        return np.exp(self.log_optimal_policy(beta))

    def log_optimal_policy(self, beta: float) -> Floats:
        """Logarithm of `optimal_policy`; it does not underflow."""
        return tilt(self.log_reference, self.needed_reward(), checks.positive(beta, "beta"))

    def optimal_value(self, beta: float) -> Floats:
        """The maximum J* = beta log E_ref[exp(r / beta)], (...)  (T1.1).

        Around the mean reward the first order cancels exactly, so J* keeps its digits both for
        beta -> inf (J* -> E_ref[r]) and for beta -> 0 (J* -> max r).
        """
        beta = checks.positive(beta, "beta")
        ref, reward = np.broadcast_arrays(self.reference, self.needed_reward())
        total = ref.sum(axis=-1)
        mean = np.vecdot(ref, reward) / total
        if ref.min() == 0:
            reward = np.where(ref > 0, reward, mean[..., None])  # counts for nothing, and is no extreme
        top, low = reward.max(axis=-1), reward.min(axis=-1)
        narrow = np.maximum(top - mean, mean - low) < beta
        exponent = reward - np.where(narrow, mean, top)[..., None]
        exponent /= beta
        small = large = np.ones(narrow.shape)
        if narrow.any():
            small = np.vecdot(ref, np.expm1(exponent)) / total
        if not narrow.all():
            large = np.vecdot(ref, np.exp(exponent)) / total
        return np.where(narrow, mean + beta * np.log1p(small), top + beta * np.log(large))[()]

    def value(self, policy: ArrayLike, beta: float) -> Floats:
        """J(pi) = E_pi[r] - beta KL(pi || ref), (...); -inf where pi leaves the reference's support."""
        log_policy, beta = self.checked_log_policy(policy), checks.positive(beta, "beta")
        reward = (np.exp(log_policy) * self.needed_reward()).sum(axis=-1)
        return reward - beta * kl(log_policy, self.log_reference)

    def regret(self, policy: ArrayLike, beta: float) -> Floats:
        """J* - J(pi), computed as beta KL(pi || pi*) without cancellation, (...)  (T1.2)."""
        return beta * kl(self.checked_log_policy(policy), self.log_optimal_policy(beta))

    # -------------------------------------------------------- the preferences' side (chapter T6)

    def preference_over(self, opponent: ArrayLike) -> Floats:
        """p(y beats pi') = E_{y' ~ pi'}[P(y, y')] of every arm, (..., A).

        The Bradley-Terry matrix of a reward is visited in blocks of rows and never held.
        """
        rival = np.exp(self.checked_log_policy(opponent, "opponent"))
        if self.given_preference is not None:
            return (self.given_preference @ rival[..., None])[..., 0]
        reward = self.needed_reward()
        result = np.empty(np.broadcast_shapes(reward.shape, rival.shape))
        middle = (reward.max(axis=-1, keepdims=True) + reward.min(axis=-1, keepdims=True)) / 2
        near = np.abs(reward - middle).max() < 300
        odds = np.exp(reward - middle) if near else reward
        for rows in _row_blocks(result.shape):
            if near:  # sigma(r - r') = odds / (odds + odds'): one division a pair, no exponential
                block = odds[..., rows, None] / (odds[..., rows, None] + odds[..., None, :])
            else:
                block = expit(reward[..., rows, None] - reward[..., None, :])
            result[..., rows] = (block @ rival[..., None])[..., 0]
        return result

    def preference_rows(self, rows: slice) -> Floats:
        """Some rows of P, (..., rows, A), without the others."""
        if self.given_preference is not None:
            return self.given_preference[..., rows, :]
        reward = self.needed_reward()
        return expit(reward[..., rows, None] - reward[..., None, :])

    def preference_between(self, arms: NDArray[np.integer]) -> Floats:
        """P among the arms of each group: indices (..., n, k) to (..., n, k, k), without the A x A matrix."""
        if self.given_preference is not None:
            flat = self.given_preference.reshape(*self.given_preference.shape[:-2], -1)
            return gather(flat, arms[..., :, None] * self.arms + arms[..., None, :], axes=3)
        reward = gather(self.needed_reward(), arms, axes=2)
        return expit(reward[..., :, None] - reward[..., None, :])

    def win_rate(self, policy: ArrayLike, opponent: ArrayLike) -> Floats:
        """P(pi beats pi') = sum_y pi(y) p(y beats pi'), (...)."""
        return (np.exp(self.checked_log_policy(policy)) * self.preference_over(opponent)).sum(axis=-1)

    def best_response(self, opponent: ArrayLike, beta: float) -> Floats:
        """argmax_pi P(pi beats pi') - beta KL(pi || ref) = ref exp(p(y beats pi') / beta) / Z, (..., A)."""
        beta = checks.positive(beta, "beta")
        return np.exp(tilt(self.log_reference, self.preference_over(opponent), beta))

    def nash_policy(self, beta: float) -> Floats:
        """The regularised equilibrium pi* = ref exp(p(y beats pi*) / beta) / Z, (..., A)  (T6.1).

        Raises:
            NotConverged: Newton's method failed; the error carries its `solution`.
        """
        beta = checks.positive(beta, "beta")
        return equilibrium.equilibrium(self.preference, self.log_reference, beta).policy

    def duality_gap(self, policy: ArrayLike, beta: float) -> Floats:
        """2 max_pi' [P_beta(pi' beats pi) - 1/2], zero only at the equilibrium, (...)  (T6.3)."""
        log_policy = self.checked_log_policy(policy)
        return equilibrium.duality_gap(
            self.preference, self.log_reference, log_policy, checks.positive(beta, "beta")
        )

    def checked_log_policy(self, policy: ArrayLike, name: str = "policy") -> Floats:
        """log of a policy argument, validated against this world."""
        return log_policy_of(self.checked_policy(policy, name))

    def checked_policy(self, policy: ArrayLike, name: str) -> Floats:
        """A policy argument, validated against this world."""
        probabilities = checks.distribution(policy, name)
        shape = (*self.contexts, self.arms)
        if probabilities.shape != shape:
            checks.same_arms(probabilities, np.broadcast_to(0.0, shape), name, "the bandit")
        return probabilities


def gather(table: Floats, arms: NDArray[np.integer], axes: int) -> Floats:
    """table[..., arms]: a table (contexts, n) read at indices (batch, contexts, g1, ..., g_{axes}).

    The last `axes` axes of `arms` are group axes that the table does not have; the axes before them
    broadcast against the contexts of the table.
    """
    if arms.ndim == axes == 2 and arms.flags.f_contiguous:  # the result lies in memory as the indices do
        return table.take(arms.T, axis=-1).swapaxes(-1, -2)
    if arms.ndim == axes:
        return table.take(arms, axis=-1)
    group = arms.shape[arms.ndim - axes :]
    flat = arms.reshape(*arms.shape[: arms.ndim - axes], -1)
    if table.ndim == 1:
        return table[arms]
    lead = np.broadcast_shapes(table.shape[:-1], flat.shape[:-1])
    table = np.broadcast_to(table, (*lead, table.shape[-1]))
    flat = np.broadcast_to(flat, (*lead, flat.shape[-1]))
    return np.take_along_axis(table, flat, axis=-1).reshape(*lead, *group)


def _row_blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    rows = max(1, BLOCK // int(np.prod(shape)))
    return (slice(i, i + rows) for i in range(0, shape[-1], rows))


def _preference_matrix(preference: ArrayLike) -> Floats:
    raw = checks.as_numbers(preference, "preference")
    matrix = checks.floats(raw, "preference")
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or matrix.size == 0:
        raise ValueError(f"preference must have shape (..., A, A), but its shape is {matrix.shape}")
    _reject_outside(matrix, "preference")
    both = matrix + np.swapaxes(matrix, -1, -2)
    bad = np.abs(both - 1) > checks.sum_tolerance(raw)
    checks.reject_first(bad, both, "preference + its transpose", "1", "make p(i beats j) = 1 - p(j beats i)")
    if raw.dtype == np.float32:  # exactly complementary in float64
        matrix = (matrix + (1 - np.swapaxes(matrix, -1, -2))) / 2
        matrix.flags.writeable = False
    return matrix


def _lengths(length: ArrayLike) -> Floats:
    tokens = checks.arms(length, "length")
    checks.reject_first(
        tokens <= 0, tokens, "length", "positive", "count the tokens of each arm, end included"
    )
    return tokens


def _probabilities(values: ArrayLike, name: str) -> Floats:
    array = checks.arms(values, name)
    _reject_outside(array, name)
    return array


def _reject_outside(values: Floats, name: str) -> None:
    checks.reject_first((values < 0) | (values > 1), values, name, "a probability", "entries lie in [0, 1]")


def _names(names: Sequence[str], size: int) -> tuple[str, ...]:
    listed = np.ndim(names) == 1 if isinstance(names, np.ndarray) else isinstance(names, Sequence)
    if isinstance(names, str) or not listed:
        raise ValueError(f"names must be {size} strings, one an arm, but names = {checks.shown(names)}")
    for i, name in enumerate(names):
        if not isinstance(name, str):
            raise ValueError(f"names must be strings, but names[{i}] = {checks.shown(name)}; write it as one")
    if len(names) != size:
        raise ValueError(f"names must hold one string for each of the {size} arms, but it has {len(names)}")
    return tuple(str(name) for name in names)


def _check_shapes(of_arms: dict[str, Floats | None], reference: Floats) -> None:
    """The same arms everywhere, and contexts that broadcast: all do if every two do."""
    present = [(name, array) for name, array in of_arms.items() if array is not None]
    for name, array in present:
        checks.same_arms(array, reference, name, "reference")
    for (name, array), (other, array_2) in combinations(present, 2):
        checks.same_arms(array, array_2, name, other)
