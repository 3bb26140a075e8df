"""chi-PO: DPO whose policy pays for x = pi/ref itself, not only for its logarithm.

    loss = -log sigma(beta (phi(x_w) - phi(x_l))),     phi(x) = x + log x,   x = pi/ref

DPO's link log x, with x in front: the regulariser behind it is the chi-squared divergence plus the KL, and
an answer that the reference hardly knows has to be paid for in full.

Who sampled: any fixed law W of pairs.  v = beta phi(x) rises with log pi from -inf to +inf, so that v up to a
constant is the policy in other coordinates, in which the loss is DPO's: one end on a connected law, the
Bradley-Terry fit v of the comparisons (T5.2), or v = r + c for every W under Bradley-Terry,

    x + log x = (r + c) / beta,     c such that sum ref x = 1  (T13.17):

x = omega((r + c) / beta), Wright's function.  It exists where DPO's does: with an unbeaten arm the logits
diverge (T5.3).  On its own samples it rests there too.

The paper clips the margin at 2 R_max, a bound of the rewards' differences, which is inactive at the end;
here nothing is clipped.

Source: Huang et al. 2024, "Correcting the Mythos of KL-Regularization: Direct Alignment without
Overoptimization via Chi-Squared Preference Optimization", arXiv:2407.13399.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace
from scipy.special import wrightomega

from bandits import checks
from bandits.algorithms.dpo import DPO
from bandits.algorithms.scores import rescored
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, log_sigmoid, need, stack
from bandits.sampling.rules import Sampling
from bandits.solution import Solution


@dataclass(frozen=True)
class ChiPO:
    """chi-squared preference optimisation on labelled pairs.

    Ends at pi/ref + log pi/ref = r / beta + c under Bradley-Terry, whoever sampled: nearer to the reference
    than pi*; else at DPO's fit, read so  (T13.17).

    Args:
        beta: strength of the KL and of the chi-squared divergence to the reference.

    Example: the margin is beta ((2 + log 2) - (1/2 + log 1/2)) = 1.5 + log 4, weighed by beta (1 + x).
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.25, 1.0]),
        ...                preference=np.array([[0.5, 1.0], [0.0, 0.5]]))
        >>> c = 1 / (1 + 4 * np.exp(1.5))
        >>> (ChiPO(beta=1.0).update(pair).log_prob / c).round(12)
        array([ 3. , -1.5])
    """

    beta: float
    k: ClassVar[int] = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))

    def update(self, samples: Samples) -> Update:
        """c = +-beta (1 + x) sigma(-margin), averaged over the label, Algorithm 1  (T13.17)."""
        p, z, ratio = self._label_margin_and_ratio(samples)
        exp = array_namespace(z).exp
        pull = self.beta * (p * exp(log_sigmoid(-z)) - (1 - p) * exp(log_sigmoid(z)))
        return Update(log_prob=stack(pull, -pull) * (1 + ratio))

    def loss(self, samples: Samples) -> Array:
        """-log sigma(beta (phi(x_w) - phi(x_l))), averaged over the label, Huang 2024, (...)."""
        p, z, _ = self._label_margin_and_ratio(samples)
        return -(p * log_sigmoid(z) + (1 - p) * log_sigmoid(-z))

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """x = omega((v + c) / beta), v DPO's fit at beta = 1: the reward under Bradley-Terry  (T13.17).

        Raises:
            NoFixedPoint: as DPO's  (T5.3).
        """
        fit = partial(DPO(1.0).closed_form, bandit, sampling, log_start)
        return rescored(fit, lambda v: bandit.log_reference + _log_omega(v / self.beta))

    def _label_margin_and_ratio(self, samples: Samples) -> tuple[Array, Array, Array]:
        h = samples.log_ratio
        ratio = array_namespace(h).exp(h)
        score = self.beta * (ratio + h)
        return need(samples, "preference")[..., 0, 1], score[..., 0] - score[..., 1], ratio


def _log_omega(u: Floats) -> Floats:
    """log x with x + log x = u."""
    x = wrightomega(u)
    with np.errstate(divide="ignore"):
        return np.where(u > 1, np.log(x), u - x)
