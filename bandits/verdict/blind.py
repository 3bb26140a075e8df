"""What makes no difference to an algorithm?  The same expected update, world changed.

    shifts of the reward                       r + a constant
    shifts of a prompt's log-probabilities     log pi + a constant for all answers of a prompt: the normaliser
    relabelling of arms                        the arms in another order: the update follows them
    scale                                      r times a constant
    who sampled                                one end on all laws that connect the arms; left out where the
                                               algorithm takes samples of its own only

Each is tried in all worlds and laws of the report, where nothing cancels; one difference is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.exact import expected_update
from bandits.samples import Algorithm, Samples, Update
from bandits.sampling.rules import Dataset, Offline, Pairs, Sampling
from bandits.verdict.claims import Bare, probes
from bandits.verdict.ends import SAME, End, end_of
from bandits.verdict.targets import components
from bandits.verdict.worlds import MOST_GROUPS, Trial, skewed

SHIFT, SCALE = 1.7, 3.0
ROUNDING = 1e-9  # relative difference of updates that is none


class _Shifted(Bare):
    """The algorithm, shown log-probabilities whose normaliser was left out."""

    def update(self, samples: Samples) -> Update:
        everyone = samples.population
        if everyone is not None:
            everyone = replace(everyone, log_prob=everyone.log_prob + SHIFT)
        return self.algorithm.update(replace(samples, log_prob=samples.log_prob + SHIFT, population=everyone))


def blindness(algorithm: Algorithm, trials: list[Trial], ends: list[End]) -> dict[str, bool]:
    """What makes no difference, by name."""
    bare = Bare(algorithm)
    updates = [_update(bare, one) for one in trials]

    def same(changed: Callable[[Trial], Floats]) -> bool:
        return all(_alike(update, changed(one)) for update, one in zip(updates, trials, strict=True))

    found = {
        "shifts of the reward": same(lambda one: _update(bare, _with_reward(one, SHIFT, 1.0))),
        "shifts of a prompt's log-probabilities": same(lambda one: _update(_Shifted(algorithm), one)),
        "relabelling of arms": same(lambda one: _relabelled(bare, one)),
        "scale": same(lambda one: _update(bare, _with_reward(one, 0.0, SCALE))),
    }
    if not getattr(algorithm, "needs_on_policy", False):
        found["who sampled"] = _whoever_sampled(algorithm, trials, ends)
    return found


def _update(algorithm: Any, trial: Trial, policies: Floats | None = None) -> Floats:
    policies = probes(trial.bandit) if policies is None else policies
    return expected_update(algorithm, trial.bandit, trial.sampling, policies, max_groups=MOST_GROUPS)


def _alike(one: Floats, other: Floats) -> bool:
    return bool(np.abs(one - other).max() <= ROUNDING * max(np.abs(one).max(), np.abs(other).max()))


def _with_reward(trial: Trial, shift: float, scale: float) -> Trial:
    """The world with other rewards; its preferences stay."""
    world = trial.bandit
    if world.reward is None:
        return trial
    return trial._replace(bandit=_world(world, np.arange(world.arms), scale * world.reward + shift))


def _world(world: Bandit, order: Floats | Any, reward: Floats | None) -> Bandit:
    """The arms of a world in another order, with these rewards."""
    P = world.preference
    return Bandit(
        None if reward is None else reward[order],
        preference=P[order][:, order],
        reference=world.reference[order],
        length=None if world.length is None else world.length[order],
        desirable=None if world.desirable is None else world.desirable[order],
    )


def _relabelled(algorithm: Any, trial: Trial) -> Floats:
    """The update at relabelled arms, put back in the old order, (count, A)."""
    order = np.roll(np.arange(trial.bandit.arms)[::-1], 1)
    back = np.argsort(order)
    changed = trial._replace(
        bandit=_world(trial.bandit, order, trial.bandit.reward), sampling=_reordered(trial.sampling, order)
    )
    return _update(algorithm, changed, probes(trial.bandit)[:, order])[:, back]


def _reordered(rule: Sampling, order: Any) -> Sampling:
    if isinstance(rule, Offline):
        return Offline(*(mu[order] for mu in rule.behaviors))
    if isinstance(rule, Pairs):
        return Pairs(rule.joint[order][:, order])
    if isinstance(rule, Dataset):
        return Dataset(np.argsort(order)[rule.pairs])
    return rule


def _whoever_sampled(algorithm: Algorithm, trials: list[Trial], ends: list[End]) -> bool:
    """Whether each world has one end for all laws that connect its arms; where there is one law, two more."""
    by_world: dict[str, list[End]] = {}
    worlds: dict[str, Trial] = {}
    for trial, end in zip(trials, ends, strict=True):
        if _connects(algorithm, trial):
            by_world.setdefault(trial.world, []).append(end)
            worlds[trial.world] = trial
    for name, found in by_world.items():
        if len(found) == 1:
            rules = [Offline(skewed(worlds[name].bandit, last)) for last in (False, True)]
            found += [end_of(algorithm, worlds[name]._replace(sampling=rule)) for rule in rules]
    return bool(by_world) and all(_one_end(found) for found in by_world.values())


def _connects(algorithm: Algorithm, trial: Trial) -> bool:
    if trial.sampling.on_policy:
        return True
    law = trial.sampling.law(algorithm, trial.bandit, trial.bandit.log_reference)
    return components(law, trial.bandit.arms) is None


def _one_end(ends: list[End]) -> bool:
    policies = [end.policy for end in ends if end.reason == "rests" and end.policy is not None]
    if len(policies) < len(ends):
        return False
    return all(np.abs(policy - policies[0]).max() < SAME for policy in policies)
