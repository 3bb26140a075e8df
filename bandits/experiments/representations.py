"""Why does a representation that predicts itself not collapse, and where does it go wrong?  (T12.6 to T12.9)

Features Phi of a state predict, through a linear predictor, those of the next state, the target.  Left: the
smallest singular value, zero if the features collapse, of two features on an uneven chain of five states.
With the predictor solved and the target not differentiated it does not move, by a conservation law.  With
the predictor frozen it dies; with the target differentiated it shrinks.  Middle: a walk round five states,
60 random starts.  The objective only rises, but not always to the top: besides the best pair of eigenvectors
{1, -.809} there are two others that attract, {-.809, -.809} and {1, .309}.  Right: predicted in both
directions, features of a chain that is not symmetric end at the leading singular vectors, from every start.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandits.checks import Floats
from bandits.experiments.record import Claim
from bandits.plots import style
from bandits.tabular import self_predictive as sp

UNEVEN = np.array(
    [
        [0.1, 0.6, 0.1, 0.1, 0.1],
        [0.0, 0.2, 0.7, 0.1, 0.0],
        [0.3, 0.0, 0.3, 0.4, 0.0],
        [0.0, 0.1, 0.0, 0.2, 0.7],
        [0.8, 0.0, 0.1, 0.0, 0.1],
    ]
)
ROUND = (np.roll(np.eye(5), 1, axis=0) + np.roll(np.eye(5), -1, axis=0)) / 2
MIXED = 0.5 * np.eye(5)[[1, 2, 3, 4, 0]] + 0.3 * np.eye(5)[[2, 0, 1, 4, 3]] + 0.2 * np.eye(5)[[0, 1, 4, 3, 2]]
STARTS, PAIRS = 60, 15
LOOKS = {
    "predictor solved": (style.BLUE, "-"),
    "target differentiated": (style.ORANGE, style.DASHED),
    "predictor frozen": (style.RED, style.DASH_DOT),
}


@dataclass(frozen=True)
class Result:
    """Paths of the flows; nothing is sampled but the starts."""

    times: Floats  # (t,)
    smallest: dict[str, Floats]  # (t,)  singular value of the features
    drift: float  # of the Gram matrix, predictor solved
    long_times: Floats  # (t,)
    objective: Floats  # (t, starts)
    stable: dict[str, float]  # objective of each stable end
    both: Floats  # (t, pairs)  the objective in both directions
    top: float  # two largest squared singular values
    falls: Floats  # (2,)  T12.8's chain that is not symmetric: first and last objective


def run(progress: bool = False, *, starts: int = STARTS, pairs: int = PAIRS, seed: int = 3) -> Result:
    """Integrate the flows, all starts at once.

    Args:
        starts: random ones, of the walk round five states.
        pairs: of random starts, in both directions.
        seed: of all starts.
    """
    rng, times = np.random.default_rng(seed), np.linspace(0, 8, 81)
    start = _orthonormal(rng, 1)[0]
    solved = sp.flow(UNEVEN, start, times)
    frozen, _ = sp.flow_of_both(UNEVEN, start, times, 0.0, np.eye(2))
    through = sp.flow_without_stop_gradient(UNEVEN, start, times)
    long = np.concatenate([[0.0], np.geomspace(0.05, 120, 70)])
    path = sp.flow(ROUND, _orthonormal(rng, starts), long)
    both = sp.bidirectional_flow(MIXED, _orthonormal(rng, pairs), _orthonormal(rng, pairs), long)
    fall = sp.flow([[1, 0], [1, 0]], np.array([[1.0], [0.5]]) / np.sqrt(1.25), [0.0, 80.0])
    return Result(
        times=times,
        smallest={
            name: np.asarray(np.linalg.svd(each, compute_uv=False)[:, -1], dtype=np.float64)
            for name, each in zip(LOOKS, (solved, through, frozen), strict=True)
        },
        drift=float(np.abs(np.swapaxes(solved, 1, 2) @ solved - np.eye(2)).max()),
        long_times=long,
        objective=sp.trace_objective(ROUND, path),
        stable={_named(end): end.objective for end in sp.ends(ROUND, 2) if end.stable},
        both=sp.singular_objective(MIXED, both[:, 0], both[:, 1]),
        top=float(np.sum(np.linalg.svd(MIXED, compute_uv=False)[:2] ** 2)),
        falls=sp.trace_objective([[1, 0], [1, 0]], fall),
    )


def claims(result: Result) -> list[Claim]:
    """Nothing moves that must not, all ends are reached, both directions arrive."""
    last = result.objective[-1]
    return [
        Claim("predictor solved: drift of the Gram matrix", result.drift, 0.0, 1e-10),
        Claim(
            "predictor frozen: smallest singular value in the end",
            result.smallest["predictor frozen"][-1],
            0,
            0.01,
        ),
        *(
            Claim(f"round five states: a start ends at {name}", float(np.abs(last - f).min()), 0.0, 1e-6)
            for name, f in result.stable.items()
        ),
        Claim("number of ends reached", len(np.unique(last.round(4))), 3, 0),
        Claim(
            "largest fall of the objective along the way",
            float(np.maximum(-np.diff(result.objective, axis=0), 0).max()),
            0.0,
            1e-9,
        ),
        Claim("not symmetric: the objective falls from", result.falls[0], 1.44, 1e-12),
        Claim("not symmetric: to", result.falls[1], 1.0, 1e-9),
        Claim(
            "both directions: largest distance to the singular values",
            float(np.abs(result.both[-1] - result.top).max()),
            0.0,
            1e-6,
        ),
    ]


def draw(result: Result) -> Figure:
    """Size of the features; the ends of one direction; the one end of both."""
    with style.house_style():
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11.5, 3.9))
        for name, curve in result.smallest.items():
            color, line = LOOKS[name]
            left.plot(result.times, curve, color=color, linestyle=line, label=name)
        left.set(
            title="Solved and stopped: no collapse", xlabel="time", ylabel="smallest singular value of Φ"
        )
        left.set_ylim(-0.03, 1.08)
        left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)
        _draw_ends(middle, result)
        right.semilogx(result.long_times[1:], result.both[1:], color=style.GREEN, linewidth=0.9, alpha=0.8)
        right.axhline(result.top, color=style.BLACK, linestyle=style.DASHED, linewidth=1.2)
        right.plot([], [], color=style.GREEN, label=f"{result.both.shape[1]} random starts")
        right.plot(
            [], [], color=style.BLACK, linestyle=style.DASHED, label="two largest squared singular values"
        )
        right.set(title="In both directions: one end", xlabel="time", ylabel="‖ΦᵀPΦ̃‖²")
        right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17))
    return figure


def _draw_ends(axes: Axes, result: Result) -> None:
    """Each path in the colour of its end, and how many there are."""
    last = result.objective[-1]
    for (hue, line), (name, f) in zip(LOOKS.values(), result.stable.items(), strict=True):
        here = np.abs(last - f) < 1e-4
        axes.semilogx(
            result.long_times[1:],
            result.objective[1:, here],
            color=hue,
            linestyle=line,
            linewidth=0.8,
            alpha=0.7,
        )
        axes.axhline(f, color=style.BLACK, linestyle=style.DASHED, linewidth=1.0)
        axes.plot([], [], color=hue, linestyle=line, label=f"{name}: {int(here.sum())} of {len(last)} starts")
    axes.set(title="In one direction: three ends", xlabel="time", ylabel="objective tr(MᵀM)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17))


def _orthonormal(rng: np.random.Generator, count: int) -> Floats:
    return np.linalg.qr(rng.normal(size=(count, 5, 2))).Q


def _named(end: sp.End) -> str:
    return "{" + ", ".join(f"{x:.3f}" for x in end.eigenvalues) + "}"
