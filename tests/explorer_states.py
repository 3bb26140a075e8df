"""Random states of the explorer: uneven, of every law of sampling, and their worlds built a second time."""

from __future__ import annotations

from typing import Any

import numpy as np

from bandits import Bandit, Dataset, Offline, OnPolicy
from bandits.explorer import OFFERED
from bandits.explorer.state import SAMPLING


def random_state(rng: np.random.Generator, algorithm: str | None = None) -> dict[str, Any]:
    """One state; `algorithm`: any, if None."""
    names = list(OFFERED)
    return {
        "rewards": rng.uniform(-3, 3, 3).tolist(),
        "cycle": float(rng.choice([0.0, rng.uniform(-2, 2)])),
        "reference": uneven(rng),
        "sampling": str(rng.choice(SAMPLING)),
        "behavior": uneven(rng),
        "second_behavior": uneven(rng),
        "data": [rng.permutation(3)[:2].tolist() for _ in range(8)],
        "beta": float(np.exp(rng.uniform(np.log(0.1), np.log(5.0)))),
        "baseline": float(rng.uniform(-2, 2)),
        "clip": float(rng.uniform(0.1, 0.9)),
        "algorithm": str(rng.choice(names)) if algorithm is None else algorithm,
        "beside": rng.choice(names, 3, replace=False).tolist(),
    }


def uneven(rng: np.random.Generator) -> list[float]:
    """Three probabilities, none below 0.02."""
    p = np.maximum(rng.dirichlet([1.5, 1.5, 1.5]), 0.02)
    return (p / p.sum()).tolist()


def by_hand(state: dict[str, Any], k: int) -> tuple[Bandit, dict[str, Any]]:
    """The world and the sampling rules of a state, a second time."""
    r, c = np.array(state["rewards"]), state["cycle"]
    odds = np.exp(r[:, None] - r[None] + [[0, c, -c], [-c, 0, c], [c, -c, 0]])
    preference, data = odds / (1 + odds), state["data"]
    if state["sampling"] == "data set":
        wins = np.array([[sum(pair == [i, j] for pair in data) for j in range(3)] for i in range(3)])
        preference = np.where(wins + wins.T > 0, wins / np.maximum(wins + wins.T, 1), 0.5)
    bandit = Bandit(r, preference=preference, reference=state["reference"])
    first, second = state["behavior"], state["second_behavior"]
    seen = [sum(pair.count(arm) for pair in data) / (2 * len(data)) for arm in range(3)]
    return bandit, {
        "on-policy": OnPolicy(),
        "one sampler": Offline(first),
        "two samplers": Offline(first, second) if k == 2 else Offline(np.mean([first, second], axis=0)),
        "data set": Dataset(data) if k == 2 else Offline(seen),
    }
