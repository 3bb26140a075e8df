"""What does a baseline do off-policy?  Where policy gradient can end, as the baseline b varies.

Three arms, r = (2.5, 2, 1), beta = 1/2, samples from mu = (.2, .3, .5), no importance weights.  The update
is E_mu[(R - b)(e_y - pi)]; all its attractors, the ends that it can come to, are enumerated exactly (T2.5).
Below J* there is one, which is pi* only at b = J*.  Far above, there is one for each arm, and training locks
in: whichever arm the start prefers wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bandits.algorithms import PolicyGradient
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.exact import expected_update
from bandits.experiments.record import Claim
from bandits.fixed_point import fixed_points
from bandits.plots import simplex, style
from bandits.sampling.rules import Offline

BETA = 0.5
REWARD = (2.5, 2.0, 1.0)
MU = (0.2, 0.3, 0.5)


@dataclass(frozen=True)
class Result:
    """Attractors for three baselines, and their number along b."""

    beta: float
    reward: Floats  # (3,)
    behavior: Floats  # (3,)
    optimum: Floats  # (3,)
    optimal_value: float
    shown: dict[str, float]  # baselines of the three pictures
    attractors: dict[str, Floats]  # (attractors, 3)
    baselines: Floats  # (b,)
    count: Floats  # (b,)
    regret: Floats  # (b,)  smallest regret among the attractors


def run(
    progress: bool = False,
    *,
    beta: float = BETA,
    reward: tuple[float, ...] = REWARD,
    mu: tuple[float, ...] = MU,
) -> Result:
    """Enumerate all attractors of every baseline; nothing is sampled.

    Args:
        beta: strength of the KL to the reference.
        reward: of each arm.
        mu: chances of the arms in the samples.
    """
    bandit, law = Bandit(reward), Offline(mu)
    optimal_value = float(bandit.optimal_value(beta))
    shown = {"b = 0": 0.0, "b = J*": optimal_value, "b = J* + 3": optimal_value + 3}
    attractors = {name: _ends(bandit, law, beta, b) for name, b in shown.items()}
    baselines = np.linspace(0, 6, 121)
    ends = [_ends(bandit, law, beta, b) for b in baselines]
    return Result(
        beta=beta,
        reward=np.array(reward),
        behavior=np.array(mu),
        optimum=bandit.optimal_policy(beta),
        optimal_value=optimal_value,
        shown=shown,
        attractors=attractors,
        baselines=baselines,
        count=np.array([float(len(policies)) for policies in ends]),
        regret=np.array([bandit.regret(policies, beta).min() for policies in ends]),
    )


def claims(result: Result) -> list[Claim]:
    """One attractor up to J*, pi* exactly there, one per arm far above."""
    below = result.baselines < result.optimal_value
    miss = np.abs(result.attractors["b = J*"] - result.optimum).max()
    return [
        Claim("b = J*: distance of the attractor from π*", miss, 0.0, 1e-10),
        Claim("b < J*: largest number of attractors", result.count[below].max(), 1, 0),
        Claim("b = 6: number of attractors (one per arm)", result.count[-1], 3, 0),
        Claim("b = J* + 3: number of attractors", len(result.attractors["b = J* + 3"]), 3, 0),
    ]


def draw(result: Result) -> Figure:
    """Three triangles with the direction of motion, level sets of regret and all attractors."""
    bandit, law = Bandit(result.reward), Offline(result.behavior)
    titles = ("too low: drawn to μ", "the right one: ends at π*", "too high: locks in on an arm")
    with style.house_style():
        figure, panels = plt.subplots(1, 3, figsize=(10.5, 3.7))
        for axes, title, (name, b) in zip(panels, titles, result.shown.items(), strict=True):
            algorithm = PolicyGradient(beta=result.beta, baseline=b)
            simplex.frame(axes, [f"r = {r:g}" for r in result.reward])
            axes.set_xlim(-0.22, 1.22)  # the names of neighbouring corners stay apart
            shades = simplex.level_sets(
                axes, lambda p: bandit.regret(p, result.beta), levels=np.linspace(0, 1, 6)
            )
            simplex.vector_field(axes, partial(expected_update, algorithm, bandit, law))
            simplex.point(axes, result.optimum, color=style.BLACK, marker="s", label="π*")
            simplex.point(axes, result.behavior, color=style.GREEN, marker="D", label="μ, who samples")
            for i, policy in enumerate(result.attractors[name]):
                simplex.point(axes, policy, color=style.RED, label=None if i else "attractor")
            axes.set_title(f"{name}, {title}", loc="center")
        figure.colorbar(shades, ax=list(panels), label="regret [reward]", shrink=0.7, pad=0.01)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _ends(bandit: Bandit, law: Offline, beta: float, b: float) -> Floats:
    algorithm = PolicyGradient(beta=beta, baseline=b)
    return np.stack([solution.policy for solution in fixed_points(algorithm, bandit, law)])
