"""How far should a fitted proxy be followed?  Goodhart's law: the exact gold win rate against the exact KL.

A proxy is what is optimised in place of the truth, the gold standard.  Forty worlds of 50 answers, each with
N comparisons of pairs from the reference: what the reference seldom says is mostly worse (its reward has the
correlation .7 with log ref) and seldom compared.  A proxy is fitted to the comparisons, and 1/beta swept: pi
= ref exp(proxy / beta)/Z at each KL to the reference.

    P^         share of games won, over the reference: IPO's tilt of the fitted preferences  (T4.1, T9.9)
    r^         Bradley-Terry's fit with a ridge: DPO's tilt  (T5.2)
    r^ - Gamma the same less its uncertainty: pessimism  (T9.8)

Only the comparisons are drawn; win rates and KLs are exact sums.  Left: both proxies turn down, what r^
itself believes goes on rising.  Right: what pessimism adds four nats from the reference, in the same worlds:
much under a ridge that is too small, little under the rewards' own prior, ridge = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.estimation import draw_wins, fitted_preference, fitted_reward, uncertainty
from bandits.experiments.paired import mean_interval
from bandits.experiments.record import Claim
from bandits.plots import curves, style
from bandits.policy import normalised

ARMS, WORLDS, CORRELATION = 50, 40, 0.7
COMPARISONS, SIZES = 200, (50, 100, 200, 400, 800)
RIDGES, WIDTH = (0.1, 1.0), 2.0  # the width of about one standard deviation near a tie
NEAR, FAR = 1.2, 4.0  # nats: the fall is counted from the one to the end, gains at the other
LOOKS = {
    "gold standard": (style.BLACK, style.SOLID),
    "pessimism, r̂ − Γ": (style.GREEN, style.DASHED),
    "fitted preferences, P̂": (style.ORANGE, style.DASH_DOT),
    "fitted reward, r̂": (style.BLUE, style.LONG_SHORT),
    "r̂, as r̂ sees it": (style.BLUE, style.DOTTED),
}


@dataclass(frozen=True)
class Result:
    """Lower end, mean and upper end of 95 % intervals over the worlds."""

    kl: Floats  # (distances,)  nats
    win_rate: dict[str, Floats]  # (3, distances)  over the reference, ridge = .1
    fall: dict[str, Floats]  # (3,)  from 1.2 nats to 6
    sizes: Floats  # (sizes,)  N
    gain: dict[str, Floats]  # (3, sizes)  of pessimism four nats away, by the ridge
    believed_falls: float  # largest fall of what r^ believes, over worlds and distances


def run(
    progress: bool = False,
    *,
    worlds: int = WORLDS,
    comparisons: int = COMPARISONS,
    correlation: float = CORRELATION,
    width: float = WIDTH,
) -> Result:
    """Draw the worlds and their comparisons; everything else is exact.

    Args:
        worlds: over which is averaged.
        comparisons: N, left.
        correlation: of the reward with the logarithm of the reference.
        width: of pessimism, in standard deviations of the fit.
    """
    distances = np.linspace(0.0, 6.0, 31)
    each: dict[str, list[Floats]] = {name: [] for name in LOOKS}
    gains: dict[str, list[list[float]]] = {f"ridge = {ridge:g}": [] for ridge in RIDGES}
    for seed in range(worlds):
        world, rng = _world(seed, correlation)
        for name, found in _curves(world, rng, distances, comparisons, width).items():
            each[name].append(found)
        for ridge, name in zip(RIDGES, gains, strict=True):
            gains[name].append([_gain(world, rng, size, ridge, width) for size in SIZES])
    rates = {name: np.array(found) for name, found in each.items()}
    near = int(np.argmin(np.abs(distances - NEAR)))
    return Result(
        kl=distances,
        win_rate={name: mean_interval(found) for name, found in rates.items()},
        fall={name: mean_interval(found[:, near] - found[:, -1]) for name, found in rates.items()},
        sizes=np.array(SIZES, float),
        gain={name: mean_interval(np.array(found)) for name, found in gains.items()},
        believed_falls=float(np.maximum(-np.diff(rates["r̂, as r̂ sees it"], axis=1), 0).max()),
    )


def _world(seed: int, correlation: float) -> tuple[Bandit, np.random.Generator]:
    """A reference of log-normal probabilities that is mostly right, and its source of comparisons."""
    rng = np.random.default_rng([seed, 1405])
    habit, other = rng.normal(size=(2, ARMS))
    reference = np.exp(2 * habit)
    reward = correlation * habit + np.sqrt(1 - correlation**2) * other
    return Bandit(reward, reference=reference / reference.sum()), rng


def _curves(
    world: Bandit, rng: np.random.Generator, distances: Floats, comparisons: int, width: float
) -> dict[str, Floats]:
    ref = world.reference
    wins = draw_wins(world, ref, ref, comparisons, rng)
    reward, gold = fitted_reward(wins, RIDGES[0]), world.preference_over(ref)
    spread = uncertainty(np.eye(ARMS), ref, wins, RIDGES[0])
    scores = (gold, reward - width * spread, fitted_preference(wins) @ ref, reward)
    policies = [at_distance(world.log_reference, score, distances) for score in scores]
    believed = Bandit(reward, reference=ref).preference_over(ref)
    return dict(zip(LOOKS, [*(policy @ gold for policy in policies), policies[-1] @ believed], strict=True))


def _gain(world: Bandit, rng: np.random.Generator, size: int, ridge: float, width: float) -> float:
    """Gold win rate of r^ - Gamma less that of r^, on the same comparisons, at the same distance."""
    ref = world.reference
    wins = draw_wins(world, ref, ref, size, rng)
    reward, spread = fitted_reward(wins, ridge), uncertainty(np.eye(ARMS), ref, wins, ridge)
    far, gold = np.array([FAR]), world.preference_over(ref)
    plain, careful = (at_distance(world.log_reference, s, far)[0] for s in (reward, reward - width * spread))
    return float((careful - plain) @ gold)


def at_distance(log_reference: Floats, score: Floats, distances: Floats) -> Floats:
    """ref exp(score / beta)/Z with these KLs to the reference, (distances, A); one arm beyond its own.

    The KL rises with 1/beta: halved 50 times between e^-12 and e^12.
    """
    low, high = np.full(len(distances), -12.0), np.full(len(distances), 12.0)
    for _ in range(50):
        middle = (low + high) / 2
        log_policy = normalised(log_reference + np.exp(middle)[:, None] * (score - score.max()))
        near = (np.exp(log_policy) * (log_policy - log_reference)).sum(axis=-1) < distances
        low, high = np.where(near, middle, low), np.where(near, high, middle)
    return np.exp(log_policy)


def claims(result: Result) -> list[Claim]:
    """Who turns down, who does not, and where pessimism helps for sure."""
    rows = []
    for name in ("fitted reward, r̂", "fitted preferences, P̂"):
        best = float(result.kl[result.win_rate[name][1].argmax()])
        rows.append(Claim(f"{name}: KL of the best mean win rate, nats", best, 1.2, 0.5))
        sure = float(result.fall[name][0] > 0)
        rows.append(Claim(f"{name}: the fall from 1.2 nats to 6 is sure", sure, 1.0, 0.0))
    falls = np.maximum(-np.diff(result.win_rate["gold standard"][1]), 0).max()
    rows.append(Claim("gold standard: largest fall between two distances", falls, 0.0, 1e-9))
    rows.append(Claim("what r̂ believes falls nowhere", result.believed_falls, 0.0, 1e-9))
    loose, prior = result.gain.values()
    rows.append(
        Claim("ridge = .1: share of N where pessimism's gain is sure", (loose[0] > 0).mean(), 1.0, 0.0)
    )
    rows.append(Claim("ridge = 1: largest mean gain", prior[1].max(), 0.02, 0.02))
    return rows


def draw(result: Result) -> Figure:
    """Win rates against KL with their intervals; what pessimism adds, against N."""
    with style.house_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 4.1), width_ratios=(1.5, 1))
        for name, (color, line) in LOOKS.items():
            low, mean, high = result.win_rate[name]
            left.plot(result.kl, mean, color=color, linestyle=line, label=name)
            curves.band(left, result.kl, low, high, color=color)
        left.set(xlabel="KL(π‖ref)  [nats]", ylabel="P(π beats ref), mean and 95 % interval")
        left.set_title("Goodhart: the proxy rises on, its policy turns")
        looks = zip(result.gain.items(), (style.GREEN, style.PURPLE), ("o", "s"), strict=True)
        for (name, (low, mean, high)), color, marker in looks:
            error = [mean - low, high - mean]
            right.errorbar(result.sizes, mean, error, color=color, marker=marker, capsize=3, label=name)
        right.axhline(0, color=style.BLACK, linewidth=0.8)
        right.set_xscale("log")
        right.set_xticks(result.sizes, [f"{size:g}" for size in result.sizes])
        right.minorticks_off()
        right.set(xlabel="comparisons N", ylabel="win rate gained at 4 nats, r̂ − Γ less r̂")
        right.set_title("Pessimism mends a loose fit")
        right.legend(loc="upper right")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure
