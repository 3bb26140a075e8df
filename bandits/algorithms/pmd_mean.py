"""PMD-mean, of Kimi k1.5: where does mirror descent end with the mean reward in the place of its log Z?

    c_i = (1/k) (r_i - mean of the group - beta h_i),      h = log pi/ref

The exact step of mirror descent, ref exp(r / beta) / Z, leaves no residual r - beta log Z - beta h; c is
minus the gradient of the mean square of that residual over 2 beta, with the mean reward for beta log Z.

Who samples: the reference, mu = ref, the policy of a round ago.  By Jensen beta log Z exceeds E_mu[r], and
the end is softer than pi*.  With x = pi/mu and score = (1 - 1/k) (r - E_mu[r]) (a group's mean counts
the sample itself, which costs the factor; with `leave_one_out` it does not, and the factor is 1)

    x exp(kappa x) = exp(score / beta),      kappa = KL(mu || pi)  (T13.3).

The Hessian of the expected loss in the logits, beta E_mu[(e_y - pi)(e_y - pi)'] + beta kappa Cov, Cov =
diag pi - pi pi', is flat along the common constant alone: the end is unique, and every start leads there.

On any law of groups E[c] = L r / k^2 - beta mu h, L as CoPG's (T3.2): policy gradient without a baseline on
the reward L r / (k^2 mu), whose ends are listed (T2.5).  With mu != ref kappa = E_mu[-h] may be
negative, and an arm may lock in.  On its own samples it climbs (1 - 1/k) E_pi[r] - beta KL  (T2.1).

Conventions: Kimi's tau is our beta.  Source: Kimi Team 2025, "Kimi k1.5", Section 2.3.2, arXiv:2501.12599.
"""

from __future__ import annotations

from dataclasses import dataclass

from bandits import checks
from bandits.algorithms import regression
from bandits.algorithms.linear import optimum_on_support
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, need
from bandits.sampling.laws import Law
from bandits.sampling.rules import Sampling
from bandits.solution import Solution


@dataclass(frozen=True)
class PMDMean:
    """Policy mirror descent with the mean reward of k samples for its normaliser.

    Ends at x exp(kappa x) = exp((1 - 1/k) (r - E_mu[r]) / beta), x = pi/mu, kappa = KL(mu || pi), on samples
    of the reference: softer than pi*; with `leave_one_out` without the factor 1 - 1/k  (T13.3).

    Args:
        beta: strength of the KL to the reference.
        k: samples whose rewards are averaged, their own included.
        leave_one_out: average the others' rewards only.

    Example:
        >>> import numpy as np
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.25]),
        ...                reward=np.array([1.0, 0.0]))
        >>> PMDMean(beta=1.0).update(pair).log_prob.round(4)  # (1/2 - 0) / 2, (-1/2 - log 2) / 2
        array([ 0.25  , -0.5966])
    """

    beta: float
    k: int = 2
    leave_one_out: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        object.__setattr__(self, "k", checks.count(self.k, "k", least=2, most=checks.MOST_SAMPLES))
        object.__setattr__(self, "leave_one_out", checks.flag(self.leave_one_out, "leave_one_out"))

    def update(self, samples: Samples) -> Update:
        """c_i = (r_i - mean of the group - beta h_i) / k, Eq. (3), Kimi Team 2025  (T13.3)."""
        return Update(log_prob=self._residual(samples) / self.k)

    def loss(self, samples: Samples) -> Array:
        """sum_i (r_i - mean of the group - beta h_i)^2 / (2 beta k), (...)  (T13.3)."""
        return (self._residual(samples) ** 2).sum(-1) / (2 * self.beta * self.k)

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """The optimum for rewards that count 1 - 1/k, or in full if left out, on-policy  (T2.1)."""
        if not sampling.on_policy:
            return None
        factor = 1.0 if self.leave_one_out else 1 - 1 / self.k
        return optimum_on_support(bandit, self.beta / factor, log_start)

    def attractors(self, bandit: Bandit, law: Law, log_start: Floats) -> list[Solution] | None:
        """Every end on a law that stays, one context; with mu = ref there is one  (T13.3, T2.5)."""
        divisor = self.k * (self.k - 1 if self.leave_one_out else self.k)
        score = regression.per_sample(law.laplacian(bandit.needed_reward()) / divisor, law)
        return regression.attractors(score, self.beta, bandit, law, log_start)

    def _residual(self, samples: Samples) -> Array:
        """r_i - mean of the group, or of the others, - beta h_i, (..., k)."""
        reward = need(samples, "reward")
        k, advantage = reward.shape[-1], reward - reward.mean(-1)[..., None]
        if self.leave_one_out:
            advantage = advantage * (k / (k - 1))
        return advantage - self.beta * samples.log_ratio
