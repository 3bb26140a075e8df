"""Who circles, who arrives?  Six ways to learn from oneself on an uneven cycle of three arms (T6.5, T6.8).

P = [[.5, .9, .2], [.1, .5, .8], [.8, .2, .5]]: each arm beats one and loses to one.  With a KL to the
reference (beta = .03) mirror descent, pi times exp(eta times its wins), arrives at the regularised
equilibrium if its step eta is short, and circles for ever if it is long, although the equilibrium rests at
any step.  An opponent that lags behind, the moving average of the past, makes it circle at the short step
too.  Without a KL the policies in play never come to rest and only their average does: fictitious play's
(answer the average) and regret matching's (play in proportion to what one would rather have played) tend to
the equilibrium (.3, .3, .4).  The duality gap and the exploitability say how much the best answer to a
policy would win: zero at an equilibrium.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics import games
from bandits.experiments.record import Claim
from bandits.plots import simplex, style
from bandits.solvers.equilibrium import equilibrium, von_neumann_winner
from bandits.solvers.paths import Step, integrate, iterate

BETA, START, STEPS = 0.03, (0.8, 0.15, 0.05), 3000
SHORT, LONG, DECAY = 1.0, 15.0, 0.9  # steps of mirror descent; share of the past that an average keeps
CYCLE = Bandit(preference=[[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]])
Looks = tuple[tuple[str, Any], ...]
WITH_KL: Looks = ((style.BLUE, "-"), (style.ORANGE, style.DASHED), (style.GREEN, style.DASH_DOT))
WITHOUT: Looks = ((style.PURPLE, style.DASHED), (style.RED, "-"))
FLOWS: Looks = ((style.BLUE, "-"), (style.GREEN, style.DASH_DOT), (style.PURPLE, style.DASHED))
CIRCLING = ("mirror descent, η = 15", "lagging opponent, η = 1")


@dataclass(frozen=True)
class Result:
    """Exact paths; nothing is sampled."""

    beta: float
    nash: Floats  # (3,)  the regularised equilibrium
    winner: Floats  # (3,)  the unregularised one
    iterations: Floats  # (T,)
    gap: dict[str, Floats]  # (T,)  duality gap of the policy, with the KL
    exploitability: dict[str, Floats]  # (T,)  of the average policy, without
    bound: Floats  # (T,)  sqrt(A / T) / 2
    flows: dict[str, Floats]  # (times, 3)  in continuous time, with the KL


def run(
    progress: bool = False,
    *,
    beta: float = BETA,
    start: tuple[float, ...] = START,
    short: float = SHORT,
    long: float = LONG,
    decay: float = DECAY,
    steps: int = STEPS,
) -> Result:
    """Iterate the maps and integrate the flows.

    Args:
        beta: strength of the KL to the reference.
        start: of every path.
        short: eta, the step of mirror descent.
        long: another, on which it should circle.
        decay: share of the past that the lagging opponent keeps.
        steps: of every iteration.
    """
    at = np.unique(np.geomspace(1, steps, 80).astype(int))
    nash = equilibrium(CYCLE.preference, CYCLE.log_reference, beta).policy
    lagging = games.nash_ema(CYCLE, beta, short, decay)
    with_kl = {
        f"mirror descent, η = {eta:g}": _path(repeat(games.mirror_descent(CYCLE, beta, eta), steps), start)
        for eta in (short, long)
    } | {f"lagging opponent, η = {short:g}": _path(repeat(lagging, steps), [start, start])[:, 0]}
    rates = [1 / (t + 1) for t in range(1, steps + 1)]
    without = {
        "fictitious play": _path((games.fictitious_play(CYCLE, rate) for rate in rates), start),
        "regret matching": _path((games.regret_matching(CYCLE, rate) for rate in rates), start),
    }
    return Result(
        beta=beta,
        nash=nash,
        winner=von_neumann_winner(CYCLE.preference),
        iterations=at.astype(float),
        gap={name: CYCLE.duality_gap(path[at], beta) for name, path in with_kl.items()},
        exploitability={name: games.exploitability(CYCLE, path[at - 1]) for name, path in without.items()},
        bound=np.sqrt(3 / at) / 2,
        flows=_flows(beta, start),
    )


def _flows(beta: float, start: tuple[float, ...]) -> dict[str, Floats]:
    times = np.concatenate(
        [np.linspace(0, 12, 60), np.linspace(13, 180, 200), [600.0]]
    )  # drawn, but the last
    both = integrate(games.averaged_play(CYCLE, beta, rate=1.0), [start, start], times)
    return {
        "self-play": integrate(games.self_play(CYCLE, beta), start, times),
        "against an average": both[:, 0],
        "best response": integrate(games.best_response_flow(CYCLE, beta), start, times),
    }


def _path(steps: Iterable[Step], start: object) -> Floats:
    return iterate(steps, np.array(start))


def claims(result: Result) -> list[Claim]:
    """Short steps arrive, long ones and lagging opponents circle; regret matching keeps its bound."""
    ends = {name: np.abs(path[-1] - result.nash).max() for name, path in result.flows.items()}
    last = {name: float(gap[-1]) for name, gap in result.gap.items()}
    over = result.exploitability["regret matching"] / result.bound
    return [
        Claim("mirror descent, short steps: last gap", last["mirror descent, η = 1"], 0.0, 1e-10),
        *(Claim(f"{name}: gap stays above .1", _late(result.gap[name]), 1.0, 0.0) for name in CIRCLING),
        Claim("regret matching: largest exploitability / bound is below 1", float(over.max() < 1), 1.0, 0.0),
        Claim("self-play flow: distance of its end to the equilibrium", ends["self-play"], 0.0, 1e-6),
        Claim("best-response flow: distance of its end", ends["best response"], 0.0, 1e-12),
        Claim("flow against an average: still this far away", ends["against an average"], 0.175, 0.01),
    ]


def _late(gap: Floats) -> float:
    """1 if the gap stays above .1 over the last third of the iterations."""
    return float(gap[2 * len(gap) // 3 :].min() > 0.1)


def draw(result: Result) -> Figure:
    """Flows on the simplex; gaps with the KL; exploitability of averages without."""
    with style.house_style():
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11.5, 3.9))
        simplex.frame(left, ("arm 1", "arm 2", "arm 3"))
        for (color, line), (name, path) in zip(FLOWS, result.flows.items(), strict=True):
            simplex.trajectory(left, path[:-1], color=color, linestyle=line, label=name)
        simplex.point(left, result.nash, color=style.RED, label="equilibrium")
        left.set_title("Continuous time: only the lag circles", loc="center")
        _draw_curves(middle, result.iterations, result.gap, WITH_KL)
        _draw_curves(right, result.iterations, result.exploitability, WITHOUT)
        right.loglog(
            result.iterations, result.bound, color=style.BLACK, linestyle=style.DOTTED, label="√(A/T) / 2"
        )
        middle.set_title("With a KL: long steps and lags circle")
        middle.set_ylabel("duality gap of the policy")
        middle.set_ylim(bottom=1e-16)
        right.set_title("Without: the averages arrive")
        right.set_ylabel("exploitability of the average")
        for axes in (left, middle, right):
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2 if axes is not left else -0.02))
    return figure


def _draw_curves(axes: Axes, iterations: Floats, curves: dict[str, Floats], looks: Looks) -> None:
    for (color, line), (name, curve) in zip(looks, curves.items(), strict=False):
        axes.loglog(iterations, np.maximum(curve, 1e-17), color=color, linestyle=line, label=name)
    axes.set_xlabel("iteration T")
