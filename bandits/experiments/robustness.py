"""Does it matter who wrote the answers?  SRPO, IPO and DPO as the behaviour policy changes, in the spirit
of SRPO's robustness toy (Choi 2024, arXiv:2406.01660; the paper's matrix is not printed).

Three arms with the preferences of `examples.srpo_spirit`, uniform reference, beta = .1.  Pairs are i.i.d.
from somebody who gives a share s to arm 1, which nearly always loses.  SRPO's policies do not contain the
sampling law (T7.2); IPO's favourite flips, because it asks who beats mu (T4.1, T7.4).
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bandits.algorithms import DPO, IPO, SRPO
from bandits.checks import Floats
from bandits.examples import skewed_to, srpo_spirit
from bandits.experiments.record import Claim
from bandits.fixed_point import fixed_point
from bandits.plots import style
from bandits.sampling.rules import Offline

BETA = 0.1
METHODS: dict[str, type[SRPO | IPO | DPO]] = {"SRPO": SRPO, "IPO": IPO, "DPO": DPO}


@dataclass(frozen=True)
class Result:
    """Exact policies against the share of arm 1 in the data."""

    beta: float
    share: Floats  # (shares,)
    policy: dict[str, Floats]  # (shares, 3)


def run(progress: bool = False, *, beta: float = BETA) -> Result:
    """Solve all three methods for every share; nothing is sampled.

    Args:
        beta: strength of the KL, of all three.
    """
    share = np.append(np.linspace(0.02, 0.98, 49), [1 / 3, 0.9])
    share.sort()
    laws = [Offline(skewed_to(1, 3, s)) for s in share]
    policy = {
        name: np.stack([fixed_point(method(beta), srpo_spirit(), law).policy for law in laws])
        for name, method in METHODS.items()
    }
    return Result(beta, share, policy)


def claims(result: Result) -> list[Claim]:
    """T7.4's numbers."""
    uniform = int(np.argmin(np.abs(result.share - 1 / 3)))
    skewed = int(np.argmin(np.abs(result.share - 0.9)))
    table = [
        ("SRPO, uniform samples", result.policy["SRPO"][uniform], (0.126, 0.007, 0.867)),
        ("IPO, uniform samples", result.policy["IPO"][uniform], (0.365, 0.012, 0.623)),
        ("IPO, 90 % of the samples are arm 1", result.policy["IPO"][skewed], (0.869, 0.008, 0.122)),
    ]
    rows = [
        Claim(f"{text}: π({arm})", policy[arm], expected[arm], 6e-4)
        for text, policy, expected in table
        for arm in (0, 2)
    ]
    moved = np.ptp(result.policy["SRPO"], axis=0).max()
    return [*rows, Claim("SRPO: how far the policy moves over all shares", moved, 0.0, 1e-12)]


def draw(result: Result) -> Figure:
    """Probability of arms 0 and 2 against the share of arm 1 in the data, a panel each."""
    with style.house_style():
        figure, panels = plt.subplots(1, 2, figsize=(9.0, 3.6), sharey=True)
        for axes, arm in zip(panels, (0, 2), strict=True):
            for name, policy in result.policy.items():
                axes.plot(result.share, policy[:, arm], label=name, **style.LOOKS[name]._asdict())
            axes.set_xlabel("share of arm 1 (the loser) in the samples")
            axes.set_title(f"π(arm {arm})", loc="center")
            axes.set_ylim(0, 1)
        panels[0].set_ylabel("probability at the fixed point")
        figure.suptitle(
            "Flood the data with a loser: IPO changes its favourite, SRPO does not", weight="bold", size=10
        )
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
