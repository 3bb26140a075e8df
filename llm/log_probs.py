"""What log-probability does a causal language model give to whole completions?

log pi(y|x) = sum_t log pi(y_t | x, y_<t), for k completions y of each prompt x:

    B prompts of P columns, k completions each of T columns, V vocabulary

Log-probabilities are summed over tokens; their average is another objective with another optimum (T4.6),
taken only on request.  Token-wise algorithms (`bandits.sequences`) take them before they are summed.
"""

import torch
from torch import Tensor, nn

from llm.head import chunked_log_probs, unwrapped
from llm.padding import checked_masks, pack
from llm.shared_prefix import shared_prefix_log_probs, takes_shared_prefix


def sequence_log_probs(
    model: nn.Module,
    prompts: Tensor,
    completions: Tensor,
    *,
    prompt_mask: Tensor | None = None,
    completion_mask: Tensor | None = None,
    average: bool = False,
    per_token: bool = False,
    shared_prefix: bool | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Log-probability of each completion given its prompt, log pi(y|x) = sum_t log pi(y_t | x, y_<t).

    Differentiable; also under autocast, gradient checkpointing and data-parallel wrappers.

    Args:
        model: a causal language model of transformers, or a wrapper of one (`.module`).
        prompts, completions: token ids, (B, P) and (B, k, T), end-of-sequence included where there is one.
        prompt_mask, completion_mask: true where a token is real; None when all are.  Padding on either side.
        average: divide by the number of tokens: not what the closed forms of `bandits` speak of (T4.6).
        per_token: log pi(y_t | x, y_<t) instead of their sum (or average): real tokens first, zero behind.
        shared_prefix: one forward pass over the prompt and all its completions (GPT-2 and GPT-NeoX
            with eager or sdpa attention; None takes it for these), or one sequence a completion, which
            asks of the architecture only that it is causal.
        chunk: predicted tokens whose logits exist at one time; None takes what suits the device.

    Returns:
        (B, k), or (B, k, T) with `per_token`, float32 or the model's own precision if that is higher.

    Raises:
        ValueError: shapes do not fit, a prompt or completion is empty, a token is outside the
            vocabulary, or a sequence is longer than the model's context.

    Example: one prompt, and two completions of two tokens, each token with 1/3.

        >>> from transformers import GPT2Config, GPT2LMHeadModel
        >>> size = {"vocab_size": 3, "n_layer": 1, "n_embd": 4, "n_head": 1, "n_positions": 8}
        >>> model = GPT2LMHeadModel(GPT2Config(**size, bos_token_id=2, eos_token_id=2)).eval()
        >>> _ = model.lm_head.weight.data.zero_()  # all three tokens are alike
        >>> found = sequence_log_probs(model, torch.tensor([[0, 1]]), torch.tensor([[[0, 2], [1, 2]]]))
        >>> found.exp().detach().numpy().round(4)
        array([[0.1111, 0.1111]], dtype=float32)
    """
    config = unwrapped(model).config
    x_real, y_real = checked_masks(config, prompts, completions, prompt_mask, completion_mask)
    y, y_real = pack(completions, y_real, left=True)
    shared = takes_shared_prefix(model) if shared_prefix is None else shared_prefix
    of_tokens = shared_prefix_log_probs if shared else separate_log_probs
    found = of_tokens(model, prompts, x_real, y, y_real, chunk)
    log_prob, length = found.new_zeros(y.shape).masked_scatter(y_real, found), y_real.sum(-1, keepdim=True)
    log_prob = log_prob if per_token else log_prob.sum(-1, keepdim=True)
    log_prob = log_prob / length if average else log_prob
    return log_prob if per_token else log_prob[..., 0]


def separate_log_probs(
    model: nn.Module, x: Tensor, x_real: Tensor, y: Tensor, y_real: Tensor, chunk: int | None
) -> Tensor:
    """log pi(y_t | x, y_<t) of every real token of y (B, k, T) behind x (B, P), (N,).

    One sequence a completion, padded on the right: with n tokens in x, column n - 1 + t predicts y_t.
    """
    B, k, T = y.shape
    tokens = torch.cat([x[:, None].expand(B, k, -1), y], dim=-1).flatten(0, 1)
    real = torch.cat([x_real[:, None].expand(B, k, -1), y_real], dim=-1).flatten(0, 1)
    tokens, real = pack(tokens, real, left=True)
    row = torch.arange(B * k, device=x.device).view(B, k, 1).expand(B, k, T)[y_real]
    t = torch.arange(T, device=x.device)
    column = ((x_real.sum(1) - 1)[:, None, None] + t).expand(B, k, T)[y_real]
    keep = column.unique()  # sorted; logits are made of the columns that some row needs
    logits = model(input_ids=tokens, attention_mask=real.long(), logits_to_keep=keep, use_cache=False).logits
    picked = logits[row, torch.searchsorted(keep, column)]
    return chunked_log_probs(lambda logits: logits, picked, y[y_real], logits.shape[-1], chunk)
