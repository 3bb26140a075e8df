"""Where does every algorithm end, on one world and one skewed sampler?  The map of ends.

Three answers, beta = 1/2, and somebody who mostly gives the worst. All of `ALGORITHMS` learn from these same
samples, at beta = 1/2 where they take one and at their defaults otherwise; those that the clip of pi/mu would
stop or leave sliding on somebody else's samples (T9.5), and games against themselves, take their own. Ends
are exact, from the reference; equal ones share a number. pi* = ref exp(r / beta) / Z is for those that see
only differences of R, or weigh, or learn V (T3.3, T2.6, T8.1); everybody else shows who sampled, or that
something but the reward is optimised.
"""

from __future__ import annotations

import inspect
import textwrap
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandits.algorithms import ALGORITHMS, PolicyGradient
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.experiments.record import Claim
from bandits.fixed_point import fixed_point
from bandits.plots import simplex, style
from bandits.samples import Algorithm
from bandits.sampling.rules import Offline, OnPolicy, Sampling
from bandits.solution import NoFixedPoint, NotConverged

BETA = 0.5
REWARD, REFERENCE, MU = (1.0, 0.6, 0.0), (0.25, 0.3, 0.45), (0.1, 0.3, 0.6)
LENGTH, DESIRABLE = (6.0, 3.0, 4.0), (0.7, 0.6, 0.3)
SAME = 1e-7  # policies closer than this are one end
DEAD = 1e-9  # probability of an arm that has died
APART, PUSHES = 0.042, 400  # of numbers on the map, in sides of the triangle; steps that move them apart
AT_OPTIMUM = ("CoPG", "RLOO", "DPO", "DRO", "DROV", "REBEL", "ImportanceWeighted", "ConvexLoss")


@dataclass(frozen=True)
class Result:
    """Exact ends, by the name of the class."""

    beta: float
    reward: Floats  # (3,)
    reference: Floats  # (3,)
    behavior: Floats  # (3,)
    optimum: Floats  # (3,)
    ends: dict[str, Floats]  # (3,)
    own: dict[str, bool]  # name -> whether it learns from its own samples
    nowhere: dict[str, str]  # name -> why it has no end here


def world() -> Bandit:
    """Everything that an algorithm may look at."""
    return Bandit(REWARD, reference=REFERENCE, length=LENGTH, desirable=DESIRABLE)


def made(cls: type, strength: float = BETA) -> Algorithm:
    """With beta of this strength where it asks for one, else at its defaults."""
    parameters = inspect.signature(cls).parameters
    beta = parameters.get("beta")
    if "algorithm" in parameters:
        return made_around(cls, strength)
    algorithm: Algorithm = cls() if beta is None or beta.default is not beta.empty else cls(strength)
    return algorithm


def made_around(cls: type, strength: float) -> Algorithm:
    """What takes an algorithm takes policy gradient."""
    algorithm: Algorithm = cls(PolicyGradient(strength))
    return algorithm


def sampling_of(algorithm: Algorithm, mu: tuple[float, ...] = MU) -> Sampling:
    """Its own samples where it takes no others, or a clip would stop it on others; else mu's."""
    takes_clip = "clip" in inspect.signature(type(algorithm)).parameters
    clipped = takes_clip and getattr(algorithm, "weighted", False)
    own = getattr(algorithm, "needs_on_policy", False) or clipped
    return OnPolicy() if own else Offline(mu)


def run(
    progress: bool = False,
    *,
    beta: float = BETA,
    reward: tuple[float, ...] = REWARD,
    reference: tuple[float, ...] = REFERENCE,
    mu: tuple[float, ...] = MU,
) -> Result:
    """Solve for every algorithm; nothing is sampled.

    Args:
        beta: of all that take one.
        reward: of the three answers.
        reference: their probabilities at the start.
        mu: their chances in the samples.
    """
    bandit = Bandit(reward, reference=reference, length=LENGTH, desirable=DESIRABLE)
    ends: dict[str, Floats] = {}
    nowhere, own = {}, {}
    for cls in ALGORITHMS:
        algorithm, name = made(cls, beta), cls.__name__
        rule = sampling_of(algorithm, mu)
        own[name] = rule.on_policy
        try:
            ends[name] = fixed_point(algorithm, bandit, rule).policy
        except NotConverged as error:
            nowhere[name] = error.reason
        except NoFixedPoint as error:
            if error.solution.log_policy is None:
                nowhere[name] = "the start decides"
            else:
                ends[name] = error.solution.policy  # the limit
    return Result(
        beta=beta,
        reward=np.array(reward),
        reference=bandit.reference,
        behavior=np.array(mu),
        optimum=bandit.optimal_policy(beta),
        ends=ends,
        own=own,
        nowhere=nowhere,
    )


def claims(result: Result) -> list[Claim]:
    """Who must be at pi* is; and the samples are seen by somebody."""
    miss = max(np.abs(result.ends[name] - result.optimum).max() for name in AT_OPTIMUM)
    told = len(result.ends) + len(result.nowhere)
    return [
        Claim(f"{', '.join(AT_OPTIMUM)}: largest distance from pi*", float(miss), 0.0, 1e-9),
        Claim("algorithms on the map, or named as having no end", told, len(ALGORITHMS), 0),
        Claim("ends whose probabilities miss a sum of one", _unnormalised(result), 0, 0),
    ]


def _unnormalised(result: Result) -> int:
    return sum(abs(policy.sum() - 1) > 1e-9 for policy in result.ends.values())


def draw(result: Result) -> Figure:
    """The triangle with numbered ends, and who they are."""
    groups = together(result)
    with style.house_style():
        figure, (axes, names) = plt.subplots(1, 2, figsize=(10.5, 6.2), width_ratios=[1.5, 1])
        simplex.frame(axes, [f"r = {r:g}" for r in result.reward])
        regret = Bandit(result.reward, reference=result.reference).regret
        simplex.level_sets(axes, lambda p: regret(p, result.beta), levels=np.linspace(0, 1, 6))
        simplex.point(axes, result.reference, color=style.GREY, marker="s", label="ref")
        simplex.point(axes, result.behavior, color=style.GREEN, marker="D", label="μ, who samples")
        simplex.point(axes, result.optimum, color=style.BLACK, label="π*")
        _numbers(axes, groups, result)
        axes.legend(loc="upper left")
        total, right = len(result.ends) + len(result.nowhere), len(groups[0][1])
        axes.set_title(f"One world, one skewed sampler: {right} of {total} algorithms end at π*")
        _legend(names, groups, result)
    return figure


def together(result: Result) -> list[tuple[Floats, list[str]]]:
    """Ends with the names of those that share them: that at pi* first, then by their distance from it."""
    groups: list[tuple[Floats, list[str]]] = [(result.optimum, [])]
    for name, policy in result.ends.items():
        near = [members for end, members in groups if np.abs(end - policy).max() < SAME]
        if near:
            near[0].append(name)
        else:
            groups.append((policy, [name]))
    return sorted(groups, key=lambda each: float(np.abs(each[0] - result.optimum).max()))


def _kind(policy: Floats, members: list[str], result: Result) -> str:
    """Colour of an end: on the boundary, on its own samples, or in the interior."""
    if policy.min() < DEAD:
        return style.RED
    return style.PURPLE if all(result.own[name] for name in members) else style.BLUE


def _numbers(axes: Axes, groups: list[tuple[Floats, list[str]]], result: Result) -> None:
    """A dot at each end and its number beside it, moved apart."""
    points = simplex.project(np.array([policy for policy, _ in groups]))
    places = apart(points)
    for i, (point, place, (policy, members)) in enumerate(zip(points, places, groups, strict=True)):
        color = style.BLACK if i == 0 else _kind(policy, members, result)
        axes.plot(*np.array([point, place]).T, color=color, linewidth=0.7, zorder=6)
        axes.plot(*point, "o", color=color, markersize=3.5, zorder=7)
        box = {"boxstyle": "circle,pad=0.18", "facecolor": "white", "edgecolor": color, "linewidth": 0.8}
        axes.text(
            place[0],
            place[1],
            str(i + 1),
            color=color,
            fontsize=7,
            ha="center",
            va="center",
            bbox=box,
            zorder=8,
        )


def apart(points: Floats) -> Floats:
    """Places for numbers near points (n, 2): none covers another, or a point."""
    angles = np.arange(len(points)) * 2.4  # the golden angle: no two neighbours in one direction
    places = points + APART * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    for _ in range(PUSHES):
        force = 0.05 * (points - places)  # back to its own
        for others, distance in ((places, APART), (points, 0.7 * APART)):
            away = places[:, None] - others
            gap = np.linalg.norm(away, axis=-1)
            np.fill_diagonal(gap, distance if others is places else np.maximum(np.diagonal(gap), 1e-9))
            push = np.maximum(distance - gap, 0) / np.maximum(gap, 1e-9)
            force += 0.5 * (push[..., None] * away).sum(axis=1)
        places = places + 0.5 * force
    return places


def _legend(axes: Axes, groups: list[tuple[Floats, list[str]]], result: Result) -> None:
    """The numbers with their names, and what has no end here."""
    lines = []
    for i, (policy, members) in enumerate(groups):
        color = style.BLACK if i == 0 else _kind(policy, members, result)
        lines.append((wrap(f"{i + 1}  {', '.join(members)}"), color))
    lines += [("blue: learns from μ's samples", style.BLUE), ("purple: from its own", style.PURPLE)]
    lines += [("red: an answer dies out", style.RED), ("shades: regret J* − J, 0.2 a step", style.GREY)]
    if result.nowhere:
        gone = ", ".join(f"{name} ({why})" for name, why in result.nowhere.items())
        lines.append((wrap(f"no end here: {gone}"), style.GREY))
    axes.set_axis_off()
    height, step = 1.0, min(0.03, 1 / sum(text.count("\n") + 1 for text, _ in lines))
    for text, color in lines:
        axes.text(0, height, text, color=color, fontsize=8, va="top", transform=axes.transAxes)
        height -= step * (text.count("\n") + 1)


def wrap(text: str, width: int = 52) -> str:
    """Lines of at most so many letters, those after the first set in."""
    return "\n     ".join(textwrap.wrap(text, width))
