"""Laws of the annealed frontier: moves keep pi*, islands are right on average, and agree or are a gap."""

from __future__ import annotations

import importlib.util
import sys
from itertools import islice
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
from llm.chains import Renewal
from llm.exact import as_bandit, enumerate_completions, token_log_probs
from llm.frontier import Annealed, Chains, anneal, frontier
from llm.frontier.annealed import of_islands, selected
from llm.frontier.moves import log_kept, metropolis, windows

CAMPAIGN = Path(__file__).parents[1] / "campaigns" / "annealed.py"
PROMPTS = ([0, 1], [3, 1], [1, 0])
T, ARMS, END = 3, 40, 2


class Spelled:
    """A tokenizer whose texts are the numbers of the tokens."""

    eos_token_id = END

    def batch_decode(self, ids: list[list[int]], *, skip_special_tokens: bool) -> list[str]:
        return [" ".join(map(str, y)) for y in ids]


@pytest.fixture(scope="module")
def world() -> tuple[Bandit, Renewal, Chains]:
    """A language model of 40 answers at three prompts: as a bandit, as what samples, and all answers."""
    model, rng = enumerable.tiny_model("gpt2"), np.random.default_rng(5)
    bandits, tokens, log_probs, value = [], [], [], {}
    for x in PROMPTS:
        with torch.no_grad():
            answers = enumerate_completions(model, torch.tensor(x), T)
            log_probs.append(token_log_probs(model, torch.tensor(x), answers).numpy())
        tokens.append(np.where(answers.mask, answers.tokens, -1))
        reward = rng.normal(size=ARMS) + 2.0 * (rng.random(ARMS) < 0.05)
        bandits.append(as_bandit(answers, reward))
        texts = Spelled().batch_decode([y[y >= 0].tolist() for y in tokens[-1]], skip_special_tokens=True)
        value |= {(str(x), text): r for text, r in zip(texts, reward, strict=True)}
    rows = [{"prompt": str(x), "prompt_ids": x} for x in PROMPTS]
    renewal = Renewal(
        model, rows, Spelled(), lambda xs, ys, _: [value[x, y] for x, y in zip(xs, ys, strict=True)]
    )
    every = Chains(np.array(tokens), np.array(log_probs), np.array([each.reward for each in bandits]))
    reference = np.array([each.reference for each in bandits])
    return Bandit(every.reward, reference=reference), renewal, every


def proposals(every: Chains, x: int, start: int, stop: int) -> np.ndarray:
    """q(y'|y) of a window at a prompt, (40, 40), as the docstring of `moves` says it, pair by pair."""
    tokens, log_prob = every.tokens[x], every.log_prob[x]
    length = (tokens >= 0).sum(-1)
    found = np.zeros((ARMS, ARMS))
    for i in range(ARMS):
        for j in range(ARMS):
            if length[i] <= start:
                found[i, j] = i == j
            elif length[j] <= start or (tokens[i, :start] != tokens[j, :start]).any():
                continue
            elif min(length[i], length[j]) <= stop:
                found[i, j] = np.exp(log_prob[j, start:].sum())
            elif (tokens[i, stop:] == tokens[j, stop:]).all():
                found[i, j] = np.exp(log_prob[j, start:stop].sum())
    return found


WINDOWS = [(start, stop) for start in range(T) for stop in range(start + 1, T + 1)]


def pairs(every: Chains, x: int) -> tuple[Chains, Chains]:
    """Every answer of a prompt beside every other, one prompt of 1600 chains."""
    at = [np.repeat(np.arange(ARMS), ARMS), np.tile(np.arange(ARMS), ARMS)]
    old, new = (Chains(*(field[x : x + 1, index] for field in every)) for index in at)
    return old, new


@pytest.mark.parametrize("window", WINDOWS)
def test_t10_4_a_move_is_reversible_and_keeps_pi_star(world, window):
    """The exact matrix of transitions over all answers: pi_i K_ij = pi_j K_ji, hence pi K = pi."""
    bandit, _, every = world
    for x, beta in ((0, 0.2), (1, 0.7), (2, np.inf)):
        policy = bandit.reference[x] if beta == np.inf else bandit.optimal_policy(beta)[x]
        old, new = pairs(every, x)
        propose = proposals(every, x, *window)
        assert_allclose(propose.sum(-1), 1, rtol=1e-12)
        slope = 0.0 if beta == np.inf else 1 / beta
        given = (old, lambda *_, new=new: new, window, slope, np.random.default_rng(0))
        flow = policy[:, None] * propose * metropolis(*given).taken.reshape(ARMS, ARMS)
        assert_allclose(flow, flow.T, rtol=1e-10, atol=1e-15)
        stay = np.diag(1 - (flow / policy[:, None]).sum(-1) + np.diag(flow) / policy)
        K = flow / policy[:, None]
        assert_allclose(policy @ (K - np.diag(np.diag(K)) + stay), policy, rtol=1e-10)


@pytest.mark.parametrize("window", [(0, 2), (1, 2)])
def test_without_the_ratio_of_what_is_kept_a_move_is_not_reversible(world, window):
    """The twin of the law above: taken as if nothing were behind."""
    bandit, _, every = world
    policy, propose = bandit.optimal_policy(0.7)[0], proposals(every, 0, *window)
    rise = bandit.reward[0] - bandit.reward[0][:, None]
    flow = policy[:, None] * propose * np.exp(np.minimum(rise / 0.7, 0))
    assert np.abs(flow - flow.T).max() > 1e-4


@pytest.mark.parametrize("window", WINDOWS)
def test_the_model_proposes_what_the_moves_ask_for(world, window):
    """From each of the 40 answers, 60 times: no count of the 4800 that its probability makes one in 10^7."""
    _, renewal, every = world
    many = 60
    chains = Chains(*(np.repeat(field, many, axis=1) for field in every))
    new = renewal(chains, *window, np.random.default_rng(1))
    code = np.array([25, 5, 1])  # tokens are -1 ... 3
    for x in range(len(PROMPTS)):
        place = {int((y + 1) @ code): i for i, y in enumerate(every.tokens[x])}
        arms = np.array([place[int((y + 1) @ code)] for y in new.tokens[x]])
        assert_allclose(new.log_prob[x], every.log_prob[x][arms], rtol=0, atol=1e-12)
        assert_array_equal(new.reward[x], every.reward[x][arms])
        seen = np.zeros((ARMS, ARMS))
        np.add.at(seen, (np.repeat(np.arange(ARMS), many), arms), 1)
        q = proposals(every, x, *window)
        assert (binom.cdf(seen, many, q) > 1e-7).all() and (binom.sf(seen - 1, many, q) > 1e-7).all()


def test_the_chains_of_a_model_start_as_its_samples(world):
    bandit, renewal, every = world
    found = renewal.start(2000, T, np.random.default_rng(2))
    mean = (bandit.reference * bandit.reward).sum(-1)
    assert (np.abs(found.reward.mean(-1) - mean) < 4 * found.reward.std(-1) / np.sqrt(2000)).all()
    entropy = -(bandit.reference * bandit.log_reference).sum(-1)
    own = found.log_prob.sum(-1)
    assert (np.abs(own.mean(-1) + entropy) < 4 * own.std(-1) / np.sqrt(2000)).all()


def exact(bandit: Bandit, betas: np.ndarray) -> np.ndarray:
    """Mean reward and KL of pi* of every beta, by enumeration, (2, betas)."""
    policies = [bandit.optimal_policy(float(beta)) for beta in betas]
    reward = [(policy * bandit.reward).sum(-1).mean() for policy in policies]
    return np.array([reward, [kl(np.log(policy), bandit.log_reference).mean() for policy in policies]])


class Table:
    """The answers of the enumerated model: what it proposes (the law above), without asking it."""

    def __init__(self, bandit: Bandit, every: Chains) -> None:
        self.reference, self.every = bandit.reference, every
        self.law = {
            window: np.array([proposals(every, x, *window) for x in range(len(PROMPTS))]).cumsum(-1)
            for window in WINDOWS
        }

    def chains(self, arms: np.ndarray) -> Chains:
        """With the number of its answer as what else a chain has."""
        prompt = np.arange(len(PROMPTS))[:, None]
        return Chains(*(field[prompt, arms] for field in self.every))

    def start(self, n: int, rng: np.random.Generator) -> Chains:
        upto = self.reference.cumsum(-1)[:, None, :-1]
        return self.chains((rng.random((len(PROMPTS), n, 1)) > upto).sum(-1))

    def propose(self, old: Chains, start: int, stop: int, rng: np.random.Generator) -> Chains:
        same = (old.tokens[:, :, None] == self.every.tokens[:, None]).all(-1)  # (prompts, n, 40)
        upto = self.law[start, stop][np.arange(len(PROMPTS))[:, None], same.argmax(-1)]
        return self.chains((rng.random((*upto.shape[:2], 1)) > upto[..., :-1]).sum(-1))


def test_the_annealed_frontier_is_that_of_all_completions(world):
    """20 betas where weights of as many samples are a gap: within 4 errors, and 2 in the square mean."""
    bandit, _, every = world
    table, betas = Table(bandit, every), np.geomspace(3.0, 0.06, 26)
    start = table.start(512, np.random.default_rng(3))
    found = anneal(start, table.propose, betas, moves=8, islands=8, seed=4).frontier()
    plain = table.start(512, np.random.default_rng(6)).reward
    assert np.isnan(frontier(plain, betas[6:]).reward).all() and np.isfinite(found.reward).all()
    reward, spent = exact(bandit, betas)
    errors = ((found.reward - reward) / found.reward_se)[6:], ((found.kl - spent) / found.kl_se)[6:]
    for error in errors:
        assert np.abs(error).max() < 4 and np.sqrt(np.mean(error**2)) < 2
    assert spent[-1] > 2.5


def test_the_chains_of_a_model_anneal_as_those_of_its_table(world):
    """From the reference to .25 in three steps: the same J* at every prompt, within 4 standard errors."""
    bandit, renewal, every = world
    betas, rng = np.array([1.0, 0.5, 0.25]), np.random.default_rng(7)
    start = renewal.start(64, T, rng)
    value = anneal(start, renewal, betas, moves=3, islands=8, seed=9).value()
    right = np.array([bandit.optimal_value(float(beta)) for beta in betas])
    assert (np.abs(value.value - right) < 4 * value.se).all()


# ---- worlds of independent tokens, where pi* is known at many nats -----------------------------------------


@pytest.fixture(scope="module")
def campaign():
    spec = importlib.util.spec_from_file_location("campaign_of_the_annealed", CAMPAIGN)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_t10_4_islands_are_right_on_average_however_few_the_moves(campaign):
    """E[Z^] = Z, E[Z^ r^] = Z E[r]: 20 000 times one prompt, islands of 2 chains, one move, far betas.

    Within 4 standard errors; -E[log Z^] is off by far more.
    """
    rng = np.random.default_rng(1)
    one = campaign.Tokens.drawn(rng, 1, longest=3, vocabulary=3, end=0.3)
    world = one.repeated(20_000)
    betas = np.array([1.0, 0.5, 0.3])
    found = anneal(world.start(6, rng), world.propose, betas, moves=1, islands=3, seed=2)
    for i, beta in enumerate(betas):
        reward, log_z = (float(x[0]) for x in one.exact(float(beta)))
        z = np.exp(found.log_z[i] - log_z)
        for values, right in ((z, 1.0), (z * found.reward[i], reward)):
            se = values.mean(-1).std() / np.sqrt(len(values))
            assert abs(values.mean() - right) < 4 * se
    assert abs((found.log_z[-1] - log_z).mean()) > 20 * se


def test_several_nats_are_reached(campaign):
    """Completions of up to 12 tokens, additive rewards, ends that come early: within 4 standard errors."""
    rng = np.random.default_rng(3)
    world = campaign.Tokens.drawn(rng, 30, longest=12, vocabulary=9, end=0.02)
    betas = 1 / np.linspace(0.25, 3, 12)
    result = anneal(world.start(16, rng), world.propose, betas, moves=24, seed=5)
    found = result.frontier(
        min_ess=3.2
    )  # 30 prompts: what the chains lag is within their errors further down
    truth = np.array([world.exact(float(beta)) for beta in betas])
    reward, spent = truth[:, 0].mean(-1), (truth[:, 0] / betas[:, None] - truth[:, 1]).mean(-1)
    assert spent[-1] > 3 and np.isfinite(found.kl).all()
    for error in ((found.reward - reward) / found.reward_se, (found.kl - spent) / found.kl_se):
        seen = error[np.isfinite(error)]
        assert np.abs(seen).max() < 4 and np.sqrt(np.mean(seen**2)) < 2
    best = (truth[:, 1] * betas[:, None])[6]
    assert_allclose(result.value().value[6], best, rtol=0, atol=0.5)  # J* prompt by prompt


def test_log_z_is_the_integral_of_the_reward(campaign):
    """Thermodynamic integration, the second route: d log Z / d(1/beta) = E_{pi*}[r]; by trapezoids."""
    rng = np.random.default_rng(7)
    world = campaign.Tokens.drawn(rng, 40, longest=6, vocabulary=4, end=0.1)
    slopes = np.linspace(0, 2, 21)
    start = world.start(32, rng)
    found = anneal(start, world.propose, 1 / slopes[1:], moves=12, seed=8)
    p = np.exp(found.log_z - logsumexp(found.log_z, axis=-1, keepdims=True))
    reward = np.concatenate([start.reward.mean(-1)[None], (p * found.reward).sum(-1)])
    integral = ((reward[1:] + reward[:-1]) / 2 * np.diff(slopes)[:, None]).sum(0)
    weights = logsumexp(found.log_z[-1], axis=-1) - np.log(4)
    difference = integral - weights
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(40) + 0.02  # and what the chains lag


def test_islands_that_disagree_are_a_gap_from_there_on(campaign):
    """One move at each of three betas far apart; and a later agreement does not bring the curve back."""
    rng = np.random.default_rng(9)
    world = campaign.Tokens.drawn(rng, 20, longest=20, vocabulary=5, end=0.0)
    found = anneal(world.start(8, rng), world.propose, [4.0, 0.3, 0.1], moves=1).frontier()
    assert np.isfinite(found.kl[0]) and np.isnan([*found.kl[1:], *found.reward_se[1:]]).all()
    log_z = np.zeros((3, 2, 4))
    log_z[1, :, 0] = 10.0
    again = Annealed(np.array([3.0, 2.0, 1.0]), log_z, np.ones((3, 2, 4)), np.ones(3)).frontier()
    assert_array_equal(np.isnan(again.kl), [False, True, True])
    assert_allclose(again.ess, [4, 1, 4], rtol=1e-3)
    assert of_islands(4) < 4


def test_95_percent_of_intervals_cover_where_a_point_is_drawn(campaign):
    """40 draws of 20 prompts; all of it: tests/campaigns/annealed.py."""
    (cover,) = campaign.coverage(campaign.KINDS[0], draws=40, prompts=20, slopes=[0.3], moves=6)
    assert cover.ess > of_islands(4)
    assert min(cover.reward, cover.kl) >= 0.90 - 4 * np.sqrt(0.09 / 40)


# ---- the parts ---------------------------------------------------------------------------------------------


def test_windows_are_spread_evenly():
    """Within the completion, every token as often as others, one of four to the last token; any length."""
    for longest in (1, 2, 3, 7, 28):
        found = list(islice(windows(longest, np.random.default_rng(0)), 4000))
        assert all(0 <= start < stop <= longest for start, stop in found)
        assert all(stop == longest for start, stop in found[3::4])
        short = [window for i, window in enumerate(found) if i % 4 != 3]
        often = np.array([sum(start <= t < stop for start, stop in short) for t in range(longest)])
        assert often.max() - often.min() <= 0.02 * often.max() + 2


def test_selection_keeps_the_mean_weight_and_takes_chains_by_their_share():
    rng = np.random.default_rng(1)
    log_weight = 2 * rng.normal(size=(50, 3, 8))
    log_weight[:, 0] = 0.1 * rng.normal(size=(50, 8))  # nothing to be done there
    number = np.broadcast_to(np.arange(24), (50, 24))
    chains = Chains(number[..., None].copy(), np.zeros((50, 24, 1)), number.astype(float))
    new, weight = selected(chains, log_weight, rng)
    assert_allclose(logsumexp(weight, axis=-1), logsumexp(log_weight, axis=-1), rtol=1e-12)
    assert_array_equal(weight[:, 0], log_weight[:, 0])
    assert_array_equal(new.reward[:, :8], chains.reward[:, :8])
    share = np.exp(log_weight - logsumexp(log_weight, axis=-1, keepdims=True))
    few = 1 / (share**2).sum(-1) < 4
    count = np.array([[(row == i).sum() for i in range(24)] for row in new.reward]).reshape(50, 3, 8)
    assert few[:, 1:].mean() > 0.5 and (np.abs(count - 8 * share)[few] < 1).all()
    assert_array_equal(new.tokens[..., 0], new.reward)


def test_what_is_behind_counts_only_where_it_was_kept():
    old, new = (
        Chains(np.array([tokens]), np.where(np.array([tokens]) < 0, 0, each), np.zeros((1, 3)))
        for tokens, each in (
            ([[1, 1, 1], [1, 1, -1], [1, 2, 1]], -1.0),
            ([[3, 1, 1], [3, 1, -1], [2, -1, -1]], -3.0),
        )
    )
    assert_allclose(log_kept(old, new, 1), [[-4, -2, 0]])  # the third has ended
    assert_allclose(log_kept(old, new, 2), [[-2, 0, 0]])
    assert_allclose(log_kept(old, new, 3), [[0, 0, 0]])


# ---- bad input ---------------------------------------------------------------------------------------------


def chains(prompts: int = 2, n: int = 8) -> Chains:
    return Chains(np.zeros((prompts, n, 2), dtype=int), np.zeros((prompts, n, 2)), np.zeros((prompts, n)))


GOOD = {"start": chains(), "propose": lambda old, *_: old, "betas": [1.0, 0.5], "moves": 1}
BAD = [
    ({"betas": [1.0, 1.0]}, r"betas must decrease, but betas\[1\] = 1.0 follows 1.0; sort them"),
    ({"betas": [0.5, 0.3, 1.0]}, r"betas must decrease, but betas\[2\] = 1.0 follows 0.3"),
    ({"betas": [1.0, 0.0]}, r"betas\[1\] must be a positive, finite number, but betas\[1\] = 0.0"),
    ({"betas": []}, r"betas must be a list of at least one, but its shape is \(0,\)"),
    ({"betas": 1.0}, r"betas must be a list of at least one, but its shape is \(\)"),
    ({"moves": 0}, "moves must be an integer of at least 1, but moves = 0"),
    ({"moves": 1.5}, "moves must be an integer of at least 1, but moves = 1.5"),
    ({"islands": 2}, "islands must be an integer of at least 3, but islands = 2"),
    ({"islands": 3}, "islands must divide the 8 chains of a prompt, but are 3; take 4"),
    ({"start": chains()._replace(reward=np.zeros((2, 7)))}, r"reward \(prompts, n\), but their shapes are"),
    (
        {"start": chains()._replace(tokens=np.zeros((2, 8), dtype=int))},
        r"chains must have tokens and log_prob",
    ),
    (
        {"start": chains()._replace(reward=np.full((2, 8), np.nan))},
        r"reward of the chains must be finite.*\[0, 0\] = nan",
    ),
    (
        {"propose": lambda old, *_: chains(1)},
        r"proposals must be of the shapes of the chains \(\(2, 8, 2\),.*have \(\(1, 8",
    ),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        anneal(**GOOD | change)


def test_nothing_is_written_to_and_the_seed_decides(campaign):
    rng = np.random.default_rng(11)
    world = campaign.Tokens.drawn(rng, 3, longest=5, vocabulary=3, end=0.2)
    start = world.start(8, rng)
    before = [field.copy() for field in start]
    one, two, other = (anneal(start, world.propose, [1.0, 0.5], moves=3, seed=seed) for seed in (1, 1, 2))
    for field, was in zip(start, before, strict=True):
        assert_array_equal(field, was)
    assert_array_equal(one.log_z, two.log_z)
    assert (one.log_z != other.log_z).any()
