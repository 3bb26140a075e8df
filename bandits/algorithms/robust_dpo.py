"""Robust DPO: DPO on labels of which a known share was flipped.

    loss = ((1 - eps) l(z) - eps l(-z)) / (1 - 2 eps),     l = -log sigma,  z = beta (h(y_w) - h(y_l))

Over flips of probability eps its mean is l(z), DPO's loss of the label before it was flipped.  In p, the
chance that the first answer is labelled the winner, it is DPO with (p - eps) / (1 - 2 eps) for p: label
smoothing (`DPO(smoothing=...)`, "conservative" DPO, cDPO) run backwards.

Who sampled: any fixed law W of pairs.  Where Bradley-Terry labels are flipped with probability eps, it ends
at pi* for every connected W; smoothed DPO does not, with flips or without (T13.14).  Where labels are
cleaner than it was told, p < eps for some pair, the loss may fall for ever: the winner of such a pair pays
nothing for a lead, and is paid.  It has an end iff no set of arms gains by rising above the others,

    sum over i outside S, j inside of ((1 - eps) N_ij - eps N_ji) > 0  for every S,   N_ij the weight of i
    beat j

(T13.14); `fixed_point` finds such a set or the end.

Source: Chowdhury et al. 2024, "Provably Robust DPO: Aligning Language Models with Noisy Feedback",
arXiv:2403.00409; smoothing: Mitchell 2023, "A note on DPO with noisy preferences".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace
from scipy.special import expit

from bandits import checks
from bandits.algorithms.dpo import DPO
from bandits.algorithms.fits import Wins, fitted
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, log_sigmoid, need, stack
from bandits.sampling.laws import Law
from bandits.sampling.rules import Sampling
from bandits.solution import Solution
from bandits.solvers import bradley_terry, margins
from bandits.solvers.ford import Comparisons, Fit

ROUNDING = 1e-13  # share of a comparison below which a loss of the loser is none


@dataclass(frozen=True)
class RobustDPO:
    """DPO that undoes a known share of flipped labels.

    Ends at pi* on every connected law if that share of Bradley-Terry labels is flipped; where labels are
    cleaner than that, maybe nowhere  (T13.14).

    Args:
        beta: strength of the KL to the reference.
        flips: eps, the share of labels that are flipped, in [0, 1/2); at 0 it is DPO.

    Example:
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.5]),
        ...                preference=np.array([[0.5, 1.0], [0.0, 0.5]]))
        >>> RobustDPO(beta=0.5, flips=0.25).update(pair).log_prob  # beta (1.5 sigma(0) + 0.5 sigma(0))
        array([ 0.5, -0.5])
    """

    beta: float
    flips: float = 0.1
    k: ClassVar[int] = 2
    contrastive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        object.__setattr__(self, "flips", checks.number(self.flips, "flips"))
        if not 0 <= self.flips < 0.5:
            raise ValueError(
                f"flips must lie in [0, 1/2), but flips = {self.flips!r}; where more than half "
                f"of the labels are flipped, swap winner and loser"
            )

    def update(self, samples: Samples) -> Update:
        """c = +-beta ((1 - eps) sigma(-beta dh) + eps sigma(beta dh)) / (1 - 2 eps), by label  (T13.14)."""
        p, z = self._label_and_margin(samples)
        exp = array_namespace(z).exp
        c = self.beta * (p * exp(log_sigmoid(-z)) - (1 - p) * exp(log_sigmoid(z)))
        return Update(log_prob=stack(c, -c))

    def loss(self, samples: Samples) -> Array:
        """((1 - eps) l(z) - eps l(-z)) / (1 - 2 eps), averaged over the label, (...)  (T13.14)."""
        p, z = self._label_and_margin(samples)
        return -(p * log_sigmoid(z) + (1 - p) * log_sigmoid(-z))

    def expected_coefficient(self, bandit: Bandit, law: Law, log_ratio: Floats) -> Floats:
        """E[c] of each arm, DPO's with labels smoothed by -eps / (1 - 2 eps)  (T13.14)."""
        x = self.beta * np.where(np.isfinite(log_ratio), log_ratio, 0.0)  # arms without mass are not sampled
        return self.beta * law.likelihood_gradient(bandit, x, -self._backwards)

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """The Bradley-Terry fit of the labels before they were flipped, on a law that stays  (T13.14).

        Raises:
            NoFixedPoint: labels are cleaner than `flips`, or fail Ford's condition: the loss falls for ever.
        """
        if self.flips == 0:
            return DPO(self.beta).closed_form(bandit, sampling, log_start)
        if sampling.on_policy:
            return None
        return fitted(
            self._fit,
            sampling.law(self, bandit, log_start).wins(bandit),
            bandit,
            log_start,
            beta=self.beta,
            method="Newton on the unflipped likelihood (T13.14)",
            remedy=f"take fewer flips than {self.flips:g}, or IPO",
        )

    @property
    def _backwards(self) -> float:
        """eps / (1 - 2 eps): so much of the loss of the other label is taken off."""
        return self.flips / (1 - 2 * self.flips)

    def _label_and_margin(self, samples: Samples) -> tuple[Array, Array]:
        """The label before it was flipped, on average, and beta dh."""
        p, h = need(samples, "preference")[..., 0, 1], samples.log_ratio
        return p + self._backwards * (2 * p - 1), self.beta * (h[..., 0] - h[..., 1])

    def _fit(self, wins: Comparisons, start: Floats) -> Fit:
        """Of one context: of the unflipped wins where none is negative, else of the convex loss itself."""
        unflipped = wins + self._backwards * (wins - wins.T)
        faint = ROUNDING * (wins + wins.T)
        if (unflipped + faint).min() >= 0:
            return bradley_terry.fit(_positive(unflipped, faint), start)
        rising = margins.rising(wins, 1 + self._backwards, self._backwards)
        if rising is None:
            return margins.fit(wins, start, lambda z: -(expit(-z) + self._backwards))
        found = bradley_terry.fit(wins + wins.T, start)  # what is connected
        verdict = (
            f"the loss has no minimiser: labels are cleaner than flips = {self.flips:g}, and it "
            f"falls for ever as the arms {rising.tolist()} rise above the others"
        )
        return found._replace(limit=None, exists=False, unique=False, message=verdict)


def _positive(unflipped: Wins, faint: Wins) -> Wins:
    """Without what is rounding of zero."""
    found = np.asarray(unflipped.toarray() if hasattr(unflipped, "toarray") else unflipped)
    small = np.asarray(faint.toarray() if hasattr(faint, "toarray") else faint)
    return np.where(found > small, found, 0.0)
