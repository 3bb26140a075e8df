"""The same labels of single answers: what do DRO and KTO make of them?  (T8.1, T9.4)

Four answers, each liked with a probability q = (.9, .6, .4, .2); both see single answers of a sampler mu and
a 0/1 label, no pair.  DRO takes the label for a reward: it ends at pi* = ref exp(q / beta) / Z, whoever
sampled.  KTO ends among the answers that are liked more often than not, all others die, and it shares out by
mu.

Flip labels at the rate epsilon: q becomes epsilon + (1 - 2 epsilon) q.  DRO goes back to the reference; KTO's
every coefficient shrinks by 1 - 2 epsilon alike, and its end does not move until no label means anything, at
epsilon = 1/2.  Skew the sampler towards the answer that is liked .6 of the time: DRO does not move, KTO does.
Dots are sampled training, the mean over runs; lines are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
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

LIKED, REFERENCE, BETA = (0.9, 0.6, 0.4, 0.2), (0.1, 0.2, 0.3, 0.4), 0.3
TRAINED = (0.0, 0.15, 0.3)  # rates of flips at which samples are drawn as well
LOOKS: tuple[tuple[str, Any], ...] = (
    (style.BLUE, "-"),
    (style.ORANGE, style.DASHED),
    (style.GREEN, style.DASH_DOT),
    (style.GREY, style.DOTTED),
)


@dataclass(frozen=True)
class Result:
    """Exact policies, and those of training on samples."""

    liked: Floats  # (4,)  q
    flips: Floats  # (e,)
    odds: Floats  # (s,)  times that answer 2 is sampled as often as under the reference
    flipped: dict[str, Floats]  # (e, 4)
    skewed: dict[str, Floats]  # (s, 4)
    trained: dict[str, Floats]  # (3, 4)  mean of the last tenth of training, over runs


def _world(liked: Floats, reference: tuple[float, ...], flips: float) -> Bandit:
    """Labels flipped at this rate: chances that KTO reads, rewards that DRO reads."""
    seen = flips + (1 - 2 * flips) * liked
    return Bandit(seen, reference=reference, desirable=seen)


def _sampler(reference: Floats, odds: float) -> Offline:
    """The reference, with the second answer so much more often."""
    weight = reference * np.where(np.arange(len(reference)) == 1, odds, 1.0)
    return Offline(weight / weight.sum())


def run(
    progress: bool = False,
    *,
    beta: float = BETA,
    liked: tuple[float, ...] = LIKED,
    reference: tuple[float, ...] = REFERENCE,
    steps: int = 1200,
) -> Result:
    """Solve both for every rate and every sampler; train at three rates.

    Args:
        beta: strength of the KL to the reference.
        liked: the chance of a good label, of each of the four answers.
        reference: probabilities of the answers at the start.
        steps: of training on samples.
    """
    world = partial(_world, np.array(liked), reference)
    flips, odds = np.linspace(0, 0.49, 50), np.geomspace(1 / 8, 8, 49)
    both: dict[str, DRO | KTO] = {"DRO": DRO(beta), "KTO": KTO(beta)}
    still = world(0.0)
    laws = [_sampler(still.reference, s) for s in odds]
    plain = _sampler(still.reference, 1)
    ends = {name: [fixed_point(a, world(e), plain).policy for e in flips] for name, a in both.items()}
    skewed = {name: [fixed_point(a, still, law).policy for law in laws] for name, a in both.items()}
    return Result(
        liked=np.array(liked),
        flips=flips,
        odds=odds,
        flipped={name: np.stack(found) for name, found in ends.items()},
        skewed={name: np.stack(found) for name, found in skewed.items()},
        trained={name: np.stack([_trained(a, world(e), steps) for e in TRAINED]) for name, a in both.items()},
    )


def _trained(algorithm: DRO | KTO, world: Bandit, steps: int) -> Floats:
    """Mean policy at the end of training on drawn labels; DRO's rewards have a label's spread."""
    trace = simulate(
        algorithm,
        world,
        _sampler(world.reference, 1),
        steps=steps,
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
    tilt = np.array(REFERENCE) * np.exp(result.liked / BETA)
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
        _lines(a, result, result.flips, result.flipped["DRO"], "DRO: noisy labels lead back to the reference")
        _lines(b, result, result.flips, result.flipped["KTO"], "KTO: they only slow it down")
        _lines(c, result, result.odds, result.skewed["DRO"], "DRO: whoever sampled")
        _lines(d, result, result.odds, result.skewed["KTO"], "KTO: what is sampled more gets more")
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


def _lines(axes: Axes, result: Result, x: Floats, policies: Floats, title: str) -> None:
    for arm, (color, line) in enumerate(LOOKS):
        label = f"answer {arm + 1}, liked {result.liked[arm]:.0%}"
        axes.plot(x, policies[:, arm], color=color, linestyle=line, label=label)
    axes.set_title(title)
    axes.set_ylim(-0.03, 1.03)
