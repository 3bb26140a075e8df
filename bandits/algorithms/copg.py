"""CoPG, Contrastive Policy Gradient: a policy gradient that may learn from anybody's samples.

Two answers to a prompt serve as each other's baseline.  The per-pair objective (Eqs. 7-10)

    (R_{beta/2}(y) - R_{beta/2}(y')) (h(y) - h(y')),   R_b = r - b h,  h = log pi/ref,

has the gradient (R_beta(y) - R_beta(y')) (grad log pi(y) - grad log pi(y')) (Eqs. 18-19), which is
least squares on the differences of R: the loss (R(y) - R(y'))^2 / (2 beta) up to a constant.  With
k samples it is summed over all pairs, and the coefficients are RLOO's times k (k - 1).

Who sampled: anybody.  For a joint law W of the pair the expected ascent on the logits is
L (r - beta h) with L the Laplacian of the graph W + W^T (T3.2): linear in the logits, zero exactly
where r - beta h is constant on each connected component, so the fixed point is pi* if the graph is
connected, whoever sampled (T3.3).

Descendants.  c_i = R_i - mean of the group's R is CoPG's over k, by any name: VarGrad, trajectory balance
with the group's mean for log Z, the KL in the advantage of a group  (T13.1).  REBEL regresses the same
differences on a reference that moves (T13.6).  Kimi's PMD-mean and OAPL center the rewards alone, and
not h: where a sample's own h stays, the end depends on who sampled (T13.2, T13.3).

Source: Flet-Berliac et al. 2024, "Contrastive Policy Gradient", arXiv:2406.19185.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bandits import checks
from bandits.algorithms.linear import Linear, optimum_on_support
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update
from bandits.sampling.laws import Law
from bandits.sampling.rules import Sampling
from bandits.solution import Solution


@dataclass(frozen=True)
class CoPG:
    """Contrastive policy gradient on k samples per prompt.

    Ends at pi* on every connected law of pairs, whoever sampled  (T3.3).

    Args:
        beta: strength of the KL to the reference.
        k: samples compared together, all pairs of them.

    Example:
        >>> import numpy as np
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.5]),
        ...                reward=np.array([1.0, 0.25]))
        >>> CoPG(beta=1.0).update(pair).log_prob
        array([ 0.75, -0.75])
    """

    beta: float
    k: int = 2
    contrastive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        object.__setattr__(self, "k", checks.count(self.k, "k", least=2, most=checks.MOST_SAMPLES))

    def update(self, samples: Samples) -> Update:
        """c_i = sum_j (R_i - R_j), Eqs. (18)-(19), Flet-Berliac 2024  (T3.1)."""
        R = samples.regularized_reward(self.beta)
        return Update(log_prob=R.shape[-1] * R - R.sum(-1)[..., None])

    def loss(self, samples: Samples) -> Array:
        """sum over pairs of (R_i - R_j)^2 / (2 beta), (...); -d loss / d log_prob is the coefficient."""
        R = samples.regularized_reward(self.beta)
        differences = R[..., :, None] - R[..., None, :]
        return (differences**2).sum((-2, -1)) / (4 * self.beta)  # every pair appears twice

    def linear(self, bandit: Bandit, law: Law) -> Linear:
        """The expected update as beta L (r/beta - h): linear in the logits  (T3.2)."""
        return Linear(rate=self.beta, law=law, beta=self.beta, given=bandit.needed_reward())

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """pi* on-policy, where the update is 2 grad J for k = 2  (T3.7)."""
        return optimum_on_support(bandit, self.beta, log_start) if sampling.on_policy else None
