"""Whose expected update is whose?  Every algorithm against every relative that `report` knows, two by two.

The families below are all the equalities that theory proves, with the factors; the expected updates, on
worlds where nothing is even, must agree inside a family and nowhere else.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import bandits as b
import worlds
from bandits.verdict.kin import kin_of, relatives
from bandits.verdict.worlds import trials
from rows import every_row

BETA = 0.7
ROUNDING, APART = 1e-9, 1e-4  # what is left of an update beside the other: of equals, and of all others
OTHERS = [  # whoever samples single answers of one law: name -> its update, in those of the first
    {  # grad of (1/2) Var_mu(R)-like squares: T3.1, T3.7, T8.1, T13.6; k1 in the reward is RLOO: T9.6
        "RLOO": 1.0,
        "WithKLReward": 1.0,
        "PolicyGradient(behavior_value)": 1.0,
        "DROV": 1.0,
        "DRO": BETA,
        "CoPG": 2.0,
        "REBEL": 4 * BETA,
    },
    {"IPO": 1.0, "PsiPO": BETA / 2},  # T4.2
    {"DPO": 1.0, "ConvexLoss": 1.0},  # its default f is the logistic one: T5.1
    {"WithKLLoss": 1.0, "PMDMean(leave_one_out)": 1.0},  # r_i less the others' mean, less beta h_i: T9.6
]
OWN = [  # on the policy's own samples
    {  # grad J: T2.1, T2.2, T2.4, T2.5, T2.6, T9.6
        **OTHERS[0],
        **OTHERS[3],
        "PolicyGradient": 1.0,
        "PolicyGradient(policy_value)": 1.0,
        "PolicyGradient(policy_reward)": 1.0,
        "ReMax": 1.0,
        "PPO": 1.0,
        "ImportanceWeighted": 1.0,
    },
    {**OTHERS[1], "OnlineIPO": 1.0, "NashMD": BETA / 4, "SPPO": BETA / 4},  # T6.6, T13.19
    OTHERS[2],
    {"AsymRE": 1.0, "AsymRE, as known": 1.0, "TOPR": 1.0, "TOPR, as known": 1.0},  # grad E[r]: T2.1
    {"GRPO": 1.0, "GRPO(clip=inf)": 1.0},  # nothing to clip: T9.5
    {"QRPO": 1.0, "QRPO(reference_value)": 1.0},  # V does not matter: T13.5
    {"BestOfN": 1.0, "CISPO": 0.5**0.5, "CISPO, as known": 0.5**0.5},  # of two, the better is pushed: T9.2
]


def everybody() -> dict[str, b.samples.Algorithm]:
    """Each of `ALGORITHMS` as its row makes it, and each relative that is another object."""
    found = {cls.__name__: every_row()[cls.__name__].make(BETA) for cls in b.ALGORITHMS}
    for name, relative in relatives(BETA, 2).items():
        if found.get(name) != relative:
            found[name if name not in found else f"{name}, as known"] = relative
    return found


def uneven(seed: int) -> tuple[b.Bandit, b.Offline, np.ndarray]:
    """A world, somebody who samples, and three policies."""
    rng = np.random.default_rng(seed)
    wins = np.triu(rng.random((3, 3)), 1)
    world = b.Bandit(
        rng.normal(size=3),
        preference=wins + np.tril(1 - wins.T, -1) + np.eye(3) / 2,
        reference=rng.dirichlet(np.full(3, 3.0)),
        length=rng.uniform(1, 9, 3),
        desirable=rng.random(3),
    )
    return world, b.Offline(rng.dirichlet(np.full(3, 3.0))), rng.dirichlet(np.full(3, 2.0), size=3)


def updates(algorithm, own: bool) -> np.ndarray:
    """Its expected updates at all policies of three worlds."""
    found = []
    for world, mu, policies in map(uneven, range(3)):
        found.append(b.expected_update(algorithm, world, b.OnPolicy() if own else mu, policies))
    return np.ravel(found)


@pytest.mark.parametrize(("own", "families"), [(False, OTHERS), (True, OWN)], ids=["others", "own"])
def test_updates_agree_in_the_families_that_theory_proves_and_nowhere_else(own, families):
    found = {
        name: updates(algorithm, own)
        for name, algorithm in everybody().items()
        if own or not getattr(algorithm, "needs_on_policy", False)
    }
    assert {name for family in families for name in family} <= set(found)
    for family in families:
        first, *_ = family
        for name, factor in family.items():
            size = np.abs(found[name]).max()
            assert_allclose(found[name], factor * found[first], rtol=0, atol=ROUNDING * size, err_msg=name)
    for one, other in combinations(found, 2):
        if not any({one, other} <= family.keys() for family in families):
            u, v = found[one], found[other]
            left = np.linalg.norm(u - (u @ v) / (v @ v) * v) / np.linalg.norm(u)
            assert left > APART, (one, other, left)


@pytest.mark.parametrize(
    ("algorithm", "law", "equals"),
    [
        (b.RLOO(BETA), b.Offline(worlds.BEHAVIOR), {"DROV", "PolicyGradient(behavior_value)"}),
        (b.DPO(BETA), b.Offline(worlds.BEHAVIOR), {"ConvexLoss"}),
        (b.CoPG(0.5), b.Offline(worlds.BEHAVIOR), {"REBEL"}),  # 4 beta = 2
        (b.WithKLLoss(b.RLOO(BETA)), b.Offline(worlds.BEHAVIOR), {"PMDMean(leave_one_out)"}),
        (b.OnlineIPO(BETA), b.OnPolicy(), {"IPO"}),
        (b.AsymRE(), b.OnPolicy(), {"TOPR"}),
        (b.KTO(BETA), b.Offline(worlds.BEHAVIOR), set()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_verdict_names_an_algorithm_as_itself_and_its_equals_beside(algorithm, law, equals):
    beta = getattr(algorithm, "beta", None) or None  # 0: it has no KL
    kin = kin_of(algorithm, trials(algorithm, worlds.MIXED, law), beta, inferred=False)
    assert (kin.name, kin.agreement, set(kin.equals)) == (type(algorithm).__name__, "equal", equals)


def test_the_card_says_who_its_equals_are():
    world = b.Bandit([1.0, 0.0], reference=[0.3, 0.7])
    card = b.report(b.DPO(BETA), world, b.Offline([0.6, 0.4]))
    assert "kin: equal to DPO (here ConvexLoss as well) in expectation" in str(card)
    again = b.Report.from_json(card.to_json())
    assert again.equals == card.equals == ("ConvexLoss",) and again.to_json() == card.to_json()
