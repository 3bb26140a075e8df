"""Which prompts does it weigh?  Right-or-wrong rewards, prompts from hopeless to sure  (T13.11).

What an algorithm does to a prompt that succeeds with probability p is w(p) times the gradient of p. Prompts
share their parameters, so w says which of them train the model. Curves are closed forms; dots are sums over
all groups of eight by the algorithms themselves, prompts of different difficulty being contexts of one
world. RLOO weighs all prompts alike, GRPO both ends, those that imitate successes the hard ones; pass@k
(reward the best of k) gives up on all others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from array_api_compat import array_namespace
from matplotlib.figure import Figure

from bandits.algorithms import GRPO, RLOO, MaxRL
from bandits.checks import Floats
from bandits.dynamics.difficulty import (
    difficulty_weight,
    grpo_weight,
    maxrl_weight,
    pass_at_k_weight,
    rejection_weight,
)
from bandits.experiments.record import Claim
from bandits.plots import style
from bandits.samples import Algorithm, Samples, Update, need

K, BETA = 8, 1.0  # beta is not felt: the policy is the reference
DOTS = np.array([0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98])
NAMES = ("RLOO", "GRPO", "rejection fine-tuning", "MaxRL", "pass@k")
LOOKS = {
    "RLOO": style.LOOKS["RLOO"],
    "GRPO": style.LOOKS["GRPO"],
    "rejection fine-tuning": style.Look(style.PURPLE, style.DASH_DOT),
    "MaxRL": style.Look(style.PURPLE, style.SOLID),
    "pass@k": style.Look(style.BLACK, style.DOTTED),
}


@dataclass(frozen=True)
class PassAtK:
    """Policy gradient of E[largest reward of k samples], each less the largest of the others  (T13.11)."""

    k: int

    def update(self, samples: Samples) -> Update:
        """c_i = max_j r_j - max_{j != i} r_j."""
        reward = need(samples, "reward")
        xp = array_namespace(reward)
        pairs = reward[..., None, :] + 0 * reward[..., :, None]
        others = xp.where(xp.eye(self.k, dtype=xp.bool), -xp.inf * xp.ones_like(pairs), pairs)
        return Update(log_prob=xp.max(reward, axis=-1, keepdims=True) - xp.max(others, axis=-1))


MADE: dict[str, Callable[[int], Algorithm]] = {
    "RLOO": lambda k: RLOO(BETA, k=k),
    "GRPO": lambda k: GRPO(BETA, k=k),
    "rejection fine-tuning": lambda k: MaxRL(BETA, k=k, centred=False),
    "MaxRL": lambda k: MaxRL(BETA, k=k),
    "pass@k": PassAtK,
}
CLOSED: dict[str, Callable[[Floats, int], Floats]] = {
    "RLOO": lambda p, k: np.ones_like(p),
    "GRPO": grpo_weight,
    "rejection fine-tuning": rejection_weight,
    "MaxRL": maxrl_weight,
    "pass@k": pass_at_k_weight,
}


@dataclass(frozen=True)
class Result:
    """w(p) twice."""

    k: int
    success: Floats  # (n,)
    closed: dict[str, Floats]  # (n,)
    at: Floats  # (m,)
    enumerated: dict[str, Floats]  # (m,)  by the algorithms, group by group


def run(progress: bool = False, *, k: int = K) -> Result:
    """All five, in groups of the same size.

    Args:
        k: answers of a group.
    """
    success = np.linspace(0.01, 0.99, 99)
    return Result(
        k=k,
        success=success,
        closed={name: CLOSED[name](success, k) for name in NAMES},
        at=DOTS,
        enumerated={name: difficulty_weight(MADE[name](k), DOTS) for name in NAMES},
    )


def claims(result: Result) -> list[Claim]:
    """Closed forms and enumeration agree; how much harder prompts count."""
    found = []
    for name in NAMES:
        far = np.abs(result.enumerated[name] / CLOSED[name](result.at, result.k) - 1).max()
        found.append(Claim(f"{name}: enumeration against closed form, relative", float(far), 0.0, 1e-10))
    hard, even = result.at == 0.05, result.at == 0.5
    for name, expected in (("RLOO", 1.0), ("GRPO", 1.3327), ("MaxRL", 3.0404), ("pass@k", 89.387)):
        ratio = float((result.enumerated[name][hard] / result.enumerated[name][even])[0])
        found.append(
            Claim(f"{name}: weight at p = .05 over that at p = .5", ratio, expected, 1e-4 * expected)
        )
    return found


def draw(result: Result) -> Figure:
    """w(p), curves and dots."""
    with style.house_style():
        figure, axes = plt.subplots(figsize=(7.0, 4.2))
        for name in NAMES:
            color, line = LOOKS[name]
            axes.semilogy(result.success, result.closed[name], color=color, linestyle=line, label=name)
            axes.semilogy(result.at, result.enumerated[name], "o", color=color, markersize=4)
        axes.set(
            xlabel="p, the policy's probability of success on a prompt",
            ylabel="w(p): the expected update is w(p) ∇p",
            xlim=(0, 1),
            ylim=(1e-2, 12),
        )
        axes.set_title("MaxRL and rejection weigh the hard prompts, GRPO both ends, RLOO all alike")
        axes.legend(title=f"groups of {result.k}; dots: summed over all groups", loc="lower left", ncol=2)
    return figure
