"""How noisy is a gradient?  RLOO, ReMax, the best baseline and importance weights, enumerated (T2.2-T2.6).

Three arms, r = (2.5, 2, 1), beta = 1/2.  Left: policies pi ~ exp(t r), from uniform (t = 0) to greedy,
samples from the policy itself.  The trace of the covariance of one update times the number of samples
it took, so that methods are compared at equal cost (ReMax's greedy answer counts as a sample).  Right:
the same gradient from somebody else's samples by importance weights, as the behaviour policy avoids the
best arm: the variance grows without bound, where CoPG's stays put: it gives up being the gradient, not
the fixed point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.special import softmax

from bandits.algorithms import RLOO, CoPG, ImportanceWeighted, PolicyGradient, ReMax
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.exact import expected_update, update_covariance
from bandits.experiments.record import Claim
from bandits.plots import style
from bandits.samples import Algorithm
from bandits.sampling.rules import Offline, OnPolicy, Sampling

BETA = 0.5
REWARD = (2.5, 2.0, 1.0)
ON_POLICY: dict[str, tuple[Callable[[float], Algorithm], int]] = {  # with the samples that one takes
    "PG, b = 0": (lambda beta: PolicyGradient(beta), 1),
    "ReMax": (lambda beta: ReMax(beta), 2),
    "RLOO, k = 2": (lambda beta: RLOO(beta, k=2), 2),
    "RLOO, k = 4": (lambda beta: RLOO(beta, k=4), 4),
}
WEIGHTED: dict[str, Callable[[float], Algorithm]] = {
    "PG, weighted": lambda beta: ImportanceWeighted(PolicyGradient(beta)),
    "RLOO, weighted": lambda beta: ImportanceWeighted(RLOO(beta, k=2)),
    "CoPG (halved), no weights": lambda beta: CoPG(beta),
}
LOOKS = {
    "PG, b = 0": style.CURVES["PG, b = 0"],
    "best constant baseline": style.Look(style.BLACK, style.SQUARES),
    "ReMax": style.LOOKS["ReMax"],
    "RLOO, k = 2": style.LOOKS["RLOO"],
    "RLOO, k = 4": style.Look(style.GREEN, style.SOLID),
    "PG, weighted": style.LOOKS["PolicyGradient"],
    "RLOO, weighted": style.LOOKS["RLOO"],
    "CoPG (halved), no weights": style.LOOKS["CoPG"],
}


@dataclass(frozen=True)
class Result:
    """Variances, exact."""

    beta: float
    reward: Floats  # (3,)
    greediness: Floats  # (t,)
    cost: dict[str, Floats]  # (t,)   trace of the covariance times samples
    share: Floats  # (shares,)  mu of the best arm
    off_policy: dict[str, Floats]  # (shares,)  trace of the covariance of one pair
    z1: Floats  # (t,)  the two terms of RLOO's formula
    z2: Floats  # (t,)


def run(progress: bool = False, *, beta: float = BETA, reward: tuple[float, ...] = REWARD) -> Result:
    """Enumerate all groups of arms at every policy; nothing is sampled.

    Args:
        beta: strength of the KL to the reference.
        reward: of the three arms.
    """
    bandit, optimal = Bandit(reward), 1 / beta
    near = np.geomspace(
        1e-3, 0.09, 9
    )  # at t = 1 / beta, pi*, the contrast has no variance: no cliffs beside it
    greediness = np.sort(np.concatenate([np.linspace(0, 2 * optimal, 41), optimal - near, optimal + near]))
    policies = softmax(greediness[:, None] * np.array(reward), axis=-1)
    estimated = softmax(np.array(reward))  # the policy whose gradient is estimated on the right
    cost = {
        name: n * np.array([_trace(kind(beta), bandit, OnPolicy(), pi) for pi in policies])
        for name, (kind, n) in ON_POLICY.items()
    }
    best = [PolicyGradient(beta, baseline=_best_baseline(bandit, beta, pi)) for pi in policies]
    cost["best constant baseline"] = np.array(
        [_trace(a, bandit, OnPolicy(), pi) for a, pi in zip(best, policies, strict=True)]
    )
    share = np.geomspace(0.5, 0.002, 30)
    laws = [Offline([s, (1 - s) / 2, (1 - s) / 2]) for s in share]
    off_policy = {
        name: np.array([_trace(kind(beta), bandit, law, estimated) for law in laws])
        for name, kind in WEIGHTED.items()
    }
    off_policy["PG, weighted"] /= 2  # the mean of two independent samples: all methods take a pair
    off_policy["CoPG (halved), no weights"] /= 4  # CoPG's expected update is twice the gradient (T3.7)
    z1, z2 = np.transpose([_rloo_terms(bandit, beta, pi) for pi in policies])
    return Result(beta, np.array(reward), greediness, cost, share, off_policy, z1, z2)


def claims(result: Result) -> list[Claim]:
    """RLOO's variance formula (T2.2), the optimal baseline (T2.3), the price of weights (T2.6)."""
    rows = []
    for k in (2, 4):
        formula = k * (4 * (k - 2) / (k * (k - 1)) * result.z1 + 2 / (k * (k - 1)) * result.z2)
        error = np.abs(result.cost[f"RLOO, k = {k}"] - formula).max()
        rows.append(Claim(f"RLOO, k = {k}: largest error of the variance formula", error, 0.0, 1e-12))
    single = result.cost["best constant baseline"] - result.cost["PG, b = 0"]
    slope = np.polyfit(np.log(result.share[-8:]), np.log(result.off_policy["PG, weighted"][-8:]), 1)[0]
    copg = result.off_policy["CoPG (halved), no weights"]
    return [
        *rows,
        Claim("best baseline less no baseline: largest difference", max(single.max(), 0.0), 0.0, 1e-12),
        Claim("weights: slope of log variance against log μ(best arm)", slope, -1.0, 0.1),
        Claim("CoPG: largest variance over the same μ / at μ(best) = 1/2", copg.max() / copg[0], 1.0, 0.5),
    ]


def draw(result: Result) -> Figure:
    """Variance at equal cost on-policy; variance of a pair off-policy."""
    with style.house_style():
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.9))
        for name, cost in result.cost.items():
            color, line = LOOKS[name]
            left.plot(result.greediness, cost, color=color, linestyle=line, label=name)
        left.set_xlabel("t, with π ∝ exp(t r): uniform → greedy")
        left.set_ylabel("variance × samples  [reward²]")
        left.set_yscale("log")
        left.set_ylim(1e-4, 10)
        left.annotate("π*: contrast has\nno variance", (1.1 / result.beta, 2e-4), va="center", fontsize=8)
        left.set_title("On-policy: every baseline helps here")
        left.legend(loc="lower left")
        for name, variance in result.off_policy.items():
            color, line = LOOKS[name]
            right.loglog(result.share, variance, color=color, linestyle=line, label=name)
        right.invert_xaxis()
        right.set_xlabel("μ(best arm), the share of the best arm in the samples")
        right.set_ylabel("variance of a pair's step  [reward²]")
        right.set_title("Off-policy: weights explode, contrast does not")
        right.legend(loc="upper left")
    return figure


def _trace(algorithm: Algorithm, bandit: Bandit, sampling: Sampling, policy: Floats) -> float:
    return float(np.trace(update_covariance(algorithm, bandit, sampling, policy, label_noise=False)))


def _scores(policy: Floats) -> Floats:
    """s(y) = e_y - pi, (3, 3)."""
    return np.eye(len(policy)) - policy


def _best_baseline(bandit: Bandit, beta: float, policy: Floats) -> float:
    """b = E_pi[R |s|^2] / E_pi[|s|^2]  (T2.3)."""
    R = bandit.needed_reward() - beta * np.log(policy / bandit.reference)
    weight = policy * np.sum(_scores(policy) ** 2, axis=-1)
    return float(weight @ R / weight.sum())


def _rloo_terms(bandit: Bandit, beta: float, policy: Floats) -> tuple[float, float]:
    """z1 = tr Var[((R - J) s + grad J)/2] and z2 = tr Var[(R1 - R2)(s1 - s2)/2]  (T2.2)."""
    R, s = bandit.needed_reward() - beta * np.log(policy / bandit.reference), _scores(policy)
    gradient = expected_update(PolicyGradient(beta), bandit, OnPolicy(), policy)
    one = ((R - policy @ R)[:, None] * s + gradient) / 2
    two = (R[:, None, None] - R[None, :, None]) * (s[:, None] - s[None, :]) / 2
    pair = policy[:, None] * policy[None, :]
    z1 = policy @ np.sum((one - policy @ one) ** 2, axis=-1)
    mean = np.einsum("ij,ijk->k", pair, two)
    return float(z1), float(np.sum(pair * np.sum((two - mean) ** 2, axis=-1)))
