"""Online IPO: IPO's regression on the policy's own pairs ends at the regularised equilibrium (T6.6)."""

from __future__ import annotations

import independent_solvers
import numpy as np
import test_ipo

from bandits import OnlineIPO
from bandits.testing.enumeration import Case
from rows import Row


def equilibrium(a: OnlineIPO, case: Case):
    """T6.6: what Nash-MD without a mixture answers (T6.4)."""
    world = case.bandit
    return np.exp(independent_solvers.game(world.preference, world.log_reference, a.beta))


ROWS = {
    "OnlineIPO": Row(
        make=OnlineIPO,
        formula=test_ipo.formula,
        size=test_ipo.size,
        target=equilibrium,
        ends={"on-policy": "equilibrium"},  # T6.6
        climbs=test_ipo.self_play,
    )
}
