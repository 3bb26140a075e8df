"""How are groups of arms drawn from a law, for many steps and runs at once?

A group is drawn by inverting a cumulative distribution at a uniform number, exact to the last bit of the
cumulative sum.  For a law that never changes a *guide table* says at once, for almost every number, on
which value it falls: [0, 1) is cut into M equal cells, and a closer look is needed only in cells where the
cumulative sum jumps.  A law that moves with the policies is inverted by one binary search over all runs.

Source: Chen and Asau 1974, "On generating random variates from an empirical distribution".

Axes: `steps` (T), the place in the group (k), `runs`, contexts, and last the groups of one batch (n).  The
place comes before the runs, unlike in `Samples`, so that each place is contiguous in memory.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from bandits.checks import Floats
from bandits.sampling.laws import Arms, Joint, Labelled, Law, Product

CELLS_PER_VALUE = 32  # of a guide table: about 1/32 of the cells, or fewer, contain a jump
FEWEST_CELLS = 2**11
MOST_CELLS = 2**17  # of all guide tables of a law together, one for each context: they should fit in cache
FEW_STEPS = 4  # from the first value of a cell, before its value is searched for
FEW_GROUPS = 2**12  # up to so many possible groups, a group is one draw, not one for each place


class Categorical:
    """Draws from fixed distributions over n values, (contexts..., n), by guide tables."""

    def __init__(self, probability: Floats) -> None:
        contexts, self.n = probability.shape[:-1], probability.shape[-1]
        rows = _cumulative(probability.reshape(-1, self.n))
        wanted = min(max(FEWEST_CELLS, CELLS_PER_VALUE * self.n), MOST_CELLS // len(rows))
        self.cells = 2 ** int(np.log2(max(1, wanted)))  # a power of two: u * cells is then exact
        edges = np.arange(self.cells + 1) / self.cells
        first = np.stack([np.searchsorted(row, edges[:-1], side="right") for row in rows])
        last = np.stack([np.searchsorted(row, edges[1:], side="left") for row in rows])
        self.row = np.arange(len(rows)).reshape(*contexts, 1) if contexts else 0
        self.cumulative = rows.reshape(-1)  # a value is found as its place here, row * n + value
        place = first + self.n * np.arange(len(rows))[:, None]
        self.guide = _short(np.where(first == last, place, ~place).reshape(-1))  # ~place: there or later

    def draw(self, uniform: Floats) -> Arms:
        """Values at uniform numbers (..., contexts..., n), the same shape."""
        cell = (uniform * self.cells).astype(np.intp)
        if np.ndim(self.row):
            cell += self.row * self.cells
        place = self.guide.take(cell)
        flat = place.reshape(-1)  # a view: `take` makes contiguous arrays
        unsure = np.flatnonzero(flat < 0)
        flat[unsure] = self._refine(~flat[unsure].astype(np.intp), uniform.reshape(-1)[unsure])
        return place - self.row * self.n if np.ndim(self.row) else place

    def _refine(self, place: Arms, uniform: Floats) -> Arms:
        """The right places, given the first of each cell: a few steps further, or else searched for."""
        before = np.flatnonzero(uniform >= self.cumulative.take(place))
        for _ in range(FEW_STEPS):
            place[before] += 1
            before = before[uniform[before] >= self.cumulative.take(place[before])]
        for i in before:
            start = place[i] // self.n * self.n
            row = self.cumulative[start : start + self.n]
            place[i] = start + np.searchsorted(row, uniform[i], side="right")
        return place


class GroupDice:
    """Draws whole groups of a fixed law."""

    def __init__(self, law: Law) -> None:
        self.k = law.k
        self.arm_of_group: list[Arms] = []  # for each place; empty: places are drawn one by one
        if isinstance(law, Product) and _possible_groups(law) > FEW_GROUPS:
            marginals = np.stack(np.broadcast_arrays(*law.marginals))
            self.dice = Categorical(
                marginals[:, None]
            )  # places are contexts, runs between them and the others
        else:
            probability, self.arm_of_group = _all_groups(law)
            self.dice = Categorical(probability)

    def draw(self, rng: np.random.Generator, steps: int, shape: tuple[int, ...]) -> Arms:
        """Arms (steps, k, *shape), where shape is (runs, contexts..., groups)."""
        if not self.arm_of_group:
            return self.dice.draw(rng.random((steps, self.k, *shape))).astype(np.intp)
        group = self.dice.draw(rng.random((steps, *shape)))
        arms = np.empty((steps, self.k, *shape), dtype=np.intp)
        for place, arm in enumerate(self.arm_of_group):
            arms[:, place] = arm.take(group)
        return arms


def draw_moving(law: Law, rng: np.random.Generator, groups: int) -> Arms:
    """Groups (1, k, runs, contexts..., groups) of independent places; each run has its own law."""
    marginals = law.place_behavior()  # each (runs, contexts..., A)
    shape = np.broadcast_shapes(*(m.shape for m in marginals))
    uniform = rng.random((law.k, *shape[:-1], groups))
    cumulative = {id(m): _cumulative(np.broadcast_to(m, shape).reshape(-1, shape[-1])) for m in marginals}
    places = [_invert(cumulative[id(m)], u) for m, u in zip(marginals, uniform, strict=True)]
    return np.stack(places)[None]


def _invert(cumulative: Floats, uniform: Floats) -> Arms:
    """First arm whose cumulative probability exceeds u, each row with its own distribution.

    Row r is moved to [r, r + 1], so that one sorted search serves all rows.
    """
    size = cumulative.shape[-1]
    row = np.arange(len(cumulative), dtype=float)[:, None]
    u = uniform.reshape(len(cumulative), -1) + row
    u = np.minimum(u, np.nextafter(row + 1, 0))  # u + r may round up to the next row
    found = np.searchsorted((cumulative + row).ravel(), u, side="right")
    return (found - size * row.astype(np.intp)).reshape(uniform.shape)


def _cumulative(probability: Floats) -> Floats:
    """Cumulative sums that end in exactly 1 at the last arm with mass, along the last axis."""
    total = probability.cumsum(axis=-1)
    return total / total[..., -1:]


def _short(table: Arms) -> NDArray[np.signedinteger]:
    """The same numbers in fewer bytes if the table is long: it is read at random and should stay in cache."""
    if len(table) <= FEWEST_CELLS:
        return table
    return table.astype(np.int16 if table.max() < 2**15 and table.min() >= -(2**15) else np.int32)


def _possible_groups(law: Product) -> int:
    contexts = np.broadcast_shapes(*(m.shape[:-1] for m in law.marginals))
    return int(np.prod(contexts)) * law.marginals[0].shape[-1] ** law.k


def _all_groups(law: Law) -> tuple[Floats, list[Arms]]:
    """Every group with its probability (contexts..., groups), and the arm in each of its k places."""
    if isinstance(law, Labelled):
        return law.share, [np.ascontiguousarray(column) for column in law.pairs.T]
    if isinstance(law, Joint):
        size = law.pairs.shape[-1]
        return law.pairs.reshape(*law.pairs.shape[:-2], -1), list(np.divmod(np.arange(size**2), size))
    arms = np.array(list(product(range(law.marginals[0].shape[-1]), repeat=law.k)))
    probability = law.marginals[0][..., arms[:, 0]]
    for place in range(1, law.k):
        probability = probability * law.marginals[place][..., arms[:, place]]
    return probability, [np.ascontiguousarray(column) for column in arms.T]
