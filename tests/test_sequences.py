"""The token world: tables of next tokens against enumeration, autograd, and each other  (T10.1, T13.4).

Tables are random and uneven: an end or none, rows of their own or shared, references far from uniform.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import approx_fprime, brentq
from scipy.special import log_softmax, logsumexp

import bandits as b
from bandits.samples import Samples, TokenSamples, TokenUpdate
from bandits.sampling.rules import Sampling
from bandits.sequences import (
    Averaged,
    KLInLoss,
    KLInReward,
    PrefixValue,
    TokenGRPO,
    TokenNashMD,
    TokenPolicyGradient,
    TokenPPO,
    TokenSquare,
    TokenTable,
    by_answer,
    by_constant,
    by_group,
    future_cost,
    k1,
    k2,
    k3,
    own_cost,
    soft_optimum,
    table_fixed_point,
    table_flow,
    table_update,
)
from bandits.sequences.token_kl import forgetful_optimum
from bandits.testing import strategies

E_REWARD = np.array([1.0, 0.6, 0.2, 0.0])  # the common example of chapter T13
E_LAW = np.array([0.4, 0.1, 0.2, 0.3])


@st.composite
def tables(draw, shared: bool | None = False, most: int = 3) -> TokenTable:
    """Vocabulary 2 or 3, up to `most` tokens; with an end or without."""
    rng = draw(strategies.generators(salt=5))
    vocabulary, length = draw(st.integers(2, 3)), draw(st.integers(1, most))
    end = draw(st.sampled_from([None, int(rng.integers(vocabulary))]))
    row = len if (draw(st.booleans()) if shared is None else shared) else None
    rows = len(TokenTable(np.zeros(vocabulary), length=length, end=end, row=row).logits)
    return TokenTable(1.5 * rng.normal(size=(rows, vocabulary)), length=length, end=end, row=row)


def small(seed: int = 0, row=None) -> tuple[TokenTable, b.Bandit, np.ndarray]:
    """Two words and an end, at most three tokens: 15 answers; a world, and who sampled."""
    rng = np.random.default_rng(seed)
    rows = len(TokenTable(np.zeros(3), length=3, end=2, row=row).logits)
    table = TokenTable(0.7 * rng.normal(size=(rows, 3)), length=3, end=2, row=row)
    mu = np.exp(0.5 * rng.normal(size=15))
    return table, table.bandit(rng.normal(size=15)), mu / mu.sum()


def pair(seed: int = 0) -> tuple[TokenTable, b.Bandit, np.ndarray]:
    """One word and an end, at most three tokens: 4 answers, of 1, 2, 3 and 3 tokens."""
    rng = np.random.default_rng([seed, 7])
    table = TokenTable(0.5 * rng.normal(size=(3, 2)), length=3, end=1)
    mu = np.exp(0.5 * rng.normal(size=4))
    return table, table.bandit(rng.normal(size=4)), mu / mu.sum()


# ---------------------------------------------------------------- the table


@settings(max_examples=60)
@given(table=tables(shared=None))
def test_answers_are_all_there_once_and_sum_to_one(table):
    assert len(set(table.sequences)) == len(table.sequences)
    assert_allclose(logsumexp(table.log_prob()), 0, atol=1e-13)
    brute = [
        y
        for n in range(1, table.length + 1)
        for y in product(range(table.logits.shape[-1]), repeat=n)
        if table.end not in y[:-1] and (n == table.length or y[-1] == table.end)
    ]
    assert set(brute) == set(table.sequences)
    for y, length, lp in zip(table.sequences, table.lengths, table.log_prob(), strict=True):
        rows = [table.row_of_prefix[table.prefixes.index(y[:t])] for t in range(len(y))]
        by_hand = sum(log_softmax(table.logits[r])[v] for r, v in zip(rows, y, strict=True))
        assert length == len(y) and abs(lp - by_hand) < 1e-13


@settings(max_examples=60)
@given(table=tables(), data=st.data())
def test_any_law_of_answers_is_the_product_of_its_next_tokens(table, data):
    policy = np.log(data.draw(strategies.policies(len(table.sequences), (2,))))
    steps = table.conditionals(policy)
    assert_allclose(steps.sum(-1), policy, atol=1e-12)
    assert_allclose(table.conditionals(table.log_prob()), table.token_log_prob(), atol=1e-12)


@settings(max_examples=200)
@given(data=st.data(), beta=strategies.betas(0.05, 20))
def test_dynamic_programming_is_enumeration(data, beta):
    """200 tables: soft values token by token, and the tilt of whole answers  (T1.1)."""
    table = data.draw(tables())
    reward = data.draw(strategies.rewards(len(table.sequences)))
    best, world = soft_optimum(table, reward, beta), table.bandit(reward)
    assert_allclose(np.exp(best.log_policy), world.optimal_policy(beta), rtol=0, atol=1e-12)
    scale = max(1.0, np.abs(reward).max(), beta)
    assert abs(best.values[0] - world.optimal_value(beta)) <= 1e-12 * scale


# ---------------------------------------------------------------- the update


@dataclass(frozen=True)
class Anything:
    """Token coefficients of everything there is, for groups of two."""

    k: int = 2

    def update(self, samples: TokenSamples) -> TokenUpdate:
        """No symmetry: the places of the group differ, and so do the tokens."""
        c = samples.token_log_ratio + samples.reward[..., None] * samples.token_log_prob
        return TokenUpdate(
            token_log_prob=c * samples.mask + 0.3 * samples.token_behavior_log_prob[..., ::-1, :]
        )


def by_autograd(
    algorithm, table: TokenTable, world: b.Bandit, mu: np.ndarray, logits: np.ndarray
) -> np.ndarray:
    """Sum over all groups in Python, differentiated by torch: no code of ours but `update`."""
    theta = torch.tensor(logits, requires_grad=True)
    lp = torch.log_softmax(theta, -1)

    def padded(of_prefix) -> np.ndarray:
        return np.array(
            [[of_prefix(y, t) if t < len(y) else 0.0 for t in range(table.length)] for y in table.sequences]
        )

    def conditional(law):
        def of(y, t):
            inside = sum(p for z, p in zip(table.sequences, law, strict=True) if z[: t + 1] == y[: t + 1])
            around = sum(p for z, p in zip(table.sequences, law, strict=True) if z[:t] == y[:t])
            return np.log(inside / around)

        return of

    place = {x: int(r) for x, r in zip(table.prefixes, table.row_of_prefix, strict=True)}
    token = [
        [lp[place[y[:t]], y[t]] if t < len(y) else lp.new_zeros(()) for t in range(table.length)]
        for y in table.sequences
    ]
    token = torch.stack([torch.stack(each) for each in token])
    ref, behavior = padded(conditional(world.reference)), padded(conditional(mu))
    mask, here = padded(lambda y, t: 1.0), token.detach().numpy()
    total = theta.new_zeros(())
    for group in product(range(len(mu)), repeat=algorithm.k):
        g = np.array(group)
        seen = TokenSamples(
            log_prob=here[g].sum(-1),
            reference_log_prob=ref[g].sum(-1),
            reward=world.reward[g],
            behavior_log_prob=behavior[g].sum(-1),
            preference=world.preference[np.ix_(g, g)],
            length=mask[g].sum(-1),
            token_log_prob=here[g],
            token_reference_log_prob=ref[g],
            token_behavior_log_prob=behavior[g],
            mask=mask[g],
        )
        update = algorithm.update(seen)
        c = update.token_log_prob if isinstance(update, TokenUpdate) else update.log_prob[:, None] * mask[g]
        total = total + mu[g].prod() * (torch.tensor(c) * token[g] * torch.tensor(mask[g])).sum()
    total.backward()
    return theta.grad.numpy()


@pytest.mark.parametrize("row", [None, len], ids=["own rows", "shared rows"])
@pytest.mark.parametrize(
    "algorithm",
    [
        Anything(),
        b.CoPG(0.4),
        Averaged(b.IPO(0.3)),
        TokenPPO(0.3, clip=0.3, k=2),
        TokenGRPO(0.3, divisor=by_group),
        TokenGRPO(0.3, divisor=by_answer),
        TokenSquare(0.5, value=0.2),
    ],
    ids=lambda a: type(a).__name__,
)
def test_the_expected_update_through_the_table_is_autograd_over_all_groups(algorithm, row):
    table, world, mu = pair()
    if row:
        table = TokenTable(table.logits, length=3, end=1, row=row)
        world = table.bandit(world.reward)
    logits = table.logits + np.random.default_rng(1).normal(size=table.logits.shape)
    found = table_update(algorithm, table, world, b.Offline(mu), logits)
    assert_allclose(found, by_autograd(algorithm, table, world, mu, logits), rtol=0, atol=1e-12)


@pytest.mark.parametrize("law", [b.OnPolicy(), b.Offline(small()[2])], ids=["on-policy", "offline"])
@pytest.mark.parametrize(
    "algorithm", [b.PolicyGradient(0.3), b.RLOO(0.5), b.CoPG(0.4)], ids=lambda a: type(a).__name__
)
def test_whole_answers_move_the_table_by_the_jacobian_times_their_own_update(algorithm, law):
    table, world, _ = small()
    logits = table.logits + np.random.default_rng(2).normal(size=table.logits.shape)
    policy = np.exp(table.log_prob(logits))
    g = b.expected_update(algorithm, world, law, policy)
    expected = table.pulled_back(np.repeat(g[:, None], 3, axis=1), logits)
    assert_allclose(table_update(algorithm, table, world, law, logits), expected, rtol=0, atol=1e-13)
    slope = [
        approx_fprime(logits.ravel(), lambda x, a=a: table.log_prob(x.reshape(logits.shape))[a], 1e-7)
        for a in range(15)
    ]
    assert_allclose(g @ np.array(slope), expected.ravel(), atol=1e-6)  # forward differences


# ---------------------------------------------------------------- the ends


TOKENWISE = [
    (Averaged(b.DPO(0.5)), None),
    (Averaged(b.IPO(0.5)), None),
    (Averaged(b.CoPG(0.5)), None),
    (b.SimPO(4.0, margin=0.3), None),  # the average of its own
    (TokenSquare(0.5), None),
    (TokenPPO(0.5, clip=np.inf, k=2), b.OnPolicy()),
    (TokenGRPO(0.8, divisor=by_answer), b.OnPolicy()),
    (TokenGRPO(0.8, divisor=by_group), b.OnPolicy()),
    (TokenGRPO(0.8, divisor=by_constant(2.0)), b.OnPolicy()),
    (KLInReward(0.6), b.OnPolicy()),
    (KLInReward(0.6, cost=own_cost), b.OnPolicy()),
    (KLInLoss(0.6, k2), b.OnPolicy()),
    (KLInLoss(0.6, k3), b.OnPolicy()),
    (TokenNashMD(0.5, 0.4, pair()[0]), b.OnPolicy()),
]


def names(case) -> str | None:
    return type(case).__name__ if hasattr(case, "update") else ""


@pytest.mark.parametrize(("algorithm", "law"), TOKENWISE, ids=names)
def test_the_end_by_the_solver_is_where_ten_trainings_end(algorithm, law):
    """Plain gradient ascent from ten random tables at once, until it stands still."""
    table, world, mu = pair()
    law = law or b.Offline(mu)
    fit = table_fixed_point(algorithm, table, world, law)
    assert fit.stable and fit.residual < 1e-12
    starts = table.logits + 0.7 * np.random.default_rng(3).normal(size=(10, *table.logits.shape))
    fastest, slowest = fit.rates[-1].real, fit.rates[0].real
    logits, step = starts, 0.7 / fastest
    for _ in range(int(24 / (slowest * step))):
        logits = logits + step * table_update(algorithm, table, world, law, logits)
    ends = np.exp(table.log_prob(logits))
    assert np.abs(ends - fit.policy).max() < 1e-8


def test_a_clip_that_binds_on_somebody_elses_tokens_holds_them_at_its_edge():
    """Both sides push a token onto w = 1 +- eps, and there it stays, whatever the start.

    By hand: two rows stand at their edges, w(1 | 0) = 1.1 and w(0 | 00) = 0.9; the first one is a root.
    """
    table, world, mu = pair()
    algorithm, law = TokenGRPO(0.8, clip=0.1), b.Offline(mu)
    sampler = table.conditionals(np.log(mu))  # log mu of each token, answers (000, 001, 01, 1)
    p, q = 1.1 * np.exp(sampler[2, 1]), 0.9 * np.exp(sampler[0, 2])

    def logits(x, first=p, second=q):
        return np.log([[x, 1 - x], [1 - first, first], [second, 1 - second]])

    def pull(x):
        return table_update(algorithm, table, world, law, logits(x))[0, 0]

    x = brentq(pull, 0.05, 0.95, xtol=1e-15, rtol=1e-14)
    beside = [
        table_update(algorithm, table, world, law, logits(x, p * (1 + d), q * (1 - d))) for d in (-1e-9, 1e-9)
    ]
    for row in (1, 2):  # Filippov: below the edge token 1 is pushed up, beyond it down
        assert beside[0][row, 1] > 1e-4 and beside[1][row, 1] < -1e-4
    with pytest.raises(b.NotConverged, match=r"a jump of its update holds token .* \(a clip does\)") as held:
        table_fixed_point(algorithm, table, world, law)
    assert held.value.reason == "slides"
    edge = np.exp(table.log_prob(logits(x)))
    assert_allclose(
        held.value.solution.policy, edge, rtol=0, atol=1e-7
    )  # an end is told at speeds of 1e-6 / t
    ends = table.logits + 0.7 * np.random.default_rng(3).normal(size=(10, *table.logits.shape))
    for step in (0.5, 0.05, 0.005):
        for _ in range(300):
            ends = ends + step * table_update(algorithm, table, world, law, ends)
    assert_allclose(np.exp(table.log_prob(ends)), np.tile(edge, (10, 1)), rtol=0, atol=1e-3)  # it chatters


@pytest.mark.parametrize(
    "algorithm",
    [b.CoPG(0.4), b.IPO(0.4), b.DPO(0.4), b.DRO(0.4), b.SimPO(2.0, margin=0.3)],
    ids=lambda a: type(a).__name__,
)
def test_with_a_row_for_every_prefix_whole_answers_end_where_free_answers_do(algorithm):
    table, world, mu = small(4)
    free = b.fixed_point(algorithm, world, b.Offline(mu))
    fit = table_fixed_point(algorithm, table, world, b.Offline(mu))
    assert_allclose(fit.policy, free.policy, rtol=0, atol=1e-10)
    assert fit.stable


def test_shared_rows_end_where_nothing_of_the_class_is_better():
    """On-policy gradient rests at a maximum of J in the class; CoPG on other samples rests elsewhere."""
    table, world, mu = small(5, row=len)
    beta = 0.5

    def value(x):
        return float(world.value(np.exp(table.log_prob(x.reshape(table.logits.shape))), beta))

    best = table_fixed_point(b.PolicyGradient(beta), table, world, b.OnPolicy())
    assert best.stable and np.abs(approx_fprime(best.logits.ravel(), value, 1e-7)).max() < 1e-6
    other = table_fixed_point(b.CoPG(beta), table, world, b.Offline(mu))
    assert world.optimal_value(beta) - value(best.logits) > 1e-3  # the class misses the optimum
    assert value(best.logits) - value(other.logits) > 1e-4


def test_the_token_wise_square_of_the_theory():
    """T13.4: two binary tokens, E's numbers; derived by hand there, node by node."""
    table = TokenTable(np.zeros(2), length=2)
    world = replace_reference(table, E_LAW)
    fit = table_fixed_point(TokenSquare(beta=0.5), *world, b.Offline(E_LAW))
    assert_allclose(fit.policy, [0.693290, 0.109449, 0.135785, 0.061476], atol=5e-7)
    best = world[1].optimal_policy(0.5)
    assert abs(np.abs(fit.policy - best).sum() / 2 - 0.0830) < 5e-5
    assert abs((best * np.log(best / fit.policy)).sum() - 0.0231) < 5e-5
    first = fit.policy[:2].sum()
    assert_allclose(
        [first, fit.policy[0] / first, fit.policy[2] / (1 - first)], [0.802739, 0.863655, 0.688353], atol=5e-7
    )
    whole = table_fixed_point(b.CoPG(0.5), *world, b.Offline(E_LAW))
    assert_allclose(whole.policy, best, atol=1e-12)
    sequence = b.fixed_point(SequenceSquare(0.5), world[1], b.Offline(E_LAW)).policy
    assert abs(np.abs(sequence - best).sum() / 2 - 0.0558) < 5e-5


@dataclass(frozen=True)
class SequenceSquare:
    """T13.3 with the exact mean, .5: what the token-wise square is compared with."""

    beta: float
    k: int = 1

    def update(self, samples: Samples) -> b.Update:
        """c = r - .5 - beta h."""
        return b.Update(log_prob=samples.regularized_reward(self.beta) - 0.5)


def replace_reference(table: TokenTable, law: np.ndarray) -> tuple[TokenTable, b.Bandit]:
    """The table of two binary tokens whose reference is any law of its four answers."""
    steps = table.conditionals(np.log(law))
    logits = np.zeros(table.logits.shape)
    logits[table.nodes, table.tokens] = steps
    grown = TokenTable(logits, length=table.length, end=table.end)
    return grown, grown.bandit(E_REWARD)


# ---------------------------------------------------------------- KL, token by token


def test_kl_in_the_reward_of_all_tokens_ends_at_the_optimum_and_of_its_own_forgets_the_future():
    table, world, _ = small(6)
    beta = 0.6
    best, forgetful = world.optimal_policy(beta), np.exp(forgetful_optimum(table, world.reward, beta))
    whole = table_fixed_point(KLInReward(beta), table, world, b.OnPolicy())
    assert_allclose(whole.policy, best, atol=1e-12)
    for algorithm in (KLInReward(beta, k1, own_cost), KLInLoss(beta, k2)):
        own = table_fixed_point(algorithm, table, world, b.OnPolicy())
        assert_allclose(own.policy, forgetful, atol=1e-11)
    assert np.abs(best - forgetful).max() > 1e-2


def squares(algorithm, table: TokenTable, world: b.Bandit, logits: np.ndarray) -> float:
    """E |step|^2 of one sample through the table, by hand over all answers."""
    tokens, policy = table.token_log_prob(logits), np.exp(table.log_prob(logits))
    ref = table.token_log_prob()
    everyone = Samples(
        log_prob=tokens.sum(-1)[None], reference_log_prob=ref.sum(-1)[None], reward=world.reward[None]
    )
    total = 0.0
    for y in range(len(policy)):
        seen = TokenSamples(
            log_prob=tokens[[y]].sum(-1),
            reference_log_prob=ref[[y]].sum(-1),
            reward=world.reward[[y]],
            arm=np.array([y]),
            token_log_prob=tokens[[y]],
            token_reference_log_prob=ref[[y]],
            mask=table.mask[[y]],
            population=everyone,
        )
        c = np.zeros(tokens.shape)
        c[y] = algorithm.update(seen).token_log_prob[0]
        total += policy[y] * (table.pulled_back(c, logits) ** 2).sum()
    return total


def test_charging_the_past_and_baselines_of_prefixes_change_the_noise_alone():
    """One expected update, three noises; with V(x) a reward that all answers share adds none."""
    table, world, _ = small(12)
    logits = table.logits + np.random.default_rng(0).normal(size=table.logits.shape)
    same = [
        KLInReward(0.6),
        KLInReward(0.6, k1, future_cost),
        TokenPolicyGradient(0.6),
        TokenPolicyGradient(0.6, PrefixValue(table)),
    ]
    updates = [table_update(each, table, world, b.OnPolicy(), logits) for each in same]
    for update in updates[1:]:
        assert_allclose(update, updates[0], atol=1e-14)
    whole, future, none, critic = (squares(each, table, world, logits) for each in same)
    assert abs(whole - none) < 1e-12 < abs(whole - future) and critic < none
    richer = table.bandit(world.reward + 3.0)
    assert_allclose(squares(same[-1], table, richer, logits), critic, rtol=1e-12)
    assert squares(same[-2], table, richer, logits) > 5 * none
    end = table_fixed_point(same[-1], table, world, b.OnPolicy())
    assert_allclose(end.policy, world.optimal_policy(0.6), atol=1e-12)


def test_gspo_is_ppo_on_averages():
    """c = clipped((pi/mu)^(1/|y|) a) / |y|, by hand: Zheng 2025, Eq. (5)-(7)."""
    table, world, mu = small(13)
    tokens = table.token_log_prob(table.logits + np.random.default_rng(0).normal(size=table.logits.shape))
    seen = Samples(
        log_prob=tokens.sum(-1),
        behavior_log_prob=np.log(mu),
        reference_log_prob=tokens.sum(-1),
        reward=world.reward,
        length=table.lengths,
    )
    c = Averaged(b.PPO(1e-9, clip=0.3, k=15)).update(seen).log_prob
    s = np.exp((tokens.sum(-1) - np.log(mu)) / table.lengths)
    stopped = ((world.reward > 0) & (s > 1.3)) | ((world.reward < 0) & (s < 0.7))
    assert stopped.any() and not stopped.all()
    assert_allclose(c, np.where(stopped, 0, s * world.reward / table.lengths) / 15, atol=1e-9)


def test_k1_as_a_loss_pulls_nowhere():
    table, world, _ = small(7)
    logits = table.logits + np.random.default_rng(0).normal(size=table.logits.shape)
    found = table_update(KLInLoss(0.6, k1), table, world, b.OnPolicy(), logits)
    policy = np.exp(table.log_prob(logits))
    plain = table.pulled_back(np.repeat((policy * world.reward)[:, None], 3, axis=1), logits)
    assert_allclose(found, plain, atol=1e-14)


def test_k3_as_a_loss_pulls_towards_the_kl_the_other_way_round_at_each_prefix():
    table, world, _ = small(8)
    logits = table.logits + np.random.default_rng(0).normal(size=table.logits.shape)
    with_kl = table_update(KLInLoss(0.6, k3), table, world, b.OnPolicy(), logits)
    plain = table_update(KLInLoss(1e-12, k3), table, world, b.OnPolicy(), logits)
    visits = np.exp(table.conditionals(table.log_prob(logits)))  # how often a prefix is met: by its tokens
    met = np.array(
        [
            np.exp(table.log_prob(logits))[[y[: len(x)] == x for y in table.sequences]].sum()
            for x in table.prefixes
        ]
    )
    ref, pi = np.exp(log_softmax(table.logits, -1)), np.exp(log_softmax(logits, -1))
    assert visits.shape == (15, 3)
    assert_allclose(with_kl - plain, 0.6 * met[:, None] * (ref - pi), atol=1e-11)


# ---------------------------------------------------------------- Nash-MD's two mixtures


def test_token_mixtures_are_laws_and_thinned_they_are_the_mixture_of_answers():
    """T10.1: accepting a token-wise sample with probability prod Z gives T6.4's mixture exactly."""
    table, world, _ = small(9)
    policy = table.log_prob(table.logits + np.random.default_rng(0).normal(size=table.logits.shape))
    q = TokenNashMD(0.5, 0.4, table).opponent(policy, world.log_reference)
    assert abs(logsumexp(q)) < 1e-13
    mixture = 0.6 * policy + 0.4 * world.log_reference
    accepted = mixture - q  # log prod Z
    assert accepted.max() <= 1e-13 and accepted.min() < -1e-3
    assert_allclose(log_softmax(q + accepted), log_softmax(mixture), atol=1e-13)


def test_the_two_mixtures_have_two_ends():
    """On preferences without a score, where the opponent matters."""
    table, _, _ = small(10)
    upper = np.triu(np.random.default_rng(10).choice([0.02, 0.98], size=(15, 15)), 1)
    world = table.bandit(preference=upper + np.tril(1 - upper.T, -1) + np.eye(15) / 2)
    tokenwise = table_fixed_point(TokenNashMD(0.2, 0.5, table), table, world, b.OnPolicy())
    whole = table_fixed_point(b.NashMD(0.2, 0.5), table, world, b.OnPolicy())
    assert_allclose(whole.policy, b.fixed_point(b.NashMD(0.2, 0.5), world, b.OnPolicy()).policy, atol=1e-10)
    assert np.abs(tokenwise.policy - whole.policy).max() > 1e-3


# ---------------------------------------------------------------- averages, masks, divisors


def test_averaged_ipo_ends_where_long_answers_run_further():
    """h / |y| takes the place of h: h = |y| (what IPO says, up to one constant for all)  (T4.6)."""
    table, world, mu = small(11)
    plain = b.fixed_point(b.IPO(0.8), world, b.Offline(mu))
    fit = table_fixed_point(Averaged(b.IPO(0.8)), table, world, b.Offline(mu))
    h, averaged = np.log(plain.policy / world.reference), np.log(fit.policy / world.reference) / table.lengths
    assert np.ptp(averaged - h) < 1e-10
    direct = b.fixed_point(Averaged(b.IPO(0.8)), world, b.Offline(mu))  # over free answers
    assert_allclose(direct.policy, fit.policy, atol=1e-10)
    assert np.abs(fit.policy - plain.policy).max() > 1e-2


@dataclass(frozen=True)
class PerToken:
    """Advantages divided by the length, as GSPO's and GRPO's mean over tokens; the KL inside or by itself."""

    beta: float
    inside: bool
    k: int = 1

    def update(self, samples: Samples) -> b.Update:
        """(R - E_pi R) / |y|, or (r - E_pi r) / |y| - beta h."""
        everyone = samples.population
        score = samples.regularized_reward(self.beta) if self.inside else samples.reward
        all_scores = everyone.regularized_reward(self.beta) if self.inside else everyone.reward
        mean = (np.exp(everyone.log_prob) * all_scores).sum(-1)[..., None]
        pull = 0 if self.inside else self.beta * samples.log_ratio
        return b.Update(log_prob=(score - mean) / samples.length - pull)


def test_dividing_by_the_length_keeps_the_optimum_only_with_the_kl_inside():
    """T13.12's numbers, and its equation ref e^{(r - E_pi r) / (beta |y|)} / Z."""
    ref, length = np.array([0.1, 0.2, 0.3, 0.4]), np.array([1.0, 2.0, 4.0, 8.0])
    world = b.Bandit(E_REWARD, reference=ref, length=length)
    inside = b.fixed_point(PerToken(0.5, inside=True), world, b.OnPolicy()).policy
    assert_allclose(inside, world.optimal_policy(0.5), atol=1e-12)
    assert_allclose(inside, [0.32833, 0.29506, 0.19887, 0.17774], atol=5e-6)
    apart = b.fixed_point(PerToken(0.5, inside=False), world, b.OnPolicy()).policy
    assert_allclose(apart, [0.26531, 0.20149, 0.22748, 0.30572], atol=5e-6)
    tilt = ref * np.exp((E_REWARD - apart @ E_REWARD) / (0.5 * length))
    assert_allclose(apart, tilt / tilt.sum(), atol=1e-12)


def test_a_mask_without_the_end_leaves_ends_untrained_and_moves_the_answer():
    table, world, mu = pair(1)
    logits = table.logits + np.random.default_rng(0).normal(size=table.logits.shape)
    whole = table_fixed_point(b.CoPG(0.5), table, world, b.Offline(mu))
    assert_allclose(whole.policy, world.optimal_policy(0.5), atol=1e-11)
    update = table_update(b.CoPG(0.5), table, world, b.Offline(mu), logits, mask=table.mask_without_end)
    assert np.abs(update - table_update(b.CoPG(0.5), table, world, b.Offline(mu), logits)).max() > 1e-2
    last = np.array([len(x) == 2 for x in table.prefixes])  # behind it both tokens end, one of them unseen
    assert np.abs(update[last]).max() > 1e-3


TWINS = {
    "mask shifted by one": lambda a, s: a.update(replace(s, mask=np.roll(s.mask, 1, axis=-1))),
    "end-of-sequence dropped": lambda a, s: a.update(
        replace(s, mask=np.where(np.arange(s.mask.shape[-1]) == s.mask.sum(-1)[..., None] - 1, 0.0, s.mask))
    ),
    "divisor of the batch for the group": lambda a, s: TokenUpdate(
        token_log_prob=a.update(s).token_log_prob
        * a.divisor(s.mask)
        / (s.mask.shape[-2] * s.mask.sum(-1).mean())
    ),
    "future KL charged twice": lambda a, s: TokenUpdate(
        token_log_prob=a.update(s).token_log_prob
        - s.mask * a.beta * np.flip(np.cumsum(np.flip(s.token_log_ratio * s.mask, -1), -1), -1)
    ),
}
HELD_TO = {
    "mask shifted by one": TokenGRPO(0.8),
    "end-of-sequence dropped": KLInReward(0.6),
    "divisor of the batch for the group": TokenGRPO(0.8, divisor=by_answer),
    "future KL charged twice": KLInReward(0.6),
}


@dataclass(frozen=True)
class Twin:
    """An algorithm with a fault."""

    algorithm: object
    fault: str

    @property
    def k(self) -> int:
        """As the right one."""
        return self.algorithm.k

    def update(self, samples: TokenSamples) -> TokenUpdate:
        """The right update, spoilt."""
        return TWINS[self.fault](self.algorithm, samples)


@pytest.mark.parametrize("fault", TWINS)
def test_wrong_twins_end_elsewhere(fault):
    table, world, _ = pair(2)
    right = HELD_TO[fault]
    end = table_fixed_point(right, table, world, b.OnPolicy())
    wrong = table_update(Twin(right, fault), table, world, b.OnPolicy(), end.logits)
    assert end.residual < 1e-12 and np.abs(wrong).max() > 1e-3


# ---------------------------------------------------------------- the border


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: TokenTable(np.zeros(10), length=8), "1e\\+08 sequences, but max_sequences = 10000"),
        (
            lambda: TokenTable([[0.0, 0.0], [-np.inf, -np.inf], [0.0, 0.0]], length=2),
            "row \\[1\\] is -inf throughout",
        ),
        (lambda: TokenTable([0.0, np.nan], length=2), "logits"),
        (lambda: TokenTable([0.0, -np.inf], length=2, end=1), "the end must be reachable"),
        (lambda: TokenTable([0.0, 0.0], length=2, end=2), "end must be a token"),
        (lambda: TokenTable(np.zeros((2, 2)), length=2), "logits must have 3 rows"),
        (lambda: TokenTable([0.0, 0.0], length=0), "length must be"),
        (lambda: pair()[0].bandit([1.0, 2.0]), "one entry for each of the 4 answers"),
        (
            lambda: table_update(b.CoPG(1.0), pair()[0], b.Bandit([1.0, 0.0]), b.OnPolicy()),
            "4 answers of the table",
        ),
        (
            lambda: table_update(b.CoPG(1.0), *pair()[:2], b.OnPolicy(), mask=np.ones((4, 2))),
            "mask must be \\(A, T\\)",
        ),
        (
            lambda: table_update(b.CoPG(1.0), *pair()[:2], b.OnPolicy(), mask=np.ones((4, 3))),
            "mask must be 0 or 1, and 0",
        ),
        (
            lambda: b.expected_update(TokenPPO(1.0), b.Bandit([1.0, 0.0]), b.OnPolicy(), [0.5, 0.5]),
            "looks at tokens",
        ),
        (lambda: soft_optimum(small(row=len)[0], np.zeros(15), 1.0), "shares 3 rows"),
        (lambda: soft_optimum(pair()[0], np.zeros(3), 1.0), "one entry for each"),
        (lambda: Averaged(b.CoPG), "is the class CoPG"),
        (
            lambda: b.expected_update(Averaged(b.CoPG(1.0)), b.Bandit([1.0, 0.0]), b.OnPolicy(), [0.5, 0.5]),
            "length",
        ),
    ],
)
def test_bad_input_is_one_clear_error(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_what_runs_away_is_said():
    table, world, _ = pair()
    with pytest.raises(b.NotConverged, match="does not come to rest"):
        table_fixed_point(Plain(), table, world, b.OnPolicy())


@dataclass(frozen=True)
class Plain:
    """Ascent of the reward, no KL."""

    k: int = 1

    def update(self, samples: Samples) -> b.Update:
        """c = r."""
        return b.Update(log_prob=samples.reward)


def test_the_flow_starts_at_the_start_and_ends_at_the_end():
    table, world, mu = pair(3)
    fit = table_fixed_point(TokenSquare(0.5), table, world, b.Offline(mu))
    path = table_flow(TokenSquare(0.5), table, world, b.Offline(mu), [0.0, 40 / fit.rates[0].real])
    assert_allclose(path[0], table.logits)
    assert_allclose(np.exp(table.log_prob(path[1])), fit.policy, atol=1e-8)
    assert isinstance(b.Offline(mu), Sampling)
