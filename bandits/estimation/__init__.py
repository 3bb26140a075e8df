"""What can be learned from N comparisons?  Fits, how sure they are, and what to do with that: on bare arrays.

Read in this order; each imports only those above it.

    comparisons   what was compared, and who won?
    fits          which rewards and preferences explain it best?
    uncertainty   how sure is the fit of one policy against another?
    pessimism     which policy is best if the fit is as wrong as it may be?
    exploration   and what should be compared next?
    classifier    how often does a policy know the better answer?

Axes: arms last, one prompt; wins are arms x arms with the winner first.

    >>> from bandits.estimation import fitted_reward
    >>> fitted_reward([[0, 3], [1, 0]]).round(6).tolist()  # 3 wins against 1: the odds are 3
    [0.549306, -0.549306]
"""

from bandits.estimation.classifier import accuracy
from bandits.estimation.comparisons import draw_wins, wins_of
from bandits.estimation.exploration import explorer, hybrid_step, next_pair, online_step
from bandits.estimation.fits import fitted_preference, fitted_reward
from bandits.estimation.pessimism import pessimistic_policy, pessimistic_reward, pointwise_policy
from bandits.estimation.uncertainty import effective_resistance, information, uncertainty

__all__ = [
    "accuracy",
    "draw_wins",
    "effective_resistance",
    "explorer",
    "fitted_preference",
    "fitted_reward",
    "hybrid_step",
    "information",
    "next_pair",
    "online_step",
    "pessimistic_policy",
    "pessimistic_reward",
    "pointwise_policy",
    "uncertainty",
    "wins_of",
]


def __dir__() -> list[str]:
    """The public names, which are all that <TAB> shows."""
    return __all__
