"""How are the logits of a large vocabulary used without all of them being there?

A model's last hidden states are read where its output embedding is called, a chunk of columns at a time
and again in the backward pass: the logits (B, columns, V) never exist.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

LOGITS = {"cpu": 2**23, "cuda": 2**26}  # numbers that exist at one time, for speed (CPU) and memory (GPU)


def unwrapped(model: nn.Module) -> Any:
    """The transformers model inside data-parallel wrappers."""
    while isinstance(getattr(model, "module", None), nn.Module):
        model = model.module
    return model


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


def chunked_log_probs(
    head: Callable[[Tensor], Tensor], hidden: Tensor, targets: Tensor, vocabulary: int, chunk: int | None
) -> Tensor:
    """log softmax(head(hidden))[target], (N,): each chunk's logits are made, used and forgotten.

    By default a chunk is 166 tokens of GPT-2's vocabulary on a CPU, where larger ones leave the cache, and
    1335 on a GPU.
    """
    chunk = chunk or max(LOGITS.get(hidden.device.type, LOGITS["cuda"]) // vocabulary, 1)

    def log_prob(hidden: Tensor, targets: Tensor) -> Tensor:
        logits = head(hidden)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return -cross_entropy(logits, targets, reduction="none")

    def forget(hidden: Tensor, targets: Tensor) -> Tensor:
        return checkpoint(log_prob, hidden, targets, use_reentrant=False, preserve_rng_state=False)

    step = forget if torch.is_grad_enabled() and len(targets) > chunk else log_prob
    return torch.cat([step(h, y) for h, y in zip(hidden.split(chunk), targets.split(chunk), strict=True)])
