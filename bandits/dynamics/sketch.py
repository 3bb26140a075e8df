"""Where does a flow lead, roughly?  Lines for a picture: a line has a width, and nobody waits long for it.

Flows that come to no rest are not followed beyond a bounded number of evaluations: there their line ends.
Whoever needs digits takes `bandits.flow`.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.integrate import LSODA

from bandits.checks import Floats
from bandits.exact import motions_of
from bandits.problem import Problem

EVALUATIONS = 500  # of one flow
ACCURACY = 1e-4  # of a logit


def sketch(
    problem: Problem, times: Floats, accuracy: float = ACCURACY, evaluations: int = EVALUATIONS
) -> Floats:
    """Policies of the flow of one context from its start, (T, A).

    Args:
        times: increasing from 0, (T,), in units of 1 / the speed of the start.
        accuracy: local error, in logits.
        evaluations: of the flow, at most, about.
    """
    motions = motions_of(problem)
    alive = motions.alive[0]
    start = motions.start[0, alive]
    unit = 1 / max(np.abs(motions.field(start)).max(), np.finfo(float).tiny)
    seen, passed = [start], [0.0]
    solver = LSODA(lambda _, h: unit * motions.field(h), 0.0, start, times[-1], rtol=accuracy, atol=accuracy)
    with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", UserWarning)  # LSODA's, of what it then reports: the path ends there
        while solver.status == "running" and solver.nfev < evaluations:
            solver.step()
            if solver.status == "failed" or not np.isfinite(solver.y).all():
                break
            seen.append(solver.y)
            passed.append(solver.t)
    full = np.zeros((len(times), 1, len(alive)))
    full[:, 0, alive] = np.stack([np.interp(times, passed, line) for line in np.transpose(seen)], axis=-1)
    return np.exp(motions.log_policy(full)[:, 0])
