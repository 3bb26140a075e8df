"""How much do the samples matter?  Where every algorithm ends as the samples cover the good arms less.

Three arms, r = (2.5, 2, 1), beta = 1/2.  Who samples gives a share s to the worst arm and divides the rest
evenly.  Left: the regret of the exact fixed point, against how rare the other arms are.  What is a function
of reward differences inside pairs (CoPG, DPO under Bradley-Terry, DRO) stays at zero for every s; what is
not (IPO, policy gradient with another baseline) moves.  Right: what coverage costs them, the rate at which
exact training approaches its end (for CoPG beta lambda_2, lambda_2 being how well the sampled pairs connect
the arms)  (T3.3, T3.4, T4.1, T2.5).
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

APPROACHING = ("CoPG", "DPO", "DRO", "IPO")
LOOKS = style.CURVES | {"PG, weights ≤ 2": style.Look(style.BLACK, style.DASH_DOT)}
LABELS = {"PG, value baseline": "PG, b = E_π[r]", "PG, weights ≤ 2": "PG, weighted by π/μ, at most 2"}


def algorithms(beta: float) -> dict[str, Algorithm]:
    """All that are compared."""
    return {
        "CoPG": CoPG(beta=beta),
        "DPO": DPO(beta=beta),
        "DRO": DRO(beta=beta),
        "IPO": IPO(beta=beta),
        "PG, b = 0": PolicyGradient(beta=beta),
        "PG, value baseline": PolicyGradient(beta=beta, baseline=policy_reward),
        "PG, weights ≤ 2": ImportanceWeighted(PolicyGradient(beta=beta), clip=2.0),
    }


@dataclass(frozen=True)
class Result:
    """Exact ends and rates along the dial."""

    beta: float
    reward: Floats  # (3,)
    share: Floats  # (shares,)  of the worst arm in the samples
    regret: dict[str, Floats]  # (shares,)
    rate: dict[str, Floats]  # (shares,)


def run(progress: bool = False, *, beta: float = BETA, reward: tuple[float, ...] = REWARD) -> Result:
    """Solve for every algorithm at every share; nothing is sampled.

    Args:
        beta: strength of the KL to the reference.
        reward: of each arm; the worst is the one that the samples are full of.
    """
    share = 1 - np.geomspace(2 / 3, 2e-3, 25)
    bandit = Bandit(np.tile(reward, (len(share), 1)))  # a context for each share
    worst, compared = int(np.argmin(reward)), algorithms(beta)
    law = Offline(np.array([skewed_to(worst, len(reward), s) for s in share]))
    regret = {
        name: bandit.regret(fixed_point(each, bandit, law).policy, beta) for name, each in compared.items()
    }
    rate = {name: convergence_rate(compared[name], bandit, law) for name in APPROACHING}
    return Result(beta, np.array(reward), share, regret, rate)


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
            left.plot(rare, np.maximum(regret, FLOOR), label=LABELS.get(name, name), **LOOKS[name]._asdict())
        for name, rate in result.rate.items():
            right.plot(rare, rate, **LOOKS[name]._asdict())
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
