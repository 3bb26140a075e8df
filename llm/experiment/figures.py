"""How does it look?  Drawn from the summary alone, a panel a method: curves that lie on each other hide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandits.plots import style
from llm.experiment.compare import OFF, QUARTER, REFERENCE, by_data, frontier_of
from llm.experiment.sentences import OF, exceptions
from llm.experiment.summary import Summary, reached
from llm.figures import KL, OTHERS, headed, known, reach, written

MARKERS = "osD^vP*X<>"  # one a seed
ACROSS = 5  # panels


def write_all(folder: Path, found: Summary) -> list[Path]:
    """Every figure that the summary has the numbers for, as SVG; their paths."""
    on, off = by_data(found["methods"])
    on, off = (on, off) if on else (off, [])
    drawn: dict[str, Callable[[], Figure]] = {"plane": lambda: plane(found, on)}
    drawn |= {"gap": lambda: gap(found, on)} if _gaps(found, on) else {}
    drawn["training"] = lambda: training(found, on)
    drawn |= {"off_policy": lambda: plane(found, off)} if off else {}
    if found["truth"] == "learned":
        drawn["overdone"] = lambda: overdone(found, on)
    drawn["wins"] = lambda: wins(found, [REFERENCE, *on])
    drawn |= {"revisions": lambda: revisions(found)} if any(found["revisions"].values()) else {}
    drawn |= {key: _pairs(found, key) for key in OF if found.get(key)}
    return [written(folder / f"{name}.svg", draw) for name, draw in drawn.items()]


def plane(found: Summary, methods: Sequence[str]) -> Figure:
    """Rises over each seed's reference against KL: policies, the line their mean, and the most there is.

    Along sqrt(KL), on whose lines methods are compared at equal KL (`llm.paired.at_kl`).
    """
    figure, panels = _panels(methods)
    start = np.mean(found["reference"])
    for name, axes in panels:
        _possible(axes, found)
        for other in methods:
            kl, reward = _means(found, other)
            axes.plot(kl, np.array(reward) - start, **OTHERS)
        for i, marker in zip(range(len(found["seeds"])), cycle(MARKERS), strict=False):
            whole = [p for p in found["methods"][name]["points"] if p["kl"][i] is not None]
            rises = [p["reward"][i] - found["reference"][i] for p in whole]
            look: dict[str, Any] = {"color": _color(name), "markersize": 3.5, "alpha": 0.7}
            axes.plot([p["kl"][i] for p in whole], rises, marker, **look)
        kl, reward = _means(found, name)
        axes.plot(kl, np.array(reward) - start, color=_color(name))
        axes.plot(0, 0, "s", color=style.GREY, markersize=4)
        axes.set(title=name, xlabel=KL.replace(" [", "\n["))
        _by_root(axes)
    panels[0][1].set_ylabel("held-out reward − reference")
    figure.legend(*panels[0][1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    headed(figure, _finding(found, methods))
    return figure


def gap(found: Summary, methods: Sequence[str]) -> Figure:
    """How much reward the best policy of the same KL has more, as far as it is known, against beta."""
    figure, panels = _panels(methods)
    for name, axes in panels:
        gaps_at = [(p["beta"], p["gap"]) for p in found["methods"][name]["points"] if p["gap"]]
        if gaps_at:
            betas, gaps = zip(*gaps_at, strict=True)
            means = [each["mean"] for each in gaps]
            axes.errorbar(
                betas, means, yerr=reach(gaps), fmt="o-", capsize=3, color=_color(name), markersize=4
            )
        axes.axhline(0, color=style.BLACK, linewidth=0.8)
        axes.set(title=name, xlabel="β", xscale="log")
        ticks = [p["beta"] for p in found["methods"][name]["points"]]
        axes.set_xticks(ticks, [f"{each:g}" for each in ticks])
        axes.minorticks_off()
    panels[0][1].set_ylabel("reward below the best\nof the same KL")
    headed(figure, "What policies lose against π* of their KL, or the best of n (95 %, seeds and prompts)")
    return figure


def training(found: Summary, methods: Sequence[str]) -> Figure:
    """The rise of the reward along training at the chosen beta: thin a seed, thick their mean."""
    figure, panels = _panels(methods)
    for name, axes in panels:
        curves = [each for each in found["methods"][name]["curves"] if each["step"]]
        for each in curves:
            axes.plot(each["step"], each["rise"], color=_color(name), linewidth=0.7, alpha=0.6)
        if curves:
            mean = np.mean([each["rise"] for each in curves], axis=0)
            axes.plot(curves[0]["step"], mean, color=_color(name), linewidth=2.2)
        axes.axhline(0, color=style.GREY, linewidth=0.8)
        chosen = ", ".join(sorted({f"{beta:g}" for beta in found["methods"][name]["chosen"] if beta}))
        axes.set(title=f"{name}, β = {chosen or 'none'}", xlabel="step")
        axes.title.set_fontsize(8)
    panels[0][1].set_ylabel("held-out reward − reference")
    seeds = "thin: a seed, thick: their mean" if len(found["seeds"]) > 1 else "one seed"
    headed(figure, f"Along training, at the β that each seed chose on other prompts ({seeds})")
    return figure


def overdone(found: Summary, methods: Sequence[str]) -> Figure:
    """The learned reward that is trained on, and the rule that nobody trained on, against KL."""
    figure, both = plt.subplots(1, 2, figsize=(7.2, 3.0))
    names = zip(both, ("reward", "rule"), ("learned reward, trained on", "rule, not trained on"), strict=True)
    for axes, key, label in names:
        for name, line in zip(methods, cycle(style.LINES), strict=False):
            x, y = _means(found, name, key)
            axes.plot(x, y, color=_color(name), linestyle=line, marker="o", markersize=3, label=name)
        start = "reference" if key == "reward" else "reference_rule"
        axes.plot(0, np.mean(found[start]), "s", color=style.GREY, label="reference")
        axes.set(xlabel=KL, ylabel=label)
    _possible(both[0], found, float(np.mean(found["reference"])))
    figure.legend(*both[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    whole = [name for name in methods if _means(found, name)[0]]
    learned, rule = (
        np.mean([_means(found, name, key)[1][-1] for name in whole]) - np.mean(found[start])
        for key, start in (("reward", "reference"), ("rule", "reference_rule"))
    )
    headed(figure, f"The learned reward changes by {learned:+.2f}, what a rule thinks by {rule:+.2f}")
    return figure


def wins(found: Summary, names: Sequence[str]) -> Figure:
    """How often the row's answer has the higher reward, each method at its chosen beta."""
    share = {(each["one"], each["other"]): each for each in found["wins"]}
    table = np.array([[share.get((a, b), {}).get("mean", np.nan) for b in names] for a in names])
    figure, axes = plt.subplots(figsize=(0.75 * len(names) + 1.6, 0.5 * len(names) + 1.1))
    picture = axes.imshow(table, cmap="PuOr", vmin=0, vmax=1, aspect="auto")
    for i, j in zip(*np.nonzero(~np.isnan(table)), strict=True):
        each = share[names[i], names[j]]
        half = (each["high"] - each["low"]) / 2
        dark = abs(table[i, j] - 0.5) > 0.35
        axes.text(
            j,
            i,
            f"{table[i, j]:.2f}\n±{half:.2f}",
            ha="center",
            va="center",
            fontsize=7,
            color="w" if dark else "k",
        )
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.grid(visible=False)
    figure.colorbar(picture, label="share of prompts")
    axes.set_xlabel("each at its chosen β, whatever its KL is there")
    headed(figure, "Share of prompts at which the row wins (±: 95 %)")
    return figure


def revisions(found: Summary) -> Figure:
    """The reward along revisions: thin a seed, thick their mean."""
    figure, axes = plt.subplots(figsize=(5.2, 2.8))
    asked = {name: rewards for name, rewards in found["revisions"].items() if rewards}
    for name, rewards in asked.items():
        for each in rewards:
            axes.plot(each, color=_color(name), linewidth=0.7, alpha=0.6)
        axes.plot(np.mean(rewards, axis=0), "o-", color=_color(name), label=name)
    axes.axhline(np.mean(found["reference"]), color=style.GREY, linewidth=0.8, label="reference, not revised")
    axes.set(xlabel="revisions", ylabel="held-out reward")
    figure.legend(loc="outside lower center", ncols=2)
    first, last = (np.mean([np.array(r)[:, i].mean() for r in asked.values()]) for i in (0, -1))
    headed(figure, f"Answers that are revised go from {first:.2f} to {last:.2f}")
    return figure


def _pairs(found: Summary, key: str) -> Callable[[], Figure]:
    """Paired differences at equal KL, with their intervals; grey is where nothing is resolved."""

    def draw() -> Figure:
        pairs, quarter = found[key], QUARTER * found["rise"]
        figure, axes = plt.subplots(figsize=(6.4, 1.3 + 0.2 * len(pairs)))
        colors = {"differ": style.RED, "equal": style.BLUE, "not resolved": style.GREY}
        marks = {"differ": "D", "equal": "o", "not resolved": "x"}
        for i, each in enumerate(pairs):
            d, what = each["difference"], each["verdict"]
            look: dict[str, Any] = {"fmt": marks[what], "color": colors[what], "capsize": 2, "markersize": 4}
            axes.errorbar(d["mean"], -i, xerr=reach([d]), **look)
        for what in colors:
            axes.plot([], [], marks[what], color=colors[what], label=what)
        axes.axvspan(-quarter, quarter, color="#EEEEEE", zorder=0)
        axes.axvline(0, color=style.BLACK, linewidth=0.8)
        labels = [f"{each['one']} − {each['other']}, {each['kl']:g} nats" for each in pairs]
        axes.set_yticks(-np.arange(len(pairs)), labels, fontsize=7)
        axes.set_ylim(0.6 - len(pairs), 0.6)
        axes.set(xlabel="difference of rewards at equal KL (band: ± a quarter of the rise)")
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside lower center", ncols=3)
        differ = sum(each["verdict"] == "differ" for each in pairs)
        said = f"At equal KL {differ} of {len(pairs)} differences more than chance (Holm)"
        headed(figure, f"{said}\n{exceptions(pairs)}")
        return figure

    return draw


def _panels(methods: Sequence[str]) -> tuple[Figure, list[tuple[str, Axes]]]:
    """A panel a method."""
    rows, across = -(-len(methods) // ACROSS), min(len(methods), ACROSS)
    size = (1.9 * across + 0.6, 2.3 * rows + 0.6)
    figure, grid = plt.subplots(rows, across, figsize=size, sharey=True, squeeze=False)
    for axes in list(grid.flat)[len(methods) :]:
        axes.remove()
    return figure, list(zip(methods, grid.flat, strict=False))


def _by_root(axes: Axes) -> None:
    """KL so drawn that distances are those of its root; an estimate below 0 stands at 0."""
    most = max(axes.dataLim.xmax, 1e-3)
    step = next(each for each in (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0) if most**0.5 <= 5 * each or each == 4)
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    ticks = [tick for tick in (step * np.arange(99)) ** 2 if tick <= most]
    axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    axes.set_xlim(0, 1.05 * most)


def _means(found: Summary, name: str, key: str = "reward") -> tuple[list[float], list[float]]:
    """KL and reward, means over the seeds, of each beta that diverged in none, KL rising."""
    whole = [p for p in found["methods"][name]["points"] if not p["diverged"]]
    points = sorted((float(np.mean(p["kl"])), float(np.mean(p[key]))) for p in whole)
    return [x for x, _ in points], [y for _, y in points]


def _possible(axes: Axes, found: Summary, start: float = 0.0) -> None:
    """pi* of every beta, then the best of n, means over the seeds, as rises over the reference's mean."""
    each_most = [frontier_of(each) for each in found["possible"]]
    ends = [max((kl for kl, *_ in known(each)), default=0.0) for each in found["possible"]]
    for low, high, width, label in (
        (0.0, min(ends), 2.0, "π* of every β: the most there is"),
        (min(ends), min(kl[-1] for kl, _ in each_most), 0.8, "best of 2, 4, 8 …: nearly as much"),
    ):
        x = np.linspace(low**0.5, high**0.5, 60) ** 2
        rise = np.mean([np.interp(x, *most) for most in each_most], axis=0)
        axes.plot(x, start + rise, color=style.BLACK, linewidth=width, label=label)


def _finding(found: Summary, methods: Sequence[str]) -> str:
    """What the plane shows, as far as the numbers say it."""
    shares = reached(found, methods)
    seeds = f"{len(found['seeds'])} seed{'s' * (len(found['seeds']) > 1)}"
    if not shares or len(found["seeds"]) == 1:
        return f"What a nat of KL buys ({seeds})"
    low, high = (round(100 * each) for each in (shares[0].mean, shares[-1].mean))
    return f"Policies have {low} to {high} % of what is possible at their KL ({seeds})"


def _gaps(found: Summary, methods: Sequence[str]) -> bool:
    return any(p["gap"] for name in methods for p in found["methods"][name]["points"])


def _color(name: str) -> str:
    return COLORS.get(name.removesuffix(OFF), style.COLORS.get(name.removesuffix(OFF), style.BLACK))


COLORS = {"PG0": style.RED, "PGmean": style.PURPLE}
