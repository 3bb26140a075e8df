"""What is the linear motion in closed form?  exp(-t L) x and (I - a L)^n x, L a sampling graph's Laplacian.

CoPG, IPO and DRO move the distance x = theta - theta* to their goal by dx/dt = -rate L x  (T3.4).  L is
symmetric and positive semi-definite, and its null space, the vectors that are constant on each
component of the graph, never moves.  Two routes:

    spectrum       L = V diag(lambda) V', for any law: O(A^3) once, then O(A^2) a time
    contour        for many arms drawn independently: exp(-t L) x is an integral of resolvents, which cost
                   O(k^2 A), over a curve of which 12 points suffice at any t: O(A) a time, no matrix

Source: Trefethen, Weideman & Schmelzer 2006, "Talbot quadratures and rational approximations",
BIT 46, Section 3: N points have an error of 3.89^-N, 7e-15 for N = 24.

Axes: one context; x is (A,), results have a leading axis of times or steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigsh

from bandits.checks import Floats
from bandits.sampling.laws import Law, Product

LARGE = 600  # arms above which product laws are not turned into matrices
POINTS = 24  # of the contour


def laplacian_matrix(law: Law, arms: int) -> Floats:
    """L of one context as an array, (A, A)."""
    matrix = law.laplacian(np.eye(arms))
    return (matrix + matrix.T) / 2


def relax(law: Law, x: Floats, times: Floats) -> Floats:
    """exp(-t L) x at each time t >= 0, (times, A)."""
    if isinstance(law, Product) and len(x) > LARGE:
        return np.stack([_contour(law, x, t) for t in times])
    eigenvalues, vectors = spectrum(law, len(x))
    return (np.exp(-np.outer(times, eigenvalues)) * (vectors.T @ x)) @ vectors.T


def contract(law: Law, x: Floats, factor: float, steps: NDArray[np.integer]) -> Floats:
    """(I - factor L)^n x for each n of the increasing `steps`, (steps, A)."""
    if not (isinstance(law, Product) and len(x) > LARGE):
        eigenvalues, vectors = spectrum(law, len(x))
        return ((1 - factor * eigenvalues) ** steps[:, None] * (vectors.T @ x)) @ vectors.T
    records = np.empty((len(steps), len(x)))
    done = 0
    for i, step in enumerate(steps):
        for _ in range(step - done):
            x = x - factor * law.laplacian(x)
        records[i], done = x, step
    return records


def spectrum(law: Law, arms: int) -> tuple[Floats, Floats]:
    """Ascending eigenvalues (A,) and eigenvectors (A, A) of L.

    One eigenvalue is exactly 0 for each component; the others have an error of 1e-16 times the largest.
    """
    eigenvalues, vectors = np.linalg.eigh(laplacian_matrix(law, arms))
    components = len(np.unique(law.components(arms)))
    eigenvalues[:components] = 0.0
    return np.maximum(eigenvalues, 0.0), vectors


def extreme_eigenvalues(law: Law, alive: NDArray[np.bool_]) -> tuple[float, float]:
    """lambda_2 and lambda_max of L on the arms that take part; lambda_2 = 0 if they do not hang together."""
    arms = len(alive)
    if not (isinstance(law, Product) and arms > LARGE):
        eigenvalues = spectrum(law, arms)[0][np.count_nonzero(~alive) :]  # arms outside add zeros
        return float(eigenvalues[min(1, len(eigenvalues) - 1)]), float(eigenvalues[-1])
    largest = _lanczos(law.laplacian, arms)
    if (law.components(arms)[alive] != law.components(arms)[alive][0]).any():
        return 0.0, largest
    shift = law.behavior[alive].min()

    def inverse(x: Floats) -> Floats:
        centred = np.where(alive, x - x[alive].mean(), 0.0)
        return np.where(alive, resolvent(law, centred, shift), 0.0)

    return float(1 / _lanczos(inverse, arms) - shift), largest


def resolvent(law: Product, x: Floats, shift: complex) -> NDArray[Any]:
    """y with (shift + L) y = x in O(k^2 A), for a law of k independent arms  (T3.4).

    L = D + N K N', N = (m_1 ... m_k), D = (k-1) diag(M), M = N 1, K = I - 1 1', so that
    y = (x - N c) / (shift + D) with c = K N' y.  The part of c along 1, which grows like 1 / shift, is split
    off: nothing is left to cancel however small the shift.
    """
    N = np.stack(law.marginals, axis=1)  # (A, k)
    k, M = law.k, N.sum(1)
    inverse = 1 / (shift + (k - 1) * M)
    weighted = N * inverse[:, None]
    K = np.eye(k) - 1
    system = np.eye(k) + K @ (N.T @ weighted)
    system[:, -1] = -K @ weighted.sum(0) / (k - 1)
    c = np.linalg.solve(system, K @ (weighted.T @ x))
    return inverse * (x - N[:, :-1] @ c[:-1] - M * (c[-1] / shift))


def _contour(law: Product, x: Floats, time: float) -> Floats:
    """exp(-time L) x = Re (2 / i N) sum_k e^{z_k} z'_k (z_k + time L)^-1 x over half of the curve."""
    if time == 0:
        return x
    angle = np.pi * (np.arange(POINTS // 2) + 0.5) / (POINTS // 2)  # half of the midpoints in (-pi, pi)
    a = 0.6407 * angle
    z = POINTS * (0.5017 * angle / np.tan(a) - 0.6122 + 0.2645j * angle)
    slope = POINTS * (0.5017 * (1 / np.tan(a) - a / np.sin(a) ** 2) + 0.2645j)
    total = np.zeros(len(x))
    for point, weight in zip(z, 2 * np.exp(z) * slope / (1j * POINTS), strict=True):
        total += (weight / time * resolvent(law, x, point / time)).real
    return total


def _lanczos(apply: Callable[[Floats], Floats], arms: int) -> float:
    """Largest eigenvalue of a symmetric map, from a fixed start so that it is the same at every call."""
    start = np.random.default_rng(0).standard_normal(arms)
    operator = LinearOperator((arms, arms), matvec=apply, dtype=np.float64)
    return float(eigsh(operator, k=1, which="LA", v0=start, tol=1e-14, return_eigenvectors=False)[0])
