"""What does SPPO do, round after round, and what do two more payoffs a round change?  (T13.13, T13.19)

P = [[.5, .9, .2], [.1, .5, .8], [.8, .2, .5]]: each arm beats one and loses to one, no arm beats (.3, .3,
.4), the equilibrium. Every round of SPPO regresses the log-ratio to the last round's policy on how often an
answer wins against it (eta = 1).  The map rests at the equilibrium and is repelled by it, by the factor
sqrt(1 + eta^2 f^2) a round, f being how fast it circles, like exponential weights, its ideal.  Optimistic
weights, which count the last payoff twice and take the one before back, arrive; extragradient steps (EGPO)
with a KL to the reference, beta = .02, arrive at the regularised equilibrium.  Everything is exact:
infinitely many samples, and each regression solved.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics import games
from bandits.experiments.record import Claim
from bandits.plots import simplex, style
from bandits.solvers.equilibrium import von_neumann_winner
from bandits.solvers.paths import iterate

ETA, BETA, START, ROUNDS = 1.0, 0.02, (0.36, 0.34, 0.3), 400
DRAWN = 160  # rounds on the simplex
CYCLE = Bandit(preference=[[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]])
LOOKS: tuple[tuple[str, Any], ...] = (
    (style.RED, "-"),
    (style.ORANGE, style.DASHED),
    (style.BLUE, style.SQUARES),
    (style.GREEN, style.DASH_DOT),
)


@dataclass(frozen=True)
class Result:
    """Exact paths of policies."""

    winner: Floats  # (3,)  the equilibrium without a KL
    nash: Floats  # (3,)  with it
    modulus: float  # sqrt(1 + eta^2 f^2), f the frequency at the winner
    optimistic: float  # the largest root of t^2 - (1 + 2 i eta f) t + i eta f
    paths: dict[str, Floats]  # (rounds + 1, 3)
    distance: dict[str, Floats]  # (rounds + 1,)  largest difference to the own equilibrium


def run(
    progress: bool = False,
    *,
    learning_rate: float = ETA,
    beta: float = BETA,
    start: tuple[float, ...] = START,
    rounds: int = ROUNDS,
) -> Result:
    """Iterate the four maps.

    Args:
        learning_rate: eta, of all four.
        beta: strength of EGPO's KL.
        start: of all four.
        rounds: of all four.
    """
    winner, nash = von_neumann_winner(CYCLE.preference), CYCLE.nash_policy(beta)
    covariance = np.diag(winner) - np.outer(winner, winner)
    omega = learning_rate * np.abs(np.linalg.eigvals((CYCLE.preference - 0.5) @ covariance).imag).max()
    maps = {
        "SPPO": games.sppo(CYCLE, learning_rate),
        "exponential weights": games.exponential_weights(CYCLE, learning_rate),
        "optimistic weights": games.optimistic_weights(CYCLE, learning_rate),
        f"EGPO, β = {beta:g}": games.extragradient(CYCLE, beta, learning_rate),
    }
    paths = {
        name: iterate(repeat(step, rounds), [start, start])[:, 0]
        if name == "optimistic weights"
        else iterate(repeat(step, rounds), start)
        for name, step in maps.items()
    }
    ends = {name: nash if "β" in name else winner for name in paths}
    return Result(
        winner=winner,
        nash=nash,
        modulus=float(np.hypot(1, omega)),
        optimistic=float(np.abs(np.roots([1, -(1 + 2j * omega), 1j * omega])).max()),
        paths=paths,
        distance={name: np.abs(path - ends[name]).max(axis=1) for name, path in paths.items()},
    )


def claims(result: Result) -> list[Claim]:
    """The rates near the equilibrium, and who is there in the end."""
    grows, shrinks = _rate(result.distance["SPPO"][:31]), _rate(result.distance["optimistic weights"][:101])
    last = {name: float(distance[-1]) for name, distance in result.distance.items()}
    return [
        Claim("SPPO: growth of the distance a round, first 30", grows, result.modulus, 0.01),
        Claim("SPPO: distance to the equilibrium at the end", last["SPPO"], 0.65, 0.1),
        Claim("optimistic weights: its factor a round, first 100", shrinks, result.optimistic, 0.005),
        Claim("optimistic weights: distance at the end", last["optimistic weights"], 0.0, 1e-3),
        Claim("EGPO: distance to the regularised equilibrium at the end", last["EGPO, β = 0.02"], 0.0, 1e-6),
    ]


def _rate(distance: Floats) -> float:
    """Factor a round, by least squares on the logarithm: circling averages out."""
    return float(np.exp(np.polyfit(np.arange(len(distance)), np.log(distance), 1)[0]))


def draw(result: Result) -> Figure:
    """Paths on the simplex; distances against the rounds, with the rates of theory."""
    with style.house_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), width_ratios=(1, 1.15))
        simplex.frame(left, ("arm 1", "arm 2", "arm 3"))
        for (color, line), (name, path) in zip(LOOKS, result.paths.items(), strict=True):
            if name != "exponential weights":
                simplex.trajectory(left, path[:DRAWN], color=color, linestyle=line)
            right.semilogy(np.maximum(result.distance[name], 1e-12), color=color, linestyle=line, label=name)
        simplex.point(left, result.winner, color=style.BLACK)
        left.set_title("SPPO circles where optimistic weights arrive", loc="center")
        rounds = np.arange(len(result.distance["SPPO"]))
        look: dict[str, Any] = {"color": style.BLACK, "linestyle": style.DOTTED, "linewidth": 1.2}
        for rate, until in ((result.modulus, 60), (result.optimistic, len(rounds))):
            line = result.distance["SPPO"][0] * rate ** rounds[:until]
            right.semilogy(rounds[:until], line, **look, label="theory, at the equilibrium" * (rate < 1))
        right.set_title("A factor above 1 a round, and below")
        right.set_xlabel("round")
        right.set_ylabel("distance to the equilibrium, max |π − π*|")
        right.set_ylim(1e-9, 3)
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
