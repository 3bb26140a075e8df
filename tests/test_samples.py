"""The contract's fields: each says what it has a number for, and whatever slices or weighs samples follows.

A world of which everything is known fills every field; a batch of everything is what the laws run over.  A
new field that something does not know of is missing there, or has another shape than it declares.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import bandits as b
from bandits.policy import log_policy_of
from bandits.samples import EVERYONE, Samples, Update, choose, present, sample_axes
from bandits.sampling.observation import State, samples_of
from bandits.testing import strategies
from llm.loss import every_choice


@st.composite
def everything(draw, k: int, contexts: tuple[int, ...] = ()):
    """Samples of three groups of k, no field absent, no two entries the same."""
    rng = draw(strategies.generators(salt=11))

    def filled(size: int, axes: int) -> np.ndarray:
        return rng.normal(size=(*contexts, 3, *[size] * axes))

    found = {name: filled(k, axes) for name, axes in sample_axes(Samples).items()}
    everyone = {name: filled(5, axes) for name, axes in sample_axes(Samples).items()}
    return Samples(**found, population=Samples(**everyone))


def test_every_field_declares_its_axes():
    for of in (Samples, Update):
        for each in fields(of):
            assert each.metadata["axes"] in (0, 1, 2, EVERYONE), f"{of.__name__}.{each.name}"


@settings(max_examples=20)
@given(data=st.data(), k=st.integers(1, 4), arms=st.integers(2, 5))
def test_enumeration_fills_each_field_in_the_shape_it_declares(data, k, arms):
    """`samples_of` in a world where everything is known: nothing is absent, whatever has the contexts."""
    rng = data.draw(strategies.generators())
    contexts = [data.draw(st.sampled_from([(), (2,)])) for _ in range(5)]
    world = b.Bandit(
        rng.normal(size=(*contexts[0], arms)),
        length=1.0 + rng.random((*contexts[1], arms)),
        desirable=rng.random((*contexts[2], arms)),
        reference=data.draw(strategies.references(arms, contexts[3])),
    )
    policy = log_policy_of(data.draw(strategies.policies(arms, contexts[4])))
    state = State(policy, np.array(0.5), np.log(np.full((arms, arms), 1 / arms)))
    law = b.OnPolicy().law(b.PolicyGradient(1.0, k=k), world, policy)
    groups = rng.integers(arms, size=(6, k))
    seen = samples_of(world, law, state, groups)
    for name, axes in sample_axes(Samples).items():
        shape = np.shape(getattr(seen, name))
        assert shape[len(shape) - axes :] == (k,) * axes, name
        np.broadcast_shapes(shape, (2, 6, *(k,) * axes))
    for name, array in present(seen.population).items():
        assert array.shape[-2:] == (1, arms), name


@settings(max_examples=20)
@given(data=st.data(), k=st.integers(2, 5))
def test_choosing_permutes_every_field_by_its_own_axes(data, k):
    """Against an index by hand; a permutation undone is no permutation."""
    samples = data.draw(everything(k, (2,)))
    order = np.array(data.draw(st.permutations(range(k))))
    chosen = choose(samples, order)
    for name, axes in sample_axes(Samples).items():
        before, after = getattr(samples, name), getattr(chosen, name)
        assert before.shape == after.shape, name
        for index in np.ndindex(*(k,) * axes):
            assert_array_equal(after[(..., *index)], before[(..., *order[list(index)])], err_msg=name)
        assert_array_equal(getattr(choose(chosen, np.argsort(order)), name), before, err_msg=name)
        assert_array_equal(getattr(chosen.population, name), getattr(samples.population, name))


@settings(max_examples=10)
@given(data=st.data(), size=st.integers(2, 5))
def test_every_choice_of_every_field_is_that_of_the_samples_chosen(data, size):
    """The language model's choice of 2 out of K: each new group is the two samples by themselves."""
    samples = data.draw(everything(size))
    as_torch = Samples(
        **{name: torch.tensor(x) for name, x in present(samples).items()},
        population=Samples(**{name: torch.tensor(x) for name, x in present(samples.population).items()}),
    )
    together = every_choice(as_torch, 2)
    pairs = [(i, j) for i in range(size) for j in range(i + 1, size)]
    for n, pair in enumerate(pairs):
        alone = choose(samples, np.array(pair))
        for name, axes in sample_axes(Samples).items():
            found = getattr(together, name)
            assert found.shape == (3, len(pairs), *(2,) * axes), name
            assert_array_equal(found[:, n].numpy(), getattr(alone, name), err_msg=name)
            everyone = getattr(together.population, name)
            assert everyone.shape == (3, 1, *(5,) * axes), name


@dataclass(frozen=True)
class Everywhere:
    """An algorithm that has a coefficient for everything that an update may hold."""

    k: int = 3

    def update(self, samples: Samples) -> Update:
        """Numbers that tell every entry from every other."""
        return Update(**{name: getattr(samples, name) for name in sample_axes(Update)})


@settings(max_examples=10)
@given(data=st.data())
def test_importance_weighs_each_coefficient_of_a_group_alike(data):
    samples = data.draw(everything(3, (2,)))
    weighted = b.ImportanceWeighted(Everywhere()).update(samples)
    weight = np.exp((samples.log_prob - samples.behavior_log_prob).sum(-1))
    for name, axes in sample_axes(Update).items():
        by_group = weight.reshape(*weight.shape, *(1,) * axes)
        # one rounding of exp, one of the product
        np.testing.assert_allclose(getattr(weighted, name), by_group * getattr(samples, name), rtol=1e-15 * 8)


def test_an_absent_field_stays_absent():
    bare = choose(Samples(log_prob=np.zeros((2, 3))), np.array([2, 0]))
    assert set(present(bare)) == {"log_prob"} and bare.population is None


@pytest.mark.parametrize("name", sorted(sample_axes(Samples)))
def test_what_reads_a_field_is_told_apart_from_what_does_not(name):
    """`fields_read` knows every field by its name, also a new one."""
    from bandits.sampling.observation import fields_read

    class Reader:
        k = 2

        def update(self, samples):
            getattr(samples, name)
            return Update(log_prob=np.zeros(2))

    assert fields_read(Reader(), Samples(log_prob=np.zeros(2)))[0] == {name}
