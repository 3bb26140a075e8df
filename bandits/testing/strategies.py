"""Which random worlds should a test draw?  Strategies for hypothesis, uneven on purpose.

Numbers come from a NumPy generator whose seed hypothesis draws, so that fifty arms cost no more than two and
no point is special: uniform policies, equal rewards and ties do not occur by accident.  What decides
the difficulty (number of arms, beta, smallest probability) is drawn by hypothesis and shrinks.

    policies behaviors references partial_policies rewards preferences     arrays, for a number of arms
    worlds                                                                 bandits of any of them
    joints offline pair_samplings datasets                                 who sampled
    betas generators                                                       numbers

Axes: arms last, `contexts` are the leading axes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Samples
from bandits.sampling.rules import Dataset, Offline, Pairs

Contexts = tuple[int, ...]
ArraysOf: TypeAlias = Callable[
    [int, Contexts], st.SearchStrategy[Floats]
]  # of a number of arms, and contexts


def generators(salt: int = 0) -> st.SearchStrategy[np.random.Generator]:
    """A generator with a drawn seed; different salts never give the same numbers, not even for the seed 0."""
    return st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng([seed, salt]))


def betas(low: float = 1e-3, high: float = 1e3) -> st.SearchStrategy[float]:
    """Log-uniform on [low, high]."""
    return st.floats(np.log(low), np.log(high)).map(lambda x: float(np.exp(x)))


@st.composite
def policies(
    draw: st.DrawFn, arms: int, contexts: Contexts = (), smallest: float = 1e-3, salt: int = 0
) -> Floats:
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
def partial_policies(draw: st.DrawFn, arms: int, contexts: Contexts = ()) -> Floats:
    """Policies with zeros: at least one arm has no mass, at least one has."""
    rng, policy = draw(generators()), draw(policies(arms, contexts))
    order = rng.random(policy.shape).argsort(axis=-1)
    kept = order < rng.integers(1, arms, size=(*contexts, 1))
    return policy * kept / (policy * kept).sum(axis=-1, keepdims=True)


@st.composite
def rewards(draw: st.DrawFn, arms: int, contexts: Contexts = (), scale: float = 2.0) -> Floats:
    """Normal rewards around a normal offset, (..., A)."""
    rng = draw(generators())
    return scale * (rng.normal() + rng.normal(size=(*contexts, arms)))


@st.composite
def lengths(draw: st.DrawFn, arms: int, contexts: Contexts = ()) -> Floats:
    """Tokens of each arm, 1 to 12, no two arms alike among the first twelve, (..., A)."""
    rng = draw(generators(3))
    first = rng.permuted(np.broadcast_to(np.arange(1.0, 13.0), (*contexts, 12)), axis=-1)
    return first[..., np.arange(arms) % 12]


@st.composite
def labels(draw: st.DrawFn, arms: int, contexts: Contexts = ()) -> Floats:
    """P(label 1) of each arm alone, (..., A)."""
    return draw(generators(4)).random((*contexts, arms))


# ---- preference matrices, (..., A, A) ---------------------------------------------------------------------


def _from_upper(upper: Floats) -> Floats:
    """The preference matrix with these entries above the diagonal, (..., A, A)."""
    above = np.triu(upper, 1)
    return above + np.tril(1 - np.swapaxes(above, -1, -2), -1) + 0.5 * np.eye(upper.shape[-1])


@st.composite
def any_preferences(draw: st.DrawFn, arms: int, contexts: Contexts = ()) -> Floats:
    """Independent uniform probabilities."""
    return _from_upper(draw(generators()).random((*contexts, arms, arms)))


@st.composite
def cyclic_preferences(draw: st.DrawFn, arms: int, contexts: Contexts = ()) -> Floats:
    """Every arm beats the half of the arms that follow it around a circle, by a random margin."""
    rng, ahead = draw(generators()), (np.arange(arms) - np.arange(arms)[:, None]) % arms
    side = np.where(ahead <= arms // 2, 1.0, -1.0)
    return _from_upper(0.5 + 0.5 * side * rng.random((*contexts, arms, arms)))


@st.composite
def deterministic_preferences(draw: st.DrawFn, arms: int, contexts: Contexts = ()) -> Floats:
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
def worlds(
    draw: st.DrawFn,
    arms: int | st.SearchStrategy[int] = st.integers(2, 6),  # noqa: B008  a strategy never changes
    contexts: Contexts = (),
    *,
    reward: ArraysOf | None = None,
    preference: ArraysOf | None = None,
    reference: ArraysOf = references,
    length: ArraysOf | None = None,
    desirable: ArraysOf | None = None,
) -> Bandit:
    """A bandit of these rewards or preferences, or both, and a reference of full support.

    Args:
        arms: how many, or a strategy for it.
        contexts: leading axes of all arrays.
        reward: a function of the number of arms and the contexts to a strategy, such as `rewards`.
        preference: the same for p(y beats y'), such as `preferences`; None: Bradley-Terry of the reward.
        reference: the same for the reference policy.
        length, desirable: the same for tokens and P(label 1), such as `lengths` and `labels`.

    With neither reward nor preference it has rewards, preferences that have nothing to do with them, lengths
    and labels: every algorithm runs on such a world.

    Raises:
        ValueError: a strategy gives something that is no such array.

    Example:
        >>> from hypothesis import given, settings
        >>> @settings(database=None)
        ... @given(worlds(3, reward=lambda arms, contexts: st.just(np.arange(arms))))
        ... def test_a_reward_of_my_own(world):
        ...     assert world.reward.tolist() == [0, 1, 2]
        >>> test_a_reward_of_my_own()
    """
    size = arms if isinstance(arms, int) else draw(arms)
    both = reward is None and preference is None
    chosen = {
        "reward": rewards if both else reward,
        "preference": preferences if both else preference,
        "reference": reference,
        "length": lengths if both and length is None else length,
        "desirable": labels if both and desirable is None else desirable,
    }
    arrays: dict[str, Any] = {name: draw(of(size, contexts)) for name, of in chosen.items() if of is not None}
    bandit = Bandit(**arrays)
    if (found := (*bandit.contexts, bandit.arms)) != (*contexts, size):
        raise ValueError(
            f"the strategies must give arrays of {size} arms in contexts {contexts}, but the world that they "
            f"make has the shape {found}; draw arrays of shape (*contexts, arms)"
        )
    return bandit


def bandits_with_reward(
    min_arms: int = 2,
    max_arms: int = 6,
    contexts: Contexts = (),
    smallest: float = 1e-12,
    scale: float = 2.0,
) -> st.SearchStrategy[Bandit]:
    """A reward and a reference of full support; preferences are Bradley-Terry."""
    arms, reference = st.integers(min_arms, max_arms), partial(references, smallest=smallest)
    return worlds(arms, contexts, reward=partial(rewards, scale=scale), reference=reference)


def bandits_with_preference(
    min_arms: int = 2, max_arms: int = 6, contexts: Contexts = (), smallest: float = 1e-12
) -> st.SearchStrategy[Bandit]:
    """Preferences of any kind and a reference of full support; no reward."""
    arms, reference = st.integers(min_arms, max_arms), partial(references, smallest=smallest)
    return worlds(arms, contexts, preference=preferences, reference=reference)


def bandits_with_both(
    min_arms: int = 2, max_arms: int = 6, contexts: Contexts = (), smallest: float = 1e-12
) -> st.SearchStrategy[Bandit]:
    """A reward, and preferences that have nothing to do with it: every algorithm runs on these."""
    arms, reference = st.integers(min_arms, max_arms), partial(references, smallest=smallest)
    return worlds(arms, contexts, reference=reference)


# ---- who sampled ------------------------------------------------------------------------------------------


@st.composite
def joints(draw: st.DrawFn, arms: int, contexts: Contexts = ()) -> Floats:
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
def _random_pairs(draw: st.DrawFn, arms: int) -> NDArray[np.intp]:
    rng, count = draw(generators()), draw(st.integers(1, 3 * arms))
    winner = rng.integers(arms, size=count)
    return np.stack([winner, (winner + rng.integers(1, arms, size=count)) % arms], axis=-1)


def datasets(arms: int) -> st.SearchStrategy[Dataset]:
    """Any comparisons: often not connected, often without a loser for some winner."""
    return _random_pairs(arms).map(Dataset)


@st.composite
def connected_datasets(draw: st.DrawFn, arms: int) -> Dataset:
    """Comparisons that connect all arms: those of a random path, in random directions, and more."""
    rng = draw(generators())
    path = rng.permutation(arms)
    links = np.stack([path[:-1], path[1:]], axis=-1)
    flipped = np.where(rng.random((arms - 1, 1)) < 0.5, links, links[:, ::-1])
    return Dataset(np.concatenate([flipped, draw(_random_pairs(arms))]))


@st.composite
def strongly_connected_datasets(draw: st.DrawFn, arms: int) -> Dataset:
    """Comparisons that fulfil Ford's condition (T5.3): those of a random cycle, and more."""
    ring = draw(generators()).permutation(arms)
    links = np.stack([ring, np.roll(ring, -1)], axis=-1)
    return Dataset(np.concatenate([links, draw(_random_pairs(arms))]))
