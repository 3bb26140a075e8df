"""Log-linear policies: least squares over pairs, solvers written here, and the best policy of the class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import minimize, minimize_scalar
from scipy.special import softmax

import bandits as b
from bandits.log_linear import fixed_point
from bandits.log_linear.best_in_class import class_optimum
from bandits.testing import strategies

WORLD = b.Bandit([2.0, -1.0, 0.5, 1.0], reference=[0.1, 0.4, 0.2, 0.3])
LINE = np.array([[0.3], [1.0], [1.7], [-0.5]])
PLANE = np.column_stack([LINE[:, 0], [1.0, 0.2, -0.4, 0.6]])
LAW = b.Offline([0.3, 0.1, 0.4, 0.2])
ALGORITHMS = [b.CoPG(0.7), b.IPO(0.4), b.DRO(1.3), b.PolicyGradient(0.9, b.behavior_value)]


@st.composite
def cases(draw):
    """A misspecified class, an algorithm that is linear, a law, and weights to start from."""
    bandit = draw(strategies.bandits_with_both(min_arms=3, smallest=1e-2))
    rng, d = draw(strategies.generators(5)), draw(st.integers(1, bandit.arms - 2))
    algorithm = draw(st.sampled_from(ALGORITHMS))
    laws = strategies.offline(bandit.arms)
    if algorithm.k == 2:
        laws = st.one_of(strategies.pair_samplings(bandit.arms), strategies.datasets(bandit.arms))
    return algorithm, bandit, draw(laws), rng.normal(size=(bandit.arms, d)), rng.normal(size=d)


def policy_of(bandit, features, weights) -> np.ndarray:
    return softmax(bandit.log_reference + features @ weights)


# ---- linear updates


@given(cases())
def test_the_fixed_point_is_least_squares_over_sampled_pairs(case):
    """T3.6 by another road: one row sqrt(W_ij) (Phi_i - Phi_j) for each pair, least change from the start."""
    algorithm, bandit, sampling, features, start = case
    found = fixed_point.log_linear_fixed_point(algorithm, bandit, sampling, features, start)
    linear = algorithm.linear(bandit, sampling.law(algorithm, bandit, bandit.log_reference))
    score, rows, targets = linear.score / linear.beta, [], []
    for arms, weight in linear.law.tuples():
        i, j = arms.T
        rows.append(np.sqrt(weight)[:, None] * (features[i] - features[j]))
        targets.append(np.sqrt(weight) * (score[i] - score[j]))
    rows, targets = np.concatenate(rows), np.concatenate(targets)
    expected = start + np.linalg.lstsq(rows, targets - rows @ start, rcond=1e-10)[0]
    # laws down to 1e-6 give squared condition numbers of 1e6 and more
    np.testing.assert_allclose(found.weights, expected, atol=1e-7 * max(1, np.abs(expected).max()))
    assert found.residual <= 1e-9 * max(1, np.abs(score).max()) and found.stable


@settings(max_examples=20)
@given(cases())
def test_the_closed_form_flow_equals_an_ode_solver(case):
    algorithm, bandit, sampling, features, start = case

    def field(_, w):
        return features.T @ b.expected_update(algorithm, bandit, sampling, policy_of(bandit, features, w))

    times = [0.0, 0.4, 5.0]
    run = solve_ivp(field, (0, 5), start, "DOP853", times, rtol=1e-12, atol=1e-12)
    found = fixed_point.log_linear_flow(algorithm, bandit, sampling, features, times, start)
    np.testing.assert_allclose(found, run.y.T, atol=1e-8)


@settings(max_examples=20)
@given(cases())
def test_the_flow_ends_at_the_fixed_point_of_its_start(case):
    algorithm, bandit, sampling, features, start = case
    end = fixed_point.log_linear_fixed_point(algorithm, bandit, sampling, features, start).weights
    flow = fixed_point.log_linear_flow(algorithm, bandit, sampling, features, [1e14], start)[0]
    np.testing.assert_allclose(flow, end, atol=1e-6 * max(1, np.abs(end).max()))


def test_a_feature_for_every_arm_is_the_tabular_policy():
    times = [0.0, 1.0, 30.0]
    for algorithm, sampling in ((b.CoPG(0.7), LAW), (b.RLOO(0.7), b.OnPolicy()), (b.DPO(0.7), LAW)):
        weights = fixed_point.log_linear_flow(algorithm, WORLD, sampling, np.eye(4), times)
        found = fixed_point.log_linear_policy(WORLD, np.eye(4), weights)
        np.testing.assert_allclose(found, b.flow(algorithm, WORLD, sampling, times), atol=1e-8)
        fixed = fixed_point.log_linear_fixed_point(algorithm, WORLD, sampling, np.eye(4))
        np.testing.assert_allclose(fixed.policy, b.fixed_point(algorithm, WORLD, sampling).policy, atol=1e-9)


@settings(max_examples=10)
@given(strategies.bandits_with_reward(min_arms=3, smallest=1e-2), st.data())
def test_a_class_that_holds_the_optimum_finds_it_under_every_connected_law(bandit, data):
    rng = data.draw(strategies.generators(5))
    features = np.column_stack([bandit.reward - 3.0, rng.normal(size=bandit.arms)])
    assert fixed_point.misfit(bandit, features) < 1e-12
    for law in (strategies.pair_samplings(bandit.arms), strategies.connected_datasets(bandit.arms)):
        found = fixed_point.log_linear_fixed_point(b.CoPG(0.7), bandit, data.draw(law), features)
        np.testing.assert_allclose(found.policy, bandit.optimal_policy(0.7), atol=1e-7)
    np.testing.assert_allclose(
        class_optimum(bandit, features, 0.7)[0].policy, bandit.optimal_policy(0.7), atol=1e-9
    )


def test_the_answer_of_a_misspecified_class_depends_on_who_sampled():
    """By hand: one feature f, pairs (0, 1) and (2, 3) only: w = sum W df dr / sum W df^2 / beta."""
    beta, f, r = 0.5, LINE[:, 0], WORLD.reward
    assert fixed_point.misfit(WORLD, LINE) > 0.5
    answers = []
    for share in (0.9, 0.1):
        W = np.zeros((4, 4))
        W[0, 1], W[2, 3] = share, 1 - share
        found = fixed_point.log_linear_fixed_point(b.CoPG(beta), WORLD, b.Pairs(W), LINE).weights
        df, dr, w = np.array([f[0] - f[1], f[2] - f[3]]), [r[0] - r[1], r[2] - r[3]], [share, 1 - share]
        np.testing.assert_allclose(found, [np.sum(w * df * dr) / np.sum(w * df**2) / beta], rtol=1e-13)
        answers.append(found[0])
    assert abs(answers[0] - answers[1]) > 1


def test_directions_that_no_pair_tells_apart_keep_their_start():
    """Arms 2 and 3 are never sampled, so that w_2, on which only they differ, does not move."""
    features = np.array([[1.0, 0.5], [0.0, 0.5], [0.3, 2.0], [0.1, -1.0]])
    found = fixed_point.log_linear_fixed_point(b.CoPG(0.5), WORLD, b.Dataset([(0, 1)]), features, [7.0, -3.0])
    np.testing.assert_allclose(found.weights, [3.0 / 0.5, -3.0], rtol=1e-13)


# ---- other updates


def test_dpo_in_the_class_minimises_its_loss():
    """Second route: BFGS on the expected loss."""
    for features in (LINE, PLANE):
        found = fixed_point.log_linear_fixed_point(b.DPO(0.7), WORLD, LAW, features)

        def loss(w, features=features):
            return float(b.expected_loss(b.DPO(0.7), WORLD, LAW, policy_of(WORLD, features, w)))

        best = minimize(loss, np.zeros(features.shape[1]), options={"gtol": 1e-9}, method="BFGS")
        np.testing.assert_allclose(found.weights, best.x, atol=1e-5)  # BFGS with differences
        assert loss(found.weights) <= best.fun + 1e-14
        assert found.residual < 1e-12 and found.stable


def test_other_flows_in_the_class_are_solved():
    for algorithm, sampling in ((b.DPO(0.7), LAW), (b.PolicyGradient(0.7), b.OnPolicy())):

        def field(_, w, algorithm=algorithm, sampling=sampling):
            return PLANE.T @ b.expected_update(algorithm, WORLD, sampling, policy_of(WORLD, PLANE, w))

        start = np.array([0.4, -0.3])
        run = solve_ivp(field, (0, 8), start, "DOP853", [1.0, 8.0], rtol=1e-12, atol=1e-12)
        found = fixed_point.log_linear_flow(algorithm, WORLD, sampling, PLANE, [1.0, 8.0], start)
        np.testing.assert_allclose(found, run.y.T, atol=1e-8)


@given(strategies.bandits_with_both(min_arms=3, smallest=1e-2), st.data())
def test_the_update_of_the_weights_is_the_gradient_of_the_loss(bandit, data):
    """Central differences of the expected loss in w; their error is 1e-10 of a loss of size up to 1e2."""
    rng = data.draw(strategies.generators(5))
    features, w = rng.normal(size=(bandit.arms, 2)), 0.3 * rng.normal(size=2)
    sampling = data.draw(strategies.pair_samplings(bandit.arms))
    for algorithm in (b.CoPG(0.7), b.DPO(0.7), b.IPO(0.7)):
        found = fixed_point.log_linear_update(algorithm, bandit, sampling, features, w)
        losses = [
            float(b.expected_loss(algorithm, bandit, sampling, policy_of(bandit, features, w + shift)))
            for shift in (1e-5 * np.eye(2)).tolist() + (-1e-5 * np.eye(2)).tolist()
        ]
        slope = (np.array(losses[:2]) - losses[2:]) / 2e-5
        np.testing.assert_allclose(found, -slope, atol=1e-8 * max(1.0, max(losses)))


# ---- the best in class


def test_one_feature_s_best_policy_is_that_of_a_line_search():
    for beta in (0.2, 1.0):
        grid = np.linspace(-30, 30, 2001)
        values = [float(WORLD.value(policy_of(WORLD, LINE, [w]), beta)) for w in grid]
        near = grid[int(np.argmax(values))]
        best = minimize_scalar(
            lambda w, beta=beta: -float(WORLD.value(policy_of(WORLD, LINE, [w]), beta)),
            bounds=(near - 0.05, near + 0.05),
            method="bounded",
            options={"xatol": 1e-9},
        )
        found = class_optimum(WORLD, LINE, beta)[0]
        np.testing.assert_allclose(found.weights, [best.x], atol=1e-6)  # J is flat to 1e-16 there
        assert WORLD.value(found.policy, beta) >= -best.fun - 1e-14


@settings(max_examples=10)
@given(
    strategies.bandits_with_reward(min_arms=3, smallest=1e-2),
    strategies.betas(0.1, 5.0),
    strategies.generators(5),
)
def test_the_best_in_class_is_what_copg_learns_from_its_own_samples(bandit, beta, rng):
    """The natural gradient vanishes exactly where w is the answer of T3.6 for pairs from pi_w."""
    features = rng.normal(size=(bandit.arms, 2))
    tops = class_optimum(bandit, features, beta)
    # Beyond, condition numbers are 1e12 squared: the normal equations of T3.6 lose the digits.
    assume(min(top.policy.min() for top in tops) >= 1e-6)
    for top in tops:
        again = fixed_point.log_linear_fixed_point(b.CoPG(beta), bandit, b.Offline(top.policy), features)
        np.testing.assert_allclose(again.policy, top.policy, atol=1e-7)


@settings(max_examples=10)
@given(
    strategies.bandits_with_reward(min_arms=3, smallest=1e-2),
    strategies.betas(0.05, 5.0),
    strategies.generators(5),
)
def test_no_policy_of_the_class_is_better_than_the_best(bandit, beta, rng):
    """Against 2000 random policies of the class and everybody's answers; and nobody beats pi*."""
    features = rng.normal(size=(bandit.arms, 2))
    best = float(bandit.value(class_optimum(bandit, features, beta)[0].policy, beta))
    weights = rng.normal(size=(2000, 2)) * rng.exponential(5 / beta, size=(2000, 1))
    logits = bandit.log_reference + weights @ features.T
    policies = softmax(logits, axis=-1)
    rest = policies[(policies > 0).all(-1)]
    round_off = 1e-12 * (1 + np.abs(bandit.reward).max())
    assert bandit.value(rest, beta).max(initial=-np.inf) <= best + round_off
    for sampling in (b.Offline(bandit.reference), b.Offline(np.roll(bandit.reference, 1))):
        answer = fixed_point.log_linear_fixed_point(b.CoPG(beta), bandit, sampling, features).policy
        assert bandit.value(answer, beta) <= best + round_off
    assert best <= bandit.optimal_value(beta) + round_off


def test_on_policy_gradient_ends_at_the_best_in_class_and_copg_elsewhere():
    """Misspecified: J of the on-policy answer is strictly above that of CoPG from two different samplers."""
    beta = 0.5
    on_policy = fixed_point.log_linear_fixed_point(b.RLOO(beta), WORLD, b.OnPolicy(), PLANE)
    top = class_optimum(WORLD, PLANE, beta)[0]
    np.testing.assert_allclose(on_policy.policy, top.policy, atol=1e-10)
    assert on_policy.stable and on_policy.residual < 1e-12
    best = float(WORLD.value(top.policy, beta))
    for sampling in (LAW, b.Offline([0.1, 0.2, 0.1, 0.6])):
        other = fixed_point.log_linear_fixed_point(b.CoPG(beta), WORLD, sampling, PLANE)
        assert WORLD.value(other.policy, beta) < best - 1e-3


def test_several_tops_are_told_apart():
    """A feature that two good arms use in opposite ways, a bad arm between: two maxima, the higher first."""
    bandit = b.Bandit([1.0, -2.0, 0.8], reference=[0.2, 0.5, 0.3])
    tops = class_optimum(bandit, [[-1.0], [0.0], [1.0]], beta=0.2)
    assert len(tops) == 2
    values = [float(bandit.value(top.policy, 0.2)) for top in tops]
    assert values[0] > values[1] + 0.1
    assert tops[0].policy.argmax() == 0 and tops[1].policy.argmax() == 2
    assert max(top.residual for top in tops) < 1e-14
    # the motion finds the one on its side
    for start in (-2.0, 2.0):
        end = fixed_point.log_linear_fixed_point(
            b.PolicyGradient(0.2), bandit, b.OnPolicy(), [[-1.0], [0.0], [1.0]], [start]
        )
        np.testing.assert_allclose(end.policy, tops[0 if start < 0 else 1].policy, atol=1e-9)


@pytest.mark.parametrize("beta", [0.1, 0.02, 0.01])
def test_tops_next_to_the_border_keep_their_digits(beta):
    """By hand: the third arm dies out, and with one feature the other two are fitted exactly, w = dr / beta.

    What is left of it moves w by its mass, e^-(30 + 9) / beta and less.
    """
    bandit = b.Bandit([1.0, 0.0, -30.0], reference=[0.5, 0.3, 0.2])
    top = class_optimum(bandit, [[1.0], [0.0], [-8.0]], beta)[0]
    odds = np.log(top.policy[1] / top.policy[0]) - np.log(0.3 / 0.5)
    np.testing.assert_allclose(odds, -1.0 / beta, rtol=1e-12)


# ---- shapes and borders


def test_contexts_have_weights_of_their_own():
    bandit = b.Bandit([[2.0, -1.0, 0.5, 1.0], [0.3, 0.0, 1.5, -1.0]])
    features = np.stack([PLANE, PLANE[::-1]])
    for algorithm, sampling in ((b.CoPG(0.7), LAW), (b.DPO(0.7), LAW), (b.RLOO(0.7), b.OnPolicy())):
        both = fixed_point.log_linear_fixed_point(algorithm, bandit, sampling, features)
        flow = fixed_point.log_linear_flow(algorithm, bandit, sampling, features, [0.0, 2.0])
        update = fixed_point.log_linear_update(algorithm, bandit, sampling, features, both.weights)
        assert both.weights.shape == (2, 2) and both.policy.shape == (2, 4) and both.residual.shape == (2,)
        assert flow.shape == (2, 2, 2) and np.abs(update).max() < 1e-10
        for i in range(2):
            alone = fixed_point.log_linear_fixed_point(algorithm, bandit.at((i,)), sampling, features[i])
            np.testing.assert_allclose(both.weights[i], alone.weights, atol=1e-12)
            along = fixed_point.log_linear_flow(algorithm, bandit.at((i,)), sampling, features[i], [0.0, 2.0])
            np.testing.assert_allclose(flow[:, i], along, atol=1e-12)
    np.testing.assert_allclose(
        fixed_point.misfit(bandit, features),
        [fixed_point.misfit(bandit.at((i,)), features[i]) for i in range(2)],
        rtol=1e-12,
    )


def test_features_that_say_nothing_change_nothing():
    for algorithm, sampling in ((b.CoPG(0.7), LAW), (b.RLOO(0.7), b.OnPolicy())):
        found = fixed_point.log_linear_fixed_point(
            algorithm, WORLD, sampling, np.full((4, 2), 3.0), [1.0, 2.0]
        )
        np.testing.assert_allclose(found.policy, WORLD.reference, rtol=1e-14)
        np.testing.assert_allclose(found.weights, [1.0, 2.0], rtol=1e-14)


def test_arms_outside_the_reference_do_not_count():
    bandit = b.Bandit([2.0, 99.0, 0.5, 1.0], reference=[0.3, 0.0, 0.3, 0.4])
    small = b.Bandit([2.0, 0.5, 1.0], reference=[0.3, 0.3, 0.4])
    keep = [0, 2, 3]
    np.testing.assert_allclose(
        fixed_point.misfit(bandit, LINE), fixed_point.misfit(small, LINE[keep]), rtol=1e-12
    )
    found, alone = class_optimum(bandit, LINE, 0.5)[0], class_optimum(small, LINE[keep], 0.5)[0]
    np.testing.assert_allclose(found.policy[keep], alone.policy, atol=1e-12)
    assert found.policy[1] == 0


@pytest.mark.parametrize(
    ("features", "start", "message"),
    [
        (np.ones(4), None, r"features must have shape \(..., A, d\)"),
        (3.0, None, r"features must have shape \(..., A, d\)"),
        (np.ones((4, 0)), None, r"features must have shape \(..., A, d\)"),
        (np.ones((3, 2)), None, "must have the same number of arms"),
        (np.full((4, 2), np.nan), None, r"features must be finite, but features\[0, 0\] = nan"),
        (PLANE, [1.0], "start must have one entry for each of the 2 features"),
        (PLANE, [1.0, np.inf], r"start must be finite, but start\[1\] = inf"),
    ],
)
def test_bad_features_and_weights_are_refused(features, start, message):
    for call in (
        lambda: fixed_point.log_linear_fixed_point(b.CoPG(0.5), WORLD, LAW, features, start),
        lambda: fixed_point.log_linear_flow(b.CoPG(0.5), WORLD, LAW, features, [1.0], start),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_other_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="times must be increasing"):
        fixed_point.log_linear_flow(b.CoPG(0.5), WORLD, LAW, PLANE, [1.0, 0.5])
    with pytest.raises(ValueError, match="beta must be"):
        class_optimum(WORLD, PLANE, 0.0)
    with pytest.raises(ValueError, match="takes one context"):
        class_optimum(b.Bandit([[1.0, 0.0], [0.0, 1.0]]), [[1.0], [0.0]], 0.5)
    with pytest.raises(ValueError, match="weights must have one entry"):
        fixed_point.log_linear_policy(WORLD, PLANE, [1.0, 2.0, 3.0])


def test_a_class_in_which_the_weights_diverge_says_so():
    """DPO with an unbeaten arm has no minimiser in the class either (T5.3)."""
    game = b.Bandit(preference=[[0.5, 1.0], [0.0, 0.5]])
    with pytest.raises(b.NotConverged, match="does not come to rest in this class") as caught:
        fixed_point.log_linear_fixed_point(b.DPO(0.5), game, b.Dataset([(0, 1)]), [[1.0], [0.0]])
    assert caught.value.solution.policy[0] > 0.99
