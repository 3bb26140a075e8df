"""Sum or average over tokens: whom does the average favour, by length?  (T4.6, T10.1)

Fifteen answers of one to three tokens, random rewards. CoPG on the summed log-probabilities ends at pi*:
every answer's log pi/ref lies on one line of slope 1 / beta in its reward. Fed with averages it ends where
log pi/ref divided by the length does: answers of n tokens have a line of slope n / beta, as if beta were
divided by their length. The constant that makes probabilities sum to one then counts n times too, and so
the average also moves the length of answers as such.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import logsumexp

from bandits.algorithms import CoPG
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.experiments.record import Claim
from bandits.plots import style
from bandits.samples import Algorithm
from bandits.sampling.rules import Offline
from bandits.sequences import Averaged, TokenTable, table_fixed_point

BETA, BETAS = 0.5, np.geomspace(0.1, 10.0, 25)
COLORS, MARKERS = (style.BLUE, style.ORANGE, style.GREEN), ("o", "s", "^")


@dataclass(frozen=True)
class Result:
    """Exact ends; the two in the middle also by training a table."""

    beta: float
    reward: Floats  # (A,)
    length: Floats  # (A,)
    summed: Floats  # (A,)  log pi/ref where the sum ends
    averaged: Floats  # (A,)  where the average ends
    trained: dict[str, Floats]  # (A,)  log pi/ref of tables that were trained
    constant: float  # c of log pi/ref = |y| (r / beta + c)
    betas: Floats  # (n,)
    mean_length: dict[str, Floats]  # (n,)  E[|y|] against beta
    reference_length: float


def world(seed: int = 2) -> tuple[TokenTable, Bandit, Floats]:
    """Two words and an end, at most three tokens; who sampled prefers some answers."""
    rng = np.random.default_rng(seed)
    table = TokenTable(np.log([0.35, 0.25, 0.4]), length=3, end=2)
    mu = np.exp(0.4 * rng.normal(size=len(table.sequences)))
    return table, table.bandit(rng.normal(size=len(mu))), mu / mu.sum()


def averaged_end(bandit: Bandit, beta: float) -> tuple[Floats, float]:
    """log pi and c of pi = ref exp(|y| (r / beta + c)), the c that makes it sum to one."""
    assert bandit.length is not None
    score = bandit.needed_reward() / beta
    far = np.abs(score).max() + 50
    c = brentq(
        lambda c: float(logsumexp(bandit.log_reference + bandit.length * (score + c))), -far, far, xtol=1e-14
    )
    return bandit.log_reference + bandit.length * (score + c), c


def run(progress: bool = False, *, beta: float = BETA, seed: int = 2) -> Result:
    """Closed forms, and two tables trained to their ends.

    Args:
        beta: strength of the KL to the reference.
        seed: of the world's rewards, and of who sampled.
    """
    table, bandit, mu = world(seed)
    ends: dict[str, Algorithm] = {"sum": CoPG(beta), "average": Averaged(CoPG(beta))}
    trained = {name: table_fixed_point(each, table, bandit, Offline(mu)) for name, each in ends.items()}
    log_averaged, constant = averaged_end(bandit, beta)
    tilted = {
        "sum": np.array([bandit.optimal_policy(b) for b in BETAS]),
        "average": np.exp([averaged_end(bandit, b)[0] for b in BETAS]),
    }
    return Result(
        beta=beta,
        reward=bandit.needed_reward(),
        length=table.lengths,
        summed=np.log(bandit.optimal_policy(beta)) - bandit.log_reference,
        averaged=log_averaged - bandit.log_reference,
        trained={name: np.log(fit.policy) - bandit.log_reference for name, fit in trained.items()},
        constant=constant,
        betas=BETAS,
        mean_length={name: policies @ table.lengths for name, policies in tilted.items()},
        reference_length=float(bandit.reference @ table.lengths),
    )


def claims(result: Result) -> list[Claim]:
    """Trained tables end at the closed forms; slopes are 1 / beta and |y| / beta."""
    slopes = {n: _slope(result.reward, result.averaged, result.length == n) for n in (2, 3)}
    off = {
        name: np.abs(found - exact).max()
        for (name, found), exact in zip(result.trained.items(), (result.summed, result.averaged), strict=True)
    }
    return [
        Claim("sum: trained table against pi*, log pi/ref", float(off["sum"]), 0.0, 1e-8),
        Claim("average: trained table against ref exp(|y| (r / beta + c))", float(off["average"]), 0.0, 1e-8),
        Claim("sum: slope in the reward", _slope(result.reward, result.summed, result.length > 0), 2.0, 1e-9),
        *(
            Claim(f"average: slope of answers of {n} tokens", slopes[n], n / result.beta, 1e-9)
            for n in slopes
        ),
    ]


def _slope(x: Floats, y: Floats, kept: NDArray[np.bool_]) -> float:
    return float(np.polyfit(x[kept], y[kept], 1)[0])


def draw(result: Result) -> Figure:
    """log pi/ref against reward for sum and average; mean length against beta."""
    with style.house_style():
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11.5, 3.7))
        x = np.array([result.reward.min() - 0.2, result.reward.max() + 0.2])
        shift = float(np.mean(result.summed - result.reward / result.beta))
        left.plot(x, x / result.beta + shift, color=style.GREY, label="r/β + c")
        for n, color, marker in zip((1, 2, 3), COLORS, MARKERS, strict=True):
            here, name = result.length == n, f"{n} token{'s' if n > 1 else ''}"
            middle.plot(x, n * (x / result.beta + result.constant), color=color, linewidth=1)
            for axes, trained in ((left, "sum"), (middle, "average")):
                at = result.reward[here], result.trained[trained][here]
                axes.plot(*at, marker, color=color, label=name, linestyle="none")
        for axes, title in ((left, "Sum: one line for all answers"), (middle, "Average: slope |y| / β")):
            axes.set(xlabel="reward r(y)", ylabel="log π(y)/ref(y) of the trained table")
            axes.set_title(title)
            axes.legend(loc="upper left")
        right.semilogx(result.betas, result.mean_length["sum"], color=style.GREY, label="sum")
        right.semilogx(
            result.betas,
            result.mean_length["average"],
            color=style.RED,
            linestyle=style.DASHED,
            label="average",
        )
        right.axhline(result.reference_length, color=style.BLACK, linestyle=style.DOTTED, label="reference")
        right.set(xlabel="β", ylabel="mean length, tokens")
        right.set_title("The average moves the length")
        right.legend(loc="best")
    return figure
