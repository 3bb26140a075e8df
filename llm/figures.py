"""What did a run log, and where did policies end?  Drawn from what is in the folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandits.plots import style
from llm.files import read_json, write_whole

Log = list[dict[str, float]]
Interval = dict[str, float]  # mean, low, high
REWARD = "held-out reward"
KL = "KL to the reference [nats a completion]"
FRONTIER = "frontier.json"  # what `possible` wrote
MARKERS = "os^DvPX*<"  # nine, as hues are eight: no two of 72 policies share both
OTHERS: dict[str, Any] = {"color": "#BBBBBB", "linewidth": 0.8, "zorder": 1}  # curves that a panel is not of
NOT_DRAWN = {"step", "epoch", "learning_rate", "surrogate", "total_flos", "rise_low", "rise_high"}


def along_training(folder: Path) -> Path:
    """Everything that a run logged, one panel a quantity; dots are held-out prompts."""
    entries = log_of(folder)
    names = dict.fromkeys(name.removeprefix("eval_") for entry in entries for name in entry)
    shown = [name for name in names if name not in NOT_DRAWN and not name.startswith("train_")]

    def draw() -> Figure:
        rows = -(-len(shown) // 3)
        figure, panels = plt.subplots(rows, 3, figsize=(8.0, 2.0 * rows), squeeze=False, layout="none")
        # Margins by hand: to solve for them takes as long as to draw.
        top, bottom = 1 - 0.15 / rows, 0.25 / rows
        figure.subplots_adjust(left=0.09, right=0.98, top=top, bottom=bottom, wspace=0.35, hspace=0.65)
        for axes, name in zip(panels.flat, shown, strict=False):
            for key, look, color in ((name, "-", style.BLUE), (f"eval_{name}", "o", style.RED)):
                points = [(entry["step"], entry[key]) for entry in entries if key in entry]
                if points:
                    axes.plot(*zip(*points, strict=True), look, color=color, markersize=3)
            axes.set(title=name.replace("_", " "), xlabel="step")
        for axes in panels.flat[len(shown) :]:
            axes.remove()
        return figure

    return written(folder / "log.svg", draw)


def policies(folder: Path) -> Path:
    """Held-out reward against KL to the reference, one point a policy, from the metrics of `evaluate`."""
    found = read_json(folder / "metrics.json")
    short = {Path(name).parent.name if Path(name).name == "model" else name: name for name in found}
    names = short if len(short) == len(found) else {name: name for name in found}

    def draw() -> Figure:
        figure, axes = plt.subplots(figsize=(5.6, 3.4))
        looks = zip(cycle(style.HUES), cycle(MARKERS), names.items(), strict=False)
        for color, marker, (label, name) in looks:
            kl, reward = found[name]["kl"], found[name]["reward"]
            both = {f"{axis}err": reach([x]) for axis, x in (("x", kl), ("y", reward))}
            axes.errorbar(kl["mean"], reward["mean"], **both, fmt=marker, capsize=3, color=color, label=label)
        if (folder / FRONTIER).exists():
            possible(axes, read_json(folder / FRONTIER))
        axes.set(xlabel=KL, ylabel=REWARD)
        return with_legend(figure)

    return written(folder / "frontier.svg", draw)


def possible(axes: Axes, found: Mapping[str, Any]) -> None:
    """What policies can have at most, beside their points: all that is known of it from so many samples.

    A black line, pi* of every beta, as far down as enough samples count, or chains that were led on, which
    the legend says; and, thinner, the best of n, which no policy of its KL is much better than: where the
    line has ended it lies above it.
    """
    best, curve, samples = points_of(found["best_of_n"], "n"), known(found), found["samples"]
    thin: dict[str, Any] = {"color": style.BLACK, "linewidth": 0.8, "marker": "|", "zorder": 1}
    if best:
        x, y, sizes = zip(*best, strict=True)
        axes.plot(x, y, **thin, label=f"best of 1, 2, 4 … {sizes[-1]:.0f}")
    if curve:
        x, y, betas = zip(*curve, strict=True)
        axes.plot(x, y, color=style.BLACK, label=f"π*, β ≥ {min(betas):.2g}")
    else:
        axes.plot([], [], " ", label=f"π*: {samples} samples are too few")


def known(found: Mapping[str, Any]) -> list[tuple[float, float, float]]:
    """KL, reward and beta of pi*: of the samples as far as they count, below that of annealed chains."""
    curve = points_of(found["frontier"], "beta")
    last = min((beta for _, _, beta in curve), default=float("inf"))
    led = points_of(found["annealed"], "beta") if "annealed" in found else []
    return curve + [point for point in led if point[2] < last]


def points_of(columns: Mapping[str, Any], by: str) -> list[tuple[float, float, float]]:
    """KL, reward, and what makes it, where it is no gap."""
    points = zip(*(columns[name] for name in ("kl", "reward", by)), strict=True)
    return sorted(point for point in points if None not in point)


def log_of(folder: Path) -> Log:
    """What the Trainer logged."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def reach(estimates: Sequence[Interval]) -> list[list[float]]:
    """How far intervals reach below and above their means."""
    return [[e["mean"] - e["low"] for e in estimates], [e["high"] - e["mean"] for e in estimates]]


def headed(figure: Figure, text: str) -> None:
    """The figure's title, what it found, over all its panels, in as many lines as it takes."""
    lines = [part for line in text.splitlines() for part in wrap(line, int(12 * figure.get_figwidth()))]
    figure.suptitle("\n".join(lines), x=0.01, ha="left", weight="bold", size=10)


def with_legend(figure: Figure) -> Figure:
    """The figure with its legend where it covers nothing."""
    figure.legend(loc="outside right upper")
    return figure


def written(path: Path, draw: Callable[[], Figure]) -> Path:
    """The path, at which is now what is drawn."""
    with style.house_style():
        figure = draw()
    write_whole(path, style.svg_bytes(figure))
    plt.close(figure)
    return path
