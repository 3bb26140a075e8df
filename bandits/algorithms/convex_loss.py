"""GPO, generalised preference optimisation: any function f of the margin charges a labelled pair.

    loss = f(beta (h(y_w) - h(y_l))),     h = log pi/ref

f is a `MarginLoss`, its value and its slope: one of those of `margin_loss.py`, or a reader's own.

                       f(z)               where it ends
    logistic           -log sigma(z)      DPO: the reward, under Bradley-Terry                   (T5.1)
    exponential        e^-z               half the reward: ref exp(r / (2 beta)) / Z             (T12.16)
    savage             sigma(-z)^2        the reward; not convex, other preferences have several ends
    squared            (1 - z)^2          a least-squares ranking, IPO's at beta / 2: always there  (T4.3)
    truncated_squared  max(0, 1 - z)^2    depends on who sampled; a continuum where some arm never lost
    hinge              max(0, 1 - z)      integer margins: `SLiC`                                (T12.18)

Who sampled: any fixed law W of pairs.  beta h minimises E f(z - z'), so that beta only says how far the
policy goes (T12.15).  Under Bradley-Terry, if f'(-z) / f'(z) = e^(cz), the end is ref exp(r / (c beta)) / Z
whoever sampled, f convex or not (T12.16); any other f depends on W, the less the nearer the preferences are
to a tie, where all are IPO's (T12.17).  A convex f that falls for ever needs Ford's condition (T5.3).  On
its own samples: the end under Bradley-Terry with such a c, else where the fit of pi's own pairs is pi.

Source: Tang et al. 2024, "Generalized Preference Optimization", Table 1, arXiv:2402.05749.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from bandits import checks
from bandits.algorithms.fits import fitted
from bandits.algorithms.linear import settle
from bandits.algorithms.margin_loss import MarginLoss, hinge, logistic, reward_scale
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, need, stack
from bandits.sampling.laws import Law
from bandits.sampling.rules import Sampling
from bandits.solution import Solution
from bandits.solvers import hinge as network
from bandits.solvers import margins


@dataclass(frozen=True)
class ConvexLoss:
    """Any loss f of the margin beta (h_w - h_l) of a labelled pair; DPO at its default.

    Ends where beta h has the least E f: the reward under Bradley-Terry if f'(-z) / f'(z) is an exponential,
    else it depends on who sampled  (T12.15, T12.16).

    Args:
        beta: strength of the KL to the reference.
        f: what a margin costs, a `MarginLoss`.

    Example:
        >>> from bandits import squared
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.5]),
        ...                preference=np.array([[0.5, 1.0], [0.0, 0.5]]))
        >>> ConvexLoss(beta=0.5, f=squared).update(pair).log_prob  # -beta f'(0)
        array([ 1., -1.])
    """

    beta: float
    f: MarginLoss = logistic
    k: ClassVar[int] = 2
    contrastive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        remedy = (
            "give MarginLoss(value, slope), or one of bandits.logistic, squared, exponential, savage, hinge"
        )
        checks.instance(self.f, MarginLoss, "f", remedy)

    def update(self, samples: Samples) -> Update:
        """c = -+beta f'(beta dh), winner and loser averaged over the label  (T12.15)."""
        c = self.beta * self.f.coefficient(*self._label_and_margin(samples))
        return Update(log_prob=stack(c, -c))

    def loss(self, samples: Samples) -> Array:
        """f(beta dh), averaged over the label, (...)  (T12.15)."""
        return self.f.mean(*self._label_and_margin(samples))

    def expected_coefficient(self, bandit: Bandit, law: Law, log_ratio: Floats) -> Floats:
        """E[c] of each arm, -beta sum_y' (N f'(x - x') - N' f'(x' - x)), N the wins, x = beta h  (T12.15)."""
        x = self.beta * np.where(np.isfinite(log_ratio), log_ratio, 0.0)  # arms without mass are not sampled
        return self.beta * margins.ascent(law.wins(bandit), x, self.f.slope)

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """ref exp(r / (c beta)) / Z under Bradley-Terry; else the fit of a convex f  (T12.16).

        Raises:
            NoFixedPoint: f falls for ever and the comparisons fail Ford's condition  (T5.3).
        """
        law, c = sampling.law(self, bandit, log_start), reward_scale(self.f)
        if c is not None and law.labels is None and bandit.given_preference is None:
            return settle(law, bandit, log_start, bandit.needed_reward() / c, self.beta)
        if sampling.on_policy or not self.f.convex:
            return None
        jumps = self.f is hinge
        return fitted(
            network.fit if jumps else partial(margins.fit, slope=self.f.slope),
            law.wins(bandit),
            bandit,
            log_start,
            beta=self.beta,
            method="network linear programme (T12.18)" if jumps else "Newton on the margins (T12.16)",
            remedy="take a loss that rises again, such as squared",
            at_jump=jumps,
        )

    def _label_and_margin(self, samples: Samples) -> tuple[Array, Array]:
        h = samples.log_ratio
        return need(samples, "preference")[..., 0, 1], self.beta * (h[..., 0] - h[..., 1])
