"""Which divisor, which answer?  GRPO, DAPO and Dr. GRPO where the reward does not speak of length  (T13.12).

An answer is good if its first word is right, whatever its length. On-policy the divisors 1/|y| (GRPO), one
over the tokens of the group (DAPO) and a constant (Dr. GRPO) push tokens of long answers differently,
against the KL loss of each token (k3, see kl_estimators), which is divided too. The mean length of good
answers, and of bad ones, should stay the reference's, as pi*'s does: what lies above or below is the
divisor's doing. Dividing by the length rewards short good answers and spares long bad ones; Dr. GRPO's
constant leaves both lengths exactly alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.experiments.record import Claim
from bandits.plots import style
from bandits.sampling.rules import OnPolicy
from bandits.sequences import TokenGRPO, TokenTable, by_answer, by_constant, by_group, table_fixed_point

BETAS = (0.125, 0.25, 0.5, 1.0, 2.0)
DIVISORS = {"GRPO, 1/|y|": by_answer, "DAPO, 1/Σ|y|": by_group, "Dr. GRPO, constant": by_constant(1.0)}
LOOKS = {
    "GRPO, 1/|y|": (style.BLUE, "-"),
    "DAPO, 1/Σ|y|": (style.ORANGE, style.DASHED),
    "Dr. GRPO, constant": (style.GREEN, style.SQUARES),
}


@dataclass(frozen=True)
class Result:
    """Exact ends of token-wise GRPO in groups of two."""

    betas: Floats  # (n,)
    good: dict[str, Floats]  # (n,)  share of good answers
    good_length: dict[str, Floats]  # (n,)  mean length of the good answers
    bad_length: dict[str, Floats]  # (n,)  of the others
    reference_lengths: Floats  # (2,)  of good and bad answers
    residual: float  # largest update at an end


def world() -> tuple[TokenTable, Bandit, Floats]:
    """Two words and an end; good answers begin with word 0."""
    table = TokenTable(np.log([0.35, 0.25, 0.4]), length=3, end=2)
    good = np.array([float(y[0] == 0) for y in table.sequences])
    return table, table.bandit(good), good


def run(progress: bool = False, *, betas: tuple[float, ...] = BETAS) -> Result:
    """Each divisor's end at each beta, started at the end of the beta before.

    Args:
        betas: strengths of the KL, in rising order.
    """
    table, bandit, good = world()
    policies: dict[str, Floats] = {}
    residual = 0.0
    for name, divisor in DIVISORS.items():
        start, found = None, []
        for beta in betas[::-1]:
            fit = table_fixed_point(TokenGRPO(beta, divisor=divisor), table, bandit, OnPolicy(), start)
            start, residual = fit.logits, max(residual, fit.residual)
            found.append(fit.policy)
        policies[name] = np.array(found[::-1])
    return Result(
        betas=np.array(betas),
        good={name: policy @ good for name, policy in policies.items()},
        good_length={name: _mean_length(policy, table, good) for name, policy in policies.items()},
        bad_length={name: _mean_length(policy, table, 1 - good) for name, policy in policies.items()},
        reference_lengths=np.array(
            [_mean_length(bandit.reference, table, which) for which in (good, 1 - good)]
        ),
        residual=residual,
    )


def _mean_length(policy: Floats, table: TokenTable, among: Floats) -> Floats:
    return (policy @ (among * table.lengths)) / (policy @ among)


def claims(result: Result) -> list[Claim]:
    """Dr. GRPO leaves lengths alone; the others shorten good answers, and GRPO lengthens bad ones."""
    good, bad = result.reference_lengths
    plain = "Dr. GRPO, constant"
    off = max(np.abs(result.good_length[plain] - good).max(), np.abs(result.bad_length[plain] - bad).max())
    found = [
        Claim("largest update at the ends", result.residual, 0.0, 1e-10),
        Claim("Dr. GRPO: lengths of good and of bad answers less the reference's", float(off), 0.0, 1e-9),
    ]
    for name in (name for name in DIVISORS if name != plain):
        shorter = float((result.good_length[name] < good).mean())
        found.append(Claim(f"{name}: share of β where good answers are shorter", shorter, 1.0, 0.0))
    longer = float((result.bad_length["GRPO, 1/|y|"] > bad).mean())
    return [*found, Claim("GRPO, 1/|y|: share of β where bad answers are longer", longer, 1.0, 0.0)]


def draw(result: Result) -> Figure:
    """Share of good answers, and lengths of good and bad ones, against beta."""
    with style.house_style():
        figure, panels = plt.subplots(1, 3, figsize=(11.5, 3.6))
        shown = (result.good, result.good_length, result.bad_length)
        for name in DIVISORS:
            color, line = LOOKS[name]
            for axes, curves in zip(panels, shown, strict=True):
                axes.semilogx(result.betas, curves[name], color=color, linestyle=line, marker="o", label=name)
        for axes, length in zip(panels[1:], result.reference_lengths, strict=True):
            axes.axhline(length, color=style.BLACK, linestyle=style.DOTTED, label="reference = π*")
        names = (
            "P(good answer)",
            "mean length of good answers, tokens",
            "mean length of bad answers, tokens",
        )
        titles = (
            "All learn what is good",
            "Good ones get shorter, but not by Dr. GRPO",
            "GRPO lengthens bad ones",
        )
        for axes, name, title in zip(panels, names, titles, strict=True):
            axes.set(
                xlabel="β",
                ylabel=name,
                xticks=result.betas,
                xticklabels=[f"{beta:g}" for beta in result.betas],
            )
            axes.minorticks_off()
            axes.set_title(title)
        panels[1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncol=2)
    return figure
