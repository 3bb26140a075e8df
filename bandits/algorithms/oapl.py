"""OAPL: regress rewards on log-ratios, with the optimal value estimated from the group itself.

    c_i = (1/k) (r_i - V - beta h_i),      V = beta log mean_j exp(r_j / beta),      h = log pi/ref

At pi* the residual r - beta log Z - beta h is zero everywhere; V is what k samples of the reference say of
beta log Z = J*, and c is minus the gradient of the mean square of the residual over 2 beta.

Who samples: the reference, a policy of some updates ago (mu = ref).  V is biased: E[V] < J* (Jensen), and V
knows its own sample.  On any law of groups that stays it is policy gradient without a baseline on the reward

    score(y) = r(y) - E[V | y in the group],

whose ends are listed (T2.5).  With mu = ref, E_ref[exp(score / beta)] <= E[exp(r_1 / beta) / mean_j
exp(r_j / beta)] = 1, equal only if all rewards are: the regression pushes away from mu, and an arm may lock
in where beta is small  (T13.2).  On its own samples it climbs E_pi[r] - E[V] / k - beta KL, whose reward
moves with the policy: searched for along the flow.

Source: Ritter et al. 2026, "LLMs Can Learn to Reason Via Off-Policy RL", arXiv:2602.19362.
"""

from __future__ import annotations

from dataclasses import dataclass

from array_api_compat import array_namespace

from bandits import checks
from bandits.algorithms import regression
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, need
from bandits.sampling.laws import Law
from bandits.solution import Solution


@dataclass(frozen=True)
class OAPL:
    """Optimal-advantage regression, its value the log-mean-exp of k samples.

    Ends at policy gradient's ends without a baseline on r - E[V | y in the group], whoever samples; with
    mu = ref nearer to pi* as k grows, at small beta on one arm of several  (T13.2, T2.5).

    Args:
        beta: strength of the KL to the reference, and the temperature of V.
        k: samples whose rewards make V, their own included.

    Example: V = log((2 + 1) / 2).
        >>> import numpy as np
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.25]),
        ...                reward=np.log([2.0, 1.0]))
        >>> OAPL(beta=1.0).update(pair).log_prob.round(4)  # (log 2 - V) / 2, (-V - log 2) / 2
        array([ 0.1438, -0.5493])
    """

    beta: float
    k: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        object.__setattr__(self, "k", checks.count(self.k, "k", least=2, most=checks.MOST_SAMPLES))

    def update(self, samples: Samples) -> Update:
        """c_i = (r_i - V - beta h_i) / k, V = beta log mean exp(r / beta)  (T13.2)."""
        return Update(log_prob=self._residual(samples) / self.k)

    def loss(self, samples: Samples) -> Array:
        """sum_i (r_i - V - beta h_i)^2 / (2 beta k), (...)  (T13.2)."""
        return (self._residual(samples) ** 2).sum(-1) / (2 * self.beta * self.k)

    def attractors(self, bandit: Bandit, law: Law, log_start: Floats) -> list[Solution] | None:
        """Every end on a law that stays, one context, the score summed over all groups  (T13.2, T2.5)."""
        score = regression.mean_credit(self._advantage, bandit, law)
        return regression.attractors(score, self.beta, bandit, law, log_start)

    def _residual(self, samples: Samples) -> Array:
        """r_i - V - beta h_i, (..., k)."""
        return self._advantage(need(samples, "reward")) - self.beta * samples.log_ratio

    def _advantage(self, reward: Array) -> Array:
        """r_i - V, (..., k); around the best reward, where no digit is lost for large beta either."""
        xp = array_namespace(reward)
        lead = reward - xp.max(reward, axis=-1, keepdims=True)
        return lead - self.beta * xp.log1p(xp.expm1(lead / self.beta).mean(-1)[..., None])
