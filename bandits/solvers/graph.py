"""Which arms are sampled together?  They are joined in the sampling graph, whose nodes are the arms.

With S = W + W^T the symmetrised law of a pair, L = diag(S 1) - S is the graph's Laplacian.  Its null
space are the vectors that are constant on connected components; what a contrastive algorithm can learn
is the rest.  The functions take S as a dense array or a `scipy.sparse` matrix, without contexts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import spsolve

from bandits.checks import Floats
from bandits.solvers.laplacian import eliminate

DENSE = 1000  # sparse graphs of at most so many arms are solved as dense ones


def components(symmetric: Floats | sparse.spmatrix) -> NDArray[np.intp]:
    """Label of the connected component of each arm, (A,); arm 0 has label 0."""
    return connected_components(sparse.csr_array(symmetric), directed=False)[1]


def rank(symmetric: Floats | sparse.sparray, flow: Floats | sparse.sparray) -> Floats:
    """The potential x with sum_j S_ij (x_i - x_j) = sum_j F_ij and mean zero on each component, (A,).

    F is antisymmetric, (A, A): what each pair of arms contributes.  Up to `DENSE` arms, weak links between
    tight clusters keep all their digits; larger sparse graphs are factorised.
    """
    if sparse.issparse(symmetric):
        if symmetric.shape[0] > DENSE:
            return solve(symmetric, flow.sum(axis=1))
        symmetric, flow = sparse.csr_array(symmetric).toarray(), sparse.csr_array(flow).toarray()
    labels = components(symmetric)
    potential = np.zeros(len(labels))
    for label in range(labels.max() + 1):
        members = np.flatnonzero(labels == label)
        if len(members) > 1:
            inner = np.ix_(members, members)
            x = eliminate(symmetric[inner], flow[inner])
            potential[members] = x - x.mean()
    return potential


def solve(symmetric: Floats | sparse.spmatrix, flow: Floats) -> Floats:
    """The potential x with L x = flow and mean zero on each component, (A,).

    One arm of each component is grounded, and the rest is scaled to a unit diagonal, so that arms
    sampled with probability 1e-12 are solved as well as the others.
    """
    labels = components(symmetric)
    degree = np.asarray(symmetric.sum(axis=1)).ravel() - symmetric.diagonal()
    potential = np.zeros(len(labels))
    for label in np.flatnonzero(np.bincount(labels) > 1):
        members = np.flatnonzero(labels == label)
        ground = members[np.argmax(degree[members])]
        free = members[members != ground]
        scale = 1 / np.sqrt(degree[free])
        coupling = symmetric[free][:, free]
        rhs = scale * flow[free]
        if sparse.issparse(coupling):
            scaled = sparse.diags_array(scale) @ coupling @ sparse.diags_array(scale)
            unit = sparse.eye_array(len(free)) - scaled + sparse.diags_array(scaled.diagonal())
            potential[free] = scale * np.atleast_1d(spsolve(unit.tocsc(), rhs))
        else:
            unit = -coupling * scale[:, None] * scale
            np.fill_diagonal(unit, 1.0)
            potential[free] = scale * linalg.solve(unit, rhs, assume_a="pos")
        potential[members] -= potential[members].mean()
    return potential
