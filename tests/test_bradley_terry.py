"""Laws of the Bradley-Terry fit: what it recovers, when it exists, where it runs otherwise  (T5.1-T5.4)."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.integrate import solve_ivp
from scipy.optimize import linprog, root
from scipy.sparse import csgraph
from scipy.special import expit, log_expit, softmax

from bandits.solvers import bradley_terry
from bandits.solvers.bradley_terry import fit
from bandits.testing.strategies import generators

SIZES = st.integers(2, 20)


def gradient(wins: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Ascent direction of the likelihood, written as in the definition: sum_j N_ij s_ji - N_ji s_ij."""
    loses = expit(x - x[:, None])
    return (wins * loses).sum(axis=1) - (wins.T * loses.T).sum(axis=1)


def loss(wins: np.ndarray, x: np.ndarray) -> float:
    return -float((wins * log_expit(x[:, None] - x)).sum())


def strongly_connected(rng: np.random.Generator, size: int, density: float = 0.3) -> np.ndarray:
    """Random weights on a random cycle through all arms and on some more pairs."""
    wins = rng.random((size, size)) * (rng.random((size, size)) < density)
    ring = rng.permutation(size)
    wins[ring, np.roll(ring, 1)] += rng.uniform(0.1, 1, size)
    np.fill_diagonal(wins, 0)
    return wins


def centred(x: np.ndarray) -> np.ndarray:
    return x - x.mean()


def exact_fit(wins: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Newton in 150 digits, started near the fit, until it moves by less than 1e-60."""
    size = len(wins)
    with mpmath.workdps(150):
        weights = mpmath.matrix(wins.tolist())
        x = [mpmath.mpf(float(value)) for value in near]
        for _ in range(20):
            net, hessian = mpmath.zeros(size, 1), mpmath.zeros(size)
            for i, j in np.argwhere(wins).tolist():
                loses = 1 / (1 + mpmath.e ** (x[i] - x[j]))
                pull, link = weights[i, j] * loses, weights[i, j] * loses * (1 - loses)
                net[i] += pull
                net[j] -= pull
                for a, b in ((i, j), (j, i)):
                    hessian[a, a] += link
                    hessian[a, b] -= link
            step = mpmath.lu_solve(hessian[: size - 1, : size - 1], net[: size - 1])
            x = [value + move for value, move in zip(x, [*step, 0], strict=True)]
            if max(map(abs, step)) < mpmath.mpf(10) ** -60:
                mean = sum(x) / size
                return np.array([float(value - mean) for value in x])
    raise AssertionError("the reference solution did not converge")


# ---- the fit, where it exists -----------------------------------------------------------------------------


@given(generators(), SIZES, st.floats(0.5, 30))
def test_fit_recovers_the_strengths_under_every_connected_sampling_law(rng, size, spread):
    """T5.1.  Entries are rounded to 1e-16, log-odds to as much, and a path adds up at most `size` of them."""
    strength = spread * rng.random(size)
    law = strongly_connected(rng, size) * 10.0 ** rng.uniform(-12, 0, (size, size))
    found = fit((law + law.T) * expit(strength[:, None] - strength), start=strength)
    assert found.exists and found.unique and found.message == ""
    np.testing.assert_allclose(found.strength, strength, rtol=0, atol=1e-11)


@given(generators(), SIZES, st.sampled_from([0, 3, 24]))
def test_flows_balance_at_every_arm_however_light(rng, size, decades):
    """|flow in - flow out| <= 1e-13 of the arm's own flow, not of the total weight of 1; by the definition.

    The sums are rounded to `size` eps, and flows carry the rounding of the strengths, eps times their spread.
    """
    wins = strongly_connected(rng, size) * 10.0 ** rng.uniform(-decades, 0, (size, size))
    found = fit(wins)
    flow = wins * expit(found.strength - found.strength[:, None])
    imbalance = np.abs(gradient(wins, found.strength)) / (flow.sum(axis=1) + flow.sum(axis=0))
    assert imbalance.max() <= 2e-13 and found.residual <= 1e-13


@given(generators(), st.integers(2, 12))
def test_fit_agrees_with_a_root_finder(rng, size):
    """T5.2, for preferences that are not Bradley-Terry.  MINPACK stops at steps of 1e-13."""
    wins = strongly_connected(rng, size, density=0.6)

    def ungrounded(y):
        return gradient(wins / wins.sum(), np.append(y, 0.0))[:-1]

    solved = root(ungrounded, np.zeros(size - 1), tol=1e-13)
    np.testing.assert_allclose(np.abs(solved.fun).max(), 0, atol=1e-12)
    rival = centred(np.append(solved.x, 0.0))
    np.testing.assert_allclose(fit(wins).strength, rival, rtol=0, atol=1e-8)


@given(generators(), st.integers(2, 8), st.sampled_from([12, 24, 100]))
@settings(max_examples=15)
def test_fit_keeps_every_digit_of_weights_that_span_many_decades(rng, size, decades):
    wins = strongly_connected(rng, size) * 10.0 ** rng.uniform(-decades, 0, (size, size))
    found = fit(wins)
    np.testing.assert_allclose(found.strength, exact_fit(wins, found.strength), rtol=1e-14, atol=1e-11)


@pytest.mark.parametrize("link", [1e-6, 1e-12, 1e-20])
def test_fit_sees_the_weak_link_between_two_tight_groups(link):
    """Inside the groups flows of order 1 circulate; between them only `link`: far below their rounding."""
    wins = np.array(
        [
            [0, 0.7, 0.1, 3 * link, 0, 0],
            [0.2, 0, 0.9, 0, 0, 0],
            [0.8, 0.3, 0, 0, 2 * link, 0],
            [0, link, 0, 0, 0.6, 0.2],
            [0, 0, link**1.2, 0.1, 0, 0.7],
            [0, 0, 0, 0.9, 0.4, 0],
        ]
    )
    found = fit(wins)
    np.testing.assert_allclose(found.strength, exact_fit(wins, found.strength), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("size", [5, 100])  # eliminated; larger than what is eliminated without a look
@pytest.mark.parametrize("link", [1e-6, 1e-8, 1e-15, 1e-24])
def test_flow_between_two_groups_balances_however_weakly_they_are_linked(size, link):
    """Summed over a group the balance of the arms says so, but each arm's rounding is far above the link."""
    rng = np.random.default_rng(size)
    wins = rng.random((2 * size, 2 * size))
    wins[:size, size:] *= link
    wins[size:, :size] *= link / 100
    strength = fit(wins).strength
    flow = wins * expit(strength - strength[:, None])
    np.testing.assert_allclose(flow[:size, size:].sum(), flow[size:, :size].sum(), rtol=1e-11)
    assert strength[:size].mean() - strength[size:].mean() > 2


def test_nearly_deterministic_groups_are_placed_to_ten_digits():
    """p = 1 - 1e-12 between a cyclic group and another: a gap of 27.6, carried by flows of 1e-12."""
    within = np.array([[0, 0.9, 0.2], [0.1, 0, 0.7], [0.8, 0.3, 0]])
    wins = np.block([[within, np.full((3, 3), 1 - 1e-12)], [np.full((3, 3), 1e-12), within.T]])
    found = fit(wins)
    assert 27 < found.strength[:3].mean() - found.strength[3:].mean() < 29
    np.testing.assert_allclose(found.strength, exact_fit(wins, found.strength), rtol=1e-12, atol=0)


def test_nearly_deterministic_order_is_a_ladder():
    """Each arm beats all later ones with 1 - 1e-12: the strengths span hundreds, and none is out of order."""
    size = 20
    wins = np.where(np.arange(size)[:, None] < np.arange(size), 1 - 1e-12, 1e-12)
    found = fit(wins)
    assert (np.diff(found.strength) < -10).all() and np.ptp(found.strength) > 400
    assert found.iterations < 50  # not one for each unit of strength
    np.testing.assert_allclose(
        found.strength, exact_fit(wins - np.diag(np.diag(wins)), found.strength), rtol=1e-12
    )


@given(generators(), SIZES)
def test_no_strengths_have_a_smaller_loss(rng, size):
    wins = strongly_connected(rng, size)
    found = fit(wins)
    for scale in (1e-3, 1e-1, 1.0):
        elsewhere = found.strength + scale * rng.normal(size=size)
        assert loss(wins, found.strength) < loss(wins, elsewhere)


@pytest.mark.parametrize("smoothing", [0.3, 0.1, 1e-3, 1e-12])
def test_label_smoothing_of_a_certain_winner_gives_a_finite_margin(smoothing):
    """T5.4: margin log((1 - eps) / eps), and by x = beta h, that over beta in log-ratios."""
    certain = np.array([[0.0, 1.0], [0.0, 0.0]])
    found = fit((1 - smoothing) * certain + smoothing * certain.T)
    margin = found.strength[0] - found.strength[1]
    np.testing.assert_allclose(margin, np.log((1 - smoothing) / smoothing), rtol=1e-14)


# ---- the gauge: what the comparisons do not decide ---------------------------------------------------------


@given(generators(), SIZES, SIZES)
def test_each_component_keeps_the_mean_of_its_start_and_its_fit_does_not_depend_on_it(rng, left, right):
    blocks = strongly_connected(rng, left), strongly_connected(rng, right), np.zeros((1, 1))
    start = rng.normal(size=left + right + 1)
    found = fit(sparse.block_diag(blocks).toarray(), start)
    assert found.exists and not found.unique and "component" in found.message
    parts = np.split(found.strength, [left, left + right])
    for block, part, begun in zip(blocks, parts, np.split(start, [left, left + right]), strict=True):
        np.testing.assert_allclose(part.mean(), begun.mean(), rtol=0, atol=1e-13)
        np.testing.assert_allclose(centred(part), fit(block).strength, rtol=0, atol=1e-12)
    assert found.strength[-1] == start[-1]  # never compared, never moved
    assert len(set(found.component)) == 3


@given(generators(), SIZES, st.sampled_from([1e-200, 1e-3, 7.0, 1e200]))
def test_scale_of_the_weights_and_diagonal_do_not_matter(rng, size, scale):
    wins = strongly_connected(rng, size)
    found = fit(scale * (wins + np.diag(rng.random(size))))
    np.testing.assert_allclose(found.strength, fit(wins).strength, rtol=0, atol=1e-12)


@given(generators(), SIZES)
def test_relabelling_the_arms_relabels_the_fit_and_swapping_wins_with_losses_negates_it(rng, size):
    wins, order = strongly_connected(rng, size), rng.permutation(size)
    strength = fit(wins).strength
    np.testing.assert_allclose(fit(wins[order][:, order]).strength, strength[order], rtol=0, atol=1e-12)
    np.testing.assert_allclose(fit(wins.T).strength, -strength, rtol=0, atol=1e-12)


# ---- Ford's condition -------------------------------------------------------------------------------------


def some_direction_never_raises_the_loss(wins: np.ndarray) -> bool:
    """Is there a v with v_i >= v_j wherever i beat j, and > somewhere?  A linear programme.

    Along such a v no term of the loss grows and one falls for ever; without one the loss is coercive.
    """
    winner, loser = np.nonzero(wins)
    rows = np.zeros((len(winner), len(wins)))
    rows[np.arange(len(winner)), winner] = 1
    rows[np.arange(len(winner)), loser] -= 1
    best = linprog(-rows.sum(axis=0), A_ub=-rows, b_ub=np.zeros(len(winner)), bounds=(-1, 1))
    return -best.fun > 0.5  # vertices are integers


@given(generators(), st.integers(2, 7), st.floats(0.1, 0.6))
def test_fit_exists_iff_the_loss_has_no_direction_of_recession(rng, size, density):
    """T5.3, Ford's condition against its convex-analytic meaning."""
    wins = rng.random((size, size)) * (rng.random((size, size)) < density)
    np.fill_diagonal(wins, 0)
    found = fit(wins)
    recedes = wins.any() and some_direction_never_raises_the_loss(wins)  # without wins there is no loss
    assert found.exists == (not recedes)
    strong = csgraph.connected_components(wins > 0, connection="strong")[0]
    weak = csgraph.connected_components(wins > 0, directed=False)[0]
    assert found.exists == (strong == weak)


@given(generators(), SIZES)
def test_a_fit_that_does_not_exist_is_named_by_an_arm_that_cannot_be_caught(rng, size):
    wins = np.triu(rng.random((size, size)) + 0.1, 1)
    order = rng.permutation(size)
    shuffled = np.zeros_like(wins)
    shuffled[np.ix_(order, order)] = wins
    found = fit(shuffled)
    assert not found.exists and found.unique
    assert f"arm {order[0]} beat arm" in found.message and "no minimiser" in found.message
    expected = np.full(size, -np.inf)
    expected[order[0]] = 0.0
    np.testing.assert_array_equal(found.limit, expected)


def diverging_world(rng: np.random.Generator, top: int = 3, below: int = 2, aside: int = 3):
    """One component whose top group never loses to the arms below, and another component that has a fit."""
    first = np.zeros((top + below, top + below))
    first[:top, :top] = strongly_connected(rng, top, 1.0)
    first[top:, top:] = strongly_connected(rng, below, 1.0)
    first[rng.integers(top), top + rng.integers(below)] = rng.uniform(0.2, 1)
    wins = sparse.block_diag([first, strongly_connected(rng, aside, 1.0)]).toarray()
    return wins / wins.sum(), rng.normal(size=len(wins))


def gradient_flow(wins: np.ndarray, start: np.ndarray, until: float, speed: np.ndarray) -> np.ndarray:
    """The strengths at time `until`, integrated in the logarithm of time by an implicit method.

    Not later than 1e9: the velocity of the logarithm is `until` times a difference rounded to 1e-17.
    """

    def velocity(log_time, x):
        return np.exp(log_time) * speed * gradient(wins, x)

    def jacobian(log_time, x):
        link = (wins + wins.T) * expit(x - x[:, None]) * expit(x[:, None] - x)
        return np.exp(log_time) * speed[:, None] * (link - np.diag(link.sum(axis=1)))

    span = (np.log(1e-6), np.log(until))
    return solve_ivp(velocity, span, start, method="Radau", jac=jacobian, rtol=1e-6, atol=1e-6).y[:, -1]


@pytest.mark.parametrize("seed", range(3))
def test_gradient_flow_runs_to_the_limit_and_keeps_the_mean_of_each_component(seed):
    """All mass ends in the top, inside which it is the inner fit, also against another component.

    The gap g obeys g' ~ e^-g, so it grows as log t, and outside the top the mass falls as a power of 1 / t.
    """
    wins, start = diverging_world(np.random.default_rng(seed))
    found = fit(wins, start)
    assert not found.exists and found.unique
    assert np.isfinite(found.limit).tolist() == [True] * 3 + [False] * 5
    early, late = (gradient_flow(wins, start, until, np.ones(8)) for until in (1e5, 1e9))
    np.testing.assert_allclose(late[:5].mean(), start[:5].mean(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(late[5:].mean(), start[5:].mean(), rtol=0, atol=1e-5)
    assert late[:3].min() > early[:3].min() + 2  # the top rises
    outside = [1 - softmax(x)[:3].sum() for x in (early, late)]
    assert outside[1] < 0.1 * outside[0] and outside[1] < 0.01
    np.testing.assert_allclose(centred(late[:3]), centred(found.limit[:3]), rtol=0, atol=1e-5)
    np.testing.assert_allclose(late[5:], found.strength[5:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_smoothing_the_labels_away_leads_to_the_same_limit(seed):
    """The second route: with N + eps N^T a fit exists, and its softmax tends to that of the limit."""
    wins, start = diverging_world(np.random.default_rng(seed))
    limit = softmax(fit(wins, start).limit)
    distances = []
    for smoothing in (1e-8, 1e-20, 1e-60):
        smooth = fit(wins + smoothing * wins.T, start)
        assert smooth.exists and smooth.residual <= 1e-13
        distances.append(np.abs(softmax(smooth.strength) - limit).max())
    assert distances[0] > 10 * distances[1] and distances[2] < 1e-12


def test_two_tops_are_settled_by_the_optimiser_not_by_the_loss():
    """0 beats 2 with weight a, 1 beats 2 with weight b: gradient flow ends at x_0 - x_1 = log(a / b).

    d e^{x_0} / dt = a e^{x_2} and d e^{x_1} / dt = b e^{x_2}, so both grow in the ratio a : b.  With a
    learning rate that is kappa times larger on arm 0, a is replaced by kappa a.
    """
    wins, start = np.zeros((3, 3)), np.array([0.4, -0.3, 0.2])
    wins[0, 2], wins[1, 2] = 0.75, 0.25
    found = fit(wins, start)
    assert not found.exists and not found.unique and found.limit is None
    assert "not determined" in found.message
    for speed, ratio in ((np.ones(3), 3.0), (np.array([5.0, 1.0, 1.0]), 15.0)):
        late = gradient_flow(wins, start, 1e8, speed)
        np.testing.assert_allclose(late[0] - late[1], np.log(ratio), atol=1e-4)


def test_two_diverging_components_have_no_determined_limit():
    wins = np.zeros((4, 4))
    wins[0, 1], wins[3, 2] = 0.6, 0.4
    found = fit(wins)
    assert not found.exists and found.limit is None and len(set(found.component)) == 2


# ---- every path through the solver ------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_conjugate_gradients_elimination_and_sparse_solves_agree(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    size = 150
    strength = 2 * rng.normal(size=size)
    mu = rng.dirichlet(np.ones(size))
    wins = np.outer(mu, mu) * expit(strength[:, None] - strength + rng.normal(size=(size, size)))
    certified = fit(wins)
    with monkeypatch.context() as patch:
        patch.setattr(bradley_terry, "WELL_CONNECTED", np.inf)  # always eliminate
        eliminated = fit(wins)
    with monkeypatch.context() as patch:
        patch.setattr(bradley_terry, "DENSE", 1)  # stay sparse
        patch.setattr(bradley_terry, "conjugate_gradients", lambda *_: None)
        factorised = fit(sparse.csr_array(wins))
    for found in (certified, eliminated, factorised):
        assert found.residual <= 1e-13
        np.testing.assert_allclose(found.strength, certified.strength, rtol=0, atol=1e-11)


def test_a_long_chain_of_sparse_comparisons_adds_up_its_log_odds():
    """On a tree the fit is exact on every edge: x_i - x_j = log(N_ij / N_ji)."""
    rng, size = np.random.default_rng(3), 3000
    up, down = rng.integers(1, 20, size=(2, size - 1))
    i = np.arange(size - 1)
    wins = sparse.coo_array((np.append(up, down), (np.append(i, i + 1), np.append(i + 1, i))))
    found = fit(wins)
    assert found.residual <= 1e-13
    np.testing.assert_allclose(-np.diff(found.strength), np.log(up / down), rtol=0, atol=1e-10)


def test_sparse_data_sets_of_many_arms_are_solved_without_a_dense_matrix():
    """Duplicate pairs add up; the gradient is recomputed from the list of pairs."""
    rng, size = np.random.default_rng(4), 20_000
    strength = rng.normal(size=size)
    pairs = rng.integers(size, size=(40 * size, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    won = rng.random(len(pairs)) < expit(strength[pairs[:, 0]] - strength[pairs[:, 1]])
    winner, loser = np.where(won, pairs.T, pairs[:, ::-1].T)
    found = fit(sparse.coo_array((np.ones(len(winner)), (winner, loser)), shape=(size, size)))
    pull = expit(found.strength[loser] - found.strength[winner])
    into, out = (np.bincount(arm, pull, size) for arm in (winner, loser))
    kept = np.bincount(found.strong)[found.strong] > 1
    inner = found.strong[winner] == found.strong[loser]
    into, out = (np.bincount(arm[inner], pull[inner], size) for arm in (winner, loser))
    assert kept.mean() > 0.99
    assert (np.abs(into - out)[kept] <= 2e-13 * (into + out)[kept]).all()


@given(generators(), st.integers(1, 20), st.floats(0, 0.5))
def test_sparse_and_dense_comparisons_give_the_same_fit(rng, size, density):
    wins = rng.random((size, size)) * (rng.random((size, size)) < density)
    start = rng.normal(size=size)
    dense, thin = fit(wins, start), fit(sparse.csc_array(wins), start)
    np.testing.assert_allclose(thin.strength, dense.strength, rtol=0, atol=1e-12)
    assert (thin.exists, thin.unique, thin.message) == (dense.exists, dense.unique, dense.message)


def test_a_solver_that_stops_early_says_so(monkeypatch):
    monkeypatch.setattr(bradley_terry, "MAX_STEPS", 1)
    found = fit(np.array([[0, 3.0, 1.0], [1.0, 0, 9.0], [5.0, 0.1, 0]]))
    assert found.residual > 1e-10 and "not converged" in found.message


def test_the_arrays_of_the_caller_are_left_alone():
    dense, start = np.array([[5.0, 3.0], [1.0, 2.0]]), np.array([0.3, 0.9])
    thin = sparse.coo_array(dense)
    fit(dense, start), fit(thin, start)
    np.testing.assert_array_equal(dense, [[5, 3], [1, 2]])
    np.testing.assert_array_equal(thin.toarray(), dense)
    np.testing.assert_array_equal(start, [0.3, 0.9])


# ---- bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wins", "start", "said"),
    [
        (np.zeros((0, 0)), None, r"square matrix .* shape \(0, 0\)"),
        (np.ones((2, 3)), None, r"square matrix .* shape \(2, 3\)"),
        (np.ones(4), None, r"square matrix .* shape \(4,\)"),
        ([["a", "b"], ["c", "d"]], None, "real numbers"),
        ([[0.0, 1.0], [-2.0, 0.0]], None, r"non-negative, but wins\[1, 0\] = -2.0; .*wins\[j, i\]"),
        ([[0.0, np.nan], [1.0, 0.0]], None, r"finite and non-negative, but wins\[0, 1\] = nan"),
        ([[0.0, 1.0], [np.inf, 0.0]], None, r"finite and non-negative, but wins\[1, 0\] = inf"),
        (sparse.coo_array([[0.0, 1.0], [-2.0, 0.0]]), None, r"wins\[1, 0\] = -2.0"),
        (sparse.coo_array(np.ones((2, 3))), None, r"shape \(2, 3\)"),
        (np.ones((2, 2)), [0.0, 1.0, 2.0], r"start .* 2 arms, but its shape is \(3,\)"),
        (np.ones((2, 2)), [0.0, np.nan], r"start must be finite, but start\[1\] = nan"),
    ],
)
def test_bad_input_is_refused_with_the_entry_and_the_remedy(wins, start, said):
    with pytest.raises(ValueError, match=said):
        fit(wins, start)
