"""Can a score stand for preferences?  Bradley-Terry's favourite against the Nash equilibrium.

Three types of rater (Munos 2023, arXiv:2312.00886) make a game without any score; epsilon tilts it slightly.
Its Nash equilibrium, the policy that no other beats more often than not, is (1/3 + e/2, 1/3 + e/2, 1/3 - e)
without a KL: continuous.  The Bradley-Terry fit, which is DPO's answer at small beta, gives everything to
one arm, and which one jumps with the sign of epsilon and with the sampling law  (T6.7 i, T5.2).
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bandits.algorithms import DPO, NashMD
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.examples import three_raters
from bandits.experiments.record import Claim
from bandits.fixed_point import fixed_point
from bandits.plots import style
from bandits.samples import Algorithm
from bandits.sampling.rules import Offline, OnPolicy, Sampling
from bandits.solvers.equilibrium import von_neumann_winner

SMALL = 0.002  # beta: DPO then nearly takes the best score only
UNIFORM, SKEWED = (1 / 3, 1 / 3, 1 / 3), (0.6, 0.2, 0.2)


@dataclass(frozen=True)
class Result:
    """Exact policies against epsilon."""

    beta: float
    epsilon: Floats  # (e,)
    nash: Floats  # (e, 3)  regularised, beta
    winner: Floats  # (e, 3)  unregularised
    uniform: Floats  # (e, 3)  DPO, uniform pairs
    skewed: Floats  # (e, 3)  DPO, pairs that favour arm 1


def run(progress: bool = False, *, beta: float = SMALL, mu: tuple[float, ...] = SKEWED) -> Result:
    """Solve all for every epsilon; nothing is sampled.

    Args:
        beta: strength of the KL, so small that DPO nearly takes the best score only.
        mu: chances of the arms in the skewed pairs.
    """
    epsilon = np.setdiff1d(np.linspace(-0.2, 0.2, 81).round(4), [0.0])
    worlds = Bandit(preference=[three_raters(e).preference for e in epsilon])  # a context for each epsilon

    def ends(algorithm: Algorithm, sampling: Sampling) -> Floats:
        return fixed_point(algorithm, worlds, sampling).policy

    return Result(
        beta=beta,
        epsilon=epsilon,
        nash=ends(NashMD(beta=beta), OnPolicy()),
        winner=np.stack([von_neumann_winner(preference) for preference in worlds.preference]),
        uniform=ends(DPO(beta=beta), Offline(UNIFORM)),
        skewed=ends(DPO(beta=beta), Offline(mu)),
    )


def claims(result: Result) -> list[Claim]:
    """The unregularised equilibrium in closed form, and who jumps."""
    e = result.epsilon
    theory = np.stack([1 / 3 + e / 2, 1 / 3 + e / 2, 1 / 3 - e], axis=-1)
    near = np.abs(e) < 0.006
    favourite = result.uniform[near].argmax(axis=1)
    jump = np.abs(np.diff(result.uniform[near], axis=0)).max()
    nash_jump = np.abs(np.diff(result.nash, axis=0)).max()
    return [
        Claim(
            "Nash, unregularised: largest error against T6.7", np.abs(result.winner - theory).max(), 0.0, 1e-9
        ),
        Claim(
            f"Nash, β = {SMALL:g}: distance from the unregularised",
            np.abs(result.nash - theory).max(),
            0.0,
            0.02,
        ),
        Claim("Bradley-Terry: number of favourites around ε = 0", float(len(set(favourite))), 2, 0),
        Claim("Bradley-Terry: largest jump of a probability at ε = 0", jump, 1.0, 0.5),
        Claim("Nash: largest change between neighbouring ε", nash_jump, 0.0, 0.02),
    ]


def draw(result: Result) -> Figure:
    """One panel a solution concept, one line an arm."""
    panels_of = (
        ("Nash: a mixture that moves smoothly", result.nash),
        ("Bradley–Terry, uniform pairs: jumps", result.uniform),
        ("Bradley–Terry, skewed pairs: another answer", result.skewed),
    )
    with style.house_style():
        figure, panels = plt.subplots(1, 3, figsize=(10.5, 3.5), sharey=True)
        looks = ((style.BLUE, "-"), (style.ORANGE, style.DASHED), (style.GREY, style.DOTTED))
        for axes, (title, policies) in zip(panels, panels_of, strict=True):
            for arm, (color, line) in enumerate(looks):
                axes.plot(
                    result.epsilon, policies[:, arm], color=color, linestyle=line, label=f"arm {arm + 1}"
                )
            axes.set_title(title, fontsize=9)
            axes.set_xlabel("ε, tilt of the raters")
            axes.set_ylim(-0.03, 1.03)
        panels[0].set_ylabel("probability")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
