"""KTO: single answers, liked or not: on which arms it ends, and in which shares (T9.4)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq, minimize
from scipy.special import expit, xlogy

import answer_key
import bandits as b
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from motions import motion
from rows import Row, log_ratios

# ---- the rows ---------------------------------------------------------------------------------------------


def formula(a: b.KTO, s: b.Samples) -> list[float]:
    """T9.4: beta sigma'(beta (h - z)) (lambda_D q - lambda_U (1 - q)), sigma' = 1 / (2 + e^u + e^-u)."""
    z = a.reference_point
    if z is None:
        z = s.value if s.value is not None else _divergence(s.population)
        z = max(z, 0.0)
    u, q = a.beta * (answer_key.log_ratio(s)[0] - z), float(s.desirable[0])
    slope = 1 / (2 + math.exp(abs(u)) + math.exp(-abs(u))) if abs(u) < 700 else 0.0
    return [a.beta * (a.desirable_weight * q - a.undesirable_weight * (1 - q)) * slope]


def _divergence(everyone: b.Samples) -> float:
    """KL(pi || ref), term by term."""
    return math.fsum(
        math.exp(x) * h for x, h in zip(everyone.log_prob, answer_key.log_ratio(everyone), strict=True)
    )


def size(a: b.KTO, case: Case) -> float:
    """A slope of at most 1/4, whose argument is rounded like beta h."""
    return a.beta * (1 + a.beta * log_ratios(case)) * max(a.desirable_weight, a.undesirable_weight)


def _row(point: float | None) -> Row:
    return Row(
        make=lambda beta: b.KTO(beta, reference_point=point),
        formula=formula,
        size=size,
        smooth=point is not None,  # the loss holds a moving point fixed, finite differences do not
        settles=False,  # on the boundary
        ends={"on-policy": "none: runs away", "elsewhere": "face"},
    )


ROWS = {"KTO": _row(None), "KTO(reference_point=0.2)": _row(0.2)}


# ---- where it ends ----------------------------------------------------------------------------------------

EXAMPLES = settings(max_examples=20)
FOUR = b.Bandit(np.zeros(4), reference=[0.1, 0.2, 0.3, 0.4], desirable=[0.9, 0.6, 0.4, 0.2])
POINTS = st.sampled_from([None, -0.5, 0.0, 1.3])


def worth(a: b.KTO, world: b.Bandit, mu) -> np.ndarray:
    return np.asarray(mu) * (
        a.desirable_weight * world.desirable - a.undesirable_weight * (1 - world.desirable)
    )


@st.composite
def labelled(draw, arms) -> tuple[b.Bandit, np.ndarray]:
    """A world with labels of which some arm's are good, and who sampled; both uneven."""
    count = draw(arms)
    world = b.Bandit(
        np.zeros(count),
        reference=draw(strategies.references(count, smallest=0.02)),
        desirable=draw(strategies.labels(count)),
    )
    assume(world.desirable.max() > 0.55)
    return world, draw(strategies.policies(count, smallest=0.05, salt=5))


def test_the_number_of_the_theory():
    found = b.fixed_point(b.KTO(0.5), FOUR, b.Offline(FOUR.reference))
    assert_allclose(found.policy, [0.67651, 0.32349, 0, 0], rtol=0, atol=5e-6)
    assert found.unique and found.stable and found.residual < 1e-15
    assert found.face.tolist() == [True, True, False, False]


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 0.99), point=POINTS)
def test_it_ends_inside_the_face_of_the_arms_that_pay(data, beta, point):
    """KKT at the answer: coefficient / pi equal where w > 0, all others dead; by hand, with z = KL there."""
    world, mu = data.draw(labelled(st.integers(2, 8)))
    a = b.KTO(beta, desirable_weight=1.2, undesirable_weight=1.0, reference_point=point)
    w = worth(a, world, mu)
    assume((w > 0).any())
    for found in b.fixed_points(a, world, b.Offline(mu)):
        alive = found.policy > 0
        assert_allclose(alive, w > 0)
        h = np.log(found.policy[alive] / world.reference[alive])
        z = found.policy[alive] @ h if point is None else point
        u = beta * (h - z)
        ratio = w[alive] * expit(u) * expit(-u) / found.policy[alive]
        assert_allclose(ratio, ratio[0], rtol=1e-11)
        assert (found.face is None) == alive.all()


@EXAMPLES
@given(data=st.data(), point=st.floats(-0.5, 1.0))
def test_at_beta_one_arms_that_hardly_pay_die_too(data, point):
    """T9.4: t / sigma'(log t) = (1 + t)^2 starts at 1: t = sqrt(w / (zeta ref)) - 1 or 0; Brent in zeta."""
    world, mu = data.draw(labelled(st.integers(2, 8)))
    a = b.KTO(1.0, reference_point=point)
    gain = np.maximum(worth(a, world, mu), 0.0) / world.reference
    assume((gain > 0).any())

    def shares(log_zeta: float) -> np.ndarray:
        return world.reference * np.exp(point) * np.maximum(np.sqrt(gain * math.exp(-log_zeta)) - 1, 0)

    top = math.log(gain.max())
    zeta = brentq(lambda x: shares(x).sum() - 1, top - 30, top, xtol=1e-14)
    found = b.fixed_point(a, world, b.Offline(mu))
    assert_allclose(found.policy, shares(zeta), rtol=0, atol=1e-9)
    assert_array_equal(found.policy == 0, gain <= math.exp(zeta))


@settings(max_examples=6)
@given(data=st.data(), beta=strategies.betas(0.1, 0.9))
def test_with_a_frozen_point_it_is_the_maximum_of_a_concave_programme(data, beta):
    """max sum w sigma(beta (log pi/ref - z)) over the simplex, by SciPy's SLSQP on the arms that pay."""
    world, mu = data.draw(labelled(st.integers(2, 6)))
    a, z = b.KTO(beta, reference_point=0.4), 0.4
    w = worth(a, world, mu)
    pays = w > 0

    def value(policy, w, reference):
        return w @ (1 / (1 + (np.maximum(policy, 1e-300) / reference) ** -beta * np.exp(beta * z)))

    found = b.fixed_point(a, world, b.Offline(mu)).policy
    inside = {"w": w[pays] / w[pays].max(), "reference": world.reference[pays]}
    best = minimize(
        lambda policy: -value(policy, **inside),
        np.full(pays.sum(), 1 / pays.sum()),
        method="SLSQP",
        bounds=[(1e-12, 1)] * int(pays.sum()),
        constraints={"type": "eq", "fun": lambda policy: policy.sum() - 1},
        options={"ftol": 1e-15, "maxiter": 500},
    )
    assert value(found[pays], **inside) >= -best.fun - 1e-12
    assert_allclose(found[pays], best.x, rtol=0, atol=2e-4)  # SLSQP's own: its value is flat to 1e-12


@settings(max_examples=3)
@given(data=st.data(), beta=strategies.betas(0.2, 0.8), point=POINTS)
def test_the_flow_leads_there_from_every_start(data, beta, point):
    """Dying arms fall like a power of time, 1/(Z t) or t^(-1/beta): at t = 1e6 they have almost gone."""
    world, mu = data.draw(labelled(st.integers(2, 4)))
    a = b.KTO(beta, reference_point=point)
    starts = data.draw(strategies.policies(world.arms, (3,), smallest=0.1, salt=6))
    found = b.fixed_point(a, world, b.Offline(mu))
    assert found.unique and found.stable
    until = 1e5 / worth(a, world, mu).max() / beta
    ends = motion(a, world, b.Offline(mu), starts, until)
    assert_allclose(ends, np.broadcast_to(found.policy, ends.shape), rtol=0, atol=2e-3)


def test_a_moving_point_may_have_several_ends_where_the_reference_is_very_uneven():
    """Two ends attract, and the flow from the reference chooses; a number for z has one."""
    world = b.Bandit([0.0, 0.0], reference=[1e-9, 1 - 1e-9], desirable=[1.0, 0.51])
    mu = b.Offline([0.5, 0.5])
    ends = b.fixed_points(b.KTO(0.9, reference_point=None), world, mu)
    starts = np.array([one.policy for one in ends])
    assert len(ends) == 2 and not any(one.unique for one in ends)
    moved = motion(
        b.KTO(0.9), world, mu, np.clip(starts, 1e-6, None) / np.clip(starts, 1e-6, None).sum(1)[:, None]
    )
    assert_allclose(moved, starts, rtol=0, atol=1e-6)
    assert len(b.fixed_points(b.KTO(0.9, reference_point=0.3), world, mu)) == 1


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 10), point=POINTS)
def test_one_good_arm_takes_all(data, beta, point):
    world, mu = data.draw(labelled(st.integers(2, 6)))
    only = world.desirable == world.desirable.max()
    world = b.Bandit(world.reward, reference=world.reference, desirable=np.where(only, 0.9, 0.3))
    found = b.fixed_point(b.KTO(beta, reference_point=point), world, b.Offline(mu))
    assert_allclose(found.policy, only.astype(float))
    assert found.unique and found.stable


@EXAMPLES
@given(data=st.data(), beta=strategies.betas(0.1, 0.9), flips=st.floats(0, 0.45))
def test_flipped_labels_slow_it_down_and_move_nothing(data, beta, flips):
    """T9.4, equal weights: w is multiplied by 1 - 2 epsilon on all arms."""
    world, mu = data.draw(labelled(st.integers(2, 5)))
    noisy = b.Bandit(
        world.reward, reference=world.reference, desirable=flips + (1 - 2 * flips) * world.desirable
    )
    clean, flipped = (b.fixed_point(b.KTO(beta), one, b.Offline(mu)).policy for one in (world, noisy))
    assert_allclose(flipped, clean, rtol=0, atol=1e-9)
    policy = np.full(world.arms, 1 / world.arms)
    fast, slow = (b.expected_update(b.KTO(beta), one, b.Offline(mu), policy) for one in (world, noisy))
    assert_allclose(slow, (1 - 2 * flips) * fast, rtol=0, atol=1e-14)


@pytest.mark.parametrize("beta", [1.5, 3.0])
def test_beyond_one_every_arm_that_pays_attracts(beta):
    """And below one, every arm attracts where none pays: the start decides, and the refusal says why."""
    both = b.Bandit([0.0, 0.0, 0.0], reference=[0.3, 0.3, 0.4], desirable=[0.9, 0.8, 0.2])
    with pytest.raises(b.NoFixedPoint, match=f"beta = {beta:g} > 1 leaves arms without mass unpulled"):
        b.fixed_point(b.KTO(beta), both, b.Offline(both.reference))
    none = b.Bandit([0.0, 0.0, 0.0], reference=[0.3, 0.3, 0.4], desirable=[0.3, 0.4, 0.2])
    with pytest.raises(b.NoFixedPoint, match="no label is good enough"):
        b.fixed_point(b.KTO(1 / beta), none, b.Offline(none.reference))
    starts = np.array([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01]])
    for a, world in ((b.KTO(beta), both), (b.KTO(1 / beta), none)):
        ends = motion(a, world, b.Offline(world.reference), starts, 1e7)
        assert ends[0, 0] > 0.97 and ends[1, 1] > 0.97


def test_arms_that_nobody_samples_die_too():
    found = b.fixed_point(b.KTO(0.5), FOUR, b.Offline([0.0, 0.5, 0.3, 0.2]))
    assert_allclose(found.policy, [0, 1, 0, 0])


def test_contexts_end_as_if_each_were_alone():
    rng = np.random.default_rng(0)
    reference, labels = rng.dirichlet(np.ones(4), (3, 1)), 0.4 + 0.6 * rng.random((2, 4))
    world, mu = (
        b.Bandit(np.zeros(4), reference=reference, desirable=labels),
        b.Offline(rng.dirichlet(np.ones(4))),
    )
    together = b.fixed_point(b.KTO(0.3), world, mu).policy
    assert together.shape == (3, 2, 4)
    for index in np.ndindex(3, 2):
        assert_allclose(together[index], b.fixed_point(b.KTO(0.3), world.at(index), mu).policy, rtol=1e-14)


def test_a_trainer_may_give_its_own_estimate_of_the_reference_point():
    """It counts as at least 0, as the paper's does; without it, all arms are needed."""
    fields = {
        "log_prob": np.log([[0.6], [0.6]]),
        "reference_log_prob": np.log([[0.2], [0.2]]),
        "desirable": np.ones((2, 1)),
    }
    found = b.KTO(0.5).update(b.Samples(**fields, value=np.array([0.7, -3.0]))).log_prob
    u = 0.5 * (np.log(3) - np.array([[0.7], [0.0]]))
    assert_allclose(found, 0.5 * expit(u) * expit(-u), rtol=1e-14)
    with pytest.raises(ValueError, match="samples.population is None"):
        b.KTO(0.5).update(b.Samples(**fields))


def test_an_arm_outside_the_reference_does_not_enter_the_divergence():
    wide = b.Bandit(np.zeros(5), reference=[0.1, 0.0, 0.2, 0.3, 0.4], desirable=[0.9, 1.0, 0.6, 0.4, 0.2])
    found = b.fixed_point(b.KTO(0.5), wide, b.Offline(wide.reference))
    expected = b.fixed_point(b.KTO(0.5), FOUR, b.Offline(FOUR.reference)).policy
    assert_allclose(found.policy, np.insert(expected, 1, 0), rtol=1e-13)
    assert_allclose(xlogy(found.policy, found.policy).sum(), xlogy(expected, expected).sum(), rtol=1e-13)


@pytest.mark.parametrize("name", ["desirable_weight", "undesirable_weight"])
def test_weights_are_not_negative(name):
    with pytest.raises(ValueError, match=rf"{name} must be 0 or more, but {name} = -1.0"):
        b.KTO(0.5, **{name: -1.0})


def test_a_world_without_labels_is_refused():
    for ask in (b.fixed_point, lambda *of: b.expected_update(*of, [0.5, 0.5])):
        with pytest.raises(ValueError, match="desirable"):
            ask(b.KTO(0.5), b.Bandit([1.0, 0.0]), b.Offline([0.5, 0.5]))
