"""Where does quantile temporal-difference learning end, and how noisily?  (T12.1, T12.2, T12.5)

m particles a state stand for quantiles tau_1 < ... < tau_m of the return.  A step shows one transition
(r, x') of every state and moves each particle, all of them from the old particles z:

    z(x, i) += a [tau_i - (1/m) #{j: r + g z(x', j) < z(x, i)}]

It looks like the gradient of a quantile loss and is none: the target moves along.  It rests where z(x, i)
is a tau_i-quantile of its own target T = R + g z(X', J).  Quantile dynamic programming replaces z by

    (1 - lam) leftmost + lam rightmost tau_i-quantile of T,      0 <= lam(x, i) <= 1,

a g-contraction in sup-W_inf with one fixed point z_lam for each lam.  Where distribution functions have flat
pieces these differ, and quantile TD ends somewhere in {z_lam}: `residual` is zero there and nowhere else.

Axes: runs first, then states and quantiles, (..., S, m).  Sources: Rowland et al. 2023, "An Analysis of
Quantile Temporal-Difference Learning", arXiv:2301.04462; its statistics, arXiv:2305.18388.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import solve_continuous_lyapunov
from scipy.optimize.elementwise import find_root

from bandits import checks
from bandits.checks import Floats
from bandits.solution import NotConverged, Solution
from bandits.solvers import paths
from bandits.tabular import motion
from bandits.tabular.chains import Integers, MarkovRewardProcess, process_of
from bandits.tabular.rewards import Continuous, Discrete

TIE = 1e-12  # how close a cumulated probability must be to a level to meet it
ROUNDING = 1e-17  # what dynamic programming leaves of the distance to its end
MOST_SWEEPS = 100_000
MOST_FREE = 12  # particles whose quantile is undecided: 4096 corners


def midpoints(m: int) -> Floats:
    """tau_i = (2i - 1) / 2m, i = 1 ... m, the levels of least W_1 error, (m,)  (T12.1)."""
    return (2 * np.arange(1, checks.count(m, "m", most=10**6) + 1) - 1) / (2 * m)


def expected_update(process: MarkovRewardProcess, levels: ArrayLike, particles: ArrayLike) -> Floats:
    """tau_i - P(R(x) + g z(X', J) < z(x, i)), (S, m); ties do not count  (T12.1)."""
    tau = _levels(process, levels)
    z = _particles(process, tau, particles)
    return tau - _below(process, z)


def step(
    particles: Floats,
    reward: Floats,
    next_state: Integers,
    discount: float,
    levels: Floats,
    learning_rate: float,
) -> Floats:
    """The particles after one transition of every state, (..., S, m)  (T12.1)."""
    target = reward[..., None] + discount * np.take_along_axis(particles, next_state[..., None], axis=-2)
    below = (target[..., None, :] < particles[..., :, None]).mean(axis=-1)
    return particles + learning_rate * (levels - below)


def operator(
    process: MarkovRewardProcess, levels: ArrayLike, particles: ArrayLike, mixture: ArrayLike = 0.0
) -> Floats:
    """One sweep of quantile dynamic programming: the tau-quantiles of the target, (S, m)  (T12.2).

    Args:
        mixture: lam, one number or one a particle, (S, m): 0 for leftmost quantiles, 1 for rightmost.
    """
    tau = _levels(process, levels)
    z = _particles(process, tau, particles)
    left, right = _quantiles(process, tau, z)
    return left + _mixture(mixture, z) * (right - left)


def residual(process: MarkovRewardProcess, levels: ArrayLike, particles: ArrayLike) -> Floats:
    """How far each particle is from the tau_i-quantiles of its own target, (S, m): the certificate.

    Zero everywhere iff the particles are one of the fixed points z_lam  (T12.2).
    """
    tau = _levels(process, levels)
    z = _particles(process, tau, particles)
    left, right = _quantiles(process, tau, z)
    return np.maximum(np.maximum(left - z, z - right), 0.0)


def fixed_point(process: MarkovRewardProcess, levels: ArrayLike, mixture: ArrayLike = 0.0) -> Floats:
    """z_lam, where dynamic programming ends from every start, (S, m)  (T12.2).

    Raises:
        ValueError: levels do not increase inside (0, 1), or lam lies outside of [0, 1].
        NotConverged: the discount is so near to 1 that 100 000 sweeps are not enough.

    Example: T12.3.

        >>> from bandits.tabular.rewards import discrete
        >>> P, reward = [[0.5, 0.5], [0.25, 0.75]], discrete([0.0, 1.0], [[0.7, 0.3], [0.2, 0.8]])
        >>> fixed_point(MarkovRewardProcess(P, reward, 0.5), midpoints(2)).round(6)
        array([[0.666667, 1.333333],
               [1.333333, 2.      ]])
    """
    tau, g = _levels(process, levels), process.discount
    sweeps = 1 + math.ceil(math.log(ROUNDING) / math.log(g)) if g else 1
    if sweeps > MOST_SWEEPS:
        unsolved = Solution(log_policy=None, residual=np.inf, method="quantile dynamic programming")
        raise NotConverged(f"{sweeps} sweeps are needed at discount {g!r}; choose a smaller one", unsolved)
    z = np.repeat(process.value[:, None], len(tau), axis=1)
    for _ in range(sweeps):
        before, z = z, operator(process, tau, z, mixture)
        if np.array_equal(before, z):
            break
    return z


def fixed_points(process: MarkovRewardProcess, levels: ArrayLike) -> Floats:
    """The corners of the set of all fixed points, z_lam with each lam 0 or 1, (corners, S, m)  (T12.2).

    The first is the least (lam = 0), the last the greatest (lam = 1); all others lie between these two, so
    only particles that differ there can differ at all.  One corner: the fixed point is unique.

    Raises:
        ValueError: more than twelve particles differ; then ask `fixed_point` for the mixtures you want.
    """
    tau = _levels(process, levels)
    least, greatest = fixed_point(process, tau, 0.0), fixed_point(process, tau, 1.0)
    free = np.argwhere(greatest - least > 1e-9 * max(1.0, float(np.abs(greatest).max())))
    if len(free) > MOST_FREE:
        raise ValueError(
            f"levels must leave at most 12 particles undecided, but {len(free)} lie on flat pieces; "
            f"ask fixed_point for the mixtures that you want"
        )
    found = []
    for choice in product((0.0, 1.0), repeat=len(free)):
        mixture = np.zeros_like(least)
        mixture[tuple(free.T)] = choice
        found.append(fixed_point(process, tau, mixture))
    return np.stack(found)


def distance(particles: ArrayLike, other: ArrayLike) -> float:
    """Sup-W_inf: the largest difference of any quantile in any state."""
    z, w = checks.arms(particles, "particles"), checks.arms(other, "other")
    if z.shape != w.shape:
        raise ValueError(f"particles and other must have one shape, but they have {z.shape} and {w.shape}")
    return float(np.abs(np.sort(z, axis=-1) - np.sort(w, axis=-1)).max())


def flow(
    process: MarkovRewardProcess, levels: ArrayLike, times: ArrayLike, start: ArrayLike | None = None
) -> Floats:
    """Particles along dz/dt = expected update, from zero by default, (times, S, m).

    Raises:
        ValueError: the rewards are discrete, where the right-hand side jumps: follow small steps instead.
    """
    tau = _levels(process, levels)
    _with_density(process, "the flow")
    z0 = _start(start, (process.states, len(tau)))
    return motion.integrate(lambda z: tau - _below(process, z), z0, times)


def simulate(
    process: MarkovRewardProcess,
    levels: ArrayLike,
    *,
    steps: ArrayLike,
    learning_rate: float,
    rng: np.random.Generator,
    runs: int = 1,
    start: ArrayLike | None = None,
) -> Floats:
    """Particles of independent runs after each number of `steps`, (records, runs, S, m).

    The start is zero by default; one for all or one for each run, (S, m) or (runs, S, m).
    """
    tau, a = _levels(process, levels), checks.positive(learning_rate, "learning_rate")
    n = checks.count(runs, "runs")
    counts = paths.increasing_counts(steps)
    z, done = np.array(_start(start, (n, process.states, len(tau)))), 0
    seen = process.stream(rng, n)
    records = np.empty((len(counts), *z.shape))
    for record, count in zip(records, counts, strict=True):
        for _ in range(count - done):
            z = step(z, *next(seen), process.discount, tau, a)
        record[:], done = z, count
    return records


def stationary_covariance(process: MarkovRewardProcess, levels: ArrayLike, learning_rate: float) -> Floats:
    """Covariance that constant-step quantile TD settles at, to first order in it, (S, m, S, m)  (T12.5).

    A C + C A' = a Sigma, with -A the derivative of the expected update at the fixed point and Sigma the
    covariance of one update there; a (min(tau_i, tau_j) - tau_i tau_j) / (f_i + f_j) without a next state.

    Raises:
        ValueError: the rewards have no density, or the step is not positive.
    """
    tau, a = _levels(process, levels), checks.positive(learning_rate, "learning_rate")
    _with_density(process, "the covariance")
    z, n = fixed_point(process, tau), process.states * len(tau)
    A = pull(process, z).reshape(n, n)
    C = solve_continuous_lyapunov(A, a * noise(process, z).reshape(n, n))
    return ((C + C.T) / 2).reshape(*z.shape, *z.shape)


def pull(process: MarkovRewardProcess, particles: Floats) -> Floats:
    """Minus the derivative of the expected update in the particles, (S, m, S, m)."""
    reward, x = _with_density(process, "the derivative"), np.arange(process.states)[:, None, None, None]
    weight = _weights(process, particles) * reward.density(_gaps(process, particles), x)
    own = np.einsum("xiyj->xi", weight)
    return _diagonal(own) - process.discount * weight


def noise(process: MarkovRewardProcess, particles: Floats) -> Floats:
    """Covariance of one update of all particles, (S, m, S, m); states see transitions of their own."""
    reward, x = (
        _with_density(process, "the covariance"),
        np.arange(process.states)[:, None, None, None, None, None],
    )
    gap = np.moveaxis(_gaps(process, particles), 2, 1)  # (x, y, i, j)
    both = reward.cdf(np.minimum(gap[..., None, None], gap[:, :, None, None]), x)  # (x, y, i, j, k, l)
    joint = np.einsum("xy,xyijkl->xik", process.transition, both) / particles.shape[1] ** 2
    mean = _below(process, particles)
    inside = joint - mean[:, :, None] * mean[:, None, :]
    return np.einsum("xik,xy->xiyk", inside, np.eye(len(inside)))


def mean_squared_error(process: MarkovRewardProcess, levels: ArrayLike, learning_rate: float) -> Floats:
    """E[(mean of the particles - V)^2] of each state once settled, (S,): bias^2 + variance  (T12.5)."""
    C = stationary_covariance(process, levels, learning_rate)
    bias = fixed_point(process, levels).mean(axis=1) - process.value
    return bias**2 + np.einsum("xixj->x", C) / C.shape[1] ** 2


def _levels(process: MarkovRewardProcess, levels: ArrayLike) -> Floats:
    """Checked quantile levels, (m,), of what must be a process."""
    process_of(process)
    tau = checks.arms(levels, "levels")
    if tau.ndim != 1:
        raise ValueError(f"levels must be one list of numbers, but its shape is {tau.shape}")
    checks.reject_first(
        (tau <= 0) | (tau >= 1), tau, "levels", "inside (0, 1)", "midpoints(m) gives (2i - 1) / 2m"
    )
    late = np.append(False, np.diff(tau) <= 0)
    checks.reject_first(late, tau, "levels", "increasing", "sort them and drop repetitions")
    return tau


def _particles(process: MarkovRewardProcess, tau: Floats, particles: ArrayLike) -> Floats:
    """Checked particles of all states, (S, m)."""
    z, shape = checks.arms(particles, "particles"), (process.states, len(tau))
    if z.shape != shape:
        raise ValueError(f"particles must have shape {shape}, one a state and level, but it is {z.shape}")
    return z


def _start(start: ArrayLike | None, shape: tuple[int, ...]) -> Floats:
    return checks.within(np.zeros(shape) if start is None else checks.floats(start, "start"), shape, "start")


def _mixture(mixture: ArrayLike, z: Floats) -> Floats:
    lam = checks.floats(mixture, "mixture")
    checks.reject_first((lam < 0) | (lam > 1), lam, "mixture", "in [0, 1]", "0 is leftmost, 1 rightmost")
    return checks.within(lam, z.shape, "mixture")


def _with_density(process: MarkovRewardProcess, what: str) -> Continuous:
    """The rewards' law, which must have a density."""
    if isinstance(process.reward, Discrete):
        raise ValueError(f"reward must have a density for {what}, but it is discrete; use normal(), say")
    return process.reward


def _gaps(process: MarkovRewardProcess, z: Floats) -> Floats:
    """z(x, i) - g z(y, j): the reward that brings particle j of y to particle i of x, (S, m, S, m)."""
    return z[:, :, None, None] - process.discount * z


def _weights(process: MarkovRewardProcess, z: Floats) -> Floats:
    """P(x, y) / m: how often particle j of y is the target, broadcast to (S, m, S, m)."""
    return process.transition[:, None, :, None] / z.shape[1]


def _diagonal(a: Floats) -> Floats:
    """(S, m) on the diagonal of (S, m, S, m)."""
    return np.diag(a.ravel()).reshape(*a.shape, *a.shape)


def _below(process: MarkovRewardProcess, z: Floats) -> Floats:
    """P(R(x) + g z(X', J) < z(x, i)), (S, m)."""
    gap, reward = _gaps(process, z), process.reward
    if isinstance(reward, Continuous):
        chance = reward.cdf(gap, np.arange(process.states)[:, None, None, None])
    else:
        smaller = reward.values[:, None, None, None] < gap[..., None]
        chance = (reward.probabilities[:, None, None, None] * smaller).sum(axis=-1)
    return (_weights(process, z) * chance).sum(axis=(2, 3))


def _quantiles(process: MarkovRewardProcess, tau: Floats, z: Floats) -> tuple[Floats, Floats]:
    """Leftmost and rightmost tau-quantiles of the target R(x) + g z(X', J), (S, m) each."""
    if isinstance(process.reward, Continuous):
        root = _roots(process, process.reward, tau, z)
        return root, root
    reward, shape = process.reward, (process.states, -1)
    atoms = (reward.values[:, :, None, None] + process.discount * z).reshape(shape)  # (S, n S m)
    p = reward.probabilities[:, :, None, None] * _weights(process, z)
    mass = np.broadcast_to(p, (*reward.values.shape, *z.shape)).reshape(shape)
    order = np.argsort(atoms, axis=1)
    atoms, total = np.take_along_axis(atoms, order, 1), np.take_along_axis(mass, order, 1).cumsum(axis=1)
    first = (total[:, None, :] >= tau[:, None] - TIE).argmax(axis=-1)  # F >= tau
    after = (total[:, None, :] > tau[:, None] + TIE).argmax(axis=-1)  # F > tau
    return np.take_along_axis(atoms, first, 1), np.take_along_axis(atoms, after, 1)


def _roots(process: MarkovRewardProcess, reward: Continuous, tau: Floats, z: Floats) -> Floats:
    """Where the distribution function of the target, which has a density, meets each level, (S, m).

    A quantile of a mixture lies between those of its parts.
    """
    state = np.broadcast_to(np.arange(process.states)[:, None], z.shape)
    level, ahead = np.broadcast_to(tau, z.shape), process.discount * z
    own = reward.quantile(level, state)
    if ahead.max() == ahead.min():
        return own + ahead.max()

    def excess(point: Floats, state: Integers, level: Floats) -> Floats:
        chance = reward.cdf(point[..., None, None] - ahead, state[..., None, None])
        return np.einsum("...y,...yj->...", process.transition[state], chance) / len(tau) - level

    return find_root(excess, (own + ahead.min(), own + ahead.max()), args=(state, level)).x
