"""Which known algorithm is it nearest to?  By the expected update, over all worlds and laws at once.

Let u be the expected updates of the algorithm in question, at policies where nothing cancels, world after
world, each world's scaled to length one; and v those of a known algorithm, scaled by the same numbers.  The
factor s that brings s v nearest to u, and the distance |u - s v| / |u| that is left, say how they are akin:

    equal           no distance, s = 1
    proportional    no distance, any s, negative if it goes the other way
    near            the shortest distance that a positive factor leaves

An expectation is all that decides where an algorithm ends; two kin may differ in their noise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from bandits import algorithms as known
from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.exact import expected_update
from bandits.samples import Algorithm
from bandits.sampling.rules import Sampling
from bandits.verdict.claims import Bare, probes
from bandits.verdict.worlds import MOST_GROUPS, Trial

EXACT = 1e-8  # a distance below this is rounding
INFERRED = 1e-5  # the same where beta itself was inferred from an end
UNLIT = 1e-300  # updates so small are none


class Kin(NamedTuple):
    """The nearest known algorithm."""

    name: str | None  # None: no known algorithm looks at what these worlds show
    agreement: str | None  # "equal", "proportional" or "near"
    scale: float | None  # the update is this many times the known one's
    distance: float | None  # |u - s v| / |u|, 0 to 1
    equals: tuple[str, ...] = ()  # other known algorithms that are equal to it as well


def relatives(beta: float, k: int) -> dict[str, Algorithm]:
    """Known algorithms by name, those with few choices first."""
    group = max(k, 2)
    plain: dict[str, Algorithm] = {
        "CoPG": known.CoPG(beta, k=group),
        "DPO": known.DPO(beta),
        "IPO": known.IPO(beta),
        "PolicyGradient": known.PolicyGradient(beta),
        "RLOO": known.RLOO(beta, k=group),
        "ReMax": known.ReMax(beta),
        "GRPO": known.GRPO(beta, k=group),
        "PPO": known.PPO(beta),
        "NashMD": known.NashMD(beta),
        "SRPO": known.SRPO(beta),
        "DRO": known.DRO(beta),
        "DROV": known.DROV(beta),
        "PsiPO": known.PsiPO(beta),
        **_without_kl(group),
        "PMDMean": known.PMDMean(beta, k=group),
        "OAPL": known.OAPL(beta, k=group),
        "KTO": known.KTO(beta),
        "SimPO": known.SimPO(beta),
        "ORPO": known.ORPO(),
        "SPPO": known.SPPO(beta),
        "XPO": known.XPO(beta),
        "REBEL": known.REBEL(beta),
        "ChiPO": known.ChiPO(beta),
        "QRPO": known.QRPO(beta),
        "QRPO(reference_value)": known.QRPO(beta, value=known.reference_value),
        "DrGRPO": known.DrGRPO(beta, k=group),
        "DAPO": known.DAPO(beta, k=group),
        "GSPO": known.GSPO(beta, k=group),
        "MaxRL": known.MaxRL(beta, k=group),
        "ImportanceWeighted": known.ImportanceWeighted(known.PolicyGradient(beta)),
    }
    return plain | _losses_of_pairs(beta) | _with_settings(beta, group)


def _losses_of_pairs(beta: float) -> dict[str, Algorithm]:
    """Those of labelled pairs that came after DPO and IPO."""
    return {
        "ConvexLoss": known.ConvexLoss(beta),
        "RobustDPO": known.RobustDPO(beta),
        "SLiC": known.SLiC(beta),
        "CalDPO": known.CalDPO(beta),
        "EXO": known.EXO(beta),
        "NCA": known.NCA(beta),
    }


def _with_settings(beta: float, group: int) -> dict[str, Algorithm]:
    """Those whose settings make another algorithm of them."""
    return {
        "PMDMean(leave_one_out)": known.PMDMean(beta, k=group, leave_one_out=True),
        "ConvexLoss(squared)": known.ConvexLoss(beta, known.squared),
        "ConvexLoss(exponential)": known.ConvexLoss(beta, known.exponential),
        "GRPO(clip=inf)": known.GRPO(beta, k=group, clip=np.inf),
        "PolicyGradient(policy_value)": known.PolicyGradient(beta, known.policy_value),
        "PolicyGradient(policy_reward)": known.PolicyGradient(beta, known.policy_reward),
        "PolicyGradient(behavior_value)": known.PolicyGradient(beta, known.behavior_value),
        "WithKLLoss": known.WithKLLoss(known.RLOO(beta, k=group)),
        "WithKLLoss(k3)": known.WithKLLoss(known.RLOO(beta, k=group), known.k3),
    }


def _without_kl(group: int) -> dict[str, Algorithm]:
    """Those that end without a KL."""
    return {
        "ALoL": known.ALoL(),
        "BestOfN": known.BestOfN(k=group),
        "AsymRE": known.AsymRE(),
        "TOPR": known.TOPR(),
        "CISPO": known.CISPO(k=group),
        "GOLD": known.GOLD(),
        "RLoL": known.RLoL(),
    }


def kin_of(
    algorithm: Algorithm, trials: list[Trial], beta: float | None, inferred: bool, *, others: bool = False
) -> Kin:
    """The nearest known algorithm over all trials; a known one is its own, and goes before its equals.

    Args:
        others: only those of another class are asked: whom does a known one resemble in these trials?
    """
    found = every_kin(algorithm, trials, beta, inferred, others=others)
    if not found:
        return Kin(None, None, None, None)
    nearest = min(found, key=_rank)
    equals = tuple(str(kin.name) for kin in found if kin is not nearest and kin.agreement == "equal")
    return nearest._replace(equals=equals if nearest.agreement == "equal" else ())


def every_kin(
    algorithm: Algorithm, trials: list[Trial], beta: float | None, inferred: bool, *, others: bool = False
) -> list[Kin]:
    """How each known algorithm that can look at these worlds is akin to this one, its own class first."""
    found = _updates(algorithm, trials, _update)
    if found is None or not any(np.abs(u).max() > UNLIT for u in found):
        return []
    lengths = [np.linalg.norm(u) or 1.0 for u in found]
    mine = np.concatenate([u.ravel() / size for u, size in zip(found, lengths, strict=True)])
    own, kin = type(algorithm).__name__, []
    candidates = relatives(1.0 if beta is None else beta, algorithm.k)
    if type(algorithm) in known.ALGORITHMS:
        candidates[own] = algorithm
    if others:
        candidates = {name: one for name, one in candidates.items() if type(one) is not type(algorithm)}
    for name in sorted(candidates, key=lambda each: each.partition("(")[0] != own):
        one = candidates[name]
        theirs = _updates(one, trials, _update if one is algorithm else _KEPT)
        if theirs is not None:
            flat = np.concatenate([v.ravel() / size for v, size in zip(theirs, lengths, strict=True)])
            kin.append(_akin(name, mine, flat, INFERRED if inferred else EXACT))
    return kin


def _updates(algorithm: Algorithm, trials: list[Trial], update: Callable[..., Floats]) -> list[Floats] | None:
    """Expected updates at the probes of each trial, (count, A) each; None if it cannot run in one of them."""
    try:
        return [update(algorithm, one.bandit, one.sampling) for one in trials]
    except ValueError:  # its group size, or a field that this world does not have
        return None


def _update(algorithm: Algorithm, bandit: Bandit, sampling: Sampling) -> Floats:
    return expected_update(Bare(algorithm), bandit, sampling, probes(bandit), max_groups=MOST_GROUPS)


_KEPT = lru_cache(maxsize=2**10)(_update)  # each algorithm of a comparison meets the same known ones again


def _akin(name: str, mine: Floats, theirs: Floats, rounding: float) -> Kin:
    size = theirs @ theirs
    scale = float(mine @ theirs / size) if size > UNLIT else 0.0
    distance = float(np.linalg.norm(mine - scale * theirs) / np.linalg.norm(mine))
    if distance > rounding:
        scale = max(scale, 0.0)
        distance = float(np.linalg.norm(mine - scale * theirs) / np.linalg.norm(mine))
        return Kin(name, "near", scale, distance)
    return Kin(name, "equal" if abs(scale - 1) <= rounding else "proportional", scale, distance)


def _rank(kin: Kin) -> tuple[int, float]:
    """Equal before proportional before near, and among the near the shorter distance."""
    if kin.agreement is None or kin.distance is None:
        return 3, 0.0
    place = ("equal", "proportional", "near").index(kin.agreement)
    return place, kin.distance if kin.agreement == "near" else 0.0
