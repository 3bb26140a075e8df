"""SimPO: DPO on log-probabilities averaged over tokens, with a margin to reach and no reference.

    loss = -log sigma(s(y_w) - s(y_l) - gamma),     s(y) = beta log pi(y) / |y|        (Eq. 6)

Who sampled: any fixed law W of pairs.  There is no KL and no reference, which decides at most where
training starts.

Where it ends (T13.15).  The loss is not convex in the logits, as lengths differ; but s rises with log pi from
-inf to +inf, so that scores up to a constant are the policy in other coordinates, and in them the loss is
convex: one end on a connected law, pi = exp(|y| (v + c) / beta) with v the fit of

    least sum of wins N(y, y') log(1 + e^(gamma - v + v')),     c such that sum pi = 1,

which depends on W.  It exists where DPO's does: an unbeaten arm takes all (T5.3).  Two arms, one of which
wins with p, lie apart by z = s - s', g = e^-gamma:

    e^z = ((2p - 1) + sqrt((2p - 1)^2 + 4 p (1 - p) g^2)) / (2 (1 - p) g).

At equal scores a longer answer is exponentially less likely.  On its own samples W moves with the policy, and
the flow is followed.

Source: Meng et al. 2024, "SimPO: Simple Preference Optimization with a Reference-Free Reward",
arXiv:2405.14734.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from array_api_compat import array_namespace
from scipy.special import expit

from bandits import checks
from bandits.algorithms.fits import fitted
from bandits.algorithms.scores import rescored
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, log_sigmoid, need, stack
from bandits.sampling.rules import Sampling
from bandits.solution import Solution
from bandits.solvers import margins


@dataclass(frozen=True)
class SimPO:
    """Simple preference optimisation on labelled pairs, by log-probability per token.

    Ends at exp(length (v + c) / beta), v the fit of the comparisons with the margin gamma, which depends on
    who sampled; the reference does not enter  (T13.15).

    Args:
        beta: what multiplies the log-probability per token; no KL's strength.
        margin: gamma, at least 0, how far the winner's score is to lead.

    Example: log-probabilities -1 and -4 of 1 and 2 tokens: -1 against -2 per token, so that z = 1 = gamma.
        >>> import numpy as np
        >>> pair = Samples(log_prob=np.array([-1.0, -4.0]), length=np.array([1.0, 2.0]),
        ...                preference=np.array([[0.5, 1.0], [0.0, 0.5]]))
        >>> SimPO(beta=1.0, margin=1.0).update(pair).log_prob  # beta sigma(0) / length
        array([ 0.5 , -0.25])
    """

    beta: float
    margin: float = 0.5
    k: ClassVar[int] = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        object.__setattr__(self, "margin", checks.number(self.margin, "margin"))
        if self.margin < 0:
            raise ValueError(f"margin must be 0 or more, but margin = {self.margin!r}")

    def update(self, samples: Samples) -> Update:
        """c = +-beta sigma(gamma - z) / length, averaged over the label, from Eq. (6)  (T13.15)."""
        p, z = self._label_and_lead(samples)
        exp = array_namespace(z).exp
        kept, flipped = exp(log_sigmoid(self.margin - z)), exp(log_sigmoid(self.margin + z))
        pull = self.beta * (p * kept - (1 - p) * flipped)
        return Update(log_prob=stack(pull, -pull) / need(samples, "length"))

    def loss(self, samples: Samples) -> Array:
        """-log sigma(z - gamma), averaged over the label, Eq. (6), Meng 2024, (...)."""
        p, z = self._label_and_lead(samples)
        return -(p * log_sigmoid(z - self.margin) + (1 - p) * log_sigmoid(-z - self.margin))

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """exp(length (v + c) / beta), v by Newton's method; None on-policy  (T13.15).

        Raises:
            NoFixedPoint: the loss has no minimiser, by Ford's condition; carries the limit policy  (T5.3).
        """
        if sampling.on_policy or bandit.length is None:
            return None
        tokens, law = bandit.length, sampling.law(self, bandit, log_start)
        fit = partial(margins.fit, slope=lambda z: -expit(self.margin - z))
        scores = partial(
            fitted,
            fit,
            law.wins(bandit),
            bandit,
            log_start,
            beta=1.0,
            method="Newton on the margins (T13.15)",
            remedy="leave no arm unbeaten",
        )
        return rescored(scores, lambda v: tokens * v / self.beta)

    def _label_and_lead(self, samples: Samples) -> tuple[Array, Array]:
        """p and z = s(y) - s(y'), (...)."""
        score = self.beta * samples.log_prob / need(samples, "length")
        return need(samples, "preference")[..., 0, 1], score[..., 0] - score[..., 1]
