"""Laws of the Laplacian solvers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import eigvalsh

from bandits.solvers.laplacian import conjugate_gradients, eliminate, spectral_gap_bound
from bandits.testing.strategies import generators

SIZES = st.sampled_from([2, 3, 7, 63, 64, 65, 66, 130])  # around the block of 64


def random_graph(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Conductances of every pair, and antisymmetric flows."""
    weights, flow = 0.1 + rng.random((size, size)), rng.normal(size=(size, size))
    conductance = weights + weights.T
    np.fill_diagonal(conductance, 0)
    return conductance, flow - flow.T


@given(generators(), SIZES)
def test_both_solvers_give_the_potential_whose_currents_are_the_flow(rng, size):
    conductance, flow = random_graph(rng, size)
    degree, net = conductance.sum(axis=1), flow.sum(axis=1)
    by_elimination = eliminate(conductance, flow)
    by_gradients = conjugate_gradients(lambda v: conductance @ v, degree, net, 1e-13)
    for potential in (by_elimination, by_gradients):
        currents = degree * potential - conductance @ potential
        np.testing.assert_allclose(currents, net, rtol=0, atol=1e-12 * np.abs(net).max())
    np.testing.assert_allclose(np.diff(by_gradients), np.diff(by_elimination), rtol=0, atol=1e-11)


@pytest.mark.parametrize("link", [1e-3, 1e-20, 1e-200])
@given(generators(), st.sampled_from([3, 40, 100]))
def test_elimination_finds_the_potential_across_a_link_however_weak(link, rng, size):
    """Two groups that circulate flows of order 1; the one link between them carries thrice its conductance.

    All that leaves a group crosses the link, so the potentials of its ends differ by exactly 3.
    """
    conductance, flow = np.zeros((2, 2 * size, 2 * size))
    for group in (slice(0, size), slice(size, None)):
        conductance[group, group], inside = random_graph(rng, size)
        flow[group, group] = inside
    order = rng.permutation(2 * size)
    a, b = 0, size
    conductance[a, b] = conductance[b, a] = link
    flow[a, b], flow[b, a] = 3 * link, -3 * link
    potential = np.empty(2 * size)
    potential[order] = eliminate(conductance[np.ix_(order, order)], flow[np.ix_(order, order)])
    np.testing.assert_allclose(potential[a] - potential[b], 3, rtol=1e-11)


@given(generators(), st.integers(2, 40), st.integers(1, 40))
def test_the_bound_lies_below_the_spectral_gap(rng, size, hubs):
    conductance = random_graph(rng, size)[0] * 10.0 ** rng.uniform(-3, 0, size) * rng.random()
    conductance = conductance + conductance.T
    degree = conductance.sum(axis=1)
    scale = 1 / np.sqrt(degree)
    gap = eigvalsh(np.eye(size) - conductance * scale[:, None] * scale)[1]
    chosen = rng.permutation(size)[:hubs]
    bound = spectral_gap_bound(conductance[:, chosen], chosen, degree)
    assert 0 < bound <= gap * (1 + 1e-12)


def test_conjugate_gradients_give_up_on_a_long_path():
    """A path of n arms needs n steps: a thousand is more than it may take."""
    size = 1000
    conductance = np.eye(size, k=1) + np.eye(size, k=-1)
    net = np.zeros(size)
    net[0], net[-1] = 1, -1
    assert conjugate_gradients(lambda v: conductance @ v, conductance.sum(axis=1), net, 1e-10) is None


def test_elimination_leaves_its_arguments_alone():
    conductance, flow = random_graph(np.random.default_rng(0), 5)
    before = conductance.copy(), flow.copy()
    eliminate(conductance, flow)
    np.testing.assert_array_equal(conductance, before[0])
    np.testing.assert_array_equal(flow, before[1])
