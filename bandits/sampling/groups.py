"""Which groups of arms are there, and which of them must be told apart?

k arms drawn independently from one distribution p make A^k ordered groups, but only C(A + k - 1, k)
multisets, each with its multinomial weight

    k! / prod_z n_z!  prod_z p_z^n_z,      n_z = how often arm z occurs

(GRPO's eight of ten arms: 24 310 instead of 10^8).  An expectation may run over these if what it sums does
not depend on the order within a group: `order_matters` looks, at every group or at many, each against itself
in another order.  `company_matters` looks whether a group alone gets what it gets among others.

Axes: groups (n, k); their weights (..., n), the leading axes being contexts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain, combinations_with_replacement, islice
from math import comb

import numpy as np
from scipy.special import gammaln
from tqdm import tqdm

from bandits.bandit import gather
from bandits.checks import Floats
from bandits.sampling.laws import Arms, Labelled, Law, Product

FEW = 2**10  # ordered groups that are not worth asking whether their order matters
FEWER = 4  # times fewer multisets are worth it: asking costs four sums, and pairs are only twice fewer
MANY = 2**20  # groups that may take seconds: they are counted on a progress bar
KEPT = 2**17  # multisets of a table that is kept for the next sum
TESTED = 2**15  # groups that are looked at in another order: all of them, up to so many
ENOUGH = 2**10  # groups; of fewer, each is looked at in several orders
COMPANY, ALONE = 4, 3  # groups that are looked at together, and those of them that are also alone
GOLDEN = (5**0.5 - 1) / 2
SAME = 1e-9  # relative difference of two sums that is rounding

Groups = Iterator[tuple[Arms, Floats]]  # arms (n, k) with their weights (..., n), in blocks
Evaluation = Callable[[Arms], Floats]  # groups (n, k) to numbers of their samples (..., n, k)


def every_group(
    law: Law, block: int, max_groups: int, name: str, order_matters: Callable[[], bool]
) -> Groups:
    """Groups whose weighted sum is the expectation: the multisets where that is all that matters, else all.

    Args:
        name: what is summed, for messages.
        order_matters: asked only if it can make a difference.

    Raises:
        ValueError: there are more than `max_groups`.
    """
    ordered, unordered = ordered_groups(law), multisets(law)
    if unordered is not None and unordered <= max_groups:
        worth = ordered > max_groups or ordered > max(FEW, FEWER * unordered)
        if worth and not order_matters():
            return _counted(unordered_groups(law, block), unordered)
    if ordered <= max_groups:
        return _counted(law.tuples(block), ordered)
    visited = f"{ordered:.3g} groups of k = {law.k} among {law.behavior.shape[-1]} arms"
    if unordered is not None and unordered <= max_groups:
        visited += f", since the order within a group matters to {name}"
    elif unordered is not None:
        visited += f", {unordered:.3g} of them different"
    raise ValueError(
        f"enumeration would visit {visited}; max_groups = {max_groups} allows fewer: raise it "
        f"(about a million a second), take a smaller k or fewer arms, or simulate"
    )


def _counted(every: Groups, count: int) -> Groups:
    """The same groups, on a progress bar if they are many and take more than two seconds."""
    if count <= MANY:
        yield from every
        return
    with tqdm(total=count, disable=None, delay=2, unit="group", unit_scale=True) as bar:
        for arms, weight in every:
            yield arms, weight
            bar.update(len(arms))


def ordered_groups(law: Law) -> int:
    """How many groups `law.tuples` visits."""
    return len(law.pairs) if isinstance(law, Labelled) else law.behavior.shape[-1] ** law.k


def multisets(law: Law) -> int | None:
    """How many groups there are if order does not count; None where the places have different laws."""
    if not isinstance(law, Product) or law.k == 1 or any(m is not law.marginals[0] for m in law.marginals):
        return None
    return comb(law.behavior.shape[-1] + law.k - 1, law.k)


def unordered_groups(law: Law, block: int) -> Iterator[tuple[Arms, Floats]]:
    """Every multiset once, `block` at a time: sorted arms (n, k) with their multinomial weights (..., n).

    Example:
        >>> half = np.array([0.5, 0.5])
        >>> [(arms.tolist(), weight.tolist()) for arms, weight in unordered_groups(Product((half, half)), 8)]
        [([[0, 0], [0, 1], [1, 1]], [0.25, 0.5, 0.25])]
    """
    with np.errstate(divide="ignore"):
        log_p = np.log(law.behavior)
    for arms, log_ways in _table(law.behavior.shape[-1], law.k, block):
        yield arms, np.exp(log_ways + gather(log_p, arms, axes=2).sum(-1))


def _table(size: int, k: int, block: int) -> Iterator[tuple[Arms, Floats]]:
    """Sorted groups (n, k) and log k! / prod n_z!, (n,)."""
    if comb(size + k - 1, k) > KEPT:
        yield from _in_blocks(size, k, block)
        return
    arms, log_ways = _kept(size, k)
    for first in range(0, len(arms), block):
        yield np.asfortranarray(arms[first : first + block]), log_ways[first : first + block]


@lru_cache(maxsize=4)
def _kept(size: int, k: int) -> tuple[Arms, Floats]:
    return next(_in_blocks(size, k, KEPT))


def _in_blocks(size: int, k: int, block: int) -> Iterator[tuple[Arms, Floats]]:
    everything = combinations_with_replacement(range(size), k)
    while chunk := list(islice(everything, block)):
        flat = np.fromiter(chain.from_iterable(chunk), np.intp, len(chunk) * k)
        arms = np.asfortranarray(
            flat.reshape(-1, k)
        )  # each place contiguous: sums over a group are then fast
        run, log_repeats = np.ones(len(arms)), np.zeros(len(arms))
        for place in range(1, k):  # prod n_z! is the product of how often each arm has come so far
            run = np.where(arms[:, place] == arms[:, place - 1], run + 1, 1.0)
            log_repeats += np.log(run)
        yield arms, gammaln(k + 1) - log_repeats


def order_matters(evaluate: Evaluation, law: Law) -> bool:
    """Whether an arm's share of a group, sum_i c_i 1{y_i = z}, changes with the order of the group.

    Every group of a law of few is looked at, in several orders, and many random ones of a larger one.
    Numbers that are not finite (of groups that never occur) are no evidence.
    """
    rng, size = np.random.default_rng(0), law.behavior.shape[-1]
    count = comb(size + law.k - 1, law.k)
    if count <= TESTED:
        arms = np.tile(_kept(size, law.k)[0], (max(1, ENOUGH // count), 1))
    else:
        arms = np.sort(rng.integers(size, size=(TESTED, law.k)), axis=-1)
    order = rng.permuted(np.broadcast_to(np.arange(law.k), arms.shape), axis=-1)
    in_order, permuted = evaluate(arms), evaluate(np.take_along_axis(arms, order, axis=-1))
    back = np.broadcast_to(np.argsort(order, axis=-1), permuted.shape)
    permuted = np.take_along_axis(permuted, back, axis=-1)
    first = np.concatenate([np.ones((len(arms), 1), bool), arms[:, 1:] != arms[:, :-1]], axis=-1).ravel()
    with np.errstate(invalid="ignore"):
        difference, scale = in_order - permuted, np.abs(in_order).max(axis=-1)
        flat = difference.reshape(*difference.shape[:-2], -1)
        shares = np.add.reduceat(flat, np.flatnonzero(first), axis=-1)  # sorted: equal arms stand together
        scale = np.repeat(scale, first.reshape(arms.shape).sum(-1), axis=-1)
        return bool((np.abs(shares) > SAME * scale).any())


def company_matters(evaluate: Evaluation, law: Law) -> bool:
    """Whether a group gets other numbers alone than among a handful of others."""
    arms = some_groups(law, COMPANY)
    among = evaluate(arms)
    return any(differ(among[..., i : i + 1, :], evaluate(arms[i : i + 1])) for i in range(ALONE))


def differ(among: Floats, alone: Floats) -> bool:
    """Whether numbers that are finite among others are others, or none (0/0), alone."""
    possible = np.isfinite(among)
    scale = np.abs(np.where(possible, among, 0.0)).max(initial=np.finfo(float).tiny)
    with np.errstate(invalid="ignore"):  # of groups that never occur
        return bool((possible & ~(np.abs(alone - among) <= SAME * scale)).any())


def some_groups(law: Law, count: int) -> Arms:
    """Groups that may occur, the same at every call, (count, k).

    The first has as many different arms as there are: what is centred within a group is zero for the next
    two, which are the first and the last arm k times.
    """
    if isinstance(law, Product):
        return np.stack([_some(_possible(m), count, i) for i, m in enumerate(law.marginals)], axis=-1)
    arms, weight = next(law.tuples())
    return arms[_some(_possible(weight), count)]


def _some(choices: Arms, count: int, place: int = 0) -> Arms:
    size = len(choices)
    between = GOLDEN * (np.arange(3, count) + place * count) % 1  # as even as random numbers, without them
    return choices[[(place + 1) % size, 0, size - 1, *(size * between).astype(int)][:count]]


def _possible(weight: Floats) -> Arms:
    """Indices that every context knows; if there are none, those that any knows."""
    positive = (weight > 0).reshape(-1, weight.shape[-1])
    everywhere = np.flatnonzero(positive.all(axis=0))
    return everywhere if len(everywhere) else np.flatnonzero(positive.any(axis=0))
