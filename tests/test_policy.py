"""Laws of the simplex in log space; second routes: the definition in probabilities, and mpmath."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from bandits.policy import entropy, kl, log_policy_of, log_ratio, mixture, tilt
from bandits.testing import strategies

EXAMPLES = settings(max_examples=50)
ARMS = st.integers(2, 50)


@st.composite
def two_policies(draw):
    """Logs of two policies with the same arms, down to 1e-12."""
    arms = draw(ARMS)
    p = draw(strategies.policies(arms, smallest=1e-12))
    return np.log(p), np.log(draw(strategies.references(arms)))


@st.composite
def two_partial_policies(draw):
    """Logs of two policies with zeros, where the first lives inside the support of the second."""
    arms = draw(st.integers(3, 8))
    q = draw(strategies.partial_policies(arms))
    p = q * draw(strategies.policies(arms))
    return log_policy_of(p), log_policy_of(q)


# ---- tilt -------------------------------------------------------------------------------------------------


@EXAMPLES
@given(two_policies(), strategies.betas(), st.data())
def test_tilt_multiplies_odds_by_the_exponential_of_the_score_gap(pair, beta, data):
    """log odds of the tilt = log odds of the reference + score gap / beta; and it is normalised."""
    log_ref, _ = pair
    score = data.draw(strategies.rewards(len(log_ref)))
    found = tilt(log_ref, score, beta)
    assert_allclose(np.exp(found).sum(), 1, rtol=1e-14)
    gaps = (log_ref - log_ref[0]) + (score - score[0]) / beta
    assert_allclose(found - found[0], gaps, rtol=1e-13, atol=1e-13 * np.abs(score).max() / beta)


@EXAMPLES
@given(two_policies(), strategies.betas(), st.floats(-1e3, 1e3), st.data())
def test_tilt_does_not_see_a_constant(pair, beta, constant, data):
    """The shifted score is rounded to 1e-16 of its size, which 1 / beta magnifies: hence the tolerance."""
    log_ref, _ = pair
    score = data.draw(strategies.rewards(len(log_ref)))
    size = (np.abs(score).max() + abs(constant)) / beta
    assert_allclose(
        tilt(log_ref, score + constant, beta), tilt(log_ref, score, beta), atol=1e-15 * size + 1e-13
    )


@EXAMPLES
@given(two_policies(), strategies.betas(), st.data())
def test_two_tilts_are_one(pair, beta, data):
    """Exponential tilts by f and by g compose to the tilt by f + g."""
    log_ref, _ = pair
    f, g = (data.draw(strategies.rewards(len(log_ref))) for _ in range(2))
    twice, once = tilt(tilt(log_ref, f, beta), g, beta), tilt(log_ref, f + g, beta)
    assert_allclose(twice, once, atol=1e-14 * (np.abs(f).max() + np.abs(g).max()) / beta + 1e-13)


@EXAMPLES
@given(two_partial_policies(), strategies.betas(), st.data())
def test_tilt_keeps_the_support_whatever_the_score_outside(pair, beta, data):
    """An arm that the reference does not support neither gains mass nor swallows the others'."""
    _, log_ref = pair
    score = data.draw(strategies.rewards(len(log_ref)))
    outside = np.isneginf(log_ref)
    found = tilt(log_ref, np.where(outside, score + 1e6, score), beta)
    assert_array_equal(np.isneginf(found), outside)
    inside = tilt(log_ref[~outside], score[~outside], beta)
    assert_allclose(found[~outside], inside, atol=1e-13 * (1 + np.abs(score).max() / beta))


# ---- mixture ----------------------------------------------------------------------------------------------


@EXAMPLES
@given(two_policies(), st.floats(0, 1))
def test_mixture_is_the_weighted_geometric_mean(pair, weight):
    log_p, log_q = pair
    product = np.exp(log_p) ** (1 - weight) * np.exp(log_q) ** weight
    assert_allclose(np.exp(mixture(log_p, log_q, weight)), product / product.sum(), rtol=1e-12)


@EXAMPLES
@given(two_partial_policies())
def test_mixture_ends_at_its_parts_exactly(pair):
    log_p, log_q = pair
    assert_array_equal(mixture(log_p, log_q, 0), log_p)
    assert_array_equal(mixture(log_p, log_q, 1), log_q)
    assert_array_equal(np.isneginf(mixture(log_p, log_q, 0.3)), np.isneginf(log_p))


@EXAMPLES
@given(two_policies(), st.floats(0, 1))
def test_mixture_minimises_the_weighted_sum_of_divergences(pair, weight):
    """m = argmin (1-w) KL(m || p) + w KL(m || q), whose minimum is -log sum p^(1-w) q^w.

    Substitute log m = (1-w) log p + w log q - log Z: the weighted sum is E_m[log m - (1-w) log p - w log q]
    = -log Z, and any other m' adds KL(m' || m).
    """
    log_p, log_q = pair
    m, other = mixture(log_p, log_q, weight), mixture(log_p, log_q, weight / 2)

    def cost(x):
        return (1 - weight) * kl(x, log_p) + weight * kl(x, log_q)

    log_Z = np.log(np.exp((1 - weight) * log_p + weight * log_q).sum())
    assert_allclose(cost(m), -log_Z, rtol=1e-11, atol=1e-13)
    assert_allclose(cost(other), cost(m) + kl(other, m), rtol=1e-11, atol=1e-13)


# ---- divergence and entropy -------------------------------------------------------------------------------


@EXAMPLES
@given(two_policies())
def test_kl_equals_its_definition(pair):
    """Against 50 digits: sum p log p/q of the renormalised doubles."""
    log_p, log_q = pair
    with mp.workdps(50):
        p, q = (_normalised(np.exp(x)) for x in pair)
        by_definition = mp.fsum(a * mp.log(a / c) for a, c in zip(p, q, strict=True))
    found = kl(log_policy_of(np.exp(log_p)), log_policy_of(np.exp(log_q)))
    assert_allclose(float(found), float(by_definition), rtol=1e-12, atol=1e-15)


@EXAMPLES
@given(two_policies())
def test_kl_is_zero_only_at_equality(pair):
    """Pinsker: KL >= |p - q|_1^2 / 2."""
    log_p, log_q = pair
    assert kl(log_p, log_p) == 0
    distance = np.abs(np.exp(log_p) - np.exp(log_q)).sum()
    assert kl(log_p, log_q) >= distance**2 / 2 * (1 - 1e-12) > 0


@EXAMPLES
@given(two_policies())
def test_kl_is_not_symmetric(pair):
    """The swapped divergence is another number: a test that passes with either would test nothing."""
    log_p, log_q = pair
    assert abs(kl(log_p, log_q) - kl(log_q, log_p)) > 1e-9 * kl(log_p, log_q)


@pytest.mark.parametrize("size", [1e-3, 1e-5, 1e-7, 1e-9])
def test_small_divergences_keep_their_digits(size):
    """KL(p || p (1 + e)) = sum p e^2 / 2 (1 + O(e)) for sum p e = 0; for e = 1e-9 that is 1e-19.

    Naive summation of p log p/q has rounding errors of 1e-16.  Here u = log p/q carries a relative error of
    1e-16 / e, which the square doubles.
    """
    p = np.array([0.1, 0.3, 0.6])
    e = size * np.array([3.0, 1.0, -1.0])
    with mp.workdps(60):
        exact = mp.fsum(mp.mpf(a) * mp.log(mp.mpf(a) / c) for a, c in zip(p, p * (1 + e), strict=True))
        total = mp.fsum(p * (1 + e)) - mp.fsum(p)
        exact = float(exact + total)
    found = float(kl(np.log(p), np.log(p * (1 + e))))
    assert_allclose(found, exact, rtol=20 * 1e-16 / size + 1e-12)


@EXAMPLES
@given(two_partial_policies())
def test_kl_counts_only_what_p_supports_and_is_infinite_outside_q(pair):
    log_p, log_q = pair
    inside = np.isfinite(log_p)
    p, q = np.exp(log_p[inside]), np.exp(log_q[inside])
    assert_allclose(kl(log_p, log_q), (p * np.log(p / q)).sum(), rtol=1e-11, atol=1e-14)
    elsewhere = np.where(np.isneginf(log_q), 0.0, -np.inf)
    if np.isfinite(elsewhere).any():
        assert kl(elsewhere - np.log(np.isfinite(elsewhere).sum()), log_q) == np.inf


@EXAMPLES
@given(two_policies())
def test_entropy_is_the_log_of_the_arms_less_the_divergence_from_uniform(pair):
    """H(p) = log A - KL(p || uniform)."""
    log_p, _ = pair
    arms = len(log_p)
    assert_allclose(entropy(log_p), np.log(arms) - kl(log_p, np.full(arms, -np.log(arms))), atol=1e-13)


def test_entropy_of_certainty_is_zero():
    assert entropy(np.array([0.0, -np.inf])) == 0


def test_log_ratio_is_zero_where_neither_has_mass():
    log_p, log_q = np.array([-1.0, -2.0, -np.inf, -np.inf]), np.array([-3.0, -np.inf, -4.0, -np.inf])
    assert_array_equal(log_ratio(log_p, log_q), [2.0, np.inf, -np.inf, 0.0])


def _normalised(p):
    exact = [mp.mpf(float(x)) for x in p]
    total = mp.fsum(exact)
    return [x / total for x in exact]


@pytest.mark.parametrize(
    "of", [entropy, lambda p: kl(p, np.log([0.5, 0.5])), lambda p: kl(np.log([0.5, 0.5]), p)]
)
def test_probabilities_in_the_place_of_their_logarithms_are_refused(of):
    """They would give a plausible number."""
    with pytest.raises(ValueError, match=r"log_[pq] must be at most 0, but log_[pq]\[1\] = 0.75; .* np.log"):
        of(np.array([0.0, 0.75]))
    with pytest.raises(ValueError, match=r"log_[pq]\[0\] = 0.25"):
        of(np.array([0.25, 0.75]))
