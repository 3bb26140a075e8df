"""What if?  Three arms to play with: move rewards, samplers and beta, and see where each algorithm ends.

    >>> from bandits import explorer
    >>> found = explorer.compute({"algorithm": "CoPG", "rewards": [1.0, 0.0, 0.0], "beta": 1.0})
    >>> found["card"]["end"], [round(p, 4) for p in found["card"]["policy"]]  # e / (e + 2)
    ('optimum', [0.5761, 0.2119, 0.2119])

`compute` needs no widgets; `explore` shows them (extra `notebooks`).

Read in this order; each imports only those above it.

    offered   which algorithms can be chosen?
    state     what may be set?
    presets   which states are the toys of the papers?
    world     which world is that, and who samples there?
    answer    what follows from a state?
    card      how does it read?
    picture   how is it drawn, again and again?
    controls  what does a hand move?
    panel     what happens when it moves?
    start     how does it come onto the page?
"""

from bandits.explorer.answer import compute, moved
from bandits.explorer.offered import OFFERED
from bandits.explorer.presets import PRESETS
from bandits.explorer.start import explore
from bandits.explorer.state import DEFAULT, checked, from_link, link

__all__ = ["DEFAULT", "OFFERED", "PRESETS", "checked", "compute", "explore", "from_link", "link", "moved"]


def __dir__() -> list[str]:
    """The public names, which are all that <TAB> shows."""
    return __all__
