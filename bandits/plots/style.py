"""What do all figures look like?  Colour-blind safe, legible in grey and on dark pages, the same bytes.

Colours are Okabe and Ito's (2008), one per algorithm and the same in every figure, and so is the line: no
two algorithms share both.  Two of these colours can have one grey; so curves that are named in one panel
differ in their line or their marker, whatever their colours, and take their lines from here
(tests/test_figures.py looks at every panel).  The ground is opaque white: a page behind it may be dark.
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

Line = str | tuple[float, tuple[float, ...]]
SOLID: Line = "-"
DASHED: Line = (0, (6.0, 2.0))
SHORT: Line = (0, (3.0, 1.5))
DOTTED: Line = (0, (1.0, 1.3))
DASH_DOT: Line = (0, (5.0, 1.5, 1.0, 1.5))
DASH_DOTS: Line = (0, (5.0, 1.5, 1.0, 1.5, 1.0, 1.5))
LONG_SHORT: Line = (0, (7.0, 1.5, 2.5, 1.5))
LONG: Line = (0, (10.0, 3.0))
SQUARES: Line = (0, (2.0, 2.0))
LINES: tuple[Line, ...] = (DOTTED, DASHED, DASH_DOT, SOLID, SHORT, LONG_SHORT, DASH_DOTS, LONG, SQUARES)


class Look(NamedTuple):
    """How the curves of one algorithm are drawn: keywords of `plot`."""

    color: str
    linestyle: Line


def look(place: int) -> Look:
    """The look of the algorithm at this place of `ALGORITHMS`: one of eight hues and of nine lines, in turn.

    Eight and nine have no common divisor: no two of 72 places share both, neighbours share neither, and what
    is added at the end changes nobody else's.

    Example:
        >>> look(3), look(11)
        (Look(color='#0072B2', linestyle='-'), Look(color='#0072B2', linestyle=(0, (5.0, 1.5, 1.0, 1.5))))
    """
    return Look(HUES[place % len(HUES)], LINES[place % len(LINES)])


LOOKS = {algorithm.__name__: look(place) for place, algorithm in enumerate(ALGORITHMS)}
CURVES = LOOKS | {  # and the names that curves have in figures
    "PG, b = 0": LOOKS["PolicyGradient"],
    "PG, value baseline": Look(PURPLE, DASH_DOTS),
    "Nash-MD": LOOKS["NashMD"],
}
COLORS = {name: each.color for name, each in CURVES.items()}

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
    "legend.handlelength": 3.2,  # long enough to show a line's dashes
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
