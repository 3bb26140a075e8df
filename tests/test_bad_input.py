"""Bad input gets one ValueError that names the argument, the rule, the first bad entry and the remedy."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from bandits import (
    ALGORITHMS,
    CISPO,
    DPO,
    DRO,
    EXO,
    GOLD,
    GRPO,
    IPO,
    PPO,
    RLOO,
    SRPO,
    TOPR,
    ALoL,
    Bandit,
    CalDPO,
    ConvexLoss,
    CoPG,
    Dataset,
    ImportanceWeighted,
    NashMD,
    NoFixedPoint,
    Offline,
    OnlineIPO,
    OnPolicy,
    Pairs,
    PolicyGradient,
    ReMax,
    RLoL,
    RobustDPO,
    Samples,
    Solution,
    Update,
    expected_loss,
    expected_update,
    fixed_point,
    fixed_points,
    update_covariance,
)
from rows import every_row

NAN, INF = float("nan"), float("inf")
REWARD = [1.0, -0.5, 0.25]
CYCLE = [[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]]
WORLD = Bandit(REWARD, preference=CYCLE, reference=[0.5, 0.3, 0.2])
GAME = Bandit(preference=CYCLE)
HOLE = Bandit(REWARD, reference=[0.5, 0.5, 0.0])
POLICY = [0.2, 0.5, 0.3]
MU = Offline([0.6, 0.1, 0.3])


class NoGroupSize:
    """A reader's algorithm that forgot `k`."""

    def update(self, samples: Samples) -> Update:
        """Coefficients of plain policy gradient."""
        return Update(log_prob=samples.reward)


class OneCoefficient:
    """A reader's algorithm that returns one number for the pair."""

    k = 2

    def update(self, samples: Samples) -> Update:
        """The sum of the rewards, not one coefficient for each."""
        return Update(log_prob=samples.reward.sum(-1)[..., None])


# What to do, and what the message must say: the argument, the rule, where it is broken, what to do instead.
WORLDS = {
    "nan reward": (lambda: Bandit([1.0, NAN]), "reward must be finite", "reward[1] = nan", "replace"),
    "inf reward": (
        lambda: Bandit([[1.0, 2.0], [3.0, -INF]]),
        "reward must be finite",
        "reward[1, 1] = -inf",
        "replace",
    ),
    "no numbers": (
        lambda: Bandit(["a", "b"]),
        "reward must be an array of real numbers",
    ),
    "complex": (lambda: Bandit(np.array([1j, 2])), "reward must be an array of real numbers", "complex128"),
    "ragged": (
        lambda: Bandit([[1.0], [2.0, 3.0]]),
        "reward must be an array of real numbers",
    ),
    "missing": (lambda: Bandit([1.0, None]), "reward must be an array of real numbers", "object"),
    "scalar": (lambda: Bandit(1.0), "reward must have the arms as its last axis", "()"),
    "no arms": (lambda: Bandit([]), "reward must have the arms as its last axis", "(0,)"),
    "nothing": (lambda: Bandit(), "needs a reward or a preference", "give one"),
    "not square": (
        lambda: Bandit(preference=np.full((2, 3), 0.5)),
        "preference must have shape (..., A, A)",
        "(2, 3)",
    ),
    "not complementary": (
        lambda: Bandit(preference=[[0.5, 0.7], [0.4, 0.5]]),
        "preference + its transpose must be 1",
        "[0, 1] = 1.1",
        "1 - p(j beats i)",
    ),
    "sure of itself": (
        lambda: Bandit(preference=[[1.0, 0.7], [0.3, 0.5]]),
        "preference + its transpose must be 1",
        "[0, 0] = 2.0",
    ),
    "no probability": (
        lambda: Bandit(preference=[[0.5, 1.2], [-0.2, 0.5]]),
        "preference must be a probability",
        "preference[0, 1] = 1.2",
        "[0, 1]",
    ),
    "nan preference": (
        lambda: Bandit(preference=[[0.5, NAN], [NAN, 0.5]]),
        "preference must be finite",
        "[0, 1] = nan",
    ),
    "negative reference": (
        lambda: Bandit(REWARD, reference=[0.6, -0.1, 0.5]),
        "reference must be non-negative",
        "reference[1] = -0.1",
    ),
    "unnormalised reference": (
        lambda: Bandit(REWARD, reference=[[0.2, 0.3, 0.5], [0.2, 0.3, 0.6]]),
        "sum of reference must be 1",
        "sum of reference[1] = 1.1",
        "divide by the sum",
    ),
    "short reference": (lambda: Bandit(REWARD, reference=[0.5, 0.5]), "reward and reference", "3 and 2"),
    "other arms": (lambda: Bandit([1.0, 2.0], preference=CYCLE), "preference and reference", "3 and 2"),
    "other contexts": (
        lambda: Bandit(np.zeros((2, 3)), preference=np.full((4, 3, 3), 0.5)),
        "the contexts of reward and preference must broadcast",
        "(2, 3) and (4, 3)",
    ),
    "contexts that only fail together": (
        lambda: Bandit(REWARD, preference=np.full((4, 3, 3), 0.5), reference=np.full((2, 3), 1 / 3)),
        "the contexts of preference and reference must broadcast",
    ),
    "no tokens": (
        lambda: Bandit(REWARD, length=[3, 0, 2]),
        "length must be positive",
        "length[1] = 0.0",
        "count the tokens",
    ),
    "nan length": (lambda: Bandit(REWARD, length=[3, NAN, 2]), "length must be finite", "length[1] = nan"),
    "short length": (lambda: Bandit(REWARD, length=[3, 4]), "length and reference", "2 and 3"),
    "contexts of length": (
        lambda: Bandit(np.zeros((2, 3)), length=np.ones((4, 3))),
        "the contexts of reward and length must broadcast",
    ),
    "surely desirable": (
        lambda: Bandit(REWARD, desirable=[0.5, 0.2, 1.5]),
        "desirable must be a probability",
        "desirable[2] = 1.5",
        "[0, 1]",
    ),
    "desirable of other arms": (lambda: Bandit(REWARD, desirable=0.5), "desirable must have the arms", "()"),
    "names without an axis": (
        lambda: Bandit(REWARD, names=np.array("abc")),
        "names must be 3 strings",
        "abc",
    ),
    "one name": (lambda: Bandit(REWARD, names="abc"), "names must be 3 strings", "'abc'"),
    "numbers as names": (
        lambda: Bandit(REWARD, names=["a", 2, "c"]),
        "names must be strings",
        "names[1] = 2",
    ),
    "too few names": (lambda: Bandit(REWARD, names=["a", "b"]), "each of the 3 arms", "2"),
    "no reward": (lambda: GAME.optimal_policy(1.0), "no reward", "pass reward="),
    "no reward for a value": (lambda: GAME.value(POLICY, 1.0), "no reward", "pass reward="),
}

QUESTIONS = {
    "value": lambda p: WORLD.value(p, 1.0),
    "regret": lambda p: WORLD.regret(p, 1.0),
    "win_rate": lambda p: WORLD.win_rate(p, POLICY),
    "duality_gap": lambda p: WORLD.duality_gap(p, 1.0),
    "expected_update": lambda p: expected_update(CoPG(1.0), WORLD, MU, p),
    "expected_loss": lambda p: expected_loss(CoPG(1.0), WORLD, MU, p),
    "update_covariance": lambda p: update_covariance(CoPG(1.0), WORLD, MU, p),
}
BAD_POLICIES = {
    "nan": ([0.5, NAN, 0.5], "must be finite", "[1] = nan", "replace"),
    "negative": ([0.5, 0.6, -0.1], "must be non-negative", "[2] = -0.1", "[0, 1]"),
    "unnormalised": ([0.5, 0.3, 0.1], "must be 1", "= 0.9", "divide by the sum"),
    "short": ([0.5, 0.5], "same number of arms", "2 and 3"),
    "logits": ([0.0, -1.0, 2.0], "must be non-negative", "[1] = -1.0"),
}

SAMPLING = {
    "nobody": (lambda: Offline(), "at least one behaviour policy", "Offline(mu)"),
    "nan mu": (lambda: Offline([0.5, NAN]), "mu must be finite", "mu[1] = nan"),
    "unnormalised mu": (lambda: Offline([0.5, 0.6]), "sum of mu must be 1", "= 1.1", "divide"),
    "second mu": (lambda: Offline([0.5, 0.5], [0.5, -0.5]), "mu2 must be non-negative", "mu2[1] = -0.5"),
    "three for two": (
        lambda: fixed_point(CoPG(1.0), WORLD, Offline(POLICY, POLICY, POLICY)),
        "CoPG looks at groups of k = 2",
        "3 behaviour policies",
        "give 1",
    ),
    "mu outside the reference": (
        lambda: fixed_point(CoPG(1.0), HOLE, MU),
        "mu must be zero where the reference is zero",
        "mu[2] = 0.3",
        "give the reference mass or do not sample the arm",
    ),
    "pairs outside the reference": (
        lambda: fixed_point(IPO(1.0), HOLE, Pairs(np.full((3, 3), 1 / 9))),
        "zero where the reference is zero",
        "[2]",
    ),
    "data outside the reference": (
        lambda: fixed_point(IPO(1.0), HOLE, Dataset([(0, 2)])),
        "zero where the reference is zero",
        "[2]",
    ),
    "mu of other arms": (
        lambda: fixed_point(CoPG(1.0), WORLD, Offline([0.5, 0.5])),
        "same number of arms",
        "2 and 3",
    ),
    "joint not square": (
        lambda: Pairs(np.full((2, 3), 1 / 6)),
        "joint must have shape (..., A, A)",
        "(2, 3)",
    ),
    "negative joint": (
        lambda: Pairs([[0.6, 0.6], [0.0, -0.2]]),
        "joint must be non-negative",
        "joint[1, 1] = -0.2",
    ),
    "unnormalised joint": (lambda: Pairs(np.full((2, 2), 0.3)), "joint", "must be 1", "= 1.2"),
    "empty data": (lambda: Dataset([]), "at least one (winner, loser) pair", "empty"),
    "data of floats": (lambda: Dataset([(0.0, 1.0)]), "pairs must be integers of shape (N, 2)", "float64"),
    "triples": (lambda: Dataset([(0, 1, 2)]), "pairs must be integers of shape (N, 2)", "(1, 3)"),
    "negative index": (
        lambda: Dataset([(0, 1), (-1, 2)]),
        "pairs must be indices",
        "pairs[1, 0] = -1",
        "from 0",
    ),
    "index out of range": (
        lambda: fixed_point(IPO(1.0), WORLD, Dataset([(0, 1), (1, 3)])),
        "pairs must be indices below 3",
        "pairs[1, 1] = 3",
        "no such arm",
    ),
    "an arm with itself": (lambda: Dataset([(0, 1), (2, 2)]), "two different arms", "pairs[1] = 2", "drop"),
    "pairs for three": (
        lambda: fixed_point(CoPG(1.0, k=3), WORLD, Dataset([(0, 1)])),
        "Dataset gives pairs",
        "k = 3",
        "use Offline(mu) or OnPolicy()",
    ),
    "pairs for one": (
        lambda: fixed_point(DRO(1.0), WORLD, Pairs(np.full((3, 3), 1 / 9))),
        "Pairs gives pairs",
        "k = 1",
    ),
    "Nash-MD off-policy": (
        lambda: fixed_point(NashMD(1.0), WORLD, MU),
        "NashMD",
        "takes OnPolicy()",
        "Offline",
    ),
    "online IPO off-policy": (
        lambda: fixed_point(OnlineIPO(1.0), WORLD, Dataset([(0, 1)])),
        "OnlineIPO",
        "takes OnPolicy()",
        "use IPO",
    ),
    "no group size": (
        lambda: fixed_point(NoGroupSize(), WORLD, MU),
        "NoGroupSize has no attribute k",
        "k = 1",
    ),
    "one coefficient for two": (
        lambda: expected_update(OneCoefficient(), WORLD, MU, POLICY),
        "OneCoefficient.update must return",
        "one coefficient for each of the k = 2 samples",
    ),
    "policy off the sampler": (
        lambda: expected_update(CoPG(1.0), WORLD, MU, [0.5, 0.5, 0.0]),
        "policy must be positive where the sampler has mass",
        "policy[2] = 0.0",
        "give the arm some mass",
    ),
    "start off the sampler": (
        lambda: fixed_point(CoPG(1.0), WORLD, MU, start=[0.5, 0.5, 0.0]),
        "positive where the sampler has mass",
        "[2] = 0.0",
    ),
    "start outside the reference": (
        lambda: fixed_point(CoPG(1.0), HOLE, Offline([0.5, 0.5, 0.0]), start=POLICY),
        "start must be zero where the reference is zero",
        "start[2] = 0.3",
        "inside the reference's support",
    ),
    "unnormalised start": (
        lambda: fixed_point(CoPG(1.0), WORLD, MU, start=[0.5, 0.5, 0.5]),
        "sum of start must be 1",
        "= 1.5",
    ),
    "no loss": (
        lambda: expected_loss(RLOO(1.0), WORLD, MU, POLICY),
        "RLOO has no loss",
        "use expected_update",
    ),
    "attractors of contexts": (
        lambda: fixed_points(CoPG(1.0), Bandit(np.zeros((2, 3))), MU),
        "fixed_points takes one context",
        "(2,)",
        "bandit.at",
    ),
    "a seed for a generator": (
        lambda: fixed_points(ReMax(1.0), WORLD, MU, rng=0),
        "rng must be a numpy.random.Generator",
        "rng = 0",
        "np.random.default_rng(seed)",
    ),
}

HYPER = {
    "k of zero": (lambda: PolicyGradient(1.0, k=0), "k must be an integer of at least 1", "k = 0"),
    "rloo of one": (lambda: RLOO(1.0, k=1), "k must be an integer of at least 2", "k = 1"),
    "copg of a half": (lambda: CoPG(1.0, k=2.5), "k must be an integer of at least 2", "k = 2.5"),
    "k of true": (lambda: CoPG(1.0, k=True), "k must be an integer", "k = True"),
    "baseline of nan": (lambda: PolicyGradient(1.0, baseline=NAN), "baseline must be a finite number", "nan"),
    "baseline of text": (
        lambda: PolicyGradient(1.0, baseline="E[r]"),
        "baseline must be a finite number",
        "'E[r]'",
    ),
    "mixture": (lambda: NashMD(1.0, mixture=1.5), "mixture must lie in [0, 1]", "mixture = 1.5"),
    "mixture of nan": (lambda: NashMD(1.0, mixture=NAN), "mixture must be a finite number", "nan"),
    "alpha of one": (lambda: SRPO(1.0, alpha=1.0), "alpha must lie strictly between 0 and 1", "alpha = 1.0"),
    "alpha outside": (lambda: SRPO(1.0, alpha=-0.1), "alpha must lie in [0, 1]", "alpha = -0.1"),
    "smoothing": (lambda: DPO(1.0, smoothing=0.5), "smoothing must lie in [0, 1/2)", "smoothing = 0.5"),
    "flips": (lambda: RobustDPO(1.0, flips=0.5), "flips must lie in [0, 1/2)", "flips = 0.5", "swap winner"),
    "flips of text": (lambda: RobustDPO(1.0, flips="a few"), "flips must be a finite number"),
    "certain labels": (lambda: EXO(1.0, smoothing=0), "smoothing must lie strictly between 0 and 1/2"),
    "no calibration": (lambda: CalDPO(1.0, weight=0), "weight must be a positive"),
    "no margin loss": (lambda: ConvexLoss(1.0, abs), "f must be a MarginLoss", "MarginLoss(value, slope)"),
    "smoothing of text": (lambda: DPO(1.0, smoothing="a little"), "smoothing must be a finite number"),
    "clip": (
        lambda: ImportanceWeighted(RLOO(1.0), clip=0.0),
        "clip must be a positive",
        "clip = 0.0",
        "math.inf",
    ),
    "clip of nobody": (lambda: PPO(1.0, clip=0.0), "clip must be a positive", "clip = 0.0", "math.inf"),
    "clip of a group": (lambda: GRPO(1.0, clip=-0.2), "clip must be a positive", "clip = -0.2"),
    "clip of r-lol": (lambda: RLoL(clip=-0.5), "clip must be a positive", "clip = -0.5", "choose 0"),
    "cap of nobody": (lambda: CISPO(cap=0.0), "cap must be a positive", "cap = 0.0", "math.inf"),
    "cispo's group of one": (lambda: CISPO(k=1), "k must be an integer of at least 2", "k = 1"),
    "cispo's baseline": (lambda: CISPO(baseline=NAN), "baseline must be a finite number", "nan"),
    "topr's baseline": (lambda: TOPR(baseline=INF), "baseline must be a finite number", "inf"),
    "floor below zero": (lambda: GOLD(floor=-0.1), "floor must be a positive", "floor = -0.1", "choose 0"),
    "floor without end": (lambda: GOLD(floor=INF), "floor must be a positive, finite", "inf"),
    "upper clip": (lambda: PPO(1.0, upper_clip=0.0), "upper_clip must be a positive", "upper_clip = 0.0"),
    "clip of a-lol": (lambda: ALoL(clip=-0.5), "clip must be a positive", "clip = -0.5", "choose 0"),
    "group of one": (lambda: GRPO(1.0, k=1), "k must be an integer of at least 2", "k = 1"),
    "ppo of none": (lambda: PPO(1.0, k=0), "k must be an integer of at least 1", "k = 0"),
    "ppo's baseline": (lambda: PPO(1.0, baseline=NAN), "baseline must be a finite number", "nan"),
    "clip of nan": (lambda: ImportanceWeighted(RLOO(1.0), clip=NAN), "clip must be a positive", "clip = nan"),
    "weights upon weights": (
        lambda: ImportanceWeighted(PPO(1.0)),
        "algorithm must not weight its samples itself",
        "PPO does",
    ),
    "weights for an opponent": (
        lambda: ImportanceWeighted(NashMD(1.0)),
        "algorithm must take all its samples from the policy",
        "NashMD",
        "OnPolicy()",
    ),
}

EVERYTHING = WORLDS | SAMPLING | HYPER


@pytest.mark.parametrize("name", EVERYTHING)
def test_the_message_says_what_where_and_what_to_do(name):
    call, *words = EVERYTHING[name]
    _refused(call, *words)


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("name", BAD_POLICIES)
def test_a_bad_policy_is_refused_by_every_question(name, question):
    policy, *words = BAD_POLICIES[name]
    _refused(lambda: QUESTIONS[question](policy), "policy", *words)


def test_the_opponent_is_named_where_it_is_wrong():
    for call in (
        lambda: WORLD.win_rate(POLICY, [0.5, 0.6, -0.1]),
        lambda: WORLD.best_response([0.5, 0.6, -0.1], 1.0),
        lambda: WORLD.preference_over([0.5, 0.6, -0.1]),
    ):
        _refused(call, "opponent must be non-negative", "opponent[2] = -0.1")


def test_contexts_of_a_policy_that_do_not_fit_are_refused():
    world = Bandit(np.zeros((2, 3)))
    policy = np.full((4, 3), 1 / 3)
    for call in (lambda: world.value(policy, 1.0), lambda: world.regret(policy, 1.0)):
        _refused(call, "contexts of policy and the bandit must broadcast", "(4, 3) and (2, 3)")


WITHOUT_A_KL = {
    "AsymRE",
    "DAPO",
    "DrGRPO",
    "GRPO",
    "GSPO",
    "MaxRL",
}  # of those that have a beta: their docstring says where they end at zero


def test_beta_zero_is_taken_by_those_that_say_where_they_end_without_a_kl():
    """By exactly these; those that have no beta never had a KL."""
    taken = set()
    for cls in (cls for cls in ALGORITHMS if "beta" in cls.__dataclass_fields__):
        try:
            assert cls(beta=0.0).beta == cls(beta=0).beta == 0.0
        except ValueError:
            continue
        taken.add(cls.__name__)
        module = inspect.getdoc(inspect.getmodule(cls))
        assert "without a KL (beta = 0) it ends" in " ".join(module.split())
    assert taken == WITHOUT_A_KL


@pytest.mark.parametrize("beta", [0.0, -1.0, NAN, INF, "0.5", None, [0.5]], ids=str)
def test_beta_must_be_positive_and_finite_everywhere(beta):
    for algorithm in (cls for cls in ALGORITHMS if "beta" in cls.__dataclass_fields__):
        if beta == 0 and algorithm.__name__ in WITHOUT_A_KL:
            continue
        _refused(
            lambda algorithm=algorithm: algorithm(beta=beta),
            "beta must be a positive, finite number",
            "beta = ",
        )
    for method in ("optimal_policy", "optimal_value", "nash_policy"):
        _refused(lambda method=method: getattr(WORLD, method)(beta), "beta must be a positive, finite number")
    for method in ("value", "regret", "duality_gap", "best_response"):
        _refused(
            lambda method=method: getattr(WORLD, method)(POLICY, beta),
            "beta must be a positive, finite number",
        )


LEARN_FROM_REWARDS = [name for name, row in every_row().items() if row.reads("reward")]


@pytest.mark.parametrize("name", LEARN_FROM_REWARDS)
def test_a_world_of_preferences_has_no_reward_to_learn_from(name):
    algorithm = every_row()[name].make(1.0)
    for sampling in (MU, OnPolicy()):
        _refused(lambda sampling=sampling: fixed_point(algorithm, GAME, sampling), "reward")
        _refused(lambda sampling=sampling: expected_update(algorithm, GAME, sampling, POLICY), "reward")


def test_a_solver_that_has_no_answer_hands_over_what_it_knows():
    """Bad input is no ValueError alone: the limit policy travels with it."""
    with pytest.raises(NoFixedPoint) as refusal:
        fixed_point(DPO(1.0), WORLD, Dataset([(0, 1)]))
    assert isinstance(refusal.value.solution, Solution)
    assert isinstance(refusal.value, ValueError)


def test_importance_weights_can_be_wrapped_around_what_needs_no_opponent():
    assert ImportanceWeighted(OnlineIPO(1.0)).k == 2


def _refused(call, *words: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  the words are checked one by one
        call()
    message = str(refusal.value)
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"
