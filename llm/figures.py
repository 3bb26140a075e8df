"""The figures of the demo, after CoPG's Section 6 (Flet-Berliac 2024, arXiv:2406.19185).

    training   held-out reward along training, one panel a method, one line a beta
    beta       final held-out reward against beta
    best       each method at its best beta: rise over the reference
    frontier   reward against KL to the reference

Everything is drawn from `metrics.json` and the logs: bars and bands are 95 % intervals over prompts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from bandits.plots import style

Metrics = dict[str, Any]
LINES = ("-", "--", ":", "-.")


def write_all(folder: str | Path, metrics: Metrics) -> list[Path]:
    """Draw every figure into the folder, as SVG; their paths."""
    folder = Path(folder)
    logs = {(r["method"], r["beta"]): _log(folder / f"{r['method']}-{r['beta']}") for r in metrics["runs"]}
    drawn = {
        "training": lambda: training(metrics, logs),
        "beta": lambda: reward_against_beta(metrics),
        "best": lambda: best_betas(metrics),
        "frontier": lambda: frontier(metrics),
    }
    return [_written(folder / f"{name}.svg", draw) for name, draw in drawn.items()]


def training(metrics: Metrics, logs: dict[tuple[str, float], list[tuple[int, float]]]) -> Figure:
    """Held-out reward along training, for every beta."""
    methods = _methods(metrics)
    figure, panels = plt.subplots(1, len(methods), figsize=(2.5 * len(methods), 3.0), sharey=True)
    for axes, method in zip(panels, methods, strict=True):
        for (name, beta), points in logs.items():
            if name == method:
                line = LINES[_betas(metrics).index(beta) % len(LINES)]
                steps, rewards = zip(*points, strict=True)
                axes.plot(steps, rewards, color=style.COLORS[method], linestyle=line, label=f"β = {beta:g}")
                axes.axhline(rewards[0], color=style.GREY, linewidth=1)  # the reference on these prompts
        axes.set_title(method)
        axes.set_xlabel("step")
        axes.legend()
    panels[0].set_ylabel("held-out reward")
    return figure


def reward_against_beta(metrics: Metrics) -> Figure:
    """Final held-out reward against beta, with intervals."""
    figure, axes = plt.subplots(figsize=(5.0, 3.4))
    for method in _methods(metrics):
        runs = [r for r in metrics["runs"] if r["method"] == method]
        _points(axes, [r["beta"] for r in runs], [r["reward"] for r in runs], method)
    axes.axhline(metrics["reference"]["reward"]["mean"], color=style.GREY, linewidth=1, label="reference")
    axes.set_xscale("log")
    axes.set_xticks(_betas(metrics), [f"{beta:g}" for beta in _betas(metrics)])
    axes.minorticks_off()
    axes.set_xlabel("β")
    axes.set_ylabel("held-out reward")
    axes.set_title("Final reward against the strength of the KL")
    axes.legend()
    return figure


def best_betas(metrics: Metrics) -> Figure:
    """Each method at its best beta: rise of the held-out reward over the reference."""
    figure, axes = plt.subplots(figsize=(5.0, 3.0))
    best = _best(metrics)
    for i, (method, run) in enumerate(best.items()):
        rise = run["rise_over_reference"]
        error = [[rise["mean"] - rise["low"]], [rise["high"] - rise["mean"]]]
        axes.bar(i, rise["mean"], yerr=error, color=style.COLORS[method], width=0.6, capsize=4)
    axes.axhline(0, color=style.BLACK, linewidth=0.8)
    axes.set_xticks(range(len(best)), [f"{method}\nβ = {run['beta']:g}" for method, run in best.items()])
    axes.set_ylabel("held-out reward − reference")
    lifted = sum(run["rise_over_reference"]["low"] > 0 for run in best.values())
    axes.set_title(f"Held-out reward rises for {lifted} of {len(best)} methods")
    return figure


def frontier(metrics: Metrics) -> Figure:
    """Held-out reward against KL to the reference, one point a beta."""
    figure, axes = plt.subplots(figsize=(5.0, 3.4))
    for method in _methods(metrics):
        runs = sorted((r for r in metrics["runs"] if r["method"] == method), key=lambda r: r["kl"]["mean"])
        _points(axes, [r["kl"]["mean"] for r in runs], [r["reward"] for r in runs], method)
    axes.plot(0, metrics["reference"]["reward"]["mean"], "o", color=style.GREY, label="reference")
    axes.set_xlabel("KL to the reference [nats a completion]")
    axes.set_ylabel("held-out reward")
    axes.set_title("What a nat of KL buys")
    axes.legend()
    return figure


def table(metrics: Metrics) -> list[str]:
    """method, beta, reward, rise over the reference with its interval, KL, length."""
    head = ("method", "beta", "reward", "rise over reference", "KL", "words", "ROUGE-L")
    lines = ["{:9} {:>5} {:>8} {:>26} {:>7} {:>6} {:>8}".format(*head)]
    for r in metrics["runs"]:
        rise = r["rise_over_reference"]
        interval = f"{rise['mean']:+.3f} [{rise['low']:+.3f}, {rise['high']:+.3f}]"
        lines.append(
            f"{r['method']:9} {r['beta']:5g} {r['reward']['mean']:8.3f} {interval:>26} "
            f"{r['kl']['mean']:7.2f} {r['length']['mean']:6.1f} {r['rouge']['mean']:8.3f}"
        )
    return lines


def _points(axes, x: Sequence[float], estimates: Sequence[dict[str, float]], method: str) -> None:
    y = [e["mean"] for e in estimates]
    error = [[e["mean"] - e["low"] for e in estimates], [e["high"] - e["mean"] for e in estimates]]
    axes.errorbar(
        x, y, yerr=error, marker="o", markersize=4, capsize=3, color=style.COLORS[method], label=method
    )


def _methods(metrics: Metrics) -> list[str]:
    return list(dict.fromkeys(r["method"] for r in metrics["runs"]))


def _betas(metrics: Metrics) -> list[float]:
    return sorted({r["beta"] for r in metrics["runs"]})


def _best(metrics: Metrics) -> dict[str, Any]:
    chosen = metrics["best_beta"]
    return {r["method"]: r for r in metrics["runs"] if r["beta"] == chosen[r["method"]]}


def _log(folder: Path) -> list[tuple[int, float]]:
    """(step, held-out reward) along training."""
    entries = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(entry["step"], entry["eval_reward"]) for entry in entries if "eval_reward" in entry]


def _written(path: Path, draw: Callable[[], Figure]) -> Path:
    with style.house_style():
        figure = draw()
    path.write_bytes(style.svg_bytes(figure))
    plt.close(figure)
    return path
