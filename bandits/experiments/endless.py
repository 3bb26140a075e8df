"""What does a mask without the end train?  Answers that do not stop where they should  (T10.1).

A trainer that cuts the end-of-sequence token off its mask never sees whether an answer ended: log pi(y)
becomes the sum over its words alone. Ends are then what is left over: where words need more probability
than there is, the end behind them dies. Here nobody ends an answer at once any more, which pi* does often
since it is well rewarded: logits run away (`NotConverged`), slowly, to the limit that is drawn. With the
end in the mask CoPG and DPO stop at pi*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bandits.algorithms import DPO, CoPG
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.experiments.record import Claim
from bandits.plots import style
from bandits.samples import Algorithm
from bandits.sampling.rules import Offline
from bandits.sequences import TokenTable, table_fixed_point, table_flow
from bandits.solution import NotConverged

BETA, LAST = 0.5, 1e4
OPTIMAL_AT_ONCE = 0.2185  # by enumeration: ref exp(r / beta) / Z
ALGORITHMS: dict[str, type[CoPG | DPO]] = {"CoPG": CoPG, "DPO": DPO}


@dataclass(frozen=True)
class Result:
    """Exact flows of a table with a row for every prefix."""

    beta: float
    times: Floats  # (n,)
    length: dict[str, dict[str, Floats]]  # mask -> algorithm -> (n,) mean length
    at_once: dict[str, dict[str, Floats]]  # mask -> algorithm -> (n,) P(the answer is the end alone)
    limit: dict[str, Floats]  # (2,)  length and P(at once) where the mask without the end leads
    optimum: Floats  # (2,)  pi*'s
    reference: Floats  # (2,)


def world(seed: int = 4) -> tuple[TokenTable, Bandit, Floats]:
    """Two words and an end, at most three tokens; rewards fall with the length, but for noise."""
    rng = np.random.default_rng(seed)
    table = TokenTable(np.log([0.35, 0.25, 0.4]), length=3, end=2)
    reward = 0.5 * rng.normal(size=len(table.sequences)) - 0.3 * table.lengths
    mu = np.exp(0.4 * rng.normal(size=len(reward)))
    return table, table.bandit(reward), mu / mu.sum()


def run(progress: bool = False, *, beta: float = BETA, seed: int = 4) -> Result:
    """Two flows with the end in the mask, two without.

    Args:
        beta: strength of the KL to the reference.
        seed: of the world's rewards, and of who sampled.
    """
    table, bandit, mu = world(seed)
    times = np.concatenate([[0.0], np.geomspace(0.1, LAST, 40)])
    trained = {name: each(beta) for name, each in ALGORITHMS.items()}
    masks = {"with the end": table.mask, "without the end": table.mask_without_end}
    seen = np.column_stack([table.lengths, table.lengths == 1])
    paths = {
        which: {
            name: np.exp(table.log_prob(table_flow(each, table, bandit, Offline(mu), times, mask=mask)))
            for name, each in trained.items()
        }
        for which, mask in masks.items()
    }
    return Result(
        beta=beta,
        times=times,
        length={which: {name: path @ seen[:, 0] for name, path in of.items()} for which, of in paths.items()},
        at_once={
            which: {name: path @ seen[:, 1] for name, path in of.items()} for which, of in paths.items()
        },
        limit={name: _limit(each, table, bandit, mu) @ seen for name, each in trained.items()},
        optimum=bandit.optimal_policy(beta) @ seen,
        reference=bandit.reference @ seen,
    )


def _limit(algorithm: Algorithm, table: TokenTable, bandit: Bandit, mu: Floats) -> Floats:
    """Where the logits run away to, (A,)."""
    try:
        return table_fixed_point(algorithm, table, bandit, Offline(mu), mask=table.mask_without_end).policy
    except NotConverged as error:
        if error.reason != "runs away":
            raise
        return error.solution.policy


def claims(result: Result) -> list[Claim]:
    """With the end in the mask both arrive at pi*; without it no answer ends at once."""
    found = []
    for name in ALGORITHMS:
        seen = result.length["with the end"][name][-1] - result.optimum[0]
        found += [
            Claim(f"{name}, end in the mask: last mean length less pi*'s", float(seen), 0.0, 1e-3),
            Claim(
                f"{name}, end cut off: P(end at once) in the limit", float(result.limit[name][1]), 0.0, 1e-4
            ),
            Claim(
                f"{name}, end cut off: mean length in the limit", float(result.limit[name][0]), 2.616, 2e-3
            ),
        ]
    return [*found, Claim("pi*: P(end at once)", float(result.optimum[1]), OPTIMAL_AT_ONCE, 5e-4)]


def draw(result: Result) -> Figure:
    """Mean length and P(end at once) along the flow, with their limits."""
    with style.house_style():
        figure, panels = plt.subplots(1, 2, figsize=(9.2, 3.8))
        for axes, curves, column in zip(panels, (result.length, result.at_once), (0, 1), strict=True):
            for which, line in (("with the end", "-"), ("without the end", style.DASHED)):
                for start, (name, marker) in enumerate((("CoPG", "o"), ("DPO", "s"))):
                    look: dict[str, Any] = {"color": style.COLORS[name], "linestyle": line, "marker": marker}
                    look |= {"markersize": 4, "markevery": (3 * start, 6), "label": f"{name}, mask {which}"}
                    axes.semilogx(result.times[1:], curves[which][name][1:], **look)
            axes.axhline(result.optimum[column], color=style.BLACK, linestyle=style.DOTTED, label="π*")
            axes.axhline(
                result.limit["CoPG"][column],
                color=style.RED,
                linestyle=style.DASH_DOT,
                linewidth=1,
                label="limit without the end",
            )
            axes.set_xlabel("time of the gradient flow")
        panels[0].set_ylabel("mean length, tokens")
        panels[0].set_title("Without the end in the mask, answers grow")
        panels[1].set_ylabel("P(the answer ends at once)")
        panels[1].set_title("Ending is forgotten")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncol=3)
    return figure
