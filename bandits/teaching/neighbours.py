"""The neighbours that have states: where do they end, and can they collapse?  Exercises 12."""

from __future__ import annotations

import numpy as np

from bandits.checks import Floats
from bandits.tabular import armac, byol, chains, games, quantile_td, self_predictive
from bandits.tabular.best_response import nash_conv
from bandits.teaching.answers import Number
from bandits.teaching.exercise import Exercise, Mistake

NOISE = 0.6  # of 12.1
ITERATIONS = 50  # of 12.4


def _process() -> chains.MarkovRewardProcess:
    """That of 12.2."""
    return chains.MarkovRewardProcess([[1.0]], chains.discrete([0.0, 10.0], [[0.7, 0.3]]), 0.0)


def _learned(particles: int) -> float:
    """The mean of the particles at the end, which is one."""
    (end,) = quantile_td.fixed_points(_process(), quantile_td.midpoints(particles))
    return float(end.mean())


def _value() -> float:
    return float(_process().value[0])


def _walk() -> Floats:
    """That of 12.3."""
    ring = (np.roll(np.eye(6), 1, axis=0) + np.roll(np.eye(6), -1, axis=0)) / 2
    return 0.1 * np.eye(6) + 0.9 * ring


def _best() -> float:
    return float(max(end.objective for end in self_predictive.ends(_walk(), 2)))


def _eigenvalues() -> Floats:
    """In rising order."""
    return np.asarray(np.linalg.eigvalsh(_walk()))


def _gap(iterations: int, averaged: bool) -> float:
    kuhn = games.kuhn_poker()
    policies = armac.cfr(kuhn, iterations)
    kept = armac.average_policies(kuhn, policies) if averaged else policies
    return float(nash_conv(kuhn, kept[-1]))


EXERCISES = {
    "12.1": Exercise(
        kind=Number(),
        truth=lambda: byol.collapse_threshold(byol.mode(noise=NOISE, decay=0.01)),
        hint="p+ and p- are the roots of a quadratic equation. When are there none?",
        mistakes=(
            Mistake(lambda: 1 / 4, "That is without noise: sigma^2 makes collapse easier."),
            Mistake(lambda: 1 / (4 * NOISE), "sigma^2 enters as 1 + sigma^2: the signal counts as well."),
            Mistake(lambda: 1 / (1 + NOISE), "There is a factor of four under the root."),
        ),
    ),
    "12.2": Exercise(
        kind=Number("of reward"),
        truth=lambda: _learned(4) - _value(),
        hint="Each particle ends at the quantile of its level tau. Which levels lie above 0.7?",
        mistakes=(
            Mistake(lambda: 0.0, "The mean of quantiles at m levels is not the mean, on skewed laws."),
            Mistake(
                lambda: _value() - _learned(4), "The sign: the question is what it says less what is true."
            ),
            Mistake(lambda: _learned(1) - _value(), "That is the median alone, m = 1. Here are four levels."),
        ),
    ),
    "12.3": Exercise(
        kind=Number(),
        truth=_best,
        hint="f is the sum of the squares of the eigenvalues that are kept.",
        mistakes=(
            Mistake(
                lambda: (_eigenvalues()[-2:] ** 2).sum(),
                "Those are the two largest eigenvalues; a large negative one predicts as well.",
            ),
            Mistake(
                lambda: np.sort(np.abs(_eigenvalues()))[-2:].sum(),
                "Those are absolute values; f has their squares.",
            ),
            Mistake(lambda: (_eigenvalues() ** 2).sum(), "That is of all six; there are two features."),
        ),
    ),
    "12.4": Exercise(
        kind=Number("chips"),
        truth=lambda: _gap(ITERATIONS, averaged=True),
        hint="`armac.cfr` gives the policies in play, `armac.average_policies` their averages.",
        mistakes=(
            Mistake(
                lambda: _gap(ITERATIONS, averaged=False),
                "That is the policy in play, which circles. What arrives?",
            ),
            Mistake(
                lambda: nash_conv(games.kuhn_poker(), armac.cfr(games.kuhn_poker(), 1)[0]),
                "That is the first policy, before anything is learned.",
            ),
        ),
    ),
}
