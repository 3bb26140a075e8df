"""Is one method better than another?  Differences at equal KL, with intervals over seeds and prompts.

Every seed trains anew and is measured on the same prompts, so that a difference d of two methods has a table
(S seeds, P prompts), both drawn at random:

    d_sp = mean + seed_s + prompt_p + rest_sp
    var(mean) = (MS_seeds + MS_prompts - MS_rest) / (S P)      with the mean squares of the table,

and Satterthwaite's degrees of freedom, which five seeds leave few of. An interval over prompts alone says
whether these runs differ, not whether the methods do. Where many differences are looked at, Holm's p-values
say which of them are more than the largest of so many chances.

Source: Searle, Casella & McCulloch 1992, chapter 4; Satterthwaite 1946; Holm 1979.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from bandits import checks
from bandits.checks import Floats
from llm.intervals import Interval


@dataclass(frozen=True)
class Difference(Interval):
    """A mean over seeds and prompts with its 95 % interval, and how probable so much is by chance."""

    p: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}], p = {self.p:.2g}"


def two_level(differences: ArrayLike) -> Difference:
    """The mean of a table (seeds, prompts) with an interval for other seeds and other prompts.

    Raises:
        ValueError: it is not finite, or has fewer than 2 seeds or 2 prompts.

    Example: two seeds that differ by 2 at each prompt, so that only seeds matter: 1 +- 12.7.

        >>> found = two_level([[0.0, 0.0, 0.0], [2.0, 2.0, 2.0]])
        >>> found.mean, round(found.high, 1), round(found.p, 2)
        (1.0, 13.7, 0.5)
    """
    d = checks.floats(differences, "differences")
    if d.ndim != 2 or min(d.shape) < 2:
        raise ValueError(
            f"differences must be (seeds, prompts), at least 2 of each, but the shape is {d.shape}; "
            "run more seeds"
        )
    S, P = d.shape
    mean, seeds, prompts = float(d.mean()), d.mean(axis=1), d.mean(axis=0)
    rest = d - seeds[:, None] - prompts + mean
    squares = np.array(
        [P * seeds.var(ddof=1), S * prompts.var(ddof=1), (rest**2).sum() / ((S - 1) * (P - 1))]
    )
    free = np.array([S - 1, P - 1, (S - 1) * (P - 1)])
    signs = np.array([1.0, 1.0, -1.0])
    if (squares[:2] < squares[2]).any():  # seeds or prompts add nothing that the rest does not explain
        largest = np.arange(3) == squares.argmax()
        signs = np.where(largest, 1.0, 0.0)
    total = float(signs @ squares)
    if total <= 0:
        return Difference(mean, mean, mean, float(mean == 0))
    freedom = total**2 / float((signs**2) @ (squares**2 / free))
    se = math.sqrt(total / (S * P))
    half = float(student.ppf(0.975, freedom)) * se
    return Difference(mean, mean - half, mean + half, float(2 * student.sf(abs(mean) / se, freedom)))


def at_kl(kl: ArrayLike, reward: ArrayLike, target: float) -> Floats:
    """The reward of a method at one KL, prompt by prompt: between its two betas on either side, (prompts,).

    On a line in sqrt(KL), as what is possible rises from the reference on (of normal rewards of spread s by
    s sqrt(2 KL)): a line in KL would lie below that curve, by more where the two betas are further apart.
    Nothing is extended: NaN where no beta has so little, or so much. Where the KL itself is a mean over
    prompts, so that chance moves it, each prompt's part of that is taken off along the line: the mean stays,
    and the spread over prompts is that of the reward at equal KL (the delta method).

    Args:
        kl: of the policy of each beta, (betas,), or log pi/ref of its samples, (betas, prompts).
        reward: its reward at each prompt, (betas, prompts).
        target: the KL at which methods are compared.

    Raises:
        ValueError: the shapes do not fit, or a number is not finite.

    Example: half-way between the policies, 2 being half-way from 1 to 3.

        >>> at_kl([1.0, 9.0], [[0.0, 1.0], [2.0, 2.0]], 4.0), at_kl([1.0, 3.0], [[0.0, 1.0], [2.0, 2.0]], 4.0)
        (array([1. , 1.5]), array([nan, nan]))
    """
    x, y = checks.floats(kl, "kl"), checks.floats(reward, "reward")
    if y.ndim != 2 or not y.size or x.shape not in (y.shape, y.shape[:1]):
        raise ValueError(
            "kl must be (betas,) or (betas, prompts), and reward (betas, prompts), but they are "
            f"{x.shape} and {y.shape}"
        )
    goal, h = checks.number(target, "target"), x.reshape(len(x), -1)  # (betas, prompts or 1)
    order = np.argsort(h.mean(axis=1), kind="stable")
    h, y = h[order], y[order]
    means = h.mean(axis=1)
    if not means[0] <= goal <= means[-1]:
        return np.full(y.shape[1], np.nan)
    i = int(np.clip(np.searchsorted(means, goal), 1, max(len(means) - 1, 1)))
    root = np.sqrt(np.maximum(means[i - 1 : i + 1], 0.0))
    if len(means) == 1 or root[1] == root[0]:
        return np.array(y[i - 1])
    run = root[1] - root[0]
    share, slope = (math.sqrt(max(goal, 0.0)) - root[0]) / run, (y[i] - y[i - 1]).mean() / run
    weight = np.array([1 - share, share])
    # What each prompt brings to sqrt(KL), whose mean is zero; nothing where there is no KL to speak of.
    parts = h[i - 1 : i + 1] - means[i - 1 : i + 1, None]
    chance = np.divide(parts, 2 * root[:, None], out=np.zeros_like(parts), where=root[:, None] > 0)
    return np.asarray(weight @ y[i - 1 : i + 1] - slope * (weight @ chance))


def holm(p: ArrayLike) -> Floats:
    """Holm's p-values: where nothing is to be found, any of them is below .05 in 5 % at most, (m,).

    The i-th smallest times m - i + 1, and never below a smaller one's.

    Raises:
        ValueError: a p is no probability.

    Example: .01 of three is .03; .02 of the two that are left .04; and .04 stays.

        >>> holm([0.02, 0.04, 0.01])
        array([0.04, 0.04, 0.03])
    """
    given = checks.floats(p, "p")
    if given.ndim != 1 or not given.size:
        raise ValueError(f"p must be a list of at least one, but its shape is {given.shape}; give a list")
    checks.reject_first((given < 0) | (given > 1), given, "p", "in [0, 1]", "give probabilities")
    order = np.argsort(given, kind="stable")
    raised = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    found = np.empty_like(raised)
    found[order] = np.minimum(raised, 1.0)
    return found
