"""Where does an algorithm lead from everywhere?  Its portrait on three arms: flow, ends, basins.

    arrows     the direction of the expected update of the policy, wherever it stands
    lines      flows from the reference (thick) and from near the edges, followed as far as a picture needs
    stars      ends: where the flows from all cells of the triangle come to rest, or what theory knows
    tints      where there are several ends, which of them each cell leads to; white: to none of them

Nothing is sampled.  `bandits.fixed_points` has the ends' digits, `bandits.report` the whole verdict.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from numpy.typing import ArrayLike, NDArray

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics.sketch import sketch
from bandits.exact import expected_update, motions_of
from bandits.fixed_point import fixed_point, fixed_points
from bandits.plots import simplex, style
from bandits.problem import Problem, bind
from bandits.samples import Algorithm
from bandits.sampling.rules import Sampling
from bandits.solution import NoFixedPoint, NotConverged, Solution
from bandits.solvers import rest

CELLS = 16  # along an edge: 256 in all, each of which is followed to its end
LINES = 3  # flows that start near each edge
SAME, NEAR = 1e-6, 0.02  # policies so close are one end; so close to one that theory knows, a flow ends there
TIMES = np.concatenate([[0.0], np.geomspace(0.01, 1e4, 300)])  # in units of 1 / the speed of the start
TINTS = (style.SKY, style.ORANGE, style.GREEN, style.PURPLE, style.RED)
MARKS = ("*", "D", "P", "X", "v")


class Ends(NamedTuple):
    """Where the cells of the triangle lead."""

    policies: list[Floats]  # (3,) each
    which: NDArray[np.intp]  # (n,)  the end of each cell; -1: none


def portrait(
    algorithm: Algorithm, bandit: Bandit, sampling: Sampling | ArrayLike, axes: Axes | None = None
) -> Axes:
    """Draw where an algorithm leads on three arms: the flow of its expected update, its ends, their basins.

    Takes as long as solving 256 starts: a second or two, for clipped algorithms and in games some more.

    Args:
        algorithm: any object with `k` and `update`.
        bandit: three arms, one context; its `names` stand at the corners.
        sampling: who produced the samples, or a flat list of probabilities.
        axes: where to draw; by default a new figure of its own.

    Returns:
        The axes, for a title of your own or `axes.figure.savefig`.

    Raises:
        ValueError: there are not three arms, all with mass under the reference, and one context, or the
            arguments do not fit together.

    Example: policy gradient with a baseline above all rewards locks in on whichever arm it meets.

        >>> from bandits import Bandit, Offline, PolicyGradient
        >>> world = Bandit([2.5, 2.0, 1.0], names=["good", "fair", "poor"])
        >>> axes = portrait(PolicyGradient(beta=0.5, baseline=5.0), world, Offline([0.2, 0.3, 0.5]))
        >>> axes.get_title(loc="left")
        'PolicyGradient: three ends, the start decides'
    """
    problem = bind(algorithm, bandit, sampling)
    _check(problem)
    centres, corners = simplex.cells(CELLS)
    ends = _ends(problem, centres)
    with style.house_style():
        axes = plt.subplots(figsize=(4.8, 4.4))[1] if axes is None else axes
        simplex.frame(axes, bandit.names or ("arm 0", "arm 1", "arm 2"))
        _tint(axes, ends, corners)
        simplex.vector_field(axes, partial(expected_update, algorithm, bandit, problem.sampling))
        for start in _starts():
            _line(axes, replace(problem, log_start=np.log(start)), width=0.8)
        _line(axes, problem, width=2.2)
        simplex.point(axes, bandit.reference, color=style.BLACK, marker="o", label="reference, the start")
        for i, policy in enumerate(ends.policies):
            label = (
                "end" if len(ends.policies) == 1 else f"end {i + 1}: {(ends.which == i).mean():.0%} of starts"
            )
            look = i % len(MARKS)
            simplex.point(axes, policy, color=_hue(i, ends), marker=MARKS[look], label=label)
        _mark_optimum(axes, algorithm, bandit)
        axes.set_title(f"{problem.name}: {_words(ends)}")
        axes.legend(loc="upper left", bbox_to_anchor=(0.0, 1.0), handletextpad=0.3, borderaxespad=0.0)
    return axes


def _check(problem: Problem) -> None:
    """Refuse what is no triangle."""
    bandit = problem.bandit
    if bandit.arms != 3 or problem.contexts or (bandit.reference == 0).any():
        raise ValueError(
            f"a portrait shows one context of three arms, all with mass under the reference, but the bandit "
            f"has {bandit.arms} arms, contexts {problem.contexts}, reference {bandit.reference}; "
            f"report(...).draw() takes any number of arms, bandit.at(...) picks a context"
        )


def _ends(problem: Problem, starts: Floats) -> Ends:
    """Where the flow from each start ends: side by side; theory helps where they come to no rest."""
    many = replace(problem, log_start=np.log(starts), contexts=(len(starts),))
    motions = motions_of(many)
    found = rest.ends(motions, motions.start)
    settled = found.rested & found.attracts
    policies = np.exp(motions.log_policy(found.x))
    places = [] if settled.all() else _known(problem)
    which = np.full(len(starts), -1)
    for i, policy in enumerate(policies):
        near = [
            j for j, end in enumerate(places) if np.abs(end - policy).max() < (SAME if settled[i] else NEAR)
        ]
        if not near and settled[i]:
            places.append(policy)
            near = [len(places) - 1]
        which[i] = near[0] if near else -1
    return Ends(places, which)


def _known(problem: Problem) -> list[Floats]:
    """Ends that theory knows, some on the boundary, where a flow only creeps to them."""
    three = (problem.algorithm, problem.bandit, problem.sampling)
    closed_form = getattr(problem.algorithm, "closed_form", None)
    try:
        if hasattr(problem.algorithm, "attractors") and not problem.sampling.on_policy:
            known = fixed_points(*three)
        elif closed_form and closed_form(problem.bandit, problem.sampling, problem.log_start) is not None:
            known = [fixed_point(*three)]
        else:
            return []
    except (NoFixedPoint, NotConverged) as error:
        known = [error.solution]
    return [one.policy for one in known if _is_one(one)]


def _is_one(end: Solution) -> bool:
    """Whether it is an end, and not a point of a continuum."""
    return end.log_policy is not None and not end.message.startswith("continuum")


def _starts() -> Floats:
    """Near the edges, evenly, (3 LINES, 3)."""
    along = (np.arange(LINES) + 0.5) / LINES
    edge = np.stack([0.96 * along + 0.01, 0.96 * (1 - along) + 0.01, np.full(LINES, 0.02)], axis=-1)
    return np.vstack([np.roll(edge, turn, axis=-1) for turn in range(3)])


def _hue(i: int, ends: Ends) -> str:
    return style.RED if len(ends.policies) == 1 else TINTS[i % len(TINTS)]


def _tint(axes: Axes, ends: Ends, corners: Floats) -> None:
    """The basins, where there are several."""
    if len(ends.policies) < 2:
        return
    colors = [to_rgba(_hue(i, ends), 0.28) if i >= 0 else (1.0, 1.0, 1.0, 0.0) for i in ends.which]
    axes.add_collection(PolyCollection(list(corners), facecolors=colors, edgecolors="none", zorder=0))


def _line(axes: Axes, problem: Problem, width: float) -> None:
    x, y = simplex.project(sketch(problem, TIMES)).T
    axes.plot(x, y, color=style.BLUE, linewidth=width, zorder=3)


def _mark_optimum(axes: Axes, algorithm: Algorithm, bandit: Bandit) -> None:
    """pi*, where the algorithm has a beta and the world a reward."""
    beta = getattr(algorithm, "beta", 0.0)
    if bandit.reward is not None and beta > 0:
        x, y = simplex.project(bandit.optimal_policy(beta))
        axes.plot([x], [y], "s", markersize=11, fillstyle="none", color=style.BLACK, label="π*", zorder=6)


def _words(ends: Ends) -> str:
    """What there is to see."""
    count, lost = len(ends.policies), float((ends.which < 0).mean())
    if not count:
        return "comes to no isolated rest"
    if lost > 0:
        return f"{lost:.0%} of the starts come to no isolated rest"
    numbers = ("one end, from everywhere", "two ends", "three ends", "four ends", "five ends")
    words = numbers[count - 1] if count <= len(numbers) else f"{count} ends"
    return words if count == 1 else f"{words}, the start decides"
