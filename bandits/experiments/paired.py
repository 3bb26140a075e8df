"""Is one better than another, world by world?  The mean of paired differences and how sure it is."""

from __future__ import annotations

import numpy as np
from scipy import stats

from bandits.checks import Floats


def mean_interval(runs: Floats, level: float = 0.95) -> Floats:
    """Lower end, mean and upper end of Student's interval over the first axis, (3, ...).

    Example: 1 +- 4.303 / sqrt 3, for three runs of deviation 1.
        >>> mean_interval(np.array([0.0, 1.0, 2.0])).round(3)
        array([-1.484,  1.   ,  3.484])
    """
    count = len(runs)
    mean, deviation = runs.mean(axis=0), runs.std(axis=0, ddof=1)
    half = stats.t.ppf((1 + level) / 2, count - 1) * deviation / np.sqrt(count)
    return np.stack([mean - half, mean, mean + half])
