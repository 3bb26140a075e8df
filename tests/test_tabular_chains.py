"""Chains with rewards, and TD on them: each number by two routes, on uneven random chains (T12.3, T12.5)."""

from __future__ import annotations

from collections import defaultdict
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bandits.tabular import chains, rewards, td
from bandits.tabular.chains import MarkovRewardProcess

SEEDS = range(4)


def random_chain(seed: int, states: int = 3, outcomes: int = 2) -> MarkovRewardProcess:
    """Uneven, with a forbidden transition."""
    rng = np.random.default_rng(seed)
    P = rng.dirichlet(np.ones(states), size=states)
    P[0, 1], P[0, 0] = 0.0, P[0, 0] + P[0, 1]
    reward = rewards.discrete(
        rng.normal(size=(states, outcomes)), rng.dirichlet(np.ones(outcomes), size=states)
    )
    return MarkovRewardProcess(P, reward, rng.uniform(0.2, 0.9))


def outcomes(process: MarkovRewardProcess, state: int):
    """(probability, reward, next state) of one visit."""
    for (r, p), y in product(
        zip(process.reward.values[state], process.reward.probabilities[state], strict=True),
        range(process.states),
    ):
        if p * process.transition[state, y] > 0:
            yield p * process.transition[state, y], r, y


# ---- exact values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_the_value_is_where_sums_of_discounted_rewards_tend(seed):
    """V = sum_t g^t P^t E[R]: 2000 terms against the linear solve."""
    process = random_chain(seed)
    total, ahead = np.zeros(3), process.mean_reward
    for _ in range(2000):
        total, ahead = total + ahead, process.discount * process.transition @ ahead
    assert_allclose(process.value, total, rtol=1e-12, atol=1e-13)
    assert_allclose(td.expected_update(process, process.value), 0, atol=1e-13)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_stationary_law_is_where_powers_tend(seed):
    process = random_chain(seed, states=5)
    power = np.linalg.matrix_power(process.transition, 2**12)
    assert_allclose(power, np.tile(process.stationary, (5, 1)), rtol=0, atol=1e-12)


def test_transient_states_have_no_stationary_mass():
    P = [[0.2, 0.5, 0.3], [0, 0.4, 0.6], [0, 0.7, 0.3]]
    assert_allclose(MarkovRewardProcess(P, [0, 0, 0], 0.5).stationary, [0, 7 / 13, 6 / 13], rtol=1e-14)


def by_paths(process: MarkovRewardProcess, state: int, steps: int) -> dict[float, float]:
    """The law of the first rewards, path by path."""
    law, open_ = defaultdict(float), [(1.0, 0.0, state, 0)]
    while open_:
        weight, gained, x, t = open_.pop()
        if t == steps:
            law[round(gained, 10)] += weight
        else:
            open_ += [
                (weight * p, gained + process.discount**t * r, y, t + 1) for p, r, y in outcomes(process, x)
            ]
    return law


@pytest.mark.parametrize("seed", SEEDS)
def test_the_law_of_first_rewards_is_that_of_all_paths(seed):
    process = random_chain(seed)
    for state, law in enumerate(process.returns(steps=4)):
        paths = by_paths(process, state, 4)
        assert_allclose(law.values, sorted(paths), atol=1e-9)
        assert_allclose(law.probabilities, [paths[key] for key in sorted(paths)], atol=1e-14)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_finite_return_is_that_of_long_paths(seed):
    """A random tree that ends in two states which pay a constant for ever, at depth three at most."""
    rng = np.random.default_rng(seed)
    P = np.zeros((5, 5))
    P[0, 1:], P[1, 2:], P[2, 3:] = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(3)), [0.3, 0.7]
    P[3, 3] = P[4, 4] = 1.0
    values = rng.normal(size=(5, 2))
    values[3:, 1] = values[3:, 0]
    process = MarkovRewardProcess(P, rewards.discrete(values, rng.dirichlet([1, 1], size=5)), 0.6)
    for law, V in zip(process.returns(), process.value, strict=True):
        assert_allclose(law.probabilities.sum(), 1, rtol=1e-14)
        assert_allclose(law.values @ law.probabilities, V, rtol=1e-12, atol=1e-14)
    long = by_paths(process, 1, 3)  # after three rewards only constants are left, which depend on the end
    assert len(process.returns()[1].values) == len(
        {round(gained, 8) for gained in long}
    )  # each path's end is known from its rewards
    assert len(process.returns()[4].values) == 1


def test_without_a_discount_the_return_is_the_reward():
    process = random_chain(0)
    one = MarkovRewardProcess(process.transition, process.reward, 0.0)
    for law, r in zip(one.returns(), process.reward.values, strict=True):
        assert_allclose(law.values, np.sort(r))


# ---- sampling ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_samples_have_the_chains_law(seed):
    """Transitions and rewards within 4.5 standard errors of their probability; what is impossible never."""
    process, n = random_chain(seed), 40_000
    reward, ahead = process.sample(np.random.default_rng(7), (n,))
    for x in range(3):
        for y, p in enumerate(process.transition[x]):
            assert abs((ahead[:, x] == y).mean() - p) <= 4.5 * np.sqrt(p * (1 - p) / n)
        for r, p in zip(process.reward.values[x], process.reward.probabilities[x], strict=True):
            assert abs((reward[:, x] == r).mean() - p) <= 4.5 * np.sqrt(p * (1 - p) / n)


LAWS = {
    "normal": rewards.normal([0.5, -1.0], [1.0, 2.0]),
    "laplace": rewards.laplace([0.5, -1.0], [1.0, 2.0]),
    "student": rewards.student(2.2, [0.5, -1.0], [1.0, 2.0]),
}


@pytest.mark.parametrize("name", LAWS)
def test_laws_with_a_density_agree_with_themselves(name):
    """Quantile inverts cdf, the density is its slope, samples fall below quantiles as often as said."""
    law, x = LAWS[name], np.array([[0], [1]])
    level = np.array([[0.1, 0.35, 0.8]] * 2)
    at = law.quantile(level, x)
    assert_allclose(law.cdf(at, x), level, rtol=1e-12)
    slope = (law.cdf(at + 1e-5, x) - law.cdf(at - 1e-5, x)) / 2e-5
    assert_allclose(law.density(at, x), slope, rtol=1e-7)  # the error of a central difference, h^2
    drawn = law.rvs((20_000, 2), np.random.default_rng(1))
    below = (drawn[:, :, None] < at).mean(axis=0)
    assert (np.abs(below - level) <= 4.5 * np.sqrt(level * (1 - level) / 20_000)).all()
    assert_allclose(law.mean(), [0.5, -1.0])


def test_variances_of_the_laws():
    """sigma^2, 2 b^2, s^2 nu / (nu - 2), and infinite for two degrees of freedom."""
    assert_allclose(LAWS["normal"].var(), [1, 4])
    assert_allclose(LAWS["laplace"].var(), [2, 8])
    assert_allclose(LAWS["student"].var(), [11, 44])
    assert np.isinf(rewards.student(2.0).var())


def test_a_trajectory_follows_the_chain_and_collects_its_rewards():
    process = random_chain(1)
    states, reward = process.trajectory(np.random.default_rng(2), 0, 3000)
    assert states[0] == 0 and len(states) == len(reward) == 3001
    assert (process.transition[states[:-1], states[1:]] > 0).all()
    assert all(r in process.reward.values[x] for x, r in zip(states, reward, strict=True))
    share = np.bincount(states, minlength=3) / 3001
    assert_allclose(share, process.stationary, atol=0.06)  # about five standard errors of a mixing chain


# ---- TD ----------------------------------------------------------------------------------------------------


def joint_outcomes(process: MarkovRewardProcess):
    """(probability, rewards, next states) of one transition of every state."""
    for each in product(*(list(outcomes(process, x)) for x in range(process.states))):
        yield (
            np.prod([p for p, _, _ in each]),
            np.array([r for _, r, _ in each]),
            np.array([y for *_, y in each]),
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_the_expected_update_is_the_mean_step(seed):
    process = random_chain(seed)
    V = np.random.default_rng(seed).normal(size=3)
    mean = sum(p * td.step(V, r, y, process.discount, 1.0) for p, r, y in joint_outcomes(process)) - V
    assert_allclose(td.expected_update(process, V), mean, atol=1e-14)


@pytest.mark.parametrize("seed", SEEDS)
def test_t12_5_the_covariance_of_td_is_that_of_all_outcomes(seed):
    """E over the joint outcomes of (M e + b)(M e + b)', iterated to rest: nothing is averaged by formula."""
    process, a = random_chain(seed, states=2), 0.3
    C = np.zeros((2, 2))
    cases = []
    for p, r, y in joint_outcomes(process):
        move = (1 - a) * np.eye(2) + a * process.discount * np.eye(2)[y]
        push = td.step(process.value, r, y, process.discount, a) - process.value
        cases.append((p, move, push))
    for _ in range(3000):
        C = sum(p * (move @ C @ move.T + np.outer(push, push)) for p, move, push in cases)
    assert_allclose(td.stationary_covariance(process, a), C, rtol=1e-10)


def test_t12_5_td_without_a_next_state():
    """a Var / (2 - a), Var = 1, 2, 3, 11; infinite for t_2."""
    laws = (rewards.normal(), rewards.laplace(), rewards.student(3.0), rewards.student(2.2))
    found = [td.mean_squared_error(MarkovRewardProcess([[1.0]], law, 0.0), 0.01)[0] for law in laws]
    assert_allclose(found, [0.00503, 0.01005, 0.01508, 0.0553], atol=5e-5)
    assert_allclose(found, 0.01 * np.array([1, 2, 3, 11]) / 1.99, rtol=1e-12)
    heavy = MarkovRewardProcess([[1.0]], rewards.student(2.0), 0.0)
    assert np.isinf(td.mean_squared_error(heavy, 0.01)).all()


def test_sampled_td_has_the_exact_mean_and_covariance():
    """200 runs after 300 steps of a = .1, |z| < 4: the mean still moves, by M^300 < 1e-6 of the start."""
    process, n = random_chain(2), 200
    runs = td.simulate(
        process, steps=[0, 300], learning_rate=0.1, rng=np.random.default_rng(3), runs=n, start=process.value
    )
    assert_allclose(runs[0], np.tile(process.value, (n, 1)))
    C = td.stationary_covariance(process, 0.1)
    z = (runs[1].mean(axis=0) - process.value) / np.sqrt(np.diag(C) / n)
    off = np.cov(runs[1].T) - C
    error = np.sqrt((np.outer(np.diag(C), np.diag(C)) + C**2) / n)
    assert np.abs(z).max() < 4 and np.abs(off / error).max() < 4


def test_the_flow_of_td_solves_its_equation():
    """dV/dt = E[R] + g P V - V by a central difference, and V_0 at time 0."""
    process, h = random_chain(3), 1e-5
    start = np.array([1.0, -2.0, 0.5])
    path = td.flow(process, [0.0, 0.7 - h, 0.7, 0.7 + h, 400.0], start)
    assert_allclose(path[0], start, atol=1e-14)
    assert_allclose((path[3] - path[1]) / (2 * h), td.expected_update(process, path[2]), atol=1e-8)
    assert_allclose(path[4], process.value, atol=1e-10)


def test_records_do_not_change_a_run():
    process = random_chain(0)
    few, many = (
        td.simulate(process, steps=steps, learning_rate=0.1, rng=np.random.default_rng(0), runs=2)
        for steps in ([300], [7, 256, 300])
    )
    np.testing.assert_array_equal(few[-1], many[-1])


# ---- bad input ---------------------------------------------------------------------------------------------

P, R = [[0.5, 0.5], [0.25, 0.75]], [0.0, 1.0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: MarkovRewardProcess([[0.5, 0.4], [0.2, 0.8]], R, 0.5), r"sum of transition\[0\] = 0.9"),
        (lambda: MarkovRewardProcess([[1.5, -0.5], [0, 1]], R, 0.5), r"transition\[0, 1\] = -0.5"),
        (lambda: MarkovRewardProcess([[0.5, 0.5]], R, 0.5), "row and a column|one row and one column"),
        (lambda: MarkovRewardProcess(P, R, 1.0), "discount must be below 1"),
        (lambda: MarkovRewardProcess(P, R, -0.1), "discount must lie in"),
        (lambda: MarkovRewardProcess(P, [1.0, 2.0, 3.0], 0.5), "reward must broadcast"),
        (lambda: MarkovRewardProcess(P, "high", 0.5), "reward must be an array"),
        (lambda: MarkovRewardProcess(np.eye(2), R, 0.5).stationary, "states 0 and 1 never meet"),
        (lambda: MarkovRewardProcess(P, R, 0.5).returns(), "steps must be given .* state 0"),
        (lambda: MarkovRewardProcess(P, rewards.normal(), 0.5).returns(), "reward must be discrete"),
        (lambda: MarkovRewardProcess(P, R, 0.5).trajectory(np.random.default_rng(0), 2, 3), "start must be"),
        (lambda: MarkovRewardProcess(P, R, 0.5).sample(0), "rng must be a numpy.random.Generator"),
        (lambda: rewards.discrete([0, 1], [0.5, 0.6]), "sum of probabilities"),
        (lambda: rewards.discrete([0, 1, 2], [0.5, 0.5]), "values and probabilities must have the same"),
        (lambda: rewards.normal(0, [1.0, 0.0]), r"deviation must be positive, but deviation\[1\]"),
        (lambda: rewards.student(1.0), "freedom must be above 1"),
        (
            lambda: td.stationary_covariance(MarkovRewardProcess(P, R, 0.5), 3.0),
            "learning_rate must be smaller",
        ),
        (lambda: td.flow(MarkovRewardProcess(P, R, 0.5), [1, 0]), "times must be increasing"),
        (lambda: td.flow(MarkovRewardProcess(P, R, 0.5), [1], [0, 0, 0]), "start must broadcast"),
    ],
)
def test_bad_input_is_refused_with_its_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_chain_keeps_what_it_was_given():
    """Arrays are copied: changing the caller's changes nothing."""
    mine = np.array(P)
    process = MarkovRewardProcess(mine, R, 0.5)
    mine[0] = [1.0, 0.0]
    assert process.transition[0, 0] == 0.5 and not process.transition.flags.writeable
    assert chains.closed_classes(process.transition)[0].tolist() == [0, 1]
