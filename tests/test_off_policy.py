"""Laws of off-policy policy gradient with a constant baseline (T2.5, T8.2).

Second routes: every Lambert branch choice by scipy.special.lambertw on a dense grid; a stiff ODE
solver on the logits; finite differences; mpmath.
"""

import itertools

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from scipy.special import lambertw, log_softmax, logsumexp, wrightomega

from bandits.solvers.off_policy import attractors


class World:
    """One random instance; g and L are written from their definitions, not from the module."""

    def __init__(self, seed: int, arms: int, gap: float, unseen: int = 0, spread: float = 1.0):
        rng = np.random.default_rng(seed)
        self.mu = rng.dirichlet(np.full(arms, 2.0)) + 0.01
        self.mu[:unseen] = 0.0
        self.mu /= self.mu.sum()
        self.log_ref = np.log(rng.dirichlet(np.full(arms, 2.0)) + 0.01)
        self.log_ref -= logsumexp(self.log_ref)
        self.reward = spread * rng.normal(size=arms)
        self.beta = float(rng.uniform(0.3, 1.5))
        self.optimum = self.beta * logsumexp((self.log_ref + self.reward / self.beta)[self.mu > 0])
        self.baseline = float(self.optimum + gap * self.beta)  # gap = (b - J*) / beta
        self.rng = rng

    def advantage(self, logits):
        return self.reward - self.baseline - self.beta * (log_softmax(logits) - self.log_ref)

    def gradient(self, logits):
        """E_mu[(R - b)(e_y - pi)]."""
        weight = self.mu * self.advantage(logits)
        return weight - weight.sum() * np.exp(log_softmax(logits))

    def attractors(self, start=None):
        return attractors(self.mu, self.log_ref, self.reward, self.beta, self.baseline, start)

    def flow(self, logits, time):
        def law(t, y):
            return self.gradient(y)

        return solve_ivp(law, (0, time), logits, method="LSODA", rtol=1e-10, atol=1e-12).y[:, -1]

    def jacobian(self, logits, step=1e-6):
        """Central differences of `gradient`, error O(step^2) + eps/step, about 1e-10."""
        moves = step * np.eye(len(logits))
        return np.stack(
            [(self.gradient(logits + m) - self.gradient(logits - m)) / (2 * step) for m in moves], 1
        )

    def top_eigenvalue(self, logits):
        """Largest eigenvalue of the Jacobian on logits modulo constants."""
        basis = np.linalg.svd(np.ones((1, len(logits))))[2][1:]
        return np.linalg.eigvals(basis @ self.jacobian(logits) @ basis.T).real.max()


def stable(found):
    return [one.log_policy for one in found if one.stable]


def on_lower_branch(world, log_policy):
    """Arms with |v| > 1, v = Abar pi / (beta mu)."""
    v = world.advantage(log_policy) / world.beta
    return np.flatnonzero(v < -1).tolist()


def all_branch_choices(world):
    """Every fixed point with c < 0 as (u, branches): scan log|c| = top - tau^2 on all 2^A branch choices."""
    a = (world.reward - world.baseline) / world.beta + world.log_ref
    log_mu = np.log(world.mu)
    top = (log_mu - 1 - a).min()

    def log_policy(tau, branches):
        log_c = top - np.asarray(tau) ** 2
        argument = -np.exp(np.minimum(a + log_c[..., None] - log_mu, -1.0))
        minus_v = np.stack([lambertw(argument[..., y], k).real for y, k in enumerate(branches)], -1)
        # the form without cancellation: u = a + |v| on W_0, u = log|v| + log mu - log|c| on W_{-1}
        far = np.log(np.maximum(-minus_v, 1e-300)) + log_mu - log_c[..., None]
        return np.where(np.array(branches) == 0, a - minus_v, far)

    fine, coarse = np.geomspace(1e-6, 1e-2, 300), np.linspace(0.01, 4, 2500)
    grid = np.r_[fine, coarse[1:], np.linspace(4, 20, 500)[1:]]
    for branches in itertools.product((0, -1), repeat=len(a)):

        def excess(tau, branches=branches):
            return logsumexp(log_policy(tau, branches), axis=-1)

        value = excess(grid)
        for i in np.flatnonzero((value[:-1] >= 0) != (value[1:] >= 0)):
            tau = brentq(lambda t: float(excess(t)), grid[i], grid[i + 1], xtol=1e-14)
            yield log_policy(tau, branches), branches


def assert_same_set(found, expected, tolerance):
    """Two unordered lists of vectors are equal."""
    assert len(found) == len(expected)
    left, right = (np.array(sorted(np.round(x, 6).tolist() for x in some)) for some in (found, expected))
    np.testing.assert_allclose(left, right, rtol=0, atol=tolerance)


# -------------------------------------------------------------------------- the map itself


def test_the_motion_is_a_projection_and_dro_with_a_frozen_value():
    """g = -(1/beta) grad L with DRO's L = (1/2) E_mu[(r - V - beta h)^2] at V = b (T8.2)."""
    world = World(seed=1, arms=5, gap=0.7)
    logits = world.rng.normal(size=5)

    def dro_loss(theta):
        h = log_softmax(theta) - world.log_ref
        return 0.5 * world.mu @ (world.reward - world.baseline - world.beta * h) ** 2

    moves = 1e-6 * np.eye(5)
    slope = np.array([(dro_loss(logits + m) - dro_loss(logits - m)) / 2e-6 for m in moves])
    np.testing.assert_allclose(world.gradient(logits), -slope / world.beta, atol=1e-8)  # eps / step


def test_the_jacobian_of_the_docstring_is_the_finite_difference():
    """Only at a zero of g is the tangent form -sum d x^2; the matrix itself holds everywhere."""
    world = World(seed=2, arms=4, gap=1.3)
    logits, mu, beta = world.rng.normal(size=4), world.mu, world.beta
    pi, mean = np.exp(log_softmax(logits)), mu @ world.advantage(logits)
    cross = np.outer(mu, pi)
    jacobian = -np.diag(beta * mu + mean * pi) + beta * (cross + cross.T) + (mean - beta) * np.outer(pi, pi)
    np.testing.assert_allclose(jacobian, world.jacobian(logits), atol=1e-8)
    np.testing.assert_allclose(jacobian.sum(axis=1), 0, atol=1e-15)


# -------------------------------------------------------------------------- full support


@pytest.mark.parametrize("gap", [-30.0, -1.0, -0.01])
def test_below_the_optimum_there_is_one_attractor_and_it_is_the_omega_formula(gap):
    """Abar > 0: pi = omega(a + log kappa) / kappa, kappa = Abar / (beta mu)."""
    world = World(seed=3, arms=6, gap=gap)
    (found,) = world.attractors()
    kappa = found.mean_advantage / (world.beta * world.mu)
    a = (world.reward - world.baseline) / world.beta + world.log_ref
    assert found.stable and found.mean_advantage > 0
    np.testing.assert_allclose(np.exp(found.log_policy), wrightomega(a + np.log(kappa)) / kappa, rtol=1e-11)
    np.testing.assert_allclose(np.exp(found.log_policy).sum(), 1, atol=1e-14)


def test_a_frozen_value_tilts_by_its_error():
    """T8.2: pi_V = ref exp((r - (pi_V / mu)(V^pi - V)) / beta) / Z, V^pi = E_mu[r - beta log pi / ref]."""
    for gap in (-2.0, -0.3, 0.4, 2.5):
        world = World(seed=4, arms=4, gap=gap)
        for found in world.attractors():
            pi = np.exp(found.log_policy)
            value = world.mu @ (world.advantage(found.log_policy) + world.baseline)
            tilt = world.log_ref + (world.reward - pi / world.mu * (value - world.baseline)) / world.beta
            np.testing.assert_allclose(found.log_policy, log_softmax(tilt), atol=1e-11)


@pytest.mark.parametrize("seed", range(10))
def test_the_enumeration_finds_every_stable_branch_choice(seed):
    """All 2^A choices: the stable ones are the attractors; two or more arms on W_{-1} are never stable."""
    near = seed % 2  # rewards close to beta log(mu / ref) are where folds and saddles live
    world = World(
        seed=100 + seed, arms=2 + seed % 4, gap=[0.2, 1.0, 1.6, 0.85][seed % 4], spread=1 - 0.9 * near
    )
    if near:
        world.reward += world.beta * (np.log(world.mu) - world.log_ref)
        world.optimum = world.beta * logsumexp(world.log_ref + world.reward / world.beta)
        world.baseline = world.optimum + [1.0, 0.9][seed // 2 % 2] * world.beta
    expected, saddles = [], []
    for log_policy, branches in all_branch_choices(world):
        if world.top_eigenvalue(log_policy) < 0:
            assert -sum(branches) <= 1
            expected.append(log_policy)
        elif -sum(branches) <= 1:
            saddles.append(log_policy)
    found = world.attractors()
    assert_same_set(stable(found), expected, tolerance=2e-6)  # rounded to six digits to be sorted
    assert_same_set([one.log_policy for one in found if not one.stable], saddles, tolerance=2e-6)
    assert max(one.residual for one in found) < 1e-14  # eps times rewards of size 1


def test_one_arm_on_the_lower_branch_may_be_unstable_and_one_arm_may_hold_two_attractors():
    """beta = 1, uniform reference, b = .87: arm 1 is on W_{-1} in both attractors and in the saddle."""
    world = World(seed=0, arms=3, gap=0.0)
    world.mu, world.reward = np.array([0.44, 0.21, 0.35]), np.array([0.29, -0.44, 0.03])
    world.log_ref, world.beta, world.baseline = np.full(3, -np.log(3)), 1.0, 0.87
    found = world.attractors()
    assert [on_lower_branch(world, one.log_policy) for one in found] == [[1], [1], [1]]
    assert [one.stable for one in found] == [True, True, False]
    assert [world.top_eigenvalue(one.log_policy) < 0 for one in found] == [True, True, False]
    ends = [
        world.flow(found[2].log_policy + push * np.array([1.0, -1.0, 1.0]), 3e4) for push in (1e-3, -1e-3)
    ]
    assert_same_set([log_softmax(end) for end in ends], stable(found), tolerance=2e-6)


@pytest.mark.parametrize("seed", range(6))
def test_the_flow_ends_in_the_set_and_returns_to_it(seed):
    """From random starts, and from every attractor pushed by 1e-3; saddles send one of two pushes away."""
    world = World(seed=200 + seed, arms=2 + seed, gap=[-0.5, 0.5, 1.0, 2.0, 3.0, 6.0][seed])
    found = world.attractors()
    for _ in range(6):
        end = log_softmax(world.flow(2 * world.rng.normal(size=len(world.mu)), 1e5))
        assert min(np.abs(end - target).max() for target in stable(found)) < 1e-7
    for one in found:
        assert (world.top_eigenvalue(one.log_policy) < 0) == one.stable
    for target in stable(found):
        pushed = target + 1e-3 * world.rng.normal(size=len(target))
        np.testing.assert_allclose(log_softmax(world.flow(pushed, 1e5)), target, atol=1e-7)


def test_far_above_the_rewards_every_arm_locks_in():
    found = attractors([0.1, 0.2, 0.3, 0.4], np.log([0.4, 0.3, 0.2, 0.1]), [1, 0.5, 0.2, 0], 0.3, 10.0)
    assert all(one.stable for one in found)
    assert sorted(int(np.argmax(one.log_policy)) for one in found) == [0, 1, 2, 3]
    assert min(np.exp(one.log_policy).max() for one in found) > 1 - 1e-12


def test_there_can_be_one_attractor_more_than_arms():
    """mu nearly pi*, b just below J* + beta: the one near pi* coexists with one for each arm."""
    mu, reference = np.array([0.26, 0.251, 0.247, 0.242]), np.array([0.4, 0.3, 0.2, 0.1])
    found = attractors(mu, np.log(reference), 0.5 * np.log(mu / reference), 0.5, 0.5 * 0.97)  # J* = 0
    assert len(stable(found)) == 5


def test_the_optimum_is_fixed_only_if_the_baseline_is_the_mean_reward_there():
    """At pi*, R = J*, so E_mu[R] = J*: b = J* gives pi*, and every other b moves it (mu is not pi*)."""
    world = World(seed=5, arms=4, gap=0.0)
    best = log_softmax(world.log_ref + world.reward / world.beta)
    (found,) = world.attractors()
    np.testing.assert_allclose(found.log_policy, best, atol=1e-14)
    assert found.stable and abs(found.mean_advantage) < 1e-14
    for gap in (-1.0, -1e-3, 1e-3, 0.5):
        moved = World(seed=5, arms=4, gap=gap).attractors()
        assert min(np.abs(one.log_policy - best).max() for one in moved) > 1e-5


def test_sampling_from_the_optimum_keeps_it_fixed_until_the_baseline_passes_beta():
    """mu = pi*: g(pi*) = 0 for every b, and d = pi* (beta + J* - b) changes sign at b = J* + beta."""
    reference, beta = np.array([0.2, 0.5, 0.3]), 0.7
    reward = np.array([0.3, -0.4, 1.1])
    optimum = beta * np.log(reference @ np.exp(reward / beta))
    best = np.log(reference) + (reward - optimum) / beta
    for gap, expected in ((-5.0, True), (0.5, True), (0.999, True), (1.001, False), (4.0, False)):
        found = attractors(np.exp(best), np.log(reference), reward, beta, optimum + gap * beta)
        assert any(np.abs(u - best).max() < 1e-9 for u in stable(found)) == expected


def test_toy_of_copg_section_5():
    """T3.8: b = 0 ends at regret .638; b = E_pi[r], moving, at (.8115, .1675, .0209) with regret .0148."""
    mu, reward, beta = np.array([0.075, 0.125, 0.8]), np.array([2.5, 2.0, 1.0]), 0.5
    log_ref = np.full(3, -np.log(3))
    optimum = beta * logsumexp(log_ref + reward / beta)

    def regret(log_policy):
        return optimum - np.exp(log_policy) @ (reward - beta * (log_policy - log_ref))

    (plain,) = attractors(mu, log_ref, reward, beta, 0.0)
    assert round(regret(plain.log_policy), 3) == 0.638
    # a moving baseline stands still where it equals the constant that it has become
    (moving,) = attractors(
        mu, log_ref, reward, beta, brentq(lambda b: _mean_reward(b) - b, 2.2, 2.6, xtol=1e-15)
    )
    np.testing.assert_allclose(np.exp(moving.log_policy), [0.8115, 0.1675, 0.0209], atol=5e-5)
    assert round(regret(moving.log_policy), 4) == 0.0148


def _mean_reward(baseline):
    """E_pi[r] in the only attractor of the toy at this constant baseline."""
    reward = np.array([2.5, 2.0, 1.0])
    (found,) = attractors([0.075, 0.125, 0.8], np.full(3, -np.log(3)), reward, 0.5, baseline)
    return np.exp(found.log_policy) @ reward


# -------------------------------------------------------------------------- arms that mu never shows


def test_unseen_arms_die_like_one_over_time_when_the_baseline_is_low():
    """Abar > 0: the end is the attractor of the seen arms alone; pi(t) Abar t -> n/A, n of A arms seen.

    With theta = -log K, K' = Abar / Z.  Sum theta is conserved, so Z ~ K^((A - n)/n) and
    1/pi = K Z has the slope (A/n) K' Z = (A/n) Abar.
    """
    world = World(seed=6, arms=5, gap=-0.8, unseen=2)
    (found,) = world.attractors()
    seen = world.mu > 0
    assert np.isneginf(found.log_policy[~seen]).all() and found.stable and found.mean_advantage > 0
    (alone,) = attractors(world.mu[seen], world.log_ref[seen], world.reward[seen], world.beta, world.baseline)
    np.testing.assert_allclose(found.log_policy[seen], alone.log_policy, atol=1e-14)
    time = 1e6
    end = np.exp(log_softmax(world.flow(world.log_ref, time)))
    np.testing.assert_allclose(end[~seen] * found.mean_advantage * time, 3 / 5, atol=1e-3)  # O(log(t)/t)
    np.testing.assert_allclose(end[seen], np.exp(found.log_policy[seen]), atol=1e-5)  # O(1/t)


@pytest.mark.parametrize("seed", range(4))
def test_unseen_arms_fill_the_room_until_nothing_is_left_to_push(seed):
    """b > J* of the seen arms: Abar = 0, pi = ref exp((r - b)/beta) there, and the start fixes the rest."""
    world = World(seed=300 + seed, arms=6, gap=[0.05, 0.5, 2.0, 8.0][seed], unseen=3)
    start = 1.5 * world.rng.normal(size=6)
    (found,) = world.attractors(start)
    seen = world.mu > 0
    a = (world.reward - world.baseline) / world.beta + world.log_ref
    assert found.stable is None and found.mean_advantage == 0 and found.residual == 0  # one of a continuum
    np.testing.assert_allclose(found.log_policy[seen], a[seen], rtol=0, atol=0)
    np.testing.assert_allclose(logsumexp(found.log_policy), 0, atol=1e-14)
    end = world.flow(start, 1e5)
    np.testing.assert_allclose(log_softmax(end), found.log_policy, atol=1e-7)
    # it is the start that decides, and not by keeping the ratios of the unseen arms
    (other,) = world.attractors(start[::-1].copy())
    assert np.abs(other.log_policy - found.log_policy)[~seen].max() > 1e-2
    assert np.ptp((found.log_policy - start)[~seen]) > 1e-2


def test_an_arm_that_starts_without_mass_takes_no_part():
    """Then lock-in returns: the unseen arm cannot fill the room."""
    mu, log_ref, reward = [0.0, 0.3, 0.7], np.log([0.2, 0.5, 0.3]), [1.0, 0.0, 0.5]
    assert len(attractors(mu, log_ref, reward, 0.5, 10.0)) == 1
    found = attractors(mu, log_ref, reward, 0.5, 10.0, log_start=[-np.inf, 0.0, 0.0])
    assert len(stable(found)) == 2 and all(np.isneginf(one.log_policy[0]) for one in found)


# -------------------------------------------------------------------------- extremes


@pytest.mark.parametrize("seed", range(60))
def test_extreme_worlds_stay_finite_and_certified(seed):
    """beta 1e-3..1e3, probabilities to 1e-12, b far above, far below, near J*: residual at rounding."""
    rng = np.random.default_rng(400 + seed)
    arms, beta = int(rng.integers(1, 30)), 10 ** rng.uniform(-3, 3)
    mu, reference = 10 ** rng.uniform(-12, 0, (2, arms))
    mu, log_ref = mu / mu.sum(), np.log(reference / reference.sum())
    reward = rng.normal(size=arms) * 10 ** rng.uniform(-2, 3)
    optimum = beta * logsumexp(log_ref + reward / beta)
    baseline = [optimum + beta * rng.normal(), 1e6, -1e6, optimum + beta * 10 ** rng.uniform(-9, 0)][seed % 4]
    found = attractors(mu, log_ref, reward, beta, baseline)
    assert stable(found)
    scale = np.abs(reward - baseline).max() + beta * np.abs(log_ref).max()
    for one in found:
        np.testing.assert_allclose(np.exp(one.log_policy).sum(), 1, atol=1e-13)
        assert one.residual <= 2e-15 * scale  # a few roundings of the largest advantage
    if baseline < optimum:
        assert len(found) == 1


@pytest.mark.parametrize(
    ("beta", "baseline"),
    [(1e-3, 1e6), (1e-3, -1e6), (1e-3, 0.9), (1e3, 1e3), (2.0, 1.2), (1e-3, 2.0)],
)
def test_extreme_attractors_equal_mpmath(beta, baseline):
    """Sixty digits, Newton on (u, c) from the answer: it must move less than 1e-10 relative."""
    mpmath.mp.dps = 60
    mu, log_ref = np.array([1e-12, 0.3, 0.7 - 1e-12]), np.log([0.6, 1e-12, 0.4 - 1e-12])
    reward = np.array([1.0, 0.3, 0.8])
    for one in attractors(mu, log_ref, reward, beta, baseline):
        mus, refs, rs = ([mpmath.mpf(float(x)) for x in some] for some in (mu, log_ref, reward))
        a = [(r - baseline) / mpmath.mpf(beta) + ref for r, ref in zip(rs, refs, strict=True)]

        def equations(*x, a=a, mus=mus):
            gaps = [a[y] - x[y] - x[3] * mpmath.exp(x[y]) / mus[y] for y in range(3)]
            return [*gaps, mpmath.log(sum(mpmath.exp(u) for u in x[:3]))]

        start = [*map(mpmath.mpf, one.log_policy), mpmath.mpf(one.mean_advantage) / beta]
        exact = mpmath.findroot(equations, start, tol=1e-40, maxsteps=30)
        error = [abs(float((exact[y] - one.log_policy[y]) / max(1, abs(exact[y])))) for y in range(3)]
        assert max(error) < 1e-10


def test_degenerate_worlds_return_each_attractor_once():
    """Ties of all arms, at and next to the bifurcation b = J* + beta (here J* = 0, beta = 1)."""
    for baseline, expected in ((0.0, 1), (1 - 1e-9, 1), (1.0, 1), (1 + 1e-6, 2), (3.0, 2)):
        assert len(stable(attractors([0.5, 0.5], np.log([0.5, 0.5]), [0.0, 0.0], 1.0, baseline))) == expected
    for baseline, expected in ((0.5, 1), (0.97, 5), (1.001, 4)):
        found = attractors([0.25] * 4, np.log([0.25] * 4), [0.0] * 4, 1.0, baseline)
        assert len(stable(found)) == expected


# -------------------------------------------------------------------------- the border


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"behavior": [0.5, 0.6]}, "sum of behavior"),
        ({"behavior": [[0.5, 0.5]]}, "must be \\(A,\\)"),
        ({"behavior": [0.2, 0.3, 0.5]}, "same number of arms"),
        ({"log_reference": [0.0, -np.inf]}, r"log_reference\[1\] = -inf"),
        ({"log_reference": [np.nan, 0.0]}, r"log_reference\[0\] = nan"),
        ({"log_start": [-np.inf, 0.0]}, r"log_start\[0\] = -inf"),
        ({"reward": [1.0, np.nan]}, r"reward\[1\] = nan"),
        ({"reward": [1.0, 2.0, 3.0]}, "same number of arms"),
        ({"beta": 0.0}, "beta"),
        ({"baseline": np.inf}, "baseline"),
    ],
)
def test_bad_input_is_refused_by_name(change, words):
    good = {"behavior": [0.5, 0.5], "log_reference": np.log([0.5, 0.5]), "reward": [1.0, 0.0]}
    with pytest.raises(ValueError, match=words):
        attractors(**(good | {"beta": 1.0, "baseline": 0.0} | change))


def test_no_array_of_the_caller_is_touched():
    arrays = [np.array([0.0, 0.3, 0.7]), np.log([0.2, 0.5, 0.3]), np.array([1.0, 0.0, 0.5]), np.zeros(3)]
    before = [array.copy() for array in arrays]
    attractors(arrays[0], arrays[1], arrays[2], 0.5, 3.0, arrays[3])
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)
