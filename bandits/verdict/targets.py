"""Which target is that?  The names of ends, and the beta that fits them.

    optimum         pi* = ref exp(r / beta) / Z  (T1.1)
    equilibrium     ref exp(p(y beats pi) / beta) / Z  (T6.1)
    reference       ref
    behavior tilt   mu exp(r / beta) / Z: the KL is charged to whoever sampled
    best-of-n       F^n - F-^n, F the reference's distribution function in the order of the rewards  (T9.2)
    face, vertex    a limit on the boundary that theory knows: several arms live, or one
    other           somewhere else at rest; the note says what it is if it has a name
    none: ...       it runs away, circles or slides, or was left under way

Where the sampling graph is not connected, all that samples can settle are the ratios within a component
(T3.3): a policy that is the optimum within each of them counts as the optimum, and the note says so.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from bandits.checks import Floats
from bandits.policy import tilt
from bandits.samples import Algorithm
from bandits.sampling.laws import Law
from bandits.selection.best import log_best_of_n
from bandits.solution import NotConverged
from bandits.verdict.ends import End
from bandits.verdict.worlds import Trial

CLOSE = 1e-6  # policies closer than this are the same target
MOST = 16  # n of best-of-n
LOW, HIGH = 1e-4, 1e4  # betas that are believed


def end_name(algorithm: Algorithm, trial: Trial, end: End, beta: float | None) -> tuple[str, str]:
    """The name of an end, and what else is to be said of it."""
    if end.reason not in ("rests", "unfinished"):
        return f"none: {end.reason}", end.words
    if end.reason == "unfinished" or end.policy is None:
        return "other", end.words
    if end.face:
        alive = int((end.policy > 0).sum())
        return ("vertex" if alive == 1 else "face"), end.words
    law = trial.sampling.law(algorithm, trial.bandit, np.log(trial.bandit.reference))
    parts = components(law, trial.bandit.arms) if not trial.sampling.on_policy else None
    for name, log_target in _targets(trial, law, beta):
        if _differ(end.policy, log_target) < CLOSE:
            return name, end.words
        if parts is not None and name in ("optimum", "equilibrium") and _same_within(end, log_target, parts):
            words = f"within each of the {len(np.unique(parts))} parts that samples connect"
            return name, "; ".join(filter(None, [words, end.words]))
    return "other", "; ".join(filter(None, [end.words, _known_otherwise(trial, law, end.policy, beta)]))


def components(law: Law, arms: int) -> NDArray[np.intp] | None:
    """The part of the sampling graph that each arm belongs to, (A,); None if all belong to one.

    Single samples are compared with the baseline, and so with each other.
    """
    parts = np.where(law.behavior > 0, -1, np.arange(arms)) if law.k == 1 else law.components(arms)
    return None if len(np.unique(parts)) == 1 else parts


def _targets(trial: Trial, law: Law, beta: float | None) -> Iterator[tuple[str, Floats]]:
    """Names and log-policies, the most likely first."""
    world = trial.bandit
    with np.errstate(divide="ignore"):
        log_behavior = np.log(law.behavior)
    if beta is not None and world.reward is not None:
        yield "optimum", world.log_optimal_policy(beta)
    if beta is not None:
        try:
            yield "equilibrium", np.log(world.nash_policy(beta))
        except NotConverged:  # no name is missed by much: beta is far too small for this world
            pass
    yield "reference", world.log_reference
    if world.reward is not None and not trial.sampling.on_policy:
        if beta is not None:
            yield "behavior tilt", tilt(log_behavior, world.reward, beta)
    if world.reward is not None:
        for n in range(2, MOST + 1):
            yield "best-of-n", log_best_of_n(world.reward, world.reference, n)


def _differ(policy: Floats, log_target: Floats) -> float:
    return float(np.abs(policy - np.exp(log_target)).max())


def _same_within(end: End, log_target: Floats, parts: NDArray[np.intp]) -> bool:
    """Whether the policy is proportional to the target within each part, and some part has two arms."""
    assert end.policy is not None
    sizes = np.unique(parts, return_counts=True)[1]
    target = np.exp(log_target)
    for part in np.unique(parts):
        own, goal = end.policy[parts == part], target[parts == part]
        if own.sum() == 0 or goal.sum() == 0:
            continue
        if np.abs(own / own.sum() - goal / goal.sum()).max() >= CLOSE:
            return False
    return bool(sizes.max() > 1)


def _known_otherwise(trial: Trial, law: Law, policy: Floats, beta: float | None) -> str:
    """Other names of an end, in words."""
    world = trial.bandit
    if np.abs(policy - law.behavior).max() < CLOSE:
        return "the behaviour policy itself"
    if world.reward is not None and not trial.sampling.on_policy:
        for n in range(2, MOST + 1):
            if _differ(policy, log_best_of_n(world.reward, law.behavior, n)) < CLOSE:
                return f"the best of {n} samples of the behaviour policy (T9.2)"
    if beta is not None and not trial.sampling.on_policy and law.k == 2:
        ranking = tilt(world.log_reference, law.ranking(world), beta)
        if _differ(policy, ranking) < CLOSE:
            return "the least-squares ranking of the pairs (T4.3)"
    fitted = fitted_beta(trial, policy)
    if fitted is not None and world.reward is not None:
        if _differ(policy, world.log_optimal_policy(fitted)) < CLOSE:
            return f"the optimum of another beta, {fitted:.6g}"
    return ""


def fitted_beta(trial: Trial, policy: Floats) -> float | None:
    """The beta for which a policy is nearest to the optimum, or else to the equilibrium; None: none does."""
    world = trial.bandit
    alive = (policy > 1e-12) & (world.reference > 0)
    if alive.sum() < 2:
        return None
    h = np.log(policy[alive]) - world.log_reference[alive]
    scores = [] if world.reward is None else [world.reward[alive]]
    scores.append(world.preference_over(policy / policy.sum())[alive])
    fits = []
    for score in scores:
        x, y = score - score.mean(), h - h.mean()
        slope = float(x @ y / (x @ x)) if (x @ x) > 0 else 0.0
        if slope > 0 and LOW < 1 / slope < HIGH:
            fit = log_softmax(world.log_reference[alive] + slope * score)
            own = policy[alive] / policy[alive].sum()
            fits.append((float(np.abs(np.exp(fit) - own).max()), 1 / slope))
    return min(fits)[1] if fits else None


def inferred_beta(trials: list[Trial], ends: list[End]) -> float | None:
    """The beta that fits most ends: the median of those that fit each of them exactly, else of all fits."""
    exact, rough = [], []
    for trial, end in zip(trials, ends, strict=True):
        if end.reason != "rests" or end.policy is None or end.face:
            continue
        beta = fitted_beta(trial, end.policy)
        if beta is None:
            continue
        rough.append(beta)
        world = trial.bandit
        goals = [] if world.reward is None else [world.log_optimal_policy(beta)]
        goals.append(tilt(world.log_reference, world.preference_over(end.policy / end.policy.sum()), beta))
        if min(_differ(end.policy, goal) for goal in goals) < CLOSE:
            exact.append(beta)
    betas = exact or rough
    return float(np.median(betas)) if betas else None
