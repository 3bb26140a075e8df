"""Laws of the dice: every draw inverts the cumulative distribution exactly, for fixed and moving laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bandits.sampling.laws import Joint, Labelled, Product
from bandits.simulation.draws import MOST_CELLS, Categorical, GroupDice, draw_moving

Floats = NDArray[np.float64]
ERRORS = 5.0  # standard deviations


def rough(rng: np.random.Generator, *shape: int) -> Floats:
    """Distributions with zeros at random places, and masses over twenty orders of magnitude."""
    weights = np.exp(-45 * rng.random(shape)) * (rng.random(shape) < 0.8)
    weights[..., rng.integers(shape[-1])] += 1e-3
    return weights / weights.sum(axis=-1, keepdims=True)


def inverse(probability: Floats, uniform: Floats) -> NDArray[np.intp]:
    """First value whose cumulative probability exceeds u, one number at a time."""
    total = np.cumsum(probability) / np.cumsum(probability)[-1]
    return np.array([int(np.argmax(total > u)) for u in uniform.ravel()]).reshape(uniform.shape)


def telling(rng: np.random.Generator, probability: Floats, n: int) -> Floats:
    """Random numbers in [0, 1), with the jumps of the cumulative sum and their neighbours among them."""
    total = np.cumsum(probability) / np.cumsum(probability)[-1]
    edges = np.concatenate([[0.0, 1.0], total, np.arange(16) / 16])
    edges = np.concatenate([edges, np.nextafter(edges, 0), np.nextafter(edges, 1)])
    return rng.permutation(np.concatenate([rng.random(n), edges[(edges >= 0) & (edges < 1)]]))


@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3, 9, 300]))
def test_fixed_draws_invert_the_cumulative_distribution(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    probability = rough(rng, n)
    uniform = telling(rng, probability, 200)
    values = Categorical(probability).draw(uniform)
    np.testing.assert_array_equal(values, inverse(probability, uniform))
    assert (probability[values] > 0).all()


def test_contexts_have_dice_of_their_own() -> None:
    rng = np.random.default_rng(0)
    for contexts, n in (((2,), 5), ((3, 1), 4), ((300,), 3), ((MOST_CELLS // 64,), 2)):
        probability = rough(rng, *contexts, n)
        uniform = rng.random((2, *contexts, 6))
        values = Categorical(probability).draw(uniform)
        for index in [(0,) * len(contexts), tuple(c - 1 for c in contexts)]:
            at = (slice(None), *index)
            np.testing.assert_array_equal(values[at], inverse(probability[index], uniform[at]))


def test_many_tiny_masses_in_one_cell_are_told_apart() -> None:
    """3 000 arms of mass 1e-9 share a cell or two of the table; numbers aimed at them find the right one."""
    probability = np.concatenate([[0.5], np.full(3000, 1e-9), [0.5 - 3e-6]])
    uniform = 0.5 + 3e-6 * np.random.default_rng(1).random(500)
    np.testing.assert_array_equal(Categorical(probability).draw(uniform), inverse(probability, uniform))


@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3, 40]))
def test_moving_draws_invert_the_distribution_of_each_run(seed: int, arms: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rough(rng, 7, 2, arms), rough(rng, 2, arms)
    drawn = draw_moving(Product((first, first, second)), np.random.default_rng(seed), groups=5)
    uniform = np.random.default_rng(seed).random((3, 7, 2, 5))
    assert drawn.shape == (1, 3, 7, 2, 5)
    for place, marginal in enumerate((first, first, second)):
        for run, context in np.ndindex(7, 2):
            here = np.broadcast_to(marginal, (7, 2, arms))[run, context]
            u = uniform[place, run, context]
            found = drawn[0, place, run, context]
            assert (here[found] > 0).all()
            # adding the number of the row rounds u to about 1e-15: values may differ only there
            near = np.abs(np.cumsum(here)[None] - u[:, None]).min(axis=-1) < 1e-13
            np.testing.assert_array_equal(found[~near], inverse(here, u)[~near])


def test_the_last_number_below_one_stays_in_its_own_row() -> None:
    class Brink:
        """Always the largest number below 1."""

        def random(self, shape: tuple[int, ...]) -> Floats:
            return np.full(shape, np.nextafter(1.0, 0.0))

    marginal = np.tile([0.3, 0.7, 0.0], (5000, 1))
    drawn = draw_moving(Product((marginal,)), Brink(), groups=1)  # type: ignore[arg-type]
    np.testing.assert_array_equal(drawn, np.ones_like(drawn))


LAWS = {
    "few groups": Product((np.array([0.2, 0.5, 0.3]), np.array([0.6, 0.3, 0.1]))),
    "many groups": Product(tuple(np.random.default_rng(i).dirichlet(np.ones(20)) for i in range(3))),
    "contexts": Product((np.array([[0.2, 0.8], [0.7, 0.3]]), np.array([0.4, 0.6]))),
    "joint": Joint(np.array([[0.05, 0.2, 0.1], [0.05, 0.0, 0.3], [0.2, 0.05, 0.05]])),
    "labelled": Labelled(np.array([[0, 1], [2, 1], [0, 3]]), np.array([0.5, 0.2, 0.3]), arms=4),
}


@pytest.mark.parametrize("name", LAWS)
def test_groups_come_with_the_probability_of_the_law(name: str) -> None:
    """Pairs of places against the enumerated law, within 5 standard deviations of a binomial."""
    law, n = LAWS[name], 40_000
    contexts = law.behavior.shape[:-1]
    arms = GroupDice(law).draw(np.random.default_rng(4), 1, (1, *contexts, n))[0, :, 0]
    assert arms.shape == (law.k, *contexts, n)
    ((groups, weights),) = law.tuples()  # one block
    for context in np.ndindex(contexts):
        drawn, weight = (
            arms[(slice(None), *context)],
            np.broadcast_to(weights, (*contexts, len(groups)))[context],
        )
        for i, j in [(0, 1), (law.k - 1, 0)]:
            for pair in {(int(g[i]), int(g[j])) for g in groups}:
                p = weight[(groups[:, i] == pair[0]) & (groups[:, j] == pair[1])].sum()
                share = ((drawn[i] == pair[0]) & (drawn[j] == pair[1])).mean()
                assert abs(share - p) <= ERRORS * np.sqrt(p * (1 - p) / n) + 1e-12


def test_a_longer_draw_begins_like_a_shorter_one() -> None:
    for law in LAWS.values():
        shape = (2, *law.behavior.shape[:-1], 3)
        dice = GroupDice(law)
        long = dice.draw(np.random.default_rng(6), 5, shape)
        np.testing.assert_array_equal(dice.draw(np.random.default_rng(6), 2, shape), long[:2])
