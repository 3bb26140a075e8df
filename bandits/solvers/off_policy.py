"""Where does policy gradient end when a fixed law mu answers and no importance weight corrects it?  (T2.5)

    g(theta) = E_mu[(R - b)(e_y - pi)],    R(y) = r(y) - beta log pi(y)/ref(y),    b a constant

With u = log pi and a = (r - b)/beta + log ref, the motion projects the point a on the surface
sum exp(u) = 1 in the metric mu.  With the multiplier c = Abar/beta, Abar = E_mu[R - b], it ends where
a - u = v,  v = c pi/mu = omega(a + log(c/mu)):

- b < J*: c > 0, and the end is unique.
- b > J*: c < 0, |v| = -W(-|c| e^a / mu), on Lambert's branch W_0 (|v| < 1) or W_{-1} (|v| > 1).  An
  attractor has **at most one arm on W_{-1}**: "none, or arm y" are enumerated, one curve each.
- Arms that mu never shows die out (Abar > 0), or fill what the seen arms leave, in shares set by the start.

Stable: no arm on W_{-1}, or one and sum pi^2/d < 0, d = beta mu + Abar pi.

Axes: one context; arms (A,).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import logsumexp, wrightomega

from bandits.checks import Floats, arms, distribution, floats, positive, reject_first, same_arms

RESOLUTION = 1e-5  # fixed points closer than this in log pi, about to merge, count as one or as none


class Attractor(NamedTuple):
    """A policy where the off-policy gradient vanishes."""

    log_policy: Floats  # (A,)  -inf where the arm dies out
    mean_advantage: float  # Abar = E_mu[R - b]
    stable: bool | None  # False: a saddle, on the border between two attractors; None: one of a continuum
    residual: float  # max |g|


def attractors(
    behavior: ArrayLike,
    log_reference: ArrayLike,
    reward: ArrayLike,
    beta: float,
    baseline: float,
    log_start: ArrayLike | None = None,
) -> list[Attractor]:
    """Every policy that the flow along E_mu[(R - b)(e_y - pi)] ends in, then the saddles found on the way.

    All fixed points with at most one arm on W_{-1}, stable ones first; those with more are unstable.

    Args:
        behavior: mu, (A,); zeros allowed.
        log_reference: log ref, (A,); -inf allowed where mu is zero.
        reward: r, (A,).
        beta: positive.
        baseline: b, a constant.
        log_start: logits where training starts, (A,); they matter only to arms that mu never shows
            (-inf: the arm takes no part).  Default: log_reference.

    Raises:
        ValueError: mu is no distribution, has mass where the reference or the start has none, or shapes
            or numbers are unusable.

    Example: mu = pi* makes pi* a fixed point for every b.  Far above the rewards each arm locks in.

        >>> world = [0.25, 0.75], np.log([0.5, 0.5]), [0.0, np.log(3.0)], 1.0
        >>> [np.exp(found.log_policy).round(6).tolist() for found in attractors(*world, baseline=0.0)]
        [[0.25, 0.75]]
        >>> [np.exp(found.log_policy).round(6).tolist() for found in attractors(*world, baseline=50.0)]
        [[1.0, 0.0], [0.0, 1.0]]
    """
    mu, score = distribution(behavior, "behavior"), arms(reward, "reward")
    log_ref = _supporting(log_reference, "log_reference", mu)
    start = log_ref if log_start is None else _supporting(log_start, "log_start", mu)
    same_arms(mu, score, "behavior", "reward")
    beta, b = positive(beta, "beta"), float(floats(baseline, "baseline"))
    seen, hidden = mu > 0, (mu == 0) & np.isfinite(start)
    mu, a = mu[seen], (score[seen] - b) / beta + log_ref[seen]
    room = -logsumexp(a)  # (b - J*)/beta, J* of the seen arms
    shared = bool(room > 0 and hidden.sum() > 1)  # how the unseen arms share the room is the start's choice
    log_policy = np.full(seen.shape, -np.inf)
    if room > 0 and hidden.any():
        log_policy[hidden] = _shares(a, start[seen], start[hidden], np.log(-np.expm1(-room)))
        points = [a]
    else:
        roots = _inside(a, np.log(mu)) if room > 0 else [_outside(a, np.log(mu))]
        points = _distinct([_polished(u, a, np.log(mu)) for u in roots])
    found = []
    for u in points:
        log_policy[seen] = u
        pi, mean = np.exp(log_policy), beta * float(mu @ (a - u))
        g = -mean * pi
        g[seen] += mu * beta * (a - u)
        stable = None if shared else _is_stable(u, beta * mu + mean * pi[seen])
        found.append(Attractor(log_policy.copy(), mean, stable, float(np.abs(g).max())))
    return sorted(found, key=lambda one: not one.stable)


def _supporting(values: ArrayLike, name: str, mu: Floats) -> Floats:
    logs = np.array(values, dtype=float)
    if logs.ndim != 1 or mu.ndim != 1:
        shapes = f"{mu.shape} and {logs.shape}"
        raise ValueError(f"behavior and {name} must be (A,), but are {shapes}; loop over contexts")
    same_arms(mu, logs, "behavior", name)
    reject_first(np.isnan(logs) | (logs == np.inf), logs, name, "finite or -inf", "pass log-probabilities")
    reject_first(np.isneginf(logs) & (mu > 0), logs, name, "finite where behavior > 0", "give the arm mass")
    return logs


def _is_stable(u: Floats, d: Floats) -> bool:
    """Is sum d x^2 > 0 wherever pi'x = 0?  (Exact, by inertia: eigenvalues would lose rare arms.)"""
    y = int(np.argmin(d))
    ratio, rest = np.delete(u, y) - u[y], np.delete(d, y)
    if d[y] > 0:
        return True
    return bool((rest > 0).all() and 1 + d[y] * np.sum(np.exp(2 * ratio) / rest) > 0)


def _root(f: Callable[..., float], low: float, high: float, *args: object) -> float:
    """A zero of f in [low, high]; where rounding hides the change of sign, the better end."""
    at_low, at_high = f(low, *args), f(high, *args)
    if (at_low < 0) == (at_high < 0):
        return low if abs(at_low) < abs(at_high) else high
    return brentq(f, low, high, args, xtol=1e-300, rtol=4 * np.finfo(float).eps, maxiter=500)


def _outside(a: Floats, log_mu: Floats) -> Floats:
    """The one projection when sum exp(a) >= 1: every u(y) falls as c rises; solved in log c."""

    def log_policy(log_c: float) -> Floats:
        v = wrightomega(a + log_c - log_mu)
        return np.where(v < 1, a - v, np.log(np.maximum(v, 0.5)) + log_mu - log_c)

    excess, most = logsumexp(a), np.log(len(a))
    if excess <= 0:
        return a
    low = np.log(excess) - (a - log_mu).max()  # because v <= exp(a) c/mu
    high = most + (log_mu + np.log(np.maximum(a + most, 1e-300))).max()  # because one u >= -log A
    return log_policy(_root(lambda log_c: logsumexp(log_policy(log_c)), low - 1, high + 1))


def _inside(a: Floats, log_mu: Floats) -> list[Floats]:
    """Every projection with at most one arm on W_{-1} when sum exp(a) < 1: one curve for each arm."""
    order = a - log_mu  # the largest reaches its branch point first as |c| grows from 0
    roots = []
    for y in range(len(a)):
        low = a[y] + np.exp(_branch(order.max() - order[y], 1))  # where another arm would leave W_0
        brackets = _crossings(y, low, a, log_mu) if low < 0 else []
        top = min(a[y] + 1, 0.0)  # up to here every arm is on W_0, and sum pi rises
        if y == np.argmax(order) and _excess(top, y, a, log_mu) >= 0:
            brackets.append((a[y], top))
        for left, right in brackets:
            log_pi = _root(_excess, left, right, y, a, log_mu)
            roots.append(_along(y, log_pi, a, log_mu)[0])
    return roots


def _branch(h: ArrayLike, side: int) -> Floats:
    """log|v| where |v| - 1 - log|v| = h >= 0, on W_0 (side -1) or W_{-1} (side 1), exact near h = 0 too."""
    h = np.asarray(h, dtype=float)
    root = np.sqrt(2 * h)
    log_v = np.log1p(h + root) if side > 0 else -(h + root)  # beyond the solution: Newton is monotone
    for _ in range(8):
        slope = np.expm1(log_v)
        log_v = log_v - (slope - log_v - h) / np.where(slope == 0, 1.0, slope)
    return log_v


def _along(y: int, log_pi: ArrayLike, a: Floats, log_mu: Floats) -> tuple[Floats, Floats, Floats]:
    """Arm y at log_pi (...), the others on W_0: u (..., A); and of the others sum pi, d sum pi / d log|c|."""
    w = np.asarray(log_pi)[..., None] - a[y] - 1  # |v(y)| - 1
    order = a - log_mu
    with np.errstate(divide="ignore", invalid="ignore"):  # |v| = 0 where c = 0; 1 at a branch point
        h = np.clip(w - np.log1p(w) + order[y] - order, 0.0, 1e300)
        log_v = _branch(h, -1)
        u = a + np.exp(log_v)
        pull = np.nansum(np.delete(np.exp(u + log_v) / -np.expm1(log_v), y, axis=-1), axis=-1)
    crowd = np.delete(np.exp(u), y, axis=-1).sum(axis=-1)
    u[..., y] = log_pi
    return u, crowd, pull


def _excess(log_pi: float, y: int, a: Floats, log_mu: Floats) -> float:
    return float(np.expm1(log_pi) + _along(y, log_pi, a, log_mu)[1])


def _crossings(y: int, low: float, a: Floats, log_mu: Floats) -> list[tuple[float, float]]:
    """Brackets of every crossing sum pi = 1 with arm y on W_{-1}, log pi(y) in [low, 0].

    There the crowd and its pull fall as log pi(y) rises, so the ends of an interval bound the sum and its
    slope inside.  Intervals that cannot hold 1 are dropped, those where the slope may vanish are halved.
    """
    left, right, found = np.array([low]), np.array([0.0]), []
    while left.size:
        (_, crowd_l, pull_l), (_, crowd_r, pull_r) = (_along(y, end, a, log_mu) for end in (left, right))
        own_l, own_r = np.expm1(left), np.expm1(right)
        possible = (own_l + crowd_r <= 0) & (own_r + crowd_l >= 0)
        with np.errstate(invalid="ignore"):  # 0 * inf where two arms branch together: undecided
            rising = np.exp(left) >= (1 - 1 / (right - a[y])) * pull_l
            falling = np.exp(right) <= (1 - 1 / (left - a[y])) * pull_r
        settled = rising | falling | (right - left < RESOLUTION * (1 - right))
        crossing = (own_l + crowd_l >= 0) != (own_r + crowd_r >= 0)
        found += [(left[i], right[i]) for i in np.flatnonzero(possible & settled & crossing)]
        split = possible & ~settled
        middle = (left + right)[split] / 2
        left, right = np.r_[left[split], middle], np.r_[middle, right[split]]
    return found


def _polished(u: Floats, a: Floats, log_mu: Floats) -> Floats:
    """Newton on a - u - (c/mu) exp(u) = 0 and sum exp(u) = 1 in all of (u, c), while the step shrinks."""
    last = np.inf
    while True:
        c, ratio = np.exp(log_mu) @ (a - u), np.exp(u - log_mu)
        gap, d = a - u - c * ratio, 1 + c * ratio
        p = int(np.argmin(np.abs(d)))  # the arm nearest its branch point; the others are eliminated
        with np.errstate(divide="ignore", invalid="ignore"):  # no step at a bifurcation: nan ends the loop
            weight = np.exp(u) / np.where(np.arange(len(u)) == p, np.inf, d)
            short, spread = -np.expm1(logsumexp(u)) - weight @ gap, weight @ ratio
            scale = ratio[p] * np.exp(u[p]) + d[p] * spread
            step = (gap - ratio * (np.exp(u[p]) * gap[p] - d[p] * short) / scale) / d
            step[p] = (spread * gap[p] + ratio[p] * short) / scale
        size = np.abs(step / (1 + np.abs(u))).max()
        if not size < last:
            return u - logsumexp(u)
        u, last = u + step, size


def _distinct(points: list[Floats]) -> list[Floats]:
    kept: list[Floats] = []
    for u in points:
        if all(np.abs(u - other).max() > RESOLUTION for other in kept):
            kept.append(u)
    return kept


def _shares(a: Floats, start_seen: Floats, start_hidden: Floats, log_room: float) -> Floats:
    """log pi of the unseen arms, which share exp(log_room), once the seen ones stand at u = a.

    exp(-theta) = exp(-start) + K with one K for all (it may be negative); K follows from sum theta.
    """
    n, top = len(a), start_hidden.max()
    with np.errstate(divide="ignore"):
        gap = -start_hidden + np.log(-np.expm1(start_hidden - top))  # log(exp(-start) - exp(-top))
    goal = start_seen.sum() + start_hidden.sum() - a.sum() + n * log_room

    def logits(log_k: float) -> Floats:  # K = exp(log_k) - exp(-top)
        return -np.logaddexp(gap, log_k)

    def drift(log_k: float) -> float:  # sum theta - goal, falling in log_k
        return n * logsumexp(logits(log_k)) + logits(log_k).sum() - goal

    high = (n * np.log(len(gap)) - goal) / (n + len(gap))  # because every theta <= -log_k
    low = (logits(high).sum() + high - goal) / (n + 1)  # because theta = -log_k for the largest
    theta = logits(_root(drift, min(low, high), high))
    return theta - logsumexp(theta) + log_room
