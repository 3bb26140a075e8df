"""Importance weights: an on-policy algorithm on somebody else's samples.

    c_i -> w c_i,   w = prod_j pi(y_j) / mu(y_j)        (not differentiated)

over the k samples of a group, drawn independently of each other, so that the expectation over mu equals
the expectation over pi and the on-policy fixed points come back.  The price is variance, which grows without
bound as mu(y) -> 0 where pi has mass (T2.6).  Clipping, w -> min(w, clip), bounds it and gives up exactly
this equality.  On dependent pairs w is no likelihood ratio: the expectation is then another one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Samples, Update, group_size, need, present, sample_axes
from bandits.sampling.laws import Product
from bandits.sampling.rules import OnPolicy, Sampling
from bandits.solution import Solution


@dataclass(frozen=True)
class ImportanceWeighted:
    """An algorithm whose coefficients are multiplied by the likelihood ratio of its samples.

    Ends where the algorithm does on-policy, if nothing is clipped and every arm is sampled  (T2.6).

    Args:
        algorithm: any algorithm that is right on-policy, say `RLOO(beta=0.5, k=2)`.
        clip: largest weight; infinite by default, which is unbiased.

    Example: an answer that the policy gives twice as often as who sampled it counts twice: c = 2 (1 - 0).

        >>> import numpy as np
        >>> from bandits import PolicyGradient
        >>> one = Samples(log_prob=np.log([0.5]), reference_log_prob=np.log([0.5]),
        ...               behavior_log_prob=np.log([0.25]), reward=np.array([1.0]))
        >>> ImportanceWeighted(PolicyGradient(beta=0.5)).update(one).log_prob
        array([2.])
    """

    algorithm: Any
    clip: float = math.inf
    weighted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "clip", checks.positive_or_infinite(self.clip, "clip"))
        group_size(self.algorithm)  # is it one?
        around = getattr(self.algorithm, "algorithm", None)  # what it is built around, where it is a wrapper
        if getattr(self.algorithm, "weighted", False) or getattr(around, "weighted", False):
            raise ValueError(
                "algorithm must not weight its samples itself, "
                f"but {type(self.algorithm).__name__} does; use it alone"
            )
        if hasattr(self.algorithm, "opponent"):
            raise ValueError(
                f"algorithm must take all its samples from the policy, but {type(self.algorithm).__name__} "
                f"brings its own opponent, whose weight is not pi/mu; use it with OnPolicy()"
            )

    @property
    def k(self) -> int:
        """Samples in a group: those of the weighted algorithm."""
        return self.algorithm.k

    def update(self, samples: Samples) -> Update:
        """w c, w = min(prod_j pi(y_j)/mu(y_j), clip)  (T2.6)."""
        xp = array_namespace(samples.log_prob)
        log_weight = (samples.log_prob - need(samples, "behavior_log_prob")).sum(-1)
        weight = xp.exp(xp.clip(log_weight, max=math.log(self.clip)))
        update, axes = self.algorithm.update(samples), sample_axes(Update)
        weighted = {name: weight[(..., *[None] * axes[name])] * c for name, c in present(update).items()}
        return replace(update, **weighted)

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """The on-policy fixed point, if no weight is clipped and every place of the group sees every arm.

        None otherwise, and where the samples of a group depend on each other (Pairs, Dataset).
        """
        law, on_policy = sampling.law(self, bandit, log_start), getattr(self.algorithm, "closed_form", None)
        if on_policy is None or math.isfinite(self.clip) or not isinstance(law, Product):
            return None
        covered = [np.all((mu > 0) | (bandit.reference == 0)) for mu in law.marginals]
        return on_policy(bandit, OnPolicy(), log_start) if all(covered) else None
