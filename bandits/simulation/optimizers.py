"""How does an estimated gradient become a step?

    SGD     theta <- theta + eta g
    Adam    theta <- theta + eta m^ / (sqrt(v^) + epsilon),   m^ = m / (1 - beta1^t),  v^ = v / (1 - beta2^t),
            m <- beta1 m + (1 - beta1) g,   v <- beta2 v + (1 - beta2) g^2

An optimizer is any object with two pure functions: `start(parameters)` gives its memory, and
`direction(gradient, memory)` the direction to move in, which is multiplied by the learning rate, with the
memory for the next step.  All is ascent, and elementwise: runs and contexts never mix.

Source: Algorithm 1, Kingma and Ba 2015, arXiv:1412.6980; the defaults are torch's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bandits import checks
from bandits.checks import Floats


@dataclass(frozen=True)
class SGD:
    """Plain ascent: the direction is the gradient.

    Example:
        >>> SGD().direction(np.array([1.0, -1.0]), None)[0]
        array([ 1., -1.])
    """

    def start(self, parameters: Floats) -> None:
        """Nothing to remember."""
        return None

    def direction(self, gradient: Floats, memory: None) -> tuple[Floats, None]:
        """The gradient itself."""
        return gradient, None


class Moments(NamedTuple):
    """Adam's memory: running means of the gradient and of its square, and the steps taken."""

    mean: Floats
    square: Floats
    steps: int


@dataclass(frozen=True)
class Adam:
    """Adam with bias correction: the first step has length 1 in every coordinate that has a gradient.

    Args:
        beta1: memory of the mean gradient, in [0, 1).
        beta2: memory of the mean square, in [0, 1).
        epsilon: added to the root mean square.

    Example:
        >>> adam = Adam()
        >>> adam.direction(np.array([0.5, -2.0]), adam.start(np.zeros(2)))[0].round(6)
        array([ 1., -1.])
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        for name in ("beta1", "beta2"):
            value = checks.fraction(getattr(self, name), name)
            if value == 1:
                raise ValueError(f"{name} must be below 1, or nothing is ever learnt, but {name} = {value!r}")
            object.__setattr__(self, name, value)
        object.__setattr__(self, "epsilon", checks.positive(self.epsilon, "epsilon"))

    def start(self, parameters: Floats) -> Moments:
        """Zero moments, one for each parameter."""
        return Moments(np.zeros(parameters.shape), np.zeros(parameters.shape), 0)

    def direction(self, gradient: Floats, memory: Moments) -> tuple[Floats, Moments]:
        """m^ / (sqrt(v^) + epsilon), Algorithm 1, Kingma 2015."""
        mean = self.beta1 * memory.mean + (1 - self.beta1) * gradient
        square = self.beta2 * memory.square + (1 - self.beta2) * gradient**2
        steps = memory.steps + 1
        root = np.sqrt(square / (1 - self.beta2**steps))
        return mean / (1 - self.beta1**steps) / (root + self.epsilon), Moments(mean, square, steps)


Optimizer = Any  # whoever has `start` and `direction`
