"""Where does every start end?  One batch of flows for each (world, law), and a verdict in bounded time.

theory       the algorithm's own closed form, where its `update` bears it out and every start ends there
the batch    else starts at the reference, near every vertex and uniformly on the simplex are integrated
             side by side (`bandits.solvers.rest`): where they rest are the attractors, and the share of
             the uniform starts is the size of a basin
no rest      where the reference's own flow finds none: held at a jump of the update it slides, which
             small steps tell that cross it to and fro; else it is followed alone, to tell whether it
             runs away or goes round in circles (`bandits.solvers.endings`)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bandits.checks import Floats
from bandits.exact import expected_update, motions_of
from bandits.fixed_point import fixed_point
from bandits.policy import spread
from bandits.problem import Problem, bind
from bandits.samples import Algorithm
from bandits.solution import NoFixedPoint, NotConverged, Solution
from bandits.solvers import rest
from bandits.solvers.endings import FAR, Ending, ending
from bandits.solvers.motions import Motions
from bandits.verdict.claims import believable
from bandits.verdict.worlds import MOST_GROUPS, Trial

STARTS = 24  # uniform on the simplex: they measure the basins
VERTICES = 8  # arms up to which a flow starts near every vertex as well
SAME = 1e-6  # policies closer than this are one attractor
NEAR = 0.02  # a flow that creeps towards a known attractor, and is so near, belongs to it
TOLERANCE = 1e-5  # local error of a flow that is followed alone, in logits
STEP, STEPS, ROUNDS = 0.01, 400, 5  # of a logit at the speed of the start; so many, twice as long each round
FINER = 3  # times shorter steps cross a jump all the same; an unstable step does not
JUMP, OFTEN = 0.2, 3  # change of the velocity in one step, relative to it, and how many make a habit
EVALUATIONS = 6_000  # of a flow that is followed alone
HELD = 0.1  # a mean velocity so much below the velocities themselves: they point to and fro
STILL = 1e-9  # a speed so much below that at the start is rounding
AROUND = "continuum: other policies around rest as well"
UNTRUE = "its claims (linear, closed_form, ...) contradict its update, which is what is judged here"


class Attractor(NamedTuple):
    """A policy where flows end, and the share of the uniform starts that end there."""

    policy: Floats  # (A,)
    share: float


class End(NamedTuple):
    """What became of the flow from the reference, and of the other starts."""

    reason: str  # "rests", "runs away", "circles", "slides", "unfinished"
    policy: Floats | None  # (A,)  where it rests, or where it stood
    unique: bool = False
    attractors: tuple[Attractor, ...] = ()
    face: bool = False  # a limit on the boundary that theory knows
    at_jump: bool = False  # it rests where the update jumps, and is zero on no side
    words: str = ""  # what else a reader should know


def end_of(algorithm: Algorithm, trial: Trial) -> End:
    """Where an algorithm ends in one world under one law."""
    believed = believable(algorithm, trial.bandit, trial.sampling)
    words = "" if believed is algorithm else UNTRUE
    found = _by_theory(believed, trial)
    if found is None:
        found = _by_flows(believed, trial)
    return found._replace(words="; ".join(filter(None, [words, found.words])))


def end_near(algorithm: Algorithm, trial: Trial, policy: Floats) -> End:
    """The end beside which a flow from the reference has come to stand, at once; no other start is looked at.

    "unfinished" where there is none that attracts; `end_of` then tells what the flow does.
    """
    found = _by_theory(algorithm, trial)
    if found is not None:
        return found
    problem = bind(algorithm, trial.bandit, trial.sampling, max_groups=MOST_GROUPS)
    motions = motions_of(problem)
    there = motions.coordinates(np.log(np.maximum(policy, np.finfo(float).tiny))[None])
    polished = rest.rest_at(motions, there, rest.NEAR)
    settled = polished.rested & polished.attracts
    policies = np.where(settled[:, None], np.exp(motions.log_policy(polished.x)), policy)
    attractors, which = gathered(policies, settled, _enumerated(problem))
    return End("unfinished", policy) if which[0] < 0 else End("rests", attractors[which[0]].policy)


def residual(algorithm: Algorithm, trial: Trial, policy: Floats) -> float | None:
    """Largest entry of the expected update; None on the boundary, where log pi/ref is infinite."""
    if (policy[trial.bandit.reference > 0] == 0).any():
        return None
    update = expected_update(algorithm, trial.bandit, trial.sampling, policy, max_groups=MOST_GROUPS)
    return float(np.abs(update).max())


def _by_theory(algorithm: Algorithm, trial: Trial) -> End | None:
    """The end, where the algorithm itself knows that it is the only one, or a continuum."""
    problem = bind(algorithm, trial.bandit, trial.sampling)
    try:
        if not _knows(problem):
            return None
        found = fixed_point(algorithm, trial.bandit, trial.sampling, max_groups=MOST_GROUPS)
    except (NoFixedPoint, NotConverged):
        return None
    if found.unique:
        only = (Attractor(found.policy, 1.0),)
        return End("rests", found.policy, True, only, found.face is not None, found.at_jump, found.message)
    is_continuum = found.stable is None and found.message.startswith("continuum")
    return End("rests", found.policy, words=found.message) if is_continuum else None


def _knows(problem: Problem) -> bool:
    """Whether a closed form answers here that does not repel."""
    algorithm = problem.algorithm
    closed_form = getattr(algorithm, "closed_form", None)
    found = None if closed_form is None else closed_form(problem.bandit, problem.sampling, problem.log_start)
    if found is not None:
        return found.stable is None or bool(np.all(found.stable))
    return problem.linear() is not None or len(_enumerated(problem)) == 1


def _enumerated(problem: Problem) -> list[Solution]:
    """Attractors that the algorithm can list on a law that stays."""
    attractors = getattr(problem.algorithm, "attractors", None)
    if attractors is None or problem.sampling.on_policy:
        return []
    return [one for one in attractors(problem.bandit, problem.law(), problem.log_start) or [] if one.stable]


def _by_flows(algorithm: Algorithm, trial: Trial) -> End:
    """Many starts side by side, the reference's own first."""
    bandit = trial.bandit
    near = spread(bandit.reference, STARTS, np.random.default_rng(0))
    starts = np.vstack([bandit.reference, near if bandit.arms <= VERTICES else near[-STARTS:]])
    motions = motions_of(bind(algorithm, bandit, trial.sampling, starts, max_groups=MOST_GROUPS))
    found = rest.ends(motions, motions.start)
    policies = np.exp(motions.log_policy(found.x))
    known = _enumerated(bind(algorithm, bandit, trial.sampling))
    attractors, which = gathered(policies, found.rested & found.attracts, known)
    if which[0] >= 0:
        end = End("rests", attractors[which[0]].policy)
        if known:
            end = end._replace(face=any(one.face is not None and _same(one, end.policy) for one in known))
    else:
        end = _alone(motions.some(np.array([0])), found.x[:1])
        attractors += [one for one in end.attractors if not any(_near(one, other) for other in attractors)]
    lost = float((which[-STARTS:] < 0).mean())
    words = f"{lost:.0%} of the starts come to no isolated rest" if lost and end.reason == "rests" else ""
    return end._replace(
        attractors=tuple(attractors),
        unique=len(attractors) == 1 and bool((which == 0).all()),
        words="; ".join(filter(None, [end.words, words])),
    )


def gathered(
    policies: Floats, settled: NDArray[np.bool_], known: Sequence[Solution | Attractor]
) -> tuple[list[Attractor], NDArray[np.intp]]:
    """The attractors with their shares, and which of them each start ends at; -1: none."""
    places = [one.policy for one in known]
    which = np.full(len(policies), -1)
    for i, policy in enumerate(policies):
        reach = SAME if settled[i] else NEAR  # those that creep towards the boundary are not there yet
        near = [j for j, place in enumerate(places) if np.abs(place - policy).max() < reach]
        if not near and settled[i]:
            places.append(policy)
            near = [len(places) - 1]
        which[i] = near[0] if near else -1
    shares = [float((which[-STARTS:] == j).mean()) for j in range(len(places))]
    return [Attractor(place, share) for place, share in zip(places, shares, strict=True)], which


def _near(one: Attractor, other: Attractor) -> bool:
    return bool(np.abs(one.policy - other.policy).max() < SAME)


def _same(one: Solution, policy: Floats | None) -> bool:
    return policy is not None and bool(np.abs(one.policy - policy).max() < SAME)


def _alone(motions: Motions, x: Floats) -> End:
    """One flow that came to no isolated rest, from where it stood, (1, A).

    So far apart that nothing moves in double precision, it is asked again from its start how it came there.
    """
    x = x if np.ptp(x[0, motions.alive[0]]) < FAR else motions.start
    near = rest.rest_at(motions, x, rest.NEAR)
    resting = bool(near.rested[0])
    if resting and near.repels[0]:
        return End("rests", _policy(motions, near.x), words="a rest that repels")
    slid = None if resting else _slid(motions, x)
    if slid is not None:
        return slid
    x = motions.start if resting else x  # a continuum, or arms that die: how it came there will tell
    alive, field = motions.alive[0], _Counted(motions)
    try:
        told = ending(field, x[0, alive], TOLERANCE)
    except _TooLong:
        told = Ending("unfinished", field.last)
    if resting and told.reason != "runs away":
        return End("rests", _policy(motions, near.x), words=AROUND)
    full = x.copy()
    full[0, alive] = told.x
    if told.inward and told.cycle is not None:
        full[0, alive] = told.cycle.mean(axis=0)
        centre = rest.rest_at(motions, full, np.inf)
        if centre.rested[0] and centre.attracts[0]:
            policy = _policy(motions, centre.x)
            return End("rests", policy, words="the flow winds into it very slowly")
    places = np.flatnonzero(alive)
    words = {
        "rests": AROUND,
        "runs away": f"arms {_listed(places, told.coordinates)} lose their mass, for ever",
        "slides": f"held at a jump of the update, with arms {_listed(places, told.coordinates)} at it",
        "circles": f"one round takes a time of {told.period or 0:.4g}",
        "unfinished": "it was still on its way when it was left",
    }[told.reason]
    return End(told.reason, _policy(motions, full), words=words)


class _TooLong(Exception):
    """A flow took more evaluations than a verdict can wait for."""


class _Counted:
    """The velocity of the only flow, for so many points and no more."""

    def __init__(self, motions: Motions) -> None:
        self.motions, self.left = motions, EVALUATIONS
        self.last: Floats = np.empty(0)

    def __call__(self, h: Floats) -> Floats:
        self.left, self.last = self.left - 1, h.reshape(-1, h.shape[-1])[-1]
        if self.left < 0:
            raise _TooLong
        return self.motions.field(h)


def _slid(motions: Motions, x: Floats) -> End | None:
    """What small steps tell of a flow that meets a jump of the update; None where they meet none."""
    fastest, fast = (np.abs(motions.velocity(each)).max() for each in (motions.start, x))
    if fast <= STILL * fastest:  # it creeps: no jump holds it
        return None
    eta = STEP / max(fastest, fast)
    for turn in range(ROUNDS):
        path, speeds = _small_steps(motions, x, eta * 2**turn, STEPS)
        x = path[-1:]
        if np.abs(speeds[-1]).max() <= STILL * fastest:
            words = "it slides along a jump of the update, then rests; other policies around rest as well"
            return End("rests", _policy(motions, x), words=words)
        late = speeds[STEPS // 2 :]
        if _jumps(speeds) < OFTEN:
            return _released(motions, x) if turn else None
        if np.abs(late.mean(axis=0)).max() <= HELD * np.abs(late).mean(axis=0).max():
            break
    if not _crosses(motions, x, eta / FINER):
        return None
    spread_ = late.std(axis=0)
    arms = _listed(np.arange(len(spread_)), np.flatnonzero(spread_ > spread_.max() / 2))
    middle = path[STEPS // 2 :].mean(axis=0)[None]
    return End("slides", _policy(motions, middle), words=f"at a jump of the update, with arms {arms} at it")


def _released(motions: Motions, x: Floats) -> End | None:
    """Where a flow comes to rest that has left a jump behind."""
    found = rest.ends(motions, x)
    if not (found.rested[0] and found.attracts[0]):
        return None
    policy = _policy(motions, found.x)
    return End(
        "rests", policy, attractors=(Attractor(policy, 0.0),), words="on the way it slides along a jump"
    )


def _small_steps(motions: Motions, x: Floats, eta: float, count: int) -> tuple[Floats, Floats]:
    """Points and velocities of explicit steps of the only flow, each (count, A)."""
    path, speeds = np.empty((2, count, x.shape[-1]))
    for i in range(count):
        path[i], speeds[i] = x[0], motions.velocity(x)[0]
        x = x + eta * speeds[i]
    return path, speeds


def _crosses(motions: Motions, x: Floats, eta: float) -> bool:
    """Whether steps of this length meet a jump as well."""
    for _ in range(ROUNDS):
        path, speeds = _small_steps(motions, x, eta, STEPS)
        if _jumps(speeds):
            return True
        x = path[-1:]
    return False


def _jumps(speeds: Floats) -> int:
    """How often the velocity jumps from one step to the next."""
    changes = np.abs(np.diff(speeds, axis=0)).max(axis=-1)
    return int((changes > JUMP * np.abs(speeds).max()).sum())


def _policy(motions: Motions, x: Floats) -> Floats:
    return np.exp(motions.log_policy(x)[0])


def _listed(places: NDArray[np.intp], some: NDArray[np.intp] | None) -> str:
    return ", ".join(str(places[i]) for i in ([] if some is None else some))
