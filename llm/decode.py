"""Sampling completions token by token, from one model or from a mixture of two, caches on.

Samples come from the model's own law, softmax at temperature 1 and nothing cut off: what
`sequence_log_probs` says of them is then their true log-probability.  The randomness is passed in, one
uniform number a token, drawn from a generator that belongs to (seed, prompt): a completion depends
neither on the batch it was sampled in nor on the process, and a run that was killed goes on as if not.

Nash-MD's opponent is the geometric mixture q = pi^(1-eps) ref^eps / Z.  Two laws go by that name:

    token-wise        every next token from the mixture of the two next-token laws, normalised each time
    sequence level    the mixture of the two laws over whole completions, as in theory (T6.4)

They differ (T10).  A token-wise sample has q_token(y) = pi(y)^(1-eps) ref(y)^eps / prod_t Z_t(y), and every
Z_t <= 1 (Hoelder): accepting it with probability prod_t Z_t gives a sample at the sequence level exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache

ATTEMPTS = 1000  # rejections of one opponent before we say that the policies are too far apart


class Decoded(NamedTuple):
    """k completions of each of B prompts."""

    tokens: Tensor  # (B, k, T), zeros where nothing is
    mask: Tensor  # (B, k, T), true up to and with end-of-sequence
    log_mass: Tensor  # (B, k), sum_t log Z_t: zero unless a mixture was sampled


def uniform_noise(seed: Sequence[int], prompts: Sequence[int], k: int, tokens: int) -> Tensor:
    """Uniform numbers (B, k, tokens) from one generator for each prompt's number, whatever the batch.

    Example:
        >>> one, other = uniform_noise([1], [7], 2, 3), uniform_noise([1], [4, 7], 2, 3)
        >>> bool((one[0] == other[1]).all())
        True
    """
    draws = [np.random.default_rng([*seed, number]).random((k, tokens)) for number in prompts]
    return torch.from_numpy(np.stack(draws))


def sample_completions(
    model: nn.Module, prompts: Tensor, prompt_mask: Tensor, noise: Tensor, *, eos_token_id: int
) -> Decoded:
    """k completions of at most T tokens, y ~ pi(. | x).

    Args:
        model: a causal language model.
        prompts, prompt_mask: (B, P), padded anywhere.
        noise: uniform numbers, (B, k, T).
        eos_token_id: the token that ends a completion.
    """
    return _decode([model], lambda log_prob: log_prob, prompts, prompt_mask, noise, eos_token_id)


def greedy_completions(
    model: nn.Module, prompts: Tensor, prompt_mask: Tensor, *, max_new_tokens: int, eos_token_id: int
) -> Decoded:
    """The completion whose every token is the most probable one, k = 1."""

    def certain(log_prob: Tensor) -> Tensor:
        best = log_prob.argmax(-1, keepdim=True)
        return torch.full_like(log_prob, -torch.inf).scatter(-1, best, 0.0)

    noise = torch.full((len(prompts), 1, max_new_tokens), 0.5, dtype=torch.float64)
    return _decode([model], certain, prompts, prompt_mask, noise, eos_token_id)


Mixture = Callable[[Tensor, Tensor], Tensor]


def token_opponents(
    mixture: Mixture,
    policy: nn.Module,
    reference: nn.Module,
    prompts: Tensor,
    prompt_mask: Tensor,
    noise: Tensor,
    *,
    eos_token_id: int,
) -> Decoded:
    """Completions whose every token comes from the mixture of both next-token laws.

    Args:
        mixture: log pi, log ref -> log of the mixture, not normalised (`NashMD.opponent`).
        policy, reference: two models with one vocabulary.
        prompts, prompt_mask, noise, eos_token_id: as for `sample_completions`.
    """
    return _decode([policy, reference], mixture, prompts, prompt_mask, noise, eos_token_id)


def sequence_opponents(
    mixture: Mixture,
    policy: nn.Module,
    reference: nn.Module,
    prompts: Tensor,
    prompt_mask: Tensor,
    *,
    max_new_tokens: int,
    eos_token_id: int,
    seed: Sequence[int],
    numbers: Sequence[int],
) -> Decoded:
    """One completion a prompt from the mixture over whole completions, by rejection  (T6.4).

    Args:
        mixture, policy, reference, prompts, prompt_mask, eos_token_id: as for `token_opponents`.
        max_new_tokens: T.
        seed, numbers: of the generators, one for each prompt.

    Raises:
        ValueError: an opponent was rejected a thousand times: policy and reference are far apart.
    """
    shape = (len(prompts), 1, max_new_tokens)
    tokens = torch.zeros(shape, dtype=torch.long, device=prompts.device)
    mask = torch.zeros(shape, dtype=torch.bool, device=prompts.device)
    log_mass = torch.zeros(shape[:2], device=prompts.device)
    pending = torch.arange(len(prompts))
    for attempt in range(ATTEMPTS):
        mine = [numbers[i] for i in pending.tolist()]
        noise = uniform_noise([*seed, attempt], mine, 1, max_new_tokens + 1)
        drawn = token_opponents(
            mixture,
            policy,
            reference,
            prompts[pending],
            prompt_mask[pending],
            noise[..., :-1],
            eos_token_id=eos_token_id,
        )
        accepted = noise[:, 0, -1].log().to(drawn.log_mass.device) <= drawn.log_mass[:, 0]
        rows = pending[accepted.cpu()]
        tokens[rows], mask[rows] = drawn.tokens[accepted], drawn.mask[accepted]
        log_mass[rows] = drawn.log_mass[accepted].to(log_mass)
        pending = pending[~accepted.cpu()]
        if not len(pending):
            return Decoded(tokens, mask, log_mass)
    raise ValueError(
        f"the opponent of prompt {numbers[int(pending[0])]} was rejected {ATTEMPTS} times: policy and "
        "reference are far apart; use the token-wise mixture, or a larger beta"
    )


@torch.no_grad()
def _decode(
    models: Sequence[nn.Module],
    combine: Callable[..., Tensor],
    prompts: Tensor,
    prompt_mask: Tensor,
    noise: Tensor,
    eos_token_id: int,
) -> Decoded:
    """All models read the prompts once, then go on together, each with its own cache."""
    B, k, T = noise.shape
    context = getattr(models[0].config, "max_position_embeddings", None)
    longest = int(prompt_mask.sum(1).max())
    if context is not None and longest + T > context:
        raise ValueError(
            f"prompt and completion must have at most the model's context of {context} tokens, but may have "
            f"{longest} + {T}; cut the prompts (--max-prompt-tokens) or the samples (--max-new-tokens)"
        )
    inputs, real, positions = _left_padded(prompts, prompt_mask)
    caches = [DynamicCache(config=model.config) for model in models]
    tokens = torch.zeros(B * k, T, dtype=torch.long, device=prompts.device)
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    log_mass = torch.zeros(B * k, dtype=torch.float64, device=prompts.device)
    live = torch.ones(B * k, dtype=torch.bool, device=prompts.device)
    for t in range(T):
        log_probs = [
            _next_log_prob(model, cache, inputs, real, positions)
            for model, cache in zip(models, caches, strict=True)
        ]
        if t == 0:  # the prompts were read once: now every completion has its own row
            for cache in caches:
                cache.batch_repeat_interleave(k)
            log_probs = [x.repeat_interleave(k, 0) for x in log_probs]
            real, positions = real.repeat_interleave(k, 0), positions[:, -1:].repeat_interleave(k, 0)
        mixed = combine(*log_probs)
        log_mass += live * mixed.logsumexp(-1)
        chosen = _inverse_cdf(mixed.softmax(-1), noise[:, :, t].reshape(-1).to(mixed.device))
        tokens[:, t], mask[:, t] = chosen * live, live
        live = live & (chosen != eos_token_id)
        if not live.any():
            break
        inputs, positions = tokens[:, t : t + 1], positions + 1
        real = torch.cat([real, torch.ones_like(live)[:, None]], dim=1)
    return Decoded(tokens.view(B, k, T), mask.view(B, k, T), log_mass.view(B, k))


def _next_log_prob(
    model: nn.Module, cache: DynamicCache, inputs: Tensor, real: Tensor, positions: Tensor
) -> Tensor:
    """log pi of the next token, (rows, V), in float64: sums over thousands of tokens are taken of it."""
    output = model(
        input_ids=inputs,
        attention_mask=real.long(),
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return output.logits[:, -1].double().log_softmax(-1)


def _left_padded(tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens moved to the right of their row, which of them are real, and their positions."""
    order = mask.to(torch.uint8).argsort(dim=-1, stable=True)
    real = mask.gather(-1, order)
    return tokens.gather(-1, order) * real, real, (real.cumsum(-1) - 1).clamp(min=0)


def _inverse_cdf(probability: Tensor, uniform: Tensor) -> Tensor:
    """The first token whose cumulative probability exceeds the uniform number, (rows,)."""
    cumulative = probability.cumsum(-1)
    if not cumulative[:, -1].isfinite().all():
        raise ValueError("next-token probabilities must be finite, but are NaN; training has diverged")
    token = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)[:, 0]
    return token.clamp(max=probability.shape[-1] - 1)
