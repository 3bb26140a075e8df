"""Which games have exact answers to compare with?  Matrix games, and Kuhn's poker with all its equilibria.

Kuhn's poker (1950): three cards J < Q < K, one each to two players who have put in 1.  Player 0 passes or
bets 1 more; then player 1 does; a pass after a bet folds, and player 0 may still answer a bet after a pass.
The higher card wins.  Its value is -1/18, and player 0's equilibria are a line, 0 <= alpha <= 1/3  (T12.12):

    bet J with alpha, never Q, K with 3 alpha; after a pass and a bet fold J, call Q with alpha + 1/3, call K

against one strategy of player 1: bet J with 1/3 after a pass, call a bet with Q with 1/3, K always.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.checks import Floats
from bandits.tabular.trees import Chance, Decision, End, Game, Node, policy_of

PASS, BET = "pass", "bet"
KUHN_VALUE = -1 / 18  # of player 0


def matrix_game(payoff: ArrayLike) -> Game:
    """Two players choose at once; the row player gets the entry, the column player minus it.

    Example:
        >>> list(matrix_game([[1, -1], [-1, 1]]).infosets)
        ['row', 'column']
    """
    M = checks.arms(payoff, "payoff")
    if M.ndim != 2:
        raise ValueError(f"payoff must be a matrix, rows for one player, but its shape is {M.shape}")
    rows = {str(i): {str(j): End((x, -x)) for j, x in enumerate(row)} for i, row in enumerate(M.tolist())}
    return Game(Decision(0, "row", {i: Decision(1, "column", dict(row)) for i, row in rows.items()}))


def kuhn_poker() -> Game:
    """Kuhn's poker: 12 infosets, named by the card and what was done, 30 ends.

    Example:
        >>> kuhn_poker().infosets["Q pass bet"].actions
        ('pass', 'bet')
    """
    deals = list(permutations("JQK", 2))
    return Game(Chance([1 / len(deals)] * len(deals), [_play(deal, ()) for deal in deals]))


def kuhn_equilibrium(alpha: float) -> Floats:
    """The equilibrium in which player 0 bets a J with probability alpha <= 1/3, (12, 2)  (T12.12).

    Raises:
        ValueError: alpha lies outside of [0, 1/3].
    """
    a = checks.fraction(alpha, "alpha")
    if a > 1 / 3 + 1e-15:
        raise ValueError(f"alpha must be at most 1/3, where K is always bet, but alpha = {alpha!r}")
    bets = {"J": a, "Q": 0.0, "K": min(3 * a, 1.0)}
    bets |= {"J pass": 1 / 3, "Q pass": 0.0, "K pass": 1.0, "J bet": 0.0, "Q bet": 1 / 3, "K bet": 1.0}
    bets |= {"J pass bet": 0.0, "Q pass bet": a + 1 / 3, "K pass bet": 1.0}
    bet = np.array([bets[name] for name in kuhn_poker().infosets])
    return np.stack([1 - bet, bet], axis=1)


def nearest_kuhn_equilibrium(policy: ArrayLike) -> tuple[float, float]:
    """alpha of the nearest equilibrium, and the largest difference of a probability from it  (T12.12).

    The family is a line: alpha is the point of [0, 1/3] of least squared distance.  Where an equilibrium
    never comes (K's answer at alpha = 1/3) a policy may do as it likes; that counts as a difference here.
    """
    p = policy_of(kuhn_poker(), policy)
    start, end = kuhn_equilibrium(0.0), kuhn_equilibrium(1 / 3)
    share = np.sum((p - start) * (end - start)) / np.sum((end - start) ** 2)
    alpha = float(np.clip(share, 0, 1)) / 3
    return alpha, float(np.abs(p - kuhn_equilibrium(alpha)).max())


def _play(deal: tuple[str, str], done: tuple[str, ...]) -> Node:
    """What follows once this was dealt and done."""
    if done in ((PASS, PASS), (BET, BET), (PASS, BET, BET)):
        stake = 2.0 if BET in done else 1.0
        won = stake if "JQK".index(deal[0]) > "JQK".index(deal[1]) else -stake
        return End((won, -won))
    if done in ((BET, PASS), (PASS, BET, PASS)):
        won = 1.0 if done == (BET, PASS) else -1.0
        return End((won, -won))
    player = len(done) % 2
    name = " ".join((deal[player], *done))
    return Decision(player, name, {action: _play(deal, (*done, action)) for action in (PASS, BET)})
