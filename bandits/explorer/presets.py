"""Which states are the toys of the papers?  Those of `bandits.examples` that have three arms.

A preference matrix of three arms is r(y) - r(y') + c around the cycle, in logits: two differences of rewards
and one c.  The sources stand in `bandits.examples`.
"""

from __future__ import annotations

from scipy.special import logit

from bandits import examples
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.explorer.state import State, checked
from bandits.sampling.rules import Dataset


def scores(preference: Floats) -> tuple[list[float], float]:
    """The rewards, of mean zero, and the c that make these preferences of three arms.

    Example:
        >>> import math
        >>> rewards, cycle = scores(examples.dice().preference)
        >>> [round(r, 12) + 0.0 for r in rewards], round(math.exp(cycle), 12)  # 5/9 against 4/9, all around
        ([0.0, 0.0, 0.0], 1.25)
    """
    odds = logit(preference)
    return odds.mean(axis=1).tolist(), float((odds[0, 1] + odds[1, 2] + odds[2, 0]) / 3)


def _of_preferences(world: Bandit, algorithm: str, beta: float) -> State:
    rewards, cycle = scores(world.preference)
    return _played(rewards, algorithm, beta) | {"cycle": cycle}


def _played(rewards: list[float], algorithm: str, beta: float) -> State:
    """A game: those who play it sample themselves."""
    return checked(
        {
            "rewards": rewards,
            "sampling": "on-policy",
            "beta": beta,
            "algorithm": algorithm,
            "beside": ["SRPO", "CoPG"],
        }
    )


def _of_data(data: Dataset) -> State:
    return checked(
        {
            "rewards": [0.0, 0.0, 0.0],
            "sampling": "data set",
            "data": data.pairs.tolist(),
            "algorithm": "IPO",
            "beside": ["DPO"],
        }
    )


def _copg_toy() -> State:
    world, rule = examples.copg_toy()
    first, second = rule.behaviors
    return checked(
        {
            "rewards": world.needed_reward().tolist(),
            "sampling": "two samplers",
            "behavior": first.tolist(),
            "second_behavior": second.tolist(),
        }
    )


PRESETS: dict[str, State] = {
    "CoPG's toy (Flet-Berliac 2024)": _copg_toy(),
    "Elo (Munos 2023)": _played(examples.elo().needed_reward().tolist(), "NashMD", 0.5),
    "Three raters (Munos 2023)": _of_preferences(examples.three_raters(), "NashMD", 0.1),
    "Dice (Munos 2023)": _of_preferences(examples.dice(), "NashMD", 0.1),
    "SRPO's spirit (Choi 2024)": _of_preferences(examples.srpo_spirit(), "SRPO", 0.3),
    "D1, a total order (Azar 2023)": _of_data(examples.total_order()[1]),
    "D2, a cycle (Azar 2023)": _of_data(examples.cycle()[1]),
    "D3, a contradiction (Azar 2023)": _of_data(examples.contradiction()[1]),
}
