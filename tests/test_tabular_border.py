"""Wrong kinds at the border of the tabular wing: the campaign's zoo, one parameter at a time."""

from __future__ import annotations

import importlib.util
import inspect
import warnings
from pathlib import Path

import numpy as np
import pytest

from bandits.solution import NoFixedPoint, NotConverged
from bandits.tabular import (
    armac,
    best_response,
    byol,
    chains,
    games,
    quantile_td,
    rewards,
    self_predictive,
    td,
    trees,
)

FILE = Path(__file__).parent / "campaigns" / "fuzz_arguments.py"
MODULES = (rewards, chains, td, quantile_td, self_predictive, byol, trees, best_response, games, armac)
P, LEVELS, STEPS = [[0.5, 0.5], [0.25, 0.75]], [0.25, 0.75], [0, 2]
INNER = {
    "process_of",
    "game_of",
    "mode_of",
    "step",
    "pull",
    "noise",
    "velocity",
    "merged",
    "closed_classes",
    "stochastic",
    "regret_matching",
    "regrets",
    "counterfactual",
    "moves",
    "pure_strategies",
}  # of arrays that were checked


def process():
    return chains.MarkovRewardProcess(P, rewards.normal([0.0, 1.0]), 0.3)


def game():
    return games.matrix_game([[1.0, -1.0], [-1.0, 2.0]])


def good_arguments() -> dict:
    """For each public function one set of arguments."""
    Phi, uniform = [[1.0], [0.5]], [[0.5, 0.5], [0.5, 0.5]]
    sampled = {"steps": STEPS, "learning_rate": 0.1, "rng": np.random.default_rng(0), "runs": 2}
    chain, mode = {"process": process()}, {"of": byol.mode(0.5, 0.05)}
    moments = byol.Moments(np.eye(2), np.eye(2))
    return {
        rewards.discrete: {"values": [0.0, 1.0], "probabilities": [0.5, 0.5]},
        rewards.constant: {"reward": [0.0, 1.0]},
        rewards.normal: {"mean": 0.0, "deviation": 1.0},
        rewards.laplace: {"mean": 0.0, "scale": 1.0},
        rewards.student: {"freedom": 3.0, "mean": 0.0, "scale": 1.0},
        chains.MarkovRewardProcess: {"transition": P, "reward": [0.0, 1.0], "discount": 0.5},
        td.expected_update: chain | {"value": [0.0, 1.0]},
        td.flow: chain | {"times": [1.0], "start": [0.0, 1.0]},
        td.simulate: chain | sampled | {"start": [0.0, 1.0]},
        td.stationary_covariance: chain | {"learning_rate": 0.1},
        td.mean_squared_error: chain | {"learning_rate": 0.1},
        quantile_td.midpoints: {"m": 2},
        quantile_td.expected_update: chain | {"levels": LEVELS, "particles": [[0.0, 1.0], [1.0, 2.0]]},
        quantile_td.operator: chain
        | {"levels": LEVELS, "particles": [[0.0, 1.0], [1.0, 2.0]], "mixture": 0.5},
        quantile_td.residual: chain | {"levels": LEVELS, "particles": [[0.0, 1.0], [1.0, 2.0]]},
        quantile_td.fixed_point: chain | {"levels": LEVELS, "mixture": 0.5},
        quantile_td.fixed_points: chain | {"levels": LEVELS},
        quantile_td.distance: {"particles": [[0.0, 1.0]], "other": [[1.0, 2.0]]},
        quantile_td.flow: chain | {"levels": LEVELS, "times": [1.0], "start": [0.0, 1.0]},
        quantile_td.simulate: chain | sampled | {"levels": LEVELS, "start": [0.0, 1.0]},
        quantile_td.stationary_covariance: chain | {"levels": LEVELS, "learning_rate": 0.1},
        quantile_td.mean_squared_error: chain | {"levels": LEVELS, "learning_rate": 0.1},
        self_predictive.predictor: {"transition": P, "representation": Phi, "weights": [1.0, 2.0]},
        self_predictive.flow: {"transition": P, "start": Phi, "times": [1.0], "weights": [1.0, 2.0]},
        self_predictive.flow_of_both: {
            "transition": P,
            "start": Phi,
            "times": [1.0],
            "rate": 2.0,
            "start_predictor": [[1.0]],
            "weights": [1.0, 2.0],
        },
        self_predictive.flow_without_stop_gradient: {
            "transition": P,
            "start": Phi,
            "times": [1.0],
            "weights": [1.0, 2.0],
        },
        self_predictive.trace_objective: {"transition": P, "representation": Phi},
        self_predictive.ends: {"transition": [[0.3, 0.7], [0.7, 0.3]], "k": 1},
        self_predictive.bidirectional_flow: {
            "transition": [[0.3, 0.7], [0.7, 0.3]],
            "forward": Phi,
            "backward": Phi,
            "times": [1.0],
        },
        self_predictive.singular_objective: {"transition": P, "forward": Phi, "backward": Phi},
        byol.mode: {"noise": 0.5, "decay": 0.05, "target": 1.0, "signal": 1.0},
        byol.rest_points: mode,
        byol.collapse_threshold: mode,
        byol.flow: mode | {"start": [0.1, 0.5], "times": [1.0]},
        byol.basin_edge: mode | {"size": 1.0},
        byol.matrix_flow: {
            "moments": moments,
            "encoder": [[1.0, 0.0]],
            "predictor": [[0.5]],
            "times": [1.0],
            "decay": 0.1,
            "target_rate": 0.5,
        },
        byol.graph_moments: {"adjacency": [[0, 1], [1, 0]], "keep": 0.5, "features": [[1.0], [2.0]]},
        byol.modes: {"moments": moments, "decay": 0.1, "target": 1.0},
        trees.Game: {"root": game().root},
        trees.uniform_policy: {"game": game()},
        trees.policy_of: {"game": game(), "policy": uniform},
        trees.value: {"game": game(), "policy": uniform},
        best_response.best_response: {"game": game(), "policy": uniform, "player": 0},
        best_response.nash_conv: {"game": game(), "policy": uniform},
        games.matrix_game: {"payoff": [[1.0, 0.0], [0.0, 1.0]]},
        games.kuhn_poker: {},
        games.kuhn_equilibrium: {"alpha": 0.2},
        games.nearest_kuhn_equilibrium: {"policy": games.kuhn_equilibrium(0.2)},
        armac.cfr: {"game": game(), "iterations": 2},
        armac.alternating_cfr: {"game": game(), "iterations": 2},
        armac.armac: {"game": game(), "iterations": 2, "replays_itself": True},
        armac.average_policies: {"game": game(), "policies": [uniform]},
        armac.average_policy: {"game": game(), "policies": [uniform]},
    }


CASES = good_arguments()
CALLS = [(function, name) for function, arguments in CASES.items() for name in arguments]


@pytest.fixture(scope="module")
def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz_arguments", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_function_and_parameter_is_here():
    missing = set()
    for module in MODULES:
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and name[0] != "_" and name not in INNER:
                wanted = set(inspect.signature(function).parameters) - set(CASES.get(function, ()))
                missing |= {f"{name}({each})" for each in wanted} | (
                    {name} if function not in CASES else set()
                )
    assert missing == set()


def complaint(fuzz, function, name: str, value) -> str | None:
    """What is wrong with how the call ends, or None."""
    try:
        with warnings.catch_warnings(), fuzz._limit(10.0):
            warnings.simplefilter("error")
            result = function(**(CASES[function] | {name: value}))
    except (NoFixedPoint, NotConverged):
        return None
    except (ValueError, TypeError) as error:
        words = (
            {"representation", "start", "forward"}
            if name in ("start", "representation", "forward")
            else {name}
        )
        words |= {"moments": {"second", "cross"}, "root": {"node"}}.get(name, set())
        return None if any(word in str(error) for word in words) else f"does not name {name}: {error!r}"
    except BaseException as error:  # noqa: BLE001
        return f"ends in {error!r}"
    return f"gives NaN: {result!r}" if fuzz._has_nan(result) else None


@pytest.mark.parametrize("part", range(4))
def test_a_wrong_kind_ends_in_a_result_or_in_one_refusal_that_names_the_argument(fuzz, part):
    """100 of some 15 000 calls, the same ones in every run: in time, without NaN or a warning."""
    zoo = fuzz.zoo()
    quick = [key for key in zoo if key != "a huge step"]  # followed for seconds, then told
    calls = [(function, name, key) for function, name in CALLS for key in quick]
    order = np.random.default_rng(16).permutation(len(calls))[100 * part : 100 * (part + 1)]
    found = {
        f"{function.__name__}({name} = {key})": complaint(fuzz, function, name, zoo[key]())
        for function, name, key in (calls[i] for i in order)
    }
    assert len(found) == 100 and {call: wrong for call, wrong in found.items() if wrong is not None} == {}


def test_this_test_would_notice(fuzz):
    """Wrong twins: one that breaks, one that gives NaN, one that refuses without a name."""

    def breaks(m):
        return m.nothing

    def nan(m):
        return np.full(3, np.nan)

    def careless(m):
        raise ValueError("no")

    for twin, words in ((breaks, "ends in"), (nan, "gives NaN"), (careless, "does not name")):
        CASES[twin] = {"m": 1}
        assert words in complaint(fuzz, twin, "m", 2)
        del CASES[twin]
