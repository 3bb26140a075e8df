"""Which flows are drawn?  Those of the first world, from the reference, under each law.

A report keeps the numbers of its figure: what is drawn after a way through JSON is what was drawn before.

Axes: L laws, T times, A arms, n places of a grid.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from bandits.checks import Floats
from bandits.dynamics.sketch import sketch
from bandits.exact import expected_update
from bandits.problem import bind
from bandits.samples import Algorithm
from bandits.verdict.claims import Bare
from bandits.verdict.ends import End
from bandits.verdict.worlds import MOST_GROUPS, Trial

TIMES = 60
EDGE = 12  # places of the grid along an edge of the triangle
FAR = 300.0  # times, in units of 1 / the speed of the start


@dataclass(frozen=True, eq=False, kw_only=True)
class Picture:
    """The numbers of a figure."""

    world: str
    arms: tuple[str, ...]  # names
    laws: tuple[str, ...]
    times: Floats  # (T,)  in units of 1 / the speed of the start
    policies: Floats  # (L, T, A)
    regrets: Floats | None  # (L, T)  None: the world has no reward, or there is no beta
    optimum: Floats | None  # (A,)
    places: Floats | None  # (n, 3)  policies of the grid; None unless there are three arms
    arrows: Floats | None  # (n, 3)  expected update there, under the first law

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in ("arms", "laws"):
                object.__setattr__(self, each.name, tuple(value))
            elif each.name != "world" and value is not None:
                array = np.array(value, dtype=float)
                array.flags.writeable = False
                object.__setattr__(self, each.name, array)


def picture_of(algorithm: Algorithm, trials: list[Trial], ends: list[End], beta: float | None) -> Picture:
    """The flows of the first world, in every law that the report has of it."""
    first = [one for one in trials if one.world == trials[0].world]
    world = first[0].bandit
    times = np.concatenate([[0.0], np.geomspace(0.03, FAR, TIMES - 1)])
    policies = np.stack([_path(algorithm, one, times) for one in first])
    has_value = beta is not None and world.reward is not None
    places = _grid(world.reference) if world.arms == 3 else None
    return Picture(
        world=trials[0].world,
        arms=world.names or tuple(str(y) for y in range(world.arms)),
        laws=tuple(one.law for one in first),
        times=times,
        policies=policies,
        regrets=np.asarray(world.regret(policies, beta)) if has_value else None,  # type: ignore[arg-type]
        optimum=world.optimal_policy(beta) if has_value else None,  # type: ignore[arg-type]
        places=places,
        arrows=None if places is None else _arrows(algorithm, first[0], places),
    )


def _path(algorithm: Algorithm, trial: Trial, times: Floats) -> Floats:
    """Policies along the flow from the reference, (T, A); where it takes too long it is left, and stays."""
    return sketch(bind(Bare(algorithm), trial.bandit, trial.sampling, max_groups=MOST_GROUPS), times)


def _grid(reference: Floats) -> Floats | None:
    """Policies inside the triangle, (n, 3); None where the reference does not have all three arms."""
    if (reference == 0).any():
        return None
    i, j = np.meshgrid(np.arange(EDGE), np.arange(EDGE), indexing="ij")
    i, j = i[i + j < EDGE], j[i + j < EDGE]
    return (np.stack([i, j, EDGE - 1 - i - j], axis=-1) + 1 / 3) / EDGE


def _arrows(algorithm: Algorithm, trial: Trial, places: Floats) -> Floats:
    return expected_update(Bare(algorithm), trial.bandit, trial.sampling, places, max_groups=MOST_GROUPS)
