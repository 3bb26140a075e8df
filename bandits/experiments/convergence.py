"""How fast?  CoPG's regret on five sampling graphs: the rate is twice beta lambda_2 (T3.4).

Six arms, beta = 1/2, exact gradient flow from the reference.  Pairs are drawn uniformly from the edges of a
graph: complete, star, cycle, path, or two triangles joined by a rare edge.  All end at pi*, since all are
connected; how fast depends on the graph's algebraic connectivity and nothing else: lambda_2, the second
smallest eigenvalue of its Laplacian, large where no cut parts the arms cheaply.  The regret is a KL
divergence, quadratic near its zero, hence it falls like exp(-2 beta lambda_2 t).
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bandits.algorithms import CoPG
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics.flow import flow
from bandits.dynamics.rates import convergence_rate
from bandits.experiments.record import Claim
from bandits.plots import style
from bandits.sampling.rules import Pairs

BETA, ARMS, BRIDGE = 0.5, 6, 0.02
REWARD = (1.0, 0.2, 0.7, -0.3, 0.5, -0.9)
LOOKS = (
    (style.BLUE, style.SOLID),
    (style.GREEN, style.DASHED),
    (style.SKY, style.DASH_DOT),
    (style.ORANGE, style.DASH_DOTS),
    (style.RED, style.LONG_SHORT),
)


def _graphs(bridge: float) -> dict[str, Floats]:
    """Joint laws of a pair, one a graph."""
    cycle = [(i, (i + 1) % ARMS) for i in range(ARMS)]
    edges = {
        "complete": [(i, j) for i in range(ARMS) for j in range(i)],
        "star": [(0, j) for j in range(1, ARMS)],
        "cycle": cycle,
        "path": cycle[:-1],
    }
    graphs = {name: _uniform(pairs) for name, pairs in edges.items()}
    triangles = _uniform([(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3)])
    graphs["two triangles, rare bridge"] = (1 - bridge) * triangles + bridge * _uniform([(2, 3)])
    return graphs


def _uniform(pairs: list[tuple[int, int]]) -> Floats:
    joint = np.zeros((ARMS, ARMS))
    joint[tuple(np.transpose(pairs))] = 1 / len(pairs)
    return joint


@dataclass(frozen=True)
class Result:
    """Regret along the exact flow, and the measured and exact rates."""

    beta: float
    reward: Floats  # (6,)
    times: Floats  # (times,)
    regret: dict[str, Floats]  # (times,)
    rate: dict[str, float]  # 2 beta lambda_2
    slope: dict[str, float]  # measured on the tail of log regret


def run(
    progress: bool = False, *, beta: float = BETA, reward: tuple[float, ...] = REWARD, bridge: float = BRIDGE
) -> Result:
    """Follow the flow in closed form on every graph; nothing is sampled.

    Args:
        beta: strength of the KL to the reference.
        reward: of each of the six arms.
        bridge: the share of the pairs that join the two triangles.
    """
    bandit, algorithm = Bandit(reward), CoPG(beta=beta)
    rare = min(bridge, BRIDGE)  # the slowest graph needs a time like 1 / (beta bridge)
    times = np.linspace(0, 12 / (beta * rare), round(24 / rare) + 1)
    regret, rate, slope = {}, {}, {}
    for name, joint in _graphs(bridge).items():
        law = Pairs(joint)
        regret[name] = bandit.regret(flow(algorithm, bandit, law, times), beta)
        rate[name] = 2 * float(convergence_rate(algorithm, bandit, law))
        slope[name] = _tail_slope(times, regret[name])
    return Result(beta, np.array(reward), times, regret, rate, slope)


def claims(result: Result) -> list[Claim]:
    """Measured slopes against the algebraic connectivity; two graphs whose lambda_2 is known by hand."""
    rows = [
        Claim(f"{name}: slope of log regret", result.slope[name], -rate, 0.03 * rate)
        for name, rate in result.rate.items()
    ]
    by_hand = {"complete": ARMS / 15, "cycle": (2 - 2 * np.cos(2 * np.pi / ARMS)) / ARMS}
    return rows + [
        Claim(f"{name}: λ2 by hand", result.rate[name] / (2 * BETA), value, 1e-12)
        for name, value in by_hand.items()
    ]


def draw(result: Result) -> Figure:
    """Left: regret against time with the exact slope beside it.  Right: measured against exact rate."""
    with style.house_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.9), width_ratios=(1.6, 1))
        for (color, line), (name, regret) in zip(LOOKS, result.regret.items(), strict=True):
            shown = regret > 1e-12
            left.semilogy(result.times[shown], regret[shown], color=color, linestyle=line, label=name)
            anchor = _tail(regret)[-1]
            guide = regret[anchor] * np.exp(-result.rate[name] * (result.times - result.times[anchor]))
            left.semilogy(result.times, guide * 1.6, color=color, linestyle=style.DOTTED, linewidth=1)
            right.loglog(result.rate[name], -result.slope[name], "o", color=color, zorder=3)
        left.set_ylim(1e-12, 1)
        left.set_xlim(0, 80 / result.beta)
        left.set_xlabel("time (step size × steps)")
        left.set_ylabel("regret  [reward]")
        left.set_title("Same end, different speeds")
        limits = np.array([min(result.rate.values()) / 2, max(result.rate.values()) * 2])
        right.loglog(limits, limits, color=style.BLACK, linestyle=style.DASHED, linewidth=1)
        right.set_xlabel("2 β λ2 of the sampling graph")
        right.set_ylabel("measured slope of log regret")
        right.set_title("The speed is the connectivity")
        handles, labels = left.get_legend_handles_labels()
        dotted = plt.Line2D([], [], color="black", linestyle=style.DOTTED, linewidth=1.0)
        figure.legend(
            [*handles, dotted], [*labels, "exact rate (shifted up)"], loc="outside lower center", ncols=3
        )
    return figure


def _tail(regret: Floats) -> NDArray[np.intp]:
    """Indices where the slowest mode rules and rounding does not."""
    return np.flatnonzero((regret < 1e-5) & (regret > 1e-11))


def _tail_slope(times: Floats, regret: Floats) -> float:
    tail = _tail(regret)
    return float(np.polyfit(times[tail], np.log(regret[tail]), 1)[0])
