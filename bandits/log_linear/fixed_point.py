"""Where do log-linear policies pi = ref exp(Phi w) / Z go, whose class may not hold the optimum?  (T3.6)

grad_w log pi(y) = Phi(y) - E_pi[Phi], so that any algorithm moves the weights by Phi' g, with g its expected
update of the logits (`bandits.exact`).  Where g = rate L (s / beta - h) is linear, with L the Laplacian of
the sampling graph and s the reward (CoPG, DRO) or the ranking (IPO),

    dw/dt = rate Phi' L (s / beta - Phi w),      w = (Phi' L Phi)^+ Phi' L s / beta          (T3.6)

least squares on the differences of sampled pairs.  If s / beta lies in the span of Phi and constants, every
law whose graph is connected finds it.  If not, the answer depends on who sampled, and is in general not the
maximiser of J in the class (`bandits.log_linear.best_in_class`).

Source: the linear form is Flet-Berliac et al. 2024, Eqs. (18)-(19), arXiv:2406.19185.
Axes: features (A, d) or (..., A, d), weights (..., d); every context has weights of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bandits.algorithms.linear import Linear
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics.gradient import gradient_velocity
from bandits.log_linear.features import RANK, Chart, chart, checked_features, checked_weights, log_policy_at
from bandits.problem import Problem, bind
from bandits.samples import Algorithm
from bandits.sampling.rules import Sampling
from bandits.solution import NotConverged, Solution
from bandits.solvers import paths, rest
from bandits.solvers.paths import Velocity
from bandits.solvers.rest import Rates

NEAR = 1.0  # of a logit: what is further away is not the end of this flow
ACCEPTED = 1e-10  # natural update that certifies a fixed point, relative to its largest derivative


class Fit(NamedTuple):
    """Weights of a log-linear policy with their certificate."""

    weights: Floats  # (..., d)
    policy: Floats  # (..., A)
    residual: Floats  # (...)  largest entry of Phi' g there
    stable: NDArray[np.bool_]  # (...)  does the motion come back when pushed?


def log_linear_policy(bandit: Bandit, features: ArrayLike, weights: ArrayLike) -> Floats:
    """pi = ref exp(Phi w) / Z, (..., A).

    Raises:
        ValueError: features are not (..., A, d), or weights not (..., d).

    Example: one feature that marks the first arm.

        >>> log_linear_policy(Bandit([1.0, 0.0]), [[1.0], [0.0]], [np.log(3.0)]).round(4)
        array([0.75, 0.25])
    """
    Phi = checked_features(features, bandit)
    return np.exp(log_policy_at(bandit.log_reference, Phi, checked_weights(weights, Phi, "weights")))


def log_linear_update(
    algorithm: Algorithm, bandit: Bandit, sampling: Sampling, features: ArrayLike, weights: ArrayLike
) -> Floats:
    """Expected ascent direction on the weights, Phi' g, of any algorithm, (..., d).

    Raises:
        ValueError: as `log_linear_policy` and `expected_update`.
    """
    Phi = checked_features(features, bandit)
    log_policy = log_policy_at(bandit.log_reference, Phi, checked_weights(weights, Phi, "weights"))
    return np.vecmat(gradient_velocity(bind(algorithm, bandit, sampling))(log_policy), Phi)


def log_linear_flow(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling,
    features: ArrayLike,
    times: ArrayLike,
    start: ArrayLike | None = None,
) -> Floats:
    """Weights along dw/dt = Phi' g at each time, (times, ..., d); their policies are `log_linear_policy`'s.

    Closed form where g is linear in the logits (T3.6), a stiff solver elsewhere.

    Args:
        times: increasing, from 0.
        start: weights (..., d), zero (the reference) by default.

    Raises:
        ValueError: times do not increase, or the arguments do not fit together.
        NotConverged: the solver failed; `.solution` holds the last policy that it reached.

    Example: one feature that tells two arms apart is the tabular flow: w(t) = w* (1 - exp(-t)).

        >>> from bandits import CoPG, Offline
        >>> world, Phi = Bandit([1.0, 0.0]), [[0.5], [-0.5]]
        >>> w = log_linear_flow(CoPG(beta=1.0), world, Offline([0.5, 0.5]), Phi, [0.0, 2 * np.log(2.0)])
        >>> w[:, 0].round(12)
        array([0. , 0.5])
    """
    times = paths.increasing(times, "times")

    def path(problem: Problem, Phi: Floats, w: Floats) -> Floats:
        linear = problem.linear()
        if linear is not None:
            goal, rates, axes = least_squares(linear, Phi, w)
            return goal + (np.exp(-np.outer(times, rates)) * (axes.T @ (w - goal))) @ axes.T
        around, velocity = chart(problem.bandit, Phi, w), gradient_velocity(problem)

        def field(z: Floats) -> Floats:
            log_policy = around.log_policy(z)
            return around.pulled_back(log_policy, velocity(log_policy))

        start = np.zeros(around.basis.shape[1])
        return around.weights(paths.trajectory(field, start, times, paths.TOLERANCE, around.log_policy))

    return _each_context(path, algorithm, bandit, sampling, features, start)


def log_linear_fixed_point(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling,
    features: ArrayLike,
    start: ArrayLike | None = None,
) -> Fit:
    """Where an algorithm takes the weights from `start` (zero by default), with its certificate.

    w = (Phi' L Phi)^+ Phi' L s / beta where the update is linear, directions that no sampled pair tells apart
    keeping their start (T3.6).  Otherwise the flow is followed and polished by Newton's method; for
    on-policy gradient this is a local maximum of J in the class, see `class_optimum`.

    Raises:
        NotConverged: the flow does not come to rest; `.solution` holds where it stood.
        ValueError: the arguments do not fit together.

    Example: one feature cannot fit three rewards; the pair that is sampled more is fitted better.

        >>> from bandits import CoPG, Pairs
        >>> world, line = Bandit([3.0, 1.0, 0.0]), [[2.0], [1.0], [0.0]]  # differences 2 and 1, fitted by w
        >>> chain = Pairs([[0.0, 0.75, 0.0], [0.0, 0.0, 0.25], [0.0, 0.0, 0.0]])
        >>> log_linear_fixed_point(CoPG(beta=1.0), world, chain, line).weights.round(9)  # .75 * 2 + .25 * 1
        array([1.75])
    """

    def end(problem: Problem, Phi: Floats, w: Floats) -> Floats:
        linear = problem.linear()
        if linear is not None:
            w, stable = least_squares(linear, Phi, w)[0], True
        else:
            w, stable = _end_of_flow(problem, Phi, w)
        log_policy = log_policy_at(problem.bandit.log_reference, Phi, w)
        residual = np.abs(gradient_velocity(problem)(log_policy) @ Phi).max(initial=0.0)
        return np.concatenate([w, np.exp(log_policy), [residual, stable]])[None]

    found, d = _each_context(end, algorithm, bandit, sampling, features, start)[0], np.shape(features)[-1]
    return Fit(found[..., :d], found[..., d:-2], found[..., -2], found[..., -1] == 1)


def misfit(bandit: Bandit, features: ArrayLike) -> Floats:
    """Distance of the reward from the span of the features and constants on the reference's support, (...).

    The largest entry of the least-squares residual.  Zero: the class holds pi* for every beta, and every law
    with a connected graph finds it.  Positive: the answer depends on the law  (T3.6).

    Example: (3, 1, 0) is not a line; its residuals from 3 f / 2 + const are (1, -2, 1) / 6.

        >>> float(misfit(Bandit([3.0, 1.0, 0.0]), [[2.0], [1.0], [0.0]]).round(6))
        0.333333
    """

    Phi = checked_features(features, bandit)
    shape = np.broadcast_shapes(bandit.contexts, Phi.shape[:-2])
    Phis = np.broadcast_to(Phi, (*shape, *Phi.shape[-2:]))
    return np.reshape([_off_span(bandit.at(i, shape), Phis[i]) for i in np.ndindex(shape)], shape)


# ---------------------------------------------------------------- linear updates


def least_squares(linear: Linear, Phi: Floats, w: Floats) -> tuple[Floats, Floats, Floats]:
    """The end of the weights from w; rates and axes of the motion there, rate Phi' L Phi = V diag V'."""
    pull = linear.law.laplacian(Phi.T)  # (L Phi)', (d, A)
    gram = pull @ Phi
    values, axes = np.linalg.eigh((gram + gram.T) / 2)
    moving = values > RANK * values.max(initial=0.0)
    inverse = np.where(moving, 1 / np.where(moving, values, 1.0), 0.0)
    score = linear.score / linear.beta
    for _ in range(2):  # the second time refines: squaring L has cost digits
        w = w + axes @ (inverse * (axes.T @ (pull @ (score - Phi @ w))))
    return w, linear.rate * np.where(moving, values, 0.0), axes


def _off_span(bandit: Bandit, Phi: Floats) -> float:
    alive = bandit.reference > 0
    design, reward = np.column_stack([Phi, np.ones(len(Phi))])[alive], bandit.needed_reward()[alive]
    return np.abs(reward - design @ np.linalg.lstsq(design, reward)[0]).max()


# ---------------------------------------------------------------- other updates


@dataclass(frozen=True, eq=False)
class _InClass:
    """The motion of the weights of one context, in the coordinates of a chart, for `bandits.solvers.rest`."""

    around: Chart
    law: Velocity  # of the logits

    def velocity(self, z: Floats) -> Floats:
        """D' g, (..., 1, r)."""
        return _each_point(lambda at: self.around.pulled_back(at, self.law(at)), self.around, z)

    def relative(self, z: Floats) -> Floats:
        """The natural direction F_z^-1 D' g, (..., 1, r)."""
        return _each_point(lambda at: self.around.natural(at, self.law(at)), self.around, z)

    def rates(self, z: Floats, slope: Floats) -> Rates:
        """Eigenvalues of -F_z times the slope of the natural direction."""
        plain = self.around.fisher(self.around.log_policy(z[0])) @ slope[0]
        rate = -np.linalg.eigvals(plain)[None]
        return Rates(rate, np.abs(rate).min(axis=-1, initial=np.inf) <= 1e-9 * np.abs(plain).max(initial=0.0))

    def some(self, rows: NDArray[np.intp]) -> _InClass:
        """There is only one."""
        return self


def _each_point(direction: Callable[[Floats], Floats], around: Chart, z: Floats) -> Floats:
    points = z.reshape(-1, z.shape[-1])
    return np.reshape([direction(around.log_policy(point)) for point in points], z.shape)


def _end_of_flow(problem: Problem, Phi: Floats, w: Floats) -> tuple[Floats, bool]:
    """Weights where the flow from w comes to rest, and whether that is stable."""
    around, velocity = chart(problem.bandit, Phi, w), gradient_velocity(problem)
    motion, z = _InClass(around, velocity), np.zeros((1, around.basis.shape[1]))
    z = rest.ends(motion, z).x if z.size else z
    settled_z, slope = settled(around, velocity, z[0], problem.name)
    rates = motion.rates(settled_z[None], slope[None])
    return around.weights(settled_z), not bool(rates.repels.any())


def settled(around: Chart, velocity: Velocity, z: Floats, name: str) -> tuple[Floats, Floats]:
    """The zero of the motion near z by Newton's method on its natural direction, and the Jacobian of that.

    Raises:
        NotConverged: there is none.
    """
    if not z.size:
        return z, np.empty((0, 0))
    motion, design = _InClass(around, velocity), around.features @ around.basis
    reach = NEAR / np.abs(design - design.mean(axis=0)).sum(axis=1).max()
    (z,), (slope,), _, _ = rest.newton(motion, z[None], reach)
    left = np.abs(motion.relative(z[None])).max()
    if not left <= ACCEPTED * max(1.0, np.abs(slope).max()):
        raise NotConverged(
            f"{name} does not come to rest in this class: the natural update of the weights is still "
            f"{left:.2g}; they may diverge (see .solution for where it stood)",
            Solution(log_policy=around.log_policy(z), residual=left, method="flow, then Newton"),
        )
    return z, slope


def _each_context(
    path: Callable[[Problem, Floats, Floats], Floats],
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling,
    features: ArrayLike,
    start: ArrayLike | None,
) -> Floats:
    """path(problem, features, weights) -> (n, ...) of each context, as (n, contexts, ...)."""
    problem = bind(algorithm, bandit, sampling)
    Phi = checked_features(features, bandit)
    w = checked_weights(np.zeros(Phi.shape[-1]) if start is None else start, Phi, "start")
    shape = np.broadcast_shapes(problem.contexts, Phi.shape[:-2], w.shape[:-1])
    Phis, ws = np.broadcast_to(Phi, (*shape, *Phi.shape[-2:])), np.broadcast_to(w, (*shape, w.shape[-1]))
    each = np.stack([path(problem.at(i, shape), Phis[i], ws[i]) for i in np.ndindex(shape)], axis=1)
    return each.reshape(len(each), *shape, *each.shape[2:])
