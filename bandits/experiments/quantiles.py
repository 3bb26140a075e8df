"""Where does quantile TD end, and when is its value better than TD's?  (T12.2, T12.3, T12.5)

Temporal differences (TD) learn the mean of what is still to come, quantile TD some of its quantiles.  Left:
eight quantiles of a chain of two states whose rewards are coins (T12.3).  Four of them lie on flat pieces of
their target's distribution: there is not one end but a set, whose least and greatest points are drawn as
bars, and sampled runs come to rest anywhere in it.  Middle and right: one state, no next state, the same
constant step .02 for both.  The heavier the tail, the worse TD's mean, without bound where the variance is;
quantile TD's hardly changes.  With one quantile (the median) it is worst.  Steps are not matched for speed:
quantile TD also moves more slowly, in proportion to the density at each quantile.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bandits.checks import Floats
from bandits.experiments.record import Claim
from bandits.plots import style
from bandits.tabular import quantile_td, td
from bandits.tabular.chains import Continuous, MarkovRewardProcess, discrete, normal, student

COINS = MarkovRewardProcess(
    [[0.5, 0.5], [0.25, 0.75]], discrete([0.0, 1.0], [[0.7, 0.3], [0.2, 0.8]]), discount=0.5
)
LEVELS, RUNS, STEP = quantile_td.midpoints(8), 12, 0.02
TAILS = np.array(
    [0.0, 0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.425, 0.45, 0.46, 0.47, 0.48]
)  # 1 / degrees of freedom
SAMPLED = np.array([0.0, 0.2, 1 / 3])
COUNTS = (1, 2, 3, 5, 8, 13, 21, 34)
LAWS: dict[str, float] = {"normal": 0.0, "Student, 3 degrees": 1 / 3, "Student, 2.2 degrees": 1 / 2.2}
LOOKS = ((style.GREEN, "o"), (style.BLUE, "s"), (style.RED, "^"))


@dataclass(frozen=True)
class Result:
    """Particles of one state, and mean squared errors of the value estimate."""

    levels: Floats  # (8,)
    values: Floats  # (n,)  of the return, with
    chances: Floats  # (n,)  their probabilities
    least: Floats  # (8,)
    greatest: Floats  # (8,)
    means: Floats  # (2,)  of the least and the greatest
    corners: int
    runs: Floats  # (runs, 8)
    outside: float  # largest distance of a run from the set
    contraction: float  # largest measured
    tails: Floats  # (tails,)
    by_tail: dict[str, Floats]  # exact, (tails,)
    sampled_tails: Floats  # (3,)
    sampled: dict[str, Floats]  # (3,)
    counts: Floats  # (m,)
    by_count: dict[str, Floats]  # exact, (m,)
    of_td: dict[str, float]
    printed: Floats  # (2,)  T12.5's last pair


def run(progress: bool = False, *, learning_rate: float = STEP, runs: int = RUNS) -> Result:
    """Dynamic programming and formulas; a few sampled runs beside them.

    Args:
        learning_rate: the constant step of both, middle and right.
        runs: that are sampled, left.
    """
    corners, rng = quantile_td.fixed_points(COINS, LEVELS), np.random.default_rng(12)
    law = COINS.returns(steps=9)[0]
    at = _at_rest(runs, rng)
    inside = np.clip(at, corners[0], corners[-1])
    return Result(
        levels=LEVELS,
        values=law.values,
        chances=law.probabilities,
        least=corners[0, 0],
        greatest=corners[-1, 0],
        means=corners[[0, -1], 0].mean(axis=1),
        corners=len(corners),
        runs=at[:, 0],
        outside=float(np.abs(at - inside).max()),
        contraction=_contraction(rng),
        tails=TAILS,
        by_tail={
            "TD": np.array([_error_of_td(each, learning_rate) for each in TAILS]),
            "5 quantiles": np.array([_error(each, 5, learning_rate) for each in TAILS]),
            "21 quantiles": np.array([_error(each, 21, learning_rate) for each in TAILS]),
        },
        sampled_tails=SAMPLED,
        sampled=_sampled(rng, learning_rate),
        counts=np.array(COUNTS, dtype=float),
        by_count={
            name: np.array([_error(tail, m, learning_rate) for m in COUNTS]) for name, tail in LAWS.items()
        },
        of_td={name: _error_of_td(tail, learning_rate) for name, tail in LAWS.items()},
        printed=_printed(),
    )


def claims(result: Result) -> list[Claim]:
    """The set of T12.3, the errors of T12.5, and sampled runs beside both."""
    ratio = result.sampled["5 quantiles"] / np.interp(SAMPLED, TAILS, result.by_tail["5 quantiles"])
    best = result.by_count["Student, 2.2 degrees"]
    return [
        Claim("8 quantiles: corners of the set of ends", result.corners, 16, 0),
        Claim("mean of the least end", result.means[0], 0.879639, 5e-7),
        Claim("mean of the greatest end", result.means[1], 0.890625, 5e-7),
        Claim("largest distance of a sampled run from the set", result.outside, 0.0, 0.1),
        Claim("dynamic programming: largest measured contraction", result.contraction, 0.5, 1e-12),
        Claim("Student 2.2, step .01: TD's error", result.printed[0], 0.0553, 5e-5),
        Claim("Student 2.2, step .01: quantile TD's, m = 21", result.printed[1], 0.00182, 5e-6),
        *(
            Claim(f"sampled / exact error, m = 5, 1/ν = {t:.2f}", r, 1.0, 0.25)
            for t, r in zip(SAMPLED, ratio, strict=True)
        ),
        Claim(
            "Student 2.2: TD's error / that of 34 quantiles is above 20",
            float(result.of_td["Student, 2.2 degrees"] / best[-1] > 20),
            1,
            0,
        ),
    ]


def draw(result: Result) -> Figure:
    """Ends and runs; errors by the weight of the tail; errors by the number of quantiles."""
    with style.house_style():
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11.5, 3.9))
        _draw_ends(left, result)
        looks = {
            "TD": (style.RED, style.SOLID),
            "5 quantiles": (style.SKY, style.DASHED),
            "21 quantiles": (style.BLUE, style.DASH_DOT),
        }
        for name, curve in result.by_tail.items():
            hue, line = looks[name]
            middle.semilogy(result.tails, curve, color=hue, linestyle=line, label=f"{name}, exact")
            if name in result.sampled:
                middle.semilogy(
                    result.sampled_tails, result.sampled[name], "o", color=hue, markeredgecolor="white"
                )
        middle.axvline(0.5, color=style.BLACK, linestyle=style.DOTTED, linewidth=1)
        middle.text(0.494, 0.006, "no variance beyond", rotation=90, ha="right", va="bottom", fontsize=8)
        middle.plot([], [], "o", color=style.GREY, label="1000 sampled runs")
        middle.set(title="Heavy tails ruin TD only", xlabel="heaviness of the tail, 1 / degrees of freedom")
        middle.set_ylabel("mean squared error of the value")
        for (hue, marker), (name, curve) in zip(LOOKS, result.by_count.items(), strict=True):
            right.loglog(result.counts, curve, marker=marker, markersize=4, color=hue, label=name)
            ends, of_td = result.counts[[0, -1]], [result.of_td[name]] * 2
            right.plot(
                ends, of_td, color=hue, linestyle=style.DASHED, linewidth=1.2, marker=marker, markersize=4
            )
        right.plot([], [], color=style.GREY, linestyle=style.DASHED, linewidth=1.2, label="TD on each")
        right.set(title="A few quantiles are enough", xlabel="number of quantiles m", ylim=middle.get_ylim())
        for axes in (left, middle, right):
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)
    return figure


def _draw_ends(axes: Axes, result: Result) -> None:
    axes.step(
        np.append(0, np.cumsum(result.chances)),
        np.append(result.values, result.values[-1]),
        where="post",
        color=style.GREY,
        linewidth=1.2,
        label="law of the return",
    )
    x = (
        np.repeat(result.levels[None], len(result.runs), axis=0)
        + np.linspace(-0.02, 0.02, len(result.runs))[:, None]
    )
    axes.plot(
        x.ravel(),
        result.runs.ravel(),
        "o",
        color=style.ORANGE,
        markersize=3,
        label=f"{len(result.runs)} sampled runs",
    )
    middle, half = (result.least + result.greatest) / 2, (result.greatest - result.least) / 2
    axes.errorbar(
        result.levels,
        middle,
        half,
        fmt="_",
        color=style.BLACK,
        markersize=13,
        capsize=5,
        label="set of ends, exact",
    )
    axes.set(title="Quantile TD ends in a set", xlabel="level τ", ylabel="quantile of the return, state 1")


def _one_state(tail: float) -> MarkovRewardProcess:
    reward: Continuous = student(1 / tail) if tail else normal()
    return MarkovRewardProcess([[1.0]], reward, 0.0)


def _at_rest(runs: int, rng: np.random.Generator) -> Floats:
    """Particles where sampled runs come to rest as their step shrinks, (runs, 2, 8)."""
    at = np.zeros((runs, 2, len(LEVELS)))
    for rate in (0.1, 0.03, 0.01, 0.003):
        at = quantile_td.simulate(
            COINS, LEVELS, steps=[1200], learning_rate=rate, rng=rng, runs=runs, start=at
        )[0]
    return at


def _error_of_td(tail: float, learning_rate: float) -> float:
    return float(td.mean_squared_error(_one_state(tail), learning_rate)[0])


def _error(tail: float, m: int, learning_rate: float) -> float:
    levels = quantile_td.midpoints(m)
    return float(quantile_td.mean_squared_error(_one_state(tail), levels, learning_rate)[0])


def _printed() -> Floats:
    """T12.5's last pair: TD's error and that of 21 quantiles, step .01."""
    heavy, levels = _one_state(1 / 2.2), quantile_td.midpoints(21)
    both = td.mean_squared_error(heavy, 0.01), quantile_td.mean_squared_error(heavy, levels, 0.01)
    return np.concatenate(both)


def _sampled(rng: np.random.Generator, learning_rate: float) -> dict[str, Floats]:
    """Mean squared errors of 1000 runs that start at the end."""
    levels, found = quantile_td.midpoints(5), np.empty((2, len(SAMPLED)))
    for i, tail in enumerate(SAMPLED):
        process = _one_state(tail)
        start = quantile_td.fixed_point(process, levels)
        V = td.simulate(process, steps=[400], learning_rate=learning_rate, rng=rng, runs=1000)
        z = quantile_td.simulate(
            process, levels, steps=[1500], learning_rate=learning_rate, rng=rng, runs=1000, start=start
        )
        found[:, i] = (V**2).mean(), (z.mean(axis=-1) ** 2).mean()
    return {"TD": found[0], "5 quantiles": found[1]}


def _contraction(rng: np.random.Generator) -> float:
    """Over 100 random pairs of particles, and a pair that differs by a shift."""
    pairs = [rng.normal(size=(2, 2, 8)) for _ in range(100)]
    pairs.append(np.stack([pairs[0][0], pairs[0][0] + 1]))
    moved = [[quantile_td.operator(COINS, LEVELS, z, 0.3) for z in pair] for pair in pairs]
    left = [quantile_td.distance(*pair) for pair in moved]
    return max(a / float(np.abs(pair[0] - pair[1]).max()) for a, pair in zip(left, pairs, strict=True))
