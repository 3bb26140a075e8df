"""The end: where does this algorithm converge on this world with these samples, and how sure is it?

`fixed_point` answers with a `Solution` whose residual is the exact expected update at the answer,
max_y |E[sum_i c_i (e_{y_i} - pi)]|, whichever way the answer was found:

    closed form    the algorithm's own (`closed_form`), where theory has one
    attractors     all ends of off-policy policy gradient (T2.5), the start choosing among them
    the flow       for everything else, a reader's algorithm included: integrate the expected update from
                   the start, polish by Newton's method  (`bandits.search`)

`fixed_points` lists every stable attractor.  Where there is none, `NoFixedPoint` says why, and carries the
limit policy if that is unique.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks, search
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.exact import check_mass, update_at
from bandits.observation import State
from bandits.sampling import Sampling
from bandits.solution import NoFixedPoint, NotConverged, Solution

ACCEPTED = 1e-10  # residual, relative to the size of the coefficients' slope, that certifies a fixed point
SAME = 1e-6  # policies closer than this are one attractor


def fixed_point(algorithm, bandit: Bandit, sampling: Sampling, start: ArrayLike | None = None) -> Solution:
    """Where the expected update leads from `start` (default: the reference), with its certificate.

    Returns a `Solution`: `policy` (..., A), `residual` (...) the largest entry of the expected update there,
    `stable`, `unique` (False: another start may end elsewhere), `method`, `message`; for DRO also
    `value`, for SRPO `revision_log_policy`.

    Raises:
        NoFixedPoint: there is none, e.g. DPO with an unbeaten arm (T5.3); `.solution` holds the limit.
        NotConverged: the flow does not come to rest; `.solution` holds where it stood.
        ValueError: the arguments do not fit together.

    Example:
        >>> from bandits import Bandit, CoPG, Offline
        >>> bandit = Bandit([np.log(3.0), 0.0])
        >>> fixed_point(CoPG(beta=1.0), bandit, Offline([0.9, 0.1])).policy.round(4)  # pi*, whoever sampled
        array([0.75, 0.25])
    """
    log_start = _log_start(bandit, start)
    law = sampling.law(algorithm, bandit, log_start)
    check_mass(law, log_start)
    closed_form = getattr(algorithm, "closed_form", None)
    found = None if closed_form is None else closed_form(bandit, sampling, log_start)
    if found is not None:
        return _certified(algorithm, bandit, sampling, found)
    shape = np.broadcast_shapes(log_start.shape[:-1], law.behavior.shape[:-1], bandit.contexts)
    starts = np.broadcast_to(log_start, (*shape, bandit.arms))
    each = [
        _solve(algorithm, bandit.at(index, shape), sampling.at(index, shape), starts[index])
        for index in np.ndindex(shape)
    ]
    return _gathered(each, shape)


def fixed_points(
    algorithm,
    bandit: Bandit,
    sampling: Sampling,
    start: ArrayLike | None = None,
    *,
    starts: int = 20,
    rng: np.random.Generator | None = None,
) -> list[Solution]:
    """Every stable attractor, one context.

    Complete where theory is: a unique closed form, or T2.5's enumeration for policy gradient with a
    constant baseline.  Otherwise those that the flow reaches from `start`, from near every vertex and from
    `starts` random policies (drawn with `rng`, required unless `starts` is 0).

    Raises:
        NoFixedPoint: there is none.
        ValueError: the world has several contexts, or no generator is given where one is needed.
    """
    if bandit.contexts:
        raise ValueError(
            f"fixed_points takes one context, but the bandit has {bandit.contexts}; use bandit.at(...)"
        )
    log_start = _log_start(bandit, start)
    law = sampling.law(algorithm, bandit, log_start)
    known = _attractors(algorithm, bandit, law, log_start)
    if known is not None:
        return [_certified(algorithm, bandit, sampling, one) for one in known]
    first = fixed_point(algorithm, bandit, sampling, start)
    if first.unique:
        return [first]
    found = [first] if first.stable else []
    for policy in _spread_starts(np.exp(log_start), starts, rng):
        one = fixed_point(algorithm, bandit, sampling, policy)
        if one.stable and all(np.abs(one.policy - other.policy).max() > SAME for other in found):
            found.append(one)
    return found


def _log_start(bandit: Bandit, start: ArrayLike | None) -> Floats:
    if start is None:
        return bandit.log_reference
    log_start = bandit.checked_log_policy(start, "start")
    log_start, log_reference = np.broadcast_arrays(log_start, bandit.log_reference)
    checks.reject_first(
        np.isfinite(log_start) & np.isneginf(log_reference),
        np.exp(log_start),
        "start",
        "zero where the reference is zero",
        "log pi/ref is infinite there: start inside the reference's support",
    )
    return log_start


def _certified(algorithm, bandit: Bandit, sampling: Sampling, found: Solution) -> Solution:
    """The same solution with the exact expected update as its residual."""
    state = State(found.log_policy, found.value, found.revision_log_policy)
    update = update_at(algorithm, bandit, sampling, state)
    return replace(found, residual=np.abs(update).max(axis=-1))


def _attractors(algorithm, bandit: Bandit, law, log_start: Floats) -> list[Solution] | None:
    enumerate_ = getattr(algorithm, "attractors", None)
    known = enumerate_(bandit, law, log_start) if enumerate_ is not None else None
    if known is None:
        return None
    return [
        Solution(
            log_policy=one.log_policy,
            residual=one.residual,
            stable=True,
            unique=len(known) == 1,
            method="enumerated attractors (T2.5)",
        )
        for one in known
    ]


def _solve(algorithm, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution:
    """One context without a closed form."""
    known = None
    if not sampling.on_policy:
        known = _attractors(algorithm, bandit, sampling.law(algorithm, bandit, log_start), log_start)
    if known is not None and len(known) == 1:
        return _certified(algorithm, bandit, sampling, known[0])
    reached = _end_of_flow(algorithm, bandit, sampling, log_start)
    if known is None:
        return reached
    distance = [np.abs(one.policy - reached.policy).max() for one in known]
    return _certified(algorithm, bandit, sampling, known[int(np.argmin(distance))])


def _end_of_flow(algorithm, bandit: Bandit, sampling: Sampling, log_start: Floats) -> Solution:
    """The rest point of the flow on the arms that the start supports."""
    alive = np.flatnonzero(np.isfinite(log_start))

    def log_policy(logits: Floats) -> Floats:
        full = np.full(bandit.arms, -np.inf)
        full[alive] = logits - np.logaddexp.reduce(logits)
        return full

    def field(logits: Floats) -> Floats:
        return update_at(algorithm, bandit, sampling, State(log_policy(logits)))[alive]

    logits = search.follow(field, log_start[alive])
    logits, residual, steps = search.polish(field, logits)
    slope = search.jacobian(field, logits)
    solution = Solution(
        log_policy=log_policy(logits),
        residual=residual,
        stable=search.is_stable(slope),
        method="flow, then Newton",
        iterations=steps,
    )
    if not residual <= ACCEPTED * max(1.0, np.abs(slope).max()):
        raise NotConverged(
            f"{type(algorithm).__name__} does not come to rest from this start: the largest expected update is "
            f"still {residual:.2g}; the logits may diverge (see .solution for where it stood)",
            solution,
        )
    return solution


def _spread_starts(policy: Floats, starts: int, rng: np.random.Generator | None) -> list[Floats]:
    """Policies near every vertex of the start's support, and random ones."""
    if starts and rng is None:
        raise ValueError("rng must be a numpy.random.Generator to draw starts; pass rng=..., or starts=0")
    support = policy > 0
    size = int(support.sum())
    corners = 0.05 / size + 0.95 * np.eye(size)
    random = rng.dirichlet(np.ones(size), starts) if starts and rng is not None else np.empty((0, size))
    full = np.zeros((size + starts, len(policy)))
    full[:, support] = np.concatenate([corners, random])
    return list(full)


def _gathered(each: list[Solution], shape: tuple[int, ...]) -> Solution:
    if not shape:
        return each[0]
    return Solution(
        log_policy=np.stack([one.log_policy for one in each]).reshape(*shape, -1),
        residual=np.reshape([one.residual for one in each], shape),
        stable=np.reshape([bool(one.stable) for one in each], shape),
        unique=_all_known([one.unique for one in each]),
        method=each[0].method,
        iterations=max(one.iterations for one in each),
    )


def _all_known(flags: list[bool | None]) -> bool | None:
    return None if None in flags else all(flags)
