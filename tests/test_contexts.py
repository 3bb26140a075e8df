"""Contexts in one argument alone: all public functions, all algorithms, equal the stack of single contexts.

Reward, preference, reference, each behaviour policy, policy, start, value or revision policy has two contexts
and nothing else has any; the answer must be the two answers, side by side.  Where a single context has no
answer (`NoFixedPoint`, `NotConverged`), both together have none either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import bandits as b
import worlds
from bandits.dynamics.moments import largest_noisy_step
from rows import every_row

ARMS, BETA = 3, 0.6
CONTEXTS = (2,)
SEEDS, ONE_SEED = (pytest.mark.parametrize("rng", range(n), indirect=True) for n in (2, 1))

ALGORITHMS = {
    **{name: row.make(BETA) for name, row in every_row().items()},
    "CoPG(k=3)": b.CoPG(BETA, k=3),
    "RLOO(k=3)": b.RLOO(BETA, k=3),
    "PolicyGradient(b=0.4)": b.PolicyGradient(BETA, 0.4),
    "PolicyGradient(behavior_value)": b.PolicyGradient(BETA, b.behavior_value),
    "PolicyGradient(policy_value, k=2)": b.PolicyGradient(BETA, b.policy_value, k=2),
    "GRPO(unit_spread)": b.GRPO(BETA, spread=b.unit_spread),
    "GRPO(k=3)": b.GRPO(BETA, k=3, clip=np.inf),
    "PPO(clip=inf)": b.PPO(BETA, clip=np.inf),
    "DPO(smoothing)": b.DPO(BETA, smoothing=0.2),
    "DPO(margin)": b.DPO(BETA, margin=lambda s: 0.3 * s.reward),
    "PsiPO(square)": b.PsiPO(BETA, psi=np.square),
    "NashMD(mixture)": b.NashMD(BETA, mixture=0.4),
    "ImportanceWeighted(CoPG, clip)": b.ImportanceWeighted(b.CoPG(BETA), clip=1.5),
}
ON_POLICY_ONLY = ("NashMD", "OnlineIPO")
ALSO_ON_POLICY = ("GRPO", "CoPG", "DRO", "PolicyGradient", "RLOO", "ReMax", "PPO", "DPO", "IPO")


@pytest.fixture
def rng(request) -> np.random.Generator:
    """No shrinking: a case is small, and there are hundreds."""
    return np.random.default_rng([8, request.param])


@dataclass(frozen=True)
class Case:
    """The arguments of one question, any of which may have contexts."""

    reward: Any
    preference: Any
    reference: Any
    mus: tuple[Any, ...]  # () on-policy, a joint law as the only one
    joint: Any
    policy: Any  # also the start
    value: Any = None
    revision: Any = None

    def world(self) -> b.Bandit:
        """The bandit."""
        return b.Bandit(
            self.reward,
            preference=self.preference,
            reference=self.reference,
            length=worlds.LENGTH,
            desirable=worlds.LABELS,
        )

    def sampling(self) -> Any:
        """Who produced the samples."""
        if self.joint is not None:
            return b.Pairs(self.joint)
        return b.Offline(*self.mus) if self.mus else b.OnPolicy()

    def extras(self) -> dict[str, Any]:
        """Keywords of what is trained beside the policy."""
        both = {"value": self.value, "revision_policy": self.revision}
        return {name: x for name, x in both.items() if x is not None}


def single(algorithm: Any, rng: np.random.Generator, rule: str) -> Case:
    """Everything without contexts, no two arms alike."""
    upper = np.triu(rng.uniform(0.1, 0.9, size=(ARMS, ARMS)), 1)
    places = {"one mu": 1, "a mu for each place": algorithm.k}.get(rule, 0)
    return Case(
        reward=rng.normal(size=ARMS),
        preference=upper + np.tril(1 - upper.T, -1) + np.eye(ARMS) / 2,
        reference=distribution(rng),
        mus=tuple(distribution(rng) for _ in range(places)),
        joint=distribution(rng, ARMS * ARMS).reshape(ARMS, ARMS) if rule == "a joint law" else None,
        policy=distribution(rng),
        value=rng.normal() if isinstance(algorithm, b.DRO | b.DROV) else None,
        revision=np.stack([distribution(rng) for _ in range(ARMS)])
        if isinstance(algorithm, b.SRPO)
        else None,
    )


def distribution(rng: np.random.Generator, size: int = ARMS) -> np.ndarray:
    return rng.dirichlet(np.full(size, 2.0)) * 0.9 + 0.1 / size


def rules(name: str, algorithm: Any) -> list[str]:
    if name.startswith(ON_POLICY_ONLY):
        return ["the policy"]
    fixed = ["one mu"] + ["a mu for each place"] * (algorithm.k > 1) + ["a joint law"] * (algorithm.k == 2)
    return fixed + ["the policy"] * name.startswith(ALSO_ON_POLICY)


def spread_over_contexts(case: Case, other: Case) -> dict[str, tuple[Case, list[Case]]]:
    """For each argument: the case with that argument in two contexts, and the two cases alone."""
    found = {}
    for name in ("reward", "preference", "reference", "joint", "policy", "value", "revision"):
        here, there = getattr(case, name), getattr(other, name)
        if here is not None:
            together = replace(case, **{name: np.stack([here, there])})
            found[name] = together, [case, replace(case, **{name: there})]
    for i, (here, there) in enumerate(zip(case.mus, other.mus, strict=True)):
        stacked, alone = list(case.mus), list(case.mus)
        stacked[i], alone[i] = np.stack([here, there]), there
        found[f"mu{i + 1}"] = (
            replace(case, mus=tuple(stacked)),
            [case, replace(case, mus=tuple(alone))],
        )
    if case.preference is not None:
        bare, bare_2 = replace(case, preference=None), replace(case, preference=None, reward=other.reward)
        both = np.stack([case.reward, other.reward])
        found["reward (Bradley-Terry)"] = replace(bare, reward=both), [bare, bare_2]
    return found


CASES = [(name, rule) for name, algorithm in ALGORITHMS.items() for rule in rules(name, algorithm)]
Question = Callable[[Any, Case], Any]


def checked(question: Question, name: str, rule: str, rng: np.random.Generator, tolerance: float) -> None:
    """Together as one by one."""
    algorithm = ALGORITHMS[name]
    case, other = (single(algorithm, rng, rule) for _ in range(2))
    first = outcome(question, algorithm, case)  # one of the two for most arguments
    for argument, (together, alone) in spread_over_contexts(case, other).items():
        each = [first if one is case else outcome(question, algorithm, one) for one in alone]
        found = outcome(question, algorithm, together)
        refused = [one for one in each if isinstance(one, type)]
        if refused:
            assert found in refused, argument
            continue
        assert not isinstance(found, type), f"{argument}: {found}"
        for part, *singles in zip(found, *each, strict=True):
            stacked = np.stack(np.broadcast_arrays(*singles))
            size = max(1.0, np.abs(stacked).max())
            # fields that do not depend on the argument may come without its axis
            np.testing.assert_allclose(
                np.broadcast_to(part, stacked.shape), stacked, rtol=0, atol=tolerance * size, err_msg=argument
            )


def outcome(question: Question, algorithm: Any, case: Case) -> Any:
    """The answer as a tuple of arrays (contexts first), or the class of the refusal."""
    try:
        found = question(algorithm, case)
    except (b.NoFixedPoint, b.NotConverged) as refusal:
        return type(refusal)
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize(("name", "rule"), CASES)
@SEEDS
def test_expectations(name, rule, rng):
    """Sums of the same few terms: rounding only."""

    def update(algorithm, case):
        asked = (algorithm, case.world(), case.sampling(), case.policy)
        return b.expected_update(*asked, **case.extras()), b.expected_update(*asked)

    def covariance(algorithm, case):
        asked = (algorithm, case.world(), case.sampling(), case.policy)
        noisy = [{"label_noise": True}] * (algorithm.k == 2)
        return tuple(b.update_covariance(*asked, **case.extras(), **noise) for noise in [{}, *noisy])

    def loss(algorithm, case):
        return b.expected_loss(algorithm, case.world(), case.sampling(), case.policy, **case.extras())

    checked(update, name, rule, rng, 1e-13)
    checked(covariance, name, rule, rng, 1e-12)
    if hasattr(ALGORITHMS[name], "loss"):
        checked(loss, name, rule, rng, 1e-13)


@pytest.mark.parametrize("rule", ["one mu", "a mu for each place", "a joint law"])
@pytest.mark.parametrize("name", ["CoPG", "IPO", "RLOO"])
@SEEDS
def test_moments(name, rule, rng):
    def moments(algorithm, case):
        asked = (algorithm, case.world(), case.sampling())
        found = b.sgd_moments(*asked, 0.1, [1, 4], case.policy, label_noise=name == "IPO")
        mean, covariance = (np.moveaxis(each, 0, axis) for each, axis in zip(found, (-2, -3), strict=True))
        settled = b.stationary_covariance(*asked, 0.1, label_noise=name == "IPO")
        return mean, covariance, settled, largest_noisy_step(*asked)

    checked(moments, name, rule, rng, 1e-9)


@pytest.mark.parametrize("rule", ["one mu", "a joint law"])
@pytest.mark.parametrize("name", ["CoPG", "IPO", "RLOO", "DRO", "PolicyGradient(behavior_value)"])
@SEEDS
def test_rates(name, rule, rng):
    if rule == "a joint law" and ALGORITHMS[name].k != 2:
        rule = "one mu"

    def rates(algorithm, case):
        asked = (algorithm, case.world(), case.sampling())
        return b.convergence_rate(*asked), b.largest_stable_step(*asked)

    checked(rates, name, rule, rng, 1e-9)


@pytest.mark.parametrize(("name", "rule"), CASES)
@ONE_SEED
def test_training_accepts_contexts_in_any_argument(name, rule, rng):
    """Chance differs between one context and two, so only that it runs: `test_simulation` has the fields."""
    algorithm = ALGORITHMS[name]
    case, other = (single(algorithm, rng, rule) for _ in range(2))
    for argument, (together, _) in spread_over_contexts(case, other).items():
        if argument in ("value", "revision"):
            continue
        trace = b.simulate(
            algorithm,
            together.world(),
            together.sampling(),
            steps=2,
            batch_size=3,
            learning_rate=0.01,
            rng=rng,
            runs=2,
            start=together.policy,
        )
        assert trace.policies.shape == (2, 2, *CONTEXTS, ARMS), argument
