"""The log-probability that a causal language model gives to whole completions.

The question is log pi(y|x) = sum_t log pi(y_t | x, y_<t) for k completions y of one prompt x.  They
share x, so x is read once: the completions stand behind it in a single sequence

    columns     x_1 ... x_P | y1_1 ... y1_T  | y2_1 ... y2_T  | ...
    positions   0 ... n-1   | n ... n+T-1    | n ... n+T-1    | ...       n real tokens in x

and a mask (B, 1, columns, columns) lets a token see the prompt and its own completion, no other.
Only the columns that predict a completion token reach the output embedding, a chunk at a time and
again in the backward pass, so that the logits (B, columns, V) never exist.

    B prompts of P columns, k completions each of T columns, V vocabulary

Masks say which columns are real, never token ids: padding may be any token, on either side, and a
masked token does not exist.  Log-probabilities are summed over tokens; their average is another
objective with another optimum (T4.6), taken only on request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedConfig

# Families tested to take a 4-D mask with positions, and to do nothing after their output embedding.
SHARED_PREFIX_FAMILIES = ("gpt2", "gpt_neox")
SHARED_PREFIX_ATTENTION = ("eager", "sdpa")
LOGITS = {"cpu": 2**23, "cuda": 2**26}  # numbers that exist at one time, for speed (CPU) and memory (GPU)


def sequence_log_probs(
    model: nn.Module,
    prompts: Tensor,
    completions: Tensor,
    *,
    prompt_mask: Tensor | None = None,
    completion_mask: Tensor | None = None,
    average: bool = False,
    shared_prefix: bool | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Log-probability of each completion given its prompt, log pi(y|x) = sum_t log pi(y_t | x, y_<t).

    Differentiable; also under autocast, gradient checkpointing and data-parallel wrappers.

    Args:
        model: a causal language model of transformers, or a wrapper of one (`.module`).
        prompts: token ids, (B, P).
        completions: token ids, (B, k, T), with the end-of-sequence token where there is one.
        prompt_mask: (B, P), true where a token is real; None when all are.  Padding on either side.
        completion_mask: (B, k, T), likewise.
        average: divide by the number of tokens.  That is another objective, with another optimum than
            the closed forms of `bandits` (T4.6): for comparing with others' results only.
        shared_prefix: one forward pass over the prompt and all its completions (GPT-2 and GPT-NeoX
            with eager or sdpa attention; None takes it for these), or one sequence a completion, which
            asks of the architecture only that it is causal.
        chunk: predicted tokens whose logits exist at one time; None takes 166 of GPT-2's vocabulary on a
            CPU, where larger ones leave the cache, and 1335 on a GPU.

    Returns:
        (B, k), float32 or the model's own precision if that is higher.

    Raises:
        ValueError: shapes do not fit, a prompt or completion is empty, a token is outside the
            vocabulary, or a sequence is longer than the model's context.
    """
    inner = unwrapped(model)
    x_real, y_real = _checked_masks(inner.config, prompts, completions, prompt_mask, completion_mask)
    x, x_real = _pack(prompts, x_real, left=False)
    y, y_real = _pack(completions, y_real, left=True)
    chunk = chunk or max(LOGITS.get(x.device.type, LOGITS["cuda"]) // inner.config.vocab_size, 1)
    if takes_shared_prefix(model) if shared_prefix is None else shared_prefix:
        inputs, rows, columns = _shared_prefix(x, x_real, y, y_real, inner.dtype)
        found = _through_head(model, inputs, rows[y_real], columns[y_real], y[y_real], chunk)
    else:
        inputs, rows, columns = _separate_sequences(x, x_real, y, y_real)
        found = _through_logits(model, inputs, rows[y_real], columns[y_real], y[y_real], chunk)
    log_prob = found.new_zeros(y.shape).masked_scatter(y_real, found).sum(-1)
    return log_prob / y_real.sum(-1) if average else log_prob


def takes_shared_prefix(model: nn.Module) -> bool:
    """Whether the architecture is one whose k completions are known to fit behind one prompt."""
    config = unwrapped(model).config
    known = config.model_type in SHARED_PREFIX_FAMILIES
    return known and config._attn_implementation in SHARED_PREFIX_ATTENTION


def unwrapped(model: nn.Module) -> Any:
    """The transformers model inside data-parallel wrappers."""
    while isinstance(getattr(model, "module", None), nn.Module):
        model = model.module
    return model


def _pack(tokens: Tensor, real: Tensor, *, left: bool) -> tuple[Tensor, Tensor]:
    """The real tokens, in order, moved to the left (or right) of the last axis; zeros elsewhere."""
    order = (real ^ left).to(torch.uint8).argsort(dim=-1, stable=True)
    real = real.gather(-1, order)
    return tokens.gather(-1, order) * real, real


Columns = tuple[dict[str, Tensor], Tensor, Tensor]


def _shared_prefix(x: Tensor, x_real: Tensor, y: Tensor, y_real: Tensor, dtype: torch.dtype) -> Columns:
    """One sequence a prompt; the row and the column that predict each completion token, (B, k, T)."""
    (B, k, T), P = y.shape, x.shape[1]
    column = torch.arange(P + k * T, device=x.device)
    real = torch.cat([x_real, y_real.flatten(1)], dim=1)  # (B, columns)
    behind = x_real.sum(1)[:, None, None] + column[:T].expand(B, k, T)
    positions = torch.cat([x_real.cumsum(1) - 1, behind.flatten(1)], dim=1) * real

    owner = ((column - P) // T).clamp(min=-1)  # which completion; -1 is the prompt
    visible = ((owner == -1) | (owner == owner[:, None])) & (column <= column[:, None])
    visible = visible & real[:, None]  # (B, columns, columns)
    visible |= torch.eye(len(column), dtype=torch.bool, device=x.device)  # padding sees itself: no NaN
    # Additive and float: eager attention would add a boolean mask as zeros and ones.
    mask = torch.zeros(visible.shape, dtype=dtype, device=x.device)
    mask.masked_fill_(~visible, torch.finfo(dtype).min)

    predicts = column[P - 1 : -1].view(k, T).clone()
    predicts[:, 0] = P - 1
    tokens = torch.cat([x, y.flatten(1)], dim=1)
    inputs = {"input_ids": tokens, "attention_mask": mask[:, None], "position_ids": positions}
    return inputs, torch.arange(B, device=x.device)[:, None, None].expand(B, k, T), predicts.expand(B, k, T)


def _separate_sequences(x: Tensor, x_real: Tensor, y: Tensor, y_real: Tensor) -> Columns:
    """One sequence a completion, padded on the right; rows and columns as in `_shared_prefix`."""
    B, k, T = y.shape
    tokens = torch.cat([x[:, None].expand(B, k, -1), y], dim=-1).flatten(0, 1)
    real = torch.cat([x_real[:, None].expand(B, k, -1), y_real], dim=-1).flatten(0, 1)
    tokens, real = _pack(tokens, real, left=True)
    rows = torch.arange(B * k, device=x.device).view(B, k, 1).expand(B, k, T)
    columns = (x_real.sum(1) - 1)[:, None, None] + torch.arange(T, device=x.device).expand(B, k, T)
    return {"input_ids": tokens, "attention_mask": real.long()}, rows, columns


def _through_head(
    model: nn.Module, inputs: dict[str, Tensor], rows: Tensor, columns: Tensor, targets: Tensor, chunk: int
) -> Tensor:
    """log pi of `targets` (N,), whose predictions stand at (rows, columns) of the hidden states."""
    head = unwrapped(model).get_output_embeddings()
    return at_output_embedding(
        model,
        inputs,
        lambda hidden: _chunked_log_probs(head.forward, hidden[rows, columns], targets, chunk),
    )


def at_output_embedding(
    model: nn.Module, inputs: dict[str, Tensor], read: Callable[[Tensor], Tensor]
) -> Tensor:
    """What is read off the last hidden states, (B, columns, width).

    The work is done where the output embedding is called, hence inside the forward pass of whatever
    wraps the model, under its autocast and with its parameters gathered.  The embedding itself is
    then given no column to work on.
    """
    found: list[Tensor] = []

    def take(_: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
        found.append(read(arguments[0]))
        return (arguments[0][:, :0],)

    handle = unwrapped(model).get_output_embeddings().register_forward_pre_hook(take)
    try:
        model(**inputs, use_cache=False)
    finally:
        handle.remove()
    return found[0]


def _through_logits(
    model: nn.Module, inputs: dict[str, Tensor], rows: Tensor, columns: Tensor, targets: Tensor, chunk: int
) -> Tensor:
    """The same from the model's own logits, at the columns that some row needs."""
    keep = columns.unique()  # sorted
    logits = model(**inputs, logits_to_keep=keep, use_cache=False).logits
    picked = logits[rows, torch.searchsorted(keep, columns)]
    return _chunked_log_probs(lambda logits: logits, picked, targets, chunk)


def _chunked_log_probs(
    head: Callable[[Tensor], Tensor], hidden: Tensor, targets: Tensor, chunk: int
) -> Tensor:
    """log softmax(head(hidden))[target], (N,): each chunk's logits are made, used and forgotten."""

    def log_prob(hidden: Tensor, targets: Tensor) -> Tensor:
        logits = head(hidden)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return -cross_entropy(logits, targets, reduction="none")

    def forget(hidden: Tensor, targets: Tensor) -> Tensor:
        return checkpoint(log_prob, hidden, targets, use_reentrant=False, preserve_rng_state=False)

    step = forget if torch.is_grad_enabled() and len(targets) > chunk else log_prob
    return torch.cat([step(h, y) for h, y in zip(hidden.split(chunk), targets.split(chunk), strict=True)])


def _checked_masks(
    config: PreTrainedConfig,
    prompts: Tensor,
    completions: Tensor,
    prompt_mask: Tensor | None,
    completion_mask: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Both masks as booleans, or the first thing that is wrong with the batch."""
    shaped = prompts.ndim == 2 and completions.ndim == 3 and len(prompts) == len(completions)
    if not shaped or not completions.numel():
        raise ValueError(
            "prompts must have shape (B, P) and completions (B, k, T) with the same B, but the shapes are "
            f"{tuple(prompts.shape)} and {tuple(completions.shape)}; use completions[:, None] for k = 1"
        )
    masks = []
    given = [("prompt", prompts, prompt_mask), ("completion", completions, completion_mask)]
    for name, tokens, mask in given:
        mask = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask.bool()
        if mask.shape != tokens.shape:
            raise ValueError(
                f"{name}_mask must have the shape of the {name}s {tuple(tokens.shape)}, "
                f"but has {tuple(mask.shape)}"
            )
        outside = mask & ((tokens < 0) | (tokens >= config.vocab_size))
        rule = f"in [0, {config.vocab_size})"
        _refuse(outside, tokens, f"token id of a {name}", rule, "check the tokenizer")
        length = mask.sum(-1)
        _refuse(length == 0, length, f"{name} length", "at least 1", "begin or end it with end-of-sequence")
        masks.append(mask)
    longest = masks[0].sum(-1, keepdim=True) + masks[1].sum(-1)
    context = getattr(config, "max_position_embeddings", None)
    if context is not None:
        rule = f"at most the model's context {context}"
        _refuse(longest > context, longest, "prompt and completion length", rule, "shorten the prompts")
    return masks[0], masks[1]


def _refuse(bad: Tensor, values: Tensor, name: str, rule: str, remedy: str) -> None:
    """Raise for the first true entry of `bad`, quoting its index and value."""
    if bad.any():
        index = tuple(bad.nonzero()[0].tolist())
        raise ValueError(f"{name} must be {rule}, but is {values[index].item()} at {list(index)}; {remedy}")
