"""How likely is each group of k arms?  What a sampling rule becomes once algorithm and policy are known.

    Product    k independent arms, one marginal each: everything pairwise costs O(A)
    Joint      a pair with joint law W(y, y')
    Labelled   a finite list of (winner, loser) pairs, equally likely, with their labels

Each law offers the same questions: `tuples` to enumerate, `behavior` (who sampled a single arm), and the
sampling graph of its pairs, S = W + W^T summed over the pairs of the group:

    laplacian(x)         L x, L = diag(S 1) - S  (T3.2)
    components           of the graph  (T3.3)
    preference_flow      sum_y' S(y, y') (P(y, y') - 1/2); its potential, L x = flow, is the `ranking`  (T4.3)
    wins                 S P, how often y beat y'; `likelihood_gradient(x)`: how much more often than
                         strengths x predict  (T5.2)

Axes: arms last; the leading axes of a law are contexts and broadcast.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.sampling.likelihood import likelihood_gradient
from bandits.solvers import graph

Arms = NDArray[np.intp]
BLOCK = 2**16  # groups enumerated at a time
KEPT = 2**12  # of them, so few are kept for the next sum

WON = np.array([[0.5, 1.0], [0.0, 0.5]])  # preference matrix of a pair listed as (winner, loser)
WON.flags.writeable = False


@dataclass(frozen=True, eq=False)
class Product:
    """k independent arms with probabilities `marginals[i]`, each (..., A)."""

    marginals: tuple[Floats, ...]
    labels = None  # preferences come from the world

    @property
    def k(self) -> int:
        """Arms in a group."""
        return len(self.marginals)

    @cached_property
    def behavior(self) -> Floats:
        """Probability that a sample, in whichever place of the group, is this arm, (..., A)."""
        first = self.marginals[0]
        if all(m is first for m in self.marginals):
            return first
        return sum(self.marginals[1:], first) / self.k

    def place_behavior(self) -> tuple[Floats, ...]:
        """Law of each place of the group, k arrays (..., A)."""
        return self.marginals

    def tuples(self, block: int = BLOCK) -> Iterator[tuple[Arms, Floats]]:
        """All A^k groups, `block` at a time: arms (n, k) with their probabilities (..., n)."""
        size = self.marginals[0].shape[-1]
        total = size**self.k
        for first in range(0, total, block):
            last = min(first + block, total)
            few = last - first <= KEPT
            arms = _kept(size, self.k, first, last).copy() if few else _ordered(size, self.k, first, last)
            weight = self.marginals[0][..., arms[:, 0]]
            for place in range(1, self.k):
                weight = weight * self.marginals[place][..., arms[:, place]]
            yield arms, weight

    def laplacian(self, x: Floats) -> Floats:
        """L x summed over the pairs of the group, (..., A)  (T3.2).

        For pairs m1 (x - m2.x) + m2 (x - m1.x).  For k arms, with M = sum_i m_i,
        (k-1) M x - M (M.x) + sum_i m_i (m_i.x): a diagonal plus rank k, O(k A).
        """
        x = _seen(self.behavior, x)
        if self.k == 2:
            first, second = self.marginals
            pull = _scaled(x - _dot(second, x), first)
            if first is second:
                return _scaled(pull, np.array(2.0))
            return pull + _scaled(x - _dot(first, x), second)
        total = self.k * self.behavior
        own = sum(m * _dot(m, x) for m in self.marginals)
        return (self.k - 1) * total * x - total * _dot(total, x) + own

    def components(self, arms: int) -> Arms:
        """All sampled arms hang together; arms never sampled are alone, (..., A)."""
        if self.behavior.min() > 0:
            return np.broadcast_to(np.intp(0), self.behavior.shape)
        sampled = self.behavior > 0
        return np.where(sampled, sampled.argmax(axis=-1, keepdims=True), np.arange(arms))

    def preference_flow(self, bandit: Bandit) -> Floats:
        """m1 (p(y beats m2) - 1/2) + m2 (p(y beats m1) - 1/2), (..., A), for pairs  (T4.3)."""
        first, second = self._pair()
        if first is second:
            return 2 * first * (bandit.preference_over(first) - 0.5)
        return first * (bandit.preference_over(second) - 0.5) + second * (bandit.preference_over(first) - 0.5)

    def ranking(self, bandit: Bandit) -> Floats:
        """x with L x = preference_flow, (..., A), in O(A) once the flow is known  (T4.3).

        With s = m1 + m2, x = flow/s + (m1/s) (m2.x) + (m2/s) (m1.x).  Constants are free, so m1.x may be
        put to zero; then m2.x = m2.(flow/s) / sum_y m2^2/s.
        """
        (first, second), flow = self._pair(), self.preference_flow(bandit)
        total = first + second
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(total > 0, second / total, 0.0)
            particular = np.where(total > 0, flow / total, 0.0)
        level = _dot(second, particular) / _dot(second, share)
        return particular + np.where(total > 0, (1 - share) * level, 0.0)

    def wins(self, bandit: Bandit) -> Floats:
        """Weight of "y beat y'", (m1 m2' + m2 m1') P(y, y'), (..., A, A)  (T5.2)."""
        return self._weight(slice(None)) * bandit.preference

    def likelihood_gradient(self, bandit: Bandit, x: Floats, smoothing: float = 0.0) -> Floats:
        """sum_y' S(y, y') (P(y, y') - sigma(x - x')), (..., A), `smoothing` of the labels flipped  (T5.2)."""
        return likelihood_gradient(self._weight, self.behavior.shape, bandit, x, smoothing)

    def covers_all_pairs(self, among: NDArray[np.bool_]) -> bool:
        """Whether every two different arms among these, (..., A), are sampled together."""
        return _covers(self._weight(slice(None)), among)

    def resampled(self) -> Product:
        """Pairs i.i.d. from `behavior`: the contrast that a mean over the sampler implies  (T3.7)."""
        return Product((self.behavior, self.behavior))

    def _weight(self, rows: slice) -> Floats:
        """S = m1 m2' + m2 m1', (..., rows, A)."""
        first, second = self._pair()
        if first is second:
            return 2 * first[..., rows, None] * first[..., None, :]
        return first[..., rows, None] * second[..., None, :] + second[..., rows, None] * first[..., None, :]

    def _pair(self) -> tuple[Floats, Floats]:
        if self.k != 2:
            raise ValueError(f"preferences compare pairs, but this law draws groups of k = {self.k}")
        return self.marginals[0], self.marginals[1]


@dataclass(frozen=True, eq=False)
class Joint:
    """A pair (y, y') with joint probabilities `pairs`, (..., A, A)."""

    pairs: Floats
    k = 2
    labels = None

    @cached_property
    def symmetric(self) -> Floats:
        """S = W + W^T, (..., A, A)."""
        return self.pairs + np.swapaxes(self.pairs, -1, -2)

    @cached_property
    def behavior(self) -> Floats:
        """Probability that a sample, in whichever place, is this arm, (..., A)."""
        return self.symmetric.sum(-1) / 2

    def place_behavior(self) -> tuple[Floats, ...]:
        """Law of the first and of the second arm."""
        return self.pairs.sum(-1), self.pairs.sum(-2)

    def tuples(self, block: int = BLOCK) -> Iterator[tuple[Arms, Floats]]:
        """All A^2 pairs, `block` at a time: arms (n, 2) with their probabilities (..., n)."""
        size = self.pairs.shape[-1]
        flat = self.pairs.reshape(*self.pairs.shape[:-2], -1)
        for first in range(0, size**2, block):
            index = np.arange(first, min(first + block, size**2))
            yield np.stack(np.divmod(index, size), axis=-1), flat[..., index]

    def laplacian(self, x: Floats) -> Floats:
        """L x = diag(S 1) x - S x, (..., A)  (T3.2)."""
        x = _seen(self.behavior, x)
        return 2 * self.behavior * x - (self.symmetric @ x[..., None])[..., 0]

    def components(self, arms: int) -> Arms:
        """Connected components of S, (..., A)."""
        flat = self.symmetric.reshape(-1, arms, arms)
        return np.stack([graph.components(s) for s in flat]).reshape(*self.pairs.shape[:-2], arms)

    def preference_flow(self, bandit: Bandit) -> Floats:
        """sum_y' S(y, y') (P(y, y') - 1/2), (..., A)  (T4.3)."""
        return (self.symmetric * (bandit.preference - 0.5)).sum(-1)

    def ranking(self, bandit: Bandit) -> Floats:
        """x with L x = preference_flow, mean zero on each component, (..., A)  (T4.3)."""
        flow = self.symmetric * (bandit.preference - 0.5)
        S, F = (m.reshape(-1, *m.shape[-2:]) for m in np.broadcast_arrays(self.symmetric, flow))
        return np.stack([graph.rank(s, f) for s, f in zip(S, F, strict=True)]).reshape(flow.shape[:-1])

    def wins(self, bandit: Bandit) -> Floats:
        """Weight of "y beat y'", S P, (..., A, A)  (T5.2)."""
        return self.symmetric * bandit.preference

    def likelihood_gradient(self, bandit: Bandit, x: Floats, smoothing: float = 0.0) -> Floats:
        """sum_y' S(y, y') (P(y, y') - sigma(x - x')), (..., A), `smoothing` of the labels flipped  (T5.2)."""
        return likelihood_gradient(
            lambda rows: self.symmetric[..., rows, :], self.behavior.shape, bandit, x, smoothing
        )

    def covers_all_pairs(self, among: NDArray[np.bool_]) -> bool:
        """Whether every two different arms among these, (..., A), are sampled together."""
        return _covers(self.symmetric, among)

    def resampled(self) -> Product:
        """Pairs i.i.d. from `behavior`  (T3.7)."""
        return Product((self.behavior, self.behavior))


@dataclass(frozen=True, eq=False)
class Labelled:
    """Distinct (winner, loser) pairs, (n, 2), with their shares of the data, (n,); one for all contexts."""

    pairs: Arms
    share: Floats
    arms: int
    k = 2
    labels = WON  # the first arm of a listed pair won

    @cached_property
    def behavior(self) -> Floats:
        """Share of the listed answers that are this arm, (A,)."""
        first, second = self.place_behavior()
        return (first + second) / 2

    def place_behavior(self) -> tuple[Floats, ...]:
        """Law of the winner and of the loser."""
        winner, loser = self.pairs.T
        return _sums(winner, self.share, self.arms), _sums(loser, self.share, self.arms)

    def tuples(self, block: int = BLOCK) -> Iterator[tuple[Arms, Floats]]:
        """The distinct pairs with their shares, `block` at a time."""
        for first in range(0, len(self.pairs), block):
            yield self.pairs[first : first + block], self.share[first : first + block]

    @cached_property
    def won(self) -> sparse.csr_array:
        """Share of "y beat y'" in the data, sparse (A, A)."""
        return sparse.csr_array((self.share, tuple(self.pairs.T)), shape=(self.arms, self.arms))

    @cached_property
    def symmetric(self) -> sparse.csr_array:
        """Share of the comparisons of y and y', sparse (A, A)."""
        return (self.won + self.won.T).tocsr()

    def wins(self, bandit: Bandit) -> sparse.csr_array:
        """Share of "y beat y'" in the data, sparse (A, A)  (T5.2)."""
        return self.won

    def preference(self) -> Floats:
        """Share of their comparisons that y won against y', (A, A); 1/2 where there is none."""
        won, played = self.won.toarray(), self.symmetric.toarray()
        return np.where(played > 0, won / np.where(played > 0, played, 1.0), 0.5)

    def laplacian(self, x: Floats) -> Floats:
        """L x = sum over pairs of share (x_w - x_l)(e_w - e_l), (..., A): O(n)."""
        flat = x.reshape(-1, self.arms)
        pull = self.share * (flat[:, self.pairs[:, 0]] - flat[:, self.pairs[:, 1]])
        return (pull @ self._incidence).reshape(x.shape)

    def components(self, arms: int) -> Arms:
        """Connected components of the comparisons, (A,)."""
        return graph.components(self.symmetric)

    def preference_flow(self, bandit: Bandit) -> Floats:
        """Half the wins minus half the losses, (A,)  (T4.3)."""
        first, second = self.place_behavior()
        return (first - second) / 2

    def ranking(self, bandit: Bandit) -> Floats:
        """x with L x = preference_flow, mean zero on each component, (A,)  (T4.3)."""
        return graph.rank(self.symmetric, (self.won - self.won.T) / 2)

    def likelihood_gradient(self, bandit: Bandit, x: Floats, smoothing: float = 0.0) -> Floats:
        """Wins less those that x predicts, (..., A), `smoothing` of the labels flipped  (T5.2)."""
        flat = x.reshape(-1, self.arms)
        lead = flat[:, self.pairs[:, 0]] - flat[:, self.pairs[:, 1]]
        excess = (1 - smoothing) * expit(-lead) - smoothing * expit(lead)
        return (self.share * excess @ self._incidence).reshape(x.shape)

    def covers_all_pairs(self, among: NDArray[np.bool_]) -> bool:
        """Whether every two different arms among these, (..., A), are compared."""
        return _covers(self.symmetric.toarray(), among)

    def resampled(self) -> Product:
        """Pairs i.i.d. from `behavior`  (T3.7)."""
        return Product((self.behavior, self.behavior))

    @cached_property
    def _incidence(self) -> sparse.csr_array:
        """One row e_w - e_l for each pair, (n, A)."""
        rows = np.repeat(np.arange(len(self.pairs)), 2)
        signs = np.tile([1.0, -1.0], len(self.pairs))
        return sparse.csr_array((signs, (rows, self.pairs.ravel())), shape=(len(self.pairs), self.arms))


Law = Product | Joint | Labelled


def _ordered(size: int, k: int, first: int, last: int) -> Arms:
    """Those of the size^k ordered groups, (last - first, k)."""
    return np.stack(np.unravel_index(np.arange(first, last), (size,) * k), axis=-1)


_kept = lru_cache(maxsize=64)(_ordered)


def _sums(arms: Arms, weight: Floats, size: int) -> Floats:
    return np.asarray(np.bincount(arms, weight, size), dtype=float)


def _dot(a: Floats, b: Floats) -> Floats:
    return np.vecdot(a, b)[..., None]


def _scaled(x: Floats, by: Floats) -> Floats:
    """x times something, in place where x has all contexts: a million arms are not copied."""
    whole = by.shape in ((), x.shape) or np.broadcast_shapes(x.shape, by.shape) == x.shape
    return np.multiply(x, by, out=x if whole else None)


def _seen(behavior: Floats, x: Floats) -> Floats:
    """x where arms are sampled, else 0: an arm that is not sampled does not pull, even from infinity."""
    return x if behavior.min() > 0 else np.where(behavior > 0, x, 0.0)


def _covers(weight: Floats, among: NDArray[np.bool_]) -> bool:
    needed = among[..., :, None] & among[..., None, :] & ~np.eye(among.shape[-1], dtype=bool)
    return bool(np.all((weight > 0) | ~needed))
