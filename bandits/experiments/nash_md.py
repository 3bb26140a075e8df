"""Where does Nash-MD end?  Paths, Theorem 1 and the bias of a constant step (Munos 2023,
arXiv:2312.00886).

Nash-MD plays against a mixture of itself and the reference, one step of mirror descent a round.  Top: the
game of three raters (see favourites) and one whose arms beat one another in a cycle, from a far start on the
triangle. Self-play without a KL circles for ever; Nash-MD comes in to the regularised equilibrium.  Below
left: with the decreasing step of Theorem 1, KL(pi* || pi_T) against its bound 8 / (beta^2 (T + 1)), which is
very loose.  Below right: with a constant step eta the limit is not the equilibrium but the fixed point
against a mixture of weight eta beta: KL O(eta^2)  (T6.4, T6.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandits.algorithms import NashMD
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics.games import mirror_descent, nash_md, nash_md_bound, nash_md_rate
from bandits.examples import dice, three_raters
from bandits.experiments.record import Claim
from bandits.fixed_point import fixed_point
from bandits.plots import simplex, style
from bandits.policy import kl
from bandits.sampling.rules import OnPolicy
from bandits.solvers.paths import Step

BETA, START = 0.1, (0.90, 0.06, 0.04)
ETA, TINY = 0.5, 1e-6  # step of the trajectories; a beta so small that self-play is unregularised
STEPS, DRAWN = 3000, 150  # below left, and on the triangles
CYCLE = Bandit(preference=[[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]])  # T6.8: winner (.3, .3, .4)
GAMES = {"three raters, ε = 0.1": three_raters(0.1), "uneven cycle": CYCLE}

LOOKS = ((style.BLUE, style.SOLID, "o"), (style.ORANGE, style.DASHED, "s"))


@dataclass(frozen=True)
class Result:
    """Trajectories and divergences from the equilibrium."""

    beta: float
    nash: dict[str, Floats]  # (3,)
    nash_md: dict[str, Floats]  # (iterates, 3)
    unregularised: dict[str, Floats]  # (iterates, 3)
    iterations: Floats  # (T,)
    decreasing: dict[str, Floats]  # (T,)  KL(pi* || pi_T) with Theorem 1's step
    bound: Floats  # (T,)
    etas: Floats  # (etas,)
    bias: dict[str, Floats]  # (etas,)  KL(pi* || limit of the constant step)
    limit_error: float  # largest distance between the iterated and the solved limit


def run(
    progress: bool = False,
    *,
    beta: float = BETA,
    start: tuple[float, ...] = START,
    learning_rate: float = ETA,
    steps: int = STEPS,
) -> Result:
    """Iterate the maps exactly and solve for their limits; nothing is sampled.

    Args:
        beta: strength of the KL to the reference.
        start: of the paths above.
        learning_rate: eta, of the paths above.
        steps: of the decreasing sizes, below left.
    """
    star = {name: np.log(game.nash_policy(beta)) for name, game in GAMES.items()}
    iterations = np.unique(np.geomspace(1, steps, 60).astype(int))
    etas = np.geomspace(0.02, 2.0, 13)
    limits = {
        name: [fixed_point(NashMD(beta, eta * beta), game, OnPolicy()) for eta in etas]
        for name, game in GAMES.items()
    }
    return Result(
        beta=beta,
        nash={name: np.exp(policy) for name, policy in star.items()},
        nash_md={name: _path(nash_md(game, beta, learning_rate), start) for name, game in GAMES.items()},
        unregularised={
            name: _path(mirror_descent(game, TINY, learning_rate), start) for name, game in GAMES.items()
        },
        iterations=iterations.astype(float),
        decreasing={
            name: kl(star[name], _decreasing(game, beta, steps)[iterations - 1])
            for name, game in GAMES.items()
        },
        bound=nash_md_bound(beta, iterations),
        etas=etas,
        bias={
            name: np.array([kl(star[name], np.log(s.policy)) for s in found])
            for name, found in limits.items()
        },
        limit_error=max(_iterated_error(beta, eta) for eta in (0.1, 1.0)),
    )


def claims(result: Result) -> list[Claim]:
    """The bound holds, the bias is of second order, iterates go where the mixture's fixed point is."""
    rows = []
    for name in GAMES:
        within = (result.decreasing[name] / result.bound).max()
        rows.append(Claim(f"{name}: KL / Theorem 1's bound, largest", within, 0.0, 1.0))
        slope = np.polyfit(np.log(result.etas[:6]), np.log(np.maximum(result.bias[name][:6], 1e-300)), 1)[0]
        rows.append(Claim(f"{name}: slope of log bias against log step", slope, 2.0, 0.1))
    step = np.exp(nash_md(dice(), 0.1, 5.0)(np.log([0.6, 0.3, 0.1])))
    for arm, expected in enumerate((0.491, 0.309, 0.200)):
        rows.append(
            Claim(f"dice, one step with η = 5 from (.6, .3, .1): π({arm})", step[arm], expected, 6e-4)
        )
    return [
        *rows,
        Claim("constant step: iterated less solved limit, largest", result.limit_error, 0.0, 1e-10),
    ]


def draw(result: Result) -> Figure:
    """Two triangles, the bound, the bias."""
    looks = dict(zip(GAMES, LOOKS, strict=True))
    with style.house_style():
        figure, panels = plt.subplots(2, 2, figsize=(9.0, 7.4), height_ratios=(1.25, 1))
        for axes, (name, (color, _, _)) in zip(panels[0], looks.items(), strict=True):
            simplex.frame(axes, ("arm 1", "arm 2", "arm 3"))
            simplex.trajectory(
                axes,
                result.unregularised[name],
                color=style.GREY,
                linestyle=style.DOTTED,
                label="self-play, no KL",
            )
            simplex.trajectory(axes, result.nash_md[name], color=color, label="Nash-MD")
            simplex.point(axes, result.nash[name], color=style.RED, label="equilibrium")
            axes.set_title(f"{name}, β = {result.beta:g}: Nash-MD comes in", loc="center")
            axes.legend(loc="upper left", bbox_to_anchor=(-0.06, 1.0))
        _draw_distances(panels[1], result, looks)
    return figure


def _draw_distances(
    panels: Sequence[Axes], result: Result, looks: dict[str, tuple[str, style.Line, str]]
) -> None:
    """Distance to the equilibrium along the iterations, and what a constant step leaves of it."""
    left, right = panels
    left.loglog(
        result.iterations,
        result.bound,
        color=style.BLACK,
        linestyle=style.DOTTED,
        label="Theorem 1's bound",
    )
    for name, (color, line, marker) in looks.items():
        look: dict[str, Any] = {"color": color, "linestyle": line, "label": name}
        left.loglog(result.iterations, np.maximum(result.decreasing[name], 1e-18), **look)
        right.loglog(result.etas, np.maximum(result.bias[name], 1e-18), marker=marker, markersize=4, **look)
    guide = result.bias[next(iter(GAMES))][0] * (result.etas / result.etas[0]) ** 2 * 3
    right.loglog(result.etas, guide, color=style.BLACK, linestyle=style.DOTTED, label="slope 2")
    left.set_xlabel("iteration T, step 2 / (β (T + 2))")
    left.set_ylabel("KL(π* ‖ π_T)  [nats]")
    left.set_title("The bound is loose")
    right.set_xlabel("constant step η")
    right.set_ylabel("KL(π* ‖ limit)  [nats]")
    right.set_title("A constant step misses by O(η²)")
    for axes in (left, right):
        axes.legend()


def _path(step: Step, start: tuple[float, ...]) -> Floats:
    path = [np.log(np.array(start))]
    for _ in range(DRAWN):
        path.append(step(path[-1]))
    return np.exp(path)


def _decreasing(game: Bandit, beta: float, steps: int) -> Floats:
    """log pi_1 ... log pi_steps from the reference, with Theorem 1's step."""
    log_policy, path = game.log_reference, []
    for t in range(steps):
        log_policy = nash_md(game, beta, nash_md_rate(beta, t))(log_policy)
        path.append(log_policy)
    return np.stack(path)


def _iterated_error(beta: float, eta: float) -> float:
    """Distance between Nash-MD iterated to rest and the fixed point of the mixture with weight eta beta."""
    games = Bandit(preference=[game.preference for game in GAMES.values()])
    step, log_policy = nash_md(games, beta, eta), games.log_reference
    for _ in range(int(60 / (eta * beta))):  # what is left of the start is e^-60
        log_policy = step(log_policy)
    return float(
        np.abs(np.exp(log_policy) - fixed_point(NashMD(beta, eta * beta), games, OnPolicy()).policy).max()
    )
