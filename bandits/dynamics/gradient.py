"""Which way does an algorithm move the logits?

With g the expected update of the logits (`bandits.exact`), pi = softmax(theta):

    gradient descent             theta <- theta + eta g          flow  d theta / dt = g
    natural gradient = mirror    theta <- theta + eta g / pi     flow  d theta / dt = g / pi

The second is both: F = diag(pi) - pi pi' is the Fisher matrix of softmax, F (g / pi) = g because g sums to
zero; and mirror ascent with the entropy adds eta times the gradient in pi, which is g / pi, to log pi.

Each is a bare function of a policy in log space, for `bandits.solvers.paths` to follow.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax

from bandits import checks
from bandits.checks import Floats
from bandits.exact import update_at
from bandits.problem import Problem
from bandits.sampling.observation import State
from bandits.solvers.paths import Step, Velocity

RAREST = 1e-290  # its reciprocal is finite, and so are the speeds of updates up to 1e18


def gradient_step(problem: Problem, learning_rate: float) -> Step:
    """Gradient descent on the logits, theta <- theta + eta g(theta)."""
    return _along(gradient_velocity(problem), learning_rate)


def natural_step(problem: Problem, learning_rate: float) -> Step:
    """Natural gradient, which is mirror ascent: pi <- pi exp(eta g / pi) / Z.

    On-policy, where g = F R, it is pi^(1 - eta beta) ref^(eta beta) exp(eta r) / Z: the distance of
    log pi to log pi* shrinks by 1 - eta beta at every arm alike.
    """
    return _along(natural_velocity(problem), learning_rate)


def gradient_velocity(problem: Problem) -> Velocity:
    """The expected update g of the logits; what is trained beside the policy stands at its optimum."""
    return lambda log_policy: update_at(problem, State(log_policy))


def natural_velocity(problem: Problem) -> Velocity:
    """g / pi, the expected update in the metric of Fisher; arms below 1e-290 count as 1e-290."""
    gradient = gradient_velocity(problem)

    def velocity(log_policy: Floats) -> Floats:
        policy, g = np.exp(log_policy), gradient(log_policy)
        with np.errstate(over="ignore"):  # the solver says where it fails
            return g / np.maximum(policy, RAREST)

    return velocity


def _along(velocity: Velocity, learning_rate: float) -> Step:
    eta = checks.positive(learning_rate, "learning_rate")
    return lambda log_policy: log_softmax(log_policy + eta * velocity(log_policy), axis=-1)
