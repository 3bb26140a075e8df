"""Laws of the sampling laws: each quantity against its definition, summed over all groups by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from independent_solvers import connected
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit

from bandits import Bandit, CoPG
from bandits.sampling.laws import Joint, Labelled, Product
from bandits.testing import strategies

SIZES = st.integers(2, 6)


@st.composite
def products(draw, arms: int, k: int | None = None, contexts=()) -> Product:
    """k = 2 with one or two behaviours, or more arms; some behaviours have zeros."""
    k = draw(st.integers(2, 4)) if k is None else k
    mus = [
        draw(st.one_of(strategies.behaviors(arms, contexts), strategies.partial_policies(arms, contexts)))
        for _ in range(draw(st.sampled_from([1, k])))
    ]
    return Product(tuple(mus) * (k // len(mus)))


@st.composite
def joint_laws(draw, arms: int, contexts=()) -> Joint:
    """With and without zeros."""
    joint = draw(strategies.joints(arms, contexts))
    if draw(st.booleans()):
        joint = joint * (draw(strategies.generators(3)).random(joint.shape) < 0.4)
        joint[..., 0, 1] += 0.1
    return Joint(joint / joint.sum(axis=(-2, -1), keepdims=True))


@st.composite
def labelled_laws(draw, arms: int) -> Labelled:
    return draw(strategies.datasets(arms)).law(CoPG(1.0), Bandit(np.zeros(arms)), np.zeros(arms))


def any_law(arms: int) -> st.SearchStrategy:
    return st.one_of(products(arms), joint_laws(arms), labelled_laws(arms))


def pair_law(arms: int) -> st.SearchStrategy:
    return st.one_of(products(arms, 2), joint_laws(arms), labelled_laws(arms))


def groups(law):
    """All groups of arms with their probabilities: (n, k), (..., n)."""
    arms, weight = zip(*law.tuples(), strict=True)
    return np.concatenate(arms), np.concatenate(weight, axis=-1)


def sampling_graph(law, arms: int) -> np.ndarray:
    """S(y, y') = how often y and y' meet, over all ordered pairs of places, by hand, (..., A, A)."""
    S = 0.0
    for group, weight in zip(*(groups(law)[0], np.moveaxis(groups(law)[1], -1, 0)), strict=True):
        for i in range(law.k):
            for j in range(law.k):
                if i != j:
                    unit = np.zeros((arms, arms))
                    unit[group[i], group[j]] = 1
                    S = S + np.asarray(weight)[..., None, None] * unit
    return S


def label(law, bandit) -> np.ndarray:
    """p(first of a listed pair wins) of all pairs (A, A)."""
    return bandit.preference if law.labels is None else np.ones((bandit.arms, bandit.arms))


def wins_by_hand(law, bandit) -> np.ndarray:
    """How often y meets y' and beats it, (A, A)."""
    N, p = np.zeros((bandit.arms, bandit.arms)), label(law, bandit)
    for (i, j), weight in zip(*groups(law), strict=True):
        N[i, j] += weight * p[i, j]
        N[j, i] += weight * (1 - p[i, j])
    return N


@given(data=st.data(), arms=SIZES)
def test_probabilities_of_all_groups_sum_to_one(data, arms):
    law = data.draw(any_law(arms))
    tuples, weight = groups(law)
    assert tuples.shape[-1] == law.k
    assert_allclose(weight.sum(axis=-1), 1, rtol=1e-13)


@given(data=st.data(), arms=SIZES)
def test_blocks_of_any_size_hold_the_same_groups(data, arms):
    law = data.draw(any_law(arms))
    small = list(law.tuples(block=3))
    assert max(len(block) for block, _ in small) <= 3
    for one, all_ in zip(zip(*small, strict=True), groups(law), strict=True):
        assert_array_equal(np.concatenate(one, axis=-1 if one[0].ndim == 1 else 0), all_)


@given(data=st.data(), arms=SIZES)
def test_marginals_are_those_of_the_groups(data, arms):
    law = data.draw(any_law(arms))
    tuples, weight = groups(law)
    by_hand = [np.bincount(tuples[:, i], weight, arms) for i in range(law.k)]
    assert_allclose(np.stack(law.place_behavior()), by_hand, rtol=0, atol=1e-15)
    assert_allclose(law.behavior, np.mean(by_hand, axis=0), rtol=0, atol=1e-15)
    resampled = law.resampled()
    assert_allclose(np.stack(resampled.place_behavior()), [law.behavior] * 2, rtol=0, atol=0)


@given(data=st.data(), arms=SIZES)
def test_the_laplacian_is_that_of_the_sampling_graph(data, arms):
    """L = diag(S 1) - S, from every group by hand (T3.2); in O(A) for independent arms."""
    law, x = data.draw(any_law(arms)), data.draw(strategies.rewards(arms))
    S = sampling_graph(law, arms)
    L = np.diag(S.sum(axis=1)) - S
    assert_allclose(law.laplacian(x), L @ x, rtol=0, atol=1e-13 * np.abs(x).max())


@given(data=st.data(), arms=SIZES)
def test_what_pulls_up_pulls_down_by_as_much(data, arms):
    law, x = data.draw(any_law(arms)), data.draw(strategies.rewards(arms))
    assert_allclose(law.laplacian(x).sum(), 0, atol=1e-13 * np.abs(x).max())
    assert x @ law.laplacian(x) >= -1e-13 * np.abs(x).max() ** 2  # positive semi-definite
    assert_allclose(law.laplacian(np.full(arms, 7.0)), 0, atol=1e-13)


@given(data=st.data(), arms=st.integers(3, 6))
def test_an_arm_that_is_not_sampled_does_not_pull_even_from_infinity(data, arms):
    law, x = data.draw(any_law(arms)), data.draw(strategies.rewards(arms))
    unseen = law.behavior == 0
    far = np.where(unseen, np.inf, x)
    assert_array_equal(law.laplacian(far), law.laplacian(np.where(unseen, 0.0, x)))
    assert (law.laplacian(far)[unseen] == 0).all()


@given(data=st.data(), arms=SIZES)
def test_components_are_the_arms_that_hang_together(data, arms):
    law = data.draw(any_law(arms))
    labels = law.components(arms)
    assert_array_equal(labels[:, None] == labels, connected(sampling_graph(law, arms)))


@given(data=st.data(), arms=SIZES)
def test_the_preference_flow_sums_what_is_won_beyond_a_half(data, arms):
    """sum_y' S(y, y') (P(y, y') - 1/2); half of the wins less half of the losses for labels (T4.3)."""
    law, bandit = data.draw(pair_law(arms)), data.draw(strategies.bandits_with_preference(arms, arms))
    N = wins_by_hand(law, bandit)
    assert_allclose(law.preference_flow(bandit), (N - N.T).sum(axis=1) / 2, rtol=0, atol=1e-14)


@given(data=st.data(), arms=SIZES)
def test_the_ranking_is_the_potential_of_the_preference_flow(data, arms):
    """L x = flow; nothing moves where nothing is compared (T4.3)."""
    law, bandit = data.draw(pair_law(arms)), data.draw(strategies.bandits_with_preference(arms, arms))
    x = law.ranking(bandit)
    assert_allclose(law.laplacian(x), law.preference_flow(bandit), rtol=0, atol=1e-14)
    alone = connected(sampling_graph(law, arms)).sum(axis=1) == 1
    assert_allclose(x[alone], 0, atol=0)


def test_a_ranking_keeps_its_digits_across_a_weak_link():
    """Two tight pairs, linked by 1e-13: x_0 - x_1 = .3, x_2 - x_3 = .4, x_1 - x_2 = -.2 by hand."""
    P = np.full((4, 4), 0.5)
    for (i, j), margin in {(0, 1): 0.3, (2, 3): 0.4, (1, 2): -0.2}.items():
        P[i, j], P[j, i] = 0.5 + margin, 0.5 - margin
    W = np.zeros((4, 4))
    W[0, 1], W[2, 3], W[1, 2] = 0.5, 0.5 - 1e-13, 1e-13
    x = Joint(W).ranking(Bandit(preference=P))
    assert_allclose(x[:-1] - x[1:], [0.3, -0.2, 0.4], rtol=1e-13)


@given(data=st.data(), arms=SIZES)
def test_wins_count_how_often_one_beat_the_other(data, arms):
    law, bandit = data.draw(pair_law(arms)), data.draw(strategies.bandits_with_preference(arms, arms))
    wins = law.wins(bandit)
    dense = wins.toarray() if isinstance(law, Labelled) else wins
    by_hand = wins_by_hand(law, bandit)
    np.fill_diagonal(by_hand, 0)  # an arm against itself: never counted twice alike
    np.fill_diagonal(dense, 0)
    assert_allclose(dense, by_hand, rtol=0, atol=1e-15)


@given(
    data=st.data(), arms=SIZES, smoothing=st.sampled_from([0.0, 0.2]), spread=st.sampled_from([1.0, 400.0])
)
def test_the_surplus_is_what_is_won_beyond_what_strengths_predict(data, arms, smoothing, spread):
    """sum_y' N(y, y') sigma(x' - x) - N(y', y) sigma(x - x'), with and without overflow of exp(x) (T5.2)."""
    law, bandit = data.draw(pair_law(arms)), data.draw(strategies.bandits_with_preference(arms, arms))
    x = spread * data.draw(strategies.rewards(arms, scale=1.0))
    N = wins_by_hand(law, bandit)
    N = (1 - smoothing) * N + smoothing * N.T
    gap = x[:, None] - x
    by_hand = (N * expit(-gap) - N.T * expit(gap)).sum(axis=1)
    assert_allclose(law.likelihood_gradient(bandit, x, smoothing), by_hand, rtol=0, atol=1e-14)


def test_a_surplus_of_certain_wins_keeps_its_digits():
    """p = 1 and x - x' = 50: the surplus is S sigma(-50), far below the rounding of 1 - sigma(50)."""
    bandit = Bandit(preference=[[0.5, 1.0], [0.0, 0.5]])
    surplus = Product((np.array([0.4, 0.6]),) * 2).likelihood_gradient(bandit, np.array([50.0, 0.0]))
    assert_allclose(surplus, np.array([1, -1]) * 2 * 0.4 * 0.6 * np.exp(-50), rtol=1e-14)


@settings(max_examples=30)
@given(data=st.data(), arms=st.integers(2, 4))
def test_contexts_of_a_law_are_laws_of_their_own(data, arms):
    """Leading axes of law, world and vector broadcast: every answer is that of the context alone."""
    law = data.draw(st.one_of(products(arms, 2, (2, 1)), joint_laws(arms, (2, 1)), labelled_laws(arms)))
    bandit = Bandit(preference=data.draw(strategies.preferences(arms, (3,))))
    x = data.draw(strategies.rewards(arms, (2, 3)))
    for i, j in np.ndindex(2, 3):
        one, here = _at(law, i), bandit.at((j,))
        for together, alone in [
            (law.laplacian(x), one.laplacian(x[i, j])),
            (law.likelihood_gradient(bandit, x), one.likelihood_gradient(here, x[i, j])),
            (law.preference_flow(bandit), one.preference_flow(here)),
            (law.ranking(bandit), one.ranking(here)),
            (law.behavior, one.behavior),
            (law.components(arms), one.components(arms)),
        ]:
            whole = np.broadcast_to(together, (2, 3, arms))
            assert_allclose(whole[i, j], alone, rtol=0, atol=1e-14 * (1 + np.abs(alone).max()))


def _at(law, i: int):
    if isinstance(law, Product):
        return Product(tuple(m[i, 0] for m in law.marginals))
    return Joint(law.pairs[i, 0]) if isinstance(law, Joint) else law


@given(data=st.data(), arms=SIZES)
def test_all_pairs_are_covered_if_no_pair_that_matters_is_missing(data, arms):
    law = data.draw(pair_law(arms))
    among = data.draw(strategies.partial_policies(arms)) > 0
    met = (sampling_graph(law, arms) > 0) | np.eye(arms, dtype=bool)
    assert law.covers_all_pairs(among) == met[np.ix_(among, among)].all()


@given(data=st.data(), arms=SIZES)
def test_the_preference_of_a_data_set_is_its_share_of_wins(data, arms):
    law = data.draw(labelled_laws(arms))
    P, N = law.preference(), law.wins(Bandit(np.zeros(arms))).toarray()
    assert_allclose(P + P.T, 1, rtol=1e-15)
    assert_allclose(P * (N + N.T), N, rtol=0, atol=1e-16)
    assert (P[(N + N.T) == 0] == 0.5).all()


def test_only_pairs_have_preferences():
    law, bandit = Product((np.array([0.4, 0.6]),) * 3), Bandit([1.0, 0.0])
    for question in (law.preference_flow, law.ranking, law.wins):
        with pytest.raises(ValueError, match="compare pairs, but this law draws groups of k = 3"):
            question(bandit)
