"""Random worlds for hypothesis: bandits, policies, sampling laws.  None of them is symmetric.

Numbers come from a NumPy generator whose seed hypothesis draws, so that fifty arms cost no more than two and
no point is special: uniform policies, equal rewards and ties do not occur by accident.  What decides
the difficulty (number of arms, beta, smallest probability) is drawn by hypothesis and shrinks.

Axes: arms last, `contexts` are the leading axes.
"""

from __future__ import annotations

import re

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from bandits import Bandit, Dataset, Offline, Pairs, Samples

Floats = NDArray[np.float64]
Contexts = tuple[int, ...]


def name_of(algorithm) -> str:
    """A test's name: no address of a function, so that every process collects the same tests."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(algorithm))


def generators(salt: int = 0) -> st.SearchStrategy[np.random.Generator]:
    """A generator with a drawn seed; different salts never give the same numbers, not even for the seed 0."""
    return st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng([seed, salt]))


def betas(low: float = 1e-3, high: float = 1e3) -> st.SearchStrategy[float]:
    """Log-uniform on [low, high]."""
    return st.floats(np.log(low), np.log(high)).map(lambda x: float(np.exp(x)))


@st.composite
def policies(draw, arms: int, contexts: Contexts = (), smallest: float = 1e-3, salt: int = 0) -> Floats:
    """Probabilities, log-uniform before they are normalised: none is much below `smallest`."""
    rng, spread = draw(generators(salt)), draw(st.floats(0.5, max(0.5, -np.log(smallest))))
    weights = np.exp(-spread * rng.random((*contexts, arms)))
    return weights / weights.sum(axis=-1, keepdims=True)


def behaviors(arms: int, contexts: Contexts = (), smallest: float = 1e-6) -> st.SearchStrategy[Floats]:
    """Behaviour policies that see every arm, some of them rarely."""
    return policies(arms, contexts, smallest, salt=1)


def references(arms: int, contexts: Contexts = (), smallest: float = 1e-12) -> st.SearchStrategy[Floats]:
    """Reference policies of full support, down to 1e-12."""
    return policies(arms, contexts, smallest, salt=2)


@st.composite
def partial_policies(draw, arms: int, contexts: Contexts = ()) -> Floats:
    """Policies with zeros: at least one arm has no mass, at least one has."""
    rng, policy = draw(generators()), draw(policies(arms, contexts))
    order = rng.random(policy.shape).argsort(axis=-1)
    kept = order < rng.integers(1, arms, size=(*contexts, 1))
    return policy * kept / (policy * kept).sum(axis=-1, keepdims=True)


@st.composite
def rewards(draw, arms: int, contexts: Contexts = (), scale: float = 2.0) -> Floats:
    """Normal rewards around a normal offset, (..., A)."""
    rng = draw(generators())
    return scale * (rng.normal() + rng.normal(size=(*contexts, arms)))


# ---- preference matrices, (..., A, A) ---------------------------------------------------------------------


def _from_upper(upper: Floats) -> Floats:
    """The preference matrix with these entries above the diagonal, (..., A, A)."""
    above = np.triu(upper, 1)
    return above + np.tril(1 - np.swapaxes(above, -1, -2), -1) + 0.5 * np.eye(upper.shape[-1])


@st.composite
def any_preferences(draw, arms: int, contexts: Contexts = ()) -> Floats:
    """Independent uniform probabilities."""
    return _from_upper(draw(generators()).random((*contexts, arms, arms)))


@st.composite
def cyclic_preferences(draw, arms: int, contexts: Contexts = ()) -> Floats:
    """Every arm beats the half of the arms that follow it around a circle, by a random margin."""
    rng, ahead = draw(generators()), (np.arange(arms) - np.arange(arms)[:, None]) % arms
    side = np.where(ahead <= arms // 2, 1.0, -1.0)
    return _from_upper(0.5 + 0.5 * side * rng.random((*contexts, arms, arms)))


@st.composite
def deterministic_preferences(draw, arms: int, contexts: Contexts = ()) -> Floats:
    """A random tournament: every entry off the diagonal is 0 or 1."""
    return _from_upper(draw(generators()).integers(0, 2, size=(*contexts, arms, arms)).astype(float))


def preferences(arms: int, contexts: Contexts = ()) -> st.SearchStrategy[Floats]:
    """Any of the three kinds."""
    return st.one_of(
        any_preferences(arms, contexts),
        cyclic_preferences(arms, contexts),
        deterministic_preferences(arms, contexts),
    )


# ---- samples ----------------------------------------------------------------------------------------------


def unrelated_groups(k: int, seed: int, count: int = 200) -> Samples:
    """Groups whose policy, behaviour and reference have nothing to do with each other."""
    logs = -np.random.default_rng(seed).exponential(size=(3, count, k))
    reward = np.random.default_rng([seed, 1]).normal(size=(count, k))
    return Samples(log_prob=logs[0], reference_log_prob=logs[1], behavior_log_prob=logs[2], reward=reward)


# ---- worlds -----------------------------------------------------------------------------------------------


@st.composite
def bandits_with_reward(
    draw,
    min_arms: int = 2,
    max_arms: int = 6,
    contexts: Contexts = (),
    smallest: float = 1e-12,
    scale: float = 2.0,
) -> Bandit:
    """A reward and a reference of full support; preferences are Bradley-Terry."""
    arms = draw(st.integers(min_arms, max_arms))
    return Bandit(draw(rewards(arms, contexts, scale)), reference=draw(references(arms, contexts, smallest)))


@st.composite
def bandits_with_preference(
    draw, min_arms: int = 2, max_arms: int = 6, contexts: Contexts = (), smallest: float = 1e-12
) -> Bandit:
    """Preferences of any kind and a reference of full support; no reward."""
    arms = draw(st.integers(min_arms, max_arms))
    return Bandit(
        preference=draw(preferences(arms, contexts)), reference=draw(references(arms, contexts, smallest))
    )


@st.composite
def bandits_with_both(
    draw, min_arms: int = 2, max_arms: int = 6, contexts: Contexts = (), smallest: float = 1e-12
) -> Bandit:
    """A reward, and preferences that have nothing to do with it: every algorithm runs on these."""
    arms = draw(st.integers(min_arms, max_arms))
    return Bandit(
        draw(rewards(arms, contexts)),
        preference=draw(preferences(arms, contexts)),
        reference=draw(references(arms, contexts, smallest)),
    )


# ---- who sampled ------------------------------------------------------------------------------------------


@st.composite
def joints(draw, arms: int, contexts: Contexts = ()) -> Floats:
    """Joint laws of a pair, not symmetric, every pair possible, (..., A, A)."""
    flat = draw(policies(arms * arms, contexts))
    return flat.reshape(*contexts, arms, arms)


def offline(arms: int, places: int = 1, contexts: Contexts = ()) -> st.SearchStrategy[Offline]:
    """`Offline` with one behaviour policy for all places, or one for each."""
    return st.lists(behaviors(arms, contexts), min_size=places, max_size=places).map(
        lambda mus: Offline(*mus)
    )


def pair_samplings(arms: int, contexts: Contexts = ()) -> st.SearchStrategy[Offline | Pairs]:
    """Fixed laws under which every pair of arms meets: one mu, two, or a joint law."""
    return st.one_of(
        offline(arms, 1, contexts), offline(arms, 2, contexts), joints(arms, contexts).map(Pairs)
    )


@st.composite
def _random_pairs(draw, arms: int) -> NDArray[np.intp]:
    rng, count = draw(generators()), draw(st.integers(1, 3 * arms))
    winner = rng.integers(arms, size=count)
    return np.stack([winner, (winner + rng.integers(1, arms, size=count)) % arms], axis=-1)


def datasets(arms: int) -> st.SearchStrategy[Dataset]:
    """Any comparisons: often not connected, often without a loser for some winner."""
    return _random_pairs(arms).map(Dataset)


@st.composite
def connected_datasets(draw, arms: int) -> Dataset:
    """Comparisons that connect all arms: those of a random path, in random directions, and more."""
    rng = draw(generators())
    path = rng.permutation(arms)
    links = np.stack([path[:-1], path[1:]], axis=-1)
    flipped = np.where(rng.random((arms - 1, 1)) < 0.5, links, links[:, ::-1])
    return Dataset(np.concatenate([flipped, draw(_random_pairs(arms))]))


@st.composite
def strongly_connected_datasets(draw, arms: int) -> Dataset:
    """Comparisons that fulfil Ford's condition (T5.3): those of a random cycle, and more."""
    ring = draw(generators()).permutation(arms)
    links = np.stack([ring, np.roll(ring, -1)], axis=-1)
    return Dataset(np.concatenate([links, draw(_random_pairs(arms))]))
