"""Maps of policies: best of n, best against worst, what is not rejected, BOND (T9.2, T9.3, T13.18)."""

from __future__ import annotations

import itertools
import math
import re
from functools import partial

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import bandits as b
from bandits.policy import kl
from bandits.selection import (
    above,
    acceptance_rates,
    best_of_n,
    best_versus_worst,
    bond,
    bond_inclusive,
    bond_mid,
    first_accepted,
    log_best_of_n,
    raft,
)
from bandits.testing import strategies

EXAMPLES = settings(max_examples=25)
REWARD, REFERENCE = np.array([1.0, 0.6, 0.2, 0.0]), np.array([0.1, 0.2, 0.3, 0.4])  # E's r of chapter T13


@st.composite
def worlds(draw, most: int = 5, smallest: float = 1e-4):
    """Rewards with ties, and an uneven reference that may miss an arm."""
    arms = draw(st.integers(2, most))
    reward = np.array(draw(st.lists(st.sampled_from([-2.0, 0.3, 0.7, 5.0]), min_size=arms, max_size=arms)))
    reference = draw(strategies.references(arms, smallest=smallest))
    if draw(st.booleans()) and arms > 2:
        reference = np.where(np.arange(arms) == draw(st.integers(0, arms - 1)), 0, reference)
    return reward, reference / reference.sum()


def pairs_by_hand(reward, reference, n: int, coincide: float) -> np.ndarray:
    """P(best = a, worst = b), group by group: ties are broken by chance."""
    found = np.zeros((len(reward), len(reward)))
    for group in itertools.product(range(len(reward)), repeat=n):
        arms, values = np.array(group), reward[list(group)]
        best, worst = (np.flatnonzero(values == edge(values)) for edge in (np.max, np.min))
        weight = np.prod(reference[arms])
        for i, j in itertools.product(best, worst):
            share = 1 / (len(best) * len(worst))
            if np.ptp(values) == 0:
                share = coincide / n if i == j else (1 - coincide) / (n * (n - 1))
            found[arms[i], arms[j]] += weight * share
    return found


# ---- the best of n (T9.2) ---------------------------------------------------------------------------------


@EXAMPLES
@given(world=worlds(), n=st.integers(2, 4))
def test_the_best_of_n_is_what_all_groups_say(world, n):
    found = best_of_n(*world, n)
    assert_allclose(found, pairs_by_hand(*world, n, 0.0).sum(axis=1), rtol=1e-13, atol=1e-16)


@settings(max_examples=10)
@given(world=worlds(6, smallest=1e-12), n=st.integers(1, 10**6))
def test_no_digit_is_lost_of_rare_arms_and_of_many_samples(world, n):
    """(F^n - F-^n) ref / (F - F-) with 40 digits."""
    reward, reference = world
    with mpmath.workdps(40):
        ref = [mpmath.mpf(float(p)) for p in reference]
        ref = [p / mpmath.fsum(ref) for p in ref]
        law = []
        for r, p in zip(reward, ref, strict=True):
            below = mpmath.fsum(q for q, s in zip(ref, reward, strict=True) if s < r)
            own = mpmath.fsum(q for q, s in zip(ref, reward, strict=True) if s == r)
            law.append(p / own * ((below + own) ** n - below**n) if p else mpmath.mpf(0))
        exact = [float(mpmath.log(x)) if x else -np.inf for x in law]
    found, exact = log_best_of_n(reward, reference, n), np.array(exact)
    assert_array_equal(np.isneginf(found), np.isneginf(exact))
    alive = np.isfinite(found)
    miss = np.abs(found[alive] - exact[alive])
    assert (miss <= 4e-15 * (1 - exact[alive])).all()  # a few roundings, of numbers of this size


@EXAMPLES
@given(world=worlds(8), n=st.integers(1, 50))
def test_its_divergence_is_at_most_that_without_ties(world, n):
    """KL <= log n - (n - 1)/n  (Beirami et al. 2024)."""
    reward, reference = world
    with np.errstate(divide="ignore"):
        divergence = kl(log_best_of_n(reward, reference, n), np.log(reference))
    assert divergence <= math.log(n) - (n - 1) / n + 1e-14


def test_the_bound_is_reached_where_nobody_ties():
    """10 000 arms of different rewards: an arm's mass, 1e-4, is how far from it n = 4 may stay."""
    arms, n = 10_000, 4
    even = np.full(arms, 1 / arms)
    divergence = kl(log_best_of_n(np.arange(arms), even, n), np.log(even))
    assert_allclose(divergence, math.log(n) - (n - 1) / n, rtol=0, atol=n / arms)


@EXAMPLES
@given(world=worlds(6), n=st.integers(1, 4), rounds=st.integers(0, 4))
def test_raft_is_the_best_of_n_of_the_best_of_n(world, n, rounds):
    reward, policy = world
    for _ in range(rounds):
        policy = best_of_n(reward, policy, n)
    assert_allclose(raft(*world, n, rounds), policy, rtol=1e-11, atol=1e-16)


# ---- best against worst (T9.2) ----------------------------------------------------------------------------


@EXAMPLES
@given(world=worlds(), n=st.integers(2, 4), coincide=st.sampled_from([0.0, 0.25, 1.0]))
def test_best_against_worst_is_what_all_groups_say(world, n, coincide):
    found = best_versus_worst(*world, n, coincide=coincide)
    assert_allclose(found, pairs_by_hand(*world, n, coincide), rtol=1e-13, atol=1e-16)


@EXAMPLES
@given(world=worlds(8), n=st.integers(2, 40), coincide=st.sampled_from([0.0, 0.25, 1.0]))
def test_its_sides_are_the_best_and_the_worst_and_it_is_a_law_of_pairs(world, n, coincide):
    reward, reference = world
    joint = best_versus_worst(reward, reference, n, coincide=coincide)
    assert_allclose(joint.sum(axis=1), best_of_n(reward, reference, n), rtol=0, atol=1e-14)
    assert_allclose(joint.sum(axis=0), best_of_n(-reward, reference, n), rtol=0, atol=1e-14)
    assert (b.Pairs(joint).joint >= 0).all()


@EXAMPLES
@given(world=worlds(8), n=st.integers(2, 40))
def test_the_four_powers_of_the_theory(world, n):
    """Inclusion and exclusion, where r(a) > r(b)."""
    reward, ref = world
    found = best_versus_worst(reward, ref, n)  # each of four powers rounds n times
    below = np.array([ref[reward < r].sum() for r in reward])
    own = np.array([ref[reward == r].sum() for r in reward])
    for a, c in itertools.product(range(len(reward)), repeat=2):
        if reward[a] > reward[c] and ref[a] * ref[c] > 0:
            F_a, F_b = below[a] + own[a], below[c] + own[c]
            powers = (F_a - below[c]) ** n - (below[a] - below[c]) ** n - (F_a - F_b) ** n
            powers += max(below[a] - F_b, 0.0) ** n
            assert_allclose(
                found[a, c], powers * ref[a] * ref[c] / (own[a] * own[c]), rtol=0, atol=5e-16 * n + 1e-15
            )
        elif reward[a] < reward[c]:
            assert found[a, c] == 0


def test_where_the_four_powers_cancel_no_digit_is_lost():
    """Two arms of mass 1e-9 at the ends: n (n - 1) 1e-18 to first order, and nothing is negative."""
    reference = np.array([1e-9, 1 - 2e-9, 1e-9])
    found = best_versus_worst([1.0, 0.5, 0.0], reference, 5)[0, 2]
    assert_allclose(found, 20e-18 * (1 - 2e-9) ** 3, rtol=1e-8)  # the next order is 1e-9


# ---- rejection (T9.3) -------------------------------------------------------------------------------------


@EXAMPLES
@given(world=worlds(6), beta=strategies.betas(0.05, 20), lower=st.sampled_from([0.0, 0.5, 3.0]))
def test_the_first_accepted_is_what_trial_after_trial_gives(world, beta, lower):
    """Try after try until one is accepted: accept(y) sum_t (1 - rate)^t; with the largest reward pi*."""
    reward, reference = world
    top = reward[reference > 0].max() - lower
    accept = np.minimum(1, np.exp((reward - top) / beta))
    tries = (1 - reference @ accept) ** np.arange(2000)
    tail = (1 - reference @ accept) ** 2000 / (reference @ accept)
    by_hand = reference * accept * (tries.sum() + tail)
    found = first_accepted(reward, reference, beta, top=top)
    assert_allclose(found, by_hand, rtol=1e-11, atol=1e-300)
    assert_allclose(acceptance_rates(reward, reference, [beta], top=top), [reference @ accept], rtol=1e-13)
    best = b.Bandit(reward, reference=reference).optimal_policy(beta)
    assert_allclose(first_accepted(reward, reference, beta), best, rtol=1e-12, atol=1e-300)
    far = np.abs(found - best).max()
    assert far < 1e-13 or lower > 0


def test_the_largest_reward_of_a_batch_is_another_law():
    """Two candidates, accepted against the larger of their rewards: the sure one is too often bad."""
    accepted = np.zeros(4)
    for i, j in itertools.product(range(4), repeat=2):
        top = max(REWARD[i], REWARD[j])
        for arm in (i, j):
            accepted[arm] += REFERENCE[i] * REFERENCE[j] * math.exp((REWARD[arm] - top) / 0.5)
    best = first_accepted(REWARD, REFERENCE, 0.5)
    assert np.abs(accepted / accepted.sum() - best).sum() / 2 > 0.1
    assert_allclose(best, b.Bandit(REWARD, reference=REFERENCE).optimal_policy(0.5), rtol=1e-13)


@EXAMPLES
@given(world=worlds(6), betas=st.lists(st.sampled_from([8.0, 3.0, 1.5, 0.7, 0.4]), min_size=1, unique=True))
def test_many_steps_accept_as_many_as_one_and_arrive_where_it_does(world, betas):
    """Each step rejects from where the last arrived: 1/beta_i - 1/beta_{i-1} is its own 1/beta."""
    reward, policy = world
    betas = sorted(betas, reverse=True)
    rates = acceptance_rates(*world, betas)
    assert_allclose(rates.prod(), acceptance_rates(*world, betas[-1:])[0], rtol=1e-13)
    for i, beta in enumerate(betas):
        step = 1 / (1 / beta - (1 / betas[i - 1] if i else 0.0))
        accept = np.exp((reward - reward[policy > 0].max()) / step)
        assert_allclose(rates[i], policy @ accept, rtol=1e-12)
        policy = first_accepted(reward, policy / policy.sum(), step)
    assert_allclose(policy, b.Bandit(reward, reference=world[1]).optimal_policy(betas[-1]), rtol=1e-11)


@EXAMPLES
@given(world=worlds(6))
def test_a_threshold_conditions_the_reference(world):
    reward, reference = world
    for line in np.unique(reward[reference > 0]):
        kept = reference * (reward >= line)
        assert_allclose(above(reward, reference, float(line)), kept / kept.sum(), rtol=1e-14)


def test_a_threshold_that_rejects_everything_is_refused():
    rule = (
        "largest reward of the reference's arms must be at least the threshold 2, or every sample is rejected"
    )
    with pytest.raises(ValueError, match=rule) as refusal:
        above([REWARD, REWARD + 5], REFERENCE, 2.0)
    assert "[0" in str(refusal.value) and "choose a lower threshold" in str(refusal.value)
    with pytest.raises(ValueError, match=re.escape("betas must fall")):
        acceptance_rates(REWARD, REFERENCE, [0.5, 0.5])
    with pytest.raises(ValueError, match="n must be"):
        best_of_n(REWARD, REFERENCE, 0)
    with pytest.raises(ValueError, match="n must be"):
        best_versus_worst(REWARD, REFERENCE, 1)


# ---- BOND (T13.18) ----------------------------------------------------------------------------------------


@EXAMPLES
@given(world=worlds(8, smallest=1e-9), n=st.integers(1, 200))
def test_bonds_reward_has_the_best_of_n_as_its_optimum(world, n):
    reward, reference = world
    found = b.Bandit(bond(reward, reference, n), reference=reference).optimal_policy(beta=1.0)
    assert_allclose(found, best_of_n(reward, reference, n), rtol=1e-11, atol=1e-300)


def test_any_algorithm_distils_the_best_of_n_from_it():
    world = b.Bandit(bond(REWARD, REFERENCE, 4), reference=REFERENCE)
    found = b.fixed_point(b.CoPG(1.0), world, b.Offline([0.4, 0.1, 0.2, 0.3]))
    assert_allclose(found.policy, best_of_n(REWARD, REFERENCE, 4), rtol=0, atol=1e-12)


def test_the_numbers_of_the_theory():
    """T13.18."""
    two = best_of_n(REWARD, REFERENCE, 2)
    assert_allclose(two, [0.19, 0.32, 0.33, 0.16], rtol=0, atol=1e-15)

    def optimum(score) -> np.ndarray:
        return b.Bandit(score, reference=REFERENCE).optimal_policy(1.0)

    mid, inclusive = (optimum(form(REWARD, REFERENCE, 2)) for form in (bond_mid, bond_inclusive))
    assert_allclose(mid, two, rtol=0, atol=1e-15)
    assert_allclose(inclusive, [0.153846, 0.276923, 0.323077, 0.246154], rtol=0, atol=5e-7)
    assert_allclose(kl(np.log(inclusive), np.log(two)), 0.0267, rtol=0, atol=5e-5)
    for n, size in ((3, 0.0022), (4, 0.0049), (8, 0.0057)):
        near = optimum(bond_mid(REWARD, REFERENCE, n))
        distance = kl(log_best_of_n(REWARD, REFERENCE, n), np.log(near))
        assert_allclose(distance, size, rtol=0, atol=5e-5)


# ---- the border -------------------------------------------------------------------------------------------


MAPS = (
    partial(best_of_n, n=3),
    partial(best_versus_worst, n=3),
    partial(bond, n=3),
    partial(first_accepted, beta=0.5),
    partial(acceptance_rates, betas=[2.0, 1.0]),
    partial(above, threshold=0.1),
)


@pytest.mark.parametrize("of", MAPS, ids=lambda of: of.func.__name__)
def test_contexts_are_chosen_in_each_as_if_it_were_alone(of):
    rng = np.random.default_rng(3)
    reward, reference = rng.normal(size=(3, 4)).round(0), rng.dirichlet(np.ones(4), size=(2, 1))
    kept = reward.copy(), reference.copy()
    reward[:, 0] = 1.0  # for the threshold
    kept[0][:, 0] = 1.0
    together = of(reward, reference)
    for i, j in np.ndindex(2, 3):
        assert_allclose(together[i, j], of(reward[j], reference[i, 0]), rtol=1e-14)
    assert_array_equal(reward, kept[0])
    assert_array_equal(reference, kept[1])
