"""What is a game in extensive form worth?  Its tree, walked once, and every value as a sum over its ends.

A node is an end with payoffs, a move of chance, or a decision of a player who cannot tell the nodes of his
*infoset* apart; with perfect recall he remembers all that he did.  Along the way to an end z,

    P(z) = chance(z) pi_0(z) pi_1(z) ...,      value_i = sum_z P(z) payoff_i(z)

and the *counterfactual* value of action a at infoset s leaves out what its owner i did before s and at s:

    v(s, a) = sum over ends z behind (s, a) of  chance(z) pi_-i(z) pi_i(z after s) payoff_i(z)

With payoff 1 it is the opponents' reach of s, whatever a.

Axes: infosets in the order in which they are met, then actions, (I, A); zero where an action does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits import checks
from bandits.checks import Floats

Integers = NDArray[np.int64]
Way = tuple[tuple[str, str], ...]  # (infoset, action), from the root


@dataclass(frozen=True)
class End:
    """The game is over: what each player gets."""

    payoff: Sequence[float]


@dataclass(frozen=True)
class Chance:
    """Nature moves, with these probabilities."""

    probabilities: Sequence[float]
    children: Sequence[Node]


@dataclass(frozen=True)
class Decision:
    """A player moves; he sees the name of the infoset only."""

    player: int
    infoset: str
    children: Mapping[str, Node]  # by action


Node = End | Chance | Decision


class Infoset(NamedTuple):
    """What the owner of an infoset knows there."""

    player: int
    actions: tuple[str, ...]
    before: Way  # his own moves


class Line(NamedTuple):
    """One way through the tree."""

    chance: float
    payoff: tuple[float, ...]
    way: Way


@dataclass(frozen=True, eq=False)
class Game:
    """A tree, validated once.

    Raises:
        ValueError: a move of chance does not sum to one, nodes of one infoset have different owners, actions
            or memories, ends have different numbers of payoffs, or there is no decision.
    """

    root: Node

    def __post_init__(self) -> None:
        players = {len(line.payoff) for line in self.lines}
        if len(players) > 1:
            raise ValueError(
                f"payoff must have one entry a player everywhere, but ends have {sorted(players)}"
            )
        wrong = [name for name, each in self.infosets.items() if not 0 <= each.player < self.players]
        if wrong:
            raise ValueError(
                f"player must be 0 to {self.players - 1}, as payoffs say, but infoset {wrong[0]!r} belongs "
                f"to {self.infosets[wrong[0]].player}"
            )

    @cached_property
    def infosets(self) -> dict[str, Infoset]:
        """All of them by name, in the order in which they are met."""
        found: dict[str, Infoset] = {}
        for node, way in _decisions(self.root, ()):
            own = tuple(step for step in way if found[step[0]].player == node.player)
            here = Infoset(node.player, tuple(node.children), own)
            known = found.setdefault(node.infoset, here)
            for field, a, b in zip(Infoset._fields, known, here, strict=True):
                if a != b:
                    raise ValueError(
                        f"infoset {node.infoset!r} must have the same {field} at all its nodes, but it has "
                        f"{a!r} and {b!r}; give what can be told apart names of its own"
                    )
        if not found:
            raise ValueError("root must lead to a decision, but nobody has a choice")
        return found

    @cached_property
    def lines(self) -> list[Line]:
        """One for each end."""
        return list(_lines(self.root, 1.0, ()))

    @property
    def players(self) -> int:
        """How many."""
        return len(self.lines[0].payoff)

    @cached_property
    def owner(self) -> Integers:
        """Whose each infoset is, (I,)."""
        return np.array([each.player for each in self.infosets.values()])

    @cached_property
    def legal(self) -> NDArray[np.bool_]:
        """Which actions exist, (I, A)."""
        counts = np.array([len(each.actions) for each in self.infosets.values()])
        return np.arange(counts.max()) < counts[:, None]

    @cached_property
    def chance(self) -> Floats:
        """Of each end, (Z,)."""
        return np.array([line.chance for line in self.lines])

    @cached_property
    def payoff(self) -> Floats:
        """Of each end to each player, (Z, players)."""
        return np.array([line.payoff for line in self.lines])

    @cached_property
    def ways(self) -> Integers:
        """infoset * A + action of each decision on the way to an end, (Z, depth), I * A where it is over."""
        place = {name: i for i, name in enumerate(self.infosets)}
        rows = [
            [place[s] * self.legal.shape[1] + self.infosets[s].actions.index(a) for s, a in line.way]
            for line in self.lines
        ]
        depth = max(map(len, rows))
        return np.array([row + [self.legal.size] * (depth - len(row)) for row in rows])

    @cached_property
    def movers(self) -> Integers:
        """Who decides there, (Z, depth), -1 where it is over."""
        return np.append(np.repeat(self.owner, self.legal.shape[1]), -1)[self.ways]

    @cached_property
    def left_in(self) -> NDArray[np.bool_]:
        """[z, d, e]: move e counts for the counterfactual value at move d: another's, or later."""
        later = np.arange(self.ways.shape[1])[:, None] < np.arange(self.ways.shape[1])
        return (self.movers[:, :, None] != self.movers[:, None, :]) | later

    @cached_property
    def own_before(self) -> NDArray[np.bool_]:
        """[s, e]: on the first way through infoset s, move e is its owner's and earlier."""
        z, d = self.first_way
        return ~self.left_in[z, d] & (np.arange(self.ways.shape[1]) != d[:, None])

    @cached_property
    def first_way(self) -> tuple[Integers, Integers]:
        """An end behind each infoset, and the depth at which it is met, (I,) each."""
        met = self.ways // self.legal.shape[1]
        where = [np.argwhere(met == s)[0] for s in range(len(self.infosets))]
        return np.array(where)[:, 0], np.array(where)[:, 1]


def game_of(game: Game) -> Game:
    """What is given as a game, which must be one.

    Raises:
        ValueError: it is something else.
    """
    checks.instance(game, Game, "game", "make one of its root, or take one of bandits.tabular.games")
    return game


def uniform_policy(game: Game) -> Floats:
    """Every action alike, (I, A)."""
    return game_of(game).legal / game.legal.sum(axis=1, keepdims=True)


def policy_of(game: Game, policy: ArrayLike) -> Floats:
    """A checked policy, (I, A).

    Raises:
        ValueError: a row is no distribution, or an action that does not exist has mass.
    """
    p = checks.distribution(policy, "policy")
    if p.shape != game_of(game).legal.shape:
        raise ValueError(
            f"policy must have shape {game.legal.shape}, one row an infoset, but it is {p.shape}"
        )
    checks.reject_first(
        (p > 0) & ~game.legal, p, "policy", "zero where no action exists", "see game.infosets"
    )
    return p


def value(game: Game, policy: ArrayLike) -> Floats:
    """Expected payoff of each player, (players,)."""
    along = moves(game, policy_of(game, policy))
    return (game.chance * along.prod(axis=1)) @ game.payoff


def moves(game: Game, policy: Floats) -> Floats:
    """The probability of each decision on the way to each end, (Z, depth)."""
    return np.append(policy.ravel(), 1.0)[game.ways]


class Counterfactual(NamedTuple):
    """Values and reaches of all infosets under one policy."""

    values: Floats  # (I, A)  v(s, a)
    opponent_reach: Floats  # (I,)    chance's and the others' part in coming there
    own_reach: Floats  # (I,)    the owner's part


def counterfactual(game: Game, policy: Floats) -> Counterfactual:
    """v(s, a) of every action, and who brings it about, Zinkevich 2007."""
    along = moves(game, policy)
    weight = game.chance[:, None] * np.where(game.left_in, along[:, None, :], 1.0).prod(axis=-1)  # (Z, depth)
    gained = np.take_along_axis(game.payoff, np.maximum(game.movers, 0), axis=1)
    size, flat = game.legal.size + 1, game.ways.ravel()
    summed = np.zeros((size, 2))
    np.add.at(summed, flat, np.stack([(weight * gained).ravel(), weight.ravel()], axis=1))
    values, reach = summed[:-1].T.reshape(2, *game.legal.shape)
    own = np.where(game.own_before, along[game.first_way[0]], 1.0).prod(axis=1)
    return Counterfactual(values, reach[:, 0], own)


def _decisions(node: Node, way: Way) -> Iterator[tuple[Decision, Way]]:
    """All decisions and what was decided before them, parents first."""
    if isinstance(node, Chance):
        for child in node.children:
            yield from _decisions(child, way)
    elif isinstance(node, Decision):
        yield node, way
        for action, child in node.children.items():
            yield from _decisions(child, (*way, (node.infoset, action)))


def _lines(node: Node, chance: float, way: Way) -> Iterator[Line]:
    """All ways to an end; what is no node, or has no children, is refused."""
    if isinstance(node, End):
        yield Line(chance, tuple(checks.arms(node.payoff, "payoff").tolist()), way)
    elif isinstance(node, Chance):
        after = f"probabilities of chance after {way or 'the start'}"
        p = checks.distribution(node.probabilities, after)
        if p.shape != (len(node.children),):
            raise ValueError(f"{after} must be one a child, but there are {p.size} for {len(node.children)}")
        for each, child in zip(p.tolist(), node.children, strict=True):
            yield from _lines(child, chance * each, way)
    elif isinstance(node, Decision) and node.children:
        for action, child in node.children.items():
            yield from _lines(child, chance, (*way, (node.infoset, action)))
    else:
        raise ValueError(
            f"every node must be an End, a Chance or a Decision with children, not {checks.shown(node)}"
        )
