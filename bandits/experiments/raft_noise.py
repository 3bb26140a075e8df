"""Which loses more to noise of the rewards, RAFT or RLOO?  Noise of each draw, and errors that stay.

RAFT imitates the best of n samples, RLOO is policy gradient with the other samples' mean as baseline; its
beta is such that without noise it spends the KL of the best of eight.  Noise drawn afresh with every reward
has mean zero, and RLOO's mean update is linear in the rewards: its end stays (dots: trained on noise). The
best of n prefers lucky draws: its law is an integral over the winner's noisy reward (T9.2); three rounds of
the best of two, whose luck is drawn anew, lose a little less than one choice among eight.  An error that
stays with its arm, as a reward model's, moves all ends; over the same 400 errors the ends are exact, and
their differences paired.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import brentq
from scipy.stats import norm

from bandits.algorithms import RLOO
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.experiments.record import Claim
from bandits.plots import style
from bandits.policy import kl, tilt
from bandits.sampling.rules import OnPolicy
from bandits.selection import best_of_n
from bandits.simulation.simulate import simulate

REWARD = np.array([-1.0, -0.4, 0.0, 0.3, 0.8, 1.2, 1.7, 2.2])
REFERENCE = np.array([0.3, 0.25, 0.2, 0.1, 0.08, 0.04, 0.02, 0.01])
NOISE = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0)
ERRORS, RUNS = 400, 40
ONE, THREE, RLOO_ = "best of 8, once", "best of 2, three rounds", "RLOO, the same KL"
LOOKS = {
    ONE: (style.RED, "-", "o"),
    THREE: (style.ORANGE, style.DASHED, "s"),
    RLOO_: (style.BLUE, style.SQUARES, "^"),
}


@dataclass(frozen=True)
class Result:
    """True rewards of the ends."""

    noise: Floats  # (s,)  standard deviation
    beta: float
    fresh: dict[str, Floats]  # (s,)  exact
    trained: Floats  # (s, 2)  RLOO on noisy rewards: mean over the runs, its standard error
    staying: dict[str, Floats]  # (s,)  mean over the errors
    ahead: Floats  # (s, 2)  true reward of RLOO less that of the best of 8: mean, its standard error


def run(
    progress: bool = False, *, noise: tuple[float, ...] = NOISE, errors: int = ERRORS, runs: int = RUNS
) -> Result:
    """Both kinds of noise.

    Args:
        noise: standard deviations, of the noise and of the errors.
        errors: that stay, over which is averaged.
        runs: of RLOO on noisy rewards.
    """
    best, log_ref = best_of_n(REWARD, REFERENCE, 8), np.log(REFERENCE)
    spent = float(kl(np.log(best), log_ref))
    beta = brentq(lambda b: float(kl(tilt(log_ref, REWARD, b), log_ref)) - spent, 0.05, 10, xtol=1e-13)
    optimum = float(np.exp(tilt(log_ref, REWARD, beta)) @ REWARD)
    fresh = {
        ONE: np.array([chosen(REFERENCE, 8, s) @ REWARD for s in noise]),
        THREE: np.array([rounds(s) @ REWARD for s in noise]),
        RLOO_: np.full(len(noise), optimum),
    }
    off = np.random.default_rng(9).normal(size=(errors, len(REWARD)))
    ends = [ends_of(REWARD + s * off, beta) for s in noise]
    staying = {name: np.array([end[name].mean() for end in ends]) for name in (ONE, RLOO_)}
    ahead = np.array([_mean(end[RLOO_] - end[ONE]) for end in ends])
    trained = np.array([_mean(rloo_on_noise(beta, s, runs)) for s in noise])
    return Result(np.array(noise), float(beta), fresh, trained, staying, ahead)


def chosen(policy: Floats, n: int, noise: float) -> Floats:
    """Who wins among n samples whose rewards are noisy: n p(y) times the integral of phi F^(n-1), (A,)."""
    if noise == 0:
        return best_of_n(REWARD, policy, n)
    x = np.linspace(REWARD.min() - 9 * noise, REWARD.max() + 9 * noise, 4001)
    z = (x[:, None] - REWARD) / noise
    F = norm.cdf(z) @ policy
    return n * policy * np.trapezoid(norm.pdf(z) / noise * F[:, None] ** (n - 1), x, axis=0)


def rounds(noise: float) -> Floats:
    """Three rounds of the best of two of the round's own policy, (A,)."""
    policy = REFERENCE
    for _ in range(3):
        policy = chosen(policy, 2, noise)
    return policy


def ends_of(shown: Floats, beta: float) -> dict[str, Floats]:
    """True rewards of the ends on wrong rewards (errors, A), by name."""
    optima = np.exp(tilt(np.log(REFERENCE), shown, beta))
    return {ONE: np.array([best_of_n(r, REFERENCE, 8) @ REWARD for r in shown]), RLOO_: optima @ REWARD}


def rloo_on_noise(beta: float, noise: float, runs: int) -> Floats:
    """True reward where runs on freshly noisy rewards come to, averaged over their last half, (runs,)."""
    trace = simulate(
        RLOO(beta),
        Bandit(REWARD, reference=REFERENCE),
        OnPolicy(),
        steps=600,
        batch_size=32,
        learning_rate=0.3,
        rng=np.random.default_rng(4),
        runs=runs,
        record=20,
        reward_noise=noise,
    )
    late: Floats = (trace.policies[len(trace.policies) // 2 :] @ REWARD).mean(axis=0)
    return late


def _mean(values: Floats) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def claims(result: Result) -> list[Claim]:
    """Who loses how much at noise 1."""
    at = int(np.flatnonzero(result.noise == 1)[0])
    lost = {name: float(path[0] - path[at]) for name, path in result.fresh.items()}
    missed = np.abs(result.trained[:, 0] - result.fresh[RLOO_]).max()
    more = result.ahead[:, 0] - result.ahead[0, 0]
    unsure = int((more[1:] < 1.96 * result.ahead[1:, 1]).sum())
    mass = max(abs(chosen(REFERENCE, 8, float(s)).sum() - 1) for s in NOISE)
    return [
        Claim("mass of the best of noisy 8, less one", float(mass), 0.0, 1e-9),
        Claim(
            "three rounds of the best of 2 without noise: distance from the best of 8",
            float(abs(result.fresh[THREE][0] - result.fresh[ONE][0])),
            0.0,
            1e-12,
        ),
        Claim(f"{ONE}: true reward lost to fresh noise 1", lost[ONE], 0.4344, 1e-4),
        Claim(f"{THREE}: true reward lost to fresh noise 1", lost[THREE], 0.3725, 1e-4),
        Claim("errors that stay, 2: RAFT loses more than RLOO by", float(more[-1]), 0.4555, 1e-3),
        Claim("sizes of error where the paired 95% interval of that holds zero", unsure, 0, 0),
        Claim("RLOO trained on fresh noise: largest distance from its end", float(missed), 0.0, 0.015),
    ]


def draw(result: Result) -> Figure:
    """Fresh noise, staying errors."""
    with style.house_style():
        figure, (fresh, staying) = plt.subplots(1, 2, figsize=(9.6, 3.9), sharey=True)
        for axes, paths in ((fresh, result.fresh), (staying, result.staying)):
            for name, path in paths.items():
                color, line, marker = LOOKS[name]
                axes.plot(
                    result.noise, path, color=color, linestyle=line, marker=marker, markersize=4, label=name
                )
        bars = {"fmt": "D", "color": style.BLACK, "markersize": 3, "label": "RLOO trained on noise, 95%"}
        fresh.errorbar(result.noise, result.trained[:, 0], 1.96 * result.trained[:, 1], **bars)
        fresh.set(xlabel="noise of each reward drawn (standard deviation)", ylabel="true reward of the end")
        staying.set_xlabel("error of each arm's reward that stays (standard deviation)")
        fresh.set_title("fresh noise: RLOO averages it out", fontsize=9)
        staying.set_title("errors that stay cost both, and RAFT more", fontsize=9)
        fresh.legend(loc="lower left")
        figure.suptitle("Fresh noise of the rewards costs RAFT its gain, and RLOO nothing", fontsize=11)
    return figure
