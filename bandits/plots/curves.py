"""How are quantities along training drawn?  The mean over seeds, a band, and the exact limit beside them."""

from __future__ import annotations

from matplotlib.axes import Axes

from bandits.checks import Floats
from bandits.plots import style

LIMIT = style.LONG


def mean_and_band(
    axes: Axes, x: Floats, runs: Floats, *, label: str, color: str, linestyle: style.Line = "-"
) -> None:
    """The mean of `runs`, (records, runs), over the seeds, and the range from the lowest to the highest."""
    axes.plot(x, runs.mean(axis=1), color=color, label=label, linestyle=linestyle)
    band(axes, x, runs.min(axis=1), runs.max(axis=1), color=color)


def band(axes: Axes, x: Floats, low: Floats, high: Floats, *, color: str) -> None:
    """The region between two curves, (records,)."""
    axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)


def exact_limit(axes: Axes, value: float, *, color: str) -> None:
    """A line of long dashes at the exact fixed point's value."""
    axes.axhline(value, color=color, linestyle=LIMIT, linewidth=1.0)
