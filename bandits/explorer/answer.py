"""What follows from a state?  A dictionary of plain numbers for each question that the picture and card show.

    moved      the flow and the end of one algorithm: quick enough to follow a slider
    compute    all of it: every flow and end, the basins, the card

The answers are those of `bandits.verdict`: a flow that comes to no rest is told in words, and an algorithm
that refuses a state says why.  Time is in units of 1 / the speed of the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bandits.checks import Floats
from bandits.dynamics.flow import flow
from bandits.dynamics.sketch import sketch
from bandits.exact import expected_update, motions_of
from bandits.explorer.offered import OFFERED
from bandits.explorer.state import State, checked, one_of
from bandits.explorer.world import rule, world
from bandits.plots import simplex
from bandits.policy import kl, log_policy_of
from bandits.problem import bind
from bandits.samples import Algorithm
from bandits.solution import NotConverged
from bandits.solvers import rest
from bandits.verdict.ends import Attractor, End, end_near, end_of, gathered
from bandits.verdict.kin import kin_of
from bandits.verdict.targets import end_name
from bandits.verdict.worlds import MOST_GROUPS, Trial

TIMES = np.concatenate([[0.0], np.geomspace(0.03, 3000.0, 59)])
PLACES, STARTS = simplex.grid(12), simplex.cells(9)[0]  # of arrows, and of flows that tell the basins
LINE = 1e-3  # of a logit: half of that is the width of a line on an edge of 400 points
EVALUATIONS = 150  # of a flow: where it takes more, its line ends
STILL = 1e-12  # a speed at the start below this: it rests there
UNDER_WAY = "still on its way where its line ends; choose it to be told what it does"


def compute(state: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All that a state leads to, as lists, numbers and words that JSON can hold.

    Returns:
        state: the whole state, with the defaults where nothing was said.
        optimum: pi*, (3,); equilibrium: of the game, (3,), or None where it is out of reach.
        flows: by name, times (T,), policies (T, 3) from the reference, and regret (T,).
        ends: by name, policy (3,) or None, end (its name), words, regret and kl there.
        field: of the chosen algorithm, places (n, 3) and arrows (n, 3), the expected update there.
        basins: starts (n, 3), which (n,) attractor each ends at (-1: no isolated one), attractors (m, 3).
        card: of the chosen algorithm: as in ends, and unique, kin, agreement, scale, distance.

    Raises:
        ValueError: the state is none; the first entry at fault is named.

    Example: two arms alike, one better by 1: the odds at the end are e to 1, whoever sampled.

        >>> found = compute({"algorithm": "CoPG", "rewards": [1.0, 0.0, 0.0], "beta": 1.0})
        >>> [round(p, 4) for p in found["ends"]["CoPG"]["policy"]], found["card"]["unique"]
        ([0.5761, 0.2119, 0.2119], True)
    """
    state = checked(state)
    chosen = state["algorithm"]
    names = dict.fromkeys([chosen, *state["beside"]])
    each = {name: moved(state, name) for name in names}
    card, basins = _verdict(state)
    ends = {name: found["end"] for name, found in each.items()}
    ends[chosen] = {key: card[key] for key in ends[chosen]}
    bandit = world(state)
    return {
        "state": state,
        "optimum": bandit.optimal_policy(state["beta"]).tolist(),
        "equilibrium": _equilibrium(state),
        "flows": {name: found["flow"] for name, found in each.items()},
        "ends": ends,
        "field": each[chosen]["field"],
        "basins": basins,
        "card": card,
    }


def moved(state: Mapping[str, Any] | None, name: str | None = None) -> dict[str, Any]:
    """The flow, the field and the end of one algorithm, by default the chosen one: as in `compute`.

    Raises:
        ValueError: the state is none, or no such algorithm is offered.

    Example: as in `compute`; the flow starts at the reference.

        >>> found = moved({"algorithm": "CoPG", "rewards": [1.0, 0.0, 0.0], "beta": 1.0})
        >>> [round(p, 4) for p in found["end"]["policy"]]
        [0.5761, 0.2119, 0.2119]
        >>> [round(p, 4) for p in found["flow"]["policies"][0]]
        [0.3333, 0.3333, 0.3333]
    """
    state = checked(state)
    name = state["algorithm"] if name is None else one_of(name, tuple(OFFERED), "name")
    algorithm, trial = _trial(state, name)
    still = np.repeat(trial.bandit.reference[None], len(TIMES), axis=0)
    try:
        policies = _flow(algorithm, trial, still)
        end = _told(algorithm, trial, end_near(algorithm, trial, policies[-1]), state)
        arrows = _update(algorithm, trial, PLACES)
    except ValueError as error:
        end, policies, arrows = _refused(error), still, np.zeros_like(PLACES)
    return {
        "flow": {
            "times": TIMES.tolist(),
            "policies": policies.tolist(),
            "regret": trial.bandit.regret(policies, state["beta"]).tolist(),
        },
        "field": {"places": PLACES.tolist(), "arrows": arrows.tolist()},
        "end": end,
    }


def _trial(state: State, name: str) -> tuple[Algorithm, Trial]:
    algorithm = OFFERED[name].make(state)
    return algorithm, Trial("world", state["sampling"], world(state), rule(state, algorithm))


def _update(algorithm: Algorithm, trial: Trial, policies: Floats) -> Floats:
    return expected_update(algorithm, trial.bandit, trial.sampling, policies, max_groups=MOST_GROUPS)


def _flow(algorithm: Algorithm, trial: Trial, still: Floats) -> Floats:
    """Policies at TIMES, (T, 3): exact where the update is linear (T3.4), else to the width of a line."""
    speed = np.abs(_update(algorithm, trial, trial.bandit.reference)).max()
    if speed < STILL:
        return still
    problem = bind(algorithm, trial.bandit, trial.sampling, max_groups=MOST_GROUPS)
    if problem.linear() is not None:
        return flow(algorithm, trial.bandit, trial.sampling, TIMES / speed)
    return sketch(problem, TIMES, LINE, EVALUATIONS)


def _told(algorithm: Algorithm, trial: Trial, end: End, state: State) -> dict[str, Any]:
    """An end in words and numbers."""
    if end.reason == "unfinished" or end.policy is None:
        name, words = "none yet", end.words or UNDER_WAY
    else:
        name, words = end_name(algorithm, trial, end, state["beta"])
    there = end.policy
    return {
        "policy": None if there is None else there.tolist(),
        "end": name,
        "words": words,
        "regret": None if there is None else float(trial.bandit.regret(there, state["beta"])),
        "kl": None if there is None else float(kl(log_policy_of(there), trial.bandit.log_reference)),
    }


def _refused(error: ValueError) -> dict[str, Any]:
    return {"policy": None, "end": "none: refused", "words": str(error), "regret": None, "kl": None}


def _verdict(state: State) -> tuple[dict[str, Any], dict[str, Any]]:
    """The card and the basins of the chosen algorithm."""
    algorithm, trial = _trial(state, state["algorithm"])
    try:
        end = end_of(algorithm, trial)
        attractors, which = _basins(algorithm, trial, end)
        kin = kin_of(algorithm, [trial], state["beta"], False, others=True)
    except ValueError as error:
        card = _refused(error) | {"unique": False}
        card |= dict.fromkeys(("kin", "agreement", "scale", "distance"))
        return card, {"starts": STARTS.tolist(), "which": [-1] * len(STARTS), "attractors": []}
    card = _told(algorithm, trial, end, state) | {"unique": end.unique}
    card |= {"kin": kin.name, "agreement": kin.agreement, "scale": kin.scale, "distance": kin.distance}
    return card, {
        "starts": STARTS.tolist(),
        "which": which,
        "attractors": [one.policy.tolist() for one in attractors],
    }


def _basins(algorithm: Algorithm, trial: Trial, end: End) -> tuple[list[Attractor], list[int]]:
    """The attractors, and which of them each start ends at; -1: at none that is isolated."""
    if end.unique:
        return list(end.attractors), [0] * len(STARTS)
    bound = bind(algorithm, trial.bandit, trial.sampling, STARTS, max_groups=MOST_GROUPS)
    motions = motions_of(bound)
    found = rest.ends(motions, motions.start)
    policies = np.exp(motions.log_policy(found.x))
    attractors, which = gathered(policies, found.rested & found.attracts, end.attractors)
    return attractors, which.tolist()


def _equilibrium(state: State) -> list[float] | None:
    try:
        return world(state).nash_policy(state["beta"]).tolist()
    except NotConverged:
        return None
