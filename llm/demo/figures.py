"""What did the demo find?  Drawn after CoPG's Section 6 (Flet-Berliac 2024, arXiv:2406.19185).

    training     held-out reward along training, a panel for each method and beta
    beta         final held-out reward against beta
    comparison   along training, each method at its chosen beta
    best         where they end
    frontier     reward against KL to the reference, one point a beta, and what could be had at most

Everything is drawn from `metrics.json` and the logs: bars and bands are 95 % intervals over prompts, and
the rise of the reward is measured prompt by prompt against the reference.  A method has a panel of its own,
in which the others are thin and grey: bands that lie on each other cannot be read.  The chosen beta is that
of the highest final reward on the very prompts that are shown, so that it flatters; titles say so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandits.plots import style
from llm.figures import KL, OTHERS, REWARD, Log, headed, log_of, possible, reach, written

Metrics = dict[str, Any]
Logs = dict[tuple[str, float], Log]
RISE = "held-out reward − reference"


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
    size = (2.1 * len(methods) + 0.6, 1.5 * len(betas) + 0.8)
    figure, panels = plt.subplots(
        len(betas), len(methods), figsize=size, sharex=True, sharey=True, squeeze=False
    )
    for row, beta in zip(panels, betas, strict=True):
        for axes, method in zip(row, methods, strict=True):
            _curve(axes, logs[method, beta], style.COLORS[method])
            axes.axhline(0, color=style.GREY, linewidth=1)  # the reference on these prompts
            chosen = beta == metrics["best_beta"][method]
            word, weight = (", chosen", "bold") if chosen else ("", "normal")
            axes.set_title(f"{method}, β = {beta:g}{word}", weight=weight)
    for axes in panels[-1]:
        axes.set_xlabel("step")
    figure.supylabel(RISE, fontsize=9)
    above = sum(run["rise_over_reference"]["low"] > 0 for run in metrics["runs"])
    among = f"{above} of {len(metrics['runs'])}"
    headed(figure, f"{among} runs end above the reference, by the 95 % interval over all held-out prompts")
    return figure


def comparison(metrics: Metrics, logs: Logs) -> Figure:
    figure, panels = _panels(metrics, RISE, "step")
    for axes, shown in zip(panels, metrics["best_beta"], strict=True):
        for method, beta in metrics["best_beta"].items():
            if method == shown:
                _curve(axes, logs[method, beta], style.COLORS[method])
            else:
                axes.plot(*_along(logs[method, beta], "step", "eval_rise"), **OTHERS)
        axes.axhline(0, color=style.GREY, linewidth=1)
        axes.set_title(f"{shown}, β = {metrics['best_beta'][shown]:g}")
    headed(figure, f"Along training, each at {_chosen(metrics)}")
    return figure


def reward_against_beta(metrics: Metrics) -> Figure:
    figure, panels = _panels(metrics, REWARD, "β")
    _rewards(panels, metrics, lambda run: run["beta"])
    for axes in panels:
        axes.axhline(metrics["reference"]["reward"]["mean"], color=style.GREY, linewidth=1)
        axes.set_xscale("log")
        axes.set_xticks(_betas(metrics), [f"{beta:g}" for beta in _betas(metrics)])
        axes.minorticks_off()
    headed(
        figure,
        "Final reward against β (line: the reference; ring: the highest, chosen on these very prompts)",
    )
    return figure


def frontier(metrics: Metrics) -> Figure:
    figure, panels = _panels(metrics, REWARD, KL)
    _rewards(panels, metrics, lambda run: run["kl"]["mean"])
    for axes in panels:
        axes.plot(0, metrics["reference"]["reward"]["mean"], "s", color=style.GREY)
        axes.set_xlabel("KL [nats a completion]")
        if "possible" in metrics:
            possible(axes, metrics["possible"])
    if "possible" in metrics:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    headed(
        figure,
        "What a nat of KL to the reference (square) buys; ring: the highest, chosen on these very prompts",
    )
    return figure


def best_betas(metrics: Metrics) -> Figure:
    figure, axes = plt.subplots(figsize=(5.0, 3.0))
    best = [r for r in metrics["runs"] if r["beta"] == metrics["best_beta"][r["method"]]]
    for i, run in enumerate(best):
        rise, color = run["rise_over_reference"], style.COLORS[run["method"]]
        axes.bar(i, rise["mean"], yerr=reach([rise]), color=color, width=0.6, capsize=4)
    axes.axhline(0, color=style.BLACK, linewidth=0.8)
    axes.set_xticks(range(len(best)), [f"{run['method']}\nβ = {run['beta']:g}" for run in best])
    lifted = sum(run["rise_over_reference"]["low"] > 0 for run in best)
    axes.set(ylabel=RISE)
    headed(figure, f"Above 0 for {lifted} of {len(best)} methods, each at\n{_chosen(metrics)}")
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


def _panels(metrics: Metrics, ylabel: str, xlabel: str) -> tuple[Figure, list[Axes]]:
    """A panel a method, side by side."""
    methods = list(metrics["best_beta"])
    size = (2.1 * len(methods) + 0.6, 2.7)
    figure, panels = plt.subplots(1, len(methods), figsize=size, sharex=True, sharey=True, squeeze=False)
    for axes, method in zip(panels[0], methods, strict=True):
        axes.set(title=method, xlabel=xlabel)
    panels[0, 0].set_ylabel(ylabel)
    return figure, list(panels[0])


def _chosen(metrics: Metrics) -> str:
    """How its beta was chosen, which flatters."""
    return f"the β of its highest reward, of {len(_betas(metrics))}, on these very prompts"


def _rewards(panels: Sequence[Axes], metrics: Metrics, x: Callable[[Metrics], float]) -> None:
    """The final reward of every run against something: one method a panel, the others thin beside it."""
    for axes, shown in zip(panels, metrics["best_beta"], strict=True):
        for method, best in metrics["best_beta"].items():
            runs = sorted((run for run in metrics["runs"] if run["method"] == method), key=x)
            at, means = [x(run) for run in runs], [run["reward"]["mean"] for run in runs]
            if method != shown:
                axes.plot(at, means, **OTHERS)
                continue
            bars: dict[str, Any] = {
                "yerr": reach([run["reward"] for run in runs]),
                "markersize": 4,
                "capsize": 3,
            }
            axes.errorbar(at, means, fmt="o-", color=style.COLORS[method], **bars)
            ring = [(a, b) for a, b, run in zip(at, means, runs, strict=True) if run["beta"] == best]
            axes.plot(*zip(*ring, strict=True), "o", color=style.BLACK, markersize=10, markerfacecolor="none")


def _betas(metrics: Metrics) -> list[float]:
    return sorted({r["beta"] for r in metrics["runs"]})


def _along(log: Log, *names: str) -> list[list[float]]:
    """These quantities along training, where held-out prompts were looked at."""
    return [[entry[name] for entry in log if "eval_rise" in entry] for name in names]


def _curve(axes: Axes, log: Log, color: str) -> None:
    """The rise of the reward along training, with its band."""
    steps, rise, low, high = _along(log, "step", "eval_rise", "eval_rise_low", "eval_rise_high")
    axes.plot(steps, rise, color=color)
    axes.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
