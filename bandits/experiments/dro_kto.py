"""The same labels of single answers: what do DRO and KTO make of them?  (T8.1, T9.4)

Four answers, each liked with a probability q = (.9, .6, .4, .2); both see single answers of a sampler mu and
a 0/1 label, no pair.  DRO takes the label for a reward: it ends at pi* = ref exp(q / beta) / Z, whoever
sampled.  KTO ends inside the face of the answers that are liked more often than not, and shares out by mu.

Flip labels at the rate epsilon: q becomes epsilon + (1 - 2 epsilon) q.  DRO goes back to the reference; KTO's
every coefficient shrinks by 1 - 2 epsilon alike, and its end does not move until no label means anything, at
epsilon = 1/2.  Skew the sampler towards the answer that is liked .6 of the time: DRO does not move, KTO does.
Dots are sampled training, the mean over runs; lines are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandits.algorithms import DRO, KTO
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.experiments.record import Claim
from bandits.fixed_point import fixed_point
from bandits.plots import style
from bandits.sampling.rules import Offline
from bandits.simulation.simulate import simulate

LIKED, REFERENCE, BETA = np.array([0.9, 0.6, 0.4, 0.2]), np.array([0.1, 0.2, 0.3, 0.4]), 0.3
TRAINED = (0.0, 0.15, 0.3)  # rates of flips at which samples are drawn as well
LOOKS: tuple[tuple[str, Any], ...] = (
    (style.BLUE, "-"),
    (style.ORANGE, (0, (6, 2))),
    (style.GREEN, (0, (3, 1, 1, 1))),
    (style.GREY, (0, (1, 1.5))),
)


@dataclass(frozen=True)
class Result:
    """Exact policies, and those of training on samples."""

    flips: Floats  # (e,)
    odds: Floats  # (s,)  times that answer 2 is sampled as often as under the reference
    flipped: dict[str, Floats]  # (e, 4)
    skewed: dict[str, Floats]  # (s, 4)
    trained: dict[str, Floats]  # (3, 4)  mean of the last tenth of training, over runs


def world(flips: float) -> Bandit:
    """Labels flipped at this rate: chances that KTO reads, rewards that DRO reads."""
    seen = flips + (1 - 2 * flips) * LIKED
    return Bandit(seen, reference=REFERENCE, desirable=seen)


def sampler(odds: float) -> Offline:
    """The reference, with the second answer so much more often."""
    weight = REFERENCE * np.where(np.arange(4) == 1, odds, 1.0)
    return Offline(weight / weight.sum())


def run(progress: bool = False) -> Result:
    """Solve both for every rate and every sampler; train at three rates."""
    flips, odds = np.linspace(0, 0.49, 50), np.geomspace(1 / 8, 8, 49)
    both: dict[str, DRO | KTO] = {"DRO": DRO(BETA), "KTO": KTO(BETA)}
    ends = {name: [fixed_point(a, world(e), sampler(1)).policy for e in flips] for name, a in both.items()}
    skewed = {name: [fixed_point(a, world(0), sampler(s)).policy for s in odds] for name, a in both.items()}
    return Result(
        flips=flips,
        odds=odds,
        flipped={name: np.stack(found) for name, found in ends.items()},
        skewed={name: np.stack(found) for name, found in skewed.items()},
        trained={name: np.stack([_trained(a, e) for e in TRAINED]) for name, a in both.items()},
    )


def _trained(algorithm: DRO | KTO, flips: float) -> Floats:
    """Mean policy at the end of training on drawn labels; DRO's rewards have a label's spread."""
    trace = simulate(
        algorithm,
        world(flips),
        sampler(1),
        steps=1200,
        batch_size=64,
        learning_rate=0.5 if isinstance(algorithm, DRO) else 12.0,
        rng=np.random.default_rng(0),
        runs=4,
        record=50,
        reward_noise=0.45 if isinstance(algorithm, DRO) else 0.0,
    )
    return trace.policies[-5:].mean(axis=(0, 1))


def claims(result: Result) -> list[Claim]:
    """Who moves with what."""
    dro, kto = result.flipped["DRO"], result.flipped["KTO"]
    tilt = REFERENCE * np.exp(LIKED / BETA)
    return [
        Claim(
            "KTO: largest move of an answer over all rates of flips", np.ptp(kto, axis=0).max(), 0.0, 1e-12
        ),
        Claim("DRO: distance to the reference at 49 % flips", np.abs(dro[-1] - REFERENCE).max(), 0.0, 0.01),
        Claim("DRO without flips: distance to π*", np.abs(dro[0] - tilt / tilt.sum()).max(), 0.0, 1e-12),
        Claim("DRO: largest move over all samplers", np.ptp(result.skewed["DRO"], axis=0).max(), 0.0, 1e-12),
        Claim(
            "KTO: move of answer 2 over all samplers", np.ptp(result.skewed["KTO"], axis=0)[1], 0.756, 0.001
        ),
        Claim("KTO: probability of answers 3 and 4", kto[:, 2:].sum(axis=1).max(), 0.0, 0.0),
        Claim("DRO trained on samples: distance to the exact end", _missed(result, "DRO"), 0.0, 0.03),
        Claim("KTO trained on samples: the same", _missed(result, "KTO"), 0.0, 0.06),
    ]


def _missed(result: Result, name: str) -> float:
    places = [int(np.abs(result.flips - e).argmin()) for e in TRAINED]
    return float(np.abs(result.trained[name] - result.flipped[name][places]).max())


def draw(result: Result) -> Figure:
    """A row for what changes, a column an algorithm, a line an answer."""
    with style.house_style():
        figure, ((a, b), (c, d)) = plt.subplots(2, 2, figsize=(9, 6.2), sharey=True)
        _lines(a, result.flips, result.flipped["DRO"], "DRO: noisy labels lead back to the reference")
        _lines(b, result.flips, result.flipped["KTO"], "KTO: they only slow it down")
        _lines(c, result.odds, result.skewed["DRO"], "DRO: whoever sampled")
        _lines(d, result.odds, result.skewed["KTO"], "KTO: what is sampled more gets more")
        for axes, name in ((a, "DRO"), (b, "KTO")):
            for arm, (color, _) in enumerate(LOOKS):
                label = "sampled training" if arm == 0 else None
                axes.plot(TRAINED, result.trained[name][:, arm], "o", color=color, markersize=4, label=label)
            axes.set_xlabel("share of flipped labels")
        for axes in (c, d):
            axes.set_xscale("log", base=2)
            axes.set_xlabel("answer 2 sampled … times as often as under the reference")
        for axes in (a, c):
            axes.set_ylabel("probability at the end")
        figure.legend(*a.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def _lines(axes: Axes, x: Floats, policies: Floats, title: str) -> None:
    for arm, (color, line) in enumerate(LOOKS):
        label = f"answer {arm + 1}, liked {LIKED[arm]:.0%}"
        axes.plot(x, policies[:, arm], color=color, linestyle=line, label=label)
    axes.set_title(title)
    axes.set_ylim(-0.03, 1.03)
