"""May an algorithm be taken at its word?  What it claims of itself, against what its `update` does.

`linear`, `expected_coefficient`, `closed_form` and `attractors` are promises.  A class that inherits them and
changes its `update` breaks them unawares, so that they are compared with the update first, at policies where
nothing cancels; an algorithm that breaks one is judged by its update alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.exact import expected_update
from bandits.policy import normalised
from bandits.samples import Algorithm, Samples, Update
from bandits.sampling.rules import Sampling

FALSE = 1e-8  # difference of a claim to the update, relative to the update: it is another one
CLAIMS = ("linear", "expected_coefficient", "closed_form", "attractors")


@dataclass(frozen=True)
class Bare:
    """An algorithm of which nothing is believed but its `update`, and who it says has to sample."""

    algorithm: Any

    @property
    def k(self) -> int:
        """Samples in a group."""
        return self.algorithm.k

    def update(self, samples: Samples) -> Update:
        """The algorithm's own."""
        return self.algorithm.update(samples)

    def __getattr__(self, name: str) -> Any:
        if name in ("opponent", "needs_on_policy", "log_revision_policy"):
            return getattr(self.algorithm, name)
        raise AttributeError(name)


def probes(bandit: Bandit, count: int = 3) -> Floats:
    """Policies at which nothing cancels: away from the reference, with its support, (count, A)."""
    y = np.arange(bandit.arms)
    away = np.stack([np.cos(1.0 + (2 + i) * y + i) for i in range(count)])
    return np.exp(normalised(bandit.log_reference + away))


def believable(algorithm: Algorithm, bandit: Bandit, sampling: Sampling) -> Algorithm:
    """The algorithm, or `Bare` where the expected update that it claims is not that of its `update`."""
    if not any(hasattr(algorithm, name) for name in CLAIMS):
        return algorithm
    bare, policies = Bare(algorithm), probes(bandit)
    said, done = (expected_update(each, bandit, sampling, policies) for each in (algorithm, bare))
    return algorithm if np.abs(said - done).max() <= FALSE * max(np.abs(done).max(), 1e-300) else bare
