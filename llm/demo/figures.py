"""What did the demo find?  Drawn after CoPG's Section 6 (Flet-Berliac 2024, arXiv:2406.19185).

    training     held-out reward along training, one panel a method, one line a beta
    beta         final held-out reward against beta
    comparison   the methods along training, each at its best beta
    best         where they end
    frontier     reward against KL to the reference, one point a beta

Everything is drawn from `metrics.json` and the logs: bars and bands are 95 % intervals over prompts, and
the rise of the reward is measured prompt by prompt against the reference.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bandits.plots import style
from llm.figures import KL, REWARD, Log, log_of, reach, with_legend, written

Metrics = dict[str, Any]
Logs = dict[tuple[str, float], Log]
RISE = "held-out reward − reference"
LINES = ("-", "--", ":", "-.")


def write_all(folder: Path, metrics: Metrics) -> list[Path]:
    """Draw every figure into the folder, as SVG; their paths."""
    logs = {(r["method"], r["beta"]): log_of(folder / f"{r['method']}-{r['beta']}") for r in metrics["runs"]}
    drawn: dict[str, Callable[[], Figure]] = {
        "training": lambda: training(metrics, logs),
        "beta": lambda: reward_against_beta(metrics),
        "comparison": lambda: comparison(metrics, logs),
        "best": lambda: best_betas(metrics),
        "frontier": lambda: frontier(metrics),
    }
    return [written(folder / f"{name}.svg", draw) for name, draw in drawn.items()]


def training(metrics: Metrics, logs: Logs) -> Figure:
    methods, betas = list(metrics["best_beta"]), _betas(metrics)
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


def comparison(metrics: Metrics, logs: Logs) -> Figure:
    figure, axes = plt.subplots(figsize=(5.6, 3.4))
    for method, beta in metrics["best_beta"].items():
        _curve(axes, logs[method, beta], style.COLORS[method], f"{method}, β = {beta:g}", "-")
    axes.axhline(0, color=style.GREY, linewidth=1, label="reference")
    axes.set(xlabel="step", ylabel=RISE, title="Along training, each at its best β")
    return with_legend(figure)


def reward_against_beta(metrics: Metrics) -> Figure:
    figure, axes = plt.subplots(figsize=(5.6, 3.4))
    beside = {
        method: 1.04 ** (i - 1.5) for i, method in enumerate(metrics["best_beta"])
    }  # none hides another
    _rewards(axes, metrics, lambda run: run["beta"] * beside[run["method"]])
    axes.axhline(metrics["reference"]["reward"]["mean"], color=style.GREY, linewidth=1, label="reference")
    axes.set_xscale("log")
    axes.set_xticks(_betas(metrics), [f"{beta:g}" for beta in _betas(metrics)])
    axes.minorticks_off()
    axes.set(xlabel="β", ylabel=REWARD, title="Final reward against β")
    return with_legend(figure)


def frontier(metrics: Metrics) -> Figure:
    figure, axes = plt.subplots(figsize=(5.6, 3.4))
    _rewards(axes, metrics, lambda run: run["kl"]["mean"])
    axes.plot(0, metrics["reference"]["reward"]["mean"], "o", color=style.GREY, label="reference")
    axes.set(xlabel=KL, ylabel=REWARD, title="What a nat of KL buys")
    return with_legend(figure)


def best_betas(metrics: Metrics) -> Figure:
    figure, axes = plt.subplots(figsize=(5.0, 3.0))
    best = [r for r in metrics["runs"] if r["beta"] == metrics["best_beta"][r["method"]]]
    for i, run in enumerate(best):
        rise, color = run["rise_over_reference"], style.COLORS[run["method"]]
        axes.bar(i, rise["mean"], yerr=reach([rise]), color=color, width=0.6, capsize=4)
    axes.axhline(0, color=style.BLACK, linewidth=0.8)
    axes.set_xticks(range(len(best)), [f"{run['method']}\nβ = {run['beta']:g}" for run in best])
    lifted = sum(run["rise_over_reference"]["low"] > 0 for run in best)
    axes.set(ylabel=RISE, title=f"At the end: above 0 for {lifted} of {len(best)} methods")
    return figure


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


def _rewards(axes: Axes, metrics: Metrics, x: Callable[[Metrics], float]) -> None:
    """The final reward of every run against something, one line a method."""
    for method in metrics["best_beta"]:
        runs = sorted((run for run in metrics["runs"] if run["method"] == method), key=x)
        rewards = [run["reward"] for run in runs]
        how = {"fmt": "o-", "markersize": 4, "capsize": 3, "color": style.COLORS[method], "label": method}
        axes.errorbar([x(run) for run in runs], [r["mean"] for r in rewards], yerr=reach(rewards), **how)


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
