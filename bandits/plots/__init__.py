"""How is it drawn?

Read in this order; each imports only those above it.

    style      what do all figures look like?
    curves     how are quantities along training drawn?
    simplex    how are three arms drawn?
    portraits  where does an algorithm lead from everywhere?

    >>> from bandits import Bandit, CoPG, Offline
    >>> axes = portrait(CoPG(beta=0.5), Bandit([2.5, 2.0, 1.0]), Offline([0.2, 0.3, 0.5]))
"""

from bandits.plots.portraits import portrait

__all__ = ["portrait"]


def __dir__() -> list[str]:
    """The public names, which are all that <TAB> shows."""
    return __all__
