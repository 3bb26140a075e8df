"""Quantile TD: where it ends by three solvers, its noise by two, and twins that must be told from it."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_array
from scipy.stats import norm, wasserstein_distance
from test_tabular_chains import joint_outcomes, random_chain

from bandits.solution import NotConverged
from bandits.tabular import quantile_td as q
from bandits.tabular import rewards
from bandits.tabular.chains import MarkovRewardProcess

SEEDS = range(4)
P = [[0.5, 0.5], [0.25, 0.75]]
COINS = MarkovRewardProcess(P, rewards.discrete([0.0, 1.0], [[0.7, 0.3], [0.2, 0.8]]), 0.5)
FAR = MarkovRewardProcess([[0.6, 0.4], [0.4, 0.6]], [2.0, -1.0], 0.9)
BELL = MarkovRewardProcess(P, rewards.normal([0.0, 1.0], [1.0, 0.6]), 0.5)


def atoms(process: MarkovRewardProcess, z, state: int) -> list[tuple[float, float]]:
    """(value, probability) of the target, in increasing order, by a triple loop."""
    found = []
    for r, p in zip(process.reward.values[state], process.reward.probabilities[state], strict=True):
        for y, chance in enumerate(process.transition[state]):
            found += [(r + process.discount * w, p * chance / len(z[y])) for w in z[y]]
    return sorted(found)


def interval(process: MarkovRewardProcess, z, state: int, level: float) -> tuple[float, float]:
    """All points with P(T < v) <= level <= P(T <= v): their ends, by walking through the atoms."""
    total, left = 0.0, None
    for value, p in atoms(process, z, state):
        total += p
        if left is None and total >= level - 1e-12:
            left = value
        if total > level + 1e-12:
            return left, value
    return left, value


# ---- the law of motion (T12.1) -----------------------------------------------------------------------------


def step_by_loops(z, reward, ahead, discount, levels, rate):
    """T12.1, particle by particle."""
    new = z.copy()
    for x, i in np.ndindex(z.shape):
        below = sum(reward[x] + discount * w < z[x, i] for w in z[ahead[x]]) / z.shape[1]
        new[x, i] = z[x, i] + rate * (levels[i] - below)
    return new


def check_step(step) -> None:
    """The law of T12.1 on random uneven chains."""
    for seed in SEEDS:
        process, rng = random_chain(seed), np.random.default_rng(seed)
        z, levels = np.sort(rng.normal(size=(3, 4))), q.midpoints(4)
        for _ in range(10):
            reward, ahead = process.sample(rng)
            arguments = reward, ahead, process.discount, levels, 0.4
            assert_allclose(step(z, *arguments), step_by_loops(z, *arguments), atol=1e-14)


def from_the_new_particles(z, reward, ahead, discount, levels, rate):
    """The twin: each particle sees those that have moved already."""
    z = z.copy()
    for x, i in np.ndindex(z.shape):
        z[x, i] += rate * (levels[i] - (reward[x] + discount * z[ahead[x]] < z[x, i]).mean())
    return z


def test_t12_1_a_step_moves_all_particles_from_the_old_ones():
    check_step(q.step)


def test_an_update_from_the_new_particles_is_told_from_it():
    with pytest.raises(AssertionError):
        check_step(from_the_new_particles)


@pytest.mark.parametrize("seed", SEEDS)
def test_t12_1_the_expected_update_is_the_mean_step(seed):
    process, levels = random_chain(seed, states=2), q.midpoints(3)
    z = np.sort(np.random.default_rng(seed).normal(size=(2, 3)))
    mean = sum(p * q.step(z, r, y, process.discount, levels, 1.0) for p, r, y in joint_outcomes(process))
    assert_allclose(q.expected_update(process, levels, z), mean - z, atol=1e-14)


@pytest.mark.parametrize("m", [1, 2, 3, 21])
def test_t12_1_midpoints(m):
    assert_allclose(q.midpoints(m), [(2 * i - 1) / (2 * m) for i in range(1, m + 1)])


# ---- dynamic programming and its fixed points (T12.2) ------------------------------------------------------


def check_operator(operator) -> None:
    """Leftmost and rightmost quantiles, by walking through the atoms; ties are there, half of the time."""
    for seed, m in product(SEEDS, (2, 4)):
        process, rng = random_chain(seed), np.random.default_rng(seed)
        for chain in (process, MarkovRewardProcess([[0.5, 0.5], [0.25, 0.75]], [1.0, -0.5], 0.5)):
            z, levels = np.sort(rng.normal(size=(chain.states, m))), q.midpoints(m)
            left, right = operator(chain, levels, z, 0.0), operator(chain, levels, z, 1.0)
            for x, i in np.ndindex(z.shape):
                ends = interval(chain, z, x, levels[i])
                assert_allclose((left[x, i], right[x, i]), ends, atol=1e-13)


def leftmost_for_rightmost(process, levels, z, mixture):
    """The twin."""
    return q.operator(process, levels, z, 0.0)


def test_t12_2_the_operator_takes_the_quantiles_of_the_target():
    check_operator(q.operator)


def test_leftmost_for_rightmost_is_told_from_it():
    with pytest.raises(AssertionError):
        check_operator(leftmost_for_rightmost)


@pytest.mark.parametrize("seed", SEEDS)
def test_t12_2_a_contraction_by_the_discount(seed):
    """Never more than g of the distance is left, for any mixture, and a shift leaves exactly that."""
    process, rng, levels = random_chain(seed), np.random.default_rng(seed), q.midpoints(5)
    lam = rng.uniform(size=(3, 5))
    for _ in range(20):
        z, w = rng.normal(size=(2, 3, 5)) * rng.exponential(size=(2, 1, 1))
        left = q.distance(q.operator(process, levels, z, lam), q.operator(process, levels, w, lam))
        assert left <= process.discount * np.abs(z - w).max() * (1 + 1e-12)
        shifted = q.distance(q.operator(process, levels, z + 3, lam), q.operator(process, levels, z, lam))
        assert_allclose(shifted, 3 * process.discount, rtol=1e-12)


def by_selection(process: MarkovRewardProcess, m: int) -> list[np.ndarray]:
    """All fixed points: say which atom every particle sits on, solve the linear system, keep the consistent.

    On every flat piece the set's corners sit on atoms too.
    """
    S, levels, found = process.states, q.midpoints(m), []
    choices = []
    for x in range(S):
        for _ in range(m):
            ahead = [(y, j) for y in range(S) if process.transition[x, y] > 0 for j in range(m)]
            choices.append([(r, y * m + j) for r in set(process.reward.values[x]) for y, j in ahead])
    for choice in product(*choices):
        r, at = np.array([c[0] for c in choice]), np.array([c[1] for c in choice])
        z = np.linalg.solve(np.eye(S * m) - process.discount * np.eye(S * m)[at], r).reshape(S, m)
        inside = (interval(process, z, x, levels[i]) for x, i in np.ndindex(z.shape))
        if all(a - 1e-9 <= v <= b + 1e-9 for v, (a, b) in zip(z.ravel(), inside, strict=True)) and not any(
            np.abs(z - known).max() < 1e-9 for known in found
        ):
            found.append(z)
    return sorted(found, key=lambda z: z.sum())


TABLE = {
    1: [[1], [2]],
    2: [[2 / 3, 4 / 3], [4 / 3, 2]],
    3: [[0.375, 0.75, 1.5], [1, 1.5, 2]],
    4: [[0.35714, 0.71429, 1, 1.71429], [0.85714, 1.42857, 1.71429, 2]],
}


@pytest.mark.parametrize("m", TABLE)
def test_t12_3_the_fixed_points_of_the_coins(m):
    """One for each m up to 4: as printed, and at rest."""
    (found,) = q.fixed_points(COINS, q.midpoints(m))
    assert_allclose(found, TABLE[m], atol=5e-6)
    assert q.residual(COINS, q.midpoints(m), found).max() < 1e-14


@pytest.mark.parametrize(("process", "m"), [(COINS, 1), (COINS, 2), (FAR, 1), (FAR, 2)])
def test_t12_3_fixed_points_by_enumerating_which_atom_a_particle_sits_on(process, m):
    assert_allclose(q.fixed_points(process, q.midpoints(m)), by_selection(process, m), atol=1e-12)


def exactly_at_rest(particles: list[list[Fraction]]) -> bool:
    """P(T < z) <= tau <= P(T <= z) in rational numbers: the coins' chain."""
    half, m = Fraction(1, 2), len(particles[0])
    chance = [[half, half], [Fraction(1, 4), Fraction(3, 4)]]
    win = [Fraction(3, 10), Fraction(8, 10)]
    for x in range(2):
        for i, v in enumerate(particles[x]):
            law = [
                (r + half * w, p * chance[x][y] / m)
                for r, p in ((0, 1 - win[x]), (1, win[x]))
                for y in range(2)
                for w in particles[y]
            ]
            below, upto = sum(p for t, p in law if t < v), sum(p for t, p in law if t <= v)
            if not below <= Fraction(2 * i + 1, 2 * m) <= upto:
                return False
    return True


@pytest.mark.parametrize("m", [1, 2, 3, 4, 8])
def test_t12_3_the_fixed_points_rest_in_rational_arithmetic(m):
    """Every corner; a particle moved by 1/100 does not rest."""
    for corner in q.fixed_points(COINS, q.midpoints(m)):
        exact = [[Fraction(v).limit_denominator(10**6) for v in row] for row in corner]
        assert exactly_at_rest(exact)
        exact[0][0] -= Fraction(1, 100)
        assert not exactly_at_rest(exact)


def test_t12_3_eight_quantiles_leave_a_set():
    """Four particles on flat pieces, sixteen corners; the means of the extreme ones."""
    corners = q.fixed_points(COINS, q.midpoints(8))
    assert len(corners) == 16
    assert_allclose(corners[0].mean(axis=1), [0.879639, 1.449219], atol=5e-7)
    assert_allclose(corners[-1].mean(axis=1), [0.890625, 1.449219], atol=5e-7)
    assert_allclose(corners[-1], q.fixed_point(COINS, q.midpoints(8), 1.0), atol=1e-14)


@pytest.mark.parametrize("m", [1, 2, 3, 5, 8])
def test_t12_4_extremes_that_no_m_repairs(m):
    found = q.fixed_point(FAR, q.midpoints(m))
    assert_allclose((found[0, -1], found[1, 0]), (20, -10), rtol=1e-13)
    if m == 2:
        assert_allclose(found, [[5.789474, 20], [-10, 4.210526]], atol=5e-7)


@pytest.mark.parametrize("seed", SEEDS)
def test_t12_2_every_mixture_has_its_own_end_inside_the_set(seed):
    """Chains with flat pieces: residual zero, between least and greatest, and only free particles differ."""
    rng = np.random.default_rng(seed)
    process = MarkovRewardProcess([[0.5, 0.5], [0.25, 0.75]], COINS.reward, rng.uniform(0.3, 0.6))
    levels = q.midpoints(8)
    least, greatest = q.fixed_point(process, levels, 0.0), q.fixed_point(process, levels, 1.0)
    assert (greatest - least).max() > 1e-6
    for _ in range(5):
        z = q.fixed_point(process, levels, rng.uniform(size=(2, 8)))
        assert q.residual(process, levels, z).max() < 1e-13
        assert (least <= z + 1e-13).all() and (z <= greatest + 1e-13).all()
    outside = greatest + 0.01 * (np.arange(8) == 7)
    assert q.residual(process, levels, outside).max() > 1e-3


@pytest.mark.parametrize("m", [2, 5, 12])
@pytest.mark.parametrize("seed", SEEDS)
def test_t12_2_the_wasserstein_bound(seed, m):
    """max_x W_1 <= (V_max - V_min) / (2m (1 - g)); the law of 9 rewards lies within g^9 of the bounds."""
    process = random_chain(seed, states=2)
    low, high = process.bounds()
    left_out = process.discount**9 * max(abs(low), abs(high))
    for x, law in enumerate(process.returns(steps=9)):
        z = q.fixed_point(process, q.midpoints(m), 0.5)
        distance = wasserstein_distance(z[x], law.values, v_weights=law.probabilities)
        assert distance <= (high - low) / (2 * m * (1 - process.discount)) + left_out


def test_sampled_quantile_td_ends_in_the_set():
    """Shorter and shorter steps on the coins, from zero: each of eight particles comes near its interval."""
    levels = q.midpoints(8)
    runs, rng = np.zeros((4, 2, 8)), np.random.default_rng(0)
    for rate in (0.1, 0.03, 0.01, 0.003):
        runs = q.simulate(COINS, levels, steps=[1000], learning_rate=rate, rng=rng, runs=4, start=runs)[0]
    least, greatest = q.fixed_point(COINS, levels, 0.0), q.fixed_point(COINS, levels, 1.0)
    assert np.maximum(least - runs, runs - greatest).max() < 0.1


# ---- with densities ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bell():
    """Levels, and where dynamic programming ends."""
    levels = np.array([0.15, 0.5, 0.8])
    return levels, q.fixed_point(BELL, levels)


def test_rewards_with_a_density_have_one_end_where_flow_and_sweeps_meet(bell):
    levels, z = bell
    assert np.abs(q.expected_update(BELL, levels, z)).max() < 1e-14
    assert_allclose(q.flow(BELL, levels, [150.0], z + 0.3)[0], z, atol=1e-9)
    assert_allclose(q.fixed_point(BELL, levels, 1.0), z, atol=1e-14)


def test_the_pull_is_minus_the_derivative_of_the_expected_update(bell):
    levels, z = bell
    A = q.pull(BELL, z)
    for y, j in np.ndindex(z.shape):
        h = 1e-5 * (np.arange(6).reshape(2, 3) == 3 * y + j)
        slope = (q.expected_update(BELL, levels, z + h) - q.expected_update(BELL, levels, z - h)) / 2e-5
        assert_allclose(A[:, :, y, j], -slope, atol=1e-8)


def test_t12_5_the_noise_of_an_update_is_that_of_sampled_ones(bell):
    """Covariance of 100 000 sampled updates, within 4.5 standard errors."""
    levels, z = bell
    n = 100_000
    reward, ahead = BELL.sample(np.random.default_rng(4), (n,))
    moves = (q.step(np.tile(z, (n, 1, 1)), reward, ahead, 0.5, levels, 1.0) - z).reshape(n, 6)
    noise = q.noise(BELL, z).reshape(6, 6)
    products = moves[:, :, None] * moves[:, None, :]
    assert (np.abs(products.mean(axis=0) - noise) <= 4.5 * products.std(axis=0) / np.sqrt(n)).all()


def test_t12_5_the_formula_without_a_next_state():
    """a (min(tau_i, tau_j) - tau_i tau_j) / (f_i + f_j)."""
    tau, a = np.array([0.1, 0.35, 0.6, 0.95]), 0.01
    for law in (rewards.normal(1.0, 2.0), rewards.laplace(), rewards.student(2.2)):
        one = MarkovRewardProcess([[1.0]], law, 0.0)
        f = law.density(law.quantile(tau, np.zeros(4, int)), np.zeros(4, int))
        formula = a * (np.minimum.outer(tau, tau) - np.outer(tau, tau)) / np.add.outer(f, f)
        assert_allclose(q.stationary_covariance(one, tau, a)[0, :, 0, :], formula, rtol=1e-10)


def test_t12_5_the_printed_errors():
    laws = (rewards.normal(), rewards.laplace(), rewards.student(3.0), rewards.student(2.2))
    chains = [MarkovRewardProcess([[1.0]], law, 0.0) for law in laws]
    found = [q.mean_squared_error(one, q.midpoints(21), 0.01)[0] for one in chains]
    assert_allclose(found, [0.00133, 0.00155, 0.00166, 0.00182], atol=5e-6)


def lattice_covariance(a: float) -> np.ndarray:
    """The exact stationary covariance of two particles, tau = 1/4 and 3/4, normal rewards, g = 0.

    They live on a lattice of step a/4: +a/4 or -3a/4, and +3a/4 or -a/4.
    """
    h = a / 4
    x = np.arange(-round(1.6 / h), round(1.6 / h) + 1) * h
    n = len(x)
    i, j = (index.ravel() for index in np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))
    F = norm.cdf(x)
    both, neither = np.minimum(F[i], F[j]), 1 - np.maximum(F[i], F[j])
    only_low, only_high = F[i] - both, F[j] - both  # the reward lies below one of them
    moves = [((-3, -1), both), ((1, 3), neither), ((-3, 3), only_low), ((1, -1), only_high)]
    rows, columns, weights = [], [], []
    for (di, dj), p in moves:
        rows.append(np.clip(i + di, 0, n - 1) * n + np.clip(j + dj, 0, n - 1))
        columns.append(i * n + j)
        weights.append(p)
    step = csr_array((np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))))
    law = np.exp(-((x[i] + 0.67) ** 2 + (x[j] - 0.67) ** 2) / (2 * a * 0.3))
    law /= law.sum()
    for _ in range(round(16 / a)):
        law = step @ law
    u, v = x[i] - law @ x[i], x[j] - law @ x[j]
    return np.array([[law @ (u * u), law @ (u * v)], [law @ (u * v), law @ (v * v)]])


def test_t12_5_is_exact_to_first_order_in_the_step():
    """Against the exact lattice chain: relative errors are small, and halve with the step."""
    one = MarkovRewardProcess([[1.0]], rewards.normal(), 0.0)
    errors = []
    for a in (0.08, 0.04):
        formula = q.stationary_covariance(one, [0.25, 0.75], a)[0, :, 0, :]
        errors.append(np.abs(lattice_covariance(a) / formula - 1))
    assert (errors[1] < 0.03).all()
    assert_allclose(np.log2(errors[0] / errors[1]), 1, atol=0.35)


def test_t12_5_sampled_quantile_td_has_the_exact_mean_and_covariance(bell):
    """|z| < 4 for every entry of both, 200 independent runs from the fixed point, six relaxation times.

    The mean's bias and the covariance's second order are O(a), below the errors at a = .004.
    """
    levels, z = bell
    a, n = 0.004, 200
    slowest = np.linalg.eigvals(q.pull(BELL, z).reshape(6, 6)).real.min()
    runs = q.simulate(
        BELL,
        levels,
        steps=[round(3 / (a * slowest))],
        learning_rate=a,
        rng=np.random.default_rng(5),
        runs=n,
        start=z,
    )[0].reshape(n, 6)
    C = q.stationary_covariance(BELL, levels, a).reshape(6, 6)
    mean_z = (runs.mean(axis=0) - z.ravel()) / np.sqrt(np.diag(C) / n)
    error = np.sqrt((np.outer(np.diag(C), np.diag(C)) + C**2) / n)  # of a Gaussian's covariance
    covariance_z = (np.cov(runs.T) - C) / error
    assert np.abs(mean_z).max() < 4 and np.abs(covariance_z).max() < 4
    assert np.abs((np.cov(runs.T) - 2 * C) / error).max() > 4  # twice the covariance would be seen


def test_the_error_of_the_value_is_bias_and_variance():
    """On a skewed law the mean of three particles misses the mean: bias^2 is part of it."""
    levels = np.array([0.2, 0.5, 0.9])
    one = MarkovRewardProcess([[1.0]], rewards.normal(0.5, 1.0), 0.0)
    z = q.fixed_point(one, levels)
    bias = z.mean() - 0.5
    assert abs(bias) > 0.1
    C = q.stationary_covariance(one, levels, 0.01)[0, :, 0, :]
    assert_allclose(q.mean_squared_error(one, levels, 0.01), [bias**2 + C.sum() / 9], rtol=1e-12)


# ---- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: q.fixed_point(COINS, [0.5, 0.25]), r"levels must be increasing, but levels\[1\] = 0.25"),
        (lambda: q.fixed_point(COINS, [0.5, 0.5]), "levels must be increasing"),
        (lambda: q.fixed_point(COINS, [0.0, 0.5]), r"levels must be inside \(0, 1\)"),
        (lambda: q.fixed_point(COINS, [[0.5]]), "levels must be one list"),
        (lambda: q.fixed_point(COINS, [0.5], 1.5), r"mixture must be in \[0, 1\]"),
        (lambda: q.fixed_point(COINS, [0.5], [0.1, 0.2, 0.3]), "mixture must broadcast"),
        (lambda: q.operator(COINS, [0.5], [[1.0, 2.0]]), r"particles must have shape \(2, 1\)"),
        (lambda: q.flow(COINS, [0.5], [1.0]), "reward must have a density for the flow"),
        (lambda: q.stationary_covariance(COINS, [0.5], 0.1), "reward must have a density for the covariance"),
        (lambda: q.stationary_covariance(BELL, [0.5], 0.0), "learning_rate must be a positive"),
        (lambda: q.midpoints(0), "m must be an integer of at least 1"),
    ],
)
def test_bad_input_is_refused_with_its_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_discount_too_near_to_one_is_told():
    slow = MarkovRewardProcess(P, [0.0, 1.0], 0.99999)
    with pytest.raises(NotConverged, match="sweeps are needed"):
        q.fixed_point(slow, [0.5])


def test_too_many_corners_are_refused():
    """Without rewards' noise a fair coin of states leaves half of the particles undecided."""
    coin = MarkovRewardProcess(np.full((2, 2), 0.5), [0.0, 1.0], 0.0)
    with pytest.raises(ValueError, match="at most 12 particles undecided"):
        q.fixed_points(MarkovRewardProcess(COINS.transition, COINS.reward, 0.5), q.midpoints(40))
    assert len(q.fixed_points(coin, q.midpoints(4))) == 1
