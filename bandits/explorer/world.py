"""Which world is that, and who samples there?  A state as a bandit, and as a law that fits an algorithm.

An algorithm of pairs sees pairs.  One of single answers sees those of both samplers, half and half, or of a
data set the arms that are compared, each as often as it is.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.explorer.state import ARMS, State
from bandits.samples import Algorithm
from bandits.sampling.rules import Dataset, Offline, OnPolicy, Sampling

CYCLE = np.array([[0.0, 1.0, -1.0], [-1.0, 0.0, 1.0], [1.0, -1.0, 0.0]])  # 0 beats 1 beats 2 beats 0
NAMES = ("arm 0", "arm 1", "arm 2")


def world(state: State) -> Bandit:
    """The bandit of a checked state."""
    return Bandit(state["rewards"], preference=_preference(state), reference=state["reference"], names=NAMES)


def _preference(state: State) -> Floats | None:
    """P, (3, 3); None: Bradley-Terry of the rewards."""
    if state["sampling"] == "data set":
        wins = np.zeros((ARMS, ARMS))
        np.add.at(wins, tuple(np.transpose(state["data"])), 1.0)
        played = wins + wins.T
        return np.where(played > 0, wins / np.maximum(played, 1), 0.5)
    if state["cycle"] == 0:
        return None
    reward = np.array(state["rewards"])
    return np.asarray(expit(reward[:, None] - reward + state["cycle"] * CYCLE))


def rule(state: State, algorithm: Algorithm) -> Sampling:
    """Who samples for this algorithm."""
    if state["sampling"] == "on-policy" or getattr(algorithm, "needs_on_policy", False):
        return OnPolicy()
    if state["sampling"] == "data set":
        if algorithm.k == 2:
            return Dataset(state["data"])
        arms = np.ravel(state["data"])
        return Offline(np.bincount(arms, minlength=ARMS) / len(arms))
    if state["sampling"] == "one sampler":
        return Offline(state["behavior"])
    if algorithm.k == 2:
        return Offline(state["behavior"], state["second_behavior"])
    return Offline((np.array(state["behavior"]) + state["second_behavior"]) / 2)
