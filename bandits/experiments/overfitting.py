"""When does DPO over-fit?  Sure preferences (Section 5, Azar 2023, arXiv:2310.12036) and Ford's condition.

Left: two arms, p(a beats b) = p, uniform reference.  DPO ends at odds (p / (1 - p))^(1/beta), so that p
= 1 sends pi(a) to 1 whatever beta: the KL term is ignored.  IPO ends at odds exp((p - 1/2) / beta),
which for p = 1 is pi(a) = sigma(1 / (2 beta)): beta still holds  (T4.4, T5.3).

Right: five arms, N comparisons of random pairs with Bradley-Terry labels.  Draw an arrow from i to j if i
ever beat j.  DPO's loss has a minimiser only if the arrows lead from every arm to every other (the graph is
strongly connected: Ford's condition, 1957); for IPO's a connected graph is enough, whichever way arrows
point.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
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
REWARD = (2.0, 1.0, 0.5, 0.0, -1.0)
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


def run(
    progress: bool = False,
    *,
    betas: tuple[float, ...] = BETAS,
    reward: tuple[float, ...] = REWARD,
    data_sets: int = DATA_SETS,
) -> Result:
    """Solve exactly on the left; count data sets that satisfy the two conditions on the right.

    Args:
        betas: of both algorithms, left.
        reward: of the arms that are compared, right.
        data_sets: that are drawn of each size, right.
    """
    p = np.linspace(0.5, 0.999, 100)
    worlds, law = _preferred(p), Offline([0.5, 0.5])
    ends = {
        kind: np.array([fixed_point(kind(beta=b), worlds, law).policy[:, 0] for b in betas])
        for kind in (DPO, IPO)
    }
    sizes = np.array([4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256])
    rng = np.random.default_rng(7)
    shares = np.array([_share_with_an_end(np.array(reward), n, data_sets, rng) for n in sizes])
    return Result(
        betas=np.array(betas),
        p=p,
        dpo=ends[DPO],
        ipo=ends[IPO],
        dpo_at_one=np.array([_limit(DPO(beta=b)) for b in betas]),
        ipo_at_one=np.array([fixed_point(IPO(beta=b), two_arms(), law).policy[0] for b in betas]),
        reward=np.array(reward),
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
    lines = cycle((style.SOLID, style.DASHED, style.DOTTED))
    looks: dict[str, dict[str, Any]] = {
        "DPO": {"color": style.COLORS["DPO"], "marker": "o", "markersize": 4},
        "IPO": {"color": style.COLORS["IPO"], "marker": "s", "markersize": 4},
    }
    with style.house_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.9))
        p = np.append(result.p, 1.0)
        every = {"markevery": [20, 60, len(result.p)], "clip_on": False}
        for i, (beta, line) in enumerate(zip(result.betas, lines, strict=False)):
            for name, inside, at_one in (
                ("DPO", result.dpo[i], result.dpo_at_one[i]),
                ("IPO", result.ipo[i], result.ipo_at_one[i]),
            ):
                look = {"linestyle": line, "label": f"{name}, β = {beta:g}", **every, **looks[name]}
                left.plot(p, np.append(inside, at_one), **look)
        left.set_xlabel("p(a beats b)")
        left.set_ylabel("π(a) at the fixed point")
        left.set_title("A sure preference: DPO forgets β, IPO does not")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=6)
        left.set_ylim(0.48, 1.02)
        for share, name in ((result.exists_ipo, "IPO"), (result.exists_dpo, "DPO")):
            right.semilogx(result.comparisons, share, label=name, **looks[name])
        right.set_xlabel(f"comparisons in the data set ({len(result.reward)} arms)")
        right.set_ylabel("share of data sets with a minimiser")
        right.set_title("Small data: DPO's loss has no minimiser")
        right.legend(loc="center right")
    return figure


def _preferred(p: Floats) -> Bandit:
    """Two arms, the first preferred with probability p: a context for each."""
    half = np.full_like(p, 0.5)
    return Bandit(preference=np.stack([half, p, 1 - p, half], axis=-1).reshape(-1, 2, 2))


def _limit(algorithm: DPO) -> float:
    """pi(a) of the limit policy that comes with the refusal, for p = 1."""
    try:
        solution = fixed_point(algorithm, two_arms(), Offline([0.5, 0.5]))
    except NoFixedPoint as refusal:
        solution = refusal.solution
    return float(solution.policy[0])


def _share_with_an_end(
    reward: Floats, comparisons: int, data_sets: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Share of random data sets on which DPO (strongly connected) and IPO (connected) have a minimiser."""
    arms = len(reward)
    beaten = np.zeros((data_sets, arms, arms), dtype=bool)
    for i in range(data_sets):
        first = rng.integers(arms, size=comparisons)
        second = (first + rng.integers(1, arms, size=comparisons)) % arms
        won = rng.random(comparisons) < expit(reward[first] - reward[second])
        beaten[i, np.where(won, first, second), np.where(won, second, first)] = True
    return _connected(beaten), _connected(beaten | np.swapaxes(beaten, 1, 2))


def _connected(edges: NDArray[np.bool_]) -> float:
    """Share of graphs, (n, A, A), with a path from every arm to every arm."""
    reached = edges | np.eye(edges.shape[-1], dtype=bool)
    for _ in range(edges.shape[-1].bit_length()):  # paths of twice the length
        reached = reached @ reached
    return float(reached.all(axis=(1, 2)).mean())
