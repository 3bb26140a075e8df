"""Where does training the table lead, and how fast?  Any algorithm's expected update, seen by the logits.

    d theta / dt = G(theta) = E[ sum_i sum_t c_it grad log pi(y_it | y_i<t) ],

over all groups of k answers.  A whole-answer algorithm has c_it = c_i: then G = J' g, with J the Jacobian of
the answers' log-probabilities and g the expected update over free answers (`bandits.exact`).  Where every
prefix has its own row J has full rank and both have the same ends; rows that are shared, masks that leave
tokens out, and coefficients that differ between tokens have ends of their own  (T10.1).

Axes: logits (R, V); times first.  Each row moves at mean zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import block_diag, helmert
from scipy.special import log_softmax

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.problem import Problem, bind
from bandits.samples import Algorithm, TokenAlgorithm, TokenUpdate
from bandits.sampling.laws import Law
from bandits.sampling.rules import Sampling
from bandits.sequences.observation import TokenView, view
from bandits.sequences.table import TokenTable
from bandits.solution import NotConverged, Solution
from bandits.solvers import paths, rest
from bandits.solvers.endings import ending
from bandits.solvers.rest import Rates

DEAD = 1e-6  # probability of a token that is running away
NEUTRAL = 1e-8  # of the largest rate: slower is standing still
TINY = np.finfo(float).tiny
BLOCK = 2**12  # groups that are held at a time, over all tables


class TableFit(NamedTuple):
    """Where training a table ends, with its certificate.

    Example: `table_fixed_point` makes it.

        >>> from bandits import CoPG, Offline
        >>> table = TokenTable(np.log([0.75, 0.25]), length=2, end=1)
        >>> world, mu = table.bandit([0.0, 0.0, 0.0]), Offline([0.5, 0.25, 0.25])
        >>> fit = table_fixed_point(CoPG(beta=1.0), table, world, mu)
        >>> fit.policy.round(4)  # no reward: the reference, (3/4)^2, 3/4 1/4 and 1/4
        array([0.5625, 0.1875, 0.25  ])
    """

    logits: Floats  # (R, V)
    policy: Floats  # (A,)  of whole answers
    residual: float  # largest entry of G there
    stable: bool | None  # does the motion come back when pushed?  None: some direction is neutral
    rates: NDArray[np.complex128]  # eigenvalues of -dG/dtheta on rows of mean zero, slowest first


def table_update(
    algorithm: Algorithm | TokenAlgorithm,
    table: TokenTable,
    bandit: Bandit,
    sampling: Sampling,
    logits: ArrayLike | None = None,
    *,
    mask: ArrayLike | None = None,
) -> Floats:
    """Expected ascent direction on the table's logits, G, (R, V)  (T10.1).

    Args:
        algorithm: any, token-wise (its `update` returns a `TokenUpdate`) or of whole answers.
        bandit: the world, `table.bandit(reward)`.
        logits: where training stands, (R, V); by default the reference's.
        mask: tokens that training sees, (A, T); by default all, `table.mask`.

    Raises:
        ValueError: the arguments do not fit together, as in `expected_update`.

    Example: log-odds of one binary token under CoPG: the bandit's update.

        >>> from bandits import CoPG, Offline
        >>> table = TokenTable([0.0, 0.0], length=1)
        >>> table_update(CoPG(beta=1.0), table, table.bandit([1.0, 0.0]), Offline([0.5, 0.5]))
        array([[ 0.5, -0.5]])
    """
    motion = _motion(algorithm, table, bandit, sampling, mask)
    return motion.update(table.checked(logits))


def table_flow(
    algorithm: Algorithm | TokenAlgorithm,
    table: TokenTable,
    bandit: Bandit,
    sampling: Sampling,
    times: ArrayLike,
    start: ArrayLike | None = None,
    *,
    mask: ArrayLike | None = None,
) -> Floats:
    """Logits of gradient flow on the table at each time, (times, R, V); `table.log_prob` reads them.

    Raises:
        ValueError: as `table_update`, or times do not increase from 0.
        NotConverged: the solver failed.

    Example: it starts at the table, and comes to `table_fixed_point`.

        >>> from bandits import CoPG, Offline
        >>> table = TokenTable(np.log([0.75, 0.25]), length=2, end=1)
        >>> world, mu = table.bandit([1.0, 0.5, 0.0]), Offline([0.5, 0.25, 0.25])
        >>> path = np.exp(table.log_prob(table_flow(CoPG(beta=1.0), table, world, mu, [0.0, 200.0])))
        >>> np.abs(path - [world.reference, world.optimal_policy(beta=1.0)]).max() < 1e-8
        np.True_
    """
    times, theta = paths.increasing(times, "times"), table.checked(start)
    motion = _motion(algorithm, table, bandit, sampling, mask)

    def log_policy(x: Floats) -> Floats:
        return table.log_prob(motion.whole(x))

    found = paths.trajectory(
        motion.field, theta[motion.moving], times, paths.TOLERANCE, log_policy, motion.quantities
    )
    return motion.whole(found)


def table_fixed_point(
    algorithm: Algorithm | TokenAlgorithm,
    table: TokenTable,
    bandit: Bandit,
    sampling: Sampling,
    start: ArrayLike | None = None,
    *,
    mask: ArrayLike | None = None,
) -> TableFit:
    """Where an algorithm takes the table from `start`, (R, V), by default the reference's logits  (T10.1).

    The flow is followed to near its rest and polished by Newton's method, as `fixed_point` does over free
    answers.

    Raises:
        NotConverged: it does not come to rest; `.solution` holds where it stood, and `.reason` is "runs away"
            where tokens lose their mass, "slides" where a clip holds it fast between two velocities (seconds
            on the smallest tables, minutes on those of dozens of rows).
        ValueError: as `table_update`.

    Example: a row for every prefix can represent pi*, and CoPG finds it.

        >>> from bandits import CoPG, Offline
        >>> table = TokenTable(np.log([0.75, 0.25]), length=2, end=1)
        >>> world = table.bandit([1.0, 0.5, 0.0])
        >>> fit = table_fixed_point(CoPG(beta=1.0), table, world, Offline([0.5, 0.25, 0.25]))
        >>> bool(np.allclose(fit.policy, world.optimal_policy(beta=1.0), atol=1e-12)), fit.stable
        (True, True)
    """
    motion, theta = _motion(algorithm, table, bandit, sampling, mask), table.checked(start)
    free = np.isfinite(theta)
    found = rest.ends(motion, np.where(free, theta, 0.0).reshape(1, -1))
    logits = np.where(free, found.x[0].reshape(theta.shape), -np.inf)
    residual = float(np.abs(motion.update(logits)).max())
    if not found.rested[0]:
        raise motion.restless(logits, residual)
    rates = motion.rates(found.x, found.slope)
    stable = True if rates.attracts[0] else False if rates.repels[0] else None
    order = np.argsort(rates.rate[0].real)
    return TableFit(logits, np.exp(table.log_prob(logits)), residual, stable, rates.rate[0][order])


def _motion(
    algorithm: Algorithm | TokenAlgorithm,
    table: TokenTable,
    bandit: Bandit,
    sampling: Sampling,
    mask: ArrayLike | None,
) -> _Motion:
    seen = view(table, bandit, mask)
    return _Motion(bind(cast(Algorithm, algorithm), bandit, sampling), seen)


@dataclass(frozen=True, eq=False)
class _Motion:
    """The motion of the logits, flat and as one problem, (..., 1, R V), for `bandits.solvers.rest`."""

    problem: Problem
    view: TokenView

    def update(self, logits: Floats) -> Floats:
        """G at each of many tables, (..., R, V)."""
        table = self.view.table
        return table.pulled_back(self._coefficients(logits) * self.view.mask, logits)

    def _coefficients(self, logits: Floats) -> Floats:
        """E[sum_i c_it 1{y_i = y}] of each token of each answer, (..., A, T)."""
        tokens = self.view.table.token_log_prob(logits)
        law, total, answers = self.problem.law(tokens.sum(-1)), np.zeros(tokens.shape), tokens.shape[-2]
        for arms, weight in law.tuples(max(1, BLOCK // int(np.prod(logits.shape[:-2])))):
            c = np.where(weight[..., None, None] > 0, self._of_groups(law, tokens, arms), 0.0)
            weighted = weight[..., None, None] * c
            whose = np.arange(answers)[:, None] == arms.ravel()
            total = total + whose @ weighted.reshape(*weighted.shape[:-3], -1, tokens.shape[-1])
        return total

    def _of_groups(self, law: Law, tokens: Floats, arms: NDArray[np.intp]) -> Floats:
        """c_it of groups (n, k), (..., n, k, T): a whole answer's coefficient is that of all its tokens.

        Raises:
            ValueError: `update` returns something else, or numbers that are not finite.
        """
        samples = self.view.samples(law, tokens, arms)
        with np.errstate(all="ignore"):
            update = self.problem.algorithm.update(samples)
        if isinstance(update, TokenUpdate):
            c = np.asarray(update.token_log_prob, dtype=float)
        else:
            c = np.asarray(update.log_prob, dtype=float)[..., None] * samples.mask
        if c.shape[-3:] != samples.mask.shape or not np.isfinite(c).all():
            raise ValueError(
                f"{self.problem.name}.update must return finite coefficients, (n, k) or of tokens (n, k, T), "
                f"here {samples.mask.shape}, but its shape is {c.shape}, finite: {np.isfinite(c).all()}"
            )
        return c

    def velocity(self, x: Floats) -> Floats:
        """G of points (..., 1, R V)."""
        return self.update(self._logits(x)).reshape(x.shape)

    def relative(self, x: Floats) -> Floats:
        """G over the weight, (..., 1, R V)."""
        logits = self._logits(x)
        return (self.update(logits) / np.maximum(self.weight(logits), TINY)).reshape(x.shape)

    def weight(self, logits: Floats) -> Floats:
        """How often each entry is sampled, by the sampler or the policy, (..., R, V)."""
        table = self.view.table
        log_policy = table.log_prob(logits)
        often = (self.problem.law(log_policy).behavior + np.exp(log_policy))[..., None] * table.mask
        return (often.reshape(*often.shape[:-2], -1) @ table.entries).reshape(logits.shape)

    def rates(self, x: Floats, slope: Floats) -> Rates:
        """Eigenvalues of -dG/dtheta on rows of mean zero, from slope = d relative / d theta at rest."""
        logits = self._logits(x)
        moving = np.isfinite(logits)
        plain = self.weight(logits).ravel()[:, None] * slope[0]
        basis = block_diag(*(helmert(count).T for count in moving.sum(axis=1)))  # rows of mean zero
        here = np.ix_(moving.ravel(), moving.ravel())
        rate = -np.linalg.eigvals(basis.T @ plain[here] @ basis)[None]
        slowest = np.abs(rate).min(axis=-1, initial=np.inf)
        return Rates(rate, slowest <= NEUTRAL * np.abs(rate).max(axis=-1, initial=0.0))

    def some(self, rows: NDArray[np.intp]) -> _Motion:
        """There is only one."""
        return self

    @property
    def moving(self) -> NDArray[np.bool_]:
        """The entries that the reference says, (R, V)."""
        return np.isfinite(self.view.table.logits)

    def whole(self, x: Floats) -> Floats:
        """Logits (..., R, V) from those that move, (..., n)."""
        logits = np.full((*x.shape[:-1], *self.moving.shape), -np.inf)
        logits[..., self.moving] = x
        return logits

    def field(self, x: Floats) -> Floats:
        """G of the logits that move, (..., n)."""
        return self.update(self.whole(x))[..., self.moving]

    def quantities(self, x: Floats) -> tuple[Floats, Floats]:
        """log pi(token | prefix) of the entries that move, (n,), and its gradients e - pi, (n, n)."""
        log_policy, (row, _) = log_softmax(self.whole(x), axis=-1)[self.moving], np.nonzero(self.moving)
        return log_policy, np.eye(len(x)) - (row[:, None] == row) * np.exp(log_policy)

    def restless(self, logits: Floats, residual: float) -> NotConverged:
        """Why it does not rest: tokens that run away in a prefix that is met, a clip, or something else."""
        table = self.view.table
        probability, met = np.exp(log_softmax(logits, axis=-1)), self.weight(logits)
        dying = (probability < DEAD) & np.isfinite(table.logits) & (met.sum(-1, keepdims=True) > DEAD)
        stood, name = (
            self.solution(logits, residual),
            f"{self.problem.name} does not come to rest through the table",
        )
        if not dying.any():
            return self._held(logits) or NotConverged(
                f"{name}: the largest update is still {residual:.2g}; .solution holds where", stood
            )
        row, token = (int(i) for i in np.argwhere(dying)[0])
        lost = np.flatnonzero(stood.policy < DEAD)
        return NotConverged(
            f"{name}: logits run away, and tokens lose their mass, first token {token} in row {row}; "
            f".solution holds the limit as far as it was followed",
            stood,
            "runs away",
            arms=lost,
        )

    def _held(self, logits: Floats) -> NotConverged | None:
        """That it ends on a jump of the update, where both sides push; None: it does not."""
        end = ending(self.field, logits[self.moving], quantities=self.quantities)
        if end.reason != "slides" or end.coordinates is None:
            return None
        row, token = (int(i) for i in np.argwhere(self.moving)[end.coordinates[0]])
        logits = self.whole(end.x)
        return NotConverged(
            f"{self.problem.name} slides through the table: a jump of its update holds token {token} "
            f"in row {row} between two velocities (a clip does), zero on neither side; .solution holds where",
            self.solution(logits, float(np.abs(self.update(logits)).max())),
            "slides",
        )

    def solution(self, logits: Floats, residual: float) -> Solution:
        """Where it stood, for messages."""
        return Solution(
            log_policy=self.view.table.log_prob(logits), residual=residual, method="flow, then Newton"
        )

    def _logits(self, x: Floats) -> Floats:
        """Points (..., 1, R V) as logits (..., R, V); tokens that the reference never says stay out."""
        kept = self.view.table.logits
        return np.where(np.isfinite(kept), x.reshape(*x.shape[:-2], *kept.shape), -np.inf)
