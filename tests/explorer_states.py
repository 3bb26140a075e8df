"""Random states of the explorer: uneven, of every law of sampling, with others beside the algorithm."""

from __future__ import annotations

from typing import Any

import numpy as np

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
