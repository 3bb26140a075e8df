"""Which loss of the margin finds the reward, and which one finds who sampled?

One Bradley-Terry world of three arms.  Pairs are i.i.d. from mu(y) ~ e^(s y): the skew s says how much more
often the last arm is shown than the first.  The scores beta h at the end, whatever beta (T12.15), against s:
the logistic loss finds r, the exponential r / 2, whoever sampled (T12.16); the squared loss, IPO's, moves
with s, and the hinge jumps from one rung of integers to the next (T12.18).
Crosses: plain descent in small steps, by a program that knows none of this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy.special import expit

from bandits.algorithms import ConvexLoss, MarginLoss, exponential, hinge, logistic, squared
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.experiments.record import Claim
from bandits.fixed_point import fixed_point
from bandits.plots import style
from bandits.sampling.rules import Offline

BETA = 0.5
REWARD, REFERENCE = (1.8, 0.8, 0.0), (0.2, 0.5, 0.3)
LOSSES: dict[str, MarginLoss] = {
    "logistic (DPO)": logistic,
    "exponential": exponential,
    "squared (IPO)": squared,
    "hinge (SLiC)": hinge,
}
STEPS, STEP, CHECKED = 3000, 0.7, (-3.0, 0.0, 3.0)


@dataclass(frozen=True)
class Result:
    """Scores beta h, the last arm's taken off, against the skew of who sampled."""

    reward: Floats  # (3,)
    skew: Floats  # (s,)
    score: dict[str, Floats]  # (s, 3)
    checked: Floats  # (c,)  skews at which plain descent ran as well
    descended: dict[str, Floats]  # (c, 3)


def run(progress: bool = False, *, reward: tuple[float, ...] = REWARD) -> Result:
    """Every end by its closed form, a few by descent; nothing is sampled.

    Args:
        reward: of the three arms: best, second, worst.
    """
    skew = np.linspace(-4, 4, 81).round(4)
    world = Bandit([reward] * len(skew), reference=REFERENCE)  # a context for each skew
    ends = {
        name: fixed_point(ConvexLoss(BETA, f), world, Offline(_sampler(skew))) for name, f in LOSSES.items()
    }
    score = {name: _score(end.policy) for name, end in ends.items()}
    descended = {
        name: np.stack([_descent(slope, np.array(reward), s) for s in CHECKED])
        for name, slope in _SLOPES.items()
    }
    return Result(np.array(reward), skew, score, np.array(CHECKED), descended)


def _sampler(skew: ArrayLike) -> Floats:
    weight = np.exp(np.asarray(skew)[..., None] * np.arange(3) / 2)
    return weight / weight.sum(axis=-1, keepdims=True)


def _score(policy: Floats) -> Floats:
    u = BETA * np.log(policy / np.array(REFERENCE))
    return u - u[..., -1:]


_SLOPES: dict[str, Callable[[Floats], Floats]] = {  # by hand; the hinge's descent chatters by a step
    "logistic (DPO)": lambda z: -expit(-z),
    "exponential": lambda z: -np.exp(-z),
    "squared (IPO)": lambda z: 2 * (z - 1),
}


def _descent(slope: Callable[[Floats], Floats], reward: Floats, skew: float) -> Floats:
    """Scores after many small steps on the sum over all pairs."""
    mu = _sampler(skew)
    wins = np.outer(mu, mu) * expit(reward[:, None] - reward)
    u = np.zeros(3)
    for _ in range(STEPS):
        charge = wins * slope(u[:, None] - u)
        u = u - STEP * (charge.sum(axis=1) - charge.sum(axis=0))
    return u - u[-1]


def claims(result: Result) -> list[Claim]:
    """Who moves with the skew, and by how much."""
    r, score = result.reward, result.score
    hinges, moved = score["hinge (SLiC)"], np.ptp(score["squared (IPO)"], axis=0).max()
    far = max(np.abs(_at(result, name) - steps).max() for name, steps in result.descended.items())
    finds, halves = np.abs(score["logistic (DPO)"] - r).max(), np.abs(score["exponential"] - r / 2).max()
    whole = np.abs(hinges - np.round(hinges)).max()
    rungs = len(np.unique(np.round(hinges[:, 0])))
    return [
        Claim("logistic: largest distance from the reward", finds, 0, 1e-12),
        Claim("exponential: largest distance from half the reward", halves, 0, 1e-12),
        Claim("squared: a score moves with the skew by", moved, 0.107, 1e-3),
        Claim("hinge: largest distance of a score from an integer", whole, 0, 1e-9),
        Claim("hinge: rungs that the best arm stands on", rungs, 2, 0),
        Claim("descent in small steps: largest distance from the ends", far, 0, 1e-4),
    ]


def _at(result: Result, name: str) -> Floats:
    """The exact scores at the skews that were checked."""
    places = [int(np.argmin(np.abs(result.skew - s))) for s in result.checked]
    return result.score[name][places]


def draw(result: Result) -> Figure:
    """A panel a better arm: its score above the worst arm's."""
    colors = (style.BLUE, style.ORANGE, style.RED, style.BLACK)
    lines = (style.SOLID, style.DASH_DOT, style.DASHED, style.DOTTED)
    with style.house_style():
        figure, panels = plt.subplots(1, 2, figsize=(9.0, 3.9))
        for arm, axes in enumerate(panels):
            for (name, u), color, line in zip(result.score.items(), colors, lines, strict=True):
                axes.plot(
                    result.skew,
                    u[:, arm],
                    color=color,
                    linestyle=line,
                    drawstyle="steps-mid" if name not in result.descended else "default",
                    label=name,
                )
                if name in result.descended:
                    steps = result.descended[name][:, arm]
                    marks = axes.plot(result.checked, steps, "x", color=color, markersize=6)
            axes.axhline(result.reward[arm], color=style.GREY, linestyle=style.DASHED, linewidth=1.0)
            axes.text(-4, result.reward[arm] + 0.03, "its reward", fontsize=8, color=style.GREY)
            axes.set_xlabel("skew of the sampler, log μ(worst) / μ(best)")
            axes.set_title(f"{'best' if arm == 0 else 'second'} arm", loc="center")
        panels[0].set_ylabel("βh at the end, above the worst arm's")
        figure.suptitle(
            "Logistic and exponential losses find the reward; squares and hinges find who sampled",
            weight="bold",
            size=10,
        )
        marks[0].set_label("descent in small steps")
        figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure
