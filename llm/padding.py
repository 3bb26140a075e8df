"""Which columns of a batch are real?

Masks say so, never token ids: padding may be any token, on either side, and a masked token does not
exist.  What is wrong with a batch is said here, once, before any model sees it.

    B prompts of P columns, k completions each of T columns
"""

import math

import torch
from torch import Tensor
from transformers import PreTrainedConfig


def pack(tokens: Tensor, real: Tensor, *, left: bool) -> tuple[Tensor, Tensor]:
    """The real tokens, in order, moved to the left (or right) of the last axis; zeros elsewhere.

    Example:
        >>> tokens, real = pack(torch.tensor([5, 9, 6]), torch.tensor([True, False, True]), left=True)
        >>> tokens.tolist(), real.tolist()
        ([5, 6, 0], [True, True, False])
    """
    order = (real ^ left).to(torch.uint8).argsort(dim=-1, stable=True)
    real = real.gather(-1, order)
    return tokens.gather(-1, order) * real, real


def positions_of(real: Tensor) -> Tensor:
    """The position of each real token in its sequence, zero for others."""
    return (real.cumsum(-1) - 1) * real


def checked_masks(
    config: PreTrainedConfig,
    prompts: Tensor,
    completions: Tensor,
    prompt_mask: Tensor | None,
    completion_mask: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Both masks as booleans, or why this is no batch; without a mask all columns are real."""
    shaped = prompts.ndim == 2 and completions.ndim == 3 and len(prompts) == len(completions)
    if not shaped or not completions.numel():
        raise ValueError(
            "prompts must have shape (B, P) and completions (B, k, T) with the same B, but the shapes are "
            f"{tuple(prompts.shape)} and {tuple(completions.shape)}; use completions[:, None] for k = 1"
        )
    x_real = _checked("prompt", prompts, prompt_mask, config.vocab_size)
    y_real = _checked("completion", completions, completion_mask, config.vocab_size)
    check_context(config, x_real.sum(-1, keepdim=True) + y_real.sum(-1))
    return x_real, y_real


def _checked(name: str, tokens: Tensor, mask: Tensor | None, vocabulary: int) -> Tensor:
    mask = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask.bool()
    if mask.shape != tokens.shape:
        raise ValueError(
            f"{name}_mask must have the shape of the {name}s {tuple(tokens.shape)}, "
            f"but has {tuple(mask.shape)}"
        )
    outside = mask & ((tokens < 0) | (tokens >= vocabulary))
    _refuse(outside, tokens, f"token id of a {name}", f"in [0, {vocabulary})", "check the tokenizer")
    length = mask.sum(-1)
    _refuse(length == 0, length, f"{name} length", "at least 1", "begin or end it with end-of-sequence")
    return mask


def check_context(
    config: PreTrainedConfig,
    lengths: Tensor,
    name: str = "prompt and completion",
    remedy: str = "cut the prompts (--max-prompt-tokens) or the samples (--max-new-tokens)",
    limit: float = math.inf,
) -> None:
    """Refuse sequences of more tokens than fit into the model, or than a limit of their own."""
    context = min(limit, getattr(config, "max_position_embeddings", None) or math.inf)
    rule = f"at most the model's context of {context} tokens"
    _refuse(lengths > context, lengths, f"{name} length", rule, remedy)


def _refuse(bad: Tensor, values: Tensor, name: str, rule: str, remedy: str) -> None:
    """ValueError with the first entry of the values that is bad, and where it is."""
    if bad.any():
        index = tuple(bad.nonzero()[0].tolist())
        raise ValueError(f"{name} must be {rule}, but is {values[index].item()} at {list(index)}; {remedy}")
