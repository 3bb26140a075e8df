"""Which worlds are the papers'?  Each by name, with the data that its paper samples there."""

from __future__ import annotations

import numpy as np

from bandits.bandit import Bandit
from bandits.checks import Floats, count, fraction, number
from bandits.sampling.rules import Dataset, Offline


def copg_toy() -> tuple[Bandit, Offline]:
    """Section 5, Flet-Berliac 2024, arXiv:2406.19185: two skewed behaviour policies  (T3.8)."""
    return Bandit([2.5, 2.0, 1.0]), Offline([0.1, 0.2, 0.7], [0.05, 0.05, 0.9])


def total_order() -> tuple[Bandit, Dataset]:
    """D1 = {a > b, b > c, a > c}, Section 5.4, Azar 2023, arXiv:2310.12036  (T4.5)."""
    return _three_arms([(0, 1), (1, 2), (0, 2)])


def cycle() -> tuple[Bandit, Dataset]:
    """D2 = {a > b, b > c, c > a}, Section 5.4, Azar 2023: no ranking fits  (T4.5)."""
    return _three_arms([(0, 1), (1, 2), (2, 0)])


def contradiction() -> tuple[Bandit, Dataset]:
    """D3 as printed, {a > b, b > a}, Section 5.4, Azar 2023: says nothing of c  (T4.5)."""
    return _three_arms([(0, 1), (1, 0)])


def two_arms() -> Bandit:
    """Two arms, the first always preferred: IPO keeps sigma(1/(2 beta)), DPO goes to 1  (T4.4)."""
    return Bandit(preference=[[0.5, 1.0], [0.0, 0.5]])


def three_raters(epsilon: float = 0.1) -> Bandit:
    """Three types of rater, Munos 2023, arXiv:2312.00886: no Bradley-Terry score fits  (T6.7 i).

    The Nash policy without regularisation is (1/3 + eps/2, 1/3 + eps/2, 1/3 - eps) for -2/3 <= eps <= 1/3,
    while the Bradley-Terry favourite jumps with the sign of eps.

    Raises:
        ValueError: epsilon lies outside [-2/3, 4/3], where the entries are probabilities.
    """
    if not -2 / 3 <= number(epsilon, "epsilon") <= 4 / 3:
        raise ValueError(f"epsilon must lie in [-2/3, 4/3] to give probabilities, but epsilon = {epsilon!r}")
    return Bandit(preference=_from_upper(1 / 3 + epsilon / 2, 1 / 3 - epsilon / 4, 2 / 3 + epsilon / 4))


def elo() -> Bandit:
    """Elo scores (0, ln 9, ln 2), Munos 2023: Bradley-Terry, yet constraints matter  (T6.7 ii)."""
    return Bandit([0.0, np.log(9.0), np.log(2.0)])


def dice() -> Bandit:
    """Intransitive dice {2,4,9}, {1,6,8}, {3,5,7}, played out face by face: 5/9 in a cycle  (T6.7 iii)."""
    faces = np.array([[2, 4, 9], [1, 6, 8], [3, 5, 7]])
    wins = (faces[:, None, :, None] > faces[None, :, None, :]).mean(axis=(-2, -1))
    np.fill_diagonal(wins, 0.5)
    return Bandit(preference=wins)


def srpo_spirit() -> Bandit:
    """In the spirit of SRPO's robustness toy (its exact matrix is not printed), arXiv:2406.01660  (T7.4)."""
    return Bandit(preference=[[0.5, 0.99, 0.3], [0.01, 0.5, 0.25], [0.7, 0.75, 0.5]])


def skewed_to(arm: int, arms: int, share: float) -> Floats:
    """A behaviour policy that gives `share` to one arm and divides the rest evenly.

    Raises:
        ValueError: there are fewer than two arms, no such arm, or the share lies outside [0, 1].
    """
    if not 0 <= count(arm, "arm", least=0) < count(arms, "arms", least=2):
        raise ValueError(f"arm must be an index below arms = {arms}, but arm = {arm}")
    policy = np.full(arms, (1 - fraction(share, "share")) / (arms - 1))
    policy[arm] = share
    return policy


def _three_arms(pairs: list[tuple[int, int]]) -> tuple[Bandit, Dataset]:
    """A world in which p is the share of the listed comparisons won, one half where there is none."""
    wins = np.zeros((3, 3))
    np.add.at(wins, tuple(np.transpose(pairs)), 1.0)
    played = wins + wins.T
    preference = np.where(played > 0, wins / np.maximum(played, 1), 0.5)
    return Bandit(preference=preference), Dataset(pairs)


def _from_upper(first: float, second: float, third: float) -> Floats:
    """P from P(1, 2), P(2, 3) and P(1, 3)."""
    P = np.full((3, 3), 0.5)
    P[0, 1], P[1, 2], P[0, 2] = first, second, third
    P[1, 0], P[2, 1], P[2, 0] = 1 - first, 1 - second, 1 - third
    return P
