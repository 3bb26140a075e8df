"""Which arms can be cut off most cheaply, for what they weigh?  A minimum ratio over sets, by maximum flows.

    least over sets T, not empty and not all:   sum_{i in T, j not in T} N_ij  /  sum_{i in T} w_i

There are 2^A sets, but for a given ratio lambda the least of cut(T) - lambda w(T) over the sets without the
arm j is a minimum cut, that is a maximum flow from a source that feeds each arm lambda w_i, along N, to j.
From the best single arm, lambda falls to the ratio of each cheaper set that a flow finds, until no arm j
leaves one (Dinkelbach's method): some A flows.  Capacities are integers in SciPy, 2^-30 of lambda's total
each, so that ratios within about A^2 2^-30 of each other count as one; that of the set found is exact.

Axes: one context; arms (A,), pairs (A, A).  Source: Dinkelbach 1967, Management Science 13(7).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from bandits.checks import Floats

UNITS = 2**30  # of all that the source feeds: capacities are 32-bit integers
ROUNDING = 1e-12  # relative improvement that is none


def least_ratio(links: Floats, weight: Floats) -> tuple[float, NDArray[np.bool_]]:
    """The least ratio and its set T, (A,); infinite where no set that can be cut off weighs anything.

    Args:
        links: N, (A, A), not negative; the diagonal does not matter.
        weight: w, (A,), not negative.

    Example: arm 1 is held by a thread.
        >>> least_ratio(np.array([[0.0, 1.0], [0.5, 0.0]]), np.array([0.5, 0.5]))
        (1.0, array([False,  True]))
    """
    size = len(weight)
    alone = np.concatenate([np.eye(size, dtype=bool), ~np.eye(size, dtype=bool)])
    ratios = [_ratio(links, weight, each) for each in alone]
    best, least = alone[int(np.argmin(ratios))], min(ratios)
    for sink in range(size):
        while 0 < least < np.inf:
            found = _cut_off(links, weight, least, sink)
            ratio = _ratio(links, weight, found)
            if not ratio < least * (1 - ROUNDING):
                break
            best, least = found, ratio
    return least, best


def _ratio(links: Floats, weight: Floats, inside: NDArray[np.bool_]) -> float:
    """cut(T) / w(T); infinite for weightless sets, the empty one and the whole."""
    total = weight[inside].sum()
    if total == 0 or inside.all():
        return np.inf
    return float(links[np.ix_(inside, ~inside)].sum() / total)


def _cut_off(links: Floats, weight: Floats, ratio: float, sink: int) -> NDArray[np.bool_]:
    """T with the least cut(T) - ratio w(T) among the sets without the sink, (A,)."""
    size = len(weight)
    fed = ratio * weight.sum()
    capacity = np.zeros((size + 1, size + 1))
    capacity[:size, :size] = np.minimum(links, fed)  # no more than all can pass
    capacity[size, :size] = ratio * weight
    np.fill_diagonal(capacity, 0.0)
    units = sparse.csr_array(np.floor(capacity / fed * UNITS).astype(np.int32))
    left = units - csgraph.maximum_flow(units, size, sink).flow
    left.data = np.maximum(left.data, 0)
    left.eliminate_zeros()
    reached = np.zeros(size + 1, dtype=bool)
    reached[csgraph.breadth_first_order(left, size, return_predecessors=False)] = True
    return reached[:size]
