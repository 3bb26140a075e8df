"""IPO, identity preference optimisation, and its parent PsiPO: regress log-ratios on preferences.

PsiPO maximises E_{y~pi, y'~mu}[Psi(p(y beats y'))] - beta KL(pi || ref), so
pi* = ref exp(E_{y'~mu}[Psi(p(y beats y'))] / beta) / Z (T4.1).  IPO is Psi = identity, and has the
sampled loss (Eq. 17)

    (h(y_w) - h(y_l) - 1/(2 beta))^2,     h = log pi/ref.

Who sampled: any fixed law of pairs.  The loss is a least-squares ranking on the comparison graph,
L h = sum_y' (W + W^T)(y, y') (P(y, y') - 1/2) / beta (T4.3): for pairs i.i.d. from mu it is the pi*
above; for another law, or a finite data set, it is the potential that fits the preferences best, and
a cycle is the part that no h can fit.  Pairs from the policy itself: see online_ipo.py.

Conventions: Azar's tau is our beta (T11.1).
Source: Azar et al. 2023, "A General Theoretical Paradigm to Understand Learning from Human
Preferences", arXiv:2310.12036.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bandits import checks
from bandits.algorithms.linear import Linear, reference_on_support
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, fitting, need, stack
from bandits.sampling.laws import Law, Product
from bandits.sampling.rules import Sampling
from bandits.solution import Solution
from bandits.solvers.equilibrium import equilibrium


@dataclass(frozen=True)
class IPO:
    """Identity preference optimisation on labelled pairs.

    Ends at the least-squares ranking of the pairs: ref exp(E_mu[p(y beats y')] / beta) / Z if they come
    from mu  (T4.3).

    `preference[..., 0, 1]` is the label: 1 if the first answer won, 0 if it lost, or p for its mean.

    Example:
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.5]),
        ...                preference=np.array([[0.5, 1.0], [0.0, 0.5]]))
        >>> IPO(beta=0.25).update(pair).log_prob  # 2 (1/(2 beta) - 0)
        array([ 4., -4.])
    """

    beta: float
    k: ClassVar[int] = 2
    contrastive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))

    def update(self, samples: Samples) -> Update:
        """c = +-2 (1/(2 beta) - dh) averaged over the label, dh = h(y_w) - h(y_l), from Eq. (17)  (T4.2)."""
        p, dh = _label_and_margin(samples)
        c = 2 * ((p - 0.5) / self.beta - dh)
        return Update(log_prob=stack(c, -c))

    def loss(self, samples: Samples) -> Array:
        """(dh - 1/(2 beta))^2 averaged over the label, Eq. (17), Azar 2023, (...)."""
        p, dh = _label_and_margin(samples)
        tau = 1 / (2 * self.beta)
        return p * (dh - tau) ** 2 + (1 - p) * (dh + tau) ** 2

    def linear(self, bandit: Bandit, law: Law) -> Linear:
        """The expected update as 2 L (score / beta - h), score the ranking with L score = flow  (T4.3)."""
        flow = law.preference_flow(bandit)
        return Linear(rate=2.0, law=law, beta=self.beta, given=flow, solve=lambda: law.ranking(bandit))

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """The regularised equilibrium on-policy  (T6.6)."""
        if not sampling.on_policy:
            return None
        return equilibrium(bandit.preference, reference_on_support(bandit, log_start), self.beta)


def identity(p: Array) -> Array:
    """Psi of IPO."""
    return p


@dataclass(frozen=True)
class PsiPO:
    """PsiPO for any function Psi of the preference, from two compared answers and a common opponent.

    Ends at ref exp(E_mu[Psi(p(y beats y'))] / beta) / Z  (T4.1).

    For a non-linear Psi a labelled pair does not suffice: the target Psi(p(y beats mu)) is a mean over
    opponents.  With a third answer y'' both sides meet the same opponent and the regression is unbiased:
    c = +-(Psi(p(y, y'')) - Psi(p(y', y'')) - beta dh).  Needs probabilities p, not 0/1 labels.

    Args:
        beta: strength of the KL to the reference.
        psi: a function of arrays, [0, 1] to finite numbers; the identity by default.

    Example: the third answer is the opponent of both; p = 3/4 and 1/4 against it.

        >>> import numpy as np
        >>> start = np.log([0.25, 0.25, 0.5])
        >>> p = np.array([[0.5, 0.9, 0.75], [0.1, 0.5, 0.25], [0.25, 0.75, 0.5]])
        >>> three = Samples(log_prob=start, reference_log_prob=start, preference=p)
        >>> PsiPO(beta=1.0).update(three).log_prob
        array([ 0.5, -0.5,  0. ])
    """

    beta: float
    psi: Callable[[Array], Array] = identity
    k: ClassVar[int] = 3
    contrastive: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        checks.function(self.psi, "psi", "p")

    def update(self, samples: Samples) -> Update:
        """c = +-(Psi(p(y, y'')) - Psi(p(y', y'')) - beta (h(y) - h(y'))), zero for the opponent  (T4.1)."""
        c = self._shortfall(samples)
        return Update(log_prob=stack(c, -c, 0 * c))

    def loss(self, samples: Samples) -> Array:
        """(Psi(p(y, y'')) - Psi(p(y', y'')) - beta (h(y) - h(y')))^2 / (2 beta), (...)  (T4.1)."""
        return self._shortfall(samples) ** 2 / (2 * self.beta)

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution | None:
        """IPO's on-policy, if Psi is the identity  (T6.6)."""
        return IPO(self.beta).closed_form(bandit, sampling, log_start) if self.psi is identity else None

    def linear(self, bandit: Bandit, law: Law) -> Linear:
        """beta L (score / beta - h), score(y) = E_mu[Psi(p(y beats y'))], L of the two compared  (T4.1)."""
        first, second, opponent = law.place_behavior()
        psi = checks.floats(self._score(bandit.preference), "psi(p)")
        score = np.sum(psi * opponent[..., None, :], axis=-1)
        return Linear(rate=self.beta, law=Product((first, second)), beta=self.beta, given=score)

    def _score(self, p: Array) -> Array:
        """Psi(p), the same shape.

        Raises:
            ValueError: `psi` gives something else.
        """
        return fitting(self.psi(p), p, "psi")

    def _shortfall(self, samples: Samples) -> Array:
        p, h = need(samples, "preference"), samples.log_ratio
        return self._score(p[..., 0, 2]) - self._score(p[..., 1, 2]) - self.beta * (h[..., 0] - h[..., 1])


def _label_and_margin(samples: Samples) -> tuple[Array, Array]:
    h = samples.log_ratio
    return need(samples, "preference")[..., 0, 1], h[..., 0] - h[..., 1]
