"""SPPO, self-play preference optimisation: regress each answer's log-ratio on how often it wins.

    c_i = (1/2) (p_i - 1/2 - beta h_i),      h = log pi/ref,   beta = 1/eta

p_i is the probability, or the 0/1 label, that answer i of a pair beats the other ("soft" and "hard": labels
add noise, the expectation is the same).  c is minus the gradient of the sum of (p_i - 1/2 - beta h_i)^2 over
4 beta: the squared residual of the exponential-weights step pi_t exp(eta p(y beats pi_t)) / Z, whose
eta^-1 log Z is taken to be 1/2.

Who samples: the reference, mu = ref = pi_t, the policy of a round ago.  A loss of one answer at a time
misses its pointwise optimum beta h = p - 1/2, which is no policy; with x = pi/mu and p = p(y beats mu)

    log x + C x = eta (p - 1/2),      C = KL(mu || pi)  (T13.13, T13.19):

PMD-mean's law with p - 1/2, of mean zero under mu, for the centred reward (T13.3).  Played for many
rounds this map circles away from the equilibrium of a cycle (`bandits.dynamics.games.sppo`).  On any law of
pairs it is policy gradient without a baseline on the reward E[p_i | y_i = y] - 1/2, whose ends are listed
(T2.5).  On its own samples it climbs p(y beats pi) - beta KL and ends at the regularised equilibrium (T6.1).

Source: Wu et al. 2024, "Self-Play Preference Optimization for Language Model Alignment", arXiv:2405.00675.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bandits import checks
from bandits.algorithms import regression
from bandits.algorithms.nash_md import NashMD
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, need, stack
from bandits.sampling.laws import Law
from bandits.sampling.rules import Sampling
from bandits.solution import Solution


@dataclass(frozen=True)
class SPPO:
    """Self-play preference optimisation on pairs; its round is `Bandit(reference=pi_t)` with `Offline(pi_t)`.

    Ends at log x + C x = (p(y beats mu) - 1/2) / beta, x = pi/mu, C = KL(mu || pi), on samples of the
    reference; on its own samples at the regularised equilibrium  (T13.19).

    Args:
        beta: strength of the KL to the reference, 1/eta.

    Example: the winner's residual is 1 - 1/2 - 0, the loser's 0 - 1/2 - log 2.
        >>> import numpy as np
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.25]),
        ...                preference=np.array([[0.5, 1.0], [0.0, 0.5]]))
        >>> SPPO(beta=1.0).update(pair).log_prob.round(4)
        array([ 0.25  , -0.5966])
    """

    beta: float
    k: ClassVar[int] = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))

    def update(self, samples: Samples) -> Update:
        """c_i = (p_i - 1/2 - beta h_i) / 2, the squared loss of Algorithm 1, Wu 2024  (T13.13)."""
        return Update(log_prob=self._residual(samples) / 2)

    def loss(self, samples: Samples) -> Array:
        """sum_i (p_i - 1/2 - beta h_i)^2 / (4 beta), (...)  (T13.13)."""
        return (self._residual(samples) ** 2).sum(-1) / (4 * self.beta)

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """The regularised equilibrium, on-policy  (T6.1)."""
        return NashMD(self.beta).closed_form(bandit, sampling, log_start) if sampling.on_policy else None

    def attractors(self, bandit: Bandit, law: Law, log_start: Floats) -> list[Solution] | None:
        """Every end on a law that stays, one context; with mu = ref there is one  (T13.19, T2.5)."""
        score = regression.per_sample(law.preference_flow(bandit) / 2, law)
        return regression.attractors(score, self.beta, bandit, law, log_start)

    def _residual(self, samples: Samples) -> Array:
        """p_i - 1/2 - beta h_i, (..., 2)."""
        p = need(samples, "preference")
        return stack(p[..., 0, 1], p[..., 1, 0]) - 0.5 - self.beta * samples.log_ratio
