"""Where does a regularised game come to rest?  Newton's method, with the duality gap as certificate.

Two policies play P(pi beats pi') - beta KL(pi || ref) + beta KL(pi' || ref).  The one equilibrium is
pi* = ref exp(P(y beats pi*) / beta) / Z  (T6.1; Munos et al. 2023, arXiv:2312.00886).  With the ratio
z = log pi/ref and the antisymmetric payoff L = P - 1/2 it is the root of

    F(z) = beta z - L pi,        Jacobian  beta I - L H,   H = diag(pi) - pi pi^T,  never singular  (T6.2)

Newton's step is damped by a shift s >= 0, a larger beta against a reference nearer to the policy:

    ((beta + s) I - L H) d = -F(z),        z <- z + d   if   |F(z + d) + s d| < 0.9 |F(z)|

s falls as fast as the linear model proves right, and at s = 0 this is Newton's method.  An opponent
m = pi^(1-eps) ref^eps / Z is no new problem: m is the equilibrium at temperature beta / (1-eps)  (T6.4).

Axes: arms last; leading axes are contexts and broadcast.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog
from scipy.special import log_softmax, softmax

from bandits import checks
from bandits.checks import Floats
from bandits.policy import kl, tilt
from bandits.policy import mixture as geometric_mixture
from bandits.solution import NotConverged, Solution

MAX_STEPS = 500  # 11 000 random games of 2 to 50 arms at beta >= 1e-3: 6 steps on average, 28 at most


def equilibrium(
    preference: ArrayLike,
    log_reference: ArrayLike,
    beta: float,
    *,
    mixture: float = 0.0,
    log_start: ArrayLike | None = None,
    tolerance: float = 1e-14,
) -> Solution:
    """The policy that answers its own mixture with the reference best  (T6.1, T6.4).

    pi = ref exp(P(y beats m) / beta) / Z,   m = pi^(1-eps) ref^eps / Z.   eps = 0: the equilibrium;
    eps = 1: IPO with mu = ref, in closed form.

    Args:
        preference: P, (..., A, A), P + P^T = 1.
        log_reference: log ref, (..., A); -inf outside the support, where the answer has no mass either.
        beta: positive.
        mixture: eps in [0, 1], the weight of the reference in the opponent.
        log_start: (..., A), log of the policy to start from, finite on the support.  Default: the policy
            whose opponent is uniform (from a reference of 1e-12 the way is up to three times as long).
        tolerance: stop at max |F| <= tolerance.  F is a difference of preferences: its round-off is
            about 1e-16 at every beta, and the duality gap is at most max |F|^2 / beta.

    Returns:
        A `Solution` with residual max_y |pi(y) - ref(y) exp(P(y beats m) / beta) / Z|, (...).  The flow of
        mirror descent, z' = -F, always ends there.  `stable` speaks of gradient ascent on the logits, whose
        Jacobian is H_pi ((1-eps) L H_m - beta I): True for eps = 0 and 1, else
        None: it can be a repeller, and `NashMD` looks.

    Raises:
        NotConverged: max |F| is above the tolerance after 500 steps (seen only below beta = 1e-6, in games
            with a continuum of unregularised equilibria); `.solution` holds the last policy.
        ValueError: an argument is out of range, or the shapes do not fit.

    Example:
        Arm 0 always wins, so P(0 beats pi) - P(1 beats pi) = 1/2 and pi(0) / pi(1) = e^(1/2) at beta = 1.

        >>> equilibrium([[0.5, 1.0], [0.0, 0.5]], np.log([0.5, 0.5]), 1.0).policy.round(4)
        array([0.6225, 0.3775])
    """
    beta, mixture = checks.positive(beta, "beta"), checks.fraction(mixture, "mixture")
    payoff = _payoff(preference)
    log_reference = _log_reference(log_reference, payoff)
    if mixture == 1:
        log_policy, steps, left = _response(payoff, log_reference, log_reference, beta), 0, np.zeros(())
    else:
        start = _start_ratio(log_start, log_reference, mixture)
        ratio, steps, left = _opponent_ratio(payoff, log_reference, start, beta / (1 - mixture), tolerance)
        log_policy = tilt(log_reference, ratio, 1 - mixture)
    opponent = geometric_mixture(log_policy, log_reference, mixture)
    moved = np.exp(_response(payoff, log_reference, opponent, beta)) - np.exp(log_policy)
    solution = Solution(
        log_policy=log_policy,
        residual=np.abs(moved).max(axis=-1),
        stable=True if mixture in (0, 1) else None,
        unique=True,
        method="closed form" if mixture == 1 else "damped Newton",
        iterations=steps,
    )
    if (left > tolerance).any():
        raise NotConverged(_failure(left, tolerance), solution)
    return solution


def duality_gap(
    preference: ArrayLike, log_reference: ArrayLike, log_policy: ArrayLike, beta: float
) -> Floats:
    """How much a policy loses to its best opponent, twice; zero only at the equilibrium, (...)  (T6.3).

    gap = max_pi' P_beta(pi' beats pi) - min_pi' P_beta(pi beats pi')
        = 2 (beta log E_ref[e^(P(y beats pi) / beta)] + beta KL(pi || ref) - 1/2)
        = 2 beta KL(pi || best),          best = ref exp(P(y beats pi) / beta) / Z.

    The last line subtracts no two numbers of size 1, so that a gap of 1e-20 is a number and not round-off.

    Args:
        preference: P, (..., A, A), P + P^T = 1.
        log_reference: (..., A).
        log_policy: (..., A); the gap of a policy with mass outside the reference is infinite.
        beta: positive.

    Example:
        Both arms are equal, so the best opponent is the reference: gap = 2 beta KL(pi || ref) = 2 log 2.

        >>> always_first = np.array([0.0, -np.inf])
        >>> float(duality_gap(np.full((2, 2), 0.5), np.log([0.5, 0.5]), always_first, 1.0).round(4))
        1.3863
    """
    payoff, log_policy = _payoff(preference), np.asarray(log_policy, dtype=float)
    log_reference = _log_reference(log_reference, payoff)
    beta = checks.positive(beta, "beta")
    return 2 * beta * kl(log_policy, _response(payoff, log_reference, log_policy, beta))


def von_neumann_winner(preference: ArrayLike) -> Floats:
    """A policy that no policy beats: the equilibrium without regularisation, (..., A)  (T6.8).

    Solves max_p min_y (p L)(y) by linear programming; the value of the symmetric game is 0.  The winner need
    not be unique; where it is, the regularised equilibrium tends to it as beta -> 0.

    Example:
        >>> von_neumann_winner([[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]]).round(4)
        array([0.3, 0.3, 0.4])
    """
    payoff = _payoff(preference)
    arms, contexts = payoff.shape[-1], payoff.shape[:-2]
    winner = np.empty((*contexts, arms))
    for context in np.ndindex(contexts):
        # variables (p, v): minimise -v subject to v - (p L)_y <= 0 for each y, sum p = 1, p >= 0
        program = linprog(
            np.append(np.zeros(arms), -1.0),
            A_ub=np.hstack([-payoff[context].T, np.ones((arms, 1))]),
            b_ub=np.zeros(arms),
            A_eq=np.append(np.ones(arms), 0.0)[None],
            b_eq=[1.0],
            bounds=[(0, None)] * arms + [(None, None)],
        )
        winner[context] = np.maximum(program.x[:-1], 0)
    return winner / winner.sum(axis=-1, keepdims=True)


def _opponent_ratio(
    payoff: Floats, log_reference: Floats, start: Floats, beta: float, tolerance: float
) -> tuple[Floats, int, Floats]:
    """log m/ref, (..., A), at the equilibrium m of each context; the most steps taken; max |F|, (...)."""
    contexts = np.broadcast_shapes(payoff.shape[:-2], start.shape[:-1])
    payoffs = np.broadcast_to(payoff, (*contexts, *payoff.shape[-2:]))
    ratio = np.array(np.broadcast_to(start, (*contexts, start.shape[-1])))
    log_references = np.broadcast_to(log_reference, ratio.shape)
    steps, left = 0, np.zeros(contexts)
    for context in np.ndindex(contexts):
        on = np.isfinite(log_references[context])
        game = payoffs[context] if on.all() else payoffs[context][np.ix_(on, on)]
        solved = _newton(game, log_references[context][on], ratio[context][on], beta, tolerance)
        ratio[context][on], taken, left[context] = solved
        steps = max(steps, taken)
    return ratio, steps, left


def _newton(
    payoff: Floats, log_reference: Floats, z: Floats, beta: float, tolerance: float
) -> tuple[Floats, int, float]:
    """The root of F(z) = beta z - L softmax(log ref + z), the steps taken and max |F| there."""
    products = len(z) // 10  # a dense solve costs about len(z) / 6 products with L
    policy = softmax(log_reference + z)
    z = z - policy @ z  # of all z for this policy the one that can be the root, since pi L pi = 0
    residual = beta * z - payoff @ policy
    shift = min(0.2, np.abs(residual).max())
    for step in range(MAX_STEPS):
        if np.abs(residual).max() <= tolerance:
            return z, step, np.abs(residual).max()
        target, scale = -residual / (beta + shift), 1 / (beta + shift)
        direction = _krylov(payoff, policy, scale, target, products) if products else None
        if direction is None:  # too many products; as the shift falls they only become more
            products = 0
            direction = _dense(payoff, policy, scale, target)
        new_policy = softmax(log_reference + z + direction)
        new_residual = beta * (z + direction) - payoff @ new_policy
        miss = np.linalg.norm(new_residual + shift * direction) / np.linalg.norm(residual)
        if miss > 0.9:
            shift = 4 * max(shift, beta / 100)
            continue
        z, policy, residual = z + direction, new_policy, new_residual
        shift *= min(max(miss / 0.3, 0.1), 1.0)
        shift = shift if shift > beta / 100 else 0.0
    return z, MAX_STEPS, np.abs(residual).max()


def _krylov(payoff: Floats, policy: Floats, scale: float, target: Floats, products: int) -> Floats | None:
    """Solve (I - K) d = target, K = scale L H, to a tenth of its size; None if it takes too many products.

    K is skew in the inner product x H y, for which Concus, Golub and Widlund's recurrence has three terms
    (Concus & Golub 1976; Widlund 1978): one product with L a step and no basis to store.
    """
    d, d_old = np.zeros_like(target), np.zeros_like(target)
    left, left_old = target, np.zeros_like(target)
    weight, size_old = 1.0, np.inf
    for _ in range(products):
        centred = left - policy @ left
        covector = policy * centred  # H left
        size = float(covector @ centred)
        weight, size_old = 1 / (1 + size / (size_old * weight)), size
        d, d_old = d_old + weight * (left + d - d_old), d
        left, left_old = left_old + weight * (scale * (payoff @ covector) - left_old), left
        if np.linalg.norm(left) <= 0.1 * np.linalg.norm(target):
            return d
    return None


def _dense(payoff: Floats, policy: Floats, scale: float, target: Floats) -> Floats:
    """Solve (I - scale L H) d = target by elimination on the arms that have mass; the others follow.

    Arms below 1e-4 (beta + s) / A are left out of H: together they change scale L H by less than 1e-4.
    """
    some = np.flatnonzero(policy > 1e-4 * min(1.0, 1 / scale) / len(policy))
    p, inner = policy[some], payoff[some][:, some]
    d = np.linalg.solve(np.eye(len(some)) - scale * (inner - (inner @ p)[:, None]) * p, target[some])
    covector = np.zeros_like(policy)
    covector[some] = p * (d - p @ d)
    return target + scale * (payoff @ covector)


def _response(payoff: Floats, log_reference: Floats, log_opponent: Floats, beta: float) -> Floats:
    """log of ref exp(P(y beats opponent) / beta) / Z, (..., A)."""
    return tilt(log_reference, (payoff @ np.exp(log_opponent)[..., None])[..., 0], beta)


def _failure(left: Floats, tolerance: float) -> str:
    context = tuple(int(i) for i in np.unravel_index(left.argmax(), left.shape))
    return (
        f"Newton's method stopped after {MAX_STEPS} steps with max |F| = {left.max():.2g}"
        f"{f' in context {context}' if context else ''}, above the tolerance {tolerance:.2g}; "
        f"solve at a larger beta first and pass its log_policy as log_start, or raise the tolerance"
    )


def _payoff(preference: ArrayLike) -> Floats:
    """L = P - 1/2, checked to be antisymmetric."""
    matrix = np.asarray(preference, dtype=float)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2] or matrix.shape[-1] == 0:
        raise ValueError(f"preference must have shape (..., A, A), but its shape is {matrix.shape}")
    with np.errstate(invalid="ignore"):  # inf - inf: refused below
        both = matrix + np.swapaxes(matrix, -1, -2)
    low, high = both.min(initial=1.0), both.max(initial=1.0)
    if not (1 - low <= checks.SUM_TOLERANCE and high - 1 <= checks.SUM_TOLERANCE):  # NaN too
        bad = ~(np.abs(both - 1) <= checks.SUM_TOLERANCE)
        checks.reject_first(
            bad, both, "preference + its transpose", "1", "make p(i beats j) = 1 - p(j beats i)"
        )
    return matrix - 0.5


def _log_reference(log_reference: ArrayLike, payoff: Floats) -> Floats:
    """The normalised log of the reference."""
    logs = np.asarray(log_reference, dtype=float)
    if logs.ndim == 0:
        raise ValueError("log_reference must have the arms as its last axis, but it is a single number")
    checks.same_arms(logs, payoff[..., 0], "log_reference", "preference")
    bad = np.isnan(logs) | np.isposinf(logs)
    checks.reject_first(bad, logs, "log_reference", "finite or -inf", "pass logarithms of probabilities")
    empty = np.asarray(np.isneginf(logs).all(axis=-1))
    checks.reject_first(empty, logs.max(axis=-1), "max of log_reference", "finite", "give an arm some mass")
    return log_softmax(logs, axis=-1)


def _start_ratio(log_start: ArrayLike | None, log_reference: Floats, mixture: float) -> Floats:
    """log m/ref of the first opponent, (..., A): finite, 0 outside the support of the reference."""
    off = np.isneginf(log_reference)
    if log_start is None:
        return np.where(off, 0.0, -log_reference)
    logs = np.asarray(log_start, dtype=float)
    checks.same_arms(logs, log_reference, "log_start", "log_reference")
    logs, off = np.broadcast_arrays(logs, off)
    checks.reject_first(
        ~off & ~np.isfinite(logs), logs, "log_start", "finite on the support", "give every arm some mass"
    )
    return np.where(off, 0.0, (1 - mixture) * (logs - np.where(off, 0.0, log_reference)))
