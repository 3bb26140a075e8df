"""What is a loss given?  Tensors by name, read off the `Samples` of `bandits`.

    pairs            chosen rejected reference_chosen reference_rejected chosen_mask rejected_mask      (n,)
    single answers   log_prob old_log_prob reference_log_prob advantage label mask                      (n,)
    groups           the same, and reward                                                            (n, k)

All are float64.  Where a mask is named there is a further axis T: the log-probabilities are those of tokens,
whose sum is the answer's, and behind the last token stand numbers that mean nothing.  Each tensor spreads its
sum unevenly over the tokens, and each of them differently, so that ratios of tokens are not those of answers.
An advantage is the reward less the group's mean; in groups of one it is the reward.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

INPUTS = (
    "chosen",
    "rejected",
    "reference_chosen",
    "reference_rejected",
    "chosen_mask",
    "rejected_mask",
    "log_prob",
    "old_log_prob",
    "reference_log_prob",
    "reward",
    "advantage",
    "mask",
    "label",
)
PAIRED = INPUTS[:6]
TRAINED = ("chosen", "rejected", "log_prob")
MASKS = ("chosen_mask", "rejected_mask", "mask")
FIELDS = {  # of `Samples`, by the input that shows them
    "chosen": "log_prob",
    "rejected": "log_prob",
    "log_prob": "log_prob",
    "reference_chosen": "reference_log_prob",
    "reference_rejected": "reference_log_prob",
    "reference_log_prob": "reference_log_prob",
    "old_log_prob": "behavior_log_prob",
    "reward": "reward",
    "advantage": "reward",
    "label": "desirable",
    "chosen_mask": "length",
    "rejected_mask": "length",
    "mask": "length",
}
PADDING = -3.7  # what stands behind the last token, of whatever tensor


def checked(inputs: Sequence[str]) -> tuple[str, ...]:
    """Names of inputs that fit together.

    Raises:
        ValueError: one is unknown or named twice, nothing is trained, or pairs and single answers are mixed.
    """
    if isinstance(inputs, str):
        raise ValueError(f"inputs must be a sequence of names, but inputs = {inputs!r}; write ({inputs!r},)")
    names = tuple(inputs)
    unknown = [name for name in names if name not in INPUTS]
    if unknown:
        raise ValueError(
            f"inputs must be names of INPUTS, but one is {unknown[0]!r}; choose of {', '.join(INPUTS)}"
        )
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"inputs must name each tensor once, but {twice[0]!r} stands there twice")
    paired = {name for name in names if name in PAIRED}
    trained = set(names) & set(TRAINED)
    wanted = {"chosen", "rejected"} if paired else {"log_prob"}
    if trained != wanted or (paired and paired != set(names)):
        raise ValueError(
            f"inputs must be those of pairs, with chosen and rejected, or those of answers, with log_prob, "
            f"but inputs = {names!r}"
        )
    if ("chosen_mask" in names) != ("rejected_mask" in names):
        raise ValueError("inputs must name both masks of a pair or none, but one of them is missing")
    return names


def shares(length: Tensor, width: int, which: str) -> Tensor:
    """How the sum over an answer is spread over its tokens: (...,) to (..., T), zero behind the last one."""
    place = torch.arange(width, dtype=length.dtype, device=length.device)
    real = place < length[..., None]
    uneven = {"log_prob": 1 + place, "reference_log_prob": 2 + torch.cos(place)}
    weight = real * uneven.get(which, 2 + torch.sin(1 + 2 * place))
    return weight / weight.sum(-1, keepdim=True)


def tokens(total: Tensor, length: Tensor, width: int, which: str, padding: float) -> Tensor:
    """Numbers of the tokens of each answer, (..., T), that sum to its total; `padding` behind them."""
    share = shares(length, width, which)
    return torch.where(share > 0, total[..., None] * share, torch.full_like(share, padding))
