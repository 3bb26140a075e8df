"""ORPO: imitate the winner, and pull the odds of winner and loser apart; no reference.

    loss = -log P_w - lambda log sigma(log odds(P_w) - log odds(P_l)),     odds(P) = P / (1 - P)  (Eqs. 6-7)

P is the probability of the whole answer, or with `average` that of a typical token of it, pi^(1/length): the
loss of the paper, with as much weight for a long answer as for a short one.

Who sampled: any fixed law of pairs.  There is no KL and no beta: with lambda = 0 the end is how often each
answer wins, and lambda draws odds apart beyond that.  On two answers of one token, p the better one's wins,

    (pi - p) + 2 lambda (sigma(2 logit pi) - p) = 0  (T13.15).

On more the loss is not convex in the logits; where it ends is searched for, and no world with two ends was
found.  An answer that never wins loses all mass.  On its own samples the flow is followed too.

Source: Hong et al. 2024, "ORPO: Monolithic Preference Optimization without Reference Model",
arXiv:2403.07691.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from array_api_compat import array_namespace

from bandits import checks
from bandits.samples import Array, Samples, Update, log_sigmoid, need, stack

ROUNDING = 2.0**-53  # a smaller 1 - P is none that log P could tell


@dataclass(frozen=True)
class ORPO:
    """Odds-ratio preference optimisation on labelled pairs.

    Ends at (pi - p) + 2 lambda (sigma(2 logit pi) - p) = 0 on two answers, between imitation of the winners
    and the best of them; on more by search  (T13.15).

    Args:
        weight: lambda, of the odds ratio against imitation.
        average: P = pi^(1/length), as the paper has it; False: P = pi, and no lengths are needed.

    Example: even odds; imitation gives 1, the odds ratio sigma(0) / (1 - P) = 1 to either.
        >>> import numpy as np
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), preference=np.array([[0.5, 1.0], [0.0, 0.5]]))
        >>> ORPO(weight=0.25, average=False).update(pair).log_prob
        array([ 1.25, -0.25])
    """

    weight: float = 0.1
    average: bool = True
    k: ClassVar[int] = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", checks.positive(self.weight, "weight"))
        object.__setattr__(self, "average", checks.flag(self.average, "average"))

    def update(self, samples: Samples) -> Update:
        """c = +-lambda sigma(-z) / (1 - P) and 1 for the winner, over its length, Eqs. (6)-(7)  (T13.15)."""
        log_p, log_rest = self._log_probabilities(samples)
        xp, p, z = array_namespace(log_p), need(samples, "preference")[..., 0, 1], _lead(log_p, log_rest)
        apart = [_apart(xp, p, z, log_rest[..., i]) for i in (0, 1)]
        c = stack(p + self.weight * apart[0], 1 - p - self.weight * apart[1])
        return Update(log_prob=c / need(samples, "length") if self.average else c)

    def loss(self, samples: Samples) -> Array:
        """-log P_w - lambda log sigma(z), z the log odds ratio, averaged over the label, (...)  (T13.15)."""
        log_p, log_rest = self._log_probabilities(samples)
        p, z = need(samples, "preference")[..., 0, 1], _lead(log_p, log_rest)
        imitation = p * log_p[..., 0] + (1 - p) * log_p[..., 1]
        return -imitation - self.weight * (p * log_sigmoid(z) + (1 - p) * log_sigmoid(-z))

    def _log_probabilities(self, samples: Samples) -> tuple[Array, Array]:
        """log P and log (1 - P), (..., 2)."""
        log_p = samples.log_prob / need(samples, "length") if self.average else samples.log_prob
        xp = array_namespace(log_p)
        rest = -xp.expm1(log_p)
        return log_p, xp.log(xp.where(rest > ROUNDING, rest, ROUNDING + 0 * rest))


def _lead(log_p: Array, log_rest: Array) -> Array:
    """log odds(P_0) - log odds(P_1), (...)."""
    log_odds = log_p - log_rest
    return log_odds[..., 0] - log_odds[..., 1]


def _apart(xp: Any, p: Array, z: Array, log_rest: Array) -> Array:
    """(p sigma(-z) - (1 - p) sigma(z)) / (1 - P), (...): finite where P is near 1 and leads."""
    return p * xp.exp(log_sigmoid(-z) - log_rest) - (1 - p) * xp.exp(log_sigmoid(z) - log_rest)
