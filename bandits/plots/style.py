"""What do all figures look like?  Colour-blind safe, legible in print and on dark pages, the same bytes.

Colours are Okabe and Ito's (2008), one per algorithm and the same in every figure; line styles differ
too, so that a grey print can be read.  The ground is opaque white: a page behind it may be dark.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import matplotlib
from matplotlib.figure import Figure

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

COLORS = {
    "CoPG": BLUE,
    "IPO": ORANGE,
    "DPO": RED,
    "PG, b = 0": GREY,
    "PG, value baseline": PURPLE,
    "RLOO": GREEN,
    "ReMax": SKY,
    "SRPO": GREEN,
    "DRO": SKY,
    "Nash-MD": PURPLE,
}

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


def svg_bytes(figure: Figure) -> bytes:
    """The figure as SVG, without dates or random identifiers: equal figures give equal bytes."""
    buffer = BytesIO()
    with house_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
