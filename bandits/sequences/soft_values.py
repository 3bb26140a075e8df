"""Which table is the optimum, token by token?  Soft values by dynamic programming, from the ends backwards.

    V(y) = r(y) for a whole answer,     Q(x, v) = V(xv),
    V(x) = beta log sum_v ref(v | x) exp(Q(x, v) / beta),
    pi*(v | x) = ref(v | x) exp((Q(x, v) - V(x)) / beta)                        (T1.1, T10.1)

The chain rule of probabilities makes this pi* = ref exp(r / beta) / Z over whole answers, and V of the empty
prefix J*: a token is charged for its own KL and, through V, for that of the tokens behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax, logsumexp

from bandits import checks
from bandits.checks import Floats
from bandits.sequences.table import TokenTable

Backup = Callable[[Floats, Floats], float]  # log ref(. | x), Q(x, .) -> V(x)


class SoftOptimum(NamedTuple):
    """The optimum of a table with a row for every prefix."""

    logits: Floats  # (P, V)  log pi*(v | x); any row where no answer of the reference passes
    values: Floats  # (P,)  V(x) of each prefix; the first is J*
    log_policy: Floats  # (A,)  of whole answers


def soft_optimum(table: TokenTable, reward: ArrayLike, beta: float) -> SoftOptimum:
    """pi* and its soft values by dynamic programming over prefixes  (T1.1, T10.1).

    Raises:
        ValueError: rows are shared, so that the table cannot represent every policy; the reward has not one
            entry for each answer; beta is not positive.

    Example: one token decides, and it is the bandit's tilt.

        >>> table = TokenTable(np.log([0.5, 0.5]), length=1)
        >>> best = soft_optimum(table, [np.log(3.0), 0.0], beta=1.0)
        >>> np.exp(best.log_policy).round(4), round(float(np.exp(best.values[0])), 4)
        (array([0.75, 0.25]), 2.0)
    """
    beta = checks.positive(beta, "beta")
    logits, values = backward(table, reward, lambda log_ref, Q: beta * logsumexp(log_ref + Q / beta), beta)
    return SoftOptimum(logits, values, table.log_prob(logits))


def backward(table: TokenTable, reward: ArrayLike, backup: Backup, beta: float) -> tuple[Floats, Floats]:
    """log ref exp(Q / beta) / Z of each prefix, (P, V), and V(x), (P,), from the longest prefix to the first.

    Raises:
        ValueError: as `soft_optimum`.
    """
    _own_rows(table)
    r = checks.arms(reward, "reward")
    if r.shape != (len(table.sequences),):
        raise ValueError(
            f"reward must have one entry for each of the {len(table.sequences)} answers, in the order of "
            f"`sequences`, but its shape is {r.shape}"
        )
    values = dict(zip(table.sequences, r.tolist(), strict=True))
    log_reference = log_softmax(table.logits, axis=-1)
    logits = np.empty_like(log_reference)
    for place in range(len(table.prefixes) - 1, -1, -1):
        prefix = table.prefixes[place]
        Q = np.array([values[(*prefix, v)] for v in range(log_reference.shape[-1])])
        values[prefix] = float(backup(log_reference[place], Q))
        logits[place] = log_softmax(log_reference[place] + Q / beta)
    return logits, np.array([values[prefix] for prefix in table.prefixes])


def _own_rows(table: TokenTable) -> None:
    if len(table.logits) != len(table.prefixes):
        raise ValueError(
            f"this needs a row for every prefix, but the table shares {len(table.logits)} rows between "
            f"{len(table.prefixes)} prefixes and cannot represent every policy; leave out `row`"
        )
