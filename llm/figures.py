"""The figures of the demo, after CoPG's Section 6 (Flet-Berliac 2024, arXiv:2406.19185).

    training     held-out reward along training, one panel a method, one line a beta
    beta         final held-out reward against beta
    comparison   the methods along training, each at its best beta
    best         where they end
    frontier     reward against KL to the reference

Everything is drawn from `metrics.json` and the logs: bars and bands are 95 % intervals over prompts, and
the rise of the reward is measured prompt by prompt against the reference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bandits.plots import style
from llm.files import read_json, write_whole

Metrics = dict[str, Any]
Log = list[dict[str, float]]
Interval = dict[str, float]  # mean, low, high
RISE = "held-out reward − reference"
REWARD = "held-out reward"
KL = "KL to the reference [nats a completion]"
PALETTE = (style.GREY, style.BLUE, style.RED, style.ORANGE, style.GREEN, style.PURPLE, style.SKY, style.BLACK)
LINES = ("-", "--", ":", "-.")
NOT_DRAWN = {"step", "epoch", "learning_rate", "surrogate", "total_flos", "rise_low", "rise_high"}


def write_all(folder: str | Path, metrics: Metrics) -> list[Path]:
    """Draw every figure into the folder, as SVG; their paths."""
    folder = Path(folder)
    logs = {(r["method"], r["beta"]): _log(folder / f"{r['method']}-{r['beta']}") for r in metrics["runs"]}
    drawn = {
        "training": lambda: training(metrics, logs),
        "beta": lambda: reward_against_beta(metrics),
        "comparison": lambda: comparison(metrics, logs),
        "best": lambda: best_betas(metrics),
        "frontier": lambda: frontier(metrics),
    }
    return [_written(folder / f"{name}.svg", draw) for name, draw in drawn.items()]


def along_training(folder: str | Path) -> Path:
    """Everything that a run logged, one panel a quantity; dots are held-out prompts."""
    entries = _log(Path(folder))
    names = dict.fromkeys(name.removeprefix("eval_") for entry in entries for name in entry)
    shown = [name for name in names if name not in NOT_DRAWN and not name.startswith("train_")]

    def draw() -> Figure:
        rows = -(-len(shown) // 3)
        figure, panels = plt.subplots(rows, 3, figsize=(8.0, 2.0 * rows), squeeze=False)
        for axes, name in zip(panels.flat, shown, strict=False):
            for key, look, color in ((name, "-", style.BLUE), (f"eval_{name}", "o", style.RED)):
                points = [(entry["step"], entry[key]) for entry in entries if key in entry]
                if points:
                    axes.plot(*zip(*points, strict=True), look, color=color, markersize=3)
            axes.set(title=name.replace("_", " "), xlabel="step")
        for axes in panels.flat[len(shown) :]:
            axes.remove()
        return figure

    return _written(Path(folder) / "log.svg", draw)


def training(metrics: Metrics, logs: dict[tuple[str, float], Log]) -> Figure:
    """Held-out reward along training, for every beta."""
    methods, betas = list(_by_method(metrics)), _betas(metrics)
    figure, panels = plt.subplots(1, len(methods), figsize=(2.5 * len(methods), 3.0), sharey=True)
    for axes, method in zip(panels, methods, strict=True):
        for beta, line in zip(betas, cycle(LINES)):
            _curve(axes, logs[method, beta], style.COLORS[method], f"β = {beta:g}", line)
        axes.axhline(0, color=style.GREY, linewidth=1)  # the reference on these prompts
        axes.set(title=method, xlabel="step")
    panels[0].set_ylabel(RISE)
    styles = [Line2D([], [], color=style.BLACK, linestyle=line) for _, line in zip(betas, cycle(LINES))]
    figure.legend(styles, [f"β = {beta:g}" for beta in betas], loc="outside right upper")
    return figure


def comparison(metrics: Metrics, logs: dict[tuple[str, float], Log]) -> Figure:
    """The methods along training, each at its best beta."""
    figure, axes = plt.subplots(figsize=(5.6, 3.4))
    for method, beta in metrics["best_beta"].items():
        _curve(axes, logs[method, beta], style.COLORS[method], f"{method}, β = {beta:g}", "-")
    axes.axhline(0, color=style.GREY, linewidth=1, label="reference")
    axes.set(xlabel="step", ylabel=RISE, title="Along training, each at its best β")
    return _with_legend(figure)


def reward_against_beta(metrics: Metrics) -> Figure:
    """Final held-out reward against beta, with intervals."""
    figure, axes = plt.subplots(figsize=(5.6, 3.4))
    for i, (method, runs) in enumerate(_by_method(metrics).items()):
        beside = 1.04 ** (i - 1.5)  # so that one interval does not hide another
        _points(axes, [r["beta"] * beside for r in runs], [r["reward"] for r in runs], method)
    axes.axhline(metrics["reference"]["reward"]["mean"], color=style.GREY, linewidth=1, label="reference")
    axes.set_xscale("log")
    axes.set_xticks(_betas(metrics), [f"{beta:g}" for beta in _betas(metrics)])
    axes.minorticks_off()
    axes.set(xlabel="β", ylabel=REWARD, title="Final reward against β")
    return _with_legend(figure)


def best_betas(metrics: Metrics) -> Figure:
    """Each method at its best beta: rise of the held-out reward over the reference."""
    figure, axes = plt.subplots(figsize=(5.0, 3.0))
    chosen = metrics["best_beta"]
    best = [r for r in metrics["runs"] if r["beta"] == chosen[r["method"]]]
    for i, run in enumerate(best):
        rise, color = run["rise_over_reference"], style.COLORS[run["method"]]
        axes.bar(i, rise["mean"], yerr=_error([rise]), color=color, width=0.6, capsize=4)
    axes.axhline(0, color=style.BLACK, linewidth=0.8)
    axes.set_xticks(range(len(best)), [f"{run['method']}\nβ = {run['beta']:g}" for run in best])
    lifted = sum(run["rise_over_reference"]["low"] > 0 for run in best)
    axes.set(ylabel=RISE, title=f"At the end: above 0 for {lifted} of {len(best)} methods")
    return figure


def frontier(metrics: Metrics) -> Figure:
    """Held-out reward against KL to the reference, one point a beta."""
    figure, axes = plt.subplots(figsize=(5.6, 3.4))
    for method, runs in _by_method(metrics).items():
        runs = sorted(runs, key=lambda r: r["kl"]["mean"])
        _points(axes, [r["kl"]["mean"] for r in runs], [r["reward"] for r in runs], method)
    axes.plot(0, metrics["reference"]["reward"]["mean"], "o", color=style.GREY, label="reference")
    axes.set(xlabel=KL, ylabel=REWARD, title="What a nat of KL buys")
    return _with_legend(figure)


def policies(folder: str | Path) -> Path:
    """Held-out reward against KL to the reference, one point a policy, from the metrics of `evaluate`."""
    found = read_json(Path(folder) / "metrics.json")
    short = {Path(name).parent.name if Path(name).name == "model" else name: name for name in found}
    names = short if len(short) == len(found) else {name: name for name in found}

    def draw() -> Figure:
        figure, axes = plt.subplots(figsize=(5.6, 3.4))
        for color, (label, name) in zip(cycle(PALETTE), names.items(), strict=False):
            kl, reward = found[name]["kl"], found[name]["reward"]
            both = {f"{axis}err": _error([x]) for axis, x in (("x", kl), ("y", reward))}
            axes.errorbar(kl["mean"], reward["mean"], **both, fmt="o", capsize=3, color=color, label=label)
        axes.set(xlabel=KL, ylabel=REWARD)
        return _with_legend(figure)

    return _written(Path(folder) / "frontier.svg", draw)


def table(metrics: Metrics) -> list[str]:
    """method, beta, reward, rise over the reference with its interval, KL, length."""
    head = ("method", "beta", "reward", "rise over reference", "KL", "words", "ROUGE-L")
    lines = ["{:9} {:>5} {:>8} {:>26} {:>7} {:>6} {:>8}".format(*head)]
    for r in metrics["runs"]:
        rise, *means = (r["rise_over_reference"], *(r[name]["mean"] for name in ("kl", "length", "rouge")))
        interval = f"{rise['mean']:+.3f} [{rise['low']:+.3f}, {rise['high']:+.3f}]"
        row = (r["method"], r["beta"], r["reward"]["mean"], interval, *means)
        lines.append("{:9} {:5g} {:8.3f} {:>26} {:7.2f} {:6.1f} {:8.3f}".format(*row))
    return lines


def _points(axes: Axes, x: Sequence[float], estimates: Sequence[Interval], method: str) -> None:
    y, color = [e["mean"] for e in estimates], style.COLORS[method]
    axes.errorbar(x, y, yerr=_error(estimates), fmt="o-", markersize=4, capsize=3, color=color, label=method)


def _error(estimates: Sequence[Interval]) -> list[list[float]]:
    """How far intervals reach below and above their means."""
    return [[e["mean"] - e["low"] for e in estimates], [e["high"] - e["mean"] for e in estimates]]


def _by_method(metrics: Metrics) -> dict[str, list[Metrics]]:
    methods = dict.fromkeys(r["method"] for r in metrics["runs"])
    return {method: [r for r in metrics["runs"] if r["method"] == method] for method in methods}


def _betas(metrics: Metrics) -> list[float]:
    return sorted({r["beta"] for r in metrics["runs"]})


def _curve(axes: Axes, log: Log, color: str, label: str, line: str) -> None:
    """The rise of the reward along training, where held-out prompts were looked at, with its band."""
    looks = [entry for entry in log if "eval_rise" in entry]
    steps, rise, low, high = (
        [entry[name] for entry in looks] for name in ("step", "eval_rise", "eval_rise_low", "eval_rise_high")
    )
    axes.plot(steps, rise, color=color, linestyle=line, label=label)
    axes.fill_between(steps, low, high, color=color, alpha=0.12, linewidth=0)


def _with_legend(figure: Figure) -> Figure:
    figure.legend(loc="outside right upper")  # where it covers nothing
    return figure


def _log(folder: Path) -> Log:
    """What the Trainer logged."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def _written(path: Path, draw: Callable[[], Figure]) -> Path:
    with style.house_style():
        figure = draw()
    write_whole(path, style.svg_bytes(figure))
    plt.close(figure)
    return path
