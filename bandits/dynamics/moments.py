"""What are the mean and the spread of constant-step SGD on pairs, exactly?  (T3.5)

A step draws B pairs (i, j) ~ W and moves the logits by the mean of their updates.  With d = e_i - e_j
CoPG's and IPO's are affine in the log-ratios (`bandits.dynamics.pairs`), with a random target t of mean t_ij
and variance v_ij:   h <- h + (eta / B) sum_b (t_b - g d_b'h) d_b.

Let x = h - h* be the distance to the fixed point, of mean m and covariance C, e = t_ij - g d'h* what that
cannot fit, and L = E[d d'].  Then

    m <- (I - eta g L) m
    C <- (I - eta g L) C (I - eta g L) + (eta^2 / B) (E_W[q d d'] - g^2 L (C + m m') L)
    q = (e - g d'm)^2 + g^2 d'C d + v

Noiseless CoPG (e = v = 0) reaches its fixed point exactly; noise of the rewards has v = 2 sigma^2.  SGD on
one pair is stable in mean square iff eta g < 1, whatever the law.

Axes: one row a recorded step; logits are those of the start, whose mean on each component never moves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.linalg import LinearOperator, cg, eigsh

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics.pairs import AffinePairs, Noise, affine_pairs, laplacian, noise_of
from bandits.problem import Problem, bind
from bandits.samples import Algorithm
from bandits.sampling.rules import Sampling
from bandits.solution import NotConverged, Solution
from bandits.solvers import graph, paths

ROUNDING = 1e-9  # relative distance to the largest step that is not told from it


class Moments(NamedTuple):
    """Moments of the logits after each recorded number of steps; the policy is their softmax."""

    mean: Floats  # (steps, ..., A)     -inf on arms without mass
    covariance: Floats  # (steps, ..., A, A)  0 on arms that never move


def sgd_moments(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling,
    learning_rate: float,
    steps: ArrayLike,
    start: ArrayLike | None = None,
    *,
    batch_size: int = 1,
    reward_noise: float = 0.0,
    label_noise: bool = True,
) -> Moments:
    """Exact mean and covariance of the logits of constant-step SGD on fresh pairs  (T3.5).

    For algorithms whose update is affine in the log-ratios of a pair (CoPG, IPO, RLOO with k = 2), on
    a fixed law or on a data set drawn from with replacement.

    Args:
        learning_rate: eta, positive.
        steps: increasing integers from 0 (where nothing varies), say range(101).
        start: (..., A), by default the reference.
        batch_size: B, pairs averaged in one step.
        reward_noise: sigma, the standard deviation of independent noise in each observed reward.
        label_noise: whether a pair shows a 0/1 label, drawn with probability P, or P itself; the pairs of
            a `Dataset` have their labels.

    Raises:
        ValueError: the algorithm is not affine, the samples are on-policy, or an argument is out of range.

    Example: two arms, always compared.  The distance h_1 - h_2 - 1 shrinks by 1 - 2 eta a step, and
    noise of variance 2 sigma^2 is multiplied by 2 eta.

        >>> from bandits import Bandit, CoPG, Pairs
        >>> world = CoPG(beta=1.0), Bandit([1.0, 0.0]), Pairs([[0.0, 1.0], [0.0, 0.0]])
        >>> mean, covariance = sgd_moments(*world, learning_rate=0.25, steps=[1], reward_noise=0.5)
        >>> d = np.array([1, -1])
        >>> (mean[0] @ d).round(12), (d @ covariance[0] @ d).round(12)
        (np.float64(0.5), np.float64(0.125))
    """
    problem = bind(algorithm, bandit, sampling, start)
    eta, B = checks.positive(learning_rate, "learning_rate"), checks.count(batch_size, "batch_size")
    noise, counts = noise_of(bandit, reward_noise, label_noise), paths.increasing_counts(steps)

    def path(problem: Problem) -> Floats:
        pairs = affine_pairs(problem, noise)
        alive, arms = np.isfinite(problem.log_start), problem.bandit.arms
        log_reference = np.where(alive, problem.bandit.log_reference, 0.0)
        h = np.where(alive, problem.log_start - log_reference, 0.0)
        goal = _goal(pairs, h)
        m, C = h - goal, np.zeros((arms, arms))
        records, done = np.empty((len(counts), arms, arms + 1)), 0
        for record, count in zip(records, counts, strict=True):
            for _ in range(count - done):
                m, C = _step(pairs, goal, m, C, eta, B)
            record[:, 0], record[:, 1:] = np.where(alive, log_reference + goal + m, -np.inf), C
            done = count
        return records

    found = problem.paths(path)
    return Moments(found[..., 0], found[..., 1:])


def stationary_covariance(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling,
    learning_rate: float,
    *,
    batch_size: int = 1,
    reward_noise: float = 0.0,
    label_noise: bool = True,
) -> Floats:
    """Covariance of the logits that constant-step SGD settles at, (..., A, A)  (T3.5).

    The C that `sgd_moments` tends to: zero if nothing is noisy and the fixed point fits every pair.

    Raises:
        ValueError: as `sgd_moments`, or the learning rate is not below `largest_noisy_step`.

    Example: two arms always compared.  V = Var[h_1 - h_2] solves V = (1 - 2 eta)^2 V + 8 eta^2 sigma^2.

        >>> from bandits import Bandit, CoPG, Pairs
        >>> world = CoPG(beta=1.0), Bandit([1.0, 0.0]), Pairs([[0.0, 1.0], [0.0, 0.0]])
        >>> covariance = stationary_covariance(*world, learning_rate=0.25, reward_noise=0.5)
        >>> (np.array([1, -1]) @ covariance @ [1, -1]).round(12)  # 0.125 / 0.75
        np.float64(0.166666666667)
    """
    bound = bind(algorithm, bandit, sampling)
    eta, B = checks.positive(learning_rate, "learning_rate"), checks.count(batch_size, "batch_size")
    noise = noise_of(bandit, reward_noise, label_noise)

    def settled(problem: Problem) -> Floats:
        pairs = affine_pairs(problem, noise)
        largest = _largest_step(pairs, B)
        if eta >= largest * (1 - ROUNDING):
            raise ValueError(
                f"learning_rate must be below {largest:.6g}, the largest step that is stable in mean square, "
                f"but learning_rate = {learning_rate!r}: the variance grows; choose a smaller one"
            )
        return _stationary(pairs, eta, B)[None]

    return bound.paths(settled)[0]


def largest_noisy_step(
    algorithm: Algorithm, bandit: Bandit, sampling: Sampling, *, batch_size: int = 1
) -> Floats:
    """Learning rate above which the variance of SGD grows without bound, (...).

    1 / g for B = 1 (1 / beta for CoPG, 1 / 2 for IPO), whatever the law; `dynamics.largest_stable_step` for
    B -> inf.  Between the two the mean converges while the runs fly apart.

    Example:
        >>> from bandits import Bandit, CoPG, Offline
        >>> world = CoPG(beta=0.25), Bandit([1.0, 0.0, 2.0]), Offline([0.5, 0.2, 0.3])
        >>> float(largest_noisy_step(*world).round(9))
        4.0
    """
    B = checks.count(batch_size, "batch_size")

    def largest(problem: Problem) -> Floats:
        return np.array([_largest_step(affine_pairs(problem, Noise()), B)])

    return bind(algorithm, bandit, sampling).paths(largest)[0]


def _goal(pairs: AffinePairs, h: Floats) -> Floats:
    """h*, where the start leads to: g L h* = E[t d], with the start's mean on each component, (A,)."""
    flow, symmetric = pairs.weight * pairs.target, pairs.weight + pairs.weight.T
    potential = graph.solve(symmetric, (flow.sum(1) - flow.sum(0)) / pairs.slope)
    labels = graph.components(symmetric)
    return potential + (np.bincount(labels, h - potential) / np.bincount(labels))[labels]


def _step(
    pairs: AffinePairs, goal: Floats, m: Floats, C: Floats, eta: float, B: int
) -> tuple[Floats, Floats]:
    """Mean and covariance of the distance to the goal after one more step."""
    g, L = pairs.slope, pairs.laplacian
    off = pairs.target - g * _differences(goal + m)
    q = off**2 + g**2 * _spread(C) + pairs.variance
    Lm, LC = L @ m, L @ C
    carried = C - eta * g * (LC + LC.T) + (1 - 1 / B) * (eta * g) ** 2 * (LC @ L)
    C = carried + eta**2 / B * (laplacian(pairs.weight * q) - g**2 * np.outer(Lm, Lm))
    return m - eta * g * Lm, (C + C.T) / 2  # an antisymmetric part, born of round-off, would grow


def _stationary(pairs: AffinePairs, eta: float, B: int) -> Floats:
    """C with (I - T) C = (eta^2 / B) E_W[(e^2 + v) d d'], T the linear part of the step.

    I - T = eta g (Lyapunov - eta g Spread) is symmetric, and positive definite where the step is stable:
    conjugate gradients, scaled by Lyapunov^-1/2 on both sides.
    """
    values, vectors = _moving(pairs)
    e = pairs.target - pairs.slope * _differences(_goal(pairs, np.zeros(len(pairs.weight))))
    noise = eta / (B * pairs.slope) * laplacian(pairs.weight * (e**2 + pairs.variance))
    rhs = vectors.T @ noise @ vectors
    if not rhs.any():
        return np.zeros_like(noise)
    lyapunov = np.sqrt(values[:, None] + values)
    spread = _spreading(pairs, values, vectors, B)
    operator = LinearOperator(
        (rhs.size, rhs.size), matvec=lambda x: x - eta * pairs.slope * spread(x), dtype=np.float64
    )
    solution, failed = cg(operator, (rhs / lyapunov).ravel(), rtol=1e-14, atol=0.0)
    if failed:
        left = float(np.abs(operator @ solution - (rhs / lyapunov).ravel()).max())
        unsolved = Solution(log_policy=None, residual=left, method="conjugate gradients", iterations=failed)
        raise NotConverged("no stationary covariance found; choose a smaller learning_rate", unsolved)
    C = vectors @ (solution.reshape(rhs.shape) / lyapunov) @ vectors.T
    return (C + C.T) / 2


def _largest_step(pairs: AffinePairs, B: int) -> float:
    """1 / (g rho), rho the largest eigenvalue of Lyapunov^-1/2 Spread Lyapunov^-1/2."""
    values, vectors = _moving(pairs)
    spread, size = _spreading(pairs, values, vectors, B), len(values) ** 2
    if size == 0:
        return np.inf
    if size == 1:
        return float(1 / (pairs.slope * spread(np.ones(1))[0]))
    start = np.eye(len(values)).ravel()  # positive, as the leading eigenvector is
    operator = LinearOperator((size, size), matvec=spread, dtype=np.float64)
    return float(1 / (pairs.slope * eigsh(operator, k=1, which="LA", v0=start, return_eigenvectors=False)[0]))


def _spreading(pairs: AffinePairs, values: Floats, vectors: Floats, B: int) -> Callable[[Floats], Floats]:
    """Lyapunov^-1/2 Spread Lyapunov^-1/2 in the eigenbasis of L, on flattened matrices.

    Lyapunov C = L C + C L,  Spread C = E_W[d'C d d d'] / B + (1 - 1/B) L C L; both symmetric.
    """
    lyapunov = np.sqrt(values[:, None] + values)

    def apply(x: Floats) -> Floats:
        hat = x.reshape(lyapunov.shape) / lyapunov
        C = vectors @ ((hat + hat.T) / 2) @ vectors.T
        out = vectors.T @ laplacian(pairs.weight * _spread(C)) @ vectors / B
        return ((out + (1 - 1 / B) * values[:, None] * (hat + hat.T) / 2 * values) / lyapunov).ravel()

    return apply


def _moving(pairs: AffinePairs) -> tuple[Floats, Floats]:
    """Positive eigenvalues (r,) and eigenvectors (A, r) of L."""
    symmetric = pairs.weight + pairs.weight.T
    values, vectors = np.linalg.eigh(pairs.laplacian)
    still = graph.components(symmetric).max() + 1
    return values[still:], vectors[:, still:]


def _differences(x: Floats) -> Floats:
    """d'x of each pair, (A, A)."""
    return x[:, None] - x


def _spread(C: Floats) -> Floats:
    """d'C d of each pair, (A, A)."""
    diagonal = np.diag(C)
    return diagonal[:, None] + diagonal - C - C.T
