"""What does an algorithm see of a group of arms?  Its `Samples`, read off a world.

`State` is where training stands.  `samples_of` gathers everything that the contract names (rewards,
preferences, log-probabilities under policy, reference and sampler) for groups of arms (..., n, k), be
they all the groups there are (`bandits.exact`) or a few drawn ones (`bandits.simulation.simulate`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np

from bandits.bandit import Bandit, gather
from bandits.checks import Floats
from bandits.samples import Algorithm, Array, Samples, TokenSamples, Update, sample_axes
from bandits.sampling.laws import Arms, Law


@dataclass(frozen=True, eq=False)
class State:
    """Where training stands: log pi, and what is trained beside it."""

    log_policy: Floats  # (..., A)
    value: Floats | None = None  # (...)        DRO's V
    log_revision: Floats | None = None  # (..., A, A)  SRPO's log pi', [..., y1, y2] = log pi'(y2 | y1)
    log_ratio: Floats | None = None  # (..., A)  log pi/ref + a constant, if known to more digits than log pi

    def at(self, index: tuple[int, ...], contexts: tuple[int, ...]) -> State:
        """Where training stands in one context."""

        def here(array: Floats | None, axes: int) -> Floats | None:
            if array is None:
                return None
            own = array.shape[array.ndim - axes :]
            return np.broadcast_to(array, (*contexts, *own))[index]

        log_policy = here(self.log_policy, 1)
        assert log_policy is not None
        return State(log_policy, here(self.value, 0), here(self.log_revision, 2), here(self.log_ratio, 1))


def samples_of(bandit: Bandit, law: Law, state: State, arms: Arms) -> Samples:
    """The `Samples` of groups of arms (..., n, k) that `law` may produce; its labels go before the world.

    A field is looked up when it is read for the first time: a group of eight has 64 preferences.
    """
    later: dict[str, Any] = {
        name: table if table is None else partial(gather, table, arms, axes=2)
        for name, table in of_arms(bandit).items()
    }
    later["population"] = partial(population_of, bandit, law, state)
    return _Unread(
        log_prob=gather(state.log_policy, arms, axes=2),
        preference=partial(_preference, bandit, law, arms),
        behavior_log_prob=partial(_behavior_log_prob, law, arms),
        arm=arms,
        greedy_reward=partial(greedy_reward_of, bandit, state),
        value=None if state.value is None else state.value[..., None],
        revision_log_prob=partial(revision_of, state.log_revision, arms, bandit.arms),
        reference_revision_log_prob=partial(reference_revision_of, bandit, state, arms),
        **later,
    )


@dataclass(frozen=True, kw_only=True)
class _Unread(Samples):
    """Samples some of whose fields are still functions that look them up."""

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if isinstance(found, partial):
            found = found()
            object.__setattr__(self, name, found)
        return found


def seen_as(samples: Samples, changes: Mapping[str, Callable[[Samples], Array]]) -> Samples:
    """The samples, and their population, with some fields changed; every field is looked up where it is read.

    `dataclasses.replace` looks at all of them: who hands samples on would seem to need them all.
    """
    same: dict[str, Callable[[Samples], Array]] = {name: attrgetter(name) for name in sample_axes(Samples)}
    later: dict[str, Any] = {name: partial(look, samples) for name, look in {**same, **changes}.items()}
    later["population"] = partial(_population_seen_as, samples, changes)
    return _Unread(**later)


def _population_seen_as(
    samples: Samples, changes: Mapping[str, Callable[[Samples], Array]]
) -> Samples | None:
    everyone = samples.population
    return everyone and seen_as(everyone, changes)


def of_arms(bandit: Bandit) -> dict[str, Floats | None]:
    """What the world says of each single arm, (..., A), under the name of the field that shows it."""
    return {
        "reference_log_prob": bandit.log_reference,
        "reward": bandit.reward,
        "length": bandit.length,
        "desirable": bandit.desirable,
    }


def _preference(bandit: Bandit, law: Law, arms: Arms) -> Floats:
    if law.labels is not None:
        return np.broadcast_to(law.labels, (*arms.shape, arms.shape[-1]))
    return bandit.preference_between(arms)


def _behavior_log_prob(law: Law, arms: Arms) -> Floats:
    places = law.place_behavior()
    if all(place is places[0] for place in places):
        return gather(_log(places[0]), arms, axes=2)
    columns = [gather(_log(place), arms[..., i], axes=1) for i, place in enumerate(places)]
    return np.stack(np.broadcast_arrays(*columns), axis=-1)


def population_of(bandit: Bandit, law: Law, state: State) -> Samples:
    """All arms as one group, (..., 1, A)."""
    tables: dict[str, Any] = {
        "log_prob": state.log_policy,
        "behavior_log_prob": _log(law.behavior),
        **of_arms(bandit),
    }
    return Samples(**{name: x if x is None else x[..., None, :] for name, x in tables.items()})


def greedy_reward_of(bandit: Bandit, state: State) -> Floats | None:
    if bandit.reward is None:
        return None
    best = state.log_policy.argmax(axis=-1)[..., None]
    return gather(bandit.reward, best, axes=1)


def revision_of(log_revision: Floats | None, arms: Arms, size: int) -> Floats | None:
    if log_revision is None:
        return None
    flat = log_revision.reshape(*log_revision.shape[:-2], -1)
    return gather(flat, arms[..., None, :] * size + arms[..., :, None], axes=3)


def reference_revision_of(bandit: Bandit, state: State, arms: Arms) -> Floats | None:
    """ref'(y_i | y_j) = ref(y_i): the revision reference is the reference itself."""
    if state.log_revision is None:
        return None
    log_reference = gather(bandit.log_reference, arms, axes=2)
    return np.broadcast_to(log_reference[..., :, None], (*log_reference.shape, log_reference.shape[-1]))


def _log(probabilities: Floats) -> Floats:
    with np.errstate(divide="ignore"):
        return np.log(probabilities)


def fields_read(algorithm: Algorithm, samples: Samples) -> tuple[frozenset[str], Update]:
    """Names of the fields that the algorithm's update looks at, and the update of these samples.

    Who draws samples by the million fills no others.

    Example:
        >>> from bandits import CoPG
        >>> pair = Samples(log_prob=np.zeros(2), reference_log_prob=np.zeros(2), reward=np.array([1.0, 0.0]))
        >>> sorted(fields_read(CoPG(beta=1.0), pair)[0])
        ['log_prob', 'reference_log_prob', 'reward']
    """
    shown: dict[str, Any] = {name: getattr(samples, name, None) for name in FIELDS}
    watched = _Watched(**shown)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):  # arms outside the support: 0 * inf
        update = algorithm.update(watched)
    return frozenset(watched.read), update


FIELDS = frozenset(field.name for field in fields(TokenSamples))


@dataclass(frozen=True, kw_only=True)
class _Watched(TokenSamples):
    """Samples that remember which of their fields were looked at."""

    read: set[str] = field(default_factory=set)

    def __getattribute__(self, name: str) -> Any:
        if name in FIELDS:
            object.__getattribute__(self, "read").add(name)
        return object.__getattribute__(self, name)
