"""How does it get there?  The speed at the end, and what becomes of arms and pairs on the way.

rate, step    the slowest rate at the end, and the largest step at which descent stays there (T3.4)
coverage      lambda_2 of the Laplacian of the law's sampling graph: how well samples connect the arms
unseen arms   where an arm is never sampled, does its logit stay, fall or rise?
both fall     can both log-probabilities of a compared pair fall, and through whom?
loss          is minus its derivative the coefficient?
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.dynamics.linear import extreme_eigenvalues, laplacian_matrix
from bandits.dynamics.rates import linear_rates, stable_step
from bandits.exact import completed, expected_update, motions_of
from bandits.problem import bind
from bandits.samples import Algorithm, Samples
from bandits.sampling.coefficients import steps_of
from bandits.sampling.observation import State, samples_of
from bandits.sampling.rules import Offline, OnPolicy, Sampling
from bandits.verdict.claims import Bare, believable, probes
from bandits.verdict.worlds import MOST_GROUPS, Trial, skewed

ROUNDING = 1e-10  # relative change that is none
SHIFT = 1e-5  # of a log-probability, for differences of the loss
SLOPE = 1e-6  # relative error of such a difference
TESTED = 500  # groups at which a loss is differentiated


def speeds(algorithm: Algorithm, trial: Trial, policy: Floats) -> tuple[float | None, float | None]:
    """Slowest rate and largest stable step at an interior end; None where arms have died out."""
    if (policy[trial.bandit.reference > 0] == 0).any():
        return None, None
    believed = believable(algorithm, trial.bandit, trial.sampling)
    problem = bind(believed, trial.bandit, trial.sampling, policy, max_groups=MOST_GROUPS)
    linear = problem.linear()
    if linear is not None:
        rates = np.asarray(linear_rates(linear, problem))
        return float(rates.min()), float(stable_step(rates))
    found = motions_of(problem).rates_at(problem.log_start[None])
    slowest = 0.0 if found.neutral[0] else float(found.rate.real.min(initial=np.inf))
    step = stable_step(found.rate[0])
    return slowest, step if np.isfinite(step) else None


def coverage(algorithm: Algorithm, trial: Trial) -> float:
    """lambda_2 of the sampling graph's Laplacian over the mean of its eigenvalues, at the reference, 0 to 1.

    0: not all arms are connected; 1: every two arms are compared equally often.  Single samples count as
    pairs of two of them.
    """
    law = trial.sampling.law(Bare(algorithm), trial.bandit, trial.bandit.log_reference)
    law = law.resampled() if law.k == 1 else law
    alive = trial.bandit.reference > 0
    total = float(np.trace(laplacian_matrix(law, trial.bandit.arms)))
    others = int(alive.sum()) - 1
    return extreme_eigenvalues(law, alive)[0] * others / total if others > 0 and total > 0 else 0.0


def unseen_arms(algorithm: Algorithm, worlds: list[Bandit]) -> str:
    """What happens to arms that nobody samples, in words."""
    if getattr(algorithm, "needs_on_policy", False):
        return "none: it samples every arm itself"
    signs = set()
    for world in (each for each in worlds if (each.reference > 0).sum() > 1):
        behavior, arm = skewed(world).copy(), int(np.flatnonzero(world.reference > 0)[-1])
        behavior[arm] = 0.0
        law = Offline(behavior / behavior.sum())
        g = expected_update(Bare(algorithm), world, law, probes(world), max_groups=MOST_GROUPS)
        pull = np.where(np.abs(g[:, arm]) > ROUNDING * np.abs(g).max(axis=-1), g[:, arm], 0.0)
        signs |= set(np.sign(pull).tolist())
    if not signs - {0.0}:
        return "their logits stay where they are"
    words = [word for sign, word in ((-1.0, "fall"), (1.0, "rise"), (0.0, "stay")) if sign in signs]
    return f"their logits {' or '.join(words)}, as the other arms are pushed"


def both_fall(algorithm: Algorithm, worlds: list[Bandit]) -> str:
    """Whether both log-probabilities of a sampled pair can fall, in words."""
    through_others = False
    for world in worlds:
        rule = _rule(algorithm, world)
        for policy in probes(world):
            if algorithm.k > 1 and _own_step_lowers_two(algorithm, world, rule, policy):
                return "yes, by a step on that very pair"
            g = expected_update(Bare(algorithm), world, rule, policy, max_groups=MOST_GROUPS)
            change = g - policy @ g
            through_others |= int((change < -ROUNDING * np.abs(change).max()).sum()) > 1
    return "yes, through steps on other samples" if through_others else "no"


def _own_step_lowers_two(algorithm: Algorithm, world: Bandit, rule: Sampling, policy: Floats) -> bool:
    """Whether one step on a group lowers the log-probabilities of two different arms of it."""
    law, state, arms, samples = _some_groups(algorithm, world, rule, policy)
    c = np.asarray(Bare(algorithm).update(samples).log_prob, dtype=float)
    steps = steps_of(c, arms, state.log_policy)
    change = steps - (steps @ policy)[..., None]
    own = np.take_along_axis(change, arms, axis=-1)
    falls = own < -ROUNDING * np.abs(change).max(axis=-1, keepdims=True)
    low = np.where(falls, arms, world.arms).min(axis=-1)
    high = np.where(falls, arms, -1).max(axis=-1)
    return bool((falls.any(axis=-1) & (low != high)).any())


def loss_agrees(algorithm: Any, worlds: list[Bandit]) -> bool | None:
    """Whether -d loss / d log_prob is the coefficient, by central differences; None without a loss."""
    if not callable(getattr(algorithm, "loss", None)):
        return None
    for world in worlds:
        rule = _rule(algorithm, world)
        *_, samples = _some_groups(algorithm, world, rule, probes(world)[0])
        c = np.asarray(algorithm.update(samples).log_prob, dtype=float)
        slope = np.stack([_slope(algorithm, samples, i) for i in range(algorithm.k)], axis=-1)
        if np.abs(slope + c).max() > SLOPE * max(1.0, np.abs(c).max()):
            return False
    return True


def _slope(algorithm: Any, samples: Samples, i: int) -> Floats:
    """d loss / d log_prob of the i-th sample of each group."""
    shift = SHIFT * (np.arange(algorithm.k) == i)
    ahead, behind = (
        np.asarray(algorithm.loss(replace(samples, log_prob=samples.log_prob + sign * shift)), dtype=float)
        for sign in (1, -1)
    )
    return (ahead - behind) / (2 * SHIFT)


def _rule(algorithm: Algorithm, world: Bandit) -> Sampling:
    """Somebody who samples in a world, if the algorithm lets others sample."""
    return OnPolicy() if getattr(algorithm, "needs_on_policy", False) else Offline(skewed(world))


def _some_groups(algorithm: Algorithm, world: Bandit, rule: Sampling, policy: Floats) -> tuple[Any, ...]:
    """Law, state, arms (n, k) and samples of the first groups that can occur."""
    problem = bind(Bare(algorithm), world, rule, policy)
    law = problem.law()
    state = completed(problem, law, State(problem.log_start))
    arms, weight = next(law.tuples())
    arms = arms[weight > 0]
    arms = arms[np.linspace(0, len(arms) - 1, min(TESTED, len(arms))).astype(int)]
    return law, state, arms, samples_of(world, law, state, arms)
