"""Exact moments of SGD: against every sequence of pairs, T3.5 as printed, and 1e5 sampled runs."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

import bandits as b
import worlds
from bandits import examples
from bandits.dynamics import moments
from bandits.dynamics.pairs import Noise, affine_pairs
from bandits.problem import bind
from bandits.testing import strategies

START = np.array([0.2, 0.3, 0.5])
TOY, TOY_LAW = examples.copg_toy()
CYCLE = b.Bandit([1.0, 0.0, 2.0], preference=worlds.CYCLE)
JOINT = b.Pairs([[0.02, 0.2, 0.08], [0.1, 0.05, 0.25], [0.05, 0.15, 0.1]])
SIGMA = 0.7


def pairs_of(algorithm, bandit, sampling) -> list[tuple[float, int, int]]:
    """(weight, i, j) of every pair."""
    found = []
    for arms, weight in sampling.law(algorithm, bandit, bandit.log_reference).tuples():
        found += [(w, int(i), int(j)) for w, (i, j) in zip(weight, arms, strict=True)]
    return found


# ---- against enumeration


def every_run(algorithm, bandit, sampling, eta, steps, batch, labels):
    """Mean and covariance of the logits over every sequence of pairs (and labels), one update at a time."""
    outcomes = []
    for w, i, j in pairs_of(algorithm, bandit, sampling):
        p = bandit.preference[i, j]
        if isinstance(sampling, b.Dataset):
            outcomes.append((w, i, j, 1.0))
        elif labels:
            outcomes += [(w * p, i, j, 1.0), (w * (1 - p), i, j, 0.0)]
        else:
            outcomes.append((w, i, j, p))
    runs = [(1.0, np.log(START))]
    for _ in range(steps):
        following = []
        for probability, theta in runs:
            for drawn in product(outcomes, repeat=batch):
                moved = theta + eta / batch * sum(one_update(algorithm, bandit, theta, *d[1:]) for d in drawn)
                following.append((probability * np.prod([d[0] for d in drawn]), moved))
        runs = following
    weight, logits = np.array([w for w, _ in runs]), np.stack([x for _, x in runs])
    mean = weight @ logits
    return mean, (weight[:, None] * (logits - mean)).T @ (logits - mean)


def one_update(algorithm, bandit, theta, i, j, p) -> np.ndarray:
    log_ref = bandit.log_reference
    samples = b.Samples(
        log_prob=theta[[i, j]],
        reference_log_prob=log_ref[[i, j]],
        reward=bandit.reward[[i, j]],
        preference=np.array([[0.5, p], [1 - p, 0.5]]),
    )
    c = algorithm.update(samples).log_prob
    step = np.zeros(bandit.arms)
    step[i] += c[0]
    step[j] += c[1]
    return step


@pytest.mark.parametrize(
    ("algorithm", "bandit", "sampling", "batch", "labels"),
    [
        (b.CoPG(0.5), TOY, TOY_LAW, 1, False),
        (b.RLOO(0.5), TOY, JOINT, 1, False),
        (b.IPO(0.5), CYCLE, JOINT, 1, True),
        (b.IPO(0.5), CYCLE, JOINT, 1, False),
        (b.IPO(0.5), CYCLE, b.Dataset([(0, 1), (1, 2), (0, 1), (2, 0)]), 2, False),
        (b.CoPG(0.5), TOY, b.Dataset([(0, 1), (1, 2), (0, 1)]), 2, False),
    ],
)
def test_moments_are_those_of_every_sequence_of_pairs(algorithm, bandit, sampling, batch, labels):
    found = moments.sgd_moments(
        algorithm, bandit, sampling, 0.3, [0, 2], START, batch_size=batch, label_noise=labels
    )
    np.testing.assert_allclose(found.mean[0], np.log(START), rtol=1e-14)
    assert (found.covariance[0] == 0).all()
    mean, covariance = every_run(algorithm, bandit, sampling, 0.3, 2, batch, labels)
    np.testing.assert_allclose(found.mean[1], mean, atol=1e-13)
    np.testing.assert_allclose(found.covariance[1], covariance, atol=1e-13)


@pytest.mark.parametrize("noise", [0.0, SIGMA])
@pytest.mark.parametrize("sampling", [TOY_LAW, JOINT, b.Dataset([(0, 1), (2, 1), (0, 1)])])
def test_the_recursion_is_the_printed_one(sampling, noise):
    """T3.5, S <- sum W (I - eta beta d d') S (I - eta beta d d') + 2 sigma^2 eta^2 sum W d d'."""
    beta, eta = 0.5, 0.4
    goal = b.fixed_point(b.CoPG(beta), TOY, sampling, START).log_policy
    m = np.log(START) - goal
    m -= m.mean()  # logits keep their sum
    S = np.outer(m, m)
    for _ in range(25):
        after, drift = np.zeros((3, 3)), np.zeros((3, 3))
        for w, i, j in pairs_of(b.CoPG(beta), TOY, sampling):
            d = np.eye(3)[i] - np.eye(3)[j]
            A = np.eye(3) - eta * beta * np.outer(d, d)
            after += w * (A @ S @ A + 2 * noise**2 * eta**2 * np.outer(d, d))
            drift += w * A
        S, m = after, drift @ m
    found = moments.sgd_moments(b.CoPG(beta), TOY, sampling, eta, [25], START, reward_noise=noise)
    np.testing.assert_allclose(found.covariance[0], S - np.outer(m, m), atol=1e-13)
    centred = found.mean[0] - goal
    np.testing.assert_allclose(centred - centred.mean(), m, atol=1e-13)


@settings(max_examples=20)
@given(strategies.bandits_with_both(smallest=1e-2), st.data())
def test_the_mean_is_gradient_descent(bandit, data):
    algorithm = data.draw(st.sampled_from([b.CoPG(0.6), b.IPO(0.8)]))
    sampling = data.draw(strategies.pair_samplings(bandit.arms))
    start = data.draw(strategies.policies(bandit.arms))
    eta = 0.5 * float(b.largest_stable_step(algorithm, bandit, sampling))
    mean = moments.sgd_moments(algorithm, bandit, sampling, eta, [0, 1, 9], start).mean
    found = np.exp(mean - np.logaddexp.reduce(mean, axis=-1, keepdims=True))
    expected = b.descent(algorithm, bandit, sampling, eta, [0, 1, 9], start)
    np.testing.assert_allclose(found, expected, atol=1e-11)


@settings(max_examples=20)
@given(strategies.bandits_with_both(smallest=1e-2), st.booleans(), st.integers(1, 5), st.data())
def test_the_first_step_has_the_update_s_covariance(bandit, labels, batch, data):
    """eta^2 / B times `update_covariance` at the start."""
    algorithm = b.IPO(0.8) if labels else data.draw(st.sampled_from([b.CoPG(0.6), b.IPO(0.8)]))
    sampling = data.draw(strategies.pair_samplings(bandit.arms))
    start = data.draw(strategies.policies(bandit.arms))
    covariance = moments.sgd_moments(
        algorithm, bandit, sampling, 0.2, [1], start, batch_size=batch, label_noise=labels
    ).covariance[0]
    one = b.update_covariance(algorithm, bandit, sampling, start, label_noise=labels)
    np.testing.assert_allclose(covariance, 0.2**2 / batch * one, rtol=1e-9, atol=1e-12 * np.abs(one).max())


# ---- against sampled runs


def draw_pairs(rng, runs: int, joint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.divmod(rng.choice(joint.size, runs, p=joint.ravel()), len(joint))


def monte_carlo(coefficient, joint, eta, steps, batch, runs, seed) -> np.ndarray:
    """Logits of `runs` runs of SGD; coefficient(rng, log-ratio difference, i, j) is c of each run."""
    rng, rows = np.random.default_rng(seed), np.arange(runs)
    theta = np.tile(np.log(START), (runs, 1))
    for _ in range(steps):
        step = np.zeros_like(theta)
        for _ in range(batch):
            i, j = draw_pairs(rng, runs, joint)
            c = coefficient(rng, theta[rows, i] - theta[rows, j], i, j)  # the reference is uniform
            np.add.at(step, (rows, i), c)
            np.add.at(step, (rows, j), -c)
        theta += eta / batch * step
    return theta


def noisy_copg(rng, dh, i, j):
    noise = SIGMA * (rng.standard_normal(i.size) - rng.standard_normal(i.size))
    return TOY.reward[i] - TOY.reward[j] + noise - 0.5 * dh


def labelled_ipo(rng, dh, i, j):
    label = rng.random(i.size) < CYCLE.preference[i, j]
    return 2 * ((label - 0.5) / 0.5 - dh)


OFFLINE_JOINT = np.outer(*TOY_LAW.behaviors)


@pytest.mark.parametrize(
    ("algorithm", "bandit", "sampling", "joint", "coefficient", "eta", "steps", "batch", "noise"),
    [
        (b.CoPG(0.5), TOY, TOY_LAW, OFFLINE_JOINT, noisy_copg, 0.8, 60, 1, {"reward_noise": SIGMA}),
        (b.CoPG(0.5), TOY, JOINT, JOINT.joint, noisy_copg, 1.5, 25, 3, {"reward_noise": SIGMA}),
        (b.IPO(0.5), CYCLE, JOINT, JOINT.joint, labelled_ipo, 0.3, 40, 1, {"label_noise": True}),
    ],
    ids=["CoPG", "CoPG, batches of 3", "IPO"],
)
def test_sampled_runs_have_these_moments(
    algorithm, bandit, sampling, joint, coefficient, eta, steps, batch, noise
):
    """Means within 5 exact standard errors, covariances too.

    A covariance's standard error is that of the mean of the products (x_a - m_a)(x_b - m_b), with the exact m
    and the sampled fourth moment, which 1e5 runs know to about 1%.  At 9 numbers and 3 cases, 5 errors
    are exceeded by chance once in 60 000 times; the seed is fixed.
    """
    runs = 100_000
    theta = monte_carlo(coefficient, joint, eta, steps, batch, runs, seed=7)
    mean, covariance = moments.sgd_moments(
        algorithm, bandit, sampling, eta, [steps], START, batch_size=batch, **noise
    )
    away = theta - mean[0]
    z = away.mean(axis=0) / np.sqrt(np.diag(covariance[0]) / runs)
    assert np.abs(z).max() < 5
    products = away[:, :, None] * away[:, None, :]
    z = (products.mean(axis=0) - covariance[0]) / (products.std(axis=0) / np.sqrt(runs))
    assert np.abs(z).max() < 5
    # and the test can tell: a covariance without the noise of one step is far off
    quiet = moments.sgd_moments(
        algorithm, bandit, sampling, eta, [steps], START, batch_size=batch, label_noise=False
    )
    z = (products.mean(axis=0) - quiet.covariance[0]) / (products.std(axis=0) / np.sqrt(runs))
    assert np.abs(z).max() > 20


# ---- the long run


NOISY = [
    (b.CoPG(0.5), TOY, TOY_LAW, 0.8, 1, {"reward_noise": SIGMA}),
    (b.CoPG(0.5), TOY, JOINT, 1.5, 3, {"reward_noise": SIGMA}),
    (b.IPO(0.5), CYCLE, JOINT, 0.3, 1, {"label_noise": True}),
    (b.IPO(0.5), CYCLE, JOINT, 0.3, 2, {}),
]


@pytest.mark.parametrize(("algorithm", "bandit", "sampling", "eta", "batch", "noise"), NOISY)
def test_the_recursion_ends_at_the_stationary_covariance(algorithm, bandit, sampling, eta, batch, noise):
    settled = moments.stationary_covariance(algorithm, bandit, sampling, eta, batch_size=batch, **noise)
    late = moments.sgd_moments(algorithm, bandit, sampling, eta, [2000], START, batch_size=batch, **noise)
    np.testing.assert_allclose(settled, late.covariance[0], atol=1e-13)
    assert np.linalg.eigvalsh(settled)[1] > 1e-3  # a plane of noise; constants never move
    np.testing.assert_allclose(settled @ np.ones(3), 0, atol=1e-14)


@settings(max_examples=15)
@given(strategies.bandits_with_reward(smallest=1e-1), st.integers(1, 4), st.data())
def test_the_stationary_covariance_solves_the_kronecker_system(bandit, batch, data):
    """Second route: vec(S) from the A^2 x A^2 matrix of one step, pair by pair."""
    sampling, eta, sigma = data.draw(strategies.pair_samplings(bandit.arms)), 0.9, 0.5
    T, noise = second_moment_map(b.CoPG(0.5), bandit, sampling, eta * 0.5, batch)
    covariance = moments.stationary_covariance(
        b.CoPG(0.5), bandit, sampling, eta, batch_size=batch, reward_noise=sigma
    )
    rhs = (2 * sigma**2 * eta**2 / batch * noise).ravel()
    # S as a root of vec(S) = T vec(S) + rhs; constants, on which T is the identity, are left out
    np.testing.assert_allclose(
        covariance.ravel(), T @ covariance.ravel() + rhs, atol=1e-12 * np.abs(covariance).max()
    )


def second_moment_map(algorithm, bandit, sampling, step, batch) -> tuple[np.ndarray, np.ndarray]:
    """E[A_1 (x) A_1] for a batch's product A_1 = I - (step / B) sum_b d_b d_b', and E[d d']."""
    pairs, one = pairs_of(algorithm, bandit, sampling), np.eye(bandit.arms)
    L, twice = np.zeros((bandit.arms,) * 2), np.zeros((bandit.arms**2,) * 2)
    for w, i, j in pairs:
        D = np.outer(one[i] - one[j], one[i] - one[j])
        L += w * D
        twice += w * np.kron(D, D)
    mixed = twice / batch + (1 - 1 / batch) * np.kron(L, L)
    return np.eye(bandit.arms**2) - step * (np.kron(L, one) + np.kron(one, L)) + step**2 * mixed, L


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_largest_noisy_step_is_where_the_second_moment_grows(batch):
    """Second route: the spectral radius of the A^2 x A^2 map on matrices that no constant touches."""
    largest = float(moments.largest_noisy_step(b.CoPG(0.5), TOY, JOINT, batch_size=batch))
    basis = np.linalg.qr(np.column_stack([np.ones(3), np.eye(3)[:, :2]]))[0][:, 1:]
    lift = np.kron(basis, basis)

    def radius(eta):
        T, _ = second_moment_map(b.CoPG(0.5), TOY, JOINT, 0.5 * eta, batch)
        return np.abs(np.linalg.eigvals(lift.T @ T @ lift)).max()

    np.testing.assert_allclose(radius(largest), 1.0, rtol=1e-12)
    assert radius(0.98 * largest) < 1 < radius(1.02 * largest)


@settings(max_examples=20)
@given(strategies.bandits_with_both(smallest=1e-2), st.data())
def test_one_pair_a_step_is_stable_up_to_one_over_the_slope(bandit, data):
    """eta g < 1 for whatever law, connected or not; many pairs a step: the stable step of descent."""
    sampling = data.draw(st.one_of(strategies.pair_samplings(bandit.arms), strategies.datasets(bandit.arms)))
    for algorithm, slope in ((b.CoPG(0.25), 0.25), (b.IPO(0.25), 2.0)):
        one = moments.largest_noisy_step(algorithm, bandit, sampling)
        np.testing.assert_allclose(one, 1 / slope, rtol=1e-9)
        many = moments.largest_noisy_step(algorithm, bandit, sampling, batch_size=10**12)
        np.testing.assert_allclose(many, b.largest_stable_step(algorithm, bandit, sampling), rtol=1e-8)


def test_noiseless_copg_reaches_its_optimum_exactly_and_ipo_on_a_cycle_never_rests():
    """T3.5: constant-step CoPG has no noise at pi*, because every pair agrees there."""
    late = moments.sgd_moments(b.CoPG(0.5), TOY, JOINT, 0.8, [500], START)
    assert np.abs(late.covariance).max() < 1e-15  # round-off of constants, which nothing damps
    assert np.abs(moments.stationary_covariance(b.CoPG(0.5), TOY, JOINT, 0.8)).max() < 1e-15
    np.testing.assert_allclose(softmax(late.mean[0]), TOY.optimal_policy(0.5), atol=1e-9)
    assert np.abs(moments.stationary_covariance(b.IPO(0.5), CYCLE, JOINT, 0.3)).max() > 0.05


def test_the_mean_may_converge_while_the_variance_grows():
    """Between the two largest steps: the runs fly apart around a mean that settles."""
    eta = 3.0  # 1 / g = 2, 2 / (g lambda_max) = 4.3
    found = moments.sgd_moments(b.CoPG(0.5), TOY, JOINT, eta, [10, 200], START)
    goal = TOY.log_optimal_policy(0.5)
    error = found.mean - goal - (found.mean - goal).mean(-1, keepdims=True)
    assert np.abs(error[1]).max() < 1e-3 * np.abs(error[0]).max()
    assert found.covariance[1].trace() > 10 * found.covariance[0].trace()


# ---- shapes and borders


def test_contexts_and_unsampled_arms():
    bandit = b.Bandit([[1.0, 0.0, 2.0, 0.0], [0.5, -1.0, 0.3, 3.0]], reference=[0.2, 0.3, 0.4, 0.1])
    sampling, start = b.Dataset([(0, 1), (1, 0), (1, 2)]), [0.3, 0.3, 0.2, 0.2]
    both = moments.sgd_moments(b.CoPG(0.5), bandit, sampling, 0.3, [1, 8], start, reward_noise=1.0)
    settled = moments.stationary_covariance(b.CoPG(0.5), bandit, sampling, 0.3, reward_noise=1.0)
    assert both.mean.shape == (2, 2, 4) and both.covariance.shape == (2, 2, 4, 4)
    for i in range(2):
        world = bandit.at((i,))
        alone = moments.sgd_moments(b.CoPG(0.5), world, sampling, 0.3, [1, 8], start, reward_noise=1.0)
        np.testing.assert_allclose(both.mean[:, i], alone.mean, atol=1e-15)
        np.testing.assert_allclose(both.covariance[:, i], alone.covariance, atol=1e-15)
        np.testing.assert_allclose(
            settled[i],
            moments.stationary_covariance(b.CoPG(0.5), world, sampling, 0.3, reward_noise=1.0),
            atol=1e-15,
        )
    np.testing.assert_allclose(both.mean[..., 3], np.log(0.2), rtol=1e-14)  # arm 3 is never sampled
    assert (both.covariance[..., 3, :] == 0).all()


def test_arms_outside_the_reference_have_no_logit():
    bandit = b.Bandit([1.0, 5.0, 0.0], reference=[0.4, 0.0, 0.6])
    found = moments.sgd_moments(b.CoPG(0.5), bandit, b.Offline([0.3, 0.0, 0.7]), 0.3, [4])
    assert np.isneginf(found.mean[0, 1]) and np.isfinite(found.mean[0, [0, 2]]).all()
    assert (found.covariance[0, 1] == 0).all()


def test_affine_forms_are_read_off_the_update():
    noise = Noise(reward=SIGMA)
    copg = affine_pairs(bind(b.CoPG(0.5), TOY, JOINT), noise)
    np.testing.assert_allclose(copg.target, np.subtract.outer(TOY.reward, TOY.reward), atol=1e-15)
    np.testing.assert_allclose(copg.variance, 2 * SIGMA**2, rtol=1e-12)
    np.testing.assert_allclose(copg.slope, 0.5, rtol=1e-14)
    ipo = affine_pairs(bind(b.IPO(0.5), CYCLE, JOINT), Noise(label=True))
    P = CYCLE.preference
    np.testing.assert_allclose(ipo.target, 2 * (P - 0.5) / 0.5, atol=1e-14)
    np.testing.assert_allclose(ipo.variance, 4 * P * (1 - P) / 0.5**2, rtol=1e-12)
    np.testing.assert_allclose(ipo.slope, 2.0, rtol=1e-14)


class Squared:
    """A reader's algorithm whose slope depends on the pair: c = r_i (r_i - r_j - dh)."""

    k = 2

    def update(self, samples):
        r, h = samples.reward, samples.log_ratio
        c = r[..., 0] * (r[..., 0] - r[..., 1] - h[..., 0] + h[..., 1])
        return b.Update(log_prob=np.stack([c, -c], axis=-1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: moments.sgd_moments(b.DPO(0.5), TOY, TOY_LAW, 0.1, [1]),
            "DPO must be affine in",
        ),
        (lambda: moments.sgd_moments(Squared(), TOY, TOY_LAW, 0.1, [1]), "the same slope in every pair"),
        (
            lambda: moments.sgd_moments(b.PolicyGradient(0.5, k=2), TOY, TOY_LAW, 0.1, [1]),
            "opposite for the two samples",
        ),
        (lambda: moments.sgd_moments(b.CoPG(0.5), TOY, b.OnPolicy(), 0.1, [1]), r"OnPolicy\(\) moves"),
        (lambda: moments.sgd_moments(b.CoPG(0.5, k=3), TOY, b.Offline(START), 0.1, [1]), "k = 3"),
        (lambda: moments.sgd_moments(b.CoPG(0.5), TOY, TOY_LAW, 0.0, [1]), "learning_rate must be"),
        (lambda: moments.sgd_moments(b.CoPG(0.5), TOY, TOY_LAW, 0.1, [1, 1]), "steps must be increasing"),
        (
            lambda: moments.sgd_moments(b.CoPG(0.5), TOY, TOY_LAW, 0.1, [1], batch_size=0),
            "batch_size must",
        ),
        (
            lambda: moments.sgd_moments(b.CoPG(0.5), TOY, TOY_LAW, 0.1, [1], reward_noise=-1.0),
            "reward_noise must be",
        ),
        (
            lambda: moments.sgd_moments(b.IPO(0.5), TOY, TOY_LAW, 0.1, [1], reward_noise=1.0),
            "IPO does not look at rewards",
        ),
        (
            lambda: moments.sgd_moments(
                b.CoPG(0.5), examples.dice(), b.Offline(START), 0.1, [1], reward_noise=1.0
            ),
            "no reward",
        ),
        (
            lambda: moments.stationary_covariance(b.CoPG(0.5), TOY, TOY_LAW, 2.0),
            "learning_rate must be below 2, the largest step that is stable in mean square",
        ),
    ],
)
def test_what_has_no_exact_moments_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
