"""The contract: an algorithm turns `Samples` into an `Update`.

Every sequence-level alignment algorithm moves a policy by `c(y) * grad log pi(y)` for each sampled
answer y, so the algorithm *is* its coefficient c.  An algorithm is any object with

    k                          how many samples it looks at together
    update(samples) -> Update  the coefficient of each of them

and, where it is the gradient of something, `loss(samples)` with `-d loss / d log_prob = c`.
It must use array operators and the array API only: the same object then runs over NumPy arrays
(every arm enumerated) and over torch tensors (a transformer).

Axes: `...` are batch axes (contexts, runs, groups), `k` is the sample within its group, and `A`
are all the arms.  Nothing here looks into the batch axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from array_api_compat import array_namespace

Array = Any  # a NumPy array or a torch tensor: whatever array_api_compat understands


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What an algorithm may look at: k answers to one prompt.  Absent fields are None.

    `log_prob` is a sequence-level (summed) log-probability under the policy in training,
    `reference_log_prob` and `behavior_log_prob` the same under the reference and under whoever
    produced the samples.  `preference[..., i, j]` is p(y_i beats y_j), or a 0/1 label.
    """

    log_prob: Array  # (..., k)
    reference_log_prob: Array | None = None  # (..., k)
    reward: Array | None = None  # (..., k)
    preference: Array | None = None  # (..., k, k)
    behavior_log_prob: Array | None = None  # (..., k)
    arm: Array | None = None  # (..., k)  index of the arm; None for language models
    population: Samples | None = None  # every answer, (..., A): what exact expectations run over
    greedy_reward: Array | None = None  # (...)     r(argmax pi): ReMax
    value: Array | None = None  # (...)     trained baseline V: DRO
    revision_log_prob: Array | None = None  # (..., k, k) log pi'(y_i | y_j): SRPO
    reference_revision_log_prob: Array | None = None  # (..., k, k)

    @property
    def log_ratio(self) -> Array:
        """h(y) = log pi(y) / ref(y), shape (..., k)."""
        return self.log_prob - need(self, "reference_log_prob")

    def regularized_reward(self, beta: float) -> Array:
        """R(y) = r(y) - beta h(y), shape (..., k)."""
        return need(self, "reward") - beta * self.log_ratio


@dataclass(frozen=True, kw_only=True)
class Update:
    """Ascent coefficients: the parameters move by `sum_i log_prob[i] * grad log pi(y_i)`.

    The other fields belong to what is trained beside the policy: `value` is the ascent step on
    DRO's V, `revision_log_prob` the coefficients of SRPO's revision policy.
    """

    log_prob: Array  # (..., k)
    value: Array | None = None  # (...)
    revision_log_prob: Array | None = None  # (..., k, k)


def need(samples: Samples, field: str) -> Array:
    """The field, or a `ValueError` that says which algorithm input is missing.

    Raises:
        ValueError: the field is None.
    """
    found = getattr(samples, field)
    if found is None:
        raise ValueError(
            f"samples.{field} is None, but this algorithm needs it; fill the field "
            f"(on a bandit: give the Bandit what it is derived from, e.g. a reward)"
        )
    return found


def stack(*columns: Array) -> Array:
    """Columns (...) of one group, side by side on a new last axis: (..., k)."""
    return array_namespace(columns[0]).stack(columns, axis=-1)


def log_sigmoid(x: Array) -> Array:
    """log sigma(x) = -log(1 + exp(-x)), without overflow."""
    xp = array_namespace(x)
    return -xp.logaddexp(xp.zeros_like(x), -x)


class Algorithm(Protocol):
    """What an algorithm has to have."""

    @property
    def k(self) -> int:
        """How many samples it looks at together."""

    def update(self, samples: Samples) -> Update:
        """The ascent coefficient of each sample."""
