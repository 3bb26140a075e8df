"""Can a higher score lose?  Constrained Elo, and dice in a circle (Munos 2023, arXiv:2312.00886).

Left: Elo scores, as of chess players, (0, ln 9, ln 2), so p(y beats y') = e^{r - r'} / (1 + e^{r - r'}), and
a policy class with pi_1 = 2 pi_2. The highest expected score in the class is (2/3, 1/3, 0), yet it loses to
(0, 0, 1), which wins 50/99 against it: even a world that is Bradley-Terry arm by arm is not one policy by
policy.

Right: three dice, each beating the next with 5/9: no score at all orders them; the Nash equilibrium is
uniform, by symmetry  (T6.7 ii, iii).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandits.algorithms import DPO
from bandits.checks import Floats
from bandits.examples import dice, elo
from bandits.experiments.record import Claim
from bandits.fixed_point import fixed_point
from bandits.plots import style
from bandits.sampling.rules import Offline
from bandits.solvers.equilibrium import von_neumann_winner

SKEWED = (0.6, 0.3, 0.1)
BETA = 0.1


@dataclass(frozen=True)
class Result:
    """The constrained Elo class, and the dice's answers."""

    weight: Floats  # (s,)  of arm 3; the class is ((1 - s) 2/3, (1 - s)/3, s)
    score: Floats  # (s,)  expected Elo
    win_rate: Floats  # (s,)  against (0, 0, 1)
    dice: Floats  # (3, 3)  preferences
    dice_nash: Floats  # (3,)
    dice_scores: dict[str, Floats]  # (3,)  DPO's policy by sampling law


def run(progress: bool = False, *, beta: float = BETA, mu: tuple[float, ...] = SKEWED) -> Result:
    """Everything in closed form; nothing is sampled.

    Args:
        beta: DPO's.
        mu: chances of the dice in the skewed pairs.
    """
    world, game = elo(), dice()
    weight = np.linspace(0, 1, 101)
    policies = np.stack([(1 - weight) * 2 / 3, (1 - weight) / 3, weight], axis=-1)
    skewed = ", ".join(f"{share:g}".removeprefix("0") for share in mu)
    laws = {"uniform pairs": (1 / 3, 1 / 3, 1 / 3), f"pairs from ({skewed})": mu}
    return Result(
        weight=weight,
        score=policies @ world.needed_reward(),
        win_rate=world.win_rate(policies, [0.0, 0.0, 1.0]),
        dice=game.preference,
        dice_nash=von_neumann_winner(game.preference),
        dice_scores={name: fixed_point(DPO(beta), game, Offline(law)).policy for name, law in laws.items()},
    )


def claims(result: Result) -> list[Claim]:
    """T6.7 ii and iii."""
    skewed = result.dice_scores["pairs from (.6, .3, .1)"]
    return [
        Claim(
            "Elo: highest expected score in the class is at weight",
            result.weight[result.score.argmax()],
            0.0,
            0.0,
        ),
        Claim("Elo: (0, 0, 1) beats the highest score with", 1 - result.win_rate[0], 50 / 99, 1e-12),
        Claim("dice: the first beats the second less 1/2", abs(result.dice[0, 1] - 0.5), 1 / 18, 1e-12),
        Claim("dice: distance of Nash from uniform", np.abs(result.dice_nash - 1 / 3).max(), 0.0, 1e-12),
        Claim(
            "dice: DPO on uniform pairs, distance from uniform",
            np.abs(result.dice_scores["uniform pairs"] - 1 / 3).max(),
            0,
            1e-9,
        ),
        Claim("dice: DPO on skewed pairs, distance from uniform", np.abs(skewed - 1 / 3).max(), 0.2478, 1e-4),
    ]


def draw(result: Result) -> Figure:
    """Left: score and win rate along the class.  Right: what each method says of the dice."""
    with style.house_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.9))
        wins = {"color": style.BLUE, "linestyle": style.DASHED, "label": "win rate against (0, 0, 1)"}
        left.plot(result.weight, result.score, color=style.ORANGE, label="expected Elo score")
        left.plot(result.weight, result.win_rate, **wins)
        left.axhline(0.5, color=style.BLACK, linestyle=style.DOTTED, linewidth=1)
        top: dict[str, Any] = {"color": style.RED, "clip_on": False}
        left.plot(0, result.score[0], "*", markersize=12, label="highest score: wins 49/99", **top)
        left.plot(0, result.win_rate[0], "o", **top)
        left.set_xlabel("s, in the class (2(1−s)/3, (1−s)/3, s)")
        left.set_ylabel("score  [nats]  or  win rate")
        left.set_ylim(0.44, 0.76)
        left.set_title("The highest score loses")
        left.legend(loc="center")
        _draw_dice(right, result)
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=3)
    return figure


def _draw_dice(axes: Axes, result: Result) -> None:
    names = ["Nash equilibrium", *(f"DPO, {name}" for name in result.dice_scores)]
    rows = np.stack([result.dice_nash, *result.dice_scores.values()])
    before = np.zeros(len(names))
    looks = zip((style.BLUE, style.ORANGE, style.GREY), ("2·4·9", "1·6·8", "3·5·7"), strict=True)
    for arm, (color, faces) in enumerate(looks):
        axes.barh(names, rows[:, arm], left=before, color=color, edgecolor="white", label=f"die {faces}")
        before = before + rows[:, arm]
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("probability")
    axes.set_title("Dice: a score answers for the sampler")
