"""DPO, direct preference optimisation: logistic regression of labels on log-ratios.

    loss = -log sigma(beta (h(y_w) - h(y_l))),     h = log pi/ref        (Eq. 7)

Who sampled: any fixed law W of pairs.  If the preferences are Bradley-Terry, p = sigma(r - r'), and
the sampling graph is connected, the population optimum is pi* for every W (T5.1).  For any other P it
is the Bradley-Terry maximum-likelihood fit weighted by W, which depends on W (T5.2).  It exists only
if "i beat j at least once" is strongly connected on each component (Ford 1957): with an unbeaten arm
the logits diverge, which is DPO's over-fitting of deterministic preferences made exact (T5.3).

On its own samples (online DPO, `OnPolicy()`) it rests where the preferences beat pi as often as its own
Bradley-Terry model says: pi* again under Bradley-Terry, else neither an equilibrium nor an offline fit
(T5.5). Rounds of it, best answers against worst, are `dynamics.rounds.iterated` (T9.7).

Label smoothing eps mixes the labels, p -> (1 - eps) p + eps (1 - p).  A margin Gamma inside sigma,
beta dh + Gamma(y_w) - Gamma(y_l), gives ref exp((r - Gamma) / beta) (pessimism, Xiong 2023;
T5.4).

Source: Rafailov et al. 2023, "Direct Preference Optimization", arXiv:2305.18290; Xiong et al. 2023,
arXiv:2312.11456.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace

from bandits import checks
from bandits.algorithms.fits import Wins, fitted
from bandits.algorithms.linear import settle
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, fitting, log_sigmoid, need, stack
from bandits.sampling.laws import Law
from bandits.sampling.rules import Sampling
from bandits.solution import Solution
from bandits.solvers import bradley_terry

READ_BY_MARGIN = ("arm", "reward", "reference_log_prob", "length")


class Answers:
    """What a margin may look at: that which an answer has by itself, each (..., k)."""

    arm: Array
    reward: Array
    reference_log_prob: Array
    length: Array

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __getattr__(self, name: str) -> Array:
        if name in READ_BY_MARGIN:
            return need(self._samples, name)
        if not hasattr(Samples, name) and name not in Samples.__dataclass_fields__:
            raise AttributeError(f"answers have no {name}; a margin may read {', '.join(READ_BY_MARGIN)}")
        raise ValueError(
            f"margin may read {', '.join(READ_BY_MARGIN)}, which an answer has by itself, "
            f"but it reads {name}; what depends on the policy or on who sampled makes another algorithm: "
            f"write an object with k and update"
        )


@dataclass(frozen=True)
class DPO:
    """Direct preference optimisation on labelled pairs.

    Ends at pi* under Bradley-Terry, else at a fit that depends on who sampled; with an unbeaten arm,
    nowhere  (T5.2, T5.3).

    Args:
        beta: strength of the KL to the reference.
        smoothing: eps, the share of labels taken as flipped, in [0, 1/2).
        margin: Gamma, a function of `Answers` to (..., k), say `lambda answers: gamma[answers.arm]`; None is
            zero.  It is a number of the answer alone, whoever trains and whoever sampled: it may read `arm`,
            `reward`, `reference_log_prob` and `length`, and have the world's contexts, but not `log_prob` or
            `behavior_log_prob` (pessimism about rare arms: look the behaviour policy up by `arm`).

    Example:
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.5]),
        ...                preference=np.array([[0.5, 1.0], [0.0, 0.5]]))
        >>> DPO(beta=0.5).update(pair).log_prob  # beta sigma(0)
        array([ 0.25, -0.25])
    """

    beta: float
    smoothing: float = 0.0
    margin: Callable[[Answers], Array] | None = None
    k: ClassVar[int] = 2
    contrastive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        object.__setattr__(self, "smoothing", checks.number(self.smoothing, "smoothing"))
        if not 0 <= self.smoothing < 0.5:
            raise ValueError(f"smoothing must lie in [0, 1/2), but smoothing = {self.smoothing!r}")
        if self.margin is not None:
            checks.function(self.margin, "margin", "answers")

    def update(self, samples: Samples) -> Update:
        """c = +-beta sigma(-beta dh), winner and loser averaged over the label, from Eq. (7)  (T5.1)."""
        p, x = self._label_and_logit(samples)
        exp = array_namespace(x).exp
        c = self.beta * (p * exp(log_sigmoid(-x)) - (1 - p) * exp(log_sigmoid(x)))
        return Update(log_prob=stack(c, -c))

    def loss(self, samples: Samples) -> Array:
        """-log sigma(beta dh), averaged over the label, Eq. (7), Rafailov 2023, (...)."""
        p, x = self._label_and_logit(samples)
        return -(p * log_sigmoid(x) + (1 - p) * log_sigmoid(-x))

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """pi* under Bradley-Terry, also on-policy; else the weighted Bradley-Terry fit  (T5.1, T5.2).

        Under Bradley-Terry, a policy at rest on its own samples minimises the loss of that law: it is pi*.

        Raises:
            NoFixedPoint: the loss has no minimiser, by Ford's condition; carries the limit policy  (T5.3).
            NotConverged: the comparisons are too uneven for double precision; carries the last fit.
        """
        law = sampling.law(self, bandit, log_start)
        is_bradley_terry = law.labels is None and bandit.given_preference is None and self.smoothing == 0
        if is_bradley_terry:
            pessimistic = bandit.needed_reward() - self._margin_of_arms(bandit)
            return settle(law, bandit, log_start, pessimistic, self.beta)
        return None if sampling.on_policy else self._fit(bandit, law, log_start)

    def expected_coefficient(self, bandit: Bandit, law: Law, log_ratio: Floats) -> Floats:
        """E[c] of each arm, beta sum_y' S(y, y') (p(y beats y') - sigma(x - x')), x = beta h + Gamma  (T5.2).

        S is the weight of the pair; O(A^2), or O(distinct pairs of a data set).
        """
        seen = np.where(np.isfinite(log_ratio), log_ratio, 0.0)  # arms without mass are not sampled
        x = self.beta * seen + self._margin_of_arms(bandit)
        return self.beta * law.likelihood_gradient(bandit, x, self.smoothing)

    def _wins(self, bandit: Bandit, law: Law) -> Wins:
        wins = law.wins(bandit)
        if self.smoothing == 0:
            return wins
        swapped = wins.T if wins.ndim == 2 else np.swapaxes(wins, -1, -2)
        return (1 - self.smoothing) * wins + self.smoothing * swapped

    def _margin_of_arms(self, bandit: Bandit) -> Floats:
        """Gamma of every arm, (..., A); 0 outside the reference, where nobody samples.

        Raises:
            ValueError: `margin` gives something else, NaN, or contexts that the bandit does not have.
        """
        if self.margin is None:
            return np.zeros(bandit.arms)
        everyone = Samples(
            log_prob=bandit.log_reference[..., None, :],
            reference_log_prob=bandit.log_reference[..., None, :],
            reward=None if bandit.reward is None else bandit.reward[..., None, :],
            length=None if bandit.length is None else bandit.length[..., None, :],
            arm=np.arange(bandit.arms)[None],
        )
        gamma = np.asarray(self._margin(everyone), dtype=float)
        gamma = np.broadcast_to(gamma, np.broadcast_shapes(gamma.shape, (1, bandit.arms)))[..., 0, :]
        gamma = checks.within(gamma, (*bandit.contexts, bandit.arms), "margin")
        return checks.floats(np.where(np.isfinite(bandit.log_reference), gamma, 0.0), "margin")

    def _margin(self, samples: Samples) -> Array:
        """Gamma of each sample, (..., k)."""
        assert self.margin is not None
        return fitting(self.margin(Answers(samples)), samples.log_prob, "margin")

    def _fit(self, bandit: Bandit, law: Law, log_start: Floats) -> Solution:
        """The Bradley-Terry fit of each context, as x = beta h + Gamma."""
        return fitted(
            bradley_terry.fit,
            self._wins(bandit, law),
            bandit,
            log_start,
            beta=self.beta,
            margin=self._margin_of_arms(bandit),
            method="Newton on the Bradley-Terry likelihood (T5.2)",
            remedy="smooth the labels, or use IPO",
        )

    def _label_and_logit(self, samples: Samples) -> tuple[Array, Array]:
        p, h = need(samples, "preference")[..., 0, 1], samples.log_ratio
        x = self.beta * (h[..., 0] - h[..., 1])
        if self.margin is not None:
            gamma = self._margin(samples)
            x = x + gamma[..., 0] - gamma[..., 1]
        return (1 - self.smoothing) * p + self.smoothing * (1 - p), x
