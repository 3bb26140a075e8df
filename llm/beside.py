"""What may be trained beside the policy, by coefficients of its own?

V(x)               DRO's value, on the policy's last hidden state behind the prompt  (T8.1)
pi'(y_i | x, y_j)  SRPO's revision policy, the model itself asked to revise an answer  (T7.1)
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from llm.head import at_output_embedding, unwrapped
from llm.log_probs import sequence_log_probs
from llm.padding import checked_masks

VALUE = "prompt_value"  # the submodule of a policy that is DRO's V


def revision_log_probs(
    model: nn.Module,
    prompts: Tensor,
    completions: Tensor,
    *,
    instruction: Tensor,
    prompt_mask: Tensor | None = None,
    completion_mask: Tensor | None = None,
) -> Tensor:
    """log pi'(y_i | x, y_j) for all i and j: the model as its own reviser, SRPO's second policy (T7.1).

    The revision prompt is the prompt, the answer to be revised and the instruction (I,), say the token ids of
    "Revise:", one after another; the rest is as for `sequence_log_probs`.

    Returns:
        (B, k, k), [b, i, j] = log pi'(y_i | x_b, y_j), the layout of `Samples.revision_log_prob`.
    """
    (B, k, _), tail = completions.shape, instruction.expand(len(prompts), -1)
    config = unwrapped(model).config
    x_real, y_real = checked_masks(config, prompts, completions, prompt_mask, completion_mask)
    tail_real = torch.ones_like(tail, dtype=torch.bool)

    def behind_each(x: Tensor, y: Tensor, tail: Tensor) -> Tensor:
        """(B k, P + T + I): the prompt, an answer, the instruction."""
        return torch.cat([x.repeat_interleave(k, 0), y.flatten(0, 1), tail.repeat_interleave(k, 0)], dim=1)

    found = sequence_log_probs(
        model,
        behind_each(prompts, completions, tail),
        completions.repeat_interleave(k, 0),
        prompt_mask=behind_each(x_real, y_real, tail_real),
        completion_mask=y_real.repeat_interleave(k, 0),
    )
    return found.view(B, k, k).transpose(1, 2)  # from [j, i] to [i, j]


class PromptValue(nn.Module):
    """V(x) = w . s / |s| + b, s the policy's last hidden state behind the prompt (T8.1).

    The state is not differentiated: V is fitted beside the policy and does not move it.
    """

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.full((1,), start))

    def forward(self, states: Tensor) -> Tensor:
        """V of each prompt, (B,), from states (B, width)."""
        return (normalize(states.to(self.weight.dtype), dim=-1) * self.weight).sum(-1) + self.bias


def attach_value(model: nn.Module, start: float) -> None:
    """Give the policy a submodule V(x) to be trained with it, equal to `start` everywhere."""
    value = PromptValue(unwrapped(model).config.hidden_size, start)
    model.add_module(VALUE, value.to(next(model.parameters())))


def prompt_values(model: nn.Module, prompts: Tensor, prompt_mask: Tensor) -> Tensor:
    """V(x) of a model with `attach_value`, (B,), for prompts (B, P) that are padded on the right."""
    value, last = getattr(unwrapped(model), VALUE), prompt_mask.sum(1) - 1
    rows = torch.arange(len(last), device=last.device)
    inputs = {"input_ids": prompts, "attention_mask": prompt_mask.long()}
    return at_output_embedding(model, inputs, lambda hidden: value(hidden.detach()[rows, last]))
