"""The dice: groups of arms drawn from a law, for many steps and runs at once.

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

from bandits.checks import Floats
from bandits.laws import Arms, Joint, Labelled, Law, Product

CELLS_PER_VALUE = 32  # of a guide table: about 1/32 of the cells, or fewer, contain a jump
FEWEST_CELLS = 2**11
MOST_CELLS = 2**18  # of all guide tables of a law together, one for each context: they should fit in cache
FEW_GROUPS = 2**12  # up to so many possible groups, a group is one draw, not one for each place


class Categorical:
    """Draws from fixed distributions over n values, (contexts..., n), by guide tables."""

    def __init__(self, probability: Floats) -> None:
        flat = probability.reshape(-1, probability.shape[-1])
        self.contexts = probability.shape[:-1]
        self.cumulative = _cumulative(flat)
        wanted = min(max(FEWEST_CELLS, CELLS_PER_VALUE * flat.shape[-1]), MOST_CELLS // len(flat))
        self.cells = 2 ** int(np.log2(max(1, wanted)))  # a power of two: u * cells is then exact
        edges = np.arange(self.cells + 1) / self.cells
        first = np.stack([np.searchsorted(c, edges[:-1], side="right") for c in self.cumulative])
        last = np.stack([np.searchsorted(c, edges[1:], side="left") for c in self.cumulative])
        guide = np.where(first == last, first, ~first).ravel()  # ~first: first or more
        self.guide = guide.astype(_index_type(len(guide)))
        self.offset = np.arange(len(flat)).reshape(*self.contexts, 1) * self.cells

    def draw(self, uniform: Floats) -> Arms:
        """Values at uniform numbers (..., contexts..., n), the same shape."""
        cell = (uniform * self.cells).astype(np.intp)
        if self.contexts:
            cell += self.offset
        values = self.guide.take(cell)
        flat = values.reshape(-1)  # a view: `take` makes contiguous arrays
        unsure = np.flatnonzero(flat < 0)
        first = ~flat[unsure].astype(np.intp)
        flat[unsure] = self._refine(first, uniform.reshape(-1)[unsure], cell.reshape(-1)[unsure])
        return values

    def _refine(self, values: Arms, uniform: Floats, cell: Arms) -> Arms:
        """The right values, given the first of each cell: it or the next, or else searched for."""
        context, flat = cell // self.cells, self.cumulative.reshape(-1)
        row = context * self.cumulative.shape[-1]
        values += uniform >= flat.take(row + values)
        for i in np.flatnonzero(uniform >= flat.take(row + values)):
            values[i] = np.searchsorted(self.cumulative[context[i]], uniform[i], side="right")
        return values


class GroupDice:
    """Draws whole groups of a fixed law."""

    def __init__(self, law: Law) -> None:
        self.k = law.k
        if isinstance(law, Product) and _possible_groups(law) > FEW_GROUPS:
            self.dice = [Categorical(m) for m in law.marginals]
            self.groups = None
        else:
            probability, self.groups = _all_groups(law)
            self.dice = [Categorical(probability)]

    def draw(self, rng: np.random.Generator, steps: int, shape: tuple[int, ...]) -> Arms:
        """Arms (steps, k, *shape), where shape is (runs, contexts..., groups)."""
        uniform = rng.random((steps, len(self.dice), *shape))
        arms = np.empty((steps, self.k, *shape), dtype=np.intp)
        if self.groups is None:
            for place, dice in enumerate(self.dice):
                arms[:, place] = dice.draw(uniform[:, place])
            return arms
        group = self.dice[0].draw(uniform[:, 0])
        for place, arm_of_group in enumerate(self.groups):
            arms[:, place] = arm_of_group.take(group)
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


def _index_type(cells: int) -> type[np.signedinteger]:
    """Short numbers for long tables, which are read at random and should stay in cache."""
    return np.intp if cells <= 2**12 else np.int32


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
