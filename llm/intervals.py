"""How sure is a mean over prompts, or a share of them?  95 % intervals, by the normal law and by Wilson's."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bandits.checks import Floats

NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Interval:
    """A mean over prompts with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interval(values: Floats) -> Interval:
    """The mean of one number for each of at least two prompts, and its 95 % interval."""
    if len(values) < 2:
        raise ValueError(f"an interval takes at least 2 prompts, but there are {len(values)}; evaluate more")
    mean, half = float(values.mean()), NORMAL_95 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


@dataclass(frozen=True)
class Share(Interval):
    """How often one of two is better, a tie counting one half, with its 95 % interval."""

    ties: int
    of: int

    def __str__(self) -> str:
        return f"{super().__str__()}, {self.ties} of {self.of} tied"


def preferred(one: Floats, other: Floats) -> Share:
    """How often a number is larger than another: accuracy of a reward, win rate of a policy.

    The interval holds every p that the data do not speak against, (mean - p)^2 <= 1.96^2 v(p) / N with the
    variance v(p) = p (1 - p) - ties / 4N of a win, a loss or a tie.  Without ties it is Wilson's (1927).

    Example:
        >>> import numpy as np
        >>> str(preferred(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 5.0, 4.0])))
        '0.625 [0.267, 0.860], 1 of 4 tied'
    """
    N, ties = len(one), int((one == other).sum())
    mean, spread = (int((one > other).sum()) + ties / 2) / N, NORMAL_95**2 / N
    center = (mean + spread / 2) / (1 + spread)
    half = math.sqrt(max(center**2 - (mean**2 + spread * ties / (4 * N)) / (1 + spread), 0.0))
    low, high = max(center - half, 0.0), min(center + half, 1.0)  # rounding leaves [0, 1]
    return Share(mean, low, high, ties, N)
