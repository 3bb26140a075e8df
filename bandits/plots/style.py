"""What do all figures look like?  Colour-blind safe, legible on dark pages, the same bytes.

Colours are Okabe and Ito's (2008), one per algorithm and the same in every figure; those who share one
differ in their line.  Both follow from the algorithm's place in `ALGORITHMS`.  The ground is opaque white:
a page behind it may be dark.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import NamedTuple
from xml.sax.saxutils import escape

import matplotlib
from matplotlib.figure import Figure

from bandits.algorithms import ALGORITHMS

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
GREY = "#6E6E6E"

HUES = (GREY, GREEN, SKY, BLUE, ORANGE, RED, PURPLE, BLACK)  # yellow is too pale for a line on white


class Look(NamedTuple):
    """How the curves of one algorithm are drawn: keywords of `plot`."""

    color: str
    linestyle: str | tuple[float, tuple[float, ...]]


def look(place: int) -> Look:
    """The look of the algorithm at this place of `ALGORITHMS`: eight hues solid, then dashed, then shorter.

    No two places share both, and what is added at the end changes nobody else's.

    Example:
        >>> look(3), look(11)
        (Look(color='#0072B2', linestyle='-'), Look(color='#0072B2', linestyle=(0, (6.0, 2.0))))
    """
    turn, hue = divmod(place, len(HUES))
    return Look(HUES[hue], "-" if turn == 0 else (0, (6 / turn, 2.0)))


LOOKS = {algorithm.__name__: look(place) for place, algorithm in enumerate(ALGORITHMS)}
COLORS = {name: each.color for name, each in LOOKS.items()}
COLORS |= {"PG, b = 0": COLORS["PolicyGradient"], "PG, value baseline": PURPLE, "Nash-MD": COLORS["NashMD"]}

RC = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "alignment-bandits",
    "svg.fonttype": "path",
    "path.simplify": True,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw inside this context: the caller's own settings come back afterwards."""
    with matplotlib.rc_context(RC):
        yield
        interactive = matplotlib.is_interactive()  # a notebook's backend comes with the first figure, and
    matplotlib.interactive(interactive)  # turns this on: turned off again, no later figure would be shown


def svg_bytes(figure: Figure, title: str | None = None, description: str | None = None) -> bytes:
    """The figure as SVG, without dates or random identifiers: equal figures give equal bytes.

    Args:
        title: what screen readers call the picture, its `<title>`.
        description: what they read out of it, its `<desc>`.
    """
    buffer, named = BytesIO(), {} if title is None else {"Title": title}
    with house_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, **named})
    if title is None or description is None:
        return buffer.getvalue()
    told = f"</title>\n <desc>{escape(description)}</desc>"
    return buffer.getvalue().replace(b"</title>", told.encode(), 1)
