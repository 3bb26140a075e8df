"""How much do the samples matter?  The coverage dial: where every algorithm ends as the sampling law skews.

Three arms, r = (2.5, 2, 1), beta = 1/2.  The behaviour policy gives a share s to the worst arm and divides
the rest evenly.  Left: the regret of the exact fixed point, against how rare the other arms are.  What is
a function of reward differences inside pairs (CoPG, DPO under Bradley-Terry, DRO) stays at zero for every
s; what is not (IPO, policy gradient with another baseline) moves.  Right: what coverage costs them,
the rate beta lambda_2(L) at which the exact flow approaches its end  (T3.3, T3.4, T4.1, T2.5).
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bandits.algorithms import DPO, DRO, IPO, CoPG, ImportanceWeighted, PolicyGradient, policy_reward
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics.rates import convergence_rate
from bandits.examples import skewed_to
from bandits.experiments.record import Claim
from bandits.fixed_point import fixed_point
from bandits.plots import style
from bandits.samples import Algorithm
from bandits.sampling.rules import Offline

BETA = 0.5
REWARD = (2.5, 2.0, 1.0)
FLOOR = 1e-16  # regret that is zero to rounding is drawn here, in a band of its own

ALGORITHMS: dict[str, Algorithm] = {
    "CoPG": CoPG(beta=BETA),
    "DPO": DPO(beta=BETA),
    "DRO": DRO(beta=BETA),
    "IPO": IPO(beta=BETA),
    "PG, b = 0": PolicyGradient(beta=BETA),
    "PG, value baseline": PolicyGradient(beta=BETA, baseline=policy_reward),
    "PG, weights ≤ 2": ImportanceWeighted(PolicyGradient(beta=BETA), clip=2.0),
}
APPROACHING = ("CoPG", "DPO", "DRO", "IPO")
COLORS = style.COLORS | {"PG, weights ≤ 2": style.BLACK}
LABELS = {"PG, value baseline": "PG, b = E_π[r]", "PG, weights ≤ 2": "PG, weighted by π/μ, at most 2"}
LINES = {"DPO": (0, (5, 2)), "DRO": (0, (1, 1.5))}


@dataclass(frozen=True)
class Result:
    """Exact ends and rates along the dial."""

    beta: float
    reward: Floats  # (3,)
    share: Floats  # (shares,)  of the worst arm in the samples
    regret: dict[str, Floats]  # (shares,)
    rate: dict[str, Floats]  # (shares,)


def run(progress: bool = False) -> Result:
    """Solve for every algorithm at every share; nothing is sampled."""
    bandit = Bandit(REWARD)
    share = 1 - np.geomspace(2 / 3, 2e-3, 25)
    laws = [Offline(skewed_to(2, 3, s)) for s in share]
    regret = {
        name: np.array([bandit.regret(fixed_point(algorithm, bandit, law).policy, BETA) for law in laws])
        for name, algorithm in ALGORITHMS.items()
    }
    rate = {
        name: np.array([convergence_rate(ALGORITHMS[name], bandit, law) for law in laws])
        for name in APPROACHING
    }
    return Result(BETA, np.array(REWARD), share, regret, rate)


def claims(result: Result) -> list[Claim]:
    """Who does not depend on the samples, and how the rate falls."""
    free = [
        Claim(f"{name}: largest regret over all shares", result.regret[name].max(), 0.0, 1e-12)
        for name in ("CoPG", "DPO", "DRO")
    ]
    rare = 1 - result.share
    slope = np.polyfit(np.log(rare[-8:]), np.log(result.rate["CoPG"][-8:]), 1)[0]
    two_thirds = result.rate["CoPG"][0] / BETA  # uniform: L = 2 (I/3 - 11'/9), lambda_2 = 2/3
    return [
        *free,
        Claim("IPO: smallest regret over all shares", result.regret["IPO"].min(), 0.15, 0.01),
        Claim("CoPG: lambda_2 under uniform samples", two_thirds, 2 / 3, 1e-12),
        Claim("CoPG: slope of log rate against log rarity", slope, 1.0, 0.02),
    ]


def draw(result: Result) -> Figure:
    """Regret of the end, and the rate of approach, both against the mass off the worst arm."""
    with style.house_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.9))
        rare = 1 - result.share
        for name, regret in result.regret.items():
            line = LINES.get(name, "-")
            label = LABELS.get(name, name)
            left.plot(rare, np.maximum(regret, FLOOR), color=COLORS[name], linestyle=line, label=label)
        for name, rate in result.rate.items():
            right.plot(rare, rate, color=COLORS[name], linestyle=LINES.get(name, "-"))
        for axes in (left, right):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.invert_xaxis()
            axes.set_xlabel("mass of the samples on the two better arms  (rarer →)")
        left.axhspan(FLOOR / 5, 30 * FLOOR, color="#EEEEEE")
        left.annotate("zero, to rounding", (0.98, 12 * FLOOR), xycoords=("axes fraction", "data"), ha="right")
        left.set_ylim(FLOOR / 5, 3)
        left.set_ylabel("regret of the fixed point  [reward]")
        left.set_title("Where: three never leave π*")
        right.set_ylabel("rate of approach  [1 / step size]")
        right.set_title("How fast: coverage is speed")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
