"""Random states of the book's triangle, and where `bandits` says that each algorithm ends in them.

Two runs of the page's own JavaScript are held to this: by Node in `make test`, by Chromium in `make browser`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import bandits
from bandits import DPO, IPO, Bandit, CoPG, Offline, PolicyGradient, behavior_value, fixed_point

SCRIPT = Path(bandits.__file__).parents[1] / "notebooks" / "book" / "_static" / "simplex.js"
STRENGTHS, EACH = 20, 50  # 1 000 states: so many beta, and so many worlds of each
CYCLE = np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]])  # 1 beats 2 beats 3 beats 1
WITHIN = 1e-6


def worlds(rng: np.random.Generator) -> dict[str, Any]:
    """`EACH` worlds of one beta over the whole range of the page's sliders, every third without a cycle."""
    least = 0.01  # of a probability, as on the page
    policies = least + (1 - 3 * least) * rng.dirichlet(np.full(3, 0.7), size=(2, EACH))
    return {
        "reward": rng.uniform(0, 3, size=(EACH, 3)),
        "reference": policies[0],
        "behavior": policies[1],
        "beta": float(np.exp(rng.uniform(np.log(0.1), np.log(2)))),
        "cycle": rng.uniform(-2, 2, size=EACH) * (np.arange(EACH) % 3 > 0),
    }


def states(world: dict[str, Any]) -> list[dict[str, Any]]:
    """The same, one by one, as the page has them."""
    return [
        {
            "reward": world["reward"][i].tolist(),
            "reference": world["reference"][i].tolist(),
            "behavior": world["behavior"][i].tolist(),
            "beta": world["beta"],
            "cycle": float(world["cycle"][i]),
        }
        for i in range(EACH)
    ]


def truth(world: dict[str, Any]) -> dict[str, np.ndarray]:
    """The end of each algorithm, (EACH, 3), by the name that the page gives it."""
    r, beta = world["reward"], world["beta"]
    odds = r[:, :, None] - r[:, None, :] + world["cycle"][:, None, None] * CYCLE
    bandit = Bandit(r, preference=1 / (1 + np.exp(-odds)), reference=world["reference"])
    mu = Offline(world["behavior"])
    algorithms = {
        "CoPG": CoPG(beta),
        "DPO": DPO(beta),
        "IPO": IPO(beta),
        "Policy gradient, b = 0": PolicyGradient(beta),
        "Policy gradient, b = E_μ[R]": PolicyGradient(beta, baseline=behavior_value),
    }
    return {name: fixed_point(each, bandit, mu).policy for name, each in algorithms.items()}


def farthest(world: dict[str, Any], found: list[dict[str, Any]]) -> dict[str, float]:
    """The largest difference between a page's ends and those of `bandits`, by name."""
    known = truth(world)
    assert [sorted(each) for each in found] == [sorted(known)] * EACH
    return {
        name: float(np.abs(ends - np.array([each[name] for each in found])).max())
        for name, ends in known.items()
    }
