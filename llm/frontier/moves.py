"""How does a completion change, so that pi* stays?  Some of its tokens are renewed, and kept if they pay.

A move draws a window [start, stop) of tokens, whatever the completions are, and samples it anew:

    proposed    the tokens before the window, new ones of the reference inside, and behind it
                    the old ones, if both completions go on there
                    new ones of the reference, if the old one ended before or the new one ends: nothing
                    is behind an end
                a completion that ended before the window stays as it is
    taken       with min(1, exp((r' - r)/beta) ref(behind | new) / ref(behind | old)), the ratio only where
                the tokens behind were kept                                                        (T10.4)

With this the move is reversible with respect to ref exp(r/beta), whose normalised form pi* is.  A window that
reaches to the last token renews everything behind a cut, and needs no ratio.  Where rewards are made of
parts, short windows are the ones that are taken; where a word decides how the text goes on, the long ones.

Source: Metropolis 1953; Hastings 1970, Biometrika 57; Tierney 1994, Annals of Statistics 22 (a move that does
not look at the state may be drawn from any law, or be one after another).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bandits.checks import Floats

WINDOW = 4  # tokens: of 1 to 8 what brought the bias of the campaign's chains furthest down
LONG = 4  # one of so many moves renews all behind a cut
GOLDEN = 0.6180339887498949  # whose multiples spread over [0, 1) at every number of them


class Chains(NamedTuple):
    """One completion a chain, n chains a prompt."""

    tokens: NDArray[np.int64]  # (prompts, n, T); the end of the completion is among them, -1 behind it
    log_prob: Floats  # (prompts, n, T)  log ref(y_t | x, y_<t), 0 behind the end
    reward: Floats  # (prompts, n)

    def where(self, taken: NDArray[np.bool_], others: Chains) -> Chains:
        """These, and where `taken` (prompts, n) says so, the others."""
        wide = taken[..., None]
        return Chains(
            np.where(wide, others.tokens, self.tokens),
            np.where(wide, others.log_prob, self.log_prob),
            np.where(taken, others.reward, self.reward),
        )

    def copies(self, parents: NDArray[np.int64]) -> Chains:
        """Of each prompt those chains that are numbered, (prompts, n)."""
        wide = parents[..., None]
        return Chains(
            np.take_along_axis(self.tokens, wide, 1),
            np.take_along_axis(self.log_prob, wide, 1),
            np.take_along_axis(self.reward, parents, 1),
        )


# What renews tokens [start, stop) of all chains, as the docstring of this module says.
Propose = Callable[[Chains, int, int, np.random.Generator], Chains]


class Moved(NamedTuple):
    """The chains behind a move, and what is known of it, (prompts, n) each."""

    chains: Chains
    reward: Floats  # the mean of what the chain has now, over whether the move is taken
    taken: Floats  # how likely that was


def metropolis(
    chains: Chains, propose: Propose, window: tuple[int, int], slope: float, rng: np.random.Generator
) -> Moved:
    """One move of every chain, which keeps ref exp(slope r), slope = 1/beta  (T10.4).

    Example: a completion of one token, and a proposal that is better by log 2, or as much worse.

        >>> one = Chains(np.array([[[0]]]), np.zeros((1, 1, 1)), np.array([[0.0]]))
        >>> other = Chains(np.array([[[1]]]), np.zeros((1, 1, 1)), np.array([[np.log(2.0)]]))
        >>> rng = np.random.default_rng(0)
        >>> metropolis(one, lambda *_: other, (0, 1), 1.0, rng).taken
        array([[1.]])
        >>> metropolis(other, lambda *_: one, (0, 1), 1.0, rng).taken.round(4)
        array([[0.5]])
    """
    start, stop = window
    proposed = propose(chains, start, stop, rng)
    shapes, asked = (tuple(np.shape(field) for field in each) for each in (proposed, chains))
    if shapes != asked:
        raise ValueError(f"proposals must be of the shapes of the chains {asked}, but have {shapes}")
    rise = proposed.reward - chains.reward
    taken = np.exp(np.minimum(slope * rise + log_kept(chains, proposed, stop), 0.0))
    reward = chains.reward + taken * rise
    return Moved(chains.where(rng.random(taken.shape) < taken, proposed), reward, taken)


def log_kept(old: Chains, new: Chains, stop: int) -> Floats:
    """log ref(behind | new) - log ref(behind | old) of the tokens from `stop` on, (prompts, n).

    0 where one of the two has none there: what is behind was sampled with the rest.
    """
    behind = new.log_prob[..., stop:] - old.log_prob[..., stop:]
    if not behind.shape[-1]:
        return np.zeros(old.reward.shape)
    both = (old.tokens[..., stop] >= 0) & (new.tokens[..., stop] >= 0)
    return np.where(both, behind.sum(axis=-1), 0.0)


def windows(longest: int, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """[start, stop) of one move after another, evenly spread over completions of so many tokens.

    Three of four windows are of 4 tokens, or fewer at the ends, so that each token is in as many; the fourth
    reaches to the last token.

    Example:
        >>> found = windows(8, np.random.default_rng(0))
        >>> [next(found) for _ in range(5)]
        [(0, 3), (6, 8), (2, 6), (0, 8), (4, 8)]
    """
    short, place, move = min(WINDOW, longest), float(rng.random()), 0
    while True:
        move += 1
        place = (place + GOLDEN) % 1.0
        if move % LONG == 0:
            yield int(place * longest), longest
        else:
            stop = 1 + int(place * (longest + short - 1))
            yield max(stop - short, 0), min(stop, longest)
