"""The numbers of the theory, each derived in the docstring of its test (chapters T2 to T9).

Printed numbers are held to half of their last digit; what follows by hand is held to rounding.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import expit, softmax

import bandits as b
import worlds
from bandits import examples
from bandits.dynamics.games import nash_md
from bandits.policy import kl
from bandits.solvers.equilibrium import von_neumann_winner
from bandits.testing import strategies

PRINTED = {1: 0.05, 2: 0.005, 3: 0.0005, 4: 0.00005, 5: 0.000005}  # half a unit of the last digit


def gradient(world: b.Bandit, policy, beta: float) -> np.ndarray:
    """grad J in the logits, pi (R - J), by hand."""
    R = world.reward - beta * (np.log(policy) - world.log_reference)
    return policy * (R - policy @ R)


# ---- chapter T2: policy gradient --------------------------------------------------------------------------


@given(data=st.data(), beta=strategies.betas(0.1, 10), baseline=st.floats(-5, 5))
def test_t2_1_on_policy_no_baseline_biases(data, beta, baseline):
    """E_pi[b grad log pi] = b grad sum pi = 0: the expected update is grad J for every b."""
    world = data.draw(strategies.bandits_with_reward(2, 5, smallest=1e-2))
    policy = data.draw(strategies.policies(world.arms))
    found = b.expected_update(b.PolicyGradient(beta, baseline), world, b.OnPolicy(), policy)
    assert_allclose(found, gradient(world, policy, beta), rtol=0, atol=1e-13 * (10 + beta))


@settings(max_examples=10)
@given(data=st.data(), beta=strategies.betas(0.1, 10), k=st.sampled_from([2, 3, 4]))
def test_t2_2_variance_of_rloo(data, beta, k):
    """4(k-2)/(k(k-1)) z1 + 2/(k(k-1)) z2: of the k(k-1)/2 pairs, two share one sample or both.

    RLOO_k is the mean over pairs of t_ij = (R_i - R_j)(s_i - s_j)/2, a U-statistic: z2 is the variance of
    t, and z1 that of E[t | y_i] = ((R - J) s + grad J)/2.
    """
    world = data.draw(strategies.bandits_with_reward(2, 3, smallest=1e-2))
    policy = data.draw(strategies.policies(world.arms, smallest=0.05))
    R = world.reward - beta * (np.log(policy) - world.log_reference)
    s, J, g = np.eye(world.arms) - policy, policy @ R, gradient(world, policy, beta)
    one = ((R - J)[:, None] * s + g) / 2
    two = (R[:, None] - R)[..., None] * (s[:, None] - s) / 2
    z1 = policy @ ((one - g) ** 2).sum(-1)
    z2 = np.einsum("i,j,ij->", policy, policy, ((two - g) ** 2).sum(-1))
    expected = 4 * (k - 2) / (k * (k - 1)) * z1 + 2 / (k * (k - 1)) * z2
    found = np.trace(b.update_covariance(b.RLOO(beta, k), world, b.OnPolicy(), policy))
    assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@given(data=st.data(), beta=strategies.betas(0.1, 10))
def test_t2_3_the_baseline_of_least_variance(data, beta):
    """d/db E[(R - b)^2 |s|^2] = 0 at b = E[R |s|^2] / E[|s|^2], which is not J."""
    world = data.draw(strategies.bandits_with_reward(2, 4, smallest=1e-2))
    policy = data.draw(strategies.policies(world.arms))
    R = world.reward - beta * (np.log(policy) - world.log_reference)
    square = ((np.eye(world.arms) - policy) ** 2).sum(axis=1)
    best = (policy @ (R * square)) / (policy @ square)

    def variance(baseline):
        algorithm = b.PolicyGradient(beta, baseline)
        return np.trace(b.update_covariance(algorithm, world, b.OnPolicy(), policy))

    rise = policy @ square  # the variance is a parabola in b with this curvature
    for away in (-1.0, 0.5):
        assert_allclose(variance(best + away) - variance(best), rise * away**2, rtol=1e-6)


@pytest.mark.parametrize("rewards", [(1.0, 0.4), (2.0, 1.9), (3.0, 0.1)])
@pytest.mark.parametrize("p", [0.2, 0.45, 0.55, 0.8, 0.95])
def test_t2_4_when_remax_has_less_variance(rewards, p):
    """Two arms at the reference (R = r), s_1 = (1-p)(1,-1), s_2 = -p (1,-1): the step along (1,-1) has mean
    p(1-p)(r1-r2) and second moment p(1-p)[(1-p)(r1-b)^2 + p (r2-b)^2], without b or with b = r(argmax).

    p > 1/2, b = r1: less iff p (r1-r2)^2 < (1-p) r1^2 + p r2^2, i.e. p < r1 / (2 (r1-r2)).
    """
    first, second = rewards
    world = b.Bandit([first, second], reference=[p, 1 - p])
    variances = [
        np.trace(b.update_covariance(algorithm, world, b.OnPolicy(), [p, 1 - p]))
        for algorithm in (b.ReMax(1.0), b.PolicyGradient(1.0))
    ]
    less = p < 0.5 or p < first / (2 * (first - second))
    assert (variances[0] < variances[1]) == less


@given(data=st.data(), arms=st.integers(2, 5), beta=strategies.betas(0.3, 3))
def test_t2_5_only_the_samplers_own_value_leaves_the_optimum_at_rest(data, arms, beta):
    """At pi* R = J* for every arm: E_mu[(R - b)(e - pi)] = (J* - b)(mu - pi*), zero iff b = J* = E_mu[R]."""
    world = data.draw(strategies.bandits_with_reward(arms, arms, smallest=0.05, scale=0.5))
    mu = data.draw(strategies.behaviors(arms, smallest=0.05))
    best, J = world.optimal_policy(beta), world.optimal_value(beta)
    for baseline, b_there in (
        (float(J) + 0.3, J + 0.3),
        (b.policy_value, J),
        (b.behavior_value, J),
        (b.policy_reward, best @ world.reward),
    ):
        found = b.expected_update(b.PolicyGradient(beta, baseline), world, b.Offline(mu), best)
        assert_allclose(found, (J - b_there) * (mu - best), rtol=0, atol=1e-13 * (1 + beta))


@given(data=st.data(), beta=strategies.betas(0.1, 10))
def test_t2_6_importance_weights_restore_the_gradient_at_the_price_of_variance(data, beta):
    """E_mu[(pi/mu) c s] = E_pi[c s]; the second moment sum pi^2/mu (R-b)^2 |s|^2 grows like 1/mu(y)."""
    world = data.draw(strategies.bandits_with_reward(2, 4, smallest=1e-2))
    policy, mu = data.draw(strategies.policies(world.arms)), data.draw(strategies.behaviors(world.arms))
    weighted = b.ImportanceWeighted(b.PolicyGradient(beta))
    found = b.expected_update(weighted, world, b.Offline(mu), policy)
    assert_allclose(found, gradient(world, policy, beta), rtol=0, atol=1e-12 * (10 + beta))
    R = world.reward - beta * (np.log(policy) - world.log_reference)
    square = ((np.eye(world.arms) - policy) ** 2).sum(axis=1)
    second_moment = np.sum(policy**2 / mu * R**2 * square)
    variance = np.trace(b.update_covariance(weighted, world, b.Offline(mu), policy))
    assert_allclose(variance, second_moment - found @ found, rtol=1e-9)


# ---- chapter T3: CoPG -------------------------------------------------------------------------------------


@given(data=st.data(), beta=strategies.betas(0.1, 10))
def test_t3_1_the_objective_of_a_pair_has_copgs_gradient(data, beta):
    """(r - r' - (beta/2)(h - h'))(h - h') has the derivative r - r' - beta (h - h') in h: R - R' (T3.1)."""
    rng = data.draw(strategies.generators())
    r, h = rng.normal(size=2), rng.normal(size=2)

    def objective(h):
        half = r - beta / 2 * h
        return (half[0] - half[1]) * (h[0] - h[1])

    shifts = 1e-3 * np.eye(2)
    numeric = [(objective(h + e) - objective(h - e)) / 2e-3 for e in shifts]  # exact: a parabola
    pair = b.Samples(log_prob=h, reference_log_prob=np.zeros(2), reward=r)
    assert_allclose(b.CoPG(beta).update(pair).log_prob, numeric, rtol=0, atol=1e-11 * (1 + beta))


@given(data=st.data(), beta=strategies.betas(0.1, 10))
def test_t3_7_on_policy_copg_climbs_at_twice_the_gradient(data, beta):
    world = data.draw(strategies.bandits_with_reward(2, 5, smallest=1e-2))
    policy = data.draw(strategies.policies(world.arms))
    found = b.expected_update(b.CoPG(beta), world, b.OnPolicy(), policy)
    assert_allclose(found, 2 * gradient(world, policy, beta), rtol=0, atol=1e-13 * (10 + beta))


@given(data=st.data(), arms=st.integers(2, 6), beta=strategies.betas(0.1, 10))
def test_t3_7_a_reward_difference_of_one_half_is_ipo(data, arms, beta):
    """Winner ahead by 1/2 in every pair: CoPG's target (r_w - r_l)/beta is IPO's 1/(2 beta).

    The pairs of a path (each arm beats the next) have such rewards: r_i = -i/2.
    """
    path = b.Dataset([(i, i + 1) for i in range(arms - 1)])
    world = b.Bandit(-np.arange(arms) / 2, reference=data.draw(strategies.references(arms)))
    policies = [b.fixed_point(make(beta), world, path).policy for make in (b.CoPG, b.IPO)]
    assert_allclose(*policies, rtol=0, atol=1e-12)


TOY, TOY_PAIRS = examples.copg_toy()
MEAN_MU = b.Offline(np.mean(TOY_PAIRS.behaviors, axis=0))


def test_t3_8_the_optimum_of_the_toy():
    """pi* = exp(2 r) / Z = (e^5, e^4, e^2) / (e^5 + e^4 + e^2); J* = log(mean of e^5, e^4, e^2) / 2."""
    weights = np.exp([5.0, 4.0, 2.0])
    assert_allclose(TOY.optimal_policy(0.5), weights / weights.sum(), rtol=1e-14)
    assert_allclose(TOY.optimal_value(0.5), np.log(weights.mean()) / 2, rtol=1e-14)
    assert_allclose(TOY.optimal_policy(0.5), [0.7054, 0.2595, 0.0351], atol=PRINTED[4])
    assert_allclose(TOY.optimal_value(0.5), 2.12520, atol=PRINTED[5])


def test_t3_8_the_regret_at_the_start():
    """J* - E_ref[r] = 2.12520 - 5.5/3 = .29187."""
    assert_allclose(TOY.regret(TOY.reference, 0.5), TOY.optimal_value(0.5) - 5.5 / 3, rtol=1e-13)
    assert_allclose(TOY.regret(TOY.reference, 0.5), 0.29187, atol=PRINTED[5])


def test_t3_8_copg_ends_at_the_optimum_of_the_toy():
    end = b.fixed_point(b.CoPG(0.5), TOY, TOY_PAIRS)
    assert end.unique and end.residual <= 1e-14
    assert_allclose(TOY.regret(end.policy, 0.5), 0, atol=1e-15)


def test_t3_8_where_ipo_ends_on_the_toy():
    """Least squares by hand: S = mu1 mu2' + mu2 mu1' has S_01 = .015, S_02 = .125, S_12 = .215; the margins
    are m_ij = sigma(r_i - r_j) - 1/2.  Two normal equations give h_0 - h_2 and h_1 - h_2.
    """
    s01, s02, s12 = 0.1 * 0.05 + 0.05 * 0.2, 0.1 * 0.9 + 0.05 * 0.7, 0.2 * 0.9 + 0.05 * 0.7
    m01, m02, m12 = expit(0.5) - 0.5, expit(1.5) - 0.5, expit(1.0) - 0.5
    normal = [[s01 + s02, -s01], [-s01, s01 + s12]]
    h = np.linalg.solve(normal, [s01 * m01 + s02 * m02, -s01 * m01 + s12 * m12]) / 0.5
    end = b.fixed_point(b.IPO(0.5), TOY, TOY_PAIRS)
    assert_allclose(end.policy, softmax([*h, 0.0]), rtol=1e-13)
    assert_allclose(end.policy, [0.424, 0.353, 0.223], atol=PRINTED[3])
    assert_allclose(TOY.regret(end.policy, 0.5), 0.1525, atol=PRINTED[4])


@pytest.mark.parametrize(
    ("baseline", "regret", "policy"),
    [(0.0, 0.638, None), (b.policy_reward, 0.0148, [0.8115, 0.1675, 0.0209])],
    ids=["no baseline", "E_pi[r]"],
)
def test_t3_8_where_policy_gradient_ends_on_the_toy(baseline, regret, policy):
    """Either place of the pair is a sample: mu = (mu1 + mu2)/2.  At rest mu (R - b) = Abar pi, by hand;
    without baseline the regret is more than at the start, .29187.
    """
    pairs = b.fixed_point(b.PolicyGradient(0.5, baseline, k=2), TOY, TOY_PAIRS)
    singles = b.fixed_point(b.PolicyGradient(0.5, baseline), TOY, MEAN_MU)
    assert_allclose(pairs.policy, singles.policy, rtol=0, atol=1e-12)
    mu, pi = MEAN_MU.behaviors[0], pairs.policy
    advantage = TOY.reward - 0.5 * np.log(3 * pi) - (pi @ TOY.reward if callable(baseline) else baseline)
    assert_allclose(mu * advantage, pi * (mu @ advantage), rtol=0, atol=1e-12)
    digits = 3 if policy is None else 4
    assert_allclose(TOY.regret(pi, 0.5), regret, atol=PRINTED[digits])
    if policy is not None:
        assert_allclose(pi, policy, atol=PRINTED[4])


# ---- chapter T4: IPO --------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.1, 0.5, 2.0])
def test_t4_4_one_arm_always_wins(beta):
    """p = 1: E_mu[p(y beats y')] differs by 1/2, so that pi(y_1) = sigma(1/(2 beta)).

    DPO's logit grows without bound for every beta: all mass on the winner.
    """
    world = examples.two_arms()
    mu = b.Offline([0.5, 0.5])
    assert_allclose(b.fixed_point(b.IPO(beta), world, mu).policy[0], expit(0.5 / beta), rtol=1e-13)
    with pytest.raises(b.NoFixedPoint) as caught:
        b.fixed_point(b.DPO(beta), world, mu)
    assert_allclose(caught.value.solution.policy, [1, 0], atol=0)


D1 = {
    0.1: (0.964, 0.034, 0.001),
    0.25: (0.750, 0.198, 0.052),
    0.5: (0.563, 0.289, 0.148),
    1.0: (0.448, 0.321, 0.230),
    5.0: (0.356, 0.333, 0.311),
}


@pytest.mark.parametrize("beta", D1)
def test_t4_5_the_total_order(beta):
    """{ab, bc, ac}: each margin is 1/2; least squares on the triangle give h = (1/3, 0, -1/3)/beta."""
    end = b.fixed_point(b.IPO(beta), *examples.total_order())
    assert_allclose(end.policy, softmax(np.array([1, 0, -1]) / (3 * beta)), rtol=1e-13)
    assert_allclose(end.policy, D1[beta], atol=PRINTED[3])


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_t4_5_the_cycle_is_the_part_that_no_ranking_fits(beta):
    """{ab, bc, ca}: the flow at each arm is zero."""
    assert_allclose(b.fixed_point(b.IPO(beta), *examples.cycle()).policy, 1 / 3, rtol=1e-14)


def test_t4_5_the_contradiction_says_nothing_of_the_third_arm():
    """{ab, ba}: a and b share what they had at the start, c keeps its own, for both methods."""
    world, pairs = examples.contradiction()
    start = [0.5, 0.2, 0.3]
    for algorithm in (b.IPO(0.5), b.DPO(0.5)):
        end = b.fixed_point(algorithm, world, pairs, start)
        assert not end.unique
        logits = np.log([0.1**0.5, 0.1**0.5, 0.3])  # the mean logit of a and b stays
        assert_allclose(end.policy, softmax(logits), rtol=1e-12)


@pytest.mark.parametrize(
    ("pairs", "h", "expected"),
    [
        ([(0, 1), (1, 2)], (1.0, 0.0, -1.0), (0.665, 0.245, 0.090)),
        ([(0, 1), (1, 0), (0, 2)], (1 / 3, 1 / 3, -2 / 3), (0.422, 0.422, 0.155)),
    ],
)
def test_t4_5_the_readings_that_can_show_the_effect(pairs, h, expected):
    """beta = .5, margins 1/(2 beta) = 1.  {ab, bc}: a path fits exactly, h = (1, 0, -1).

    {ab, ba, ac}: a = b from the contradiction, and a ahead of c by 1.
    """
    end = b.fixed_point(b.IPO(0.5), b.Bandit(np.zeros(3)), b.Dataset(pairs))
    assert_allclose(end.policy, softmax(h), rtol=1e-13)
    assert_allclose(end.policy, expected, atol=PRINTED[3])


# ---- chapter T5: DPO --------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(data=st.data(), arms=st.integers(2, 5), beta=strategies.betas(0.1, 10))
def test_t5_1_under_bradley_terry_every_law_gives_the_optimum(data, arms, beta):
    """Given as a matrix, so that the likelihood is fitted, not the closed form taken."""
    world = data.draw(strategies.bandits_with_reward(arms, arms, scale=0.5))
    matrix = b.Bandit(preference=world.preference, reference=world.reference)
    sampling = data.draw(strategies.pair_samplings(arms))
    end = b.fixed_point(b.DPO(beta), matrix, sampling)
    assert_allclose(end.policy, world.optimal_policy(beta), rtol=0, atol=1e-11)


def test_t5_2_for_other_preferences_the_fit_depends_on_the_law():
    """Three arms in a cycle of 9 : 1; the law that rarely compares one pair lets the other two decide."""
    P = [[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]]
    world = b.Bandit(preference=P)
    even = b.fixed_point(b.DPO(1.0), world, b.Offline([1 / 3] * 3))
    assert_allclose(even.policy, 1 / 3, rtol=1e-12)
    W = np.array([[0, 0.499, 0], [0, 0, 0.499], [0.002, 0, 0]])  # almost the chain 0 > 1 > 2
    chain = b.fixed_point(b.DPO(1.0), world, b.Pairs(W)).policy
    assert chain[0] > chain[1] > chain[2]
    assert_allclose(np.log(chain[0] / chain[1]), np.log(9), rtol=0.05)  # as if they were all


@pytest.mark.parametrize("smoothing", [0.05, 0.3])
@pytest.mark.parametrize("beta", [0.2, 2.0])
def test_t5_4_smoothed_labels_stop_at_a_finite_margin(smoothing, beta):
    """sigma(beta (h_w - h_l)) = 1 - eps: a margin of log((1 - eps)/eps) / beta."""
    end = b.fixed_point(b.DPO(beta, smoothing), examples.two_arms(), b.Offline([0.3, 0.7]))
    assert_allclose(end.log_policy[0] - end.log_policy[1], np.log(1 / smoothing - 1) / beta, rtol=1e-12)


@settings(max_examples=20)
@given(data=st.data(), arms=st.integers(2, 5), beta=strategies.betas(0.1, 10))
def test_t5_4_a_margin_is_subtracted_from_the_reward(data, arms, beta):
    """sigma(beta dh + dGamma) = sigma(dr): ref exp((r - Gamma)/beta), fitted from the matrix as well."""
    world = data.draw(strategies.bandits_with_reward(arms, arms, scale=0.5))
    gamma = data.draw(strategies.rewards(arms, scale=0.5))
    matrix = b.Bandit(world.reward, preference=world.preference, reference=world.reference)
    expected = softmax(world.log_reference + (world.reward - gamma) / beta)
    for one in (world, matrix):
        algorithm = b.DPO(beta, margin=lambda samples: gamma[samples.arm])
        end = b.fixed_point(algorithm, one, b.Offline(data.draw(strategies.behaviors(arms))))
        assert_allclose(end.policy, expected, rtol=0, atol=1e-11)


# ---- chapter T6: games ------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(data=st.data(), arms=st.integers(2, 6), beta=strategies.betas(0.05, 10))
def test_t6_3_the_gap_is_zero_at_the_equilibrium_and_what_the_best_opponent_wins_elsewhere(data, arms, beta):
    """2 (beta log E_ref[exp(P(y beats pi)/beta)] + beta KL(pi || ref) - 1/2), summed as printed."""
    world = data.draw(strategies.bandits_with_preference(arms, arms, smallest=1e-3))
    policy = data.draw(strategies.policies(arms))
    over = world.preference @ policy
    best = beta * np.log(world.reference @ np.exp((over - 1) / beta)) + 1
    printed = 2 * (best + beta * float(kl(np.log(policy), world.log_reference)) - 0.5)
    assert_allclose(world.duality_gap(policy, beta), printed, rtol=0, atol=1e-12 * (1 + 10 * beta))
    assert world.duality_gap(b.fixed_point(b.NashMD(beta), world, b.OnPolicy()).policy, beta) <= 1e-12


@settings(max_examples=20)
@given(data=st.data(), arms=st.integers(2, 6), beta=strategies.betas(0.05, 10))
def test_t6_4_the_two_ends_of_the_mixture(data, arms, beta):
    """eps = 0: the equilibrium, also online IPO's (T6.6); eps = 1: IPO with mu = ref (T4.1)."""
    world = data.draw(strategies.bandits_with_preference(arms, arms, smallest=1e-3))
    equilibrium = b.fixed_point(b.NashMD(beta, mixture=0.0), world, b.OnPolicy()).policy
    assert_allclose(b.fixed_point(b.OnlineIPO(beta), world, b.OnPolicy()).policy, equilibrium, atol=1e-12)
    assert_allclose(world.best_response(equilibrium, beta), equilibrium, rtol=0, atol=1e-12)
    offline = b.fixed_point(b.IPO(beta), world, b.Offline(world.reference)).policy
    assert_allclose(b.fixed_point(b.NashMD(beta, 1.0), world, b.OnPolicy()).policy, offline, atol=1e-12)


@pytest.mark.parametrize("rate", [0.4, 0.2, 0.1])
def test_t6_5_a_constant_step_misses_the_equilibrium_by_its_square(rate):
    """Nash-MD at step eta ends at the mixture eps = eta beta: KL(pi* || .) falls fourfold with eta halved."""
    world, beta = examples.three_raters(), 0.5
    best = np.log(world.nash_policy(beta))

    def miss(eta):
        end = b.fixed_point(b.NashMD(beta, mixture=eta * beta), world, b.OnPolicy())
        step = nash_md(world, beta, eta)
        assert_allclose(step(end.log_policy), end.log_policy, rtol=0, atol=1e-12)  # it is Nash-MD's own rest
        return float(kl(best, end.log_policy))

    assert_allclose(miss(rate) / miss(rate / 2), 4, rtol=rate)


@pytest.mark.parametrize("epsilon", [0.1, -0.1])
def test_t6_7_three_types_of_rater(epsilon):
    """P(2>1) = 2/3 - eps/2, P(3>2) = 2/3 + eps/4, P(3>1) = 1/3 - eps/4.

    Against p = (1/3 + eps/2, 1/3 + eps/2, 1/3 - eps) every arm wins half: arm 1 is ahead by
    (1/3 + eps/2)(-1/6 + eps/2) + (1/3 - eps)(1/6 + eps/4) = 0.
    """
    world = examples.three_raters(epsilon)
    P = world.preference
    assert_allclose(
        [P[1, 0], P[2, 1], P[2, 0]], [2 / 3 - epsilon / 2, 2 / 3 + epsilon / 4, 1 / 3 - epsilon / 4]
    )
    nash = np.array([1 / 3 + epsilon / 2, 1 / 3 + epsilon / 2, 1 / 3 - epsilon])
    assert_allclose(P @ nash, 0.5, rtol=1e-14)
    assert_allclose(von_neumann_winner(P), nash, rtol=0, atol=1e-12)


def test_t6_7_the_favourite_of_a_bradley_terry_fit_jumps_and_nash_does_not():
    """As eps changes sign, and with the sampling law."""

    def favourite(epsilon, mu):
        return b.fixed_point(b.DPO(1.0), examples.three_raters(epsilon), b.Offline(mu)).policy.argmax()

    assert favourite(0.01, [1 / 3] * 3) != favourite(-0.01, [1 / 3] * 3)
    laws = list(itertools.permutations([0.8, 0.1, 0.1]))
    assert len({favourite(0.01, mu) for mu in laws}) > 1
    nash = [examples.three_raters(e).nash_policy(0.1) for e in (0.01, -0.01)]
    assert np.abs(nash[0] - nash[1]).max() < 0.02


def test_t6_7_the_best_elo_among_the_allowed_loses():
    """pi_1 = 2 pi_2 allows (2/3, 1/3, 0) and (0, 0, 1).  Against arm 3, arm 1 has odds 1 : 2 and arm 2 9 : 2:
    2/3 * 1/3 + 1/3 * 9/11 = 49/99, so arm 3 wins with 50/99.
    """
    world = examples.elo()
    assert_allclose(world.win_rate([0, 0, 1], [2 / 3, 1 / 3, 0]), 50 / 99, rtol=1e-14)
    scores = world.reward
    assert np.array([2 / 3, 1 / 3, 0]) @ scores > scores[2]


def test_t6_7_dice():
    """{2,4,9} beats {1,6,8} in 5 of 9 throws (2>1; 4>1; 9>1,6,8), and so on in a cycle.

    One step from (.6, .3, .1), beta = .1, eta = 5: mixture pi^(1/2) / Z, then exp(5 P(y beats mixture)).
    """
    world = examples.dice()
    P = world.preference
    assert_allclose([P[0, 1], P[1, 2], P[2, 0]], 5 / 9, rtol=1e-14)
    assert_allclose(von_neumann_winner(P), 1 / 3, rtol=0, atol=1e-12)
    mix = np.sqrt([0.6, 0.3, 0.1])
    mix /= mix.sum()
    by_hand = softmax(np.log(mix) + 5 * P @ mix)
    stepped = np.exp(nash_md(world, 0.1, 5.0)(np.log([0.6, 0.3, 0.1])))
    assert_allclose(stepped, by_hand, rtol=1e-13)
    assert_allclose(stepped, [0.491, 0.309, 0.200], atol=PRINTED[3])


def test_t6_8_a_von_neumann_winner():
    """p L = 0 for p = (.3, .3, .4): .3 * .4 = .4 * .3 = .3 * .4 on each side of every arm."""
    P = worlds.CYCLE
    assert_allclose(von_neumann_winner(P), [0.3, 0.3, 0.4], rtol=0, atol=1e-12)
    assert_allclose(np.array([0.3, 0.3, 0.4]) @ (P - 0.5), 0, atol=1e-16)


# ---- chapter T7: SRPO -------------------------------------------------------------------------------------

SKEWED = np.array([0.05, 0.9, 0.05])


@pytest.mark.parametrize("mu", [np.full(3, 1 / 3), SKEWED])
def test_t7_4_srpo_does_not_mind_who_sampled(mu):
    """pi = (1/Z)/sum, Z(y) = mean over y' of exp(10 P(y' beats y))."""
    world = examples.srpo_spirit()
    Z = np.exp(10 * world.preference).mean(axis=0)
    end = b.fixed_point(b.SRPO(0.1), world, b.Offline(mu))
    assert_allclose(end.policy, (1 / Z) / (1 / Z).sum(), rtol=1e-12)
    assert_allclose(end.policy, [0.126, 0.007, 0.867], atol=PRINTED[3])


@pytest.mark.parametrize(
    ("mu", "expected"),
    [(np.full(3, 1 / 3), [0.365, 0.012, 0.623]), (SKEWED, [0.869, 0.008, 0.122])],
)
def test_t7_4_ipos_favourite_flips(mu, expected):
    """softmax of 10 p(y beats mu)."""
    world = examples.srpo_spirit()
    end = b.fixed_point(b.IPO(0.1), world, b.Offline(mu))
    assert_allclose(end.policy, softmax(10 * world.preference @ mu), rtol=1e-12)
    assert_allclose(end.policy, expected, atol=PRINTED[3])


# ---- chapter T8: DRO --------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(data=st.data(), arms=st.integers(2, 6), beta=strategies.betas(0.1, 10))
def test_t8_1_policy_and_value_are_optimal_whoever_sampled(data, arms, beta):
    world = data.draw(strategies.bandits_with_reward(arms, arms))
    for make in (b.DRO, b.DROV):
        end = b.fixed_point(make(beta), world, b.Offline(data.draw(strategies.behaviors(arms))))
        assert_allclose(end.policy, world.optimal_policy(beta), rtol=0, atol=1e-13)
        assert_allclose(end.value, world.optimal_value(beta), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("V", [0.0, 1.5])
def test_t8_2_a_frozen_wrong_value_is_biased_off_policy(V):
    """pi_V = ref exp((r - (pi_V/mu)(V^pi - V))/beta) / Z with V^pi = E_mu[R]: a constant baseline (T2.5)."""
    beta, mu = 0.5, MEAN_MU.behaviors[0]
    pi = b.fixed_point(b.PolicyGradient(beta, V), TOY, MEAN_MU).policy
    frozen = b.expected_update(b.DRO(beta), TOY, MEAN_MU, pi, value=V)
    assert_allclose(frozen, 0, atol=1e-12)
    value = mu @ (TOY.reward - beta * np.log(3 * pi))
    exponent = (TOY.reward - pi / mu * (value - V)) / beta
    assert_allclose(pi, softmax(exponent), rtol=0, atol=1e-11)
    assert np.abs(pi - TOY.optimal_policy(beta)).max() > 0.01


# ---- chapter T9: the wider family -------------------------------------------------------------------------


def test_t9_1_a_lol_on_three_arms():
    """ref = 1/3, r = (0, .6, .9): V = .5, a+ = (0, .1, .4).  With w = (., .1, 1.9): 3 Z = .01 + .76 = .77.

    .1 < Z < .4 confirms the weights; pi = ref a+ w / Z = (0, 1, 76)/77.
    """
    world = b.Bandit([0.0, 0.6, 0.9])
    found = b.fixed_point(b.ALoL(clip=0.9), world, b.Offline(world.reference)).policy
    assert_allclose(found, [0, 1 / 77, 76 / 77], rtol=1e-13)
    assert_allclose(found, [0, 0.012987, 0.987013], rtol=0, atol=5e-7)
    assert_allclose(1 / 3 * 0.4 * 1.9 / found[2], 0.256667, rtol=0, atol=5e-7)


@settings(max_examples=10)
@given(data=st.data(), beta=strategies.betas(0.1, 10))
def test_t9_6_estimators_of_the_kl_differ_in_their_gradients(data, beta):
    """rho = ref/pi, samples from pi.  As a loss: E[d k3/d log pi (e_y - pi)] = pi - ref, grad KL(ref || pi).

    In the reward, held fixed: E[k1 (e_y - pi)] = grad KL(pi || ref), and k3 = rho - 1 + k1 gives
    (ref - pi) + that, the difference of the two gradients, of second order near ref.
    """
    world = b.Bandit(np.zeros(4), reference=data.draw(strategies.references(4, smallest=1e-2)))
    ref = world.reference
    for size in (1.0, 1e-4):
        policy = softmax(np.log(ref) + size * np.array([1.0, -0.7, 0.2, 0.4]))
        k1 = np.log(policy / ref)
        reverse, forward = policy * (k1 - policy @ k1), policy - ref
        as_loss = b.expected_update(b.GRPO(beta), world, b.OnPolicy(), policy)
        in_reward = b.expected_update(b.PPO(beta), world, b.OnPolicy(), policy)
        assert_allclose(as_loss, -beta * forward, rtol=0, atol=1e-13 * beta)
        assert_allclose(in_reward, -beta * reverse, rtol=0, atol=1e-13 * beta)
        k3 = ref / policy - 1 + k1
        assert_allclose(policy * (k3 - policy @ k3), reverse - forward, rtol=0, atol=1e-14)
        assert np.abs(reverse - forward).max() < 2 * size**2
