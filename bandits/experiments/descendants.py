"""What did CoPG's descendants keep?  The ends of six regressions, against k and against who sampled.

All regress rewards on h = log pi/ref. CoPG, RLOO and REBEL see only differences of R = r - beta h within a
group, and end at pi* on anybody's samples (T3.3). OAPL, PMD-mean (Kimi's) and QRPO keep the h of each sample
and subtract a value that does not see the policy: unless it is J* itself the end depends on who sampled
(T2.5). OAPL's value, a log-mean-exp of k rewards, comes near with k, PMD-mean's, their mean, does not, with
or without the sample itself, and QRPO needs the exact Z (T13.2, T13.3, T13.5). On samples of pi* any
constant will do (T2.5). The rewards are their own quantiles, so that all six have one optimum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bandits.algorithms import OAPL, QRPO, REBEL, RLOO, CoPG, PMDMean, reference_value
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.experiments.record import Claim
from bandits.fixed_point import fixed_point
from bandits.plots import style
from bandits.policy import tilt
from bandits.samples import Algorithm
from bandits.sampling.rules import Offline

BETA, K = 0.5, 4
REFERENCE = (0.1, 0.2, 0.3, 0.4)
REWARD = (1.0, 0.9, 0.7, 0.4)  # P_ref(no better): the sums of the reference from the end
SIZES = (2, 3, 4, 6, 8, 12, 16)
TILTS = np.linspace(-8, 8, 33)  # of who samples: ref exp(tilt r) / Z
ROUNDING = 1e-15  # a regret below is none
LINEAR = 1e-5  # regret below which the axis is linear, down to zero

MAKE: dict[str, Callable[[float, int], Algorithm]] = {
    "CoPG": lambda beta, k: CoPG(beta, k=k),
    "RLOO": lambda beta, k: RLOO(beta, k=k),
    "REBEL": lambda beta, k: REBEL(beta),
    "QRPO, exact Z": lambda beta, k: QRPO(beta, value=reference_value),
    "OAPL": lambda beta, k: OAPL(beta, k=k),
    "PMD-mean": lambda beta, k: PMDMean(beta, k=k),
    "PMD-mean, leave one out": lambda beta, k: PMDMean(beta, k=k, leave_one_out=True),
    "QRPO": lambda beta, k: QRPO(beta),
}
EXACT = ("CoPG", "RLOO", "REBEL", "QRPO, exact Z")
LOOKS = {
    "OAPL": (style.RED, "-", "o"),
    "PMD-mean": (style.ORANGE, "-", "s"),
    "PMD-mean, leave one out": (style.PURPLE, style.DASHED, "^"),
    "QRPO": (style.GREEN, style.SQUARES, "D"),
}


@dataclass(frozen=True)
class Result:
    """Regrets of exact ends."""

    beta: float
    reference: Floats  # (4,)
    reward: Floats  # (4,)
    sizes: Floats  # (n,)
    by_size: dict[str, Floats]  # (n,)  samples of the reference
    k: int
    tilts: Floats  # (m,)
    by_sampler: dict[str, Floats]  # (m,)  groups of k


def run(progress: bool = False, *, beta: float = BETA, k: int = K, sizes: tuple[int, ...] = SIZES) -> Result:
    """Solve for every algorithm at every size and for every sampler; nothing is sampled.

    Args:
        beta: strength of the KL to the reference.
        k: samples of a group where the sampler varies.
        sizes: samples of a group where the reference samples.
    """
    bandit, many = Bandit(REWARD, reference=REFERENCE), Bandit([REWARD] * len(TILTS), reference=REFERENCE)

    def regret(algorithm: Algorithm, world: Bandit, mu: Floats) -> Floats:
        found = world.regret(fixed_point(algorithm, world, Offline(mu)).policy, beta)
        return np.where(found > ROUNDING, found, 0.0)

    samplers = np.exp(
        tilt(bandit.log_reference, TILTS[:, None] * np.array(REWARD), 1.0)
    )  # a context for each
    return Result(
        beta=beta,
        reference=bandit.reference,
        reward=np.array(REWARD),
        sizes=np.array(sizes, dtype=float),
        by_size={
            name: np.array([regret(make(beta, size), bandit, bandit.reference) for size in sizes])
            for name, make in MAKE.items()
        },
        k=k,
        tilts=TILTS,
        by_sampler={name: regret(make(beta, k), many, samplers) for name, make in MAKE.items()},
    )


def claims(result: Result) -> list[Claim]:
    """Four end at pi* whoever sampled; of the others only OAPL comes nearer with k, like 1/k^2 in regret."""
    zero = max(max(result.by_size[name].max(), result.by_sampler[name].max()) for name in EXACT)
    late = np.log(result.sizes[-2:])
    slope = np.diff(np.log(result.by_size["OAPL"][-2:]))[0] / np.diff(late)[0]
    others, inclusive = result.by_size["PMD-mean, leave one out"], result.by_size["PMD-mean"]
    own = int(np.argmin(np.abs(result.tilts - 1 / result.beta)))
    elsewhere = np.delete(result.by_sampler["QRPO"], own)
    return [
        Claim(f"{', '.join(EXACT)}: largest regret", zero, 0.0, 1e-12),
        Claim("OAPL: slope of log regret in log k, k = 12 to 16", float(slope), -2.0, 0.2),
        Claim("PMD-mean, leave one out: spread of its regret over k", float(np.ptp(others)), 0.0, 1e-12),
        Claim(
            "PMD-mean: share of k where its own sample costs more",
            float((inclusive > others).mean()),
            1.0,
            0.0,
        ),
        Claim("QRPO on samples of pi*: regret", float(result.by_sampler["QRPO"][own]), 0.0, 1e-12),
        Claim("QRPO: share of other samplers where it misses", float((elsewhere > 1e-5).mean()), 1.0, 0.0),
    ]


def draw(result: Result) -> Figure:
    """Regret against k, and against who samples; zero is on the axis."""
    with style.house_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.8), sharey=True)
        for axes, x, curves in (
            (left, result.sizes, result.by_size),
            (right, result.tilts, result.by_sampler),
        ):
            axes.set_yscale("symlog", linthresh=LINEAR)
            zero = np.max([curves[name] for name in EXACT], axis=0)
            axes.plot(
                x, zero, color=style.BLUE, linewidth=3, label=f"{', '.join(EXACT)}: zero", clip_on=False
            )
            for name, (color, line, marker) in LOOKS.items():
                every = 1 if axes is left else 4
                axes.plot(
                    x, curves[name], color=color, linestyle=line, marker=marker, markevery=every, label=name
                )
        left.set_xscale("log", base=2)
        left.set_xticks(result.sizes, [f"{size:.0f}" for size in result.sizes])
        left.minorticks_off()
        left.set(xlabel="k, samples of the reference in a group", ylabel="regret J* − J of the exact end")
        left.set_title("k cures OAPL, not PMD-mean and QRPO")
        right.axvline(1 / result.beta, color=style.GREY, linewidth=1, linestyle=style.DOTTED, zorder=0)
        right.annotate("π* samples", (1 / result.beta, 0.2), xytext=(4, 0), textcoords="offset points")
        right.set(xlabel=f"τ: ref·exp(τ r)/Z samples, k = {result.k}")
        right.set_title("Who samples shows where each keeps its own h")
        left.set_ylim(0, 0.4)
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncol=3)
    return figure
