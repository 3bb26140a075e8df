"""How does a verdict look?  One figure of the first world, four panels, one colour and line a law.

the portrait    three arms: the triangle, its field under the first law, the flows, their ends and pi*;
                otherwise the probability of each arm at the end of each flow
the dial        how well each law connects the arms, from 0 (not at all) to 1 (all pairs alike)
the regret      along each flow, time in units of 1 / the speed of the start
the variance    of an update over RLOO's at as many samples, with as long a mean update
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from bandits.plots import simplex, style

Card = Any  # a `Report`, whose method calls this
HUES = (style.BLUE, style.RED, style.GREEN, style.PURPLE, style.ORANGE, style.SKY, style.BLACK)
DASHES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1.5, 1)), (0, (7, 2)), (0, (1, 2)), "-")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
SMALL = 1e-12  # regret below which there is nothing to see


class Shown(Figure):
    """A figure of no window, which a notebook shows as a picture even if pyplot was never asked for one."""

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png", bbox_inches="tight")
        return buffer.getvalue()


def figure(card: Card) -> Figure:
    """The figure; it belongs to no window and to no current one."""
    with style.house_style():
        whole = Shown(figsize=(9.6, 7.2), layout="constrained")
        (portrait, dial), (regret, variance) = whole.subplots(2, 2)
        beta = "" if card.beta is None else f", beta = {card.beta:.4g}"
        place = "" if card.picture.world == "world" else f", {card.picture.world}"
        whole.suptitle(f"{card.algorithm}{beta}{place}", fontsize=12, fontweight="bold")
        if card.picture.arrows is None:
            _bars(portrait, card)
        else:
            _triangle(portrait, card)
        _dial(dial, card)
        _regret(regret, card)
        _variance(variance, card)
        whole.legend(handles=_handles(card), loc="outside lower center", ncols=len(card.picture.laws) + 1)
    return whole


def _look(i: int) -> dict[str, Any]:
    return {"color": HUES[i % len(HUES)], "linestyle": DASHES[i % len(DASHES)]}


def _handles(card: Card) -> list[Line2D]:
    laws = [
        Line2D([], [], **_look(i), marker=MARKS[i % len(MARKS)], markersize=5, label=law)
        for i, law in enumerate(card.picture.laws)
    ]
    star = Line2D([], [], marker="*", markersize=12, color=style.BLACK, linestyle="", label="optimum")
    return laws if card.picture.optimum is None else [*laws, star]


def _triangle(axes: Axes, card: Card) -> None:
    picture = card.picture
    simplex.frame(axes, picture.arms)
    velocity = picture.places * (
        picture.arrows - np.sum(picture.places * picture.arrows, axis=-1, keepdims=True)
    )
    arrows = velocity @ simplex.CORNERS
    arrows /= np.maximum(np.linalg.norm(arrows, axis=-1, keepdims=True), 1e-300)
    look = {"color": "#B8B8B8", "angles": "xy", "scale_units": "xy", "scale": 18.0, "width": 0.0035}
    axes.quiver(*simplex.project(picture.places).T, *arrows.T, **look, pivot="mid", zorder=1)
    for i, path in enumerate(picture.policies):
        points = simplex.project(path)
        axes.plot(*points.T, **_look(i), zorder=4, linewidth=1.8)
        axes.plot(*points[-1], MARKS[i % len(MARKS)], color=_look(i)["color"], markersize=6, zorder=5)
    axes.plot(*simplex.project(picture.policies[0, 0]), "o", color=style.BLACK, markersize=4, zorder=6)
    if picture.optimum is not None:
        star = simplex.project(picture.optimum)
        axes.plot(*star, "*", color=style.BLACK, markersize=15, zorder=3, markeredgecolor="white")
    axes.set_title(f"flows from the reference; arrows: {picture.laws[0]}")


def _bars(axes: Axes, card: Card) -> None:
    picture = card.picture
    width = 0.8 / len(picture.laws)
    places = np.arange(len(picture.arms))
    for i, path in enumerate(picture.policies):
        axes.bar(places + (i + 0.5) * width - 0.4, path[-1], width, color=_look(i)["color"])
    if picture.optimum is not None:
        axes.plot(places, picture.optimum, "*", color=style.BLACK, markersize=11, markeredgecolor="white")
    axes.set_xticks(places, picture.arms)
    axes.set_ylabel("probability")
    axes.set_title("ends of the flows from the reference")


def _first_rows(card: Card) -> list[Any]:
    return [row for row in card.rows if row.world == card.picture.world]


def _dial(axes: Axes, card: Card) -> None:
    angles = np.linspace(np.pi, 0, 200)
    axes.plot(np.cos(angles), np.sin(angles), color=style.GREY, linewidth=1.2)
    for level in np.linspace(0, 1, 11):
        c, s = np.cos(np.pi * (1 - level)), np.sin(np.pi * (1 - level))
        axes.plot([0.97 * c, c], [0.97 * s, s], color=style.GREY, linewidth=1.0)
        if round(10 * level) % 5 == 0:
            axes.text(1.12 * c, 1.1 * s, f"{level:g}", ha="center", va="center")
    for i, row in enumerate(_first_rows(card)):
        c, s = np.cos(np.pi * (1 - row.coverage)), np.sin(np.pi * (1 - row.coverage))
        far = 0.92 - 0.09 * i  # needles of different length: none hides another
        axes.plot([0, far * c], [0, far * s], **_look(i))
        axes.plot(far * c, far * s, MARKS[i % len(MARKS)], color=_look(i)["color"], markersize=6)
    axes.plot(0, 0, "o", color=style.BLACK, markersize=5)
    axes.text(-1.0, -0.14, "not connected", ha="center", color=style.GREY, fontsize=8)
    axes.text(1.0, -0.14, "all pairs alike", ha="center", color=style.GREY, fontsize=8)
    axes.set(aspect="equal", xlim=(-1.35, 1.35), ylim=(-0.25, 1.25))
    axes.set_axis_off()
    axes.set_title("coverage: how the samples connect the arms")


def _regret(axes: Axes, card: Card) -> None:
    picture = card.picture
    axes.set_xlabel("time")
    if picture.regrets is None:
        axes.set_title("probability of the first arm along the flow")
        for i, path in enumerate(picture.policies):
            axes.plot(picture.times, path[:, 0], **_look(i))
        axes.set_xscale("symlog", linthresh=0.1)
        return
    for i, regret in enumerate(picture.regrets):
        axes.plot(picture.times[1:], np.maximum(regret[1:], SMALL), **_look(i))
    axes.set(xscale="log", yscale="log")
    axes.set_ylim(bottom=max(SMALL, 0.5 * max(picture.regrets.min(), 1e-8)))
    axes.set_title("regret along the flow")


def _variance(axes: Axes, card: Card) -> None:
    rows = _first_rows(card)
    for i, row in enumerate(rows):
        if row.variance is not None and row.variance_rloo:
            ratio, height = row.variance / row.variance_rloo, len(rows) - 1 - i
            axes.plot([1.0, ratio], [height, height], color=_look(i)["color"], linewidth=1.4)
            axes.plot(ratio, height, MARKS[i % len(MARKS)], color=_look(i)["color"], markersize=7)
    axes.axvline(1.0, color=style.BLACK, linewidth=1.0, linestyle=style.DASHED)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.5), max(high, 2.0))
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(rows)), [row.sampling for row in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("variance over RLOO's (dashed)")
    axes.set_title("noise of an update, as many samples as RLOO")


KINDS = {  # of ends: letter and colour
    "optimum": ("O", style.GREEN),
    "equilibrium": ("E", style.SKY),
    "reference": ("R", style.YELLOW),
    "behavior tilt": ("B", style.YELLOW),
    "best-of-n": ("n", style.YELLOW),
    "face": ("F", style.PURPLE),
    "vertex": ("V", style.PURPLE),
    "other": ("o", style.ORANGE),
    "none: runs away": ("x", style.RED),
    "none: circles": ("c", style.RED),
    "none: slides": ("s", style.RED),
}


def beside(cards: Sequence[Card]) -> Figure:
    """Several verdicts in one figure: where each ends, and its regret along the flow of the first world."""
    with style.house_style():
        whole = Shown(figsize=(9.6, 4.2 + 0.3 * len(cards)), layout="constrained")
        ends, regret = whole.subplots(2, 1, height_ratios=[0.4 + 0.3 * len(cards), 3])
        _ends(ends, cards)
        _regrets(regret, cards)
        legend = [
            Line2D([], [], marker="s", linestyle="", color=KINDS[kind][1], label=f"{KINDS[kind][0]} {kind}")
            for kind in KINDS
            if any(row.end == kind for card in cards for row in card.rows)
        ]
        whole.legend(handles=legend, loc="outside lower center", ncols=min(len(legend), 5))
    return whole


def _ends(axes: Axes, cards: Sequence[Card]) -> None:
    columns = list(dict.fromkeys((row.world, row.sampling) for card in cards for row in card.rows))
    for height, card in enumerate(cards):
        for row in card.rows:
            letter, color = KINDS[row.end]
            x = columns.index((row.world, row.sampling))
            axes.add_patch(Rectangle((x, height), 0.92, 0.88, color=color))
            axes.text(x + 0.46, height + 0.44, letter, ha="center", va="center", fontsize=7)
    axes.set_yticks(np.arange(len(cards)) + 0.44, [card.algorithm for card in cards])
    worlds = list(dict.fromkeys(world for world, _ in columns))
    firsts = [next(i for i, (name, _) in enumerate(columns) if name == world) for world in worlds]
    axes.set_xticks(firsts, worlds, rotation=20, ha="left", fontsize=8)
    axes.xaxis.tick_top()
    axes.set(xlim=(0, len(columns)), ylim=(len(cards), 0))
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)


def _regrets(axes: Axes, cards: Sequence[Card]) -> None:
    law = 0
    for i, card in enumerate(cards):
        picture = card.picture
        if picture.regrets is not None:
            law = min(1, len(picture.laws) - 1)
            curve = np.maximum(picture.regrets[law][1:], SMALL)
            axes.plot(
                picture.times[1:],
                curve,
                **_look(i),
                marker=MARKS[i % len(MARKS)],
                markevery=8,
                markersize=4,
                label=card.algorithm,
            )
    axes.set(xscale="log", yscale="log", xlabel="time", ylim=(1e-8, None))
    axes.set_title(f"regret along the flow: {cards[0].picture.world}, {cards[0].picture.laws[law]}")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
