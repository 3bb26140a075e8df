"""Which laws may the rewards of a chain have?  Discrete, normal, Laplace or Student, one a state.

A law is drawn afresh at every visit of its state, independently of where the chain goes next.  Parameters
are numbers, the same for every state, or one a state, (S,); a discrete law has its outcomes last, (S, n).

Discrete laws carry their atoms, for sums and quantiles without an integral; the others are SciPy's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from bandits import checks
from bandits.checks import Floats


@dataclass(frozen=True, eq=False)
class Discrete:
    """Finitely many rewards in each state; `discrete` makes one from what the reader has."""

    values: Floats  # (S, n) or (n,)
    probabilities: Floats  # the same shape

    def mean(self) -> Floats:
        """Mean reward, (S,) or ()."""
        return np.asarray((self.probabilities * self.values).sum(axis=-1))

    def var(self) -> Floats:
        """Variance, (S,) or ()."""
        off = self.values - self.mean()[..., None]
        return np.asarray((self.probabilities * off**2).sum(axis=-1))

    def rvs(self, size: tuple[int, ...], random_state: np.random.Generator) -> Floats:
        """Rewards of every state, (..., S)."""
        steps = np.cumsum(self.probabilities, axis=-1)[..., :-1]
        index = (random_state.random(size)[..., None] >= steps).sum(axis=-1)
        values = np.broadcast_to(self.values, (size[-1], self.values.shape[-1]))
        return values[np.arange(size[-1]), index]


@dataclass(frozen=True, eq=False)
class Continuous:
    """A law with a density, R(x) = middle(x) + scale(x) T, T standard, one of `scipy.stats`."""

    standard: Any
    middle: Floats  # (S,) or ()
    scale: Floats  # (S,) or ()

    def mean(self) -> Floats:
        """Mean reward, (S,) or ()."""
        return np.asarray(self.middle + self.scale * self.standard.mean())

    def var(self) -> Floats:
        """Variance, (S,) or (); infinite for Student's laws of two degrees of freedom or fewer."""
        return np.asarray(0.0 * self.middle + self.scale**2 * self.standard.var())

    def rvs(self, size: tuple[int, ...], random_state: np.random.Generator) -> Floats:
        """Rewards of every state, (..., S)."""
        return np.asarray(self.middle + self.scale * self.standard.rvs(size=size, random_state=random_state))

    def cdf(self, reward: Floats, state: NDArray[np.int64]) -> Floats:
        """P(R(state) <= reward), of one shape."""
        return np.asarray(self.standard.cdf(self._standardised(reward, state)))

    def density(self, reward: Floats, state: NDArray[np.int64]) -> Floats:
        """The density of R(state) at the reward, of one shape."""
        return np.asarray(self.standard.pdf(self._standardised(reward, state)) / self._of(self.scale, state))

    def quantile(self, level: Floats, state: NDArray[np.int64]) -> Floats:
        """The quantile of R(state), of one shape."""
        return np.asarray(
            self._of(self.middle, state) + self._of(self.scale, state) * self.standard.ppf(level)
        )

    def _standardised(self, reward: Floats, state: NDArray[np.int64]) -> Floats:
        return (reward - self._of(self.middle, state)) / self._of(self.scale, state)

    @staticmethod
    def _of(parameter: Floats, state: NDArray[np.int64]) -> Floats:
        """One a state, or the same for all."""
        return parameter[state] if parameter.ndim else parameter


def discrete(values: ArrayLike, probabilities: ArrayLike) -> Discrete:
    """Rewards r with probabilities p, (S, n), or (n,) for all states alike.

    Raises:
        ValueError: probabilities are negative or do not sum to one, or the shapes do not fit.

    Example: 1 with probability .3 in state 0 and .8 in state 1, else 0.

        >>> discrete([0.0, 1.0], [[0.7, 0.3], [0.2, 0.8]]).mean()
        array([0.3, 0.8])
    """
    p = checks.distribution(probabilities, "probabilities")
    r = checks.arms(values, "values")
    checks.same_arms(r, p, "values", "probabilities")
    r, p = np.broadcast_arrays(r, p)
    return Discrete(r, p)


def constant(reward: ArrayLike) -> Discrete:
    """The same reward at every visit, (S,) or one number for all."""
    r = checks.floats(reward, "reward")[..., None]
    return Discrete(r, np.ones_like(r))


def normal(mean: ArrayLike = 0.0, deviation: ArrayLike = 1.0) -> Continuous:
    """Normal rewards."""
    return Continuous(stats.norm(), checks.floats(mean, "mean"), _positive(deviation, "deviation"))


def laplace(mean: ArrayLike = 0.0, scale: ArrayLike = 1.0) -> Continuous:
    """Laplace's law, of density exp(-|r - mean| / scale) / (2 scale) and variance 2 scale^2."""
    return Continuous(stats.laplace(), checks.floats(mean, "mean"), _positive(scale, "scale"))


def student(freedom: float, mean: ArrayLike = 0.0, scale: ArrayLike = 1.0) -> Continuous:
    """Student's t law, moved and stretched; of more than one degree of freedom, else it has no mean.

    Raises:
        ValueError: there is no mean, or a scale is not positive.
    """
    nu = checks.positive(freedom, "freedom")
    if nu <= 1:
        raise ValueError(
            f"freedom must be above 1, where there is a mean to learn, but freedom = {freedom!r}"
        )
    return Continuous(stats.t(nu), checks.floats(mean, "mean"), _positive(scale, "scale"))


def _positive(values: ArrayLike, name: str) -> Floats:
    array = checks.floats(values, name)
    checks.reject_first(array <= 0, array, name, "positive", "a law without spread is constant(...)")
    return array
