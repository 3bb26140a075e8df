"""How long does a hand wait?  For what moves at once, and for all that follows its release, on one core.

The clock is the processor's: what else runs on the machine does not decide.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

from bandits import explorer
from bandits.explorer import card
from bandits.explorer.picture import Picture
from explorer_states import random_state

pytestmark = pytest.mark.benchmark

STATES = 100
MOVED, SETTLED = 0.150, 1.5  # seconds, 95th percentile


def test_a_moved_algorithm_follows_the_hand_and_the_card_its_release(capsys):
    """100 random states; every algorithm on offer, three others beside it."""
    rng = np.random.default_rng(0)
    states = [explorer.checked(random_state(rng)) for _ in range(STATES)]
    picture = Picture()
    moved, settled = np.empty((2, STATES))
    for i, state in enumerate(states):
        begin = time.process_time()
        picture.show_moved(state["algorithm"], explorer.moved(state), state["reference"])
        picture.png()
        moved[i] = time.process_time() - begin
        begin = time.process_time()
        found = explorer.compute(state)
        picture.show(found)
        picture.png()
        card.html(found)
        settled[i] = time.process_time() - begin
    with capsys.disabled():
        print()
        for name, seconds, most in (("moved", moved, MOVED), ("settled", settled, SETTLED)):
            half, nearly, longest = np.percentile(seconds, [50, 95, 100])
            print(
                f"{name}: median {half:.3f} s, 95th percentile {nearly:.3f} s (at most {most} s), "
                f"longest {longest:.3f} s"
            )
    assert np.percentile(moved, 95) < MOVED
    assert np.percentile(settled, 95) < SETTLED
