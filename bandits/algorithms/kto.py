"""KTO: where does a loss end that sees one answer at a time, and whether it was liked?

    v = lambda_D sigma(beta (h - z))   of a desirable answer,      h = log pi/ref,
        lambda_U sigma(beta (z - h))   of an undesirable one,      loss = lambda - v        (Eq. 8)

z, the reference point, is KL(pi || ref), not differentiated, or a number that stays.  With q = P(label 1)
and D who sampled, the expected coefficient of an arm is beta w sigma'(beta (h - z)),
w = D (lambda_D q - lambda_U (1 - q)).

Where it ends (T9.4).  Arms with w <= 0 die out, unless all have w < 0.  With beta <= 1, in
t = (pi/ref) e^-z the others rest where

    w sigma'(beta log t) = zeta ref t,     sum ref t = e^-z;     moving z:  sum ref t log t = 0:

each t falls with zeta, so that either condition is one equation for zeta, whatever the number of arms.  For
a number z it has one root, and every start ends there; for the moving one several where the reference is
very uneven.  With beta > 1 every vertex with w > 0 attracts: an arm without mass is not pulled.

Source: Ethayarajh et al. 2024, "KTO: Model Alignment as Prospect Theoretic Optimization", arXiv:2402.01306.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logsumexp

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Array, Samples, Update, log_sigmoid, need
from bandits.sampling.laws import Law
from bandits.sampling.rules import Sampling
from bandits.solution import NoFixedPoint, Solution
from bandits.solvers.rest import graded_rates

DYING = "arms whose labels are not good enough, lambda_D q <= lambda_U (1 - q), lose all their mass"
POINTS = 400  # values of zeta at which the moving reference point's equation is looked at, before its roots
GONE = -700.0  # log t of an arm that has died, at beta = 1
NEWTON = 200  # steps at most; they come from above and never pass the root
METHOD = "one equation for zeta (T9.4)"


@dataclass(frozen=True)
class KTO:
    """Kahneman-Tversky optimisation on single labelled answers.

    Ends for beta <= 1 in the interior of the face of the arms with lambda_D q > lambda_U (1 - q), where
    D (lambda_D q - lambda_U (1 - q)) sigma'(beta (h - z)) / pi is the same for all: no tilt of the reference
    (T9.4).  On its own samples it gathers on an arm.

    Args:
        beta: steepness of the value in log pi/ref; it is no KL's strength, and does not keep arms alive.
        desirable_weight: lambda_D, at least 0.
        undesirable_weight: lambda_U, at least 0.
        reference_point: z, a number that stays; None: KL(pi || ref) over `samples.population`, or
            `samples.value` where a trainer gives its estimate, at least 0.

    Example: at the reference sigma'(0) = 1/4.
        >>> one = Samples(log_prob=np.log([0.5]), reference_log_prob=np.log([0.5]), desirable=np.array([1.0]))
        >>> KTO(beta=0.5, reference_point=0.0).update(one).log_prob
        array([0.125])
    """

    beta: float
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0
    reference_point: float | None = None
    k: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", checks.positive(self.beta, "beta"))
        for name in ("desirable_weight", "undesirable_weight"):
            weight = checks.number(getattr(self, name), name)
            if weight < 0:
                raise ValueError(f"{name} must be 0 or more, but {name} = {weight!r}")
            object.__setattr__(self, name, weight)
        if self.reference_point is not None:
            point = checks.number(self.reference_point, "reference_point")
            object.__setattr__(self, "reference_point", point)

    def update(self, samples: Samples) -> Update:
        """c = beta sigma'(beta (h - z)) (lambda_D q - lambda_U (1 - q)), from Eq. (8)  (T9.4)."""
        u = self._gain(samples)
        slope = array_namespace(u).exp(log_sigmoid(u) + log_sigmoid(-u))
        return Update(log_prob=self.beta * self._worth(need(samples, "desirable")) * slope)

    def loss(self, samples: Samples) -> Array:
        """lambda - v, averaged over the label, z held fixed, Eq. (8), Ethayarajh 2024, (...)."""
        u, q = self._gain(samples), need(samples, "desirable")
        exp = array_namespace(u).exp
        good = self.desirable_weight * q * exp(log_sigmoid(-u))
        return (good + self.undesirable_weight * (1 - q) * exp(log_sigmoid(u))).sum(-1)

    def closed_form(self, bandit: Bandit, sampling: Sampling, log_start: Floats) -> None:
        """None: `attractors` knows the end of each context; where the start decides on an arm, it is told.

        Raises:
            NoFixedPoint: beta > 1 and several arms pay, or beta <= 1 and all arms cost  (T9.4).
        """
        if sampling.on_policy:
            return
        worth = self._worths(bandit, sampling.law(self, bandit, log_start), log_start)
        alive = np.isfinite(log_start)
        if self.beta > 1 and ((worth > 0).sum(-1) > 1).any():
            why = f"beta = {self.beta:g} > 1 leaves arms without mass unpulled"
        elif self.beta <= 1 and ((worth < 0) | ~alive).all(-1).any():
            why = "no label is good enough, lambda_D q < lambda_U (1 - q) for all arms"
        else:
            return
        raise NoFixedPoint(
            f"KTO gathers on an arm, and the start decides on which: {why}; follow it by flow(...)",
            Solution(log_policy=None, residual=np.nan, unique=False, method=METHOD),
        )

    def attractors(self, bandit: Bandit, law: Law, log_start: Floats) -> list[Solution] | None:
        """Every end on a law that stays, one context; None where no arm pays, or beta > 1 and several do."""
        worth = self._worths(bandit, law, log_start)
        lives = worth > 0
        if not lives.any() or (self.beta > 1 and lives.sum() > 1):
            return None
        ends = _ends(worth[lives], bandit.log_reference[lives], self.beta, self.reference_point)
        whole = not (np.isneginf(log_start) & (law.behavior > 0)).any()
        return [self._solution(bandit, worth, lives, *end, len(ends) == 1 and whole) for end in ends]

    def _solution(
        self, bandit: Bandit, worth: Floats, lives: NDArray[np.bool_], log_t: Floats, z: float, only: bool
    ) -> Solution:
        log_policy = np.full(worth.shape, -np.inf)
        log_policy[lives] = log_t + bandit.log_reference[lives]
        log_policy -= logsumexp(log_policy)
        face = np.isfinite(log_policy)
        h, policy = log_t[np.isfinite(log_t)] + z, np.exp(log_policy[face])
        stable = self.reference_point is not None or _attracts(policy, h, z, self.beta)
        dying = (np.isfinite(bandit.log_reference) & ~face).any()
        return Solution(
            log_policy=log_policy,
            residual=_residual(worth[face], policy, h, z, self.beta),
            stable=stable,
            unique=only and stable,
            face=face if dying else None,
            method=METHOD,
            message=DYING if dying else "",
        )

    def _worth(self, q: Array) -> Array:
        """lambda_D q - lambda_U (1 - q)."""
        return self.desirable_weight * q - self.undesirable_weight * (1 - q)

    def _worths(self, bandit: Bandit, law: Law, log_start: Floats) -> Floats:
        """w = D (lambda_D q - lambda_U (1 - q)) of every arm, 0 where the start has no mass, (..., A)."""
        if bandit.desirable is None:
            raise ValueError("KTO needs P(label 1) of every arm, but the Bandit has none; pass desirable=")
        return np.where(np.isfinite(log_start), law.behavior * self._worth(bandit.desirable), 0.0)

    def _gain(self, samples: Samples) -> Array:
        """beta (h - z), (..., k)."""
        if self.reference_point is not None:
            return self.beta * (samples.log_ratio - self.reference_point)
        return self.beta * (samples.log_ratio - _moving_point(samples))


def _moving_point(samples: Samples) -> Array:
    """max(KL(pi || ref), 0), (..., 1): a trainer's estimate, or summed over the population."""
    if samples.value is not None:
        z = samples.value[..., None]
    else:
        everyone = need(samples, "population")
        log_prob, xp = everyone.log_prob, array_namespace(everyone.log_prob)
        policy = xp.exp(log_prob)
        terms = xp.where(policy > 0, policy * everyone.log_ratio, xp.zeros_like(policy))
        z = terms.sum(-1)[..., None]
    return array_namespace(z).where(z > 0, z, 0 * z)


# ---- where it ends: arms with w > 0 alone, (n,), beta <= 1 -------------------------------------------------


def _ends(
    worth: Floats, log_reference: Floats, beta: float, point: float | None
) -> list[tuple[Floats, float]]:
    """log t of every arm and z, at each root of the equation for zeta  (T9.4)."""
    if len(worth) == 1:
        z = -float(log_reference[0]) if point is None else point
        return [(-log_reference - z, z)]
    pay = np.log(worth) - log_reference

    def log_t(log_zeta: float) -> Floats:
        return _log_t(pay - log_zeta, beta)

    if point is None:
        return [
            (log_t(s), -float(logsumexp(log_reference + log_t(s)))) for s in _roots(pay, log_reference, beta)
        ]

    def excess(log_zeta: float) -> float:
        return float(logsumexp(log_reference + log_t(log_zeta))) + point

    low, high = _bracket(excess, float(pay.max()))
    root = brentq(excess, low, high, xtol=1e-15, rtol=1e-15)
    return [(log_t(root), point)]


def _roots(pay: Floats, log_reference: Floats, beta: float) -> list[float]:
    """log zeta wherever sum ref t log t = 0: between where the first t passes 1, and where the last does."""

    def mean(log_zeta: Floats) -> Floats:
        log_t = _log_t(pay - np.asarray(log_zeta)[..., None], beta)
        weight = log_reference + log_t
        share = np.exp(weight - logsumexp(weight, axis=-1, keepdims=True))
        return np.vecdot(share, np.where(share > 0, log_t, 0.0))

    grid = np.linspace(pay.min() - 1e-9, pay.max() + 1e-9, POINTS) - np.log(4.0)
    rises = mean(grid) > 0
    places = np.flatnonzero(rises[:-1] != rises[1:])
    return [float(brentq(mean, grid[i], grid[i + 1], xtol=1e-15, rtol=1e-15)) for i in places]


def _bracket(falling: Callable[[float], float], near: float) -> tuple[float, float]:
    """Two numbers between which a falling function passes zero."""
    step = 1.0
    while falling(near - step) < 0:
        step *= 2
    low, step = near - step, 1.0
    while falling(near + step) > 0:
        step *= 2
    return low, near + step


def _log_t(v: Floats, beta: float) -> Floats:
    """l with (1 - beta) l + 2 log(1 + e^(beta l)) = v, i.e. sigma'(beta l) / e^l = e^-v, beta <= 1.

    The left side is convex, rises, and lies above (1 +- beta) l: Newton's method falls from the nearer line.
    At beta = 1 it stays above 0: arms with v <= 0 are gone.
    """
    with np.errstate(divide="ignore", over="ignore"):
        x = np.maximum(np.where(v > 0, v / (1 + beta), v / (1 - beta) if beta < 1 else GONE), -1e300)
    for _ in range(NEWTON):
        step = ((1 - beta) * x + 2 * np.logaddexp(0, beta * x) - v) / (1 - beta + 2 * beta * expit(beta * x))
        x = np.maximum(x - step, GONE) if beta == 1 else x - step
        if (np.abs(step) <= 1e-15 * (1 + np.abs(x))).all():
            break
    return np.where((beta == 1) & (x <= GONE), -np.inf, x)


def _residual(worth: Floats, policy: Floats, h: Floats, z: float, beta: float) -> float:
    """max |w c - pi sum w c|, c = beta sigma'(beta (h - z)), over the arms that live; dead ones rest."""
    u = beta * (h - z)
    pull = worth * beta * expit(u) * expit(-u)
    return float(np.abs(pull - policy * pull.sum()).max())


def _attracts(policy: Floats, h: Floats, z: float, beta: float) -> bool:
    """Whether the flow comes back, z moving with it: rates of diag(pi) (C diag(s) (I - 1 (pi h)') C - C),
    C = I - 1 pi', s = beta (1 - 2 sigma(beta (h - z))), divided by the common coefficient / pi."""
    s, eye = beta * (1 - 2 * expit(beta * (h - z))), np.eye(len(h))
    C = eye - policy
    slope = C @ (s[:, None] * (eye - policy * h)) @ C - C
    return bool(graded_rates(slope[None], policy[None]).attracts[0])
