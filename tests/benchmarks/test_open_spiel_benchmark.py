"""Kuhn's poker as OpenSpiel computes it, side by side: values, NashConv, CFR and its time.

Needs `pip install open_spiel`, which no other test does; without it these are skipped, and say so.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np
import pytest

from bandits.tabular import armac, games, trees
from bandits.tabular.best_response import nash_conv

pyspiel = pytest.importorskip("pyspiel", reason="open_spiel is not installed: pip install open_spiel")
pytestmark = pytest.mark.benchmark

KUHN = games.kuhn_poker()
THEIRS = {"J": "0", "Q": "1", "K": "2", "pass": "p", "bet": "b"}


def name_there(infoset: str) -> str:
    """'Q pass bet' is '1pb'."""
    return "".join(THEIRS[word] for word in infoset.split())


def tabular(policy):
    """Our rows as their tabular policy."""
    from open_spiel.python import policy as their_policy

    found = their_policy.TabularPolicy(pyspiel.load_game("kuhn_poker"))
    for name, row in zip(KUHN.infosets, policy, strict=True):
        found.policy_for_key(name_there(name))[:] = row
    return found


@pytest.mark.parametrize("seed", range(10))
def test_values_and_nash_conv_are_open_spiels(seed):
    from open_spiel.python.algorithms import expected_game_score, exploitability

    game = pyspiel.load_game("kuhn_poker")
    policy = np.random.default_rng(seed).dirichlet([0.7, 0.7], size=12)
    theirs = tabular(policy)
    values = expected_game_score.policy_value(game.new_initial_state(), [theirs, theirs])
    np.testing.assert_allclose(trees.value(KUHN, policy), values, atol=1e-12)
    np.testing.assert_allclose(nash_conv(KUHN, policy), exploitability.nash_conv(game, theirs), atol=1e-12)


def test_alternating_cfr_is_open_spiels():
    """Average policies after 1, 10, 100 and 1000 iterations, to 1e-9, and the time of a thousand."""
    from open_spiel.python.algorithms import cfr

    start = perf_counter()
    played = armac.alternating_cfr(KUHN, 1000)
    ours, start = perf_counter() - start, perf_counter()
    solver = cfr.CFRSolver(pyspiel.load_game("kuhn_poker"))
    for t in range(1, 1001):
        solver.evaluate_and_update_policy()
        if t in (1, 10, 100, 1000):
            theirs = solver.average_policy()
            rows = np.array([theirs.policy_for_key(name_there(name)) for name in KUHN.infosets])
            np.testing.assert_allclose(armac.average_policy(KUHN, played[:t]), rows, atol=1e-9)
    took = perf_counter() - start
    print(f"\n1000 iterations of CFR on Kuhn's poker: ours {ours:.2f} s, OpenSpiel's {took:.2f} s")
