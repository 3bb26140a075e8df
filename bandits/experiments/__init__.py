"""The asking: one file a question, each with `run() -> Result` (plain arrays) and `draw(result) -> Figure`.

claims(result)   what the figure says, as numbers: claim, computed, expected, tolerance
EXPERIMENTS      all of them, in the order of the map; `python -m bandits figures` runs them
"""

from bandits.experiments import copg_toy, coverage, favourites, lock_in, overfitting, robustness

EXPERIMENTS = (copg_toy, coverage, lock_in, overfitting, favourites, robustness)
