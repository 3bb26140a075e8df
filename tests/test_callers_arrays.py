"""Good input is left alone: nothing mutates a caller's array, keeps it or hands it out again."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import bandits
from bandits import (
    DPO,
    DRO,
    IPO,
    RLOO,
    SRPO,
    Bandit,
    CoPG,
    Dataset,
    Offline,
    OnPolicy,
    Pairs,
    PolicyGradient,
    PsiPO,
    Samples,
    Solution,
    expected_loss,
    expected_update,
    fixed_point,
    fixed_points,
    update_covariance,
)

REWARD = [1.0, -0.5, 0.25]
CYCLE = [[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]]
POLICY = [0.2, 0.5, 0.3]
WORLD = Bandit(REWARD, preference=CYCLE, reference=[0.5, 0.3, 0.2])
MU = Offline([0.6, 0.1, 0.3])


def _arrays() -> dict[str, np.ndarray]:
    """Fresh arrays that a caller might own."""
    return {
        "reward": np.array(REWARD),
        "preference": np.array(CYCLE),
        "reference": np.array([0.5, 0.3, 0.2]),
        "policy": np.array(POLICY),
        "other": np.array([0.6, 0.1, 0.3]),
        "joint": np.full((3, 3), 1 / 9),
        "pairs": np.array([(0, 1), (1, 2), (2, 0)]),
        "revision": np.array([[0.2, 0.7, 0.1], [0.3, 0.3, 0.4], [0.6, 0.15, 0.25]]),
        "times": np.array([0.0, 0.5, 2.0]),
    }


def _world(a) -> Bandit:
    return Bandit(a["reward"], preference=a["preference"], reference=a["reference"])


def _ask_everything(a):
    world = _world(a)
    yield from (
        world.value(a["policy"], 1.0),
        world.regret(a["policy"], 1.0),
        world.preference_over(a["other"]),
    )
    yield from (world.win_rate(a["policy"], a["other"]), world.best_response(a["other"], 1.0))
    yield from (world.duality_gap(a["policy"], 1.0), world.at(()).reward)


def _samples(a) -> Samples:
    everyone = Samples(
        log_prob=a["policy"],
        reference_log_prob=a["reference"],
        reward=a["reward"],
        behavior_log_prob=a["other"],
    )
    return Samples(
        log_prob=a["policy"],
        reference_log_prob=a["reference"],
        reward=a["reward"],
        preference=a["preference"],
        behavior_log_prob=a["other"],
        population=everyone,
        greedy_reward=a["reward"][0],
    )


# One call for each public name that takes arrays.
CALLS = {
    "Bandit": _ask_everything,
    "Offline": lambda a: [Offline(a["policy"], a["other"]).behaviors[0]],
    "Pairs": lambda a: [Pairs(a["joint"]).joint],
    "Dataset": lambda a: [Dataset(a["pairs"]).pairs],
    "OnPolicy": lambda a: [OnPolicy().law(CoPG(1.0), _world(a), np.log(a["policy"])).behavior],
    "PsiPO": lambda a: [PsiPO(1.0).update(_samples(a)).log_prob],
    "Solution": lambda a: [Solution(log_policy=a["policy"], residual=0.0).log_policy],
    "expected_update": lambda a: (
        [
            expected_update(cls(1.0), _world(a), s, a["policy"])
            for cls in (CoPG, IPO, DPO, DRO)
            for s in (Offline(a["other"]), OnPolicy())
        ]
        + [
            expected_update(
                SRPO(1.0), _world(a), Pairs(a["joint"]), a["policy"], revision_policy=a["revision"]
            )
        ]
    ),
    "expected_loss": lambda a: [expected_loss(DPO(1.0), _world(a), Dataset(a["pairs"]), a["policy"])],
    "update_covariance": lambda a: [
        update_covariance(RLOO(1.0), _world(a), Offline(a["other"]), a["policy"])
    ],
    "fixed_point": lambda a: [
        fixed_point(cls(1.0), _world(a), s, start=a["policy"]).log_policy
        for cls in (CoPG, IPO, DPO)
        for s in (Offline(a["other"]), Pairs(a["joint"]), Dataset(a["pairs"]))
    ],
    "fixed_points": lambda a: [
        one.log_policy
        for one in fixed_points(PolicyGradient(1.0, 9.0), _world(a), Offline(a["other"]), a["policy"])
    ],
    "iterated": lambda a: [
        bandits.iterated(CoPG(1.0), _world(a), rule, 2, start=a["policy"], moving=moving)
        for rule in (Offline(a["other"]), a["other"], lambda policy: Offline(policy))
        for moving in (True, False)
    ],
    "flow": lambda a: [
        bandits.flow(CoPG(1.0), _world(a), Offline(a["other"]), a["times"], start=a["policy"])
    ],
    "flow_error": lambda a: [
        bandits.flow_error(CoPG(1.0), _world(a), Offline(a["other"]), a["times"], start=a["policy"])
    ],
    "natural_flow": lambda a: [
        bandits.natural_flow(CoPG(1.0), _world(a), OnPolicy(), a["times"], start=a["policy"])
    ],
    "descent": lambda a: [
        bandits.descent(CoPG(1.0), _world(a), Offline(a["other"]), 0.1, [0, 3], start=a["policy"])
    ],
    "convergence_rate": lambda a: [bandits.convergence_rate(CoPG(1.0), _world(a), Offline(a["other"]))],
    "largest_stable_step": lambda a: [bandits.largest_stable_step(CoPG(1.0), _world(a), Offline(a["other"]))],
    "sgd_moments": lambda a: list(
        bandits.sgd_moments(CoPG(1.0), _world(a), Offline(a["other"]), 0.1, [0, 3], start=a["policy"])
    ),
    "difficulty_weight": lambda a: [bandits.difficulty_weight(RLOO(1.0), a["policy"])],
    "stationary_covariance": lambda a: [
        bandits.stationary_covariance(CoPG(1.0), _world(a), Offline(a["other"]), 0.1, reward_noise=1.0)
    ],
    "log_linear_policy": lambda a: [
        bandits.log_linear_policy(_world(a), a["revision"][:, :2], a["policy"][:2])
    ],
    "log_linear_flow": lambda a: [
        bandits.log_linear_flow(
            CoPG(1.0), _world(a), Offline(a["other"]), a["revision"][:, :2], a["times"], start=a["policy"][:2]
        )
    ],
    "log_linear_fixed_point": lambda a: [
        bandits.log_linear_fixed_point(
            CoPG(1.0), _world(a), Offline(a["other"]), a["revision"][:, :2], start=a["policy"][:2]
        ).weights
    ],
    "simulate": lambda a: [
        bandits.simulate(
            CoPG(1.0),
            _world(a),
            Offline(a["other"]),
            steps=3,
            batch_size=2,
            learning_rate=0.1,
            rng=np.random.default_rng(0),
            start=a["policy"],
        ).policies
    ],
    "report": lambda a: [bandits.report(CoPG(1.0), _world(a), Offline(a["other"])).rows[0].policy],
    "compare": lambda a: [
        bandits.compare([CoPG(1.0)], _world(a), Offline(a["other"])).reports[0].rows[0].policy
    ],
    "policy_reward": lambda a: [bandits.policy_reward(_samples(a), 1.0)],
    "policy_value": lambda a: [bandits.policy_value(_samples(a), 1.0)],
    "behavior_value": lambda a: [bandits.behavior_value(_samples(a), 1.0)],
    "greedy": lambda a: [bandits.greedy(_samples(a), 1.0)],
    "continuous_value": lambda a: [bandits.continuous_value(_samples(a), 1.0)],
    "reference_value": lambda a: [bandits.reference_value(_samples(a), 1.0)],
    "reference_quantile": lambda a: [bandits.reference_quantile(_samples(a))],
    "group_quantile": lambda a: [bandits.group_quantile(_samples(a))],
    "standard_deviation": lambda a: [bandits.standard_deviation(a["reward"])],
    "unit_spread": lambda a: [bandits.unit_spread(a["reward"])],
    "ALoL": lambda a: [bandits.ALoL().update(_samples(a)).log_prob],
    "PPO": lambda a: [bandits.PPO(1.0).update(_samples(a)).log_prob],
    "GRPO": lambda a: [bandits.GRPO(1.0, k=3).update(_samples(a)).log_prob],
}
WITHOUT_ARRAYS = {"sweep"}
TAKING_ARRAYS = [name for name in CALLS if name in bandits.__all__]


@pytest.mark.parametrize("name", TAKING_ARRAYS)
def test_nothing_mutates_or_keeps_a_callers_array(name):
    """Every byte as it was, and no result that writes through to it."""
    given, before = _arrays(), _arrays()
    results = [result for result in CALLS[name](given) if isinstance(result, np.ndarray)]
    for key, array in given.items():
        np.testing.assert_array_equal(array, before[key], err_msg=key)
        assert array.flags.writeable
        for result in results:
            assert not np.shares_memory(result, array), f"the result of {name} is the caller's {key}"


@pytest.mark.parametrize("name", TAKING_ARRAYS)
def test_read_only_arrays_are_as_good(name):
    given = _arrays()
    for array in given.values():
        array.flags.writeable = False
    list(CALLS[name](given))


def test_every_public_function_is_in_the_law_above():
    """A new public function belongs into CALLS."""
    functions = {name for name in bandits.__all__ if inspect.isfunction(getattr(bandits, name))}
    assert functions - set(CALLS) - WITHOUT_ARRAYS == set()


@pytest.mark.parametrize(
    "array",
    [
        Offline([0.4, 0.6]).behaviors[0],
        Pairs(np.full((2, 2), 0.25)).joint,
        Dataset([(0, 1)]).pairs,
        fixed_point(CoPG(1.0), WORLD, MU).log_policy,
        fixed_point(DRO(1.0), Bandit(np.eye(3)), MU).value,
    ],
    ids=["Offline", "Pairs", "Dataset", "Solution", "Solution.value"],
)
def test_what_is_kept_is_read_only(array):
    with pytest.raises(ValueError, match="read-only"):
        array[...] = 0
