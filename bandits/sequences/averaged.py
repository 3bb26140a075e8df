"""What if log-probabilities are averaged over tokens?  Any whole-answer algorithm, fed with averages.

    log pi(y) -> log pi(y) / |y|,      c -> c / |y|

for the policy, the reference and the sampler: what trainers do that take the mean over an answer's tokens
where the algorithm speaks of the answer's log-probability.  The coefficient follows by the chain rule.  It is
another objective with another optimum: a law that gave h = r / beta + const now gives h / |y|, so that the
end is ref exp(|y| (r / beta + const)), and long answers run away from the reference  (T4.6, T10.1).

SimPO's reward is such an average, and GSPO's likelihood ratio too: (pi/mu)^(1/|y|)  (T13.12).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from bandits.samples import Array, Samples, Update, group_size, need


@dataclass(frozen=True)
class Averaged:
    """An algorithm whose log-probabilities are averages over tokens instead of sums  (T4.6, T10.1).

    Needs answers with lengths: a `Bandit` with `length`, or a `TokenTable`'s world.

    Args:
        algorithm: any of whole answers, say `IPO(beta=0.1)`.

    Example: an answer of two tokens moves half as much for the same coefficient.

        >>> import numpy as np
        >>> from bandits import IPO
        >>> pair = Samples(log_prob=np.zeros(2), reference_log_prob=np.zeros(2), length=np.array([1.0, 2.0]),
        ...                preference=np.array([[0.5, 1.0], [0.0, 0.5]]))
        >>> (Averaged(IPO(beta=1.0)).update(pair).log_prob / IPO(beta=1.0).update(pair).log_prob).tolist()
        [1.0, 0.5]
    """

    algorithm: Any

    def __post_init__(self) -> None:
        group_size(self.algorithm)  # is it one?
        for name in ("opponent", "log_revision_policy"):
            if hasattr(self.algorithm, name):
                raise ValueError(
                    f"Averaged takes algorithms of one policy alone, but {type(self.algorithm).__name__} has "
                    f"`{name}`, a law of answers that averages over tokens are not; take it as it is"
                )

    @property
    def k(self) -> int:
        """Samples in a group: those of the averaged algorithm."""
        return self.algorithm.k

    @property
    def needs_on_policy(self) -> bool:
        """Whether the averaged algorithm does."""
        return bool(getattr(self.algorithm, "needs_on_policy", False))

    def update(self, samples: Samples) -> Update:
        """c / |y|, c at the averages  (T10.1)."""
        update: Update = self.algorithm.update(averages(samples))
        return replace(update, log_prob=update.log_prob / need(samples, "length"))


def averages(samples: Samples) -> Samples:
    """The samples with log-probabilities divided by the number of tokens."""
    length = need(samples, "length")

    def mean(total: Array | None) -> Array | None:
        return None if total is None else total / length

    return replace(
        samples,
        log_prob=samples.log_prob / length,
        reference_log_prob=mean(samples.reference_log_prob),
        behavior_log_prob=mean(samples.behavior_log_prob),
    )
