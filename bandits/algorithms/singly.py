"""Where does a loss end that charges answers one by one, not their difference alone?

The expected loss Phi(h) of the log-ratios h = log pi/ref is convex, and moves the logits along -(grad Phi -
pi sum grad Phi).  Where its least h weighs sum ref e^h >= 1 there is one end, grad Phi = -kappa pi, kappa
>= 0 (T13.13).  Arms that nobody shows, and those that are charged less and less the rarer they get, have
grad Phi >= 0 and die out; all others live.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import log_softmax

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.sampling.laws import Arms, Law
from bandits.solution import Solution
from bandits.solvers.normalised import Gradient, Hessian, least

DYING = "arms that are not shown, or never win, lose all their mass"


class Charge(NamedTuple):
    """Slopes of Phi, of the arms that live."""

    gradient: Gradient
    hessian: Hessian


def tallies(law: Law, bandit: Bandit) -> tuple[Floats, Floats]:
    """How often the row's arm beat the column's, (A, A), and how often each arm is shown, (A,)."""
    weights: Any = law.wins(bandit)
    wins = weights.toarray() if sparse.issparse(weights) else np.asarray(weights)
    return wins, wins.sum(axis=1) + wins.sum(axis=0)  # an arm against itself wins half, and is shown twice


def only_end(
    charge_of: Callable[[Arms], Charge], lives: NDArray[np.bool_], bandit: Bandit, log_start: Floats
) -> list[Solution] | None:
    """The only end on a law that stays, one context; None where there may be several.

    Args:
        charge_of: the slopes of Phi, from the arms that live.
        lives: arms that are charged ever more the rarer they get, (A,).
    """
    some = np.flatnonzero(lives & np.isfinite(log_start))
    charge = charge_of(some)
    found = least(charge.gradient, charge.hessian, bandit.log_reference[some])
    if found is None:
        return None
    h, kappa = found
    log_policy = np.full(bandit.arms, -np.inf)
    log_policy[some] = log_softmax(bandit.log_reference[some] + h)
    dying = np.isfinite(log_start) & np.isneginf(log_policy)
    residual = charge.gradient(h) + kappa * np.exp(log_policy[some])
    return [
        Solution(
            log_policy=log_policy,
            residual=float(np.abs(residual).max()),
            stable=True,
            unique=True,
            face=np.isfinite(log_policy) if dying.any() else None,
            method="Newton on the losses of single answers (T13.13)",
            message=DYING if dying.any() else "",
        )
    ]
