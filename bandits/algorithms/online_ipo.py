"""Online IPO: IPO's regression on pairs that the policy itself produces.

The coefficient is IPO's; only the sampler differs, and with it the answer.  Off-policy IPO ends at
ref exp(p(y beats mu) / beta) / Z; with both answers from the current policy the fixed point is the
regularised equilibrium pi* = ref exp(p(y beats pi*) / beta) / Z  (T6.6), the same as Nash-MD's limit.

Who samples: the policy, two independent answers (the gradient does not pass through the sampler).
Source: Calandriello et al. 2024, "Human Alignment of Large Language Models through Online Preference
Optimisation", arXiv:2403.08635.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bandits import checks
from bandits.algorithms.ipo import IPO
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update
from bandits.sampling.rules import Sampling
from bandits.solution import Solution


@dataclass(frozen=True)
class OnlineIPO:
    """IPO on the policy's own pairs; takes `OnPolicy()` only.

    Ends at the regularised equilibrium  (T6.6).

    Example: p = 3/4 and h = 0: 2 (3/4 - 1/2) / beta.

        >>> import numpy as np
        >>> start, p = np.log([0.5, 0.5]), np.array([[0.5, 0.75], [0.25, 0.5]])
        >>> pair = Samples(log_prob=start, reference_log_prob=start, preference=p)
        >>> OnlineIPO(beta=0.5).update(pair).log_prob
        array([ 1., -1.])
    """

    beta: float
    k: ClassVar[int] = 2
    contrastive: ClassVar[bool] = True
    needs_on_policy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))

    def update(self, samples: Samples) -> Update:
        """IPO's coefficient, +-2 ((p - 1/2)/beta - dh)  (T4.2)."""
        return IPO(beta=self.beta).update(samples)

    def loss(self, samples: Samples) -> Array:
        """IPO's loss of the pairs at hand, (...); the sampler is not differentiated  (T4.2)."""
        return IPO(beta=self.beta).loss(samples)

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """The regularised equilibrium  (T6.6)."""
        return IPO(beta=self.beta).closed_form(bandit, sampling, log_start)
