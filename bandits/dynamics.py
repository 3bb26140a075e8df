"""The motion: how an algorithm moves the policy, by small steps or in continuous time.

With g the expected update of the logits (`bandits.exact`), pi = softmax(theta):

    gradient descent             theta <- theta + eta g          flow  d theta / dt = g
    natural gradient = mirror    theta <- theta + eta g / pi     flow  d theta / dt = g / pi

The second is both: F = diag(pi) - pi pi' is the Fisher matrix of softmax, F (g / pi) = g because g sums to
zero; and mirror ascent with the entropy adds eta times the gradient in pi, which is g / pi, to log pi.

`flow` and `descent` take the exact way where g is linear in the logits: with L the Laplacian of the sampling
graph, theta(t) - theta* = exp(-rate L t)(theta_0 - theta*), and (I - eta rate L)^n for n steps (T3.4).
Elsewhere a stiff solver, whose error `flow_error` measures.

Laws of motion (`gradient_step`, `natural_velocity`, ...) are bare functions of a policy in log space, for
`bandits.motion` to follow.

Axes: `...` are contexts, each moving by itself; arms last; times or steps first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax

from bandits import checks, motion, relaxation
from bandits.algorithms.linear import Linear
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.exact import check_mass, update_at
from bandits.fixed_point import _log_start, fixed_point
from bandits.motion import FINER, TOLERANCE, Step, Velocity
from bandits.observation import State
from bandits.policy import tilt
from bandits.sampling import Sampling

# ---------------------------------------------------------------- the laws


def gradient_step(algorithm, bandit: Bandit, sampling: Sampling, learning_rate: float) -> Step:
    """Gradient descent on the logits, theta <- theta + eta g(theta)."""
    return _along(gradient_velocity(algorithm, bandit, sampling), learning_rate)


def natural_step(algorithm, bandit: Bandit, sampling: Sampling, learning_rate: float) -> Step:
    """Natural gradient, which is mirror ascent: pi <- pi exp(eta g / pi) / Z.

    On-policy, where g = F R, it is pi^(1 - eta beta) ref^(eta beta) exp(eta r) / Z: the distance of
    log pi to log pi* shrinks by 1 - eta beta at every arm alike.
    """
    return _along(natural_velocity(algorithm, bandit, sampling), learning_rate)


def gradient_velocity(algorithm, bandit: Bandit, sampling: Sampling) -> Velocity:
    """The expected update g of the logits; what is trained beside the policy stands at its optimum."""
    return lambda log_policy: update_at(algorithm, bandit, sampling, State(log_policy))


def natural_velocity(algorithm, bandit: Bandit, sampling: Sampling) -> Velocity:
    """g / pi, the expected update in the metric of Fisher; 0 for arms below 1e-308."""
    gradient = gradient_velocity(algorithm, bandit, sampling)

    def velocity(log_policy: Floats) -> Floats:
        policy, g = np.exp(log_policy), gradient(log_policy)
        return np.where(policy > 0, g / np.where(policy > 0, policy, 1.0), 0.0)

    return velocity


# ---------------------------------------------------------------- exact paths of an algorithm


def flow(
    algorithm, bandit: Bandit, sampling: Sampling, times: ArrayLike, start: ArrayLike | None = None
) -> Floats:
    """Policies of gradient flow on the logits, d theta / dt = g(theta), at each time, (times, ..., A).

    Closed form for CoPG, IPO, DRO with V eliminated and policy gradient with b = E_mu[R], on any fixed law
    or data set: theta(t) = theta* + exp(-rate L t)(theta_0 - theta*)  (T3.4).  Otherwise a stiff solver.

    Args:
        times: increasing, from 0 (where the policy is the start).
        start: (..., A), by default the reference.

    Raises:
        ValueError: times do not increase or are negative, or the arguments do not fit together.
        NotConverged: the solver failed; `.solution` holds the last policy that it reached.

    Example: two arms sampled evenly have L = [[1, -1], [-1, 1]] / 2, so that log-odds decay as exp(-t).

        >>> from bandits import Bandit, CoPG, Offline
        >>> bandit, mu = Bandit([np.log(3.0), 0.0]), [0.5, 0.5]
        >>> p = flow(CoPG(beta=1.0), bandit, Offline(mu), [0.0, np.log(2.0)])[:, 0]
        >>> (np.log(p / (1 - p)) / np.log(3.0)).round(12)
        array([0. , 0.5])
    """
    times = motion.increasing(times, "times")

    def path(world: Bandit, data: Sampling, log_start: Floats) -> Floats:
        linear = linear_of(algorithm, world, data, log_start)
        if linear is None:
            return motion.solve(gradient_velocity(algorithm, world, data), log_start, times, TOLERANCE)
        distance, goal = _distance(linear, world, log_start)
        return _seen_from(goal, relaxation.relax(linear.law, distance, linear.rate * times), log_start)

    return np.exp(each_context(path, algorithm, bandit, sampling, start))


def flow_error(
    algorithm, bandit: Bandit, sampling: Sampling, times: ArrayLike, start: ArrayLike | None = None
) -> Floats:
    """Largest error of `flow`'s policies at each time, measured, (times, ...).

    Against the same solver at a 100 times finer tolerance.  For the closed form, which knows no tolerance,
    it is the difference to that finer run of the solver: an upper bound that is mostly the solver's own.
    """
    times = motion.increasing(times, "times")

    def fine(world: Bandit, data: Sampling, log_start: Floats) -> Floats:
        return motion.solve(gradient_velocity(algorithm, world, data), log_start, times, FINER)

    truth = np.exp(each_context(fine, algorithm, bandit, sampling, start))
    return np.abs(flow(algorithm, bandit, sampling, times, start) - truth).max(axis=-1)


def natural_flow(
    algorithm, bandit: Bandit, sampling: Sampling, times: ArrayLike, start: ArrayLike | None = None
) -> Floats:
    """Policies of the natural gradient's flow (mirror flow), d theta / dt = g / pi, (times, ..., A)."""
    times = motion.increasing(times, "times")

    def path(world: Bandit, data: Sampling, log_start: Floats) -> Floats:
        return motion.solve(natural_velocity(algorithm, world, data), log_start, times, TOLERANCE)

    return np.exp(each_context(path, algorithm, bandit, sampling, start))


def descent(
    algorithm,
    bandit: Bandit,
    sampling: Sampling,
    learning_rate: float,
    steps: ArrayLike,
    start: ArrayLike | None = None,
) -> Floats:
    """Policies of exact gradient descent after each number of `steps`, (steps, ..., A).

    The matrix power (I - eta rate L)^n where the update is linear (T3.4), else iterations.

    Args:
        learning_rate: eta, positive; for a linear update at most `largest_stable_step`.
        steps: increasing integers from 0 (where the policy is the start), say range(101).
        start: (..., A), by default the reference.

    Raises:
        ValueError: steps do not increase, or the learning rate is not positive or makes descent diverge.

    Example: as for `flow`; an eighth of the largest stable step, 2, leaves 3/4 of the log-odds.

        >>> from bandits import Bandit, CoPG, Offline
        >>> p = descent(CoPG(beta=1.0), Bandit([1.0, 0.0]), Offline([0.5, 0.5]), 0.25, [0, 1, 2])[:, 0]
        >>> 1 - np.log(p / (1 - p))
        array([1.    , 0.75  , 0.5625])
    """
    eta, steps = checks.positive(learning_rate, "learning_rate"), motion.increasing_counts(steps)

    def path(world: Bandit, data: Sampling, log_start: Floats) -> Floats:
        linear = linear_of(algorithm, world, data, log_start)
        if linear is None:
            return motion.record(gradient_step(algorithm, world, data, eta), log_start, steps)
        largest = _stable_step(_linear_rates(linear, np.isfinite(log_start)))
        if eta > largest:
            raise ValueError(
                f"learning_rate must be at most {largest:.6g}, the largest stable step, but learning_rate = "
                f"{learning_rate!r}: descent diverges; choose a smaller one"
            )
        distance, goal = _distance(linear, world, log_start)
        return _seen_from(
            goal, relaxation.contract(linear.law, distance, eta * linear.rate, steps), log_start
        )

    return np.exp(each_context(path, algorithm, bandit, sampling, start))


# ---------------------------------------------------------------- rates


def convergence_rate(algorithm, bandit: Bandit, sampling: Sampling) -> Floats:
    """Rate at which the flow approaches its end: the distance falls as exp(-rate t), (...).

    rate * lambda_2(L) for linear updates, beta lambda_2 for CoPG: the algebraic connectivity of the sampling
    graph is the coverage coefficient (T3.4), and 0 says that the graph is not connected, so that
    some ratio of probabilities never moves.  For other algorithms the slowest rate at the fixed point
    that the reference leads to: minus the largest real part of the Jacobian's eigenvalues.

    Raises:
        NoFixedPoint: there is nothing to approach.

    Example: two arms sampled evenly have L = [[1, -1], [-1, 1]] / 2, whose eigenvalues are 0 and 1.

        >>> from bandits import Bandit, CoPG, Offline
        >>> float(convergence_rate(CoPG(beta=0.25), Bandit([1.0, 0.0]), Offline([0.5, 0.5])))
        0.25
    """

    def slowest(world: Bandit, data: Sampling, log_start: Floats) -> Floats:
        return np.array([_rates(algorithm, world, data, log_start).real.min(initial=np.inf)])

    return each_context(slowest, algorithm, bandit, sampling, None)[0]


def largest_stable_step(algorithm, bandit: Bandit, sampling: Sampling) -> Floats:
    """Learning rate above which gradient descent diverges: 2 / (rate lambda_max(L)), (...)  (T3.4).

    For updates that are not linear: above which it leaves the fixed point that the reference leads to, the
    smallest 2 Re(a) / |a|^2 over the eigenvalues -a of the Jacobian there.  0: it leaves at every step.

    Raises:
        NoFixedPoint: there is no end to be stable at.

    Example:
        >>> from bandits import Bandit, CoPG, Offline
        >>> float(largest_stable_step(CoPG(beta=0.25), Bandit([1.0, 0.0]), Offline([0.5, 0.5])))
        8.0
    """

    def largest(world: Bandit, data: Sampling, log_start: Floats) -> Floats:
        return np.array([_stable_step(_rates(algorithm, world, data, log_start))])

    return each_context(largest, algorithm, bandit, sampling, None)[0]


def _rates(algorithm, bandit: Bandit, sampling: Sampling, log_start: Floats) -> NDArray:
    """Eigenvalues of -dg/dtheta at the end, but the constants' own; only the extreme ones of a linear g."""
    linear = linear_of(algorithm, bandit, sampling, log_start)
    if linear is not None:
        return _linear_rates(linear, np.isfinite(log_start))
    end = fixed_point(algorithm, bandit, sampling, np.exp(log_start)).log_policy
    assert end is not None  # it raises where there is none
    alive = np.isfinite(end)
    field, n = motion.on_alive(gradient_velocity(algorithm, bandit, sampling), alive), int(alive.sum())
    slope = motion.jacobian(field, end[alive])
    basis = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, : n - 1]]))[0][:, 1:]
    return -np.linalg.eigvals(basis.T @ slope @ basis)


def _linear_rates(linear: Linear, alive: NDArray[np.bool_]) -> Floats:
    return linear.rate * np.array(relaxation.extreme_eigenvalues(linear.law, alive))


def _stable_step(rates: NDArray) -> float:
    moving = rates[rates != 0]
    return float(np.maximum(2 * moving.real / np.abs(moving) ** 2, 0.0).min(initial=np.inf))


# ---------------------------------------------------------------- inside


def _along(velocity: Velocity, learning_rate: float) -> Step:
    eta = checks.positive(learning_rate, "learning_rate")
    return lambda log_policy: log_softmax(log_policy + eta * velocity(log_policy), axis=-1)


def linear_of(algorithm, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Linear | None:
    """The update as `Linear`, or None: on-policy the law moves, and most algorithms are not linear."""
    linear = getattr(algorithm, "linear", None)
    if linear is None or sampling.on_policy:
        return None
    return linear(bandit, sampling.law(algorithm, bandit, log_start))


def _distance(linear: Linear, bandit: Bandit, log_start: Floats) -> tuple[Floats, Floats]:
    """theta_0 - theta* and theta* = log ref + score / beta on the arms that take part, (A,)."""
    goal = tilt(bandit.log_reference, linear.score, linear.beta)
    alive = np.isfinite(log_start)
    return np.where(alive, log_start, 0.0) - np.where(alive, goal, 0.0), goal


def _seen_from(goal: Floats, distance: Floats, log_start: Floats) -> Floats:
    """log softmax(goal + distance), (times, A); arms that started at zero stay there."""
    alive = np.isfinite(log_start)
    return log_softmax(np.where(alive, np.where(alive, goal, 0.0) + distance, -np.inf), axis=-1)


def each_context(path, algorithm, bandit: Bandit, sampling: Sampling, start: ArrayLike | None) -> Floats:
    """path(bandit, sampling, log_start) -> (n, ...) in each context, side by side: (n, contexts, ...)."""
    log_start = _log_start(bandit, start)
    law = sampling.law(algorithm, bandit, log_start)
    check_mass(law, log_start)
    shape = np.broadcast_shapes(log_start.shape[:-1], law.behavior.shape[:-1], bandit.contexts)
    log_starts = np.broadcast_to(log_start, (*shape, bandit.arms))
    paths = np.stack(
        [path(bandit.at(i, shape), sampling.at(i, shape), log_starts[i]) for i in np.ndindex(shape)], axis=1
    )
    return paths.reshape(len(paths), *shape, *paths.shape[2:])
