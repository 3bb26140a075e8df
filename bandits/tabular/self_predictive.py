"""Why does a representation that predicts itself not collapse, and where does it end?  (T12.6 to T12.9)

k features a state, Phi; a predictor answers for the features of the next state.  On the fast time scale the
predictor is solved, on the slow one the features move towards a target that is not differentiated:

    P_hat = (Phi' D Phi)^-1 Phi' D P Phi,      dPhi/dt = -D (Phi P_hat - P Phi) P_hat'

D says how often each state is visited.  Phi' Phi never moves, whatever P and D are: no collapse.  For a
symmetric P (and D = I) the objective tr(M'M), M = Phi' P Phi on orthonormal features, rises, and the ends are
spanned by eigenvectors, but not always by the best ones: `ends` lists them.

Without the stop-gradient d(Phi' Phi)/dt = -2 E' D E, E = Phi P_hat - P Phi: features shrink.  With a
predictor that is not solved but frozen at I, dPhi/dt = -D (I - P) Phi: on a connected chain all states become
alike.

Axes: states, then features, (..., S, k), starts before them.  Source: Tang et al. 2022, "Understanding
Self-Predictive Learning for Reinforcement Learning", arXiv:2212.03319.
"""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.checks import Floats
from bandits.tabular.chains import stochastic
from bandits.tabular.motion import integrate

FULL_RANK = 1e-10  # smallest over largest singular value of what has full rank
EQUAL = 1e-9  # eigenvalues closer than this are one


class End(NamedTuple):
    """A set of eigenvectors that the flow can end at."""

    eigenvalues: tuple[float, ...]  # those that are kept, decreasing
    objective: float  # the sum of their squares
    stable: bool  # whether it attracts all around, within subspaces that an equal eigenvalue tells apart


def predictor(transition: ArrayLike, representation: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """P_hat = (Phi' D Phi)^-1 Phi' D P Phi, the best linear guess of the next features, (k, k)  (T12.6).

    Args:
        weights: the diagonal of D, (S,), positive; by default 1.

    Raises:
        ValueError: the features have a rank below k, or shapes do not fit.

    Example: T12.8's two states, which both lead to state 0.

        >>> predictor([[1, 0], [1, 0]], [[1.0], [0.5]])
        array([[1.2]])
    """
    P, D, Phi = _checked(transition, representation, weights)
    return _solved(P, D, Phi)


def flow(
    transition: ArrayLike, start: ArrayLike, times: ArrayLike, weights: ArrayLike | None = None
) -> Floats:
    """Features along the flow, (times, ..., S, k); Phi' Phi is that of the start throughout  (T12.6).

    Raises:
        ValueError: the start has a rank below k, or its predictor is singular: what that does not predict
            would never move.
    """
    P, D, Phi = _checked(transition, start, weights)
    _need_regular(_solved(P, D, Phi), "the start's predictor")

    def velocity(Phi: Floats) -> Floats:
        P_hat = _solved(P, D, Phi)
        return -D * (Phi @ P_hat - P @ Phi) @ _t(P_hat)

    return integrate(velocity, Phi, times)


def flow_of_both(
    transition: ArrayLike,
    start: ArrayLike,
    times: ArrayLike,
    rate: float,
    start_predictor: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> tuple[Floats, Floats]:
    """Features and a predictor that learns at a finite rate, (times, ..., S, k) and (..., k, k)  (T12.6).

    The predictor descends the same loss `rate` times as fast; as rate -> inf the features move as in `flow`,
    and the Gram matrix drifts by O(1 / rate).

    Args:
        rate: 0 freezes the predictor.
        start_predictor: by default solved.

    Raises:
        ValueError: as `flow`, or the rate is negative.
    """
    P, D, Phi = _checked(transition, start, weights)
    k, speed = Phi.shape[-1], checks.deviation(rate, "rate")
    G = _solved(P, D, Phi) if start_predictor is None else checks.floats(start_predictor, "start_predictor")
    G = checks.within(G, (*Phi.shape[:-2], k, k), "start_predictor")
    _need_regular(G, "start_predictor")

    def velocity(both: Floats) -> Floats:
        Phi, G = both[..., :-k, :], both[..., -k:, :]
        error = D * (Phi @ G - P @ Phi)
        return -np.concatenate([error @ _t(G), speed * _t(Phi) @ error], axis=-2)

    path = integrate(velocity, np.concatenate([Phi, G], axis=-2), times)
    return path[..., :-k, :], path[..., -k:, :]


def flow_without_stop_gradient(
    transition: ArrayLike, start: ArrayLike, times: ArrayLike, weights: ArrayLike | None = None
) -> Floats:
    """Features along the gradient of the whole loss, target included, (times, ..., S, k)  (T12.6)."""
    P, D, Phi = _checked(transition, start, weights)

    def velocity(Phi: Floats) -> Floats:
        P_hat = _solved(P, D, Phi)
        error = D * (Phi @ P_hat - P @ Phi)
        return P.T @ error - error @ _t(P_hat)

    return integrate(velocity, Phi, times)


def trace_objective(transition: ArrayLike, representation: ArrayLike) -> Floats:
    """tr(M'M), M = Q'PQ on an orthonormal basis Q of the features, (...)  (T12.7).

    Example: T12.8: the two states above.

        >>> float(trace_objective([[1, 0], [1, 0]], [[1.0], [0.5]]).round(12))
        1.44
    """
    P = stochastic(transition, "transition")
    Q = np.linalg.qr(_features(representation, len(P), "representation")).Q
    return np.sum((_t(Q) @ P @ Q) ** 2, axis=(-2, -1))


def ends(transition: ArrayLike, k: int) -> list[End]:
    """All subspaces at which the flow of a symmetric chain rests, best objective first  (T12.8).

    One is stable iff lam (nu - lam) < 0 for each kept eigenvalue lam and each other one left out, nu: the
    largest positive ones with the most negative ones.  Those that share an eigenvalue are listed once.

    Raises:
        ValueError: the transition is not symmetric, or k is not between 1 and S.

    Example: a walk round five states.

        >>> step = np.roll(np.eye(5), 1, axis=0)
        >>> [[round(x, 3) for x in end.eigenvalues] for end in ends((step + step.T) / 2, 2) if end.stable]
        [[1.0, -0.809], [-0.809, -0.809], [1.0, 0.309]]
    """
    P = stochastic(transition, "transition")
    uneven = np.abs(P - P.T) > EQUAL
    checks.reject_first(
        uneven, P, "transition", "symmetric", "only there are the ends spanned by eigenvectors"
    )
    count = checks.count(k, "k", most=len(P))
    values = np.linalg.eigvalsh(P)[::-1]
    first = np.flatnonzero(np.diff(values, prepend=np.inf) < -EQUAL)
    lam, often = values[first], np.diff(first, append=len(values))
    found = []
    for kept in product(*(range(n + 1) for n in often)):
        if sum(kept) == count:
            keeps, leaves = np.array(kept) > 0, np.array(kept) < often
            pull = lam[keeps][:, None] * (lam[leaves] - lam[keeps][:, None])
            same = lam[keeps][:, None] == lam[leaves]
            each = tuple(float(x) for x in np.repeat(lam, kept))
            found.append(End(each, float(sum(x * x for x in each)), bool((same | (pull < 0)).all())))
    return sorted(found, key=lambda end: -end.objective)


def bidirectional_flow(
    transition: ArrayLike, forward: ArrayLike, backward: ArrayLike, times: ArrayLike
) -> Floats:
    """Phi predicts Psi at the next state, Psi predicts Phi at the one before, (times, 2, ..., S, k)  (T12.9).

        dPhi/dt = -(Phi F - P Psi) F',    F = (Phi'Phi)^-1 Phi' P Psi
        dPsi/dt = -(Psi B - P'Phi) B',    B = (Psi'Psi)^-1 Psi' P' Phi

    Both Gram matrices stand still; generic starts end at the leading singular vectors of P.

    Raises:
        ValueError: columns of the transition do not sum to one, a start has a rank below k, or a predictor is
            singular.
    """
    P, _, Phi = _checked(transition, forward, None)
    column = np.abs(P.sum(axis=0) - 1) > checks.SUM_TOLERANCE
    checks.reject_first(
        column, P.sum(axis=0), "sum of columns of transition", "1", "backwards it must be a chain too"
    )
    Psi = _of_rank(_features(backward, len(P), "backward"), "backward")
    if Psi.shape != Phi.shape:
        raise ValueError(f"backward must have the shape of forward, {Phi.shape}, but it is {Psi.shape}")
    _need_regular(_t(Phi) @ P @ Psi, "the starts' predictor")

    def velocity(both: Floats) -> Floats:
        Phi, Psi = both
        F, B = _solve(_t(Phi) @ Phi, _t(Phi) @ P @ Psi), _solve(_t(Psi) @ Psi, _t(Psi) @ P.T @ Phi)
        return -np.stack([(Phi @ F - P @ Psi) @ _t(F), (Psi @ B - P.T @ Phi) @ _t(B)])

    return integrate(velocity, np.stack([Phi, Psi]), times)


def singular_objective(transition: ArrayLike, forward: ArrayLike, backward: ArrayLike) -> Floats:
    """||Phi' P Psi||^2 on orthonormal bases, (...): k squared singular values of P at most  (T12.9)."""
    P = stochastic(transition, "transition")
    Phi, Psi = _features(forward, len(P), "forward"), _features(backward, len(P), "backward")
    checks.same_contexts(Phi.shape[:-2], Psi.shape[:-2], "forward", "backward")
    Q, R = np.linalg.qr(Phi).Q, np.linalg.qr(Psi).Q
    return np.sum((_t(Q) @ P @ R) ** 2, axis=(-2, -1))


def _checked(
    transition: ArrayLike, representation: ArrayLike, weights: ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    """P (S, S), the diagonal of D as a column (S, 1), Phi (S, k)."""
    P = stochastic(transition, "transition")
    D = np.ones(len(P)) if weights is None else checks.floats(weights, "weights")
    checks.reject_first(
        D <= 0, D, "weights", "positive", "a state that is never seen has no features to learn"
    )
    Phi = _of_rank(_features(representation, len(P), "representation"), "representation")
    return P, checks.within(D, (len(P),), "weights")[:, None], Phi


def _features(values: ArrayLike, states: int, name: str) -> Floats:
    Phi = checks.arms(values, name)
    if Phi.ndim < 2 or Phi.shape[-2] != states:
        raise ValueError(f"{name} must have {states} states by k features, but its shape is {Phi.shape}")
    return Phi


def _of_rank(Phi: Floats, name: str) -> Floats:
    """As many independent features as columns."""
    k, sizes = Phi.shape[-1], np.linalg.svd(Phi, compute_uv=False)
    rank = int((sizes > FULL_RANK * sizes.max()).sum(axis=-1).min())
    if rank < k:
        raise ValueError(
            f"{name} must have rank {k}, as many as columns, but its rank is {rank}; drop what repeats"
        )
    return Phi


def _need_regular(matrix: Floats, name: str) -> None:
    sizes = np.linalg.svd(matrix, compute_uv=False)
    if not sizes.min() > FULL_RANK * max(1.0, float(sizes.max())):
        raise ValueError(
            f"{name} must be invertible, but its smallest singular value is {sizes.min():.3g}: features that "
            f"it does not use would never move; choose another start, or fewer features"
        )


def _solved(P: Floats, D: Floats, Phi: Floats) -> Floats:
    return _solve(_t(Phi) @ (D * Phi), _t(Phi) @ (D * (P @ Phi)))


def _solve(a: Floats, b: Floats) -> Floats:
    """a^-1 b of each matrix of a stack."""
    found: Any = np.linalg.solve(a, b)
    return found


def _t(a: Floats) -> Floats:
    """The transpose of each matrix of a stack."""
    return np.swapaxes(a, -1, -2)
