"""Which policy ref exp(Phi w) / Z of a class has the largest J(pi) = E_pi[r] - beta KL(pi || ref)?  (T3.6)

With F = diag(pi) - pi pi' the gradient is dJ/dw = Phi' F (r - beta Phi w).  `class_optimum` climbs along the
natural gradient (Phi' F Phi)^+ dJ/dw = (Phi' F Phi)^+ Phi' F r - beta w, which does not slow down near the
border, from several starts: J is not concave in w and may have several tops, one of them at finite w.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.algorithms.copg import CoPG
from bandits.algorithms.policy_gradient import PolicyGradient
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics.gradient import gradient_velocity
from bandits.log_linear.features import chart, checked_features, checked_weights
from bandits.log_linear.fixed_point import Fit, least_squares, settled
from bandits.policy import log_ratio
from bandits.problem import bind
from bandits.sampling.rules import Offline, OnPolicy
from bandits.solution import NotConverged, Solution

STARTS = 20  # arms that a law leans to in turn
CLIMB = 300  # steps at most, of which the last are Newton's anyway
SHORTEST = 1e-6  # of a full step
ROUND_OFF = 1e-15  # of J, relative to the largest reward
SAME = 1e-6  # policies closer than this are one top


def class_optimum(
    bandit: Bandit, features: ArrayLike, beta: float, *, starts: ArrayLike | None = None
) -> list[Fit]:
    """Local maxima of J in the class of one context, the highest first; the first is the best known.

    Climbs along the natural gradient from zero, from CoPG's answers under laws that lean to each of the 20
    best arms in turn, and from `starts` (n, d).  Each end is polished by Newton's method and certified: no
    natural gradient, and stable.  That no higher top exists is not proven.

    Raises:
        ValueError: the bandit has contexts or no reward, or shapes do not fit.
        NotConverged: no start led to a certified top.

    Example: with a feature for every arm the class holds pi*.

        >>> bandit = Bandit([np.log(3.0), 0.0])
        >>> class_optimum(bandit, np.eye(2), beta=1.0)[0].policy.round(4)
        array([0.75, 0.25])
    """
    Phi, beta = checked_features(features, bandit), checks.positive(beta, "beta")
    if bandit.contexts or Phi.ndim > 2:
        contexts = np.broadcast_shapes(bandit.contexts, Phi.shape[:-2])
        raise ValueError(f"class_optimum takes one context, but there are {contexts}; use bandit.at(...)")
    zero = np.zeros(Phi.shape[-1])
    given = [] if starts is None else list(np.atleast_2d(checked_weights(starts, Phi, "starts")))
    tops: list[tuple[float, Fit]] = []
    for w in [zero, *_leaning_answers(bandit, Phi, beta), *given]:
        fit = _climb(bandit, beta, Phi, w)
        if fit is not None and all(np.abs(fit.policy - other.policy).max() > SAME for _, other in tops):
            tops.append((float(bandit.value(fit.policy, beta)), fit))
    if not tops:
        raise NotConverged(
            "no start led to a certified maximum; pass starts=", Solution(log_policy=None, residual=np.nan)
        )
    return [fit for _, fit in sorted(tops, key=lambda top: -top[0])]


def _climb(bandit: Bandit, beta: float, Phi: Floats, w: Floats) -> Fit | None:
    """The top of J reached from w along its natural gradient; None if the way ends at a saddle or nowhere."""
    around, velocity = (
        chart(bandit, Phi, w),
        gradient_velocity(bind(PolicyGradient(beta), bandit, OnPolicy())),
    )
    reward = bandit.needed_reward()
    round_off = ROUND_OFF * np.abs(reward).max()

    def view(z: Floats) -> tuple[float, Floats]:
        """J and its natural gradient."""
        log_policy = around.log_policy(z)
        J = np.exp(log_policy) @ (reward - beta * log_ratio(log_policy, bandit.log_reference))
        return float(J), around.natural(log_policy, velocity(log_policy))

    z = np.zeros(around.basis.shape[1])
    step = 1 / beta  # in full, this is the least-squares answer for samples from pi
    J, uphill = view(z)
    for _ in range(CLIMB):
        new_J, new_uphill = view(z + step * uphill)
        flatter = np.abs(new_uphill).max(initial=0.0) < np.abs(uphill).max(initial=0.0)
        if new_J > J + round_off or (new_J >= J - round_off and flatter):
            z, J, uphill, step = z + step * uphill, new_J, new_uphill, min(2 * step, 1 / beta)
        elif step < SHORTEST / beta:
            break
        else:
            step /= 2
    try:
        z, slope = settled(around, velocity, z, "the natural gradient of J")
    except NotConverged:
        return None
    log_policy = around.log_policy(z)
    residual = np.abs(velocity(log_policy) @ Phi).max()
    fit = Fit(around.weights(z), np.exp(log_policy), residual, np.asarray(True))
    return fit if np.linalg.eigvals(slope).real.max(initial=-1.0) < 0 else None


def _leaning_answers(bandit: Bandit, Phi: Floats, beta: float) -> list[Floats]:
    """CoPG's weights when half of the samples are one arm and half the reference's, for the best 20 arms."""
    alive = np.flatnonzero(bandit.reference > 0)
    best = alive[np.argsort(-bandit.needed_reward()[alive], kind="stable")][:STARTS]
    answers = []
    for arm in best:
        leaning = Offline((bandit.reference + np.eye(bandit.arms)[arm]) / 2)
        linear = CoPG(beta).linear(bandit, leaning.law(CoPG(beta), bandit, bandit.log_reference))
        answers.append(least_squares(linear, Phi, np.zeros(Phi.shape[-1]))[0])
    return answers
