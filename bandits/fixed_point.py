"""Where does an algorithm converge on this world with these samples, and how sure is it?

`fixed_point` answers with a `Solution` whose residual is the exact expected update at the answer,
max_y |E[sum_i c_i (e_{y_i} - pi)]|, whichever way the answer was found:

    closed form    the algorithm's own (`closed_form`), where theory has one
    attractors     all ends of off-policy policy gradient (T2.5), the start choosing among them
    the flow       for everything else, a reader's algorithm included: integrate the expected update from
                   the start, polish by Newton's method  (`bandits.solvers.rest`)

`fixed_points` lists every stable attractor.  Where there is none, `NoFixedPoint` says why, and carries the
limit policy if that is unique.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.exact import update_at
from bandits.policy import normalised
from bandits.problem import Problem, bind
from bandits.samples import Algorithm
from bandits.sampling.observation import State
from bandits.sampling.rules import Sampling
from bandits.solution import NoFixedPoint, NotConverged, Solution
from bandits.solvers import rest

ACCEPTED = 1e-10  # residual that certifies a fixed point; relative to the update's size where that exceeds 1
DRIFT = 0.1  # a flow that would move a logit so far if one waited as long again has not come to rest
CIRCLING = "the flow was still circling when it was left; this is the stable point in the middle"
UNDECIDED = "the flow was still on its way when it was left; this is the attractor nearest to where it stood"
SAME = 1e-6  # policies closer than this are one attractor
MOST_STARTS = 10**6  # of `fixed_points`


def fixed_point(
    algorithm: Algorithm, bandit: Bandit, sampling: Sampling, start: ArrayLike | None = None
) -> Solution:
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
    problem = bind(algorithm, bandit, sampling, start)
    closed_form = getattr(algorithm, "closed_form", None)
    found = None if closed_form is None else closed_form(bandit, problem.sampling, problem.log_start)
    if found is None and (linear := problem.linear()) is not None:
        found = linear.fixed_point(bandit, problem.log_start)
    if found is not None:
        return _certified(problem, found)
    return _gathered([_solve(one) for one in problem.each()], problem.contexts)


def fixed_points(
    algorithm: Algorithm,
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
    `starts` random policies (drawn with `rng`; by default always the same ones).

    Raises:
        NoFixedPoint: there is none, or no flow came to rest.
        ValueError: there are several contexts, or an argument does not fit.
    """
    starts = checks.count(starts, "starts", least=0, most=MOST_STARTS)
    rng = np.random.default_rng(0) if rng is None else checks.generator(rng)
    problem = bind(algorithm, bandit, sampling, start)
    if problem.contexts:
        raise ValueError(
            f"fixed_points takes one context, but bandit, sampling and start have {problem.contexts}; "
            f"use bandit.at(...)"
        )
    known = _attractors(problem)
    if known is not None:
        return known
    found: list[Solution] = []
    try:
        first = fixed_point(algorithm, bandit, sampling, start)
        if first.unique:
            return [first]
        found += [first] if first.stable else []
    except NotConverged as error:
        first = error.solution
    for one in _ends(algorithm, bandit, sampling, _spread_starts(np.exp(problem.log_start), starts, rng)):
        if one.stable and all(np.abs(one.policy - other.policy).max() > SAME for other in found):
            found.append(one)
    if not found:
        raise NoFixedPoint(f"no flow of {type(algorithm).__name__} came to a stable rest", first)
    return found


def _certified(problem: Problem, found: Solution) -> Solution:
    """The same solution in all contexts, with the exact expected update as its residual.

    Raises:
        NotConverged: the residual is too large.
    """
    log_policy = found.log_policy
    assert log_policy is not None  # closed forms without one raise
    state = State(log_policy, log_ratio=found.log_ratio)
    residual = np.abs(update_at(problem, state)).max(axis=-1)
    if not (residual <= ACCEPTED).all():
        at_reference = np.abs(update_at(problem, State(problem.bandit.log_reference)))
        if not (residual <= ACCEPTED * max(1.0, at_reference.max())).all():
            raise NotConverged(
                f"{problem.name} does not rest where its {found.method} says: the largest "
                f"expected update there is {np.max(residual):.2g}",
                replace(found, residual=residual),
            )
    if log_policy.shape[:-1] != problem.contexts:
        log_policy = np.broadcast_to(log_policy, (*problem.contexts, problem.bandit.arms))
    return replace(found, log_policy=log_policy, residual=np.broadcast_to(residual, problem.contexts)[()])


def _attractors(problem: Problem) -> list[Solution] | None:
    """The attractors that the algorithm can enumerate, one context; None if it cannot."""
    enumerate_ = getattr(problem.algorithm, "attractors", None)
    if enumerate_ is None or problem.sampling.on_policy:
        return None
    known = enumerate_(problem.bandit, problem.law(), problem.log_start)
    if known is None:
        return None
    return [
        _certified(
            problem,
            Solution(
                log_policy=one.log_policy,
                residual=one.residual,
                stable=True,
                unique=len(known) == 1,
                method="enumerated attractors (T2.5)",
            ),
        )
        for one in known
    ]


def _solve(problem: Problem) -> Solution:
    """One context without a closed form."""
    known = _attractors(problem)
    if known is not None and len(known) == 1:
        return known[0]
    motion = _Motion(problem)
    if known is None:
        return motion.end()
    reached, rested = motion.reached()
    nearest = min(known, key=lambda one: np.abs(one.policy - reached).max())
    return nearest if rested else replace(nearest, message=UNDECIDED)


class _Motion:
    """The flow of one context on the arms that the start supports; a point is h = log pi/ref + a constant."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.log_reference = problem, problem.bandit.log_reference
        self.alive = np.isfinite(problem.log_start)
        self.start = (problem.log_start - np.where(self.alive, self.log_reference, 0.0))[self.alive]

    def state(self, h: Floats) -> State:
        """Where training stands, for a batch of coordinates (..., n)."""
        full = np.full((*h.shape[:-1], len(self.alive)), -np.inf)
        full[..., self.alive] = h
        return State(normalised(self.log_reference + full), log_ratio=full)

    def velocity(self, h: Floats) -> Floats:
        """The expected update, (..., n)."""
        return update_at(self.problem, self.state(h))[..., self.alive]

    def weight(self, h: Floats) -> Floats:
        """Probability of being sampled, plus that of the policy: the size of an arm's terms, (..., n)."""
        log_policy = self.state(h).log_policy
        return (self.problem.law(log_policy).behavior + np.exp(log_policy))[..., self.alive]

    def reached(self) -> tuple[Floats, bool]:
        """The policy where the flow stops, (A,), and whether it rests there."""
        h, _, rested = rest.journey(
            self.velocity, lambda x: rest.batched_jacobian(self.velocity, x), self.start
        )
        return np.exp(self.state(h).log_policy), rested

    def end(self) -> Solution:
        """The rest point that the start leads to.

        Raises:
            NotConverged: there is none within the horizon.
        """
        found = rest.rest(self.velocity, self.weight, self.start)
        state = self.state(found.logits)
        solution = Solution(
            log_policy=state.log_policy,
            log_ratio=state.log_ratio,
            residual=found.residual,
            stable=found.stable,
            method="flow, then Newton",
            iterations=found.steps,
            message="" if found.rested else CIRCLING,
        )
        arrived = found.last_step <= rest.ARRIVED and found.drift <= DRIFT
        arrived = arrived and (found.rested or found.stable)
        if not (arrived and found.residual <= ACCEPTED * max(1.0, np.abs(found.slope).max())):
            raise NotConverged(
                f"{self.problem.name} does not come to rest from this start: the logits diverge, "
                f"or they go round in circles; where they stood (.solution), the largest expected update "
                f"is {found.residual:.2g}",
                solution,
            )
        return solution


def _ends(
    algorithm: Algorithm, bandit: Bandit, sampling: Sampling, starts: list[Floats]
) -> Iterator[Solution]:
    """Where the flows end that do come to rest."""
    for policy in starts:
        try:
            yield fixed_point(algorithm, bandit, sampling, policy)
        except NotConverged:
            continue


def _spread_starts(policy: Floats, starts: int, rng: np.random.Generator) -> list[Floats]:
    """Policies near every vertex of the start's support, and random ones."""
    support = policy > 0
    size = int(support.sum())
    corners = 0.05 / size + 0.95 * np.eye(size)
    random = rng.dirichlet(np.ones(size), starts)
    full = np.zeros((size + starts, len(policy)))
    full[:, support] = np.concatenate([corners, random])
    return list(full)


def _gathered(each: list[Solution], shape: tuple[int, ...]) -> Solution:
    """The solutions of all contexts as one."""
    if not shape:
        return each[0]

    def together(values: list) -> Floats | None:
        return None if any(v is None for v in values) else np.stack(values).reshape(*shape, -1)

    return Solution(
        log_policy=together([one.log_policy for one in each]),
        log_ratio=together([one.log_ratio for one in each]),
        residual=np.reshape([one.residual for one in each], shape),
        stable=np.reshape([bool(one.stable) for one in each], shape),
        unique=_all_known([one.unique for one in each]),
        method="; ".join(dict.fromkeys(one.method for one in each)),
        iterations=max(one.iterations for one in each),
        message="; ".join(dict.fromkeys(one.message for one in each if one.message)),
    )


def _all_known(flags: list[bool | None]) -> bool | None:
    return None if None in flags else all(flags)
