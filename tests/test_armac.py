"""Trees, best responses, CFR and ARMAC: against textbook recursions, on Kuhn's poker and random games."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import linprog

from bandits import Bandit
from bandits.dynamics.games import regret_matching
from bandits.solvers.paths import iterate
from bandits.tabular import armac, games, trees
from bandits.tabular.best_response import best_response, nash_conv, pure_strategies
from bandits.tabular.trees import Chance, Decision, End, Game

SEEDS = range(3)
KUHN = games.kuhn_poker()


def random_game(seed: int, players: int = 2) -> Game:
    """Uneven deals of two signals each, three public moves of 2 or 3 actions, general payoffs."""
    rng = np.random.default_rng(seed)

    def play(deal, done):
        if len(done) == 3:
            return End(rng.normal(size=players))
        count = 3 if done in (("0",), ("1", "0")) else 2
        player = len(done) % players
        children = {str(a): play(deal, (*done, str(a))) for a in range(count)}
        return Decision(player, f"{deal[player]}:{''.join(done)}", children)

    deals = list(itertools.product("ab", repeat=players))
    return Game(Chance(rng.dirichlet(np.ones(len(deals))), [play(deal, ()) for deal in deals]))


def random_policy(game: Game, seed: int) -> np.ndarray:
    weight = np.random.default_rng(seed).exponential(size=game.legal.shape) * game.legal
    return weight / weight.sum(axis=1, keepdims=True)


GAMES = {"kuhn": KUHN, "two": random_game(0), "three": random_game(1, players=3)}


@pytest.fixture(scope="module", params=GAMES)
def game(request):
    return GAMES[request.param]


# ---- recursions that share nothing with the package --------------------------------------------------------


def table(game: Game, policy) -> dict:
    """{infoset: {action: probability}}."""
    rows = zip(game.infosets.items(), policy, strict=True)
    return {name: dict(zip(each.actions, row, strict=False)) for (name, each), row in rows}


def worth(node, pi) -> np.ndarray:
    """Expected payoffs from a node on."""
    if isinstance(node, End):
        return np.array(node.payoff)
    if isinstance(node, Chance):
        return sum(p * worth(child, pi) for p, child in zip(node.probabilities, node.children, strict=True))
    return sum(pi[node.infoset][a] * worth(child, pi) for a, child in node.children.items())


def nodes(node, pi, reach, player):
    """(decision of the player, opponents' and chance's reach, own reach)."""
    if isinstance(node, Chance):
        for p, child in zip(node.probabilities, node.children, strict=True):
            yield from nodes(child, pi, (reach[0] * p, reach[1]), player)
    elif isinstance(node, Decision):
        mine = node.player == player
        if mine:
            yield node, *reach
        for a, child in node.children.items():
            p = pi[node.infoset][a]
            ahead = (reach[0], reach[1] * p) if mine else (reach[0] * p, reach[1])
            yield from nodes(child, pi, ahead, player)


def textbook_regrets(game: Game, policy, forget_opponents: bool = False) -> np.ndarray:
    """Zinkevich 2007, Eq. (7), node by node; the twin forgets the opponents' reach."""
    pi, found = table(game, policy), np.zeros(game.legal.shape)
    names = list(game.infosets)
    for player in range(game.players):
        for node, others, _ in nodes(game.root, pi, (1.0, 1.0), player):
            here = worth(node, pi)[player]
            for a, child in enumerate(node.children.values()):
                gain = worth(child, pi)[player] - here
                found[names.index(node.infoset), a] += gain * (1.0 if forget_opponents else others)
    return found


def backward_induction(game: Game, policy, player: int) -> float:
    """The best response's value: the deepest infosets decide first."""
    pi = table(game, policy)
    groups = defaultdict(list)
    for node, others, _ in nodes(game.root, pi, (1.0, 1.0), player):
        groups[node.infoset].append((node, others))
    for name in sorted(groups, key=lambda name: -len(game.infosets[name].before)):
        gains = {
            a: sum(others * worth(node.children[a], pi)[player] for node, others in groups[name])
            for a in game.infosets[name].actions
        }
        best = max(gains, key=gains.get)
        pi[name] = {a: float(a == best) for a in gains}
    return worth(game.root, pi)[player]


# ---- values and best responses -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_the_value_is_that_of_the_recursion(game, seed):
    policy = random_policy(game, seed)
    assert_allclose(trees.value(game, policy), worth(game.root, table(game, policy)), atol=1e-14)


@pytest.mark.parametrize("seed", SEEDS)
def test_reaches_are_those_of_the_nodes(game, seed):
    policy = random_policy(game, seed)
    found, pi = trees.counterfactual(game, policy), table(game, policy)
    others, own = defaultdict(float), {}
    for player in range(game.players):
        for node, rest, mine in nodes(game.root, pi, (1.0, 1.0), player):
            others[node.infoset] += rest
            assert_allclose(own.setdefault(node.infoset, mine), mine)  # perfect recall
    assert_allclose(found.opponent_reach, [others[name] for name in game.infosets], atol=1e-15)
    assert_allclose(found.own_reach, [own[name] for name in game.infosets], atol=1e-15)


@pytest.mark.parametrize("seed", SEEDS)
def test_best_responses_by_enumeration_and_by_backward_induction(game, seed):
    policy = random_policy(game, seed)
    values = trees.value(game, policy)
    gains = []
    for player in range(game.players):
        best, answer = best_response(game, policy, player)
        assert_allclose(best, backward_induction(game, policy, player), atol=1e-13)
        assert_allclose(trees.value(game, answer)[player], best, atol=1e-13)
        gains.append(best - values[player])
    assert min(gains) > 1e-3
    assert_allclose(nash_conv(game, policy), sum(gains), atol=1e-13)


# ---- CFR ---------------------------------------------------------------------------------------------------


def check_regrets(regrets) -> None:
    """The law of regrets, on every game."""
    for game, seed in itertools.product(GAMES.values(), SEEDS):
        policy = random_policy(game, seed)
        assert_allclose(regrets(game, policy), textbook_regrets(game, policy), atol=1e-14)


def test_regrets_are_the_textbooks():
    check_regrets(armac.regrets)


def test_opponent_reach_forgotten_is_told_from_it():
    with pytest.raises(AssertionError):
        check_regrets(lambda game, policy: textbook_regrets(game, policy, forget_opponents=True))


def test_opponent_reach_forgotten_is_not_cfr():
    """On Kuhn's poker its average policy still loses where CFR's hardly does."""
    total, played = np.zeros(KUHN.legal.shape), []
    for _ in range(100):
        played.append(armac.regret_matching(KUHN, total))
        total += textbook_regrets(KUHN, played[-1], forget_opponents=True)
    assert nash_conv(KUHN, armac.average_policy(KUHN, np.stack(played))) > 0.1
    assert np.abs(np.stack(played) - armac.cfr(KUHN, 100)).max() > 0.1


def test_cfr_plays_by_the_textbooks_regrets(game):
    total = np.zeros(game.legal.shape)
    for policy in armac.cfr(game, 12):
        positive = np.maximum(total, 0) * game.legal
        for row, mine, legal in zip(policy, positive, game.legal, strict=True):
            expected = mine / mine.sum() if mine.sum() > 0 else legal / legal.sum()
            assert_allclose(row, expected, atol=1e-12)
        total += textbook_regrets(game, policy)


def test_the_average_policy_is_a_draw_before_the_game(game):
    """Drawing one policy at the start and keeping it reaches every end as often as the average does."""
    policies = armac.cfr(game, 7)
    mean = armac.average_policy(game, policies)
    assert_allclose(armac.average_policies(game, policies)[3], armac.average_policy(game, policies[:4]))
    for player in range(game.players):
        others = random_policy(game, player)
        mine = (game.owner == player)[:, None]
        drawn = [trees.value(game, np.where(mine, policy, others)) for policy in policies]
        found = trees.value(game, np.where(mine, mean, others))
        assert_allclose(found, np.mean(drawn, axis=0), atol=1e-13)


# ---- ARMAC (T12.11) ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def thousand():
    """CFR's policies on Kuhn's poker."""
    return armac.cfr(KUHN, 1000)


def test_t12_11_armac_is_cfr_for_a_thousand_iterations(thousand):
    assert_allclose(armac.armac(KUHN, 1000), thousand, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["two", "three"])
def test_t12_11_armac_is_cfr_on_random_games(name):
    assert_allclose(armac.armac(GAMES[name], 60), armac.cfr(GAMES[name], 60), rtol=0, atol=1e-10)


def test_t12_11_a_learner_that_replays_itself_is_not_cfr(thousand):
    assert np.abs(armac.armac(KUHN, 30, replays_itself=True) - thousand[:30]).max() > 0.1


def sampled_target(game: Game, played, player: int, behavior=None) -> dict:
    """The mean advantage at each infoset over all draws j and all ways through the tree.

    The opponents play pi_j, the learner `behavior`, or pi_j too.
    """
    weight, total = defaultdict(float), defaultdict(float)
    for policy in played:
        pi = table(game, policy)
        values = defaultdict(lambda: [0.0, 0.0])  # a critic that knows infosets only
        for node, others, _ in nodes(game.root, pi, (1.0, 1.0), player):
            for a, child in node.children.items():
                values[node.infoset, a][0] += others * worth(child, pi)[player]
                values[node.infoset, a][1] += others
        own_rows = {s: p for s, p in (behavior or pi).items() if game.infosets[s].player == player}
        for node, others, own in nodes(game.root, pi | own_rows, (1.0, 1.0), player):
            if others == 0:
                continue
            q = {a: np.divide(*values[node.infoset, a]) for a in node.children}
            mean = sum(pi[node.infoset][a] * q[a] for a in q)
            weight[node.infoset] += others * own
            for a in q:
                total[node.infoset, a] += others * own * (q[a] - mean)
    return {key: each / weight[key[0]] for key, each in total.items()}


@pytest.mark.parametrize("name", ["two", "three"])
@pytest.mark.parametrize("replays_itself", [False, True])
def test_t12_11_the_next_policy_matches_the_regression_of_all_samples(name, replays_itself):
    """Four iterations: the fifth policy from the sampling law, draw by draw and node by node."""
    game = GAMES[name]
    played = armac.armac(game, 5, replays_itself=replays_itself)
    behavior = None if replays_itself else table(game, random_policy(game, 9))
    target = np.zeros(game.legal.shape)
    for player in range(game.players):
        for (s, a), gain in sampled_target(game, played[:4], player, behavior).items():
            target[list(game.infosets).index(s), game.infosets[s].actions.index(a)] = gain
    assert_allclose(played[4], armac.regret_matching(game, target), atol=1e-12)


def test_t12_11_the_target_is_cfrs_regret_over_the_opponents_reach():
    game = GAMES["two"]
    played = armac.cfr(game, 6)
    R = sum(armac.regrets(game, policy) for policy in played)
    rho = sum(trees.counterfactual(game, policy).opponent_reach for policy in played)
    for player in range(2):
        for (s, a), gain in sampled_target(game, played, player, table(game, random_policy(game, 3))).items():
            place = list(game.infosets).index(s)
            assert_allclose(gain, R[place, int(a)] / rho[place], atol=1e-13)


def test_t6_8_in_one_state_cfr_is_regret_matching():
    """Both players of a symmetric matrix game: the average of `dynamics.games`, step by step."""
    P = np.array([[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]])
    game, steps = games.matrix_game(P - 0.5), 400
    law = (regret_matching(Bandit(preference=P), 1 / (t + 1)) for t in range(1, steps))
    path = iterate(law, np.full(3, 1 / 3))
    played = armac.cfr(game, steps)
    for T in (1, 2, 10, steps):
        average = armac.average_policy(game, played[:T])
        assert_allclose(average, [path[T - 1]] * 2, atol=1e-9)
    assert_allclose(average[0], [0.3, 0.3, 0.4], atol=0.05)


# ---- Kuhn's poker (T12.12) ---------------------------------------------------------------------------------


def test_t12_12_the_value_by_a_linear_programme():
    """max v: every pure answer leaves at least v, over mixtures of player 0's 64 pure strategies."""
    M = strategic_form()
    solved = linprog(
        np.append(np.zeros(64), -1.0),
        A_ub=np.column_stack([-M.T, np.ones(64)]),
        b_ub=np.zeros(64),
        A_eq=[np.append(np.ones(64), 0.0)],
        b_eq=[1.0],
        bounds=[(0, None)] * 64 + [(None, None)],
    )
    assert_allclose(-solved.fun, games.KUHN_VALUE, rtol=0, atol=1e-12)


def strategic_form() -> np.ndarray:
    """Player 0's payoff for every pair of pure strategies, (64, 64)."""
    mine, theirs = (pure_strategies(KUHN, player)[1] for player in (0, 1))
    return (mine * KUHN.chance * KUHN.payoff[:, 0]) @ theirs.T


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.25, 1 / 3])
def test_t12_12_the_family_of_equilibria(alpha):
    policy = games.kuhn_equilibrium(alpha)
    assert_allclose(trees.value(KUHN, policy), [-1 / 18, 1 / 18], rtol=0, atol=1e-12)
    assert abs(nash_conv(KUHN, policy)) < 1e-12
    found, off = games.nearest_kuhn_equilibrium(policy)
    assert_allclose((found, off), (alpha, 0), atol=1e-15)


def test_t12_12_what_is_not_in_the_family_is_no_equilibrium():
    """Each probability moved by .05, one at a time, can be exploited."""
    policy = games.kuhn_equilibrium(0.2)
    for s in range(12):
        moved = policy.copy()
        moved[s] += [0.05, -0.05] if moved[s, 1] > 0.5 else [-0.05, 0.05]
        assert nash_conv(KUHN, moved) > 1e-3
        assert games.nearest_kuhn_equilibrium(moved)[1] > 0.01


@pytest.mark.parametrize("player", [0, 1])
def test_t12_12_the_family_is_all_of_them(player):
    """The optimal mixtures of a player, in every direction of his realised play, end at alpha = 0 or 1/3."""
    M = strategic_form() if player == 0 else -strategic_form().T
    reached = pure_strategies(KUHN, player)[1]  # which ends a strategy lets happen
    guard = [(-1) ** player * games.KUHN_VALUE] * 64
    own = KUHN.movers == player
    ends = [
        np.where(own, trees.moves(KUHN, games.kuhn_equilibrium(a)), 1.0).prod(axis=1) for a in (0.0, 1 / 3)
    ]
    for seed in range(4):
        direction = np.random.default_rng(seed).normal(size=len(KUHN.lines))
        solved = linprog(
            -(reached @ direction),
            A_ub=-M.T,
            b_ub=[1e-10 - v for v in guard],
            A_eq=[np.ones(64)],
            b_eq=[1.0],
        )
        assert_allclose(-solved.fun, max(direction @ end for end in ends), atol=1e-7)


def test_t12_12_nash_conv_along_cfr(thousand):
    averages = armac.average_policies(KUHN, thousand)[[0, 9, 99, 999]]
    average = [nash_conv(KUHN, policy) for policy in averages]
    assert_allclose(average, [0.916667, 0.192417, 0.051349, 0.014538], atol=5e-7)
    assert_allclose(nash_conv(KUHN, thousand[-1]), 0.4163, atol=5e-5)
    assert games.nearest_kuhn_equilibrium(averages[-1])[1] < 0.05


def test_t12_12_nash_conv_along_alternating_cfr():
    played = armac.alternating_cfr(KUHN, 1000)
    averages = armac.average_policies(KUHN, played)[[0, 9, 99, 999]]
    average = [nash_conv(KUHN, policy) for policy in averages]
    assert_allclose(average, [0.9167, 0.1374, 0.0165, 0.0019], atol=5e-5)


def test_t12_12_the_current_policy_does_not_converge(thousand):
    gaps = np.array([nash_conv(KUHN, policy) for policy in thousand[99:]])
    assert_allclose((gaps.min(), gaps.max(), gaps.mean()), (0.27, 0.67, 0.49), atol=0.005)


# ---- bad input ---------------------------------------------------------------------------------------------

COIN = {"heads": End((1.0, -1.0)), "tails": End((-1.0, 1.0))}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Game(Chance([0.5, 0.6], [Decision(0, "s", COIN)] * 2)), "sum of probabilities of chance"),
        (lambda: Game(Chance([0.5, 0.5], [Decision(0, "s", COIN)])), "must be one a child"),
        (
            lambda: Game(
                Chance([0.5, 0.5], [Decision(0, "s", COIN), Decision(0, "s", {"heads": COIN["heads"]})])
            ),
            "infoset 's' must have the same actions",
        ),
        (
            lambda: Game(Chance([0.5, 0.5], [Decision(0, "s", COIN), Decision(1, "s", COIN)])),
            "infoset 's' must have the same player",
        ),
        (
            lambda: Game(Decision(0, "s", {"l": Decision(0, "t", COIN), "r": Decision(0, "t", COIN)})),
            "infoset 't' must have the same before",
        ),
        (lambda: Game(Decision(0, "s", {"l": End((1.0,)), "r": End((1.0, 2.0))})), "one entry a player"),
        (lambda: Game(Decision(2, "s", COIN)), "player must be 0 to 1"),
        (lambda: Game(End((1.0, -1.0))), "root must lead to a decision"),
        (lambda: Game(Decision(0, "s", {})), "every node must be"),
        (lambda: Game(Decision(0, "s", {"l": "nothing"})), "every node must be"),
        (lambda: Game(Decision(0, "s", {"l": End((np.nan,))})), "payoff must be finite"),
        (lambda: games.matrix_game([1.0, 2.0]), "payoff must be a matrix"),
        (lambda: games.kuhn_equilibrium(0.4), "alpha must be at most 1/3"),
        (lambda: nash_conv(KUHN, np.full((12, 2), 0.6)), "sum of policy"),
        (lambda: nash_conv(KUHN, np.full((3, 2), 0.5)), r"policy must have shape \(12, 2\)"),
        (lambda: nash_conv(GAMES["two"], np.full(GAMES["two"].legal.shape, 1 / 3)), "zero where no action"),
        (lambda: armac.cfr(KUHN, 0), "iterations must be an integer of at least 1"),
        (lambda: armac.armac(KUHN, 2, replays_itself=1), "replays_itself must be True or False"),
    ],
)
def test_bad_input_is_refused_with_its_name(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_too_many_pure_strategies_are_refused():
    wide = Chance([1 / 17] * 17, [Decision(0, f"card {i}", COIN) for i in range(17)])
    game = Game(wide)
    with pytest.raises(ValueError, match="65536 pure strategies, but he has 131072"):
        nash_conv(game, trees.uniform_policy(game))
