"""How does a number, an array, a policy, a word or a function become numbers that can be compared?

Right answers come in many forms: lists, tuples, float32, tensors, a `Solution` for its policy.  Logits are
told from probabilities by saying so, `Logits([...])`: nobody can tell by looking.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.checks import Floats
from bandits.policy import normalised
from bandits.solution import Solution

SUM = 1e-3  # how far typed probabilities of a few decimals may be from summing to one


@dataclass(frozen=True, eq=False)
class Logits:
    """Says that these are logits (or log-probabilities), not probabilities.

    Example:
        >>> Policy(2).read(Logits([0.0, 0.0]))
        array([0.5, 0.5])
    """

    values: ArrayLike


@dataclass(frozen=True)
class Number:
    """One number."""

    unit: str = ""

    @property
    def asks(self) -> str:
        return "one number"

    def read(self, answer: Any) -> Floats:
        return _shaped(answer, ())


@dataclass(frozen=True)
class Array:
    """Numbers in a certain shape."""

    shape: tuple[int, ...]
    unit: str = ""

    @property
    def asks(self) -> str:
        return f"an array of shape {self.shape}"

    def read(self, answer: Any) -> Floats:
        return _shaped(answer, self.shape)


@dataclass(frozen=True)
class Policy:
    """Probabilities of so many arms; a `Solution` and `Logits` will do."""

    arms: int

    @property
    def asks(self) -> str:
        return f"{self.arms} probabilities that sum to one (logits as `Logits([...])`)"

    @property
    def unit(self) -> str:
        return "of probability"

    def read(self, answer: Any) -> Floats:
        if isinstance(answer, Logits):
            return np.exp(normalised(_shaped(answer.values, (self.arms,)).copy()))
        values = _shaped(answer.policy if isinstance(answer, Solution) else answer, (self.arms,))
        checks.reject_first(values < 0, values, "the answer", "non-negative", "say `Logits([...])` of logits")
        if abs(total := float(values.sum())) - 1 > SUM or total < 1 - SUM:
            raise ValueError(f"these sum to {total:.4g}: divide by the sum, or say `Logits([...])` of logits")
        return values


@dataclass(frozen=True)
class Choice:
    """One of some words, however spaced and capitalised."""

    options: tuple[str, ...]

    @property
    def asks(self) -> str:
        return "one of " + ", ".join(repr(each) for each in self.options)

    @property
    def unit(self) -> str:
        return ""

    def read(self, answer: Any) -> Floats:
        """One for the word that was chosen, zero for the others, (options,)."""
        if not isinstance(answer, str):
            raise ValueError(f"that is a {type(answer).__name__}, not a word")
        chosen = [_plain(answer) == _plain(each) for each in self.options]
        if not any(chosen):
            raise ValueError(f"{checks.shown(answer)} is none of them")
        return np.array(chosen, dtype=float)


@dataclass(frozen=True)
class Function:
    """A function, compared by its values at some points.

    Args:
        points: tuples of arguments.
        shape: of the value at each point.
    """

    takes: str
    points: Callable[[], Sequence[tuple[Any, ...]]]
    shape: tuple[int, ...] = ()
    unit: str = ""

    @property
    def asks(self) -> str:
        gives = f"an array of shape {self.shape}" if self.shape else "a number"
        return f"a function of {self.takes} that returns {gives}"

    def read(self, answer: Any) -> Floats:
        """Its values, (points, *shape)."""
        if not callable(answer):
            raise ValueError(f"that is a {type(answer).__name__}, which cannot be called")
        return np.stack([_shaped(answer(*point), self.shape) for point in self.points()])


def _shaped(answer: Any, shape: tuple[int, ...]) -> Floats:
    """Finite numbers of this shape; torch's with their gradients cut off.

    Raises:
        ValueError: they are not.
    """
    detach = getattr(answer, "detach", None)
    values = checks.floats(detach() if callable(detach) else answer, "the answer")
    if values.shape != shape:
        raise ValueError(f"the answer has shape {values.shape} where {shape} is wanted")
    return values


def _plain(word: str) -> str:
    return " ".join(word.casefold().split())
