"""How is it drawn, again and again?  One figure whose artists are made once and moved ever after.

Left the triangle: the flow of each algorithm from the reference (dot) to its end, pi* (star), the
equilibrium of the game (diamond), arrows of the chosen one, and its basins: a tint and a letter for each
attractor.  Right the regret along each flow, and the key.  What never moves is drawn once and kept as
pixels; a frame puts it back and draws the movable artists on it.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from PIL import Image

from bandits.explorer.answer import PLACES, TIMES
from bandits.explorer.card import said
from bandits.explorer.state import MOST_BESIDE
from bandits.explorer.world import NAMES
from bandits.plots import simplex, style

HUES = (style.BLUE, style.RED, style.GREEN, style.PURPLE, style.ORANGE)
DASHES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1.5, 1)), (0, (7, 2)))
MARKS = ("o", "s", "^", "v", "P")
TINTS = ("#CFE3F2", "#F7DFAE", "#CDEBDD", "#EBD3E1", "#F6CDB8", "#DDDDDD")  # of basins; the last: none
LETTERS = "ABCDE"
SIGNS = {"reference": ("o", 5), "optimum": ("*", 11), "equilibrium": ("D", 6)}
LOWEST, HIGHEST = 1e-8, 30.0  # regret that is shown
TINY = 1e-300  # what a logarithm can take
INCHES, DPI = (9.6, 5.0), 100
STALE = 0.25  # how much is left of what waits for the hand to rest


class Picture:
    """The figure; `png` is what it shows."""

    def __init__(self) -> None:
        with style.house_style():
            self.figure = Figure(figsize=INCHES, dpi=DPI)
            self.figure.set_layout_engine("none")
            self.canvas = FigureCanvasAgg(self.figure)
            triangle = self.figure.add_axes((0.0, 0.02, 0.6, 0.9))
            regret = self.figure.add_axes((0.68, 0.43, 0.30, 0.49))
            key = self.figure.add_axes((0.63, 0.0, 0.36, 0.30))
            self.basins, self.arrows, self.letters = _ground(triangle)
            self.marks = _marks(triangle)
            self.lines = [_line(triangle, regret, key, i) for i in range(1 + MOST_BESIDE)]
            self.title = self.figure.text(0.02, 0.945, "", fontsize=11, fontweight="bold")
            flows = [artist for line in reversed(self.lines) for artist in line.values()]
            self.movable = [self.basins, self.arrows, *flows, *self.marks.values(), *self.letters, self.title]
            for artist in self.movable:
                artist.set_animated(True)
            self.canvas.draw()
        self.still = self.canvas.copy_from_bbox(self.figure.bbox)

    def show_moved(self, name: str, found: dict[str, Any], start: list[float]) -> None:
        """Move the chosen algorithm; the others, the basins and the marks wait, pale."""
        self._move(0, name, found["flow"], found["end"])
        self._turn(found["field"])
        self.marks["reference"].set_data(*simplex.project(np.array([start])).T)
        self.basins.set_visible(False)
        for artist in [*self.letters, self.marks["optimum"], self.marks["equilibrium"]]:
            artist.set_alpha(STALE)
        for line in self.lines[1:]:
            _fade(line, STALE)
        self.title.set_text(f"{name} {said(found['end']['end'])}")

    def show(self, found: dict[str, Any]) -> None:
        """Everything that `compute` found."""
        names = list(found["flows"])
        for i, line in enumerate(self.lines):
            for artist in line.values():
                artist.set_visible(i < len(names))
            if i < len(names):
                self._move(i, names[i], found["flows"][names[i]], found["ends"][names[i]])
                _fade(line, 1.0)
        self._turn(found["field"])
        self._tint(found["basins"])
        reference = found["state"]["reference"]
        for key, policy in (("reference", reference), *((k, found[k]) for k in ("optimum", "equilibrium"))):
            self.marks[key].set_visible(policy is not None)
            self.marks[key].set_alpha(1.0)
            if policy is not None:
                self.marks[key].set_data(*simplex.project(np.array([policy])).T)
        self.title.set_text(f"{names[0]} {said(found['card']['end'])}")

    def png(self) -> bytes:
        """The picture as it is now."""
        self.canvas.restore_region(self.still)
        with style.house_style():
            for artist in self.movable:
                self.figure.draw_artist(artist)
        buffer = BytesIO()
        whole = Image.frombuffer("RGBA", self.canvas.get_width_height(), self.canvas.buffer_rgba())
        whole.convert("RGB").save(buffer, "png", compress_level=1)
        return buffer.getvalue()

    def _move(self, i: int, name: str, flow: dict[str, Any], end: dict[str, Any]) -> None:
        line = self.lines[i]
        line["path"].set_data(*simplex.project(np.array(flow["policies"])).T)
        line["regret"].set_ydata(np.maximum(flow["regret"], TINY))
        line["end"].set_visible(end["policy"] is not None)
        if end["policy"] is not None:
            line["end"].set_data(*simplex.project(np.array([end["policy"]])).T)
        line["name"].set_text(f"{name} {said(end['end'])}")

    def _turn(self, field: dict[str, Any]) -> None:
        """Arrows of one length along which the policy moves."""
        places, ascent = np.array(field["places"]), np.array(field["arrows"])
        velocity = places * (ascent - np.sum(places * ascent, axis=-1, keepdims=True))
        arrows = velocity @ simplex.CORNERS
        size = np.linalg.norm(arrows, axis=-1, keepdims=True)
        arrows = np.divide(arrows, size, out=np.zeros_like(arrows), where=size > 0)
        self.arrows.set_UVC(*arrows.T)

    def _tint(self, basins: dict[str, Any]) -> None:
        tints = [TINTS[which if which < len(LETTERS) else -1] for which in basins["which"]]
        several = len(basins["attractors"]) > 1 or -1 in basins["which"]
        self.basins.set_color(tints)
        self.basins.set_visible(several)
        for i, letter in enumerate(self.letters):
            letter.set_visible(several and i < len(basins["attractors"]))
            letter.set_alpha(1.0)
            if i < len(basins["attractors"]):
                place = simplex.project(np.array(basins["attractors"][i]))
                letter.xy = tuple(place)
                letter.set_position(40 * (simplex.CORNERS.mean(axis=0) - place))  # inwards, in points


def _ground(axes: Axes) -> tuple[Any, Any, list[Annotation]]:
    """The empty triangle with what lies under the flows: basins, arrows, letters of attractors."""
    simplex.frame(axes, NAMES)
    basins = PolyCollection(list(simplex.cells(9)[1]), linewidths=0.3, zorder=0)
    axes.add_collection(basins, autolim=False)
    points = simplex.project(PLACES)
    look = {"color": "#9A9A9A", "angles": "xy", "scale_units": "xy", "scale": 18.0, "width": 0.0035}
    arrows = axes.quiver(*points.T, *np.ones_like(points).T, **look, pivot="mid", zorder=1)
    box = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": style.BLACK, "linewidth": 0.8}
    middle: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "zorder": 6}
    letters = [
        axes.annotate(x, (0, 0), (0, 0), textcoords="offset points", bbox=box, **middle) for x in LETTERS
    ]
    return basins, arrows, letters


def _marks(axes: Axes) -> dict[str, Any]:
    """The reference, pi* and the equilibrium, smaller than the ends that they may lie on; and their key."""
    made = {}
    for i, (name, (mark, size)) in enumerate(SIGNS.items()):
        look: dict[str, Any] = {"marker": mark, "markersize": size, "color": style.BLACK, "linestyle": ""}
        look |= {"markeredgecolor": "white", "markeredgewidth": 0.7}
        [made[name]] = axes.plot([], [], **look)
        axes.plot([-0.07], [0.93 - 0.055 * i], **look)
        axes.text(-0.035, 0.93 - 0.055 * i, name, va="center", fontsize=8)
    return made


def _line(triangle: Axes, regret: Axes, key: Axes, i: int) -> dict[str, Any]:
    """The artists of one algorithm: its path and end, its regret, its line in the key."""
    look: dict[str, Any] = {"color": HUES[i], "linestyle": DASHES[i], "linewidth": 2.6 if i == 0 else 1.6}
    [path] = triangle.plot([], [], **look)
    [end] = triangle.plot([], [], MARKS[i], color=HUES[i], markersize=11, markeredgecolor="white")
    [along] = regret.plot(TIMES, np.full(len(TIMES), LOWEST), **look)
    height = 0.9 - 0.19 * i
    [sample] = key.plot([0.0, 0.1], [height, height], **look)
    name = key.text(0.13, height, "", va="center", fontsize=9)
    if i == 0:
        _frames(regret, key)
    return {"path": path, "end": end, "regret": along, "sample": sample, "name": name}


def _frames(regret: Axes, key: Axes) -> None:
    regret.set(xscale="log", yscale="log", xlim=(TIMES[1], TIMES[-1]), ylim=(LOWEST, HIGHEST))
    regret.set(xlabel="time, in 1 / the speed of the start", ylabel="regret J* − J [reward]")
    regret.set_title("regret along each flow")
    key.set(xlim=(0, 1), ylim=(-0.1, 1.05))
    key.set_axis_off()


def _fade(line: dict[str, Artist], alpha: float) -> None:
    for artist in line.values():
        artist.set_alpha(alpha)
