"""How much could each player gain alone?  All pure strategies are tried, one matrix product a player.

    NashConv(pi) = sum_i [max over pure strategies s of value_i(s, pi_-i) - value_i(pi)]  >= 0

is zero at Nash equilibria and nowhere else.  A pure strategy reaches an end or does not: a matrix of bits,
made once a game, so that NashConv along a thousand policies costs a thousand small products.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits import checks
from bandits.checks import Floats
from bandits.tabular.trees import Game, moves, policy_of, value

MOST_STRATEGIES = 2**16


def best_response(game: Game, policy: ArrayLike, player: int) -> tuple[float, Floats]:
    """The best that a player can get against the others, and a policy that gets it, (I, A).

    Only the player's own rows of the policy differ; of several best strategies the first is taken.

    Raises:
        ValueError: the player has more than 65 536 pure strategies.
    """
    p = policy_of(game, policy)
    checks.count(player, "player", least=0, most=game.players - 1)
    choices, reaches = pure_strategies(game, player)
    gains = reaches @ _worth(game, p, player)
    best, answer = choices[int(gains.argmax())], p.copy()
    answer[game.owner == player] = np.eye(p.shape[1])[best]
    return float(gains.max()), answer


def nash_conv(game: Game, policy: ArrayLike) -> float:
    """What all players could gain, each alone; zero at equilibria only.

    Example: matching pennies, played (3/4, 1/4) against (1/2, 1/2): only the second can gain, 1/2.

        >>> from bandits.tabular.games import matrix_game
        >>> nash_conv(matrix_game([[1, -1], [-1, 1]]), [[0.75, 0.25], [0.5, 0.5]])
        0.5
    """
    p = policy_of(game, policy)
    best = [
        float((pure_strategies(game, i)[1] @ _worth(game, p, i)).max(initial=-math.inf))
        for i in range(game.players)
    ]
    return float(sum(best) - value(game, p).sum())


@lru_cache(maxsize=32)
def pure_strategies(game: Game, player: int) -> tuple[NDArray[np.int64], Floats]:
    """An action for each of the player's infosets, (n, own infosets), and the ends that are let, (n, Z)."""
    own = np.flatnonzero(game.owner == player)
    counts = game.legal[own].sum(axis=1)
    if math.prod(counts.tolist()) > MOST_STRATEGIES:
        raise ValueError(
            f"game must leave player {player} at most {MOST_STRATEGIES} pure strategies, but he has "
            f"{math.prod(counts.tolist())}; take a smaller game"
        )
    choices = np.indices(counts).reshape(len(own), -1).T
    wanted = np.full((len(choices), len(game.legal)), -1)
    wanted[:, own] = choices
    infoset, action = np.divmod(np.where(game.movers == player, game.ways, 0), game.legal.shape[1])
    let = (wanted[:, infoset] == action) | (game.movers != player)  # (n, Z, depth)
    return choices, let.all(axis=-1).astype(np.float64)


def _worth(game: Game, policy: Floats, player: int) -> Floats:
    """chance(z) pi_-i(z) payoff_i(z) of each end, (Z,)."""
    others = np.where(game.movers != player, moves(game, policy), 1.0).prod(axis=1)
    return game.chance * others * game.payoff[:, player]
