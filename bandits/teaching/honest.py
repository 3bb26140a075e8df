"""What does an honest comparison need?  Exercises 11."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from bandits.teaching.answers import Number
from bandits.teaching.exercise import Exercise, Mistake

BEFORE = np.array([0.2, 1.4, -0.6, 2.1, 0.9, -1.2, 0.4, 1.7])  # of 11.1
AFTER = np.array([0.5, 1.6, -0.7, 2.6, 1.1, -0.6, 0.6, 1.8])
SPREAD, REACH = 0.8, 0.05  # of 11.2
ERROR, TRIED = 0.04, 5  # of 11.3


def _prompts(quantile: float, power: int = 2) -> float:
    return float(np.ceil((quantile * SPREAD / REACH) ** power))


def _largest(count: int) -> float:
    """Mean of the largest of so many standard normal numbers."""
    x = np.linspace(-10, 10, 20001)
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    return float(np.trapezoid(x * count * ndtr(x) ** (count - 1) * density, x))


EXERCISES = {
    "11.1": Exercise(
        kind=Number("of reward"),
        truth=lambda: (AFTER - BEFORE).std(ddof=1) / np.sqrt(8),
        hint="Eight differences: their standard deviation, and what a mean of eight makes of it.",
        mistakes=(
            Mistake(
                lambda: np.sqrt((AFTER.var(ddof=1) + BEFORE.var(ddof=1)) / 8),
                "That treats the two as if they had been measured on different prompts. Pair them.",
            ),
            Mistake(
                lambda: (AFTER - BEFORE).std(ddof=1),
                "That is the spread of single rises; their mean is known better than each of them.",
            ),
            Mistake(
                lambda: (AFTER - BEFORE).std() / np.sqrt(8),
                "You divided by n; the mean was estimated from the same eight, so divide by n - 1.",
            ),
        ),
    ),
    "11.2": Exercise(
        kind=Number("prompts"),
        truth=lambda: _prompts(ndtri(0.975)),
        hint="The interval reaches 1.96 standard errors to either side. Round up.",
        mistakes=(
            Mistake(
                lambda: _prompts(ndtri(0.975), 1),
                "Errors shrink like the root of n: to halve one takes four times as many prompts.",
            ),
            Mistake(
                lambda: _prompts(1.0),
                "That is one standard error to either side, which holds the truth two times in three.",
            ),
            Mistake(
                lambda: _prompts(ndtri(0.95)),
                "That leaves 5 % on each side: a 95 % interval leaves half of it on each.",
            ),
        ),
    ),
    "11.3": Exercise(
        kind=Number("of reward"),
        truth=lambda: ERROR * _largest(TRIED),
        hint="Integrate x against the density of the largest of five, then put in the units.",
        mistakes=(
            Mistake(lambda: 0.0, "Each single one is right on average. The one that was chosen is not."),
            Mistake(lambda: _largest(TRIED), "That is in standard deviations: put in the size of the error."),
            Mistake(lambda: ERROR * _largest(2), "That is the larger of two."),
        ),
    ),
}
