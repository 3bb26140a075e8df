"""How do regrets make policies, and is ARMAC CFR?  It is, if it forgets what it did itself  (T12.11, T12.12).

With v_t the counterfactual values under the policies of iteration t, CFR (Zinkevich 2007) adds up regrets and
plays in proportion to what is positive of them,

    R(s, a) = sum_t [v_t(s, a) - sum_b pi_t(b|s) v_t(s, b)],      pi(a|s) = R(s, a)^+ / sum_b R(s, b)^+

The *average* policy, weighted by its owner's own reach, tends to an equilibrium; the current one does not.

ARMAC (Gruslys 2020, arXiv:2008.12234) keeps no sums.  It draws a past iteration j uniformly, lets the
opponents replay pi_j, and regresses on the advantage A_j(s, a) of pi_j where it comes.  What it learns is the
mean of A_j given that s was met, to which j contributes by how likely it brings s about:

    W(s, a) = sum_j rho_j(s) A_j(s, a) / sum_j rho_j(s) = R(s, a) / sum_j rho_j(s),   rho_j: opponents' reach

Regret matching ignores the scale: the policies are CFR's.  If the learner replays his own pi_j too, rho_j has
his own reach in it, the average has other weights, and it is another algorithm.

Axes: iterations first, then infosets and actions, (T, I, A).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.checks import Floats
from bandits.tabular.trees import Game, counterfactual, game_of, uniform_policy


def regret_matching(game: Game, regret: Floats) -> Floats:
    """Play in proportion to positive regret; alike where there is none, (I, A)  (T6.8)."""
    positive = np.where(game.legal, np.maximum(regret, 0.0), 0.0)
    total = positive.sum(axis=1, keepdims=True)
    return np.where(total > 0, positive / np.where(total > 0, total, 1.0), uniform_policy(game))


def regrets(game: Game, policy: Floats) -> Floats:
    """Counterfactual regrets of one iteration, v(s, a) - sum_b pi(b|s) v(s, b), (I, A)."""
    values = counterfactual(game, policy).values
    return np.where(game.legal, values - (policy * values).sum(axis=1, keepdims=True), 0.0)


def cfr(game: Game, iterations: int) -> Floats:
    """The policies that counterfactual regret minimisation plays, all players at once, (T, I, A)  (T12.12).

    The first is uniform.  Source: Zinkevich et al. 2007, "Regret Minimization in Games with Incomplete
    Information", Eqs. (7)-(8).

    Example: player 0 has nothing to lose by his first row.

        >>> from bandits.tabular.games import matrix_game
        >>> cfr(matrix_game([[1, 1], [0, 0]]), 3)[:, 0]
        array([[0.5, 0.5],
               [1. , 0. ],
               [1. , 0. ]])
    """
    total, played = np.zeros(game_of(game).legal.shape), []
    for _ in range(checks.count(iterations, "iterations")):
        played.append(regret_matching(game, total))
        total = total + regrets(game, played[-1])
    return np.stack(played)


def alternating_cfr(game: Game, iterations: int) -> Floats:
    """CFR in which players update in turn, each against what those before him have become  (T12.12)."""
    total, played = np.zeros(game_of(game).legal.shape), []
    current = uniform_policy(game)
    for _ in range(checks.count(iterations, "iterations")):
        used = current.copy()
        for player in range(game.players):
            own = (game.owner == player)[:, None]
            total = total + np.where(own, regrets(game, current), 0.0)
            current = np.where(own, regret_matching(game, total), current)
        played.append(used)
    return np.stack(played)


def armac(game: Game, iterations: int, *, replays_itself: bool = False) -> Floats:
    """The policies of exact tabular ARMAC, (T, I, A)  (T12.11).

    Args:
        replays_itself: whether the learner, too, acts by the policy that was drawn, and not by one that does
            not depend on the draw; then the policies are not CFR's.
    """
    game_of(game)
    T, replays = checks.count(iterations, "iterations"), checks.flag(replays_itself, "replays_itself")
    played, advantage = np.empty((T, *game.legal.shape)), np.empty((T, *game.legal.shape))
    met = np.empty((T, len(game.legal)))
    for t in range(T):
        played[t] = policy = regret_matching(game, _regression(advantage[:t], met[:t]))
        found = counterfactual(game, policy)
        met[t] = found.opponent_reach * (found.own_reach if replays else 1.0)
        q = found.values / np.where(found.opponent_reach > 0, found.opponent_reach, 1.0)[:, None]
        advantage[t] = np.where(game.legal, q - (policy * q).sum(axis=1, keepdims=True), 0.0)
    return played


def average_policies(game: Game, policies: ArrayLike) -> Floats:
    """After each iteration, its policies so far averaged by their owner's reach of each infoset, (T, I, A).

    What playing one of them, drawn before the game, looks like from outside.
    """
    played = checks.distribution(policies, "policies")
    if played.shape[1:] != game_of(game).legal.shape:
        shape = ("iterations", *game.legal.shape)
        raise ValueError(f"policies must have shape {shape}, but it is {played.shape}")
    own = np.stack([counterfactual(game, policy).own_reach for policy in played])[..., None]
    weight, summed = own.cumsum(axis=0), (own * played).cumsum(axis=0)
    return np.where(weight > 0, summed / np.where(weight > 0, weight, 1.0), uniform_policy(game))


def average_policy(game: Game, policies: ArrayLike) -> Floats:
    """The last of `average_policies`, (I, A)."""
    return average_policies(game, policies)[-1]


def _regression(advantage: Floats, met: Floats) -> Floats:
    """The mean advantage given that an infoset is met, the past drawn uniformly, (I, A); 0 without a past."""
    often = met.sum(axis=0)[:, None]
    return np.einsum("ti,tia->ia", met, advantage) / np.where(often > 0, often, 1.0)
