"""PPO: its row; what the clip freezes is in test_clipped.py (T9.5)."""

from __future__ import annotations

import numpy as np

import answer_key
from answer_key import Case
from bandits import PPO, Samples
from rows import WIDE, Row, largest_weight, rewards, size_of_rewards


def formula(a: PPO, s: Samples) -> list[float]:
    """T9.5: w (R - b) / k where that is the smaller side of the surrogate."""
    advantages = [R - answer_key.baseline(a, s) for R in answer_key.regularized(a.beta, s)]
    return [c / a.k for c in answer_key.clipped(advantages, s, a.clip)]


def size(a: PPO, case: Case) -> float:
    """R, times the largest weight."""
    return size_of_rewards(a, case) * largest_weight(a, case)


def _row(settles: bool, **changes) -> Row:
    return Row(
        make=lambda beta: PPO(beta, **changes),
        formula=formula,
        size=size,
        climbs=rewards,  # T9.5: w = 1, policy gradient
        settles=settles,
        sees_offset=not settles,  # without a clip the weights make it grad J
        blind=WIDE,
    )


ROWS = {"PPO": _row(False), "PPO(1.5, clip=inf, k=2)": _row(True, clip=np.inf, baseline=1.5, k=2)}
