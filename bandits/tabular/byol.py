"""When does a target that moves along collapse: on one mode, on matrices, on a graph?  (T12.10)

BYOL's linear model (Tian 2021, arXiv:2102.06810, after Grill 2020): an encoder W, a predictor G, a target A
see two views x, x' of one thing, of second moment X = E[x x'], and cross moment C = E[x' x']:

    dW/dt = G' (A C - G W X) - eta W        dG/dt = (A C - G W X) W' - eta G        dA/dt = b (W - A)

The target is not differentiated; it is W's moving average.  If X and C share eigenvectors, each is a mode of
its own.  With w, p, a its parts of W, G, A, s = w^2, a = tau w, C = c and X = c (1 + sigma^2) on it,

    ds/dt = 2 p s c [tau - (1 + sigma^2) p] - 2 eta s,     dp/dt = s c [tau - (1 + sigma^2) p] - eta p

s - p^2 dies out at the rate 2 eta; on s = p^2 rest 0 and, with e = 1 + sigma^2, p-+ = [tau -+ root(tau^2 -
4 e eta / c)] / 2e.  What starts there below p- collapses, and all does once eta > c tau^2 / 4e.

BGRL (Thakoor 2021, arXiv:2102.06514) is the same on a graph whose edges are dropped at random in each view:
its modes are those of the graph, and what neighbours average away has a small c and collapses first.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.checks import Floats
from bandits.tabular.motion import Velocity, integrate

SHARED = 1e-9  # how far matrices that share eigenvectors may be from commuting


class Mode(NamedTuple):
    """The constants of one mode; `mode` checks them."""

    noise: float  # sigma^2, of a view beyond what two views share
    decay: float  # eta, of the weights
    target: float  # tau, the target's size over the encoder's
    signal: float  # c, what two views share


class Moments(NamedTuple):
    """What two views of a random item have in common."""

    second: Floats  # (d, d)  E[x x'] of one view
    cross: Floats  # (d, d)  E[x y'] of two


def mode(noise: float, decay: float, target: float = 1.0, signal: float = 1.0) -> Mode:
    """Checked constants of a mode.

    Raises:
        ValueError: the noise or the decay is negative, or the target or the signal is not positive.
    """
    return Mode(
        checks.deviation(noise, "noise"),
        checks.deviation(decay, "decay"),
        checks.positive(target, "target"),
        checks.positive(signal, "signal"),
    )


def mode_of(of: Mode) -> Mode:
    """What is given as a mode, checked.

    Raises:
        ValueError: it is something else, or a constant is out of range.
    """
    checks.instance(of, Mode, "of", "make one with mode(noise, decay)")
    return mode(*of)


def velocity(of: Mode) -> Velocity:
    """d(s, p)/dt of one mode, (2, ...)  (T12.10)."""

    of = mode_of(of)

    def law(state: Floats) -> Floats:
        s, p = state
        drive = of.signal * (of.target - (1 + of.noise) * p)
        return np.stack([2 * p * s * drive - 2 * of.decay * s, s * drive - of.decay * p])

    return law


def rest_points(of: Mode) -> Floats:
    """p of the rest points on s = p^2, increasing: 0, and p- and p+ unless all collapses  (T12.10).

    Example:
        >>> rest_points(mode(noise=0.5, decay=0.05)).round(6)
        array([0.      , 0.054447, 0.61222 ])
    """
    of = mode_of(of)
    room = of.target**2 - 4 * (of.decay / of.signal) * (1 + of.noise)
    if room < 0:
        return np.zeros(1)
    root = math.sqrt(room)
    both = [(of.target - root) / (2 * (1 + of.noise)), (of.target + root) / (2 * (1 + of.noise))]
    return np.unique([0.0, *both])


def collapse_threshold(of: Mode) -> float:
    """The decay above which every start collapses, c tau^2 / 4 (1 + sigma^2)  (T12.10).

    Example:
        >>> round(collapse_threshold(mode(noise=0.5, decay=0.05)), 6)
        0.166667
    """
    of = mode_of(of)
    return of.signal * of.target**2 / (4 * (1 + of.noise))


def flow(of: Mode, start: ArrayLike, times: ArrayLike) -> Floats:
    """(s, p) of one mode, or of many starts at once, (times, 2, ...)  (T12.10).

    Raises:
        ValueError: s is negative.
    """
    z = checks.floats(start, "start")
    if z.ndim == 0 or z.shape[0] != 2:
        raise ValueError(f"start must be s and p, first axis, but its shape is {z.shape}")
    checks.reject_first(z[0] < 0, z[0], "start's s", "0 or more", "it is a square, w^2")
    return integrate(velocity(of), z, times)


def basin_edge(of: Mode, size: float = 1.0) -> Floats:
    """The line in the plane (s, p) between what lives and what collapses, inside [0, size]^2, (n, 2).

    The stable manifold of (p-^2, p-), by the flow backwards in time, at unit speed; p increases along it.

    Raises:
        ValueError: there is no such line, since all collapses or nothing does.
    """
    rest = rest_points(of)
    if len(rest) < 3 or of.decay == 0:
        raise ValueError(
            f"decay must be positive and below {collapse_threshold(of):.6g}, where some starts live, but "
            f"decay = {of.decay!r}"
        )
    far, p = checks.positive(size, "size"), rest[1]
    saddle, law = np.array([p * p, p]), velocity(of)
    values, vectors = np.linalg.eig(_slope(of, saddle))
    direction, sides = vectors[:, int(values.argmin())], []
    for sign in (1.0, -1.0):
        away = saddle + sign * 1e-6 * saddle[0] * direction
        path = integrate(lambda z: -law(z) / np.linalg.norm(law(z)), away, np.linspace(0, 2 * far, 400))
        inside = ((path >= 0) & (path <= far)).all(axis=1)
        sides.append(path[: len(path) if inside.all() else int(inside.argmin())])
    line = np.concatenate([sides[0][::-1], saddle[None], sides[1]])
    return line if line[0, 1] < line[-1, 1] else line[::-1]


def matrix_flow(
    moments: Moments,
    encoder: ArrayLike,
    predictor: ArrayLike,
    times: ArrayLike,
    *,
    decay: float,
    target_rate: float = math.inf,
) -> tuple[Floats, Floats, Floats]:
    """Encoder, predictor and target, (times, k, d), (times, k, k) and (times, k, d)  (T12.10).

    The target starts as the encoder.

    Args:
        encoder, predictor: where they start, (k, d) and (k, k).
        target_rate: b of the moving average; math.inf for a target that is the encoder itself.

    Raises:
        ValueError: shapes do not fit, the predictor is singular, or a rate is negative.
    """
    X, C = _both(moments)
    W, G = checks.arms(encoder, "encoder"), checks.arms(predictor, "predictor")
    if W.ndim != 2 or W.shape[1] != len(X):
        raise ValueError(f"encoder must be k by {len(X)}, as the moments, but its shape is {W.shape}")
    k, d = W.shape
    _need_invertible(G, k)
    eta, rate = checks.deviation(decay, "decay"), checks.positive_or_infinite(target_rate, "target_rate")

    def law(state: Floats) -> Floats:
        W, A, G = state[:, :d], state[:, d : 2 * d], state[:, 2 * d :]
        target = W if rate == math.inf else A
        error = target @ C - G @ W @ X
        average = np.zeros_like(A) if rate == math.inf else rate * (W - A)
        return np.concatenate([G.T @ error - eta * W, average, error @ W.T - eta * G], axis=1)

    path = integrate(law, np.concatenate([W, W, G], axis=1), times)
    found = path[..., :d]
    return found, path[..., 2 * d :], found if rate == math.inf else path[..., d : 2 * d]


def graph_moments(adjacency: ArrayLike, keep: float, features: ArrayLike | None = None) -> Moments:
    """Moments of two views of a random node, each edge kept with probability `keep`  (T12.10).

    A node sees sum_u A~(v, u) f_u, A~ = (deg+1)^-1/2 (A + I) (deg+1)^-1/2, over the edges kept, divided by
    `keep`; it always sees itself.  Two views drop edges independently, so C = F'A~^2 F / n, and X adds the
    variance F' diag_u(sum_{v != u} A~(v, u)^2) F (1 - keep) / (keep n).

    Args:
        adjacency: symmetric, 0 or 1, zero on the diagonal, (n, n).
        features: of the nodes, (n, d); by default each its own.

    Raises:
        ValueError: the adjacency is none, `keep` is not in (0, 1], or shapes do not fit.
    """
    A = _adjacency(adjacency)
    q = checks.positive(keep, "keep", "or no view sees an edge beside its own")
    checks.fraction(keep, "keep")
    F = np.eye(len(A)) if features is None else checks.arms(features, "features")
    if F.ndim != 2 or len(F) != len(A):
        raise ValueError(f"features must have one row for each of {len(A)} nodes, but the shape is {F.shape}")
    size = np.sqrt(A.sum(axis=1) + 1)
    passed = (A + np.eye(len(A))) / np.outer(size, size)
    lost = ((passed * A) ** 2).sum(axis=0) * (1 - q) / q
    cross = F.T @ passed.T @ passed @ F / len(A)
    return Moments(cross + F.T * lost @ F / len(A), cross)


def modes(moments: Moments, decay: float, target: float = 1.0) -> tuple[list[Mode], Floats]:
    """The modes of moments that share eigenvectors, strongest signal first, and these, one a column, (d, d).

    Regular graphs have such moments: every node loses alike.  Directions without a signal are left out.

    Raises:
        ValueError: the two do not commute; then follow `matrix_flow`.
    """
    X, C = _both(moments)
    if np.abs(X @ C - C @ X).max() > SHARED * np.abs(X).max() * np.abs(C).max():
        raise ValueError("moments must share eigenvectors to have modes, but they do not; use matrix_flow")
    vectors = np.linalg.eigh(C / np.abs(C).max() + 0.618 * X / np.abs(X).max()).eigenvectors
    signal = np.einsum("di,de,ei->i", vectors, C, vectors)
    order = np.argsort(-signal)
    order = order[signal[order] > SHARED * signal.max()]
    size = np.einsum("di,de,ei->i", vectors, X, vectors)
    found = [mode(max(size[i] / signal[i] - 1, 0.0), decay, target, float(signal[i])) for i in order]
    return found, vectors[:, order]


def _slope(of: Mode, state: Floats) -> Floats:
    """The derivative of `velocity` at (s, p), (2, 2)."""
    (s, p), c, e = state, of.signal, 1 + of.noise
    drive = c * (of.target - e * p)
    return np.array(
        [[2 * p * drive - 2 * of.decay, 2 * s * (drive - c * e * p)], [drive, -c * e * s - of.decay]]
    )


def _moment(values: ArrayLike, name: str) -> Floats:
    M = checks.arms(values, name)
    if M.ndim != 2 or M.shape[0] != M.shape[1]:
        raise ValueError(f"{name} must be a square matrix, but its shape is {M.shape}")
    return M


def _both(moments: Moments) -> tuple[Floats, Floats]:
    """X and C, of one shape."""
    checks.instance(moments, Moments, "moments", "make some with Moments(second, cross) or graph_moments")
    X, C = _moment(moments.second, "second"), _moment(moments.cross, "cross")
    if X.shape != C.shape:
        raise ValueError(f"second and cross must have one shape, but they have {X.shape} and {C.shape}")
    return X, C


def _adjacency(values: ArrayLike) -> Floats:
    A = _moment(values, "adjacency")
    checks.reject_first((A != 0) & (A != 1), A, "adjacency", "0 or 1", "edges have no weights")
    checks.reject_first(A != A.T, A, "adjacency", "symmetric", "edges have no direction")
    checks.reject_first(np.diag(A) != 0, np.diag(A), "diagonal of adjacency", "0", "loops are added")
    return A


def _need_invertible(G: Floats, k: int) -> None:
    if G.shape != (k, k):
        raise ValueError(f"predictor must be {k} by {k}, as the encoder's rows, but its shape is {G.shape}")
    sizes = np.linalg.svd(G, compute_uv=False)
    if not sizes[-1] > 1e-12 * sizes[0]:
        raise ValueError(
            f"predictor must be invertible, but its smallest singular value is {sizes[-1]:.3g}; "
            f"start it elsewhere"
        )
