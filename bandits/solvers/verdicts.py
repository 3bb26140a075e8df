"""What is said of the end of one prompt's motion?  A `Solution`, or the `NotConverged` that says why not.

A rest point is an answer if the expected update there is rounding: ACCEPTED, relative to the update's own
size where that exceeds 1.  What does not come to an isolated rest soon is followed with care
(`bandits.solvers.endings`) and told by what it does.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bandits.checks import Floats
from bandits.solution import CONTINUUM, NotConverged, Solution
from bandits.solvers import rest
from bandits.solvers.endings import TOLERANCE, Ending, ending
from bandits.solvers.motions import Motions

ACCEPTED = 1e-10  # residual that certifies a fixed point
COARSE = 1e-5  # local error of a flow, in logits, that is to tell which of the known ends it leads to
CREPT = 1e-3  # a flow that has come so near to a limit on the boundary, where nothing ever rests, ends there
CIRCLING = "the flow was still circling when it was left; this is the stable point in the middle"
UNDECIDED = "the flow was still on its way when it was left; this is the attractor nearest to where it stood"


def verdict(
    name: str,
    motions: Motions,
    known: list[Solution] | None,
    x: Floats | None = None,
    rested: bool = False,
    attracts: bool = False,
    repels: bool = False,
) -> Solution | NotConverged:
    """Of the only prompt of `motions`, which `rest.ends` brought to x, (A,); or None, if that is not known.

    Args:
        name: the algorithm's, for messages.
        known: all ends that there are, where theory lists them.
    """
    try:
        if x is None or not (rested and (attracts or repels)):
            return _alone(name, motions, known)
        if known is not None:
            return _nearest(known, np.exp(motions.log_policy(x[None])[0]), rested=True)
        return _accepted(name, motions, x[None], bool(attracts), "")
    except NotConverged as error:
        return error


def _alone(name: str, motions: Motions, known: list[Solution] | None) -> Solution:
    """One context whose flow does not come to an isolated rest soon, followed with care."""
    alive = motions.alive[0]
    tolerance = TOLERANCE if known is None else COARSE
    told = ending(motions.field, motions.start[0][alive], tolerance, motions.quantities)
    x = motions.start.copy()
    x[0][alive] = told.x
    if known is not None:
        return _nearest(known, np.exp(motions.log_policy(x)[0]), rested=told.reason == "rests")
    if told.reason == "rests" or told.inward:
        centre = x.copy()
        if told.inward:
            centre[0][alive] = np.mean(np.asarray(told.cycle), axis=0)
        polished = rest.rest_at(motions, centre, rest.NEAR if not told.inward else np.inf)
        if told.inward and polished.rested[0] and polished.attracts[0]:
            return _accepted(name, motions, polished.x, True, CIRCLING)
        if told.reason == "rests":
            if polished.rested[0] and (polished.attracts[0] or polished.repels[0]):
                return _accepted(name, motions, polished.x, bool(polished.attracts[0]), "")
            better = polished.rested[0] and motions.velocity(x).any()
            return _accepted(name, motions, polished.x if better else x, None, CONTINUUM)
    raise _not_converged(name, motions, x, told)


def _nearest(known: list[Solution], policy: Floats, rested: bool) -> Solution:
    """The attractor nearest to where the flow stood."""
    nearest = min(known, key=lambda one: np.abs(one.policy - policy).max())
    at_boundary = nearest.face is not None and np.abs(nearest.policy - policy).max() < CREPT
    return nearest if rested or at_boundary else replace(nearest, message=UNDECIDED)


def _accepted(name: str, motions: Motions, x: Floats, stable: bool | None, message: str) -> Solution:
    """The rest point x, (1, A), of one context.

    Raises:
        NotConverged: its residual is too large.
    """
    log_policy, residual = motions.log_policy(x)[0], float(np.abs(motions.velocity(x)).max())
    solution = Solution(
        log_policy=log_policy,
        log_ratio=motions.log_ratio(x)[0],
        residual=residual,
        stable=stable,
        unique=None if message != CONTINUUM else False,
        method="flow, then Newton",
        message=message,
    )
    if residual > ACCEPTED and residual > ACCEPTED * motions.size(log_policy):
        raise NotConverged(
            f"{name} comes to no rest: the largest expected update is {residual:.2g}", solution
        )
    return solution


def _not_converged(name: str, motions: Motions, x: Floats, told: Ending) -> NotConverged:
    """What is raised where one context does not come to rest."""
    log_policy, residual = motions.log_policy(x)[0], float(np.abs(motions.velocity(x)).max())
    places = np.flatnonzero(motions.alive[0])
    cycle = None
    if told.cycle is not None:
        full = np.zeros((len(told.cycle), 1, motions.alive.shape[-1]))
        full[:, 0, places] = told.cycle
        cycle = np.exp(motions.log_policy(full)[:, 0])
    arms = None if told.coordinates is None else places[told.coordinates]
    what = {
        "runs away": f"the logits diverge, for ever: the arms {arms} lose their mass",
        "slides": f"it slides on a jump of the update, with the arms {arms} at it, and rests nowhere",
        "circles": f"it goes round in circles, one round in a time of {told.period or 0:.6g}",
        "unfinished": "it was still on its way when it was left",
    }[told.reason]
    return NotConverged(
        f"{name} does not come to rest from this start: {what}; where it stood (.solution), the "
        f"largest expected update is {residual:.2g}{_hint(motions)}",
        Solution(log_policy=log_policy, residual=residual, method="flow"),
        told.reason,
        arms=arms,
        period=told.period,
        cycle=cycle,
    )


def _hint(motions: Motions) -> str:
    """What to try, if the opposite motion comes to rest."""
    opposite = rest.ends(replace(motions, sign=-1.0), motions.start)
    if not (opposite.rested & opposite.attracts).all():
        return ""
    return (
        "; with the opposite sign it would come to rest: are the coefficients of `update` ascent directions?"
    )
