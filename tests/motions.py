"""Where gradient flow leads, by SciPy's LSODA, at a finer tolerance than the package's own solvers."""

from __future__ import annotations

import numpy as np
from scipy.integrate import solve_ivp
from scipy.special import log_softmax

from bandits.exact import update_at
from bandits.problem import bind
from bandits.sampling.observation import State


def motion(algorithm, world, sampling, start, until: float = 1e7) -> np.ndarray:
    """Policies that d theta/dt = E[update] reaches from each start, (..., A), where these have mass."""
    problem = bind(algorithm, world, sampling, start)
    log_start = np.broadcast_to(problem.log_start, (*problem.contexts, world.arms))
    alive = np.isfinite(log_start)

    def log_policy(theta):
        logits = np.full(alive.shape, -np.inf)
        logits[alive] = theta
        return log_softmax(logits, axis=-1)

    def velocity(_, theta):
        return update_at(problem, State(log_policy(theta)))[alive]

    band = world.arms - 1 if problem.contexts else None  # contexts side by side are blocks of the Jacobian
    accurate = {"method": "LSODA", "rtol": 1e-10, "atol": 1e-12, "lband": band, "uband": band}
    return np.exp(log_policy(solve_ivp(velocity, (0, until), log_start[alive], **accurate).y[:, -1]))
