"""What if the policy class misses the optimum?  Log-linear policies with too few features (T3.6).

Four arms, two features, pi ~ ref exp(Phi w); r / beta is not in the span of Phi and constants.  On-
policy gradient finds the best policy of the class.  CoPG fits the differences of rewards on sampled
pairs, IPO the preferences: their least-squares answers depend on who sampled, and differ from the best
in the class.  The x axis is the share that who samples gives to the best arm.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bandits.algorithms import IPO, CoPG
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.examples import skewed_to
from bandits.experiments.record import Claim
from bandits.log_linear.best_in_class import class_optimum
from bandits.log_linear.fixed_point import log_linear_fixed_point
from bandits.plots import style
from bandits.sampling.rules import Offline

BETA = 0.5
REWARD = (1.2, 1.0, 0.1, -0.4)
FEATURES = np.array([[1.0, 0.2], [-0.5, 1.0], [0.3, -0.8], [-0.8, -0.4]])
FULL = np.eye(4)[:, :3]  # one feature less than arms spans everything up to constants
FLOOR = 1e-16  # regret that is zero to rounding is drawn here, in a band of its own
METHODS: dict[str, type[CoPG | IPO]] = {"CoPG": CoPG, "IPO": IPO}


@dataclass(frozen=True)
class Result:
    """Regret along the dial, in the class and in the full space."""

    beta: float
    reward: Floats  # (4,)
    features: Floats  # (4, 2)
    share: Floats  # (shares,)
    regret: dict[str, Floats]  # (shares,)  in the class
    full_regret: dict[str, Floats]  # (shares,)  with enough features
    best_regret: float  # of the best policy in the class


def run(progress: bool = False, *, beta: float = BETA, reward: tuple[float, ...] = REWARD) -> Result:
    """Solve exactly for every law; nothing is sampled.

    Args:
        beta: strength of the KL to the reference.
        reward: of the four arms; the first one's share is varied.
    """
    bandit = Bandit(reward)
    share = np.append(np.linspace(0.02, 0.98, 49), 0.25)
    share.sort()
    laws = [Offline(skewed_to(0, 4, s)) for s in share]

    def along(features: Floats) -> dict[str, Floats]:
        return {
            name: np.array(
                [
                    bandit.regret(log_linear_fixed_point(kind(beta), bandit, law, features).policy, beta)
                    for law in laws
                ]
            )
            for name, kind in METHODS.items()
        }

    best = class_optimum(bandit, FEATURES, beta)[0]
    return Result(
        beta=beta,
        reward=np.array(reward),
        features=FEATURES,
        share=share,
        regret=along(FEATURES),
        full_regret=along(FULL),
        best_regret=float(bandit.regret(best.policy, beta)),
    )


def claims(result: Result) -> list[Claim]:
    """Nobody beats the best in the class; CoPG is right whatever the law once the class holds pi*."""
    lowest = min(regret.min() for regret in result.regret.values())
    return [
        Claim(
            "CoPG, enough features: largest regret over all laws",
            result.full_regret["CoPG"].max(),
            0.0,
            1e-12,
        ),
        Claim(
            "best in class is beaten by (should be nothing)",
            max(result.best_regret - lowest, 0.0),
            0.0,
            1e-12,
        ),
        Claim("CoPG, two features: largest / smallest regret", _spread(result.regret["CoPG"]), 10.39, 0.01),
    ]


def draw(result: Result) -> Figure:
    """Left: two features.  Right: enough features."""
    with style.house_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.7))
        for name in METHODS:
            look = style.LOOKS[name]._asdict()
            left.plot(result.share, result.regret[name], label=name, **look)
            right.plot(result.share, np.maximum(result.full_regret[name], FLOOR), **look)
        left.axhline(
            result.best_regret,
            color=style.BLACK,
            linestyle=style.DASHED,
            linewidth=1,
            label="best in the class (on-policy)",
        )
        left.set_title("Two features: who sampled decides")
        right.set_title("Enough features: CoPG is exact again")
        for axes in (left, right):
            axes.set_xlabel("share of the best arm in the samples")
            axes.set_yscale("log")
            axes.set_ylim(FLOOR / 5, 1)
        left.set_ylim(3e-4, 1)
        right.axhspan(FLOOR / 5, 30 * FLOOR, color="#EEEEEE")
        right.annotate(
            "zero, to rounding", (0.98, 12 * FLOOR), xycoords=("axes fraction", "data"), ha="right"
        )
        left.set_ylabel("regret of the fixed point  [reward]")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _spread(regret: Floats) -> float:
    return float(regret.max() / regret.min())
