"""How do k completions of one prompt share one forward pass?

They stand behind the prompt in a single sequence, real tokens only

    columns     x_1 ... x_n | y1_1 y1_2 ... | y2_1 y2_2 ... | ...
    positions   0 ... n-1   | n    n+1  ... | n    n+1  ... | ...

and a mask (B, 1, columns, columns) lets a token see the prompt and its own completion, no other.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad as pad_axis

from llm.head import at_output_embedding, chunked_log_probs, unwrapped
from llm.padding import pack, positions_of

# Families tested to take a 4-D mask with positions, and to do nothing after their output embedding.
FAMILIES = ("gpt2", "gpt_neox")
ATTENTION = ("eager", "sdpa")
FEW, TIMES = 4, 2  # completions that share a prompt in any case; further ones up to so many times its length


def takes_shared_prefix(model: nn.Module) -> bool:
    """Whether the architecture is one whose k completions are known to fit behind one prompt."""
    config = unwrapped(model).config
    return config.model_type in FAMILIES and config._attn_implementation in ATTENTION


def shared_prefix_log_probs(
    model: nn.Module, x: Tensor, x_real: Tensor, y: Tensor, y_real: Tensor, chunk: int | None
) -> Tensor:
    """log pi of every real token of y (B, k, T) behind x (B, P), (N,), as `separate_log_probs`: faster."""
    inner = unwrapped(model)
    x, x_real = pack(x, x_real, left=False)  # the last column of x predicts all first tokens
    x, x_real, y, y_real = in_rows(x, x_real, y, y_real)
    (B, k, T), P = y.shape, x.shape[1]
    predicts = torch.arange(P - 1, P - 1 + k * T, device=x.device).view(k, T)
    predicts[:, 0] = P - 1
    rows = torch.arange(B, device=x.device)[:, None, None].expand(B, k, T)[y_real]
    place = torch.cat([x_real, y_real.flatten(1)], dim=1).cumsum(1) - 1  # of a real token, padding left out
    columns, head = place[:, predicts][y_real], inner.get_output_embeddings()

    def read(hidden: Tensor) -> Tensor:
        picked = hidden[rows, columns]
        return chunked_log_probs(head.forward, picked, y[y_real], inner.config.vocab_size, chunk)

    return at_output_embedding(model, one_sequence(x, x_real, y, y_real, inner.dtype), read)


def shared_prefix_outputs(model: nn.Module, x: Tensor, x_real: Tensor, y: Tensor, y_real: Tensor) -> Tensor:
    """What a causal classifier says at the last token of y (B, k, T) behind x (B, P), (B, k, labels).

    A completion without a real token is judged at the last of its prompt.
    """
    inner = unwrapped(model)
    hidden = inner.base_model(**one_sequence(x, x_real, y, y_real, inner.dtype), use_cache=False)[0]
    prompt, length = x_real.sum(1, keepdim=True), y_real.sum(-1)
    column = prompt - 1 + length.cumsum(-1) * (length > 0)  # padding is left out of a row
    return inner.score(hidden.gather(1, column[..., None].expand(-1, -1, hidden.shape[-1])))


def in_rows(x: Tensor, x_real: Tensor, y: Tensor, y_real: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same completions in the same order, no more behind one prompt than pays: further ones have a copy.

    All columns of a row look at each other: of 256 completions together that costs more than reading the
    prompt again. The last row is filled up with completions that have no real token.
    """
    (_, k, T), P = y.shape, x.shape[1]
    together = min(max(FEW, TIMES * P // T), k)
    rows, empty = -(-k // together), (0, 0, 0, -k % together)
    x, x_real = (each.repeat_interleave(rows, 0) for each in (x, x_real))
    y, y_real = (pad_axis(each, empty).unflatten(1, (rows, together)).flatten(0, 1) for each in (y, y_real))
    return x, x_real, y, y_real


def one_sequence(
    x: Tensor, x_real: Tensor, y: Tensor, y_real: Tensor, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Inputs of the model: prompt and completions in one row, who sees whom, and positions."""
    (_, k, T), P = y.shape, x.shape[1]
    column = torch.arange(P + k * T, device=x.device)
    real = torch.cat([x_real, y_real.flatten(1)], dim=1)  # (B, columns)
    behind = (x_real.sum(1, keepdim=True) + column[:T]).repeat(1, k)
    positions = torch.cat([positions_of(x_real), behind], dim=1) * real
    tokens = torch.cat([x, y.flatten(1)], dim=1)
    owner = ((column - P) // max(T, 1)).clamp(min=-1).expand_as(tokens)  # which completion; -1 is the prompt

    longest = int(real.sum(1).max())
    first = (~real).to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]  # the real ones, in their order
    tokens, positions, owner, real = (each.gather(1, first) for each in (tokens, positions, owner, real))
    same = (owner[:, None] == -1) | (owner[:, None] == owner[:, :, None])
    visible = (same & real[:, None]).tril()  # (B, columns, columns)
    visible |= torch.eye(longest, dtype=torch.bool, device=x.device)  # padding sees itself: no NaN
    # Additive and float: eager attention would add a boolean mask as zeros and ones.
    mask = torch.zeros(visible.shape, dtype=dtype, device=x.device)
    mask.masked_fill_(~visible, torch.finfo(dtype).min)
    return {"input_ids": tokens, "attention_mask": mask[:, None], "position_ids": positions}
