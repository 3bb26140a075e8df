"""Cal-DPO: DPO, calibrated: the log-ratios themselves are to be +-1/(2 beta), not their difference alone.

    loss = -log sigma(h(y_w) - h(y_l)) + weight ((h(y_w) - 1/(2 beta))^2 + (h(y_l) + 1/(2 beta))^2)

h = log pi/ref.  The released code has weight 1/2; beta is in the calibration alone.  Averaged over
opponents and labels, an answer y that is shown with weight m(y) and wins with p(y > mu) is to have h = (2
p(y > mu) - 1)/(2 beta).

Who sampled: any fixed law of pairs.  The expected loss is strictly convex in h, and coercive: unlike DPO it
has an end for any labels, certain ones included (T13.13).  Its least h is in general no policy's; the end
is where the slopes are in proportion to pi, and unique if that h would weigh too much, sum ref e^h >= 1:
always where the answers shown are distributed as the reference, else maybe one of several.  It is not pi*,
under Bradley-Terry or not: it depends on who sampled and on the weight.  On its own samples it rests where
the same slopes are equal for all arms.

Source: Xiao et al. 2024, "Cal-DPO: Calibrated Direct Preference Optimization for Language Model Alignment",
arXiv:2412.14516; weight 1/2: github.com/tengxiao1/Cal-DPO, scripts/dpo_trainer.py.
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
class CalDPO:
    """DPO with squares that calibrate the log-ratios of both answers.

    Ends where the slopes of a strictly convex loss of h are in proportion to pi, for any labels; it depends
    on who sampled and is not pi*  (T13.13).

    Args:
        beta: 1/(2 beta) is what the log-ratio of a winner is to be.
        weight: of the squares, positive; at 0 it would be DPO with beta = 1.

    Example:
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.5]),
        ...                preference=np.array([[0.5, 1.0], [0.0, 0.5]]))
        >>> CalDPO(beta=0.5).update(pair).log_prob  # sigma(0) + (1/(2 beta) - 0)
        array([ 1.5, -1.5])
    """

    beta: float
    weight: float = 0.5
    k: ClassVar[int] = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        object.__setattr__(self, "weight", checks.positive(self.weight, "weight"))

    def update(self, samples: Samples) -> Update:
        """c = +-sigma(-dh) + 2 weight (+-1/(2 beta) - h), averaged over the label  (T13.13)."""
        p, h = need(samples, "preference")[..., 0, 1], samples.log_ratio
        dh = h[..., 0] - h[..., 1]
        exp = array_namespace(h).exp
        contrast = p * exp(log_sigmoid(-dh)) - (1 - p) * exp(log_sigmoid(dh))
        goal = (2 * p - 1) / (2 * self.beta)
        return Update(log_prob=stack(contrast, -contrast) + 2 * self.weight * (stack(goal, -goal) - h))

    def loss(self, samples: Samples) -> Array:
        """-log sigma(dh) + weight (squares), averaged over the label, (...)  (T13.13)."""
        p, h = need(samples, "preference")[..., 0, 1], samples.log_ratio
        dh, half = h[..., 0] - h[..., 1], 1 / (2 * self.beta)
        right = (h[..., 0] - half) ** 2 + (h[..., 1] + half) ** 2
        wrong = (h[..., 0] + half) ** 2 + (h[..., 1] - half) ** 2
        contrast = -(p * log_sigmoid(dh) + (1 - p) * log_sigmoid(-dh))
        return contrast + self.weight * (p * right + (1 - p) * wrong)

    def attractors(self, bandit: Bandit, law: Law, log_start: Floats) -> list[Solution] | None:
        """The only end where the least h weighs at least one, one context; else None  (T13.13)."""
        every, shown = tallies(law, bandit)

        def charge_of(some: Arms) -> Charge:
            wins, double = every[np.ix_(some, some)], 2 * self.weight
            goal = (wins.sum(axis=1) - wins.sum(axis=0)) / (2 * self.beta)

            def gradient(h: Floats) -> Floats:
                flow = wins * expit(h - h[:, None])  # N_ij sigma(h_j - h_i)
                return double * (shown[some] * h - goal) - (flow.sum(axis=1) - flow.sum(axis=0))

            def hessian(h: Floats) -> Floats:
                links = (wins + wins.T) * expit(h - h[:, None]) * expit(h[:, None] - h)
                return np.diag(double * shown[some] + links.sum(axis=1)) - links

            return Charge(gradient, hessian)

        return only_end(charge_of, shown > 0, bandit, log_start)
