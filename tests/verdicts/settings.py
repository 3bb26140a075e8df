"""Which hyper-parameters do all rows share?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bandits as b
from bandits.samples import Array
from bandits.sequences import TokenGRPO
from verdicts.group_algorithms import NoKL
from verdicts.world import K

BETA = 0.5
EPS = 0.1  # share of labels taken as flipped
GAMMA = 0.3  # SimPO's margin
TAIL = 0.3  # weight of tokens behind the end of the shorter answer


@dataclass(frozen=True)
class Deviation:
    """The standard deviation of a group, and a little more, as trainers divide by it."""

    plus: float

    def __call__(self, reward: Array) -> Array:
        return b.standard_deviation(reward) + self.plus


def grpo(divisor: Any, plus: float | None, **settings: Any) -> TokenGRPO:
    """GRPO token by token; `plus` is added to its standard deviation, None: not divided by one."""
    return TokenGRPO(BETA, k=K, spread=whole(plus).spread, divisor=divisor, **settings)


def whole(plus: float | None) -> b.GRPO:
    """GRPO of whole answers."""
    return b.GRPO(BETA, k=K, spread=b.unit_spread if plus is None else Deviation(plus))


def gspo(plus: float | None) -> b.GSPO:
    """GSPO, without a KL as published."""
    return b.GSPO(k=K, spread=whole(plus).spread)


def without_kl(algorithm: Any) -> Any:
    """The algorithm where a trainer has no KL: as it is if it has none itself."""
    plain = getattr(algorithm, "beta", None) == 0
    return algorithm if plain else NoKL(algorithm)
