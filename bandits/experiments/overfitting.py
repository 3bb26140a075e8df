"""When does DPO over-fit?  Sure preferences (Section 5, Azar 2023, arXiv:2310.12036) and Ford's condition.

Left: two arms, p(a beats b) = p, uniform reference.  DPO ends at odds (p / (1 - p))^(1/beta), so that p
= 1 sends pi(a) to 1 whatever beta: the KL term is ignored.  IPO ends at odds exp((p - 1/2) / beta),
which for p = 1 is pi(a) = sigma(1 / (2 beta)): beta still holds  (T4.4, T5.3).

Right: five arms, N comparisons of random pairs with Bradley-Terry labels.  DPO's loss has a minimiser
only if "i beat j at least once" is strongly connected (Ford 1957); IPO's needs only a connected graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from bandits.algorithms import DPO, IPO
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.examples import two_arms
from bandits.experiments.record import Claim
from bandits.fixed_point import fixed_point
from bandits.plots import style
from bandits.sampling.rules import Offline
from bandits.solution import NoFixedPoint

BETAS = (0.25, 1.0, 4.0)
REWARD = np.array([2.0, 1.0, 0.5, 0.0, -1.0])
DATA_SETS = 2000


@dataclass(frozen=True)
class Result:
    """Exact ends for two arms, and how often a random data set has an end at all."""

    betas: Floats  # (betas,)
    p: Floats  # (p,)
    dpo: Floats  # (betas, p)   pi(a)
    ipo: Floats  # (betas, p)   pi(a)
    dpo_at_one: Floats  # (betas,)  limit policy's pi(a) for p = 1
    ipo_at_one: Floats  # (betas,)
    reward: Floats  # (5,)
    comparisons: Floats  # (sizes,)
    exists_dpo: Floats  # (sizes,)  share of data sets
    exists_ipo: Floats  # (sizes,)


def run(progress: bool = False) -> Result:
    """Solve exactly on the left; count data sets that satisfy the two conditions on the right."""
    p = np.linspace(0.5, 0.999, 100)
    worlds, law = [_preferred(q) for q in p], Offline([0.5, 0.5])
    ends = {
        kind: np.array([[fixed_point(kind(beta=b), w, law).policy[0] for w in worlds] for b in BETAS])
        for kind in (DPO, IPO)
    }
    sizes = np.array([4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256])
    rng = np.random.default_rng(7)
    shares = np.array([_share_with_an_end(n, rng) for n in sizes])
    return Result(
        betas=np.array(BETAS),
        p=p,
        dpo=ends[DPO],
        ipo=ends[IPO],
        dpo_at_one=np.array([_limit(DPO(beta=b)) for b in BETAS]),
        ipo_at_one=np.array([fixed_point(IPO(beta=b), two_arms(), law).policy[0] for b in BETAS]),
        reward=REWARD,
        comparisons=sizes.astype(float),
        exists_dpo=shares[:, 0],
        exists_ipo=shares[:, 1],
    )


def claims(result: Result) -> list[Claim]:
    """T4.4's two arms, and that Ford's condition is the stricter one."""
    rows = []
    for i, beta in enumerate(result.betas):
        rows += [
            Claim(f"β = {beta:g}, p = 1: DPO's limit π(a)", result.dpo_at_one[i], 1.0, 1e-12),
            Claim(
                f"β = {beta:g}, p = 1: IPO's π(a) = σ(1/2β)",
                result.ipo_at_one[i],
                float(expit(0.5 / beta)),
                1e-12,
            ),
        ]
    worst = (result.exists_dpo - result.exists_ipo).max()
    return [*rows, Claim("DPO has an end more often than IPO (largest excess)", worst, 0.0, 0.0)]


def draw(result: Result) -> Figure:
    """Left: pi(a) against p.  Right: share of data sets with a minimiser."""
    with style.house_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.9))
        for i, (beta, line) in enumerate(zip(result.betas, ("-", (0, (5, 2)), (0, (1, 1.5))), strict=True)):
            for name, inside, at_one in (
                ("DPO", result.dpo[i], result.dpo_at_one[i]),
                ("IPO", result.ipo[i], result.ipo_at_one[i]),
            ):
                curve, color = np.append(inside, at_one), style.COLORS[name]
                p = np.append(result.p, 1.0)
                left.plot(p, curve, color=color, linestyle=line, label=f"{name}, β = {beta:g}")
        for column, color in (
            (result.dpo_at_one, style.COLORS["DPO"]),
            (result.ipo_at_one, style.COLORS["IPO"]),
        ):
            left.plot(np.ones_like(column), column, "o", color=color, clip_on=False, zorder=5)
        left.set_xlabel("p(a beats b)")
        left.set_ylabel("π(a) at the fixed point")
        left.set_title("A sure preference: DPO forgets β, IPO does not")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=6)
        left.set_ylim(0.48, 1.02)
        for share, name in ((result.exists_ipo, "IPO"), (result.exists_dpo, "DPO")):
            right.semilogx(
                result.comparisons, share, "o-", color=style.COLORS[name], markersize=4, label=name
            )
        right.set_xlabel("comparisons in the data set (5 arms)")
        right.set_ylabel("share of data sets with a minimiser")
        right.set_title("Small data: DPO's loss has no minimiser")
        right.legend(loc="center right")
    return figure


def _preferred(p: float) -> Bandit:
    return Bandit(preference=[[0.5, p], [1 - p, 0.5]])


def _limit(algorithm: DPO) -> float:
    """pi(a) of the limit policy that comes with the refusal, for p = 1."""
    try:
        solution = fixed_point(algorithm, two_arms(), Offline([0.5, 0.5]))
    except NoFixedPoint as refusal:
        solution = refusal.solution
    return float(solution.policy[0])


def _share_with_an_end(comparisons: int, rng: np.random.Generator) -> tuple[float, float]:
    """Share of random data sets on which DPO (strongly connected) and IPO (connected) have a minimiser."""
    arms = len(REWARD)
    strong = weak = 0
    for _ in range(DATA_SETS):
        first = rng.integers(arms, size=comparisons)
        second = (first + rng.integers(1, arms, size=comparisons)) % arms
        won = rng.random(comparisons) < expit(REWARD[first] - REWARD[second])
        edges = (np.where(won, first, second), np.where(won, second, first))
        beaten = sparse.csr_array((np.ones(comparisons), edges), shape=(arms, arms))
        strong += connected_components(beaten, connection="strong")[0] == 1
        weak += connected_components(beaten, connection="weak")[0] == 1
    return strong / DATA_SETS, weak / DATA_SETS
