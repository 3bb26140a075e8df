"""SRPO, self-improving robust preference optimisation: learn to revise, and to need no revision.

    min_pi max_pi' E[p(y2 beats y1) - beta KL(pi' || ref' | y1) + beta KL(pi || ref)],
    y1 ~ pi,  y2 ~ pi'(. | y1).

The revision policy is pi'*(y2|y1) = ref'(y2|y1) exp(p(y2 beats y1) / beta) / Z(y1), and the generative one
pi*(y) = ref(y) / Z(y) up to a constant: an answer is good if there is little to improve.  No sampling
law occurs in either (T7.2).

Who sampled: any law whose pairs cover every pair of arms.  With h' the log-ratio of the revision policy
the offline loss on a pair (winner w, loser l) is (1 - alpha) L_gen + alpha L_rev,

    L_rev = (1/2 - beta [h'(w|l) - h'(l|l)])^2 + (1/2 - beta [h'(w|w) - h'(l|w)])^2,
    L_gen = (1 - beta [h'(w|l) + h(w) - h'(l|w) - h(l)])^2  (T7.3).

Source: Choi et al. 2024, "Self-Improving Robust Preference Optimization", arXiv:2406.01660.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.special import logsumexp

from bandits import checks
from bandits.algorithms.linear import Linear
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.policy import tilt
from bandits.samples import Array, Samples, Update, need, stack
from bandits.sampling.laws import Labelled, Law
from bandits.sampling.rules import Sampling
from bandits.solution import NoFixedPoint, Solution


@dataclass(frozen=True)
class SRPO:
    """SRPO's offline loss for the generative and the revision policy together.

    Ends at ref / Z and its revision policy, whoever sampled all pairs of arms  (T7.2).

    `revision_log_prob[..., i, j]` is log pi'(y_i | y_j).  A label enters through its mean p.

    Args:
        beta: strength of both KLs.
        alpha: weight of the revision loss, in (0, 1).

    Example: p = 1 and no log-ratio yet: 2 beta (1 - alpha) (2 p - 1) for the winner.

        >>> import numpy as np
        >>> start, p = np.log([0.5, 0.5]), np.array([[0.5, 1.0], [0.0, 0.5]])
        >>> given = np.log(np.full((2, 2), 0.5))
        >>> pair = Samples(log_prob=start, reference_log_prob=start, preference=p,
        ...                revision_log_prob=given, reference_revision_log_prob=given)
        >>> SRPO(beta=1.0).update(pair).log_prob
        array([ 1., -1.])
    """

    beta: float
    alpha: float = 0.5
    k: ClassVar[int] = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        object.__setattr__(self, "alpha", checks.fraction(self.alpha, "alpha"))
        if self.alpha in (0, 1):
            raise ValueError(f"alpha must lie strictly between 0 and 1, but alpha = {self.alpha!r}")

    def loss(self, samples: Samples) -> Array:
        """(1 - alpha) L_gen + alpha L_rev, averaged over the label, (...)  (T7.3)."""
        p, generative, given_0, given_1 = self._margins(samples)
        # The loser's conditional comes first in the paper; the sum is symmetric in the two.
        revision = _square(p, 0.5, given_1) + _square(p, 0.5, given_0)
        return (1 - self.alpha) * _square(p, 1.0, generative) + self.alpha * revision

    def update(self, samples: Samples) -> Update:
        """Minus the gradient of the loss in log pi(y_i) and in log pi'(y_i | y_j)  (T7.3)."""
        p, generative, given_0, given_1 = self._margins(samples)
        sign = 2 * p - 1  # mean of +1 for a win of y_0 and -1 for a loss
        g = 2 * self.beta * (1 - self.alpha) * (sign - generative)
        a = 2 * self.beta * self.alpha * (sign / 2 - given_0)
        b = 2 * self.beta * self.alpha * (sign / 2 - given_1)
        revision = stack(stack(a, -a - g), stack(b + g, -b))  # columns j: the answer revised is y_j
        return Update(log_prob=stack(g, -g), revision_log_prob=revision)

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution:
        """pi'* and pi* of T7.2 under any law that covers every pair of arms.

        Raises:
            NoFixedPoint: some pair of arms is never sampled, which leaves pi' undetermined there.
        """
        law = sampling.law(self, bandit, log_start)
        if not law.covers_all_pairs(np.isfinite(bandit.log_reference)):
            raise NoFixedPoint(
                "SRPO's revision policy is undetermined for pairs of arms that are never sampled; "
                "use a law that covers every pair, such as Offline(mu) with full support",
                Solution(log_policy=None, residual=np.inf, unique=False),
            )
        solution = self.linear(bandit, law).fixed_point(bandit, log_start)
        return replace(
            solution,
            revision_log_policy=self.log_revision_policy(bandit, law),
            method="closed form (T7.2)",
        )

    def linear(self, bandit: Bandit, law: Law) -> Linear:
        """With pi' at its optimum: 2 beta^2 (1 - alpha) L (-log Z - h), Z(y1) of T7.2.

        There beta [h'(w|l) - h'(l|w)] = p(w beats l) - p(l beats w) - beta (log Z(l) - log Z(w)), so the
        margin of L_gen misses its target by beta times the difference of log Z + h.
        """
        log_Z = log_normaliser(_preference(bandit, law), bandit.log_reference, self.beta)
        rate = 2 * self.beta**2 * (1 - self.alpha)
        return Linear(rate=rate, law=law, beta=self.beta, given=-self.beta * log_Z)

    def log_revision_policy(self, bandit: Bandit, law: Law | None = None) -> Floats:
        """log pi'*, the optimal revision policy, (..., A, A); a data set brings its own labels  (T7.2)."""
        beaten = np.swapaxes(_preference(bandit, law), -1, -2)  # [y1, y2] = p(y2 beats y1)
        return tilt(bandit.log_reference[..., None, :], beaten, self.beta)

    def _margins(self, samples: Samples) -> tuple[Array, Array, Array, Array]:
        """p and the margins beta [...] of T7.3 for "y_0 wins": generative, given y_0, given y_1."""
        h = samples.log_ratio
        revision = need(samples, "revision_log_prob") - need(samples, "reference_revision_log_prob")
        given_0 = self.beta * (revision[..., 0, 0] - revision[..., 1, 0])
        given_1 = self.beta * (revision[..., 0, 1] - revision[..., 1, 1])
        generative = self.beta * (revision[..., 0, 1] + h[..., 0] - revision[..., 1, 0] - h[..., 1])
        return need(samples, "preference")[..., 0, 1], generative, given_0, given_1


def log_normaliser(preference: Floats, log_reference: Floats, beta: float) -> Floats:
    """log Z(y1) = log E_{y2 ~ ref}[exp((p(y2 beats y1) - 1/2) / beta)], (..., A)  (T7.2)."""
    beaten = np.swapaxes(preference, -1, -2)
    return logsumexp(log_reference[..., None, :] + (beaten - 0.5) / beta, axis=-1)


def _preference(bandit: Bandit, law: Law | None) -> Floats:
    return law.preference() if isinstance(law, Labelled) else bandit.preference


def _square(p: Array, target: float, margin: Array) -> Array:
    """(target - margin)^2 if y_0 won, (target + margin)^2 if it lost, averaged over the label."""
    return p * (target - margin) ** 2 + (1 - p) * (target + margin) ** 2
