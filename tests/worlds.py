"""Named worlds: nothing in them is symmetric, nothing uniform.  And an algorithm that is not ours.

Random ones are drawn by `strategies`; these are for what is computed by hand or need not vary.
"""

from __future__ import annotations

import numpy as np

from bandits import Bandit, Samples, Update

REWARDS = Bandit([1.0, -0.5, 0.25], reference=[0.5, 0.3, 0.2])  # preferences: Bradley-Terry of the rewards
RARE = Bandit([1.0, 0.0, 0.4], reference=[0.2, 0.5, 0.3])  # the best arm is the rarest
CYCLE = np.array([[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]])  # 0 beats 1 beats 2 beats 0
GAME = Bandit(preference=CYCLE, reference=[0.5, 0.3, 0.2])  # no rewards
WHEEL = np.array([[0.5, 0.8, 0.35], [0.2, 0.5, 0.9], [0.65, 0.1, 0.5]])  # the same cycle, other margins
LENGTH, LABELS = np.array([3.0, 5.0, 2.0]), np.array([0.8, 0.35, 0.6])
MIXED = Bandit(  # nothing in common
    [0.9, -0.4, 0.3], preference=WHEEL, reference=[0.5, 0.2, 0.3], length=LENGTH, desirable=LABELS
)

POLICY = np.array([0.25, 0.35, 0.4])
BEHAVIOR = np.array([0.6, 0.1, 0.3])
REVISION = np.array([[0.2, 0.7, 0.1], [0.3, 0.3, 0.4], [0.6, 0.15, 0.25]])  # pi'(y2 | y1) at [y1, y2]


class ClippedPairs:
    """A reader's pair algorithm without a closed form."""

    k = 2

    def update(self, samples: Samples) -> Update:
        """Differences of R = r - h / 2, cut off at 1."""
        R = samples.regularized_reward(0.5)
        c = np.clip(R[..., 0] - R[..., 1], -1.0, 1.0)
        return Update(log_prob=np.stack([c, -c], axis=-1))
