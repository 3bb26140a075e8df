"""How good is the best of n?  Its reward and KL against the frontier of the regularised optimum  (T9.2).

For every KL the optimum pi* of some beta has the largest reward. The best of n has no beta: its points come
close to that frontier where no two samples tie, here among 200 arms with normal rewards, and its KL stays
below log n - (n - 1)/n. Where a few answers hold the mass, ties take a little of that KL, and the distance to
the frontier is half as large again. Everything is exact: no sample is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import brentq

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.experiments.record import Claim
from bandits.plots import style
from bandits.policy import kl
from bandits.selection import log_best_of_n

SIZES, ARMS = (1, 2, 4, 8, 16, 32, 64, 128), 200
BETAS = np.geomspace(0.12, 40, 60)


@dataclass(frozen=True)
class Result:
    """Reward and KL, of many arms and of few."""

    sizes: Floats  # (n,)
    bound: Floats  # (n,)  log n - (n - 1)/n
    frontier: dict[str, Floats]  # (betas, 2)  KL and reward of pi*
    best: dict[str, Floats]  # (n, 2)  of the best of n
    lost: dict[str, Floats]  # (n,)  reward of the optimum of the same KL, less that of the best of n


def worlds(arms: int = ARMS, seed: int = 7) -> dict[str, Bandit]:
    """Normal rewards of many arms of alike mass; and eight arms of very different mass."""
    if arms == 8:
        raise ValueError("arms must not be 8, as many as in the other world; name another number")
    rng = np.random.default_rng(seed)
    many = Bandit(rng.normal(size=arms), reference=rng.dirichlet(np.full(arms, 5.0)))
    mass = [0.3, 0.25, 0.2, 0.1, 0.08, 0.04, 0.02, 0.01]
    few = Bandit([-1.0, -0.4, 0.0, 0.3, 0.8, 1.2, 1.7, 2.2], reference=mass)
    return {f"{arms} arms": many, "8 arms": few}


def run(progress: bool = False, *, sizes: tuple[int, ...] = SIZES, arms: int = ARMS, seed: int = 7) -> Result:
    """Both worlds, every n.

    Args:
        sizes: every n.
        arms: of the world of many arms.
        seed: of its rewards and its reference.
    """
    n, frontier, best, lost = np.array(sizes), {}, {}, {}
    for name, world in worlds(arms, seed).items():
        frontier[name] = np.array([_point(world, world.log_optimal_policy(float(beta))) for beta in BETAS])
        ends = [log_best_of_n(world.needed_reward(), world.reference, size) for size in sizes]
        best[name] = np.array([_point(world, log_policy) for log_policy in ends])
        lost[name] = np.array([_reward_at(world, divergence) - reward for divergence, reward in best[name]])
    return Result(n, np.log(n) - (n - 1) / n, frontier, best, lost)


def _point(world: Bandit, log_policy: Floats) -> tuple[float, float]:
    return float(kl(log_policy, world.log_reference)), float(np.exp(log_policy) @ world.needed_reward())


def _reward_at(world: Bandit, divergence: float) -> float:
    """The largest reward at this KL."""
    if divergence < 1e-9:  # n = 1
        return float(world.reference @ world.needed_reward())

    def excess(log_beta: float) -> float:
        return _point(world, world.log_optimal_policy(float(np.exp(log_beta))))[0] - divergence

    log_beta = brentq(excess, -5, 10, xtol=1e-12)
    return _point(world, world.log_optimal_policy(float(np.exp(log_beta))))[1]


def claims(result: Result) -> list[Claim]:
    """Never above the frontier or the bound; close to the frontier."""
    found = []
    for name, lost in (("200 arms", 0.0394), ("8 arms", 0.0575)):
        over = float(np.maximum(result.best[name][:, 0] - result.bound, 0).max())
        above = float(np.maximum(-result.lost[name], 0).max())
        found += [
            Claim(f"{name}: KL beyond log n - (n - 1)/n", over, 0.0, 1e-12),
            Claim(f"{name}: reward beyond the frontier", above, 0.0, 1e-9),
            Claim(
                f"{name}: most reward lost to the frontier, share of the gain",
                _most_lost(result, name),
                lost,
                5e-4,
            ),
        ]
    return found


def _most_lost(result: Result, name: str) -> float:
    """The most reward lost to the frontier, as a share of what the largest n gains."""
    return float(result.lost[name].max() / (result.best[name][-1, 1] - result.best[name][0, 1]))


def draw(result: Result) -> Figure:
    """Reward against KL."""
    with style.house_style():
        figure, panels = plt.subplots(1, 2, figsize=(9.6, 3.9))
        for axes, name in zip(panels, result.best, strict=True):
            axes.plot(*result.frontier[name].T, color=style.BLACK, label="π* of every β: the frontier")
            axes.plot(*result.best[name].T, "o", color=style.RED, markersize=5, label="best of n")
            ticks = {"color": style.GREY, "markersize": 10, "label": "its reward at KL = log n − (n−1)/n"}
            axes.plot(result.bound, result.best[name][:, 1], "|", **ticks)
            for n, (x, y) in zip(result.sizes, result.best[name], strict=True):
                axes.annotate(f"{n}", (x, y), xytext=(4, -11), textcoords="offset points", fontsize=8)
            axes.set(xlabel="KL(π‖ref), nats", ylabel="expected reward", xlim=(-0.15, 4.6))
        (many, near), (few, far) = ((name, _most_lost(result, name)) for name in result.best)
        panels[0].set_title(f"{many}: within {near:.0%} of the optimal gain")
        panels[1].set_title(f"{few}: within {far:.0%}; ties cost a little KL")
        panels[0].legend(loc="lower right")
        figure.suptitle(
            "Best-of-n is all but optimal for the KL that it spends", x=0.01, ha="left", weight="bold"
        )
    return figure
