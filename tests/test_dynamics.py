"""The motion: closed forms against solvers written here, rates as slopes, and the composers of bare laws.

Second routes: L is summed pair by pair, flows are integrated by an explicit Runge-Kutta of order 8 on
`expected_update`, descent is a matrix power.
"""

from __future__ import annotations

from itertools import repeat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.special import softmax

import bandits as b
from bandits import examples
from bandits.dynamics import games, gradient, linear
from bandits.problem import bind
from bandits.sampling.laws import Product
from bandits.solvers import paths
from bandits.testing import strategies

START = np.array([0.2, 0.3, 0.5])


def laplacian(algorithm, bandit, sampling) -> np.ndarray:
    """sum_ij W_ij (e_i - e_j)(e_i - e_j)', one pair at a time."""
    law = sampling.law(algorithm, bandit, bandit.log_reference)
    L = np.zeros((bandit.arms, bandit.arms))
    for arms, weight in law.tuples():
        for (i, j), w in zip(arms, weight, strict=True):
            d = np.eye(bandit.arms)[i] - np.eye(bandit.arms)[j]
            L += w * np.outer(d, d)
    return L


def integrated(algorithm, bandit, sampling, times, start) -> np.ndarray:
    """The flow by another solver (Dormand & Prince 8(5,3)) on the public expected update."""

    def field(_, theta):
        return b.expected_update(algorithm, bandit, sampling, softmax(theta))

    run = solve_ivp(field, (0, times[-1]), np.log(start), "DOP853", times, rtol=1e-12, atol=1e-13)
    assert run.success
    return softmax(run.y.T, axis=-1)


@st.composite
def linear_cases(draw):
    """A world, an algorithm whose update is linear, a law it takes, and a start."""
    bandit = draw(strategies.bandits_with_both(smallest=1e-3))
    algorithms = [b.CoPG(0.7), b.IPO(0.4), b.DRO(1.3), b.DROV(0.6), b.PolicyGradient(0.9, b.behavior_value)]
    algorithm = draw(st.sampled_from(algorithms))
    laws = strategies.offline(bandit.arms)
    if algorithm.k == 2:
        laws = st.one_of(strategies.pair_samplings(bandit.arms), strategies.datasets(bandit.arms))
    return algorithm, bandit, draw(laws), draw(strategies.policies(bandit.arms))


# ---- flow


@pytest.mark.parametrize("rarest", [1e-2, 1e-30, 1e-150, 1e-300, 5e-324])
def test_an_arm_of_any_size_comes_back_along_the_natural_flow(rarest):
    """In probabilities the natural flow is d pi / dt = g, with no layer at the border."""
    rng = np.random.default_rng(3)
    world, sampling = (
        b.Bandit(rng.normal(size=3), reference=rng.dirichlet([3] * 3)),
        b.Offline([0.5, 0.2, 0.3]),
    )
    start, algorithm = np.array([rarest, 0.3, 0.7 - rarest]), b.CoPG(0.5)

    def rate(_, policy):
        policy = np.maximum(policy, 1e-250)  # a trial step may go beyond the border
        return b.expected_update(algorithm, world, sampling, policy / policy.sum())

    slow = solve_ivp(rate, (0, 0.5), start, "LSODA", t_eval=[0.1, 0.5], rtol=1e-11, atol=1e-13)
    found = b.natural_flow(algorithm, world, sampling, [0.0, 0.1, 0.5], start)
    np.testing.assert_allclose(found[0], start, rtol=1e-12, atol=0)
    np.testing.assert_allclose(found[1:], slow.y.T, rtol=0, atol=1e-8)  # 1e-10 a step, of either solver


def test_an_arm_of_any_size_comes_back_along_best_responses():
    """d a / dt = response - a: one that responds by p has p (1 - exp(-t)) of the average at first."""
    world = b.Bandit(preference=[[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]])
    velocity = games.best_response_flow(world, 0.5)
    ends = [paths.integrate(velocity, [p, 0.4, 0.6 - p], [0.0, 0.3])[1] for p in (1e-12, 1e-300)]
    np.testing.assert_allclose(ends[1], ends[0], rtol=0, atol=1e-10)  # the first starts 1e-12 higher


@settings(max_examples=25)
@given(linear_cases())
def test_closed_form_flow_equals_an_ode_solver(case):
    algorithm, bandit, sampling, start = case
    times = [0.0, 0.3, 2.0, 11.0]
    found = b.flow(algorithm, bandit, sampling, times, start)
    np.testing.assert_allclose(found[0], start, rtol=1e-12)
    # 1e-8: what the solver's local tolerance of 1e-12 allows over some hundred steps
    np.testing.assert_allclose(
        found, integrated(algorithm, bandit, sampling, times, start), atol=1e-8, rtol=0
    )


@settings(max_examples=25)
@given(linear_cases())
def test_flow_ends_at_the_fixed_point_of_its_start(case):
    algorithm, bandit, sampling, start = case
    end = b.fixed_point(algorithm, bandit, sampling, start).policy
    np.testing.assert_allclose(b.flow(algorithm, bandit, sampling, [1e12], start)[0], end, atol=1e-9)


def test_the_comparison_would_see_a_lost_factor():
    """The named wrong twin: a flow at beta L / 2, as if every pair were counted once, not twice."""
    bandit, sampling = examples.copg_toy()
    right = integrated(b.CoPG(0.5), bandit, sampling, [3.0], START)
    twin = b.flow(b.CoPG(0.5), bandit, sampling, [1.5], START)
    assert np.abs(right - twin).max() > 1e-3


NONLINEAR = [
    (b.DPO(0.5), examples.copg_toy()),
    (b.DPO(0.5), (examples.copg_toy()[0], examples.total_order()[1])),
    (b.PolicyGradient(0.5), (examples.copg_toy()[0], b.Offline([0.1, 0.3, 0.6]))),
    (b.PolicyGradient(0.5, b.policy_reward), (examples.copg_toy()[0], b.Offline([0.1, 0.3, 0.6]))),
    (b.RLOO(0.5), (examples.copg_toy()[0], b.OnPolicy())),
    (b.CoPG(0.5), (examples.copg_toy()[0], b.OnPolicy())),
    (b.NashMD(0.1, mixture=0.2), (examples.three_raters(), b.OnPolicy())),
    (b.OnlineIPO(0.3), (examples.dice(), b.OnPolicy())),
    (b.SRPO(0.1), (examples.srpo_spirit(), b.Offline([0.2, 0.5, 0.3]))),
]


@pytest.mark.parametrize(("algorithm", "world"), NONLINEAR, ids=lambda x: type(x).__name__)
def test_other_flows_are_solved_within_the_error_they_report(algorithm, world):
    bandit, sampling = world
    times = [0.0, 1.0, 20.0]
    found = b.flow(algorithm, bandit, sampling, times, START)
    truth = integrated(algorithm, bandit, sampling, times, START)
    reported = b.flow_error(algorithm, bandit, sampling, times, START)
    np.testing.assert_allclose(found, truth, atol=1e-8, rtol=0)
    # the finer run and DOP853 have errors of their own, some 1e-12
    assert (np.abs(found - truth).max(-1) <= 2 * reported + 1e-11).all()
    assert (reported < 1e-8).all()


def test_flow_error_of_a_closed_form_is_below_1e_8():
    bandit, sampling = examples.copg_toy()
    assert (b.flow_error(b.CoPG(0.5), bandit, sampling, [0.0, 10.0, 1000.0], START) < 1e-8).all()


def test_components_keep_their_mean_logit_on_the_way():
    """T3.3: arms 0, 1 and 2, 3 are compared, arm 4 never."""
    bandit = b.Bandit([1.0, -2.0, 0.5, 3.0, 9.0], reference=[0.1, 0.3, 0.2, 0.15, 0.25])
    sampling, start = b.Dataset([(0, 1), (2, 3), (3, 2)]), np.array([0.3, 0.1, 0.15, 0.25, 0.2])
    logs = np.log(b.flow(b.CoPG(0.5), bandit, sampling, [0.0, 0.7, 5.0, 1e6], start))
    still = np.array([[1, 1, -1, -1, 0], [1, 1, 0, 0, -2], [0, 0, 1, 1, -2]])
    # differences of the components' mean logits, which normalisation does not touch
    np.testing.assert_allclose(logs @ still.T, np.tile(logs[0] @ still.T, (4, 1)), atol=1e-12)
    end = logs[-1] - bandit.log_reference
    np.testing.assert_allclose([end[0] - end[1], end[2] - end[3]], [3.0 / 0.5, -2.5 / 0.5], rtol=1e-12)


def test_arms_without_reference_stay_at_zero():
    bandit = b.Bandit([1.0, 5.0, 0.0, 2.0], reference=[0.2, 0.0, 0.5, 0.3])
    sampling = b.Offline([0.3, 0.0, 0.3, 0.4])
    small = b.Bandit([1.0, 0.0, 2.0], reference=[0.2, 0.5, 0.3])
    for algorithm in (b.CoPG(0.5), b.DPO(0.5)):
        path = b.flow(algorithm, bandit, sampling, [0.5, 4.0])
        assert (path[:, 1] == 0).all()
        alone = b.flow(algorithm, small, b.Offline([0.3, 0.3, 0.4]), [0.5, 4.0])
        np.testing.assert_allclose(path[:, [0, 2, 3]], alone, atol=1e-9)


def test_logits_of_a_thousand_move_without_underflow():
    """r / beta = 2500: pi leaves the range of numbers on the way and the flow must not notice."""
    bandit, sampling = b.Bandit([2.5, 2.0, 0.0]), b.Offline([0.5, 0.3, 0.2])
    path = b.flow(b.CoPG(1e-3), bandit, sampling, [0.0, 1e3, 1e6])
    assert np.isfinite(path).all()
    np.testing.assert_allclose(path[-1], bandit.optimal_policy(1e-3), atol=1e-12)


CONTEXTS = b.Bandit([[1.0, 0.0, 2.0], [0.5, -1.0, 0.3]], reference=[[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
CONTEXT_LAWS = [
    (b.CoPG(0.5), b.Offline([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])),
    (b.IPO(0.5), b.Pairs(np.random.default_rng(0).dirichlet(np.ones(9), 2).reshape(2, 3, 3))),
    (b.CoPG(0.5), b.Dataset([(0, 1), (2, 1)])),
    (b.DPO(0.5), b.Offline([0.2, 0.5, 0.3])),
]


@pytest.mark.parametrize(("algorithm", "sampling"), CONTEXT_LAWS)
def test_contexts_move_by_themselves(algorithm, sampling):
    together = {
        "flow": b.flow(algorithm, CONTEXTS, sampling, [0.5, 2.0]),
        "descent": b.descent(algorithm, CONTEXTS, sampling, 0.1, [0, 7]),
        "natural": b.natural_flow(algorithm, CONTEXTS, sampling, [0.2]),
        "rate": b.convergence_rate(algorithm, CONTEXTS, sampling)[None],
        "step": b.largest_stable_step(algorithm, CONTEXTS, sampling)[None],
    }
    for i in range(2):
        world, data = CONTEXTS.at((i,)), sampling.at((i,), (2,))
        alone = {
            "flow": b.flow(algorithm, world, data, [0.5, 2.0]),
            "descent": b.descent(algorithm, world, data, 0.1, [0, 7]),
            "natural": b.natural_flow(algorithm, world, data, [0.2]),
            "rate": b.convergence_rate(algorithm, world, data)[None],
            "step": b.largest_stable_step(algorithm, world, data)[None],
        }
        for name, path in together.items():
            np.testing.assert_allclose(path[:, i], alone[name], rtol=1e-12, err_msg=name)


# ---- descent


@settings(max_examples=25)
@given(linear_cases(), st.floats(0.05, 0.95))
def test_descent_equals_the_matrix_power(case, share):
    """theta_n - theta* = (I - eta rate L)^n (theta_0 - theta*), with L summed pair by pair."""
    algorithm, bandit, sampling, start = case
    eta = share * float(b.largest_stable_step(algorithm, bandit, sampling))
    found = b.descent(algorithm, bandit, sampling, eta, [0, 1, 2, 30], start)
    linear = algorithm.linear(bandit, sampling.law(algorithm, bandit, np.log(start)))
    L = sum_by_columns(linear.law, bandit.arms)
    goal = bandit.log_reference + linear.score / linear.beta
    for n, policy in zip([0, 1, 2, 30], found, strict=True):
        power = np.linalg.matrix_power(np.eye(bandit.arms) - eta * linear.rate * L, n)
        np.testing.assert_allclose(policy, softmax(goal + power @ (np.log(start) - goal)), atol=1e-12, rtol=0)


def sum_by_columns(law, arms: int) -> np.ndarray:
    return np.stack([law.laplacian(e) for e in np.eye(arms)], axis=1)


@settings(max_examples=15)
@given(linear_cases())
def test_descent_equals_its_iterations(case):
    """The matrix power against `gradient_step`, which only knows the expected update."""
    algorithm, bandit, sampling, start = case
    eta = 0.4 * float(b.largest_stable_step(algorithm, bandit, sampling))
    step = gradient.gradient_step(bind(algorithm, bandit, sampling), eta)
    found = b.descent(algorithm, bandit, sampling, eta, range(21), start)
    np.testing.assert_allclose(found, paths.iterate(repeat(step, 20), start), atol=1e-12, rtol=0)


@pytest.mark.parametrize("algorithm", [b.CoPG(0.5), b.IPO(0.5)])
def test_linear_algorithms_have_the_graph_s_laplacian(algorithm):
    bandit, sampling = examples.copg_toy()
    linear = algorithm.linear(bandit, sampling.law(algorithm, bandit, bandit.log_reference))
    np.testing.assert_allclose(
        sum_by_columns(linear.law, 3), laplacian(algorithm, bandit, sampling), atol=1e-15
    )


def test_descent_of_other_algorithms_is_their_iteration():
    bandit, sampling = examples.copg_toy()
    theta = np.log(START)
    for _ in range(5):
        theta = theta + 0.7 * b.expected_update(b.DPO(0.5), bandit, sampling, softmax(theta))
    np.testing.assert_allclose(
        b.descent(b.DPO(0.5), bandit, sampling, 0.7, [5], START)[0], softmax(theta), rtol=1e-12
    )


def test_a_longer_step_of_descent_is_an_error_of_first_order():
    """Euler's method: halving eta halves the distance to the flow."""
    bandit, sampling = examples.copg_toy()
    for algorithm in (b.CoPG(0.5), b.DPO(0.5)):
        end = b.flow(algorithm, bandit, sampling, [4.0], START)[0]
        errors = [
            np.abs(b.descent(algorithm, bandit, sampling, 4.0 / n, [n], START)[0] - end).max()
            for n in (400, 800)
        ]
        np.testing.assert_allclose(np.log2(errors[0] / errors[1]), 1.0, atol=0.01)  # 4 / 400: next order 1%


def test_descent_converges_below_the_largest_stable_step_and_is_refused_above():
    bandit, sampling = examples.copg_toy()
    largest = float(b.largest_stable_step(b.CoPG(0.5), bandit, sampling))
    L = laplacian(b.CoPG(0.5), bandit, sampling)
    np.testing.assert_allclose(largest, 2 / (0.5 * np.linalg.eigvalsh(L)[-1]), rtol=1e-13)
    end = b.descent(b.CoPG(0.5), bandit, sampling, 0.999 * largest, [40_000], START)[0]
    np.testing.assert_allclose(end, bandit.optimal_policy(0.5), atol=1e-9)
    with pytest.raises(ValueError, match=f"at most {largest:.6g}, the largest stable step"):
        b.descent(b.CoPG(0.5), bandit, sampling, 1.001 * largest, [1], START)
    # what the refusal prevents: the law itself, iterated, runs away
    step = gradient.gradient_step(bind(b.CoPG(0.5), bandit, sampling), 1.01 * largest)
    path = paths.iterate(repeat(step, 150), START)
    distance = np.abs(np.log(path[[0, -1]]) - bandit.log_optimal_policy(0.5)).max(-1)
    assert distance[1] > 10 * distance[0]


def test_other_algorithms_leave_their_end_just_above_the_largest_stable_step():
    bandit, sampling = examples.copg_toy()
    for algorithm, data in ((b.DPO(0.5), sampling), (b.OnlineIPO(0.4), b.OnPolicy())):
        end = b.fixed_point(algorithm, bandit, data).policy
        largest = float(b.largest_stable_step(algorithm, bandit, data))
        near = softmax(np.log(end) + 1e-6 * np.array([1.0, -2.0, 1.0]))
        for share, grows in ((0.97, False), (1.03, True)):
            path = b.descent(algorithm, bandit, data, share * largest, [0, 100], near)
            assert (np.abs(path[1] - end).max() > np.abs(path[0] - end).max()) == grows


# ---- rates


def slope(algorithm, bandit, sampling, end, first, last) -> float:
    """Measured rate: minus the slope of the log distance of the log policy to its end."""
    times = [first, last]
    logs = np.log(b.flow(algorithm, bandit, sampling, times, START)) - np.log(end)
    distance = np.linalg.norm(logs - logs.mean(-1, keepdims=True), axis=-1)
    return float(-np.diff(np.log(distance))[0] / (last - first))


@pytest.mark.parametrize("beta", [0.2, 0.5, 2.0])
def test_measured_rate_is_beta_times_the_algebraic_connectivity(beta):
    """T3.4, for laws that cover the pairs worse and worse.

    At rate t = 14 the faster mode, whose eigenvalue is at least 1.6 times larger, is below e^-8 of the slower
    one, which in a norm counts e^-16; round-off is 1e-16 e^16.
    """
    bandit = b.Bandit([2.5, 2.0, 1.0])
    for mu in ([0.2, 0.3, 0.5], [0.1, 0.2, 0.7], [0.02, 0.08, 0.9]):
        sampling = b.Offline(mu)
        rate = beta * np.linalg.eigvalsh(laplacian(b.CoPG(beta), bandit, sampling))[1]
        np.testing.assert_allclose(b.convergence_rate(b.CoPG(beta), bandit, sampling), rate, rtol=1e-12)
        end = bandit.optimal_policy(beta)
        measured = slope(b.CoPG(beta), bandit, sampling, end, 14 / rate, 16 / rate)
        np.testing.assert_allclose(measured, rate, rtol=1e-5)


@pytest.mark.parametrize(
    ("algorithm", "sampling"),
    [
        (b.IPO(0.5), examples.copg_toy()[1]),
        (b.DRO(0.5), b.Offline([0.1, 0.3, 0.6])),
        (b.DPO(0.5), b.Offline([0.1, 0.3, 0.6])),
        (b.PolicyGradient(0.5), b.Offline([0.1, 0.3, 0.6])),
        (b.RLOO(0.5), b.OnPolicy()),
    ],
)
def test_measured_rates_of_other_algorithms_are_the_convergence_rate(algorithm, sampling):
    """Linear ones and, near their end, the others: there the next order is e^-10, and the Jacobian's
    differences and the solver's tolerance leave 1e-4."""
    bandit = examples.copg_toy()[0]
    rate = float(b.convergence_rate(algorithm, bandit, sampling))
    end = b.fixed_point(algorithm, bandit, sampling).policy
    np.testing.assert_allclose(slope(algorithm, bandit, sampling, end, 10 / rate, 12 / rate), rate, rtol=1e-3)


def test_the_rate_of_a_disconnected_graph_is_zero():
    bandit = b.Bandit([1.0, -2.0, 0.5, 3.0])
    assert b.convergence_rate(b.CoPG(0.5), bandit, b.Dataset([(0, 1), (2, 3)])) == 0


def test_arms_outside_the_reference_do_not_disconnect():
    bandit = b.Bandit([1.0, 5.0, 0.0], reference=[0.4, 0.0, 0.6])
    # two arms, p = (.3, .7): L = 2 p q [[1, -1], [-1, 1]], lambda_2 = 4 p q
    rate = b.convergence_rate(b.CoPG(0.5), bandit, b.Offline([0.3, 0.0, 0.7]))
    np.testing.assert_allclose(rate, 0.5 * 4 * 0.3 * 0.7, rtol=1e-14)


# ---- natural gradient


@settings(max_examples=20)
@given(strategies.bandits_with_reward(smallest=1e-3), st.floats(0.05, 0.95))
def test_natural_policy_gradient_shrinks_every_log_ratio_alike(bandit, share):
    """On-policy, log pi - log pi* is multiplied by 1 - eta beta in a step, by exp(-beta t) in a time t."""
    beta, start = 0.8, np.roll(bandit.reference, 1)
    goal = bandit.log_optimal_policy(beta)
    distance = np.log(start) - goal
    step = gradient.natural_step(bind(b.PolicyGradient(beta), bandit, b.OnPolicy()), share / beta)
    path = paths.iterate(repeat(step, 6), start)
    expected = softmax(goal + (1 - share) ** np.arange(7)[:, None] * distance, axis=-1)
    np.testing.assert_allclose(path, expected, atol=1e-12)
    times = np.array([0.0, 0.5, 3.0])
    flow = b.natural_flow(b.PolicyGradient(beta), bandit, b.OnPolicy(), times, start)
    expected = softmax(goal + np.exp(-beta * times)[:, None] * distance, axis=-1)
    np.testing.assert_allclose(flow, expected, atol=1e-8)


@given(strategies.bandits_with_both(smallest=1e-2))
def test_the_natural_direction_solves_fisher_s_equation(bandit):
    policy = np.roll(bandit.reference, 1)
    sampling = b.Offline(np.roll(bandit.reference, 2))
    for algorithm in (b.CoPG(0.7), b.DPO(0.7)):
        u = gradient.natural_velocity(bind(algorithm, bandit, sampling))(np.log(policy))
        F = np.diag(policy) - np.outer(policy, policy)
        np.testing.assert_allclose(F @ u, b.expected_update(algorithm, bandit, sampling, policy), atol=1e-12)


# ---- many arms


@settings(max_examples=15)
@given(st.integers(2, 40), st.integers(2, 4), st.booleans(), strategies.generators())
def test_the_contour_and_the_matrix_exponential_agree(arms, k, same, rng):
    """The route for many arms, against `scipy.linalg.expm` on the matrix; unseen arms included."""
    marginals = [rng.dirichlet(np.full(arms, 0.3)) for _ in range(k)]
    law = Product(tuple(marginals[:1] * k if same else marginals))
    x, L = rng.normal(size=arms), linear.laplacian_matrix(law, arms)
    for time in (1e-6, 0.1, 3.0, 500.0):
        # expm has errors of 1e-16 |t L|, the contour of 1e-14
        np.testing.assert_allclose(linear._contour(law, x, time), expm(-time * L) @ x, atol=1e-11)


def test_many_arms_take_the_same_way(monkeypatch):
    rng = np.random.default_rng(1)
    bandit = b.Bandit(rng.normal(size=30), reference=rng.dirichlet(np.ones(30)))
    start, mu1, mu2 = rng.dirichlet(np.ones(30), 3)
    mu2[3:5] = 0
    for sampling in (b.Offline(mu1), b.Offline(mu1, mu2 / mu2.sum())):
        case = b.CoPG(0.5), bandit, sampling
        small = (
            b.flow(*case, [0.0, 5.0, 500.0], start),
            b.descent(*case, 3.0, [0, 9, 100], start),
        )
        rates = b.convergence_rate(*case), b.largest_stable_step(*case)
        with monkeypatch.context() as patch:
            patch.setattr(linear, "LARGE", 10)
            large = (
                b.flow(*case, [0.0, 5.0, 500.0], start),
                b.descent(*case, 3.0, [0, 9, 100], start),
            )
            np.testing.assert_allclose(large[0], small[0], atol=1e-12)
            np.testing.assert_allclose(large[1], small[1], atol=1e-12)
            np.testing.assert_allclose(b.convergence_rate(*case), rates[0], rtol=1e-10)
            np.testing.assert_allclose(b.largest_stable_step(*case), rates[1], rtol=1e-10)


def test_arms_of_two_groups_are_seen_apart_without_a_matrix(monkeypatch):
    monkeypatch.setattr(linear, "LARGE", 1)
    bandit = b.Bandit([1.0, 2.0, 3.0], reference=[0.2, 0.3, 0.5])
    assert b.convergence_rate(b.CoPG(0.5), bandit, b.Offline([0.4, 0.6, 0.0])) == 0


# ---- composing


def test_a_generator_changes_the_law_as_time_goes_on():
    bandit = examples.copg_toy()[0]
    rates = [0.1, 0.7, 0.3]
    steps = (gradient.natural_step(bind(b.PolicyGradient(0.5), bandit, b.OnPolicy()), eta) for eta in rates)
    path = paths.iterate(steps, START)
    left = np.prod([1 - 0.5 * eta for eta in rates])
    goal = bandit.log_optimal_policy(0.5)
    np.testing.assert_allclose(path[-1], softmax(goal + left * (np.log(START) - goal)), rtol=1e-12)


def test_integrate_follows_any_velocity_on_its_axes():
    """d logits / dt = c has the solution softmax(log start + c t), whatever the axes before the arms."""
    start = np.array([[0.2, 0.3, 0.5], [0.0, 0.6, 0.4]])
    c = np.array([[1.0, -0.5, 0.2], [5.0, 0.3, 0.0]])
    with np.errstate(divide="ignore"):
        logs = np.log(start)
    times = np.array([0.0, 0.7, 3.0])
    expected = softmax(logs + times[:, None, None] * c, axis=-1)
    np.testing.assert_allclose(paths.integrate(lambda _: c, start, times), expected, atol=1e-9)
    assert (paths.integration_error(lambda _: c, start, times) < 1e-9).all()


def test_a_caller_s_arrays_are_left_alone():
    bandit, sampling = examples.copg_toy()
    start, times = START.copy(), np.array([0.5, 1.0])
    b.flow(b.CoPG(0.5), bandit, sampling, times, start)
    b.descent(b.DPO(0.5), bandit, sampling, 0.1, [3], start)
    assert (start == START).all() and (times == [0.5, 1.0]).all()


# ---- bad input


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0.0, 2.0, 1.0], r"times must be increasing, but times\[2\] = 1.0"),
        ([1.0, 1.0], r"times must be increasing, but times\[1\] = 1.0"),
        ([-1.0, 1.0], r"times must be 0 or more, but times\[0\] = -1.0"),
        ([0.0, np.nan], r"times must be finite, but times\[1\] = nan"),
        ([], "times must be a list of at least one number"),
        (3.0, "times must be a list of at least one number"),
    ],
)
def test_bad_times_are_refused(times, message):
    bandit, sampling = examples.copg_toy()
    for path in (b.flow, b.natural_flow, b.flow_error):
        with pytest.raises(ValueError, match=message):
            path(b.CoPG(0.5), bandit, sampling, times)


@pytest.mark.parametrize(
    ("eta", "steps", "message"),
    [
        (0.0, [1], "learning_rate must be"),
        (-0.1, [1], "learning_rate must be"),
        (np.inf, [1], "learning_rate must be"),
        (0.1, [2, 1], r"steps must be increasing, but steps\[1\] = 1"),
        (0.1, [0.5], r"steps must be integers, but steps\[0\] = 0.5"),
        (0.1, 10, "steps must be a list"),
        (100.0, [1], "largest stable step"),
    ],
)
def test_bad_steps_are_refused(eta, steps, message):
    bandit, sampling = examples.copg_toy()
    with pytest.raises(ValueError, match=message):
        b.descent(b.CoPG(0.5), bandit, sampling, eta, steps)


def test_more_steps_than_can_be_counted_are_refused():
    bandit, sampling = examples.copg_toy()
    with pytest.raises(ValueError, match=r"steps must be at most 2\^53, but steps\[1\] = 1e\+30"):
        b.descent(b.CoPG(0.5), bandit, sampling, 0.1, [0, 1e30])


def test_laws_of_motion_refuse_bad_learning_rates():
    bandit, sampling = examples.copg_toy()
    for law in (gradient.gradient_step, gradient.natural_step):
        with pytest.raises(ValueError, match="learning_rate"):
            law(bind(b.CoPG(0.5), bandit, sampling), -1.0)


def test_a_start_that_cannot_move_is_refused():
    bandit, sampling = examples.copg_toy()
    with pytest.raises(ValueError, match="positive where the sampler has mass"):
        b.flow(b.CoPG(0.5), bandit, sampling, [1.0], [0.0, 0.5, 0.5])
    with pytest.raises(ValueError, match="sum of start"):
        b.flow(b.CoPG(0.5), bandit, sampling, [1.0], [0.1, 0.5, 0.5])


def test_a_step_that_gives_nan_is_said():
    with pytest.raises(ValueError, match="step 2 gives NaN"):
        paths.iterate([lambda x: x, lambda x: x * np.nan], START)


def test_a_failed_solver_carries_where_it_stood():
    """A velocity with a pole at t = 1: log odds 1 / (1 - t)."""

    def velocity(log_policy):
        x = log_policy[0] - log_policy[1]
        return np.array([x**2, 0.0])

    with pytest.raises(b.NotConverged, match="could not be followed") as caught:
        paths.integrate(velocity, softmax([1.0, 0.0]), [0.5, 2.0])
    assert caught.value.solution.policy[0] > 0.8
