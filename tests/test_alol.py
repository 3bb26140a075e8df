"""A-LoL: where imitation of the better answers ends, on the boundary of the simplex (T9.1)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import answer_key
import bandits as b
from bandits.testing import strategies
from bandits.testing.enumeration import Case
from motions import motion
from rows import Row, log_ratios

# ---- the row ----------------------------------------------------------------------------------------------


def formula(a: b.ALoL, s: b.Samples) -> list[float]:
    """T9.1: max(r - V, 0) times pi/ref, held between 1 - eps and 1 + eps; V = E_ref[r]."""
    V = s.value
    if V is None:
        V = float(np.exp(s.population.reference_log_prob) @ s.population.reward)
    weight = answer_key.near_one(np.exp(answer_key.log_ratio(s)[0]), a.clip)
    return [max(float(s.reward[0] - V), 0.0) * weight]


def formula_of_rlol(a: b.RLoL, s: b.Samples) -> list[float]:
    """T9.1: r times pi/ref, held between 1 - eps and 1 + eps."""
    return [float(s.reward[0]) * answer_key.near_one(np.exp(answer_key.log_ratio(s)[0]), a.clip)]


def size(a: b.ALoL | b.RLoL, case: Case) -> float:
    """r, times a weight."""
    return (2 + np.abs(case.bandit.reward).max()) * min(np.exp(log_ratios(case)), 1 + a.clip)


ROWS = {
    "ALoL": Row(
        make=lambda beta: b.ALoL(clip=beta),
        formula=formula,
        size=size,
        settles=False,  # on the boundary
        sees_offset=False,
        ends={"on-policy": "none: runs away", "elsewhere": "face"},  # T9.1
        blind={"dropped_detach": "a clipped weight is constant, held fixed or not"},
    ),
    "RLoL": Row(
        make=lambda beta: b.RLoL(clip=beta),
        formula=formula_of_rlol,
        size=size,
        settles=False,  # on the boundary, where an arm has no reward
        ends={"on-policy": "none: runs away", "elsewhere": "face"},  # T9.1
        blind={"dropped_detach": "a clipped weight is constant, held fixed or not"},
    ),
}


# ---- what it is known for ---------------------------------------------------------------------------------


EXAMPLES = settings(max_examples=25)
THIRDS = b.Bandit([0.0, 0.6, 0.9])


def limit(algorithm, world, sampling, start=None) -> np.ndarray:
    """The limit on the boundary: an ordinary answer, with the arms that live."""
    found = b.fixed_point(algorithm, world, sampling, start)
    assert found.unique and np.all(found.stable)
    assert (found.face == (found.policy > 0)).all() and not found.face.all()
    assert np.max(found.residual) < 1e-15 * (1 + np.abs(world.reward).max())
    return found.policy


def gain(world: b.Bandit) -> np.ndarray:
    """a+ = max(r - E_ref[r], 0)."""
    return np.maximum(world.reward - world.reference @ world.reward, 0)


# ---- the coefficient --------------------------------------------------------------------------------------


@EXAMPLES
@given(data=st.data())
def test_with_the_signed_advantage_and_no_clip_it_is_the_gradient_of_the_expected_reward(data):
    """On ref's samples E[(r - V) pi/ref (e_y - pi)] = grad E_pi[r]; the negative part is that of -r."""
    world = data.draw(strategies.bandits_with_reward(2, 6, smallest=1e-3))
    policy = data.draw(strategies.policies(world.arms))
    losses = b.Bandit(-world.reward, reference=world.reference)
    better, worse = (
        b.expected_update(b.ALoL(clip=np.inf), one, b.Offline(world.reference), policy)
        for one in (world, losses)
    )
    gradient = policy * (world.reward - policy @ world.reward)
    assert_allclose(better - worse, gradient, rtol=0, atol=1e-14 * (10 + np.abs(world.reward).max()))


def test_the_mean_of_the_reference_may_be_given():
    """A trainer that cannot enumerate hands V over; then no population is needed."""
    fields = {
        "log_prob": np.log([[0.6], [0.3]]),
        "reference_log_prob": np.log([[0.2], [0.4]]),
        "reward": np.array([[1.0], [2.0]]),
    }
    found = b.ALoL().update(b.Samples(**fields, value=np.array([0.5, 1.75]))).log_prob
    assert_allclose(found, [[0.5 * 1.9], [0.25 * 0.75]], rtol=1e-15)
    with pytest.raises(ValueError, match="samples.population is None"):
        b.ALoL().update(b.Samples(**fields))


def test_without_a_reference_there_is_no_ratio():
    """clip = 0 reads no reference: V is given, and the weight is one."""
    one = b.Samples(log_prob=np.log([0.6]), reward=np.array([1.0]), value=np.array(0.25))
    assert b.ALoL(clip=0).update(one).log_prob == 0.75
    with pytest.raises(ValueError, match="samples.reference_log_prob is None"):
        b.ALoL().update(one)


def test_among_equals_nothing_moves():
    """Equal rewards, also those that a rounded mean misses: no advantage, not 1e-17."""
    world = b.Bandit([0.1, 0.1, 0.1], reference=[0.2, 0.5, 0.3])
    for clip in (0, 0.9, np.inf):
        found = b.expected_update(b.ALoL(clip), world, b.Offline([0.3, 0.3, 0.4]), [0.6, 0.1, 0.3])
        assert (found == 0).all()
    assert_allclose(b.fixed_point(b.ALoL(), world, b.Offline([0.3, 0.3, 0.4])).policy, world.reference)


# ---- where it ends ----------------------------------------------------------------------------------------


@EXAMPLES
@given(data=st.data(), arms=st.integers(2, 50))
def test_reference_free_it_imitates_in_proportion_to_the_advantage(data, arms):
    """D a+ / Z; on the reference's own samples ref a+ / Z, and with priority sampling ref (a+)^2 / Z."""
    world = data.draw(strategies.bandits_with_reward(arms, arms, smallest=1e-4))
    mu, a = data.draw(strategies.behaviors(arms)), gain(world)
    by_gain = world.reference * a / (world.reference @ a)
    for law, expected in ((mu, mu * a), (world.reference, by_gain), (by_gain, by_gain * a)):
        expected = expected / expected.sum()
        assert_allclose(limit(b.ALoL(clip=0), world, b.Offline(law)), expected, rtol=0, atol=1e-14)


def candidates(world: b.Bandit, mu: np.ndarray, clip: float) -> list[np.ndarray]:
    """Every policy that is consistent with a guess of which arms have w = 1 + eps, and which is between."""
    mass, low, high = mu * gain(world), max(1 - clip, 0.0), 1 + clip
    u = mass / world.reference
    order, found = np.argsort(-u), []
    for count in range(world.arms + 1):
        top, rest = order[:count], order[count:]
        Z = high * mass[top].sum() + low * mass[rest].sum()
        if (u[top] > Z).all() and (u[rest] < Z).all():
            found.append(np.where(np.isin(np.arange(world.arms), top), high, low) * mass / Z)
    for place, arm in enumerate(order):
        Z, w = u[arm], np.full(world.arms, low)
        w[order[:place]] = high
        w[arm] = 0.0
        policy = w * mass / Z if Z > 0 else np.ones(world.arms)
        policy[arm] = 1 - policy.sum()
        if low <= policy[arm] / world.reference[arm] <= high and Z > 0:
            found.append(policy)
    return found


@settings(max_examples=60)
@given(data=st.data(), arms=st.integers(2, 50), clip=st.sampled_from([0.05, 0.5, 0.9, 0.999, 1.0, 3.0]))
def test_the_clipped_end_is_the_only_consistent_policy(data, arms, clip):
    """Of all guesses of who has which weight, one is consistent with the Z that it makes: the limit."""
    world = data.draw(strategies.bandits_with_reward(arms, arms, smallest=1e-3))
    mu = data.draw(strategies.behaviors(arms, smallest=1e-3))
    found = limit(b.ALoL(clip), world, b.Offline(mu))
    (only,) = candidates(world, mu, clip)
    assert_allclose(found, only, rtol=0, atol=1e-12)


def test_an_arm_at_the_jump_takes_the_room_that_is_left():
    """V = .78, a+ = (0, .12, .22).  Were w_3 = 1.9, Z = .2532 > .22; were it .1, Z = .0156 < .22: so Z = .22,
    pi_2 = .2 .12 .1 / .22 = .0109, and x_3 = .9891/.6 lies between.
    """
    world = b.Bandit([0.0, 0.9, 1.0], reference=[0.2, 0.2, 0.6])
    found = limit(b.ALoL(), world, b.Offline(world.reference))
    assert_allclose(found, [0, 0.0024 / 0.22, 1 - 0.0024 / 0.22], rtol=1e-12)
    assert_allclose(found[2] / 0.6, 1.648484848, rtol=1e-9)


@settings(max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # slow to shrink
@given(data=st.data(), clip=st.sampled_from([0, 0.3, 0.9]))
def test_the_motion_ends_there_where_all_arms_gain(data, clip):
    """Arms without advantage are neither sampled nor in the start: then the fixed point is finite."""
    world = data.draw(strategies.bandits_with_reward(3, 6, smallest=0.05, scale=0.5))
    alive = gain(world) > 1e-2 * np.ptp(world.reward)
    mu, start = (
        data.draw(strategies.policies(world.arms, smallest=0.05, salt=salt)) * alive for salt in (5, 6)
    )
    mu, start = mu / mu.sum(), start / start.sum()
    found = b.fixed_point(b.ALoL(clip), world, b.Offline(mu), start)
    assert found.unique and found.stable and found.residual < 1e-13
    slowest = found.policy[alive].min() * (mu @ gain(world)) * (1 - clip)
    until = 300 / slowest
    assert_allclose(found.policy, motion(b.ALoL(clip), world, b.Offline(mu), start, until), rtol=0, atol=1e-8)


@pytest.mark.parametrize("clip", [0, 0.9, 1.5, np.inf])
def test_the_motion_comes_as_near_as_one_over_time(clip):
    """Arms that die out have pi ~ 1/(Z t): at t = 1e6 the limit is 1e-4 away at most, at 1e4 it is not."""
    world, mu = (
        b.Bandit([0.0, 0.7, 0.9, 0.2], reference=[0.4, 0.3, 0.2, 0.1]),
        b.Offline([0.4, 0.2, 0.2, 0.2]),
    )
    expected = limit(b.ALoL(clip), world, mu)
    late, early = (
        np.abs(motion(b.ALoL(clip), world, mu, world.reference, until) - expected).max()
        for until in (1e6, 1e4)
    )
    assert late < 1e-4 < early < 1e-2


def test_the_number_of_the_theory():
    """Thirds, r = (0, .6, .9): V = .5, a+ = (0, .1, .4), Z = (.4 1.9 + .1 .1)/3 = .77/3 between .1 and .4."""
    found = limit(b.ALoL(clip=0.9), THIRDS, b.Offline(THIRDS.reference))
    assert_allclose(found, [0, 0.01 / 0.77, 0.76 / 0.77], rtol=1e-13)
    assert_allclose(found.round(6), [0, 0.012987, 0.987013])


def test_unclipped_it_gathers_on_the_arm_with_the_largest_ratio():
    """On ref's samples that is the best; elsewhere the largest D a+ / ref, a frequent mediocre arm say."""
    assert_allclose(limit(b.ALoL(np.inf), THIRDS, b.Offline(THIRDS.reference)), [0, 0, 1])
    assert_allclose(limit(b.ALoL(np.inf), THIRDS, b.Offline([0.05, 0.9, 0.05])), [0, 1, 0])


@pytest.mark.parametrize("wins", [0.3, 0.5])
def test_right_or_wrong_it_filters(wins):
    """Rewards 0 and 1 on ref's samples: all successes have u = 1 - p; if 1.9 p < 1, ref / p among them."""
    world = b.Bandit([0.0, 1.0, 1.0], reference=[1 - wins, 0.4 * wins, 0.6 * wins])
    assert_allclose(limit(b.ALoL(), world, b.Offline(world.reference)), [0, 0.4, 0.6], rtol=1e-13)


def test_right_or_wrong_beyond_the_clip_the_start_decides():
    """1.9 p > 1: both successes share u = Z, and any split within the clip rests."""
    world = b.Bandit([0.0, 1.0, 1.0], reference=[0.3, 0.3, 0.4])
    sampling = b.Offline([0.3, 0.3, 0.4])
    with pytest.raises(b.NoFixedPoint, match="the limit depends on the start") as refusal:
        b.fixed_point(b.ALoL(), world, sampling)
    assert refusal.value.solution.log_policy is None and refusal.value.solution.unique is False
    starts = np.array([[0.02, 0.48, 0.5], [0.02, 0.38, 0.6]])
    ends = motion(b.ALoL(), world, sampling, starts, 1e6)
    assert_allclose(ends[:, 0], 0, atol=1e-4)
    assert np.abs(ends[0] - ends[1]).max() > 0.05


def test_a_tie_stays_a_tie_under_rounding():
    """D a+ / ref of equal arms differs in the last digit for D = ref = (.7, .1, .2): 1.9 p < 1, and > 1."""
    for wins in (0.3, 0.7):
        reference = np.array([1 - wins, *(wins * np.array([1, 3, 7, 13, 19]) / 43)])
        world = b.Bandit([0, 1, 1, 1, 1, 1], reference=reference)
        if 1.9 * wins < 1:
            assert b.fixed_point(b.ALoL(), world, b.Offline(reference)).unique
        else:
            with pytest.raises(b.NoFixedPoint) as refusal:
                b.fixed_point(b.ALoL(), world, b.Offline(reference))
            assert refusal.value.solution.unique is False


def test_on_its_own_samples_it_gathers_on_one_arm():
    """Which one depends on the start: w = pi/ref favours what is frequent already."""
    starts = np.array([[0.1, 0.2, 0.7], [0.04, 0.95, 0.01]])
    for start, arm in zip(starts, (2, 1), strict=True):
        with pytest.raises(b.NoFixedPoint, match="on its own samples") as refusal:
            b.fixed_point(b.ALoL(np.inf), THIRDS, b.OnPolicy(), start)
        assert refusal.value.solution.log_policy is None
        assert motion(b.ALoL(np.inf), THIRDS, b.OnPolicy(), start, 1e6)[arm] > 0.999
    alone = b.fixed_point(b.ALoL(), THIRDS, b.OnPolicy(), [0, 1, 0])
    assert_allclose(alone.policy, [0, 1, 0])


@settings(max_examples=5)
@given(data=st.data(), clip=st.sampled_from([0, 0.9, 2.0, np.inf]))
def test_contexts_end_as_if_each_were_alone(data, clip):
    shape, arms = (2, 3), 4
    world = b.Bandit(
        data.draw(strategies.rewards(arms, (3,))),
        reference=data.draw(strategies.references(arms, (2, 1), 1e-2)),
    )
    sampling = b.Offline(data.draw(strategies.policies(arms, (2, 1), smallest=0.05)))
    together = limit(b.ALoL(clip), world, sampling)
    assert together.shape == (*shape, arms)
    for index in np.ndindex(shape):
        alone = limit(b.ALoL(clip), world.at(index), sampling.at(index, shape))
        assert_allclose(together[index], alone, rtol=0, atol=1e-13)


def test_arms_outside_the_references_support_change_nothing():
    wide = b.Bandit([0.0, 9.0, 0.6, 0.9], reference=[1 / 3, 0, 1 / 3, 1 / 3])
    for clip in (0, 0.9, np.inf):
        inner = limit(b.ALoL(clip), THIRDS, b.Offline([0.2, 0.5, 0.3]))
        found = limit(b.ALoL(clip), wide, b.Offline([0.2, 0, 0.5, 0.3]))
        assert_allclose(found, np.insert(inner, 1, 0), atol=1e-14)


def test_sampled_training_comes_near_the_limit():
    """The mean over 8 runs after 2000 steps; the arm that dies still has about 1/(Z eta t) = .004."""
    trace = b.simulate(
        b.ALoL(),
        THIRDS,
        b.Offline(THIRDS.reference),
        steps=3000,
        batch_size=8,
        learning_rate=0.5,
        rng=np.random.default_rng(0),
        runs=8,
        record=50,
    )
    late = trace.policies[40:].mean(axis=(0, 1))
    assert_allclose(late, [0, 1 / 77, 76 / 77], rtol=0, atol=5e-3)


# ---- R-LoL: rewards in the place of advantages -------------------------------------------------------------


@EXAMPLES
@given(data=st.data(), arms=st.integers(2, 30), clip=st.sampled_from([0.05, 0.5, 0.9, 3.0]))
def test_rlol_ends_by_the_same_law_with_rewards_for_advantages(data, arms, clip):
    """The advantages of another world as rewards: A-LoL's end there."""
    world = data.draw(strategies.bandits_with_reward(arms, arms, smallest=1e-3))
    r, mu = gain(world), data.draw(strategies.behaviors(arms, smallest=1e-3))
    rewarded = b.Bandit(r, reference=world.reference)
    found, (only,) = limit(b.RLoL(clip), rewarded, b.Offline(mu)), candidates(world, mu, clip)
    assert_allclose(found, only, rtol=0, atol=1e-12)
    assert_allclose(found, limit(b.ALoL(clip), world, b.Offline(mu)), rtol=0, atol=1e-12)


@EXAMPLES
@given(data=st.data(), arms=st.integers(2, 30))
def test_without_a_clip_it_is_weighted_behaviour_cloning(data, arms):
    """clip = 0, r > 0: D r / Z, where all is at rest; so does AsymRE with V = 0."""
    world = data.draw(strategies.bandits_with_reward(arms, arms, smallest=1e-3))
    world = b.Bandit(world.reward - world.reward.min() + 0.1, reference=world.reference)
    D = data.draw(strategies.behaviors(arms, smallest=1e-3))
    found = b.fixed_point(b.RLoL(clip=0), world, b.Offline(D))
    assert found.unique and found.face is None and found.residual < 1e-13 * world.reward.max()
    assert_allclose(found.policy, D * world.reward / (D @ world.reward), rtol=1e-13)
    assert_allclose(b.fixed_point(b.AsymRE(), world, b.Offline(D)).policy, found.policy, rtol=0, atol=1e-14)


def test_equal_rewards_clone_who_sampled():
    """All u = Z: with clip = 0 no start decides; with one, what the clip lets free rests."""
    world = b.Bandit([0.5, 0.5, 0.5], reference=[0.2, 0.3, 0.5])
    assert_allclose(b.fixed_point(b.RLoL(0), world, b.Offline([0.2, 0.3, 0.5])).policy, [0.2, 0.3, 0.5])
    free = b.fixed_point(b.RLoL(), world, b.Offline([0.2, 0.3, 0.5]), [0.3, 0.3, 0.4])
    assert free.stable is None and free.message.startswith("continuum")
    assert_allclose(free.policy, [0.3, 0.3, 0.4])


def test_negative_rewards_push_for_ever_unless_the_weight_goes_with_the_policy():
    """clip = 0 is AsymRE with V = 0 (T13.7); clip >= 1 lets them go quietly."""
    world, D = b.Bandit([1.0, 0.9, 0.8, -0.5]), b.Offline([0.4, 0.3, 0.2, 0.1])
    pulled = b.fixed_point(b.RLoL(0), world, D)
    assert_allclose(pulled.policy, b.fixed_point(b.AsymRE(), world, D).policy, rtol=0, atol=0)
    assert_allclose(pulled.policy, motion(b.RLoL(0), world, D, world.reference, 1e4), rtol=0, atol=1e-8)
    loose = limit(b.RLoL(1.5), world, D)
    assert_allclose(loose, motion(b.RLoL(1.5), world, D, world.reference, 1e5), rtol=0, atol=1e-3)
    with pytest.raises(b.NoFixedPoint, match="on its own samples nothing keeps RLoL from gathering"):
        b.fixed_point(b.RLoL(), world, b.OnPolicy())
