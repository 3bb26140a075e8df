"""Self-predictive learning: what stands still, what rises, where it ends (T12.6 to T12.9)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bandits.tabular import self_predictive as sp
from bandits.tabular.motion import integrate

SEEDS = range(4)
CONSERVED = 1e-10  # of the Gram matrix, along a whole flow at a tolerance of 1e-12


def walk(kind: str) -> np.ndarray:
    """A lazy walk on a path of four states, or one round five."""
    step = np.roll(np.eye(5), 1, axis=0)
    if kind == "cycle":
        return (step + step.T) / 2
    P = np.diag([0.25] * 3, 1) + np.diag([0.25] * 3, -1)
    return P + np.diag(1 - P.sum(axis=1))


def orthonormal(seed: int, states: int = 5, k: int = 2, runs: tuple[int, ...] = ()) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(*runs, states, k))).Q


def uneven_chain(seed: int, states: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Neither symmetric nor evenly visited."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(states, 0.5), size=states), rng.uniform(0.2, 2.0, size=states)


def symmetric_chain(seed: int, states: int = 5) -> np.ndarray:
    """Of both signs: an uneven mixture of permutations of order two, and of none."""
    rng = np.random.default_rng(seed)
    P, weights = np.zeros((states, states)), rng.dirichlet(np.full(6, 0.6))
    for weight in weights:
        order = np.arange(states)
        i, j, k, m = rng.permutation(states)[:4]
        order[[i, j]], order[[k, m]] = order[[j, i]], order[[m, k]]
        P += weight * np.eye(states)[order]
    return P


def doubly_stochastic(seed: int, states: int = 5) -> np.ndarray:
    """Uneven, with well-separated singular values: a mixture of four permutations."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet([0.7] * 4)
    return sum(w * np.eye(states)[rng.permutation(states)] for w in weights)


def gram(Phi: np.ndarray) -> np.ndarray:
    return np.swapaxes(Phi, -1, -2) @ Phi


# ---- no collapse (T12.6) -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_t12_6_the_predictor_is_the_least_squares_one(seed):
    P, D = uneven_chain(seed)
    Phi = np.random.default_rng(seed).normal(size=(5, 2))
    root = np.sqrt(D)[:, None]
    assert_allclose(
        sp.predictor(P, Phi, D), np.linalg.lstsq(root * Phi, root * (P @ Phi), rcond=None)[0], atol=1e-12
    )


def check_no_collapse(flow) -> None:
    """Phi'Phi stands still on uneven chains, from uneven starts."""
    for seed in SEEDS:
        P, D = uneven_chain(seed)
        start = np.random.default_rng(seed).normal(size=(5, 2))
        path = flow(P, start, [0.0, 1.0], D)
        assert np.abs(path[-1] - start).max() > 0.01  # it does move
        assert_allclose(gram(path), np.broadcast_to(gram(start), (2, 2, 2)), rtol=0, atol=CONSERVED)


def predictor_not_solved(P, start, times, D):
    """The twin: a predictor that stays what it was."""
    return sp.flow_of_both(P, start, times, 0.0, weights=D)[0]


def test_t12_6_nothing_collapses():
    check_no_collapse(sp.flow)
    P, D = uneven_chain(1)
    assert_allclose(gram(sp.flow(P, orthonormal(4), [60.0], D)[0]), np.eye(2), rtol=0, atol=CONSERVED)


@pytest.mark.parametrize("twin", [predictor_not_solved, sp.flow_without_stop_gradient])
def test_a_predictor_not_solved_or_a_missing_stop_gradient_is_told_from_it(twin):
    with pytest.raises(AssertionError):
        check_no_collapse(twin)


@pytest.mark.parametrize("seed", SEEDS)
def test_t12_6_the_flow_is_the_semi_gradient(seed):
    """Minus the gradient of 1/2 tr (Phi G - T)'D(Phi G - T) in Phi, T = P Phi held still, by differences."""
    P, D = uneven_chain(seed)
    Phi, h = np.random.default_rng(seed).normal(size=(5, 2)), 1e-6
    G, target = sp.predictor(P, Phi, D), P @ Phi
    step = (sp.flow(P, Phi, [h], D)[0] - Phi) / h

    def loss(moved):
        return (D[:, None] * (moved @ G - target) ** 2).sum() / 2

    for x, i in np.ndindex(Phi.shape):
        e = np.zeros_like(Phi)
        e[x, i] = 1e-5
        assert_allclose(step[x, i], -(loss(Phi + e) - loss(Phi - e)) / 2e-5, atol=2e-4)  # O(h) of the flow


@pytest.mark.parametrize("seed", SEEDS)
def test_t12_6_without_the_stop_gradient_features_shrink_as_said(seed):
    """d(Phi'Phi)/dt = -2 E'DE, by a difference; and the loss is its gradient's."""
    P, D = uneven_chain(seed)
    Phi, h = np.random.default_rng(seed).normal(size=(5, 2)), 1e-6
    E = Phi @ sp.predictor(P, Phi, D) - P @ Phi
    path = sp.flow_without_stop_gradient(P, Phi, [h, 2 * h], D)
    slope = (4 * gram(path[0]) - gram(path[1]) - 3 * gram(Phi)) / (2 * h)
    assert_allclose(slope, -2 * E.T @ (D[:, None] * E), rtol=1e-4, atol=1e-4)
    late = sp.flow_without_stop_gradient(P, Phi, [1.0], D)[0]
    assert (np.linalg.eigvalsh(gram(Phi) - gram(late)) > 0.001).all()


def test_t12_6_a_frozen_predictor_makes_all_states_alike():
    """dPhi/dt = -D (I - P) Phi: rank one is left."""
    P, D = uneven_chain(0)
    path, G = sp.flow_of_both(P, orthonormal(1), [200.0], 0.0, np.eye(2), D)
    assert_allclose(G[0], np.eye(2))
    assert np.ptp(path[0], axis=0).max() < 1e-6


def test_t12_6_a_fast_predictor_is_a_solved_one():
    """The distance to the flow, and the drift of the Gram matrix, halve as the rate doubles."""
    P, D = uneven_chain(2)
    start = orthonormal(3)
    exact, off, drift = sp.flow(P, start, [3.0], D)[0], [], []
    for rate in (20.0, 40.0):
        path = sp.flow_of_both(P, start, [3.0], rate, weights=D)[0][0]
        off.append(np.abs(path - exact).max())
        drift.append(np.abs(gram(path) - np.eye(2)).max())
    assert_allclose(np.log2([off[0] / off[1], drift[0] / drift[1]]), 1, atol=0.3)


# ---- where it ends (T12.7, T12.8) --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_t12_7_on_a_symmetric_chain_the_objective_rises_as_said(seed):
    """df/dt = 4 |(I - Phi Phi') P Phi M|^2 by a central difference; never falls along the way."""
    P, h = symmetric_chain(seed), 1e-4
    path = sp.flow(P, orthonormal(seed), [1.0 - h, 1.0, 1.0 + h, *np.linspace(1.5, 20, 30)])
    f, Phi = sp.trace_objective(P, path), path[1]
    move = P @ Phi @ (Phi.T @ P @ Phi)
    rate = 4 * np.sum((move - Phi @ (Phi.T @ move)) ** 2)
    assert_allclose((f[2] - f[0]) / (2 * h), rate, rtol=1e-5, atol=1e-9)
    assert (np.diff(f[2:]) > -1e-11).all()


def test_t12_7_a_lazy_walk_ends_at_the_leading_eigenvectors():
    """Eigenvalues 1/2 + cos(j pi/4)/2; f* = 1.728553 from every start, and the span is theirs."""
    P = walk("lazy path")
    values, vectors = np.linalg.eigh(P)
    assert_allclose(values[::-1], [1, 0.853553, 0.5, 0.146447], atol=5e-7)
    last = sp.flow(P, orthonormal(0, 4, runs=(8,)), [150.0])[0]
    assert_allclose(sp.trace_objective(P, last), 1.728553, atol=5e-7)
    assert_allclose(
        last @ np.swapaxes(last, -1, -2), np.tile(vectors[:, 2:] @ vectors[:, 2:].T, (8, 1, 1)), atol=1e-8
    )
    assert_allclose(sp.ends(P, 2)[0].objective, 1.728553, atol=5e-7)


def test_t12_8_three_ends_round_five_states_all_reached():
    """{1, -.809}, {-.809, -.809}, {1, .309}: from 60 random starts each, and no other."""
    P = walk("cycle")
    last = sp.flow(P, orthonormal(0, runs=(60,)), [120.0])[0]
    reached = np.unique(sp.trace_objective(P, last).round(6))
    stable = [end for end in sp.ends(P, 2) if end.stable]
    assert_allclose(reached, sorted(end.objective for end in stable), atol=2e-6)
    assert_allclose(reached, [1.0955, 1.3090, 1.6545], atol=5e-5)
    assert len(sp.ends(P, 2)) == 5 and stable[0] is sp.ends(P, 2)[0] or stable[0] == sp.ends(P, 2)[0]


def growth(P, kept: np.ndarray) -> np.ndarray:
    """Growth rates of all admixtures to a subspace, from a numerical derivative of the flow's velocity."""
    Q = np.linalg.qr(kept, mode="complete").Q
    k, h = kept.shape[1], 1e-6
    rates = np.zeros(((len(P) - k) * k,) * 2)
    for column, (i, j) in enumerate(np.ndindex(len(P) - k, k)):
        e = np.zeros((len(P) - k, k))
        e[i, j] = h

        def moved(sign, e=e):
            Phi = np.linalg.qr(Q[:, :k] + sign * Q[:, k:] @ e).Q
            Phi = Phi @ np.linalg.inv(Q[:, :k].T @ Phi)  # the graph of a map from the kept to the others
            M = sp.predictor(P, Phi)
            velocity = -(Phi @ M - P @ Phi) @ M.T
            there = Q[:, k:].T @ velocity - (Q[:, k:].T @ Phi) @ (Q[:, :k].T @ velocity)
            return there.ravel()

        rates[:, column] = (moved(1.0) - moved(-1.0)) / (2 * h)
    return np.linalg.eigvals(rates).real


@pytest.mark.parametrize("seed", SEEDS)
def test_t12_8_stable_ends_are_those_whose_admixtures_die_out(seed):
    """Every pair of eigenvectors of an uneven symmetric chain: the criterion against a Jacobian."""
    P = symmetric_chain(seed)
    values, vectors = np.linalg.eigh(P)
    verdict = {tuple(np.round(end.eigenvalues, 6)): end.stable for end in sp.ends(P, 2)}
    found = set()
    for i in range(5):
        for j in range(i):
            largest = growth(P, vectors[:, [i, j]]).max()
            stable = verdict[tuple(np.round([values[i], values[j]], 6))]
            assert abs(largest) > 1e-6 and stable == (largest < 0)
            found.add(stable)
    assert found == {True, False}


@pytest.mark.parametrize("seed", [0, 1])
def test_t12_8_random_starts_end_at_stable_ends(seed):
    P = symmetric_chain(seed)
    last = sp.trace_objective(P, sp.flow(P, orthonormal(seed, runs=(12,)), [900.0])[0])
    stable = np.array([end.objective for end in sp.ends(P, 2) if end.stable])
    assert np.abs(last[:, None] - stable).min(axis=1).max() < 1e-5


def test_t12_8_on_another_chain_the_objective_can_fall():
    """Both states lead to state 0: f falls from 1.44 at -.2304 to 1, at Phi = (1, 1) of equal size."""
    P, h = [[1.0, 0.0], [1.0, 0.0]], 1e-4
    path = sp.flow(P, np.array([[1.0], [0.5]]) / np.sqrt(1.25), [0.0, h, 2 * h, 80.0])
    f = sp.trace_objective(P, path)
    assert_allclose(f[[0, 3]], [1.44, 1], atol=1e-9)
    assert_allclose((4 * f[1] - f[2] - 3 * f[0]) / (2 * h), -0.2304, atol=1e-5)
    assert_allclose(path[-1], np.full((2, 1), np.sqrt(0.5)), atol=1e-6)


# ---- both directions (T12.9) -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_t12_9_both_directions_end_at_the_singular_values(seed):
    """Grams stand still; the objective never falls, and tends to the two largest squared singular values."""
    P = doubly_stochastic(seed)
    starts = (orthonormal(10 + seed, runs=(3,)), orthonormal(20 + seed, runs=(3,)))
    path = sp.bidirectional_flow(P, *starts, [0.0, 1.0, 5.0, 50.0, 800.0])
    f = sp.singular_objective(P, path[:, 0], path[:, 1])
    top = np.sum(np.linalg.svd(P, compute_uv=False)[:2] ** 2)
    assert_allclose(gram(path), np.broadcast_to(np.eye(2), gram(path).shape), rtol=0, atol=CONSERVED)
    assert (np.diff(f, axis=0) > -1e-10).all() and f[0].max() < top - 0.01
    assert_allclose(f[-1], top, atol=1e-6)


def test_t12_9_grams_that_are_not_one_are_conserved_too():
    P, rng = doubly_stochastic(1), np.random.default_rng(0)
    both = rng.normal(size=(2, 5, 2))
    path = sp.bidirectional_flow(P, *both, [20.0])
    assert_allclose(gram(path[0]), gram(both), atol=CONSERVED)


def test_the_solver_tells_when_a_motion_runs_away():
    from bandits.solution import NotConverged

    with pytest.raises(NotConverged, match="could not be followed"), np.errstate(all="ignore"):
        integrate(lambda z: z**2, [1.0], [2.0])


# ---- bad input ---------------------------------------------------------------------------------------------

P5 = walk("cycle")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sp.flow(P5, np.ones((5, 2)), [1.0]), "representation must have rank 2, .* rank is 1"),
        (lambda: sp.flow(P5, np.zeros((5, 1)), [1.0]), "representation must have rank 1, .* rank is 0"),
        (lambda: sp.flow(P5, np.ones((4, 2)), [1.0]), "representation must have 5 states by k"),
        (
            lambda: sp.flow(np.full((5, 5), 0.2), orthonormal(0), [1.0]),
            "start's predictor must be invertible",
        ),
        (
            lambda: sp.flow_of_both(P5, orthonormal(0), [1.0], 1.0, np.ones((2, 2))),
            "start_predictor must be inv",
        ),
        (lambda: sp.flow_of_both(P5, orthonormal(0), [1.0], -1.0), "rate must be"),
        (lambda: sp.predictor(P5 * 0.9, orthonormal(0)), "sum of transition"),
        (
            lambda: sp.predictor(P5, orthonormal(0), [1, 1, 0, 1, 1]),
            r"weights must be positive, but weights\[2\]",
        ),
        (lambda: sp.ends(uneven_chain(0)[0], 2), "transition must be symmetric"),
        (lambda: sp.ends(P5, 6), "k must be an integer of at most 5"),
        (
            lambda: sp.bidirectional_flow(uneven_chain(0)[0], orthonormal(0), orthonormal(1), [1.0]),
            "sum of columns of transition must be 1",
        ),
        (
            lambda: sp.bidirectional_flow(P5, orthonormal(0), orthonormal(1, k=3), [1.0]),
            "the shape of forward",
        ),
        (lambda: sp.flow(P5, orthonormal(0), [2.0, 1.0]), "times must be increasing"),
    ],
)
def test_bad_input_is_refused_with_its_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()
