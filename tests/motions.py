"""Where gradient flow leads, by SciPy's LSODA, at a finer tolerance than the package's own solvers."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import solve_ivp
from scipy.special import log_softmax

from bandits.exact import update_at
from bandits.fixed_point import fixed_point
from bandits.problem import bind
from bandits.sampling.observation import State
from bandits.sampling.rules import OnPolicy


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


def the_best_arm_takes_everything(algorithm, world) -> None:
    """On its own samples, by `fixed_point` and by the motion, which arrives like 1/t."""
    found = fixed_point(algorithm, world, OnPolicy())
    best = np.arange(world.arms) == world.reward.argmax()
    assert found.unique
    assert_array_equal(found.policy, best)
    until = 1e4 * world.length.max()
    assert_allclose(motion(algorithm, world, OnPolicy(), world.reference, until), best, rtol=0, atol=2e-2)
