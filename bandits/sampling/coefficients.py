"""What does an algorithm answer to groups of arms?

`update` may be a reader's: its shape is looked at, and its numbers where a group can occur.  Labels that
chance draws are shown once for each outcome, with its probability.

Axes: groups (n, k); coefficients (..., n, k), the leading axes being contexts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from itertools import product
from math import prod
from typing import Any

import numpy as np

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Algorithm, Samples, Update, need
from bandits.sampling import groups
from bandits.sampling.laws import WON, Arms, Law
from bandits.sampling.observation import State, fields_read, samples_of

Numbers = Callable[[Samples], Floats]  # a number of each sample, (..., n, k), or of each group, (..., n, 1)


def update_of(algorithm: Algorithm) -> Numbers:
    """The algorithm's coefficients as they come, checked for their shape."""

    def coefficients(samples: Samples) -> Floats:
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            update = algorithm.update(samples)
        name, arms = type(algorithm).__name__, np.asarray(samples.arm)
        c = np.asarray(getattr(update, "log_prob", None), dtype=float)
        if c.shape[-2:] != arms.shape:
            raise ValueError(
                f"{name}.update must return an Update whose log_prob holds one coefficient for each of the "
                f"k = {arms.shape[-1]} samples, (..., {arms.shape[-1]}) like samples.log_prob, "
                f"but {'its shape is ' + str(c.shape) if isinstance(update, Update) else f'it is {update!r}'}"
            )
        return c

    return coefficients


def finite_coefficients(algorithm: Algorithm, samples: Samples, weight: Floats) -> Floats:
    """The algorithm's coefficients, (..., n, k); groups that never occur count zero, whatever they hold.

    Raises:
        ValueError: `update` returns something else.
    """
    arms = np.asarray(samples.arm)
    c = np.where(weight[..., None] > 0, update_of(algorithm)(samples), 0.0)
    if not np.isfinite(c).all():
        index = tuple(np.argwhere(~np.isfinite(c))[0])
        raise ValueError(
            f"{type(algorithm).__name__}.update must return finite coefficients, but it returns {c[index]} "
            f"for sample {index[-1]} of the arms {arms[index[-2]].tolist()}; "
            f"look at {sources(algorithm)} there"
        )
    return c


def sources(algorithm: Algorithm) -> str:
    """What a number that is none may come from: the world, or a function that the algorithm was given."""
    own: list[str] = [field.name for field in fields(algorithm)] if is_dataclass(algorithm) else []
    given = [name for name in own if callable(getattr(algorithm, name))]
    return " and ".join(["log-probabilities", "rewards", *given])


def sum_by_arm(c: Floats, arms: Arms, size: int) -> Floats:
    """The coefficients of each arm, summed over the groups, (..., size)."""
    lead = c.shape[:-2]
    if arms.flags.f_contiguous:  # read them as they lie in memory
        c, arms = c.swapaxes(-1, -2), arms.T
    context = np.arange(prod(lead))[:, None] * size
    cells = context + arms.reshape(1, -1)
    sums = np.bincount(cells.ravel(), c.ravel(), minlength=context.size * size)
    return np.asarray(sums, dtype=float).reshape(*lead, size)


def steps_of(c: Floats, arms: Arms, log_policy: Floats) -> Floats:
    """sum_i c_i (e_{y_i} - pi) of each group, (..., n, A)."""
    steps = -np.exp(log_policy)[..., None, :] * c.sum(-1)[..., None]
    rows = np.arange(arms.shape[0])
    for i in range(arms.shape[1]):
        steps[..., rows, arms[:, i]] += c[..., i]
    return steps


def drawn_labels(algorithm: Algorithm, bandit: Bandit, law: Law, state: State) -> frozenset[str]:
    """Fields that hold labels which chance draws and the algorithm looks at."""
    some = samples_of(bandit, law, state, groups.some_groups(law, 2))
    drawn = {"preference"} if law.k == 2 and law.labels is None else set()
    drawn |= set() if bandit.desirable is None else {"desirable"}
    return fields_read(algorithm, some)[0] & drawn


def labellings(samples: Samples, drawn: frozenset[str]) -> Iterator[tuple[Floats | float, Samples]]:
    """The samples once for each outcome of the labels that are drawn, with its probability (..., n)."""
    outcomes: list[tuple[Floats | float, dict[str, Any]]] = [(1.0, {})]
    if "preference" in drawn:
        p = need(samples, "preference")
        each = ((p[..., 0, 1], WON), (p[..., 1, 0], WON.T))
        outcomes = [(share, {"preference": np.broadcast_to(label, p.shape)}) for share, label in each]
    if "desirable" in drawn:
        p = need(samples, "desirable")
        labels = [np.array(label) for label in product((0.0, 1.0), repeat=p.shape[-1])]
        each_label = [
            (np.where(label, p, 1 - p).prod(-1), np.broadcast_to(label, p.shape)) for label in labels
        ]
        outcomes = [
            (share * chance, {**shown, "desirable": label})
            for share, shown in outcomes
            for chance, label in each_label
        ]
    for share, shown in outcomes:
        yield share, replace(samples, **shown) if shown else samples
