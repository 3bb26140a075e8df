"""BYOL and BGRL: rest points by formula and flow, matrices against modes, graphs against masks (T12.10)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bandits.tabular import byol

PRINTED = byol.mode(noise=0.5, decay=0.05)


def random_mode(seed: int) -> byol.Mode:
    """Uneven constants, a decay at .2 to .8 of the threshold."""
    rng = np.random.default_rng(seed)
    free = byol.mode(rng.uniform(0, 1), 0.0, rng.uniform(0.6, 1.0), rng.uniform(0.2, 1.5))
    return free._replace(decay=rng.uniform(0.2, 0.8) * byol.collapse_threshold(free))


MODES = [PRINTED, *map(random_mode, range(4))]


# ---- one mode ----------------------------------------------------------------------------------------------


def test_t12_10_the_printed_numbers():
    assert_allclose(byol.rest_points(PRINTED), [0, 0.054447, 0.612220], atol=5e-7)
    assert_allclose(byol.collapse_threshold(PRINTED), 1 / 6, rtol=1e-15)


@pytest.mark.parametrize("of", MODES)
def test_t12_10_the_rest_points_rest(of):
    for p in byol.rest_points(of):
        assert_allclose(byol.velocity(of)(np.array([p * p, p])), 0, atol=1e-15)


@pytest.mark.parametrize("of", MODES)
def test_t12_10_what_starts_on_the_parabola_lives_above_p_minus_only(of):
    """0.98 and 1.02 times p-: one ends at zero, the other at p+, and s = p^2 all along."""
    _, low, high = byol.rest_points(of)
    p = np.array([0.98, 1.02]) * low
    late = 60 / (of.decay * (1 - byol.collapse_threshold(of) ** -1 * of.decay))
    path = byol.flow(of, [p * p, p], [0.1 * late, late])
    assert_allclose(path[:, 0], path[:, 1] ** 2, atol=1e-10)
    assert_allclose(path[-1, 1], [0, high], atol=1e-6)


@pytest.mark.parametrize("of", MODES)
def test_t12_10_the_distance_to_the_parabola_dies_out(of):
    start, times = np.array([[0.3, 1.1], [0.9, 0.2]]), np.array([0.0, 1.0, 5.0])
    path = byol.flow(of, start, times)
    off = path[:, 0] - path[:, 1] ** 2
    assert_allclose(off, off[0] * np.exp(-2 * of.decay * times)[:, None], atol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_t12_10_all_collapses_above_the_threshold(seed):
    """At 1.05 of it even a start at the optimum without decay does; at .95 it lives."""
    of = random_mode(seed)
    threshold, best = byol.collapse_threshold(of), of.target / (1 + of.noise)
    for share, lives in ((1.05, False), (0.95, True)):
        at = of._replace(decay=share * threshold)
        last = byol.flow(at, [best**2, best], [2000 / of.signal])[0, 1]
        assert (last > 0.1 * best) == lives
        assert len(byol.rest_points(at)) == (3 if lives else 1)


@pytest.mark.parametrize("of", MODES[:3])
def test_t12_10_the_basins_edge_parts_what_lives_from_what_collapses(of):
    """Twelve points along it, s 2 % smaller and larger: more of s saves, more of p need not."""
    low, high = byol.rest_points(of)[1:]
    edge = byol.basin_edge(of)
    points = edge[(edge[:, 0] > 1e-3 * high**2) & (edge[:, 1] > 1e-3 * high)]
    points = points[:: max(1, len(points) // 12)]
    late = 60 / (of.decay * (1 - of.decay / byol.collapse_threshold(of)))
    for factor, lives in ((0.98, False), (1.02, True)):
        last = byol.flow(of, points.T * [[factor], [1.0]], [late])[0, 1]
        assert ((np.abs(last - high) < 1e-4) == lives).all()
    assert np.abs(edge - [low**2, low]).max(axis=1).min() < 1e-12


# ---- matrices ----------------------------------------------------------------------------------------------


def random_moments(seed: int, d: int = 3) -> tuple[byol.Moments, np.ndarray]:
    """Moments that share a random basis, and this."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(d, d))).Q
    signal, noise = rng.uniform(0.5, 1.5, d), rng.uniform(0.0, 0.6, d)
    return byol.Moments(basis * (signal * (1 + noise)) @ basis.T, basis * signal @ basis.T), basis


@pytest.mark.parametrize("seed", range(3))
def test_t12_10_an_aligned_encoder_moves_mode_by_mode(seed):
    """Without a moving average: W = sum root(s_j) e_j v_j', G = diag p, three modes at once."""
    moments, _ = random_moments(seed)
    modes, vectors = byol.modes(moments, decay=0.04)
    rng, times = np.random.default_rng(seed), [0.0, 1.0, 10.0]
    s, p = rng.uniform(0.02, 0.6, 3), rng.uniform(0.1, 0.6, 3)
    turn = np.linalg.qr(rng.normal(size=(3, 3))).Q  # any orthonormal basis of the features
    W, G, A = byol.matrix_flow(moments, turn * np.sqrt(s) @ vectors.T, turn * p @ turn.T, times, decay=0.04)
    for j, each in enumerate(modes):
        path = byol.flow(each, [s[j], p[j]], times)
        along = turn[:, j] @ W @ vectors[:, j]
        assert_allclose(along**2, path[:, 0], atol=1e-9)
        assert_allclose(turn[:, j] @ G @ turn[:, j], path[:, 1], atol=1e-9)
    np.testing.assert_array_equal(W, A)


def loss(W, G, A, moments):
    """1/2 E|G W x - A x'|^2, up to what no weight moves, plus nothing else."""
    return np.trace(G @ W @ moments.second @ W.T @ G.T) / 2 - np.trace(A @ moments.cross @ (G @ W).T)


@pytest.mark.parametrize("seed", range(3))
def test_t12_10_encoder_and_predictor_descend_the_loss_of_a_still_target(seed):
    """By differences of the loss; a gradient that moves the target too is another."""
    moments, _ = random_moments(seed)
    rng, h, eta = np.random.default_rng(seed), 1e-6, 0.1
    W, G = rng.normal(size=(2, 3)), rng.normal(size=(2, 2))
    path = byol.matrix_flow(moments, W, G, [h], decay=eta, target_rate=0.5)
    for place, moved in ((0, W), (1, G)):
        for index in np.ndindex(moved.shape):
            e = np.zeros_like(moved)
            e[index] = 1e-5
            ends = [loss(*((W + x, G) if place == 0 else (W, G + x)), W, moments) for x in (e, -e)]
            slope = (ends[0] - ends[1]) / 2e-5
            found = (path[place][0][index] - moved[index]) / h
            assert_allclose(found, -slope - eta * moved[index], atol=5e-4)  # O(h) of the flow
    through = [loss(W + x, G, W + x, moments) for x in (np.eye(2, 3) * 1e-5, -np.eye(2, 3) * 1e-5)]
    still = [loss(W + x, G, W, moments) for x in (np.eye(2, 3) * 1e-5, -np.eye(2, 3) * 1e-5)]
    assert abs((through[0] - through[1]) - (still[0] - still[1])) / 2e-5 > 0.01  # the twin is told from it


def test_the_target_is_the_encoders_moving_average():
    """dA/dt = b (W - A), by a central difference; a fast one is the encoder, a slow one still its start."""
    moments, _ = random_moments(1)
    rng, h = np.random.default_rng(5), 1e-4
    W0, G0 = rng.normal(size=(2, 3)), np.eye(2) * 0.5
    W, _, A = byol.matrix_flow(moments, W0, G0, [1 - h, 1, 1 + h], decay=0.02, target_rate=0.7)
    assert_allclose((A[2] - A[0]) / (2 * h), 0.7 * (W[1] - A[1]), atol=1e-7)
    itself = byol.matrix_flow(moments, W0, G0, [1.0], decay=0.02)[0][0]
    fast = byol.matrix_flow(moments, W0, G0, [1.0], decay=0.02, target_rate=2000.0)[0][0]
    assert_allclose(fast, itself, atol=5e-3)
    slow = byol.matrix_flow(moments, W0, G0, [1.0], decay=0.02, target_rate=1e-6)[2][0]
    assert_allclose(slow, W0, atol=1e-5)


@pytest.mark.parametrize("target_rate", [0.3, 3.0])
def test_t12_10_with_a_moving_average_what_lives_ends_at_the_same_point(target_rate):
    """At rest the target is the encoder: tau = 1."""
    moments = byol.Moments(np.array([[1.5]]), np.array([[1.0]]))
    p = byol.rest_points(PRINTED)[2]
    W, G, A = byol.matrix_flow(moments, [[0.8]], [[0.5]], [400.0], decay=0.05, target_rate=target_rate)
    assert_allclose((W[0, 0, 0] ** 2, G[0, 0, 0], A[0, 0, 0]), (p * p, p, W[0, 0, 0]), atol=1e-8)


# ---- graphs ------------------------------------------------------------------------------------------------

PAW = np.array([[0, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]])  # a triangle with a tail


def ring(n: int) -> np.ndarray:
    step = np.roll(np.eye(n), 1, axis=0)
    return step + step.T


@pytest.mark.parametrize("keep", [0.35, 0.8, 1.0])
def test_t12_10_the_moments_of_a_graph_are_those_of_all_masks(keep):
    """Every set of kept edges of two views, 2^4 each, on an uneven graph with features."""
    F = np.random.default_rng(0).normal(size=(4, 3))
    edges = [(i, j) for i, j in itertools.combinations(range(4), 2) if PAW[i, j]]
    size = np.sqrt(PAW.sum(axis=1) + 1)
    views = []
    for kept in itertools.product([0, 1], repeat=len(edges)):
        A = np.zeros((4, 4))
        for (i, j), bit in zip(edges, kept, strict=True):
            A[i, j] = A[j, i] = bit / keep
        p = keep ** sum(kept) * (1 - keep) ** (len(edges) - sum(kept))
        views.append((p, (A + np.eye(4)) / np.outer(size, size) @ F))
    moments = byol.graph_moments(PAW, keep, F)
    assert_allclose(moments.second, sum(p * V.T @ V for p, V in views) / 4, atol=1e-14)
    both = sum(p * q * V.T @ U for p, V in views for q, U in views) / 4
    assert_allclose(moments.cross, both, atol=1e-14)


def test_t12_10_bgrl_on_a_ring_has_the_rings_modes():
    """A~ = (A + I)/3: c_j = (1 + 2 cos(2 pi j/7))^2 / 63, and the same variance for all."""
    modes, vectors = byol.modes(byol.graph_moments(ring(7), 0.6), decay=0.001)
    eigen = (1 + 2 * np.cos(2 * np.pi * np.arange(7) / 7)) ** 2 / 63
    assert_allclose([each.signal for each in modes], np.sort(eigen)[::-1], atol=1e-14)
    lost = [each.noise * each.signal for each in modes]
    assert_allclose(lost, 2 / 9 * (0.4 / 0.6) / 7, atol=1e-14)
    assert_allclose(vectors.T @ vectors, np.eye(7), atol=1e-13)


def test_t12_10_decay_kills_a_graphs_weak_modes_first():
    """Between two thresholds: the matrix flow keeps the strong modes and loses the weak one."""
    moments = byol.graph_moments(ring(7), 0.6)
    modes, vectors = byol.modes(moments, decay=0.0)
    at = np.array([byol.collapse_threshold(each) for each in modes])
    assert (np.diff(at) < 1e-15).all()
    eta = (at[2] + at[3]) / 2
    assert at[2] > eta * 1.2 > eta > at[3] * 1.2
    W, _, _ = byol.matrix_flow(moments, 0.9 * vectors[:, :5].T, np.eye(5) * 0.8, [6000.0], decay=eta)
    sizes = np.abs(np.diag(W[0] @ vectors[:, :5]))
    assert (sizes[:3] > 0.1).all() and (sizes[3:] < 1e-3).all()


def test_a_graph_whose_nodes_lose_unevenly_has_no_modes():
    with pytest.raises(ValueError, match="moments must share eigenvectors"):
        byol.modes(byol.graph_moments(PAW, 0.5), decay=0.01)


# ---- bad input ---------------------------------------------------------------------------------------------

ONE = byol.Moments(np.eye(2), np.eye(2))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: byol.mode(-0.1, 0.05), "noise must be"),
        (lambda: byol.mode(0.1, float("nan")), "decay must be"),
        (lambda: byol.mode(0.1, 0.05, 0.0), "target must be a positive"),
        (lambda: byol.flow(PRINTED, [-0.1, 0.5], [1.0]), "start's s must be 0 or more"),
        (lambda: byol.flow(PRINTED, [0.1, 0.5, 0.3], [1.0]), "start must be s and p"),
        (lambda: byol.basin_edge(byol.mode(0.5, 0.2)), "decay must be positive and below 0.166667"),
        (
            lambda: byol.matrix_flow(ONE, np.eye(2), np.ones((2, 2)), [1.0], decay=0.1),
            "predictor must be inv",
        ),
        (lambda: byol.matrix_flow(ONE, np.eye(2), np.eye(3), [1.0], decay=0.1), "predictor must be 2 by 2"),
        (
            lambda: byol.matrix_flow(ONE, np.ones((2, 3)), np.eye(2), [1.0], decay=0.1),
            "encoder must be k by 2",
        ),
        (lambda: byol.matrix_flow(ONE, np.eye(2), np.eye(2), [1.0], decay=-1.0), "decay must be"),
        (lambda: byol.graph_moments([[0, 1], [0, 0]], 0.5), "adjacency must be symmetric"),
        (lambda: byol.graph_moments([[0, 2], [2, 0]], 0.5), "adjacency must be 0 or 1"),
        (lambda: byol.graph_moments([[1, 1], [1, 0]], 0.5), "diagonal of adjacency must be 0"),
        (lambda: byol.graph_moments([[0, 1]], 0.5), "adjacency must be a square matrix"),
        (lambda: byol.graph_moments([[0, 1], [1, 0]], 0.0), "keep must be a positive"),
        (lambda: byol.graph_moments([[0, 1], [1, 0]], 0.5, np.ones((3, 2))), "features must have one row"),
    ],
)
def test_bad_input_is_refused_with_its_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()
