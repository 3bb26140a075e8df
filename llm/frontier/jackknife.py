"""How far is an estimate off, and how sure is it?  What becomes of it without each of its samples.

With theta from n samples and theta_(i) from all but the i-th,

    corrected   n theta - (n - 1) mean theta_(i)              a bias of order 1/n is gone
    se^2        (n - 1)/n sum_i (theta_(i) - mean theta_(i))^2

and of N prompts, each with its corrected estimate, the mean has two standard errors:

    on these prompts      sqrt(sum se^2) / N                  other completions had been drawn
    of prompts like these sd / sqrt(N)                        other prompts too: the second contains the first

Source: Quenouille 1956, Biometrika 43; Tukey 1958; Efron & Stein 1981, Annals of Statistics 9 (the squared
error is too large on average rather than too small).
"""

from typing import NamedTuple

import numpy as np

from bandits.checks import Floats


class Estimate(NamedTuple):
    """A number for each prompt, its bias of first order gone, and its standard error, (..., prompts)."""

    value: Floats
    se: Floats


class Mean(NamedTuple):
    """The mean over prompts, (...), its standard error on these prompts, and of prompts like these."""

    value: Floats
    se: Floats
    total_se: Floats  # NaN of one prompt


def jackknife(whole: Floats, without: Floats) -> Estimate:
    """The corrected estimate and its standard error, (...), from theta (...) and all theta_(i) (..., n).

    Example: the mean of 1, 2, 6 is not biased; its squared error is that of the textbook, 7/3.

        >>> found = jackknife(np.array(3.0), np.array([4.0, 3.5, 1.5]))
        >>> round(float(found.value), 12), round(float(found.se**2), 12)
        (3.0, 2.333333333333)
    """
    n, mean = without.shape[-1], without.mean(axis=-1)
    spread = ((without - mean[..., None]) ** 2).sum(axis=-1)
    return Estimate(n * whole - (n - 1) * mean, np.sqrt((n - 1) / n * spread))


def over_prompts(found: Estimate) -> Mean:
    """The mean of the last axis, with both standard errors.

    Example:
        >>> over_prompts(Estimate(np.array([1.0, 3.0]), np.array([0.3, 0.4])))
        Mean(value=np.float64(2.0), se=np.float64(0.25), total_se=np.float64(1.0))
    """
    N = found.value.shape[-1]
    total = (
        found.value.std(axis=-1, ddof=1) / np.sqrt(N) if N > 1 else np.full(found.value.shape[:-1], np.nan)
    )
    return Mean(found.value.mean(axis=-1), np.sqrt((found.se**2).sum(axis=-1)) / N, total)
