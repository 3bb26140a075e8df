"""Is it better to compare answers of one's own?  Online against offline, in theory and with N comparisons.

Offline learns from answers of the reference, online from its own.  Left: exact ends in random worlds of 6
answers, at the same KL to the reference.  Offline IPO beats the reference more often than any other policy
of this KL, online IPO beats offline's: each wins by its own measure  (T9.9). Under Bradley-Terry preferences
the two hardly differ.  Middle: the preferences of T12.14, where the online policy beats the offline one and
is the worse classifier of the reference's pairs, up to beta = .0558.

Right: Bradley-Terry worlds of 6 answers, N comparisons spent in doubling rounds, and what the best policy
for the fit then loses against pi*  (beta = .1, ridge 1, the rewards' own prior; T9.8).  Who is compared:

    offline            two answers of the reference
    hybrid             the policy of the moment with the reference
    online             the policy with itself
    online, explorer   the policy with its explorer, Algorithm 2 of Xiong 2023, arXiv:2312.11456 (width 2)

Source: Tang et al. 2024, arXiv:2405.08448.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.estimation import accuracy, draw_wins, explorer, hybrid_step
from bandits.experiments.goodhart import at_distance
from bandits.experiments.paired import mean_interval
from bandits.experiments.record import Claim
from bandits.plots import curves, style
from bandits.policy import kl

ARMS, WORLDS, FEWER = 6, 60, 30  # fewer where nothing is drawn but the world
BETAS = np.geomspace(0.05, 1.0, 7)
CYCLE = ((0.5, 0.9, 0.2), (0.1, 0.5, 0.8), (0.8, 0.2, 0.5))
BETA, RIDGE, WIDTH = 0.1, 1.0, 2.0
SIZES = (20, 40, 80, 160, 320, 640)
WAYS = {
    "offline": (style.BLUE, "o"),
    "hybrid": (style.ORANGE, "s"),
    "online": (style.GREY, "^"),
    "online, explorer": (style.GREEN, "D"),
}


@dataclass(frozen=True)
class Result:
    """Intervals are lower end, mean and upper end over the worlds, 95 %."""

    betas: Floats  # (n,)
    offline_lead: dict[str, Floats]  # (3, n)  over the reference: offline's win rate less online's
    online_lead: dict[str, Floats]  # (3, n)  online's win rate over offline less 1/2
    least_lead: float  # over all worlds and betas: no lead is negative
    fine_betas: Floats  # (m,)  of the middle panel
    accuracy: dict[str, Floats]  # (m,)
    online_beats_offline: Floats  # (m,)
    sizes: Floats  # (sizes,)  N
    regret: dict[str, Floats]  # (3, sizes)
    ahead: dict[str, Floats]  # (3, sizes)  offline's regret less this way's, world by world


def run(
    progress: bool = False,
    *,
    worlds: int = WORLDS,
    beta: float = BETA,
    ridge: float = RIDGE,
    width: float = WIDTH,
) -> Result:
    """Exact ends on the left and in the middle; only the comparisons on the right are drawn.

    Args:
        worlds: on the right, over which is averaged.
        beta: strength of the KL, on the right.
        ridge: of the fit.
        width: of the explorer, in standard deviations of the fit.
    """
    kinds = ("any", "Bradley–Terry")
    leads = {kind: np.array([_leads(kind, seed) for seed in range(FEWER)]) for kind in kinds}
    fine = np.geomspace(0.04, 1.0, 120)
    world = Bandit(preference=CYCLE, reference=(0.6, 0.3, 0.1))
    ends = {
        "offline": np.array([world.best_response(world.reference, beta) for beta in fine]),
        "online": np.array([world.nash_policy(beta) for beta in fine]),
    }
    spend = partial(_spend, beta=beta, ridge=ridge, width=width)
    each = np.array([[spend(way, seed) for way in WAYS] for seed in range(worlds)])  # (worlds, ways, sizes)
    return Result(
        betas=BETAS,
        offline_lead={kind: mean_interval(found[:, 0]) for kind, found in leads.items()},
        online_lead={kind: mean_interval(found[:, 1]) for kind, found in leads.items()},
        least_lead=float(min(found.min() for found in leads.values())),
        fine_betas=fine,
        accuracy={
            name: np.array([accuracy(np.log(p / world.reference), world, world.reference) for p in policies])
            for name, policies in ends.items()
        },
        online_beats_offline=world.win_rate(ends["online"], ends["offline"]),
        sizes=np.array(SIZES, float),
        regret={way: mean_interval(each[:, i]) for i, way in enumerate(WAYS)},
        ahead={way: mean_interval(each[:, 0] - each[:, i]) for i, way in enumerate(WAYS) if i},
    )


def _leads(kind: str, seed: int) -> Floats:
    """What offline wins more over the reference, and online over offline, at one KL, (2, betas)."""
    rng = np.random.default_rng([seed, 2405])
    reference = rng.dirichlet(np.full(ARMS, 2.0))
    upper = np.triu(rng.random((ARMS, ARMS)), 1)
    matrix = upper + np.tril(1 - upper.T, -1) + np.eye(ARMS) / 2
    world = Bandit(rng.normal(size=ARMS), preference=matrix if kind == "any" else None, reference=reference)
    online = np.array([world.nash_policy(beta) for beta in BETAS])
    over_reference = world.preference_over(reference)
    distances = kl(np.log(online), world.log_reference)
    offline = at_distance(world.log_reference, over_reference, distances)
    duels = world.win_rate(online, offline) - 0.5
    return np.array([(offline - online) @ over_reference, duels])


def _spend(way: str, seed: int, *, beta: float, ridge: float, width: float) -> Floats:
    """The regret of the fit's policy after each round, (sizes,)."""
    rng = np.random.default_rng([seed, 2312])
    reference = np.exp(2 * rng.normal(size=ARMS))
    world = Bandit(rng.normal(size=ARMS), reference=reference / reference.sum())
    wins, main, spent, regret = np.zeros((ARMS, ARMS)), world.reference, 0, []
    for size in SIZES:
        ahead = explorer(main, wins, beta, width=width, ridge=ridge) if way == "online, explorer" else main
        pair = _compared(way, main, ahead, world.reference)
        wins, spent = wins + draw_wins(world, *pair, size - spent, rng), size
        main, _ = hybrid_step(wins, world.reference, beta, ridge=ridge)
        regret.append(float(world.regret(main, beta)))
    return np.array(regret)


def _compared(way: str, main: Floats, ahead: Floats, reference: Floats) -> tuple[Floats, Floats]:
    """Who answers next."""
    if way == "offline":
        return reference, reference
    return main, reference if way == "hybrid" else ahead


def claims(result: Result) -> list[Claim]:
    """Both leads are never negative; T12.14's numbers; who is ahead of offline for sure."""
    switch = float(result.fine_betas[result.accuracy["online"] > 0.5].min())
    at = int(np.argmin(np.abs(result.fine_betas - 0.05)))
    rows = [
        Claim("least lead of offline and of online at one KL", min(result.least_lead, 0.0), 0.0, 1e-10),
        Claim("offline: accuracy, a tie counted half", result.accuracy["offline"].mean(), 0.778, 5e-4),
        Claim("online: accuracy at β = .05", result.accuracy["online"][at], 0.222, 5e-4),
        Claim("online: accuracy at β = 1", result.accuracy["online"][-1], 0.889, 5e-4),
        Claim("online orders the pairs well from β on", switch, 0.0558, 2e-3),
        Claim("online beats offline at β = .05", result.online_beats_offline[at], 0.525, 1e-3),
    ]
    sure = (result.ahead["online, explorer"][0] > 0)[result.sizes >= 80].mean()
    rows.append(Claim("explorer: share of N ≥ 80 where it is surely ahead of offline", sure, 1.0, 0.0))
    stuck = float(result.ahead["online"][2, -1] < 0)
    return [*rows, Claim("online without explorer: surely behind offline at N = 640", stuck, 1.0, 0.0)]


def draw(result: Result) -> Figure:
    """Leads at one KL; accuracy against beta; regret against N."""
    with style.house_style():
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12.0, 4.2))
        for kind, *lines in (
            ("any", style.SOLID, style.DASH_DOT),
            ("Bradley–Terry", style.DASHED, style.DOTTED),
        ):
            leads = (result.offline_lead[kind], result.online_lead[kind])
            names = ("offline beats ref more often", "online beats offline, less ½")
            looks = zip((style.BLUE, style.GREEN), lines, strict=True)
            for name, (color, line), (low, mean, high) in zip(names, looks, leads, strict=True):
                left.plot(result.betas, 100 * mean, color=color, linestyle=line, label=f"{name}: {kind}")
                curves.band(left, result.betas, 100 * low, 100 * high, color=color)
        left.set(xscale="log", xlabel="β of online IPO; offline at the same KL")
        left.set_ylabel("lead  [% of comparisons]")
        left.set_title("Exact, at one KL: each wins its own game")
        left.legend(loc="upper right", title="preferences", alignment="left")
        for name, color, line in (
            ("offline", style.BLUE, style.SOLID),
            ("online", style.GREEN, style.DASH_DOT),
        ):
            label = f"{name}: accuracy (a tie is ½)"
            middle.plot(result.fine_betas, result.accuracy[name], color=color, linestyle=line, label=label)
        beaten = result.online_beats_offline
        name = "P(online beats offline)"
        middle.plot(result.fine_betas, beaten, color=style.BLACK, linestyle=style.DOTTED, label=name)
        middle.set(xscale="log", xlabel="β", ylabel="share of pairs ordered right; win rate", ylim=(0, 1))
        middle.set_title("A better generator, a worse classifier")
        middle.legend(loc="lower right")
        for axes in (left, middle):
            axes.set_xticks([0.05, 0.1, 0.2, 0.5, 1.0], ["0.05", "0.1", "0.2", "0.5", "1"])
            axes.minorticks_off()
        _regrets(right, result)
    return figure


def _regrets(axes: Axes, result: Result) -> None:
    for shift, (way, (color, marker)) in enumerate(WAYS.items()):
        low, mean, high = result.regret[way]
        x = result.sizes * 1.06 ** (shift - 1.5)  # beside each other
        axes.errorbar(x, mean, [mean - low, high - mean], color=color, marker=marker, capsize=3, label=way)
    axes.set_xscale("log")
    axes.set_xticks(result.sizes, [f"{size:g}" for size in result.sizes])
    axes.minorticks_off()
    axes.set(xlabel="comparisons N", ylabel="regret of the fit's policy  [reward]", ylim=(0, None))
    axes.set_title("With data: send an explorer")
    axes.legend(loc="upper right", title="compared: mean, 95 %", alignment="left")
