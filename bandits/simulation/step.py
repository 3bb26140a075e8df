"""What do sampled coefficients do to the logits of many runs, in one step?

A batch of n groups moves the logits of its run and context, through an optimizer, along

    (1/n) sum over groups of sum_i c_i (e_{y_i} - pi).

A *contrastive* algorithm looks at log-probabilities through their differences only, and its coefficients sum
to zero in each group: then pi drops out, logits need no normalisation, and a step touches k cells for each
group instead of all A arms.  `Training.step` takes that road where `contrastive` says so.

What is trained beside the policy moves likewise: DRO's V by the mean of `Update.value`, and SRPO's revision
logits by (1/n) sum_ij c_ij (e_{y_i} - pi'(.|y_j)) in the row of y_j.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bandits.bandit import Bandit
from bandits.checks import Floats
from bandits.samples import Samples, Update
from bandits.sampling.laws import Arms, Law
from bandits.sampling.observation import State, greedy_reward_of, population_of, revision_of
from bandits.simulation.batches import Block
from bandits.simulation.optimizers import SGD, Optimizer

MOVING = {"population", "greedy_reward", "value", "revision_log_prob"}  # fields that move with the policy
LARGEST_LOGIT = 2.0**52  # beyond, neighbouring float64 numbers are 1 apart


class Exploded(Exception):
    """Logits left the numbers that make a policy."""


class Ascent:
    """Numbers in training: they move by `rate` times the optimizer's direction."""

    def __init__(self, start: Floats, optimizer: Optimizer, rate: float) -> None:
        self.values = np.array(start, order="C")  # our own copy, contiguous
        self.optimizer = optimizer
        self.rate = rate
        self.memory = optimizer.start(self.values)

    def move(self, gradient: Floats) -> None:
        """One step up the gradient."""
        direction, self.memory = self.optimizer.direction(gradient, self.memory)
        self.values += self.rate * direction


@dataclass(eq=False)
class Training:
    """Where all runs stand: logits (runs, contexts..., A), and perhaps V and the revision logits."""

    algorithm: Any
    bandit: Bandit
    reads: frozenset[str]
    logits: Ascent
    value: Ascent | None = None  # (runs, contexts...)
    revision: Ascent | None = None  # (runs, contexts..., A, A), [..., y1, y2] = log pi'(y2 | y1) + constant

    def __post_init__(self) -> None:
        contrastive = getattr(self.algorithm, "contrastive", False) and not self.reads & MOVING
        self.needs_policy = not contrastive
        self.touches_few = contrastive and isinstance(self.logits.optimizer, SGD)

        self.supported = np.isfinite(self.logits.values)
        self.all_supported = bool(self.supported.all())

    def check(self, step: int, index: Arms | None = None) -> None:
        """Look whether the logits (those at `index`, or all) still make a policy.

        Raises:
            Exploded: one is not finite, or too large for float64 to tell policies apart.
        """
        values = self.logits.values
        if index is not None:
            values = values.reshape(-1).take(index)
        elif not self.all_supported:
            values = values[self.supported]
        if not max(values.max(), -values.min()) <= LARGEST_LOGIT:  # NaN: both are, and the comparison fails
            raise Exploded(f"the logits explode within {step} steps")

    @property
    def policy(self) -> Floats:
        """pi of every run, (runs, contexts..., A)."""
        return _softmax(self.logits.values)

    @property
    def log_policy(self) -> Floats:
        """log pi of every run, (runs, contexts..., A)."""
        return _log_softmax(self.logits.values)

    @property
    def revision_policy(self) -> Floats | None:
        """pi' of every run, (runs, contexts..., A, A), where one is in training."""
        return None if self.revision is None else _softmax(self.revision.values)

    @property
    def log_revision(self) -> Floats:
        """log pi' of every run, (runs, contexts..., A, A), where a revision policy is in training."""
        assert self.revision is not None
        return _log_softmax(self.revision.values)

    def step(self, block: Block, t: int) -> None:
        """Move by the groups of step t of the block."""
        index = block.index[t]
        if self.touches_few:
            self._touch(index, block.step(t))
        else:
            self._sweep(index, block.step(t), block.law)

    def _touch(self, index: Arms, fields: dict[str, Any]) -> None:
        """The contrastive step under SGD: k cells for each group."""
        logits, flat = self.logits.values.reshape(-1), index.reshape(-1)
        log_prob = _place_last(logits.take(index))
        c = self.algorithm.update(Samples(log_prob=log_prob, **fields)).log_prob
        c = _place_first(c, log_prob.shape)
        np.add.at(logits, flat, self.logits.rate / log_prob.shape[-2] * c)

    def _sweep(self, index: Arms, fields: dict[str, Any], law: Law) -> None:
        """Any other step: every arm moves."""
        log_policy = self.log_policy if self.needs_policy else self.logits.values
        log_prob = _place_last(log_policy.reshape(-1).take(index))
        state = State(
            log_policy,
            None if self.value is None else self.value.values,
            None if self.revision is None else self.log_revision,
        )
        moving = self._moving_fields(state, index, law)
        update = self.algorithm.update(Samples(log_prob=log_prob, **fields, **moving))
        c = _place_first(update.log_prob, log_prob.shape) / log_prob.shape[-2]
        gradient = _sum_by_cell(index.reshape(-1), c, log_policy.shape)
        if self.needs_policy:
            gradient -= np.exp(log_policy) * gradient.sum(axis=-1, keepdims=True)
        if self.value is not None:
            self.value.move(_mean_over_groups(update.value, self.value.values.shape))
        if self.revision is not None:
            self.revision.move(self._revision_gradient(update, index))
        self.logits.move(gradient)

    def _moving_fields(self, state: State, index: Arms, law: Law) -> dict[str, Any]:
        """What moves with the policy, as far as the algorithm reads it."""
        fields: dict[str, Any] = {}
        if "population" in self.reads:
            fields["population"] = population_of(self.bandit, law, state)
        if "greedy_reward" in self.reads:
            fields["greedy_reward"] = greedy_reward_of(self.bandit, state)
        if state.value is not None:
            fields["value"] = state.value[..., None]
        if state.log_revision is not None:
            arms = _place_last(index % self.bandit.arms)
            fields["revision_log_prob"] = revision_of(state.log_revision, arms, self.bandit.arms)
        return fields

    def _revision_gradient(self, update: Update, index: Arms) -> Floats:
        """(1/n) sum_ij c_ij (e_{y_i} - pi'(. | y_j)) in row y_j of each run's table."""
        size, log_revision = self.bandit.arms, self.log_revision
        arms = _place_last(index)  # (runs, contexts..., n, k), still counting runs and contexts
        cells = arms[..., None, :] * size + (arms % size)[..., :, None]
        c = np.asarray(update.revision_log_prob) / arms.shape[-2]
        table = _sum_by_cell(cells.ravel(), c.ravel(), log_revision.shape)
        return table - np.exp(log_revision) * table.sum(axis=-1, keepdims=True)


def _sum_by_cell(cells: Arms, weights: Floats, shape: tuple[int, ...]) -> Floats:
    """Sum of the weights that fall on each cell of an array of this shape."""
    sums: Any = np.bincount(cells, weights, minlength=math.prod(shape))
    return sums.reshape(shape)


def _mean_over_groups(steps: Any, shape: tuple[int, ...]) -> Floats:
    """Mean step on V of every run and context, from one for each group."""
    return steps.reshape(*shape, -1).mean(axis=-1)


def _place_last(array: Any) -> Any:
    """(k, ...) seen as (..., k)."""
    return array.transpose(*range(1, array.ndim), 0)


def _place_first(c: Any, shape: tuple[int, ...]) -> Floats:
    """Coefficients (runs, contexts..., n, k), flat, in the order of a block's indices."""
    if np.shape(c) != shape:
        c = np.broadcast_to(c, shape)
    return c.transpose(-1, *range(c.ndim - 1)).reshape(-1)


def _softmax(logits: Floats) -> Floats:
    weights = logits - logits.max(axis=-1, keepdims=True)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
