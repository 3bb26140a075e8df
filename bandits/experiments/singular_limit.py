"""Is a vanishing KL no KL?  AsymRE with a constant baseline, as beta goes to zero, and at zero.

AsymRE is policy gradient on somebody else's samples with a constant baseline V, here below their mean
reward.  As beta goes to zero the end tends to mu (r - V)+ / Z (T13.8): what is worse than V dies out and the
others keep their proportions.  At beta = 0 it is the Euclidean projection of mu (r - V) / (V^mu - V) on the
simplex (T13.7), which gathers more on the best arm.  Which of them training sees is a question of time: long
before 1/beta it follows the flow without a KL to the projection, and only then comes back.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bandits.algorithms import AsymRE
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics.flow import flow
from bandits.experiments.record import Claim
from bandits.fixed_point import fixed_point
from bandits.plots import style
from bandits.sampling.rules import Offline

MU = (0.4, 0.1, 0.2, 0.3)  # the common example of chapter T13
REWARD = (1.0, 0.6, 0.2, 0.0)
V = 0.2
SLOW = 1e-4  # beta of the flow
LOOKS = (
    (style.BLUE, "-"),
    (style.ORANGE, style.DASHED),
    (style.GREEN, style.SQUARES),
    (style.GREY, style.DOTTED),
)


@dataclass(frozen=True)
class Result:
    """Exact ends against beta, their limit, the end without a KL, and a flow that sees both."""

    reward: Floats  # (4,)
    baseline: float
    beta: Floats  # (n,)
    ends: Floats  # (n, 4)
    limit: Floats  # (4,)  beta -> 0
    at_zero: Floats  # (4,)  beta = 0
    slow_beta: float
    times: Floats  # (t,)
    path: Floats  # (t, 4)


def run(
    progress: bool = False,
    *,
    reward: tuple[float, ...] = REWARD,
    mu: tuple[float, ...] = MU,
    baseline: float = V,
    slow_beta: float = SLOW,
) -> Result:
    """Nothing is sampled.

    Args:
        reward: of the four arms, the best first.
        mu: chances of the arms in the samples.
        baseline: V, below the mean reward of the samples.
        slow_beta: strength of the KL along the flow.
    """
    world, sampling = Bandit(reward, reference=np.full(len(mu), 1 / len(mu))), Offline(mu)
    beta, times = np.geomspace(1e-6, 3.0, 60), np.geomspace(0.1, 1e7, 100)
    ends = [fixed_point(AsymRE(float(each), baseline), world, sampling).policy for each in beta]
    pull = np.maximum(np.array(mu) * (np.array(reward) - baseline), 0)
    return Result(
        reward=np.array(reward),
        baseline=baseline,
        beta=beta,
        ends=np.stack(ends),
        limit=pull / pull.sum(),
        at_zero=fixed_point(AsymRE(baseline=baseline), world, sampling).policy,
        slow_beta=slow_beta,
        times=times,
        path=flow(AsymRE(slow_beta, baseline), world, sampling, times),
    )


def claims(result: Result) -> list[Claim]:
    """The two limits in numbers, that they differ, and that the flow passes one on its way to the other."""
    far = np.abs(result.limit - result.at_zero).max()
    passed = np.abs(result.path - result.at_zero).max(axis=-1).min()
    at_last = np.abs(result.path[-1] - result.limit).max()
    return [
        Claim("β → 0: probability of the best arm (T13.8)", result.limit[0], 8 / 9, 1e-12),
        Claim("β = 0: probability of the best arm (T13.7)", result.at_zero[0], 0.29 / 0.3, 1e-12),
        Claim("distance of the two", far, 0.29 / 0.3 - 8 / 9, 1e-12),
        Claim("β = 1e-6: distance from the limit", np.abs(result.ends[0] - result.limit).max(), 0.0, 1e-4),
        Claim(f"flow at β = {SLOW:g}: nearest it comes to the end without a KL", passed, 0.0, 2e-3),
        Claim("and at last: distance from the limit β → 0", at_last, 0.0, 5e-3),
    ]


def draw(result: Result) -> Figure:
    """Ends against beta with both limits beside them; and the flow, which passes one of them."""
    with style.house_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.0), sharey=True)
        for arm, (color, line) in enumerate(LOOKS):
            label = f"arm {arm + 1}, r = {result.reward[arm]:g}"
            left.plot(result.beta, result.ends[:, arm], color=color, linestyle=line, label=label)
            right.plot(result.times, result.path[:, arm], color=color, linestyle=line)
            left.plot(3e-8, result.at_zero[arm], "o", color=color, clip_on=False)
            for axes in (left, right):
                axes.axhline(result.limit[arm], color=color, linewidth=0.6, alpha=0.5)
        for arm in (0, 1):
            right.axhline(result.at_zero[arm], color=LOOKS[arm][0], linewidth=0.8, linestyle=style.DOTTED)
        left.set_xscale("log")
        left.set_xlim(1e-8, 4)
        left.set_xticks([3e-8, 1e-6, 1e-4, 1e-2, 1], ["0", "1e-6", "1e-4", "0.01", "1"])
        left.axvspan(1e-8, 3e-7, color=style.GREY, alpha=0.12, linewidth=0)
        left.set_xlabel("β, strength of the KL")
        left.set_ylabel("probability")
        left.set_title("The end: lines for β > 0, points at β = 0", fontsize=9)
        right.set_xscale("log")
        right.set_xlabel("time")
        right.set_title(f"The flow at β = {result.slow_beta:g}: dotted, the end at β = 0", fontsize=9)
        figure.suptitle("β → 0 is not β = 0: without a KL more gathers on the best arm", fontsize=11)
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
