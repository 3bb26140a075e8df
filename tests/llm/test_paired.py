"""Laws of paired differences: intervals cover when seeds and prompts are drawn anew."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.paired import at_kl, holm, two_level

DRAWS = 600
FOUR_ERRORS = 4 * np.sqrt(0.05 * 0.95 / DRAWS)


def tables(rng: np.random.Generator, seeds: int, prompts: int, sd: tuple[float, float, float]) -> np.ndarray:
    """Tables whose mean is zero, of so much spread between seeds, prompts, and the rest."""
    parts = [(DRAWS, seeds, 1), (DRAWS, 1, prompts), (DRAWS, seeds, prompts)]
    return sum(scale * rng.normal(size=shape) for scale, shape in zip(sd, parts, strict=True))


@pytest.mark.parametrize(
    "sd", [(0.3, 1.0, 1.0), (0.0, 1.0, 1.0), (0.5, 0.2, 1.0), (0.1, 0.0, 1.0), (0, 0, 1.0)]
)
def test_intervals_cover_the_mean_whatever_spreads(sd):
    """Five seeds, 40 prompts: 4 binomial errors below .95; where a part is absent, more: .995 at most."""
    found = [two_level(d) for d in tables(np.random.default_rng(0), 5, 40, sd)]
    share = np.mean([each.low <= 0 <= each.high for each in found])
    assert 0.95 - FOUR_ERRORS < share <= 0.995
    assert all((each.p >= 0.05) == (each.low <= 0 <= each.high) for each in found)


def test_an_interval_over_prompts_alone_would_not():
    """The wrong twin: seeds as if they were no part of the chance."""
    d = tables(np.random.default_rng(1), 5, 40, (1.0, 1.0, 1.0)).mean(1)
    half = 1.96 * d.std(-1, ddof=1) / np.sqrt(40)
    assert np.mean(np.abs(d.mean(-1)) <= half) < 0.65


def test_what_all_tables_have_alike_moves_the_interval():
    d = tables(np.random.default_rng(2), 4, 9, (1.0, 1.0, 1.0))[0]
    here, moved = two_level(d), two_level(3 * d + 7)
    np.testing.assert_allclose(
        [moved.mean, moved.low, moved.high],
        [3 * here.mean + 7, 3 * here.low + 7, 3 * here.high + 7],
        rtol=1e-12,
    )
    assert two_level(-d).p == pytest.approx(here.p, rel=1e-12)


@settings(max_examples=40)
@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_holms_is_the_closed_test_of_bonferroni(p):
    """A hypothesis falls if every set with it falls, by its size times its smallest p: all sets tried."""
    m = len(p)
    sets = [c for size in range(1, m + 1) for c in combinations(range(m), size)]
    closed = [max(min(1.0, len(c) * min(p[j] for j in c)) for c in sets if i in c) for i in range(m)]
    np.testing.assert_allclose(holm(p), closed, rtol=1e-12)


def test_the_reward_at_a_kl_is_that_of_the_chord_and_nothing_is_extended():
    """Random uneven methods against NumPy's interpolation, prompt by prompt, in any order of beta."""
    rng = np.random.default_rng(3)
    kl, reward = rng.gamma(2.0, size=6), rng.normal(size=(6, 4))
    order = np.argsort(kl)
    for target in [*rng.uniform(kl.min(), kl.max(), size=20), *kl]:
        expected = [np.interp(target**0.5, kl[order] ** 0.5, column[order]) for column in reward.T]
        np.testing.assert_allclose(at_kl(kl, reward, target), expected, rtol=1e-12, atol=1e-15)
    assert np.isnan(at_kl(kl, reward, kl.max() + 1e-9)).all() and np.isnan(at_kl(kl, reward, 0.0)).all()
    assert at_kl([2.0], [[1.0, 5.0]], 2.0).tolist() == [1, 5]


def test_on_the_curve_of_normal_rewards_nothing_is_lost_between_two_betas_however_far_apart():
    """A line in KL would lie below it, by other amounts for other grids: equal methods would differ."""
    rng = np.random.default_rng(6)
    for _ in range(20):
        kl, target = np.sort(rng.gamma(1.0, 4.0, size=2)), rng.uniform()
        goal = target * kl[0] + (1 - target) * kl[1]
        found = at_kl(kl, np.sqrt(2 * kl)[:, None], goal)
        np.testing.assert_allclose(found, np.sqrt(2 * goal), rtol=1e-12)


def test_where_there_is_no_kl_to_speak_of_the_estimate_may_be_negative():
    """As a mean of log pi/ref may be, by chance: it counts as none."""
    h = np.array([[-0.3, 0.1], [0.5, 1.5]])
    np.testing.assert_allclose(at_kl(h, [[0.0, 0.0], [1.0, 1.0]], 0.25).mean(), 0.5, rtol=1e-12)


def test_methods_on_one_curve_do_not_differ_at_equal_kl_whatever_their_betas():
    """Both have 1 + sqrt(2 KL), and what seeds and prompts bring: the interval of the difference covers 0."""
    rng = np.random.default_rng(4)
    prompt, covered = rng.normal(size=30), []
    for _ in range(200):
        d = []
        for _ in range(5):
            ends = []
            for grid in ([0.2, 0.9, 2.0], [0.4, 1.5, 3.0]):
                kl = np.array(grid) * rng.uniform(0.8, 1.0)
                noise = 0.2 * rng.normal() + 0.3 * rng.normal(size=(3, 30))
                ends.append(at_kl(kl, 1 + np.sqrt(2 * kl[:, None]) + prompt + noise, 1.0))
            d.append(ends[0] - ends[1])
        found = two_level(d)
        covered.append(found.low <= 0 <= found.high)
    assert np.mean(covered) > 0.95 - 4 * np.sqrt(0.05 * 0.95 / 200)


def test_a_kl_that_is_a_mean_over_prompts_is_part_of_the_chance():
    """Two methods on one curve, whose KL are means of noisy log-ratios: an interval over the prompts of one
    seed covers with each prompt's part; with the means alone, as if they were exact, it does not."""
    rng, KL, covered = np.random.default_rng(5), np.array([0.5, 1.0, 2.0, 4.0]), {"means": [], "each": []}
    for _ in range(300):
        prompt, ends = 0.2 * rng.normal(size=60), {"means": [], "each": []}
        for _ in range(2):
            h = KL[:, None] + np.sqrt(2 * KL[:, None]) * rng.normal(size=(4, 60))
            y = 2 * np.sqrt(2 * KL[:, None]) + prompt + 0.2 * rng.normal(size=(4, 60))
            ends["means"].append(at_kl(h.mean(1), y, 1.5))
            ends["each"].append(at_kl(h, y, 1.5))
        np.testing.assert_allclose(*(np.mean(each, axis=1) for each in ends.values()), rtol=1e-9)
        for name, (one, other) in ends.items():
            d = one - other
            covered[name].append(abs(d.mean()) <= 1.96 * d.std(ddof=1) / np.sqrt(60))
    assert np.mean(covered["each"]) > 0.95 - 4 * np.sqrt(0.05 * 0.95 / 300)
    assert np.mean(covered["means"]) < 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: two_level([[1.0, 2.0]]), r"at least 2 of each, but the shape is \(1, 2\); run more seeds"),
        (lambda: two_level([[1.0, np.nan], [0.0, 1.0]]), r"differences\[0, 1\] = nan"),
        (lambda: at_kl([1.0], [[1.0], [2.0]], 1.0), r"but they are \(1,\) and \(2, 1\)"),
        (lambda: at_kl([1.0], [[1.0]], np.inf), "target must be a finite number"),
        (lambda: holm([0.5, 1.5]), r"p must be in \[0, 1\], but p\[1\] = 1.5"),
        (lambda: holm([]), r"p must be a list of at least one"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
