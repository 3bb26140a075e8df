"""Laws of the sampling graph: its components and the potentials on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from independent_solvers import connected, least_squares
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from bandits.solvers import graph
from bandits.testing import strategies

SIZES = st.integers(2, 8)


@st.composite
def graphs(draw, arms: int) -> np.ndarray:
    """Symmetric weights that span four decades, half of them missing, (A, A)."""
    rng = draw(strategies.generators(4))
    weight = np.exp(-9 * rng.random((arms, arms))) * (rng.random((arms, arms)) < 0.4)
    return weight + weight.T


@st.composite
def antisymmetric(draw, arms: int) -> np.ndarray:
    rng = draw(strategies.generators(5))
    margins = rng.normal(size=(arms, arms))
    return margins - margins.T


@given(data=st.data(), arms=SIZES)
def test_arms_have_one_label_if_a_path_joins_them(data, arms):
    S = data.draw(graphs(arms))
    for matrix in (S, sparse.csr_array(S)):
        labels = graph.components(matrix)
        assert_array_equal(labels[:, None] == labels, connected(S))
        assert labels[0] == 0


@given(data=st.data(), arms=SIZES)
def test_a_potential_solves_its_laplacian(data, arms):
    """L x = f for flows f that sum to zero on each component, whose mean x is zero there.

    L is formed here by subtraction: its entries are exact to the rounding of the degrees, times x.
    """
    S = data.draw(graphs(arms))
    L = np.diag(S.sum(axis=1)) - S
    f = L @ data.draw(strategies.rewards(arms))
    linked = connected(S)
    for matrix in (S, sparse.csr_array(S)):
        x = graph.solve(matrix, f)
        rounding = 8 * np.finfo(float).eps * S.sum(axis=1).max() * (1 + np.abs(x).max())
        assert_allclose(L @ x, f, rtol=0, atol=1e-13 * np.abs(f).max() + rounding)
        assert_allclose(linked @ x, 0, atol=1e-11 * (1 + np.abs(x).max()))


@given(data=st.data(), arms=SIZES)
def test_a_rank_fits_the_margins_of_all_pairs_best(data, arms):
    """sum_j S_ij (x_i - x_j) = sum_j F_ij is the normal equation of min sum S (F/S - (x - x'))^2."""
    S, margins = data.draw(graphs(arms)), data.draw(antisymmetric(arms))
    x = least_squares(S, margins, np.zeros(arms))
    assert_allclose(graph.rank(S, S * margins), x, rtol=0, atol=1e-9 * (1 + np.abs(x).max()))
    as_sparse = graph.rank(sparse.csr_array(S), sparse.csr_array(S * margins))
    assert_allclose(as_sparse, x, rtol=0, atol=1e-9 * (1 + np.abs(x).max()))


@pytest.mark.parametrize("arms", [graph.DENSE - 1, graph.DENSE + 1])
def test_a_long_chain_is_ranked_link_by_link(arms):
    """On a path every margin is met exactly: the dense and the sparse solver on either side of `DENSE`."""
    margins = np.random.default_rng(0).normal(size=arms - 1)
    link = np.exp(-3 * np.random.default_rng(1).random(arms - 1))
    S = sparse.diags_array([link, link], offsets=[-1, 1], shape=(arms, arms)).tocsr()
    F = sparse.diags_array([-link * margins, link * margins], offsets=[-1, 1], shape=(arms, arms)).tocsr()
    x = graph.rank(S, F)
    assert_allclose(x[:-1] - x[1:], margins, rtol=0, atol=1e-10)
    assert_allclose(x.mean(), 0, atol=1e-10)
