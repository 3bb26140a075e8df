"""How are the potentials x, L x = flow, found on dense graphs whose weights span many orders of magnitude?

A symmetric matrix C >= 0 of conductances has the Laplacian L = diag(C 1) - C, of degrees D = C 1.  Two
solvers, each at its best where the other is not (T5.2):

    conjugate_gradients    O(A^2) a step, few steps, if the graph is known to be well connected
    eliminate              O(A^3), keeps every digit however weak the links between clusters are

How well a graph is connected is its spectral gap, the second smallest eigenvalue of D^-1/2 L D^-1/2, which
`spectral_gap_bound` bounds from below by the links to a few hubs.

Axes: arms, and arms x arms; no contexts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bandits.checks import Floats

BLOCK = 64  # arms eliminated between two matrix products


def spectral_gap_bound(to_hubs: Floats, hubs: NDArray[np.integer], degree: Floats) -> float:
    """A lower bound on the spectral gap, 1/2 sum_h min_i C_ih / D_i.

    Args:
        to_hubs: (A, H) conductances C[:, hubs].
        hubs: (H,) distinct arms.
        degree: (A,) C 1.

    Example: the complete graph of three arms, whose gap is 3 / 2.
        >>> spectral_gap_bound(np.ones((3, 3)), np.arange(3), np.full(3, 2.0))
        0.75
    """
    share = to_hubs / degree[:, None]
    share[hubs, np.arange(len(hubs))] = np.inf
    return float(share.min(axis=0).sum() / 2)


def conjugate_gradients(
    conduct: Callable[[Floats], Floats], degree: Floats, flow: Floats, accuracy: float
) -> Floats | None:
    """The potential by Jacobi-preconditioned conjugate gradients; None if 300 steps do not get there.

    Args:
        conduct: v -> C v.
        degree: (A,) C 1.
        flow: (A,) of sum zero up to rounding.
        accuracy: stops when the largest residual relative to the arm's degree has fallen by this factor.
    """
    residual = flow - degree * (flow.sum() / degree.sum())
    potential, scaled = np.zeros_like(residual), residual / degree
    goal = accuracy * np.max(np.abs(scaled))
    direction, power = scaled, residual @ scaled
    for _ in range(300):
        if np.max(np.abs(scaled)) <= goal:
            return potential
        image = degree * direction - conduct(direction)
        length = power / (direction @ image)
        potential += length * direction
        residual -= length * image
        scaled = residual / degree
        power, previous = residual @ scaled, power
        direction = scaled + power / previous * direction
    return None


def eliminate(conductance: Floats, flow: Floats) -> Floats:
    """The potential by Gaussian elimination that never subtracts conductances; the last arm is at zero.

    Eliminating an arm hands its conductances and its flows to its neighbours, in proportion to their
    conductances: what remains is again a graph with flows.  Flows are kept pair by pair: what circulates
    inside a tight cluster then cancels exactly, instead of drowning the little that leaves it.
    After Grassmann, Taksar & Heyman 1985, Oper. Res. 33(5); here with right-hand side and in blocks.

    Args:
        conductance: (A, A) symmetric, of a connected graph; the diagonal does not matter.
        flow: (A, A) antisymmetric; arm i receives flow[i].sum().

    Example: two tight arms, linked to a third by 1e-20; the link carries 3e-20.
        >>> link = 1e-20
        >>> C = np.array([[0, 1, 0], [1, 0, link], [0, link, 0]])
        >>> F = np.array([[0, 0.5, 0], [-0.5, 0, 3 * link], [0, -3 * link, 0]])
        >>> eliminate(C, F)
        array([3.5, 3. , 0. ])
    """
    size = len(flow)
    conductance, flow = conductance.copy(), flow.copy()
    degree, source = np.ones(size), np.zeros(size)
    for first in range(0, size - 1, BLOCK):
        last = min(first + BLOCK, size - 1)
        for k in range(first, last):
            row, out = conductance[k, k + 1 :], flow[k, k + 1 :]
            degree[k], source[k] = row.sum(), out.sum()
            share, rest = row / degree[k], last - k - 1
            conductance[k + 1 : last, k + 1 :] += share[:rest, None] * row
            flow[k + 1 : last, k + 1 :] += share[:rest, None] * out - out[:rest, None] * share
        row, out = conductance[first:last, last:], flow[first:last, last:]
        share = row / degree[first:last, None]
        handed = share.T @ out
        conductance[last:, last:] += share.T @ row
        flow[last:, last:] += handed - handed.T
    potential = np.zeros(size)
    for k in range(size - 2, -1, -1):
        potential[k] = (source[k] + conductance[k, k + 1 :] @ potential[k + 1 :]) / degree[k]
    return potential
