"""Iterated DPO: what does it matter whether the reference stays or moves?

Each round K answers of the policy are ranked, best against worst is a pair (T9.2), and DPO is trained on the
law of these pairs to its end; then again, its reference the first one or the last round's policy (T9.7).

left     labels drawn by Bradley-Terry: pi* after one round for ever, or pi* of beta / T after T, for any K
right    the best has always won, as published, labels smoothed by eps: only the order counts.  A fixed
         reference settles, near ((1 - eps)/eps)^(1/beta) for the odds of the best; a moving one gains these
         odds a round

Crosses: the same by all A^K groups one at a time, and plain descent on the likelihood.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.special import expit, log_softmax

from bandits.algorithms import DPO
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics.rounds import iterated
from bandits.experiments.record import Claim
from bandits.plots import style
from bandits.sampling.rules import Pairs
from bandits.selection import best_versus_worst

REWARD, REFERENCE = np.array([1.0, 0.6, 0.2, 0.0]), np.array([0.4, 0.1, 0.2, 0.3])
BETA, SMOOTHING, ROUNDS, GROUPS = 0.5, 0.1, 5, (2, 4, 8)
DRAWN = Bandit(REWARD, reference=REFERENCE)
SURE = Bandit(REWARD, preference=np.heaviside(REWARD[:, None] - REWARD, 0.5), reference=REFERENCE)
CHECKED = 4  # K by hand: 256 groups
STEPS, STEP = 4000, 4.0


@dataclass(frozen=True)
class Result:
    """Log-odds of the best arm against all others, round after round, (rounds + 1,)."""

    beta: float
    smoothing: float
    drawn: dict[str, Floats]  # "fixed", "moving"
    sure: dict[str, Floats]  # "fixed, K = 2", ...
    by_hand: dict[str, Floats]  # "fixed", "moving": K = 4, labels sure


def run(
    progress: bool = False, *, beta: float = BETA, smoothing: float = SMOOTHING, rounds: int = ROUNDS
) -> Result:
    """Every round by its closed form; nothing is sampled.

    Args:
        beta: DPO's.
        smoothing: eps, of the labels on the right.
        rounds: of sampling, ranking and training.
    """
    kinds = {"fixed": False, "moving": True}
    drawn = {
        kind: _log_odds(_rounds(DPO(beta), DRAWN, CHECKED, moving, rounds)) for kind, moving in kinds.items()
    }
    sure = {
        f"{kind}, K = {K}": _log_odds(_rounds(DPO(beta, smoothing), SURE, K, moving, rounds))
        for kind, moving in kinds.items()
        for K in GROUPS
    }
    hand = {kind: _log_odds(_by_hand(beta, smoothing, rounds, moving)) for kind, moving in kinds.items()}
    return Result(beta, smoothing, drawn, sure, hand)


def _rounds(algorithm: DPO, world: Bandit, K: int, moving: bool, rounds: int) -> Floats:
    def pairs(policy: Floats) -> Pairs:
        return Pairs(best_versus_worst(REWARD, policy, K))

    return np.log(iterated(algorithm, world, pairs, rounds, moving=moving))


def _log_odds(log_policy: Floats) -> Floats:
    return log_policy[:, 0] - np.logaddexp.reduce(log_policy[:, 1:], axis=1)


def _by_hand(beta: float, smoothing: float, rounds: int, moving: bool) -> Floats:
    """log pi of each round, from every group of answers and descent on the likelihood."""
    groups = np.array(list(itertools.product(range(4), repeat=CHECKED)))
    log_policy = [np.log(REFERENCE)]
    for _ in range(rounds):
        joint = np.zeros((4, 4))
        weight = np.exp(log_policy[-1][groups].sum(axis=1))
        np.add.at(joint, (groups.min(axis=1), groups.max(axis=1)), weight)  # arms are in order of reward
        wins = (1 - smoothing) * joint + smoothing * joint.T
        np.fill_diagonal(wins, 0)
        scale, x = wins.sum(axis=1) + wins.sum(axis=0), np.zeros(4)
        for _ in range(STEPS):
            flow = wins * expit(x - x[:, None])
            x = x + STEP / 2 * (flow.sum(axis=1) - flow.sum(axis=0)) / scale
        log_policy.append(log_softmax(log_policy[-1 if moving else 0] + x / beta))
    return np.stack(log_policy)


def claims(result: Result) -> list[Claim]:
    """T9.7's laws, and the second program."""
    gain = np.log((1 - SMOOTHING) / SMOOTHING) / BETA
    odds = np.log(REFERENCE[0] / (1 - REFERENCE[0]))
    best = [_log_odds(np.log(DRAWN.optimal_policy(BETA / T))[None])[0] for T in range(1, ROUNDS + 1)]
    moved = np.abs(result.drawn["moving"][1:] - best).max()
    stayed = np.abs(result.drawn["fixed"][1:] - best[0]).max()
    far = max(np.abs(result.sure[f"{kind}, K = {CHECKED}"] - x).max() for kind, x in result.by_hand.items())
    settled, late = result.sure["fixed, K = 8"][-1], np.diff(result.sure["moving, K = 8"])[-1]
    return [
        Claim("drawn labels, moving: distance from the optimum of β/T, in log-odds", moved, 0, 1e-9),
        Claim("drawn labels, fixed: distance from the optimum of β", stayed, 0, 1e-9),
        Claim("sure labels, fixed, K = 8: log-odds of the best arm", settled, odds + gain, 1e-6),
        Claim("sure labels, moving, K = 8: gain of the last round", late, gain, 1e-4),
        Claim("every group by hand: largest distance", far, 0, 1e-3),
    ]


def draw(result: Result) -> Figure:
    """Log-odds of the best arm against the round, a panel for each kind of label."""
    rounds = np.arange(len(result.drawn["fixed"]))
    with style.house_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.9))
        for kind, color, marker in (("fixed", style.BLUE, "o"), ("moving", style.RED, "s")):
            look = {"color": color, "marker": marker, "markersize": 4}
            left.plot(rounds, result.drawn[kind], label=f"{kind} reference", **look)
            for K, line in zip(GROUPS, ("-", style.DASHED, style.DOTTED), strict=True):
                x = result.sure[f"{kind}, K = {K}"]
                right.plot(rounds, x, linestyle=line, label=f"{kind}, K = {K}", **look)
            marks = right.plot(rounds, result.by_hand[kind], "x", color=style.BLACK, markersize=6, zorder=4)
        marks[0].set_label("K = 4, every group by hand")
        left.set_title("labels drawn by Bradley–Terry, any K", loc="center")
        right.set_title("the best has won, labels smoothed", loc="center")
        left.set_ylabel("log-odds of the best answer (nats)")
        for axes in (left, right):
            axes.set_xlabel("rounds")
            axes.legend(loc="upper left")
        figure.suptitle(
            "Iterated DPO settles with a fixed reference, and walks off with a moving one",
            weight="bold",
            size=10,
        )
    return figure
