"""What does a token pay for that is charged for its own KL alone?  The per-token KL that forgets the future.

Policy gradient whose reward is charged an estimate of the KL: k1, k2 or k3, see kl_estimators (T9.6, T10.1).
Charging each token for the KL of the whole answer (k1 in the reward) ends at pi*. Charging it for its own
alone, or differentiating k2 of each token as a loss, does not count the KL that a token leads to: at each
prefix the plain mean of the reward stands where the optimum has beta log E exp(Q / beta), which the exact
backward induction shows. k3 as a loss pulls towards KL(ref || pi) of each prefix, another end again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.experiments.record import Claim
from bandits.plots import style
from bandits.samples import TokenAlgorithm
from bandits.sampling.rules import OnPolicy
from bandits.sequences import KLInLoss, KLInReward, TokenTable, k1, k2, k3, own_cost, table_fixed_point
from bandits.sequences.token_kl import forgetful_optimum

BETAS, SAFE = (0.1, 0.14, 0.2, 0.28, 0.4, 0.8, 1.6), 0.6
ENDS: dict[str, Callable[[float], TokenAlgorithm]] = {
    "k1 in the reward, whole answer": lambda beta: KLInReward(beta),
    "k1 in the reward, own token": lambda beta: KLInReward(beta, k1, own_cost),
    "k2 as a loss": lambda beta: KLInLoss(beta, k2),
    "k3 as a loss": lambda beta: KLInLoss(beta, k3),
}
LOOKS = {
    "k1 in the reward, whole answer": (style.BLUE, "-", "o"),
    "k1 in the reward, own token": (style.ORANGE, "-", "s"),
    "k2 as a loss": (style.BLACK, style.SQUARES, "x"),
    "k3 as a loss": (style.GREEN, style.DASHED, "^"),
}


@dataclass(frozen=True)
class Result:
    """Exact ends of tables with a row for every prefix."""

    betas: Floats  # (n,)
    regret: dict[str, Floats]  # (n,)  J* - J of each end
    forgetful: Floats  # (n,)  regret by backward induction
    first: dict[str, Floats]  # (n,)  P(the answer begins with the risky word)
    optimal_first: Floats  # (n,)


def world(safe: float = SAFE) -> tuple[TokenTable, Bandit, Floats]:
    """Word 0 is safe; behind word 1 only one unlikely answer is worth its while."""
    table = TokenTable(
        np.log([[0.7, 0.3], [0.5, 0.5], [0.1, 0.9], [0.5, 0.5], [0.5, 0.5], [0.1, 0.9], [0.5, 0.5]]), length=3
    )
    reward = np.array([safe if y[0] == 0 else 1.0 if y == (1, 0, 0) else 0.0 for y in table.sequences])
    risky = np.array([float(y[0] == 1) for y in table.sequences])
    return table, table.bandit(reward), risky


def run(progress: bool = False, *, betas: tuple[float, ...] = BETAS, safe: float = SAFE) -> Result:
    """Each end at each beta, by the solver; the forgetful one also by backward induction.

    Args:
        betas: strengths of the KL, in rising order.
        safe: reward of the answers behind the safe word; that of the risky one is 1.
    """
    table, bandit, risky = world(safe)
    policies = {}
    for name, made in ENDS.items():
        start, found = None, []
        for beta in betas[::-1]:
            fit = table_fixed_point(made(beta), table, bandit, OnPolicy(), start)
            start = fit.logits
            found.append(fit.policy)
        policies[name] = np.array(found[::-1])
    backward = np.exp([forgetful_optimum(table, bandit.needed_reward(), beta) for beta in betas])
    best = np.array([bandit.optimal_policy(beta) for beta in betas])

    def regret(each: Floats) -> Floats:
        return np.array([float(bandit.regret(p, beta)) for p, beta in zip(each, betas, strict=True)])

    return Result(
        betas=np.array(betas),
        regret={name: regret(each) for name, each in policies.items()},
        forgetful=regret(backward),
        first={name: each @ risky for name, each in policies.items()},
        optimal_first=best @ risky,
    )


def claims(result: Result) -> list[Claim]:
    """The whole cost ends at pi*; own cost and k2 where backward induction says, overrating the future."""
    whole, own, second, _ = ENDS
    over = result.first[own] > result.optimal_first
    return [
        Claim("whole answer charged: largest regret", float(result.regret[whole].max()), 0.0, 1e-10),
        Claim(
            "own token charged: regret less that of backward induction",
            float(np.abs(result.regret[own] - result.forgetful).max()),
            0.0,
            1e-10,
        ),
        Claim(
            "k2 as a loss: the same end",
            float(np.abs(result.regret[second] - result.forgetful).max()),
            0.0,
            1e-10,
        ),
        Claim(
            "own token charged: share of β where the risky word is said too often",
            float(over.mean()),
            1.0,
            0.0,
        ),
    ]


def draw(result: Result) -> Figure:
    """P(risky word) and regret against beta."""
    with style.house_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.8))
        for name, (color, line, marker) in LOOKS.items():
            left.semilogx(
                result.betas, result.first[name], color=color, linestyle=line, marker=marker, label=name
            )
            if result.regret[name].max() > 1e-9:
                right.loglog(result.betas, result.regret[name], color=color, linestyle=line, marker=marker)
        left.semilogx(
            result.betas,
            result.optimal_first,
            color=style.RED,
            linestyle=style.DOTTED,
            linewidth=3,
            label="π*",
            zorder=0,
        )
        left.set(xlabel="β", ylabel="P(first word leads to a costly future)")
        left.set_title("The future's KL is not charged")
        right.set(xlabel="β", ylabel="regret J* − J")
        right.set_title("What forgetting costs (whole answer: 0)")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncol=3)
    return figure
