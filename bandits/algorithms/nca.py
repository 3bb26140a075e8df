"""NCA, noise contrastive alignment: is each answer of a labelled pair likelier than under the reference?

    loss = -log sigma(u(y_w)) - log sigma(-u(y_w)) / 2 - log sigma(-u(y_l)) / 2,     u = beta log pi/ref

(the pairwise form, `nca_pair` of trainers).  It charges each answer by itself: averaged over the opponent
and the label, an answer y that is shown with weight m(y) and wins with p(y > mu) costs

    m (p(y > mu) l(u) + l(-u) / 2),     l = -log sigma,     least at e^u = 2 p(y > mu).

Who sampled: any fixed law of pairs.  If pairs come from the reference and beta = 1, these are the
log-ratios of a policy, and the end is exactly 2 ref(y) p(y > ref): best-of-2 by the preferences (T13.13).
For other samplers and beta no policy has all of them, and the end is where the slopes are kappa pi(y):
unique if they would weigh too much, sum ref (2 p)^(1/beta) >= 1 (always for mu = ref and beta <= 1), else
maybe one of several.  It is not pi*.  An arm that never wins dies out.  On its own samples the same balance
holds with mu = pi: p(y > pi) sigma(-u) - sigma(u) / 2 is equal for all arms.

Source: Chen et al. 2024, "Noise Contrastive Alignment of Language Models with Explicit Rewards",
arXiv:2402.05369.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace
from scipy.special import expit

from bandits import checks
from bandits.algorithms.singly import Charge, only_end, tallies
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, log_sigmoid, need, stack
from bandits.sampling.laws import Arms, Law
from bandits.solution import Solution


@dataclass(frozen=True)
class NCA:
    """Noise contrastive alignment on labelled pairs, each answer by itself.

    Ends at 2 ref p(y > ref), best-of-2, if pairs come from the reference and beta = 1; else where the slopes
    of the losses are in proportion to pi; not at pi*  (T13.13).

    Args:
        beta: strength of the KL to the reference.

    Example:
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.5]),
        ...                preference=np.array([[0.5, 1.0], [0.0, 0.5]]))
        >>> NCA(beta=0.5).update(pair).log_prob  # beta (sigma(0) - sigma(0) / 2), -beta sigma(0) / 2
        array([ 0.125, -0.125])
    """

    beta: float
    k: ClassVar[int] = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))

    def update(self, samples: Samples) -> Update:
        """c = beta (sigma(-u) - sigma(u) / 2) of the winner, -beta sigma(u) / 2 of the loser  (T13.13)."""
        p, u = _wins(samples), self.beta * samples.log_ratio
        exp = array_namespace(u).exp
        return Update(log_prob=self.beta * (p * exp(log_sigmoid(-u)) - exp(log_sigmoid(u)) / 2))

    def loss(self, samples: Samples) -> Array:
        """-log sigma(u_w) - log sigma(-u_w) / 2 - log sigma(-u_l) / 2, averaged, (...)  (T13.13)."""
        p, u = _wins(samples), self.beta * samples.log_ratio
        return -(p * log_sigmoid(u) + log_sigmoid(-u) / 2).sum(-1)

    def attractors(self, bandit: Bandit, law: Law, log_start: Floats) -> list[Solution] | None:
        """The only end where the best log-ratios weigh at least one, one context; else None  (T13.13)."""
        wins, shown = tallies(law, bandit)

        def charge_of(some: Arms) -> Charge:
            won, all_of, beta = wins[some].sum(axis=1), shown[some], self.beta
            return Charge(
                gradient=lambda h: beta * (all_of * expit(beta * h) / 2 - won * expit(-beta * h)),
                hessian=lambda h: np.diag(beta**2 * (all_of / 2 + won) * expit(beta * h) * expit(-beta * h)),
            )

        return only_end(charge_of, wins.sum(axis=1) > 0, bandit, log_start)


def _wins(samples: Samples) -> Array:
    """P(it won) of each answer of a pair, (..., 2)."""
    p = need(samples, "preference")[..., 0, 1]
    return stack(p, 1 - p)
