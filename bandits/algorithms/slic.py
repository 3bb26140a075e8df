"""SLiC, sequence likelihood calibration: a hinge on the margin of a labelled pair.

    loss = max(0, 1 - beta (h(y_w) - h(y_l))),     h = log pi/ref

As preference trainers have it (`loss_type="hinge"`): the log-ratios in the place of the log-likelihoods, and
without the regulariser of the paper.  It is `ConvexLoss` with f = `hinge`.

Who sampled: any fixed law W of pairs.  The end is a network linear programme: scores u = beta h that are
integers, so that the policy knows rewards by the rung alone, ref e^(u / beta) / Z, and which rung depends
on W (T12.18).  It stands at the hinge's kinks, where the update jumps: the `Solution` says so, and its
residual is that of the optimality conditions.  Ties and arms that never lost leave a continuum, in which
the start decides: `fixed_point` then follows the flow to where it enters it.  On its own samples it comes
to no rest that the update would show: it is held at a jump, to and fro.

Source: Zhao et al. 2023, "SLiC-HF", arXiv:2305.10425; Tang et al. 2024, arXiv:2402.05749.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bandits import checks
from bandits.algorithms.convex_loss import ConvexLoss
from bandits.algorithms.margin_loss import hinge
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update
from bandits.sampling.laws import Law
from bandits.sampling.rules import Sampling
from bandits.solution import Solution


@dataclass(frozen=True)
class SLiC:
    """A hinge on the margin beta (h_w - h_l) of a labelled pair.

    Ends at ref exp(u / beta) / Z with integers u, a network linear programme that depends on who sampled;
    ties leave a continuum  (T12.18).

    Args:
        beta: strength of the KL to the reference; a lead of 1 / beta in log-ratios is enough.

    Example:
        >>> import numpy as np
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.5]),
        ...                preference=np.array([[0.5, 1.0], [0.0, 0.5]]))
        >>> SLiC(beta=0.5).update(pair).log_prob  # short of the lead, whatever by
        array([ 0.5, -0.5])
    """

    beta: float
    k: ClassVar[int] = 2
    contrastive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))

    def update(self, samples: Samples) -> Update:
        """c = +-beta where beta dh < 1, else 0, winner and loser averaged over the label  (T12.18)."""
        return self._as_convex_loss.update(samples)

    def loss(self, samples: Samples) -> Array:
        """max(0, 1 - beta dh), averaged over the label, (...)  (T12.18)."""
        return self._as_convex_loss.loss(samples)

    def expected_coefficient(self, bandit: Bandit, law: Law, log_ratio: Floats) -> Floats:
        """E[c] of each arm  (T12.18)."""
        return self._as_convex_loss.expected_coefficient(bandit, law, log_ratio)

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """The network programme where it has one solution, on a law that stays  (T12.18)."""
        return self._as_convex_loss.closed_form(bandit, sampling, log_start)

    @property
    def _as_convex_loss(self) -> ConvexLoss:
        return ConvexLoss(self.beta, hinge)
