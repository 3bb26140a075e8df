"""Where does an algorithm without a KL end?  What all of them answer with: a limit, and the arms that live.

No finite logits rest where an arm dies out, but the policy has a limit; it is an ordinary `Solution`, with
`face` and, as its residual, how far it is from the conditions of such an end (`solvers.gates`,
`solvers.projection`).  Where no arm dies `face` is None, and the residual is the expected update.

On its own samples, without a KL, plain policy gradient gathers on the best arm (T13.7); what favours frequent
arms gathers on some arm, and the start decides on which.

Axes: arms last; leading axes are contexts.
"""

from __future__ import annotations

import numpy as np

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.policy import log_policy_of
from bandits.sampling.laws import Law, Product
from bandits.solution import NoFixedPoint, Solution
from bandits.solvers import gates, projection
from bandits.solvers.gates import Gate

DYING = "arms that are not sampled, no better than the baseline or given up by the clip lose all their mass"
LONELY = "one arm takes everything"
PUSHED = "arms that are pushed less than the others lose all their mass"
ROUNDING = 1e-14  # expected updates below this are none


def answer(
    log_policy: Floats, bandit: Bandit, residual: Floats | float, *, unique: bool, tag: str, message: str
) -> Solution:
    """A limit that attracts, with its face if not all arms of the reference live."""
    face = np.isfinite(log_policy)
    dies = bool(((bandit.reference > 0) & ~face).any())
    return Solution(
        log_policy=log_policy,
        residual=residual if dies else np.nan,
        stable=True,
        unique=unique,
        face=face if dies else None,
        method=f"closed form ({tag})",
        message=message if dies else "",
    )


def best_arm(bandit: Bandit, log_start: Floats) -> Solution | None:
    """Where policy gradient on its own samples gathers without a KL; None where no arm is better  (T13.7).

    Of several best arms the one with the most mass at the start takes everything.
    """
    alive = np.isfinite(log_start)
    score = np.where(alive, bandit.needed_reward(), -np.inf)
    best = score == score.max(axis=-1, keepdims=True)
    if (best == alive).all():
        return None
    favourite = np.where(best, log_start, -np.inf)
    policy = (favourite == favourite.max(axis=-1, keepdims=True)) * 1.0
    policy = policy / policy.sum(axis=-1, keepdims=True)
    policy = np.where((best == alive).all(axis=-1, keepdims=True), np.exp(log_start), policy)
    supported = np.where(bandit.reference > 0, bandit.needed_reward(), -np.inf)
    only = (supported >= score.max(axis=-1, keepdims=True)).sum(axis=-1) == 1
    return answer(log_policy_of(policy), bandit, 0.0, unique=bool(only.all()), tag="T13.7", message=LONELY)


def only_best_arm(bandit: Bandit, log_start: Floats) -> Solution | None:
    """`best_arm` where no other has the same reward; None where several do, and more than mass decides."""
    score = np.where(np.isfinite(log_start), bandit.needed_reward(), -np.inf)
    several = (score == score.max(axis=-1, keepdims=True)).sum(axis=-1) > 1
    return None if several.any() else best_arm(bandit, log_start)


def gated(name: str, mass: Floats, gate: Gate, bandit: Bandit, log_start: Floats) -> Solution | None:
    """The end of weights between two bounds, where no negative mass pushes for ever  (T9.1, T13.10).

    None where nothing moves, where the start decides between policies that all rest, and where some context
    has no positive mass.

    Raises:
        NoFixedPoint: some arms die out and the start decides among the limits.
    """
    if not (mass > 0).any(axis=-1).all() or (gate.low > 0 and (mass < 0).any()):
        return None
    log_policy, only = gates.limit(mass, gate, log_start)
    if only.all():
        residual = gates.miss(log_policy, mass, gate)
        return answer(log_policy, bandit, residual, unique=True, tag="T9.1", message=DYING)
    if not (np.isfinite(log_start) & np.isneginf(log_policy)).any():
        return None
    raise NoFixedPoint(
        f"{name} rests at no finite logits, {DYING}, and the limit depends on the start, which flow(...) "
        f"follows",
        Solution(log_policy=None, residual=np.nan, unique=False, method="closed form (T9.1)"),
    )


def refuse_own_samples(name: str, gain: Floats, gate: Gate, log_start: Floats) -> None:
    """On its own samples what favours frequent arms gathers on some of them.

    Raises:
        NoFixedPoint: unless nothing moves.
    """
    if (gates.miss(log_start, np.exp(log_start) * gain, gate) > ROUNDING).any():
        raise NoFixedPoint(
            f"on its own samples nothing keeps {name} from gathering on a few arms, and the start decides "
            "on which; take Offline(...), or follow it by flow(...)",
            Solution(log_policy=None, residual=np.nan, unique=False, method="closed form (T9.1)"),
        )


def attractors(
    mass: Floats, gate: Gate, bandit: Bandit, log_start: Floats, words: str
) -> list[Solution] | None:
    """Every end with negative masses, one context: of a constant weight, or where no mass is positive.

    None where weights neither stay nor go with pi.

    Args:
        words: of an end on one arm: why.
    """
    alive = np.isfinite(log_start)
    if gate.low == gate.high:
        return _pulled(gate.low * mass, bandit, log_start, words)
    if gate.low > 0 or (mass > 0).any():
        return None
    found = [_only(y, log_start) for y in gates.lonely(mass, gate, alive)]
    misses = [float(gates.miss(one, mass, gate)) for one in found]
    return _lonely(found, misses, bandit, log_start, "T13.10", words)


def _pulled(pull: Floats, bandit: Bandit, log_start: Floats, words: str) -> list[Solution] | None:
    """Every end of a constant pull, one context  (T13.7)."""
    alive, total = np.isfinite(log_start), pull.sum()
    if total <= ROUNDING * np.abs(pull).sum():
        found = [_only(y, log_start) for y in projection.lonely(pull, alive)]
        misses = [projection.miss(np.exp(one), pull) for one in found]
        return _lonely(found, misses, bandit, log_start, "T13.7", words)
    policy = np.where(pull > 0, projection.nearest_policy(pull / total), 0.0)  # a / b sums to one: t >= 0
    residual = projection.miss(policy, pull)
    return [answer(log_policy_of(policy), bandit, residual, unique=True, tag="T13.7", message=PUSHED)]


def _lonely(
    found: list[Floats], misses: list[float], bandit: Bandit, log_start: Floats, tag: str, words: str
) -> list[Solution] | None:
    """Ends on one arm each; None if there is none."""
    only = len(found) == 1 and bool(np.isfinite(log_start)[bandit.reference > 0].all())
    return [
        answer(one, bandit, miss, unique=only, tag=tag, message=f"{words}: {LONELY}")
        for one, miss in zip(found, misses, strict=True)
    ] or None


def _only(arm: int, log_start: Floats) -> Floats:
    return np.where(np.arange(log_start.shape[-1]) == arm, 0.0, -np.inf)


def one_law(law: Law) -> bool:
    """Whether every place of a group has the same law, so that pi/mu is one number for each arm."""
    return isinstance(law, Product) and all(each is law.marginals[0] for each in law.marginals)
