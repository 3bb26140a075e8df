"""Where does an algorithm converge on this world with these samples, and how sure is it?

`fixed_point` answers with a `Solution` whose residual is the exact expected update at the answer,
max_y |E[sum_i c_i (e_{y_i} - pi)]|, whichever way the answer was found:

    closed form    the algorithm's own (`closed_form`), where theory has one and it attracts
    attractors     all ends of off-policy policy gradient (T2.5), the start choosing among them
    the flow       for everything else, a reader's algorithm included: many prompts side by side, then
                   Newton's method (`bandits.solvers.rest`), and of each what it did (`.verdicts`)

`fixed_points` lists every stable attractor.  Where there is none, `NoFixedPoint` says why, and carries the
limit policy if that is unique; a motion that does not come to rest is `NotConverged`, with the reason.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from bandits import checks
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.exact import motions_of, update_at
from bandits.policy import log_policy_of, spread
from bandits.problem import MAX_GROUPS, Problem, bind
from bandits.samples import Algorithm
from bandits.sampling.observation import State
from bandits.sampling.rules import Sampling
from bandits.solution import CONTINUUM, NoFixedPoint, NotConverged, Solution, flags_of, gathered, together
from bandits.solvers import rest
from bandits.solvers.motions import Motions
from bandits.solvers.verdicts import ACCEPTED, verdict

CHECKED = 1000  # arms up to which the stability of an answer is computed where theory does not prove it
PROMPTS, POINTS = 256, 2**18  # solved side by side, at most; prompts times arms squared, at most
ABSENT = "arms that start at zero stay there: another start may end elsewhere"
SAME = 1e-6  # policies closer than this are one attractor
MOST_STARTS = 10**6  # of `fixed_points`


def fixed_point(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling,
    start: ArrayLike | None = None,
    *,
    max_groups: int = MAX_GROUPS,
) -> Solution:
    """Where the expected update leads from `start` (default: the reference), with its certificate.

    Returns a `Solution`: `policy` (..., A), `residual` (...) the largest entry of the expected update there,
    `stable`, `unique` (False: another start may end elsewhere), `method`, `message`; for DRO also
    `value`, for SRPO `revision_log_policy`.

    Args:
        max_groups: groups of arms that one sum may visit, as for `expected_update`.

    Raises:
        NoFixedPoint: there is none, e.g. DPO with an unbeaten arm (T5.3); `.solution` holds the limit.
        NotConverged: the flow does not come to rest; `.solution` holds where it stood.
        ValueError: the arguments do not fit together, or `update` mixes the groups of a batch.

    Example:
        >>> from bandits import Bandit, CoPG, Offline
        >>> bandit = Bandit([np.log(3.0), 0.0])
        >>> fixed_point(CoPG(beta=1.0), bandit, Offline([0.9, 0.1])).policy.round(4)  # pi*, whoever sampled
        array([0.75, 0.25])
    """
    problem = bind(algorithm, bandit, sampling, start, max_groups=max_groups)
    known = _by_theory(problem)
    return _named(_by_flow(problem) if known is None else known, bandit)


def _named(found: Solution, bandit: Bandit) -> Solution:
    """The solution with the names of the world's arms."""
    return found if bandit.names is None else replace(found, names=bandit.names)


def _by_theory(problem: Problem) -> Solution | None:
    """The closed form, certified; None where there is none, or where it repels a start elsewhere."""
    closed_form = getattr(problem.algorithm, "closed_form", None)
    found = closed_form and closed_form(problem.bandit, problem.sampling, problem.log_start)
    if found is None and (linear := problem.linear()) is not None:
        found = linear.fixed_point(problem.bandit, problem.log_start)
    if found is None:
        return None
    answer = _with_stability(problem, _certified(problem, found))
    repels = False in np.ravel(np.asarray(answer.stable, dtype=object)).tolist()
    return None if repels and not _starts_at(problem, answer) else answer


def fixed_points(
    algorithm: Algorithm,
    bandit: Bandit,
    sampling: Sampling,
    start: ArrayLike | None = None,
    *,
    starts: int = 20,
    rng: np.random.Generator | None = None,
    max_groups: int = MAX_GROUPS,
) -> list[Solution]:
    """Every stable attractor, one context.

    Complete where theory is: a closed form, or T2.5's enumeration for policy gradient with a constant
    baseline.  Otherwise those that the flow reaches from `start`, from near every vertex and from `starts`
    random policies (drawn with `rng`; by default always the same ones), followed side by side.

    Raises:
        NoFixedPoint: there is none, or no flow came to rest.
        ValueError: there are several contexts, or an argument does not fit.

    Example: a baseline above all rewards locks in on either arm  (T2.5).

        >>> from bandits import Bandit, Offline, PolicyGradient
        >>> world = Bandit([1.0, 0.0])
        >>> ends = fixed_points(PolicyGradient(beta=0.5, baseline=4.0), world, Offline([0.5, 0.5]))
        >>> sorted(end.policy.argmax().item() for end in ends)
        [0, 1]
    """
    starts = checks.count(starts, "starts", least=0, most=MOST_STARTS)
    rng = np.random.default_rng(0) if rng is None else checks.generator(rng)
    problem = bind(algorithm, bandit, sampling, start, max_groups=max_groups)
    if problem.contexts:
        raise ValueError(
            f"fixed_points takes one context, but bandit, sampling and start have {problem.contexts}; "
            f"use bandit.at(...)"
        )
    known = _attractors(problem)
    if known is None and (end := _by_theory(problem)) is not None and end.stable in (True, None):
        known = [end]
    if known is not None:
        return [_named(one, bandit) for one in _isolated(problem, known)]
    many = np.vstack([problem.log_start, log_policy_of(spread(np.exp(problem.log_start), starts, rng))])
    ends = list(_ends(replace(problem, log_start=many, contexts=(len(many),))))
    found = _distinct([one for one in ends if isinstance(one, Solution) and one.stable])
    if not found:
        where = ends[0] if isinstance(ends[0], Solution) else ends[0].solution
        raise NoFixedPoint(f"no flow of {problem.name} came to a stable rest", where)
    return [_named(one, bandit) for one in found]


def _distinct(ends: list[Solution]) -> list[Solution]:
    """Each attractor once."""
    found: list[Solution] = []
    for one in ends:
        if all(np.abs(one.policy - other.policy).max() > SAME for other in found):
            found.append(one)
    return found


def _isolated(problem: Problem, known: list[Solution]) -> list[Solution]:
    """Those that attract.

    Raises:
        NoFixedPoint: none does, as far as is known: all are points of a continuum, say.
    """
    found = [one for one in known if one.stable]
    if not found:
        why = known[0].message or f"stability is computed up to {CHECKED} arms"
        raise NoFixedPoint(f"no end of {problem.name} is known to attract: {why}", known[0])
    return found


def _certified(problem: Problem, found: Solution) -> Solution:
    """The same solution in all contexts, with the exact expected update as its residual.

    Raises:
        NotConverged: the residual is too large.
    """
    log_policy = found.log_policy
    assert log_policy is not None  # closed forms without one raise
    residual = np.asarray(found.residual)
    if found.face is None and not found.at_jump:  # there the algorithm's own residual stands
        residual = np.abs(update_at(problem, State(log_policy, log_ratio=found.log_ratio))).max(axis=-1)
    if not (residual <= ACCEPTED).all() and not (residual <= ACCEPTED * _size(problem, log_policy)).all():
        raise NotConverged(
            f"{problem.name} does not rest where its {found.method} says: the largest "
            f"expected update there is {np.max(residual):.2g}",
            replace(found, residual=residual, stable=None),
        )
    if log_policy.shape[:-1] != problem.contexts:
        log_policy = np.broadcast_to(log_policy, (*problem.contexts, problem.bandit.arms))
    partial = found.unique and found.face is None and _lacks_arms(problem)
    return replace(
        found,
        log_policy=log_policy,
        residual=np.broadcast_to(residual, problem.contexts)[()],
        unique=False if partial else found.unique,
        message="; ".join(filter(None, [found.message, ABSENT if partial else ""])),
    )


def _lacks_arms(problem: Problem) -> bool:
    """Whether an arm of the reference starts at zero."""
    if problem.log_start.min() > -np.inf:
        return False
    return bool((np.isneginf(problem.log_start) & np.isfinite(problem.bandit.log_reference)).any())


def _size(problem: Problem, log_policy: Floats) -> float:
    """Size of the terms of the expected update, at least 1."""
    everywhere = np.broadcast_to(log_policy, (*problem.contexts, problem.bandit.arms))
    return max(1.0, motions_of(problem).size(everywhere.reshape(-1, problem.bandit.arms)))


def _with_stability(problem: Problem, answer: Solution) -> Solution:
    """The answer with `stable` computed where its algorithm does not know it, up to CHECKED arms."""
    known = answer.stable is not None or answer.face is not None or answer.message.startswith("continuum")
    if known or problem.bandit.arms > CHECKED:
        return answer
    shape, log_policy = problem.contexts, answer.log_policy
    assert log_policy is not None  # it is certified
    flags = []
    for rows in _blocks(problem):
        rates = motions_of(problem, rows).rates_at(log_policy.reshape(-1, problem.bandit.arms)[rows])
        flags += flags_of(rates.attracts, rates.repels)
    continuum = None in flags
    return replace(
        answer,
        stable=together(flags, shape),
        unique=False if continuum else answer.unique,
        message="; ".join(filter(None, [CONTINUUM if continuum else "", answer.message])),
    )


def _starts_at(problem: Problem, answer: Solution) -> bool:
    """Whether training starts where the answer is: there it stays."""
    assert answer.log_policy is not None
    moved = np.abs(np.exp(answer.log_policy) - np.exp(problem.log_start))
    return bool(moved.max() <= rest.ROUNDING)


def _attractors(problem: Problem) -> list[Solution] | None:
    """The attractors that the algorithm can enumerate, one context; None if it cannot."""
    enumerate_ = getattr(problem.algorithm, "attractors", None)
    if enumerate_ is None or problem.sampling.on_policy:
        return None
    known = enumerate_(problem.bandit, problem.law(), problem.log_start)
    if known is None:
        return None
    return [_certified(problem, one) for one in known]


def _by_flow(problem: Problem) -> Solution:
    """All contexts, by following the flow.

    Raises:
        NotConverged: the first that does not come to rest.
    """
    found: list[Solution] = []
    with closing(_ends(problem)) as ends:
        for end in ends:
            if isinstance(end, NotConverged):
                raise end
            found.append(end)
    return gathered(found, problem.contexts)


def _ends(problem: Problem) -> Generator[Solution | NotConverged]:
    """Where the flow of each context ends, in C order, or why it does not; in blocks, side by side."""
    total = int(np.prod(problem.contexts))
    name = f"fixed points of {problem.name}"
    with tqdm(total=total, desc=name, unit="prompt", delay=3, leave=False) as bar:
        for rows in _blocks(problem):
            for end in _block(problem, motions_of(problem, rows), rows):
                yield end
                bar.update()


def _blocks(problem: Problem) -> Iterator[NDArray[np.intp]]:
    """Prompts to solve side by side, as indices of the flattened contexts, in bounded memory."""
    size = max(1, min(PROMPTS, POINTS // problem.bandit.arms**2))
    rows = np.arange(int(np.prod(problem.contexts)))
    return (rows[first : first + size] for first in range(0, len(rows), size))


def _block(problem: Problem, motions: Motions, rows: NDArray[np.intp]) -> Iterator[Solution | NotConverged]:
    """The ends of some contexts, in order."""
    known = [_attractors(problem.at(np.unravel_index(row, problem.contexts))) for row in rows]
    open_ = np.array([each is None or (len(each) > 1 and _inside_the_simplex(each)) for each in known])
    some = motions.some(np.flatnonzero(open_)) if open_.any() else motions
    ends = (
        zip(range(open_.sum()), *rest.ends(some, some.start)[:-1], strict=True) if open_.any() else iter(())
    )
    for row, each in enumerate(known):
        if each is not None and len(each) == 1:
            yield each[0]
        elif not open_[row]:
            yield verdict(problem.name, motions.some(np.array([row])), each)
        else:
            i, x, _, *flags = next(ends)
            yield verdict(problem.name, some.some(np.array([i])), each, x, *flags)


def _inside_the_simplex(known: list[Solution]) -> bool:
    """Whether a flow may come to rest: not where every end is on the boundary."""
    return any(one.face is None for one in known)
