"""What does each figure ask?  One file a question: `run() -> Result` (arrays), `draw(result) -> Figure`.

claims(result)   what the figure says, as numbers: claim, computed, expected, tolerance
EXPERIMENTS      all of them, in the order of the map; `python -m bandits figures` runs them
"""

from bandits.experiments import (
    armac,
    averages,
    byol_basin,
    convergence,
    convex_losses,
    copg_toy,
    coverage,
    data_sets,
    descendants,
    divisors,
    elo_and_dice,
    endless,
    favourites,
    forgetful_kl,
    lock_in,
    misspecified,
    nash_md,
    overfitting,
    quantiles,
    representations,
    robustness,
    self_play,
    sgd_noise,
    variance,
)

EXPERIMENTS = (
    copg_toy,
    data_sets,
    overfitting,
    coverage,
    lock_in,
    sgd_noise,
    convergence,
    variance,
    favourites,
    convex_losses,
    elo_and_dice,
    nash_md,
    self_play,
    robustness,
    misspecified,
    averages,
    divisors,
    forgetful_kl,
    descendants,
    endless,
    quantiles,
    representations,
    byol_basin,
    armac,
)
