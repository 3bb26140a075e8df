"""The portrait on three arms: are its ends and basins those that other roads find?"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from bandits import (
    TOPR,
    Bandit,
    CoPG,
    NashMD,
    Offline,
    OnPolicy,
    PolicyGradient,
    Update,
    fixed_point,
    fixed_points,
    flow,
)
from bandits.plots import portrait, simplex

WORLD = Bandit([2.5, 2.0, 1.0], reference=[0.5, 0.3, 0.2], names=["<good>", "fair", "poor"])
MU = Offline([0.2, 0.3, 0.5])
LOCKS_IN = PolicyGradient(0.5, 5.0)
GAME = Bandit(preference=[[0.5, 0.9, 0.2], [0.1, 0.5, 0.8], [0.8, 0.2, 0.5]], reference=[0.5, 0.3, 0.2])


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def stars(axes) -> np.ndarray:
    """The ends that were drawn, as points of the plane."""
    return np.array([line.get_xydata()[0] for line in axes.lines if str(line.get_label()).startswith("end")])


@pytest.mark.parametrize(
    ("algorithm", "world", "sampling"),
    [
        (CoPG(0.5), WORLD, MU),
        (TOPR(baseline=0.1), WORLD, MU),
        (NashMD(0.3), GAME, OnPolicy()),
    ],
    ids=lambda each: type(each).__name__,
)
def test_the_ends_that_are_drawn_are_those_that_are_known(algorithm, world, sampling):
    """As a set; an end that the solver polished to 1e-10 moves by no pixel."""
    known = [simplex.project(one.policy) for one in fixed_points(algorithm, world, sampling)]
    found = stars(portrait(algorithm, world, sampling))
    assert len(found) == len(known)
    for point in known:
        assert np.abs(found - point).max(axis=-1).min() < 1e-7


@pytest.fixture(scope="module")
def locked_in():
    """Policy gradient with a baseline above all rewards."""
    return portrait(LOCKS_IN, WORLD, MU)


def test_a_basin_is_where_flows_really_go(locked_in):
    """Random starts, each followed by the stiff solver, end at the star of the cell's colour."""
    axes = locked_in
    drawn = [line for line in axes.lines if str(line.get_label()).startswith("end")]
    star = {to_rgb(line.get_color()): line.get_xydata()[0] for line in drawn}
    assert len(star) == 3
    (tints,) = [each for each in axes.collections if len(each.get_facecolor()) == 256]
    centres, _ = simplex.cells(16)
    some = np.random.default_rng(0).choice(256, size=4, replace=False)
    last = flow(LOCKS_IN, WORLD, MU, [0.0, 1e4], start=centres[some])[-1]
    for cell, policy in zip(some, last, strict=True):
        assert np.abs(simplex.project(policy) - star[tuple(tints.get_facecolor()[cell][:3])]).max() < 1e-3


def test_several_ends_their_shares_and_the_names_of_arms_can_be_read(locked_in):
    """Three stars, those of `fixed_points`."""
    axes = locked_in
    known = [simplex.project(one.policy) for one in fixed_points(LOCKS_IN, WORLD, MU)]
    assert len(known) == 3
    assert all(np.abs(stars(axes) - point).max(axis=-1).min() < 1e-7 for point in known)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    shares = [int(label.split(": ")[1].partition("%")[0]) for label in labels if label.startswith("end")]
    assert abs(sum(shares) - 100) <= 1  # rounded
    assert {text.get_text() for text in axes.texts} == {"<good>", "fair", "poor"}
    assert axes.get_title(loc="left") == "PolicyGradient: three ends, the start decides"


class WithoutKL:
    """Every pair moves towards the better answer, for ever."""

    k = 2

    def update(self, samples):
        return Update(log_prob=samples.reward - samples.reward[..., ::-1])


def test_what_comes_to_no_rest_says_so_and_draws_no_end():
    axes = portrait(WithoutKL(), WORLD, MU)
    assert axes.get_title(loc="left") == "WithoutKL: comes to no isolated rest" and not len(stars(axes))


def test_it_draws_where_it_is_told_and_leaves_the_settings_alone():
    figure, (left, right) = plt.subplots(1, 2)
    before = dict(plt.rcParams)
    assert portrait(CoPG(0.5), WORLD, [0.2, 0.3, 0.5], right) is right
    assert not left.lines and dict(plt.rcParams) == before and figure.axes == [left, right]
    square = [line for line in right.lines if line.get_label() == "π*"]
    optimum = simplex.project(fixed_point(CoPG(0.5), WORLD, MU).policy)
    np.testing.assert_allclose(square[0].get_xydata()[0], optimum, atol=1e-12)


@pytest.mark.parametrize(
    "world",
    [
        Bandit([1.0, 0.0]),
        Bandit(np.eye(3)),
        Bandit([1.0, 0.0, 0.5], reference=[0.5, 0.5, 0.0]),
    ],
    ids=["two arms", "contexts", "an arm without mass"],
)
def test_what_is_no_triangle_is_refused(world):
    with pytest.raises(ValueError, match="one context of three arms, all with mass .* but the bandit has"):
        portrait(CoPG(0.5), world, OnPolicy())


@pytest.mark.parametrize("resolution", [1, 2, 7])
def test_the_cells_tile_the_triangle(resolution):
    """Equal areas that sum to the triangle's, and centres that are policies inside it."""
    centres, corners = simplex.cells(resolution)
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2
    np.testing.assert_allclose(areas, np.sqrt(3) / 4 / resolution**2, rtol=1e-12)
    assert len(centres) == resolution**2 and (centres > 0).all()
    np.testing.assert_allclose(centres.sum(-1), 1, rtol=1e-14)
    np.testing.assert_allclose(simplex.project(centres), corners.mean(axis=1), atol=1e-15)
    assert len(np.unique(centres.round(9), axis=0)) == resolution**2
