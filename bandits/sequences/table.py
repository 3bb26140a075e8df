"""Which answers are there, and which row of logits decides each of their tokens?

A vocabulary of V tokens, at most T of them in an answer, one of them perhaps the end: every prefix that has
not ended has a row of V logits, and every answer y is an arm with

    log pi(y) = sum_t log pi(y_t | y_<t),      pi(. | x) = softmax of the row of prefix x  (T10.1).

With a row for every prefix the table can represent every policy over answers with full support.  Rows may be
shared (`row`), as a model shares its parameters between prefixes: then it can represent fewer.

Axes: A answers, T tokens of each (padded on the right), R rows, V vocabulary.  Prefixes come shorter ones
first, answers in lexicographic order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.policy import normalised

MAX_SEQUENCES = 10_000
Prefix = tuple[int, ...]
Rows = Callable[[Prefix], int]  # prefix to the row that decides its next token
Indices = NDArray[np.intp]


@dataclass(frozen=True, eq=False, init=False)
class TokenTable:
    """Every answer of a small vocabulary, and the table of logits that gives each its probability.

    Args:
        logits: of the reference, (R, V), or (V,) for the same in every row; -inf for what never comes.
        length: T, most tokens of an answer, its end included.
        end: the token that ends an answer; None: every answer has T tokens.
        row: which row decides the token behind a prefix (a tuple of tokens); by default each prefix has its
            own, in the order of `prefixes`.  `row=len` shares rows between all prefixes of one length.
        max_sequences: more answers than these are refused before anything is made.

    Raises:
        ValueError: there are too many answers, a row does not normalise, the end cannot be reached, or the
            shape does not fit.

    Example: two tokens, the second of which ends the answer; at most two of them.

        >>> table = TokenTable(np.log([0.75, 0.25]), length=2, end=1)
        >>> table.sequences
        ((0, 0), (0, 1), (1,))
        >>> np.exp(table.log_prob()).round(4)
        array([0.5625, 0.1875, 0.25  ])
    """

    logits: Floats  # (R, V)  of the reference
    length: int
    end: int | None
    prefixes: tuple[Prefix, ...]
    sequences: tuple[Prefix, ...]
    row_of_prefix: Indices  # (prefixes,)

    def __init__(
        self,
        logits: ArrayLike,
        *,
        length: int,
        end: int | None = None,
        row: Rows | None = None,
        max_sequences: int = MAX_SEQUENCES,
    ) -> None:
        given = checks.as_numbers(logits, "logits").astype(float)
        if given.ndim not in (1, 2) or given.shape[-1] < 1:
            raise ValueError(f"logits must be (rows, V) or (V,), but their shape is {given.shape}")
        vocabulary, most = given.shape[-1], checks.count(max_sequences, "max_sequences")
        length, end = checks.count(length, "length"), _checked_end(end, vocabulary)
        _refuse_too_many(vocabulary, length, end, most)
        prefixes, sequences = grown(vocabulary, length, end)
        rows = np.array([_row(row, prefix) for prefix in prefixes]) if row else np.arange(len(prefixes))
        logits_of_rows = _checked_logits(given, rows, end, length)
        for name, value in [
            ("logits", logits_of_rows),
            ("length", length),
            ("end", end),
            ("prefixes", prefixes),
            ("sequences", sequences),
            ("row_of_prefix", rows),
        ]:
            object.__setattr__(self, name, value)

    @cached_property
    def mask(self) -> Floats:
        """1 where an answer has a token, its end included, 0 behind it, (A, T)."""
        return (np.arange(self.length) < self.lengths[:, None]).astype(float)

    @cached_property
    def lengths(self) -> Floats:
        """Tokens of each answer, its end included, (A,)."""
        return np.array([float(len(y)) for y in self.sequences])

    @cached_property
    def mask_without_end(self) -> Floats:
        """`mask`, but zero at the end token: what a trainer that cuts it off sees, (A, T)."""
        if self.end is None:
            return self.mask
        return np.where(self.tokens == self.end, 0.0, self.mask)

    @cached_property
    def tokens(self) -> Indices:
        """Tokens of each answer, zero behind its end, (A, T)."""
        return np.array([(*y, *(0,) * (self.length - len(y))) for y in self.sequences])

    @cached_property
    def nodes(self) -> Indices:
        """Which prefix each token stands behind, as its place in `prefixes`, (A, T); zero behind the end."""
        place = {prefix: index for index, prefix in enumerate(self.prefixes)}
        steps = range(self.length)
        return np.array([[place[y[:t]] if t < len(y) else 0 for t in steps] for y in self.sequences])

    @cached_property
    def rows(self) -> Indices:
        """Which row decides each token, (A, T); any behind the end."""
        return self.row_of_prefix[self.nodes]

    @cached_property
    def entries(self) -> Floats:
        """1 where a token of an answer is decided by an entry of the logits, (A T, R V)."""
        rows, vocabulary = self.logits.shape
        entry = (self.rows * vocabulary + self.tokens).ravel()
        return (entry[:, None] == np.arange(rows * vocabulary)) * self.mask.reshape(-1, 1)

    def token_log_prob(self, logits: ArrayLike | None = None) -> Floats:
        """log pi(y_t | y_<t) of each token of each answer, zero behind its end, (..., A, T).

        Args:
            logits: (..., R, V), by default the reference's.
        """
        log_prob = normalised(self.checked(logits).copy())
        return np.where(self.mask > 0, log_prob[..., self.rows, self.tokens], 0.0)

    def log_prob(self, logits: ArrayLike | None = None) -> Floats:
        """log pi(y) = sum_t log pi(y_t | y_<t) of each answer, (..., A)  (T10.1)."""
        return self.token_log_prob(logits).sum(-1)

    def bandit(self, reward: ArrayLike | None = None, *, preference: ArrayLike | None = None) -> Bandit:
        """The world whose arms are the answers: the table's own probabilities are the reference.

        Args:
            reward: r(y) of each answer, (A,).
            preference: P(y, y'), (A, A), as for `Bandit`.

        Raises:
            ValueError: as `Bandit`, or there is not one number for each answer.
        """
        names = [" ".join(map(str, y)) for y in self.sequences]
        for what, given in (("reward", reward), ("preference", preference)):
            if given is not None and np.shape(given)[-1:] != (len(names),):
                raise ValueError(
                    f"{what} must have one entry for each of the {len(names)} answers, in the order of "
                    f"`sequences`, but its shape is {np.shape(given)}"
                )
        reference = np.exp(self.log_prob())
        return Bandit(reward, preference=preference, reference=reference, length=self.lengths, names=names)

    def conditionals(self, log_policy: Floats) -> Floats:
        """log of the next token's probability under any law of answers, (..., A) to (..., A, T)  (T10.1).

        pi(v | x) = pi(answers that begin with xv) / pi(answers that begin with x); zero behind the end.
        """
        reached = np.empty((*log_policy.shape, self.length + 1))
        for t, (order, first, group) in enumerate(self._passing):
            mass = np.logaddexp.reduceat(log_policy[..., order], first, axis=-1)
            reached[..., order, t] = mass[..., group]
        last = self.lengths.astype(int)
        reached[..., np.arange(len(last)), last] = log_policy
        with np.errstate(invalid="ignore"):  # behind what never comes
            steps = reached[..., 1:] - reached[..., :-1]
        return np.where(self.mask > 0, steps, 0.0)

    @cached_property
    def _passing(self) -> list[tuple[Indices, Indices, Indices]]:
        """At each step the answers sorted by prefix, where each prefix begins, and which one is whose."""
        found = []
        for t in range(self.length):
            node = np.where(self.lengths > t, self.nodes[:, t], -1 - np.arange(len(self.lengths)))
            order = np.argsort(node, kind="stable")
            new = np.diff(node[order], prepend=node[order][0] - 1) != 0
            found.append((order, np.flatnonzero(new), np.cumsum(new) - 1))
        return found

    def pulled_back(self, coefficient: Floats, logits: Floats) -> Floats:
        """sum_yt C[y, t] grad log pi(y_t | y_<t) with respect to the logits, (..., A, T) to (..., R, V)."""
        seen = np.where(self.mask > 0, coefficient, 0.0)
        moved = (seen.reshape(*seen.shape[:-2], -1) @ self.entries).reshape(
            *seen.shape[:-2], *self.logits.shape
        )
        return moved - np.exp(normalised(logits.copy())) * moved.sum(axis=-1, keepdims=True)

    def checked(self, logits: ArrayLike | None) -> Floats:
        """Logits (..., R, V), the reference's where none are given.

        Raises:
            ValueError: another shape, or a row that does not normalise.
        """
        if logits is None:
            return self.logits
        given = checks.as_numbers(logits, "logits").astype(float)
        if given.shape[-2:] != self.logits.shape:
            raise ValueError(
                f"logits must be (..., {', '.join(map(str, self.logits.shape))}) like the "
                f"table's, but their shape is {given.shape}"
            )
        return _normalisable(given)


def _checked_end(end: int | None, vocabulary: int) -> int | None:
    if end is None:
        return None
    if isinstance(end, bool) or not isinstance(end, int | np.integer) or not 0 <= end < vocabulary:
        raise ValueError(
            f"end must be a token of the vocabulary, 0 to {vocabulary - 1}, or None for answers of exactly "
            f"`length` tokens, but end = {checks.shown(end)}"
        )
    return int(end)


def count_answers(vocabulary: int, length: int, end: int | None) -> int:
    """How many answers: sum_{t < T} (V-1)^t that end and (V-1)^T that do not; V^T without an end."""
    going = vocabulary if end is None else vocabulary - 1
    ended = 0 if end is None else sum(going**t for t in range(length))
    return going**length + ended


def _refuse_too_many(vocabulary: int, length: int, end: int | None, most: int) -> None:
    """Count before anything is made.

    Raises:
        ValueError: there are more answers than `most`.
    """
    total = count_answers(vocabulary, length, end)
    if total > most:
        raise ValueError(
            f"a vocabulary of {vocabulary} and length {length} make {total:.6g} sequences, but "
            f"max_sequences = {most}; take a smaller vocabulary, shorter answers, or raise it"
        )


def grown(vocabulary: int, length: int, end: int | None) -> tuple[tuple[Prefix, ...], tuple[Prefix, ...]]:
    """All prefixes that have not ended, shorter ones first, and all answers, in lexicographic order."""
    prefixes: list[Prefix] = []
    sequences: list[Prefix] = []
    level: list[Prefix] = [()]
    for t in range(length):
        prefixes += level
        grown = [(*x, v) for x in level for v in range(vocabulary)]
        done = [y for y in grown if t == length - 1 or y[-1] == end]
        sequences += done
        level = [y for y in grown if y[-1] != end]
    return tuple(prefixes), tuple(sorted(sequences))


def _row(row: Rows, prefix: Prefix) -> int:
    index = row(prefix)
    if isinstance(index, bool) or not isinstance(index, (int, np.integer)) or index < 0:
        raise ValueError(
            f"row must return the index of a row, 0 or more, but for the prefix {prefix} it returns "
            f"{checks.shown(index)}"
        )
    return int(index)


def _checked_logits(given: Floats, rows: Indices, end: int | None, length: int) -> Floats:
    """The reference's logits, one row each, read-only.

    Raises:
        ValueError: not so many rows, a row that does not normalise, or an end that never comes.
    """
    count = int(rows.max()) + 1
    if given.ndim == 2 and len(given) != count:
        raise ValueError(
            f"logits must have {count} rows, one for each prefix that has not ended (or for each that `row` "
            f"tells apart), but they have {len(given)}; give (V,) for the same everywhere"
        )
    logits = _normalisable(np.broadcast_to(given, (count, given.shape[-1]))).copy()
    if end is not None and length > 1 and np.isneginf(logits[:, end]).all():
        raise ValueError(
            f"the end must be reachable, but logits[:, {end}] is -inf in every row; "
            f"give end=None for answers of exactly {length} tokens"
        )
    logits.flags.writeable = False
    return logits


def _normalisable(logits: Floats) -> Floats:
    """Logits whose softmax exists in every row.

    Raises:
        ValueError: an entry is NaN or +inf, or a row is -inf throughout.
    """
    bad = np.isnan(logits) | np.isposinf(logits)
    checks.reject_first(bad, logits, "logits", "finite, or -inf for what never comes", "mend that entry")
    empty = np.isneginf(logits).all(axis=-1)
    if empty.any():
        index = tuple(int(i) for i in np.argwhere(empty)[0])
        raise ValueError(
            f"every row of logits must normalise, but row {list(index)} is -inf throughout: "
            f"no token can follow; give one of its entries a finite number"
        )
    return logits
