"""Laws of the frontier: weights are the optimum, the jackknife is a deletion, few samples are a gap."""

from __future__ import annotations

import importlib.util
import sys
from itertools import combinations
from pathlib import Path

import enumerable
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import binom

from bandits import Bandit
from bandits.policy import kl
from bandits.selection import best_of_n
from llm.decode import sample_completions, uniform_noise
from llm.exact import as_bandit, enumerate_completions
from llm.frontier import best_of, frontier, optimum, regret
from llm.frontier.optimum import of_mean

CAMPAIGN = Path(__file__).parents[1] / "campaigns" / "frontier.py"
EXACT = {"rtol": 1e-9, "atol": 1e-11}  # two orders of summation in float64


def uneven(seed: int, prompts: int = 3, n: int = 7) -> dict[str, np.ndarray]:
    """Rewards, and log-probabilities of a sampler that is not the reference."""
    rng = np.random.default_rng(seed)
    reward = rng.normal(size=(prompts, n)) + 3 * rng.normal(size=(prompts, 1))
    own, its = -rng.gamma(3.0, size=(2, prompts, n))
    return {"rewards": reward, "reference_log_prob": own, "behavior_log_prob": its}


def by_sums(reward: np.ndarray, log_weight: np.ndarray, beta: float) -> np.ndarray:
    """Reward, KL and value of one prompt as chapter 9 of Owen writes them: sums of weights."""
    log_w = log_weight + reward / beta
    log_mean = logsumexp(log_w) - np.log(len(reward))
    mean = np.exp(log_w - logsumexp(log_w)) @ reward
    return np.array([mean, mean / beta - log_mean, beta * log_mean])


def by_deletion(reward: np.ndarray, log_weight: np.ndarray, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """The jackknife, by leaving each sample out and starting again."""
    n = len(reward)
    without = [by_sums(np.delete(reward, i), np.delete(log_weight, i), beta) for i in range(n)]
    corrected = n * by_sums(reward, log_weight, beta) - (n - 1) * np.mean(without, axis=0)
    return corrected, np.sqrt((n - 1) ** 2 / n * np.var(without, axis=0, ddof=1))


# ---- pi* --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.15, 0.7, 30.0])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_jackknife_is_what_leaving_each_sample_out_gives(beta, elsewhere):
    given = uneven(1)
    log_weight = given["reference_log_prob"] - given["behavior_log_prob"] if elsewhere else np.zeros((3, 7))
    found = optimum(**given if elsewhere else {"rewards": given["rewards"]}, betas=[beta], min_ess=1)
    for x in range(3):
        value, se = by_deletion(given["rewards"][x], log_weight[x], beta)
        assert_allclose([found.reward[0, x], found.kl[0, x], found.value[0, x]], value, **EXACT)
        assert_allclose([found.reward_se[0, x], found.kl_se[0, x], found.value_se[0, x]], se, **EXACT)


def test_the_mean_over_prompts_has_both_standard_errors():
    """On these prompts sqrt(sum se^2)/N, of prompts like these sd/sqrt(N); the size is a harmonic mean."""
    given = uneven(2, prompts=5)
    each, mean = (of(**given, betas=[0.5, 2.0], min_ess=1) for of in (optimum, frontier))
    for name in ("reward", "kl"):
        values, se = getattr(each, name), getattr(each, f"{name}_se")
        assert_allclose(getattr(mean, name), values.mean(-1), **EXACT)
        assert_allclose(getattr(mean, f"{name}_se"), np.sqrt((se**2).sum(-1)) / 5, **EXACT)
        assert_allclose(getattr(mean, f"{name}_total_se"), values.std(-1, ddof=1) / np.sqrt(5), **EXACT)
    assert_allclose(mean.ess, 5 / (1 / each.ess).sum(-1), **EXACT)


def test_the_samples_are_a_bandit_whose_optimum_the_weights_are():
    """J* of the bandit of all samples and of those without each, corrected."""
    reward = uneven(3)["rewards"]
    n = reward.shape[1]
    found = optimum(reward, [0.6], min_ess=1)
    without = np.stack([Bandit(np.delete(reward, i, axis=1)).optimal_value(0.6) for i in range(n)])
    whole = Bandit(reward).optimal_value(0.6)
    assert_allclose(found.value[0], n * whole - (n - 1) * without.mean(0), **EXACT)


@pytest.mark.parametrize(("mass", "beta"), [(0.25, 0.5), (0.125, 0.5), (0.3, 2.0)])
def test_t10_3_the_bias_of_first_order_is_gone(mass, beta):
    """Answers 1 and 0, the mean over all samples, count by count: twice the samples, a quarter of the bias.

    What is left may also hold 1/n^3: between 1/3 and 1/6.  Without the correction it would be one half.
    """
    right = exact(Bandit([1.0, 0.0], reference=[mass, 1 - mass]), beta)
    left = []
    for n in (64, 128):
        samples = np.array([[1.0] * k + [0.0] * (n - k) for k in range(n + 1)])
        found, share = optimum(samples, [beta], min_ess=1), binom.pmf(np.arange(n + 1), n, mass)
        left.append([share @ found.reward[0] - right[0], share @ found.kl[0] - right[1]])
    ratio = np.divide(*left)
    assert (ratio > 3).all() and (ratio < 6).all()
    if (mass, beta) == (0.25, 0.5):  # the numbers of T10.3
        assert_allclose(right, [0.71123, 0.46801], atol=5e-6)
        assert_allclose(left, [[0.00029, 0.00045], [0.00007, 0.00011]], rtol=0, atol=5e-6)


def test_where_nothing_is_better_nothing_is_spent():
    """Equal rewards: a KL of zero, all samples count; a constant moves rewards and values alone."""
    found = frontier(np.full((2, 50), 3.25), [1e-3, 1.0, 1e3])
    assert_allclose(found.kl, 0, rtol=0, atol=1e-13)  # 50 terms of 1e-16
    assert_allclose(found.reward, 3.25, rtol=1e-13)
    assert_allclose(found.ess, 50, rtol=1e-12)
    reward = uneven(4, n=400)["rewards"]
    here, moved = (optimum(reward + shift, [2.0], min_ess=1) for shift in (0.0, 100.0))
    assert_allclose(moved.kl, here.kl, rtol=1e-9)
    assert_allclose(moved.value, here.value + 100, rtol=1e-11)


@pytest.fixture(scope="module")
def world() -> tuple[Bandit, np.ndarray]:
    """A language model of 40 answers at three prompts, and 1024 samples of each that it made itself: arms."""
    model, worlds, arms = enumerable.tiny_model("gpt2"), [], []
    rng = np.random.default_rng(5)
    for number, prompt in enumerate(([0, 1], [3, 1], [1, 0])):
        x = torch.tensor(prompt)
        with torch.no_grad():
            answers = enumerate_completions(model, x, 3)
        worlds.append(as_bandit(answers, rng.normal(size=40) + 2.0 * (rng.random(40) < 0.05)))
        noise = uniform_noise([7], [number], 1024, 3)
        drawn = sample_completions(model, x[None], torch.ones(1, 2, dtype=torch.bool), noise, eos_token_id=2)
        both = zip(answers.tokens.tolist(), answers.lengths.tolist(), strict=True)
        place = {tuple(y[:n]): i for i, (y, n) in enumerate(both)}
        arms.append([place[tuple(y)] for y in drawn.ids[0]])
    reward, reference = (
        np.stack([getattr(each, name) for each in worlds]) for name in ("reward", "reference")
    )
    return Bandit(reward, reference=reference), np.array(arms)


def exact(world: Bandit, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """Reward and KL of pi*, by enumeration."""
    policy = world.optimal_policy(beta)
    return (policy * world.reward).sum(-1), kl(np.log(policy), world.log_reference)


def test_the_frontier_by_weights_is_that_of_all_completions(world):
    """20 betas, three prompts and their mean: within 4 of its standard errors, and 2 in the square mean."""
    bandit, arms = world
    betas = np.geomspace(0.6, 20, 20)
    reward = np.take_along_axis(bandit.reward, arms, -1)
    right = np.array([exact(bandit, beta) for beta in betas])  # (20, 2, 3)
    mean, each = frontier(reward, betas), optimum(reward, betas)
    assert np.isfinite(mean.reward).sum() >= 15 and np.isfinite(each.reward).mean() > 0.6
    errors = [
        (mean.reward - right[:, 0].mean(-1)) / mean.reward_se,
        (mean.kl - right[:, 1].mean(-1)) / mean.kl_se,
        (each.reward - right[:, 0]) / each.reward_se,
        (each.kl - right[:, 1]) / each.kl_se,
    ]
    for error in errors:
        seen = error[np.isfinite(error)]
        assert np.abs(seen).max() < 4 and np.sqrt(np.mean(seen**2)) < 2


def test_samples_of_a_tilted_sampler_reach_smaller_beta(world):
    """Half of them of pi* at .4: right where the reference's own samples leave a gap."""
    bandit, arms = world
    rng, tilted = np.random.default_rng(8), bandit.optimal_policy(0.4)
    more = np.stack([rng.choice(40, size=512, p=policy) for policy in tilted])
    both = np.concatenate([arms[:, :512], more], axis=-1)
    take = lambda x, at: np.take_along_axis(x, at, -1)  # noqa: E731
    mixture = np.log((bandit.reference + tilted) / 2)
    how = {"reference_log_prob": take(bandit.log_reference, both), "behavior_log_prob": take(mixture, both)}
    betas = np.array([0.15, 0.2, 0.3])
    alone = frontier(take(bandit.reward, arms), betas, min_ess=150)
    found = frontier(take(bandit.reward, both), betas, min_ess=150, **how)
    right = np.array([exact(bandit, beta) for beta in betas]).mean(-1)
    assert np.isnan(alone.reward[:2]).all() and np.isfinite(found.reward).all()
    assert np.abs((found.reward - right[:, 0]) / found.reward_se).max() < 4
    assert np.abs((found.kl - right[:, 1]) / found.kl_se).max() < 4
    wrong = frontier(take(bandit.reward, both), betas, min_ess=1)  # as if all were of the reference
    assert np.abs((wrong.kl - right[:, 1]) / wrong.kl_se).min() > 10


@pytest.fixture(scope="module")
def campaign():
    spec = importlib.util.spec_from_file_location("campaign_of_the_frontier", CAMPAIGN)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_95_percent_of_intervals_cover_where_a_point_is_drawn_and_far_fewer_where_not(campaign):
    """100 draws of 20 prompts, n = 64; all of it: tests/campaigns/frontier.py.

    Nominal .95; 4 binomial errors of 100 draws below the least that is asked for, .90.
    """
    cover, miss = campaign.coverage(campaign.KINDS[0], 64, 100, betas=[3.0, 0.6], shape=(20, 500))
    size, *both = cover.mean
    assert size > of_mean(64) - 2 and all(0.90 - 4 * np.sqrt(0.09 / 100) < share <= 1 for share in both)
    size, *both = miss.mean
    assert size < 24 and max(both) < 0.7


def test_few_heavy_weights_are_a_gap_and_never_a_number():
    """One sample counts, as the rest underflow; in the mean the others do not hide it."""
    reward = np.zeros((2, 100))
    reward[0, 3] = 1.0
    for found in (optimum(reward, [1e-6]), frontier(reward, [1e-6]), optimum(reward, [1e-6], min_ess=1)):
        assert np.isnan(found.kl.flat[0]) and np.isnan(found.reward_se.flat[0])
    assert_allclose(optimum(reward, [1e-6], min_ess=1).ess, [[1, 100]], rtol=1e-12)
    assert_allclose(frontier(reward, [1e-6]).ess, 2 / (1 + 1 / 100), rtol=1e-12)


# ---- the best of n ----------------------------------------------------------------------------------------


def plain_kl(reward: np.ndarray, n: int) -> float:
    """KL of the best of n of the samples as arms of one mass, by T9.2's law; equal rewards are one arm."""
    levels, counts = np.unique(reward, return_counts=True)
    share = counts / counts.sum()
    best = best_of_n(levels, share, n)
    return float((best * np.log(best / share)).sum())


@pytest.mark.parametrize("n", [1, 2])
def test_the_best_of_n_is_the_mean_over_all_subsets(n):
    """Rewards with ties: all subsets one by one, and the jackknife by leaving each sample out."""
    reward = np.random.default_rng(6).normal(size=(2, 16)).round(1)
    reward[1] = np.random.default_rng(7).integers(4, size=16)
    found = best_of(reward, [n])
    per_prompt = [subsets_and_deletion(row, n) for row in reward]
    best, best_se, divergence, divergence_se = np.array(per_prompt).T
    assert_allclose(found.reward, [best.mean()], **EXACT)
    assert_allclose(found.reward_se, [np.sqrt((best_se**2).sum()) / 2], **EXACT)
    assert_allclose(found.kl, [divergence.mean()], **EXACT)
    assert_allclose(found.kl_se, [np.sqrt((divergence_se**2).sum()) / 2], **EXACT)


def subsets_and_deletion(row: np.ndarray, n: int) -> tuple[float, float, float, float]:
    def mean_best(samples: np.ndarray) -> float:
        return float(np.mean([max(subset) for subset in combinations(samples, n)]))

    N = len(row)
    without = np.array(
        [[f(np.delete(row, i)) for f in (mean_best, lambda x: plain_kl(x, n))] for i in range(N)]
    )
    se = np.sqrt((N - 1) ** 2 / N * without.var(axis=0, ddof=1))
    divergence = N * plain_kl(row, n) - (N - 1) * without[:, 1].mean()
    return mean_best(row), se[0], divergence, se[1]


def test_the_best_of_n_is_that_of_the_enumerated_model(world):
    bandit, arms = world
    sizes = [1, 2, 4, 16, 64]
    found = best_of(np.take_along_axis(bandit.reward, arms, -1), sizes)
    policies = [best_of_n(bandit.reward, bandit.reference, n) for n in sizes]
    right = [(policy * bandit.reward).sum(-1).mean() for policy in policies]
    spent = [kl(np.log(policy), bandit.log_reference).mean() for policy in policies]
    assert_array_less_than_errors(found.reward - right, found.reward_se)
    assert_array_less_than_errors(found.kl - spent, found.kl_se)
    assert (found.kl <= found.kl_bound + 4 * found.kl_se).all() and found.kl_bound[0] == 0


def assert_array_less_than_errors(difference: np.ndarray, se: np.ndarray) -> None:
    assert (np.abs(difference) <= 4 * se + 1e-12).all(), difference / se


def test_where_no_two_samples_tie_the_kl_is_the_bound():
    """log n - (n - 1)/n, but for what 512 samples do not resolve: of order (n/512)^2."""
    found = best_of(np.random.default_rng(8).normal(size=(2, 512)), [2, 8, 64])
    assert (np.abs(found.kl - found.kl_bound) < (found.n / 512) ** 2).all()
    assert_allclose(found.kl_se, 0, rtol=0, atol=1e-7)


def test_the_best_of_too_many_is_a_gap():
    found = best_of(np.random.default_rng(9).normal(size=(3, 64)), [16, 17])
    assert np.isfinite(found.reward[0]) and np.isnan([found.reward[1], found.kl[1], found.kl_se[1]]).all()


# ---- regret -----------------------------------------------------------------------------------------------


def test_the_regret_is_beta_times_the_kl_to_the_optimum(world):
    """T1.2 by enumeration, at eight times three prompts."""
    bandit, arms = world
    rng, beta = np.random.default_rng(10), 3.0
    policy = bandit.reference ** np.array([[0.5], [1.3], [0.8]]) * np.exp(0.3 * bandit.reward)
    policy /= policy.sum(-1, keepdims=True)
    reward = np.take_along_axis(bandit.reward, arms, -1).reshape(3 * 8, 128)  # 8 times 128 of each prompt
    own = np.stack([rng.choice(40, size=50, p=row) for row in policy for _ in range(8)])
    places = np.repeat(np.arange(3), 8)[:, None]
    h = np.log(policy / bandit.reference)[places, own]
    found = regret(reward, beta, bandit.reward[places, own], h)
    right = bandit.regret(policy, beta).mean()
    assert right > 0.1 and abs(found.mean - right) < 4 * (found.high - found.low) / (2 * 1.96)
    assert found.low > 0


def test_what_makes_a_prompt_easy_for_both_is_not_in_the_interval():
    """Rewards of prompts that differ by 100: the interval is that of the differences."""
    rng = np.random.default_rng(11)
    level = 100 * rng.normal(size=(30, 1))
    found = regret(
        level + rng.normal(size=(30, 64)), 3.0, level + rng.normal(size=(30, 4)), np.zeros((30, 4))
    )
    assert found.high - found.low < 1


def test_a_regret_without_enough_samples_is_a_gap():
    found = regret(np.random.default_rng(12).normal(size=(5, 64)), 0.05, np.zeros(5), np.zeros(5))
    assert np.isnan([found.mean, found.low, found.high]).all()


# ---- bad input --------------------------------------------------------------------------------------------

GOOD = {"rewards": [[0.0, 1.0, 2.0], [1.0, 0.0, 0.5]], "betas": [1.0]}
LOG_PROBS = [[-1.0, -2.0, -3.0]] * 2
BAD = [
    ({"rewards": [[0.0, np.nan], [0.0, 1.0]]}, r"rewards must be finite, but rewards\[0, 1\] = nan"),
    ({"rewards": [[0.0], [1.0]]}, r"n >= 2 completions of each, but its shape is \(2, 1\); sample more"),
    ({"rewards": [0.0, 1.0]}, r"rewards must be \(prompts, n\).*its shape is \(2,\)"),
    ({"betas": [1.0, 0.0]}, r"betas\[1\] must be a positive, finite number, but betas\[1\] = 0.0"),
    ({"betas": [-1.0]}, r"betas\[0\] must be a positive"),
    ({"betas": 1.0}, r"betas must be a list of at least one, but its shape is \(\)"),
    ({"betas": []}, r"betas must be a list of at least one, but its shape is \(0,\)"),
    ({"min_ess": 0.5}, "min_ess must be at least 1, but min_ess = 0.5; 1 lets everything pass"),
    ({"min_ess": np.nan}, "min_ess must be a finite number"),
    ({"reference_log_prob": LOG_PROBS}, "behavior_log_prob must be given with the other, but is None"),
    ({"behavior_log_prob": LOG_PROBS}, "reference_log_prob must be given with the other, but is None"),
    (
        {"reference_log_prob": LOG_PROBS[:1], "behavior_log_prob": LOG_PROBS},
        r"reference_log_prob must have the shape of rewards \(2, 3\), but has \(1, 3\)",
    ),
    (
        {"reference_log_prob": LOG_PROBS, "behavior_log_prob": [[0.1, 0.2, 0.7]] * 2},
        r"behavior_log_prob must be at most 0, but behavior_log_prob\[0, 0\] = 0.1; give logarithms",
    ),
]


@pytest.mark.parametrize("of", [frontier, optimum])
@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input_is_refused(of, change, message):
    with pytest.raises(ValueError, match=message):
        of(**GOOD | change)


@pytest.mark.parametrize(
    ("n", "message"),
    [
        ([0], r"n\[0\] must be an integer of at least 1, but n\[0\] = 0"),
        ([1, 2.5], r"n\[0\] must be an integer of at least 1, but n\[0\] = 1.0"),
        (2, r"n must be a list of at least one, but its shape is \(\)"),
    ],
)
def test_a_bad_size_of_the_best_is_refused(n, message):
    with pytest.raises(ValueError, match=message):
        best_of(GOOD["rewards"], n)


def test_a_policy_of_other_prompts_is_refused():
    rewards = GOOD["rewards"]
    with pytest.raises(ValueError, match="same prompts as rewards, 2 or more, but there are 3 and 2"):
        regret(rewards, 1.0, np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match=r"must have one shape.*have \(2,\) and \(2, 1\)"):
        regret(rewards, 1.0, np.zeros(2), np.zeros((2, 1)))
    with pytest.raises(ValueError, match="beta must be a positive"):
        regret(rewards, 0.0, np.zeros(2), np.zeros(2))


def test_nothing_is_written_to():
    given = uneven(13)
    before = {name: array.copy() for name, array in given.items()}
    frontier(**given, betas=[0.5]), optimum(**given, betas=[0.5]), best_of(given["rewards"], [1])
    regret(given["rewards"], 0.5, given["rewards"], given["rewards"], min_ess=1)
    for name, array in before.items():
        assert_array_equal(given[name], array)
