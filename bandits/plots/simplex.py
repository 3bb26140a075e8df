"""How are three arms drawn?  As a triangle: every point is a policy, its corners the three pure ones.

A policy (p0, p1, p2) is drawn at p0 c0 + p1 c1 + p2 c2 with corners c0 (left), c1 (right), c2 (top).  On
these axes go level sets of a function of the policy, the velocity field of an algorithm, trajectories
and fixed points.  An ascent g on the logits moves the policy itself by (diag(pi) - pi pi^T) g.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.tri import Triangulation, TriContourSet

from bandits.checks import Floats, reject_first
from bandits.plots import style

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(3) / 2]])


def project(policies: Floats) -> Floats:
    """Policies (..., 3) as points of the plane, (..., 2).

    Raises:
        ValueError: there are not three arms, or an entry is negative.

    Example:
        >>> project(np.array([0.5, 0.5, 0.0])).tolist()
        [0.5, 0.0]
    """
    policies = np.asarray(policies, dtype=float)
    if policies.shape[-1] != 3:
        raise ValueError(f"a triangle shows three arms, but policies have shape {policies.shape}")
    reject_first(policies < 0, policies, "policies", "non-negative", "probabilities lie in [0, 1]")
    return policies @ CORNERS


def frame(axes: Axes, labels: Sequence[str]) -> None:
    """The empty triangle with the names of its corners: left, right, top."""
    outline = np.vstack([CORNERS, CORNERS[:1]])
    axes.plot(*outline.T, color=style.BLACK, linewidth=1.0, zorder=3)
    places = [("right", "top"), ("left", "top"), ("center", "bottom")]
    shifts = [(-3, -3), (3, -3), (0, 4)]
    for corner, label, (across, up), shift in zip(CORNERS, labels, places, shifts, strict=True):
        axes.annotate(label, corner, xytext=shift, textcoords="offset points", ha=across, va=up)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_xlim(-0.08, 1.08)
    axes.set_ylim(-0.09, 0.97)


def grid(resolution: int) -> Floats:
    """Policies on a regular triangular grid inside the simplex, away from its edges, (n, 3)."""
    i, j = np.meshgrid(np.arange(resolution), np.arange(resolution), indexing="ij")
    inside = i + j < resolution
    counts = np.stack([i[inside], j[inside], resolution - 1 - i[inside] - j[inside]], axis=-1)
    return (counts + 1 / 3) / resolution


def cells(resolution: int) -> tuple[Floats, Floats]:
    """The simplex cut into resolution^2 equal triangles: centres (n, 3), and corners in the plane (n, 3, 2).

    Example: of four, the one in the middle stands on its head.

        >>> centres, corners = cells(2)
        >>> centres.round(3).tolist()[-1], corners.shape
        ([0.333, 0.333, 0.333], (4, 3, 2))
    """
    up = np.rint(grid(resolution) * resolution - 1 / 3)  # (n, 3) counts that sum to resolution - 1
    down = np.rint(grid(resolution - 1) * (resolution - 1) - 1 / 3) if resolution > 1 else np.empty((0, 3))
    vertices = [up[:, None] + np.eye(3), down[:, None] + 1 - np.eye(3)]  # counts that sum to resolution
    corners = np.concatenate(vertices) / resolution
    return corners.mean(axis=1), project(corners)


def level_sets(
    axes: Axes, function: Callable[[Floats], Floats], *, levels: Floats, label: str | None = None
) -> TriContourSet:
    """Filled level sets of a function of policies, (n, 3) to (n,); a label brings a colour bar.

    Returns:
        What `figure.colorbar` takes, for a bar that several panels share.
    """
    policies = grid(121)
    x, y = project(policies).T
    shades = axes.tricontourf(
        Triangulation(x, y), function(policies), levels=levels, cmap="Blues", extend="both", alpha=0.75
    )
    if label is not None:
        axes.figure.colorbar(shades, ax=axes, label=label, shrink=0.7, pad=0.02)
    return shades


def vector_field(axes: Axes, update: Callable[[Floats], Floats], *, resolution: int = 13) -> None:
    """Arrows along which the policy moves; `update` maps policies (n, 3) to ascents on the logits (n, 3).

    All arrows have the same length: they show the direction, not the speed.
    """
    policies = grid(resolution)
    ascent = update(policies)
    velocity = policies * (ascent - np.sum(policies * ascent, axis=-1, keepdims=True))
    arrows = velocity @ CORNERS
    arrows /= np.maximum(np.linalg.norm(arrows, axis=-1, keepdims=True), 1e-300)
    axes.quiver(
        *project(policies).T,
        *arrows.T,
        color=style.GREY,
        angles="xy",
        scale_units="xy",
        scale=1.35 * resolution,
        width=0.004,
        pivot="mid",
        zorder=2,
    )


def trajectory(
    axes: Axes, policies: Floats, *, color: str, label: str | None = None, linestyle: style.Line = "-"
) -> None:
    """A path of policies, (times, 3), with a dot where it starts."""
    x, y = project(policies).T
    axes.plot(x, y, color=color, label=label, linestyle=linestyle, zorder=4)
    axes.plot(x[:1], y[:1], "o", color=color, markersize=4, zorder=4)


def point(axes: Axes, policy: Floats, *, color: str, label: str | None = None, marker: str = "*") -> None:
    """One marked policy, such as a fixed point."""
    x, y = project(policy)
    size = 13 if marker == "*" else 8
    axes.plot(
        [x],
        [y],
        marker,
        color=color,
        markersize=size,
        markeredgecolor="white",
        label=label,
        zorder=5,
        linestyle="",
    )
