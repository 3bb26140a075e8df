"""Language models small enough to enumerate: what the tests of `llm` train to the closed forms."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedModel

PROMPT = torch.tensor([0, 1])
ENDS = {"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 2}


def tiny_model(family: str, vocabulary: int = 4) -> PreTrainedModel:
    """One layer, random weights, float64; token 2 ends the sequence.

    A single GPT-NeoX layer as Pythia has it sends no attention through its non-linear part, and cannot
    represent every policy: here the two parts stand behind each other, and all dimensions rotate.
    """
    if family == "gpt2":
        config = GPT2Config(
            vocab_size=vocabulary,
            n_layer=1,
            n_embd=16,
            n_head=2,
            n_positions=12,
            initializer_range=0.1,
            **ENDS,
        )
        config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.0
        architecture = GPT2LMHeadModel
    else:
        config = GPTNeoXConfig(
            vocab_size=vocabulary,
            num_hidden_layers=1,
            hidden_size=32,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=12,
            initializer_range=0.1,
            use_parallel_residual=False,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
            **ENDS,
        )
        architecture = GPTNeoXForCausalLM
    with torch.random.fork_rng():
        torch.manual_seed(11)
        return architecture._from_config(config, attn_implementation="sdpa", dtype=torch.float64)


def flat(tensors: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])


def jacobian(outputs: Tensor, parameters: list[Tensor]) -> Tensor:
    """d outputs / d parameters, (n, P), by one backward pass over all outputs at once."""
    rows = torch.autograd.grad(
        outputs,
        parameters,
        torch.eye(len(outputs), dtype=outputs.dtype),
        retain_graph=True,
        materialize_grads=True,
        is_grads_batched=True,
    )
    return torch.cat([each.reshape(len(outputs), -1) for each in rows], dim=1)
