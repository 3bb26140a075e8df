"""GRPO: its row; where it ends is in test_clipped.py (T9.5)."""

from __future__ import annotations

import math

import numpy as np

import answer_key
from answer_key import Case
from bandits import GRPO, Samples, standard_deviation, unit_spread
from rows import WIDE, Row, largest_weight, log_ratios, size_of_rewards


def formula(a: GRPO, s: Samples) -> list[float]:
    """T9.5: ((r - mean) / std, clipped, + beta (ref/pi - 1)) / k."""
    mean, scale = math.fsum(s.reward) / a.k, 1.0
    if a.spread is standard_deviation:
        scale = math.sqrt(math.fsum((r - mean) ** 2 for r in s.reward) / (a.k - 1))
    same = len(set(map(float, s.reward))) == 1
    advantages = [0.0 if same else float(r - mean) / scale for r in s.reward]
    pull = [a.beta * (math.exp(-h) - 1) for h in answer_key.log_ratio(s)]
    pushed = answer_key.clipped(advantages, s, a.clip)
    return [(c + k) / a.k for c, k in zip(pushed, pull, strict=True)]


def size(a: GRPO, case: Case) -> float:
    """R, times the largest weight; and ref/pi."""
    return size_of_rewards(a, case) * largest_weight(a, case) + a.beta * np.exp(log_ratios(case))


def _row(smooth: bool, **changes) -> Row:
    return Row(
        make=lambda beta: GRPO(beta, **changes),
        formula=formula,
        size=size,
        smooth=smooth,
        settles=False,  # the clip freezes, or lets it slide
        sees_offset=False,
        blind=WIDE,
    )


ROWS = {
    "GRPO": _row(False),
    "GRPO(k=3, clip=inf)": _row(True, k=3, clip=np.inf),
    "GRPO(unit_spread)": _row(False, spread=unit_spread),
}
