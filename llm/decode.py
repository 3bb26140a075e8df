"""Sampling completions token by token, from one model or from a mixture of two, caches on.

Samples come from the model's own law, softmax at temperature 1 and nothing cut off: what
`sequence_log_probs` says of them is then their true log-probability.  The randomness is passed in, one
uniform number a token, drawn from a generator that belongs to (seed, prompt): a completion depends
neither on the batch it was sampled in nor on the process, and a run that was killed goes on as if not.

Nash-MD's opponent is mixed token by token: every next token comes from pi^(1-eps) ref^eps / Z_t.  That is
not the mixture over whole completions of theory (T6.4): y has the law pi(y)^(1-eps) ref(y)^eps / prod_t Z_t,
and as every Z_t <= 1 (Hoelder), it is drawn the more often the more the two laws disagree on its way (T10.1).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad as pad_axis
from transformers import DynamicCache

from llm.model import Diverged
from llm.padding import check_context, pack, positions_of

SEQUENCES = 128  # that are sampled together
BLOCK = 256  # tokens whose probabilities are added up before one of them is looked for


class Decoded(NamedTuple):
    """k completions of each of B prompts."""

    tokens: Tensor  # (B, k, T), zeros where nothing is
    mask: Tensor  # (B, k, T), true up to and with end-of-sequence

    @property
    def ids(self) -> list[list[list[int]]]:
        """Token ids of each completion, end-of-sequence included where it came."""
        pairs = zip(self.tokens.tolist(), self.mask.sum(-1).tolist(), strict=True)
        return [[y[:n] for y, n in zip(row, lengths, strict=True)] for row, lengths in pairs]


def uniform_noise(seed: Sequence[int], prompts: Sequence[int], k: int, tokens: int) -> Tensor:
    """Uniform numbers (B, k, tokens) from one generator for each prompt's number, whatever the batch."""
    draws = [np.random.default_rng([*seed, number]).random((k, tokens)) for number in prompts]
    return torch.from_numpy(np.stack(draws))


def sample_completions(
    model: nn.Module, prompts: Tensor, prompt_mask: Tensor, noise: Tensor, *, eos_token_id: int
) -> Decoded:
    """k completions of at most T tokens, y ~ pi(. | x).

    The prompts (B, P) are padded anywhere; the noise is uniform, (B, k, T).
    """
    choose = _chooser(noise, prompts.device)
    return _decode([model], choose, prompts, prompt_mask, noise.shape, eos_token_id)


def greedy_completions(
    model: nn.Module, prompts: Tensor, prompt_mask: Tensor, *, max_new_tokens: int, eos_token_id: int
) -> Decoded:
    """The completion whose every token is the most probable one, k = 1."""
    shape = (len(prompts), 1, max_new_tokens)

    def best(t: int, rows: Tensor, logits: Tensor) -> Tensor:
        _finite(logits.amax(-1))
        return logits.argmax(-1)

    return _decode([model], best, prompts, prompt_mask, shape, eos_token_id)


def token_opponents(
    mixture: Callable[[Tensor, Tensor], Tensor],
    policy: nn.Module,
    reference: nn.Module,
    prompts: Tensor,
    prompt_mask: Tensor,
    noise: Tensor,
    *,
    eos_token_id: int,
) -> Decoded:
    """Completions whose every token comes from the mixture of both next-token laws.

    `mixture` takes log pi and log ref, and gives the log of the mixture, not normalised (`NashMD.opponent`).
    """
    choose = _chooser(noise, prompts.device)

    def mixed(t: int, rows: Tensor, *logits: Tensor) -> Tensor:
        return choose(t, rows, mixture(*(x.log_softmax(-1) for x in logits)))

    return _decode([policy, reference], mixed, prompts, prompt_mask, noise.shape, eos_token_id)


def _chooser(noise: Tensor, device: torch.device) -> Callable[[int, Tensor, Tensor], Tensor]:
    """The token of step t, in some of the rows, whose turn the noise says it is."""
    steps = noise.flatten(0, 1).to(device).unbind(-1)
    return lambda t, rows, logits: inverse_cdf(logits, steps[t][rows])


@torch.no_grad()
def _decode(
    models: Sequence[nn.Module],
    choose: Callable[..., Tensor],  # the step, rows and each model's logits of them -> a token for each
    prompts: Tensor,
    prompt_mask: Tensor,
    shape: tuple[int, int, int],
    eos_token_id: int,
) -> Decoded:
    """All models read the prompts once, then go on together, each with its own cache."""
    B, k, T = shape
    check_context(models[0].config, prompt_mask.sum(1) + T)
    inputs, real = pack(prompts, prompt_mask, left=False)
    positions = positions_of(real)
    caches = [DynamicCache(config=model.config) for model in models]
    tokens, mask = (prompts.new_zeros(B * k, T, dtype=kind) for kind in (torch.long, torch.bool))
    live, rows = torch.ones_like(mask[:, 0]), torch.arange(B * k, device=prompts.device)
    for t in range(T):
        logits = [_next_logits(*pair, inputs, real, positions) for pair in zip(models, caches, strict=True)]
        if t == 0:  # the prompts were read once: now every completion has its own row
            for cache in caches:
                cache.batch_repeat_interleave(k)
            logits = [x.repeat_interleave(k, 0) for x in logits]
            real, positions = real.repeat_interleave(k, 0), positions[:, -1:].repeat_interleave(k, 0)
        chosen = choose(t, rows, *logits)
        tokens[rows, t], mask[rows, t] = chosen * live, live
        live = live & (chosen != eos_token_id)
        if not live.any():
            break
        inputs, positions = tokens[rows, t : t + 1], positions + 1
        real = torch.cat([real, torch.ones_like(live)[:, None]], dim=1)
        if 2 * int(live.sum()) <= len(rows):  # the others go on without those that have ended
            left = live.nonzero()[:, 0]
            for cache in caches:
                cache.batch_select_indices(left)
            live, rows, inputs, real, positions = (x[left] for x in (live, rows, inputs, real, positions))
    return Decoded(tokens.view(B, k, T), mask.view(B, k, T))


def _next_logits(
    model: nn.Module, cache: DynamicCache, inputs: Tensor, real: Tensor, positions: Tensor
) -> Tensor:
    """Logits of the next token, (rows, V), in float32 or the model's own precision if that is higher."""
    output = model(
        input_ids=inputs,
        attention_mask=real.long(),
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits = output.logits[:, -1]
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def inverse_cdf(logits: Tensor, uniform: Tensor) -> Tensor:
    """The first token whose cumulative probability exceeds the uniform number, (rows,) from (rows, V).

    Blocks of tokens first, then the tokens of the block that is hit, as a share of it: one token is wanted,
    and the cumulative probabilities of 50 000 would cost more than the model.

    Example:
        >>> inverse_cdf(torch.tensor([0.2, 0.3, 0.5]).log().expand(3, 3), torch.tensor([0.1, 0.3, 0.6]))
        tensor([0, 1, 2])
    """
    blocks = pad_axis(logits.softmax(-1), (0, -logits.shape[-1] % BLOCK)).unflatten(-1, (-1, BLOCK))
    block, share = _hit(_finite(blocks.sum(-1)).double(), uniform[:, None].double())
    inside = blocks.gather(1, block[..., None].expand(-1, 1, BLOCK))[:, 0].double()
    return (block * BLOCK + _hit(inside, share)[0])[:, 0]


def _hit(mass: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Where the cumulative share of the mass exceeds the uniform number, (rows, 1), and how far into it."""
    cumulative = mass.cumsum(-1)
    below = 1 - torch.finfo(mass.dtype).eps  # so that rounding never hits an entry without mass
    target = uniform.clamp(max=below) * cumulative[:, -1:]
    entry = torch.searchsorted(cumulative, target, right=True)
    before = (cumulative - mass).gather(-1, entry)
    return entry, (target - before) / mass.gather(-1, entry)


def _finite(numbers: Tensor) -> Tensor:
    if not numbers.isfinite().all():
        raise Diverged("next-token probabilities must be finite, but are NaN; training has diverged")
    return numbers
