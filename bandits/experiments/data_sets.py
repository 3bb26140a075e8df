"""What do three labelled pairs teach?  IPO's data sets (Section 5.4, Azar 2023, arXiv:2310.12036).

Softmax of three logits, uniform reference, Adam with step .01, 18 000 steps, batches of 9 pairs drawn with
replacement, 10 seeds.  D1 = {a > b, b > c, a > c} is a total order: DPO ends at a alone for every beta, IPO
keeps what beta says.  D3 is printed as {a > b, b > a}, which says nothing of c: both methods leave pi(c)
at 1/3, so it cannot show what the paper's figure shows.  {a > b, b > c} and {a > b, b > a, a > c} can.  The
beta of the paper's figures are not in the text; long dashes are the exact optima  (T4.3, T4.5, T5.3).
In titles ab is short for "a was preferred to b"; bands reach from the lowest to the highest seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandits.algorithms import DPO, IPO
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.experiments.record import Claim
from bandits.fixed_point import fixed_point
from bandits.plots import curves, style
from bandits.samples import Algorithm
from bandits.sampling.rules import Dataset
from bandits.simulation.optimizers import Adam
from bandits.simulation.simulate import simulate
from bandits.solution import NoFixedPoint

STEPS, BATCH, STEP, SEEDS, EVERY = 18_000, 9, 0.01, 10, 200
Pairs = tuple[tuple[int, int], ...]  # winner, loser
D1: Pairs = ((0, 1), (1, 2), (0, 2))
D3: dict[str, Pairs] = {
    "D3 as printed {ab, ba}": ((0, 1), (1, 0)),
    "D3 read as {ab, bc}": ((0, 1), (1, 2)),
    "D3 read as {ab, ba, ac}": ((0, 1), (1, 0), (0, 2)),
}
BETAS, BETA = (0.1, 0.5, 1.0), 0.5
WORLD = Bandit(preference=np.full((3, 3), 0.5))  # never consulted: the labels are the data's
LOOKS = (
    (style.BLUE, style.SOLID),
    (style.ORANGE, style.DASHED),
    (style.GREY, style.DOTTED),
)  # of the actions
NO_LIMIT = np.full(3, -1.0)  # drawn nowhere


@dataclass(frozen=True)
class Result:
    """Action probabilities along training, by panel, and where they end."""

    steps: Floats  # (records,)
    ipo: dict[str, Floats]  # (3, records, 3)  lowest, mean and highest over the seeds, of three actions
    dpo: dict[str, Floats]  # (3, records, 3)
    ipo_limit: dict[str, Floats]  # (3,)
    dpo_limit: dict[str, Floats]  # (3,); the limit policy where the loss has no minimiser


def run(
    progress: bool = False,
    *,
    betas: tuple[float, ...] = BETAS,
    beta: float = BETA,
    steps: int = STEPS,
    batch_size: int = BATCH,
    learning_rate: float = STEP,
    seeds: int = SEEDS,
) -> Result:
    """Train IPO and DPO on every panel's data set.

    Args:
        betas: of the panels of D1.
        beta: of the other panels.
        steps: Adam's.
        batch_size: pairs of a step.
        learning_rate: Adam's.
        seeds: trainings of a panel.
    """
    panels = _panels(betas, beta)
    traces = {
        (kind, name): simulate(
            kind(beta=strength),
            WORLD,
            Dataset(pairs),
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            rng=np.random.default_rng(54),
            runs=seeds,
            optimizer=Adam(),
            record=EVERY,
            progress=progress,
        )
        for name, (pairs, strength) in panels.items()
        for kind in (IPO, DPO)
    }
    return Result(
        steps=traces[IPO, next(iter(panels))].steps.astype(float),
        ipo={name: _over_seeds(traces[IPO, name].policies) for name in panels},
        dpo={name: _over_seeds(traces[DPO, name].policies) for name in panels},
        ipo_limit={name: _limit(IPO(beta=strength), pairs) for name, (pairs, strength) in panels.items()},
        dpo_limit={name: _limit(DPO(beta=strength), pairs) for name, (pairs, strength) in panels.items()},
    )


def _panels(betas: tuple[float, ...], beta: float) -> dict[str, tuple[Pairs, float]]:
    """The data set and beta of each panel."""
    return {f"D1, β = {each:g}": (D1, each) for each in betas} | {
        f"{name}, β = {beta:g}": (pairs, beta) for name, pairs in D3.items()
    }


def claims(result: Result) -> list[Claim]:
    """T4.5's exact optima, that training reaches them, and what D3 as printed cannot show."""
    exact = {
        "D1, β = 0.1": (0.964, 0.034, 0.001),
        "D1, β = 0.5": (0.563, 0.289, 0.148),
        "D1, β = 1": (0.448, 0.321, 0.230),
        "D3 read as {ab, bc}, β = 0.5": (0.665, 0.245, 0.090),
        "D3 read as {ab, ba, ac}, β = 0.5": (0.422, 0.422, 0.155),
    }
    rows = []
    for name, expected in exact.items():
        error = np.abs(result.ipo_limit[name] - np.array(expected)).max()
        rows.append(Claim(f"IPO, {name}: exact optimum, largest error", error, 0.0, 6e-4))
    for name, trained in result.ipo.items():
        error = np.abs(trained[1, -1] - result.ipo_limit[name]).max()
        rows.append(Claim(f"IPO, {name}: trained, largest error of the mean", error, 0.0, 0.03))
    printed = "D3 as printed {ab, ba}, β = 0.5"
    for method, policies in (("IPO", result.ipo), ("DPO", result.dpo)):
        moved = np.abs(policies[printed][1, :, 2] - 1 / 3).max()
        rows.append(Claim(f"{method}, D3 as printed: how far the mean π(c) moves", moved, 0.0, 0.02))
    for beta in ("0.1", "0.5", "1"):
        rows.append(
            Claim(f"DPO, D1, β = {beta}: π(a) at the end", result.dpo[f"D1, β = {beta}"][1, -1, 0], 1, 0.02)
        )
    return rows


def draw(result: Result) -> Figure:
    """A panel for each data set and beta; IPO above DPO; one colour an action."""
    orders = [name for name in result.ipo if name.startswith("D1")]
    rows = (orders, [name for name in result.ipo if name not in orders])
    columns = max(map(len, rows))
    with style.house_style():
        figure, panels = plt.subplots(4, columns, figsize=(9.5, 9.5), sharex=True, sharey=True)
        for row, names in enumerate(rows):
            for column, name in enumerate(names):
                _panel(panels[2 * row, column], result, name, "IPO")
                _panel(panels[2 * row + 1, column], result, name, "DPO")
            for axes in panels[2 * row : 2 * row + 2, len(names) :].flat:
                axes.set_axis_off()
        for axes in panels[-1]:
            axes.set_xlabel("Adam step")
            axes.set_xticks(np.linspace(0, result.steps[-1], 4))
        for axes in panels[:, 0]:
            axes.set_ylabel("probability")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        limit = plt.Line2D([], [], color="black", linestyle=curves.LIMIT, linewidth=1.0)
        figure.suptitle(
            "Two or three labelled pairs (ab: a beats b): IPO obeys β, DPO runs to the unbeaten action",
            weight="bold",
            size=11,
        )
        figure.legend([*handles, limit], [*labels, "exact limit"], loc="outside lower center", ncols=4)
    return figure


def _panel(axes: Axes, result: Result, name: str, method: str) -> None:
    policies = (result.ipo if method == "IPO" else result.dpo)[name]
    limit = (result.ipo_limit if method == "IPO" else result.dpo_limit)[name]
    for action, (label, (color, line)) in enumerate(zip("abc", LOOKS, strict=True)):
        low, mean, high = policies[..., action]
        axes.plot(result.steps, mean, color=color, linestyle=line, label=f"π({label})")
        curves.band(axes, result.steps, low, high, color=color)
        curves.exact_limit(axes, float(limit[action]), color=color)
    axes.set_title(f"{method}: {name.replace('D1', 'D1 {ab, bc, ac}')}", fontsize=8.5)
    axes.set_ylim(-0.03, 1.03)


def _over_seeds(policies: Floats) -> Floats:
    return np.stack([policies.min(axis=1), policies.mean(axis=1), policies.max(axis=1)])


def _limit(algorithm: Algorithm, pairs: Pairs) -> Floats:
    """The fixed point, or the limit that comes with the refusal."""
    try:
        return fixed_point(algorithm, WORLD, Dataset(pairs)).policy
    except NoFixedPoint as refusal:
        undetermined = refusal.solution.log_policy is None
        return NO_LIMIT if undetermined else refusal.solution.policy
