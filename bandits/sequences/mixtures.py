"""What if Nash-MD mixes token by token?  The opponent that a model can sample, beside the theory's.

T6.4's opponent is the mixture of whole answers, pi(y)^(1-eps) ref(y)^eps / Z.  A model that mixes the
logits of each next token samples

    q(y) = prod_t pi(y_t | y_<t)^(1-eps) ref(y_t | y_<t)^eps / Z(y_<t),

in which every Z is at most one: prefixes on which policy and reference disagree weigh more than in the
mixture of answers.  It is another opponent, with another end  (T10.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import log_softmax

from bandits.algorithms.nash_md import NashMD
from bandits.checks import Floats
from bandits.samples import Samples, Update
from bandits.sequences.table import TokenTable


@dataclass(frozen=True)
class TokenNashMD:
    """Nash-MD policy gradient against the mixture of next tokens  (T6.4, T10.1).

    Args:
        beta: strength of the KL to the reference.
        mixture: eps, weight of the reference in the opponent, in [0, 1].
        table: the answers.

    Example: as `NashMD`: the first answer beats the opponent's with 3/4, c = 3/4 - 1/2.

        >>> start, p = np.log([0.5, 0.5]), np.array([[0.5, 0.75], [0.25, 0.5]])
        >>> pair = Samples(log_prob=start, reference_log_prob=start, preference=p)
        >>> table = TokenTable(np.zeros(2), length=1, end=None)
        >>> TokenNashMD(beta=1.0, mixture=0.5, table=table).update(pair).log_prob
        array([0.25, 0.  ])
    """

    beta: float
    mixture: float
    table: TokenTable
    k: ClassVar[int] = 2
    needs_on_policy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        whole = self._whole  # its checks are ours
        object.__setattr__(self, "beta", whole.beta)
        object.__setattr__(self, "mixture", whole.mixture)

    def opponent(self, log_policy: Floats, log_reference: Floats) -> Floats:
        """log q of whole answers, (..., A)."""
        policy, reference = map(self.table.conditionals, (log_policy, log_reference))
        mixed = self._whole.opponent(policy, reference)
        return np.where(self.table.mask > 0, mixed - self._log_normaliser(policy, reference), 0.0).sum(-1)

    def update(self, samples: Samples) -> Update:
        """c = p(y beats y') - 1/2 - beta h(y), as `NashMD`."""
        return self._whole.update(samples)

    def _log_normaliser(self, policy: Floats, reference: Floats) -> Floats:
        """log Z of the prefix that each token stands behind, (..., A, T)."""
        table = self.table
        rows = np.full((*policy.shape[:-2], len(table.prefixes), table.logits.shape[-1]), -np.inf)
        mixed = self._whole.opponent(policy, reference)
        here = table.mask > 0
        rows[..., table.nodes[here], table.tokens[here]] = mixed[..., here]
        normalised = log_softmax(rows, axis=-1)
        return mixed - normalised[..., table.nodes, table.tokens]

    @property
    def _whole(self) -> NashMD:
        return NashMD(self.beta, self.mixture)
