"""What do clip-higher and CISPO change?  On a fixed sampler: the end, and the entropy on the way.

A rare good arm, sampled by a policy of a while ago.  PPO's upper clip lets it rise to 1 + eps' times what it
was: there it slides, until eps' is so large that pi* is within reach, whatever the lower clip is (T9.5).  No
clip stops CISPO's weights, which are capped, and no KL holds it: the cap chooses between cloning by
advantage (mu r / Z: imitate in proportion to the reward) and the best arm alone, and the entropy falls to
that of the arms that live (T13.10).
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandits.algorithms import CISPO, PPO
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics.flow import descent, flow
from bandits.experiments.record import Claim
from bandits.fixed_point import fixed_point
from bandits.plots import style
from bandits.policy import entropy, log_policy_of
from bandits.sampling.rules import Offline

MU = (0.1, 0.5, 0.3, 0.1)
REWARD = (1.0, 0.6, 0.4, 0.1)
BETA, LOWER, STEP = 0.5, 0.2, 0.4
SHOWN = {
    0: (style.BLUE, "-"),
    2: (style.ORANGE, style.DASHED),
    4: (style.GREEN, style.SQUARES),
}  # of the upper clips
CAPPED = ((0.2, style.BLUE, "-"), (1.2, style.ORANGE, style.DASHED), (4.0, style.GREEN, style.SQUARES))


@dataclass(frozen=True)
class Result:
    """Ends against the caps, and entropy along the flows."""

    behavior: Floats  # (4,)  mu
    lower_clip: float
    upper_clip: Floats  # (n,)
    best: Floats  # (n,)  PPO: probability of the best arm at last
    reach: float  # the upper clip from which pi* is within reach
    optimum: Floats  # (4,)
    cap: Floats  # (m,)
    ends: Floats  # (m, 4)  CISPO
    times: Floats  # (t,)  of PPO, in steps of STEP: its velocity jumps
    ppo_entropy: Floats  # (n, t)
    late: Floats  # (s,)  times of CISPO's flow
    cispo_entropy: Floats  # (3, s)  at three caps


def run(
    progress: bool = False, *, beta: float = BETA, lower_clip: float = LOWER, mu: tuple[float, ...] = MU
) -> Result:
    """Nothing is sampled.

    Args:
        beta: strength of PPO's KL.
        lower_clip: PPO's eps.
        mu: chances of the arms in the samples, the best and rare one first; the reference too.
    """
    world, sampling = Bandit(REWARD, reference=mu), Offline(mu)
    optimum = world.optimal_policy(beta)
    upper, cap = np.array([0.2, 0.6, 1.0, 1.5, 2.0]), np.linspace(0.15, 8.0, 158)
    steps, late = np.unique(np.geomspace(1, 500, 50).astype(int)), np.geomspace(0.1, 300, 60)
    stepped = np.stack(
        [descent(PPO(beta, lower_clip, upper_clip=float(up)), world, sampling, STEP, steps) for up in upper]
    )
    flows = [flow(_cispo(C), world, sampling, late) for C, *_ in CAPPED]
    return Result(
        behavior=np.array(mu),
        lower_clip=lower_clip,
        upper_clip=upper,
        best=stepped[:, -1, 0],
        reach=float((optimum / np.array(mu)).max() - 1),
        optimum=optimum,
        cap=cap,
        ends=np.stack([fixed_point(_cispo(float(C)), world, sampling).policy for C in cap]),
        times=STEP * steps,
        ppo_entropy=np.asarray(entropy(log_policy_of(stepped))),
        late=late,
        cispo_entropy=np.asarray(entropy(log_policy_of(np.stack(flows)))),
    )


def _cispo(cap: float) -> CISPO:
    return CISPO(cap, baseline=0.0, k=1)


def claims(result: Result) -> list[Claim]:
    """Where PPO is held, from when on pi* is reached; cloning, and the best arm alone."""
    held = result.upper_clip < result.reach - 0.05
    free = result.upper_clip > result.reach + 0.05
    goal = np.array(MU) * np.array(REWARD)
    clone = np.abs(result.ends[0] - goal / goal.sum()).max()
    alone = result.cap >= REWARD[1] / (MU[0] * REWARD[0])
    slid = np.abs(result.best[held] - MU[0] * (1 + result.upper_clip[held])).max()
    return [
        Claim("PPO, narrow upper clip: best arm's distance from 1 + ε′ times what it was", slid, 0.0, 1e-2),
        Claim(
            "PPO, wide upper clip: best arm's distance from π*",
            np.abs(result.best[free] - result.optimum[0]).max(),
            0.0,
            1e-3,
        ),
        Claim("CISPO, small cap: distance from cloning by advantage (T13.10)", clone, 0.0, 1e-12),
        Claim("CISPO, cap ≥ 6: least probability of the best arm", result.ends[alone, 0].min(), 1.0, 1e-12),
    ]


def draw(result: Result) -> Figure:
    """Above the ends against the caps, below entropy along the flow."""
    with style.house_style():
        figure, ((ppo, cispo), (below, beside)) = plt.subplots(2, 2, figsize=(10.5, 6.4), sharey="row")
        _draw_ends(ppo, cispo, result)
        for place, (color, line) in SHOWN.items():
            label = f"ε′ = {result.upper_clip[place]:g}"
            below.plot(result.times, result.ppo_entropy[place], color=color, linestyle=line, label=label)
        for path, (C, color, line) in zip(result.cispo_entropy, CAPPED, strict=True):
            beside.plot(result.late, path, color=color, linestyle=line, label=f"C = {C:g}")
        for axes in (below, beside):
            axes.set_xscale("log")
            axes.set_xlabel("time")
            axes.legend(loc="lower left")
        below.set_ylabel("entropy of the policy, nats")
        figure.suptitle("A higher clip lets rare good answers rise; a cap decides how many live", fontsize=11)
    return figure


def _draw_ends(ppo: Axes, cispo: Axes, result: Result) -> None:
    """PPO's best arm against its upper clip, all of CISPO's arms against its cap."""
    held = np.linspace(0, result.reach, 2)
    ppo.plot(result.upper_clip, result.best, "o", color=style.BLUE, label="PPO ends, or slides")
    ppo.plot(held, result.behavior[0] * (1 + held), color=style.BLUE, linewidth=0.8, label="(1 + ε′) μ")
    ppo.axhline(result.optimum[0], color=style.GREY, linewidth=0.9, linestyle=style.DASHED, label="π*")
    ppo.axvline(result.reach, color=style.GREY, linewidth=0.6)
    ppo.set_xlabel(f"ε′, upper clip (lower clip {result.lower_clip:g})")
    ppo.set_ylabel("probability of the best, rare arm")
    ppo.set_title("PPO: the upper clip holds it, until π* is in reach", fontsize=9)
    ppo.legend(loc="upper left")
    dashes = ("-", style.DASHED, style.SQUARES, style.DOTTED)
    colors = (style.BLUE, style.ORANGE, style.GREEN, style.GREY)
    for arm, (color, line) in enumerate(zip(colors, dashes, strict=True)):
        label = f"arm {arm + 1}, r = {REWARD[arm]:g}, μ = {result.behavior[arm]:g}"
        cispo.plot(result.cap, result.ends[:, arm], color=color, linestyle=line, label=label)
    cispo.set_xlabel("C, cap of the weight")
    cispo.set_title("CISPO: from cloning to the best arm alone", fontsize=9)
    cispo.legend(loc="center right")
