"""Is ARMAC CFR, and which of its policies arrives?  Kuhn's poker, exactly  (T12.11, T12.12).

CFR minimises the regret of every decision by itself, ARMAC by a learnt critic that replays its past.  Left:
NashConv, what all players together would gain by answering best, of the average policy falls, that of the
policy in play does not, for ARMAC and CFR, whose curves are one.  Updates in turn are faster.  Middle: the
largest difference between the policies of ARMAC and CFR is rounding, as long as the learner does not replay
its own past too; if it does, it is another algorithm after a few iterations.  Right: the average policies on
their way to the line of equilibria, on which player 0 bets a K three times as often as a J.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bandits.checks import Floats
from bandits.experiments.record import Claim
from bandits.plots import style
from bandits.tabular import armac, games, trees
from bandits.tabular.best_response import nash_conv
from bandits.tabular.trees import Game

ITERATIONS = 1000
LOOKS = {
    "CFR = ARMAC": (style.BLUE, "-"),
    "CFR, in turn": (style.GREEN, style.DASHED),
    "ARMAC that replays itself": (style.RED, style.DASH_DOT),
}


@dataclass(frozen=True)
class Result:
    """Curves along iterations; nothing is sampled."""

    iterations: Floats  # (n,)
    average: dict[str, Floats]  # (n,)  NashConv of the average policy
    current: Floats  # (n,)  of CFR's policy in play
    apart: dict[str, Floats]  # (n,)  largest difference of a probability from CFR's, up to then
    bets: dict[str, Floats]  # (n, 2)  chance to bet J and K, of the average policy
    line: Floats  # (2, 2)  the ends of the line of equilibria
    value: float  # of the average policy to player 0
    alpha: float
    off: float  # distance of CFR's average in turn from the family
    late: Floats  # (3,)  NashConv of the policy in play over the last nine tenths: least, greatest, mean


def run(progress: bool = False, *, iterations: int = ITERATIONS) -> Result:
    """Play the same game four times.

    Args:
        iterations: of all four.
    """
    game = games.kuhn_poker()
    cfr, mine = armac.cfr(game, iterations), armac.armac(game, iterations)
    replayed = armac.armac(game, iterations, replays_itself=True)
    in_turn = armac.alternating_cfr(game, iterations)
    at = np.unique(np.geomspace(1, iterations, 40).round().astype(int))
    played = dict(zip(LOOKS, (cfr, in_turn, replayed), strict=True))
    means = {name: armac.average_policies(game, each)[at - 1] for name, each in played.items()}
    rows = [list(game.infosets).index(card) for card in "JK"]
    late = np.array([nash_conv(game, policy) for policy in cfr[max(iterations // 10, 1) - 1 :]])
    alpha, off = games.nearest_kuhn_equilibrium(means["CFR, in turn"][-1])
    return Result(
        iterations=at.astype(float),
        average={name: _gaps(game, each) for name, each in means.items()},
        current=_gaps(game, cfr[at - 1]),
        apart={
            "ARMAC": _apart(mine, cfr)[at - 1],
            "ARMAC that replays itself": _apart(replayed, cfr)[at - 1],
        },
        bets={name: each[:, rows, 1] for name, each in means.items()},
        line=np.stack([games.kuhn_equilibrium(a)[rows, 1] for a in (0.0, 1 / 3)]),
        value=float(trees.value(game, means["CFR, in turn"][-1])[0]),
        alpha=alpha,
        off=off,
        late=np.array([late.min(), late.max(), late.mean()]),
    )


def claims(result: Result) -> list[Claim]:
    """T12.11 and T12.12."""
    average = result.average["CFR = ARMAC"]
    places = [int(np.flatnonzero(result.iterations == t)[0]) for t in (1, ITERATIONS)]
    return [
        Claim("ARMAC and CFR: largest difference of a probability", result.apart["ARMAC"].max(), 0, 1e-12),
        Claim(
            "replaying itself: it differs by more than .1",
            float(result.apart["ARMAC that replays itself"][-1] > 0.1),
            1,
            0,
        ),
        Claim("NashConv of the average after 1", average[places[0]], 0.916667, 5e-7),
        Claim("NashConv of the average after 1000", average[places[1]], 0.014538, 5e-7),
        Claim("in turn, after 1000", result.average["CFR, in turn"][-1], 0.0019, 5e-5),
        Claim("policy in play: NashConv after 1000", result.current[-1], 0.4163, 5e-5),
        Claim("policy in play: least NashConv from 100 on", result.late[0], 0.27, 0.02),
        Claim("policy in play: greatest NashConv from 100 on", result.late[1], 0.67, 0.02),
        Claim("value of Kuhn's poker, by the average in turn", result.value, games.KUHN_VALUE, 1e-3),
        Claim("distance of the average in turn to the equilibria", result.off, 0.0, 0.01),
    ]


def draw(result: Result) -> Figure:
    """NashConv; the difference of two algorithms; the way to the equilibria."""
    with style.house_style():
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11.5, 4.0))
        for name, (color, line) in LOOKS.items():
            left.loglog(
                result.iterations, result.average[name], color=color, linestyle=line, label=f"average, {name}"
            )
        in_play = {"color": style.ORANGE, "linestyle": style.DOTTED, "label": "in play, CFR = ARMAC"}
        left.loglog(result.iterations, result.current, **in_play)
        left.set(title="Averages arrive, policies in play do not", xlabel="iteration", ylabel="NashConv")
        hues = {"ARMAC": style.BLUE, "ARMAC that replays itself": style.RED}
        for name, apart in result.apart.items():
            line = "-" if name == "ARMAC" else LOOKS[name][1]
            middle.loglog(
                result.iterations, np.maximum(apart, 1e-17), color=hues[name], linestyle=line, label=name
            )
        middle.axhline(1e-12, color=style.BLACK, linestyle=style.DOTTED, linewidth=1.2, label="1e-12")
        middle.set(
            title="ARMAC is CFR, to rounding",
            xlabel="iteration",
            ylabel="largest difference from CFR's policies",
        )
        middle.set_ylim(3e-18, 10)
        right.plot(*result.line.T, "s-", color=style.BLACK, linewidth=3, alpha=0.5, label="equilibria")
        for name, (color, line) in LOOKS.items():
            right.plot(*result.bets[name].T, color=color, linestyle=line, linewidth=1.2, label=name)
            right.plot(*result.bets[name][-1], "o", color=color, markersize=6, markeredgecolor="white")
        right.set(title="The average finds the line", xlabel="chance to bet a J", ylabel="chance to bet a K")
        for axes in (left, middle, right):
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17))
    return figure


def _gaps(game: Game, policies: Floats) -> Floats:
    """NashConv of each, (n,)."""
    return np.array([nash_conv(game, policy) for policy in policies])


def _apart(played: Floats, others: Floats) -> Floats:
    """Largest difference so far, (T,)."""
    return np.maximum.accumulate(np.abs(played - others).max(axis=(1, 2)))
