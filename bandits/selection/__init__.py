"""Which policy is made by choosing among samples?  Maps of a reward and a reference to a law, on bare arrays.

Read in this order; each imports only those above it.

    levels      how much of the reference lies below an arm, and how much beside it?
    best        what is the law of the best of n?
    extremes    what is the law of the best and the worst of n?
    rejection   and of the samples that were not rejected?
    bond        which reward has the best of n as its optimum?
    winners     and if only preferences choose, of two?

    >>> from bandits.selection import best_of_n
    >>> best_of_n([1.0, 0.6, 0.2, 0.0], [0.1, 0.2, 0.3, 0.4], n=2).round(12).tolist()
    [0.19, 0.32, 0.33, 0.16]
"""

from bandits.selection.best import best_of_n, log_best_of_n, raft
from bandits.selection.bond import bond, bond_inclusive, bond_mid
from bandits.selection.extremes import best_versus_worst
from bandits.selection.rejection import above, acceptance_rates, first_accepted
from bandits.selection.winners import winner_of_two

__all__ = [
    "above",
    "acceptance_rates",
    "best_of_n",
    "best_versus_worst",
    "bond",
    "bond_inclusive",
    "bond_mid",
    "first_accepted",
    "log_best_of_n",
    "raft",
    "winner_of_two",
]


def __dir__() -> list[str]:
    """The public names, which are all that <TAB> shows."""
    return __all__
