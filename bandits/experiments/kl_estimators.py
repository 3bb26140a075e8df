"""Which estimator of the KL, and where?  Pull, noise and end of k1, k2 and k3 in the reward or as a loss.

With u = ref/pi at a sampled answer the estimators of KL(pi || ref) are k1 = -log u, k2 = (log u)^2 / 2 and
k3 = u - 1 - log u.  Policies tilt away from the reference, ref exp(t r) / Z, and the KL's pull is asked to
bring them back (T9.6). k1 in the reward and k2 as a loss pull along the gradient of KL(pi || ref).  k3 in
the reward pulls with the square of the distance: near the reference it does next to nothing, and where pi
has left an arm behind it pushes that arm away.  k3 as a loss pulls along the other KL; k1 as a loss is noise
alone.  The noise is that of one sample, by enumeration.  Ends are shown of those that have one at every
beta.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from bandits.algorithms import RLOO, PolicyGradient
from bandits.algorithms.kl_estimators import Estimator, WithKLLoss, WithKLReward, k1, k2, k3
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.exact import expected_update, update_covariance
from bandits.experiments.record import Claim
from bandits.fixed_point import fixed_point
from bandits.plots import style
from bandits.policy import tilt
from bandits.sampling.rules import OnPolicy

REWARD, REFERENCE = (1.0, 0.6, 0.2, 0.0), (0.1, 0.2, 0.3, 0.4)
TILTS = np.geomspace(0.01, 8, 40)
BETAS = np.geomspace(0.3, 3, 9)
CASES: dict[str, tuple[Any, Estimator]] = {
    "k1 in the reward": (WithKLReward, k1),
    "k2 as a loss": (WithKLLoss, k2),
    "k3 as a loss": (WithKLLoss, k3),
    "k3 in the reward": (WithKLReward, k3),
    "k1 as a loss": (WithKLLoss, k1),
}
LOOKS = {
    "k1 in the reward": (style.BLACK, "-"),
    "k2 as a loss": (style.BLUE, style.DASHED),
    "k3 as a loss": (style.ORANGE, style.DASH_DOT),
    "k3 in the reward": (style.RED, style.SQUARES),
    "k1 as a loss": (style.GREY, style.DOTTED),
}
ENDS = ("k1 in the reward", "k2 as a loss", "k3 as a loss")


@dataclass(frozen=True)
class Result:
    """Along the tilts, and along beta."""

    distance: Floats  # (t,)  KL(pi || ref)
    pull: dict[str, Floats]  # (t,)  of the update along -grad KL(pi || ref), in its lengths
    aside: dict[str, Floats]  # (t,)  of the update across it, in its lengths
    variance: dict[str, Floats]  # (t,)  trace of the covariance, one sample
    beta: Floats  # (n,)
    regret: dict[str, Floats]  # (n,)  J* - J of the end


def run(
    progress: bool = False, *, reward: tuple[float, ...] = REWARD, reference: tuple[float, ...] = REFERENCE
) -> Result:
    """Nothing is sampled.

    Args:
        reward: of each arm; policies tilt along it.
        reference: probabilities of the arms that the KL is taken to.
    """
    still, world = Bandit(np.zeros(len(reward)), reference=reference), Bandit(reward, reference=reference)
    policies = np.exp([tilt(still.log_reference, reward, 1 / float(t)) for t in TILTS])
    h = np.log(policies / still.reference)
    distance = (policies * h).sum(axis=1)
    down = -policies * (h - distance[:, None])
    length = np.linalg.norm(down, axis=1)
    pull, aside, variance = {}, {}, {}
    for name, (kind, estimator) in CASES.items():
        algorithm = kind(PolicyGradient(1.0), estimator)
        g = np.array([expected_update(algorithm, still, OnPolicy(), p) for p in policies])
        pull[name] = (g * down).sum(axis=1) / length**2
        across = g - pull[name][:, None] * down
        aside[name] = np.linalg.norm(across, axis=1) / length
        covariances = [update_covariance(algorithm, still, OnPolicy(), p) for p in policies]
        variance[name] = np.trace(np.array(covariances), axis1=1, axis2=2)
    regret = {name: np.array([_regret(world, name, float(beta)) for beta in BETAS]) for name in ENDS}
    return Result(distance, pull, aside, variance, BETAS, regret)


def _regret(world: Bandit, name: str, beta: float) -> float:
    kind, estimator = CASES[name]
    policy = fixed_point(kind(RLOO(beta), estimator), world, OnPolicy()).policy
    return float(world.regret(policy, beta))


def claims(result: Result) -> list[Claim]:
    """Who pulls as much as the KL, who does not near the reference, who ends at pi*."""
    found = []
    for name in ("k1 in the reward", "k2 as a loss"):
        far = max(np.abs(result.pull[name] - 1).max(), result.aside[name].max())
        found.append(Claim(f"{name}: distance from the gradient of the KL", float(far), 0.0, 1e-9))
        found.append(
            Claim(f"{name}: largest regret of its ends", float(result.regret[name].max()), 0.0, 1e-9)
        )
    near, last = "k3 in the reward", "k3 as a loss"
    slope = np.polyfit(np.log(result.distance[:5]), np.log(np.abs(result.pull[near][:5])), 1)[0]
    idle = max(np.abs(result.pull["k1 as a loss"]).max(), result.aside["k1 as a loss"].max())
    return [
        *found,
        Claim(f"{near}: order of its pull's share in the KL, near the reference", float(slope), 0.5, 0.02),
        Claim(f"{last}: share of the KL's pull at the reference", float(result.pull[last][0]), 1.0, 0.02),
        Claim(
            f"{near}: share of the KL's pull at KL = 1.94: away", float(result.pull[near][-1]), -1.1783, 1e-3
        ),
        Claim("k1 as a loss: pull", float(idle), 0.0, 1e-9),
    ]


def draw(result: Result) -> Figure:
    """Pull, noise, end."""
    with style.house_style():
        figure, (pulls, noise, ends) = plt.subplots(1, 3, figsize=(11.5, 3.9))
        for name, (color, line) in LOOKS.items():
            look = {"color": color, "linestyle": line, "label": name}
            pulls.semilogx(result.distance, result.pull[name], **look)
            noise.loglog(result.distance, result.variance[name], **look)
            if name in ENDS:
                ends.loglog(result.beta, np.maximum(result.regret[name], 1e-16), **look)
        for axes in (pulls, noise):
            axes.set_xlabel("KL(π‖ref), nats")
        pulls.set_ylabel("pull back, in sizes of ∇KL(π‖ref)")
        pulls.set_title("near ref k3 in the reward does nothing", fontsize=9)
        noise.set_ylabel("variance of one sample's step")
        noise.set_title("far away k3 is loud; k1 as a loss: noise alone", fontsize=9)
        ends.set(xlabel="β", ylabel="regret of the end, J* − J (10⁻¹⁶: none)")
        ends.set_xticks([0.3, 1, 3], labels=["0.3", "1", "3"])
        ends.minorticks_off()
        ends.set_title("k3 as a loss ends elsewhere than π*", fontsize=9)
        figure.legend(*pulls.get_legend_handles_labels(), loc="outside lower center", ncols=5)
        figure.suptitle(
            "k3 in the reward switches itself off near the reference, and turns against it far away",
            fontsize=11,
        )
    return figure
