"""Does an off-policy algorithm find the optimum?  CoPG's toy (Flet-Berliac 2024, arXiv:2406.19185, Section
5).

Three arms, r = (2.5, 2, 1), beta = 1/2, uniform reference and start.  10^4 pairs, y ~ mu1 = (.1, .2,
.7) and y' ~ mu2 = (.05, .05, .9), so that the best arm is rare.  Adam with step 1e-3, batches of 512,
100 epochs of 20 steps; the y axis is the regret J* - J(pi) = beta KL(pi || pi*).  Policy gradient (PG) takes
both answers of the same pairs, without a baseline, b = 0, and with the policy's own mean reward, b = E_pi[r]
exact ("value baseline"); IPO takes labels drawn from Bradley-Terry  (T3.8).

The paper says that CoPG reaches zero.  With the printed setting it is at .013 after 100 epochs, on its
way: the right panel follows the same training four times as long.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bandits.algorithms import IPO, CoPG, PolicyGradient, policy_reward
from bandits.checks import Floats
from bandits.examples import copg_toy
from bandits.experiments.record import Claim
from bandits.fixed_point import fixed_point
from bandits.plots import curves, style
from bandits.samples import Algorithm
from bandits.simulation.optimizers import Adam
from bandits.simulation.simulate import simulate

BETA = 0.5
PAIRS, BATCH, STEP = 10_000, 512, 1e-3
STEPS_PER_EPOCH = 20
PRINTED_EPOCHS, LONG_EPOCHS = 100, 400
SEEDS = 5


def algorithms(beta: float) -> dict[str, Algorithm]:
    """The paper's four."""
    return {
        "CoPG": CoPG(beta=beta),
        "IPO": IPO(beta=beta),
        "PG, b = 0": PolicyGradient(beta=beta, k=2),
        "PG, value baseline": PolicyGradient(beta=beta, baseline=policy_reward, k=2),
    }


@dataclass(frozen=True)
class Result:
    """Regret along training, and exactly at the fixed point."""

    beta: float
    epochs: Floats  # (records,)
    regret: dict[str, Floats]  # (records, seeds) for each algorithm
    limit: dict[str, float]  # regret of the exact fixed point
    limit_policy: dict[str, Floats]  # (3,)
    start_regret: float


def run(
    progress: bool = False,
    *,
    beta: float = BETA,
    pairs: int = PAIRS,
    batch_size: int = BATCH,
    learning_rate: float = STEP,
    epochs: int = LONG_EPOCHS,
    seeds: int = SEEDS,
) -> Result:
    """Train all four on the same data, once a seed, and solve for where they end.

    Args:
        beta: strength of the KL to the reference.
        pairs: size of the data set.
        batch_size: pairs of a step.
        learning_rate: Adam's.
        epochs: of 20 steps.
        seeds: trainings of each algorithm.
    """
    bandit, sampling = copg_toy()
    regret, limit, limit_policy = {}, {}, {}
    steps = np.array([])
    for name, algorithm in algorithms(beta).items():
        trace = simulate(
            algorithm,
            bandit,
            sampling,
            steps=epochs * STEPS_PER_EPOCH,
            batch_size=batch_size,
            learning_rate=learning_rate,
            rng=np.random.default_rng(2024),  # the same pairs for every algorithm
            runs=seeds,
            optimizer=Adam(),
            data_size=pairs,
            record=STEPS_PER_EPOCH,
            progress=progress,
        )
        steps = trace.steps
        regret[name] = bandit.regret(trace.policies, beta)
        policy = fixed_point(algorithm, bandit, sampling).policy
        limit_policy[name], limit[name] = policy, float(bandit.regret(policy, beta))
    start = float(bandit.regret(bandit.reference, beta))
    return Result(beta, steps / STEPS_PER_EPOCH, regret, limit, limit_policy, start)


def claims(result: Result) -> list[Claim]:
    """The printed setting epoch by epoch, the limits, and when CoPG gets below 1e-3  (T3.8)."""
    mean = {name: runs.mean(axis=1) for name, runs in result.regret.items()}
    at = {int(epoch): i for i, epoch in enumerate(result.epochs)}
    printed = {1: 0.281, 10: 0.200, 25: 0.118, 50: 0.059, 75: 0.031, 100: 0.013}
    copg = [
        Claim(f"CoPG, regret at epoch {epoch}", mean["CoPG"][at[epoch]], value, 0.003)
        for epoch, value in printed.items()
    ]
    below = result.epochs[np.argmax(mean["CoPG"] < 1e-3)]
    ends = [
        Claim("regret of the start", result.start_regret, 0.29187, 5e-6),
        Claim("CoPG: exact limit", result.limit["CoPG"], 0.0, 1e-12),
        Claim("CoPG: first epoch below 1e-3", below, 146, 8),
        Claim("IPO: exact limit", result.limit["IPO"], 0.1525, 5e-5),
        Claim("IPO: long run", mean["IPO"][-1], result.limit["IPO"], 0.02),
        Claim("PG, b = 0: exact limit (it rises)", result.limit["PG, b = 0"], 0.638, 5e-4),
        Claim("PG, b = 0: long run", mean["PG, b = 0"][-1], result.limit["PG, b = 0"], 0.03),
        Claim("PG, value baseline: exact limit", result.limit["PG, value baseline"], 0.0148, 5e-5),
        Claim("PG, value baseline: dip, epoch 150", mean["PG, value baseline"][at[150]], 0.003, 0.001),
        Claim("PG, value baseline: long run", mean["PG, value baseline"][-1], 0.0148, 0.006),
    ]
    return copg + ends


def draw(result: Result) -> Figure:
    """Left: the printed 100 epochs.  Right: the same, four times as long, on a logarithmic regret axis."""
    with style.house_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.9))
        for axes, last in ((left, PRINTED_EPOCHS), (right, result.epochs[-1])):
            shown = result.epochs <= last
            for name, runs in result.regret.items():
                look = style.CURVES[name]
                curves.mean_and_band(axes, result.epochs[shown], runs[shown], label=name, **look._asdict())
                curves.exact_limit(axes, result.limit[name], color=look.color)
            axes.set_xlim(0, last)
            axes.set_xlabel("epoch (20 Adam steps)")
        left.set_ylim(0, 0.7)
        left.set_ylabel("regret  J* - J(π)  [reward]")
        printed = result.epochs <= PRINTED_EPOCHS
        there = result.regret["CoPG"][printed][-1].mean()
        left.set_title(f"As printed, {result.epochs[printed][-1]:g} epochs: CoPG is at {there:.3f}")
        right.set_yscale("log")
        right.set_ylim(1e-7, 2)
        right.set_title("Four times as long: only CoPG goes to zero")
        handles, labels = left.get_legend_handles_labels()
        limit = plt.Line2D([], [], color="black", linestyle=curves.LIMIT, linewidth=1.0)
        figure.legend(
            [*handles, limit],
            [*labels, "exact fixed point (CoPG's is 0)"],
            loc="outside lower center",
            ncols=5,
        )
    return figure
