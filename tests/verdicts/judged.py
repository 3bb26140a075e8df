"""What is a row, and how is a trainer's gradient compared?

A row names a loss, where it stands, and the algorithm of `bandits` that it is laid beside.  Both are shown
the same groups, one at a time, at the same parameters: theirs by its loss and autograd, ours by its
coefficients and the Jacobian of the log-probabilities.  With one scale for all groups they agree

    each group        in every group by itself
    in expectation    in the mean over all groups, weighted with their probabilities, and not in each
    no                in neither

Then both batch and groups one by one are asked whether company matters, and at the end that `bandits` gives
whether the trainer rests there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from bandits.samples import TokenSamples, TokenUpdate, Update
from verdicts.world import COUNTS, Groups, World

Kind = Literal["pairs", "own pairs", "answers", "own answers", "groups"]
Gradient = Callable[[Groups, Tensor, Tensor], Tensor]  # (a batch, policy, sampler) -> d loss / d parameters
TOLERANCE = {"run": 2e-5, "function": 1e-6, "formula": 1e-9}  # float32 inside; a clamp's 1e-8; double


@dataclass(frozen=True, kw_only=True)
class Row:
    """One loss of one library.

    Args:
        name: as its users spell it.
        source: file and line of the loss.
        how: "run": the trainer itself; "function": its loss function alone; "formula": written out here.
        kind: what it is shown, as `World` has it; groups and what is its own are drawn by the sampler.
        loss: the world to the gradient of the mean loss over a batch.
        against: what it is laid beside; None: `why` says why there is nothing.
        named: the algorithm of its name, where `against` is another.
        claim: what it says that it is, with the paper's arXiv number.
        stale: whether the sampler differs from the policy (groups only); else samples are its own.
        second: a second program for the same loss, where what is found is not what the name says.
        smooth: False: its end stands at a kink, where the trainer's gradient is one of many.
        ends_as: what ends where it ends, if not `against`: an algorithm, the world to one, or None.
    """

    library: str
    name: str
    source: str
    how: Literal["run", "function", "formula"]
    kind: Kind
    claim: str
    loss: Callable[[World], Gradient]
    against: Any = None
    named: Any = None
    why: str = ""
    notes: str = ""
    stale: bool = False
    second: Callable[[World], Gradient] | None = None
    ends_as: Any = "against"
    smooth: bool = True


@dataclass(frozen=True)
class Agreement:
    """How far theirs = scale * ours."""

    word: str  # "each group", "in expectation", "no"
    scale: float
    error: float  # largest difference, relative to the largest number, where they agree best


def groups_of(world: World, kind: Kind, sampler: Tensor) -> Groups:
    """The groups that a row is shown, with their probabilities."""
    if kind in ("pairs", "answers"):
        return getattr(world, kind)
    drawn = {"groups": world.groups, "own pairs": world.own_pairs, "own answers": world.own_answers}
    return drawn[kind](sampler)


def theirs(world: World, row: Row, policy: Tensor, sampler: Tensor) -> tuple[Groups, Tensor]:
    """Every group and minus the gradient of its own loss, (n, P)."""
    return _alone(row.loss(world), groups_of(world, row.kind, sampler), policy, sampler)


def _alone(gradient: Gradient, groups: Groups, policy: Tensor, sampler: Tensor) -> tuple[Groups, Tensor]:
    each = [-gradient(groups.some(torch.tensor([i])), policy, sampler) for i in range(len(groups))]
    return groups, torch.stack(each)


def ours(world: World, algorithm: Any, groups: Groups, policy: Tensor, sampler: Tensor) -> Tensor:
    """What the algorithm moves the parameters by for each group, (n, P)."""
    samples = seen(world, groups, policy, sampler)
    update: Update | TokenUpdate = algorithm.update(samples)
    token_wise = isinstance(update, TokenUpdate)
    c = update.token_log_prob if token_wise else update.log_prob[..., None] * samples.mask
    return torch.einsum("nkt,nktp->np", c, world.jacobian(policy)[groups.arms])


def seen(world: World, groups: Groups, policy: Tensor, sampler: Tensor) -> TokenSamples:
    """Everything that an algorithm may look at in these groups."""
    places = policy, world.reference, sampler
    log_prob, reference, behavior = (world.table(place)[groups.arms] for place in places)
    log_ratio = (world.table(policy) - world.table(world.reference)).sum(-1)
    k, label = groups.arms.shape[-1], groups.label
    first_wins = torch.tensor([[0.5, 1.0], [0.0, 0.5]], dtype=torch.float64)
    return TokenSamples(
        log_prob=log_prob.sum(-1),
        reference_log_prob=reference.sum(-1),
        behavior_log_prob=behavior.sum(-1),
        reward=torch.from_numpy(world.reward)[groups.arms],
        preference=first_wins.expand(len(groups), 2, 2) if k == 2 else None,
        desirable=None if label is None else label[:, None],
        value=None if label is None else reference_point(log_ratio).expand(len(groups)),
        length=world.lengths[groups.arms].double(),
        token_log_prob=log_prob,
        token_reference_log_prob=reference,
        token_behavior_log_prob=behavior,
        mask=world.mask[groups.arms].double(),
    )


def reference_point(log_ratio: Tensor) -> Tensor:
    """KTO's z as its trainers estimate it: the mean log-ratio of the data's answers, at least zero."""
    law = torch.tensor(COUNTS, dtype=torch.float64) / sum(COUNTS)
    return (law * log_ratio).sum().clamp(min=0)


@dataclass(frozen=True)
class Judged:
    """What is found of a row at one policy."""

    agreements: list[Agreement]  # with `against` and with `named`, those that there are
    size: float  # expected |gradient| of a group
    confirmed: float | None  # how far the second program's gradient is from it, in each group


def judged(world: World, row: Row) -> Judged:
    """How theirs compares, at a policy that is neither the reference nor, if stale, the sampler."""
    sampler = world.sampler if row.stale else world.policy
    groups, found = theirs(world, row, world.policy, sampler)
    known = [each for each in (row.against, row.named) if each is not None]
    gradients = (ours(world, each, groups, world.policy, sampler) for each in known)
    size = float(groups.weight @ found.norm(dim=1))
    confirmed = None
    if row.second is not None:
        confirmed = _difference(found, _alone(row.second(world), groups, world.policy, sampler)[1])
    found_agreements = [compared(groups, found, each, TOLERANCE[row.how]) for each in gradients]
    return Judged(found_agreements, size, confirmed)


def _difference(found: Tensor, known: Tensor) -> float:
    return float((found - known).abs().max() / found.abs().max())


def compared(groups: Groups, found: Tensor, known: Tensor, tolerance: float) -> Agreement:
    """In each group, else in expectation, else not."""
    scale, error = _fit(found, known)
    if error <= tolerance and scale > 0:
        return Agreement("each group", scale, error)
    mean, expected = (groups.weight @ x for x in (found, known))
    scale_of_means, error_of_means = _fit(mean, expected)
    if error_of_means <= tolerance and scale_of_means > 0:
        return Agreement("in expectation", scale_of_means, error_of_means)
    return Agreement("no", scale_of_means, error_of_means)


def _fit(found: Tensor, known: Tensor) -> tuple[float, float]:
    scale = float((found * known).sum() / known.square().sum())
    return scale, float((found - scale * known).abs().max() / found.abs().max())


def company(world: World, row: Row) -> str:
    """What a batch of several groups does that its groups one by one do not: "", or in words."""
    gradient, sampler = row.loss(world), world.sampler if row.stale else world.policy
    groups = groups_of(world, row.kind, sampler)
    # neighbours in the list share arms: every fifth; unlike answers come first, so that lengths differ
    some = groups.some(torch.arange(0, len(groups), 5))
    try:
        together = -gradient(some, world.policy, sampler)
    except RuntimeError:
        return f"a batch of {len(some)} groups stops with an error"
    _, alone = _alone(gradient, some, world.policy, sampler)
    scale, error = _fit(together, alone.mean(0))
    if error <= TOLERANCE[row.how]:
        return "" if abs(scale - 1) <= 1e-4 else f"a batch moves {scale:.3g} times the mean of its groups"
    return "the groups of a batch are not trained as each by itself"


def pull(world: World, row: Row, policy: Tensor) -> float:
    """|expected gradient| of the trainer at a policy, its own sampler for groups."""
    groups, found = theirs(world, row, policy, policy)
    return float((groups.weight @ found).norm())
