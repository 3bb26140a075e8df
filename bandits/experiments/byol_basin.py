"""When does BYOL collapse, and what does a graph keep of it?  (T12.10)

BYOL learns features by predicting its own features of another view; if all become zero it has collapsed.
Left: one mode (eigenvector) of the linear model with encoder w, noise 1/2 and decay .05, in the plane of s =
w^2 and the predictor p. The exact edge of the basin parts starts that live from starts that collapse.  Where
s is small, a predictor that is too large collapses as well as one that is too small.  Middle: the rest
points p- and p+ against the decay; above 1/6 there is nothing to live for.  Dots are where flows of the
matrices end, with the encoder itself as target and with its moving average.  Right: the same on a graph
(BGRL), a ring of twelve nodes, edges kept with probability .6, at two decays: each mode of the graph ends at
its own p+, or dies.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandits.checks import Floats
from bandits.experiments.record import Claim
from bandits.plots import style
from bandits.tabular import byol

NOISE, DECAY = 0.5, 0.05
NODES, KEEP, MODES, DECAYS = 12, 0.6, 7, (0.002, 0.01)
STARTS = np.array(
    [[0.03, 0.005], [0.9, 0.002], [0.25, 0.9], [0.01, 0.15], [0.004, 0.3], [0.0008, 0.6], [0.0007, 0.95]]
    + [[0.003, 0.01], [0.001, 0.03], [0.0003, 0.12], [0.0001, 0.3], [0.00005, 0.6], [0.00003, 0.9]]
)
LOOKS = ((style.GREEN, "o", "."), (style.PURPLE, "D", "x"))  # exact, by a flow

LIVES: dict[str, Any] = {"color": style.BLUE, "marker": "o", "markersize": 4, "linewidth": 1.1}
COLLAPSES = LIVES | {"color": style.ORANGE, "marker": "s", "linestyle": style.SHORT}


@dataclass(frozen=True)
class Result:
    """Exact rest points, edges and paths."""

    rest: Floats  # (3,)  p
    edge: Floats  # (n, 2)  s, p
    paths: Floats  # (times, 2, starts)
    lives: Floats  # (starts,)  1 or 0
    threshold: float
    decays: Floats  # (d,)
    low: Floats  # (d,)  p-, up to the threshold
    high: Floats  # (d,)
    reached_at: Floats  # (r,)
    reached: dict[str, Floats]  # (r,)  where matrix flows end
    signal: Floats  # (modes,)
    predicted: dict[str, Floats]  # (modes,)  p+ or 0
    kept: dict[str, Floats]  # (modes,)  where BGRL's flow ends


def run(progress: bool = False, *, noise: float = NOISE, decay: float = DECAY, keep: float = KEEP) -> Result:
    """Formulas, and flows beside them.

    Args:
        noise: of the one mode's next state.
        decay: of the weights, left.
        keep: the chance of an edge of the ring to be kept.
    """
    of = byol.mode(noise, decay)
    paths = byol.flow(of, STARTS.T, np.concatenate([np.linspace(0, 60, 120), [600.0]]))
    threshold = byol.collapse_threshold(of)
    decays = np.linspace(0.002, threshold, 60)
    rest = np.array([byol.rest_points(of._replace(decay=eta))[[1, -1]] for eta in decays])
    reached_at = np.array([0.02, 0.06, 0.1, 0.14, 0.19, 0.23])
    signal, predicted, kept = _graph(keep)
    return Result(
        rest=byol.rest_points(of),
        edge=byol.basin_edge(of),
        paths=paths,
        lives=(paths[-1, 1] > 0.1).astype(float),
        threshold=threshold,
        decays=decays,
        low=rest[:, 0],
        high=rest[:, 1],
        reached_at=reached_at,
        reached={
            "target: the encoder": np.array([_ends(noise, eta, np.inf) for eta in reached_at]),
            "target: moving average": np.array([_ends(noise, eta, 0.3) for eta in reached_at]),
        },
        signal=signal,
        predicted=predicted,
        kept=kept,
    )


def claims(result: Result) -> list[Claim]:
    """The printed numbers, and flows that end where formulas say."""
    exact = np.where(
        result.reached_at < result.threshold, np.interp(result.reached_at, result.decays, result.high), 0
    )
    off = {name: float(np.abs(ends - exact).max()) for name, ends in result.reached.items()}
    graph = max(float(np.abs(result.kept[name] - result.predicted[name]).max()) for name in result.kept)
    return [
        Claim("p-, the edge of the basin on s = p²", result.rest[1], 0.054447, 5e-7),
        Claim("p+, where the living end", result.rest[2], 0.612220, 5e-7),
        Claim("decay above which all collapse", result.threshold, 1 / 6, 1e-12),
        Claim("starts misjudged by the edge", float(np.abs(result.lives - _above(result)).sum()), 0, 0),
        *(
            Claim(f"{name}: largest distance of an end to p+ or 0", each, 0.0, 2e-3)
            for name, each in off.items()
        ),
        Claim("BGRL: largest distance of a mode to its p+ or 0", graph, 0.0, 1e-4),
        Claim("BGRL, decay .01: modes that live", float((result.kept["decay 0.01"] > 1e-3).sum()), 3, 0),
    ]


def draw(result: Result) -> Figure:
    """The plane of one mode; rest points by decay; the modes of a ring."""
    with style.house_style():
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11.5, 4.0))
        _draw_plane(left, result)
        _draw_decay(middle, result)
        place = np.arange(len(result.signal))
        for (hue, exact, flow), (name, p) in zip(LOOKS, result.kept.items(), strict=True):
            right.plot(
                place,
                result.predicted[name],
                exact,
                color=hue,
                markersize=10,
                markerfacecolor="none",
                label=f"{name}, exact",
            )
            right.plot(place, p, flow, color=hue, markersize=5, label=f"{name}, flow")
        right.set(title="On a graph, weak modes die first", xlabel="mode of the ring, strongest first")
        right.set_ylabel("predictor p of the mode")
        for axes in (left, middle, right):
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)
    return figure


def _draw_plane(axes: Axes, result: Result) -> None:
    p = np.linspace(0, 1, 100)
    axes.plot(p**2, p, color=style.GREY, linewidth=1.0, linestyle=style.DOTTED, label="s = p²")
    for i, lives in enumerate(result.lives):
        s, q = result.paths[:-1, :, i].T
        axes.plot(s, q, markevery=[0], **(LIVES if lives else COLLAPSES))
    axes.plot(*result.edge.T, color=style.RED, linestyle=style.DASHED, label="edge of the basin, exact")
    axes.plot([], [], label="lives", **LIVES)
    axes.plot([], [], label="collapses", **COLLAPSES)
    high = result.rest[2]
    axes.plot([high**2], [high], "*", color=style.BLACK, markersize=11, zorder=5)
    axes.set_xscale("log")
    axes.set(title="Who lives is decided at the start", xlabel="s = w² of the encoder", ylabel="predictor p")
    axes.set(xlim=(1e-5, 1.3), ylim=(0, 1.0))


def _draw_decay(axes: Axes, result: Result) -> None:
    axes.plot(result.decays, result.high, color=style.BLUE, label="p+, exact")
    axes.plot(result.decays, result.low, color=style.RED, linestyle=style.DASHED, label="p−, exact")
    axes.axvline(result.threshold, color=style.BLACK, linestyle=style.DOTTED, linewidth=1.2)
    for (name, ends), marker in zip(result.reached.items(), ("o", "x"), strict=True):
        size = 8 if marker == "o" else 6
        fill = "none" if marker == "o" else style.BLACK
        axes.plot(
            result.reached_at,
            ends,
            marker,
            color=style.BLACK,
            markersize=size,
            markerfacecolor=fill,
            label=name,
        )
    threshold = Fraction(result.threshold).limit_denominator(100)
    axes.set(
        title=f"Above a decay of {threshold} all collapse", xlabel="decay η", ylabel="predictor p at the end"
    )


def _ends(noise: float, decay: float, target_rate: float) -> float:
    """p where the flow of 1 by 1 matrices ends, from w = .8, p = .6."""
    moments = byol.Moments(np.array([[1 + noise]]), np.ones((1, 1)))
    found = byol.matrix_flow(moments, [[0.8]], [[0.6]], [400.0], decay=decay, target_rate=target_rate)
    return float(found[1][0, 0, 0])


def _graph(keep: float) -> tuple[Floats, dict[str, Floats], dict[str, Floats]]:
    """Signals of a ring's modes, their p+ or 0 by formula, and what the predictor has learnt of them."""
    step = np.roll(np.eye(NODES), 1, axis=0)
    moments = byol.graph_moments(step + step.T, keep)
    predicted, kept = {}, {}
    for eta in DECAYS:
        modes, vectors = byol.modes(moments, decay=eta)
        predicted[f"decay {eta}"] = np.array([byol.rest_points(each)[-1] for each in modes[:MODES]])
        G = byol.matrix_flow(moments, 0.8 * vectors[:, :MODES].T, 0.8 * np.eye(MODES), [20_000.0], decay=eta)[
            1
        ]
        kept[f"decay {eta}"] = np.diag(G[0]).copy()
    return np.array([each.signal for each in modes[:MODES]]), predicted, kept


def _above(result: Result) -> Floats:
    """1 for the starts whose s is beyond the edge's at their p."""
    order = np.argsort(result.edge[:, 1])
    return (STARTS[:, 0] > np.interp(STARTS[:, 1], result.edge[order, 1], result.edge[order, 0])).astype(
        float
    )
