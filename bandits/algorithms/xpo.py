"""XPO: DPO that pays the policy for leaving the reference's answers, and when that has no end.

    loss = -log sigma(beta (h(y_w) - h(y_l))) + alpha log pi(y'),      h = log pi/ref

y' is the second answer of the pair, the reference's: exploration is optimism, a loss that falls where the
policy gives less to what is known.

Who samples: on-policy y comes from the policy and y' from the reference, Algorithm 1; `Offline(mu, ref)` is
its data of earlier rounds.  On other fixed laws W the bonus is E_nu[log pi], nu the law of the second answer.

Where it ends (T13.16).  The bonus falls without end where a set S of arms takes all mass, by
alpha (1 - nu(S)) per unit of their logits, while DPO's loss rises by beta times the others' wins over S:

    alpha* = min over sets S of   beta sum_{y in S, y' not in S} (W + W')(y, y') P(y', y) / (1 - nu(S)).

Below alpha* the loss has a minimum, beyond it has none; from alpha* on `fixed_point` says so, and which
arms run away.  The loss is not convex, log pi being concave: where it ends is searched for.  alpha* is a
minimum ratio of cuts, found by maximum flows.  On its own samples no such threshold is known.

Source: Xie et al. 2024, "Exploratory Preference Optimization", Algorithm 1, arXiv:2405.21046.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bandits import checks
from bandits.algorithms.dpo import DPO
from bandits.algorithms.nash_md import NashMD
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, stack
from bandits.sampling.rules import Sampling
from bandits.solution import NoFixedPoint, Solution
from bandits.solvers.cuts import least_ratio


@dataclass(frozen=True)
class XPO:
    """Exploratory preference optimisation: DPO plus alpha log pi of the second answer, the reference's.

    Ends at a minimum of the loss, which exists for alpha below `largest_alpha` alone, further from what the
    second answers show than DPO's  (T13.16).

    Args:
        beta: strength of the KL to the reference.
        alpha: weight of the bonus for exploration.

    Example: DPO's +-beta sigma(0), and -alpha for the reference's answer.
        >>> pair = Samples(log_prob=np.log([0.5, 0.5]), reference_log_prob=np.log([0.5, 0.5]),
        ...                preference=np.array([[0.5, 1.0], [0.0, 0.5]]))
        >>> XPO(beta=0.5, alpha=0.125).update(pair).log_prob
        array([ 0.25 , -0.375])
    """

    beta: float
    alpha: float = 0.01
    k: ClassVar[int] = 2
    mixture: ClassVar[float] = 1.0  # of the reference in the opponent, all of it

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        object.__setattr__(self, "alpha", checks.positive(self.alpha, "alpha"))

    def opponent(self, log_policy: Array, log_reference: Array) -> Array:
        """log ref where the policy has mass: the second answer is the reference's, Algorithm 1  (T13.16)."""
        return NashMD(self.beta, mixture=1.0).opponent(log_policy, log_reference)

    def update(self, samples: Samples) -> Update:
        """DPO's c, less alpha for the second answer, Algorithm 1  (T13.16)."""
        c = DPO(self.beta).update(samples).log_prob
        return Update(log_prob=stack(c[..., 0], c[..., 1] - self.alpha))

    def loss(self, samples: Samples) -> Array:
        """-log sigma(beta dh), averaged over the label, and alpha log pi of the second answer, (...)."""
        return DPO(self.beta).loss(samples) + self.alpha * samples.log_prob[..., 1]

    def largest_alpha(self, bandit: Bandit, sampling: Sampling) -> Floats:
        """alpha*, (...): below it, and only there, the loss on a fixed law has a minimum  (T13.16).

        Raises:
            ValueError: the law moves with the policy.

        Example: two arms; S = {the better one}, 2 beta W(0, 1) P(1, 0) / (1 - ref(0)).
            >>> from bandits import Offline
            >>> world = Bandit([np.log(3.0), 0.0], reference=[0.2, 0.8])
            >>> float(XPO(beta=0.5).largest_alpha(world, Offline(world.reference)).round(12))
            0.05
        """
        if sampling.on_policy:
            raise ValueError("sampling must be a fixed law, such as Offline(mu, ref), but it is OnPolicy()")
        return self._thresholds(bandit, sampling, bandit.log_reference)[0]

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> None:
        """None: the flow has to be followed, where there is an end.

        Raises:
            NoFixedPoint: alpha >= alpha* on a fixed law  (T13.16).
        """
        if sampling.on_policy:
            return
        limit, away = self._thresholds(bandit, sampling, log_start)
        beyond = np.argwhere(self.alpha >= limit)
        if len(beyond):
            first = tuple(beyond[0])
            arms = ", ".join(map(str, np.flatnonzero(away[first])))
            raise NoFixedPoint(
                f"XPO's loss is unbounded below: alpha = {self.alpha:g} is not below "
                f"alpha* = {limit[first]:.6g}, from which the bonus drives all mass to arms {arms}; choose a "
                f"smaller alpha, or follow it by flow(...): it may still meet a local minimum",
                Solution(log_policy=None, residual=np.nan, unique=False, method="minimum ratio cut (T13.16)"),
            )

    def _thresholds(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> tuple[Floats, Floats]:
        """alpha* of each context, (...), and the arms S that run away at it, (..., A)."""
        law = sampling.law(self, bandit, log_start)
        wins = law.wins(bandit)
        wins = wins if isinstance(wins, np.ndarray) else wins.toarray()
        nu = law.place_behavior()[-1]
        shape = np.broadcast_shapes(wins.shape[:-1], nu.shape, log_start.shape)
        rows = (np.broadcast_to(x, shape).reshape(-1, shape[-1]) for x in (nu, log_start))
        tables = np.broadcast_to(wins, (*shape, shape[-1])).reshape(-1, shape[-1], shape[-1])
        limit, away = np.empty(len(tables)), np.zeros((len(tables), shape[-1]), dtype=bool)
        for i, (table, second, start) in enumerate(zip(tables, *rows, strict=True)):
            alive = np.flatnonzero(np.isfinite(start))
            ratio, left = least_ratio(table[np.ix_(alive, alive)], second[alive])
            limit[i], away[i, alive] = self.beta * ratio, ~left
        return limit.reshape(shape[:-1])[()], away.reshape(shape)
