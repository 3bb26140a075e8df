"""How noisy is training?  The exact mean and spread of constant-step SGD beside 2000 sampled runs (T3.5).

Three arms, beta = 1/2, one pair a step from mu = (.2, .3, .5).  CoPG with noiseless rewards reaches pi*
exactly, at a constant step: once every pair agrees there is nothing left to move it.  Noisy rewards
leave a spread proportional to the step size's root; so do IPO's 0/1 labels.  Bands are mean +- one
standard deviation of the log-odds of arms 0 and 2, computed from a recursion of moments, not from the runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bandits.algorithms import IPO, CoPG
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics.moments import sgd_moments, stationary_covariance
from bandits.experiments.record import Claim
from bandits.fixed_point import fixed_point
from bandits.plots import style
from bandits.sampling.rules import Offline
from bandits.simulation.simulate import simulate

BETA, STEP, STEPS, EVERY, RUNS = 0.5, 0.1, 600, 5, 2000
REWARD, MU = (1.5, 1.0, 0.0), (0.2, 0.3, 0.5)
CONTRAST = np.array([1.0, 0.0, -1.0])
CASES: dict[str, tuple[type[CoPG | IPO], float, dict[str, Any]]] = {  # with its share of the learning rate
    "CoPG, rewards exact": (CoPG, 1.0, {"reward_noise": 0.0}),
    "CoPG, rewards ± 1": (CoPG, 1.0, {"reward_noise": 1.0}),
    "IPO, 0/1 labels": (IPO, 0.25, {"label_noise": True}),
}


@dataclass(frozen=True)
class Result:
    """Log-odds of arms 0 and 2 along training."""

    steps: Floats  # (records,)
    mean: dict[str, Floats]  # (records,)  exact
    deviation: dict[str, Floats]  # (records,)  exact standard deviation
    sampled_mean: dict[str, Floats]  # (records,)
    sampled_deviation: dict[str, Floats]  # (records,)
    settled: dict[str, float]  # exact stationary standard deviation
    limit: dict[str, float]  # at the fixed point
    runs: int


def run(
    progress: bool = False,
    *,
    beta: float = BETA,
    learning_rate: float = STEP,
    reward: tuple[float, ...] = REWARD,
    mu: tuple[float, ...] = MU,
    steps: int = STEPS,
    runs: int = RUNS,
) -> Result:
    """Two routes for each case: the recursion of moments, and sampled runs.

    Args:
        beta: strength of the KL to the reference.
        learning_rate: CoPG's; IPO takes a quarter of it.
        reward: of the three arms.
        mu: chances of the arms in the samples.
        steps: of training, one pair each.
        runs: that are sampled.
    """
    bandit, law, at = Bandit(reward), Offline(mu), np.arange(0, steps + 1, EVERY)
    mean, deviation, sampled_mean, sampled_deviation, settled, limit = {}, {}, {}, {}, {}, {}
    for name, (kind, share, noise) in CASES.items():
        algorithm, rate = kind(beta), share * learning_rate
        moments = sgd_moments(algorithm, bandit, law, rate, at, **noise)
        mean[name] = moments.mean @ CONTRAST
        deviation[name] = _deviation(moments.covariance)
        settled[name] = float(_deviation(stationary_covariance(algorithm, bandit, law, rate, **noise)))
        trace = simulate(
            algorithm,
            bandit,
            law,
            steps=steps,
            batch_size=1,
            learning_rate=rate,
            rng=np.random.default_rng(35),
            runs=runs,
            record=EVERY,
            progress=progress,
            **noise,
        )
        odds = np.log(trace.policies) @ CONTRAST
        sampled_mean[name], sampled_deviation[name] = odds.mean(axis=1), odds.std(axis=1)
        limit[name] = float(fixed_point(algorithm, bandit, law).log_policy @ CONTRAST)
    return Result(at.astype(float), mean, deviation, sampled_mean, sampled_deviation, settled, limit, runs)


def claims(result: Result) -> list[Claim]:
    """Sampled means within five standard errors of the recursion; spreads agree; noiseless CoPG arrives."""
    rows = []
    for name in CASES:
        error = np.abs(result.sampled_mean[name] - result.mean[name])
        in_errors = error / np.maximum(result.deviation[name] / np.sqrt(result.runs), 1e-12)
        rows.append(Claim(f"{name}: mean, largest error in standard errors", in_errors[1:].max(), 0.0, 5.0))
        ratio = result.sampled_deviation[name][20] / result.deviation[name][20]
        rows.append(Claim(f"{name}: sampled / exact spread after 100 steps", ratio, 1.0, 0.12))
    exact, noisy = "CoPG, rewards exact", "CoPG, rewards ± 1"
    return [
        *rows,
        Claim(f"{exact}: spread in the end", result.settled[exact], 0.0, 1e-12),
        Claim(
            f"{noisy}: spread after 600 steps / in the end",
            result.deviation[noisy][-1] / result.settled[noisy],
            1,
            0.01,
        ),
    ]


def draw(result: Result) -> Figure:
    """A panel for each case: exact band, exact limit, sampled mean and deviation as dots."""
    titles = ("noise dies out", "noise remains", "labels are noise")
    with style.house_style():
        figure, panels = plt.subplots(1, 3, figsize=(10.5, 3.6))
        for axes, title, (name, (kind, _, _)) in zip(panels, titles, CASES.items(), strict=True):
            color = style.COLORS[kind.__name__]
            mean, spread = result.mean[name], result.deviation[name]
            axes.plot(result.steps, mean, color=color, label="exact mean")
            axes.fill_between(
                result.steps, mean - spread, mean + spread, color=color, alpha=0.25, lw=0, label="± exact sd"
            )
            dots = slice(0, None, 8)
            axes.errorbar(
                result.steps[dots],
                result.sampled_mean[name][dots],
                result.sampled_deviation[name][dots],
                fmt="o",
                color=style.BLACK,
                markersize=2.5,
                linewidth=0.8,
                label=f"{result.runs} runs, mean ± sd",
            )
            axes.axhline(
                result.limit[name], color=color, linestyle=style.DASHED, linewidth=1, label="fixed point"
            )
            axes.set_title(f"{name}: {title}", fontsize=9)
            axes.set_xlabel("SGD step (one pair each)")
        panels[0].set_ylabel("log π(arm 0) / π(arm 2)")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _deviation(covariance: Floats) -> Floats:
    """Standard deviation of the contrast."""
    return np.sqrt(np.maximum(np.einsum("i,...ij,j->...", CONTRAST, covariance, CONTRAST), 0.0))
