"""How does a loss become an algorithm?  Its coefficient is minus its derivative in each log pi(y).

A loss of log-probabilities moves the model by -d loss / d log pi(y) grad log pi(y) for each answer y: that is
the coefficient, and autograd has it.  Where the model is given by its tokens, log pi(y) is their sum, and the
derivative is that of raising it with the shares of its tokens as they are; a loss that treats the tokens of
an answer alike has it in each of them.

A label is drawn: where the world knows only its probability the coefficient is the mean over both labels.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bandits import checks
from bandits.samples import Array, Samples, Update, need
from llm.conformance.inputs import FIELDS, MASKS, PADDING, TRAINED, checked, tokens

Loss = Callable[..., Any]
Reduction = Literal["mean", "sum", "none"]
REDUCTIONS = ("mean", "sum", "none")


@dataclass(frozen=True)
class FromLoss:
    """A loss as an algorithm: made by `from_loss`."""

    function: Loss
    inputs: tuple[str, ...]
    k: int
    reduction: Reduction
    grouped: bool  # answers come as (n, k), not as (n k,)

    @property
    def paired(self) -> bool:
        """Whether it takes a winner and a loser."""
        return "chosen" in self.inputs

    def update(self, samples: Samples) -> Update:
        """c = -d loss / d log pi(y), averaged over the label where only its probability is known."""
        totals, first, weight = self._labelled(self.totals(samples))
        value, leaf = self._value(totals, first)
        (slope,) = torch.autograd.grad(value, leaf)
        size = len(slope) if self.reduction == "mean" else 1
        lead = samples.log_prob.shape
        found = -size * (weight[:, None] * slope).reshape(-1, *lead).sum(0)
        return Update(log_prob=found if torch.is_tensor(samples.log_prob) else found.numpy())

    def loss(self, samples: Samples) -> Array:
        """The loss of each group by itself, (...)."""
        totals = self.totals(samples)
        groups = totals["log_prob"].shape[0]
        values = [self._alone({name: x[i : i + 1] for name, x in totals.items()}) for i in range(groups)]
        found = torch.stack(values).reshape(samples.log_prob.shape[:-1])
        return found if torch.is_tensor(samples.log_prob) else found.detach().numpy()

    def _alone(self, totals: dict[str, Tensor]) -> Tensor:
        whole, first, weight = self._labelled(totals)
        rows = [{name: x[i : i + 1] for name, x in whole.items()} for i in range(len(weight))]
        firsts = [None if first is None else first[i : i + 1] for i in range(len(weight))]
        losses = [self._value(row, one)[0] for row, one in zip(rows, firsts, strict=True)]
        return (weight * torch.stack(losses)).sum()

    def totals(self, samples: Samples) -> dict[str, Tensor]:
        """What the loss is shown, as float64 tensors of groups, (n, k), by the field that has it."""
        shape = samples.log_prob.shape
        names = {"log_prob", *(FIELDS[name] for name in self.inputs)}
        found = {name: _flat(need(samples, name), shape) for name in names}
        if self.paired:
            p = need(samples, "preference")[..., 0, 1]
            found["label"] = _flat(p[..., None], (*shape[:-1], 1))[:, 0]
        elif "label" in self.inputs:
            found["label"] = found["desirable"][:, 0]
        return found

    def _labelled(self, totals: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor | None, Tensor]:
        """Every group with each label that may be drawn, one after the other, (n,) or (2 n,).

        Beside it whether the first answer wins, or the answer is good, and the probability of that label.
        """
        p = totals.get("label")
        if p is None:
            return totals, None, torch.ones(len(totals["log_prob"]), dtype=torch.float64)
        if ((p == 0) | (p == 1)).all():
            return totals, p == 1, torch.ones_like(p)
        both = {name: torch.cat((x, x)) for name, x in totals.items()}
        return both, torch.cat((p >= 0, p < 0)), torch.cat((p, 1 - p))

    def _value(self, totals: dict[str, Tensor], first: Tensor | None) -> tuple[Tensor, Tensor]:
        """The reduced loss, and the log-probabilities (n, k) that it is differentiated in."""
        leaf = totals["log_prob"].detach().clone().requires_grad_()
        shown = self.shown({**totals, "log_prob": leaf}, first, PADDING)
        return scalar(self.function(*shown), self), leaf

    def shown(self, totals: dict[str, Tensor], first: Tensor | None, padding: float) -> list[Tensor]:
        """The tensors of a call, in the order of `inputs`."""
        return [self._input(name, totals, first, padding) for name in self.inputs]

    def _input(self, name: str, totals: dict[str, Tensor], first: Tensor | None, padding: float) -> Tensor:
        whole = totals[FIELDS[name]]
        if name == "advantage" and self.k > 1:
            whole = whole - whole.mean(-1, keepdim=True)
        if name == "label":
            assert first is not None
            whole = first.to(whole.dtype)[:, None]
        arranged = self._arranged(whole, name, first)
        masked = any(mask in self.inputs for mask in MASKS)
        if not masked or name in ("advantage", "reward", "label"):
            return arranged
        width, length = int(totals["length"].max()), self._arranged(totals["length"], name, first)
        if name in MASKS:
            return (torch.arange(width) < length[..., None]).to(whole.dtype)
        return tokens(arranged, length, width, FIELDS[name], padding)

    def _arranged(self, whole: Tensor, name: str, first: Tensor | None) -> Tensor:
        """(n, k) as the loss takes it: winners or losers, the groups, or all answers in a row."""
        if self.paired:
            assert first is not None
            place = torch.where(first, 0, 1) if "chosen" in name else torch.where(first, 1, 0)
            return whole.gather(1, place[:, None])[:, 0]
        return whole if self.grouped else whole.reshape(-1)


def from_loss(
    loss: Loss, inputs: Sequence[str], *, k: int | None = None, reduction: Reduction = "mean"
) -> FromLoss:
    """A torch loss as an algorithm: an object with `k`, `update` and `loss`, for everything in `bandits`.

    Args:
        loss: a function of tensors, differentiable in the log-probabilities of the model.
        inputs: names of its positional arguments, of `INPUTS`.
        k: answers of a group, which then come as (n, k); None: pairs, or single answers (n,), which are of
            groups of two where there is an advantage.
        reduction: how the loss puts the n groups together: their "mean", their "sum", or "none" of it.

    Raises:
        ValueError: a name is unknown, or the names do not fit together, the loss or k.

    Example:
        >>> from bandits import Bandit, Offline, expected_update
        >>> def slic(chosen, rejected):
        ...     return torch.relu(1 - (chosen - rejected)).mean()
        >>> world = Bandit([1.0, 0.0], preference=[[0.5, 0.75], [0.25, 0.5]])
        >>> expected_update(from_loss(slic, ("chosen", "rejected")), world, Offline([0.5, 0.5]), [0.5, 0.5])
        array([ 0.25, -0.25])
    """
    names = checked(inputs)
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction must be one of {', '.join(REDUCTIONS)}, but reduction = {reduction!r}")
    _fits(loss, names)
    paired = "chosen" in names
    size = (2 if paired or "advantage" in names else 1) if k is None else checks.count(k, "k")
    if paired and size != 2:
        raise ValueError(f"k must be 2 for pairs, but k = {size}; name log_prob for groups")
    if "label" in names and size != 1:
        raise ValueError(f"k must be 1 where answers are labelled one by one, but k = {size}")
    return FromLoss(loss, names, size, reduction, grouped=k is not None and size > 1)


def _fits(loss: Loss, names: tuple[str, ...]) -> None:
    """Whether a loss can be called with these arguments.

    Raises:
        ValueError: it is not callable, or takes others.
    """
    if not callable(loss):
        raise ValueError(f"loss must be a function of tensors, but loss = {checks.shown(loss)}")
    try:
        signature = inspect.signature(loss)
    except (TypeError, ValueError):  # some builtins have none
        return
    try:
        signature.bind(*names)
    except TypeError as error:
        raise ValueError(
            f"loss must take the {len(names)} tensors that inputs names ({', '.join(names)}), but {error}: "
            f"it takes {signature}; name every tensor, and give the rest a value (functools.partial)"
        ) from error


def scalar(value: Any, made: FromLoss) -> Tensor:
    """The number that is differentiated.

    Raises:
        ValueError: the loss returned no tensor, or one that does not fit the reduction or has no gradient.
    """
    if not torch.is_tensor(value):
        raise ValueError(
            f"loss must return a tensor, but it returned {checks.shown(value)}; leave out .item()"
        )
    if made.reduction != "none" and value.numel() != 1:
        raise ValueError(
            f"loss must return one number under reduction={made.reduction!r}, but its shape is "
            f'{tuple(value.shape)}; reduce it, or say reduction="none"'
        )
    if not value.requires_grad:
        trained = " and ".join(name for name in made.inputs if name in TRAINED)
        raise ValueError(
            f"loss must be differentiable in {trained}, but what it returned has no gradient; "
            f"leave out detach, no_grad, comparisons and argmax on the way"
        )
    return value.double().sum()


def _flat(array: Array, shape: tuple[int, ...]) -> Tensor:
    """A float64 tensor of groups, (n, k), of what broadcasts to the shape (..., k)."""
    own = array.detach() if torch.is_tensor(array) else torch.as_tensor(np.array(array))
    return own.double().broadcast_to(tuple(shape)).reshape(-1, shape[-1])
