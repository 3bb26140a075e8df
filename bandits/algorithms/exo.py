"""EXO, efficient exact optimisation: the reverse KL of a pair's odds to its smoothed label.

    loss = KL(x || (1 - eps, eps)),     x = sigma(z),  z = beta (h(y_w) - h(y_l)),  h = log pi/ref

(the pairwise form, `exo_pair` of trainers).  Averaged over the label its slope is sigma'(z) (z - (2p - 1)
L), L = log((1 - eps) / eps): every pair pulls its margin to (2p - 1) L, the harder the nearer the margin is
to zero.

Who sampled: any fixed law W of pairs.  Two arms end at the margin (2p - 1) L, which is IPO's at another
beta; three and more do not, since pairs are weighed by sigma' at the end itself (T13.14).  No beta h ever
spreads so far that some gap between neighbours exceeds L: there is always an end; but the loss is not
convex, and there may be several. It is not pi*, Bradley-Terry or not: the margin is linear in p and not in
its log-odds.  On its own samples the same holds, with W of the policy.

Source: Ji et al. 2024, "Towards Efficient Exact Optimization of Language Model Alignment", arXiv:2402.00856.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace
from scipy.special import expit

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, log_sigmoid, need, stack
from bandits.sampling.laws import Law
from bandits.solvers import margins


@dataclass(frozen=True)
class EXO:
    """Reverse KL of the odds of a labelled pair to its label, smoothed.

    Ends on two arms at the margin beta dh = (2p - 1) log((1 - eps) / eps), IPO's; on more near it, where who
    sampled decides; not at pi*  (T13.14).

    Args:
        beta: strength of the KL to the reference.
        smoothing: eps, how far the label is from certain, in (0, 1/2); without it the loss is infinite.

    Example:
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.5]),
        ...                preference=np.array([[0.5, 1.0], [0.0, 0.5]]))
        >>> EXO(beta=0.5, smoothing=0.1).update(pair).log_prob.round(6)  # beta log(9) / 4
        array([ 0.274653, -0.274653])
    """

    beta: float
    smoothing: float = 1e-3
    k: ClassVar[int] = 2
    contrastive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        object.__setattr__(self, "smoothing", checks.number(self.smoothing, "smoothing"))
        if not 0 < self.smoothing < 0.5:
            raise ValueError(
                f"smoothing must lie strictly between 0 and 1/2, but smoothing = {self.smoothing!r}; "
                f"a KL to a certain label is infinite"
            )

    def update(self, samples: Samples) -> Update:
        """c = +-beta sigma'(beta dh) ((2p - 1) log((1 - eps) / eps) - beta dh)  (T13.14)."""
        p, z = self._label_and_margin(samples)
        weight = array_namespace(z).exp(log_sigmoid(z) + log_sigmoid(-z))
        c = self.beta * weight * ((2 * p - 1) * self._margin - z)
        return Update(log_prob=stack(c, -c))

    def loss(self, samples: Samples) -> Array:
        """KL(sigma(z) || label, smoothed), averaged over the label, (...)  (T13.14)."""
        p, z = self._label_and_margin(samples)
        first, second, eps = log_sigmoid(z), log_sigmoid(-z), self.smoothing
        x, won, lost = array_namespace(z).exp(first), float(np.log1p(-eps)), float(np.log(eps))
        right, wrong = p * won + (1 - p) * lost, p * lost + (1 - p) * won
        return x * (first - right) + (1 - x) * (second - wrong)

    def expected_coefficient(self, bandit: Bandit, law: Law, log_ratio: Floats) -> Floats:
        """E[c] of each arm, beta sum_y' S sigma'(z) ((2P - 1) L - z), z = beta (h - h')  (T13.14)."""
        x = self.beta * np.where(np.isfinite(log_ratio), log_ratio, 0.0)  # arms without mass are not sampled
        return self.beta * margins.ascent(law.wins(bandit), x, self._slope)

    @property
    def _margin(self) -> float:
        """L, the margin of a certain label."""
        return float(np.log1p(-self.smoothing) - np.log(self.smoothing))

    def _slope(self, z: Floats) -> Floats:
        """Of the loss of a certain label."""
        return expit(z) * expit(-z) * (z - self._margin)

    def _label_and_margin(self, samples: Samples) -> tuple[Array, Array]:
        h = samples.log_ratio
        return need(samples, "preference")[..., 0, 1], self.beta * (h[..., 0] - h[..., 1])
