"""Which samples does each run and step see?  Batches, with all that the policy does not move looked up.

    fresh draws    every step sees new groups of the law
    epochs         each run draws a data set of N groups once, and visits it in shuffled order; an epoch has
                   ceil(N / n) steps, the last of them on the remainder (as torch's DataLoader does)
    on policy      the law is that of the current policies, one step at a time

A `Draw` is what chance decided: arms, noise of the rewards, labels.  A `Block` is what algorithms see of it,
flat indices into the logits included.  Four separate streams (arms, labels, noise, order) make a
long run begin exactly as a shorter one, whatever the size of the blocks.

Axes: steps (T), place in the group (k), runs, contexts, groups of the batch (n); `Samples` has the place
last, so its fields are views in which each place is contiguous: sums over a group are then fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.policy import log_policy_of
from bandits.sampling.laws import Arms, Law
from bandits.sampling.observation import of_arms
from bandits.simulation.draws import GroupDice, draw_moving

SAMPLES = 2**16  # drawn at a time, over all steps of a block: what is looked up for them stays in cache


class Draw(NamedTuple):
    """Groups of several steps, as chance decided them."""

    arms: Arms  # (T, k, runs, contexts..., n)
    noise: Floats | None  # the same shape, added to the rewards
    desired: Floats | None  # the same shape, labels of single arms: 1.0 or 0.0
    first_won: Floats | None  # (T, runs, contexts..., n), labels of pairs: 1.0 or 0.0


@dataclass(frozen=True, eq=False)
class Block:
    """Several steps' groups as `Samples` will show them."""

    index: Arms  # (T, k, runs, contexts..., n), where the arms' logits lie in the flat array of all runs
    fields: dict[str, Any]  # each (T, runs, contexts..., n, k...)
    law: Law  # that produced them

    @property
    def steps(self) -> int:
        """T, the number of steps."""
        return len(self.index)

    def step(self, t: int) -> dict[str, Any]:
        """The fields of one step."""
        return {name: field[t] for name, field in self.fields.items()}


@dataclass(frozen=True, eq=False)
class Sampler:
    """Draws groups and looks them up, filling the fields named in `reads` only.

    Args:
        bandit: the world.
        shape: (runs, contexts...).
        reads: names of the fields of `Samples` that the algorithm reads.
        reward_noise: standard deviation of gaussian noise on each sampled reward.
        label_noise: whether pairs and single arms show 0/1 labels, or their probabilities.
        streams: generators for arms, labels, noise and order.
    """

    bandit: Bandit
    shape: tuple[int, ...]
    reads: frozenset[str]
    reward_noise: float
    label_noise: bool
    streams: tuple[np.random.Generator, ...]

    def fresh(self, law: Law, steps: int, batch_size: int) -> Iterator[Block]:
        """New groups at every step."""
        dice, per_step = GroupDice(law), law.k * batch_size * int(np.prod(self.shape))
        longest = max(1, SAMPLES // per_step)
        for first in range(0, steps, longest):
            arms = dice.draw(self.streams[0], min(longest, steps - first), (*self.shape, batch_size))
            yield self._look(self._decide(arms, law), law)

    def epochs(self, law: Law, steps: int, batch_size: int, data_size: int) -> Iterator[Block]:
        """One data set for each run and context, drawn once, shuffled anew in each epoch."""
        arms = GroupDice(law).draw(self.streams[0], 1, (*self.shape, data_size))
        data = self._decide(arms, law)
        full = data_size - data_size % batch_size
        left = steps
        while left > 0:
            order = np.broadcast_to(np.arange(data_size), (*self.shape, data_size))
            shuffled = _reordered(data, self.streams[3].permuted(order, axis=-1))
            for part, size in ((slice(0, full), batch_size), (slice(full, None), data_size - full)):
                if size > 0 and left > 0:
                    block = self._look(_cut(shuffled, part, size, left), law)
                    left -= block.steps
                    yield block

    def on_policy(self, law: Callable[[], Law], steps: int, batch_size: int) -> Iterator[Block]:
        """One step at a time, from the law of the moment: `law()` is asked when the last step was taken."""
        for _ in range(steps):
            now = law()
            yield self._look(self._decide(draw_moving(now, self.streams[0], batch_size), now), now)

    def _decide(self, arms: Arms, law: Law) -> Draw:
        """Noise and labels, where they are wanted."""
        noise = desired = first_won = None
        if self.reward_noise > 0 and "reward" in self.reads:
            noise = self.reward_noise * self.streams[2].standard_normal(arms.shape)
        if self.label_noise and "preference" in self.reads and arms.shape[1] == 2 and law.labels is None:
            uniform = self.streams[1].random((arms.shape[0], *arms.shape[2:]))
            first_won = (uniform < self._first_wins(arms)).astype(float)
        if self.label_noise and "desirable" in self.reads and "desirable" in self._tables:
            chance = self._tables["desirable"].take(self._cells(arms))
            desired = (self.streams[1].random(arms.shape) < chance).astype(float)
        return Draw(arms, noise, desired, first_won)

    def _look(self, draw: Draw, law: Law) -> Block:
        """Everything that does not move with the policy."""
        arms, cells = draw.arms, self._cells(draw.arms)
        fields: dict[str, Any] = {
            name: table.take(cells) for name, table in self._tables.items() if name in self.reads
        }
        if draw.noise is not None:
            fields["reward"] = fields["reward"] + draw.noise
        if draw.desired is not None:
            fields["desirable"] = draw.desired
        if "arm" in self.reads:
            fields["arm"] = arms
        fields = {name: _place_last(of_samples) for name, of_samples in fields.items()}
        if "preference" in self.reads:
            fields["preference"] = self._preference(draw, law)
        index = cells + self._run_offset
        if "behavior_log_prob" in self.reads:
            fields["behavior_log_prob"] = self._behavior(law, cells, index)
        if "reference_revision_log_prob" in self.reads:
            reference = _place_last(self._tables["reference_log_prob"].take(cells))
            fields["reference_revision_log_prob"] = np.repeat(reference[..., None], arms.shape[1], axis=-1)
        return Block(index, fields, law)

    def _cells(self, arms: Arms) -> Arms:
        """Where the arms lie in the flat tables of all contexts."""
        return arms + self._context_offset if len(self.shape) > 1 else arms

    def _preference(self, draw: Draw, law: Law) -> Floats:
        """(T, runs, contexts..., n, k, k)."""
        if law.labels is not None:
            return np.broadcast_to(law.labels, (*draw.arms[:, 0].shape, 2, 2))
        if draw.arms.shape[1] != 2:
            return self.bandit.preference_between(_place_last(draw.arms))
        p = self._first_wins(draw.arms) if draw.first_won is None else draw.first_won
        half = np.full_like(p, 0.5)
        return np.moveaxis(np.stack([np.stack([half, p]), np.stack([1 - p, half])]), (0, 1), (-2, -1))

    def _first_wins(self, arms: Arms) -> Floats:
        """p(y_0 beats y_1) of each pair, (T, runs, contexts..., n)."""
        matrix, size = self.bandit.given_preference, self.bandit.arms
        if matrix is None:
            self.bandit.needed_reward()
            reward = self._tables["reward"].take(self._cells(arms))
            return expit(reward[:, 0] - reward[:, 1])
        flat = np.broadcast_to(matrix.reshape(*matrix.shape[:-2], -1), (*self.shape[1:], size**2)).ravel()
        return flat.take(self._context_offset * size + arms[:, 0] * size + arms[:, 1])

    def _behavior(self, law: Law, cells: Arms, index: Arms) -> Floats:
        """log-probability of each sample under whoever drew it; a moving law has a table for each run."""
        columns = []
        for place, behavior in enumerate(law.place_behavior()):
            moving = behavior.ndim == len(self.shape) + 1
            where = index[:, place] if moving else cells[:, place]
            columns.append(self._table(log_policy_of(behavior), moving).take(where))
        return _place_last(np.stack(columns, axis=1))

    def _table(self, of_arms: Floats, moving: bool = False) -> Floats:
        """Numbers of the arms of every context (and run), flat."""
        lead = self.shape if moving else self.shape[1:]
        return np.broadcast_to(of_arms, (*lead, self.bandit.arms)).ravel()

    @cached_property
    def _tables(self) -> dict[str, Floats]:
        """What the world says of each arm, by the field that shows it."""
        tables = {name: table for name, table in of_arms(self.bandit).items() if table is not None}
        return {name: self._table(table) for name, table in tables.items()}

    @cached_property
    def _context_offset(self) -> Arms:
        contexts = self.shape[1:]
        return np.arange(int(np.prod(contexts))).reshape(*contexts, 1) * self.bandit.arms

    @cached_property
    def _run_offset(self) -> Arms:
        runs, contexts = self.shape[0], self.shape[1:]
        size = int(np.prod(contexts)) * self.bandit.arms
        return np.arange(runs).reshape(runs, *(1 for _ in contexts), 1) * size


def streams(rng: np.random.Generator) -> tuple[np.random.Generator, ...]:
    """Four independent generators (arms, labels, noise, order) from the state of `rng`, which moves on."""
    seeds = rng.integers(2**63, size=(4, 4))
    return tuple(
        np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed.tolist()))) for seed in seeds
    )


def _place_last(array: Any) -> Any:
    """(T, k, ...) seen as (T, ..., k)."""
    return np.moveaxis(array, 1, -1)


def _reordered(data: Draw, order: Arms) -> Draw:
    """A data set (T = 1) with the groups of each run in another order."""

    def reorder(array: Any) -> Any:
        by_axis = order.reshape(*[1] * (array.ndim - order.ndim), *order.shape)
        return np.take_along_axis(array, by_axis, axis=-1)

    return _each(reorder, data)


def _cut(data: Draw, part: slice, batch_size: int, most: int) -> Draw:
    """A stretch of a data set cut into batches, at most `most` of them: one step each."""

    def cut(array: Any) -> Any:
        stretch = array[0][..., part]
        batches = stretch.reshape(*stretch.shape[:-1], -1, batch_size)[..., :most, :]
        return np.ascontiguousarray(np.moveaxis(batches, -2, 0))

    return _each(cut, data)


def _each(change: Callable[[Any], Any], draw: Draw) -> Draw:
    """The same change to all that was drawn; the groups are always the last axis."""
    return Draw._make(None if array is None else change(array) for array in draw)
